"""What the values of a grid must be: label names that differ, wavelengths in Angstrom, finite labels, normalised flux.

Each check raises GridError that names the file (`path`), the array (`key`, as the file calls it) and the element.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.grid_halves import TRAINING
from payneflow.scaling import LabelScaler, unscale_flux

LOWEST_WAVELENGTH = 1000.0  # Angstrom; a median below it is another unit: no stellar grid lies there
NANOMETRES_FROM = 100.0  # a median from here to LOWEST_WAVELENGTH reads as nm, below as micrometres or a logarithm

CONSTANT = 1e-9  # a label whose range is a smaller share of its size than this is constant but for rounding

# Clearly not normalised is a spectrum whose continuum is far from 1. Absorption lowers the median even of a good
# spectrum but not its brightest pixels; emission raises the brightest pixels but not the median.
BRIGHTEST_SHARE = 0.05  # share of a spectrum's pixels that is taken for its brightest
LOWEST_BRIGHTEST = 0.5  # normalised flux; the faintest of those may not lie below
HIGHEST_MEDIAN = 1.5  # normalised flux


def check_names(path: Path, key: str, names: tuple[str, ...]) -> None:
    """Refuse label names (n_label,) of which one is empty, or there twice."""
    for i, name in enumerate(names):
        if not name:
            raise GridError(f"{path}: {key}[{i}] is empty; expected a name for each label. Name label {i}.")
        if name in names[:i]:
            raise GridError(
                f"{path}: {key}[{i}] is '{name}', as is {key}[{names.index(name)}]; expected a name of its own for "
                "each label. Rename one, or remove the label that is there twice."
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
    _check_increasing(path, key, wavelength)


def _check_unit(path: Path, key: str, median: float) -> None:
    if median >= LOWEST_WAVELENGTH:
        return
    guess = "micrometres (multiply by 1e4) or the logarithm of Angstrom (take 10**)"
    if median >= NANOMETRES_FROM:
        guess = "nanometres (multiply by 10)"
    raise GridError(f"{path}: {key} has the median {median:g}; expected Angstrom. It looks like {guess}.")


def _check_increasing(path: Path, key: str, wavelength: np.ndarray) -> None:
    wrong = np.diff(wavelength) <= 0
    if not wrong.any():
        return
    pixel = int(np.argmax(wrong)) + 1
    place = f"{path}: {key}[{pixel}] is {wavelength[pixel]:.10g} Angstrom (pixel {pixel})"
    if wavelength[pixel] == wavelength[pixel - 1]:
        raise GridError(
            f"{place}, repeated from pixel {pixel - 1}; expected increasing wavelengths. Remove the pixels that are "
            "there twice, or store float64 where rounding made them equal."
        )
    remedy = "Sort the axis, and the columns of the flux with it"
    if wrong.all():
        remedy = "The axis descends: reverse it, and the columns of the flux with it"
    raise GridError(
        f"{place}, unsorted: it lies below the {wavelength[pixel - 1]:.10g} of pixel {pixel - 1}; expected increasing "
        f"wavelengths. {remedy}."
    )


def check_labels(path: Path, key: str, labels: np.ndarray, names: tuple[str, ...], units: tuple[str, ...]) -> None:
    """Refuse labels (n_spectrum, n_label), each in its unit, that are not finite, or do not vary where they train."""
    # The file stores them the other way round, and the message says where in the file.
    _check_finite(path, key, labels.T, lambda label, spectrum: f"label {names[label]}, spectrum {spectrum}")
    scaler = LabelScaler.of_training_labels(labels[TRAINING])
    size = np.maximum(np.abs(scaler.x_min), np.abs(scaler.x_max))
    constant = scaler.x_max - scaler.x_min <= CONSTANT * size
    if constant.any():
        label = int(np.argmax(constant))
        raise GridError(
            f"{path}: {key}[{label}] (label {names[label]}) is constant: {scaler.x_min[label]:g} "
            f"{units[label]} in all training spectra (even rows of the flux); expected a label that varies. "
            f"Remove row {label} of {key}, and its name and unit."
        )


def check_flux(path: Path, key: str, flux: np.ndarray, wavelength: np.ndarray) -> None:
    """Refuse flux (n_spectrum, n_pixel) that is not finite, not normalised, or that no network can represent.

    `wavelength` (n_pixel,), Angstrom, says in the message where a bad value lies.
    """

    def place(spectrum: int, pixel: int) -> str:
        return f"spectrum {spectrum}, pixel {pixel}, {wavelength[pixel]:.7g} Angstrom"

    _check_finite(path, key, flux, place)
    for spectrum, row in enumerate(flux):
        _check_normalised(path, key, spectrum, row)
    _check_representable(path, key, flux, place)


def _check_normalised(path: Path, key: str, spectrum: int, row: np.ndarray) -> None:
    """Refuse one spectrum, (n_pixel,), whose continuum is clearly not at 1."""
    middle, bright = len(row) // 2, int(np.ceil((1 - BRIGHTEST_SHARE) * (len(row) - 1)))
    ordered = np.partition(row, (middle, bright))
    if ordered[middle] <= HIGHEST_MEDIAN and ordered[bright] >= LOWEST_BRIGHTEST:
        return
    highest = int(np.argmax(row))
    raise GridError(
        f"{path}: {key}[{spectrum}] (spectrum {spectrum}) is not normalised: its median flux is "
        f"{ordered[middle]:.4g}, its highest {row[highest]:.4g} at pixel {highest}; expected flux divided by its "
        "continuum, which then lies near 1. Divide each spectrum by its continuum."
    )


def _check_representable(path: Path, key: str, flux: np.ndarray, place: Callable[..., str]) -> None:
    """Refuse flux that no network can give: its output, a logistic function, lies between 0 and 1."""
    low, high = unscale_flux(0.0), unscale_flux(1.0)
    if flux.min() >= low and flux.max() <= high:
        return
    outside = int(((flux < low) | (flux > high)).sum())
    worst = int(np.argmax(np.abs(flux - 0.5 * (low + high))))
    spectrum, pixel = (int(i) for i in np.unravel_index(worst, flux.shape))
    value = flux[spectrum, pixel]
    cause = "emission, or a continuum set too low" if value > high else "negative flux"
    raise GridError(
        f"{path}: {key}[{spectrum}, {pixel}] is {value:.4g} ({place(spectrum, pixel)}), the farthest of "
        f"{outside} values outside what a network can represent: {cause}. Expected {low:g} ... {high:g}, where the "
        "scaled flux lies in 0 ... 1. Correct these spectra, or leave them or these pixels out."
    )


def _check_finite(path: Path, key: str, array: np.ndarray, place: Callable[..., str]) -> None:
    """Refuse NaN and infinity in an array as the file stores it; `place(*index)` says in words where that is."""
    finite = np.isfinite(array)
    if finite.all():
        return
    index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
    brackets = ", ".join(map(str, index))
    raise GridError(
        f"{path}: {key}[{brackets}] is {array[index]} ({place(*index)}), the first of {int((~finite).sum())} "
        "values that are NaN or infinite; expected finite numbers. Compute again or remove what they belong to."
    )
