"""What is known of each label of a fit: whether it is at a bound, outside the training labels, or not told at all.

A label at its bound is judged by where chi2 would be least without the bound, as the parabola of the last pass says it:
a label without signal runs to its bound by noise, and has not left the training labels by that.
"""

from dataclasses import dataclass

import numpy as np

from payneflow.fitting.flags import LabelFlag
from payneflow.fitting.formal_covariance import WIDEST
from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL
from payneflow.scaling import SPAN, TRAINING_LEAST, TRAINING_MOST

AT_BOUND_WITHIN = 1e-6  # of a bound, in scaled labels
NO_INFORMATION_ABOVE = 0.5 * SPAN  # error of a scaled label: two of them are as wide as the training range
SURELY = 3.0  # errors outside the training range: then a label concerns the star


def at_bounds(labels: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(n, n_label) bool: which scaled labels (n, n_label) that are fitted, `free` (n_label,), lie at a bound."""
    return free & ((labels < LOWEST_LABEL + AT_BOUND_WITHIN) | (labels > HIGHEST_LABEL - AT_BOUND_WITHIN))


def capped(covariance: np.ndarray, n_label: int) -> np.ndarray:
    """The covariance (n, n_parameter, n_parameter), no error of a scaled label larger than the training range."""
    error = np.sqrt(np.einsum("nii->ni", covariance))
    wide = error > WIDEST
    wide[:, n_label:] = False
    factor = np.divide(WIDEST, error, out=np.ones_like(error), where=wide)
    return covariance * factor[:, :, None] * factor[:, None, :]


@dataclass(frozen=True, eq=False)
class LabelFlags:
    """`flags` (n, n_label), sums of LabelFlag; and what of it concerns the star: `at_bound`, `outside` (n,) bool."""

    flags: np.ndarray
    at_bound: np.ndarray
    outside: np.ndarray


def flags_of_labels(
    labels: np.ndarray, beyond: np.ndarray, at_bound: np.ndarray, error: np.ndarray, sure: np.ndarray
) -> LabelFlags:
    """Flags of n fits, all arguments (n, n_label), in scaled labels.

    `beyond`: how far labels at a bound would leave it. `error`: 1 sigma, before it is capped. `sure`: the same were the
    star what the model describes.
    """
    labels = labels + np.where(at_bound, beyond, 0.0)
    outside, surely = (
        (labels - n_sigma * sure > TRAINING_MOST) | (labels + n_sigma * sure < TRAINING_LEAST)
        for n_sigma in (1.0, SURELY)
    )
    flags = LabelFlag.AT_BOUND * at_bound + LabelFlag.OUTSIDE_TRAINING * outside
    flags += LabelFlag.NO_INFORMATION * (error > NO_INFORMATION_ABOVE)
    return LabelFlags(flags, (surely & at_bound).any(axis=1), surely.any(axis=1))
