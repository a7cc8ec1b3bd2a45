"""A run on a grid of several files: the networks of one file with all spectra, made again when a file is added."""

import json

import numpy as np
import pytest
from workflow_runs import AFTER_TRAINING, GRID, RESULTS, new_directory, planned, snakemake

from payneflow import cli
from payneflow.weights import PUBLISHED_KEYS

PIXELS = slice(0, None, 450)
BATCHES = {"first.npz": slice(0, 200), "next {a} batch.npz": slice(200, 280), "last.npz": slice(280, 320)}


@pytest.fixture(scope="module")
def grids(tmp_path_factory):
    """The demonstration grid, thinned to 17 pixels: in three files, and the first two of them in one."""
    place = tmp_path_factory.mktemp("grids")
    with np.load(GRID) as stored:
        arrays = dict(stored)
    arrays |= {key: arrays[key][..., PIXELS] for key in ("wavelength", "Y_u_all")}
    for name, rows in {**BATCHES, "together.npz": slice(0, 280)}.items():
        own = {"Y_u_all": arrays["Y_u_all"][rows], "labels_array": arrays["labels_array"][:, rows]}
        np.savez(place / name, **{**arrays, **own})
    return place


@pytest.fixture(scope="module")
def run(grids, tmp_path_factory):
    """A directory in which the whole workflow has run once on the first two files."""
    names = [str(grids / name) for name in list(BATCHES)[:2]]
    directory = new_directory(tmp_path_factory.mktemp("joined") / "run", grid=names, pixels="::4")
    status, output = snakemake(directory)
    assert status == 0, output
    return directory


def test_a_run_on_two_files_writes_every_result(run, grids):
    assert [name for name in RESULTS if not (run / "results" / name).stat().st_size] == []
    summary = json.loads((run / "results/grid_summary.json").read_text())
    assert [one["path"] for one in summary["files"]] == [str(grids / name) for name in list(BATCHES)[:2]]
    assert cli.main(["verify", str(run / "results")]) == 0


def test_its_networks_and_label_errors_are_those_of_one_file(run, grids, tmp_path):
    other = new_directory(tmp_path / "other", grid=str(grids / "together.npz"), pixels="::4")
    status, output = snakemake(other, "results/label_errors.npz")
    assert status == 0, output
    for file, keys in (("neural_network.npz", PUBLISHED_KEYS), ("label_errors.npz", ("scaled", "errors", "rows"))):
        with np.load(run / "results" / file) as joined, np.load(other / "results" / file) as whole:
            assert [key for key in keys if joined[key].tobytes() != whole[key].tobytes()] == []


def test_a_file_that_is_added_makes_everything_again(run, grids):
    names = [str(grids / name) for name in BATCHES]
    status, output = snakemake(run, "--dry-run", "--config", f"grid={json.dumps(names)}")
    assert status == 0, output
    assert set(planned(output)) == {"check_grid", "summarise_grid", "split_pixels", "train_chunk"} | AFTER_TRAINING


def test_the_same_files_in_the_same_order_train_nothing_again(run):
    status, output = snakemake(run)
    assert status == 0 and "Nothing to be done" in output


def test_results_of_fewer_files_are_stale_by_hand_too(run, grids, capsys):
    grid = [argument for name in BATCHES for argument in ("--grid", str(grids / name))]
    assert cli.main(["verify", str(run / "results"), *grid]) == 2
    assert "stale            neural_network.npz: made from another grid" in capsys.readouterr().out


def test_evaluate_refuses_other_files_or_another_order(run, grids, tmp_path, capsys):
    first, second = (str(grids / name) for name in list(BATCHES)[:2])
    for grid in ([first], [second, first]):
        command = ["evaluate", str(run / "results/neural_network.npz"), *grid, "--output", str(tmp_path / "e.npz")]
        assert cli.main(command) == 2
    assert "not the grid that the networks were trained on" in capsys.readouterr().err
