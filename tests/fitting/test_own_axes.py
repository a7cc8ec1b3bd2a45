"""Spectra each of which has an axis or an instrument of its own: fitted together they are what they are alone."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting import FitFlag, FitSettings, SpectralModel
from payneflow.fitting.broadening import LineBroadening, to_places_of_width
from payneflow.fitting.engine.alternatives import shapes
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.data_axis import Around, AxisMemory, laid_out
from payneflow.fitting.engine.emulator import PaddedAxis, emulator_of
from payneflow.fitting.engine.shift import NOWHERE, RestAxis

NOISE = 0.004
SETTINGS = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # the kernel of test_segments.py
BROADENED = FitSettings(
    velocity=True, max_velocity=60.0, max_vsini=60.0, emulator_error=False, grid_resolution=2.25e4
)  # a mode of test_broadening.py


@pytest.fixture(scope="module")
def networks():
    return line_networks(3, 10, n_pixel=400, seed=4)


def same(one, other):
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one.colnames)


def axes_of(networks, n):
    """(n, 380) axes beside that of the networks, of another step each, the last of which has fewer pixels."""
    inner = networks.wavelength[10:-10]
    axes = np.array([inner * (1.0 + 3e-6 * k) + 0.002 * k * np.arange(len(inner)) / len(inner) for k in range(n)])
    axes[-1, 350:] = np.nan
    return axes


def stars(networks, axes):
    """Labels, velocities and noisy flux of stars on axes of their own; NaN where there is no pixel or no model."""
    rng, n = np.random.default_rng(3), len(axes)
    labels, velocity = networks.scaler.unscale(rng.uniform(0.2, 0.8, (n, 3))), rng.uniform(-50.0, 50.0, n)
    flux = np.full(axes.shape, np.nan)
    for i, axis in enumerate(axes):
        there = np.isfinite(axis)
        flux[i, there] = SpectralModel(networks, SETTINGS, axis[there]).predict(labels[i], velocity[i])
    return labels, velocity, flux * (1.0 + rng.normal(0.0, NOISE, flux.shape))


def test_an_axis_each_gives_what_each_gives_alone_to_the_last_bit(networks):
    axes = axes_of(networks, 5)
    labels, velocity, flux = stars(networks, axes)
    together = fit_spectra(networks, flux, NOISE, axes, settings=SETTINGS)
    assert np.abs((together["label0"] - labels[:, 0]) / together["label0_error"]).max() < 5
    assert np.abs((together["RV"] - velocity) / together["RV_error"]).max() < 5
    assert together["n_pixel"] + together["n_masked"] == pytest.approx([380, 380, 380, 380, 350])
    for i, axis in enumerate(axes):
        there = np.isfinite(axis)
        alone = fit_spectra(networks, flux[i : i + 1, there], NOISE, axis[there], settings=SETTINGS, spectrum=[i])
        assert same(together[i : i + 1], alone)
    backwards = fit_spectra(
        networks, flux[::-1], NOISE, axes[::-1], settings=SETTINGS, spectrum=np.arange(5)[::-1], processes=2
    )
    assert same(together, backwards[::-1])


def test_a_spectrum_out_of_reach_fails_alone(networks):
    axes = axes_of(networks, 3)
    flux = stars(networks, axes)[2]
    axes[1] *= 2.0
    table = fit_spectra(networks, flux, NOISE, axes, settings=SETTINGS)
    assert ((table["flags"] & FitFlag.FAILED) > 0).tolist() == [False, True, False]
    with pytest.raises(SpectraError, match="no pixel in common"):
        fit_spectra(networks, flux, NOISE, 2.0 * axes, settings=SETTINGS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda axes: axes[:, :-1], r"wavelength has shape \(3, 379\), expected \(380,\) or \(3, 380\)"),
        (lambda axes: np.where(axes == axes[1, 7], axes[1, 6], axes), "wavelength of spectrum 1 is .* at pixel 7"),
        (lambda axes: np.where(axes == axes[1, 7], np.nan, axes), "of spectrum 1 is .* at pixel 8"),
        (lambda axes: np.where(axes == axes[2, 0], -1.0, axes), "of spectrum 2 is -1 at pixel 0"),
        (lambda axes: np.where(axes > axes[0, 0], np.nan, axes), "spectrum 0 has fewer than two pixels"),
    ],
)
def test_rows_that_are_no_axes_are_refused(networks, change, says):
    with pytest.raises(SpectraError, match=says):
        fit_spectra(networks, np.ones((3, 380)), NOISE, change(axes_of(networks, 3)), settings=SETTINGS)


def test_an_instrument_each_gives_what_each_gives_alone():
    networks = line_networks(2, 3, n_pixel=400, seed=4)
    rng, axis = np.random.default_rng(5), networks.wavelength
    flux = networks.predict(networks.scaler.unscale(rng.uniform(0.3, 0.7, (4, 2)))) + rng.normal(0, NOISE, (4, 400))
    sloped = np.array([np.interp(axis, axis[[0, -1]], [low, low + 1e3]) for low in (8e3, 1.2e4, 2e4, 2.1e4)])
    sloped[3] = 2.25e4  # as sharp as the grid: nothing is broadened
    for each in (sloped, sloped[:, :1]):
        together = fit_spectra(networks, flux, NOISE, settings=BROADENED, resolution=each)
        for i in range(3):
            own = each[i] if each.shape[1] > 1 else each[i, 0]
            alone = fit_spectra(networks, flux[i : i + 1], NOISE, settings=BROADENED, resolution=own, spectrum=[i])
            assert same(together[i : i + 1], alone)
        assert (np.diff(together["n_masked"]) <= 0).all()  # the wider the kernel, the more pixels are out of its reach
    with pytest.raises(SettingsError, match="spectrum 2: resolution is 30000 in pixel 399"):
        fit_spectra(
            networks, flux, NOISE, settings=BROADENED, resolution=np.where(sloped == sloped[2, -1], 3e4, sloped)
        )


# ------------------------------------------------------------------------------------------- what is laid out for a fit


@pytest.mark.parametrize("n_term", [0, 1, 3])
def test_an_axis_is_laid_out_as_numpy_does_it(networks, n_term):
    """Places, neighbours and continua; with a pixel missing, a gap, and pixels far beyond the networks."""
    axis = np.delete(axes_of(networks, 2)[1], [40, *range(200, 230)])
    axis = np.append(axis, [1.5 * axis[-1], 1.6 * axis[-1]])
    rest = RestAxis(emulator_of(networks), networks.wavelength, 100.0, 30.0, True)
    around = Around.of(rest, networks.wavelength)
    memory = AxisMemory.of(around, len(axis) + 100, n_term, 4)
    laid_out(around, axis[::2], n_term, 4, memory)  # leaves nothing behind
    found, padded = laid_out(around, axis, n_term, 4, memory), PaddedAxis(axis, networks.wavelength)
    assert np.array_equal(found.segments, padded.segments) and np.array_equal(found.ranges, padded.ranges)
    places = padded.padded(rest.place(axis) - NOWHERE) + NOWHERE
    assert found.places == pytest.approx(places, abs=1e-9)
    left, fraction = rest.neighbours(places)
    assert np.array_equal(found.left, left) and found.fraction == pytest.approx(fraction, abs=1e-8)
    assert found.terms.double == pytest.approx(chebyshev(padded, axis, max(n_term, 1)).ravel(), abs=1e-12)
    assert found.flat == pytest.approx(chebyshev(padded, axis, 4).ravel(), abs=1e-12)
    assert found.terms.single == pytest.approx(found.terms.double, abs=1e-6)
    assert found.shapes == pytest.approx(shapes(padded, axis, n_term).ravel(), abs=1e-5)
    assert found.usable.sum() == len(axis) and found.alive.sum() < len(axis)


def test_kernels_of_an_instrument_are_those_of_numpy(networks):
    axis = networks.wavelength
    settings = replace(BROADENED, velocity=False)
    sloped = np.interp(axis, axis[[0, -1]], [6e3, 2.2e4])
    broadening = LineBroadening.of(networks, settings, None, sloped)
    rest = RestAxis(emulator_of(networks), axis, 60.0, 30.0, True, broadening.reach)
    found, expected = broadening.laid_kernels(rest), broadening.varied_kernels(rest)
    known = np.isfinite(rest.middles())
    assert found.shape == expected.shape and found[known] == pytest.approx(expected[known], abs=1e-7)
    assert found[known, 0] + 2.0 * found[known, 1:].sum(axis=1) == pytest.approx(1.0, abs=1e-6)
    assert to_places_of_width(broadening.instrument.max(), rest.log_step) > 3.0
