"""Runs of the workflow on the cluster of the tests, which can be struck by faults while their ranks are training.

Every Snakemake call has a timeout: under some faults a workflow that is not careful waits for ever.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import PATIENCE, ROOT, wait_for

PROGRAMS = Path(sys.executable).parent

# Two chunks of eight pixels; no pixel can reach the criterion, so that each trains for all its loops. On the cluster
# it sleeps before each (jobs/sitecustomize.py): half a minute, whatever else the machine does, and a checkpoint each.
SETTINGS = {
    "grid": str(ROOT / "resources/hband_grid.npz"),
    "pixels": "0:7214:480",
    "chunk_size": 8,
    "checkpoint_seconds": 0.5,
    "trainer": "sgd",
    "sgd": {"num_epochs": 1_000, "max_iter": 60, "trunc_diff": 1e-9, "min_eta": 1e-9},
}
CHUNKS = ("pixel0000-3360-step480", "pixel3840-7200-step480")
NETWORK = "results/neural_network.npz"
STEP_SECONDS = 0.5


def new_directory(place: Path, **settings) -> Path:
    """A directory with a config.yaml of its own: the repository's with `SETTINGS` and `settings`."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, value in {**SETTINGS, **settings}.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    place.mkdir(parents=True)
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return place


class Run:
    """The workflow in a directory of its own on the cluster, its Snakemake, its jobs and their ranks.

    `chunks` are cut already, as in the serial run, so that all that is submitted are training jobs.
    """

    def __init__(self, place: Path, environment: dict[str, str], serial: Path):
        self.place, self.serial = new_directory(place), serial
        paths = [str(Path(__file__).parent / "jobs"), *filter(None, [environment.get("PYTHONPATH")])]
        self.environment = {**environment, "PYTHONPATH": os.pathsep.join(paths), "STEP_SECONDS": str(STEP_SECONDS)}
        for made in ("chunks", "known"):
            source, target = serial / "results" / made, self.place / "results" / made
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
        self.log = self.place / "snakemake.log"
        self.process = None

    def command(self, *options) -> list:
        return [
            *(PROGRAMS / "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", self.place),
            *("--profile", ROOT / "slurm", "--slurm-init-seconds-before-status-checks", "1", *options),
        ]

    def start(self, *options) -> None:
        """Start Snakemake for the network file, as its own process group, its output in `log`."""
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command(NETWORK, *options),
                cwd=self.place,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self) -> None:
        """Leave no process behind, whatever the test came to."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def finish(self) -> int:
        """Wait for Snakemake to end; returns its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"Snakemake does not end: {self.said()[-3000:]}\n{self.slurm('squeue', '--me')}")

    def fail(self, *options: str) -> str:
        """Run Snakemake, which must fail at once; returns what it says."""
        self.start("--retries", "0", *options)
        assert self.finish() == 1
        return self.said()

    def payneflow(self, *arguments) -> str:
        """What a subcommand says in the run's directory."""
        done = subprocess.run(
            [PROGRAMS / "payneflow", *arguments],
            cwd=self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def said(self) -> str:
        return self.log.read_text()

    def slurm(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout + done.stderr

    def jobs(self) -> dict[str, str]:
        """The running jobs of this run: chunk -> job number."""
        lines = self.slurm("squeue", "--me", "--noheader", "--states=running", "--format=%A %Z %k").splitlines()
        words = [line.split() for line in lines]
        prefix = "rule_train_chunk_wildcards_"
        return {w[2].removeprefix(prefix): w[0] for w in words if len(w) == 3 and w[1] == str(self.place)}

    def checkpoint(self, chunk: str) -> Path:
        return self.place / f"results/trained/{chunk}.checkpoint.npz"

    def wait_for_training(self, *chunks: str) -> None:
        """Wait until the ranks of these chunks' jobs are training: a checkpoint of theirs appears, anew."""
        since = time.time()
        for chunk in chunks or CHUNKS:
            path = self.checkpoint(chunk)
            wait_for(lambda path=path: path.exists() and path.stat().st_mtime > since)

    def ranks(self, chunk: str) -> dict[int, int]:
        """Rank -> process of the job that trains `chunk` now."""
        output = str(Path("results/trained") / f"{chunk}.npz").encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                rank = re.search(rb"(?:^|\0)PMI_RANK=(\d+)", (process / "environ").read_bytes())
                here = (process / "cwd").readlink() == self.place
            except OSError:  # it has ended by now
                continue
            if rank and here and output in words:
                found[int(rank[1])] = int(process.name)
        return found

    def job_log(self, chunk: str) -> str:
        return (self.place / f"results/logs/train_chunk/{chunk}.log").read_text()

    def wait_until_gone(self, job: str) -> None:
        """Wait until Slurm has ended a job."""
        wait_for(lambda: job not in self.jobs().values())

    def assert_nothing_is_lost(self) -> None:
        """The network file equals the serial run's to the bit, and no checkpoint or half a file is left behind."""
        with np.load(self.place / NETWORK) as ours, np.load(self.serial / NETWORK) as theirs:
            for key in ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "emulator_rms", "wavelength"):
                assert ours[key].tobytes() == theirs[key].tobytes(), key
        left = {path.name for path in (self.place / "results/trained").iterdir()}
        assert {name for name in left if not name.startswith(".")} == {f"{chunk}.npz" for chunk in CHUNKS}


def kill_all(processes) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def site(**changes) -> list[str]:
    """The first block of the profile as options, with changes."""
    settings = {
        "slurm_partition": "main",
        "slurm_account": "lab",
        "ranks": 2,
        "launcher": "srun --mpi=pmi2 --kill-on-bad-exit=1",
        "mem_mb": 1000,
        "runtime": 10,
        "disk_mb": 1000,
        **changes,
    }
    return [f"{name}={value}" for name, value in settings.items()]
