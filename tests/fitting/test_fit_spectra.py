"""Fits of spectra whose labels are known, because networks with known weights made them."""

import numpy as np
import pytest
from astropy.table import Table
from known_networks import random_networks
from scipy.optimize import curve_fit

from payneflow import PixelNetworks
from payneflow.errors import SpectraError
from payneflow.fitting import (
    FitFlag,
    FitSettings,
    add_true_labels,
    fit_spectra,
    fits_column_names,
    results_text,
    write_results,
)

N_PIXEL = 60


@pytest.fixture(scope="module")
def networks():
    return random_networks(N_PIXEL)


@pytest.fixture(scope="module")
def stars(networks):
    """Labels (20, 3) well inside the training range, and the exact flux of each."""
    labels = np.random.default_rng(1).uniform([4500, 2, -1.5], [6000, 4, 0], (20, 3))
    return labels, networks.predict(labels)


def values(table, names=("Teff", "logg", "[Fe/H]")):
    return np.array([table[name] for name in names]).T


def test_exact_spectra_give_back_their_labels(networks, stars):
    labels, flux = stars
    table = fit_spectra(networks, flux, 0.01)
    assert values(table) == pytest.approx(labels, rel=1e-5, abs=1e-4)
    assert (table["flags"] == 0).all() and (table["chi2"] < 1e-6).all() and (table["dof"] == N_PIXEL - 3).all()
    assert table["Teff"].unit == "K" and table["Teff_error"].unit == "K"


def test_the_start_may_be_the_truth(networks, stars):
    labels, flux = stars
    assert values(fit_spectra(networks, flux, 0.01, start=labels)) == pytest.approx(labels, rel=1e-8)


def test_labels_and_errors_are_those_of_curve_fit(networks, stars):
    _, flux = stars
    noisy = flux[0] + np.random.default_rng(0).normal(0, 0.01, N_PIXEL)
    error = np.full(N_PIXEL, 0.01)
    scale = networks.scaler
    found, covariance = curve_fit(
        lambda _, *x: networks.predict_scaled(np.array(x)),
        None,
        noisy,
        np.full(3, 0.5),
        error,
        absolute_sigma=True,
        bounds=(0, 1),
        jac=lambda _, *x: networks.jacobian_scaled(np.array(x))[1],
    )
    (fit,) = fit_spectra(networks, noisy, error, settings=FitSettings(emulator_error=False))
    sigma = np.sqrt(np.diag(covariance)) * scale.width
    assert np.array([fit["Teff"], fit["logg"], fit["[Fe/H]"]]) == pytest.approx(scale.unscale(found), rel=1e-5)
    assert [fit["Teff_error"], fit["logg_error"], fit["[Fe/H]_error"]] == pytest.approx(sigma, rel=1e-4)
    assert fit["covariance"] == pytest.approx(covariance * scale.width[:, None] * scale.width, rel=1e-3)


def test_errors_describe_the_scatter(networks, stars):
    """200 noise realisations of one star: pulls of unit width. An error passed on as a variance would be seen here."""
    labels, flux = stars
    noise = np.random.default_rng(3).normal(0, 0.003, (200, N_PIXEL))
    table = fit_spectra(networks, flux[3] + noise, 0.003)
    for j, name in enumerate(networks.label_names):
        pulls = (table[name] - labels[3, j]) / table[f"{name}_error"]
        assert 0.8 < np.std(pulls) < 1.2
    assert np.mean(table["chi2"] / table["dof"]) == pytest.approx(1, abs=0.1)


def test_the_callers_arrays_are_not_changed(networks, stars):
    """Earlier fitters set errors of bad pixels in the caller's own array."""
    flux, error = stars[1].copy(), np.full(stars[1].shape, 0.01)
    flux[2, 5], error[3, 7] = np.nan, -1.0
    before = flux.copy(), error.copy()
    fit_spectra(networks, flux, error)
    assert np.array_equal(flux, before[0], equal_nan=True) and np.array_equal(error, before[1])


def test_bad_pixels_take_no_part_and_one_bad_spectrum_disturbs_no_other(networks, stars):
    labels, flux = stars
    alone = fit_spectra(networks, flux, 0.01)
    bad = flux.copy()
    error = np.full(flux.shape, 0.01)
    bad[4] = np.nan
    bad[5, :10], error[6, :10], error[7, 3], error[8, 4] = np.inf, 0.0, -0.1, np.nan
    table = fit_spectra(networks, bad, error)
    assert table["flags"][4] == FitFlag.FAILED and np.isnan(values(table)[4]).all() and np.isnan(table["chi2"][4])
    assert table["dof"].tolist()[4:9] == [-3, N_PIXEL - 13, N_PIXEL - 13, N_PIXEL - 4, N_PIXEL - 4]
    assert values(table)[5:9] == pytest.approx(labels[5:9], rel=1e-4, abs=1e-3)
    untouched = [i for i in range(20) if not 4 <= i <= 8]
    assert (values(table)[untouched] == values(alone)[untouched]).all()
    assert not (values(table) == -9999).any()


def test_a_pixel_without_a_network_takes_no_part(networks, stars):
    labels, flux = stars
    weights = networks.b_array_1.copy()
    weights[10] = np.nan
    failed = PixelNetworks(**{**networks.__dict__, "b_array_1": weights})
    table = fit_spectra(failed, flux, 0.01)
    assert (table["dof"] == N_PIXEL - 4).all() and values(table) == pytest.approx(labels, rel=1e-4, abs=1e-3)


def test_a_star_outside_the_bounds_is_flagged(networks):
    outside = networks.predict_scaled(np.array([1.6, 0.5, 0.5]))
    (fit,) = fit_spectra(networks, outside, 0.01)
    assert FitFlag(int(fit["flags"])) & FitFlag.AT_BOUND
    assert fit["Teff"] <= networks.scaler.unscale(np.ones(3))[0] * (1 + 1e-12), "bounds: scaled labels 0 to 1"


@pytest.mark.parametrize(
    ("flux", "error", "start", "says"),
    [
        (np.ones((2, 5)), 0.01, None, r"flux has shape \(2, 5\).*60"),
        (np.ones((2, N_PIXEL)), np.ones(7), None, r"flux_error has shape \(7,\)"),
        (np.ones((2, N_PIXEL)), 0.01, np.ones((3, 3)), r"start has shape \(3, 3\), expected \(2, 3\)"),
        (np.ones((2, 2, N_PIXEL)), 0.01, None, "flux has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(networks, flux, error, start, says):
    with pytest.raises(SpectraError, match=says):
        fit_spectra(networks, flux, error, start=start)


def test_no_spectra_at_all(networks):
    assert len(fit_spectra(networks, np.empty((0, N_PIXEL)), 0.01)) == 0


def test_files_and_summary(networks, stars, tmp_path):
    labels, flux = stars
    bad = flux.copy()
    bad[0] = np.nan
    table = fit_spectra(networks, bad, 0.01)
    add_true_labels(table, networks, labels, np.arange(1, 40, 2))
    write_results(table, tmp_path / "fits")
    for name, kind in (("fits.ecsv", "ascii.ecsv"), ("fits.fits", "fits")):
        stored = Table.read(tmp_path / name, format=kind)
        assert stored.colnames == (table.colnames if name == "fits.ecsv" else fits_column_names(table.colnames))
        assert np.array_equal(stored["covariance"], table["covariance"], equal_nan=True)
        assert stored["Teff"].unit == "K" and (stored["Teff_true"] == labels[:, 0]).all()
        assert (stored["spectrum"] == np.arange(1, 40, 2)).all()
    assert Table.read(tmp_path / "fits.ecsv").meta["flags"] == {flag.name: flag for flag in FitFlag}
    assert stored.meta["FLAG4"] == "FAILED"
    assert "Fe_H_true: [Fe/H] the spectrum was computed with [dex]" in stored.meta["comments"]
    text = results_text(table)
    assert "20 spectra fitted" in text and "FAILED             1" in text and "Teff: bias" in text


def test_column_names_of_fits_files():
    assert fits_column_names(["[Fe/H]", "[Fe/H]_error", "Teff"]) == ["Fe_H", "Fe_H_error", "Teff"]
    assert fits_column_names(["[a]", "a"]) == ["[a]", "a"], "never two columns of one name"
