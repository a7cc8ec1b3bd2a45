"""The weights of one pixel's network as one flat vector: its length, its order, and the arrays that it is made of.

Trainers, checkpoints and the policy carry a network as one vector (n_weight,), the network file as four arrays. The
order is: hidden weights w0 (n_neurons, n_label) neuron by neuron, hidden biases b0 (n_neurons,), output weights
w1 (n_neurons,), output bias b1. All functions take leading axes, such as (n_pixel, n_weight), and keep them.
"""

from typing import NamedTuple

import numpy as np

LOGISTIC, LINEAR = "logistic", "linear"  # what a network's output is: squeezed into 0 ... 1, or the flux itself
PUBLISHED_KEYS = ("w_array_0", "b_array_0", "w_array_1", "b_array_1")  # of the four arrays, in the order of `Weights`


class Weights(NamedTuple):
    """The four parts of a network: w0 (..., n_neurons, n_label), b0 and w1 (..., n_neurons), b1 (...)."""

    w0: np.ndarray
    b0: np.ndarray
    w1: np.ndarray
    b1: np.ndarray


class FirstPlaces(NamedTuple):
    """Where in the vector the parts after w0 begin; w0 begins at 0."""

    b0: int
    w1: int
    b1: int


def n_weight(n_neurons: int, n_label: int) -> int:
    """Length of the vector."""
    return first_places(n_neurons, n_label).b1 + 1


def first_places(n_neurons: int, n_label: int) -> FirstPlaces:
    """Where in the vector b0, w1 and b1 begin."""
    n_hidden = n_neurons * n_label
    return FirstPlaces(b0=n_hidden, w1=n_hidden + n_neurons, b1=n_hidden + 2 * n_neurons)


def split(weights: np.ndarray, n_label: int) -> Weights:
    """The parts of vectors (..., n_weight), as views where numpy can."""
    n_neurons = (weights.shape[-1] - 1) // (n_label + 2)
    first = first_places(n_neurons, n_label)
    return Weights(
        w0=weights[..., : first.b0].reshape(*weights.shape[:-1], n_neurons, n_label),
        b0=weights[..., first.b0 : first.w1],
        w1=weights[..., first.w1 : first.b1],
        b1=weights[..., first.b1],
    )


def join(w0: np.ndarray, b0: np.ndarray, w1: np.ndarray, b1: np.ndarray) -> np.ndarray:
    """The vectors (..., n_weight) of these parts."""
    b1 = np.asarray(b1)
    return np.concatenate([w0.reshape(*b1.shape, -1), b0, w1, b1[..., None]], axis=-1)


def network_arrays(weights: np.ndarray, n_label: int) -> dict[str, np.ndarray]:
    """Vectors (n_pixel, n_weight) -> the four arrays of a network file, under their published keys."""
    return dict(zip(PUBLISHED_KEYS, split(weights, n_label), strict=True))
