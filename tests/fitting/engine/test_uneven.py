"""Networks on axes that are not even in ln(wavelength): moved to data as those on even axes are."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks
from scipy.interpolate import CubicSpline

from payneflow import fit_spectra
from payneflow.errors import SpectraError
from payneflow.fitting import FitSettings
from payneflow.fitting.best_fit import best_fits
from payneflow.fitting.engine.emulator import emulator_of
from payneflow.fitting.engine.shift import C_KM_S, RestAxis
from payneflow.fitting.engine.taps import tap_weights_at
from payneflow.weights import PUBLISHED_KEYS

FIRST, LAST, STEP = 15010.0, 15140.0, 1.4e-5  # Angstrom, and the step of the networks all others are made of
N_PIXEL = int(np.log(LAST / FIRST) / STEP)
LINEAR = np.linspace(FIRST, LAST, N_PIXEL)
PIXEL = np.arange(N_PIXEL)
AXES = {
    "even in wavelength": LINEAR,
    "rounded": (FIRST * np.exp(STEP * PIXEL)).round(2),
    "a step that changes": np.concatenate([LINEAR[:300], LINEAR[299] + 0.13 * (1.0 + np.arange(350))]),
    "steps that wander": FIRST + np.cumsum(0.19 + 0.04 * np.sin(PIXEL / 60)),
    "with a gap": np.concatenate([LINEAR[:250], LINEAR[290:]]),
    "falling steps": FIRST + 140.0 * (1.0 - np.exp(-PIXEL / 700.0)),
}


@pytest.fixture(scope="module")
def at():
    """Networks at any wavelengths (n_pixel,), the same continuous spectra whatever these are."""
    even = line_networks(2, 3, n_pixel=1600, seed=11)
    some = slice(600, None)  # behind the gap
    log = np.log(even.wavelength[some] / even.wavelength[600] * (FIRST - 20.0))
    weights = {name: CubicSpline(log, getattr(even, name)[some]) for name in PUBLISHED_KEYS}

    def networks(wavelength):
        arrays = {name: weights[name](np.log(wavelength)) for name in PUBLISHED_KEYS}
        return replace(even, **arrays, wavelength=wavelength, emulator_rms=np.full(len(wavelength), 1e-4))

    return networks


def moved(at, labels, wavelength, velocity):
    """Spectra (n, n_data) of stars at these velocities (n,), exact: no pixel is interpolated."""
    return np.stack(
        [
            at(wavelength * np.sqrt((1 - v / C_KM_S) / (1 + v / C_KM_S))).predict(one)
            for one, v in zip(labels, velocity, strict=True)
        ]
    )


VELOCITY = np.array([-87.3, -1.61, 0.0, 44.7])


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("other", [False, True], ids=["own pixels", "other pixels"])
def test_labels_and_velocities_are_found(at, axis, other):
    networks = at(axis)
    labels = networks.scaler.unscale(np.random.default_rng(3).uniform(0.25, 0.75, (4, 2)))
    wavelength = np.linspace(axis[0] + 5.0, axis[-1] - 5.0, 540) if other else None
    flux = moved(at, labels, axis if wavelength is None else wavelength, VELOCITY)
    wanted = FitSettings(velocity=True, max_velocity=120.0)
    fits = fit_spectra(networks, flux, 0.003, wavelength, settings=wanted)
    assert (fits["flags"] == 0).all()
    assert np.asarray(fits["RV"]) == pytest.approx(VELOCITY, abs=0.05)
    for j, name in enumerate(networks.label_names):
        assert (np.abs(fits[name] - labels[:, j]) < 1.0 * fits[f"{name}_error"]).all()
    best = best_fits(networks, wanted, fits, flux, np.full(flux.shape, 0.003), wavelength)
    assert np.abs(best.used.sum(axis=1) - fits["n_pixel"]).max() <= 1, "at the ends, where a pixel just has a network"
    chi2 = np.nansum(((flux - best.model) / best.sigma) ** 2, axis=1)
    assert np.asarray(fits["chi2"]) == pytest.approx(chi2, rel=1e-2)


def test_pixels_without_a_network_take_no_part(at):
    networks = at(LINEAR)
    for name in PUBLISHED_KEYS:
        getattr(networks, name)[200:210] = np.nan
    labels = networks.scaler.unscale(np.full((1, 2), 0.4))
    flux = moved(at, labels, LINEAR, [20.0])
    fits = fit_spectra(networks, flux, 0.003, settings=FitSettings(velocity=True, max_velocity=120.0))
    assert fits["RV"][0] == pytest.approx(20.0, abs=0.05) and fits["flags"][0] == 0
    whole = fit_spectra(at(LINEAR), flux, 0.003, settings=FitSettings(velocity=True, max_velocity=120.0))
    assert 10 < whole["n_pixel"][0] - fits["n_pixel"][0] < 60


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_weights_interpolate_a_spectrum(axis):
    log = np.log(axis[:250])
    wanted = np.linspace(log[0], log[-1], 1001)
    firsts, weights = tap_weights_at(log, wanted)
    inside = weights.any(axis=1)
    assert inside[np.searchsorted(wanted, log[4]) : np.searchsorted(wanted, log[-5])].all()
    assert weights[inside].sum(axis=1) == pytest.approx(np.ones(inside.sum()))

    def line(x):
        return np.sin((x - log[0]) / (6.0 * STEP))

    values = (line(log)[firsts[:, None] + np.arange(8)] * weights).sum(axis=1)
    assert values[inside] == pytest.approx(line(wanted)[inside], abs=2e-3)


def test_steps_that_differ_without_measure_are_refused():
    networks = line_networks(1, 1, n_pixel=300)
    nearly_twice = 15000.0 + np.repeat(2.0 * np.arange(100), 3) + np.tile([0.0, 1.0, 1.0001], 100)
    uneven = replace(networks, wavelength=nearly_twice)
    with pytest.raises(SpectraError, match="differ too much for velocities"):
        RestAxis(emulator_of(uneven), uneven.wavelength, 100.0, 30.0, True)
