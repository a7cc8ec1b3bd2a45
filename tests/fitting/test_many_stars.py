"""Stars in pieces from files: spectra with one identifier are one star, whichever files and rows they are in."""

import warnings
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from known_networks import line_networks

from payneflow import cli
from payneflow.errors import SpectraError, SpectraWarning
from payneflow.fitting import FitFlag, FitSettings, Pieces, SpectralModel, fit_stars, read_results
from payneflow.fitting.fits_file import blocks_of_fits_binary
from payneflow.fitting.many_stars import fit_stars_of_batches
from payneflow.fitting.parquet_file import blocks_of_parquet
from payneflow.fitting.results import digest_of_values
from payneflow.spectra import make_layout, plan_star_shards, read_spectra

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


def test_shards_gathered_are_all_at_once_to_the_bit(tmp_path, networks, visits):
    """Though the nights have different axes, stars lie in other orders there, and one file is damaged."""
    networks.write(tmp_path / "networks.npz")
    nights = write_nights(tmp_path, networks, visits)
    with np.load(nights[1]) as stored:
        arrays = dict(stored)
    rows = {name: arrays[name][::-1] for name in ("flux_error", "identifier", "bary")}
    wavelength = networks.wavelength[:-1] + 0.3 * np.diff(networks.wavelength)
    flux = np.array([np.interp(wavelength, networks.wavelength, one) for one in arrays["flux"][::-1]])
    np.savez(nights[1], **{**rows, "flux": flux, "flux_error": rows["flux_error"][:, 1:], "wavelength": wavelength})
    nights = [nights[1], tmp_path / "bad.npz", nights[0], nights[2]]
    nights[1].write_bytes(b"damaged")
    given = [
        *("fit", tmp_path / "networks.npz", *nights, *OPTIONS),
        *("--pieces", "common", "--array", "barycentric=bary", "--parquet"),
    ]

    def run(*options):
        with pytest.warns(SpectraWarning) if "gather_fits" not in options else nullcontext():
            assert cli.main([str(one) for one in options]) == 0

    run(*given, "--output", tmp_path / "whole")
    shards = plan_star_shards(nights, make_layout(uncertainty="flux_error", barycentric="bary"), 6)
    for shard in shards:
        which = f"{shard.selection.start}:{shard.selection.stop}", "--plan", shard.digest
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpectraWarning)
            assert cli.main([str(o) for o in (*given, "--stars", *which, "--output", tmp_path / shard.name)]) == 0
    tables = [tmp_path / f"{shard.name}.ecsv" for shard in shards]
    run("gather_fits", *tables, "--pieces", "--parquet", "--output", tmp_path / "joined")
    for of in ("", "_pieces"):
        whole, joined = (tmp_path / f"{stem}{of}" for stem in ("whole", "joined"))
        assert joined.with_suffix(".ecsv").read_bytes() == whole.with_suffix(".ecsv").read_bytes(), of
        for read, ending in ((blocks_of_fits_binary, ".fits"), (blocks_of_parquet, ".parquet")):
            one, other = (digest_of_values(read(path.with_suffix(ending))) for path in (whole, joined))
            assert one == other, (of, ending)
    assert read_results(tmp_path / "whole.ecsv")["identifier"][0] == "star 4"


def test_shards_of_stars_that_are_missing_or_others_are_said(tmp_path, networks, visits, capsys):
    networks.write(tmp_path / "networks.npz")
    nights = write_nights(tmp_path, networks, visits)
    given = ["fit", tmp_path / "networks.npz", *nights, *OPTIONS, "--output", tmp_path / "a"]
    pieces = [*given, "--pieces", "common"]
    assert cli.main([str(one) for one in [*pieces, "--stars", "0:2"]]) == 0
    joining = ["gather_fits", tmp_path / "a.ecsv", "--output", tmp_path / "all"]
    for options, says in (
        ([*pieces, "--stars", "0:2", "--plan", "0123"], "so that stars 0:2 are others. Start the workflow again"),
        ([*pieces, "--stars", "7:9"], "there are 5 stars in 3 files, and none of 7:9"),
        ([*pieces, "--stars", "2"], """stars is '2', expected "start:stop\""""),
        ([*given, "--stars", "0:2"], "--stars 0:2: only with --pieces; of spectra one by one give --spectra"),
        (joining, "hold stars 0:2, the last of them in"),
        ([*joining, "--pieces"], "hold stars 0:2, the last of them in"),
        (["gather_fits", tmp_path / "a_pieces.ecsv", "--output", tmp_path / "all"], "a_pieces.ecsv"),
    ):
        assert cli.main([str(one) for one in options]) == 2
        assert says in capsys.readouterr().err, says
    assert not (tmp_path / "all.ecsv").exists() and not (tmp_path / "all_pieces.ecsv").exists()


def test_arms_with_a_network_file_each_are_one_fit(tmp_path, networks, visits, capsys):
    """The same as from Python, whose arms come in the same order; and what arms are not for is said."""
    arrays = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "wavelength", "emulator_rms")
    arms, parts = [], []
    for arm, own in (("blue", slice(0, 140)), ("red", slice(140, 300))):
        parts.append(replace(networks, **{name: getattr(networks, name)[own] for name in arrays}))
        parts[-1].write(tmp_path / f"{arm}.npz")
        seen = {name: visits[name][:N_STAR, own] for name in ("flux", "flux_error")}
        order = slice(None, None, -1 if arm == "red" else 1)
        seen = {name: array[order] for name, array in {**seen, "identifier": visits["identifier"][:N_STAR]}.items()}
        np.savez(tmp_path / f"{arm}_stars.npz", wavelength=parts[-1].wavelength, **seen)
        arms.append(Pieces(parts[-1], seen["flux"], seen["flux_error"], seen["identifier"]))
    expected, _ = fit_stars(arms, settings=SETTINGS)
    blue, red = ([tmp_path / f"{arm}.npz", tmp_path / f"{arm}_stars.npz"] for arm in ("blue", "red"))
    given = ["fit", *blue, *OPTIONS, "--pieces", "common", "--output", tmp_path / "fits", "--arm"]
    assert cli.main([str(one) for one in [*given, *red]]) == 0
    stars, pieces = read_results(tmp_path / "fits.ecsv"), Table.read(tmp_path / "fits_pieces.ecsv")
    assert stars["n_piece"].tolist() == [2] * N_STAR
    assert stars.meta["networks"] == parts[0].digest and stars.meta["arms"] == [parts[1].digest]
    assert pieces["spectrum"].tolist() == [k for i in range(N_STAR) for k in (i, 2 * N_STAR - 1 - i)]
    for name in ("label0", "label1_error", "RV", "chi2", "flags"):
        assert np.array_equal(stars[name], expected[name]), name
    capsys.readouterr()
    for options, says in (
        ([*given, red[0]], "red.npz: expected the network file of an arm, and after it files of its spectra"),
        ([*given, *red, "--label-errors", "x.npz"], "not with --label-errors x.npz. What calibrations of several"),
        ([*given, *red, "--stars", "0:2"], "not with --stars 0:2, which is for one network file"),
        ([*given, red[0], blue[1]], "blue_stars.npz: given for two arms"),
        (
            [one for one in [*given, *red] if one not in ("--pieces", "common")],
            "Give --pieces common, or each, with it",
        ),
    ):
        assert cli.main([str(one) for one in options]) == 2
        assert says in capsys.readouterr().err, says


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
