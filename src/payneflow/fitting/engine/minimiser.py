"""The least chi2 of one spectrum in a box of parameters: damped Gauss-Newton steps, first in single precision.

A step solves (S + damping diag S) step = gradient. In single precision S is the Gauss-Newton matrix H = sum w J J'; it
stops when a step is shorter than ROUGH_END sigma. In double precision S = H + B, where B is a symmetric rank-one
estimate of what H leaves out, the residuals times the second derivatives of the prediction (structured quasi-Newton,
Dennis, Gay & Welsch 1981, ACM Trans. Math. Softw. 7, 348): without it noisy fits need twice the passes.

The length of a step is in sigma: (step' H step)^(1/2). Steps of a converging search shrink by a nearly constant factor,
so the last two lengths predict the next: a fit ends when what is left to go is below the tolerance, and its last step
is taken without another pass.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.cholesky import LEAST_PIVOT, TINY, cholesky, solve_factored
from payneflow.simd import part

ROUGH_END = 0.1  # sigma: single precision has brought the fit so near
FIRST_DAMPING, DAMPING_UP, DAMPING_DOWN = 0.01, 10.0, 0.1
NO_DAMPING, MOST_DAMPING = 1e-4, 1e8  # below the first there is none; above the second no step lowers chi2
LONGEST_LAST = 0.3  # sigma: a longer step is never taken without another pass
ROUNDING_STEP = 1e-3  # sigma: chi2 of so short a step differs by rounding alone

CONVERGED, ROUNDED, STUCK, TOO_MANY = range(4)  # how a search ended


class Box(NamedTuple):
    """What a search needs of the n parameters: scaled labels and, where it is fitted, the shift in places."""

    lowest: np.ndarray  # (n,) bounds, in the parameter's unit
    highest: np.ndarray  # (n,)
    held: np.ndarray  # (n,) bool, parameters that stay where they start
    prior_mean: np.ndarray  # (n,) in the parameter's unit
    prior_weight: np.ndarray  # (n,) 1/sigma^2 of the prior; 0: none


@part
def bounded_step(matrix, gradient, damping, x, box, step):
    """The damped step that stays in the box; returns its length in sigma.

    A parameter that would leave the box goes to its bound, and the others are solved for again.
    """
    lowest, highest, held = box.lowest, box.highest, box.held
    n = len(x)
    free = np.empty(n, np.bool_)
    a = np.empty((n, n))
    b = np.empty(n)
    for i in range(n):
        step[i] = 0.0
        outward = (x[i] <= lowest[i] and gradient[i] < 0.0) or (x[i] >= highest[i] and gradient[i] > 0.0)
        free[i] = not (held[i] or outward)
    for _ in range(n + 1):
        for i in range(n):
            b[i] = gradient[i] if free[i] else step[i]
            for j in range(n):
                a[i, j] = matrix[i, j] if free[i] and free[j] else 0.0
                if free[i] and not free[j]:
                    b[i] -= matrix[i, j] * step[j]
            a[i, i] = a[i, i] * (1.0 + damping) + TINY if free[i] else 1.0
        if cholesky(a, n, LEAST_PIVOT) < n:
            return np.nan
        solve_factored(a, b, n)
        worst, over = -1, 1.0
        for i in range(n):
            step[i] = b[i]
            room = (highest[i] - x[i] if step[i] > 0.0 else x[i] - lowest[i]) + TINY
            if free[i] and abs(step[i]) / room > over:
                worst, over = i, abs(step[i]) / room
        if worst < 0:
            break
        free[worst] = False
        step[worst] = highest[worst] - x[worst] if step[worst] > 0.0 else lowest[worst] - x[worst]
    square = 0.0
    for i in range(n):
        for j in range(n):
            square += step[i] * matrix[i, j] * step[j]
    return max(square, 0.0) ** 0.5


@cache
def build_minimiser(evaluate, n):
    """The search for the least chi2 of `n` parameters, whose passes are `evaluate(problem, x, gradient, matrix)`."""

    @part
    def measure(problem, rough, box, x, gradient, matrix):
        """chi2 with the priors; gradient and matrix are written."""
        chi2 = evaluate(problem.single, x, gradient, matrix) if rough else evaluate(problem.double, x, gradient, matrix)
        mean, weight = box.prior_mean, box.prior_weight
        for i in range(n):
            if weight[i] > 0.0:
                away = mean[i] - x[i]
                chi2 += weight[i] * away * away
                gradient[i] += weight[i] * away
                matrix[i, i] += weight[i]
        return chi2

    @part
    def minimise(problem, box, x, tolerance, most, rough, last, matrix):
        """Move x (n,) to the least chi2 in the box.

        `problem`: Precisions; `rough`: in the single one, and only until it is near.
        `box`: Box. `tolerance` in sigma; `most` passes; `last`: length of the step before, in sigma. `matrix` (n, n) is
        that of the last pass, priors included.
        Returns chi2 with priors at the end, as the last pass predicts it, the number of passes, how the search ended
        (CONVERGED, ROUNDED, STUCK, TOO_MANY), and the length of the last step.
        """
        gradient, step, x_new, gradient_new, change = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
        matrix_new, hessian, beyond, trial = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
        chi2 = measure(problem, rough, box, x, gradient, matrix)
        for i in range(n):
            for j in range(n):
                hessian[i, j], beyond[i, j] = matrix[i, j], 0.0
        passes, damping = 1, 0.0
        while True:
            length = bounded_step(hessian, gradient, damping, x, box, step)
            for i in range(n):
                x_new[i] = min(max(x[i] + step[i], box.lowest[i]), box.highest[i])
            if damping < FIRST_DAMPING:
                if rough:
                    near = length < tolerance
                else:
                    near = length < tolerance or (length < LONGEST_LAST and length * length < tolerance * last)
                if near:
                    for i in range(n):
                        x[i] = x_new[i]
                    return chi2 - length * length, passes, CONVERGED, length
            if passes >= most:
                return chi2, passes, TOO_MANY, last
            chi2_new = measure(problem, rough, box, x_new, gradient_new, matrix_new)
            passes += 1
            if chi2_new < chi2 or (length < ROUNDING_STEP and not rough):
                if not rough:
                    # e: what the new gradient has beyond the prediction of H + B
                    along, square, step_square = 0.0, 0.0, 0.0
                    for i in range(n):
                        change[i] = gradient[i] - gradient_new[i]
                        for j in range(n):
                            change[i] -= (matrix_new[i, j] + beyond[i, j]) * step[j]
                        if box.held[i]:
                            change[i] = 0.0
                        along += change[i] * step[i]
                        square += change[i] * change[i]
                        step_square += step[i] * step[i]
                    forget = along <= -0.9 * length * length  # B was far too large, or H + B would become singular
                    update = damping < FIRST_DAMPING and along * along > 1e-16 * square * step_square
                    for i in range(n):
                        for j in range(n):
                            if forget:
                                beyond[i, j] = 0.0
                            elif update:
                                beyond[i, j] += change[i] * change[j] / along
                            trial[i, j] = beyond[i, j] + 0.9 * matrix_new[i, j]
                    bad = cholesky(trial, n, LEAST_PIVOT) < n  # S would not be well positive definite
                else:
                    bad = True
                chi2, last = chi2_new, length
                for i in range(n):
                    x[i], gradient[i] = x_new[i], gradient_new[i]
                    for j in range(n):
                        beyond[i, j] = 0.0 if bad else beyond[i, j]
                        matrix[i, j] = matrix_new[i, j]
                        hessian[i, j] = matrix[i, j] + beyond[i, j]
                damping = damping * DAMPING_DOWN if damping > NO_DAMPING else 0.0
            elif rough and length < 1.0:
                return chi2, passes, ROUNDED, last
            else:
                damping = max(DAMPING_UP * damping, FIRST_DAMPING)
                last = 0.0
                for i in range(n):
                    for j in range(n):
                        hessian[i, j], beyond[i, j] = matrix[i, j], 0.0
                if not damping < MOST_DAMPING:
                    return chi2, passes, STUCK, last

    return minimise
