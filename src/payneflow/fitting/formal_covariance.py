"""The formal covariance of fits: inverse of the matrix of the last pass, also where that does not tell all labels."""

import numpy as np

from payneflow.scaling import SPAN

LEAST_EIGENVALUE = 1e-12  # of the correlation matrix: below it the parameters cannot be told apart
WIDEST = SPAN  # error of a scaled label that the spectrum does not tell: the range of the training labels


def formal_covariance(matrix: np.ndarray, free: np.ndarray, n_label: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse (n, n_parameter, n_parameter) of the `free` rows and columns, 0 elsewhere, and where it exists (n,).

    `matrix` (n, n_parameter, n_parameter), scaled labels first. Where it has no inverse, because the spectrum does not
    tell a label, or not apart from others, labels are known by their training range as well. Without a sign of the
    velocity there is no covariance.
    """
    part = np.ix_(np.arange(len(matrix)), free, free)
    rows = matrix[part]
    inverse, exists = _inverses(rows)
    untold = np.flatnonzero(~exists & np.isfinite(rows).all(axis=(1, 2)))
    ranges = np.where(np.arange(len(free)) < n_label, WIDEST**-2, 0.0)[free]
    inverse[untold], exists[untold] = _inverses(rows[untold] + np.diag(ranges))
    covariance = np.zeros_like(matrix)
    covariance[part] = inverse
    return covariance, exists


def _inverses(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses (n, k, k) of symmetric matrices, and where they exist (n,)."""
    k = rows.shape[1]
    size = np.sqrt(np.einsum("nii->ni", rows))
    exists = np.isfinite(rows).all(axis=(1, 2)) & (size > 0).all(axis=1)
    rows = np.where(exists[:, None, None], rows, np.eye(k))
    size = np.where(exists[:, None], size, 1.0)
    correlation = rows / size[:, :, None] / size[:, None, :]
    exists &= np.linalg.eigvalsh(correlation).min(axis=1, initial=np.inf) > LEAST_EIGENVALUE
    correlation = np.where(exists[:, None, None], correlation, np.eye(k))
    return np.linalg.inv(correlation) / size[:, :, None] / size[:, None, :], exists
