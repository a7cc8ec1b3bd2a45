"""The Levenberg-Marquardt trainer: second-order steps on the same networks, tied down by virtual spectra.

A trial learns the training spectra alone; a loop learns the virtual spectra too, at a small weight. Each kind of run
has an engine of eight lanes (engine.py); pixels wait for a lane of the kind they need, and the fuller engine goes
first.
"""

from collections import deque

import numpy as np

from payneflow.scaling import TRAINING_LEAST, TRAINING_MOST
from payneflow.settings import LmSettings
from payneflow.simd import LANES
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.relevance import STEEPNESS as RELEVANT_STEEPNESS
from payneflow.training.lm.relevance import from_slopes, slopes_and_square
from payneflow.training.lm.templates import TemplateFits
from payneflow.training.policy import Outcome, Run
from payneflow.training.randomness import weights_generator
from payneflow.weights import join, split

# Pixels under way at a time: enough that neither engine waits for the other, and few to begin again after a kill.
PLACES = 8 * LANES

STEEPNESS = 0.7 * 1.5  # length of a new w0 over n_neurons^(1/n_label); 0.7: Nguyen & Widrow (1990), tanh on -1 .. 1
OUTPUT_SPREAD = 0.5  # standard deviation of the output weights of a new network
OF_DEVIATION = 1.0  # a loop's penalty where relevance is known, in mean squares of what the trial left unexplained
MEAN_LEAST, MEAN_MOST = 0.01, 0.99  # of the scaled flux, whose logit is the new network's output


class LmTrainer:
    """Levenberg-Marquardt as a `lanes.Trainer`; a "lane" of it is a place for a pixel under way.

    `scaled_labels`: (n_training, n_label). A pixel's flux has the training spectra first, then the virtual ones.
    """

    n_lane = PLACES

    def __init__(self, scaled_labels: np.ndarray, preparation: Preparation, settings: LmSettings, seed: int):
        self.settings, self.seed = settings, seed
        self._n_training, self._n_label = scaled_labels.shape
        self._labels = np.ascontiguousarray(scaled_labels)
        virtual = preparation.virtual
        weights = np.concatenate([np.ones(self._n_training), np.full(len(virtual.labels), settings.virtual_weight)])
        labels = np.concatenate([scaled_labels, virtual.labels])
        self._trials = LaneEngine(scaled_labels, weights[: self._n_training], *self._sizes())
        self._loops = LaneEngine(labels, weights, *self._sizes())
        self._waiting = {engine: deque() for engine in (self._trials, self._loops)}
        self._place_of = {engine: {} for engine in (self._trials, self._loops)}
        templates = preparation.templates
        self._n_offer = min(len(templates), settings.n_starts)
        self._templates = TemplateFits(templates, scaled_labels) if len(templates) else None
        self._offers: dict[int, list[np.ndarray]] = {}

    def _sizes(self) -> tuple[int, int, float]:
        return self._n_training, self.settings.n_neurons, self.settings.penalty

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
        engine = self._trials if run.trial else self._loops
        relevance, penalty = run.relevance, None
        if relevance is not None and not run.trial:
            relevance, penalty = self._as_the_trial_found(weights, flux)
        self._waiting[engine].append((lane, weights, flux[: engine.n_given], run, relevance, penalty))

    def _as_the_trial_found(self, weights: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, float]:
        """Relevance and penalty by which a loop goes on from the network of a trial.

        The most probable network has the penalty `noise variance / weight variance` (MacKay 1992, Neural Computation 4,
        448); what the trial could not explain stands for the noise.
        """
        w0, b0, w1, b1 = split(weights, self._n_label)
        slopes, square = slopes_and_square(w0, b0, w1, float(b1), self._labels, flux[: self._n_training])
        return from_slopes(slopes), OF_DEVIATION * square

    def advance(self) -> list[tuple[int, Outcome]]:
        for engine, waiting in self._waiting.items():
            places = self._place_of[engine]
            for engine_lane in range(LANES):
                if waiting and engine_lane not in places:
                    place, weights, flux, run, *held = waiting.popleft()
                    places[engine_lane] = place
                    engine.start(engine_lane, weights, flux, run.steps, run.step_size, run.noise, *held)
        engine = self._loops if len(self._place_of[self._loops]) >= len(self._place_of[self._trials]) else self._trials
        return [(self._place_of[engine].pop(lane), engine.result(lane)) for lane in engine.advance()]


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
