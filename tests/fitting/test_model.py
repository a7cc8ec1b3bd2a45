"""The public forward model: the networks' formula in numpy, and the chi2 that the engine found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from smooth_stars import networks, stars  # noqa: F401 - fixtures

from payneflow.errors import SpectraError
from payneflow.fitting import FitSettings, SpectralModel, fit_spectra
from payneflow.fitting.engine.contract import FitEngine
from payneflow.fitting.engine.engines import engine_for
from payneflow.fitting.engine.pixels import select_pixels
from payneflow.spectra.bad_pixels import good_pixels


def test_predicts_what_the_formula_of_the_networks_gives(networks):
    labels = networks.scaler.unscale(np.random.default_rng(0).uniform(0.2, 0.8, (3, 3)))
    x = (labels - networks.x_min) * 0.8 / (networks.x_max - networks.x_min) + 0.1
    hidden = 1 / (1 + np.exp(-(np.einsum("pnl,sl->spn", networks.w_array_0, x) + networks.b_array_0)))
    output = 1 / (1 + np.exp(-((networks.w_array_1 * hidden).sum(axis=2) + networks.b_array_1)))
    model = SpectralModel(networks)
    assert model.predict(labels) == pytest.approx((output - 0.1) / 0.8, rel=1e-12)
    assert model.predict(labels[0], continuum=np.full(400, 2.0)) == pytest.approx((output[0] - 0.1) / 0.4, rel=1e-12)


def test_log_likelihood_is_minus_half_the_engines_chi2_and_the_normalisation(networks, stars):
    flux, error = stars
    fits = fit_spectra(networks, flux, error)
    labels = np.array([fits[name] for name in networks.label_names]).T
    model = SpectralModel(networks)
    found = model.log_likelihood(labels, flux, error)
    assert found[5] == -np.inf, "a spectrum without pixels"
    for i in range(5):
        used = np.isfinite(flux[i]) & np.isfinite(error[i])
        variance = error[i, used] ** 2 + networks.emulator_rms[0] ** 2
        expected = -0.5 * fits["chi2"][i] - 0.5 * np.log(2 * np.pi * variance).sum()
        assert found[i] == pytest.approx(expected, rel=1e-10)
        assert model.log_likelihood(labels[i], flux[i], error[i]) == found[i]


def test_both_engines_keep_the_contract(networks):
    for settings in (FitSettings(), FitSettings(continuum=2)):
        assert isinstance(engine_for(networks, settings, None, True), FitEngine)


def test_what_does_not_fit_is_refused(networks, stars):
    model = SpectralModel(networks, FitSettings())
    with pytest.raises(SpectraError, match=r"expected \(3,\)"):
        model.predict(np.ones(2))
    with pytest.raises(SpectraError, match="velocity is given"):
        model.predict(networks.x_min, velocity=10.0)
    with pytest.raises(SpectraError, match="does not have the shape"):
        model.log_likelihood(networks.x_min, stars[0][0, :7], 0.01)


NASTY = st.sampled_from(
    [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e-6, 1e-3, 1.0, 2e4, 99.0, 100.0, 101.0, 1e10, 1e30]
)
PIXELS = st.lists(
    st.tuples(NASTY | st.floats(-10, 10), NASTY | st.floats(0, 200), st.booleans()), min_size=16, max_size=16
)


@hypothesis_settings(max_examples=300, deadline=None)
@given(PIXELS)
def test_numpy_and_the_kernel_count_the_same_pixels(pixels):
    flux, error, usable = (np.array(values, dtype=float) for values in zip(*pixels, strict=True))
    weight = np.empty(16)
    n, _ = select_pixels(flux, error, usable, np.empty(16), weight, np.empty(16, np.float32))
    good = good_pixels(flux, error, usable > 0)
    assert n == good.sum() and ((weight > 0) <= good).all()


def test_what_masks_are_filled_with_says_nothing_about_the_flux():
    """More than half of the pixels hold 0: their errors, and the others', are still compared with the star's flux."""
    flux, error = np.where(np.arange(16) < 10, 0.0, 1.0), np.full(16, 0.01)
    error[15] = 101.0
    assert good_pixels(flux, error).tolist() == [True] * 15 + [False]


def test_an_error_that_is_none_is_left_out():
    flux, error = np.ones(16), np.full(16, 0.01)
    error[[2, 5, 7]] = 1e-12, 9e-6, 1.1e-5  # the last one is a thousandth of the others, and more
    assert np.flatnonzero(~good_pixels(flux, error)).tolist() == [2, 5]


def test_a_filler_among_flux_is_left_out_and_a_deep_line_in_a_logarithm_is_not():
    flux, error = np.ones(16), np.full(16, 0.01)
    flux[[2, 5, 7, 9]] = 1e30, -1e20, 1.1e4, 9.9e3
    assert np.flatnonzero(~good_pixels(flux, error)).tolist() == [2, 5, 7]
    flux, error = np.full(16, -1e-3), np.full(16, 0.01)
    flux[[2, 5]] = -50.0, -9999.0
    assert np.flatnonzero(~good_pixels(flux, error)).tolist() == [5], "the noise counts as flux does"
    assert good_pixels(np.r_[np.full(15, 1e-60), 1.0], np.full(16, 1e-60)).all(), "what single precision does not hold"


def test_a_spectrum_of_nothing_but_zeros_is_none():
    flux, error = np.zeros(16), np.full(16, 0.01)
    assert not good_pixels(flux, error).any()
    n, _ = select_pixels(flux, error, np.ones(16), np.empty(16), np.empty(16), np.empty(16, np.float32))
    assert n == 0
