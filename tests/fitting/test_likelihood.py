"""The likelihood for samplers: that of the fit and of the public model in numpy, its priors, and how it is called."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks
from scipy import stats as distributions
from scipy.special import ndtr
from smooth_stars import networks, stars  # noqa: F401 - fixtures

from payneflow import fit_spectra
from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting import FitSettings, LogLikelihood, SpectralModel
from payneflow.fitting.broadening import to_places_of_width
from payneflow.fitting.engine.likelihood_engine import LikelihoodEngine
from payneflow.fitting.engine.widths import to_parameter

MOVED = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # as in test_segments.py: one kernel for both
ROTATION = FitSettings(velocity=True, max_velocity=60.0, vsini=True, max_vsini=60.0, emulator_error=False)


def around(likelihood, n=20, seed=0):
    """Points (n, n_parameter) a few errors from the best fit, within the bounds."""
    away = np.random.default_rng(seed).normal(size=(n, likelihood.n))
    return np.clip(likelihood.best + 3.0 * away * likelihood.errors, *likelihood.bounds.T)


def test_likelihood_of_labels_is_that_of_the_public_model(networks, stars):
    flux, error = stars
    likelihood, model = LogLikelihood(networks, flux[0], error[0]), SpectralModel(networks)
    points = around(likelihood)
    expected = [model.log_likelihood(point, flux[0], error[0]) for point in points]
    assert likelihood(points) == pytest.approx(expected, abs=0.01), "chi2 is in single precision"
    assert likelihood.n_pixel == np.sum(np.isfinite(flux[0]) & np.isfinite(error[0]))
    assert likelihood.names == ("Teff", "logg", "[Fe/H]") and likelihood.units == ("K", "dex", "dex")


@pytest.mark.parametrize("i", [0, 1, 2])
def test_likelihood_has_the_chi2_and_the_outliers_of_the_fit(networks, stars, i):
    flux, error = (array.copy() for array in stars)
    flux[i, 200] += 2.0
    (fit,) = fit_spectra(networks, flux[i], error[i], settings=MOVED)
    likelihood = LogLikelihood(networks, flux[i], error[i], settings=MOVED)
    assert fit["n_outlier"] == 1 and likelihood.n_pixel == fit["n_pixel"]
    assert likelihood.best == pytest.approx([fit[name] for name in likelihood.names], rel=1e-12)
    assert likelihood.errors == pytest.approx([fit[f"{name}_error"] for name in likelihood.names], rel=1e-9)
    best = likelihood(likelihood.best)
    assert np.all(likelihood(around(likelihood)) < best + 0.01), "the fit ends at the maximum"
    without = LogLikelihood(networks, flux[i], np.where(np.arange(400) == 200, np.inf, error[i]), settings=MOVED)
    assert without(likelihood.best) != best, "the neighbours of an outlier are left out with it"
    scale = LogLikelihood(networks, 3.0 * flux[i], 3.0 * error[i], settings=MOVED)
    assert scale(likelihood.best) == pytest.approx(best - likelihood.n_pixel * np.log(3.0), abs=0.01)


def test_likelihood_of_rotation_is_that_of_the_public_model():
    networks = line_networks(2, 3, n_pixel=1600, seed=4)
    model = SpectralModel(networks, ROTATION)
    labels = networks.scaler.unscale([0.4, 0.6])
    flux = np.nan_to_num(model.predict(labels, 12.0, broadening={"vsini": 9.0}), nan=1.0)
    flux += np.random.default_rng(3).normal(0, 0.003, flux.shape)
    likelihood = LogLikelihood(networks, flux, 0.003, settings=ROTATION)
    assert likelihood.names == ("label0", "label1", "vsini", "RV")
    points = around(likelihood)
    expected = [model.log_likelihood(p[:2], flux, 0.003, p[3], broadening={"vsini": p[2]}) for p in points]
    # the pixels of the fit are those that its window of velocities leaves; of the model, those of one velocity
    assert likelihood.n_pixel < len(flux)
    found = likelihood(points)
    inner = [model.compare(p[:2], p[3], flux, np.full(flux.shape, 0.003), None, p[2:3])[3].sum() for p in points]
    assert np.all(np.array(inner) == likelihood.n_pixel)
    assert found == pytest.approx(expected, abs=0.02)


def test_chi2_on_another_axis_with_all_that_broadens_is_that_of_the_public_model():
    """Networks on an uneven axis, data on another one, an instrument that differs along it, rotation, continua."""
    even = line_networks(2, 3, n_pixel=1600, seed=4)
    networks = replace(even, wavelength=even.wavelength + 0.02 * np.sin(0.002 * np.arange(1600)))
    wavelength = np.sort(np.random.default_rng(1).uniform(*networks.wavelength[[600, 1500]], 701))
    settings = FitSettings(vsini=True, max_vsini=40.0, vmac=True, max_vmac=8.0, continuum=2, grid_resolution=1e5)
    resolution = np.linspace(4e4, 6e4, 701)
    model = SpectralModel(networks, settings, wavelength, resolution)
    rng = np.random.default_rng(2)
    scaled = rng.uniform(0.2, 0.8, (5, 2))
    widths = rng.uniform(0.5, [30.0, 6.0], (5, 2))
    flux = np.nan_to_num(model.at(networks.scaler.unscale(scaled[0]), 0.0, widths[0])[0], nan=1.0)
    flux, error = 2.0 * (flux + rng.normal(0, 0.01, 701)), np.full(701, 0.02)
    engine = LikelihoodEngine(networks, replace(settings, emulator_error=False), wavelength, resolution)
    model = SpectralModel(networks, replace(settings, emulator_error=False), wavelength, resolution)
    x = np.column_stack([scaled, to_parameter(to_places_of_width(widths, engine.log_step))])
    star, n_pixel, unit = engine.star(flux, error, x[0], 0.0, engine.working(), engine.judging())
    found = engine.chi2(star, x, engine.working())
    for i in range(5):
        predicted, _, sigma, used = model.compare(networks.scaler.unscale(scaled[i]), 0.0, flux, error, None, widths[i])
        assert used.sum() == n_pixel and unit == pytest.approx(np.abs(flux[used]).mean(), rel=0.2)
        expected = (((flux - predicted)[used] / sigma[used]) ** 2).sum()
        assert found[i] == pytest.approx(expected, rel=1e-3)


def test_one_point_is_as_many_and_outside_the_bounds_is_nothing(networks, stars):
    likelihood = LogLikelihood(networks, stars[0][1], stars[1][1])
    points = around(likelihood, 7)
    assert [likelihood(point) for point in points] == likelihood(points).tolist()
    assert isinstance(likelihood.log_probability(points[0]), float)
    beyond = likelihood.bounds[:, 1] + 1e-6
    assert likelihood(beyond) == likelihood.log_prior(beyond) == likelihood.log_probability(beyond) == -np.inf
    assert likelihood(np.full(3, np.nan)) == -np.inf
    uniform = -np.log(np.diff(likelihood.bounds, axis=1)).sum()
    assert likelihood.log_prior(points) == pytest.approx(uniform, rel=1e-12)
    assert likelihood.bounds[:, 0] == pytest.approx(networks.x_min - 0.125 * (networks.x_max - networks.x_min))
    again = pickle.loads(pickle.dumps(likelihood))
    assert again.log_probability(points).tolist() == likelihood.log_probability(points).tolist()


@pytest.mark.parametrize("mean", [5000.0, 3000.0, 8000.0])
def test_priors_are_cut_off_at_the_bounds(networks, stars, mean):
    settings = FitSettings(priors={"Teff": (mean, 400.0)}, fixed={"logg": 3.0})
    likelihood = LogLikelihood(networks, stars[0][1], stars[1][1], settings=settings)
    assert likelihood.names == ("Teff", "[Fe/H]"), "what is held is no parameter"
    (low, high), iron = likelihood.bounds
    prior = distributions.truncnorm((low - mean) / 400.0, (high - mean) / 400.0, mean, 400.0)
    unit = np.random.default_rng(0).uniform(size=(50, 2))
    values = likelihood.prior_transform(unit)
    assert values[:, 0] == pytest.approx(prior.ppf(unit[:, 0]), rel=1e-9)
    assert values[:, 1] == pytest.approx(iron[0] + unit[:, 1] * (iron[1] - iron[0]))
    expected = prior.logpdf(values[:, 0]) - np.log(iron[1] - iron[0])
    assert likelihood.log_prior(values) == pytest.approx(expected, rel=1e-9)
    z, slope = likelihood.prior_normal(values)
    assert likelihood.prior_transform(ndtr(z)) == pytest.approx(values, rel=1e-9)
    nearby = likelihood.prior_transform(ndtr(z + 1e-5)) - likelihood.prior_transform(ndtr(z - 1e-5))
    assert nearby / 2e-5 == pytest.approx(slope, rel=1e-4)


def test_what_does_not_fit_is_refused(networks, stars):
    flux, error = stars
    with pytest.raises(SpectraError, match="cannot be fitted"):
        LogLikelihood(networks, flux[5], error[5])
    with pytest.raises(SpectraError, match="of one spectrum"):
        LogLikelihood(networks, flux, error)
    with pytest.raises(SpectraError, match=r"expected \(3,\) or \(m, 3\), the values of Teff, logg, \[Fe/H\]"):
        LogLikelihood(networks, flux[0], error[0])(np.ones(2))
    with pytest.raises(SettingsError, match="nothing is left of such a prior"):
        LogLikelihood(networks, flux[0], error[0], settings=FitSettings(priors={"logg": (9.0, 0.01)}))
