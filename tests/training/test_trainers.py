"""The registry of trainers: one that is new to it works everywhere, and one that it does not know works nowhere."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, write_small_grid

from payneflow import cli
from payneflow.chunks.chunk import read_training
from payneflow.declaration import declare, setting
from payneflow.errors import SettingsError
from payneflow.run import sizing, workflow
from payneflow.run.config import read_config, sections_of_trainers
from payneflow.scaling import unscale_deviation
from payneflow.settings import SgdSettings, TheanoSettings
from payneflow.training import trainers
from payneflow.training.policy import Outcome, Run, Stage
from payneflow.training.trainers import TRAINERS, Environment, TrainerEntry
from payneflow.weights import n_weight

# ------------------------------------------------------------------------------- a trainer as somebody may add it


@declare
class MeanSettings:
    """Settings of a trainer that learns no more than the mean flux."""

    n_neurons: int = setting(4, "hidden neurons of a network, all of them unused", ge=1)
    trunc_diff: float = setting(0.5, "deviation at which a pixel has converged", gt=0)


class MeanTrainer:
    """A network whose output bias alone is not 0: the mean flux, whatever the labels."""

    n_lane = 3

    def __init__(self, scaled_labels, settings):
        self.length = n_weight(settings.n_neurons, scaled_labels.shape[1])
        self.flux = {}

    def new_network(self, pixel, restart, flux, relevance):
        return np.zeros(self.length)

    def start(self, lane, flux, weights, run):
        self.flux[lane] = flux

    def advance(self):
        lane, flux = self.flux.popitem()
        mean = flux.mean()
        weights = np.append(np.zeros(self.length - 1), np.log(mean / (1.0 - mean)))
        deviation = float(unscale_deviation(np.abs(flux - mean).max()))
        return [(lane, Outcome(weights, 1.0, deviation, deviation, 1))]


class MeanPolicy:
    """One run, and that is it."""

    def next_run(self, progress):
        return Run(0, 1, 1.0, trial=True)

    def judge(self, progress, outcome):
        progress.keep_if_best(outcome)
        progress.steps, progress.stage = outcome.steps, Stage.CONVERGED

    def step_size(self, progress):
        return 1.0


def make(scaled_labels, preparation, settings, seed):
    return MeanTrainer(scaled_labels, settings), MeanPolicy()


def refuse_small_grids(settings, n_training):
    if n_training < 10:
        raise SettingsError(f"mean needs 10 training spectra, not {n_training}.")


MEAN = TrainerEntry(
    name="mean",
    meaning="the mean flux",
    settings=MeanSettings,
    module=__name__,
    section_help="the mean flux",
    choice="never good",
    seconds_a_pixel=lambda settings, n_training, n_label: 1e-3 * n_training,
    working_mb=lambda settings, n_training, n_label: 5000.0,
    check_size=refuse_small_grids,
    environment=Environment("mean", "MEAN={}", "lm, which is better"),
)


@pytest.fixture
def mean(monkeypatch):
    monkeypatch.setitem(TRAINERS, "mean", MEAN)


def test_a_new_trainer_needs_no_more_than_its_entry(mean, tmp_path, capsys):
    grid = write_small_grid(tmp_path / "grid.npz")
    split = ["split", str(grid), "--trainer", "mean", "--n-neurons", "2", "--output", str(tmp_path / "chunks")]
    assert cli.main(split) == 0
    assert "trainer mean: nothing to prepare" in capsys.readouterr().out
    (chunk,) = (tmp_path / "chunks").glob("*.npz")
    assert read_training(chunk) == ("mean", MeanSettings(n_neurons=2), 0)
    trained, network, record = (str(tmp_path / name) for name in ("trained.npz", "network.npz", "record.ecsv"))
    assert cli.main(["train", str(chunk), "--output", trained]) == 0
    assert cli.main(["gather", trained, "--network", network, "--record", record]) == 0
    said = capsys.readouterr().out
    assert "20 pixels in 1 chunks, trainer mean" in said and "converged" in said
    with np.load(network) as networks, np.load(grid) as spectra:
        predicted = (1.0 / (1.0 + np.exp(-networks["b_array_1"])) - 0.1) / 0.8
        assert networks["w_array_0"].shape == (20, 2, 3)
        flux = spectra["Y_u_all"][::2].astype(float)
        assert (np.abs(predicted - flux.mean(axis=0)) < 0.5).all() and np.ptp(predicted) > 0


def test_a_new_trainer_has_its_section_its_costs_and_its_environment(mean, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sections_of_trainers([*TRAINERS.values()])().mean == MeanSettings()
    few = sizing.memory_mb_per_rank(1, 24, 3, SgdSettings())
    assert sizing.memory_mb_per_rank(1, 24, 3, MeanSettings()) - few == pytest.approx(1.3 * 5000, abs=50)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"grid": write_small_grid(tmp_path / "grid.npz"), "trainer": "mean", "mean": {"n_neurons": 7}}
    training = workflow.plan_training(config, workflow.Site(False, 1, ""))
    assert training.seconds_a_pixel == 1e-3 * 12 and training.settings == MeanSettings(n_neurons=7)
    assert workflow.preparation_options(config) == "--trainer mean --seed 0 --n-neurons 7"
    assert workflow.conda_of("mean") == "mean" and workflow.conda_of("lm") == "payneflow"
    assert workflow.environment_of("mean", Path("results"), None) == "env MEAN=results/trained "
    with pytest.raises(SettingsError, match=r"\.venv-mean, .*`make mean`.* Or choose lm, which is better\."):
        workflow.environment_of("mean", Path("results"), tmp_path)
    assert workflow.environment_of("lm", Path("results"), tmp_path) == ""


def test_ranks_are_told_how_to_make_every_trainer(mean):
    recipe = pickle.loads(pickle.dumps(partial(trainers.make_trainer, np.full((12, 3), 0.5), None, MeanSettings(), 0)))
    assert isinstance(recipe()[0], MeanTrainer)


# ------------------------------------------------------------------------------------------- what cannot be trained


@pytest.mark.parametrize(
    "ask",
    [
        lambda settings: sizing.memory_mb_per_rank(1, 24, 3, settings),
        lambda settings: trainers.seconds_of_preparation(settings, 12, 3, 20),
        lambda settings: trainers.make_trainer(np.zeros((12, 3)), None, settings, 0),
        lambda settings: trainers.prepare(np.zeros((12, 3)), np.zeros((12, 20)), settings, 0),
        lambda settings: trainers.check_size(settings, 12),
    ],
    ids=["memory", "preparation", "trainer", "prepare", "size"],
)
def test_settings_of_no_trainer_never_get_the_law_of_another(ask):
    with pytest.raises(SettingsError, match="MeanSettings is the settings of no trainer, expected one of: LmSettings"):
        ask(MeanSettings())


def test_a_trainer_that_is_set_by_anothers_settings_is_known_by_its_own_class():
    assert trainers.entry_of(TheanoSettings()).name == "theano" and trainers.entry_of(SgdSettings()).name == "sgd"
    with pytest.raises(SettingsError, match="trainer is 'adam', expected one of: lm, sgd, theano"):
        trainers.entry_named("adam")


@pytest.mark.parametrize("trainer", ["sgd", "theano"])
def test_a_mini_batch_larger_than_the_training_set_is_refused_before_anything_is_trained(trainer, tmp_path, capsys):
    grid, chunks = write_small_grid(tmp_path / "grid.npz"), tmp_path / "chunks"
    says = "mini_batch_size is 13, but the grid has only 12 training spectra"
    split = ["split", str(grid), "--trainer", trainer, "--mini-batch-size", "13", "--output", str(chunks)]
    assert cli.main(split) == 2
    assert says in capsys.readouterr().err and not chunks.exists()
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"grid": "grid.npz", "trainer": trainer, "sgd": {**config["sgd"], "mini_batch_size": 13}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["plan", "--config", str(tmp_path / "config.yaml")]) == 2
    assert says in capsys.readouterr().err
    assert read_config(tmp_path / "config.yaml").settings.mini_batch_size == 13
    with pytest.raises(SettingsError, match=says):  # what the Snakefile asks first
        workflow.plan_training({**config, "grid": grid}, workflow.Site(False, 1, ""))
    assert cli.main([*split[:5], "12", "--output", str(chunks)]) == 0
