"""Which labels matter to a pixel: what training of many labels is told beforehand, and measures on the way.

A pixel in a line of potassium knows nothing of vanadium. The relevance of a label is the length over which the flux of
the pixel changes with it, that of the label of most effect being 1: 100 is a label that does a hundredth. Weights of a
label begin, and are held, as small as its relevance is large (automatic relevance determination: MacKay 1994, ASHRAE
Transactions 100, 1053; Neal 1996, Bayesian Learning for Neural Networks, section 4.3), so that a network of hundreds of
weights is free only where the spectra ask for it.

Before training it is known from kriging: the slope of the flux by each label, at a sample of the training spectra.
After a trial it is known better, from the network itself.
"""

import math

import numpy as np

from payneflow.grid.unexplained import LeaveOneOut
from payneflow.kriging import weighted_sums
from payneflow.simd import kernel

LARGEST_RELEVANCE = 1000.0  # a label that does less to a pixel does nothing
LEAST_NUGGET = 1e-8  # of the kriging whose slopes are taken: that of tabulated flux
OF_BIASES = 0.1  # the penalty of a hidden bias, that of a weight of the label of most effect being 1
STEEPNESS = 3.0  # length of a new w0 in labels divided by their relevance


def relevance_by_kriging(leave_one_out: LeaveOneOut, flux: np.ndarray, nugget: np.ndarray) -> np.ndarray:
    """(n_pixel, n_label) from the flux (n, n_pixel) of the spectra that `leave_one_out` knows.

    `nugget` (n_pixel,): of pixels that have one of their own, 0 for the others. No pixel's relevance depends on the
    other pixels.
    """
    labels, lengths = leave_one_out.labels, leave_one_out.lengths
    slopes = np.empty((flux.shape[1], len(lengths)))
    nugget = np.maximum(nugget, LEAST_NUGGET)
    by_square = slope_of_matern(labels, lengths)
    for one in np.unique(nugget):
        pixels = np.flatnonzero(nugget == one)
        solved = leave_one_out.solved(np.asarray(flux[:, pixels], dtype=float), one)
        for c in range(len(lengths)):
            across = by_square * ((labels[:, c, None] - labels[:, c]) / lengths[c] ** 2)
            slope = weighted_sums(across, solved)
            slopes[pixels, c] = _lengths_of_columns(slope)
    return from_slopes(slopes)


def from_slopes(slopes: np.ndarray) -> np.ndarray:
    """Relevance (..., n_label) where flux changes by `slopes` (..., n_label), none negative, with the scaled labels."""
    most = slopes.max(axis=-1, keepdims=True)
    least = np.maximum(most / LARGEST_RELEVANCE, np.finfo(float).tiny)
    return np.where(most > 0, most / np.maximum(slopes, least), 1.0)


def slope_of_matern(labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n, n): what the derivative of the Matern 5/2 covariance of labels (n, n_label) has in common for all labels.

    Times the difference of two spectra in a label, over its length squared, it is the one by that label of the first.
    """
    square = np.zeros((len(labels), len(labels)))
    for k, length in enumerate(lengths):
        square += ((labels[:, k, None] - labels[:, k]) / length) ** 2
    r = np.sqrt(5 * square)
    return -(5 / 3) * (1 + r) * np.exp(-r)


@kernel
def _lengths_of_columns(matrix):
    """(n_column,): not numpy's sum, whose order follows from the number of columns."""
    n, n_column = matrix.shape
    squares = np.zeros(n_column)
    for i in range(n):
        for a in range(n_column):
            squares[a] += matrix[i, a] * matrix[i, a]
    return np.sqrt(squares)


def penalties(relevance: np.ndarray, n_neurons: int) -> np.ndarray:
    """(n_weight,) of a network's weights in the kernel's layout (layout.py), relative to the penalty of the trainer."""
    hidden = np.append(relevance**2, OF_BIASES)
    return np.concatenate([np.tile(hidden, n_neurons), np.ones(n_neurons + 1)])


@kernel
def slopes_and_deviations(w0, b0, w1, b1, labels, flux):
    """What a network does with its labels: rms slopes (n_label,) of its output; its mean square deviation and all (n,).

    w0 (n_neurons, n_label), b0, w1 (n_neurons,), b1; scaled labels (n, n_label) and flux y' (n,).
    """
    n, n_label = labels.shape
    n_neurons = len(b0)
    squares, slope, deviations = np.zeros(n_label), np.empty(n_label), np.empty(n)
    total = 0.0
    for x in range(n):
        slope[:] = 0.0
        z = b1
        for k in range(n_neurons):
            inner = b0[k]
            for c in range(n_label):
                inner += w0[k, c] * labels[x, c]
            h = 1.0 / (1.0 + math.exp(-inner))
            z += w1[k] * h
            for c in range(n_label):
                slope[c] += w1[k] * h * (1.0 - h) * w0[k, c]
        y = 1.0 / (1.0 + math.exp(-z))
        deviations[x] = abs(y - flux[x])
        total += (y - flux[x]) ** 2
        for c in range(n_label):
            squares[c] += (y * (1.0 - y) * slope[c]) ** 2
    return np.sqrt(squares / n), total / n, deviations
