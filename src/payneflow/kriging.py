"""Kriging: a smooth function of the labels from its values at some of them, and how smooth it is.

Kriging (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2, 4, 5) predicts a value as a
mean plus a smooth random function of the labels, of Matern 5/2 covariance. Its prediction is linear in the values: with
one smoothness for all pixels it is ONE matrix for all of them. `lengths` (n_label,) are the scaled labels over which
the function changes, `nugget` is the variance of what is not smooth, relative to that of the smooth function.

Not LAPACK and BLAS: their bits depend on the number of threads and on how many pixels come along.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from payneflow.simd import kernel
from payneflow.statistics import evenly

LENGTH_START, LENGTH_STEP = 1.5, 1.25  # of the search, in scaled labels (the grid is 0.8 wide) and as a factor
LENGTH_LEAST, LENGTH_MOST = 0.05, 50.0
NUGGET_START, NUGGET_STEP = 1e-8, 10.0
NUGGET_LEAST, NUGGET_MOST = 1e-10, 1.0
VARIANCE_LEAST = 1e-10  # flux^2, the 1e-5 of a tabulated flux; a constant pixel's variance stays above 0
ROWS = 256  # of a covariance are worked on at a time: its square is large, and what it takes five times as large
COLUMNS = 128  # of a matrix are worked on at a time, so that they stay in a near cache
AT_A_TIME = 8  # rows of flux that `weighted_sums` adds between two looks at a sum

SLOPE_SPECTRA, SLOPE_PIXELS = 200, 128  # that the descent looks at, at most, evenly spread
SLOPE_NUGGETS = 1e-3, 1e-1  # that it starts from
CLEAR_GAIN = 3.0  # in -2 log likelihood a pixel; the walk's fixed steps cost 0.6 on the demonstration grid
NO_MISFIT = 1e30  # in place of infinity, from which no line search comes back


def matern(a, b, lengths):
    """Matern 5/2 covariance (n_a, n_b) of unit variance between labels a (n_a, n_label) and b (n_b, n_label)."""
    covariance = np.empty((len(a), len(b)))
    for first in range(0, len(a), ROWS):
        some = slice(first, first + ROWS)
        square = np.zeros_like(covariance[some])
        for c, length in enumerate(lengths):  # label by label: the cube (n_a, n_b, n_label) may be large
            square += ((a[some, c, None] - b[:, c]) / length) ** 2
        r = np.sqrt(5 * square)
        covariance[some] = (1 + r + square * (5 / 3)) * np.exp(-r)
    return covariance


def kriging_matrix(labels, virtual, lengths, nugget):
    """(n_virtual, n_train): flux at `virtual` = matrix @ training flux, of least variance with each row's sum 1."""
    one = np.ones((len(labels), 1))
    across = matern(labels, virtual, lengths)
    solved = solve(matern(labels, labels, lengths), nugget, np.hstack([across, one]))
    weights, of_one = solved[:, :-1], solved[:, -1:]
    return np.ascontiguousarray((weights + of_one * (1 - weights.sum(0)) / of_one.sum()).T)


def kriging_lengths(labels, flux):
    """Lengths (n_label,) and nugget of greatest marginal likelihood, common to all pixels, each of its own variance.

    A walk in steps of a fixed factor: one length at a time, all together, the nugget. In noise it ends in a local
    optimum, of next to no nugget; `descended_lengths` is followed where it is clearly better.
    """
    n_label = labels.shape[1]
    centred = flux - flux.mean(0)
    moves = np.vstack([np.eye(n_label + 1), np.append(np.ones(n_label), 0)])
    factors = np.append(np.full(n_label, LENGTH_STEP), NUGGET_STEP)
    at = np.append(np.full(n_label, LENGTH_START), NUGGET_START)
    at = walk(lambda trial: _misfit(labels, centred, trial), at, moves, factors, _bounds(n_label), _least_gain)
    found = np.append(*descended_lengths(labels, flux))
    if _misfit(labels, centred, found) < _misfit(labels, centred, at) - CLEAR_GAIN:
        at = found
    return at[:-1], at[-1]


def descended_lengths(labels, flux):
    """Lengths (n_label,) and nugget as in `kriging_lengths`, where the gradient leads: the best end of several starts.

    labels (n, n_label), scaled; of flux (n, n_pixel) SLOPE_SPECTRA x SLOPE_PIXELS are looked at.
    """
    from scipy.optimize import minimize  # not where nothing is prepared

    n_label = labels.shape[1]
    rows = evenly(len(labels), SLOPE_SPECTRA)
    labels, some = labels[rows], flux[rows][:, evenly(flux.shape[1], SLOPE_PIXELS)]
    centred = np.ascontiguousarray(some - some.mean(0))

    def of_logarithms(trial):
        misfit, slope = misfit_and_slope(labels, centred, np.exp(trial))
        return min(misfit, NO_MISFIT), slope

    bounds = list(zip(*np.log(_bounds(n_label)), strict=True))
    starts = [np.log(np.append(np.full(n_label, LENGTH_START), nugget)) for nugget in SLOPE_NUGGETS]
    with ThreadPoolExecutor(len(starts)) as threads:  # most of the time is in kernels, which run side by side
        descend = partial(minimize, of_logarithms, jac=True, method="L-BFGS-B", bounds=bounds)
        ends = list(threads.map(descend, starts))
    best = np.exp(min(ends, key=lambda end: end.fun).x)
    return best[:-1], best[-1]


def _bounds(n_label):
    """The least and the most that lengths and nugget may be, (n_label + 1,) each."""
    least = np.append(np.full(n_label, LENGTH_LEAST), NUGGET_LEAST)
    return least, np.append(np.full(n_label, LENGTH_MOST), NUGGET_MOST)


def _least_gain(misfit):
    """Of a step of the walk: a part of the misfit that is far above rounding."""
    return 1e-9 * abs(misfit)


def walk(misfit, start, moves, factors, bounds, least_gain):
    """Where a walk from `start` (n,) in steps of fixed factors finds the smallest `misfit(at)`.

    Each of `moves` (n_move, n) multiplies `at` by `factors` (n,) to the power of the move, and then each of them is
    taken backwards. A move is repeated while it lowers the misfit by more than `least_gain(misfit)` and stays within
    `bounds`, two arrays (n,), up to 1 % beyond them. The walk ends after a round without a step. It may end in a local
    minimum.
    """
    least, most = bounds
    at = start
    best, moved = misfit(at), True
    while moved:
        moved = False
        for move in np.vstack([moves, -moves]):
            trial = at * factors**move
            while (trial > least * 0.99).all() and (trial < most * 1.01).all():  # on, as long as it gets better
                tried = misfit(trial)
                if not tried < best - least_gain(best):
                    break
                best, at, moved = tried, trial, True
                trial = at * factors**move
    return at


def _misfit(labels, centred, lengths_and_nugget):
    """-2 log marginal likelihood, mean over pixels, each pixel's mean and variance at their best; without constants."""
    n = len(labels)
    root = matern(labels, labels, lengths_and_nugget[:-1])
    root[np.diag_indices(n)] += lengths_and_nugget[-1]
    if not cholesky(root):  # repeated labels and next to no nugget
        return np.inf
    white = np.column_stack([centred, np.ones(n)])
    solve_lower(root, white)
    of_one = white[:, -1] / np.sqrt((white[:, -1] ** 2).sum())
    white = white[:, :-1]
    square = (white**2).sum(0) - (of_one[:, None] * white).sum(0) ** 2  # the mean is free
    log_determinant = 2 * np.log(np.diag(root)).sum()
    return (n - 1) * np.log(np.maximum(square, 0) / n + VARIANCE_LEAST).mean() + log_determinant


def misfit_and_slope(labels, centred, lengths_and_nugget):
    """What `_misfit` gives, and its derivatives (n_label + 1,) by the logarithms of lengths and nugget.

    Rasmussen & Williams (2006), equation 5.9, each pixel's mean and variance at their best. labels (n, n_label),
    centred flux (n, n_pixel). The misfit is infinite, and the slope 0, where the matrix is singular.
    """
    n = len(labels)
    lengths, nugget = lengths_and_nugget[:-1], lengths_and_nugget[-1]
    root, inverse = _root_and_inverse(labels, lengths, nugget)
    if inverse is None:
        return np.inf, np.zeros(len(lengths_and_nugget))
    solved = weighted_sums(without_mean(inverse), centred)
    square = np.maximum((centred * solved).sum(0), 0) + n * VARIANCE_LEAST
    misfit = (n - 1) * np.log(square / n).mean() + 2 * np.log(np.diag(root)).sum()
    by_element = inverse - (n - 1) / len(square) * weighted_sums(solved / square, np.ascontiguousarray(solved.T))
    return misfit, _by_logarithms(labels, lengths, nugget, by_element)


def left_out_and_slope(labels, values, told, lengths_and_nugget):
    """-2 log leave-one-out likelihood of `values` (n, k) at the rows `told` (n,) bool, a mean over these rows.

    And its derivatives (n_label + 1,) by the logarithms of lengths and nugget. Each row is predicted from all others,
    the mean is 0, each column has the variance that suits it (Rasmussen & Williams 2006, section 5.4.2). Infinite, and
    the slope 0, where the matrix is singular.
    """
    k = values.shape[1]
    lengths, nugget = lengths_and_nugget[:-1], lengths_and_nugget[-1]
    _, inverse = _root_and_inverse(labels, lengths, nugget)
    if inverse is None:
        return np.inf, np.zeros(len(lengths_and_nugget))
    solved = weighted_sums(inverse, values)
    some, size = solved[told], np.diag(inverse)[told]
    square = (some**2 / size[:, None]).sum(0)
    misfit = np.log(square / len(some)).sum() - k * np.log(size).mean()
    of_values = weighted_sums(np.ascontiguousarray(inverse[:, told]), 2 * some / size[:, None] / square)
    of_size = ((some**2 / square).sum(1) / size + k / len(some)) / size
    by_element = weighted_sums(inverse[:, told] * of_size, np.ascontiguousarray(inverse[told]))
    by_element -= weighted_sums(of_values, np.ascontiguousarray(solved.T))
    return misfit, _by_logarithms(labels, lengths, nugget, by_element)


def _root_and_inverse(labels, lengths, nugget):
    """Cholesky factor and inverse (n, n) of the covariance between labels (n, n_label); None for a singular one."""
    root = matern(labels, labels, lengths)
    root[np.diag_indices(len(labels))] += nugget
    if not cholesky(root):
        return root, None
    inverse = np.eye(len(labels))
    solve_lower(root, inverse)
    solve_upper(root, inverse)
    return root, inverse


def _by_logarithms(labels, lengths, nugget, by_element):
    """Derivatives (n_label + 1,) by the logarithms of lengths and nugget, from those by the covariance's elements."""
    squares = np.stack([((labels[:, c, None] - labels[:, c]) / length) ** 2 for c, length in enumerate(lengths)])
    r = np.sqrt(5 * squares.sum(0))
    by_square = by_element * ((5 / 3) * (1 + r) * np.exp(-r))
    return np.append([(by_square * square).sum() for square in squares], nugget * np.trace(by_element))


def left_out_lengths(labels, values, told, bounds, starts, most_iterations):
    """Lengths (n_label,) and nugget of the greatest leave-one-out likelihood, where its gradient leads.

    Arguments as in `left_out_and_slope`; `bounds`, two arrays (n_label + 1,), and `starts` (n_start, n_label + 1), of
    which the best end is taken.
    """
    from scipy.optimize import minimize  # not where nothing is calibrated

    def of_logarithms(trial):
        misfit, slope = left_out_and_slope(labels, values, told, np.exp(trial))
        return min(misfit, NO_MISFIT), slope

    least_and_most = list(zip(*np.log(bounds), strict=True))
    options = {"maxiter": most_iterations}
    ends = [
        minimize(of_logarithms, np.log(start), jac=True, method="L-BFGS-B", bounds=least_and_most, options=options)
        for start in starts
    ]
    best = np.exp(min(ends, key=lambda end: end.fun).x)
    return best[:-1], float(best[-1])


def without_mean(inverse):
    """The inverse (n, n) of a covariance, for values whose mean is free: its rows and columns sum to 0."""
    of_one = inverse.sum(1)
    return inverse - np.outer(of_one, of_one) / of_one.sum()


def solve(covariance, nugget, right):
    """(covariance + nugget)^-1 right; a nugget too small for the digits of a double is raised until it works."""
    while True:
        root = covariance.copy()
        root[np.diag_indices(len(root))] += nugget
        if cholesky(root):
            solved = right.copy()
            solve_lower(root, solved)
            solve_upper(root, solved)
            return solved
        nugget *= NUGGET_STEP


@kernel
def cholesky(matrix):
    """Put the Cholesky factor R, R'R = matrix, in place of its upper triangle; False if it is not positive definite."""
    n = len(matrix)
    for i in range(n):
        row = matrix[i, i:]
        for k in range(i):
            above, factor = matrix[k, i:], matrix[k, i]
            for j in range(n - i):
                row[j] -= factor * above[j]
        if not row[0] > 0:
            return False
        inverse = 1 / math.sqrt(row[0])
        for j in range(n - i):
            row[j] *= inverse
    return True


@kernel
def solve_lower(root, right):
    """right <- R'^-1 right, for `right` (n, n_column)."""
    n, n_column = right.shape
    for first in range(0, n_column, COLUMNS):
        last = min(first + COLUMNS, n_column)
        for i in range(n):
            row = right[i, first:last]
            for k in range(i):
                above, factor = right[k, first:last], root[k, i]
                for j in range(last - first):
                    row[j] -= factor * above[j]
            for j in range(last - first):
                row[j] /= root[i, i]


@kernel
def solve_upper(root, right):
    """right <- R^-1 right, for `right` (n, n_column)."""
    n, n_column = right.shape
    for first in range(0, n_column, COLUMNS):
        last = min(first + COLUMNS, n_column)
        for i in range(n - 1, -1, -1):
            row = right[i, first:last]
            for k in range(i + 1, n):
                below, factor = right[k, first:last], root[i, k]
                for j in range(last - first):
                    row[j] -= factor * below[j]
            for j in range(last - first):
                row[j] /= root[i, i]


@kernel
def weighted_sums(matrix, flux):
    """matrix @ flux, each sum in the order of the rows of flux; AT_A_TIME of these are near when they are added."""
    n_virtual, n_train = matrix.shape
    n_pixel = flux.shape[1]
    out = np.zeros((n_virtual, n_pixel))
    near = np.empty((AT_A_TIME, COLUMNS))
    whole = n_train - n_train % AT_A_TIME
    for first in range(0, n_pixel, COLUMNS):
        n = min(COLUMNS, n_pixel - first)
        for x in range(0, whole, AT_A_TIME):
            for j in range(AT_A_TIME):
                near[j, :n] = flux[x + j, first : first + n]
            for k in range(n_virtual):
                row, w = out[k, first : first + n], matrix[k, x : x + AT_A_TIME]
                a, b, c, d, e, f, g, h = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
                for i in range(n):
                    half = row[i] + a * near[0, i] + b * near[1, i] + c * near[2, i] + d * near[3, i]
                    row[i] = half + e * near[4, i] + f * near[5, i] + g * near[6, i] + h * near[7, i]
        for x in range(whole, n_train):
            for k in range(n_virtual):
                weight = matrix[k, x]
                for i in range(first, first + n):
                    out[k, i] += weight * flux[x, i]
    return out
