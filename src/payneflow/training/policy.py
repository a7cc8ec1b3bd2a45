"""When to restart, go on, halve the step or stop: two policies in the same words, for any trainer.

A pixel starts with a trial, a short run of a new network, and goes on with loops until its deviation is below
`trunc_diff` or its loops are used up. The network kept is the one with the smallest deviation seen at a validation.

- `PublishedPolicy` (sgd): a trial that hardly improves has stalled and is restarted with a new network; then loop
  after loop goes on with that network, at half the step size when it gets slow. Every run ends with a validation.
- `StartsPolicy` (lm): several trials, of which the one of smallest cost goes on for one loop, which ends with a
  validation; where that is not enough, nor all that the labels explain, new trials and another loop.

This module decides only: it neither knows how a network is trained nor holds any spectra.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from payneflow.settings import LmSettings, SgdSettings

STALLED_BELOW = 0.1  # improvement of a trial below which it is restarted (published listing)
SLOW_BELOW = 0.01  # improvement of a loop below which the step size is halved (published listing)


class Stage(StrEnum):
    """Where a pixel stands: waiting for a trial or a loop, or at one of the ways to end."""

    TRIAL = "trial"
    LOOP = "loop"
    CONVERGED = "converged"
    WILD = "wild"
    NOISE_FLOOR = "noise_floor"
    STEP_TOO_SMALL = "step_too_small"
    MAX_LOOPS = "max_loops"
    STALLED = "stalled"
    FAILED = "failed"


ENDS = {
    Stage.CONVERGED: "the deviation fell below trunc_diff",
    Stage.WILD: "it fell below trunc_diff, but the network strays between the training spectra, which kriging does not",
    Stage.NOISE_FLOOR: "the deviation is what the labels leave unexplained: noise, or a label that is missing",
    Stage.STEP_TOO_SMALL: "the step size fell to min_eta before that: more neurons, or a smaller min_eta, may help",
    Stage.MAX_LOOPS: "the loops were used up before that: more of them (sgd) or more neurons may help",
    Stage.STALLED: "no trial ever improved: is the flux of this pixel noise, or constant?",
    Stage.FAILED: "the weights became infinite or undefined: please report this with the grid",
}


@dataclass(frozen=True)
class Run:
    """What a trainer does next with a pixel: at most `steps` steps (epochs, iterations) of size `step_size`.

    `number` is unique among the runs of one pixel and the same for all pixels: it picks the shuffled order. `trial` is
    True for the first run of a new network. For Levenberg-Marquardt `step_size` is the damping it starts with. `noise`:
    that of the pixel, and `relevance` that of its labels (`PixelTask`), which `train_pixels` adds. `loops`: how many
    the pixel had before, where its network goes on from loop to loop.
    """

    number: int
    steps: int
    step_size: float
    trial: bool
    noise: float = 0.0
    relevance: np.ndarray | None = None
    loops: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    `weights` (n_weight,); `improvement`, the relative improvement of the cost; `cost`, as it is at the end;
    `deviation`, over the training spectra in flux units; `steps`, how many were taken; `floor`, that of the pixel
    (`PixelTask`), which `train_pixels` adds.
    """

    weights: np.ndarray
    improvement: float
    cost: float
    deviation: float
    steps: int
    floor: float = 0.0

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.deviation) and np.isfinite(self.cost) and np.isfinite(self.weights).all())


@dataclass
class PixelProgress:
    """How far the training of one pixel has come, as of the end of its last run; all that a checkpoint must hold.

    `weights` (n_weight,) are those the next loop goes on with: in the midst of several trials, those of the trial of
    smallest `cost` yet. `trials` counts the trials since the last loop. `best_weights` and `deviation` belong to the
    best network so far. `divisor` divides the first step size. `steps` and `seconds` are all that were spent.
    """

    stage: Stage = Stage.TRIAL
    restarts: int = 0
    loops: int = 0
    trials: int = 0
    steps: int = 0
    divisor: float = 1.0
    cost: float = np.inf
    deviation: float = np.inf
    seconds: float = 0.0
    weights: np.ndarray | None = None
    best_weights: np.ndarray | None = None

    @property
    def ended(self) -> bool:
        return self.stage in ENDS

    def keep_if_best(self, outcome: Outcome) -> None:
        """Keep the weights of a validated network if no validation saw a smaller deviation."""
        if self.best_weights is None or outcome.deviation < self.deviation:
            # a copy: the trainer may go on with the very same array
            self.best_weights, self.deviation = outcome.weights.copy(), outcome.deviation


class Policy(Protocol):
    """What decides for a pixel; `train_pixels` asks it and a trainer does what it says."""

    def next_run(self, progress: PixelProgress) -> Run:
        """The run that a pixel which has not ended needs next."""

    def judge(self, progress: PixelProgress, outcome: Outcome) -> None:
        """Bring `progress` up to date with the outcome of the run that `next_run` asked for."""

    def step_size(self, progress: PixelProgress) -> float:
        """The step size of the pixel's next loop, or of its last one."""


class PublishedPolicy:
    """The published restart and truncation policy (docs/published_algorithm.md)."""

    def __init__(self, settings: SgdSettings):
        self.settings = settings

    def step_size(self, progress: PixelProgress) -> float:
        return self.settings.eta / progress.divisor

    def next_run(self, progress: PixelProgress) -> Run:
        """The run that a pixel which has not ended needs next. Trials are numbered by the loops spent before them."""
        if progress.stage is Stage.TRIAL:
            return Run(progress.loops, self.settings.trial_epochs, self.settings.eta, trial=True)
        return Run(progress.loops + 1, self.settings.num_epochs, self.step_size(progress), trial=False)

    def judge(self, progress: PixelProgress, outcome: Outcome) -> None:
        """Bring `progress` up to date with the outcome of the run that `next_run` asked for."""
        progress.steps += outcome.steps
        if not outcome.is_finite:
            progress.stage = Stage.FAILED
            return
        progress.keep_if_best(outcome)
        if progress.stage is Stage.TRIAL:
            self._judge_trial(progress, outcome)
        else:
            self._judge_loop(progress, outcome)

    def _judge_trial(self, progress: PixelProgress, outcome: Outcome) -> None:
        if outcome.improvement < STALLED_BELOW:
            progress.restarts += 1
            progress.loops += 1
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


class StartsPolicy:
    """Several starts, the best of them to the end, and again where that was not enough (policy of the `lm` trainer).

    A trial is judged by its cost alone and never kept: only a loop knows the virtual spectra, without which a small
    deviation on the training spectra says little about what lies between them.
    """

    def __init__(self, settings: LmSettings):
        self.settings = settings

    def step_size(self, progress: PixelProgress) -> float:
        return self.settings.damping

    def next_run(self, progress: PixelProgress) -> Run:
        """The run that a pixel which has not ended needs next."""
        if progress.stage is Stage.TRIAL:
            asked = self.settings if progress.loops == 0 else self.settings.from_random_networks()
            number = progress.restarts + progress.loops
            return Run(number, asked.start_iterations, asked.start_damping, trial=True)
        number = progress.restarts + progress.loops + 1
        loops = 0 if self.settings.new_starts else progress.loops
        return Run(number, self.settings.max_iterations, self.settings.damping, trial=False, loops=loops)

    def judge(self, progress: PixelProgress, outcome: Outcome) -> None:
        """Bring `progress` up to date with the outcome of the run that `next_run` asked for."""
        progress.steps += outcome.steps
        if progress.stage is Stage.TRIAL:
            self._judge_trial(progress, outcome)
        else:
            self._judge_loop(progress, outcome)

    def _judge_trial(self, progress: PixelProgress, outcome: Outcome) -> None:
        progress.trials += 1
        if outcome.is_finite and outcome.cost < progress.cost:
            progress.weights, progress.cost = outcome.weights.copy(), outcome.cost
        if progress.trials < self.settings.n_starts:
            progress.restarts += 1
        else:
            progress.stage = Stage.FAILED if progress.weights is None else Stage.LOOP

    def _judge_loop(self, progress: PixelProgress, outcome: Outcome) -> None:
        progress.loops += 1
        if outcome.is_finite:
            progress.keep_if_best(outcome)
        progress.weights, progress.cost, progress.trials = None, np.inf, 0
        if progress.deviation <= self.settings.trunc_diff:
            progress.stage = Stage.CONVERGED
        elif progress.deviation <= outcome.floor:
            progress.stage = Stage.NOISE_FLOOR
        elif progress.loops >= self.settings.max_rounds:
            progress.stage = Stage.FAILED if progress.best_weights is None else Stage.MAX_LOOPS
        elif outcome.is_finite and not self.settings.new_starts:
            progress.weights = outcome.weights.copy()
        else:
            progress.restarts += 1
            progress.stage = Stage.TRIAL
