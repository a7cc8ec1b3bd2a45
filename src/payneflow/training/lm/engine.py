"""Eight networks under way by Levenberg-Marquardt on the same spectra: the arrays around the kernel of kernel.py."""

import numba
import numpy as np

from payneflow.scaling import SPAN, unscale_deviation
from payneflow.simd import LANES, aligned
from payneflow.training.lm.arguments import (
    COST,
    DAMPING,
    DEVIATION,
    N_SCALAR,
    Factor,
    Memory,
    Networks,
    Places,
    Runs,
    Spectra,
)
from payneflow.training.lm.kernel import build
from payneflow.training.lm.layout import (
    BLOCK,
    LABEL_CENTRE,
    LABEL_SCALE,
    PRODUCTS,
    TILE,
    Layout,
    from_rows,
    to_rows,
    whole,
)
from payneflow.training.lm.relevance import penalties
from payneflow.training.policy import Outcome

WEIGHT_SPREAD = 1.0  # standard deviation of the weights, in the coordinates u, of networks that smooth flux asks for


class LaneEngine:
    """Eight networks under way on the same spectra, each its own pixel.

    labels (n_spectrum, n_label) scaled to x'; spectrum_weights (n_spectrum,); the first n_train are the training
    spectra, whose deviation is reported (virtual ones, if any, follow).
    """

    def __init__(self, labels, spectrum_weights, n_train, n_neurons, penalty):
        n_spectrum, n_label = labels.shape
        self.layout = Layout(n_label, n_neurons)
        self._penalty = penalty
        self.n_given = n_spectrum
        self.spectra = self._spectra(labels, spectrum_weights, n_train)
        self.places = Places(
            *self.layout.pairs().T.copy(), *self.layout.filled_products().T.copy(), self.layout.tiles_of_sums()
        )
        self.networks = _networks(self.layout, len(self.spectra.targets) // LANES, penalty)
        self.memory = _memory(self.layout)
        self._runs = Runs(*(np.zeros(LANES, np.int64) for _ in Runs._fields))
        self._half, self._fresh = 0, True
        self._descend = _compiled(self._kernel(), *self._arguments())

    def _spectra(self, labels, spectrum_weights, n_train):
        return _spectra(self.layout, labels, spectrum_weights, n_train)

    def _kernel(self):
        return build(self.layout.n_label, self.layout.n_neurons)

    def start(self, lane, weights, flux_scaled, iterations, damping, noise=0.0, relevance=None, penalty=None):
        """Put a network (published layout) into a lane; flux_scaled (n_spectrum,) is y', at most `iterations` to go.

        `noise`: standard deviation of the flux's, as deviations are given. With it the cost is that of the most
        probable network, whose weights are about WEIGHT_SPREAD, where the penalty is not larger. `relevance`
        (n_label,): of the labels, whose weights are held by its square; `penalty`: in place of the engine's.
        """
        layout, networks, runs = self.layout, self.networks, self._runs
        networks.weights[lane : LANES * layout.n_weight : LANES] = to_rows(weights, layout.n_label)
        targets = self.spectra.targets[lane::LANES]
        targets[: self.n_given] = flux_scaled
        targets[self.n_given :] = 0.5
        networks.scalars[LANES * DAMPING + lane] = damping
        of_noise = (SPAN * noise / WEIGHT_SPREAD) ** 2
        penalty = max(self._penalty if penalty is None else penalty, of_noise)
        relative = 1.0 if relevance is None else penalties(relevance, layout.n_neurons)
        networks.penalties[lane : LANES * layout.n_weight : LANES] = penalty * relative
        runs.limit[lane], runs.count[lane], runs.small[lane] = iterations, 0, 0
        self._fresh = True

    def advance(self):
        """Iterate until a lane is done or more; the list of those. Call `result` on each before the next `advance`."""
        if not self._runs.limit.any():
            return []
        self._half = self._descend(*self._arguments())
        self._fresh = False
        return np.flatnonzero(self._runs.done).tolist()

    def _arguments(self):
        return self.spectra, self.places, self.networks, self.memory, self._runs, self._half, self._fresh

    def result(self, lane):
        """How the run of a lane that is done ended; the lane is free then."""
        layout, scalars = self.layout, self.networks.scalars
        rows = self.networks.weights[lane : LANES * layout.n_weight : LANES]
        self._runs.limit[lane] = 0
        return Outcome(
            weights=from_rows(rows, layout.n_label, layout.n_neurons),
            improvement=float("nan"),  # the policy of this trainer judges a trial by its cost
            cost=float(scalars[LANES * COST + lane]),
            deviation=unscale_deviation(float(scalars[LANES * DEVIATION + lane])),
            steps=int(self._runs.count[lane]),
        )


def _compiled(dispatcher, *arguments):
    """The machine code of a kernel for arguments of these types and no others.

    Numba looks up the types of named tuples in Python at every call, which takes as long as an iteration.
    """
    types = tuple(map(numba.typeof, arguments))
    dispatcher.compile(types)
    return dispatcher.overloads[types].entry_point


def _spectra(layout, labels, spectrum_weights, n_train):
    """What the kernel knows of the spectra, whole blocks: filled up with the first spectrum, at weight 0."""
    n_given, n_label = labels.shape
    n_spectrum = whole(n_given, BLOCK)
    filling = n_spectrum - n_given
    labels = np.concatenate([labels, np.repeat(labels[:1], filling, axis=0)])
    inputs = np.zeros((n_spectrum, layout.n_column))
    inputs[:, :n_label] = (labels - LABEL_CENTRE) / LABEL_SCALE
    inputs[:, n_label] = 1.0
    root_weights = np.concatenate([np.sqrt(spectrum_weights), np.zeros(filling)])
    counted = np.arange(n_spectrum) < n_train
    a, b = layout.products().T
    products = np.zeros((n_spectrum, layout.n_product), np.float32)
    products[:, : len(a)] = inputs[:, a] * inputs[:, b]
    targets = aligned(n_spectrum)
    targets[:] = 0.5
    return Spectra(
        table=np.column_stack([inputs, root_weights, counted]).ravel(),
        inputs=inputs.astype(np.float32).ravel(),
        products=products.ravel(),
        targets=targets,
    )


def _networks(layout, n_spectrum, penalty):
    """The lanes, free: weights 0, damping 1."""
    penalties, scalars = aligned(layout.n_row), aligned(N_SCALAR)
    penalties[: LANES * layout.n_weight] = penalty
    penalties[LANES * layout.n_weight :] = 1.0  # filling rows: any positive number
    scalars[LANES * DAMPING : LANES * (DAMPING + 1)] = 1.0
    return Networks(
        weights=aligned(layout.n_row),
        trial=aligned(layout.n_row),
        penalties=penalties,
        scalars=scalars,
        activations=aligned(2 * n_spectrum * (layout.n_neurons + 1)),
    )


def _memory(layout):
    n_tile = layout.n_row // TILE
    return Memory(
        gradient=aligned(layout.n_row),
        step=aligned(layout.n_row),
        bend=aligned(layout.n_row),
        pull=aligned(BLOCK),
        scratch=aligned(BLOCK),
        by_output=aligned(layout.n_output * BLOCK, np.float32),
        by_hidden=aligned(layout.n_neurons * BLOCK, np.float32),
        products=aligned(BLOCK * PRODUCTS, np.float32).reshape(-1, LANES),
        sums=aligned(layout.n_sum, np.float32),
        factor=Factor(tiles=aligned(TILE * TILE * n_tile * (n_tile + 1) // 2), inverse=aligned(layout.n_row)),
    )
