"""The networks of the Levenberg-Marquardt trainer in numpy: what its tests hold the kernel against."""

import numpy as np

from payneflow.training.lm.layout import LABEL_CENTRE, LABEL_SCALE
from payneflow.training.lm.trainer import random_network
from payneflow.training.randomness import weights_generator


def make_labels(n_spectrum, n_label, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, (n_spectrum, n_label))


def new_network(pixel, restart, seed, mean_flux, n_label, n_neurons):
    return random_network(weights_generator(seed, pixel, restart), mean_flux, n_label, n_neurons)


def predicted(rows, labels, n_neurons):
    """Scaled flux and its derivatives by the weights, in the layout and coordinates of the kernel, by numpy."""
    n, n_label = labels.shape
    inputs = np.column_stack([(labels - LABEL_CENTRE) / LABEL_SCALE, np.ones(n)])
    hidden = rows[: n_neurons * (n_label + 1)].reshape(n_neurons, n_label + 1)
    w1, b1 = rows[n_neurons * (n_label + 1) : -1], rows[-1]
    h = 1 / (1 + np.exp(-inputs @ hidden.T))
    y = 1 / (1 + np.exp(-(h @ w1 + b1)))
    by_hidden = (h * (1 - h) * w1)[:, :, None] * inputs[:, None]
    jacobian = np.column_stack([by_hidden.reshape(n, -1), h, np.ones(n)]) * (y * (1 - y))[:, None]
    return y, jacobian


def published_flux(weights, labels, n_neurons):
    """y' of one pixel's network, weights in the published layout."""
    n_label = labels.shape[1]
    w0 = weights[: n_neurons * n_label].reshape(n_neurons, n_label)
    b0, w1, b1 = np.split(weights[n_neurons * n_label :], [n_neurons, 2 * n_neurons])
    h = 1 / (1 + np.exp(-(labels @ w0.T + b0)))
    return 1 / (1 + np.exp(-(h @ w1 + b1[0])))
