"""What a grid is taken as, split, medium and flux scale: from `split` through training to every command after it."""

from itertools import product

import numpy as np
import pytest

from payneflow import cli, fit_spectra, read_networks
from payneflow.chunks.gather import gather_chunks
from payneflow.errors import ChunkError, NetworkFileError
from payneflow.evaluation import evaluate_networks
from payneflow.grid import GridReading, read_grid
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.stored_arrays import write_arrays
from payneflow.wavelength import air_to_vacuum

N_PIXEL, LM = 32, ["--max-rounds", "1"]


def mesh_grid(path, flux=lambda y: y):
    """A mesh of three labels, the last with four values; lines of three depths that the labels change smoothly."""
    labels = np.array(list(product(np.linspace(4000, 6000, 6), np.linspace(1, 5, 5), np.linspace(-2, 0.5, 4))))
    unit = (labels - labels.min(axis=0)) / np.ptp(labels, axis=0)
    pixel = np.arange(N_PIXEL)
    depth = 0.3 * np.exp(-((pixel - 8) ** 2) / 20) * (0.3 + unit[:, :1])
    depth = depth + 0.2 * np.exp(-((pixel - 20) ** 2) / 30) * (0.2 + unit[:, 1:2]) * (1 + 0.5 * unit[:, :1])
    depth = depth + 0.4 * np.exp(-((pixel - 14) ** 2) / 12) * unit[:, 2:] ** 2
    names, units = np.array(["Teff", "logg", "[α/H]"]), np.array(["K", "dex", "dex"])
    # held back: a third of the spectra, of all values
    trains = np.random.default_rng(1).uniform(size=len(labels)) < 0.67
    arrays = {"Y_u_all": flux(1.0 - depth), "labels_array": labels.T, "label_names": names, "label_units": units}
    np.savez(path, wavelength=6500.0 + 0.1 * pixel, trains=trains, **arrays)
    return path


def run(*arguments):
    assert cli.main([str(one) for one in arguments]) == 0


def trained(grid, directory, *options):
    """Networks of the grid, by check, split, train and gather on the command line; the path of their file."""
    check = [one for one in options if one not in LM]
    run("check", grid, *check)
    run("split", grid, *options, *LM, "--output", directory / "chunks")
    (chunk,) = (directory / "chunks").glob("*.npz")
    run("train", chunk, "--output", directory / "trained.npz")
    network = directory / "network.npz"
    run("gather", directory / "trained.npz", "--network", network, "--record", directory / "record.ecsv")
    return network


def rms(path):
    with np.load(path) as evaluation:
        return float(np.sqrt(np.mean(evaluation["rms_test"] ** 2))), int(evaluation["example_spectrum"])


def test_a_mesh_is_refused_as_published_and_trained_well_at_random(tmp_path, capsys):
    grid = mesh_grid(tmp_path / "grid.npz")
    assert cli.main(["split", str(grid), "--output", str(tmp_path / "none")]) == 2
    assert "label [α/H]" in capsys.readouterr().err
    network = trained(grid, tmp_path, "--split", "random", "--seed", "3")
    networks, split = read_networks(network), read_grid(grid, reading=GridReading(split="random"), seed=3).split
    assert networks.split.name == networks.provenance["split"] == "random"
    assert (networks.split.trains == split.trains).all()
    run("evaluate", network, grid, "--output", tmp_path / "evaluation.npz")
    error, example = rms(tmp_path / "evaluation.npz")
    assert error < 0.02 and not split.trains[example]
    run("calibrate", network, grid, "--output", tmp_path / "errors.npz")
    with np.load(tmp_path / "errors.npz") as errors:
        assert (errors["held_back"] == ~split.trains[errors["rows"]]).all()
    errors = "--label-errors", tmp_path / "errors.npz"
    run("fit", network, "--grid", grid, *errors, "--output", tmp_path / "fits")
    assert f"{split.n_test} spectra fitted" in capsys.readouterr().out
    with pytest.raises(NetworkFileError, match="trained on a grid of 120"):
        networks.split_of(read_grid(mesh_grid_of_other_size(tmp_path)))


def mesh_grid_of_other_size(directory):
    with np.load(mesh_grid(directory / "whole.npz")) as whole:
        arrays = dict(whole)
    rows = np.random.default_rng(2).permutation(120)[:50]
    arrays |= {"Y_u_all": arrays["Y_u_all"][rows], "labels_array": arrays["labels_array"][:, rows]}
    np.savez(directory / "other.npz", **arrays)
    return directory / "other.npz"


def test_an_array_of_the_grid_divides_it_and_its_medium_is_converted_once(tmp_path):
    grid = mesh_grid(tmp_path / "grid.npz")
    network = trained(grid, tmp_path, "--split", "trains", "--grid-medium", "air")
    networks = read_networks(network)
    with np.load(grid) as arrays:
        assert (networks.split.trains == arrays["trains"]).all() and networks.provenance["split"] == "trains"
        assert (networks.wavelength == air_to_vacuum(arrays["wavelength"])).all()
    run("evaluate", network, grid, "--output", tmp_path / "evaluation.npz")
    assert rms(tmp_path / "evaluation.npz")[0] < 0.02
    run("calibrate", network, grid, "--output", tmp_path / "errors.npz")
    again = read_grid(grid, reading=GridReading(split="trains"))
    with pytest.raises(NetworkFileError, match="no pixel at"):
        evaluate_networks(networks, again)


FLUXES = {
    "emission": (lambda y: 1.0 + 2.0 * (1.0 - y), 0.0),
    "continuum set low": (lambda y: 1.4 * y, 0.0),
    "erg": (lambda y: 3e-15 * y, 0.0),
    "counts in float32": (lambda y: (2e6 * y).astype(np.float32), 0.0),
    "logarithm of the flux": (lambda y: 5.0 * np.log10(y) - 15.0, None),
    "continuum subtracted": (lambda y: y - 1.0, None),
}


@pytest.mark.parametrize(("flux", "lowest"), FLUXES.values(), ids=FLUXES)
def test_flux_in_any_unit_is_trained_on_and_fitted(tmp_path, flux, lowest):
    grid = mesh_grid(tmp_path / "grid.npz", flux)
    network = trained(grid, tmp_path, "--split", "random", "--flux-scale", "grid")
    networks = read_networks(network)
    with np.load(grid) as arrays:
        values, labels = arrays["Y_u_all"].astype(float), arrays["labels_array"].T
    scale = networks.flux_scale
    assert scale.highest == pytest.approx(values.max()) and scale.lowest == (values.min() if lowest is None else lowest)
    test = networks.split.test
    assert np.sqrt(np.mean((networks.predict(labels[test]) - values[test]) ** 2)) < 0.02 * np.ptp(values)
    assert np.nanmax(networks.emulator_rms) < 0.05 * np.ptp(values)
    run("evaluate", network, grid, "--output", tmp_path / "evaluation.npz")
    assert rms(tmp_path / "evaluation.npz")[0] < 0.02 * np.ptp(values)
    for figure in ("flux_prediction", "flux_deviation"):
        run("plot", figure, tmp_path / "evaluation.npz", "--output", tmp_path / f"{figure}.png")
    run("calibrate", network, grid, "--output", tmp_path / "errors.npz")
    errors = "--label-errors", tmp_path / "errors.npz"
    run("fit", network, "--grid", grid, *errors, "--output", tmp_path / "fits")
    noise = 1e-3 * np.ptp(values)
    fits = fit_spectra(networks, values[test][:20], noise)
    assert np.median(np.abs(fits["Teff"] - labels[test][:20, 0])) < 150
    snr = np.median(values[test][:20] / noise, axis=1)
    assert np.asarray(fits["SNR"]) == pytest.approx(snr, rel=0.05)


NOT_IN_FORMAT_2 = "flux_scale", "trains", "split_name", "checksum"


def test_published_flux_is_what_nothing_else_is_said_of(tmp_path):
    path = tmp_path / "network.npz"
    grid = mesh_grid(tmp_path / "grid.npz")
    trained(grid, tmp_path, "--split", "trains")
    networks = read_networks(path)
    assert networks.flux_scale == PUBLISHED_FLUX
    with np.load(path) as stored:
        old = {key: array for key, array in stored.items() if key not in NOT_IN_FORMAT_2}
    np.savez(tmp_path / "old.npz", **{**old, "format_version": np.array(2)})
    old = read_networks(tmp_path / "old.npz")
    assert old.flux_scale == PUBLISHED_FLUX and old.split is None
    labels = np.array([5000.0, 3.0, -0.5])
    assert (old.predict(labels) == networks.predict(labels)).all()
    run("evaluate", tmp_path / "old.npz", grid, "--output", tmp_path / "evaluation.npz")  # as published, for old ones


def test_chunks_that_were_taken_otherwise_are_not_joined(tmp_path):
    grid = mesh_grid(tmp_path / "grid.npz")
    paths = []
    for number, (pixels, seed) in enumerate((("0:16", 1), ("16:32", 2))):
        chunks = tmp_path / str(number)
        run("split", grid, "--pixels", pixels, "--split", "random", "--seed", seed, *LM, "--output", chunks)
        (chunk,) = chunks.glob("*.npz")
        paths.append(tmp_path / f"trained{number}.npz")
        run("train", chunk, "--output", paths[-1])
    with np.load(paths[1]) as second, np.load(paths[0]) as first:
        same = {key: first[key] for key in ("settings", "x_min", "x_max", "preparation_note", "requested")}
        arrays = {**second, **same}
    write_arrays(paths[1], arrays)
    with pytest.raises(ChunkError, match="was trained on other spectra"):
        gather_chunks(paths)
