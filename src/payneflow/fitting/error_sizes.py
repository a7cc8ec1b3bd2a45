"""How large errors are, as a smooth function of the labels: kriging of their logarithm.

An error of a thousandth and one of a half may be neighbours in a list, but not among stars: what makes errors large,
lines that vanish or a corner of the grid, changes smoothly with the labels. A mean of squares would be ruled by a few
wild spectra; the logarithm is not. Where no spectrum is near, the size is that of their typical error.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from payneflow.kriging import left_out_lengths, matern, solve, weighted_sums
from payneflow.statistics import evenly

FLOOR = 0.1  # of the size: the logarithm of an error that happens to be 0 says no more
ROUNDS = 3  # the floor is a part of the size that is looked for
LENGTH_LEAST, LENGTH_MOST = 0.5, 30.0  # in scaled labels: a size that changes faster is a zero that errors go through
NUGGET_LEAST, NUGGET_MOST = 0.5, 100.0  # logarithms of normal numbers scatter by 1.1
STARTS = ((0.6, 1.0), (3.0, 1.0))  # length of all labels, and nugget
SEARCH_SPECTRA, MOST_ITERATIONS = 320, 25  # of the search
WIDEST, STRETCH = 5.0, 1.1  # beyond the one a size takes no account of an error; the other is how far tails stretch it


@dataclass(frozen=True, eq=False)
class ErrorSizes:
    """Sizes of errors that were measured at scaled labels (n, n_label); `lengths` (n_label,), `nugget`: of the kriging.

    The size is a standard deviation where the errors are normal. Tails that are longer make it larger by 10 % at most:
    their robust width stays close to 1 of it.
    """

    labels: np.ndarray
    lengths: np.ndarray
    nugget: float

    @classmethod
    def search(cls, labels: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, float]:
        """Lengths and nugget of greatest likelihood for errors (n, k) at labels (n, n_label)."""
        n_label, rows = labels.shape[1], evenly(len(labels), SEARCH_SPECTRA)
        starts = np.array([[*[length] * n_label, nugget] for length, nugget in STARTS])
        some = errors[rows][:, errors[rows].any(axis=0)]
        if not some.size:
            return starts[0][:-1], float(starts[0][-1])
        logarithm = _logarithm(some, typical(some))
        bounds = [
            np.append(np.full(n_label, LENGTH_LEAST), NUGGET_LEAST),
            np.append(np.full(n_label, LENGTH_MOST), NUGGET_MOST),
        ]
        told = np.ones(len(rows), bool)
        return left_out_lengths(labels[rows], logarithm - logarithm.mean(axis=0), told, bounds, starts, MOST_ITERATIONS)

    @cached_property
    def inverse(self) -> np.ndarray:
        """(n, n), of the covariance between the logarithms, in units of that of their smooth part."""
        return solve(matern(self.labels, self.labels, self.lengths), self.nugget, np.eye(len(self.labels)))

    def of(self, errors: np.ndarray) -> "KnownSizes":
        """The sizes of errors (n, k)."""
        left_out = np.broadcast_to(typical(errors), errors.shape)
        for _ in range(ROUNDS):
            logarithm = _logarithm(errors, left_out)
            mean = logarithm.mean(axis=0)
            solved = weighted_sums(self.inverse, logarithm - mean)
            left_out = np.exp(logarithm - solved / np.diag(self.inverse)[:, None])
        factor = spread_of(errors / left_out)
        present = errors.any(axis=0)
        mean = np.where(present, mean + np.log(factor), -np.inf)
        return KnownSizes(mean, solved, np.where(present, left_out * factor, 0.0))


@dataclass(frozen=True, eq=False)
class KnownSizes:
    """Logarithm of the size: `mean` (k,) and kriging's weights `solved` (n, k). `left_out` (n, k): sizes where the
    errors were measured, each without the error there.
    """

    mean: np.ndarray
    solved: np.ndarray
    left_out: np.ndarray


def typical(errors: np.ndarray) -> np.ndarray:
    """(k,), the median size of errors (n, k); where that is 0 their rms, and 1 where they are all 0."""
    size = np.median(np.abs(errors), axis=0)
    size = np.where(size > 0, size, np.sqrt((errors**2).mean(axis=0)))
    return np.where(size > 0, size, 1.0)


def spread_of(values: np.ndarray) -> np.ndarray:
    """(k,), standard deviation of values (n, k) around 0; of long tails 1.1 times the robust width and no more."""
    width = 1.4826 * np.median(np.abs(values), axis=0)
    width = np.where(width > 0, width, 1.0)
    inside = np.clip(values, -WIDEST * width, WIDEST * width)
    return np.clip(np.sqrt((inside**2).mean(axis=0)), width, STRETCH * width)


def _logarithm(errors: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.log(size) + 0.5 * np.log((errors / size) ** 2 + FLOOR**2)
