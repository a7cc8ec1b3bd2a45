"""Errors of fits whose widths are near their bounds, where a parabola reaches beyond what a width can be.

chi2 is a parabola about where it would be least without bounds. The posterior of the widths is a normal distribution
cut off at the bounds: a spectrum that does not tell rotation from macroturbulence leaves as much open as the bounds do,
which is less than the parabola says. All other parameters follow the widths as the parabola has it. Errors are mean
squares about the fitted values, which are where the cut-off distribution is highest, not its mean.
"""

import numpy as np
from scipy.special import log_ndtr

NEAR = 4.0  # sigma: a bound farther away changes a variance by less than 0.1 %
REACH = 6.0  # sigma to either side of a fitted width that are looked at
PLACES, SHARES = np.polynomial.legendre.leggauss(48)  # of an integral from -1 to 1
FLAT = 1e-3  # sigma: between bounds so near to each other a normal distribution is constant


def bounded_covariance(
    covariance: np.ndarray, x: np.ndarray, mean: np.ndarray, columns: np.ndarray, most: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares (n, k, k) about fitted parameters x (n, k), and of each width (n, n_width) those for its own limit.

    `covariance` (n, k, k) and `mean` (n, k): of the parabola, where chi2 would be least without bounds. `columns`
    (n_width,): of the one or two fitted widths, between 0 and `most` (n_width,). For its own limit a width is cut off
    by the bounds of the other one alone. What is NEAR sigma from all bounds, or NaN, is as it was.
    """
    result, own = covariance.copy(), np.einsum("nii->ni", covariance)[:, columns].copy()
    sigma = np.sqrt(own)
    near = ((mean[:, columns] < NEAR * sigma) | (mean[:, columns] > most - NEAR * sigma)).any(axis=1)
    known = np.isfinite(covariance).all(axis=(1, 2)) & np.isfinite(mean).all(axis=1) & (sigma > 0.0).all(axis=1)
    rows = np.flatnonzero(near & known)
    if not len(rows):
        return result, own
    at, middle = np.clip(x[rows][:, columns], 0.0, most), mean[rows][:, columns]
    of_widths = covariance[np.ix_(rows, columns, columns)]
    squares = (_squares_of_one if len(columns) == 1 else _squares_of_two)(of_widths, at, middle, most)
    follow = np.linalg.solve(of_widths, covariance[rows][:, columns])  # (n, n_width, k)
    result[rows] += np.swapaxes(follow, 1, 2) @ (squares - of_widths) @ follow
    for j in range(len(columns) if len(columns) == 2 else 0):
        variance = of_widths[:, 1 - j, 1 - j]
        slope = of_widths[:, 0, 1] / variance
        _, moved, left = cut_off(middle[:, 1 - j], np.sqrt(variance), most[1 - j])
        away = middle[:, j] + slope * (moved - middle[:, 1 - j]) - at[:, j]
        own[rows, j] += slope**2 * (left - variance) + np.where(at[:, j] > 0.0, away**2, 0.0)
    return result, own


def cut_off(mean: np.ndarray, sigma: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of normal distributions (...,) what is left between 0 and `most`: ln of the part, its mean and its variance.

    (Johnson, Kotz & Balakrishnan 1994, Continuous Univariate Distributions, equations 13.134 and 13.135.)
    """
    low, high = -mean / sigma, (most - mean) / sigma
    sign = np.where(low + high > 0.0, -1.0, 1.0)  # of two tails the lower one has all its digits
    low, high = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
    below = log_ndtr(high)
    part = below + np.log(-np.expm1(np.minimum(log_ndtr(low) - below, -1e-300)))
    at_low, at_high = (np.exp(-0.5 * (z**2 + np.log(2.0 * np.pi)) - part) for z in (low, high))
    middle, width = at_low - at_high, high - low
    square = np.clip(1.0 + low * at_low - high * at_high - middle**2, 0.0, 1.0)
    flat = width < FLAT
    middle, square = np.where(flat, 0.5 * (low + high), middle), np.where(flat, width**2 / 12.0, square)
    return part, mean + sign * sigma * middle, sigma**2 * square


def _squares_of_one(covariance, at, mean, most) -> np.ndarray:
    """(n, 1, 1), mean square about `at` (n, 1) of what is left; arguments as those of two."""
    _, middle, variance = cut_off(mean[:, 0], np.sqrt(covariance[:, 0, 0]), most[0])
    return (variance + (middle - at[:, 0]) ** 2)[:, None, None]


def _squares_of_two(covariance, at, mean, most) -> np.ndarray:
    """(n, 2, 2), mean squares about `at` (n, 2) of what 0 and `most` leave of normal distributions of `mean` (n, 2).

    The second width is integrated as it is known where the first one is given, the first by nodes.
    """
    sigma = np.sqrt(covariance[:, 0, 0])
    low, high = np.maximum(at[:, 0] - REACH * sigma, 0.0), np.minimum(at[:, 0] + REACH * sigma, most[0])
    first = (0.5 * (low + high))[:, None] + 0.5 * (high - low)[:, None] * PLACES
    slope = covariance[:, 0, 1] / covariance[:, 0, 0]
    left = np.maximum(covariance[:, 1, 1] - slope * covariance[:, 0, 1], 1e-12 * covariance[:, 1, 1])
    given = mean[:, 1, None] + slope[:, None] * (first - mean[:, 0, None])
    part, second, variance = cut_off(given, np.sqrt(left)[:, None], most[1])
    weight = part - 0.5 * ((first - mean[:, 0, None]) / sigma[:, None]) ** 2
    weight = SHARES * np.exp(weight - weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    first, second = first - at[:, 0, None], second - at[:, 1, None]
    squares = np.empty_like(covariance)
    squares[:, 0, 0] = (weight * first**2).sum(axis=1)
    squares[:, 0, 1] = squares[:, 1, 0] = (weight * first * second).sum(axis=1)
    squares[:, 1, 1] = (weight * (variance + second**2)).sum(axis=1)
    return squares
