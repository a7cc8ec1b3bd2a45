"""The least chi2 of one spectrum in a box of parameters: damped Gauss-Newton steps, first in single precision.

A step solves (S + damping diag S) step = gradient in the box (bounded_step.py). S = H + B, where H is the Gauss-Newton
matrix sum w J J' and B an estimate of what it leaves out (curvature.py). A step that raises chi2 is not taken, but B
learns from it; damping grows where that is not enough. In single precision it stops when a step is shorter than
ROUGH_END sigma, or when steps shrink no more, because they are rounding.

The length of a step is in sigma: (step' H step)^(1/2). Steps of a converging search shrink by a nearly constant factor,
so the last two lengths predict the next: a fit ends when what is left to go is below the tolerance, and its last step
is taken without another pass.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.bounded_step import bounded_step
from payneflow.fitting.engine.curvature import learn, positive
from payneflow.fitting.engine.widths import SOFT, floored_width
from payneflow.simd import part

ROUGH_END = 0.001  # sigma: single precision brings the fit so near
END_OF_PIECE = 0.1  # sigma: where the fit of a piece of a star alone ends, before the star is fitted
FIRST_DAMPING, DAMPING_UP, DAMPING_DOWN = 0.01, 10.0, 0.1
NO_DAMPING, MOST_DAMPING = 1e-4, 1e8  # below the first there is none; above the second no step lowers chi2
LONGEST_LAST = 0.3  # sigma: a longer step is never taken without another pass
ROUNDING_STEP, ROUGH_ROUNDING_STEP = 1e-3, 0.03  # sigma: chi2 of so short a step differs by rounding alone
LEAST_SHRINKING = 0.8  # of the step before: short steps in single precision that stay longer are rounding
LONGEST_LEARNT = 3.0  # sigma: over a longer step in single precision, H changes more than B can tell

CONVERGED, ROUNDED, STUCK, TOO_MANY = range(4)  # how a search ended


class Box(NamedTuple):
    """What a search needs of the n parameters: scaled labels, widths (broaden.py), and the shift in places."""

    lowest: np.ndarray  # (n,) bounds, in the parameter's unit
    highest: np.ndarray  # (n,)
    held: np.ndarray  # (n,) bool, parameters that stay where they start
    prior_mean: np.ndarray  # (n,) in the parameter's unit
    prior_weight: np.ndarray  # (n,) 1/sigma^2 of the prior; 0: none
    is_width: np.ndarray  # (n,) bool, parameters of a broadening: their priors are of the width in places


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
                away, slope = mean[i] - x[i], 1.0
                if box.is_width[i]:
                    width = floored_width(x[i])
                    away, slope = mean[i] - width, (x[i] + SOFT) / width
                chi2 += weight[i] * away * away
                gradient[i] += weight[i] * away * slope
                matrix[i, i] += weight[i] * slope * slope
        return chi2

    @part
    def minimise(problem, box, x, tolerance, most, rough, last, beyond, matrix, pull):
        """Move x (n,) to the least chi2 in the box.

        `problem`: Precisions; `rough`: in the single one, and only until it is near.
        `box`: Box. `tolerance` in sigma; `most` passes; `last`: length of the step before, in sigma; `beyond` (n, n) is
        B, which is known from the single precision in the double one. `matrix` (n, n) is that of the last pass, priors
        included; `pull` (n,): see bounded_step.
        Returns chi2 with priors at the end, as the last pass predicts it, the number of passes, how the search ended
        (CONVERGED, ROUNDED, STUCK, TOO_MANY), and the length of the last step.
        """
        gradient, step, x_new, gradient_new = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
        matrix_new, hessian = np.empty((n, n)), np.empty((n, n))
        chi2 = measure(problem, rough, box, x, gradient, matrix)
        if not positive(matrix, 1.0, beyond):
            beyond[:] = 0.0
        for i in range(n):
            for j in range(n):
                hessian[i, j] = matrix[i, j] + beyond[i, j]
        rounding, longest = (ROUGH_ROUNDING_STEP, LONGEST_LEARNT) if rough else (ROUNDING_STEP, np.inf)
        passes, damping, failed = 1, 0.0, 0
        while True:
            length, lower = bounded_step(hessian, gradient, damping, x, box, step, pull)
            if not length >= 0.0:  # S is singular: with damping it is not
                damping = max(DAMPING_UP * damping, FIRST_DAMPING)
                if not damping < MOST_DAMPING:
                    return chi2, passes, STUCK, last
                continue
            for i in range(n):
                x_new[i] = min(max(x[i] + step[i], box.lowest[i]), box.highest[i])
            if damping < FIRST_DAMPING:
                if length < tolerance or (length < LONGEST_LAST and length * length < tolerance * last):
                    for i in range(n):
                        x[i] = x_new[i]
                    return chi2 - lower, passes, CONVERGED, length
                if rough and length < rounding and length > LEAST_SHRINKING * last > 0.0:
                    return chi2, passes, ROUNDED, last
            if passes >= most:
                return chi2, passes, TOO_MANY, last
            chi2_new = measure(problem, rough, box, x_new, gradient_new, matrix_new)
            passes += 1
            if chi2_new < chi2 or length < rounding:
                known = length < longest and learn(matrix_new, gradient, gradient_new, step, length, box.held, beyond)
                chi2, last, failed = chi2_new, length, 0
                for i in range(n):
                    x[i], gradient[i] = x_new[i], gradient_new[i]
                    for j in range(n):
                        matrix[i, j] = matrix_new[i, j]
                damping = damping * DAMPING_DOWN if damping > NO_DAMPING else 0.0
            else:
                known = length < longest and learn(matrix, gradient, gradient_new, step, length, box.held, beyond)
                last, failed = 0.0, failed + 1
                if not known or failed > 1:
                    damping = max(DAMPING_UP * damping, FIRST_DAMPING)
                    if not damping < MOST_DAMPING:
                        return chi2, passes, STUCK, last
            for i in range(n):
                for j in range(n):
                    beyond[i, j] = beyond[i, j] if known else 0.0
                    hessian[i, j] = matrix[i, j] + beyond[i, j]

    return minimise
