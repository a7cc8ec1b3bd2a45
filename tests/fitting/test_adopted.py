"""Fits, label errors and flags with networks of other kinds than those that payneflow trains."""

from dataclasses import replace

import known_foreign as foreign
import numpy as np
import pytest
from known_foreign import LABELS, WAVELENGTH, X_MAX, X_MIN, pixel_weights, whole_weights

from payneflow import adopt_networks
from payneflow.evaluation import evaluate_networks
from payneflow.fitting import FitFlag, FitSettings, SpectralModel, fit_spectra, measure_label_errors
from payneflow.fitting.engine.emulator import emulator_of
from payneflow.fitting.engine.far_away import build_changes
from payneflow.fitting.engine.general_pass import build_spectrum
from payneflow.fitting.engine.label_pass import build_predict
from payneflow.grid import SpectralGrid
from payneflow.simd import LANES, aligned, kernel

NOISE = 2e-3
MOVING = FitSettings(velocity=True, vsini=True, max_velocity=60.0, max_vsini=40.0)
KINDS = {"linear": (pixel_weights(0.3), foreign.binaries), "whole": (whole_weights(), foreign.whole)}


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """The networks of both kinds, by name."""
    found = {}
    for name, (weights, _) in KINDS.items():
        path = tmp_path_factory.mktemp("adopted") / f"{name}.npz"
        np.savez(path, **weights)
        scale = None if name == "whole" else "centred"
        found[name] = adopt_networks(path, wavelength=WAVELENGTH, medium="vacuum", scale=scale, **LABELS).networks
    return found


@pytest.fixture(params=KINDS)
def networks(request, adopted):
    return adopted[request.param]


@pytest.fixture
def whole(adopted):
    return adopted["whole"]


def some_labels(n, seed=0):
    inside = 0.15 * (X_MAX - X_MIN)
    return np.random.default_rng(seed).uniform(X_MIN + inside, X_MAX - inside, (n, 2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_flux_and_derivatives_of_the_kernels_are_those_of_numpy(networks, dtype):
    emulator, at = emulator_of(networks), np.array([0.37, 0.58])
    of_pass = build_spectrum(2, emulator.n_neurons, emulator.kind)

    @kernel
    def run(weights, ranges, x, rest, n_rest):
        of_pass(weights, ranges, ranges[:, 0], x, rest, n_rest)

    n = emulator.axis.n_place
    rest, flux = aligned(3 * n // LANES, dtype), aligned(n // LANES, dtype)
    run(emulator.weights[dtype], emulator.axis.ranges, at, rest, n)
    build_predict(2, emulator.n_neurons, emulator.kind)(emulator.weights[dtype], at, flux)
    expected, slopes = networks.jacobian_scaled(at)
    found, digits = rest.reshape(3, n)[:, emulator.axis.place], 1e-11 if dtype == np.float64 else 3e-6
    assert found[0] == pytest.approx(expected, abs=digits)
    assert np.abs(found[1:].T - slopes).max() < 10 * digits
    assert flux[emulator.axis.place] == pytest.approx(expected, abs=digits)


def test_changes_of_the_flux_far_away_are_those_of_numpy(networks):
    emulator, rng = emulator_of(networks), np.random.default_rng(5)
    stars, places, first = rng.uniform(0.2, 0.8, (3, 2)), rng.uniform(0.1, 0.9, (5, 2)), np.array([0, 2, 2, 5])
    noise, variance = np.array([1e-4, 2e-4, 3e-4]), emulator.axis.padded(np.full(len(WAVELENGTH), 1e-4), np.float32)
    variance[emulator.dead] = 1e30
    squares = np.zeros(5)
    changes = build_changes(2, emulator.n_neurons, emulator.kind)
    changes(emulator.weights[np.float32], variance, noise, stars, first, places, squares)
    for i, star in enumerate([0, 0, 2, 2, 2]):
        away = networks.predict_scaled(places[i]) - networks.predict_scaled(stars[star])
        assert squares[i] == pytest.approx((away**2).sum() / (1e-4 + noise[star]), rel=1e-3)


def test_labels_velocity_and_rotation_come_back_with_honest_errors(networks):
    n, rng = 60, np.random.default_rng(6)
    labels, velocity, vsini = some_labels(n), rng.uniform(-50, 50, n), rng.uniform(10, 35, n)
    model = SpectralModel(networks, MOVING)
    flux = np.nan_to_num(model.predict(labels, velocity, broadening={"vsini": vsini}), nan=1.0)
    fits = fit_spectra(networks, flux + rng.normal(0, NOISE, flux.shape), NOISE, settings=MOVING)
    assert fits.meta["errors"] == "formal"
    truth = {**dict(zip(networks.label_names, labels.T, strict=True)), "RV": velocity}
    good = (fits["flags"] & (FitFlag.FAILED | FitFlag.NOT_CONVERGED)) == 0
    assert good.mean() > 0.9
    for name, true in truth.items():
        pull = ((fits[name] - true) / fits[f"{name}_error"])[good]
        assert 0.6 < np.sqrt(np.median(pull**2) / 0.4549) < 1.5, name
    assert np.median(np.abs(fits["vsini"] - vsini)[good]) < 3.0


def test_chi2_is_that_of_the_formula_of_the_other_program(whole):
    """A fit of labels alone, at its best labels: chi2, and no label near by that is better."""
    weights = {key: value.astype(float) for key, value in KINDS["whole"][0].items()}
    labels, rng = some_labels(20, seed=7), np.random.default_rng(7)
    flux = np.array([foreign.whole(weights, one) for one in labels])
    flux += rng.normal(0, NOISE, flux.shape)
    fits = fit_spectra(whole, flux, NOISE)
    found = np.column_stack([fits[name] for name in whole.label_names])
    for i, best in enumerate(found):
        chi2 = (((flux[i] - foreign.whole(weights, best)) / NOISE) ** 2).sum()
        assert fits["chi2"][i] == pytest.approx(chi2, rel=1e-6)
        for step in (0.3, -0.3):
            for j, name in enumerate(whole.label_names):
                moved = best + step * fits[f"{name}_error"][i] * np.eye(2)[j]
                assert (((flux[i] - foreign.whole(weights, moved)) / NOISE) ** 2).sum() > chi2
    assert (fits["dof"] == len(WAVELENGTH) - 2).all()


def test_flags_are_those_of_any_networks(whole):
    flux = whole.predict(some_labels(4, seed=8))
    flux[1, 100:160] += 0.2  # no spectrum of these networks
    flux[2] = np.nan
    fits = fit_spectra(whole, flux, NOISE)
    flags = np.asarray(fits["flags"])
    assert flags[0] == 0 and flags[3] == 0
    assert flags[1] & FitFlag.MODEL_MISMATCH and flags[2] & FitFlag.FAILED


def known_errors(labels):
    """A smooth label error (n, 2) in K and dex."""
    unit = (labels - X_MIN) / (X_MAX - X_MIN)
    return np.column_stack([8.0 * np.sin(3 * unit[:, 0]), 0.01 * np.cos(3 * unit[:, 1])])


def test_any_grid_with_these_labels_calibrates_and_evaluates(whole):
    """Networks that say nothing of a grid: its spectra are those of labels that are off by what is known."""
    labels = some_labels(120, seed=9)
    flux = whole.predict(labels + known_errors(labels))
    grid = SpectralGrid("grid.npz", WAVELENGTH, flux, labels, whole.label_names, whole.label_units, "any")
    errors = measure_label_errors(whole, grid, FitSettings())
    off = errors.errors * whole.scaler.width - known_errors(labels[errors.rows])
    assert np.sqrt(np.median(off**2, axis=0)) == pytest.approx([0.0, 0.0], abs=0.02)
    stars = some_labels(30, seed=10)
    fits = fit_spectra(whole, whole.predict(stars + known_errors(stars)), NOISE, label_errors=errors)
    assert fits.meta["errors"] == "calibrated"
    assert np.median(np.abs(fits["Teff"] - stars[:, 0])) < 2.0, "without correction 5 K"
    results = evaluate_networks(whole, grid)
    rms = np.sqrt(((whole.predict(labels) - flux)[1::2] ** 2).mean(axis=0))
    assert results["rms_test"] == pytest.approx(rms, rel=1e-6)


def test_flux_of_another_scale_is_fitted_in_its_own_unit(whole):
    scaled = replace(whole, flux_scale=replace(whole.flux_scale, lowest=0.0, highest=40.0))
    flux = whole.predict(some_labels(4, seed=11))
    one, other = fit_spectra(whole, flux, NOISE), fit_spectra(scaled, 40.0 * flux, 40.0 * NOISE)
    assert np.asarray(one["Teff"]) == pytest.approx(np.asarray(other["Teff"]), abs=1e-2)
