"""Kriging's linear algebra against numpy, and the walk that looks for how smooth a function is."""

import numpy as np
import pytest

from payneflow.kriging import COLUMNS, cholesky, solve_lower, solve_upper, walk, weighted_sums

N_COLUMN = [1, COLUMNS, COLUMNS + 3]


def positive_definite(n):
    root = np.random.default_rng(n).normal(size=(n, n))
    return root @ root.T + n * np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 17])
def test_the_cholesky_factor_is_that_of_numpy(n):
    matrix = positive_definite(n)
    root = matrix.copy()
    assert cholesky(root)
    np.testing.assert_allclose(np.triu(root), np.linalg.cholesky(matrix).T, rtol=1e-12, atol=1e-12)


def test_a_matrix_that_is_not_positive_definite_is_told():
    assert not cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("n_column", N_COLUMN)
def test_triangular_systems_are_solved_as_by_numpy(n_column):
    root = np.linalg.cholesky(positive_definite(9)).T
    right = np.random.default_rng(1).normal(size=(9, n_column))
    lower, upper = right.copy(), right.copy()
    solve_lower(root, lower)
    solve_upper(root, upper)
    np.testing.assert_allclose(lower, np.linalg.solve(root.T, right), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(upper, np.linalg.solve(root, right), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_column", N_COLUMN)
def test_weighted_sums_are_a_matrix_product(n_column):
    rng = np.random.default_rng(2)
    matrix, flux = rng.normal(size=(5, 7)), rng.normal(size=(7, n_column))
    np.testing.assert_allclose(weighted_sums(matrix, flux), matrix @ flux, rtol=1e-12, atol=1e-12)


def walk_to(target, start, most=100.0, least_gain=0.0):
    def misfit(at):
        return float((np.log2(at / target) ** 2).sum())

    bounds = np.full(2, 1 / 100), np.full(2, most)
    return walk(misfit, np.array(start), np.eye(2), np.full(2, 2.0), bounds, lambda _: least_gain)


def test_the_walk_ends_at_the_minimum_on_its_lattice():
    assert walk_to(np.array([8.0, 0.25]), [1.0, 1.0]).tolist() == [8.0, 0.25]
    assert walk_to(np.array([1.0, 1.0]), [1.0, 1.0]).tolist() == [1.0, 1.0]


def test_the_walk_stays_within_its_bounds():
    assert walk_to(np.array([64.0, 1.0]), [1.0, 1.0], most=8.0).tolist() == [8.0, 1.0]


def test_the_walk_takes_no_step_for_too_small_a_gain():
    assert walk_to(np.array([8.0, 1.0]), [1.0, 1.0], least_gain=4.0).tolist() == [2.0, 1.0], "gains 5, then 3"
