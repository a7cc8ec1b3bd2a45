"""The command line: help that teaches, and errors that end in status 2 and a message instead of a traceback."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import PATIENCE, write_small_grid
from known_networks import random_networks

from payneflow import __version__, cli
from payneflow.declaration import settings_of
from payneflow.fitting import FitSettings
from payneflow.spectra import find_files, find_shard, make_layout
from payneflow.stored_arrays import write_arrays
from payneflow.training.trainers import TRAINERS

SUBCOMMANDS = [
    *("check", "split", "train", "gather", "evaluate", "adopt"),
    *("calibrate", "fit", "mismatch", "gather_fits", "plot"),
]


def run(*arguments):
    command = [sys.executable, "-m", "payneflow.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def test_help_lists_the_subcommands_in_the_order_of_a_run(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert exit_.value.code == 0
    places = [re.search(rf"\n    {name}\s", said).start() for name in SUBCOMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert f"example:\n  payneflow {name} " in capsys.readouterr().out


def test_every_setting_of_every_trainer_is_an_option_with_its_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["split", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for trainer, entry in TRAINERS.items():
        for one in settings_of(entry.settings):
            assert re.search(rf"--{one.name.replace('_', '-')} [NX] ", said)
            assert one.help in said and f"{trainer}: {one.default}" in said


def test_every_fit_setting_is_an_option_of_fit_and_calibrate(capsys):
    for name in ("fit", "calibrate"):
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        for one in settings_of(FitSettings):
            if one.kind in (int, float):
                assert f"--{one.name.replace('_', '-')} " in said and f"(default: {one.default})" in said
                assert one.help in said
        for option in ("--fix LABEL=VALUE", "--prior LABEL=MEAN,SIGMA", "--velocity", "--no-emulator-error"):
            assert option in said


def test_help_loads_nothing_slow():
    script = (
        "import sys; from payneflow import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: print(sorted({'numba', 'scipy', 'astropy', 'matplotlib', 'h5py'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["split", "--help"], ["fit", "--help"]):
        command = [sys.executable, "-c", script, *arguments]
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert said.endswith("[]\n"), arguments


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trainer", "sgd"], "carries trainer lm. Run payneflow split again with --trainer sgd."),
        (["--seed", "1"], "carries trainer lm, seed 7. Run payneflow split again with --seed 1."),
        (["--n-neurons", "4"], "carries trainer lm, n_neurons 3. Run payneflow split again with --n-neurons 4."),
        (["--n-neurons", "3"], "carries trainer lm, n_neurons 3."),
        (["--eta", "x", "--seed", "7"], "carries trainer lm, seed 7, no eta. Run payneflow split again with --seed 7"),
    ],
)
def test_train_refuses_what_only_the_chunk_says(tmp_path, capsys, options, says):
    grid, chunks = write_small_grid(tmp_path / "grid.npz"), tmp_path / "chunks"
    assert cli.main(["split", str(grid), "--output", str(chunks), "--n-neurons", "3", "--seed", "7"]) == 0
    assert cli.main(["train", str(chunks / "pixel00-19.npz"), "--output", str(tmp_path / "t.npz"), *options]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"payneflow train: error: {options[0] if len(options) == 2 else '--seed'} ") and says in said
    assert not (tmp_path / "t.npz").exists()
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert options[0] not in capsys.readouterr().out


def test_a_mini_batch_larger_than_the_training_set_is_refused_in_a_chunk_too(tmp_path, capsys):
    """`split` refuses it, but earlier versions have not."""
    grid, chunk = write_small_grid(tmp_path / "grid.npz"), tmp_path / "chunks/pixel00-19.npz"
    assert cli.main(["split", str(grid), "--output", str(chunk.parent), "--trainer", "sgd"]) == 0
    stored = dict(np.load(chunk))
    stored["prepared_for"] = str(stored["prepared_for"]).replace('"mini_batch_size": 2', '"mini_batch_size": 99')
    write_arrays(chunk, stored)
    assert cli.main(["train", str(chunk), "--output", str(tmp_path / "t.npz")]) == 2
    assert "only 12 training" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"payneflow {__version__}\n"


def test_a_wrong_grid_ends_in_status_2_and_one_message(tmp_path):
    grid = write_small_grid(tmp_path / "grid.npz", Y_u_all=np.full((24, 20), np.nan, dtype=np.float32))
    ended = run("check", grid)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(f"payneflow check: error: {grid}: Y_u_all") and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "GRID", "--key", "flux=spectra"], "spectra"),
        (["check", "GRID", "--key", "flx=spectra"], "one of wavelength, flux, labels"),
        (["check", "GRID", "--key", "flux"], "expected WHAT=NAME"),
        (["split", "GRID", "--pixels", "30:", "--output", "OUT"], "none of the grid's 20 pixels"),
        (["split", "GRID", "--chunk-size", "0", "--output", "OUT"], "chunk_size is 0"),
        (["split", "GRID", "--output", "GRID"], "cannot be written"),
        (["train", "GRID", "--output", "OUT"], "expected a chunk file"),
        (["train", "GRID", "--output", "OUT", "--seed", "1"], "expected a chunk file"),
        (["split", "GRID", "--output", "OUT", "--trainer", "sgd", "--eta", "-1"], "eta is -1.0"),
        (["split", "GRID", "--output", "OUT", "--eta", "0.1"], "trainer lm has no setting eta"),
        (["split", "GRID", "--output", "OUT", "--virtual-weight", "-1"], "virtual_weight is -1.0"),
        (["train", "OUT/none.npz", "--output", "OUT"], "no such file"),
        (["gather", "CHUNK", "--network", "OUT/n.npz", "--record", "OUT/r.ecsv"], "expected a trained chunk"),
        (["evaluate", "GRID", "GRID", "--output", "OUT"], "expected a network file"),
        (["fit", "CHUNK", "--grid", "GRID", "--output", "OUT"], "expected a network file"),
        (["fit", "CHUNK", "--output", "OUT"], "expected files of observed spectra, or --grid"),
        (
            ["fit", "CHUNK", "GRID", "--grid", "GRID", "--output", "OUT"],
            "expected files of observed spectra, or --grid",
        ),
        (["fit", "CHUNK", "--grid", "GRID", "--fix", "logg", "--output", "OUT"], "--fix logg: expected NAME=VALUE"),
        (
            ["fit", "CHUNK", "--grid", "GRID", "--prior", "logg=1", "--output", "OUT"],
            "expected two numbers, MEAN,SIGMA",
        ),
        (["calibrate", "CHUNK", "GRID", "--output", "OUT"], "expected a network file"),
        (["gather_fits", "OUT/none.ecsv", "--output", "OUT"], "none.ecsv: no such file; expected fits"),
        (["plot", "flux_deviation", "GRID", "--output", "OUT/a.png"], "median_deviation"),
        (["plot", "training_summary", "OUT/none.ecsv", "--output", "OUT/a.png"], "none.ecsv"),
    ],
)
def test_what_a_user_gets_wrong_is_said_and_where(tmp_path, capsys, arguments, says):
    grid = write_small_grid(tmp_path / "grid.npz")
    cli.main(["split", str(grid), "--output", str(tmp_path / "chunks")])
    places = {"GRID": grid, "OUT": tmp_path / "out", "CHUNK": tmp_path / "chunks" / "pixel00-19.npz"}
    for name, place in places.items():
        arguments = [
            argument.replace(name, str(place)) if argument.isupper() or "/" in argument else argument
            for argument in arguments
        ]
    capsys.readouterr()
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert f"payneflow {arguments[0]}: error: " in said.splitlines()[-1] and says in said.splitlines()[-1]


def test_networks_are_used_with_the_grid_they_were_trained_on(tmp_path, capsys):
    grid = write_small_grid(tmp_path / "grid.npz")
    steps = [
        [
            "split",
            grid,
            "--pixels",
            "::5",
            "--output",
            tmp_path / "chunks",
            *["--trainer", "sgd", "--num-epochs", "200"],
        ],
        ["train", tmp_path / "chunks/pixel00-15-step5.npz", "--output", tmp_path / "t.npz"],
        ["gather", tmp_path / "t.npz", "--network", tmp_path / "n.npz", "--record", tmp_path / "r.ecsv"],
        ["evaluate", tmp_path / "n.npz", grid, "--output", tmp_path / "e.npz"],
        ["fit", tmp_path / "n.npz", "--grid", grid, "--output", tmp_path / "fits"],
    ]
    for step in steps:
        assert cli.main([str(word) for word in step]) == 0, step
    said = capsys.readouterr().out
    assert "test set:" in said and "12 spectra fitted" in said and "Teff: bias" in said
    other = write_small_grid(tmp_path / "other.npz", wavelength=16000 + 0.2 * np.arange(20))
    assert cli.main(["evaluate", str(tmp_path / "n.npz"), str(other), "--output", str(tmp_path / "e2.npz")]) == 2
    assert "it has no pixel at 15000.0000 A" in capsys.readouterr().err
    names = np.array(["logg", "Teff", "[Fe/H]"])
    other = write_small_grid(tmp_path / "names.npz", label_names=names)
    assert cli.main(["fit", str(tmp_path / "n.npz"), "--grid", str(other), "--output", str(tmp_path / "f2")]) == 2
    assert "its labels are logg, Teff" in capsys.readouterr().err
    with np.load(grid) as arrays:
        swapped = {"Y_u_all": arrays["Y_u_all"][::-1], "labels_array": arrays["labels_array"][:, ::-1]}
    other = write_small_grid(tmp_path / "swapped.npz", **swapped)
    for step in steps[3:]:
        words = [str(other) if word == grid else str(word) for word in step]
        assert cli.main(words) == 2, f"training set and test set are swapped: {step}"
        assert "swapped.npz: not the grid that the networks were trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "uncertainty of the spectra is ''"),
        ("--uncertainty ivar", "no array 'flux' (the flux)."),
        ("--uncertainty ivar --array flx=a", "WHAT one of wavelength, flux"),
        ("--uncertainty ivar --array flux", "--array flux: expected NAME=VALUE"),
        ("--uncertainty ivar --mask-bits 1,x", "expected whole numbers with commas"),
        ("--uncertainty ivar --spectra 5", 'expected "start:stop"'),
        ("--uncertainty ivar --array flux=Y_u_all --start truth", "the true labels of observed spectra are unknown"),
        ("--fix logg=a", "--fix logg=a: expected a number in the unit of the label"),
        ("--tolerance 2", "tolerance is 2.0"),
        ("--uncertainty ivar --label-errors none.npz", "none.npz: no such file; expected label errors"),
    ],
)
def test_what_a_user_says_wrongly_of_observed_spectra_is_said(tmp_path, capsys, options, says):
    grid, networks = write_small_grid(tmp_path / "grid.npz"), tmp_path / "n.npz"
    random_networks(20).write(networks)
    assert cli.main(["fit", str(networks), str(grid), "--output", str(tmp_path / "fits"), *options.split()]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("payneflow fit: error: ") and says in said


def test_a_job_whose_files_have_come_or_gone_since_it_was_planned_stops(tmp_path, capsys):
    random_networks(20).write(tmp_path / "n.npz")
    arrays = {"wavelength": 15000 + 0.2 * np.arange(20), "flux": np.ones((3, 20)), "ivar": np.ones(20)}
    for name in ("b", "c"):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    pattern = f"{tmp_path}/[a-c].npz"
    planned = find_shard(find_files([pattern]), make_layout(uncertainty="ivar"), range(2, 4))
    command = ["fit", str(tmp_path / "n.npz"), pattern, "--uncertainty", "ivar", "--output", str(tmp_path / "fits")]
    np.savez(tmp_path / "a.npz", **arrays)
    assert cli.main([*command, "--spectra", "2:4", "--plan", planned.digest]) == 2
    assert "the files have come or gone since this job was planned" in capsys.readouterr().err


def test_a_message_that_repeats_what_a_damaged_file_holds_is_of_a_screen(tmp_path, capsys):
    names = np.array(["Teff", "x" * 50_000, "x" * 50_000])
    path = write_small_grid(tmp_path / "grid.npz", label_names=names)
    assert cli.main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"payneflow check: error: {path}: label_names[2] is 'xxx") and len(said) < 4200
    assert said.endswith("Rename one, or remove the label that is there twice.\n")


def test_no_permission_to_write_is_an_error_not_a_traceback(tmp_path, monkeypatch, capsys):
    """Root may write anywhere, so the refusal is made by hand."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    grid = write_small_grid(tmp_path / "grid.npz")
    monkeypatch.setattr("payneflow.files.tempfile.mkstemp", refuse)
    assert cli.main(["split", str(grid), "--output", str(tmp_path / "chunks")]) == 2
    assert "cannot be written: Permission denied. Check permission and free space" in capsys.readouterr().err


def test_written_files_have_the_users_usual_permissions(tmp_path):
    """Temporary files are private; the finished file must not stay so, or no colleague could read it."""
    cli.main(["split", str(write_small_grid(tmp_path / "grid.npz")), "--output", str(tmp_path / "chunks")])
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "chunks/pixel00-19.npz").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("command", ["gather", "gather_fits"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "expected files, or --list FILE with one path a line, and not both"),
        (["a.npz", "--list", "list"], "expected files, or --list FILE with one path a line, and not both"),
        (["--list", "nowhere"], "nowhere: No such file or directory; expected a list file: one path a line"),
        (["--list", "empty"], "empty: holds no path"),
        (["--list", "list"], "missing chunk.npz: no such file"),
    ],
)
def test_a_list_of_files_that_cannot_be_used_is_refused(tmp_path, monkeypatch, capsys, command, given, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("missing chunk.npz\n")
    (tmp_path / "empty").write_text("\n")
    output = ["--network", "n.npz", "--record", "r.ecsv"] if command == "gather" else ["--output", "fits"]
    assert cli.main([command, *given, *output]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"payneflow {command}: error: ") and says in said
    assert {path.name for path in tmp_path.iterdir()} == {"list", "empty"}


def test_where_nobody_reads_on_it_ends_quietly(tmp_path):
    grid = write_small_grid(tmp_path / "grid.npz")
    for command in (["check", str(grid), "--summary", str(tmp_path / "summary.json")], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        program = [sys.executable, "-m", "payneflow.cli", *command]
        ended = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        os.close(writing)
        assert (ended.returncode, ended.stderr) == (0, ""), command
    assert (tmp_path / "summary.json").exists()


def test_an_input_is_not_overwritten(tmp_path, capsys):
    grid = write_small_grid(tmp_path / "grid.npz")
    before = grid.read_bytes()
    assert cli.main(["check", str(grid), "--summary", str(grid)]) == 2
    assert "grid.npz: an input of this command, which it would overwrite" in capsys.readouterr().err
    assert cli.main(["gather", str(grid), "--network", str(tmp_path / "n"), "--record", str(grid)]) == 2
    assert grid.read_bytes() == before and not (tmp_path / "n").exists()
    windows = tmp_path / "w.ecsv"
    windows.write_text("label start end use frame\n")
    random_networks(20).write(tmp_path / "n.npz")
    fits = ["fit", str(tmp_path / "n.npz"), str(grid), "--uncertainty", "none", "--output", str(tmp_path / "w")]
    assert cli.main([*fits, "--windows", str(windows)]) == 2
    assert "w.ecsv: an input of this command, which it would overwrite" in capsys.readouterr().err
