"""A grid in an HDF5 file: headers and small arrays are read, the flux stays in the file until parts are asked for.

So a grid may be larger than the memory. Nothing else here knows h5py, which is loaded only where a grid needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.blocks import rows_at_once
from payneflow.grid.stored import WHAT, Header

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # at byte 0, or at 512, 1024, 2048, ... behind a user block (HDF5 file format, II.A)


def is_hdf5(path: Path) -> bool:
    """Is this an HDF5 file, by its content? False as well where it cannot be read at all."""
    try:
        with open(path, "rb") as stream:
            size, place = path.stat().st_size, 0
            while place < size:
                stream.seek(place)
                if stream.read(len(SIGNATURE)) == SIGNATURE:
                    return True
                place = max(512, 2 * place)
    except OSError:  # whoever reads it next says why
        pass
    return False


@contextmanager
def _opened(path: Path, key: str | None = None) -> Iterator:
    """The open file. Raises GridError where h5py is missing or the file, or its array `key`, cannot be read."""
    try:
        import h5py
    except ImportError as error:
        raise GridError(
            f"{path}: this grid is an HDF5 file, which is read with h5py, and that cannot be loaded ({error}). "
            "Install it with: pip install 'payneflow[hdf5]'. Or store the grid as npz."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except GridError:
        raise
    except Exception as error:  # h5py raises half a dozen kinds on damaged files and filters that are not there
        place = path if key is None else f"{path}: {key}"
        raise GridError(
            f"{place}: not readable as HDF5 ({error}); expected {WHAT}. Is the file truncated, still being written, or "
            "compressed by a filter that is not installed?"
        ) from error


def read_headers(path: Path, wanted: list[str]) -> tuple[dict[str, Header], list[str]]:
    """Key -> header of those of the `wanted` arrays that the file holds, and the keys of all that it holds.

    A key may be a path in the file, such as spectra/flux. Raises GridError for a damaged file, a group in place of an
    array, and an array that lies in another file.
    """
    with _opened(path) as file:
        names = _names(file)
    headers = {}
    for key in wanted:
        with _opened(path, key) as file:
            if key in file:
                headers[key] = _header(path, key, file[key])
    return headers, [*headers, *(name for name in names if name not in headers)]


def _header(path: Path, key: str, item) -> Header:
    import h5py

    if not isinstance(item, h5py.Dataset):
        inside = ", ".join(repr(f"{key}/{name}") for name in getattr(item, "keys", list)()) or "nothing"
        raise GridError(f"{path}: {key} is no array but holds {inside}; expected an array. Name the one inside it.")
    if item.is_virtual or item.external or Path(item.file.filename) != path:
        raise GridError(
            f"{path}: {key} lies in another file (an external link, external storage or a virtual dataset), whose "
            "changes the SHA-256 of the grid would not show. Copy all arrays into one file, with h5copy or h5py."
        )
    text = h5py.check_string_dtype(item.dtype) is not None
    return Header(item.shape or (), item.dtype, text, pickled=False)  # no shape: an empty dataspace


def _names(file) -> list[str]:
    """The paths of all arrays in the file."""
    import h5py

    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def read_arrays(path: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Key -> array; text as bytes. Raises GridError where one is damaged."""
    arrays = {}
    for key in keys:
        with _opened(path, key) as file:
            arrays[key] = file[key][()]
    return arrays


def read_flux(path: Path, key: str, header: Header) -> "StoredFlux":
    """The flux, which stays in the file."""
    return StoredFlux(path, key, header)


class StoredFlux:
    """Flux (n_spectrum, n_pixel) in an HDF5 file, indexed as if it were an array in memory.

    `flux[rows]` is a part of it, still in the file; `flux[rows, pixels]`, `flux[one_row]` and `np.asarray(flux)` are
    arrays of `dtype`, read block by block. Rows are a slice or increasing indices, pixels any index of one axis; in
    `flux[rows][:, pixels]` they mean what they mean for an array. `unit`: spectra that are stored, and decompressed,
    together. Reading raises GridError for a damaged file, or one that was changed since its headers were read.
    """

    def __init__(self, path: Path, key: str, header: Header):
        self._path, self._key = path, key
        self._rows, self._n_pixel = np.arange(header.shape[0]), header.shape[1]
        self.dtype = header.trained_dtype
        with _opened(path, key) as file:
            self._state = _state(path)
            self.unit = (file[key].chunks or (1,))[0]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), self._n_pixel

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        rows, pixels = index if isinstance(index, tuple) else (index, None)
        chosen = self._rows[rows]
        if np.ndim(chosen) == 0:
            return self._read(np.array([chosen]), slice(None) if pixels is None else pixels)[0]
        if (np.diff(chosen) <= 0).any():
            raise IndexError("rows of stored flux must be given in increasing order")
        return self._part(chosen) if pixels is None else self._read(chosen, pixels)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:  # a new array whatever `copy` says
        return np.asarray(self._read(self._rows, slice(None)), dtype)

    def _part(self, rows: np.ndarray) -> "StoredFlux":
        part = copy(self)
        part._rows = rows
        return part

    def _read(self, rows: np.ndarray, pixels) -> np.ndarray:
        """(len(rows), number of pixels) at increasing rows of the file."""
        all_pixels = np.arange(self._n_pixel)
        chosen = all_pixels[pixels]
        flux = np.empty((len(rows), len(chosen)), self.dtype)
        step = rows_at_once(self.shape, self.dtype, self.unit)
        with _opened(self._path, self._key) as file:
            if _state(self._path) != self._state:
                raise GridError(f"{self._path}: it was changed while it was read. Leave it alone and start again.")
            stored, done = file[self._key], 0
            while done < len(rows):
                block_end = (rows[done] // step + 1) * step  # blocks are aligned to what is decompressed together
                last = int(np.searchsorted(rows, block_end))
                span = slice(rows[done], rows[last - 1] + 1)
                if span.stop - span.start == last - done and np.array_equal(chosen, all_pixels):
                    stored.read_direct(flux, span, slice(done, last))  # needs no second copy of a block
                else:
                    block = np.empty((span.stop - span.start, stored.shape[1]), self.dtype)
                    stored.read_direct(block, span)
                    flux[done:last] = block[np.ix_(rows[done:last] - span.start, chosen)]
                done = last
        return flux


def _state(path: Path) -> tuple[int, int]:
    """What changes with the content of a file: its size and the time of its last change."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
