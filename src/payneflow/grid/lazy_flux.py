"""Flux that is no array in memory, indexed as if it were one: that of an HDF5 file, and that of several files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy

import numpy as np


class LazyFlux(ABC):
    """Flux (n_spectrum, n_pixel) of `dtype`, of which parts are read when they are asked for.

    `flux[rows]` is a part of it, not read yet; `flux[rows, pixels]`, `flux[one_row]` and `np.asarray(flux)` are arrays.
    Rows are a slice or increasing indices, pixels any index of one axis; in `flux[rows][:, pixels]` they mean what they
    mean for an array.
    """

    dtype: np.dtype

    def __init__(self, n_spectrum: int, n_pixel: int):
        self._rows, self._n_pixel = np.arange(n_spectrum), n_pixel

    @abstractmethod
    def _read(self, rows: np.ndarray, pixels) -> np.ndarray:
        """(len(rows), number of pixels) at increasing rows of all that there are."""

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

    def _part(self, rows: np.ndarray) -> "LazyFlux":
        part = copy(self)
        part._rows = rows
        return part


class JoinedFlux(LazyFlux):
    """The flux of several files, one after another: arrays in memory (npz), or still in their files (HDF5).

    None is copied to join them. Where one of them is of float64, all are.
    """

    def __init__(self, files: Sequence[np.ndarray | LazyFlux]):
        super().__init__(sum(map(len, files)), files[0].shape[1])
        self._files, self._starts = tuple(files), np.cumsum([0, *map(len, files)])
        self.dtype = np.result_type(*(flux.dtype for flux in files))

    @property
    def files(self) -> "tuple[np.ndarray | LazyFlux, ...]":
        """What is read one after another: the flux of each file; of a part of the grid, that part."""
        return self._files if len(self._rows) == self._starts[-1] else (self,)

    def _read(self, rows: np.ndarray, pixels) -> np.ndarray:
        chosen = np.arange(self._n_pixel)[pixels]
        flux = np.empty((len(rows), len(chosen)), self.dtype)
        edges = np.searchsorted(rows, self._starts)
        for i, file in enumerate(self._files):
            some = slice(edges[i], edges[i + 1])
            own = rows[some] - self._starts[i]
            if len(own):
                flux[some] = file[own][:, chosen] if isinstance(file, LazyFlux) else file[np.ix_(own, chosen)]
        return flux
