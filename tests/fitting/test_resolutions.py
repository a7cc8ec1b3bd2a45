"""Spectra whose files say how sharp each is: their fits are those of Python, and no other spectrum changes a bit."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import cli, fit_spectra
from payneflow.errors import CalibrationError, SettingsError, SpectraError, SpectraWarning
from payneflow.fitting import FitFlag, FitSettings, Pieces, SpectralModel, fit_stars, read_results
from payneflow.fitting.calibration import measure_label_errors, write_label_errors
from payneflow.fitting.gather import gather_fits
from payneflow.fitting.many import fit_batches, write_best_fits
from payneflow.fitting.many_stars import fit_stars_of_batches
from payneflow.fitting.run_meta import refuse_if_unreadable
from payneflow.grid import SpectralGrid
from payneflow.spectra import make_layout, read_spectra

NOISE, GRID = 0.004, 2.25e4
SETTINGS = FitSettings(velocity=True, max_velocity=60.0, max_vsini=60.0, emulator_error=False, grid_resolution=GRID)
OPTIONS = ["--velocity", "--max-velocity", "60", "--no-emulator-error", "--grid-resolution", "22500"]  # the same
LAYOUT = make_layout(uncertainty="flux_error", resolution="R")
N = 4


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=400, seed=4)


@pytest.fixture(scope="module")
def own(networks):
    """R (4, 400) that is smooth along the axis, and another one for each spectrum."""
    return np.stack([np.linspace(low, low + 1e3, 400) for low in (8e3, 1.2e4, 2e4, 1.9e4)])


@pytest.fixture(scope="module")
def stars(networks, own):
    """Flux of four stars as their instruments see them, and what a file of them holds."""
    rng = np.random.default_rng(5)
    labels = networks.scaler.unscale(rng.uniform(0.3, 0.7, (N, 2)))
    flux = [SpectralModel(networks, SETTINGS, resolution=own[i]).predict(labels[i], 10.0 * i) for i in range(N)]
    flux = np.nan_to_num(np.array(flux), nan=1.0) + rng.normal(0.0, NOISE, (N, 400))
    names = np.array([f"star {i}" for i in range(N)])
    return {"flux": flux, "flux_error": np.full(flux.shape, NOISE), "identifier": names, "labels": labels}


def save(path, networks, stars, rows=slice(None), wavelength=None, **more):
    arrays = {name: stars[name][rows] for name in ("flux", "flux_error", "identifier")}
    np.savez(path, wavelength=networks.wavelength if wavelength is None else wavelength, **arrays, **more)
    return path


def same(one, other):
    names = [name for name in one.colnames if name in other.colnames and one[name].dtype.kind != "U"]
    assert {"label0", "RV", "chi2", "flags"} <= set(names)
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in names)


def read(paths, networks, layout=LAYOUT, **reading):
    return read_spectra(paths, layout, networks.wavelength, **reading)


@pytest.mark.parametrize("of", ["pixels", "spectra", "file"])
def test_files_give_what_arrays_give_to_the_last_bit_whatever_the_batches(tmp_path, networks, stars, own, of):
    resolution = {"pixels": own, "spectra": own[:, :1], "file": np.full((N, 1), 9e3)}[of]
    expected = fit_spectra(networks, stars["flux"], NOISE, settings=SETTINGS, resolution=resolution)
    if of == "pixels":
        assert np.abs((expected["label0"] - stars["labels"][:, 0]) / expected["label0_error"]).max() < 5
        assert np.abs((expected["RV"] - 10.0 * np.arange(N)) / expected["RV_error"]).max() < 5
    stored = {"pixels": own, "spectra": own[:, 0], "file": np.array(9e3)}[of]
    path = save(tmp_path / "a.npz", networks, stars, R=stored)
    for batch_size in (1, 3, 500):
        table = fit_batches(networks, read([path], networks, batch_size=batch_size), SETTINGS)
        assert same(table, expected)
        assert table.meta["resolution"] == "resolution, R of the files"
    sigma = networks.wavelength / resolution / np.sqrt(8 * np.log(2))
    path = save(tmp_path / "sigma.npz", networks, stars, sigma=sigma)
    layout = make_layout(uncertainty="flux_error", lsf_sigma="sigma", lsf_unit="Angstrom")
    table = fit_batches(networks, read([path], networks, layout), SETTINGS)
    assert table["label0"] == pytest.approx(expected["label0"], abs=1e-2 * expected["label0_error"].min())
    assert table.meta["resolution"] == "lsf_sigma in Angstrom, sigma of the files"


def test_an_axis_and_a_resolution_each_do_not_depend_on_the_batch(tmp_path, networks, stars, own):
    """Files of unlike axes, one of them shorter, a damaged one, and one on the networks' own pixels among them."""
    paths = []
    for i in range(N):
        axis = networks.wavelength * (1.0 + 3e-6 * i)
        paths.append(save(tmp_path / f"{i}.npz", networks, stars, slice(i, i + 1), axis, R=own[i]))
    cut = {name: stars[name][:1, :350] for name in ("flux", "flux_error")} | {"identifier": stars["identifier"][:1]}
    paths.append(
        save(tmp_path / "cut.npz", networks, cut, wavelength=networks.wavelength[:350] * 1.00001, R=own[0, :350])
    )
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"damaged")
    paths = [*paths[:2], damaged, *paths[2:]]
    with pytest.warns(SpectraWarning, match="Recorded as failed"):
        apart = fit_batches(networks, read(paths, networks), SETTINGS)
    for batch_size in (2, 500):
        with pytest.warns(SpectraWarning, match="Recorded as failed"):
            batches = list(read(paths, networks, own_axes=True, batch_size=batch_size))
        assert max(batch.wavelength.ndim for batch in batches) == 2
        assert same(fit_batches(networks, batches, SETTINGS), apart)
    assert ((apart["flags"] & FitFlag.FAILED) > 0).tolist() == [False, False, True, False, False, False]
    for k, i in ((1, 1), (3, 2)):
        axis = networks.wavelength * (1.0 + 3e-6 * i)
        given = {"settings": SETTINGS, "resolution": own[i]}
        alone = fit_spectra(networks, stars["flux"][i : i + 1], NOISE, axis, **given)
        assert same(apart[k : k + 1][[name for name in alone.colnames if name in apart.colnames]], alone)
    assert apart["n_pixel"][5] + apart["n_masked"][5] == 350


def test_a_spectrum_sharper_than_the_grid_fails_and_harms_no_other(tmp_path, networks, stars, own):
    sharp = own.copy()
    sharp[2, 30] = 3e4
    path = save(tmp_path / "a.npz", networks, stars, R=sharp)
    table = fit_batches(networks, read([path], networks), SETTINGS)
    assert table.meta["unreadable"] == {
        "star 2": f"{path}: resolution is 30000 in pixel 30 (1 pixels are so sharp), that of the networks' grid 22500: "
        "sharper data than the grid cannot be fitted with it. Broaden the data, or train networks on a sharper grid."
    }
    others = [0, 1, 3]
    assert same(table[others], fit_spectra(networks, stars["flux"], NOISE, settings=SETTINGS, resolution=own)[others])
    assert ((table["flags"] & FitFlag.FAILED) > 0).tolist() == [False, False, True, False]
    masked = {**stars, "flux_error": np.where(sharp > GRID, np.inf, stars["flux_error"])}
    table = fit_batches(networks, read([save(tmp_path / "b.npz", networks, masked, R=sharp)], networks), SETTINGS)
    assert not (table["flags"] & FitFlag.FAILED).any()
    table = fit_batches(networks, read([save(tmp_path / "c.npz", networks, stars, R=3e4)], networks), SETTINGS)
    with pytest.raises(SpectraError, match="none of 4 spectra could be read; the first: .*c.npz: resolution is 30000"):
        refuse_if_unreadable(table)


def test_two_resolutions_and_an_unknown_grid_are_refused(tmp_path, networks, stars, own):
    path = save(tmp_path / "a.npz", networks, stars, R=own)
    with pytest.raises(SettingsError, match="resolution is 9000, but the layout says that of each spectrum"):
        fit_batches(networks, read([path], networks), replace(SETTINGS, resolution=9e3))
    with pytest.raises(SettingsError, match="resolution is 8000, but at which one the spectra of the networks' grid"):
        fit_batches(networks, read([path], networks), replace(SETTINGS, grid_resolution=0.0))


def test_the_command_line_and_its_shards(tmp_path, networks, stars, own, capsys):
    networks.write(tmp_path / "networks.npz")
    path = save(tmp_path / "a.npz", networks, stars, R=own)
    given = ["fit", tmp_path / "networks.npz", path, *OPTIONS, "--uncertainty", "flux_error"]
    given = [str(one) for one in given]
    role = ["--array", "resolution=R"]
    for k, shard in enumerate(("0:1", "1:4")):
        assert cli.main([*given, *role, "--spectra", shard, "--output", str(tmp_path / f"part{k}")]) == 0
    together = gather_fits([tmp_path / f"part{k}.ecsv" for k in range(2)])
    assert same(together, fit_spectra(networks, stars["flux"], NOISE, settings=SETTINGS, resolution=own))
    assert together.meta["resolution"] == "resolution, R of the files"
    assert cli.main([*given, "--output", str(tmp_path / "part1"), "--spectra", "1:4"]) == 0
    with pytest.raises(SpectraError, match="its resolution is None, but that of .* 'resolution, R of the files'"):
        gather_fits([tmp_path / f"part{k}.ecsv" for k in range(2)])
    capsys.readouterr()
    for more, says in (
        ([*role, "--resolution", "9000"], "--resolution 9000 --array resolution=R: two resolutions of the spectra"),
        (["--array", "lsf_sigma=R"], "lsf_unit is ''; expected Angstrom, km/s or pixel"),
    ):
        assert cli.main([*given, *more, "--output", str(tmp_path / "no")]) == 2
        assert says in capsys.readouterr().err


def test_best_fits_are_those_of_each_instrument(tmp_path, networks, stars, own):
    path = save(tmp_path / "a.npz", networks, stars, R=own)
    write_best_fits(networks, read([path], networks, batch_size=2), SETTINGS, tmp_path / "best.npz")
    with np.load(tmp_path / "best.npz") as stored:
        assert np.array_equal(stored["resolution"], own)
        for i in range(N):
            model = SpectralModel(networks, SETTINGS, resolution=own[i]).predict(stored["labels"][i], stored["RV"][i])
            used = stored["used"][i]
            assert used.sum() > 250 and stored["model"][i, used] == pytest.approx(model[used], abs=1e-6)
    networks.write(tmp_path / "networks.npz")
    given = ["mismatch", tmp_path / "networks.npz", tmp_path / "best.npz", "--output", tmp_path / "mismatch.npz"]
    assert cli.main([str(one) for one in given]) == 2


def test_pieces_of_a_star_have_their_own(tmp_path, networks, stars, own, monkeypatch):
    """Two visits of two stars, in two files; one of a third that is too sharp."""
    stars = {**stars, "identifier": np.array(["a", "b", "a", "b"])}
    paths = [
        save(tmp_path / f"{k}.npz", networks, stars, rows, R=own[rows])
        for k, rows in enumerate((slice(0, 2), slice(2, 4)))
    ]
    settings = SETTINGS
    expected, pieces = fit_stars(
        [Pieces(networks, stars["flux"], NOISE, stars["identifier"], resolution=own)],
        settings=settings,
        velocity="each",
    )
    found, of_pieces = fit_stars_of_batches(networks, read(paths, networks), settings, velocity="each")
    assert np.array_equal(found["label0"], expected["label0"]) and np.array_equal(found["chi2"], expected["chi2"])
    assert np.array_equal(of_pieces["RV"], pieces["RV"]) and found.meta["resolution"] == "resolution, R of the files"
    assert of_pieces["spectrum"].tolist() == [0, 2, 1, 3]
    alone = fit_stars_of_batches(networks, read(paths, networks, batch_size=1), settings, velocity="each")[0]
    assert np.array_equal(found["label1_error"], alone["label1_error"])
    other = {**stars, "identifier": np.array(["c"] * N)}
    paths.append(save(tmp_path / "sharp.npz", networks, other, slice(3, 4), R=np.array([3e4])))
    with_sharp, _ = fit_stars_of_batches(networks, read(paths, networks), settings, velocity="each")
    assert with_sharp["flags"][2] == FitFlag.FAILED and list(with_sharp.meta["unreadable"]) == ["c"]
    assert np.array_equal(with_sharp["label0"][:2], found["label0"])
    monkeypatch.setattr("payneflow.fitting.pieces.MOST_ENGINES", 2)
    with pytest.raises(SpectraError, match="the pieces have 4 different resolutions, .* expected 2 at most"):
        fit_stars_of_batches(networks, read(paths[:2], networks), settings, velocity="each")


# --- Label errors, which are measured at one resolution ---------------------------------------------------------------


@pytest.fixture(scope="module")
def label_errors(networks):
    """Measured at R 9000; labels are off by a known amount."""
    labels = networks.scaler.unscale(np.random.default_rng(6).uniform(0.2, 0.8, (60, 2)))
    off = 0.02 * networks.scaler.width * np.sin(3 * networks.scaler.scale(labels))
    names = networks.label_names, networks.label_units
    grid = SpectralGrid("grid.npz", networks.wavelength, networks.predict(labels + off), labels, *names, "of the grid")
    return measure_label_errors(networks, grid, replace(SETTINGS, resolution=9e3))


def flux_at(networks, stars, resolution):
    """Two of the stars, without noise."""
    flux = SpectralModel(networks, SETTINGS, resolution=resolution).predict(stars["labels"][:2], 10.0)
    return np.nan_to_num(flux, nan=1.0)


def test_label_errors_serve_spectra_as_sharp_as_theirs(networks, stars, label_errors):
    assert label_errors.resolution == 9e3 and label_errors.of_own_resolutions.resolution == 0.0
    flux = flux_at(networks, stars, 9e3)
    at_theirs = fit_spectra(
        networks, flux, NOISE, settings=replace(SETTINGS, resolution=9e3), label_errors=label_errors
    )
    given = {"settings": SETTINGS, "label_errors": label_errors}
    each = fit_spectra(networks, flux, NOISE, resolution=np.full((2, 1), 9e3), **given)
    assert each.meta["errors"] == "calibrated" and same(each, at_theirs)
    near = fit_spectra(networks, flux_at(networks, stars, 8.7e3), NOISE, resolution=np.full((2, 1), 8.7e3), **given)
    assert near["label0_error"] == pytest.approx(each["label0_error"], rel=0.2)
    formal = fit_spectra(networks, flux, NOISE, settings=SETTINGS, resolution=np.full((2, 1), 9e3))
    assert (each["label0_error"] > formal["label0_error"]).all() and not np.array_equal(
        each["label0"], formal["label0"]
    )
    for resolution in (np.array([[9e3], [9.5e3]]), np.linspace(8.4e3, 9e3, 400), 1.1e4):
        with pytest.raises(
            CalibrationError, match="that of the label errors 9000: expected it within 5%. Measure them"
        ):
            fit_spectra(networks, flux, NOISE, resolution=resolution, **given)
    with pytest.raises(CalibrationError, match=r"spectrum 1: resolution is 9500 at 15\d+\.\d Angstrom"):
        fit_spectra(networks, flux, NOISE, resolution=np.array([[9e3], [9.5e3]]), **given)
    with pytest.raises(CalibrationError, match="in the mode"):
        fit_spectra(
            networks, flux, NOISE, resolution=9e3, settings=replace(SETTINGS, continuum=2), label_errors=label_errors
        )


def test_a_spectrum_out_of_their_reach_fails_in_the_files(tmp_path, networks, stars, label_errors):
    write_label_errors(label_errors, tmp_path / "errors.npz")
    networks.write(tmp_path / "networks.npz")
    path = save(tmp_path / "a.npz", networks, stars, R=np.array([9e3, 9.2e3, 1.2e4, 8.8e3]))
    (tmp_path / "damaged.npz").write_bytes(b"damaged")
    given = ["fit", tmp_path / "networks.npz", tmp_path / "damaged.npz", path, *OPTIONS, "--uncertainty", "flux_error"]
    given += ["--array", "resolution=R", "--label-errors", tmp_path / "errors.npz", "--output", tmp_path / "fits"]
    with pytest.warns(SpectraWarning, match="Recorded as failed"):
        assert cli.main([str(one) for one in given]) == 0
    table = read_results(tmp_path / "fits.ecsv")
    assert ((table["flags"] & FitFlag.FAILED) > 0).tolist() == [True, False, False, True, False]
    said = table.meta["unreadable"]["star 2"]
    assert "resolution is 12000 at" in said and "that of the label errors 9000: expected it within 5%" in said
    assert table.meta["errors"] == "calibrated" and table.meta["label_errors"] == label_errors.digest
    expected = fit_spectra(
        networks, stars["flux"][:2], NOISE, settings=SETTINGS, label_errors=label_errors,
        resolution=np.array([[9e3], [9.2e3]]),
    )  # fmt: skip
    assert np.array_equal(table["label0_error"][1:3], expected["label0_error"])


def test_pieces_know_at_what_resolution_label_errors_are(networks, stars, label_errors):
    given = {"networks": networks, "flux_error": NOISE, "label_errors": label_errors}
    name, settings = np.array(["a", "a"]), SETTINGS
    near = Pieces(**given, flux=stars["flux"][:2], star=name, resolution=np.array([[9e3], [9.2e3]]))
    table, _ = fit_stars([near], settings=settings)
    assert table.meta["errors"] == "calibrated"
    with pytest.raises(CalibrationError, match="spectrum 1: resolution is 12000"):
        fit_stars([replace(near, resolution=np.array([[9e3], [1.2e4]]))], settings=settings)
    with pytest.raises(CalibrationError, match=r"pieces\[1\]: resolution is 22500"):
        fit_stars([near, replace(near, resolution=None)], settings=settings)
