"""What the Gauss-Newton matrix H leaves out of the second derivatives of chi2, learnt from gradients at ends of steps.

B estimates the residuals times the second derivatives of the prediction (structured quasi-Newton, Dennis, Gay & Welsch
1981, ACM Trans. Math. Softw. 7, 348): without it noisy fits need twice the passes. It learns from a step that is taken
and from one that is not: where chi2 rises along a label that has hardly a signal, the curvature is what was missed. The
symmetric rank-one update makes H + B predict the gradient at the end of the step; where that would take its positive
eigenvalues, Powell's damped BFGS update keeps them (Nocedal & Wright 2006, Numerical Optimization, procedure 18.2).
"""

import numpy as np

from payneflow.fitting.engine.cholesky import LEAST_PIVOT, cholesky
from payneflow.simd import part

WELL_POSITIVE = 0.9  # B + 0.9 H is positive definite after a rank-one update
STILL_POSITIVE = 0.99  # B + 0.99 H is, or B is forgotten before a BFGS update
LEAST_TURN = 0.2  # of the expected change of the gradient along a step: Powell's constant


@part
def learn(matrix, gradient, gradient_new, step, length, held, beyond):
    """Let `beyond` (n, n), B, know the gradient at the end of a step; returns whether H + B is positive definite.

    `matrix` (n, n): H where the search goes on. `gradient`, `gradient_new` (n,): minus half the derivative of chi2 at
    both ends of `step` (n,), which is `length` sigma long. `held` (n,) bool.
    """
    n = len(step)
    found = np.empty((n, n))
    rank_one(matrix, gradient, gradient_new, step, length, held, beyond, found)
    if not positive(matrix, WELL_POSITIVE, found):
        if not positive(matrix, STILL_POSITIVE, beyond):
            beyond[:] = 0.0
        damped_bfgs(matrix, gradient, gradient_new, step, held, beyond, found)
        if not positive(matrix, 1.0, found):
            return False
    beyond[:] = found
    return True


@part
def positive(matrix, share, beyond):
    """Whether B + share H is positive definite, apart from parameters that nothing is known of."""
    n = len(matrix)
    both = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            both[i, j] = beyond[i, j] + share * matrix[i, j]
        if both[i, i] == 0.0 and matrix[i, i] == 0.0:
            both[i, i] = 1.0
    return cholesky(both, n, LEAST_PIVOT) == n


@part
def rank_one(matrix, gradient, gradient_new, step, length, held, beyond, found):
    """Write B after the symmetric rank-one update to `found`."""
    n = len(step)
    change = np.empty(n)  # what the new gradient has beyond the prediction of H + B
    along, square, step_square = 0.0, 0.0, 0.0
    for i in range(n):
        change[i] = gradient[i] - gradient_new[i]
        for j in range(n):
            change[i] -= (matrix[i, j] + beyond[i, j]) * step[j]
        if held[i]:
            change[i] = 0.0
        along += change[i] * step[i]
        square += change[i] * change[i]
        step_square += step[i] * step[i]
    forget = along <= -0.9 * length * length  # B was far too large, or H + B would become singular
    update = along * along > 1e-16 * square * step_square
    for i in range(n):
        for j in range(n):
            found[i, j] = 0.0 if forget else beyond[i, j]
            if update and not forget:
                found[i, j] += change[i] * change[j] / along


@part
def damped_bfgs(matrix, gradient, gradient_new, step, held, beyond, found):
    """Write B after the damped BFGS update of H + B to `found`; as it was where the step has no length."""
    n = len(step)
    expected, change = np.empty(n), np.empty(n)
    curve, turn = 0.0, 0.0
    for i in range(n):
        expected[i] = 0.0
        for j in range(n):
            expected[i] += (matrix[i, j] + beyond[i, j]) * step[j]
        curve += expected[i] * step[i]
        change[i] = 0.0 if held[i] else gradient[i] - gradient_new[i]
        turn += change[i] * step[i]
    if turn < LEAST_TURN * curve:
        share = (1.0 - LEAST_TURN) * curve / (curve - turn)
        for i in range(n):
            change[i] = share * change[i] + (1.0 - share) * expected[i]
        turn = LEAST_TURN * curve
    for i in range(n):
        for j in range(n):
            found[i, j] = beyond[i, j]
            if turn > 0.0:
                found[i, j] += change[i] * change[j] / turn - expected[i] * expected[j] / curve
