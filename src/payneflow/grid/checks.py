"""What the values of a grid must be: label names that differ, wavelengths in Angstrom, finite labels, normalised flux.

Each check raises GridError that names the file (`path`), the array (`key`, as the file calls it) and the element. The
flux, which may be larger than the memory, is looked at block by block.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.fillers import check_fillers
from payneflow.grid.origins import Origins
from payneflow.grid.reading import VACUUM
from payneflow.grid.sets import Split
from payneflow.label_names import problems_of_names
from payneflow.scaling import PUBLISHED_FLUX, FluxScale, LabelScaler
from payneflow.wavelength import LOWEST_IN_AIR, air_to_vacuum

LOWEST_WAVELENGTH = 1000.0  # Angstrom; a median below it is another unit: no stellar grid lies there
NANOMETRES_FROM = 100.0  # a median from here to LOWEST_WAVELENGTH reads as nm, below as micrometres or a logarithm

SHORTEST, LONGEST = 1.0, 1e9  # Angstrom, X-rays and radio waves of 10 cm; beyond them lies no spectrum of a star
LEAST_STEP = 1e-10  # of a wavelength, 3 cm/s; pixels that are closer are one pixel but for rounding
LEAST_RANGE, LARGEST = 1e-100, 1e100  # of labels and flux in their units: beyond, their squares are 0 or infinite

CONSTANT = 1e-9  # a label whose range is a smaller share of its size than this is constant but for rounding

# Clearly not normalised is a spectrum whose continuum is far from 1. Absorption lowers the median even of a good
# spectrum but not its brightest pixels; emission raises the brightest pixels but not the median.
BRIGHTEST_SHARE = 0.05  # share of a spectrum's pixels that is taken for its brightest
LOWEST_BRIGHTEST = 0.5  # normalised flux; the faintest of those may not lie below
HIGHEST_MEDIAN = 1.5  # normalised flux

LOWEST_FLUX, HIGHEST_FLUX = PUBLISHED_FLUX.reach  # normalised flux that a network can give
OTHER_SCALE = "flux_scale: grid in config.yaml (--flux-scale grid) takes flux as it is"


def check_names(path: Path, key: str, names: tuple[str, ...]) -> None:
    """Refuse label names (n_label,) of which one is empty, there twice, or that of a column of the table of fits."""
    for i, name in enumerate(names):
        if not name:
            raise GridError(f"{path}: {key}[{i}] is empty; expected a name for each label. Name label {i}.")
        if name in names[:i]:
            raise GridError(
                f"{path}: {key}[{i}] is '{name}', as is {key}[{names.index(name)}]; expected a name of its own for "
                "each label. Rename one, or remove the label that is there twice."
            )
    for i, problem in problems_of_names(names):
        raise GridError(
            f"{path}: {key}[{i}] is {names[i]!r}, {problem}; expected a name that no table of fits uses otherwise. "
            f"Rename label {i}, such as to 'my {names[i].strip()}'."
        )


def check_wavelength(path: Path, key: str, wavelength: np.ndarray) -> None:
    """Refuse wavelengths (n_pixel,) that are not finite, positive, in Angstrom and increasing."""
    _check_finite(path, key, wavelength, lambda pixel: f"pixel {pixel}")
    if (wavelength <= 0).any():
        pixel = int(np.argmax(wavelength <= 0))
        raise GridError(
            f"{path}: {key}[{pixel}] is {wavelength[pixel]:g} (pixel {pixel}); expected positive wavelengths in "
            "Angstrom. Correct the axis."
        )
    _check_unit(path, key, float(np.median(wavelength)))
    _check_reach(path, key, wavelength)
    _check_increasing(path, key, wavelength)


def in_vacuum(path: Path, key: str, wavelength: np.ndarray, medium: str) -> np.ndarray:
    """Wavelengths (n_pixel,) in Angstrom and `medium`, checked -> those in vacuum. Raises GridError below 2000 A."""
    if medium == VACUUM:
        return wavelength
    if wavelength[0] < LOWEST_IN_AIR:
        raise GridError(
            f"{path}: {key} goes down to {wavelength[0]:g} Angstrom, where wavelengths are in vacuum; expected the "
            "setting grid_medium to be vacuum."
        )
    return air_to_vacuum(wavelength)


def checked_resolution(path: Path, key: str, resolution: np.ndarray, wavelength: np.ndarray) -> float | np.ndarray:
    """R = wavelength / FWHM, (), (1,) or (n_pixel,) -> a number where it is the same everywhere, else (n_pixel,).

    Raises GridError where one is no finite number above 0.
    """
    resolution = np.asarray(resolution, dtype=float)
    wrong = ~(np.isfinite(resolution) & (resolution > 0.0))
    if wrong.any():
        pixel = int(np.argmax(wrong))
        place, value = f"{path}: {key}", resolution.flat[pixel]
        at = "" if resolution.size == 1 else f" (pixel {pixel}, {wavelength[pixel]:.7g} Angstrom)"
        raise GridError(
            f"{place}{f'[{pixel}]' if at else ''} is {value:g}{at}; expected R = wavelength / FWHM, a finite number "
            "above 0. Correct it, or leave this array out where it is not known."
        )
    return float(resolution.flat[0]) if np.ptp(resolution) == 0.0 else resolution


def _check_unit(path: Path, key: str, median: float) -> None:
    if median >= LOWEST_WAVELENGTH:
        return
    guess = "micrometres (multiply by 1e4) or the logarithm of Angstrom (take 10**)"
    if median >= NANOMETRES_FROM:
        guess = "nanometres (multiply by 10)"
    raise GridError(f"{path}: {key} has the median {median:g}; expected Angstrom. It looks like {guess}.")


def _check_reach(path: Path, key: str, wavelength: np.ndarray) -> None:
    beyond = (wavelength < SHORTEST) | (wavelength > LONGEST)
    if beyond.any():
        pixel = int(np.argmax(beyond))
        raise GridError(
            f"{path}: {key}[{pixel}] is {wavelength[pixel]:g} (pixel {pixel}), the first of {beyond.sum()} wavelengths "
            f"outside {SHORTEST:g} ... {LONGEST:g} Angstrom; expected wavelengths of light. Correct the axis."
        )


def _check_increasing(path: Path, key: str, wavelength: np.ndarray) -> None:
    wrong = np.diff(wavelength) <= LEAST_STEP * wavelength[1:]
    if not wrong.any():
        return
    pixel = int(np.argmax(wrong)) + 1
    place = f"{path}: {key}[{pixel}] is {wavelength[pixel]:.10g} Angstrom (pixel {pixel})"
    if wavelength[pixel] >= wavelength[pixel - 1]:
        but = "" if wavelength[pixel] == wavelength[pixel - 1] else " but for rounding"
        raise GridError(
            f"{place}, repeated from pixel {pixel - 1}{but}; expected increasing wavelengths. Remove the pixels that "
            "are there twice, or store float64 where rounding made them equal."
        )
    remedy = "Sort the axis, and the columns of the flux with it"
    if (np.diff(wavelength) < 0).all():
        remedy = "The axis descends: reverse it, and the columns of the flux with it"
    raise GridError(
        f"{place}, unsorted: it lies below the {wavelength[pixel - 1]:.10g} of pixel {pixel - 1}; expected increasing "
        f"wavelengths. {remedy}."
    )


def check_labels(
    origins: Origins, key: str, labels: np.ndarray, names: tuple[str, ...], units: tuple[str, ...], split: Split
) -> None:
    """Refuse labels (n_spectrum, n_label), each in its unit, that cannot be trained on.

    That is, those that are not finite, that hold placeholders, or that do not vary in the training set of `split`.
    """
    # The file stores them the other way round, and the message says where in the file.
    for path, own in origins.parts():
        _check_finite(path, key, labels[own].T, lambda label, spectrum: f"label {names[label]}, spectrum {spectrum}")
    check_fillers(origins, key, labels, names, units)
    scaler = LabelScaler.of_training_labels(labels[split.training])
    _check_size(str(origins), key, labels, scaler, names, units)
    size = np.maximum(np.abs(scaler.x_min), np.abs(scaler.x_max))
    constant = scaler.x_max - scaler.x_min <= CONSTANT * size
    if constant.any():
        label = int(np.argmax(constant))
        remedy = f"Remove row {label} of {key}, and its name and unit."
        if np.ptp(labels[:, label]) > CONSTANT * size[label]:
            remedy = (
                f"It varies in the test spectra ({labels[:, label].min():g} ... {labels[:, label].max():g} in all), so "
                "the split is at fault, not the label: divide the spectra at random, split: random in config.yaml "
                "(--split random on the command line)."
            )
        raise GridError(
            f"{origins}: {key}[{label}] (label {names[label]}) is constant: {scaler.x_min[label]:g} "
            f"{units[label]} in all training spectra (rows {split.said_of(trains=True)}); expected a label that "
            f"varies. {remedy}"
        )


def _check_size(path: str, key: str, labels: np.ndarray, scaler: LabelScaler, names, units) -> None:
    """Refuse labels whose size or range is such that numbers in their unit, squared, are none any more."""
    size = np.abs(labels).max(axis=0)
    with np.errstate(over="ignore"):
        narrow = (scaler.x_max > scaler.x_min) & (scaler.x_max - scaler.x_min < LEAST_RANGE)
    wrong = (size > LARGEST) | narrow
    if wrong.any():
        label = int(np.argmax(wrong))
        raise GridError(
            f"{path}: {key}[{label}] (label {names[label]}) goes from {labels[:, label].min():g} to "
            f"{labels[:, label].max():g} {units[label]}; expected values of at most {LARGEST:g}, which differ by "
            f"{LEAST_RANGE:g} or more, so that errors, squared, are numbers still. Store it in another unit, "
            "or its logarithm."
        )


class FluxCheck:
    """Whether flux (n_spectrum, n_pixel), which comes in blocks, is finite, normalised, and what a network can give.

    Where `of_grid` says that the flux scale follows the grid, flux need only be finite, and not the same everywhere.
    `wavelength` (n_pixel,), Angstrom, says in the message where a bad value lies. What is worst is found only when all
    has been seen: one value that is not finite says more than a spectrum that is not normalised.
    """

    def __init__(self, origins: Origins, key: str, wavelength: np.ndarray, of_grid: bool = False):
        self._origins, self._key, self._wavelength, self._of_grid = origins, key, wavelength, of_grid
        self._lowest, self._highest = np.inf, -np.inf
        self._not_finite, self._first_not_finite = 0, None
        self._not_normalised: GridError | None = None
        self._outside, self._farthest = 0, None

    def look_at(self, first: int, rows: np.ndarray) -> None:
        """Take in the spectra `first` ..., (n, n_pixel)."""
        finite = np.isfinite(rows)
        if not finite.all():
            if not self._not_finite:
                spectrum, pixel = np.unravel_index(int(np.argmin(finite)), rows.shape)
                self._first_not_finite = (first + int(spectrum), int(pixel)), rows[spectrum, pixel]
            self._not_finite += int((~finite).sum())
        if self._not_finite:
            return  # the other checks do not matter any more
        self._lowest, self._highest = min(self._lowest, rows.min()), max(self._highest, rows.max())
        if self._of_grid:
            return
        for spectrum, row in enumerate(rows, first):
            self._not_normalised = self._not_normalised or _normalisation_error(
                *self._origins.of(spectrum), self._key, row
            )
        self._look_for_outside(first, rows)

    def _look_for_outside(self, first: int, rows: np.ndarray) -> None:
        low, high = LOWEST_FLUX, HIGHEST_FLUX
        if rows.min() >= low and rows.max() <= high:
            return
        self._outside += int(((rows < low) | (rows > high)).sum())
        far = np.abs(rows - 0.5 * (low + high))
        spectrum, pixel = np.unravel_index(int(np.argmax(far)), rows.shape)
        if self._farthest is None or far[spectrum, pixel] > self._farthest[0]:
            self._farthest = far[spectrum, pixel], (first + int(spectrum), int(pixel)), rows[spectrum, pixel]

    @property
    def flux_scale(self) -> FluxScale:
        """The scale that suits what was seen."""
        return FluxScale.of_range(float(self._lowest), float(self._highest)) if self._of_grid else PUBLISHED_FLUX

    def judge(self) -> None:
        """Raise GridError for the worst that was seen, if anything was."""
        if self._not_finite:
            (spectrum, pixel), value = self._first_not_finite
            path, row = self._origins.of(spectrum)
            raise _not_finite_error(path, self._key, (row, pixel), value, self._not_finite, self._place)
        if self._not_normalised is not None:
            raise self._not_normalised
        if self._outside:
            _, (spectrum, pixel), value = self._farthest
            path, spectrum = self._origins.of(spectrum)
            cause = "emission, or a continuum set too low" if value > HIGHEST_FLUX else "negative flux"
            raise GridError(
                f"{path}: {self._key}[{spectrum}, {pixel}] is {value:.4g} ({self._place(spectrum, pixel)}), the "
                f"farthest of {self._outside} values outside what a network can represent: {cause}. Expected "
                f"{LOWEST_FLUX:g} ... {HIGHEST_FLUX:g}, where the scaled flux lies in 0 ... 1. Correct these spectra, "
                f"or leave them or these pixels out; or {OTHER_SCALE}."
            )
        if self._of_grid:
            self._judge_range()

    def _judge_range(self) -> None:
        """Refuse flux on a scale of its own that does not vary, or whose squares are no numbers any more."""
        low, high = float(self._lowest), float(self._highest)
        size = max(abs(low), abs(high))
        if not high / 2 - low / 2 > CONSTANT / 2 * size:
            raise GridError(f"{self._origins}: {self._key} is {low:g} everywhere; expected spectra that differ.")
        if size > LARGEST or high - low < LEAST_RANGE:
            raise GridError(
                f"{self._origins}: {self._key} goes from {low:g} to {high:g}; expected flux of at most {LARGEST:g}, "
                f"which differs by {LEAST_RANGE:g} or more, so that errors, squared, are numbers still. Store it in "
                "another unit."
            )

    def _place(self, spectrum: int, pixel: int) -> str:
        return f"spectrum {spectrum}, pixel {pixel}, {self._wavelength[pixel]:.7g} Angstrom"


def _normalisation_error(path: Path, spectrum: int, key: str, row: np.ndarray) -> GridError | None:
    """What to say of one spectrum, (n_pixel,), whose continuum is clearly not at 1."""
    middle, bright = len(row) // 2, int(np.ceil((1 - BRIGHTEST_SHARE) * (len(row) - 1)))
    ordered = np.partition(row, (middle, bright))
    if ordered[middle] <= HIGHEST_MEDIAN and ordered[bright] >= LOWEST_BRIGHTEST:
        return None
    highest = int(np.argmax(row))
    return GridError(
        f"{path}: {key}[{spectrum}] (spectrum {spectrum}) is not normalised: its median flux is "
        f"{ordered[middle]:.4g}, its highest {row[highest]:.4g} at pixel {highest}; expected flux divided by its "
        f"continuum, which then lies near 1. Divide each spectrum by its continuum; or {OTHER_SCALE}."
    )


def _check_finite(path: Path, key: str, array: np.ndarray, place: Callable[..., str]) -> None:
    """Refuse NaN and infinity in an array as the file stores it; `place(*index)` says in words where that is."""
    finite = np.isfinite(array)
    if finite.all():
        return
    index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
    raise _not_finite_error(path, key, index, array[index], int((~finite).sum()), place)


def _not_finite_error(
    path: Path, key: str, index: tuple[int, ...], value: float, n_bad: int, place: Callable[..., str]
) -> GridError:
    """What to say of the first of `n_bad` values that are not finite."""
    brackets = ", ".join(map(str, index))
    return GridError(
        f"{path}: {key}[{brackets}] is {value} ({place(*index)}), the first of {n_bad} "
        "values that are NaN or infinite; expected finite numbers. Compute again or remove what they belong to."
    )
