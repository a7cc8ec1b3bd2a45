"""Values between pixels: the weights of the eight pixels around, on axes that are even and on all others.

Numpy alone, without the kernels: what is judged before anything is trained needs them, too (sampling.py).
"""

import numpy as np
from scipy.interpolate import CubicSpline

TAPS, HALF = 8, 4  # pixels; as many as a register holds (simd.LANES)
KAISER_BETA = 7.0  # shape of the window: the least bias of velocities, 0.4 m/s
SMOOTH = 2e-3  # steps: an axis whose third differences are smaller is a smooth function of the pixel's number
MOST_WEIGHT = 3.0  # pixels so unevenly spread that a polynomial through them swings get a straight line


def tap_weights(t: np.ndarray, half: int = HALF, beta: float = KAISER_BETA) -> np.ndarray:
    """(n, 2 half) weights of the pixels at 1 - half ... half for values at t (n,) in 0 ... 1; their sum is 1.

    The Kaiser window less its height at the edge: with the edge, the derivative would jump at whole places by 0.7 %,
    and where a model is poor chi2 would have a false minimum there.
    """
    away = np.asarray(t)[:, None] - np.arange(1 - half, half + 1)
    window = np.i0(beta * np.sqrt(np.maximum(1.0 - (away / half) ** 2, 0.0))) - 1.0
    weights = np.sinc(away) * window
    return weights / weights.sum(axis=1, keepdims=True)


def tap_weights_at(log_wavelength: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of eight pixels (n,) and their weights (n, 8) for values at `wanted` (n,), within increasing pixels.

    `tap_weights` hold where pixels are even, and as well where the axis bends slowly. Elsewhere it is the polynomial
    through the eight pixels (Lagrange), and where that swings, a straight line between two. Weights are 0 where there
    are not four pixels on either side.
    """
    n = len(log_wavelength)
    if n < TAPS:
        return np.zeros(len(wanted), np.int64), np.zeros((len(wanted), TAPS))
    left = np.clip(np.searchsorted(log_wavelength, wanted, side="right") - 1, 0, n - 2)
    first = np.clip(left - HALF + 1, 0, n - TAPS)
    near = log_wavelength[first[:, None] + np.arange(TAPS)]
    near = (near - wanted[:, None]) / np.diff(near, axis=1).mean(axis=1)[:, None]  # in mean steps
    weights = _polynomial(near)
    swings = np.abs(weights).max(axis=1) > MOST_WEIGHT
    weights[swings] = _straight(near)[swings]
    smooth = np.abs(np.diff(near, n=3, axis=1)).max(axis=1) < SMOOTH
    number = CubicSpline(log_wavelength, np.arange(n))(wanted)
    weights[smooth] = tap_weights(np.clip(number - left, 0.0, 1.0))[smooth]
    weights[first != left - HALF + 1] = 0.0
    return first, weights


def _polynomial(near: np.ndarray) -> np.ndarray:
    """(n, 8) weights of values at places `near` (n, 8) for the polynomial through them at 0."""
    weights = np.ones(near.shape)
    for k in range(TAPS):
        for j in range(TAPS):
            if j != k:
                weights[:, k] *= near[:, j] / (near[:, j] - near[:, k])
    return weights


def _straight(near: np.ndarray) -> np.ndarray:
    """The same for a straight line from the fourth to the fifth."""
    weights = np.zeros(near.shape)
    weights[:, HALF - 1] = near[:, HALF] / (near[:, HALF] - near[:, HALF - 1])
    weights[:, HALF] = 1.0 - weights[:, HALF - 1]
    return weights
