"""What fits are worth: errors from the matrices of the last passes, and the flags of every fit."""

from dataclasses import dataclass

import numpy as np

from payneflow.fitting.flags import FitFlag
from payneflow.fitting.minimiser import STUCK
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.scaling import OFFSET, SPAN

AT_BOUND_WITHIN = 1e-6  # of a bound, in scaled labels
FEW = 10  # used pixels for each fitted parameter
MISMATCH = 3.0  # chi2/dof of a model that does not describe the spectrum, see `_mismatch`
NOISE_WIDTHS = 5.0  # standard deviations of chi2/dof by noise alone
LEAST_EIGENVALUE = 1e-12  # of the correlation matrix: below it the parameters cannot be told apart


@dataclass
class Fits:
    """What the kernels write, one row a spectrum.

    `x`: (n, n_parameter) scaled labels. `matrix`: (n, n_parameter, n_parameter) of the last pass, priors included: its
    inverse is the formal covariance. `chi2`, `snr`: (n,). `counts`: (n, 5) pixels used, passes, how the search ended
    (minimiser.py), whether starts disagree, linear terms solved. `extra_scatter`: (n,).
    """

    x: np.ndarray
    matrix: np.ndarray
    chi2: np.ndarray
    snr: np.ndarray
    counts: np.ndarray
    extra_scatter: np.ndarray

    @classmethod
    def empty(cls, n: int, n_parameter: int) -> "Fits":
        """Of n spectra, none of which is fitted yet: NaN."""
        matrix = np.full((n, n_parameter, n_parameter), np.nan)
        numbers = (np.full(n, np.nan) for _ in range(2))
        return cls(np.full((n, n_parameter), np.nan), matrix, *numbers, np.zeros((n, 5), np.int64), np.zeros(n))

    def __getitem__(self, rows: slice) -> "Fits":
        """A view of some rows."""
        return Fits(**{name: values[rows] for name, values in self.__dict__.items()})


@dataclass
class Verdict:
    """Of each fit: scaled labels (n, n_label) and their covariance (n, n_label, n_label), NaN where it failed; the
    degrees of freedom and the flags (n,).
    """

    scaled: np.ndarray
    covariance: np.ndarray
    dof: np.ndarray
    flags: np.ndarray


def judge(networks: PixelNetworks, settings: FitSettings, fits: Fits, label_errors=None, exclude=None) -> Verdict:
    """Errors and flags of fits; `label_errors` and `exclude` as in `fit_spectra`."""
    free = np.array([name not in settings.fixed for name in networks.label_names])
    used, _, ended, disagree, linear = fits.counts.T
    dof = used - free.sum() - linear
    formal, solved = _inverse(fits.matrix, free)
    failed = ~(np.isfinite(fits.chi2) & np.isfinite(fits.x).all(axis=1) & solved & (dof > 0))
    reduced = np.divide(fits.chi2, dof, out=np.ones(len(dof)), where=~failed)
    mismatch = ~failed & (reduced > MISMATCH + NOISE_WIDTHS * np.sqrt(2.0 / np.maximum(dof, 1)))
    covariance = formal * np.where(mismatch, reduced, 1.0)[:, None, None]
    at_bound = ((fits.x < AT_BOUND_WITHIN) | (fits.x > 1.0 - AT_BOUND_WITHIN)) & free
    scaled = fits.x.copy()
    flags = np.zeros(len(dof), np.int64)
    if label_errors is not None:
        label_errors.check(networks, settings)
        good = np.flatnonzero(~failed)
        correction, added = label_errors.estimate(fits.x[good], None if exclude is None else np.asarray(exclude)[good])
        scaled[good] -= np.where(at_bound[good] | ~free, 0.0, correction)
        covariance[good] += added
        flags[good[label_errors.far(fits.x[good])]] |= FitFlag.FAR_FROM_TRAINING
    error = np.sqrt(np.einsum("nii->ni", covariance))
    outside = (scaled - error > OFFSET + SPAN) | (scaled + error < OFFSET)
    flags[ended >= STUCK] |= FitFlag.NOT_CONVERGED
    flags[at_bound.any(axis=1)] |= FitFlag.AT_BOUND
    flags[outside.any(axis=1)] |= FitFlag.OUTSIDE_TRAINING
    flags[mismatch] |= FitFlag.MODEL_MISMATCH
    flags[used < FEW * (free.sum() + linear)] |= FitFlag.FEW_PIXELS
    flags[disagree > 0] |= FitFlag.STARTS_DISAGREE
    flags[failed] = FitFlag.FAILED
    scaled[failed], covariance[failed] = np.nan, np.nan
    return Verdict(scaled, covariance, dof, flags)


def _inverse(matrix: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse (n, n_parameter, n_parameter) of the free rows and columns, 0 elsewhere, and where it exists (n,)."""
    part = np.ix_(np.arange(len(matrix)), free, free)
    rows = matrix[part]
    size = np.sqrt(np.einsum("nii->ni", rows))
    exists = np.isfinite(rows).all(axis=(1, 2)) & (size > 0).all(axis=1)
    rows = np.where(exists[:, None, None], rows, np.eye(free.sum()))
    size = np.where(exists[:, None], size, 1.0)
    correlation = rows / size[:, :, None] / size[:, None, :]
    exists &= np.linalg.eigvalsh(correlation).min(axis=1, initial=np.inf) > LEAST_EIGENVALUE
    correlation = np.where(exists[:, None, None], correlation, np.eye(free.sum()))
    inverse = np.zeros_like(matrix)
    inverse[part] = np.linalg.inv(correlation) / size[:, :, None] / size[:, None, :]
    return inverse, exists
