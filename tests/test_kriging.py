"""Kriging: its covariance, its linear algebra against numpy, and what looks for how smooth a function is."""

import numpy as np
import pytest

from payneflow.kriging import (
    COLUMNS,
    cholesky,
    descended_lengths,
    kriging_lengths,
    kriging_matrix,
    left_out_and_slope,
    left_out_lengths,
    matern,
    misfit_and_slope,
    solve,
    solve_lower,
    solve_upper,
    walk,
    weighted_sums,
)

N_COLUMN = [1, COLUMNS, COLUMNS + 3]


def random_labels(n):
    """Scaled labels (n, 3)."""
    return np.random.default_rng(0).uniform(0.1, 0.9, (n, 3))


def positive_definite(n):
    root = np.random.default_rng(n).normal(size=(n, n))
    return root @ root.T + n * np.eye(n)


def test_matern_is_the_published_function():
    r = np.sqrt(5) * 0.5 / 2.0
    expected = (1 + r + r * r / 3) * np.exp(-r)
    assert matern(np.array([[0.5, 0.2]]), np.array([[0.0, 0.2]]), [2.0, 1.0]) == pytest.approx(expected)


def test_a_covariance_is_that_of_its_pairs_whatever_is_worked_on_together():
    labels = random_labels(600)
    together = matern(labels, labels[:40], [1.0, 0.5, 2.0])
    alone = [matern(labels[i : i + 1], labels[:40], [1.0, 0.5, 2.0])[0] for i in range(600)]
    assert np.array_equal(together, alone)
    assert (together[np.arange(40), np.arange(40)] == 1).all()


def test_kriging_goes_through_the_training_spectra_and_keeps_a_constant():
    labels = random_labels(60)
    flux = np.exp(-labels @ np.array([[1.0, 0.5], [0.2, 2.0], [0.7, 0.1]]))
    matrix = kriging_matrix(labels, labels, np.full(3, 1.0), 1e-10)
    np.testing.assert_allclose(matrix @ flux, flux, atol=1e-7)
    elsewhere = kriging_matrix(labels, labels + 0.03, np.full(3, 1.0), 1e-8)
    np.testing.assert_allclose(elsewhere.sum(1), 1, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 17, 60])
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


@pytest.mark.parametrize(("n", "n_column"), [(1, 1), (7, 3), (60, 300)])
def test_linear_systems_are_solved_as_numpy_solves_them(n, n_column):
    rng = np.random.default_rng(n)
    half, right = rng.normal(size=(n, n)), rng.normal(size=(n, n_column))
    matrix = half @ half.T + np.eye(n)
    kept = right.copy()
    np.testing.assert_allclose(solve(matrix, 0.5, right), np.linalg.solve(matrix + 0.5 * np.eye(n), right), atol=1e-10)
    assert np.array_equal(right, kept)


def test_a_nugget_too_small_for_the_digits_is_raised():
    singular = np.ones((4, 4))
    assert not cholesky(singular.copy()) and not cholesky(np.full((2, 2), np.nan))
    solved = solve(singular, 1e-20, np.ones((4, 1)))
    assert (solved > 0).all() and solved.sum() == pytest.approx(1)


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


def test_a_label_without_effect_gets_a_long_length():
    labels = random_labels(80)
    flux = np.exp(-labels @ np.array([[1.0, 2.5], [0.0, 0.0], [0.7, 0.1]]))  # the middle label does nothing
    lengths, _ = kriging_lengths(labels, flux)
    assert lengths[1] > 3 * lengths[0]


def noisy_bumps(n, n_pixel, noise, seed=0):
    """Scaled labels (n, 3) and flux (n, n_pixel) of lines that are deep in a part of the grid, with normal noise."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0.1, 0.9, (n, 3))
    distance = labels @ rng.normal(size=(3, n_pixel)) - rng.uniform(-0.5, 0.5, n_pixel)
    flux = 1 - rng.uniform(0.01, 0.5, n_pixel) * np.exp(-((3 * distance) ** 2))
    return labels, flux + noise * rng.normal(size=flux.shape)


@pytest.mark.parametrize("at", [[1.5, 1.5, 1.5, 1e-3], [0.4, 2.0, 9.0, 1e-1], [5.0, 0.7, 1.0, 1e-5]])
def test_the_slope_is_that_of_the_misfit(at):
    labels, flux = noisy_bumps(40, 7, 0.01)
    centred, at, step = flux - flux.mean(0), np.array(at), 1e-4
    _, slope = misfit_and_slope(labels, centred, at)
    for i in range(4):
        up, down = (np.where(np.arange(4) == i, at * np.exp(sign * step), at) for sign in (1, -1))
        ends = [misfit_and_slope(labels, centred, one)[0] for one in (up, down)]
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-4)


def test_the_misfit_of_a_singular_matrix_is_infinite():
    labels = np.full((9, 2), 0.3)
    misfit, slope = misfit_and_slope(labels, np.random.default_rng(0).normal(size=(9, 4)), np.array([1.0, 1.0, 1e-30]))
    assert misfit == np.inf and (slope == 0).all()


@pytest.mark.parametrize("at", [[1.5, 1.5, 1.5, 1e-3], [0.4, 2.0, 9.0, 1e-1]])
def test_the_leave_one_out_misfit_is_that_of_predictions_and_has_its_slope(at):
    labels, flux = noisy_bumps(30, 4, 0.01)
    values, told, at, step = flux - flux.mean(0), np.arange(30) % 3 > 0, np.array(at), 1e-4
    covariance = matern(labels, labels, at[:-1]) + at[-1] * np.eye(30)
    square, variance = [], []
    for row in np.flatnonzero(told):
        others = np.arange(30) != row
        weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, row])
        variance.append(covariance[row, row] - covariance[row, others] @ weights)
        square.append((values[row] - weights @ values[others]) ** 2 / variance[-1])
    misfit, slope = left_out_and_slope(labels, values, told, at)
    assert misfit == pytest.approx(np.log(np.mean(square, axis=0)).sum() + 4 * np.mean(np.log(variance)))
    for i in range(4):
        up, down = (np.where(np.arange(4) == i, at * np.exp(sign * step), at) for sign in (1, -1))
        ends = [left_out_and_slope(labels, values, told, one)[0] for one in (up, down)]
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-4)


def test_leave_one_out_lengths_tell_a_label_that_does_not_act_and_stay_within_bounds():
    labels = random_labels(80)
    values = np.sin(labels @ np.array([[6.0], [0.0], [3.0]]))
    bounds, starts = ([0.05] * 3 + [1e-6], [20.0] * 3 + [1.0]), np.array([[0.5] * 3 + [1e-2], [2.0] * 3 + [1e-2]])
    lengths, nugget = left_out_lengths(labels, values, np.ones(80, bool), bounds, starts, 50)
    assert lengths[1] > 5 * lengths[0] and lengths[2] > lengths[0]
    assert nugget < 1e-4 and (lengths >= 0.049).all() and (lengths <= 20.1).all()


def test_the_leave_one_out_misfit_of_a_singular_matrix_is_infinite():
    labels = np.full((9, 2), 0.3)
    misfit, slope = left_out_and_slope(labels, np.ones((9, 2)), np.ones(9, bool), np.array([1.0, 1.0, 1e-30]))
    assert misfit == np.inf and (slope == 0).all()


def test_noise_is_found_where_the_walk_alone_ends_in_a_local_optimum(monkeypatch):
    labels, flux = noisy_bumps(80, 40, 0.01)
    found = np.append(*kriging_lengths(labels, flux))
    monkeypatch.setattr("payneflow.kriging.CLEAR_GAIN", np.inf)
    walked = np.append(*kriging_lengths(labels, flux))
    gain = misfit_of(labels, flux, walked) - misfit_of(labels, flux, found)
    assert gain > 5 and found[-1] > 5 * walked[-1]
    assert np.array_equal(found, np.append(*descended_lengths(labels, flux)))


def test_what_the_walk_finds_stays_where_no_optimum_is_clearly_better(monkeypatch):
    labels, flux = noisy_bumps(60, 20, 0.0)
    found = np.append(*kriging_lengths(labels, flux))
    monkeypatch.setattr("payneflow.kriging.descended_lengths", lambda *_: (found[:-1] * 1.001, found[-1]))
    assert np.array_equal(np.append(*kriging_lengths(labels, flux)), found)


def misfit_of(labels, flux, at):
    return misfit_and_slope(labels, flux - flux.mean(0), at)[0]
