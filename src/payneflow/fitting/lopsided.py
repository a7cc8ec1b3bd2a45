"""Which labels the spectrum tells far worse on one side than their error says: a line that may as well be absent.

The error of a fit is that of the fitted labels. A weak line is told by a signal that grows with its abundance, as
10^[X/Fe]: where noise makes the line look stronger than it is, the fitted abundance is too large and its error too
small, three times for the weakest lines, because at the true abundance the same noise is a larger part of the line. No
parabola knows that. So the networks are asked what the spectrum would be several errors away, the other labels
following as the covariance says: the change of the flux, over what it would be were the model linear, is how well that
side is told in units of the error.
"""

import numpy as np

from payneflow.fitting.engine.emulator import emulator_of
from payneflow.fitting.engine.far_away import build_changes
from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL
from payneflow.network import PixelNetworks
from payneflow.scaling import TRAINING_LEAST, TRAINING_MOST
from payneflow.simd import LANES, aligned

FAR, NEAR = 5.0, 0.25  # errors: where a side is looked at, and a step over which the model is linear
LEAST_FAR = 4.0  # errors: a training range that ends before cannot hide labels so far away
TOLD = 3.5  # sigma: by less the spectrum does not tell labels that are LEAST_FAR errors or more away
LEAST_ERROR = 0.04  # scaled label: 10^[X/Fe] over 1.25 dex is lopsided from 0.05 on
NOTHING = 1e30  # variance of a place without a network


def lopsided(
    networks: PixelNetworks, labels: np.ndarray, covariance: np.ndarray, error: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """(n, n_label) bool: do labels of the training range, many errors from the fitted one, fit nearly as well?

    `labels` (n, n_label): fitted, scaled. `covariance` (n, n_label, n_label): the formal one, which says how the other
    labels follow. `error` (n, n_label): 1 sigma of the scaled labels. `noise` (n,): mean variance of the pixels, in
    shares of the networks' flux scale.
    """
    star, label, step = _looks(labels, np.where(np.einsum("nii->ni", covariance) > 0, error, 0.0))
    along = covariance[star, :, label] / covariance[star, label, label][:, None]
    ways = np.stack([np.copysign(NEAR * error[star, label], step), step], axis=1)
    places = labels[star][:, None, :] + ways[:, :, None] * along[:, None, :]
    places = np.clip(places, LOWEST_LABEL, HIGHEST_LABEL)
    near, far = _changes(networks, labels, noise, star, places).T
    sigma = np.abs(step) / error[star, label]
    linear = np.sqrt(near) * np.abs(step) / (NEAR * error[star, label])
    told = np.divide(np.sqrt(far), linear, out=np.ones_like(far), where=linear > 0) * sigma
    result = np.zeros(error.shape, dtype=bool)
    np.logical_or.at(result, (star, label), told < TOLD)
    return result


def _looks(labels: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which star, which label, and how far to look from it: where the training range reaches far enough."""
    down = np.maximum(-FAR * error, TRAINING_LEAST - labels)
    up = np.minimum(FAR * error, TRAINING_MOST - labels)
    step = np.stack([down, up], axis=2)
    worth = (error > LEAST_ERROR)[:, :, None] & (np.abs(step) >= LEAST_FAR * error[:, :, None])
    worth &= np.sign(step) == [-1.0, 1.0]
    star, label, side = np.nonzero(worth)
    return star, label, step[star, label, side]


def _changes(networks: PixelNetworks, labels, noise, star, places) -> np.ndarray:
    """(n_look, 2): squares of the changes of the flux at places (n_look, 2, n_label), over its variance.

    `star` (n_look,): of each look, in order.
    """
    squares = np.zeros(places.shape[:2])
    if len(star):
        emulator = emulator_of(networks)
        variance = aligned(emulator.axis.n_place // LANES, np.float32)
        variance[:] = np.where(emulator.dead, NOTHING, emulator.variance / networks.flux_scale.width**2)
        first = 2 * np.searchsorted(star, np.arange(len(labels) + 1))
        changes = build_changes(emulator.n_label, emulator.n_neurons, emulator.kind)
        given = np.ascontiguousarray(labels), first, np.ascontiguousarray(places).reshape(-1, labels.shape[1])
        changes(emulator.weights[np.float32], variance, np.asarray(noise), *given, squares.reshape(-1))
    return squares
