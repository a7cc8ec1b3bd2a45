"""Whether wavelengths are the networks' own: exactly, rounded to be stored, or those of another axis."""

import numpy as np
import pytest

from payneflow.spectra.wavelengths import columns_of, rounding_of, vacuum_angstrom

AXES = {
    "logarithmic": 15200.0 * np.exp(1.3e-5 * np.arange(4000)),
    "linear": 5100.0 + 0.037 * np.arange(3000),
    "uneven": np.cumsum(0.08 + 0.02 * np.sin(np.arange(900) / 70)) + 8400.0,
}
ROUNDED = {
    "exact": (lambda w: w, "Angstrom"),
    "float32": (lambda w: w.astype(np.float32), "Angstrom"),
    "big-endian float32": (lambda w: w.astype(">f4"), "Angstrom"),
    "three decimals": (lambda w: w.round(3), "Angstrom"),
    "three decimals in float32": (lambda w: w.round(3).astype(np.float32), "Angstrom"),
    "float32 once, float64 now": (lambda w: w.astype(np.float32).astype(float), "Angstrom"),
    "float32 nm": (lambda w: (w / 10).astype(np.float32), "nm"),
    "float32 logarithm": (lambda w: np.log10(w).astype(np.float32), "log10_Angstrom"),
}
OTHERS = {
    "moved by 15 m/s": lambda w: w * (1 + 5e-8),
    "moved by 3 km/s": lambda w: w * (1 + 1e-5),
    "moved, in float32": lambda w: (w * (1 + 4e-7)).astype(np.float32),
    "moved by a fraction of the last decimal": lambda w: w + 3e-4,
    "two decimals": lambda w: (w + 0.0013 * np.arange(len(w)) % 0.01).round(2),
    "one pixel missing": lambda w: np.delete(w, 30),
}


def columns(networks, stored, unit="Angstrom"):
    wavelength = vacuum_angstrom("file", stored, unit, "vacuum")
    return columns_of(networks, wavelength, rounding_of(stored, wavelength, unit))


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize(("stored", "unit"), ROUNDED.values(), ids=ROUNDED)
def test_rounded_wavelengths_are_recognised(axis, stored, unit):
    assert columns(axis, stored(axis), unit).tolist() == list(range(len(axis)))


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("stored", OTHERS.values(), ids=OTHERS)
def test_other_axes_are_not_taken_for_it(axis, stored):
    assert columns(axis, stored(axis)) is None


def test_pixels_of_a_longer_axis_are_found():
    axis = AXES["linear"][100:]
    longer = np.sort(np.concatenate([AXES["linear"], AXES["linear"][200:] + 0.01])).astype(np.float32)
    assert np.abs(longer[columns(axis, longer)] - axis).max() < 5e-4


def test_steps_as_short_as_the_rounding_tell_nothing():
    fine = 15000.0 + 1.5e-3 * np.arange(50)
    assert columns(fine, fine) is not None
    assert columns(fine, fine + 2e-4 * (-1.0) ** np.arange(50)) is None
