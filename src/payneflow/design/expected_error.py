"""How large the error of an emulator is where nobody looked: between the spectra of its grid, and at their edges.

Kriging (kriging.py) of the flux of the training spectra tells a variance at any labels: how far they are from what is
known, as flux sees distances. The error is this variance times a level, which differs much from star to star: spectra
of cool stars change faster. Held-back errors say it: of each training spectrum that of kriging from all others
(leave-one-out, Rasmussen & Williams 2006, equation 5.12), of each test spectrum that of the networks. The logarithm of
their level is a smooth function of the labels, by kriging again.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from payneflow.grid import SpectralGrid
from payneflow.kriging import cholesky, descended_lengths, matern, solve, solve_lower, weighted_sums
from payneflow.network import Networks
from payneflow.statistics import evenly

PIXELS = 128  # evenly spread over those of the networks
MOST_SPECTRA = 2000  # that kriging knows; of more, as many evenly spread
NUGGET_OF_LEVEL = 0.5  # scatter of the logarithm of a level, relative to the variance of its smooth part


@dataclass(frozen=True, eq=False)
class ExpectedError:
    """`labels` (n_known, n_label), scaled, of the spectra that were learnt; `lengths` (n_label,) and `nugget`: of their
    kriging. `heard` (n_heard, n_label), scaled, and `level` (n_heard,): where errors were held back, and the logarithm
    of their mean square over the pixels, relative to the variance of kriging there.
    """

    labels: np.ndarray
    lengths: np.ndarray
    nugget: float
    heard: np.ndarray
    level: np.ndarray

    @cached_property
    def _solved_level(self) -> np.ndarray:
        covariance = matern(self.heard, self.heard, self.lengths)
        return solve(covariance, NUGGET_OF_LEVEL, (self.level - self.level.mean())[:, None])

    def level_at(self, scaled: np.ndarray) -> np.ndarray:
        """(n,): what the variance of kriging at scaled labels (n, n_label) is to be multiplied by, in flux squared."""
        near = matern(scaled, self.heard, self.lengths)
        return np.exp(self.level.mean() + weighted_sums(near, self._solved_level)[:, 0])


def expected_error(scaled: np.ndarray, flux: np.ndarray, test: np.ndarray, square: np.ndarray) -> ExpectedError:
    """What spectra at scaled labels (n, n_label) with flux (n, n_pixel) of some pixels tell of errors elsewhere.

    `test` (n_test, n_label), scaled: spectra that networks predicted with the mean `square` error (n_test,); none of
    them where there are no networks.
    """
    known = evenly(len(scaled), MOST_SPECTRA)
    labels, flux = scaled[known], np.ascontiguousarray(flux[known])
    lengths, nugget = descended_lengths(labels, flux)
    error, variance = _left_out(labels, flux, lengths, nugget)
    level = _level((error**2).mean(axis=1), variance)
    if not len(test):
        return ExpectedError(labels, lengths, nugget, labels, level)
    level_of_test = _level(square, variance_at(labels, test, lengths, nugget))
    level = level + np.median(level_of_test) - np.median(level)  # networks err by more or less than kriging
    return ExpectedError(
        labels, lengths, nugget, np.concatenate([labels, test]), np.concatenate([level, level_of_test])
    )


def expected_error_of(networks: Networks, grid: SpectralGrid) -> ExpectedError:
    """The expected error of networks that were trained on `grid`. Raises NetworkFileError for another grid."""
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    split = networks.split_of(grid)
    step = max(1, len(columns) // PIXELS)
    some = networks.of_pixels(slice(0, None, step))
    good = some.has_network
    flux = networks.flux_scale.share(np.asarray(grid.flux[:, columns[::step][good]], dtype=float))
    scaled = networks.scaler.scale(grid.labels)
    predicted = networks.flux_scale.share(some.predict_scaled(scaled[split.test])[:, good])
    square = ((predicted - flux[split.test]) ** 2).mean(axis=1)
    return expected_error(scaled[split.training], flux[split.training], scaled[split.test], square)


def _level(square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    least = max(1e-6 * square.max(), 1e-300)
    return np.log(np.maximum(square, least) / np.maximum(variance, 1e-12))


def _left_out(labels: np.ndarray, flux: np.ndarray, lengths: np.ndarray, nugget: float):
    """Errors (n, n_pixel) of each spectrum predicted from all others, and the variance (n,) of that."""
    one = np.ones((len(labels), 1))
    known = solve(matern(labels, labels, lengths), nugget, np.hstack([np.eye(len(labels)), flux, one]))
    inverse, solved, of_one = np.split(known, [len(labels), -1], axis=1)
    mean = solved.sum(axis=0) / of_one.sum()
    diagonal = np.diag(inverse)[:, None]
    return (solved - of_one * mean) / diagonal, 1 / diagonal[:, 0]


def variance_at(labels: np.ndarray, scaled: np.ndarray, lengths: np.ndarray, nugget: float) -> np.ndarray:
    """(n,): variance of kriging from `labels` (n_known, n_label) at scaled labels (n, n_label); 1 far away."""
    white = whitened(root_of(labels, lengths, nugget), labels, scaled, lengths)
    return np.maximum(1 - (white**2).sum(axis=0), 0.0) + nugget


def root_of(labels: np.ndarray, lengths: np.ndarray, nugget: float) -> np.ndarray:
    """Cholesky factor (n_known, n_known) of the covariance; a nugget too small for a double's digits is raised."""
    covariance = matern(labels, labels, lengths)
    while True:
        root = covariance.copy()
        root[np.diag_indices(len(root))] += nugget
        if cholesky(root):
            return root
        nugget *= 10


def whitened(root: np.ndarray, labels: np.ndarray, scaled: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n_known, n): R'^-1 times the covariance of `labels` with scaled labels (n, n_label), R being the root."""
    white = matern(labels, scaled, lengths)
    solve_lower(root, white)
    return white
