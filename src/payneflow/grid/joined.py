"""A grid of one file or of several: opened together, proved to belong together, and read as one.

Files are joined in the order given: first those of the first, then those of the next. Wavelengths, resolution, and the
names, order and units of the labels must be the same in all of them: nothing is resampled, reordered or converted.
"""

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.layout import PUBLISHED, ROLES, GridKeys
from payneflow.grid.lazy_flux import JoinedFlux, LazyFlux
from payneflow.grid.origins import GridPath, Origins, name_of, paths_of
from payneflow.grid.reading import GridReading
from payneflow.grid.sets import Split, check_enough_spectra, check_split
from payneflow.grid.stored import GridFile


class GridFiles:
    """The open files of a grid, which fit together by the headers of their arrays.

    `roles`: as of `GridFile`. Raises GridError as that does, for a file that is named twice, and for numbers of pixels
    or labels that differ; arrays are compared when they are read.
    """

    def __init__(self, grid: GridPath, keys: GridKeys = PUBLISHED, roles: tuple[str, ...] = ROLES):
        self.paths, self.keys = paths_of(grid), keys
        if not self.paths:
            raise GridError("the grid is an empty list of files; expected at least one.")
        _check_named_once(self.paths)
        with ExitStack() as stack:
            self._files = [stack.enter_context(GridFile(path, keys, roles)) for path in self.paths]
            self._check_shapes(roles)
            self._stack = stack.pop_all()

    def _check_shapes(self, roles: tuple[str, ...]) -> None:
        first = self._files[0]
        for file in self._files[1:]:
            if file.n_pixel != first.n_pixel:
                raise _differs(
                    file, first, f"{self.keys.wavelength} has {file.n_pixel} pixels", f"{first.n_pixel}", AXES
                )
            if roles == ROLES and file.shape[2] != first.shape[2]:
                raise _differs(
                    file, first, f"{self.keys.labels} holds {file.shape[2]} labels", f"{first.shape[2]}", LABELS
                )
        if roles == ROLES:
            check_enough_spectra(name_of(self.paths), self.keys.flux, self.shape[0])

    def __enter__(self) -> "GridFiles":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @property
    def n_pixel(self) -> int:
        return self._files[0].n_pixel

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_spectrum, n_pixel, n_label) of all files together."""
        return sum(self.origins.counts), self.n_pixel, self._files[0].shape[2]

    @property
    def origins(self) -> Origins:
        return Origins(self.paths, tuple(file.shape[0] for file in self._files))

    def read(self, role: str) -> np.ndarray | None:
        """The array that plays `role`, one of ROLES, as the first file stores it; labels those of all.

        None for an optional one that is not there. Raises GridError where another file holds another one.
        """
        if role == "labels":
            return np.concatenate([file.read(role) for file in self._files], axis=1)
        array = self._files[0].read(role)
        for file in self._files[1:]:
            _check_same(self._files[0], file, getattr(self.keys, role), role, array, file.read(role))
        return array

    def split(self, said: str, seed: int = 0) -> Split:
        """The training set and test set: each file is split as it would be alone (`GridFile.split`).

        So a file that is added moves no spectrum from one set to the other. Raises GridError where a set is too small.
        """
        split = Split.joined([file.split(said, seed) for file in self._files])
        check_split(name_of(self.paths), split)
        return split

    def flux(self) -> np.ndarray | LazyFlux:
        """The flux (n_spectrum, n_pixel): of npz files in memory, of HDF5 files still there."""
        all_flux = [file.flux() for file in self._files]
        return all_flux[0] if len(all_flux) == 1 else JoinedFlux(all_flux)

    def some_flux(self, rows: np.ndarray) -> np.ndarray:
        """The flux of these increasing rows, (n, n_pixel), in memory; the others are read only where they must be."""
        own = [rows[(rows >= part.start) & (rows < part.stop)] - part.start for _, part in self.origins.parts()]
        return np.concatenate([file.some_flux(some) for file, some in zip(self._files, own, strict=True) if len(some)])


ROUNDING = float(np.finfo(np.float32).eps)  # of an axis that is stored in single precision in one file
AXES = "the same wavelengths, pixel by pixel. Bring the spectra of all files to one axis"
LABELS = "the same labels, in the same order and units, in all files of a grid. Change it in one of them"


def _check_named_once(paths) -> None:
    for i, path in enumerate(paths):
        if any(path.exists() and other.exists() and path.samefile(other) for other in paths[:i]):
            raise GridError(f"{path}: named twice among the files of the grid; expected each once. Leave one out.")


def _check_same(first: GridFile, file: GridFile, key: str, role: str, one, other) -> None:
    """Raise GridError where two files hold other arrays of one role, or only one of them has it."""
    remedy = LABELS if role.startswith("label") else AXES
    if (one is None) != (other is None):
        lacks, has = (file, first) if other is None else (first, file)
        raise GridError(
            f"{lacks.path}: no array '{key}', which {has.path} has; expected {remedy}: store it in both, or in none."
        )
    if one is None:
        return
    if role == "resolution":
        one, other = np.broadcast_to(one, first.n_pixel), np.broadcast_to(other, first.n_pixel)
        remedy = "spectra of one resolution in all files of a grid. Broaden the sharper ones"
    if role.startswith("label"):
        one, other = np.array(texts(one)), np.array(texts(other))
    wrong = np.flatnonzero(one != other)
    if not len(wrong):
        return
    i = int(wrong[0])
    if role.startswith("label"):
        if role == "label_names" and sorted(one) == sorted(other):
            remedy = "the same order in all files of a grid. Reorder them, and the rows of the labels with them"
        raise _differs(file, first, f"{key}[{i}] is '{other[i]}' (label {i})", f"'{one[i]}'", remedy)
    if role == "wavelength" and np.allclose(one, other, rtol=ROUNDING, atol=0):
        remedy = f"the same to the last bit, but they differ by rounding alone. Store {key} of one of them in both"
    of_pixels = f"pixel {i}, the first of {len(wrong)} that differ"
    raise _differs(file, first, f"{key}[{i}] is {other[i]:.10g} ({of_pixels})", f"{one[i]:.10g}", remedy)


def _differs(file: GridFile, first: GridFile, said: str, other: str, remedy: str) -> GridError:
    return GridError(f"{file.path}: {said}, in {first.path} it is {other}; expected {remedy}.")


def texts(array: np.ndarray) -> tuple[str, ...]:
    """The entries of an array of text or bytes, without blanks around them."""
    entries = array.tolist()
    return tuple((entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry).strip() for entry in entries)


# ----------------------------------------------------------------------------------------------- what headers say alone


def count_pixels(grid: GridPath, keys: GridKeys = PUBLISHED) -> int:
    """The number of pixels of a grid, from the headers of its wavelength arrays alone: no array is read.

    Raises GridError as `GridFiles` does, for the files and their wavelength keys only.
    """
    with GridFiles(grid, keys, roles=("wavelength",)) as files:
        return files.n_pixel


def grid_shape(grid: GridPath, keys: GridKeys = PUBLISHED) -> tuple[int, int, int]:
    """(n_spectrum, n_pixel, n_label) of a grid, from the headers of its arrays alone.

    Raises GridError as `GridFiles` does.
    """
    with GridFiles(grid, keys) as files:
        return files.shape


def grid_split(grid: GridPath, keys: GridKeys, reading: GridReading, seed: int) -> Split:
    """The training set and test set of a grid, of which at most the array that the setting `split` names is read.

    Raises GridError as `GridFiles` and `GridFiles.split` do.
    """
    with GridFiles(grid, keys) as files:
        return files.split(reading.split, seed)


def read_rows(grid: GridPath, keys: GridKeys, rows_of: Callable[[int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The wavelengths of a grid (n_pixel,), as they are stored, and the flux (n, n_pixel) of some rows, not checked."""
    with GridFiles(grid, keys) as files:
        return files.read("wavelength").astype(float), files.some_flux(rows_of(files.shape[0]))
