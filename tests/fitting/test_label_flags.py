"""Flags and errors of labels, and formal covariances, where the answer is known."""

import numpy as np
import pytest

from payneflow.fitting.flags import LABEL_FLAG_MEANINGS, LabelFlag
from payneflow.fitting.formal_covariance import formal_covariance
from payneflow.fitting.label_flags import at_bounds, capped, flags_of_labels

AT, OUT, NO = LabelFlag.AT_BOUND, LabelFlag.OUTSIDE_TRAINING, LabelFlag.NO_INFORMATION


def one(label, error, beyond=0.0):
    """Flags of one fit of one label, and whether it flags the star: at a bound, outside."""
    labels = np.array([[label]])
    given = np.array([[beyond]]), at_bounds(labels, np.array([True])), np.array([[error]]), np.array([[error]])
    found = flags_of_labels(labels, *given)
    return found.flags[0, 0], bool(found.at_bound[0]), bool(found.outside[0])


@pytest.mark.parametrize(
    ("label", "error", "beyond", "flags", "star"),
    [
        (0.5, 0.1, 0.0, 0, (False, False)),
        (0.95, 0.03, 0.0, OUT, (False, False)),
        (0.95, 0.01, 0.0, OUT, (False, True)),
        (0.0, 0.2, -0.05, AT, (False, False)),  # by noise
        (0.0, 0.2, -0.15, AT | OUT, (False, False)),
        (1.0, 0.2, 0.6, AT | OUT, (True, True)),  # far beyond the bound, if it could
        (1.0, 0.03, 0.0, AT | OUT, (True, True)),
        (0.5, 0.41, 0.0, NO, (False, False)),
        (0.0, 0.9, -0.3, AT | NO, (False, False)),
    ],
)
def test_flags_of_a_label_and_what_concerns_the_star(label, error, beyond, flags, star):
    assert one(label, error, beyond) == (flags, *star)


def test_a_label_that_is_held_is_at_no_bound():
    assert at_bounds(np.array([[0.0, 0.0, 1.0]]), np.array([True, False, True])).tolist() == [[True, False, True]]


def test_every_flag_of_a_label_has_a_meaning():
    assert list(LABEL_FLAG_MEANINGS) == list(LabelFlag)


def test_no_error_of_a_label_is_wider_than_its_range_and_velocities_are_left_alone():
    root = np.diag([0.1, 3.0, 5.0]) @ np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.1, 0.2, 0.9]])
    covariance = root @ root.T
    (found,) = capped(covariance[None], 2)
    assert np.sqrt(np.diag(found)) == pytest.approx([0.1, 0.8, np.sqrt(covariance[2, 2])])
    size, own = (np.sqrt(np.diag(matrix)) for matrix in (covariance, found))
    assert found / np.outer(own, own) == pytest.approx(covariance / np.outer(size, size)), "the same correlations"


def test_a_covariance_is_the_inverse_and_labels_that_are_not_told_are_known_by_their_range():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(9, 4))
    told = jacobian.T @ jacobian
    silent, alike, mute, broken = told.copy(), jacobian.copy(), told.copy(), told.copy()
    silent[1] = silent[:, 1] = mute[3] = mute[:, 3] = 0.0
    alike[:, 2] = -2.0 * alike[:, 0]
    broken[0, 0] = np.nan
    free = np.ones(4, bool)
    matrices = np.array([told, silent, alike.T @ alike, mute, broken])
    covariance, exists = formal_covariance(matrices, free, 3)
    assert exists.tolist() == [True, True, True, False, False], "a velocity must be told"
    assert covariance[0] == pytest.approx(np.linalg.inv(told))
    assert np.sqrt(covariance[1, 1, 1]) == pytest.approx(0.8) and covariance[1, 1, [0, 2, 3]] == pytest.approx(0)
    assert covariance[2] == pytest.approx(np.linalg.inv(matrices[2] + np.diag([1, 1, 1, 0]) / 0.64), rel=1e-6)
    free[1] = False
    covariance, _ = formal_covariance(matrices[:1], free, 3)
    assert (covariance[0, 1] == 0).all()
    assert covariance[0][np.ix_(free, free)] == pytest.approx(np.linalg.inv(told[np.ix_(free, free)]))
