"""Stars in pieces from files: spectra with one identifier are one star, whichever files and rows they are in."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from known_networks import line_networks

from payneflow import cli
from payneflow.errors import SpectraError, SpectraWarning
from payneflow.fitting import FitFlag, FitSettings, Pieces, SpectralModel, fit_stars, read_results
from payneflow.fitting.many_stars import fit_stars_of_batches
from payneflow.spectra import make_layout, read_spectra

SETTINGS = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # as in test_stars.py: one kernel for both
OPTIONS = ["--velocity", "--continuum", "4", "--max-velocity", "60", "--uncertainty", "flux_error"]
N_STAR, VELOCITY = 5, 12.0


@pytest.fixture(scope="module")
def networks():
    return line_networks(3, 10, n_pixel=300, seed=4)


@pytest.fixture(scope="module")
def visits(networks):
    """Three visits of each star, night by night, with the barycentric correction of each."""
    rng = np.random.default_rng(0)
    labels = networks.scaler.unscale(rng.uniform(0.3, 0.7, (N_STAR, 3)))
    correction = rng.uniform(-25.0, 25.0, 3 * N_STAR)
    flux = SpectralModel(networks, SETTINGS).predict(np.tile(labels, (3, 1)), VELOCITY - correction)
    error = np.where(np.isfinite(flux), 0.01, np.inf)
    flux = np.where(np.isfinite(flux), flux + 0.01 * rng.normal(size=flux.shape), 1.0)
    identifier = np.tile([f"star {i}" for i in range(N_STAR)], 3)
    return {"flux": flux, "flux_error": error, "identifier": identifier, "bary": correction}


def write_nights(directory, networks, visits):
    paths = []
    for night in range(3):
        rows = slice(night * N_STAR, (night + 1) * N_STAR)
        paths.append(directory / f"night{night}.npz")
        np.savez(paths[-1], wavelength=networks.wavelength, **{name: array[rows] for name, array in visits.items()})
    return paths


def in_python(networks, visits, velocity, barycentric):
    given = Pieces(networks, visits["flux"], visits["flux_error"], visits["identifier"])
    return fit_stars(
        [replace(given, barycentric=visits["bary"]) if barycentric else given], settings=SETTINGS, velocity=velocity
    )


@pytest.mark.parametrize(("velocity", "barycentric"), [("common", True), ("each", False)])
def test_the_command_line_fits_the_stars_of_many_files(tmp_path, networks, visits, velocity, barycentric):
    networks.write(tmp_path / "networks.npz")
    nights = write_nights(tmp_path, networks, visits)
    expected, of_pieces = in_python(networks, visits, velocity, barycentric)
    given = ["fit", tmp_path / "networks.npz", *nights, *OPTIONS, "--pieces", velocity, "--output", tmp_path / "fits"]
    given += ["--array", "barycentric=bary"] if barycentric else []
    assert cli.main([str(one) for one in given]) == 0
    stars, pieces = read_results(tmp_path / "fits.ecsv"), Table.read(tmp_path / "fits_pieces.ecsv")
    assert len(Table.read(tmp_path / "fits_pieces.fits")) == len(pieces) == 3 * N_STAR
    assert stars["identifier"].tolist() == [f"star {i}" for i in range(N_STAR)]
    assert stars.meta["n_row"] == N_STAR and stars.meta["n_all"] == 3 * N_STAR
    for name in ("label0", "label1_error", "RV", "RV_chance", "chi2", "flags"):
        assert np.array_equal(stars[name], expected[name]), name
    assert pieces["identifier"][:3].tolist() == ["star 0"] * 3
    assert pieces["spectrum"][:6].tolist() == [0, 5, 10, 1, 6, 11]
    assert pieces["path"][:3].tolist() == [str(path) for path in nights]
    assert np.array_equal(pieces["RV"], of_pieces["RV"])
    if barycentric:
        assert np.abs((stars["RV"] - VELOCITY) / stars["RV_error"]).max() < 4.5
        assert not (stars["flags"] & FitFlag.RV_VARIABLE).any()
    else:
        assert ((stars["flags"] & FitFlag.RV_VARIABLE) > 0).all()


def test_a_damaged_file_is_a_star_that_failed_and_harms_no_other(tmp_path, networks, visits):
    nights = write_nights(tmp_path, networks, visits)
    (tmp_path / "night3.npz").write_bytes(b"damaged")
    layout = make_layout(uncertainty="flux_error", barycentric="bary")
    batches = read_spectra([*nights, tmp_path / "night3.npz"], layout, networks.wavelength, batch_size=2)
    with pytest.warns(SpectraWarning, match="Recorded as failed"):
        stars, pieces = fit_stars_of_batches(networks, batches, SETTINGS)
    expected, _ = in_python(networks, visits, "common", True)
    assert stars["flags"][-1] == FitFlag.FAILED and stars["identifier"][-1] == "night3"
    assert list(stars.meta["unreadable"]) == ["night3"]
    for name in ("label0", "RV_error", "chi2"):
        assert np.array_equal(stars[name][:N_STAR], expected[name]), name
    assert (pieces["flags"] & FitFlag.FAILED).sum() == FitFlag.FAILED


def test_a_correction_that_is_no_velocity_leaves_its_visit_out(tmp_path, networks, visits):
    wrong = {**visits, "bary": np.where(np.arange(3 * N_STAR) == 6, np.nan, visits["bary"])}
    nights, layout = write_nights(tmp_path, networks, wrong), make_layout(uncertainty="flux_error", barycentric="bary")
    with pytest.warns(SpectraWarning, match="barycentric of star 1 is nan, expected a velocity"):
        stars, pieces = fit_stars_of_batches(networks, read_spectra(nights, layout, networks.wavelength), SETTINGS)
    assert stars["n_fitted"].tolist() == [3, 2, 3, 3, 3]
    assert pieces["spectrum"][pieces["flags"] == FitFlag.FAILED].tolist() == [6]


def test_a_correction_may_be_a_keyword_of_a_header(tmp_path, networks, visits):
    for i in range(3):
        header = fits.Header({"OBJECT": "star 0", "BARYCORR": float(visits["bary"][N_STAR * i])})
        images = [visits["flux"][N_STAR * i], visits["flux_error"][N_STAR * i], networks.wavelength]
        hdus = [fits.PrimaryHDU(header=header), *(fits.ImageHDU(image) for image in images)]
        fits.HDUList(hdus).writeto(tmp_path / f"visit{i}.fits")
    names = {"flux": "1", "flux_error": "2", "wavelength": "3", "identifier": "0:OBJECT", "barycentric": "0:BARYCORR"}
    layout = make_layout(format="fits", uncertainty="flux_error", **names)
    batches = read_spectra(sorted(tmp_path.glob("visit*.fits")), layout, networks.wavelength)
    stars, _ = fit_stars_of_batches(networks, batches, SETTINGS)
    expected, _ = in_python(networks, visits, "common", True)
    assert stars["identifier"].tolist() == ["star 0"] and stars["n_piece"].tolist() == [3]
    assert stars["RV"][0] == pytest.approx(expected["RV"][0], abs=1e-3 * expected["RV_error"][0])


def test_what_cannot_be_meant_is_said(tmp_path, networks, visits, capsys, monkeypatch):
    networks.write(tmp_path / "networks.npz")
    nights = write_nights(tmp_path, networks, visits)
    given = ["fit", tmp_path / "networks.npz", *nights, *OPTIONS, "--pieces", "each", "--output", tmp_path / "fits"]
    for more, says in (
        (["--spectra", "0:4"], "--spectra 0:4: not with --pieces"),
        (["--start", "middle"], "--start middle"),
    ):
        assert cli.main([str(one) for one in [*given, *more]]) == 2
        assert says in capsys.readouterr().err
    layout = make_layout(uncertainty="flux_error")
    with pytest.warns(SpectraWarning, match="no two spectra have the same identifier"):
        fit_stars_of_batches(networks, read_spectra(nights[:1], layout, networks.wavelength), SETTINGS)
    monkeypatch.setattr("payneflow.fitting.many_stars.MOST_PIXELS", 2000)
    with pytest.raises(SpectraError, match=r"night1.npz: more than 2000 pixels"):
        fit_stars_of_batches(networks, read_spectra(nights, layout, networks.wavelength, batch_size=N_STAR), SETTINGS)
    with pytest.raises(SpectraError, match="no array 'absent'"):
        list(read_spectra(nights[:1], replace(layout, barycentric="absent"), networks.wavelength))
