"""Which pixels of an observed spectrum count: one judge, for files that are read and for fits.

fitting/engine/pixels.py does the same in compiled code; a test holds the two against each other.
"""

import numpy as np

HUGE = 100.0  # an error beyond so many times the median |flux| says nothing: a common way to mask (APOGEE writes 1e10)
TINY = 1e-3  # of the median error: below it an error is none, but zero, 1e-12, or a variance that underflowed


def good_pixels(flux: np.ndarray, flux_error: np.ndarray, usable: np.ndarray | None = None) -> np.ndarray:
    """(n_data,) bool, true where a pixel takes part in a fit of flux (n_data,) with 1 sigma errors (n_data,).

    It does where flux is finite, the error finite, positive, at most HUGE times the median |flux| and at least TINY
    times the median error, and where `usable` (n_data,) bool, such as "has a network", is true. The medians, lower ones
    in single precision, are those of the pixels that are so far good; flux of exactly 0 is what masks are filled with,
    and takes no part in them. No pixel counts where all are 0: that is no spectrum.
    """
    flux, flux_error = np.asarray(flux, dtype=float), np.asarray(flux_error, dtype=float)
    good = np.isfinite(flux) & (flux_error > 0.0) & (flux_error < np.inf)
    if usable is not None:
        good &= usable
    size = np.abs(flux[good & (flux != 0.0)])
    if not len(size):
        return np.zeros(good.shape, dtype=bool)
    if flux_error[good].max() > HUGE * size.min():
        good &= flux_error <= HUGE * _middle(size)
    errors = flux_error[good]
    if len(errors) and errors.min() < TINY * errors.max():
        good &= flux_error >= TINY * _middle(errors)
    return good


def _middle(values: np.ndarray) -> float:
    """The lower median in single precision."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    middle = (len(single) - 1) // 2
    return float(np.partition(single, middle)[middle])
