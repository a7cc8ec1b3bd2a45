"""Arrays as JSON holds them: base64 of their bytes, little-endian; weights of 16 bits with a scale for each row.

arrays.js reads them. A float32 array needs 5.3 bytes a number in the page, one of 16 bits 2.7.
"""

import base64

import numpy as np

MOST_STEP = 32767  # the largest number of 16 bits
MOST_BYTE = 255

Packed = dict


def packed(array: np.ndarray) -> Packed:
    """An array (any shape) of float64, float32, int32, int16 or uint8, as it is."""
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"))
    return {
        "type": array.dtype.str[1:],
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def single(array: np.ndarray) -> Packed:
    """An array (any shape) in single precision; NaN stays NaN."""
    return packed(np.asarray(array, dtype=np.float32))


def quantised(array: np.ndarray) -> Packed:
    """An array (..., n) in 16 bits: each row along the last axis in steps of its largest number over 32767.

    A row with a NaN is NaN. The error of a number is at most half a step, 1.5e-5 of the row's largest.
    """
    steps, scale = _steps(array)
    return {**packed(steps), "scale": single(scale)}


def rounded(array: np.ndarray) -> np.ndarray:
    """What `quantised` makes of an array (..., n), as the page reads it."""
    steps, scale = _steps(array)
    return steps * scale.astype(float)[..., None]


def _steps(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (..., n) int16 and the step (...) float32 that they are multiples of."""
    step = np.abs(array).max(axis=-1) / MOST_STEP
    scale = np.where(step == 0.0, 1.0, step).astype(np.float32)
    with np.errstate(invalid="ignore"):
        numbers = np.rint(np.nan_to_num(array / scale.astype(float)[..., None]))
    return np.clip(numbers, -MOST_STEP, MOST_STEP).astype(np.int16), scale


def columns_in_bytes(array: np.ndarray) -> Packed:
    """An array (n, n_column) in 8 bits: each column from its lowest to its highest number in 255 steps."""
    low, high = array.min(axis=0).astype(np.float32), array.max(axis=0).astype(np.float32)
    step = np.where(high > low, (high - low) / MOST_BYTE, 1.0)
    numbers = np.clip(np.rint((array - low) / step), 0, MOST_BYTE).astype(np.uint8)
    return {**packed(numbers), "low": single(low), "step": single(step)}
