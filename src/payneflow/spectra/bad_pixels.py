"""Which pixels of an observed spectrum count: one judge, for files that are read and for fits.

fitting/engine/pixels.py does the same in compiled code; a test holds the two against each other.
"""

import numpy as np

HUGE = 100.0  # an error beyond so many times the median |flux| says nothing: a common way to mask (APOGEE writes 1e10)
TINY = 1e-3  # of the median error: below it an error is none, but zero, 1e-12, or a variance that underflowed
BEYOND = 1e4  # |flux| beyond so many times the median |flux| and the median error is a filler (1e20, 1e30), not a star


def good_pixels(flux: np.ndarray, flux_error: np.ndarray, usable: np.ndarray | None = None) -> np.ndarray:
    """(n_data,) bool, true where a pixel takes part in a fit of flux (n_data,) with 1 sigma errors (n_data,).

    It does where flux is finite, the error finite, positive, at most HUGE times the median |flux| and at least TINY
    times the median error, where |flux| is at most BEYOND times the larger of its median and that of the errors, and
    where `usable` (n_data,) bool, such as "has a network", is true. The medians, lower ones in single precision, are
    those of the pixels that are so far good; flux of exactly 0 is what masks are filled with, and takes no part in
    them. No pixel counts where all are 0: that is no spectrum.
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
    if size.max() > BEYOND * size.min():
        good &= np.abs(flux) <= brightest(flux[good], flux_error[good])
    return good


def brightest(flux: np.ndarray, flux_error: np.ndarray) -> float:
    """The |flux| that a star may have, from the flux and errors (n,) of pixels that are good.

    The median error counts as the median |flux| does, because flux may be a logarithm, near 0 in most pixels.
    """
    size = np.abs(flux[flux != 0.0])
    limit = BEYOND * max(_middle(size), _middle(flux_error)) if len(size) else 0.0
    return limit if limit > 0.0 else np.inf


def _middle(values: np.ndarray) -> float:
    """The lower median in single precision."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    middle = (len(single) - 1) // 2
    return float(np.partition(single, middle)[middle])
