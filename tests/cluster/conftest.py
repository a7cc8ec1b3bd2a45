"""A real Slurm cluster for the tests of this folder, and what their runs must equal.

The cluster (start.sh) is a controller, four nodes of two cores, munge and accounting in a real database, all on this
host.
"""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import IN_CI, PATIENCE

from cluster.daemons import MISSING, SAID
from cluster.runs import NETWORK, PROGRAMS, ROOT, Run, new_directory

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    """Where Slurm is missing a developer's own machine leaves these tests out, which the summary says; CI fails."""
    here = [item for item in items if HERE in item.path.parents]
    if MISSING and not IN_CI:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]


def start_cluster(accounting: str) -> dict[str, str]:
    """Start the cluster, or complete it; returns the environment of whoever uses it."""
    assert not MISSING, f"CI must test the cluster, but there is {SAID}"
    environment = {**os.environ, "CLUSTER_ACCOUNTING": accounting}
    started = subprocess.run([HERE / "start.sh"], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert started.returncode == 0, started.stdout + started.stderr
    base = os.environ.get("CLUSTER_BASE", "/tmp/payneflow-cluster")
    dump = subprocess.run(
        ["bash", "-c", '. "$0/env.sh" && env -0', base], env=environment, check=True, capture_output=True, text=True
    )
    return dict(line.split("=", 1) for line in dump.stdout.split("\0") if line)


def stop_cluster() -> None:
    stopped = subprocess.run([HERE / "stop.sh"], capture_output=True, text=True, timeout=PATIENCE)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.fixture(scope="session")
def cluster():
    """The running cluster, with accounting; its environment."""
    yield start_cluster("yes")
    stop_cluster()


@pytest.fixture(scope="session")
def serial(tmp_path_factory) -> Path:
    """A directory in which Snakemake ran without a cluster, one process a chunk: what every other run must equal."""
    place = new_directory(tmp_path_factory.mktemp("serial") / "run")
    command = [PROGRAMS / "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", NETWORK]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture
def run(cluster, serial, tmp_path):
    """A run that has not started, in a directory of its own."""
    run = Run(tmp_path / "run", cluster, serial)
    yield run
    run.end()
