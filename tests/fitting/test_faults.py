"""Faults of the model: learned from residuals of stars whose faults are known, and known to fits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import smooth_stars
from smooth_stars import N_PIXEL, WAVELENGTH

from payneflow import fit_spectra
from payneflow.cli.main import main
from payneflow.errors import CalibrationError, SpectraError
from payneflow.fitting import FitSettings, read_faults
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.fitting.fault_learning import Residuals, learn_faults
from payneflow.fitting.fault_residuals import residuals_of
from payneflow.fitting.fault_sizes import fault_sizes
from payneflow.fitting.faults import write_faults
from payneflow.fitting.many import write_best_fits
from payneflow.spectra import make_layout, read_spectra

NOISE, N_STAR = 0.005, 30
SETTINGS = FitSettings(velocity=True, continuum=4, max_velocity=300.0)  # as other tests: one kernel
LAYOUT = make_layout(uncertainty="flux_error")
networks = smooth_stars.networks


@pytest.fixture(scope="module")
def fault():
    """(n_pixel,) twelve lines that the networks have too deep or too weak."""
    rng, pixel = np.random.default_rng(8), np.arange(N_PIXEL)
    lines = zip(rng.uniform(20, N_PIXEL - 20, 12), rng.uniform(0.05, 0.15, 12) * rng.choice([-1, 1], 12), strict=True)
    return sum(size * np.exp(-0.5 * ((pixel - at) / 1.5) ** 2) for at, size in lines)


def simulated(networks, fault, n, seed):
    """Scaled labels, flux and errors of n stars."""
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(0.3, 0.7, (n, 3))
    flux = networks.predict_scaled(scaled) + fault
    return scaled, flux + rng.normal(0.0, NOISE, flux.shape), np.full(flux.shape, NOISE)


def best_fits_file(networks, flux, error, path, wavelength=WAVELENGTH, names=None):
    names = np.array([f"star {i}" for i in range(len(flux))]) if names is None else names
    spectra = path.with_suffix(".spectra.npz")
    np.savez(spectra, wavelength=wavelength, flux=flux, flux_error=error, identifier=names)
    write_best_fits(networks, read_spectra([spectra], LAYOUT, networks.wavelength), SETTINGS, path)
    return path


@pytest.fixture(scope="module")
def learned(networks, fault, tmp_path_factory):
    """Networks file, best fits of stars with the fault, and what the command makes of them."""
    folder = tmp_path_factory.mktemp("faults")
    networks.write(folder / "n.npz")
    _, flux, error = simulated(networks, fault, N_STAR, 1)
    best_fits_file(networks, flux, error, folder / "best.npz")
    command = ["mismatch", str(folder / "n.npz"), str(folder / "best.npz"), "--output", str(folder / "mismatch.npz")]
    assert main(command) == 0
    return folder


def linear_stars(fault, n=40, seed=3, random=0.0):
    """Residuals of linear models whose two slopes go through many pixels; `random`: of an own size of the fault."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=(2, N_PIXEL)) * np.exp(rng.normal(0, 0.3, (n, 2, 1)))
    size = 1.0 + random * rng.normal(size=(n, 1))
    flux = size * fault + rng.normal(0.0, NOISE, (n, N_PIXEL))
    left = [one - s.T @ np.linalg.lstsq(s.T, one, rcond=None)[0] for one, s in zip(flux, slopes, strict=True)]
    labels = rng.uniform(0.2, 0.8, (n, 2))
    return Residuals(np.array(left), np.full(flux.shape, NOISE**2), slopes.astype(np.float32), labels, 2)


def test_sizes_tell_what_stars_share_from_what_each_has():
    rng = np.random.default_rng(0)
    shared, own = np.zeros(900), np.zeros(900)
    shared[:100], own[100:200] = 0.05, 0.05
    residual = shared + rng.normal(size=(30, 900)) * np.hypot(0.01, own)
    offset2, scatter2 = (np.sqrt(mean) for mean in fault_sizes(residual, np.full(residual.shape, 1e-4)))
    assert np.median(offset2[:100]) == pytest.approx(0.05, rel=0.3) and np.median(scatter2[:100]) < 0.003
    assert np.median(scatter2[100:200]) == pytest.approx(0.05, rel=0.2)
    assert np.median(offset2[200:]) < 0.006 and np.median(scatter2[200:]) < 0.003


def test_a_pixel_that_no_star_tells_has_the_size_of_the_others():
    variance = np.full((5, 50), 1e-4)
    variance[:, 7] = np.inf
    offset2, scatter2 = fault_sizes(np.where(np.isfinite(variance), 0.05, 0.0), variance)
    assert 0 < offset2[7] < np.inf and np.isfinite(scatter2).all()


def test_what_labels_would_hide_of_a_fault_is_found(fault):
    faults = learn_faults(linear_stars(fault), "digest")
    assert faults.offset[0] == pytest.approx(fault, abs=5 * NOISE / np.sqrt(40))
    quoted = np.sqrt(faults.offset_error[0] ** 2 + (faults.doubt[:, 0] ** 2).sum(axis=0) + faults.scatter**2)
    pulls = (faults.offset[0] - fault)[np.abs(fault) > 0.02] / quoted[np.abs(fault) > 0.02]
    assert np.std(pulls) < 1.3 and not faults.none and faults.provenance["kept"].startswith("offsets")
    assert 1.0 <= faults.usual_chi2 < 1.3


def test_where_the_model_is_right_there_are_no_faults():
    faults = learn_faults(linear_stars(np.zeros(N_PIXEL)), "digest")
    assert faults.none and faults.provenance["kept"] == "no faults" and not faults.size.any()


def test_of_few_stars_each_is_left_out_once(fault):
    faults = learn_faults(linear_stars(fault, n=4), "digest")
    line = np.abs(fault) > 0.05
    assert np.median(np.abs(faults.offset[0] - fault)[line]) < NOISE and not faults.none


def test_a_fault_whose_size_differs_from_star_to_star_is_a_scatter_that_goes_together(fault):
    faults = learn_faults(linear_stars(fault, n=60, random=0.5), "digest")
    at = faults.at(np.full(2, 0.5))
    together = (at.together[: len(at.together) - 1] ** 2).sum(axis=0)
    line = np.abs(fault) > 0.08
    assert np.median(np.sqrt(together + at.variance)[line] / np.abs(fault)[line]) == pytest.approx(0.5, rel=0.4)
    assert len(faults.components) or faults.correlation[1] > 0.3


def test_too_few_stars_are_refused(fault):
    with pytest.raises(CalibrationError, match="2 stars: at least 3"):
        learn_faults(linear_stars(fault, n=2), "digest")


def test_pulls_of_stars_that_were_not_learned_from(networks, fault, learned):
    scaled, flux, error = simulated(networks, fault, 60, 2)
    faults = read_faults(learned / "mismatch.npz")
    pulls = {}
    for known in (None, faults):
        fits = fit_spectra(networks, flux, error, settings=SETTINGS, faults=known)
        labels = np.column_stack([fits[name] for name in networks.label_names])
        errors = np.column_stack([fits[f"{name}_error"] for name in networks.label_names])
        pulls[known is None] = np.sqrt((((labels - networks.scaler.unscale(scaled)) / errors) ** 2).mean(axis=0))
    assert (pulls[False] < 1.4).all() and (pulls[False] > 0.6).all() and pulls[True].max() > 1.5 * pulls[False].max()
    assert np.median(fits["chi2"] / fits["dof"]) == pytest.approx(1.0, abs=0.1)
    assert np.mean((fits["flags"] & 32) > 0) < 0.05
    assert np.median(fits["SNR"]) == pytest.approx(np.median(flux) / NOISE, rel=0.1)
    corrected = fit_spectra(networks, flux, error, settings=SETTINGS, faults=replace(faults, correct=True))
    assert np.median(corrected["chi2"] / corrected["dof"]) == pytest.approx(1.0, abs=0.1)
    masked = fit_spectra(networks, flux, error, settings=SETTINGS, faults=replace(faults, mask=0.04))
    assert np.median(masked["n_pixel"]) < np.median(fits["n_pixel"]) - 10


def test_no_faults_change_no_bit(networks, fault, learned):
    _, flux, error = simulated(networks, fault, 3, 4)
    zero = np.zeros((1, N_PIXEL))
    none = replace(
        read_faults(learned / "mismatch.npz"), offset=zero, offset_error=zero, doubt=zero[None][:0],
        scatter=zero[0], components=zero[:0], basis=np.eye(4)[:1],
    )  # fmt: skip
    one, other = (fit_spectra(networks, flux, error, settings=SETTINGS, faults=faults) for faults in (None, none))
    assert all(
        np.array_equal(one[name], other[name], equal_nan=name not in ("mismatch_kind",))
        for name in ("Teff", "covariance", "chi2")
    )


def test_velocities_and_other_axes_show_the_same_faults(networks, fault, learned, tmp_path):
    _, flux, error = simulated(networks, fault, 12, 5)
    moved = WAVELENGTH * (1 + 30.0 / 299792.458)
    best_fits_file(networks, flux, error, tmp_path / "moved.npz", moved)
    stars, left_out = residuals_of(networks, [tmp_path / "moved.npz"])
    assert len(stars) == 12 and left_out["fits"] == 12
    middle = slice(60, N_PIXEL - 60)
    told = np.isfinite(stars.variance[:, middle]).all(axis=0)
    assert told.mean() > 0.9
    assert np.corrcoef(stars.residual.mean(axis=0)[middle][told], fault[middle][told])[0, 1] > 0.8
    assert stars.slopes.shape == (12, 3 + 1 + 4, N_PIXEL)


def test_spectra_with_an_axis_each_know_the_faults_as_they_would_alone(networks, fault, learned):
    faults = read_faults(learned / "mismatch.npz")
    _, flux, error = simulated(networks, fault, 3, 9)
    axes = WAVELENGTH * (1.0 + np.array([[0.0], [1e-5], [7e-5]]))
    axes[2, 500:] = flux[2, 500:] = error[2, 500:] = np.nan
    together = fit_spectra(networks, flux, error, axes, settings=SETTINGS, faults=faults)
    plain = fit_spectra(networks, flux, error, axes, settings=SETTINGS)
    assert (np.asarray(together["chi2"]) < 0.8 * np.asarray(plain["chi2"])).all()
    for i, stop in enumerate((N_PIXEL, N_PIXEL, 500)):
        own = flux[i : i + 1, :stop], error[i : i + 1, :stop], axes[i, :stop]
        alone = fit_spectra(networks, *own, settings=SETTINGS, faults=faults)
        for name in ("Teff", "RV", "chi2", "covariance", "flags"):
            assert np.array_equal(together[name][i], alone[name][0]), name


def test_spectra_of_one_star_are_one_star(networks, fault, tmp_path):
    _, flux, error = simulated(networks, fault, 4, 6)
    best_fits_file(networks, flux, error, tmp_path / "b.npz", names=np.array(["a", "a", "b", "c"]))
    stars, left_out = residuals_of(networks, [tmp_path / "b.npz"])
    assert len(stars) == 3 and left_out["of the same star"] == 1


def test_other_networks_and_old_files_are_refused(networks, learned, tmp_path, capsys):
    other = replace(networks, b_array_1=networks.b_array_1 + 0.1)
    other.write(tmp_path / "other.npz")
    with pytest.raises(CalibrationError, match="faults of the model are those of other networks"):
        read_faults(learned / "mismatch.npz").check(other)
    with pytest.raises(CalibrationError, match=r"best.npz: fits of other networks"):
        residuals_of(other, [learned / "best.npz"])
    stored = BEST_FITS.read(learned / "best.npz")
    BEST_FITS.write(tmp_path / "old.npz", {k: v for k, v in stored.items() if k not in ("networks", "settings")})
    with pytest.raises(SpectraError, match=r"old.npz: no networks, settings"):
        residuals_of(networks, [tmp_path / "old.npz"])
    BEST_FITS.write(tmp_path / "else.npz", {**stored, "settings": np.array(json.dumps({"continuum": 2}))})
    with pytest.raises(CalibrationError, match=r"else.npz: fits in the mode 'labels Teff logg \[Fe/H\]; continuum 2'"):
        residuals_of(networks, [learned / "best.npz", tmp_path / "else.npz"])
    spectra = str(learned / "best.spectra.npz")
    fit = ["fit", str(learned / "n.npz"), spectra, "--uncertainty", "flux_error", "--output", str(tmp_path / "f")]
    assert main([*fit, "--mismatch-correct"]) == 2
    assert "there is no mismatch to use" in capsys.readouterr().err
    assert main([*fit, "--mismatch", str(learned / "best.npz")]) == 2
    assert "expected faults of the model" in capsys.readouterr().err
    assert main([*fit, "--mismatch", str(learned / "mismatch.npz"), "--pieces", "each"]) == 2
    assert "not with --pieces" in capsys.readouterr().err


def test_what_is_written_is_read(learned, tmp_path):
    faults = read_faults(learned / "mismatch.npz")
    write_faults(faults, tmp_path / "again.npz")
    assert read_faults(tmp_path / "again.npz").digest == faults.digest
    assert replace(faults, correct=True).digest != faults.digest
    assert faults.provenance["stars"] == N_STAR and faults.provenance["left_out"]["no use"] == 0
