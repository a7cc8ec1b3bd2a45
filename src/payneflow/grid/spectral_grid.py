"""The grid of synthetic spectra: read from its file, checked once, split into a training set and a test set.

A grid file (npz or HDF5) holds one wavelength axis, `n_spectrum` normalised spectra on it, and the labels of each
spectrum. What cannot be trained on is refused here, with the file, the key, the spectrum and the pixel in the message,
so that no later stage has to look again: layout.py judges the headers of the arrays, checks.py their values, sets.py
the split. The flux of an HDF5 grid stays in its file and is looked at block by block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.files import sha256_of
from payneflow.grid.aliasing import check_aliasing
from payneflow.grid.blocks import for_each_block
from payneflow.grid.checks import FluxCheck, check_labels, check_names, check_wavelength, checked_resolution, in_vacuum
from payneflow.grid.hdf5 import StoredFlux
from payneflow.grid.layout import PUBLISHED, GridKeys
from payneflow.grid.reading import AS_PUBLISHED, OF_GRID, VACUUM, GridReading
from payneflow.grid.sets import Split, TwinCheck
from payneflow.grid.stored import GridFile
from payneflow.scaling import PUBLISHED_FLUX, FluxScale, LabelScaler


@dataclass(frozen=True, eq=False)
class SpectralGrid:
    """A checked grid.

    `wavelength` (n_pixel,) float64, Angstrom, increasing; `flux` (n_spectrum, n_pixel), normalised, float32 or float64
    as the file has it, that of an HDF5 file read only when it is indexed; `labels` (n_spectrum, n_label) float64, each
    in its unit (the file stores them the other way round); `label_names`, `label_units` (n_label,); `path` of the file,
    `sha256` of its bytes; `split`: which spectra train and which test, as published where nothing else is said;
    `medium` that the file's own wavelengths are in, those here being in vacuum; `flux_scale` of the networks to be
    trained; `resolution` R = wavelength / FWHM of the spectra, a number or (n_pixel,), 0 where it is not known.
    """

    path: Path
    wavelength: np.ndarray
    flux: np.ndarray | StoredFlux
    labels: np.ndarray
    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    sha256: str
    split: Split | None = None
    medium: str = VACUUM
    flux_scale: FluxScale = PUBLISHED_FLUX
    resolution: float | np.ndarray = 0.0

    def __post_init__(self):
        if self.split is None:
            object.__setattr__(self, "split", Split.alternate(len(self.labels)))

    @property
    def scaler(self) -> LabelScaler:
        """The scaler of the training labels; test labels may lie outside its range."""
        return LabelScaler.of_training_labels(self.labels[self.split.training])


def read_grid(
    path: str | Path,
    keys: GridKeys = PUBLISHED,
    reading: GridReading = AS_PUBLISHED,
    *,
    seed: int = 0,
    trained: Split | None = None,
) -> SpectralGrid:
    """Read a grid file and check all of it.

    `reading`: how it is to be taken; `seed` draws a random split. `trained`: the split of networks that were trained on
    this grid already, in place of the one that `reading` says; it is taken, whatever it is worth.
    Without label names in the file the labels are called label_1, label_2, ...; without units these are empty.
    Raises GridError that names file, key, spectrum and pixel, what was expected, and what to do.
    """
    path = Path(path)
    with GridFile(path, keys) as file:
        wavelength = file.read("wavelength").astype(float)
        labels, names, units = _labels_of(file)
        stored = file.read("resolution")
        flux = file.flux()
        split = file.split(reading.split, seed) if trained is None else _checked(path, trained, file.shape[0])
    check_names(path, keys.label_names, names)
    check_wavelength(path, keys.wavelength, wavelength)
    resolution = 0.0 if stored is None else checked_resolution(path, keys.resolution, stored, wavelength)
    wavelength = in_vacuum(path, keys.wavelength, wavelength, reading.grid_medium)
    check_labels(path, keys.labels, labels, names, units, split)
    if trained is None:
        check_aliasing(path, keys.labels, labels, names, split)
    scale = _check_flux(path, keys.flux, flux, wavelength, split, reading.flux_scale == OF_GRID)
    return SpectralGrid(
        path, wavelength, flux, labels, names, units, sha256_of(path), split, reading.grid_medium, scale, resolution
    )


def _checked(path: Path, trained: Split, n_spectrum: int) -> Split:
    if len(trained.trains) != n_spectrum:
        raise GridError(
            f"{path}: {n_spectrum} spectra, but the networks were trained on a grid of {len(trained.trains)}, so which "
            "of these train is unknown. Use the grid they were trained on."
        )
    return trained


def read_wavelength(path: str | Path, keys: GridKeys = PUBLISHED) -> np.ndarray:
    """The wavelengths of a grid file (n_pixel,), as they are stored, in Angstrom, checked; nothing else is read.

    Raises GridError as `read_grid` does.
    """
    path = Path(path)
    with GridFile(path, keys, roles=("wavelength",)) as file:
        wavelength = file.read("wavelength").astype(float)
    check_wavelength(path, keys.wavelength, wavelength)
    return wavelength


def read_resolution(path: str | Path, keys: GridKeys = PUBLISHED) -> float | np.ndarray:
    """R = wavelength / FWHM of the spectra of a grid file, a number or (n_pixel,), checked; 0 where it is not there.

    Nothing else is read but the wavelengths. Raises GridError as `read_grid` does.
    """
    path = Path(path)
    with GridFile(path, keys) as file:
        wavelength, stored = file.read("wavelength").astype(float), file.read("resolution")
    return 0.0 if stored is None else checked_resolution(path, keys.resolution, stored, wavelength)


def read_some_flux(
    path: str | Path, keys: GridKeys, rows_of: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The wavelengths of a grid file (n_pixel,), as they are stored, checked, and some of its flux, not checked.

    `rows_of(n_spectrum)`: the increasing rows that are wanted; where the file allows it nothing else is read.
    Returns the flux (n, n_pixel). Raises GridError as `read_grid` does for the file and its wavelengths.
    """
    path = Path(path)
    with GridFile(path, keys) as file:
        wavelength = file.read("wavelength").astype(float)
        flux = file.some_flux(rows_of(file.shape[0]))
    check_wavelength(path, keys.wavelength, wavelength)
    return wavelength, flux


def read_labels(
    path: str | Path, keys: GridKeys = PUBLISHED, reading: GridReading = AS_PUBLISHED, *, seed: int = 0
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], Split]:
    """The labels of a grid file (n_spectrum, n_label), their names and units, checked, and the split.

    The flux is not read; `reading` and `seed` as in `read_grid`.

    Raises GridError as `read_grid` does.
    """
    path = Path(path)
    with GridFile(path, keys) as file:
        labels, names, units = _labels_of(file)
        split = file.split(reading.split, seed)
    check_names(path, keys.label_names, names)
    check_labels(path, keys.labels, labels, names, units, split)
    check_aliasing(path, keys.labels, labels, names, split)
    return labels, names, units, split


def _labels_of(file: GridFile) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels (n_spectrum, n_label), names and units of an open grid file, not checked."""
    labels = np.ascontiguousarray(file.read("labels").T, dtype=float)
    n_label = labels.shape[1]
    names, units = file.read("label_names"), file.read("label_units")
    return (
        labels,
        default_names(n_label) if names is None else _text(names),
        ("",) * n_label if units is None else _text(units),
    )


def default_names(n_label: int) -> tuple[str, ...]:
    """What labels are called that the file does not name: label_1, label_2, ..."""
    return tuple(f"label_{i + 1}" for i in range(n_label))


def _check_flux(
    path: Path, key: str, flux: np.ndarray | StoredFlux, wavelength: np.ndarray, split: Split, of_grid: bool
) -> FluxScale:
    """Every check of the flux, with one look at each block of it; returns the flux scale."""
    checks = FluxCheck(path, key, wavelength, of_grid), TwinCheck(path, key, split)
    for_each_block(flux, *(check.look_at for check in checks))
    for check in checks:
        check.judge()
    return checks[0].flux_scale


def _text(array: np.ndarray) -> tuple[str, ...]:
    """The entries of an array of text or bytes, without blanks around them."""
    entries = array.tolist()
    return tuple((entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry).strip() for entry in entries)
