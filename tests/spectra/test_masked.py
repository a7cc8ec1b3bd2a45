"""Arrays that bring their own mask: numbers and mask apart, and a fit that leaves masked pixels away."""

import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from known_networks import line_networks

from payneflow.errors import SpectraError
from payneflow.fitting import FitSettings, SpectralModel, fit_spectra
from payneflow.fitting.best_fit import best_fits
from payneflow.spectra.masked import parted

N_PIXEL = 60
MASKED = {
    "numpy.ma": lambda array, mask: np.ma.array(array, mask=mask),
    "numpy.ma with a hard mask": lambda array, mask: np.ma.array(array, mask=mask, hard_mask=True),
    "Masked": Masked,
    "a masked quantity": lambda array, mask: Masked(array * units.one, mask=mask),
    "MaskedColumn": lambda array, mask: MaskedColumn(array, mask=mask),
    "a list": lambda array, mask: [np.ma.array(a, mask=m) for a, m in zip(array, mask, strict=True)],
}


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, N_PIXEL)


@pytest.fixture(scope="module")
def spoilt(networks):
    """Three spectra, some pixels of which are wrong, and which these are."""
    labels = networks.scaler.unscale(np.random.default_rng(4).uniform(0.3, 0.7, (3, 2)))
    flux, wrong = networks.predict(labels), np.zeros((3, N_PIXEL), dtype=bool)
    for i, row in enumerate(wrong):
        row[i + 3 :: 9] = True
    return np.where(wrong, flux + 0.2, flux), wrong


@pytest.mark.parametrize("masked", MASKED.values(), ids=MASKED)
def test_numbers_and_mask_are_parted(masked):
    numbers, mask = np.arange(6.0).reshape(2, 3), np.array([[True, False, False], [False, False, True]])
    found, found_mask = parted(masked(numbers, mask))
    assert type(found) is np.ndarray and np.array_equal(found, numbers) and np.array_equal(found_mask, mask)
    assert not np.any(parted(masked(numbers, np.zeros_like(mask)))[1])
    assert parted(numbers) == (pytest.approx(numbers), None)


@pytest.mark.parametrize("masked", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("continuum", [0, 2])
def test_masked_pixels_take_no_part_in_a_fit(networks, spoilt, masked, continuum):
    flux, wrong = spoilt
    settings = FitSettings(continuum=continuum)
    expected = fit_spectra(networks, flux, np.where(wrong, np.inf, 0.01), settings=settings)
    of_flux = fit_spectra(networks, masked(flux, wrong), 0.01, settings=settings)
    of_error = fit_spectra(networks, flux, masked(np.full(flux.shape, 0.01), wrong), settings=settings)
    assert (expected["n_masked"] == wrong.sum(axis=1)).all()
    for table in (of_flux, of_error):
        for name in ("label0", "label1", "chi2", "n_masked", "flags"):
            assert np.array_equal(table[name], expected[name])


def test_what_is_under_a_mask_does_not_matter(networks, spoilt):
    flux, wrong = spoilt
    expected = fit_spectra(networks, np.ma.array(flux, mask=wrong), 0.01)
    for value in (np.nan, np.inf, -1e30):
        found = fit_spectra(networks, np.ma.array(np.where(wrong, value, flux), mask=wrong), 0.01)
        assert np.array_equal(found["label0"], expected["label0"])


def test_a_spectrum_that_is_masked_altogether_fails(networks, spoilt):
    (fit,) = fit_spectra(networks, np.ma.masked_all(N_PIXEL), 0.01)
    assert np.isnan(fit["label0"]) and fit["n_masked"] == N_PIXEL


def test_the_likelihood_leaves_masked_pixels_away(networks, spoilt):
    flux, wrong = spoilt
    model, labels = SpectralModel(networks), networks.scaler.unscale(np.full(2, 0.4))
    expected = model.log_likelihood(labels, flux[0], np.where(wrong[0], np.inf, 0.01))
    for masked in (np.ma.array(flux[0], mask=wrong[0]), Masked(flux[0], mask=wrong[0])):
        assert model.log_likelihood(labels, masked, 0.01) == expected
    assert model.log_likelihood(labels, flux[0], 0.01) != expected


def test_best_fits_leave_masked_pixels_away(networks, spoilt):
    flux, wrong = spoilt
    fits = fit_spectra(networks, np.ma.array(flux, mask=wrong), 0.01)
    found = best_fits(networks, FitSettings(), fits, np.ma.array(flux, mask=wrong), np.full(flux.shape, 0.01))
    assert np.array_equal(found.used, ~wrong)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wavelength": np.ma.array(15000 + np.arange(4.0), mask=[0, 0, 1, 1])}, "masked at pixel 2, the first of 2"),
        ({"wavelength": (1500 + np.arange(4.0)) * units.nm}, "wavelength is in nm, expected Angstrom"),
        ({"flux": np.ones(4) * units.Jy, "flux_error": np.ones(4) * units.mJy}, "flux_error is in mJy, expected Jy"),
    ],
)
def test_masks_and_units_that_cannot_be_meant_are_refused(networks, change, says):
    given = {"flux": np.ones(4), "flux_error": 0.01, "wavelength": 15000 + np.arange(4.0), **change}
    with pytest.raises(SpectraError, match=says):
        fit_spectra(networks, **given)
