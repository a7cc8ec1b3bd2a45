"""A grid in an npz file: the headers of its arrays, read without the arrays, and the arrays themselves."""

from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.files import NpzArchive
from payneflow.grid.layout import WHAT, Header


class NpzStore:
    """The arrays of an npz file, which is opened once. Raises GridError for what is no npz file, or a damaged one."""

    def __init__(self, path: Path):
        self._archive = NpzArchive(path, GridError, WHAT)

    def close(self) -> None:
        self._archive.close()

    def names(self) -> list[str]:
        return self._archive.keys()

    def header(self, key: str) -> Header | None:
        if key not in self._archive:
            return None
        stored = self._archive.header(key)
        return Header(stored.shape, stored.dtype, text=stored.dtype.kind in "US", pickled=stored.dtype.hasobject)

    def read(self, key: str) -> np.ndarray:
        return self._archive.read(key)

    def flux(self, key: str) -> np.ndarray:
        """The flux, whole: (n_spectrum, n_pixel), contiguous, of the dtype it is trained as."""
        return np.ascontiguousarray(self.read(key), dtype=self.header(key).trained_dtype)

    def some(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Increasing rows of the flux, (n, n_pixel); read alone where the file is not compressed."""
        if not self._archive.has_rows_in_place(key):
            return self.flux(key)[rows]
        return np.stack([self._archive.row(key, int(row)) for row in rows]).astype(self.header(key).trained_dtype)
