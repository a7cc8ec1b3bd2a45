"""Networks whose axis is not even in ln(wavelength), taken to one that is: eight pixels around every place of it.

All that moves the emulator works in steps of ln(wavelength), which a velocity shifts by one amount. Networks on a grid
that is even in wavelength, or on any other increasing axis, are evaluated at their own pixels and interpolated to such
steps; the weights are made here, once, and serve the kernels and numpy alike.
"""

from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline

from payneflow.simd import part

TAPS, HALF = 8, 4
SMOOTH = 2e-3  # steps: an axis whose third differences are smaller is a smooth function of the pixel's number
MOST_WEIGHT = 3.0  # pixels so unevenly spread that a polynomial through them swings get a straight line


def tap_weights_at(log_wavelength: np.ndarray, wanted: np.ndarray, sinc) -> tuple[np.ndarray, np.ndarray]:
    """First of eight pixels (n,) and their weights (n, 8) for values at `wanted` (n,), within increasing pixels.

    `sinc(t)`: (n, 8) weights where pixels are even, t (n,) being how far a value is from the fourth to the fifth. They
    hold as well where the axis bends slowly. Elsewhere it is the polynomial through the eight pixels (Lagrange), and
    where that swings, a straight line between two. Weights are 0 where there are not four pixels on either side.
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
    weights[smooth] = sinc(np.clip(number - left, 0.0, 1.0))[smooth]
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


@cache
def build_to_even(n_label):
    """The part that takes flux and derivatives from the emulator's own pixels to the rest axis."""

    @part
    def to_even(own, n_own, firsts, weights, rest, n_rest):
        """Rows of `rest` (1 + n_label, n_rest) from those of `own`: eight pixels from firsts[q] on, weights[q]."""
        for j in range(n_label + 1):
            for q in range(n_rest):
                at, value = j * n_own + firsts[q], 0.0
                for k in range(TAPS):
                    value += own[at + k] * weights[q, k]
                rest[j * n_rest + q] = value

    return to_even
