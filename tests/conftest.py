"""What all tests share: how they run side by side, how long they wait, and a small grid of known spectra."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
IN_CI = bool(os.environ.get("CI"))

# Seconds after which whatever a test waits for is taken to hang. Nothing takes as long, also where the kernels are
# compiled and the machine has other work: no test depends on how fast the machine is.
PATIENCE = 600

# One profile for all property tests: nothing that depends on the time an example takes; in CI always the same examples.
settings.register_profile(
    "payneflow", deadline=None, derandomize=IN_CI, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("payneflow")

# A shell that starts the tests in the background has Ctrl-C ignored, which the jobs that they interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# nothing is skipped: test_theano.py runs them with the Python that has Theano
collect_ignore = [] if find_spec("theano") else ["with_theano"]


def write_small_grid(path: Path, n_spectrum: int = 24, n_pixel: int = 20, seed: int = 0, **replace) -> Path:
    """A valid grid in the published layout: three labels, lines whose depth depends smoothly on them."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform([4000.0, 1.0, -2.0], [6500.0, 5.0, 0.5], (n_spectrum, 3))
    unit = (labels - [4000.0, 1.0, -2.0]) / [2500.0, 4.0, 2.5]
    strength = rng.uniform(0.0, 3.0, (3, n_pixel))
    flux = 1.0 - rng.uniform(0.02, 0.4, n_pixel) * np.exp(-unit @ strength)
    arrays = {
        "wavelength": 15000.0 + 0.2 * np.arange(n_pixel),
        "Y_u_all": flux.astype(np.float32),
        "labels_array": labels.T,
        "label_names": np.array(["Teff", "logg", "[Fe/H]"]),
        "label_units": np.array(["K", "dex", "dex"]),
        **replace,
    }
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------------------------------------------- side by side

# Tests of minutes that share nothing with others of their file, each a group of its own.
ALONE = (
    "tests/training/test_theano.py::test_our_trainer_is_the_published_one",
    "tests/training/test_theano.py::test_the_package_computes_the_same_with_the_numpy_of_theano",
)
# Kernels of fits have most parts in common: a process that has compiled one compiles the next in half the time.
COMPILES_FITS = "tests/fitting/engine/"
# Groups that take longest, which begin first. The cluster's tests mostly wait: others run beside them.
BEGIN_WITH = (
    "tests/cluster",
    "tests/test_readme.py",
    "tests/fitting/engine",
    "tests/workflow/test_workflow.py",
    *ALONE,
    "tests/training/test_theano.py",
    "tests/training/test_ranks.py",
    "tests/training/lm/test_lm.py",
    "tests/workflow/test_fit_workflow.py",
    "tests/chunks/test_chunks.py",
)


def _group(nodeid: str) -> str:
    """What is run by one process, in order: a file, whose fixtures are made once; or all that shares more."""
    if nodeid.startswith("tests/cluster/"):
        return "tests/cluster"
    if nodeid.startswith(COMPILES_FITS):
        return "tests/fitting/engine"
    return nodeid if nodeid in ALONE else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in reversed([*enumerate(BEGIN_WITH)])}
    items.sort(key=lambda item: places.get(_group(item.nodeid), len(places)))


@pytest.hookimpl(optionalhook=True)  # .venv-theano has no pytest-xdist
def pytest_xdist_auto_num_workers(config):
    """`-n auto`: a process a core and one for the cluster's tests; none for a file or two, which start sooner so."""
    if len(config.args) < 3 and not any(Path(arg.partition("::")[0]).is_dir() for arg in config.args):
        return 0
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class InGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _group(nodeid)

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return InGroups(config, log)


def pytest_terminal_summary(terminalreporter, config):
    """Say what was left out; in CI nothing is."""
    from cluster.daemons import SAID

    here = Path(__file__).parent / "cluster"
    asked = [Path(arg.partition("::")[0]).resolve() for arg in config.args]
    if SAID and not IN_CI and any(path == here or path in here.parents or here in path.parents for path in asked):
        terminalreporter.write_line(f"NOT RUN: the tests of the cluster (tests/cluster), because there is {SAID}")


# ----------------------------------------------------------------------------------------------------- what tests use


def wait_for(condition, seconds=PATIENCE):
    """Wait until `condition()` is true; fail after `seconds`, which tell what hangs from what is slow."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# A payneflow command whose `sgd` sleeps between runs, so that no machine is so fast, and no test so slow, that training
# ends before the test has struck it. STEP_SECONDS says how long.
SLOW = """
import os, sys, time
from payneflow import cli
from payneflow.training.sgd import SgdTrainer

advance = SgdTrainer.advance

def slow(self):
    time.sleep(float(os.environ["STEP_SECONDS"]))
    return advance(self)

SgdTrainer.advance = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def same_but_seconds(a, b):
    """Do two trained chunks hold the same to the bit, apart from the time it took?"""
    a, b = np.load(a), np.load(b)
    return set(a) == set(b) and all((a[key] == b[key]).all() for key in set(a) - {"seconds", "checksum"})


@pytest.fixture
def small_grid(tmp_path) -> Path:
    return write_small_grid(tmp_path / "grid.npz")
