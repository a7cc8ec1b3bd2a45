"""Spectra in an npz file, read by rows: np.savez does not compress, so each row lies at a known place of the file."""

from pathlib import Path

import numpy as np

from payneflow.errors import SpectraError
from payneflow.files import NpzArchive
from payneflow.spectra.layout import SpectraLayout

_WHAT = "a file of observed spectra in the format npz (another one is named by --format, or in config.yaml)"


class NpzStore:
    """The arrays of an npz file. A compressed one, or one in Fortran's order, is read whole when it is first needed."""

    def __init__(self, path: Path, layout: SpectraLayout):
        self.layout, self._path = layout, path
        self._archive = NpzArchive(path, SpectraError, _WHAT)
        self._whole: dict[str, np.ndarray] = {}

    def close(self) -> None:
        self._archive.close()

    def check(self) -> None:
        """Nothing in such a file says what the layout says."""

    def doubt(self) -> str:
        return ""

    def names(self) -> list[str]:
        return self._archive.keys()

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        if key not in self._archive:
            return None
        header = self._archive.header(key)
        expected = header.begin + int(np.prod(header.shape)) * header.dtype.itemsize
        if header.stored != expected and not header.dtype.hasobject:
            raise SpectraError(
                f"{self._path}: {key} takes {header.stored} bytes; expected {expected} for its shape {header.shape} "
                f"and dtype {header.dtype}. Is the file damaged? Make it again."
            )
        return header.shape, header.dtype

    def whole(self, key: str) -> np.ndarray:
        if key not in self._whole:
            self._whole[key] = self._archive.read(key)
        return self._whole[key]

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        if not self._archive.has_rows_in_place(key):
            return self.whole(key)[first:last]
        return self._archive.rows(key, first, last)
