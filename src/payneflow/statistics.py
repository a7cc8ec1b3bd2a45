"""Measures that a few outliers do not move, and samples that tell as well as all."""

import numpy as np

MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def bias_and_width(difference: np.ndarray) -> tuple[float, float]:
    """Median, and 1.4826 times the median absolute deviation from it (the standard deviation where normal)."""
    bias = float(np.median(difference))
    return bias, MAD_TO_SIGMA * float(np.median(np.abs(difference - bias)))


def evenly(n: int, n_most: int) -> np.ndarray:
    """Numbers 0 .. n-1, or n_most of them evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, n_most)).round().astype(int))
