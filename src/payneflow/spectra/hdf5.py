"""Spectra in an HDF5 file: the arrays of an npz file as datasets, which may lie in groups ("apogee/flux")."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.header_says import check_said, said_of_unit
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.rows import split


class Hdf5Store:
    """The datasets of an HDF5 file. Raises SpectraError for what is none, and where h5py is not installed."""

    def __init__(self, path: Path, layout: SpectraLayout):
        try:
            import h5py
        except ModuleNotFoundError:
            raise SpectraError(f"{path}: reading HDF5 needs h5py: pip install 'payneflow[hdf5]'.") from None
        self.layout, self._path, self._dataset = layout, path, h5py.Dataset
        self._is_text = h5py.check_string_dtype
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise SpectraError(f"{path}: not a readable HDF5 file ({error}); is it truncated?") from error

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        """Raise SpectraError where the wavelengths have an attribute unit (or units) other than the layout's."""
        key, _ = split(self.layout.wavelength)
        with self._damage_said(key):
            found = {name: self._file[key].attrs[name] for name in ("unit", "units") if name in self._file[key].attrs}
        for name, value in found.items():
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            check_said(f"{self._path}: {key}", said_of_unit(f"the attribute {name}", text), self.layout)

    def doubt(self) -> str:
        return ""

    def names(self) -> list[str]:
        found: list[str] = []
        with self._damage_said("its directory"):
            self._file.visititems(lambda name, item: found.append(name) if isinstance(item, self._dataset) else None)
        return found

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        with self._damage_said(key):
            item = self._file.get(key)
            if not isinstance(item, self._dataset):
                return None
            if item.shape is None:
                raise SpectraError(f"{self._path}: {key} is a dataset without values; expected an array.")
            return item.shape, np.dtype("S") if self._is_text(item.dtype) else item.dtype

    def whole(self, key: str) -> np.ndarray:
        with self._damage_said(key):
            return np.asarray(self._file[key][()])

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        with self._damage_said(key):
            return np.asarray(self._file[key][first:last])

    @contextmanager
    def _damage_said(self, what: str) -> Iterator[None]:
        try:
            yield
        except SpectraError:
            raise
        except Exception as error:  # HDF5 raises many kinds on damaged bytes
            raise SpectraError(f"{self._path}: {what} cannot be read ({error}). Is the file damaged?") from error
