"""The scores of a fit beside numpy: products of what a spectrum may have and what the fit has, after the continuum."""

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.fitting import FitSettings
from payneflow.fitting.engine.alternatives import (
    COMPANION,
    CONTINUUM,
    DILUTION,
    N_ALTERNATIVE,
    NARROW,
    NARROW_STEP,
    VELOCITY,
    WIDE,
    WIDE_STEP,
    eliminate,
)
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.model import SpectralModel

NOISE = 0.01
SHARP, BENT = FitSettings(), FitSettings(continuum=2)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=400, seed=4)


def segments(networks):
    return np.split(np.arange(len(networks.wavelength)), [len(networks.wavelength) // 3])


def alternatives(networks, flux, lag, n_term):
    """Rows (N_ALTERNATIVE, n_pixel) of normalised flux, pixel by pixel as their names say."""
    rows = np.zeros((N_ALTERNATIVE, len(flux)))
    whole = np.linspace(-1, 1, len(flux)) if n_term else None
    wavelength = networks.wavelength
    whole = 2 * (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0]) - 1
    for s, part in enumerate(segments(networks)):
        own, n = flux[part], len(part)
        for k in range(n):
            if 1 <= k < n - 1:
                rows[VELOCITY, part[k]] = (own[k + 1] - own[k - 1]) / 2
            for row, step in ((NARROW, NARROW_STEP), (WIDE, WIDE_STEP)):
                if step <= k < n - step:
                    rows[row, part[k]] = (own[k + step] + own[k - step]) / 2 - own[k]
            if 0 <= k - lag < n:
                rows[COMPANION, part[k]] = own[k - lag] - flux.mean()
        unit = np.linspace(-1, 1, n)
        for t in range(2 if n_term else 4):
            shape = np.polynomial.Chebyshev.basis(n_term + t)(unit if n_term else whole[part])
            rows[CONTINUUM.start + t + (2 * (s % 2) if n_term else 0), part] = own * shape
    rows[DILUTION] = flux - flux.mean()
    return rows


@pytest.mark.parametrize("settings", [SHARP, BENT], ids=["labels", "continuum"])
def test_scores_are_products_of_derivatives_alternatives_and_residual(networks, settings):
    """Without the emulator's error all pixels weigh the same, so that a mean is the mean."""
    settings = FitSettings(emulator_error=False, continuum=settings.continuum)
    rng = np.random.default_rng(0)
    labels = networks.scaler.unscale(rng.uniform(0.3, 0.7, (3, 2)))
    flux = networks.predict(labels) + rng.normal(0, NOISE, (3, 400))
    fits = search_spectra(networks, flux, NOISE, settings=settings)
    forward, n_term = SpectralModel(networks, settings), settings.continuum
    for i in range(3):
        found = networks.scaler.unscale(fits.x[i])
        scaled, continuum, _, _ = forward.compare(found, 0.0, flux[i], np.full(400, NOISE))
        model = scaled / continuum
        step = 1e-4
        slopes = [
            (networks.predict_scaled(fits.x[i] + step * unit) - networks.predict_scaled(fits.x[i] - step * unit))
            / step
            / 2
            for unit in np.eye(2)
        ]
        # the kernel's mean is weighted by the continuum squared
        rows = alternatives(networks, model, fits.lag[i], n_term)
        mean = np.average(model, weights=continuum**2)
        rows[DILUTION] = model - mean
        rows[COMPANION] = np.where(rows[COMPANION] != 0, rows[COMPANION] + model.mean() - mean, 0)
        rows, slopes = rows * continuum / NOISE, np.array(slopes) * continuum / NOISE
        residual = (flux[i] - scaled) / NOISE
        terms = [
            np.where(np.isin(np.arange(400), part), model, 0)
            * np.polynomial.Chebyshev.basis(t)(np.interp(np.arange(400), [part[0], part[-1]], [-1, 1]))
            for part in segments(networks)
            for t in range(n_term)
        ]
        if terms:
            basis = np.linalg.qr(np.array(terms).T)[0]
            rows, slopes = (values - (values @ basis) @ basis.T for values in (rows, slopes))
        size = np.sqrt((rows**2).sum(axis=1))
        assert fits.score[i] == pytest.approx(rows @ residual, abs=0.02 * size.max())
        assert fits.information[i] == pytest.approx(rows @ rows.T, rel=0.01, abs=1e-3 * size.max() ** 2)
        assert fits.cross[i] == pytest.approx(slopes @ rows.T, rel=0.01, abs=1e-3 * (slopes @ rows.T).max())
        assert fits.total_weight[i] == pytest.approx((continuum**2).sum() / NOISE**2, rel=1e-3)


def test_the_lag_is_that_of_a_companion_s_lines(networks):
    labels = networks.scaler.unscale(np.array([[0.5, 0.5], [0.4, 0.6]]))
    flux = networks.predict(labels)
    for lag in (12, -20):
        moved = 0.8 * flux + 0.2 * np.roll(flux, lag, axis=1)
        assert search_spectra(networks, moved, 1e-3).lag.tolist() == [lag, lag]


def test_a_velocity_that_is_fitted_is_no_alternative(networks):
    flux = networks.predict_scaled(np.array([[0.5, 0.5]]))
    wanted = FitSettings(velocity=True, continuum=2, max_velocity=60.0)  # which other tests have compiled
    fits = search_spectra(networks, flux, NOISE, settings=wanted)
    assert fits.score[0, VELOCITY] == 0 and not fits.information[0, VELOCITY].any()


def test_eliminating_rows_leaves_the_schur_complement():
    rows = np.random.default_rng(1).normal(size=(6, 30))
    products = rows @ rows.T
    lower = np.tril(products)
    eliminate(lower, 2, 6)
    expected = products[2:, 2:] - products[2:, :2] @ np.linalg.solve(products[:2, :2], products[:2, 2:])
    assert lower[2:, 2:] == pytest.approx(np.tril(expected))


def test_a_fit_of_a_fixed_label_scores_as_well(networks):
    flux = networks.predict_scaled(np.array([[0.5, 0.5]]))
    label = networks.scaler.unscale(np.array([0.5, 0.5]))[0]
    table = fit_spectra(networks, flux, NOISE, settings=FitSettings(fixed={"label0": float(label)}))
    assert np.isfinite(table["mismatch"]).all() and table["mismatch_kind"][0] == "none"
