"""`payneflow status`: every state of a chunk from what training writes, torn and foreign, with and without Slurm.

Slurm's real squeue cannot be had in a unit test: `fake_squeue` puts a script of that name on PATH, which prints what
the real one prints for jobs of the Snakemake plugin. tests/cluster asks the real one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from conftest import PATIENCE, ROOT, write_small_grid

from payneflow import cli
from payneflow.chunks.checkpoint import checkpoint_path, identity_text, write_checkpoint
from payneflow.chunks.chunk import read_chunk
from payneflow.chunks.progress_file import Progress, progress_path
from payneflow.chunks.split import split_grid
from payneflow.chunks.train import train_chunk
from payneflow.grid import read_grid
from payneflow.run.config import read_config
from payneflow.run.status import FRESH, State, read_status, status_text
from payneflow.settings import SgdSettings, settings_record
from payneflow.training.policy import PixelProgress, Stage

SGD = {"num_epochs": 200, "trial_epochs": 200, "max_iter": 2}
NAMES = ["pixel00-04", "pixel05-09", "pixel10-14", "pixel15-19"]
BEGUN = "2026-01-01 10:00:00 pixel05-09: 5 pixels, 24 spectra, trainer sgd; no checkpoint: starting from the beginning"
ON_THE_WAY = "2026-01-01 10:00:30 3 of 5 pixels done, 2 converged, 0.1 a second, 0:20 left"
OURS = "payneflow train: error on rank 1 of 2, where pixels 5, 6 were under way: MemoryError: no room"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four chunks of five pixels, split, of which the first is trained; made once, copied for each test."""
    directory = tmp_path_factory.mktemp("run") / "run"
    directory.mkdir()
    write_small_grid(directory / "grid.npz")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"grid": "grid.npz", "chunk_size": 5, "trainer": "sgd", "sgd": {**config["sgd"], **SGD}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    settings = "sgd", SgdSettings(**SGD), 0
    chunks = split_grid(read_grid(directory / "grid.npz"), "::", 5, directory / "results/chunks", *settings)
    train_chunk(chunks[0], directory / "results/trained" / chunks[0].name)
    return directory


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that run, and no Slurm on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    (tmp_path / "programs").mkdir()
    shutil.copytree(trained, tmp_path / "run")  # keeps the times of the files
    return tmp_path / "run"


@pytest.fixture
def fake_squeue(tmp_path, run):
    """Put a squeue on PATH that prints a job (state, chunk) of this run for each given pair."""

    def write(*jobs, directory=run, status=0):
        program = tmp_path / "programs" / "squeue"
        lines = "\n".join(f"{state}|{directory}|rule_train_chunk_wildcards_{chunk}" for state, chunk in jobs)
        others = f"RUNNING|{directory}|rule_split_pixels\nRUNNING|/elsewhere|(null)\nRUNNING||"
        text = f"{lines}\n{others}".strip()
        program.write_text(
            f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done <<'END'\n{text}\nEND\nexit {status}\n"
        )
        program.chmod(0o755)

    return write


def status_of(run, *overrides):
    return read_status(read_config(run / "config.yaml", list(overrides)))


def states_of(run, *overrides):
    return {chunk.name: str(chunk.state) for chunk in status_of(run, *overrides).chunks}


def write_log(run, name, *lines, age=0.0):
    path = run / "results/logs/train_chunk" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, times=(time.time() - age,) * 2)
    return path


def report(run, name, n_done, rate=0.0, age=0.0, **others):
    """A file of progress as training writes it, `age` seconds ago; `others`: fields of `Progress`."""
    others = {"settings": settings_record("sgd", SgdSettings(**SGD), 0), "n_pixel": 5, **others}
    progress = Progress(name, n_done=n_done, rate=rate, time=time.time() - age, **others)
    path = progress_path(run / "results/trained" / f"{name}.npz")
    path.write_text(json.dumps(asdict(progress)))
    return path


def save(run, name, n_ended, age=0.0, **settings):
    """A checkpoint as training writes it, in which `n_ended` pixels have ended."""
    chunk = read_chunk(run / "results/chunks" / f"{name}.npz")
    record = settings_record("sgd", SgdSettings(**{**SGD, **settings}), 0)
    stages = [Stage.CONVERGED] * n_ended + [Stage.LOOP] * (len(chunk.pixels) - n_ended)
    path = checkpoint_path(run / "results/trained" / f"{name}.npz")
    write_checkpoint(path, identity_text(chunk.identity, record), [PixelProgress(stage=stage) for stage in stages], 51)
    os.utime(path, times=(time.time() - age,) * 2)
    return path


# ------------------------------------------------------------------------------------------------------- the states


def test_before_the_split_all_chunks_wait(run):
    shutil.rmtree(run / "results")
    status = status_of(run)
    assert {chunk.state for chunk in status.chunks} == {State.WAITING}
    assert (status.n_done, status.n_pixel, status.rate) == (0, 20, 0.0)
    assert "pixels done: 0 of 20, 0.0 %" in status_text(status)


def test_a_trained_chunk_is_done_and_the_others_wait(run):
    assert states_of(run) == dict(zip(NAMES, ["done", "waiting", "waiting", "waiting"], strict=True))
    assert status_of(run).n_done == 5


def test_a_chunk_that_was_split_again_is_not_done(run):
    os.utime(run / "results/chunks/pixel00-04.npz", times=(time.time() + 10,) * 2)
    assert states_of(run)["pixel00-04"] == "waiting"


def test_pixels_of_a_checkpoint_count_as_done(run):
    save(run, "pixel05-09", 3, age=1e5)
    status = status_of(run)
    assert (status.chunks[1].state, status.chunks[1].n_done, status.n_done) == (State.WAITING, 3, 8)


@pytest.mark.parametrize(("age", "state"), [(0, "running"), (FRESH - 20, "running"), (FRESH + 20, "waiting")])
def test_without_slurm_a_chunk_runs_of_which_a_file_is_fresh(run, age, state):
    write_log(run, "pixel05-09", BEGUN, ON_THE_WAY, age=age)
    save(run, "pixel10-14", 2, age=age)
    report(run, "pixel15-19", 2, age=age)
    states = states_of(run)
    assert states["pixel05-09"] == states["pixel10-14"] == states["pixel15-19"] == state
    said = status_text(status_of(run))
    assert "squeue, a command of Slurm, is not on PATH here; so those run whose files were written" in said


def test_with_slurm_a_chunk_runs_whose_job_does(run, fake_squeue):
    write_log(run, "pixel05-09", BEGUN, ON_THE_WAY, age=1e5)
    write_log(run, "pixel15-19", BEGUN, ON_THE_WAY)  # written a moment ago by a job that is gone
    fake_squeue(("RUNNING", "pixel05-09"), ("PENDING", "pixel10-14"))
    status = status_of(run)
    assert [str(chunk.state) for chunk in status.chunks] == ["done", "running", "waiting", "waiting"]
    said = status_text(status)
    assert "queued in Slurm: 1" in said and f"squeue: 2 training jobs of {run}" in said


def test_a_chunk_that_is_trained_again_in_slurm_is_not_done(run, fake_squeue):
    fake_squeue(("PENDING", "pixel00-04"), ("RUNNING", "pixel00-04"))
    assert states_of(run)["pixel00-04"] == "running"


def test_jobs_of_another_directory_are_not_ours(run, fake_squeue, tmp_path):
    fake_squeue(("RUNNING", "pixel05-09"), directory=tmp_path)
    assert states_of(run)["pixel05-09"] == "waiting"


def test_a_squeue_that_fails_is_said_and_files_decide(run, fake_squeue):
    write_log(run, "pixel05-09", BEGUN, ON_THE_WAY)
    fake_squeue(status=1)
    assert states_of(run)["pixel05-09"] == "running"
    assert "squeue failed: without a word; so those run" in status_text(status_of(run))


FAILURES = {
    "ours": ([BEGUN, OURS, "application called MPI_Abort(MPI_COMM_WORLD, 2)", "srun: error: n1: task 1"], OURS),
    "a user's error": ([f"payneflow train: error: {BEGUN}"], f"payneflow train: error: {BEGUN}"),
    "time limit": (
        [BEGUN, ON_THE_WAY, "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED DUE TO TIME LIMIT ***"],
        "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED DUE TO TIME LIMIT ***",
    ),
    "traceback": (["Traceback (most recent call last):", "ImportError: numba"], "ImportError: numba"),
    "killed": ([BEGUN, ON_THE_WAY, "srun: error: n2: task 0: Killed"], "srun: error: n2: task 0: Killed"),
    "shell": (
        ["bash: line 1: payneflow: command not found: error"],
        "bash: line 1: payneflow: command not found: error",
    ),
}


@pytest.mark.parametrize(("lines", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_log_that_ends_in_an_error_is_a_failure_and_its_line_is_shown(run, lines, reason):
    log = write_log(run, "pixel05-09", *lines)
    status = status_of(run)
    assert (status.chunks[1].state, status.chunks[1].reason) == (State.FAILED, reason)
    assert f"failed: {log}\n  {reason}" in status_text(status)


NO_FAILURES = {
    "stopped by its user": [BEGUN, ON_THE_WAY, "payneflow train: interrupted; the same command goes on from here"],
    "killed without a word": [BEGUN, ON_THE_WAY],
    "an error that training survived": [
        "2026-01-01 10:00:00 a: 5 pixels; c.npz cannot be read (error: torn): not used",
        "2026-01-01 10:00:30 no checkpoint written, training goes on: c.npz: error: disk full",
    ],
    "an error before the last progress": ["some library: error: harmless", BEGUN, ON_THE_WAY],
    "nothing": [""],
}


@pytest.mark.parametrize("lines", NO_FAILURES.values(), ids=NO_FAILURES)
def test_other_logs_are_no_failures(run, lines):
    write_log(run, "pixel05-09", *lines, age=1e5)
    assert states_of(run)["pixel05-09"] == "waiting"


def test_what_a_job_says_of_its_end_is_believed_whatever_its_log_says(run, fake_squeue):
    report(run, "pixel05-09", 3, state="failed", reason="MemoryError: no room")
    report(run, "pixel10-14", 3, state="interrupted")
    write_log(run, "pixel10-14", BEGUN)
    status = status_of(run)
    assert (status.chunks[1].state, status.chunks[1].reason) == (State.FAILED, "MemoryError: no room")
    assert status.chunks[2].state is State.WAITING, "although its files are fresh"
    fake_squeue(("PENDING", "pixel05-09"), ("RUNNING", "pixel10-14"))
    assert [str(chunk.state) for chunk in status_of(run).chunks[1:3]] == ["waiting", "running"]


def test_a_job_that_was_killed_by_others_says_running_and_its_log_why(run):
    report(run, "pixel05-09", 3)
    write_log(run, "pixel05-09", BEGUN, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0")
    assert status_of(run).chunks[1].state is State.FAILED


def test_a_failed_chunk_that_is_queued_again_waits(run, fake_squeue):
    write_log(run, "pixel05-09", OURS)
    fake_squeue(("PENDING", "pixel05-09"))
    assert states_of(run)["pixel05-09"] == "waiting"


def test_the_log_of_a_real_failure_is_read(run):
    """What the command line itself writes when it refuses a chunk."""
    log = run / "results/logs/train_chunk/pixel05-09.log"
    log.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "payneflow.cli", "train", run / "none.npz", "--output", run / "o.npz"]
    with open(log, "w") as stream:
        subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, timeout=PATIENCE)
    (failed,) = [chunk for chunk in status_of(run).chunks if chunk.state is State.FAILED]
    assert failed.reason.startswith("payneflow train: error: ") and "none.npz: no such file" in failed.reason


# --------------------------------------------------------------------------------------------------- rate, time left


def test_rate_and_time_left_are_those_of_the_running_jobs(run):
    report(run, "pixel05-09", 3, rate=0.1)
    report(run, "pixel10-14", 0)  # no pixel has ended yet: taken for one like the other
    status = status_of(run)
    assert status.rate == pytest.approx(0.2)
    assert status.n_done == 8
    assert "pixels done: 8 of 20, 40.0 %, 0.2 a second, 1:00 left" in status_text(status)


def test_a_rate_that_no_running_job_knows_yet_is_that_of_the_finished_ones(run):
    report(run, "pixel00-04", 5, rate=0.5, age=1e5, state="done")
    assert status_of(run).rate == 0.0, "nothing runs"
    report(run, "pixel05-09", 0)
    assert status_of(run).rate == 0.5


def test_what_a_job_says_beyond_its_checkpoint_counts_only_while_it_runs(run):
    save(run, "pixel05-09", 1, age=1e5)
    report(run, "pixel05-09", 3)
    assert status_of(run).chunks[1].n_done == 3
    report(run, "pixel05-09", 3, age=1e5)
    assert status_of(run).chunks[1].n_done == 1
    report(run, "pixel05-09", 9999)
    assert status_of(run).chunks[1].n_done == 5, "never more than there are"


# --------------------------------------------------------------------------------------------- torn and foreign files


def test_torn_files_and_those_of_others_count_as_absent(run):
    trained, chunks = run / "results/trained", run / "results/chunks"
    whole = (trained / "pixel00-04.npz").read_bytes()
    shutil.copy(trained / "pixel00-04.npz", trained / "pixel05-09.npz")  # of another chunk
    shutil.copy(chunks / "pixel10-14.npz", trained / "pixel10-14.npz")  # not trained, and yet of these pixels
    (trained / "pixel00-04.npz").write_bytes(whole[: len(whole) // 2])
    (trained / "pixel15-19.npz").mkdir()
    assert set(states_of(run).values()) == {"waiting"}


def test_checkpoints_that_are_torn_or_stale_or_of_others_count_as_absent(run):
    save(run, "pixel05-09", 3, eta=0.05)  # of other settings
    shutil.copy(save(run, "pixel10-14", 3), checkpoint_path(run / "results/trained/pixel15-19.npz"))
    path = save(run, "pixel10-14", 3)
    path.write_bytes(path.read_bytes()[:300])
    assert status_of(run).n_done == 5
    np.savez(path, identity="[1]", stage=np.arange(3))
    assert status_of(run).n_done == 5
    np.savez(path, identity=np.array([{}], dtype=object), stage=np.arange(3))
    assert status_of(run).n_done == 5
    path.write_bytes(b"")
    assert status_of(run).n_done == 5


def test_pipes_in_the_places_of_progress_and_logs_are_not_waited_for(run):
    log = run / "results/logs/train_chunk" / f"{NAMES[1]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    for path in (log, progress_path(run / "results/trained" / f"{NAMES[2]}.npz")):
        os.mkfifo(path)
    assert states_of(run)[NAMES[2]] == State.WAITING


def test_a_log_of_any_bytes_is_no_error(run):
    log = write_log(run, "pixel05-09", "")
    log.write_bytes(bytes(range(256)) * 100)
    assert len(status_of(run).chunks) == 4


def test_progress_that_is_torn_or_stale_or_of_others_counts_as_absent(run):
    path = report(run, "pixel05-09", 3, rate=0.1)
    whole = path.read_text()
    for text in (whole[:30], "", "[]", "{}", "3", "\0", whole.replace("3", '"a"', 1), whole.replace("0.1", "NaN")):
        path.write_text(text)
        assert (status_of(run).n_done, states_of(run)["pixel05-09"]) == (5, "waiting"), text
    path.write_text(whole.replace("pixel05-09", "pixel10-14"))
    assert status_of(run).n_done == 5
    report(run, "pixel05-09", -3)
    assert status_of(run).n_done == 5
    report(run, "pixel05-09", 3, settings=settings_record("sgd", SgdSettings(), 0), state="failed", reason="old")
    assert (status_of(run).n_done, states_of(run)["pixel05-09"]) == (5, "waiting"), "of other settings"
    path.unlink()
    path.mkdir()
    assert status_of(run).n_done == 5


# ------------------------------------------------------------------------------------------------------ as a command


def test_chunks_of_size_auto_are_those_of_the_newest_split(run):
    assert list(states_of(run, "chunk_size=auto")) == NAMES
    shutil.copy(run / "results/chunks/pixel00-04.npz", run / "results/chunks/pixel00-09.npz")
    os.utime(run / "results/chunks/pixel00-09.npz", times=(time.time() + 5,) * 2)
    assert list(states_of(run, "chunk_size=auto")) == ["pixel00-09", "pixel10-19"]
    shutil.rmtree(run / "results/chunks")
    assert list(states_of(run, "chunk_size=auto")) == ["pixel00-19"]


def test_the_results_may_lie_elsewhere(run, capsys):
    (run / "results").rename(run / "moved")
    assert cli.main(["status", "--config", str(run / "config.yaml"), "--results", str(run / "moved")]) == 0
    assert re.search(r"done +1 +5$", capsys.readouterr().out, re.M)


def test_when_all_is_done_there_is_nothing_to_judge(run):
    status = status_of(run, "pixels=0:5")
    assert {chunk.state for chunk in status.chunks} == {State.DONE}
    assert status_text(status).splitlines()[-1] == "pixels done: 5 of 5, 100.0 %"


def test_many_failures_are_counted_and_the_first_are_named(run):
    for pixel in range(5, 20):
        write_log(run, f"pixel{pixel:02d}-{pixel:02d}", OURS)
    said = status_text(status_of(run, "chunk_size=1"))
    assert said.count("failed: ") == 10 and said.endswith("and 5 more")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "none.yaml"], "none.yaml: no such file; expected the settings of a run"),
        (["--config", "RUN/config.yaml", "grid=none.npz"], "none.npz: no such file"),
        (["--config", "RUN/config.yaml", "pixels=90:99"], "none of the grid's 20 pixels"),
    ],
)
def test_what_a_user_gets_wrong_ends_in_status_2(run, capsys, arguments, says):
    assert cli.main(["status", *(argument.replace("RUN", str(run)) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("payneflow status: error: ") and says in said


def test_status_loads_nothing_that_takes_long(run):
    code = (
        "import sys; from payneflow import cli; status = cli.main(sys.argv[1:]); "
        "print([name for name in ('numba', 'matplotlib', 'scipy', 'astropy') if name in sys.modules]); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "status", "--config", run / "config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
