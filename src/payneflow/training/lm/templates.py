"""Templates: hidden layers that have served one pixel well, offered to all others as a start.

The hidden layers of the pixels of one grid resemble each other: the same labels shape the same kinds of lines. So a few
pixels, evenly spread over the wavelength axis, are trained with care from random networks, and their hidden layers are
kept. Any other pixel then takes those under which a mere linear fit of its output layer (w1, b1) comes nearest to its
flux, and starts from there, which saves it two thirds of the iterations and the bad local minima of random starts.

Templates are, like virtual spectra, a function of the whole grid's training set and the seed, made once per grid. So a
pixel's result depends on them and on its own flux, never on its chunk or on what is trained beside it.
"""

from dataclasses import dataclass

import numpy as np

from payneflow.simd import kernel
from payneflow.statistics import evenly
from payneflow.training.lm.limits import FIT_SPECTRA, N_TEMPLATE, PIXELS_PER_TEMPLATE
from payneflow.weights import join, split

RIDGE = 1e-2  # of the linear fit, against w1^2; hidden outputs are nearly collinear and would get weights of thousands
MARGIN = 0.01  # scaled flux is held this far inside 0 .. 1 before its logit is taken


@dataclass(frozen=True)
class Templates:
    """Hidden layers: w0 (n_template, n_neurons, n_label), b0 (n_template, n_neurons), of scaled labels x'."""

    w0: np.ndarray
    b0: np.ndarray

    @classmethod
    def none(cls, n_label: int) -> "Templates":
        """No templates at all."""
        return cls(np.empty((0, 1, n_label)), np.empty((0, 1)))

    def __len__(self) -> int:
        return len(self.w0)


def template_pixels(n_pixel):
    """The pixels whose networks become templates, evenly spread over the grid."""
    n = min(N_TEMPLATE, n_pixel // PIXELS_PER_TEMPLATE)
    return np.unique((np.arange(n) + 0.5) / max(n, 1) * n_pixel).astype(int)


def make_templates(weights, n_label):
    """Templates from trained networks, weights (n_template, n_weight) in the published layout."""
    w0, b0, _, _ = split(weights, n_label)
    return Templates(w0.copy(), b0.copy())


class TemplateFits:
    """The linear fits of output layers upon all templates, prepared for training labels (n_train, n_label).

    Of very many training spectra an evenly spread sample is fitted.
    """

    def __init__(self, templates, labels):
        self.templates = templates
        self._spectra = evenly(len(labels), FIT_SPECTRA)
        labels = labels[self._spectra]
        n_neurons = templates.b0.shape[1]
        inputs = np.einsum("kjd,nd->knj", templates.w0, labels) + templates.b0[:, None]
        h = 1 / (1 + np.exp(-np.clip(inputs, -300, 300)))
        self._mean = h.mean(1)
        centred = h - self._mean[:, None]
        normal = np.einsum("knj,kni->kji", centred, centred) + RIDGE * np.eye(n_neurons)
        self._solver = np.einsum("kij,knj->kni", _inverses(normal), centred)
        self._features = np.ascontiguousarray(centred.transpose(0, 2, 1))

    def best(self, flux_scaled, n):
        """The n networks (published layout) of smallest error for a pixel's training flux y' (n_train,), best first."""
        y = np.clip(flux_scaled[self._spectra], MARGIN, 1 - MARGIN)
        z = np.log(y / (1 - y))
        w1, error = _fit_outputs(self._solver, self._features, z - z.mean(), (y * (1 - y)) ** 2)
        best = np.argsort(error, kind="stable")[:n]
        b1 = z.mean() - (w1 * self._mean).sum(1)
        templates = self.templates
        return [join(templates.w0[k], templates.b0[k], w1[k], b1[k]) for k in best]


def _inverses(matrices):
    """Inverses of positive definite matrices (n, m, m) by Gauss and Jordan; LAPACK bits may depend on threads."""
    n, m, _ = matrices.shape
    work = np.concatenate([matrices, np.broadcast_to(np.eye(m), (n, m, m))], axis=2)
    for j in range(m):
        row = work[:, j] / work[:, j, j, None]
        work -= work[:, :, j, None] * row[:, None]
        work[:, j] = row
    return work[:, :, m:]


@kernel
def _fit_outputs(solver, features, z, weight):
    """Output weights (n_template, n_neurons) of the fits, and their errors: sum over spectra of weight (z - fit)^2."""
    n_template, n_neurons, n_train = features.shape
    w1 = np.zeros((n_template, n_neurons))
    error = np.zeros(n_template)
    residual = np.empty(n_train)
    for k in range(n_template):
        for x in range(n_train):
            for j in range(n_neurons):
                w1[k, j] += solver[k, x, j] * z[x]
        for x in range(n_train):
            residual[x] = z[x]
        for j in range(n_neurons):
            w = w1[k, j]
            for x in range(n_train):
                residual[x] -= w * features[k, j, x]
        for x in range(n_train):
            error[k] += weight[x] * residual[x] * residual[x]
    return w1, error
