"""Fits of broadened lines: widths that were put in are found, errors are honest, and so are upper limits."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.fitting import FitFlag, FitSettings, LabelFlag, SpectralModel
from payneflow.fitting.best_fit import best_fits
from payneflow.fitting.broadening import LineBroadening, instrument_width
from payneflow.fitting.calibration import measure_label_errors, read_label_errors, write_label_errors
from payneflow.fitting.engine.shift import C_KM_S
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.moved_stars import broadened_stars, known_widths
from payneflow.fitting.widths import widths_of
from payneflow.grid import SpectralGrid

NOISE, N_STAR = 0.003, 60
STEP = 1.4e-5  # ln(wavelength) a pixel: 4.2 km/s
ROTATION = FitSettings(velocity=True, max_velocity=60.0, vsini=True, max_vsini=60.0, emulator_error=False)
BOTH = replace(ROTATION, vmac=True, max_vmac=12.0)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=1600, seed=4)


def stars(networks, settings, seed=1, n=N_STAR, noise=NOISE, **widths):
    """Labels (n, 2), velocities (n,) and noisy flux of stars with these widths; pixels without a model are 1."""
    rng = np.random.default_rng(seed)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (n, 2)))
    velocity = rng.uniform(-40.0, 40.0, n)
    flux = np.nan_to_num(SpectralModel(networks, settings).predict(labels, velocity, broadening=widths), nan=1.0)
    return labels, velocity, flux + rng.normal(0, noise, flux.shape)


def robust(values):
    return 1.4826 * np.median(np.abs(values))


@pytest.mark.parametrize("vsini", [5.0, 15.0, 50.0])
def test_rotation_is_found_within_its_errors(networks, vsini):
    labels, velocity, flux = stars(networks, ROTATION, vsini=vsini)
    fits = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    pull = (fits["vsini"] - vsini) / fits["vsini_error"]
    assert 0.7 < robust(pull) < 1.35 and abs(np.median(pull)) < 0.5
    assert not np.any(fits["vsini_flags"]) and np.isnan(fits["vsini_limit"]).all()
    for j, name in enumerate(networks.label_names):
        assert robust((fits[name] - labels[:, j]) / fits[f"{name}_error"]) < 1.5
    assert robust((fits["RV"] - velocity) / fits["RV_error"]) < 1.5
    assert np.median(fits["chi2"] / fits["dof"]) == pytest.approx(1.0, abs=0.05)
    assert fits["vsini"].unit == "km/s"


def test_a_star_that_does_not_rotate_gets_an_upper_limit_that_holds(networks):
    _, _, flux = stars(networks, ROTATION, vsini=0.0)
    fits = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    limited = (fits["vsini_flags"] & LabelFlag.UPPER_LIMIT) > 0
    assert limited.mean() > 0.9
    assert (fits["vsini_limit"][limited] > 0).all() and np.isfinite(fits["vsini_error"]).all()
    assert not np.any(fits["flags"] & (FitFlag.AT_BOUND | FitFlag.NOT_CONVERGED | FitFlag.FAILED))
    _, _, flux = stars(networks, ROTATION, vsini=1.5)
    fits = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    above = np.nan_to_num(np.asarray(fits["vsini_limit"]), nan=np.inf) > 1.5
    assert above.mean() > 0.9


def test_what_is_held_stays_and_edges_are_left_out_with_a_count(networks):
    held = replace(ROTATION, vsini=False, fixed={"vsini": 15.0})
    labels, _, flux = stars(networks, held, n=20)
    fits = fit_spectra(networks, flux, NOISE, settings=held)
    assert fits["vsini"] == pytest.approx(15.0) and not fits["vsini_error"].any() and not fits["vsini_flags"].any()
    assert robust((fits["label0"] - labels[:, 0]) / fits["label0_error"]) < 1.7
    free = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    plain = fit_spectra(networks, flux, NOISE, settings=replace(ROTATION, vsini=False))
    assert (free["n_masked"] > fits["n_masked"]).all() and (fits["n_masked"] > plain["n_masked"]).all()
    assert (free["n_pixel"] + free["n_masked"] == len(networks.wavelength)).all()


def test_rotation_and_macroturbulence_together_with_a_prior(networks):
    settings = replace(BOTH, vmac=False, priors={"vmac": (4.0, 0.2)})
    _, _, flux = stars(networks, BOTH, vsini=12.0, vmac=4.0)
    fits = fit_spectra(networks, flux, NOISE, settings=settings)
    assert robust((fits["vsini"] - 12.0) / fits["vsini_error"]) < 1.5
    assert np.abs(fits["vmac"] - 4.0).max() < 0.7 and (fits["vmac_error"] < 0.21).all()
    free = fit_spectra(networks, flux, NOISE, settings=BOTH)
    assert (free["vmac_error"] > fits["vmac_error"]).all()
    assert robust((free["vsini"] - 12.0) / free["vsini_error"]) < 1.6


def test_a_lower_resolution_is_the_difference_in_quadrature(networks):
    settings = FitSettings(resolution=1.2e4, grid_resolution=2.25e4, velocity=True, max_velocity=60.0)
    width = instrument_width(1.2e4, 2.25e4)
    assert width == pytest.approx(np.sqrt((C_KM_S / 1.2e4) ** 2 - (C_KM_S / 2.25e4) ** 2) / np.sqrt(8 * np.log(2)))
    labels, _, flux = stars(networks, replace(settings, emulator_error=False), n=30)
    fits = fit_spectra(networks, flux, NOISE, settings=replace(settings, emulator_error=False))
    assert robust((fits["label0"] - labels[:, 0]) / fits["label0_error"]) < 1.5
    assert np.median(fits["chi2"] / fits["dof"]) == pytest.approx(1.0, abs=0.05)
    plain = SpectralModel(networks).predict(labels[0])
    pixels = np.arange(-60, 61) * STEP * C_KM_S / width
    kernel = np.exp(-0.5 * pixels**2)
    broad = SpectralModel(networks, settings).predict(labels[0])
    inner = np.isfinite(broad)
    assert inner.sum() > 1000
    own = np.convolve(plain, kernel / kernel.sum(), mode="same")
    assert np.abs(own - broad)[inner].max() < 2e-4


def test_a_resolution_that_differs_along_the_axis_and_from_star_to_star(networks):
    settings = replace(ROTATION, vsini=False, grid_resolution=2.25e4)
    axis = networks.wavelength
    sloped = np.interp(axis, axis[[0, -1]], [1.0e4, 1.15e4])
    flat = np.full(len(axis), 1.2e4)
    model = SpectralModel(networks, settings, resolution=sloped)
    labels = networks.scaler.unscale(np.full(2, 0.4))
    plain, broad = SpectralModel(networks).predict(labels), model.predict(labels)
    for i in np.flatnonzero(np.isfinite(broad))[::150]:  # a pixel is broadened as its own resolution has it
        width = instrument_width(sloped[i], 2.25e4) / (STEP * C_KM_S)
        away = np.arange(-40, 41)
        kernel = np.exp(-0.5 * (away / width) ** 2)
        around = np.clip(i + away, 0, len(axis) - 1)
        assert broad[i] == pytest.approx(kernel @ plain[around] / kernel.sum(), abs=3e-4)
    made = [SpectralModel(networks, settings, resolution=own).predict(labels, 12.0) for own in (sloped, flat)]
    flux = np.nan_to_num(made, nan=1.0) + np.random.default_rng(0).normal(0, NOISE, (2, len(axis)))
    fits = fit_spectra(networks, flux, NOISE, settings=settings, resolution=np.stack([sloped, flat]))
    assert fits["chi2"] / fits["dof"] == pytest.approx(1.0, abs=0.12)
    alone = fit_spectra(networks, flux[1:], NOISE, settings=settings, resolution=flat)
    assert all(fits[name][1] == alone[name][0] for name in ("label0", "label1", "RV", "chi2"))
    swapped = fit_spectra(networks, flux, NOISE, settings=settings, resolution=np.stack([flat, sloped]))
    assert (swapped["chi2"] > fits["chi2"]).all()
    with pytest.raises(SpectraError, match=r"resolution has shape \(3,\)"):
        fit_spectra(networks, flux, NOISE, settings=settings, resolution=np.ones(3))
    with pytest.raises(SettingsError, match=r"in pixel 1599 \(1 pixels are so sharp\)"):
        fit_spectra(networks, flux, NOISE, settings=settings, resolution=np.append(sloped[:-1], 3e4))


def test_best_fits_and_likelihood_know_the_widths(networks):
    _, _, flux = stars(networks, ROTATION, n=3, vsini=20.0)
    fits = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    best = best_fits(networks, ROTATION, fits, flux, np.full(flux.shape, NOISE))
    chi2 = np.nansum(((flux - best.model) / best.sigma) ** 2, axis=1)
    assert chi2 == pytest.approx(np.asarray(fits["chi2"]), rel=1e-4)
    model, labels = SpectralModel(networks, ROTATION), np.array([fits[name] for name in networks.label_names]).T
    likelihood = [
        model.log_likelihood(labels, flux, NOISE, np.asarray(fits["RV"]), broadening={"vsini": fits["vsini"] + more})
        for more in (0.0, 3.0)
    ]
    assert (likelihood[0] > likelihood[1]).all()
    with pytest.raises(SpectraError, match="broadening has vmac, but the settings fit vsini"):
        model.predict(labels, broadening={"vmac": 1.0})


def test_no_bit_depends_on_the_others_of_a_block(networks):
    _, _, flux = stars(networks, ROTATION, n=5, vsini=8.0)
    together = fit_spectra(networks, flux, NOISE, settings=ROTATION)
    alone = fit_spectra(networks, flux[3:4], NOISE, settings=ROTATION)
    for name in ("label0", "vsini", "vsini_error", "RV", "chi2"):
        assert together[name][3] == alone[name][0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (FitSettings(resolution=1e4), "not known: their file does not say it"),
        (FitSettings(vsini=True, fixed={"vsini": 3.0}), "vsini is to be fitted, and fixed holds it"),
        (FitSettings(fixed={"vmac": -1.0}), "fixed vmac is -1.0, expected a number from 0"),
        (FitSettings(fixed={"vsini": None}), "fixed vsini is None"),
        (FitSettings(priors={"vsini": (300.0, 1.0)}), "expected 0 to max_vsini, 100 km/s"),
    ],
)
def test_what_cannot_work_is_refused(networks, settings, said):
    with pytest.raises(SettingsError, match=said):
        fit_spectra(networks, np.ones((1, len(networks.wavelength))), NOISE, settings=settings)


def test_sharper_data_than_the_grid_are_refused(networks):
    with pytest.raises(SettingsError, match="sharper data than the grid cannot be fitted"):
        FitSettings(resolution=3e4, grid_resolution=2e4)
    known = replace(networks, provenance={"resolution": 2e4})
    with pytest.raises(SettingsError, match="sharper data than the grid cannot be fitted"):
        LineBroadening.of(known, FitSettings(resolution=3e4))
    with pytest.raises(SettingsError, match="the networks' file says 20000: leave it out"):
        LineBroadening.of(known, FitSettings(resolution=1e4, grid_resolution=3e4))
    assert LineBroadening.of(known, FitSettings(resolution=2e4)) is None
    assert LineBroadening.of(known, FitSettings(resolution=1e4)).instrument == instrument_width(1e4, 2e4)


def test_a_label_of_the_grid_stays_a_label(networks):
    own = replace(networks, label_names=("label0", "vsini"))
    with pytest.raises(SettingsError, match="vsini is to be fitted, but the networks have a label of that name"):
        fit_spectra(own, np.ones((1, len(networks.wavelength))), NOISE, settings=FitSettings(vsini=True))
    held = FitSettings(fixed={"vsini": float(own.x_min[1])})
    assert held.broadenings(own.label_names) == () and LineBroadening.of(own, held) is None
    assert held.broadenings(networks.label_names) == ("vsini",)


def test_limits_are_quantiles_of_the_square():
    """At 0 the square is half a normal distribution; 1.96 sigma hold 95 % of it. Far from 0 there is no limit."""
    parameter, error = to_parameter(np.array([[0.0], [5.0]])), np.full((2, 1), 0.1)
    found = widths_of(parameter, error, np.zeros((2, 1)), np.array([100.0]), np.array([True]), STEP)
    sigma = 2 * 1.5 * 0.1
    assert found.limit[0, 0] == pytest.approx(np.sqrt(1.96 * sigma) * C_KM_S * STEP, rel=1e-3)
    assert found.error[0, 0] == pytest.approx(np.sqrt(sigma) * C_KM_S * STEP)
    assert found.flags[:, 0].tolist() == [LabelFlag.UPPER_LIMIT, 0] and np.isnan(found.limit[1, 0])
    slope = (to_parameter(5.001) - to_parameter(4.999)) / 0.002
    assert found.error[1, 0] == pytest.approx(0.1 / slope * C_KM_S * STEP, rel=1e-4)


def test_calibration_broadens_the_grid_and_serves_fits_of_the_same_mode(networks, tmp_path):
    """Labels known to be off, widths not; what was measured corrects labels and leaves widths as they are."""
    width, rng = networks.scaler.width, np.random.default_rng(5)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (100, 2)))
    off = 0.02 * width * np.sin(3 * networks.scaler.scale(labels))
    names, units = networks.label_names, networks.label_units
    grid = SpectralGrid(
        "grid.npz", networks.wavelength, networks.predict(labels + off), labels, names, units, "of the grid"
    )
    wanted = replace(ROTATION, emulator_error=True)
    measured = measure_label_errors(networks, grid, wanted)
    assert measured.mode == "labels label0 label1; velocity; vsini"
    assert measured.layout.n_broad == 1 and measured.layout.has_velocity and measured.errors.shape[1] == 4
    assert measured.errors[:, :2] * width == pytest.approx(off, abs=0.15 * np.abs(off).max())
    assert np.median(np.abs(measured.errors[:, 2])) < 0.02, "places"
    write_label_errors(measured, tmp_path / "errors.npz")
    errors = read_label_errors(tmp_path / "errors.npz")
    true, _, flux = stars(networks, ROTATION, vsini=15.0)
    fits = fit_spectra(networks, flux, NOISE, settings=wanted, label_errors=errors)
    assert robust((fits["vsini"] - 15.0) / fits["vsini_error"]) < 1.5
    corrected = np.asarray(fits["label0"]) - true[:, 0]
    assert robust(corrected + off_at(networks, true)[:, 0]) < robust(corrected)
    held = fit_spectra(networks, flux, NOISE, settings=replace(wanted, vsini=False, priors={"vsini": (15.0, 1.0)}),
                       label_errors=errors)  # fmt: skip
    assert robust(held["vsini"] - 15.0) <= robust(fits["vsini"] - 15.0) * 1.1
    with pytest.raises(CalibrationError, match="run `payneflow calibrate`"):
        fit_spectra(networks, flux, NOISE, settings=replace(wanted, vsini=False), label_errors=errors)
    known = replace(wanted, grid_resolution=2.25e4)
    with pytest.raises(CalibrationError, match="resolution is 10000 .* that of the label errors 22500: .* within 5%"):
        fit_spectra(networks, flux, NOISE, settings=known, label_errors=errors, resolution=1e4)
    near = fit_spectra(networks, flux[:1], NOISE, settings=known, label_errors=errors, resolution=2.2e4)
    assert near.meta["errors"] == "calibrated"


def off_at(networks, labels):
    return 0.02 * networks.scaler.width * np.sin(3 * networks.scaler.scale(labels))


def test_widths_of_a_calibration_are_drawn_once_and_pixels_must_be_even(networks):
    broadening = LineBroadening.of(networks, replace(BOTH, vmac=False, fixed={"vmac": 3.0}))
    widths = known_widths(64, broadening)
    assert (widths[:, 1] == 3.0).all() and widths[:, 0].max() <= 60.0 and np.median(widths[:, 0]) < 15.5
    assert np.array_equal(widths, known_widths(64, broadening))
    flux = networks.predict(networks.scaler.unscale(np.full((2, 2), 0.4)))
    none = broadened_stars(flux, networks.wavelength, broadening, np.array([[0.0, 0.0], [20.0, 0.0]]), "grid.npz")
    assert none[0] == pytest.approx(flux[0], abs=1e-5) and np.abs(none[1] - flux[1]).max() > 0.01
    uneven = np.linspace(networks.wavelength[0], networks.wavelength[-1] * 1.2, len(networks.wavelength))
    with pytest.raises(CalibrationError, match=r"grid.npz: its pixels 0 to 1599 are not even in ln\(wavelength\)"):
        broadened_stars(flux, uneven, broadening, widths[:2], "grid.npz")
