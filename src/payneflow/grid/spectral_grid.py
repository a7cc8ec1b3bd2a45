"""The grid of synthetic spectra: read from its files, checked once, split into a training set and a test set.

A grid file (npz or HDF5) holds one wavelength axis, `n_spectrum` normalised spectra on it, and the labels of each
spectrum; a grid may have several files (joined.py). What cannot be trained on is refused here, with the file, the key,
the spectrum and the pixel in the message, so that no later stage has to look again: layout.py judges the headers of the
arrays, checks.py their values, sets.py the split. The flux of an HDF5 grid stays in its file and is looked at block by
block.
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
from payneflow.grid.joined import GridFiles, read_rows, texts
from payneflow.grid.layout import PUBLISHED, GridKeys
from payneflow.grid.lazy_flux import LazyFlux
from payneflow.grid.origins import GridPath, Origins, joined_digest, name_of, paths_of
from payneflow.grid.reading import AS_PUBLISHED, OF_GRID, VACUUM, GridReading
from payneflow.grid.sets import Split, TwinCheck, Twins, find_twins
from payneflow.scaling import PUBLISHED_FLUX, FluxScale, LabelScaler


@dataclass(frozen=True, eq=False)
class SpectralGrid:
    """A checked grid.

    `wavelength` (n_pixel,) float64, Angstrom, increasing; `flux` (n_spectrum, n_pixel), normalised, float32 or float64
    as the file has it, that of an HDF5 file read only when it is indexed; `labels` (n_spectrum, n_label) float64, each
    in its unit (the file stores them the other way round); `label_names`, `label_units` (n_label,); `path` of the file,
    or the paths of several, for messages; `sha256` of its bytes, of several that of theirs (`joined_digest`); `split`:
    which spectra train and which test, as published where nothing else is said; `medium` that the file's own
    wavelengths are in, those here being in vacuum; `flux_scale` of the networks to be trained; `resolution`
    R = wavelength / FWHM of the spectra, a number or (n_pixel,), 0 where it is not known. `origins`: the files and how
    many spectra each holds; `sha256_of_files`; `notes`: what the reader should know that is no error.
    """

    path: Path | str
    wavelength: np.ndarray
    flux: np.ndarray | LazyFlux
    labels: np.ndarray
    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    sha256: str
    split: Split | None = None
    medium: str = VACUUM
    flux_scale: FluxScale = PUBLISHED_FLUX
    resolution: float | np.ndarray = 0.0
    origins: Origins | None = None
    sha256_of_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.split is None:
            object.__setattr__(self, "split", Split.alternate(len(self.labels)))
        if self.origins is None:
            object.__setattr__(self, "origins", Origins.one(self.path, len(self.labels)))

    @property
    def scaler(self) -> LabelScaler:
        """The scaler of the training labels; test labels may lie outside its range."""
        return LabelScaler.of_training_labels(self.labels[self.split.training])


def read_grid(
    path: GridPath,
    keys: GridKeys = PUBLISHED,
    reading: GridReading = AS_PUBLISHED,
    *,
    seed: int = 0,
    trained: Split | None = None,
) -> SpectralGrid:
    """Read the file of a grid, or its files in their order, and check all of it.

    `reading`: how it is to be taken; `seed` draws a random split. `trained`: the split of networks that were trained on
    this grid already, in place of the one that `reading` says; it is taken, whatever it is worth.
    Without label names in the file the labels are called label_1, label_2, ...; without units these are empty.
    Raises GridError that names file, key, spectrum and pixel, what was expected, and what to do.
    """
    first, name = paths_of(path)[0] if paths_of(path) else Path(), name_of(path)
    with GridFiles(path, keys) as files:
        origins = files.origins
        wavelength = files.read("wavelength").astype(float)
        labels, names, units = _labels_of(files)
        stored = files.read("resolution")
        flux = files.flux()
        split = files.split(reading.split, seed) if trained is None else _checked(name, trained, files.shape[0])
    check_names(first, keys.label_names, names)
    check_wavelength(first, keys.wavelength, wavelength)
    resolution = 0.0 if stored is None else checked_resolution(first, keys.resolution, stored, wavelength)
    wavelength = in_vacuum(first, keys.wavelength, wavelength, reading.grid_medium)
    check_labels(origins, keys.labels, labels, names, units, split)
    if trained is None:
        check_aliasing(name, keys.labels, labels, names, split)
    scale, twins = _check_flux(origins, keys.flux, flux, wavelength, split, reading.flux_scale == OF_GRID)
    digests = _digests_of(origins)
    return SpectralGrid(
        first if len(origins.paths) == 1 else name,
        wavelength,
        flux,
        labels,
        names,
        units,
        joined_digest(digests),
        split,
        reading.grid_medium,
        scale,
        resolution,
        origins,
        digests,
        _notes_of_twins(origins, twins, labels),
    )


def _digests_of(origins: Origins) -> tuple[str, ...]:
    """SHA-256 of each file. Raises GridError where two have the same content."""
    digests = tuple(map(sha256_of, origins.paths))
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise GridError(
                f"{origins.paths[i]}: has the very content of {origins.paths[digests.index(digest)]}; expected each "
                "spectrum of a grid once. Leave one of them out."
            )
    return digests


def _notes_of_twins(origins: Origins, twins: Twins | None, labels: np.ndarray) -> tuple[str, ...]:
    """What to say of spectra, or labels (n_spectrum, n_label), that are there twice."""
    same_labels = find_twins([row.tobytes() for row in labels])
    if same_labels is not None and twins is not None and same_labels.count == twins.count:
        same_labels = None  # those of the same spectra
    said = (
        ("flux", twins, "one of them costs time and teaches nothing"),
        ("labels", same_labels, "with another flux they are noise, or one of them is labelled wrongly"),
    )
    return tuple(
        f"spectrum {origins.said_of(found.first[1])} has the very {what} of spectrum "
        f"{origins.said_of(found.first[0])}, the first of {found.count} such pairs: {why}"
        for what, found, why in said
        if found is not None
    )


def _checked(name: str, trained: Split, n_spectrum: int) -> Split:
    if len(trained.trains) != n_spectrum:
        raise GridError(
            f"{name}: {n_spectrum} spectra, but the networks were trained on a grid of {len(trained.trains)}, so which "
            "of these train is unknown. Use the grid they were trained on."
        )
    return trained


def read_wavelength(path: GridPath, keys: GridKeys = PUBLISHED) -> np.ndarray:
    """The wavelengths of a grid file (n_pixel,), as they are stored, in Angstrom, checked; nothing else is read.

    Raises GridError as `read_grid` does.
    """
    with GridFiles(path, keys, roles=("wavelength",)) as files:
        wavelength = files.read("wavelength").astype(float)
    check_wavelength(paths_of(path)[0], keys.wavelength, wavelength)
    return wavelength


def read_resolution(path: GridPath, keys: GridKeys = PUBLISHED) -> float | np.ndarray:
    """R = wavelength / FWHM of the spectra of a grid file, a number or (n_pixel,), checked; 0 where it is not there.

    Nothing else is read but the wavelengths. Raises GridError as `read_grid` does.
    """
    with GridFiles(path, keys) as files:
        wavelength, stored = files.read("wavelength").astype(float), files.read("resolution")
    return 0.0 if stored is None else checked_resolution(paths_of(path)[0], keys.resolution, stored, wavelength)


def read_some_flux(
    path: GridPath, keys: GridKeys, rows_of: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The wavelengths of a grid file (n_pixel,), as they are stored, checked, and some of its flux, not checked.

    `rows_of(n_spectrum)`: the increasing rows that are wanted; where the file allows it nothing else is read.
    Returns the flux (n, n_pixel). Raises GridError as `read_grid` does for the file and its wavelengths.
    """
    wavelength, flux = read_rows(path, keys, rows_of)
    check_wavelength(paths_of(path)[0], keys.wavelength, wavelength)
    return wavelength, flux


def read_labels(
    path: GridPath, keys: GridKeys = PUBLISHED, reading: GridReading = AS_PUBLISHED, *, seed: int = 0
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], Split]:
    """The labels of a grid file (n_spectrum, n_label), their names and units, checked, and the split.

    The flux is not read; `reading` and `seed` as in `read_grid`.

    Raises GridError as `read_grid` does.
    """
    with GridFiles(path, keys) as files:
        origins = files.origins
        labels, names, units = _labels_of(files)
        split = files.split(reading.split, seed)
    check_names(paths_of(path)[0], keys.label_names, names)
    check_labels(origins, keys.labels, labels, names, units, split)
    check_aliasing(name_of(path), keys.labels, labels, names, split)
    return labels, names, units, split


def _labels_of(files: GridFiles) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels (n_spectrum, n_label), names and units of an open grid file, not checked."""
    labels = np.ascontiguousarray(files.read("labels").T, dtype=float)
    n_label = labels.shape[1]
    names, units = files.read("label_names"), files.read("label_units")
    return (
        labels,
        default_names(n_label) if names is None else texts(names),
        ("",) * n_label if units is None else texts(units),
    )


def default_names(n_label: int) -> tuple[str, ...]:
    """What labels are called that the file does not name: label_1, label_2, ..."""
    return tuple(f"label_{i + 1}" for i in range(n_label))


def _check_flux(
    origins: Origins, key: str, flux: np.ndarray | LazyFlux, wavelength: np.ndarray, split: Split, of_grid: bool
) -> tuple[FluxScale, Twins | None]:
    """Every check of the flux, with one look at each block of it; returns the flux scale, and what is there twice."""
    worth, twins = FluxCheck(origins, key, wavelength, of_grid), TwinCheck(origins, key, split)
    for_each_block(flux, worth.look_at, twins.look_at)
    worth.judge()
    twins.judge()
    return worth.flux_scale, twins.twins()
