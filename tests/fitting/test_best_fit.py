"""Best-fit spectra: the same as the engine's, computed another way, and written for those who want to see them."""

import numpy as np
import pytest
from smooth_stars import C_KM_S, N_PIXEL, N_SPECTRUM, WAVELENGTH, networks, stars  # noqa: F401 - fixtures

from payneflow.errors import SpectraError
from payneflow.fitting import FitSettings, fit_spectra
from payneflow.fitting.best_fit import best_fits
from payneflow.fitting.many import write_best_fits
from payneflow.spectra import make_layout, read_spectra


def chi2_of(networks, best, flux, error):
    variance = error**2 + (networks.emulator_rms[0] * best.continuum) ** 2
    return np.where(best.used, (flux - best.model) ** 2 / variance, 0.0).sum(axis=1)


def test_of_labels_alone_the_model_is_the_prediction_and_chi2_the_engines(networks, stars):
    settings = FitSettings()
    fits = fit_spectra(networks, *stars)
    best = best_fits(networks, settings, fits, *stars)
    labels = np.array([fits[name] for name in networks.label_names]).T
    assert np.array_equal(best.used.sum(axis=1), fits["n_pixel"]) and not best.used[5].any()
    predicted = networks.predict(labels[:5])
    assert best.model[:5][best.used[:5]] == pytest.approx(predicted[best.used[:5]], abs=1e-14)
    assert np.isnan(best.model[~best.used]).all() and np.isnan(best.model[5]).all()
    assert (best.continuum[best.used] == 1).all()
    assert chi2_of(networks, best, *stars)[:5] == pytest.approx(np.asarray(fits["chi2"][:5]), rel=1e-10)


def test_with_velocity_and_continuum_on_another_axis_chi2_is_the_engines(networks, stars):
    """The engine moves and divides in fused passes; here it is plain numpy: they must tell the same story."""
    settings = FitSettings(velocity=True, continuum=4, max_velocity=300.0)  # as in the README: one kernel for both
    ramp = 1000.0 * (1.0 + np.linspace(-0.2, 0.3, N_PIXEL))
    flux, error = stars[0] * ramp, stars[1] * ramp
    observed = WAVELENGTH * (1 + 40.0 / C_KM_S)
    fits = fit_spectra(networks, flux, error, observed, settings=settings)
    best = best_fits(networks, settings, fits, flux, error, observed)
    assert np.asarray(fits["RV"][:5]) == pytest.approx(40.0, abs=3.0)
    assert np.abs(best.used.sum(axis=1)[:5] - fits["n_pixel"][:5]).max() <= 2, "at the ends of the segment"
    assert chi2_of(networks, best, flux, error)[:5] == pytest.approx(np.asarray(fits["chi2"][:5]), rel=0.02)
    found = best.continuum[2][best.used[2]] / ramp[best.used[2]]
    assert found == pytest.approx(1.0, abs=0.03)


def test_best_fits_are_written_beside_their_data(networks, stars, tmp_path):
    flux, error = stars
    identifier = np.array([f"star {i}" for i in range(N_SPECTRUM)])
    np.savez(tmp_path / "a.npz", wavelength=WAVELENGTH, flux=flux, flux_error=error, identifier=identifier)
    layout = make_layout(uncertainty="flux_error")
    batches = read_spectra([tmp_path / "a.npz"], layout, WAVELENGTH, batch_size=4)
    assert write_best_fits(networks, batches, FitSettings(), tmp_path / "best.npz") == N_SPECTRUM
    expected = best_fits(networks, FitSettings(), fit_spectra(networks, flux, error), flux, error)
    with np.load(tmp_path / "best.npz", allow_pickle=False) as best:
        assert np.array_equal(best["model"], expected.model, equal_nan=True)
        assert np.array_equal(best["used"], expected.used) and np.array_equal(best["flux"], flux, equal_nan=True)
        assert np.array_equal(best["wavelength"], WAVELENGTH) and best["identifier"].tolist() == identifier.tolist()
        assert np.isinf(best["flux_error"][0, 100:120]).all()


def test_best_fits_of_several_axes_or_of_too_many_spectra_are_refused(networks, stars, tmp_path, monkeypatch):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path, shift in zip(paths, (0.0, 1e-5), strict=True):
        np.savez(path, wavelength=WAVELENGTH * (1 + shift), flux=stars[0], flux_error=stars[1])
    layout = make_layout(uncertainty="flux_error")
    with pytest.raises(SpectraError, match=r"b.npz: another wavelength axis than .*a.npz.*--spectra"):
        write_best_fits(networks, read_spectra(paths, layout, WAVELENGTH), FitSettings(), tmp_path / "best.npz")
    monkeypatch.setattr("payneflow.fitting.many.MOST_BEST_FITS", 5)
    with pytest.raises(SpectraError, match="more than 5 best-fit spectra at once"):
        write_best_fits(networks, read_spectra(paths, layout, WAVELENGTH), FitSettings(), tmp_path / "best.npz")
    assert not (tmp_path / "best.npz").exists()
