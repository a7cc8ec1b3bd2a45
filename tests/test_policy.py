"""The restart and truncation policy, driven by scripted outcomes through each of its ends."""

import numpy as np
import pytest

from payneflow.training.lanes import PixelTask, train_pixels
from payneflow.training.policy import ENDS, Outcome, PixelProgress, Policy, Run, Stage
from payneflow.training.settings import SgdSettings

GOOD, STALLED, SLOW = 0.5, 0.05, 0.005  # improvements


class ScriptedTrainer:
    """Gives back the scripted (improvement, deviation) pairs one after the other, and notes what it was asked.

    Like a fast trainer, it hands out one and the same weights array, overwritten by every run.
    """

    n_lane = 1

    def __init__(self, *script):
        self.script = list(script)
        self.runs: list[Run] = []
        self.restarts: list[int] = []
        self.buffer = np.zeros(1)

    def new_network(self, pixel, restart):
        self.restarts.append(restart)
        return np.zeros(1)

    def start(self, lane, flux, weights, run):
        self.runs.append(run)

    def advance(self):
        self.buffer[0] = len(self.runs)
        return [(0, Outcome(self.buffer, *self.script[len(self.runs) - 1]))]


def drive(script, **settings):
    settings = SgdSettings(**settings)
    trainer = ScriptedTrainer(*script)
    task = PixelTask(0, np.zeros(3), PixelProgress())
    changes = list(train_pixels(trainer, Policy(settings), [task]))
    assert len(changes) == len(trainer.runs) == len(script), "every scripted run is used, and no other"
    return task.progress, trainer


def test_converged_after_the_trial_runs_no_loop():
    progress, trainer = drive([(GOOD, 0.002)])
    assert (progress.stage, progress.loops, progress.restarts) == (Stage.CONVERGED, 0, 0)
    assert trainer.runs == [Run(0, 1000, 0.1)]


def test_a_deviation_equal_to_the_criterion_has_converged():
    assert drive([(GOOD, 0.003)])[0].stage is Stage.CONVERGED


def test_loops_until_converged():
    progress, trainer = drive([(GOOD, 0.1), (GOOD, 0.05), (GOOD, 0.001)])
    assert (progress.stage, progress.loops) == (Stage.CONVERGED, 2)
    assert trainer.runs == [Run(0, 1000, 0.1), Run(1, 10_000, 0.1), Run(2, 10_000, 0.1)]


def test_a_stalled_trial_is_restarted_with_a_new_network_and_counts_one_loop():
    progress, trainer = drive([(STALLED, 0.5), (STALLED, 0.5), (GOOD, 0.1), (GOOD, 0.001)])
    assert (progress.restarts, progress.loops) == (2, 3)
    assert trainer.restarts == [0, 1, 2]
    assert [run.number for run in trainer.runs] == [0, 1, 2, 3], "every run has a shuffled order of its own"
    assert [run.steps for run in trainer.runs] == [1000, 1000, 1000, 10_000]


def test_a_stalled_trial_is_restarted_even_where_its_deviation_is_small():
    assert drive([(STALLED, 0.001), (GOOD, 0.002)])[0].restarts == 1


def test_all_trials_stalled():
    progress, _ = drive([(STALLED, 0.5), (STALLED, 0.4), (STALLED, 0.6)], max_iter=3)
    assert (progress.stage, progress.restarts, progress.loops) == (Stage.STALLED, 3, 3)
    assert progress.deviation == 0.4 and progress.best_weights == [2.0], "its best network is kept all the same"


def test_max_loops():
    progress, _ = drive([(GOOD, 0.1)] * 5, max_iter=4)
    assert (progress.stage, progress.loops) == (Stage.MAX_LOOPS, 4)


def test_restarts_use_up_loops():
    progress, _ = drive([(STALLED, 0.1), (GOOD, 0.1), (GOOD, 0.1)], max_iter=2)
    assert (progress.stage, progress.restarts, progress.loops) == (Stage.MAX_LOOPS, 1, 2)


def test_slow_loops_halve_the_step_until_it_is_too_small():
    progress, trainer = drive([(GOOD, 0.1)] + [(SLOW, 0.1)] * 7)
    assert progress.stage is Stage.STEP_TOO_SMALL
    # the divisor doubles before the check, so that 0.1 / 64 = 0.0016 still runs and 0.1 / 128 = 0.0008 does not
    assert [run.step_size for run in trainer.runs[1:]] == [0.1 / 2**i for i in range(7)]
    assert progress.divisor == 128.0


def test_only_slow_loops_halve_the_step():
    _, trainer = drive([(GOOD, 0.1), (SLOW, 0.1), (GOOD, 0.1), (GOOD, 0.001)])
    assert [run.step_size for run in trainer.runs] == [0.1, 0.1, 0.05, 0.05]


def test_improvements_at_the_published_bounds_are_improvements():
    progress, _ = drive([(0.1, 0.1), (0.01, 0.1), (GOOD, 0.001)])
    assert (progress.restarts, progress.divisor) == (0, 1.0)


def test_the_best_network_is_kept_by_value_not_the_last_one():
    """Earlier trainers kept "the best" by reference, and the next run overwrote it."""
    progress, _ = drive([(GOOD, 0.1), (GOOD, 0.02), (GOOD, 0.05), (GOOD, 0.08)], max_iter=3)
    assert progress.deviation == 0.02
    assert progress.best_weights == [2.0]
    assert progress.weights == [4.0], "training itself went on from the last one"


@pytest.mark.parametrize("deviation", [np.nan, np.inf])
def test_an_undefined_network_is_failed_not_raised(deviation):
    progress, _ = drive([(GOOD, 0.1), (GOOD, deviation)])
    assert progress.stage is Stage.FAILED
    assert progress.deviation == 0.1 and progress.best_weights == [1.0], "the last good network is kept"


def test_infinite_weights_are_failed():
    trainer = ScriptedTrainer((GOOD, 0.1))
    trainer.buffer = np.array([0.0, np.inf])
    task = PixelTask(0, np.zeros(3), PixelProgress())
    list(train_pixels(trainer, Policy(SgdSettings()), [task]))
    assert task.progress.stage is Stage.FAILED and task.progress.best_weights is None


def test_each_end_has_a_meaning_and_only_ends_do():
    assert set(ENDS) == set(Stage) - {Stage.TRIAL, Stage.LOOP}


def test_an_ended_pixel_is_not_trained_again():
    trainer = ScriptedTrainer()
    task = PixelTask(0, np.zeros(3), PixelProgress(stage=Stage.CONVERGED))
    assert list(train_pixels(trainer, Policy(SgdSettings()), [task])) == []
    assert trainer.runs == []
