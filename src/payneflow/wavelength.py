"""Gaps on a wavelength axis, such as those between detector chips."""

import numpy as np

GAP = 5.0  # a step wider than this many median steps is a gap


def is_gap(wavelength: np.ndarray) -> np.ndarray:
    """(n_pixel - 1,) whether the step to the next pixel crosses a gap; `wavelength` (n_pixel,) increases."""
    step = np.diff(wavelength)
    return step > GAP * np.median(step) if len(step) else np.zeros(0, dtype=bool)
