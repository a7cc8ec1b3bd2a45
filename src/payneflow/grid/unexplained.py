"""What the labels do not explain: each spectrum predicted from the others by kriging, pixel by pixel.

The flux of a grid is a smooth function of its labels, plus what no smooth function of them can be: noise, or what a
label that is missing does (rotation, an abundance, microturbulence). A network that learns the latter learns nothing
about a star. Kriging of the nugget that predicts best (Rasmussen & Williams 2006, Gaussian Processes for Machine
Learning, section 5.4.2) tells the two apart, so that few spectra, between which flux is hard to predict, are no noise.
"""

import math
from typing import NamedTuple

import numpy as np

from payneflow.kriging import (
    SLOPE_PIXELS,
    VARIANCE_LEAST,
    descended_lengths,
    matern,
    solve,
    weighted_sums,
    without_mean,
)
from payneflow.simd import kernel
from payneflow.statistics import MAD_TO_SIGMA, evenly

SPECTRA = 400  # training spectra that are looked at, at most, evenly spread; they tell the noise to 4 %
NUGGETS = tuple(10.0**k for k in range(-10, 2))  # of which each pixel has its own
LEAST_SPECTRA = 30  # fewer do not tell noise from lines
PIXELS = 512  # worked on at a time
FARTHEST = 3.0  # standard deviations that a residual counts for at most: an outlier is no noise
WRONG, MOST_WRONG = 6.0, 0.05  # a spectrum this many times as far off as others, in most pixels, is left out; the part
# of the spectra that may be: more are no mistakes


class Unexplained(NamedTuple):
    """What labels do not explain of pixels, (n_pixel,) each."""

    noise: np.ndarray  # standard deviation of what is no smooth function of the labels, in the unit of the flux
    largest: np.ndarray  # largest |flux - prediction from the other spectra|, in that unit
    nugget: np.ndarray  # of the best prediction
    explained: (
        np.ndarray
    )  # the part of the variance over the spectra that the prediction explains; not above 0: nothing


def sound_spectra(labels: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which spectra of labels (n, n_label), scaled, and flux (n, n_pixel) are not wrong as a whole, and the lengths.

    Returns increasing rows and the lengths (n_label,) of the kriging among them. A wrong spectrum, or one with the
    labels of another, is unlike its prediction in most pixels, and would make its neighbours unlike theirs.
    """
    lengths, _ = descended_lengths(labels, flux)
    some = np.ascontiguousarray(flux[:, evenly(flux.shape[1], SLOPE_PIXELS)], dtype=np.float64)
    far = LeaveOneOut(labels, lengths).distances(some)
    order = np.argsort(far, kind="stable")
    wrong = [row for row in order[len(far) - int(MOST_WRONG * len(far)) :] if far[row] > WRONG]
    if not wrong:
        return np.arange(len(far)), lengths
    rows = np.setdiff1d(np.arange(len(far)), wrong)
    return rows, descended_lengths(labels[rows], flux[rows])[0]


class LeaveOneOut:
    """Each spectrum predicted from the others: labels (n, n_label), scaled, and `lengths` (n_label,) of the kriging."""

    def __init__(self, labels: np.ndarray, lengths: np.ndarray):
        self.labels, self.lengths = labels, lengths
        self._covariance = matern(labels, labels, lengths)
        self._inverses = {}

    def unexplained(self, flux: np.ndarray, least: float = 0.0) -> Unexplained:
        """What remains of flux (n, n_pixel); where residuals are below `least` there is no noise: 0.

        A pixel's nugget is that of NUGGETS with the greatest leave-one-out likelihood. No bit depends on other pixels.
        """
        flux = np.asarray(flux, dtype=np.float64)
        blocks = [self._of_block(flux[:, a : a + PIXELS], least) for a in range(0, flux.shape[1], PIXELS)]
        return Unexplained(*map(np.concatenate, zip(*blocks, strict=True)))

    def solved(self, flux: np.ndarray, nugget: float) -> np.ndarray:
        """Inverse covariance times flux, (n, n_pixel), of a free mean: what kriging weighs its covariances with."""
        return self._sums(flux, nugget)[0]

    def distances(self, flux: np.ndarray) -> np.ndarray:
        """How far each spectrum is from its prediction, (n,): the median over pixels; of a typical spectrum 1."""
        nugget = self.unexplained(flux).nugget
        far = np.empty(flux.shape)
        for one in np.unique(nugget):
            sums, precision = self._sums(flux[:, nugget == one], one)
            standardised = np.abs(sums) / np.sqrt(precision)[:, None]
            typical = np.median(standardised, axis=0)
            far[:, nugget == one] = standardised / np.where(typical > 0, typical, np.inf)
        return np.median(far, axis=1)

    def _of_block(self, flux, least):
        flux = flux - flux[0]  # no digits are lost to a large constant
        n_pixel = flux.shape[1]
        total = _squares_without(flux)
        scores, found = np.full(n_pixel, np.inf), Unexplained(*np.zeros((len(Unexplained._fields), n_pixel)))
        looked_at = np.arange(n_pixel)
        for nugget in NUGGETS:
            sums, precision = self._sums(flux[:, looked_at], nugget)
            typical = _width(sums / np.sqrt(precision)[:, None])
            variance, largest, squares, score = _judge(sums, precision, (FARTHEST * typical) ** 2)
            width = np.sqrt(variance * (1 / precision).mean())  # of the residuals
            better = score < scores[looked_at]
            at = looked_at[better]
            scores[at], found.nugget[at] = score[better], nugget
            found.noise[at], found.largest[at] = np.sqrt(nugget * variance[better]), largest[better]
            found.explained[at] = 1 - squares[better] / np.where(total[at] > 0, total[at], np.inf)
            if nugget == NUGGETS[0]:  # with which noise makes the residuals larger than they need be
                found.noise[looked_at[width < least]] = 0.0
                looked_at = looked_at[width >= least]
        return found

    def _sums(self, flux, nugget):
        """Inverse covariance times flux, (n, n_pixel), of a free mean; and the diagonal of that inverse (n,)."""
        if nugget not in self._inverses:
            inverse = without_mean(solve(self._covariance, nugget, np.eye(len(self._covariance))))
            self._inverses[nugget] = inverse, np.diag(inverse).copy()
        inverse, precision = self._inverses[nugget]
        return weighted_sums(inverse, np.ascontiguousarray(flux)), precision


def _width(residuals):
    """Robust standard deviation (n_pixel,) of residuals (n, n_pixel) about 0."""
    return MAD_TO_SIGMA * np.median(np.abs(residuals), axis=0)


@kernel
def _squares_without(flux):
    """(n_pixel,): sum over spectra of the squares of flux (n, n_pixel) minus the mean of the other spectra."""
    n, n_pixel = flux.shape
    mean, squares = np.zeros(n_pixel), np.zeros(n_pixel)
    for i in range(n):
        for a in range(n_pixel):
            mean[a] += flux[i, a] / n
    for i in range(n):
        for a in range(n_pixel):
            residual = (flux[i, a] - mean[a]) * n / (n - 1)
            squares[a] += residual * residual
    return squares


@kernel
def _judge(sums, precision, most):
    """Of sums (n, n_pixel) = inverse covariance times flux: variance of the smooth function, residuals, score.

    A residual is sum / precision, its variance that of the smooth function / precision (equation 5.12 of Rasmussen &
    Williams); squares of standardised residuals count up to `most` (n_pixel,). The least score, -2 log likelihood
    without constants, is the best. Of the residuals the largest and the sum of squares are given.
    """
    n, n_pixel = sums.shape
    variance, largest, score = np.zeros(n_pixel), np.zeros(n_pixel), np.zeros(n_pixel)
    squares = np.zeros(n_pixel)
    log_precision = 0.0
    for i in range(n):
        log_precision += math.log(precision[i])
        for a in range(n_pixel):
            residual = abs(sums[i, a]) / precision[i]
            variance[a] += min(residual * residual * precision[i], most[a]) / n
            largest[a] = max(largest[a], residual)
            squares[a] += residual * residual
    for a in range(n_pixel):
        score[a] = n * math.log(variance[a] + VARIANCE_LEAST) - log_precision
    return variance, largest, squares, score
