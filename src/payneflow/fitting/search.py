"""From starts to the best fit of one spectrum: single precision until near, double precision to the end."""

from functools import cache

import numpy as np

from payneflow.fitting.minimiser import ROUGH_END, build_minimiser
from payneflow.training.simd import part

AS_GOOD = 9.0  # a chi2 less than this above the best (3 sigma) may be the truth as well


@cache
def build_search(evaluate, n):
    """The search over the starts of `n` parameters, whose passes are `evaluate(problem, x, gradient, matrix)`."""
    minimise = build_minimiser(evaluate, n)
    rough_end, as_good = ROUGH_END, AS_GOOD

    @part
    def search(single, double, box, starts, tolerance, most, x, matrix):
        """Write the best parameters and the matrix of their last pass, priors included.

        `single` and `double` are the problem in either precision; `starts` (n_start, n); the rest as in `minimise`.
        Returns chi2 with priors, passes in all, how the best search ended, and whether another start ended more than
        1 sigma away with a chi2 as good.
        """
        trial, trial_matrix = np.empty(n), np.empty((n, n))
        best, best_ended, passes, disagree = np.inf, 0, 0, False
        for s in range(len(starts)):
            for i in range(n):
                trial[i] = min(max(starts[s, i], box[0][i]), box[1][i])
            chi2, more, ended, last = minimise(single, box, trial, rough_end, most, True, 0.0, trial_matrix)
            passes += more
            chi2, more, ended, last = minimise(double, box, trial, tolerance, most, False, last, trial_matrix)
            passes += more
            apart = 0.0
            for i in range(n):
                for j in range(n):
                    apart += (trial[i] - x[i]) * trial_matrix[i, j] * (trial[j] - x[j])
            if s > 0 and apart > 1.0 and abs(chi2 - best) < as_good:
                disagree = True
            if s == 0 or chi2 < best:
                if chi2 < best - as_good:
                    disagree = False
                best, best_ended = chi2, ended
                x[:] = trial
                matrix[:] = trial_matrix
        return best, passes, best_ended, disagree

    return search


@part
def without_priors(chi2, box, x):
    """chi2 of the data alone."""
    for i in range(len(x)):
        if box[4][i] > 0.0:
            chi2 -= box[4][i] * (box[3][i] - x[i]) ** 2
    return chi2
