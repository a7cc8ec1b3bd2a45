"""Labels of noiseless spectra by any emulator, and how far noise would move them.

A least-squares fit of many spectra side by side (Levenberg-Marquardt, derivatives by differences), every pixel alike.
Fits begin at the true labels: what is asked is where an emulator's errors pull the minimum, not whether it is found.
"""

from collections.abc import Callable

import numpy as np

from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL

Predict = Callable[[np.ndarray], np.ndarray]  # scaled labels (n, n_label) -> flux (n, n_pixel)

ITERATIONS = 10
DIFFERENCE = 1e-4  # of a scaled label
DAMPING, LESS, MORE = 1e-4, 0.1, 10.0  # of the diagonal, at first, after a step that lowers the cost, after another
LEAST_DAMPING = 1e-12


def fit_labels(predict: Predict, flux: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Scaled labels (n, n_label) nearest to flux (n, n_pixel), from `start`, within the bounds of a fit."""
    labels, damping = start.copy(), np.full(len(start), DAMPING)
    residual = flux - predict(labels)
    for _ in range(ITERATIONS):
        step = _step(slopes(predict, labels, flux - residual), residual, labels, damping)
        trial = np.clip(labels + step, LOWEST_LABEL, HIGHEST_LABEL)
        tried = flux - predict(trial)
        better = (tried**2).sum(axis=1) < (residual**2).sum(axis=1)
        labels[better], residual[better] = trial[better], tried[better]
        damping = np.maximum(damping * np.where(better, LESS, MORE), LEAST_DAMPING)
    return labels


def slopes(predict: Predict, labels: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """(n, n_pixel, n_label): derivatives by the scaled labels of the flux (n, n_pixel) that is predicted for them."""
    moves = np.eye(labels.shape[1]) * DIFFERENCE
    return np.stack([(predict(labels + move) - flux) / DIFFERENCE for move in moves], axis=2)


def _step(slope: np.ndarray, residual: np.ndarray, labels: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Step (n, n_label) of damped normal equations; a label at a bound that wants to cross it stays."""
    matrix = np.swapaxes(slope, 1, 2) @ slope
    downhill = np.einsum("npj,np->nj", slope, residual)
    held = ((labels <= LOWEST_LABEL) & (downhill < 0)) | ((labels >= HIGHEST_LABEL) & (downhill > 0))
    matrix[held] = 0
    np.swapaxes(matrix, 1, 2)[held] = 0
    diagonal = np.einsum("njj->nj", matrix)
    largest = diagonal.max(axis=1, keepdims=True) + np.finfo(float).tiny
    extra = damping[:, None] * diagonal + 1e-14 * largest + held * largest  # never singular
    matrix += extra[:, None, :] * np.eye(labels.shape[1])
    return np.linalg.solve(matrix, np.where(held, 0, downhill)[..., None])[..., 0]


def formal_errors(predict: Predict, labels: np.ndarray, n_fitted: int, noise: float) -> np.ndarray:
    """1 sigma errors (n, n_fitted) of the first scaled labels, fitted alone, for `noise` of normalised flux a pixel."""
    slope = slopes(predict, labels, predict(labels))[:, :, :n_fitted]
    matrix = np.swapaxes(slope, 1, 2) @ slope
    return noise * np.sqrt(np.einsum("njj->nj", np.linalg.pinv(matrix, rcond=1e-14, hermitian=True)))
