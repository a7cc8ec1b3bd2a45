"""The Levenberg-Marquardt trainer: second-order steps on the same networks, tied down by virtual spectra.

A trial learns the training spectra alone; a loop learns the virtual spectra too, at a small weight. Each kind of run,
and each number of labels that networks keep (own_labels.py), has an engine of eight lanes (engine.py); pixels wait for
a lane of the kind they need, and the fullest engine goes first.
"""

from collections import deque

import numpy as np

from payneflow.scaling import SPAN, TRAINING_LEAST, TRAINING_MOST
from payneflow.settings import LmSettings
from payneflow.simd import LANES
from payneflow.statistics import MAD_TO_SIGMA
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.floor import LARGEST_OF_NOISE
from payneflow.training.lm.own_labels import OwnLabelsEngine, labels_that_act
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.relevance import STEEPNESS as RELEVANT_STEEPNESS
from payneflow.training.lm.relevance import from_slopes, slopes_and_deviations
from payneflow.training.lm.templates import TemplateFits
from payneflow.training.policy import Outcome, Run
from payneflow.training.randomness import weights_generator
from payneflow.weights import join, split

# Pixels under way at a time: enough that no engine waits for another, and few to begin again after a kill.
PLACES = 8 * LANES

STEEPNESS = 0.7 * 1.5  # length of a new w0 over n_neurons^(1/n_label); 0.7: Nguyen & Widrow (1990), tanh on -1 .. 1
OUTPUT_SPREAD = 0.5  # standard deviation of the output weights of a new network
LEAST_TO_TRIAL = 1 / 300  # a trial knows no label that does less by kriging, the label of most effect doing 1
LEAST_EFFECT = 0.3  # a loop knows no label that changes flux by less than this part of what the trial left unexplained
OF_TRUNC_DIFF = 1 / 30  # nor one that changes it by less than this part of trunc_diff, where that is less
OF_DEVIATION = 1.0  # a loop's penalty where relevance is known, in mean squares of what the trial left unexplained
LATER = 0.6  # that part of it with every further loop of a network, where what it leaves unexplained is no noise
MEAN_LEAST, MEAN_MOST = 0.01, 0.99  # of the scaled flux, whose logit is the new network's output
ALL = 0  # labels of a lane: all there are, which lanes share


class LmTrainer:
    """Levenberg-Marquardt as a `lanes.Trainer`; a "lane" of it is a place for a pixel under way.

    `scaled_labels`: (n_training, n_label). A pixel's flux has the training spectra first, then the virtual ones.
    """

    n_lane = PLACES

    def __init__(self, scaled_labels: np.ndarray, preparation: Preparation, settings: LmSettings, seed: int):
        self.settings, self.seed = settings, seed
        self._n_training, self._n_label = scaled_labels.shape
        self._labels = np.ascontiguousarray(scaled_labels)
        self._spread = scaled_labels.std(axis=0)
        virtual = preparation.virtual
        weights = np.concatenate([np.ones(self._n_training), np.full(len(virtual.labels), settings.virtual_weight)])
        labels = np.concatenate([scaled_labels, virtual.labels])
        self._learn = {False: (labels, weights), True: (self._labels, weights[: self._n_training])}
        self._trials_apart = len(virtual.labels) > 0
        self._stations: dict[tuple[bool, int], Station] = {}
        templates = preparation.templates
        self._n_offer = min(len(templates), settings.n_starts)
        self._templates = TemplateFits(templates, scaled_labels) if len(templates) else None
        self._offers: dict[int, list[np.ndarray]] = {}

    def new_network(
        self, pixel: int, restart: int, flux: np.ndarray, relevance: np.ndarray | None = None
    ) -> np.ndarray:
        """The templates nearest to the pixel's flux, for its first trials, and random networks after those."""
        training_flux = flux[: self._n_training]
        if restart < self._n_offer:
            if pixel not in self._offers:  # found all at once
                self._offers[pixel] = self._templates.best(training_flux, self._n_offer)
            return self._offers[pixel][restart] if restart < self._n_offer - 1 else self._offers.pop(pixel)[restart]
        generator = weights_generator(self.seed, pixel, restart)
        return random_network(generator, training_flux.mean(), self._n_label, self.settings.n_neurons, relevance)

    def start(self, lane: int, flux: np.ndarray, weights: np.ndarray, run: Run) -> None:
        relevance, penalty, kept = run.relevance, None, None
        if relevance is not None:
            if run.trial:
                kept = labels_that_act(1 / relevance, LEAST_TO_TRIAL)
            else:
                relevance, penalty, kept = self._as_the_network_found(weights, flux, run.loops)
        station = self._station(run.trial and self._trials_apart, kept)
        job = weights, flux[: station.engine.n_given], run.steps, run.step_size, run.noise, relevance, penalty
        station.waiting.append((lane, job if kept is None else (*job, kept)))

    def _station(self, trial: bool, kept: np.ndarray | None) -> "Station":
        """The one for a trial or a loop of networks of as many labels as are kept; None: of all, in shared lanes."""
        width = ALL if kept is None else len(kept)
        if (trial, width) not in self._stations:
            learn = *self._learn[trial], self._n_training, self.settings.n_neurons, self.settings.penalty
            engine = LaneEngine(*learn) if width == ALL else OwnLabelsEngine(*learn, width)
            self._stations[trial, width] = Station(engine)
        return self._stations[trial, width]

    def _as_the_network_found(
        self, weights: np.ndarray, flux: np.ndarray, loops: int
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Relevance, penalty and labels kept by which a loop goes on from a network of a trial and `loops` loops.

        The most probable network has the penalty `noise variance / weight variance` (MacKay 1992, Neural Computation 4,
        448); what the network could not explain stands for the noise. Where normal noise of that size would lie below
        `trunc_diff` in all spectra, and some lie above, it is no noise, and the penalty falls from loop to loop.
        """
        w0, b0, w1, b1 = split(weights, self._n_label)
        known = self._labels, flux[: self._n_training]
        slopes, square, deviations = slopes_and_deviations(w0, b0, w1, float(b1), *known)
        least = min(LEAST_EFFECT * np.sqrt(square), SPAN * self.settings.trunc_diff * OF_TRUNC_DIFF)
        kept = labels_that_act(slopes * self._spread, least)
        width = MAD_TO_SIGMA * np.median(deviations)
        is_noise = LARGEST_OF_NOISE * width > SPAN * self.settings.trunc_diff
        return from_slopes(slopes), OF_DEVIATION * square * (1.0 if is_noise else LATER**loops), kept

    def advance(self) -> list[tuple[int, Outcome]]:
        """The fullest station goes first. No pixel takes a lane of more labels: its last bits would be others."""
        _, fullest = max(self._stations.items(), key=lambda item: (item[1].load, not item[0][0]))
        return fullest.advance()


class Station:
    """An engine and the pixels that wait for its lanes."""

    def __init__(self, engine: LaneEngine):
        self.engine = engine
        self.waiting: deque = deque()
        self._place_of: dict[int, int] = {}

    @property
    def load(self) -> int:
        """Lanes that have something to do."""
        return min(len(self._place_of) + len(self.waiting), LANES)

    def advance(self) -> list[tuple[int, Outcome]]:
        """Iterate until a pixel is done or more, after free lanes have taken those that wait."""
        for lane in range(LANES):
            if self.waiting and lane not in self._place_of:
                self._place_of[lane], job = self.waiting.popleft()
                self.engine.start(lane, *job)
        return [(self._place_of.pop(lane), self.engine.result(lane)) for lane in self.engine.advance()]


def random_network(
    generator: np.random.Generator,
    mean_flux: float,
    n_label: int,
    n_neurons: int,
    relevance: np.ndarray | None = None,
) -> np.ndarray:
    """A random network (n_weight,) whose output is about `mean_flux` (scaled).

    Nguyen & Widrow (1990, IJCNN 3, 21): random directions, a fixed length of w0 such that the neurons share the label
    cube among them, each neuron's middle at a random point of the cube, w1 small. Normally distributed weights, as the
    published ones, leave some networks saturated from the start, for ever. `relevance` (n_label,): directions are
    random in labels divided by it (relevance.py).
    """
    w0 = generator.normal(size=(n_neurons, n_label))
    length = STEEPNESS * n_neurons ** (1 / n_label)
    if relevance is not None:
        w0, length = w0 / relevance, RELEVANT_STEEPNESS
    w0 *= length / np.sqrt((w0 * w0).sum(axis=1, keepdims=True))
    middle = generator.uniform(TRAINING_LEAST, TRAINING_MOST, (n_neurons, n_label))
    b0 = -(w0 * middle).sum(axis=1)
    w1 = OUTPUT_SPREAD * generator.normal(size=n_neurons)
    hidden = 1.0 / (1.0 + np.exp(-((w0 * middle.mean(axis=0)).sum(axis=1) + b0)))
    mean = min(max(mean_flux, MEAN_LEAST), MEAN_MOST)
    return join(w0, b0, w1, np.log(mean / (1.0 - mean)) - (w1 * hidden).sum())
