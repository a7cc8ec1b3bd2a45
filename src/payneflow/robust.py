"""Bias and width of differences, as measures that a few outliers do not move."""

import numpy as np

MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def bias_and_width(difference: np.ndarray) -> tuple[float, float]:
    """Median, and 1.4826 times the median absolute deviation from it (the standard deviation where normal)."""
    bias = float(np.median(difference))
    return bias, MAD_TO_SIGMA * float(np.median(np.abs(difference - bias)))
