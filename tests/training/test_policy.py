"""The restart and truncation policy, driven by scripted outcomes through each of its ends."""

import numpy as np
import pytest

from payneflow.settings import LmSettings, SgdSettings
from payneflow.training.lanes import PixelTask, train_pixels
from payneflow.training.policy import ENDS, Outcome, PixelProgress, PublishedPolicy, Run, Stage, StartsPolicy

GOOD, STALLED, SLOW = 0.5, 0.05, 0.005  # improvements


class ScriptedTrainer:
    """Gives back the scripted (improvement, deviation[, cost]) one after the other, and notes what it was asked.

    Like a fast trainer, it hands out one and the same weights array, overwritten by every run.
    """

    n_lane = 1

    def __init__(self, *script):
        self.script = list(script)
        self.runs: list[Run] = []
        self.restarts: list[int] = []
        self.started_from: list[np.ndarray] = []
        self.buffer = np.zeros(1)

    def new_network(self, pixel, restart, flux, relevance):
        self.restarts.append(restart)
        return np.zeros(1)

    def start(self, lane, flux, weights, run):
        self.runs.append(run)
        self.started_from.append(weights.copy())

    def advance(self):
        self.buffer[0] = len(self.runs)
        improvement, deviation, *cost = self.script[len(self.runs) - 1]
        return [(0, Outcome(self.buffer, improvement, *(cost or [1.0]), deviation, self.runs[-1].steps))]


def drive(script, **settings):
    return drive_with(PublishedPolicy(SgdSettings(**settings)), script)


def drive_with(policy, script, **of_pixel):
    trainer = ScriptedTrainer(*script)
    task = PixelTask(0, np.zeros(3), PixelProgress(), **of_pixel)
    changes = list(train_pixels(trainer, policy, [task]))
    assert len(changes) == len(trainer.runs) == len(script), "every scripted run is used, and no other"
    return task.progress, trainer


def test_converged_after_the_trial_runs_no_loop():
    progress, trainer = drive([(GOOD, 0.002)])
    assert (progress.stage, progress.loops, progress.restarts) == (Stage.CONVERGED, 0, 0)
    assert trainer.runs == [Run(0, 1000, 0.1, True)]


def test_a_deviation_equal_to_the_criterion_has_converged():
    assert drive([(GOOD, 0.003)])[0].stage is Stage.CONVERGED


def test_loops_until_converged():
    progress, trainer = drive([(GOOD, 0.1), (GOOD, 0.05), (GOOD, 0.001)])
    assert (progress.stage, progress.loops) == (Stage.CONVERGED, 2)
    assert trainer.runs == [Run(0, 1000, 0.1, True), Run(1, 10_000, 0.1, False), Run(2, 10_000, 0.1, False)]
    assert progress.steps == 21_000


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
    list(train_pixels(trainer, PublishedPolicy(SgdSettings()), [task]))
    assert task.progress.stage is Stage.FAILED and task.progress.best_weights is None


def test_each_end_has_a_meaning_and_only_ends_do():
    assert set(ENDS) == set(Stage) - {Stage.TRIAL, Stage.LOOP}


def test_an_ended_pixel_is_not_trained_again():
    trainer = ScriptedTrainer()
    task = PixelTask(0, np.zeros(3), PixelProgress(stage=Stage.CONVERGED))
    assert list(train_pixels(trainer, PublishedPolicy(SgdSettings()), [task])) == []
    assert trainer.runs == []


def test_a_pixel_is_judged_all_at_once_or_not_at_all():
    """Ctrl-C in the midst of a judgement: what is saved then must be a state that training knows."""

    class Interrupted(PublishedPolicy):
        def judge(self, progress, outcome):
            progress.steps += outcome.steps
            progress.divisor *= 2.0
            raise KeyboardInterrupt

    task = PixelTask(0, np.zeros(3), PixelProgress())
    with pytest.raises(KeyboardInterrupt):
        list(train_pixels(ScriptedTrainer((GOOD, 0.1)), Interrupted(SgdSettings()), [task]))
    assert (task.progress.steps, task.progress.divisor) == (0, 1.0)


def test_all_lanes_are_kept_busy():
    """Earlier codes handed a pool one pixel at a time. Here a free lane is filled at once, as long as pixels wait."""

    class ManyLanes(ScriptedTrainer):
        n_lane = 4

        def __init__(self):
            super().__init__()
            self.busy, self.seen = [], []

        def start(self, lane, flux, weights, run):
            self.busy.append(lane)

        def advance(self):
            self.seen.append(len(self.busy))
            lane = self.busy.pop(0)
            return [(lane, Outcome(np.zeros(1), GOOD, 1.0, 0.001, 1))]

    trainer = ManyLanes()
    tasks = [PixelTask(pixel, np.zeros(3), PixelProgress()) for pixel in range(10)]
    assert len(list(train_pixels(trainer, PublishedPolicy(SgdSettings()), tasks))) == 10
    assert trainer.seen == [4, 4, 4, 4, 4, 4, 4, 3, 2, 1]


# ------------------------------------------------------------------------------------------- several starts (`lm`)


def drive_starts(script, **settings):
    """Scripted outcomes as (deviation, cost)."""
    policy = StartsPolicy(LmSettings(**settings).for_labels(3))
    return drive_with(policy, [(np.nan, deviation, cost) for deviation, cost in script])


def test_the_cheapest_of_the_trials_goes_on():
    progress, trainer = drive_starts([(0.1, 3.0), (0.1, 1.0), (0.1, 2.0), (0.001, 0.5)])
    assert (progress.stage, progress.restarts, progress.loops) == (Stage.CONVERGED, 2, 1)
    assert [(run.steps, run.trial) for run in trainer.runs] == [(30, True), (30, True), (30, True), (60, False)]
    assert trainer.restarts == [0, 1, 2]
    assert trainer.started_from[3] == [2.0], "the weights of the second trial, by value"
    assert progress.best_weights == [4.0] and progress.deviation == 0.001 and progress.steps == 150


def test_a_trial_is_never_kept_however_small_its_deviation():
    """Only a loop knows the virtual spectra."""
    progress, _ = drive_starts([(1e-6, 1.0), (0.002, 0.5)], n_starts=1)
    assert progress.best_weights == [2.0] and progress.deviation == 0.002


def test_new_random_starts_where_the_deviation_stays_too_large():
    script = [(0.1, 1.0), (0.1, 2.0), (0.01, 1.0), (0.1, 5.0), (0.1, 4.0), (0.002, 1.0)]
    progress, trainer = drive_starts(script, n_starts=2)
    assert (progress.stage, progress.restarts, progress.loops) == (Stage.CONVERGED, 3, 2)
    assert trainer.restarts == [0, 1, 2, 3]
    assert [run.steps for run in trainer.runs] == [30, 30, 60, 60, 60, 60], "random networks get longer trials"
    assert not any(run.loops for run in trainer.runs), "no network goes on"
    assert trainer.started_from[5] == [5.0], "the costs of the first trials are forgotten"


def test_rounds_used_up_keep_the_best_loop():
    script = [(0.1, 1.0), (0.01, 1.0), (0.1, 1.0), (0.005, 1.0), (0.1, 1.0), (0.02, 1.0)]
    progress, _ = drive_starts(script, n_starts=1, max_rounds=3)
    assert (progress.stage, progress.loops, progress.deviation) == (Stage.MAX_LOOPS, 3, 0.005)
    assert progress.best_weights == [4.0]


def test_without_new_starts_the_network_goes_on():
    script = [(0.1, 1.0), (0.01, 1.0), (0.005, 1.0), (0.002, 1.0)]
    progress, trainer = drive_starts(script, n_starts=1, new_starts=False)
    assert (progress.stage, progress.restarts, progress.loops) == (Stage.CONVERGED, 0, 3)
    assert [run.trial for run in trainer.runs] == [True, False, False, False] and trainer.restarts == [0]
    assert [weights[0] for weights in trainer.started_from] == [0.0, 1.0, 2.0, 3.0]
    assert [run.loops for run in trainer.runs] == [0, 0, 1, 2]
    progress, trainer = drive_starts(
        [(0.1, 1.0), (np.nan, 1.0), (0.1, 1.0), (0.002, 1.0)], n_starts=1, new_starts=False
    )
    assert progress.stage is Stage.CONVERGED and trainer.restarts == [0, 1], "there is none to go on with"


def test_undefined_trials_are_passed_over_and_only_undefined_ones_fail():
    progress, _ = drive_starts([(np.nan, np.nan), (0.1, 2.0), (0.001, 1.0)], n_starts=2)
    assert progress.stage is Stage.CONVERGED
    progress, _ = drive_starts([(np.nan, np.nan)] * 2, n_starts=2)
    assert progress.stage is Stage.FAILED and progress.best_weights is None
    progress, _ = drive_starts([(0.1, 1.0), (np.inf, 1.0)], n_starts=1, max_rounds=1)
    assert progress.stage is Stage.FAILED


def drive_noisy(script, **of_pixel):
    """Deviations of loops that follow one trial each, of a pixel with noise or a floor."""
    runs = [run for deviation in script for run in ((np.nan, 0.1, 1.0), (np.nan, deviation, 1.0))]
    return drive_with(StartsPolicy(LmSettings(n_starts=1).for_labels(3)), runs, **of_pixel)


def test_a_pixel_at_its_floor_gets_no_new_starts():
    for deviation in (0.02, 0.019):
        progress, _ = drive_noisy([deviation], noise=0.006, floor=0.02)
        assert (progress.stage, progress.loops, progress.deviation) == (Stage.NOISE_FLOOR, 1, deviation)


def test_a_pixel_above_its_floor_gets_new_starts():
    assert drive_noisy([0.03, 0.02], floor=0.02)[0].stage is Stage.NOISE_FLOOR
    assert drive_noisy([0.03] * 4, floor=0.02)[0].stage is Stage.MAX_LOOPS


def test_a_pixel_that_converges_is_at_no_floor():
    assert drive_noisy([0.003], floor=0.02)[0].stage is Stage.CONVERGED
    assert drive_noisy([0.1, 0.002], floor=0.001)[0].stage is Stage.CONVERGED


def test_every_run_knows_the_noise_of_its_pixel():
    assert [run.noise for run in drive_noisy([0.03, 0.02], noise=0.006, floor=0.02)[1].runs] == [0.006] * 4


def test_the_published_policy_knows_no_floor():
    progress, _ = drive_with(PublishedPolicy(SgdSettings(max_iter=2)), [(GOOD, 0.1)] * 3, noise=0.006, floor=0.2)
    assert progress.stage is Stage.MAX_LOOPS
