"""From starts to the best fit of one spectrum: single precision until near, double precision to the end."""

from functools import cache

import numpy as np

from payneflow.fitting.engine.minimiser import END_OF_PIECE, ROUGH_END, build_minimiser
from payneflow.fitting.engine.widths import floored_width
from payneflow.simd import part

AS_GOOD = 9.0  # a chi2 less than this above the best (3 sigma) may be the truth as well


@cache
def build_search(evaluate, n):
    """The search over the starts of `n` parameters, whose passes are `evaluate(problem, x, gradient, matrix)`."""
    minimise = build_minimiser(evaluate, n)
    rough_end, end_of_piece, as_good = ROUGH_END, END_OF_PIECE, AS_GOOD

    @part
    def search(problem, box, starts, limits, x, matrix, pull):
        """Write the best parameters, the matrix of their last pass, priors included, and the pull at bounds (n,).

        `problem`: Precisions; `box`: Box; `starts`: (n_start, n), in the parameters' units; `limits`: Limits.
        Returns chi2 with priors, passes in all, how the best search ended, and whether another start ended more than
        1 sigma away with a chi2 as good.
        """
        trial, trial_matrix = np.empty(n), np.empty((n, n))
        trial_pull, beyond = np.empty(n), np.empty((n, n))
        best, best_ended, passes, disagree = np.inf, 0, 0, False
        for s in range(len(starts)):
            for i in range(n):
                trial[i] = min(max(starts[s, i], box.lowest[i]), box.highest[i])
            chi2, ended, last = np.inf, 0, 0.0
            beyond[:] = 0.0
            for stage in range(2):
                rough = stage == 0
                near = max(rough_end, limits.tolerance) if rough else limits.tolerance
                if not rough and not near < end_of_piece:  # of a piece single precision is near enough
                    break
                chi2, more, ended, last = minimise(
                    problem, box, trial, near, limits.most_passes, rough, last, beyond, trial_matrix, trial_pull
                )
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
                for i in range(n):
                    x[i], pull[i] = trial[i], trial_pull[i]
                    for j in range(n):
                        matrix[i, j] = trial_matrix[i, j]
        return best, passes, best_ended, disagree

    return search


@part
def bound(box, start, lowest, highest):
    """Bounds of one spectrum's parameters: those of the box; what is held stays where it starts."""
    for i in range(len(start)):
        lowest[i] = start[i] if box.held[i] else box.lowest[i]
        highest[i] = start[i] if box.held[i] else box.highest[i]


@part
def without_priors(chi2, box, x):
    """chi2 of the data alone."""
    for i in range(len(x)):
        if box.prior_weight[i] > 0.0:
            value = floored_width(x[i]) if box.is_width[i] else x[i]
            chi2 -= box.prior_weight[i] * (box.prior_mean[i] - value) ** 2
    return chi2
