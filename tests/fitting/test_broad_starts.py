"""Spectra of few lines are searched for once more from broad ones, and the better end is kept."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.fitting import FitSettings, SpectralModel
from payneflow.fitting import fit as fitting
from payneflow.fitting.broad_starts import broad_start, keep_better
from payneflow.fitting.calibration import _near_bounds
from payneflow.fitting.engine.arguments import DISAGREE, PASSES
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import Fits

ROTATION = FitSettings(velocity=True, max_velocity=60.0, vsini=True, max_vsini=60.0, emulator_error=False)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=1600, seed=4)


def fits_of(chi2, x):
    """Fits of two parameters with a matrix of 1."""
    fits = Fits.empty(len(chi2), 2)
    fits.chi2[:], fits.x[:], fits.matrix[:], fits.counts[:, PASSES] = chi2, x, np.eye(2), 5
    return fits


def test_the_lower_end_is_kept_and_two_ends_as_good_disagree():
    first = fits_of([100.0, 100.0, 100.0, 100.0, 100.0], np.zeros((5, 2)))
    other = fits_of([95.0, 105.0, 50.0, np.nan], [[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [np.nan, np.nan]])
    keep_better(first, np.array([0, 1, 2, 4]), other)
    assert first.chi2.tolist() == [95.0, 100.0, 50.0, 100.0, 100.0]
    assert first.x[:, 0].tolist() == [3.0, 0.0, 3.0, 0.0, 0.0]
    assert first.counts[:, DISAGREE].tolist() == [1, 1, 0, 0, 0]
    assert first.counts[:, PASSES].tolist() == [10, 10, 10, 5, 10]
    same = fits_of([100.0], np.zeros((1, 2)))
    keep_better(same, np.array([0]), fits_of([99.9], [[0.1, 0.1]]))
    assert same.counts[0, DISAGREE] == 0, "one minimum, found twice"


def test_a_second_start_is_for_free_rotation_that_may_be_broad(networks):
    assert broad_start(networks, replace(ROTATION, vmac=True)).tolist() == [40.0, 4.0]
    assert broad_start(networks, replace(ROTATION, max_vsini=30.0)).tolist() == [30.0]
    for other in ({"vsini": False}, {"priors": {"vsini": (5.0, 1.0)}}):
        assert broad_start(networks, replace(ROTATION, **other)) is None
    assert broad_start(networks, replace(ROTATION, vsini=False, fixed={"vsini": 50.0})) is None


def test_no_fit_ends_higher_than_without_it_and_others_keep_their_bits(networks, monkeypatch):
    rng = np.random.default_rng(7)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (60, 2)))
    noise = 0.08
    flux = SpectralModel(networks, ROTATION).predict(labels, rng.uniform(-40, 40, 60), broadening={"vsini": 45.0})
    flux = np.nan_to_num(flux, nan=1.0) + rng.normal(0, noise, flux.shape)
    with_it = fit_spectra(networks, flux, noise, settings=ROTATION)
    alone = fit_spectra(networks, flux[7:9], noise, settings=ROTATION)
    assert (with_it["chi2"][7:9] == alone["chi2"]).all() and (with_it["vsini"][7:9] == alone["vsini"]).all()
    monkeypatch.setattr(fitting, "broad_start", lambda networks, settings: None)
    without = fit_spectra(networks, flux, noise, settings=ROTATION)
    assert (with_it["chi2"] <= without["chi2"]).all()
    sure = np.isnan(without["vsini_limit"])
    assert sure.any() and (with_it["chi2"] == without["chi2"])[sure].all()


def test_noise_is_told_by_widths_that_it_takes_to_no_bound(networks):
    parameters = Parameters.of(networks, ROTATION)
    x = np.array([[0.5, 0.5, 0.2, 0.0], [0.5, 0.5, 5.0, 0.0], [0.5, 0.5, 12.6, 0.0]])
    variance = np.full((3, 4), 0.01)
    assert _near_bounds(parameters, x, variance, 1.4e-5).tolist() == [True, False, True]
    held = Parameters.of(networks, replace(ROTATION, vsini=False, fixed={"vsini": 50.0}))
    assert not _near_bounds(held, x, variance, 1.4e-5).any()
