"""Steps in the box and what they teach of the curvature, beside the same in numpy or scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from payneflow.fitting.engine.bounded_step import bounded_step
from payneflow.fitting.engine.curvature import damped_bfgs, learn, positive, rank_one
from payneflow.fitting.engine.minimiser import Box

FREE = np.zeros(3, bool)


def box_of(lowest, highest, held):
    n = len(held)
    return Box(np.full(n, lowest), np.full(n, highest), held, np.zeros(n), np.zeros(n), np.zeros(n, bool))


def step_of(matrix, gradient, damping, x, box):
    step, pull = np.empty(len(x)), np.empty(len(x))
    length, lower = bounded_step(matrix, gradient, damping, x, box, step, pull)
    return length, lower, step, pull


def test_a_step_is_newtons_and_stops_at_the_box():
    rng = np.random.default_rng(0)
    root, gradient, middle = rng.normal(size=(3, 3)), rng.normal(size=3), np.zeros(3)
    matrix = root @ root.T + np.eye(3)
    wide = box_of(-99.0, 99.0, FREE)
    length, _, step, pull = step_of(matrix, gradient, 0.3, middle, wide)
    newton = np.linalg.solve(matrix + 0.3 * np.diag(np.diag(matrix)), gradient)
    assert step == pytest.approx(newton) and length == pytest.approx(np.sqrt(newton @ matrix @ newton))
    assert (pull == 0).all()
    _, _, step, _ = step_of(matrix, gradient, 0.0, middle, wide._replace(held=np.array([True, False, False])))
    assert step == pytest.approx([0, *np.linalg.solve(matrix[1:, 1:], gradient[1:])])
    half = 0.5 * np.abs(newton).max()
    _, lower, step, pull = step_of(matrix, gradient, 0.0, middle, box_of(-half, half, FREE))
    at = np.isclose(np.abs(step), half)
    assert at.any() and (np.abs(step) <= half * (1 + 1e-12)).all()
    assert (gradient - matrix @ step)[~at] == pytest.approx(0, abs=1e-12), "the others are solved for again"
    assert pull[at] == pytest.approx((gradient - matrix @ step)[at]) and (pull[~at] == 0).all()
    assert lower == pytest.approx(2 * gradient @ step - step @ matrix @ step), "what the parabola falls by"


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 24),
    damping=st.sampled_from([0.0, 0.01, 1.0]),
    spread=st.floats(0.0, 2.0),
)
def test_a_step_is_the_best_in_the_box(seed, n, damping, spread):
    """No worse than where scipy's active set ends, whatever starts at a bound, is held, or has hardly a signal."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(n + 5, n)) * 10 ** rng.uniform(-spread, spread, n)
    residual = rng.normal(size=n + 5) * 10 ** rng.uniform(-1, 2)
    matrix, gradient = jacobian.T @ jacobian, jacobian.T @ residual
    x, edge, held = rng.uniform(0, 1, n), rng.uniform(size=n) < 0.4, rng.uniform(size=n) < 0.1
    x[edge] = rng.integers(0, 2, edge.sum())
    length, _, step, pull = step_of(matrix, gradient, damping, x, box_of(0.0, 1.0, held))
    assert length == pytest.approx(np.sqrt(step @ matrix @ step))
    assert (step[held] == 0).all() and (x + step >= -1e-12).all() and (x + step <= 1 + 1e-12).all()
    assert ((pull == 0) | (np.abs(x + step - (pull > 0)) < 1e-12)).all(), "pulled where the bound is"
    if not held.all():
        damped = matrix + damping * np.diag(np.diag(matrix))
        own = np.vstack([jacobian, np.sqrt(damping * np.diag(np.diag(matrix)))])[:, ~held]
        target = np.append(residual, np.zeros(n))
        found = np.zeros(n)
        found[~held] = lsq_linear(own, target, (-x[~held] - 1e-15, 1 - x[~held] + 1e-15), "bvls", tol=1e-15).x

        def height(at):
            return 0.5 * at @ damped @ at - gradient @ at

        assert height(step) <= height(found) + 1e-9 * (abs(height(found)) + residual @ residual)


def test_a_matrix_without_a_factor_is_said_to_have_none():
    length, _, _, _ = step_of(np.ones((2, 2)), np.array([1.0, 2.0]), 0.0, np.full(2, 0.5), box_of(0.0, 1.0, FREE[:2]))
    assert np.isnan(length)
    length, _, step, _ = step_of(
        np.diag([4.0, 0.0]), np.array([1.0, 0.0]), 0.0, np.full(2, 0.5), box_of(0.0, 1.0, FREE[:2])
    )
    assert step.tolist() == [0.25, 0.0] and length == 0.5, "a parameter without effect stays"


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), size=st.floats(1e-3, 1e3))
def test_what_a_step_teaches_agrees_with_it_and_keeps_the_matrix_positive(seed, n, size):
    rng = np.random.default_rng(seed)
    jacobian, root = rng.normal(size=(n + 3, n)), rng.normal(size=(n, n))
    matrix, curvature = jacobian.T @ jacobian, size * (root + root.T)
    step, before, held = rng.normal(size=n), rng.normal(size=n), rng.uniform(size=n) < 0.1
    step[held] = 0.0
    after = before - (matrix + curvature) @ step
    beyond, found = np.zeros((n, n)), np.empty((n, n))
    known = learn(matrix, before, after, step, np.sqrt(step @ matrix @ step), held, beyond)
    if known:
        assert np.linalg.eigvalsh(matrix + beyond).min() > -1e-9 * np.linalg.eigvalsh(matrix).max()
        assert beyond == pytest.approx(beyond.T, rel=1e-6, abs=1e-6 * np.abs(beyond).max())
    change = np.where(held, 0.0, before - after)
    turn, curve = change @ step, step @ matrix @ step
    damped_bfgs(matrix, before, after, step, held, np.zeros((n, n)), found)
    if turn >= 0.2 * curve > 0:
        assert (matrix + found) @ step == pytest.approx(change, rel=1e-6, abs=1e-6 * np.abs(change).max())
    elif curve > 0:
        assert step @ (matrix + found) @ step == pytest.approx(0.2 * curve), "Powell's damping"


def test_the_rank_one_update_is_kept_where_the_matrix_stays_positive():
    matrix, step, before = np.diag([4.0, 2.0, 1.0]), np.array([0.2, -0.1, 0.3]), np.array([1.0, 0.5, 0.3])
    curvature = np.array([[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.8]])
    after = before - (matrix + curvature) @ step
    beyond, found = np.zeros((3, 3)), np.empty((3, 3))
    length = np.sqrt(step @ matrix @ step)
    rank_one(matrix, before, after, step, length, FREE, beyond, found)
    assert learn(matrix, before, after, step, length, FREE, beyond) and beyond.tolist() == found.tolist()
    assert beyond @ step == pytest.approx(curvature @ step) and np.linalg.matrix_rank(beyond, tol=1e-9) == 1
    assert positive(matrix, 0.9, beyond) and not positive(-matrix, 1.0, beyond)
    untold = np.diag([4.0, 2.0, 0.0])
    assert positive(untold, 1.0, np.zeros((3, 3))), "of the third parameter nothing is known"
