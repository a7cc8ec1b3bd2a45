"""A sample of many: for what a few, evenly spread, tell as well as all."""

import numpy as np


def evenly(n: int, n_most: int) -> np.ndarray:
    """Numbers 0 .. n-1, or n_most of them evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, n_most)).round().astype(int))
