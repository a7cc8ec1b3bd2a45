"""Fitted widths of lines in km/s, their errors, and honest upper limits where a spectrum does not tell one from 0.

What a spectrum tells is the square of a width: the flux changes as it does, and its error is normal near 0, too. A
square that is not SURELY above 0 is an upper limit: 95 % of the normal distribution around it, cut off at 0, lie below.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from payneflow.fitting.engine.shift import C_KM_S
from payneflow.fitting.engine.widths import SOFT, to_width
from payneflow.fitting.flags import LabelFlag

SURELY = 2.0  # errors of the square that it is above 0; less, and the width is an upper limit
LEVEL = 0.95  # of the limit
AT_BOUND_WITHIN = 1e-6  # of a bound, in places


@dataclass(frozen=True, eq=False)
class Widths:
    """Of each fit and broadening, (n, n_broad): width and its 1 sigma error, the upper limit where it is flagged as
    one, else NaN, all in km/s; and the flags, sums of LabelFlag.
    """

    value: np.ndarray
    error: np.ndarray
    limit: np.ndarray
    flags: np.ndarray


def widths_of(
    parameter: np.ndarray, error: np.ndarray, beyond: np.ndarray, highest: np.ndarray, free: np.ndarray, log_step: float
) -> Widths:
    """Of parameters (n, n_broad) of a search, their errors, and how far they would leave a bound that stops them.

    `highest`: (n_broad,) bounds in km/s; `free`: (n_broad,) which of them are fitted; `log_step` of a place. The error
    of an upper limit is how much larger a width is whose square is larger by its error: it stays finite at 0.
    """
    km_s = C_KM_S * log_step
    width = to_width(np.maximum(parameter, 0.0))
    slope = 2.0 * (np.maximum(parameter, 0.0) + SOFT)  # of the square by the parameter
    at_zero = free & (parameter < AT_BOUND_WITHIN)
    square_error = slope * error
    square = width**2 + np.where(at_zero, slope * np.minimum(beyond, 0.0), 0.0)
    upper = free & (square < SURELY * square_error)
    sigma = np.where(square_error > 0.0, square_error, 1.0)
    quantile = 1.0 - (1.0 - LEVEL) * ndtr(square / sigma)
    limit = np.sqrt(np.maximum(square + sigma * ndtri(quantile), 0.0))
    near = np.sqrt(width**2 + square_error) - width
    found_error = np.where(upper, near, square_error / np.maximum(2.0 * width, 1e-300))
    at_most = free & (width > highest / km_s - AT_BOUND_WITHIN)
    flags = LabelFlag.UPPER_LIMIT * upper + LabelFlag.AT_BOUND * at_most
    return Widths(width * km_s, np.where(free, found_error, 0.0) * km_s, np.where(upper, limit * km_s, np.nan), flags)
