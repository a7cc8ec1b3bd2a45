"""Are labels among those that trained? The convex hull of the training labels, by those of them that span it.

Among many labels the ranges say little: of a box of ten labels the training spectra fill a small part. Of a large grid
the corners of their hull are too many to be found one by one, so those are kept that lie farthest out in some of many
directions.
"""

import numpy as np

from payneflow.scaling import LabelScaler

FEW = 2000  # spectra, of which all are kept
DIRECTIONS = 4096  # drawn once and for all; beside them both ends of each label
SUM = 1e3  # weight of "the shares add up to one" against scaled labels
ROUNDING = 1e-6  # scaled labels; what is nearer is inside


def spanning(labels: np.ndarray) -> np.ndarray:
    """(n,) indices, increasing, of those of labels (n_spectrum, n_label) that span their hull.

    All of `FEW` spectra; of more, the farthest ones in `DIRECTIONS` directions, in scaled labels, whose hull is
    a little smaller.
    """
    if len(labels) <= FEW:
        return np.arange(len(labels))
    scaled = LabelScaler.of_training_labels(labels).scale(labels)
    n_label = scaled.shape[1]
    directions = np.random.default_rng(0).standard_normal((DIRECTIONS, n_label))
    directions = np.concatenate([directions, np.eye(n_label), -np.eye(n_label)])
    return np.unique([np.argmax(scaled @ direction) for direction in directions])


def distances(scaled: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(n,): how far scaled labels (n, n_label) are from the hull of `corners` (n_corner, n_label); 0: inside."""
    from scipy.optimize import nnls

    rows = np.concatenate([corners.T, np.full((1, len(corners)), SUM)])
    found = np.empty(len(scaled))
    for i, one in enumerate(scaled):
        shares, _ = nnls(rows, np.append(one, SUM), maxiter=100 * len(corners))
        found[i] = np.linalg.norm(shares @ corners / shares.sum() - one)
    return np.where(found > ROUNDING, found, 0.0)
