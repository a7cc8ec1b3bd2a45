"""Blocks of spectra: the flux of a grid, in memory or in its file, in pieces of a limited size.

Flux (n_spectrum, n_pixel) is an array (npz), or a `LazyFlux` (HDF5, or several files); both have a shape and a dtype,
and `flux[first:last]` is a part of either that `np.asarray` reads.
"""

from collections.abc import Callable

import numpy as np

BLOCK_BYTES = 64 * 2**20  # a block of spectra; less, and a dataset stored in columns is decompressed more often


def rows_at_once(shape: tuple[int, int], dtype: np.dtype, unit: int = 1) -> int:
    """How many spectra of flux of this shape and dtype make a block: whole `unit`s where one fits, at least 1."""
    most = max(1, BLOCK_BYTES // (shape[1] * dtype.itemsize))
    return most // unit * unit or most


def for_each_block(flux, *looks: Callable[[int, np.ndarray], None]) -> None:
    """Call each look(first, rows), block by block, with the flux (n, n_pixel) of spectra first ... first + n - 1."""
    first = 0
    for file in getattr(flux, "files", (flux,)):  # one by one, so that no block lies in two of them
        step = rows_at_once(file.shape, file.dtype, getattr(file, "unit", 1))
        for start in range(0, len(file), step):
            rows = np.asarray(file[start : start + step], dtype=flux.dtype)
            for look in looks:
                look(first, rows)
            first += len(rows)
            del rows  # or there would be two blocks in memory while the next one is read
