"""Wavelength axes: gaps and the segments between them, and wavelengths in air as those in vacuum."""

from itertools import pairwise

import numpy as np

BEYOND = 0.004  # relative; 1200 km/s, more than any star moves
LOWEST_IN_AIR = 2000.0  # Angstrom; below, air absorbs and all wavelengths are in vacuum
STEP_SHARE = 0.05  # of the steps of an axis that may be shorter than the even ones it is taken to
MOST_PLACES = 20  # of those, for each pixel
GAP = 5.0  # a step wider than this many median steps is a gap


def is_gap(wavelength: np.ndarray) -> np.ndarray:
    """(n_pixel - 1,) whether the step to the next pixel crosses a gap; `wavelength` (n_pixel,) increases."""
    step = np.diff(wavelength)
    return step > GAP * np.median(step) if len(step) else np.zeros(0, dtype=bool)


def after_gaps(wavelength: np.ndarray) -> np.ndarray:
    """The first pixel after each gap, (n_gap,); `wavelength` (n_pixel,) increases."""
    return np.flatnonzero(is_gap(wavelength)) + 1


def segments(wavelength: np.ndarray) -> list[tuple[int, int]]:
    """First pixel and stop, exclusive, of each run of pixels between gaps, such as a detector chip."""
    edges = [0, *after_gaps(wavelength).tolist(), len(wavelength)]
    return list(pairwise(edges))


def segments_by(gaps_of: np.ndarray, wavelength: np.ndarray) -> list[tuple[int, int]]:
    """The segments of `wavelength` (n_pixel,), cut in the middle of each gap that `gaps_of` (n,) has; both increase.

    What lies farther beyond its ends than any star moves is apart, too.

    Observed spectra lack pixels for many reasons; where their detectors end, the axis of the networks says.
    """
    edges = np.unique([0, *np.searchsorted(wavelength, cuts_of(gaps_of)), len(wavelength)]).tolist()
    return list(pairwise(edges))


def cuts_of(gaps_of: np.ndarray) -> np.ndarray:
    """The wavelengths (n_cut,) at which `segments_by` cuts: the middle of each gap, and far beyond both ends."""
    after = after_gaps(gaps_of)
    middles = 0.5 * (gaps_of[after - 1] + gaps_of[after])
    return np.concatenate([[gaps_of[0] * (1 - BEYOND)], middles, [gaps_of[-1] * (1 + BEYOND)]])


def even_step(wavelength: np.ndarray) -> tuple[float, bool]:
    """The step in ln(wavelength) that an axis (n_pixel,) may be taken to, and whether it may: not to countless places.

    Hardly a step of the axis within its segments is shorter.
    """
    step = np.diff(np.log(wavelength))[~is_gap(wavelength)]
    if not len(step):
        return 1.0, True
    short = float(np.quantile(step, STEP_SHARE))
    return short, bool(step.sum() <= MOST_PLACES * short * len(wavelength))


def refractive_index(vacuum: np.ndarray) -> np.ndarray:
    """Of standard air (15 C, 101325 Pa, 450 ppm CO2) at vacuum wavelengths (any shape), Angstrom.

    Ciddor (1996, Applied Optics 35, 1566), equation 1; measured from 2300 to 16 900 Angstrom.
    """
    squared = (1e4 / np.asarray(vacuum, dtype=float)) ** 2  # wave number, 1/micrometre
    return 1.0 + 1e-8 * (5792105.0 / (238.0185 - squared) + 167917.0 / (57.362 - squared))


def air_to_vacuum(air: np.ndarray) -> np.ndarray:
    """Vacuum wavelengths (any shape), Angstrom, of wavelengths in standard air; accurate to 1e-9 Angstrom.

    The index belongs to the wavelength that is sought, so three rounds of vacuum = air * index(vacuum): each gains
    five digits.
    """
    air = np.asarray(air, dtype=float)
    vacuum = air
    for _ in range(3):
        vacuum = air * refractive_index(vacuum)
    return vacuum
