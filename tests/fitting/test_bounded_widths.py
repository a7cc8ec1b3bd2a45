"""Mean squares of normal distributions that bounds of widths cut off, against closed forms and draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payneflow.fitting.bounded_widths import bounded_covariance, cut_off
from payneflow.fitting.engine.alternatives import N_ALTERNATIVE
from payneflow.fitting.quality import Fits, _unbound_score

COLUMNS, MOST = np.array([1, 2]), np.array([20.0, 5.0])


def of_one(sigma, mean, at, most=10.0, slope=2.0):
    """Of a width and a label that follows it, apart from a scatter of variance 0.5."""
    covariance = sigma**2 * np.array([[slope**2, slope], [slope, 1.0]]) + np.diag([0.5, 0.0])
    given = covariance[None], np.array([[0.3, at]]), np.array([[0.3, mean]])
    return covariance, *bounded_covariance(*given, np.array([1]), np.array([most]))


def of_two(correlation, mean, at, sigma=(1.5, 2.5)):
    """Of two widths and a label that is their sum."""
    square = np.outer(sigma, sigma) * np.array([[1.0, correlation], [correlation, 1.0]])
    follow = np.vstack([[1.0, 1.0], np.eye(2)])
    covariance = follow @ square @ follow.T + np.diag([0.3, 0.0, 0.0])
    given = covariance[None], np.array([[0.0, *at]]), np.array([[0.0, *mean]])
    return covariance, *bounded_covariance(*given, COLUMNS, MOST)


def test_what_is_far_from_all_bounds_stays_to_the_bit():
    covariance, squares, own = of_one(0.5, 5.0, 5.0)
    assert (squares[0] == covariance).all() and own[0] == [0.25]
    covariance, squares, own = of_two(-0.9, (9.0, 2.5), (9.0, 2.5), sigma=(0.5, 0.3))
    assert (squares[0] == covariance).all() and own[0] == pytest.approx([0.25, 0.09])


def test_half_of_a_normal_distribution_has_the_square_of_the_whole():
    covariance, squares, _ = of_one(0.5, 0.0, 0.0)
    assert squares[0] == pytest.approx(covariance)


@pytest.mark.parametrize("sigma", [1e2, 1e6])
def test_of_a_width_that_is_not_told_bounds_are_all_that_is_known(sigma):
    _, squares, own = of_one(sigma, 4.0, 4.0, most=10.0, slope=2.0)
    about = (4.0**3 + 6.0**3) / 30.0  # mean square of evenly spread values about 4
    assert squares[0] == pytest.approx(np.array([[4 * about + 0.5, 2 * about], [2 * about, about]]), rel=2e-3)
    assert own[0] == pytest.approx([sigma**2]), "its own limit knows its own bounds"


@pytest.mark.parametrize(
    ("correlation", "mean", "at"),
    [(-0.95, (0.5, -1.0), (0.0, 0.0)), (-0.99, (3.0, 2.0), (3.0, 2.0)), (0.5, (-2.0, -1.0), (0.0, 0.2))],
)
def test_two_widths_are_as_their_draws(correlation, mean, at):
    covariance, squares, own = of_two(correlation, mean, at)
    centre = np.array([sum(mean) * 0.0, *mean])
    draws = np.random.default_rng(1).multivariate_normal(centre, covariance, 3_000_000)
    inside = (draws[:, 1:] > 0.0) & (draws[:, 1:] < MOST)
    kept = draws[inside.all(axis=1)]
    kept[:, 1:] -= at
    kept[:, 0] -= sum(at) - sum(mean)  # the label that goes with these widths
    size = np.sqrt(np.einsum("ni,ni->i", kept, kept) / len(kept))
    assert squares[0] / np.outer(size, size) == pytest.approx(
        kept.T @ kept / len(kept) / np.outer(size, size), abs=0.02
    )
    for j in range(2):
        other = draws[inside[:, 1 - j], 1 + j]
        expected = other.var() + (other.mean() - at[j]) ** 2 * (at[j] > 0)
        assert own[0, j] == pytest.approx(expected, rel=0.02)


@given(
    correlation=st.floats(-0.999, 0.999),
    mean=st.tuples(st.floats(-300.0, 300.0), st.floats(-300.0, 300.0)),
    share=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_squares_are_finite_and_within_the_bounds_wherever_the_parabola_is_lowest(correlation, mean, share):
    _, squares, own = of_two(correlation, mean, MOST * share)
    assert np.isfinite(squares).all() and (own >= 0.0).all()
    if min(mean) < 0.0:
        assert (np.diagonal(squares[0])[1:] <= MOST**2 * (1 + 1e-9)).all()
        assert np.linalg.eigvalsh(squares[0]).min() > -1e-9 * np.trace(squares[0])


def test_tails_have_all_their_digits():
    part, mean, variance = cut_off(np.array([-40.0, 50.0]), np.ones(2), 10.0)
    assert mean == pytest.approx([1 / 40, 10.0 - 1 / 40], rel=2e-3)
    assert variance == pytest.approx(2 * [1 / 1600], rel=5e-3) and (part < -700).all()


def test_a_failed_fit_stays_nan_and_disturbs_no_other():
    covariance = np.stack([np.eye(2), np.full((2, 2), np.nan)])
    x = np.array([[0.0, 0.1], [np.nan, np.nan]])
    squares, own = bounded_covariance(covariance, x, x, np.array([1]), np.array([3.0]))
    alone, _ = bounded_covariance(covariance[:1], x[:1], x[:1], np.array([1]), np.array([3.0]))
    assert np.isnan(squares[1]).all() and np.isnan(own[1]).all() and (squares[0] == alone[0]).all()


def test_scores_are_those_of_the_fit_without_bounds():
    """A linear model of three parameters, the last a width that a bound holds at 0 and that noise would lower."""
    rng = np.random.default_rng(3)
    model, alternatives, residual = rng.normal(size=(50, 3)), rng.normal(size=(50, N_ALTERNATIVE)), rng.normal(size=50)
    of_bound = model[:, :2] @ np.linalg.lstsq(model[:, :2], residual)[0]
    of_free = model @ np.linalg.lstsq(model, residual)[0]
    fits = Fits.empty(1, 3)
    fits.score[0], fits.cross[0] = alternatives.T @ (residual - of_bound), model.T @ alternatives
    fits.pull[0, 2] = model[:, 2] @ (residual - of_bound)
    formal = np.linalg.inv(model.T @ model)[None]
    assert _unbound_score(fits, formal, slice(2, 3))[0] == pytest.approx(alternatives.T @ (residual - of_free))
    assert _unbound_score(fits, formal, slice(2, 2)) is fits.score
