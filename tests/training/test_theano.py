"""The Theano reference in its own environment: its tests, those of the package under its old numpy, the workflow.

A missing or broken .venv-theano fails these tests; `make test` builds it.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from conftest import PATIENCE, ROOT
from workflow_runs import new_directory, snakemake

from payneflow.errors import SettingsError
from payneflow.settings import SgdSettings, TheanoSettings
from payneflow.training.theano import TheanoTrainer
from payneflow.training.trainers import make_settings

PYTHON = ROOT / ".venv-theano/bin/python"
# all that computes
NUMERICAL = (
    *("training/test_sgd", "training/test_policy", "training/lm/test_lm", "training/lm/test_virtual_spectra"),
    *("test_network", "test_evaluation", "chunks/test_chunks", "fitting/test_fit_spectra"),
)
# what says nothing of numpy and takes a third of the time: signals, terminals, full disks, machine code for another CPU
NOT_NUMERICAL = "killed or two_writers or checkpoint_of_other or terminal or progress or full_disk or without_avx512"
# 2 pixels, which take Theano seconds: one converges in its trial, one stalls and restarts
QUICK = {"pixels": "36:4321:4284", "chunk_size": 2, "trainer": "theano", "results": "with spaces", "ranks": 2}
QUICK["fit"] = {"calibrate": False}  # two pixels are too few for three labels
QUICK["sgd"] = {"trial_epochs": 200, "num_epochs": 200, "max_iter": 2, "trunc_diff": 0.02}


def run_pytest(*arguments: str, seconds: float = 2 * PATIENCE) -> None:
    """pytest under .venv-theano's Python; fails where anything fails or is skipped."""
    assert PYTHON.exists(), "no .venv-theano: `make theano` builds it"
    command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert re.search(r"=+ \d+ passed(, \d+ deselected)? in ", done.stdout), done.stdout[-1000:]


def test_our_trainer_is_the_published_one():
    run_pytest("tests/with_theano")


def test_the_package_computes_the_same_with_the_numpy_of_theano():
    versions = "import numba, numpy; print(numpy.__version__, numba.__version__)"
    assert subprocess.check_output([PYTHON, "-c", versions], text=True).split() == ["1.23.5", "0.60.0"]
    run_pytest(*(f"tests/{name}.py" for name in NUMERICAL), "-k", f"not ({NOT_NUMERICAL})")


def test_the_page_on_the_published_algorithm_names_lines_and_tests_that_exist():
    page = (ROOT / "docs/published_algorithm.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 10 and all(f"def {name}(" in tests for name in named)
    for file, names in re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", page):
        code = (ROOT / "src/payneflow" / file).read_text()
        assert all(re.search(rf"(def|class) {name}\b", code) for name in re.findall(r"\w+", names)), (file, names)


def test_theano_has_the_settings_of_sgd():
    assert isinstance(make_settings("theano", {"eta": 0.2}), TheanoSettings)
    assert vars(TheanoSettings(eta=0.2)) == vars(SgdSettings(eta=0.2))


def test_where_theano_is_missing_the_message_says_how_to_mend_it():
    """This Python has none, and its numpy is too new for it."""
    with pytest.raises(SettingsError, match=r"trainer theano needs Theano-PyMC .*`make theano`.*venv-theano/bin"):
        TheanoTrainer(np.linspace(0.1, 0.9, 12).reshape(6, 2), TheanoSettings(), 0)
    assert "theano-" not in os.environ.get("THEANO_FLAGS", ""), "nothing of the attempt is left"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    directory = new_directory(tmp_path_factory.mktemp("theano") / "run", **QUICK)
    status, output = snakemake(directory)
    assert status == 0, output
    assert "2 pixels in 1 chunks, trainer theano" in output
    return directory / "with spaces"


def test_the_workflow_trains_with_theano(run):
    record = Table.read(run / "training_record.ecsv")
    assert list(record["trainer"]) == ["theano", "theano"]
    assert list(record["end"]) == ["converged", "stalled"] and list(record["restarts"]) == [0, 2]
    assert (run / "figures/flux_prediction.png").stat().st_size and (run / "fits.ecsv").stat().st_size
    assert [path.name for path in (run / "trained").iterdir()] == ["pixel0036-4320-step4284.npz"], "nothing is left"


def test_the_same_pixels_are_trained_again_with_sgd(run):
    """Only the trainer differs, which the chunk carries: it is split anew, and the networks come out the same."""
    place = run.parent
    shutil.copy(run / "neural_network.npz", place / "of_theano.npz")
    status, output = snakemake(place, "with spaces/neural_network.npz", "--config", "trainer=sgd")
    assert status == 0, output
    assert "check_grid" not in output and "split_pixels" in output
    with np.load(place / "of_theano.npz") as theirs, np.load(run / "neural_network.npz") as ours:
        for key in ("w_array_0", "b_array_0", "w_array_1", "b_array_1"):
            np.testing.assert_allclose(theirs[key], ours[key], rtol=1e-6)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The workflow alone, without any environment."""
    shutil.copytree(ROOT / "workflow", tmp_path / "checkout/workflow")
    shutil.copy(ROOT / "Snakefile", tmp_path / "checkout")
    return new_directory(tmp_path / "checkout", **QUICK)


@pytest.mark.parametrize("state", ["missing", "half built", "of another directory"])
def test_without_its_environment_the_workflow_stops_at_once_and_says_how_to_mend_it(checkout, state):
    if state != "missing":
        (checkout / ".venv-theano/bin").mkdir(parents=True)
        (checkout / ".venv-theano/bin/payneflow").touch()
    if state == "of another directory":
        (checkout / ".venv-theano/installed").write_text("/somewhere/else")
    status, output = snakemake(checkout, "--dry-run", "--snakefile", checkout / "Snakefile")
    assert status != 0
    assert "Traceback" not in output
    assert "trainer is theano, but" in output and f"Type `make theano` in {checkout}" in output
    status, output = snakemake(checkout, "--dry-run", "--snakefile", checkout / "Snakefile", "--config", "trainer=sgd")
    assert status == 0, output
