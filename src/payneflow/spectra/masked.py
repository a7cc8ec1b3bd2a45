"""Arrays that bring a mask of their own (numpy.ma, astropy's Masked, columns of tables) -> numbers and mask apart."""

from typing import Any

import numpy as np


def parted(array: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of an array of any shape and, where it is masked, a mask of that shape, True where it is.

    `array`: what numpy takes for one, numpy.ma.MaskedArray, astropy's Masked or MaskedColumn, or a list of these. A
    mask that is set nowhere counts for none. Units are left away.
    """
    if isinstance(array, list | tuple) and any(_has_mask(one) for one in array):
        numbers, masks = zip(*map(parted, array), strict=True)
        pairs = zip(numbers, masks, strict=True)
        masks = [np.zeros(one.shape, dtype=bool) if mask is None else mask for one, mask in pairs]
        return np.array(numbers), np.array(masks)
    numbers = np.asarray(getattr(array, "unmasked", array))
    if not _has_mask(array):
        return numbers, None
    mask = np.asarray(array.mask, dtype=bool)
    return numbers, np.broadcast_to(mask, numbers.shape) if mask.any() else None


def _has_mask(array: Any) -> bool:
    """Other things have a `mask`, too, and mean something else by it: an image, a spectrum of specutils."""
    return getattr(array, "mask", None) is not None and hasattr(array, "filled")
