"""Wavelengths as declared -> Angstrom in vacuum, increasing, within reach of the networks."""

from collections.abc import Callable

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.layout import WAVELENGTH_UNITS
from payneflow.wavelength import BEYOND, LOWEST_IN_AIR, air_to_vacuum

ANGSTROM_IN = {"Angstrom": 1.0, "nm": 10.0, "um": 1e4, "m": 1e10}
SAME_WAVELENGTH = 1e-9  # relative; 0.3 m/s, far below what any spectrum can tell
HALF_OF_LAST_DECIMAL = 0.5001e-3  # Angstrom; of wavelengths that are written with three
SINGLE = 2.0**-24  # relative; half of the last bit of a float32
MOST_OF_A_STEP = 0.25  # of an axis whose wavelengths can be told from each other in spite of rounding
EVENLY = 0.1  # of the largest rounding: more is a shift, on the mean


def rising_axis(
    place: str, stored: np.ndarray, unit: str, medium: str, takes_part: Callable[[], np.ndarray]
) -> tuple[np.ndarray, np.ndarray | slice]:
    """Wavelengths (n_pixel,) as stored -> those in Angstrom and vacuum, increasing, and the pixels that have them.

    The pixels index an axis of the file: all of them, turned round where it falls. Where that is no axis, those that
    `takes_part` () -> (n_pixel,) bool says, if they have one: the others are padding. Raises what `vacuum_angstrom`
    does.
    """
    try:
        wavelength = vacuum_angstrom(place, stored, unit, medium)
    except SpectraError:
        there = takes_part()
        if there.all() or not there.any():
            raise
        pixels = np.flatnonzero(there)
        wavelength = vacuum_angstrom(place, stored[pixels], unit, medium, pixels)
        return (wavelength, pixels) if wavelength[-1] >= wavelength[0] else (wavelength[::-1], pixels[::-1])
    turned = slice(None, None, 1 if wavelength[-1] >= wavelength[0] else -1)
    return wavelength[turned], turned


def vacuum_angstrom(
    place: str, stored: np.ndarray, unit: str, medium: str, pixels: np.ndarray | None = None
) -> np.ndarray:
    """Wavelengths (n_pixel,) as stored, in `unit` and `medium` -> Angstrom in vacuum, in the order of the file.

    `pixels` (n_pixel,): their numbers in the file, where some are left away. Raises SpectraError with `place` (file and
    key) for what is no strictly rising or falling positive axis.
    """
    wavelength = _angstrom(stored, unit)
    number = np.arange(len(stored)) if pixels is None else pixels
    bad = ~(np.isfinite(stored) & np.isfinite(wavelength) & (wavelength > 0))
    if bad.any():
        first = int(np.argmax(bad))
        pixel = number[first]
        raise SpectraError(
            f"{place}[{pixel}] is {stored[first]:g} (pixel {pixel}), the first of {int(bad.sum())} such; expected "
            f"wavelengths in {unit}, as the setting wavelength_unit says. Mask what is padding."
        )
    steps = np.diff(wavelength)
    if len(steps) and not ((steps > 0).all() or (steps < 0).all()):
        wrong = int(np.argmax(steps * np.sign(np.median(steps) or 1.0) <= 0)) + 1
        raise SpectraError(
            f"{place}[{number[wrong]}] is {stored[wrong]:.10g} (pixel {number[wrong]}), after "
            f"{stored[wrong - 1]:.10g}; expected wavelengths that only rise, or only fall. Sort the pixels, and remove "
            "those that are there twice; mask what is padding."
        )
    if medium == "vacuum":
        return wavelength
    if wavelength.min() < LOWEST_IN_AIR:
        raise SpectraError(
            f"{place} goes down to {wavelength.min():g} Angstrom, where wavelengths are in vacuum; "
            "expected the setting medium to be vacuum."
        )
    return air_to_vacuum(wavelength)


def _angstrom(stored: np.ndarray, unit: str) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        values = 10.0**stored if unit.startswith("log10_") else np.asarray(stored, dtype=float)
    return values * ANGSTROM_IN[unit.removeprefix("log10_")]


def check_overlap(place: str, stored: np.ndarray, wavelength: np.ndarray, networks: np.ndarray, unit: str) -> None:
    """Refuse wavelengths (n_pixel,), Angstrom, none of which lies in the networks' range; say which unit would fit."""
    low, high = networks.min(), networks.max()
    inside = _within(wavelength, low, high)
    if inside.any():
        if len(wavelength[within_reach(wavelength, networks)]) > 1:
            return
        raise SpectraError(
            f"{place} has a single pixel, {wavelength[inside][0]:.6g} Angstrom, within reach of the networks; expected "
            "a spectrum. Was the file cut?"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        fitting = [other for other in WAVELENGTH_UNITS if other != unit]
        fitting = [other for other in fitting if _within(_angstrom(stored, other), low, high).any()]
    hint = f" They would fit as {fitting[0]}: is wavelength_unit wrong?" if fitting else ""
    raise SpectraError(
        f"{place} covers {wavelength.min():.6g} ... {wavelength.max():.6g} Angstrom (declared as {unit}), nothing of "
        f"the networks' {low:.6g} ... {high:.6g} Angstrom.{hint or ' Use networks of that range.'}"
    )


def within_reach(wavelength: np.ndarray, networks: np.ndarray) -> slice:
    """The pixels of an increasing axis (n_pixel,) that any star's networks can reach, with room for its velocity."""
    low, high = networks.min() * (1 - BEYOND), networks.max() * (1 + BEYOND)
    return slice(int(np.searchsorted(wavelength, low)), int(np.searchsorted(wavelength, high, side="right")))


def rounding_of(stored: np.ndarray, wavelength: np.ndarray, unit: str) -> np.ndarray:
    """By how much wavelengths (n_pixel,) in Angstrom may be off, (n_pixel,), because they were rounded to be stored.

    As three decimals of an Angstrom, and in single precision: as they are stored now, or once were.
    """
    logarithmic = unit.startswith("log10_") and stored.dtype.kind == "f" and stored.dtype.itemsize == 4
    single = np.log(10.0) * np.abs(stored) if logarithmic else 1.0
    return HALF_OF_LAST_DECIMAL + SINGLE * single * wavelength


def columns_of(networks: np.ndarray, wavelength: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray | None:
    """Where the networks' pixels are on an increasing axis (n_pixel,), if all of them are there; None otherwise.

    They are there where they differ by `rounding` (n_pixel,) at most, Angstrom, now in this direction, now in that: an
    axis that is shifted as a whole is another, and so is one whose steps are hardly longer than that.
    """
    middles = 0.5 * (wavelength[1:] + wavelength[:-1])
    places = np.searchsorted(middles, networks)
    off = wavelength[places] - networks
    if (np.abs(off) <= SAME_WAVELENGTH * networks).all():
        return places
    most = np.broadcast_to(rounding, wavelength.shape)[places]
    fine = len(networks) > 1 and (most[1:] > MOST_OF_A_STEP * np.diff(networks)).any()
    shifted = abs(float((off / np.maximum(most, SAME_WAVELENGTH)).mean())) > max(EVENLY, 1.0 / np.sqrt(len(networks)))
    return None if fine or shifted or (np.abs(off) > most).any() else places


def _within(wavelength: np.ndarray, low: float, high: float) -> np.ndarray:
    return (wavelength >= low) & (wavelength <= high)
