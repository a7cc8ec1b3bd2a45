"""Eight networks under way by Levenberg-Marquardt on the same spectra: the arrays around the kernel of lm_kernel.py."""

import numpy as np

from payneflow.scaling import unscale_deviation
from payneflow.simd import LANES, aligned
from payneflow.training.lm.kernel import COST, DAMPING, DEVIATION, build
from payneflow.training.lm.layout import BLOCK, LABEL_CENTRE, LABEL_SCALE, TILE, Layout, from_rows, to_rows, whole
from payneflow.training.policy import Outcome


class LaneEngine:
    """Eight networks under way on the same spectra, each its own pixel.

    labels (n_spectrum, n_label) scaled to x'; spectrum_weights (n_spectrum,); the first n_train are the training
    spectra, whose deviation is reported (virtual ones, if any, follow).
    """

    def __init__(self, labels, spectrum_weights, n_train, n_neurons, penalty):
        n_spectrum, n_label = labels.shape
        self.layout = layout = Layout(n_label, n_neurons)
        self.n_given, self.n_spectrum = n_spectrum, whole(n_spectrum, BLOCK)
        filling = self.n_spectrum - n_spectrum  # whole blocks: the first spectrum again, with weight 0
        labels = np.concatenate([labels, np.repeat(labels[:1], filling, axis=0)])
        inputs = np.zeros((self.n_spectrum, layout.n_column))
        inputs[:, :n_label] = (labels - LABEL_CENTRE) / LABEL_SCALE
        inputs[:, n_label] = 1.0
        root_weights = np.concatenate([np.sqrt(spectrum_weights), np.zeros(filling)])
        counted = np.arange(self.n_spectrum) < n_train
        self._table = np.column_stack([inputs, root_weights, counted]).ravel()
        a, b = layout.products().T
        products = np.zeros((self.n_spectrum, layout.n_product), np.float32)
        products[:, : len(a)] = inputs[:, a] * inputs[:, b]
        self._fixed = (
            inputs.astype(np.float32).ravel(),
            products.ravel(),
            layout.pairs().ravel(),
            layout.tiles_of_sums(),
        )
        self._penalties = aligned(layout.n_row)
        self._penalties[: LANES * layout.n_weight] = penalty
        self._penalties[LANES * layout.n_weight :] = 1.0  # filling rows: any positive number
        self._weights, self._trial, gradient, step, bend = (aligned(layout.n_row) for _ in range(5))
        self._targets, self._scalars = aligned(self.n_spectrum), aligned(6)
        self._targets[:] = 0.5
        self._scalars[LANES * DAMPING : LANES * (DAMPING + 1)] = 1.0
        n_tile = layout.n_row // TILE
        self._working = (
            gradient, step, bend, self._scalars,
            aligned(2 * self.n_spectrum * (n_neurons + 1)), aligned(BLOCK), aligned(BLOCK),
            aligned(layout.n_output * BLOCK, np.float32), aligned(n_neurons * BLOCK, np.float32),
            aligned(layout.n_sum, np.float32), aligned(TILE * TILE * n_tile * (n_tile + 1) // 2), aligned(layout.n_row),
        )  # fmt: skip
        self._half = np.zeros(1, np.int64)
        self._limit, self._count, self._small, self._done = (np.zeros(LANES, np.int64) for _ in range(4))
        self._fresh = True
        self._descend = build(n_label, n_neurons)

    def start(self, lane, weights, flux_scaled, iterations, damping):
        """Put a network (published layout) into a lane; flux_scaled (n_spectrum,) is y', at most `iterations` to go."""
        layout = self.layout
        rows = to_rows(weights, layout.n_label)
        self._weights[lane : LANES * layout.n_weight : LANES] = rows
        targets = self._targets[lane::LANES]
        targets[: self.n_given] = flux_scaled
        targets[self.n_given :] = 0.5
        self._scalars[LANES * DAMPING + lane] = damping
        self._limit[lane], self._count[lane], self._small[lane] = iterations, 0, 0
        self._fresh = True

    def advance(self):
        """Iterate until a lane is done or more; the list of those. Call `result` on each before the next `advance`."""
        if not self._limit.any():
            return []
        self._descend(
            self._table, *self._fixed, self._penalties, self._targets, self._weights, self._trial, *self._working,
            self.n_spectrum, self._fresh, self._half, self._limit, self._count, self._small, self._done,
        )  # fmt: skip
        self._fresh = False
        return np.flatnonzero(self._done).tolist()

    def result(self, lane):
        """How the run of a lane that is done ended; the lane is free then."""
        layout = self.layout
        rows = self._weights[lane : LANES * layout.n_weight : LANES]
        self._limit[lane] = 0
        return Outcome(
            weights=from_rows(rows, layout.n_label, layout.n_neurons),
            improvement=float("nan"),  # the policy of this trainer judges a trial by its cost
            cost=float(self._scalars[LANES * COST + lane]),
            deviation=unscale_deviation(float(self._scalars[LANES * DEVIATION + lane])),
            steps=int(self._count[lane]),
        )
