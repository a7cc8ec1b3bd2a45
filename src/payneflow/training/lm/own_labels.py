"""Eight networks under way, each with labels of its own: those that do something to its pixel.

A label that does nothing to a pixel leaves its network: its first weights are 0, and the matrix of an iteration, whose
cost goes with the square and the cube of the weights, is smaller by them. The kernel is the one of kernel.py, given the
inputs of each lane in rows.
"""

from dataclasses import replace

import numpy as np

from payneflow.simd import LANES, aligned
from payneflow.training.lm.arguments import COUNTED, ROOT_WEIGHT, Spectra
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.kernel import descend_at_any_size
from payneflow.training.lm.layout import BLOCK, LABEL_CENTRE, LABEL_SCALE, TILE, whole
from payneflow.weights import join, split


def labels_that_act(effects: np.ndarray, least: float) -> np.ndarray:
    """Increasing numbers of the labels whose `effects` (n_label,) are at least `least`, and of those next to them.

    As many as fill the tiles of the inputs of a network, the bias being one of these: more cost nothing.
    """
    n_label = len(effects)
    width = min(whole(int((effects >= least).sum()) + 1, TILE) - 1, n_label)
    return np.sort(np.argsort(-effects, kind="stable")[:width])


class OwnLabelsEngine(LaneEngine):
    """A `LaneEngine` of `width` labels to a lane, of which `start` says which they are."""

    def __init__(self, labels, spectrum_weights, n_train, n_neurons, penalty, width):
        self._inputs = (labels - LABEL_CENTRE) / LABEL_SCALE
        self._n_label = labels.shape[1]
        self._kept = [np.arange(0)] * LANES
        super().__init__(labels[:, :width], spectrum_weights, n_train, n_neurons, penalty)

    def start(
        self,
        lane,
        weights,
        flux_scaled,
        iterations,
        damping,
        noise=0.0,
        relevance=None,
        penalty=None,
        kept=None,
    ):
        """As of a `LaneEngine`, for a network whose labels are `kept`, increasing numbers, at most `width` of them.

        `weights` are those of all labels; what the others do at the middle of their range goes into the biases.
        """
        width = self.layout.n_label
        kept = np.arange(self._n_label) if kept is None else kept
        self._kept[lane] = kept
        table = self.spectra.table.reshape(-1, self.layout.n_table, LANES)
        inputs = self.spectra.inputs.reshape(-1, self.layout.n_column, LANES)
        table[:, :width, lane] = 0.0
        table[: len(self._inputs), : len(kept), lane] = self._inputs[:, kept]
        inputs[:, :width, lane] = table[:, :width, lane]
        held = np.ones(width)
        if relevance is not None:
            held[: len(kept)] = relevance[kept]
        own = with_labels(weights, kept, self._n_label, width)
        super().start(lane, own, flux_scaled, iterations, damping, noise, held, penalty)

    def result(self, lane):
        outcome = super().result(lane)
        weights = without_labels(outcome.weights, self._kept[lane], self._n_label, self.layout.n_label)
        return replace(outcome, weights=weights)

    def _kernel(self):
        return descend_at_any_size

    def _arguments(self):
        return *super()._arguments(), self.layout.sizes

    def _spectra(self, labels, spectrum_weights, n_train):
        layout = self.layout
        n_given, width = labels.shape
        n_spectrum = whole(n_given, BLOCK)
        table = aligned(n_spectrum * layout.n_table).reshape(n_spectrum, layout.n_table, LANES)
        table[:, width] = 1.0
        table[:n_given, layout.n_column + ROOT_WEIGHT] = np.sqrt(spectrum_weights)[:, None]
        table[:n_train, layout.n_column + COUNTED] = 1.0
        inputs = aligned(n_spectrum * layout.n_column, np.float32).reshape(n_spectrum, layout.n_column, LANES)
        inputs[:, width] = 1.0
        targets = aligned(n_spectrum)
        targets[:] = 0.5
        return Spectra(
            table=table.reshape(-1, LANES),
            inputs=inputs.reshape(-1, LANES),
            products=aligned(1, np.float32).reshape(-1, LANES),
            targets=targets,
        )


def with_labels(weights, kept, n_label, width):
    """Of weights for `n_label` labels those for the labels `kept`, filled up to `width` labels with 0."""
    w0, b0, w1, b1 = split(weights, n_label)
    own = np.zeros((len(b0), width))
    own[:, : len(kept)] = w0[:, kept]
    return join(own, b0 + LABEL_CENTRE * np.delete(w0, kept, axis=1).sum(1), w1, b1)


def without_labels(weights, kept, n_label, width):
    """The inverse of `with_labels`: the other labels have weights of 0."""
    own, b0, w1, b1 = split(weights, width)
    w0 = np.zeros((len(b0), n_label))
    w0[:, kept] = own[:, : len(kept)]
    return join(w0, b0, w1, b1)
