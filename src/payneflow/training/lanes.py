"""Keep a trainer's lanes full: pixels go in, and come out as their runs end.

A lane is a place for one pixel in a trainer; `sgd` has eight, which advance together. As soon as a pixel ends, the
next one takes its lane, so that one stubborn pixel does not hold up the rest.
"""

import time
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from payneflow.scaling import scale_flux
from payneflow.training.policy import Outcome, PixelProgress, Policy, Run

LANES = 8  # pixels that a rank trains side by side in its SIMD lanes, whatever the trainer; fewer leave some idle


class Trainer(Protocol):
    """What a trainer must know: how to make a new network, and how to advance networks by a number of steps.

    `n_lane` pixels advance side by side. What a lane does must not depend, to the bit, on the other lanes.
    """

    n_lane: int

    def new_network(
        self, pixel: int, restart: int, flux: np.ndarray, relevance: np.ndarray | None = None
    ) -> np.ndarray:
        """Initial weights (n_weight,) of the network of a pixel with scaled `flux` after `restart` restarts.

        `relevance` (n_label,): that of the pixel (`PixelTask`), None where all labels are alike.
        """

    def start(self, lane: int, flux: np.ndarray, weights: np.ndarray, run: Run) -> None:
        """Give a free lane a run: scaled flux (n_spectrum,) to learn, weights (n_weight,) to start from."""

    def advance(self) -> list[tuple[int, Outcome]]:
        """Advance all busy lanes until at least one run ends; the lanes that ended are free again."""


@dataclass
class PixelTask:
    """One pixel to train: its index in the grid, its scaled flux (n_spectrum,) to learn, its progress so far.

    The spectra to learn are the training spectra and, after them, the virtual ones, if there are any. `noise` is the
    standard deviation of what the labels do not explain, `floor` a deviation that is near enough because of it, both as
    deviations are given; 0: as good as none. `relevance` (n_label,): over how much of each scaled label the flux
    changes, that of the label of most effect being 1 (training/lm/relevance.py); None where labels are taken alike.
    """

    pixel: int
    flux: np.ndarray
    progress: PixelProgress
    noise: float = 0.0
    floor: float = 0.0
    relevance: np.ndarray | None = None


def flux_to_learn(training_flux: np.ndarray, virtual_flux: np.ndarray) -> np.ndarray:
    """Scaled flux (n_pixel, n_training + n_virtual) of training flux (n_training, n_pixel) and virtual flux.

    Both are shares of the flux scale, which normalised flux is itself.
    """
    return np.ascontiguousarray(scale_flux(np.concatenate([training_flux, virtual_flux])).T)


def train_pixels(trainer: Trainer, policy: Policy, tasks: Iterable[PixelTask | None]) -> Iterator[PixelTask]:
    """Train every task to its end; give back a task each time one of its runs has ended and its progress changed.

    Tasks are drawn one by one as lanes become free, so `tasks` may be a generator that decides as it goes. None instead
    of a task means that there is none now: the generator is asked again when the next run has ended.
    """
    waiting = (task for task in tasks if task is None or not task.progress.ended)
    busy: dict[int, PixelTask] = {}
    free = list(range(trainer.n_lane))
    while True:
        while free and (task := next(waiting, None)) is not None:
            lane = free.pop()
            busy[lane] = task
            _start(trainer, policy, lane, task)
        if not busy:
            return
        begin = time.process_time()
        outcomes = trainer.advance()
        share = (time.process_time() - begin) / len(busy)
        for task in busy.values():
            task.progress.seconds += share
        for lane, outcome in outcomes:
            task = busy[lane]
            judged = copy(task.progress)
            policy.judge(judged, replace(outcome, floor=task.floor))
            task.progress = judged  # all at once: what Ctrl-C makes training save was judged or was not
            if task.progress.ended:
                del busy[lane]
                free.append(lane)
            else:
                _start(trainer, policy, lane, task)
            yield task


def _start(trainer: Trainer, policy: Policy, lane: int, task: PixelTask) -> None:
    progress = task.progress
    run = replace(policy.next_run(progress), noise=task.noise, relevance=task.relevance)
    if run.trial:
        weights = trainer.new_network(task.pixel, progress.restarts, task.flux, task.relevance)
    else:
        weights = progress.weights
    trainer.start(lane, task.flux, weights, run)
