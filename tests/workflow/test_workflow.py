"""The workflow end to end, on a few pixels and with short training: what it writes, what it repeats, what it says.

One run is shared by all tests; each Snakemake start costs a second. The tests that only ask what would be run use `-n`.
"""

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import same_but_seconds
from workflow_runs import AFTER_TRAINING, GRID, PROGRAMS, RESULTS, new_directory, planned, snakemake

from payneflow import cli


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A directory in which the whole workflow has run once, and what Snakemake printed."""
    directory = new_directory(tmp_path_factory.mktemp("workflow") / "run")
    dry_status, dry = snakemake(directory, "--dry-run")
    assert dry_status == 0, dry
    once = dict.fromkeys(("check_grid", "summarise_grid", "split_pixels", *AFTER_TRAINING), 1)
    assert planned(dry) == once | {"train_chunk": 3, "plot_figure": 5}
    assert not (directory / "results").exists()
    status, output = snakemake(directory)
    assert status == 0, output
    for said in ("17 pixels in 3 chunks, trainer lm", "test set:", "160 spectra fitted", "Everything is in results/"):
        assert said in output, "the summary at the end"
    return directory


@pytest.fixture
def directory(tmp_path):
    """A directory in which nothing has run yet."""
    return new_directory(tmp_path / "workflow")


def test_a_run_writes_every_result(run):
    assert [name for name in RESULTS if not (run / "results" / name).stat().st_size] == []
    assert json.loads((run / "results/grid_summary.json").read_text())
    with np.load(run / "results/neural_network.npz", allow_pickle=False) as network:
        assert network["w_array_0"].shape == (17, 10, 3)
    assert len(list((run / "results/logs/train_chunk").glob("*.log"))) == 3
    assert len(list((run / "results/benchmarks/train_chunk").glob("*.tsv"))) == 3


def test_nothing_is_written_beside_the_results(run):
    assert {path.name for path in run.iterdir()} <= {"config.yaml", "results", ".snakemake", "cache"}


def test_a_second_run_has_nothing_to_do(run):
    status, output = snakemake(run)
    assert status == 0
    assert "Nothing to be done" in output


def test_an_environment_that_is_not_activated_is_enough(directory, monkeypatch):
    bare = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != PROGRAMS)
    monkeypatch.setenv("PATH", bare)
    status, output = snakemake(directory, "results/grid_summary.json")
    assert status == 0, output


CHANGES = {
    "fit.flux_error": (
        ["fit={flux_error: 0.02}"],
        {"fit_spectra", "gather_fits", "plot_figure", "write_report"},
    ),
    "fit.test_snr": (["fit={test_snr: none}"], {"fit_spectra", "gather_fits", "plot_figure", "write_report"}),
    "fit.start": (["fit={start: truth}"], {"fit_spectra", "gather_fits", "plot_figure", "write_report"}),
    "seed": (["seed=1"], {"split_pixels", "train_chunk"} | AFTER_TRAINING),
    "lm.n_starts": (["lm={n_starts: 1}"], {"split_pixels", "train_chunk"} | AFTER_TRAINING),
    "trainer": (["trainer=sgd"], {"split_pixels", "train_chunk"} | AFTER_TRAINING),
    "sgd.eta": (["sgd={eta: 0.05}"], set()),
    "chunk_size": (["chunk_size=9"], {"split_pixels", "train_chunk"} | AFTER_TRAINING),
    "ranks": (["ranks=2", "launcher=srun"], set()),
    "pixels": (["pixels=::900"], {"split_pixels", "train_chunk"} | AFTER_TRAINING),
}


@pytest.mark.parametrize(("change", "repeated"), CHANGES.values(), ids=CHANGES)
def test_a_changed_setting_repeats_what_depends_on_it_and_only_that(run, change, repeated):
    status, output = snakemake(run, "--dry-run", "--config", *change)
    assert status == 0, output
    assert set(planned(output)) == repeated


def test_chunk_size_and_pixels_change_no_bit_of_a_network(run, tmp_path):
    other = new_directory(tmp_path / "other", chunk_size=4, pixels="0:7214:900")
    status, output = snakemake(other, "results/neural_network.npz")
    assert status == 0, output
    with (
        np.load(run / "results/neural_network.npz") as first,
        np.load(other / "results/neural_network.npz") as second,
    ):
        for key in ("wavelength", "w_array_0", "b_array_0", "w_array_1", "b_array_1", "emulator_rms"):
            assert first[key][::2].tobytes() == second[key].tobytes(), key


def test_the_report_of_snakemake_holds_the_figures_with_their_captions(run):
    status, output = snakemake(run, "--report", "results/snakemake_report.html")
    assert status == 0, output
    page = (run / "results/snakemake_report.html").read_text()
    figures = ("flux_prediction", "flux_deviation", "fitting_results", "fit_overview", "training_summary")
    assert all(f"{name}.png" in page for name in figures)
    assert "training_record.ecsv" in page
    assert page.count("data:image/png;") == len(figures)
    (run / "results/snakemake_report.html").unlink()


# ------------------------------------------------------------------------------- content counts, and dates do not


@pytest.fixture
def copy(run, tmp_path):
    """A copy of that run, with all dates, whose grid is a file of its own, at another place than before."""
    directory = shutil.copytree(run, tmp_path / "copy")
    (directory / "elsewhere").mkdir()
    config = yaml.safe_load((directory / "config.yaml").read_text())
    (directory / "config.yaml").write_text(yaml.safe_dump({**config, "grid": "elsewhere/my grid.npz"}))
    shutil.copy(GRID, directory / "elsewhere/my grid.npz")
    return directory


def verify(directory, capsys):
    """The exit status of `payneflow verify`, and the state of each file that is not whole."""
    status = cli.main(["verify", str(directory / "results")])
    lines = [re.match(r"(\w[\w ]*?)  +([^:]*)", line).groups() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 20
    return status, {name: state for state, name in lines if state != "whole"}


def contents(directory):
    paths = [path for path in (directory / "results").rglob("*") if path.suffix in (".npz", ".ecsv", ".fits", ".png")]
    return {path: path.read_bytes() for path in paths if path.parent.name not in ("logs", "chunks")}


def test_the_same_grid_at_another_place_is_not_trained_again_and_another_of_older_date_is(copy, capsys):
    grid = copy / "elsewhere/my grid.npz"
    grid.touch()
    status, output = snakemake(copy)
    assert status == 0 and "Nothing to be done" in output, output
    assert verify(copy, capsys) == (0, {})
    with np.load(grid) as stored:
        arrays = dict(stored)
    arrays["Y_u_all"][:, 450] -= np.float32(0.001)
    np.savez(grid, **arrays)
    os.utime(grid, (1e9, 1e9))
    status, stale = verify(copy, capsys)
    assert status == 2 and set(stale.values()) == {"stale"} and {"neural_network.npz", "fits.ecsv"} <= set(stale)
    before = np.load(copy / "results/neural_network.npz")["b_array_1"]
    status, output = snakemake(copy)
    assert status == 0 and {"check_grid", "split_pixels", "train_chunk"} | AFTER_TRAINING <= set(planned(output)), (
        output
    )
    assert verify(copy, capsys) == (0, {})
    assert np.load(copy / "results/neural_network.npz")["b_array_1"][1] != before[1]
    status, output = snakemake(copy)
    assert status == 0 and "Nothing to be done" in output, output


def test_junk_in_place_of_results_is_found_and_made_again_to_the_same_bits(copy, capsys):
    results, before = copy / "results", contents(copy)
    trained = sorted((results / "trained").glob("*.npz"))[1]
    junk = [
        "grid_summary.json",
        f"trained/{trained.name}",
        "neural_network.npz",
        "fits.ecsv",
        "figures/fit_overview.png",
    ]
    for name in junk:
        (results / name).write_text("junk")
    status, output = snakemake(copy, "--dry-run")
    assert status == 0 and "neural_network.npz: damaged, to be made again: not an npz file" in output, output
    once = dict.fromkeys(("summarise_grid", "train_chunk", *AFTER_TRAINING), 1)
    assert planned(output) == once | {"plot_figure": 5}
    assert (results / "neural_network.npz").read_text() == "junk", "a dry run removes nothing"
    assert verify(copy, capsys) == (2, dict.fromkeys(junk, "damaged"))
    status, output = snakemake(copy)
    assert status == 0, output
    assert verify(copy, capsys) == (0, {})
    after = contents(copy)
    assert set(after) == set(before) and same_but_seconds(trained, io.BytesIO(before[trained]))
    different = {path.name for path in before if after[path] != before[path]}
    # what one chunk took in seconds of processor time is in these alone
    assert different <= {trained.name, "training_record.ecsv", "training_summary.png"}


def test_a_chunk_file_that_is_junk_is_removed_where_its_networks_are_trained(copy, capsys):
    chunk = min((copy / "results/chunks").glob("*.npz"))
    chunk.write_text("junk")
    (copy / "results/trained/pixel0001-0002.npz").write_text("another split's")
    status, output = snakemake(copy)
    assert status == 0 and "Nothing to be done" in output and "needed no more" in output, output
    assert not chunk.exists()
    assert verify(copy, capsys) == (0, {"trained/pixel0001-0002.npz": "does not belong"})


# ------------------------------------------------------------------------------------------ what a user gets wrong


def refusal(directory, *options):
    """What Snakemake says when it refuses the settings: no traceback, and short enough to be read."""
    status, output = snakemake(directory, "--dry-run", *options)
    assert status != 0
    assert "Traceback" not in output
    assert len(output.splitlines()) < 20, output
    return output


def test_unquoted_pixels_are_explained(directory):
    path = directory / "config.yaml"
    path.write_text(re.sub("pixels: .*", "pixels: 1:50:2", path.read_text()))
    output = refusal(directory)
    assert "pixels is 6602" in output
    assert 'pixels: "1:50:2"' in output
    assert "--config 'pixels=\"1:50:2\"'" in output


def test_pixels_that_the_command_line_takes_for_a_mapping_are_explained(directory):
    assert "--config 'pixels=\"1:50:2\"'" in refusal(directory, "--config", "pixels=100:")


@pytest.mark.parametrize("written", ["pixels=1:50:2", 'pixels="1:50:2"'])
def test_pixels_on_the_command_line_are_read_as_meant(directory, written):
    status, output = snakemake(directory, "--dry-run", "--config", written, "chunk_size=100")
    assert status == 0, output
    assert "Splitting the pixels 1:50:2 " in output


def test_a_misspelt_setting_is_refused_with_the_right_one(directory):
    output = refusal(directory, "--config", "chunksize=3", "sgd={num_epoch: 200}", "zzz=1")
    assert "chunksize: no such setting; did you mean chunk_size?" in output
    assert "sgd.num_epoch: no such setting; did you mean num_epochs?" in output
    assert "zzz: no such setting; expected grid, " in output


def test_wrong_values_are_refused_all_at_once_with_their_meaning(directory):
    output = refusal(directory, "--config", "chunk_size=0", "sgd={eta: fast}", "fit={start: end}", "trainer=adam")
    assert (
        "chunk_size is 0, expected a whole number of at least 1, or auto. Meant is: Pixels that one job trains"
        in output
    )
    assert "sgd.eta is 'fast', expected a positive number. Meant is: first step size." in output
    assert "fit.start is 'end', expected one of: estimate, middle, truth. Meant is: where a fit starts" in output
    assert "trainer is 'adam', expected one of: lm, sgd, theano." in output


def test_a_mini_batch_larger_than_the_training_set_is_refused_before_anything_runs(directory):
    output = refusal(directory, "--config", "trainer=sgd", "sgd={mini_batch_size: 161}")
    assert "mini_batch_size is 161, but the grid has only 160 training spectra" in output


def test_a_missing_setting_is_named(directory):
    path = directory / "config.yaml"
    path.write_text(re.sub("seed: .*\n", "", path.read_text()))
    assert "seed: missing." in refusal(directory)


def test_a_name_given_twice_is_refused_in_whatever_file_it_stands(directory):
    """Snakemake reads the files itself, and takes the last."""
    path = directory / "config.yaml"
    good = path.read_text()
    path.write_text(f"{good}\nseed: 7\n")
    assert re.search(r"config.yaml: not YAML \(line \d+ gives 'seed' a second time", refusal(directory))
    path.write_text(good)
    (directory / "more.yaml").write_text("chunk_size: 6\nchunk_size: 60\n")
    assert "line 2 gives 'chunk_size' a second time" in refusal(directory, "--configfile", "more.yaml")


def test_numbers_that_yaml_takes_for_text_are_numbers(directory):
    path = directory / "config.yaml"
    path.write_text(re.sub("trunc_diff: .*", "trunc_diff: 3e-3", path.read_text()))
    status, output = snakemake(
        directory, "--dry-run", "--printshellcmds", "--config", "trainer=sgd", "sgd={num_epochs: 300}"
    )
    assert status == 0, output
    assert "--trunc-diff 0.003 " in output
    assert "--num-epochs 300 " in output


def test_pixels_that_do_not_exist_are_refused_with_the_message_of_the_command(directory):
    assert "none of the grid's 7214 pixels" in refusal(directory, "--config", "pixels=9000:9100")


def test_a_missing_grid_is_named(directory):
    assert "nowhere.npz" in refusal(directory, "--config", "grid=nowhere.npz")


def test_labels_that_the_grid_does_not_have_are_refused_before_anything_runs(directory):
    output = refusal(directory, "--config", "fit={fixed: {log: 2.5, Teff: 90000}, priors: {vmic: [3, 1]}}")
    assert "fit.fixed names the label 'log'; the spectra of " in output and "Did you mean logg?" in output
    assert "fit.priors names the label 'vmic'" in output
    assert "fit.fixed Teff is 90000 K: beyond the bounds of a fit, " in output
    status, output = snakemake(directory, "--dry-run", "--config", "fit={fixed: {logg: 2.5}}")
    assert status == 0, output


def test_a_grid_that_fails_its_check_gives_its_message_and_the_log(directory):
    with np.load(GRID, allow_pickle=False) as grid:
        arrays = {key: grid[key] for key in grid.files}
    arrays["Y_u_all"][4, 100] = np.nan
    np.savez(directory / "bad grid.npz", **arrays)
    status, output = snakemake(directory, "--config", "grid=bad grid.npz")
    assert status != 0
    assert "results/logs/check_grid.log" in output
    assert "payneflow check: error: bad grid.npz" in output
    assert "Traceback" not in output
    assert not (directory / "results/chunks").exists()


def test_a_grid_with_its_own_key_names(directory):
    with np.load(GRID, allow_pickle=False) as grid:
        arrays = {("flux of all" if key == "Y_u_all" else key): grid[key] for key in grid.files}
    np.savez(directory / "mine.npz", **arrays)
    options = ["--config", "grid=mine.npz", "grid_keys={flux: flux of all}", "pixels=0:3"]
    status, output = snakemake(directory, "results/chunks/pixel0000-0002.npz", *options)
    assert status == 0, output
