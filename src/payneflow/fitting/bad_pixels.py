"""Which pixels of an observed spectrum a fit counts: in numpy, what engine/pixels.py does in compiled code."""

import numpy as np

from payneflow.fitting.engine.pixels import HUGE


def good_pixels(flux: np.ndarray, flux_error: np.ndarray, usable: np.ndarray | None = None) -> np.ndarray:
    """(n_data,) bool, true where a pixel takes part in a fit of flux (n_data,) with 1 sigma errors (n_data,).

    It does where flux is finite, the error finite, positive and at most HUGE times the median |flux| of all pixels that
    are so far good, and where `usable` (n_data,) bool, such as "has a network", is true. The median is the lower one,
    in single precision.
    """
    flux, flux_error = np.asarray(flux, dtype=float), np.asarray(flux_error, dtype=float)
    good = np.isfinite(flux) & (flux_error > 0.0) & (flux_error < np.inf)
    if usable is not None:
        good &= usable
    size = np.abs(flux[good])
    if not len(size) or flux_error[good].max() <= HUGE * size.min():
        return good
    with np.errstate(over="ignore"):
        single = np.sort(size.astype(np.float32))
    return good & (flux_error <= HUGE * float(single[(len(single) - 1) // 2]))
