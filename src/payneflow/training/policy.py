"""When to restart, go on, halve the step or stop: the published policy, for any trainer.

A pixel starts with a trial, a short run of a new network. A trial that hardly improves has stalled and is restarted
with a new network. Then loops follow until the deviation is below `trunc_diff`, the step size too small, or the loops
used up. The network kept is the one with the smallest deviation seen at the end of any run.
This module decides only: it neither knows how a network is trained nor holds any spectra.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from payneflow.training.settings import SgdSettings

STALLED_BELOW = 0.1  # improvement of a trial below which it is restarted (published listing)
SLOW_BELOW = 0.01  # improvement of a loop below which the step size is halved (published listing)


class Stage(StrEnum):
    """Where a pixel stands: waiting for a trial or a loop, or at one of the ways to end."""

    TRIAL = "trial"
    LOOP = "loop"
    CONVERGED = "converged"
    STEP_TOO_SMALL = "step_too_small"
    MAX_LOOPS = "max_loops"
    STALLED = "stalled"
    FAILED = "failed"


ENDS = {
    Stage.CONVERGED: "the deviation fell below trunc_diff",
    Stage.STEP_TOO_SMALL: "the step size fell to min_eta before that: more neurons, or a smaller min_eta, may help",
    Stage.MAX_LOOPS: "max_iter loops were used up before that: a larger max_iter may help",
    Stage.STALLED: "no trial ever improved: is the flux of this pixel noise, or constant?",
    Stage.FAILED: "the weights became infinite or undefined: please report this with the grid",
}


@dataclass(frozen=True)
class Run:
    """What a trainer does next with a pixel: `steps` steps (epochs) of size `step_size`.

    `number` is unique among the runs of one pixel and the same for all pixels: it picks the shuffled order.
    """

    number: int
    steps: int
    step_size: float


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the weights (n_weight,), the relative improvement of the cost, the deviation in flux units."""

    weights: np.ndarray
    improvement: float
    deviation: float


@dataclass
class PixelProgress:
    """How far the training of one pixel has come, as of the end of its last run; all that a checkpoint must hold.

    `weights` (n_weight,) are those to go on with, None where a new network is due; `best_weights` and `deviation`
    belong to the best network so far. `divisor` divides the first step size.
    """

    stage: Stage = Stage.TRIAL
    restarts: int = 0
    loops: int = 0
    divisor: float = 1.0
    weights: np.ndarray | None = None
    best_weights: np.ndarray | None = None
    deviation: float = np.inf
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.stage in ENDS


class Policy:
    """The published restart and truncation policy (published listing; DESIGN of payneflow, section 2)."""

    def __init__(self, settings: SgdSettings):
        self.settings = settings

    def step_size(self, progress: PixelProgress) -> float:
        return self.settings.eta / progress.divisor

    def next_run(self, progress: PixelProgress) -> Run:
        """The run that a pixel which has not ended needs next. Trials are numbered by the loops spent before them."""
        if progress.stage is Stage.TRIAL:
            return Run(progress.loops, self.settings.trial_epochs, self.settings.eta)
        return Run(progress.loops + 1, self.settings.num_epochs, self.step_size(progress))

    def judge(self, progress: PixelProgress, outcome: Outcome) -> None:
        """Bring `progress` up to date with the outcome of the run that `next_run` asked for."""
        if not (np.isfinite(outcome.deviation) and np.isfinite(outcome.weights).all()):
            progress.stage = Stage.FAILED
            return
        if progress.best_weights is None or outcome.deviation < progress.deviation:
            # a copy: the trainer may go on with the very same array
            progress.best_weights, progress.deviation = outcome.weights.copy(), outcome.deviation
        if progress.stage is Stage.TRIAL:
            self._judge_trial(progress, outcome)
        else:
            self._judge_loop(progress, outcome)

    def _judge_trial(self, progress: PixelProgress, outcome: Outcome) -> None:
        if outcome.improvement < STALLED_BELOW:
            progress.restarts += 1
            progress.loops += 1
            progress.weights = None
            if progress.loops >= self.settings.max_iter:
                progress.stage = Stage.STALLED
            return
        progress.weights = outcome.weights.copy()
        progress.stage = self._stage_after(progress, outcome)

    def _judge_loop(self, progress: PixelProgress, outcome: Outcome) -> None:
        progress.loops += 1
        if outcome.improvement < SLOW_BELOW:
            progress.divisor *= 2.0
        progress.weights = outcome.weights.copy()
        progress.stage = self._stage_after(progress, outcome)

    def _stage_after(self, progress: PixelProgress, outcome: Outcome) -> Stage:
        if outcome.deviation <= self.settings.trunc_diff:
            return Stage.CONVERGED
        if progress.loops >= self.settings.max_iter:
            return Stage.MAX_LOOPS
        if self.step_size(progress) <= self.settings.min_eta:
            return Stage.STEP_TOO_SMALL
        return Stage.LOOP
