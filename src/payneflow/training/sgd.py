"""The published trainer: mini-batch stochastic gradient descent of sum |y' - y'_true|, eight pixels side by side.

Each lane has its own step size and its own copy of labels and flux, already in the shuffled order of its run: lanes in
different loops then read memory straight ahead, just like lanes in the same loop.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.scaling import unscale_deviation
from payneflow.settings import WINDOW, SgdSettings
from payneflow.simd import (
    LANES,
    absolute,
    aligned,
    fill,
    get,
    kernel,
    load,
    maximum,
    put,
    registers,
    sigmoid,
    store,
    with_sign_of,
)
from payneflow.training.policy import Outcome, PublishedPolicy, Run
from payneflow.training.randomness import published_network, shuffled_order
from payneflow.weights import first_places, n_weight

MINI_BATCHES_A_CALL = 2_000_000  # about a third of a second: Ctrl-C is heard between calls


def make(scaled_labels: np.ndarray, preparation, settings: SgdSettings, seed: int):
    """Trainer and policy, as training/trainers.py wants them; there is no preparation to use."""
    return SgdTrainer(scaled_labels, settings, seed), PublishedPolicy(settings)


class Spectra(NamedTuple):
    """What the lanes learn, in rows of LANES numbers, one for each lane: row r is `array[LANES * r:][:LANES]`."""

    labels: np.ndarray  # (n_training * n_label) rows: scaled labels x', spectrum by spectrum, in the order of the run
    flux: np.ndarray  # (n_training) rows: scaled flux y', likewise


class Runs(NamedTuple):
    """The state of the lanes' runs, which outlasts a call."""

    weights: np.ndarray  # (n_weight) rows, in the published layout (weights.py), of scaled labels and flux
    step: np.ndarray  # (LANES,) step size / mini_batch_size; 0: the lane is free
    first_cost: np.ndarray  # (LANES,) sum of |y' - y'_true| over the first WINDOW epochs
    last_cost: np.ndarray  # (LANES,) the same over the last WINDOW epochs
    epochs_done: np.ndarray  # (LANES,) int64
    epochs_asked: np.ndarray  # (LANES,) int64; 0: the lane is free


class SgdTrainer:
    """The published update rule as a `lanes.Trainer`.

    `scaled_labels`: (n_training, n_label); of a pixel's flux it learns that of the training spectra only. Raises
    SettingsError where a mini-batch needs more spectra than there are.
    """

    n_lane = LANES

    def __init__(self, scaled_labels: np.ndarray, settings: SgdSettings, seed: int):
        n_training, n_label = scaled_labels.shape
        self._n_mini_batch = settings.mini_batches(n_training)
        self.scaled_labels = np.ascontiguousarray(scaled_labels, dtype=float)
        self.settings = settings
        self.seed = seed
        self._epochs, self._largest_error = build(n_label, settings.n_neurons, settings.mini_batch_size)
        self._spectra = Spectra(labels=aligned(n_training * n_label), flux=aligned(n_training))
        self._runs = Runs(
            weights=aligned(n_weight(settings.n_neurons, n_label)),
            step=aligned(1),
            first_cost=aligned(1),
            last_cost=aligned(1),
            epochs_done=np.zeros(LANES, dtype=np.int64),
            epochs_asked=np.zeros(LANES, dtype=np.int64),
        )
        self._work = aligned(settings.mini_batch_size * settings.n_neurons)

    def new_network(
        self, pixel: int, restart: int, flux: np.ndarray, relevance: np.ndarray | None = None
    ) -> np.ndarray:
        return published_network(self.seed, pixel, restart, self.settings.n_neurons, self.scaled_labels.shape[1])

    def start(self, lane: int, flux: np.ndarray, weights: np.ndarray, run: Run) -> None:
        order, runs = shuffled_order(self.seed, run.number, len(self.scaled_labels)), self._runs
        self._spectra.labels[lane::LANES] = self.scaled_labels[order].ravel()
        self._spectra.flux[lane::LANES] = flux[order]
        runs.weights[lane::LANES] = weights
        runs.step[lane] = run.step_size / self.settings.mini_batch_size
        runs.first_cost[lane] = runs.last_cost[lane] = 0.0
        runs.epochs_done[lane], runs.epochs_asked[lane] = 0, run.steps

    def advance(self) -> list[tuple[int, Outcome]]:
        runs = self._runs
        busy = np.flatnonzero(runs.epochs_asked)
        most = max(1, MINI_BATCHES_A_CALL // (self._n_mini_batch * LANES))
        while (left := runs.epochs_asked - runs.epochs_done)[busy].min() > 0:
            self._epochs(self._spectra, runs, self._work, min(most, int(left[busy].min())))
        deviations = np.empty(LANES)
        self._largest_error(self._spectra, runs.weights, deviations)
        ended = [lane for lane in busy if left[lane] == 0]
        outcomes = [(int(lane), self._outcome(lane, unscale_deviation(deviations[lane]))) for lane in ended]
        runs.epochs_asked[ended] = 0
        runs.step[ended] = 0.0
        return outcomes

    def _outcome(self, lane: int, deviation: float) -> Outcome:
        runs = self._runs
        first, last = float(runs.first_cost[lane]), float(runs.last_cost[lane])
        improvement = abs(first - last) / first if first > 0.0 else 0.0
        weights = runs.weights[lane::LANES].copy()
        return Outcome(weights, improvement, last / WINDOW, deviation, runs.epochs_done[lane])


@cache
def build(n_label: int, n_neurons: int, mini_batch_size: int):
    """The compiled loops `epochs` and `largest_error` for one shape of network and mini-batch."""
    hidden_bias, output_weight, output_bias = first_places(n_neurons, n_label)
    window = WINDOW

    @kernel
    def epochs(spectra, runs, work, n_epochs):
        """Advance all lanes by `n_epochs` epochs of the Spectra; writes weights, costs and epochs_done of the Runs.

        `work`: (mini_batch_size * n_neurons) rows, float64, for the hidden outputs of a mini-batch.
        """
        labels, flux, weights = spectra.labels, spectra.flux, runs.weights
        epochs_done, epochs_asked = runs.epochs_done, runs.epochs_asked
        z = registers(mini_batch_size)
        q = registers(mini_batch_size)
        cost_of_lane = np.empty(LANES)
        eta = load(runs.step, 0)
        for _ in range(n_epochs):
            cost = fill(0.0)
            for batch in range(flux.shape[0] // (LANES * mini_batch_size)):
                x = batch * mini_batch_size * n_label * LANES
                y = batch * mini_batch_size * LANES
                # forward: z of the output, hidden outputs into `work`
                for m in range(mini_batch_size):
                    put(z, m, load(weights, output_bias * LANES))
                for k in range(n_neurons):
                    for m in range(mini_batch_size):
                        put(q, m, load(weights, (hidden_bias + k) * LANES))
                    for j in range(n_label):
                        w = load(weights, (k * n_label + j) * LANES)
                        for m in range(mini_batch_size):
                            put(q, m, get(q, m) + w * load(labels, x + (m * n_label + j) * LANES))
                    w = load(weights, (output_weight + k) * LANES)
                    for m in range(mini_batch_size):
                        hidden = sigmoid(get(q, m))
                        store(work, (m * n_neurons + k) * LANES, hidden)
                        put(z, m, get(z, m) + w * hidden)
                # output: cost, and step times d cost / d z in place of z
                bias = load(weights, output_bias * LANES)
                for m in range(mini_batch_size):
                    output = sigmoid(get(z, m))
                    error = output - load(flux, y + m * LANES)
                    cost = cost + absolute(error)
                    delta = with_sign_of(output * (fill(1.0) - output) * eta, error)
                    put(z, m, delta)
                    bias = bias - delta
                store(weights, output_bias * LANES, bias)
                # backward: every gradient is taken at the weights of the forward pass
                for k in range(n_neurons):
                    w_old = load(weights, (output_weight + k) * LANES)
                    w_new = w_old
                    bias = load(weights, (hidden_bias + k) * LANES)
                    for m in range(mini_batch_size):
                        hidden = load(work, (m * n_neurons + k) * LANES)
                        delta = get(z, m) * hidden
                        w_new = w_new - delta
                        put(q, m, delta * w_old * (fill(1.0) - hidden))
                        bias = bias - get(q, m)
                    store(weights, (output_weight + k) * LANES, w_new)
                    store(weights, (hidden_bias + k) * LANES, bias)
                    for j in range(n_label):
                        w = load(weights, (k * n_label + j) * LANES)
                        for m in range(mini_batch_size):
                            w = w - get(q, m) * load(labels, x + (m * n_label + j) * LANES)
                        store(weights, (k * n_label + j) * LANES, w)
            store(cost_of_lane, 0, cost)
            for lane in range(LANES):
                if epochs_done[lane] < window:
                    runs.first_cost[lane] += cost_of_lane[lane]
                if epochs_done[lane] >= epochs_asked[lane] - window:
                    runs.last_cost[lane] += cost_of_lane[lane]
                epochs_done[lane] += 1

    @kernel
    def largest_error(spectra, weights, largest):
        """Write max |y' - y'_true| of each lane over its training spectra, in scaled flux, to `largest` (LANES,)."""
        labels, flux = spectra.labels, spectra.flux
        worst = fill(0.0)
        for s in range(flux.shape[0] // LANES):
            z = load(weights, output_bias * LANES)
            for k in range(n_neurons):
                q = load(weights, (hidden_bias + k) * LANES)
                for j in range(n_label):
                    q = q + load(weights, (k * n_label + j) * LANES) * load(labels, (s * n_label + j) * LANES)
                z = z + load(weights, (output_weight + k) * LANES) * sigmoid(q)
            worst = maximum(worst, absolute(sigmoid(z) - load(flux, s * LANES)))
        store(largest, 0, worst)

    return epochs, largest_error
