"""The step of a search that stays in its box: the least of a parabola between bounds, exactly.

The parabola is step' A step / 2 - gradient' step with A = S + damping diag S. Parameters at a bound are the active set
of a primal method (Nocedal & Wright 2006, Numerical Optimization, section 16.5): the others go to their own least, or
until the first of them meets its bound and joins the set; where they have arrived, the parameter whose bound holds it
back most against the gradient leaves the set, until no bound does.
"""

import numpy as np

from payneflow.fitting.engine.cholesky import LEAST_PIVOT, TINY, cholesky, solve_factored
from payneflow.simd import part

LEAST_PULL = 1e-10  # sigma: a bound that holds a parameter back from so short a step is not worth leaving
MOST_CHANGES = 4  # of the active set, for each parameter: far more than there ever are


@part
def bounded_step(matrix, gradient, damping, x, box, step, pull):
    """Write the damped step that is best in the box; returns its length in sigma, and how much lower chi2 is after it.

    `matrix` (n, n) is S, `gradient` (n,) minus half the derivative of chi2 at x (n,), `box` a Box. Written are `step`
    (n,) and `pull` (n,): what is left of the gradient after it, which a bound holds back; 0 where none does. Neither
    that nor how much lower chi2 is knows the damping. The length is NaN where S has no Cholesky factor.
    """
    lowest, highest, held = box.lowest, box.highest, box.held
    n = len(x)
    free, low = np.empty(n, np.bool_), np.empty(n, np.bool_)
    a, b = np.empty((n, n)), np.empty(n)
    for i in range(n):
        step[i] = 0.0
        low[i] = x[i] <= lowest[i]
        outward = (low[i] and gradient[i] < 0.0) or (x[i] >= highest[i] and gradient[i] > 0.0)
        free[i] = not (held[i] or outward)
    for _ in range(MOST_CHANGES * n):
        for i in range(n):
            b[i] = gradient[i] if free[i] else step[i]
            for j in range(n):
                a[i, j] = matrix[i, j] if free[i] and free[j] else 0.0
                if free[i] and not free[j]:
                    b[i] -= matrix[i, j] * step[j]
            a[i, i] = a[i, i] * (1.0 + damping) + TINY if free[i] else 1.0
        if cholesky(a, n, LEAST_PIVOT) < n:
            return np.nan, 0.0
        solve_factored(a, b, n)
        first, share = -1, 1.0
        for i in range(n):
            room = highest[i] - x[i] - step[i] if b[i] > step[i] else step[i] - (lowest[i] - x[i])
            if free[i] and abs(b[i] - step[i]) * share > room:
                first, share = i, max(room, 0.0) / abs(b[i] - step[i])
        if first >= 0:
            low[first] = b[first] < step[first]
            for i in range(n):
                step[i] += share * (b[i] - step[i])
            free[first] = False
            step[first] = (lowest[first] if low[first] else highest[first]) - x[first]
            continue
        most, inmost = LEAST_PULL * LEAST_PULL, -1
        for i in range(n):
            step[i] = b[i]
            if free[i] or held[i]:
                continue
            force = gradient[i] - matrix[i, i] * damping * b[i]
            for j in range(n):
                force -= matrix[i, j] * b[j]
            inward = force > 0.0 if low[i] else force < 0.0
            if inward and force * force > most * matrix[i, i]:
                most, inmost = force * force / matrix[i, i], i
        if inmost < 0:
            break
        free[inmost] = True
    square, more = 0.0, 0.0
    for i in range(n):
        along = 0.0
        for j in range(n):
            along += matrix[i, j] * step[j]
            square += step[i] * matrix[i, j] * step[j]
        pull[i] = 0.0 if free[i] or held[i] else gradient[i] - along
        more += 2.0 * step[i] * pull[i]
    return max(square, 0.0) ** 0.5, max(square, 0.0) + more
