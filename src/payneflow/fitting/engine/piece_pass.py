"""The kernel that looks at pieces of stars, such as visits or arms, at parameters that all pieces of a star share.

Each piece was fitted alone before (general_fit.py), which left its pixels as they count, outliers left out. A pass over
a piece gives what it adds to chi2 of its star. The first one, in single precision, brings the star near; it also tells
what the residual says of the model (alternatives.py). All others are in double precision.
"""

from functools import cache

from payneflow.fitting.engine.alternatives import build_score
from payneflow.fitting.engine.arguments import GeneralProblem
from payneflow.fitting.engine.broaden import NO_BROADENING
from payneflow.fitting.engine.continuum import sum_terms
from payneflow.fitting.engine.general_pass import STAY, build_general_pass
from payneflow.fitting.engine.scatter import extra_scatter, is_needed
from payneflow.simd import kernel
from payneflow.weights import LOGISTIC


@cache
def build_piece_pass(n_label, n_neurons, n_term, move, velocity, uneven, n_broad=NO_BROADENING, kind=LOGISTIC):
    """The kernel for networks of this size; arguments as those of `build_general_fit`."""
    n_slope = n_label + max(n_broad, 0)
    n_parameter, stays = n_slope + 1 if velocity else n_slope, move == STAY
    evaluate = build_general_pass(n_label, n_neurons, n_term, move, velocity, uneven, n_broad, kind)
    score = build_score(n_parameter, n_term, velocity)

    @kernel
    def look_at_all(
        weights, terms, taps, axes, alternatives, broadening, kept, rows, x, dof, gradient, written, memory
    ):
        """Write chi2, matrix, continua and `gradient` (n, n_parameter) of pieces at x (n, n_parameter), without priors.

        `rows` (n_row,): which of the n pieces. `dof` (n,): degrees of freedom of those that are looked at in single
        precision, which get scores and scatter; -1: in double precision. All else as in `fit_all`.
        """
        chi2, matrix, continua, ranges = written.chi2, written.matrix, written.continua, axes.ranges
        y, weight, continuum, single = memory.data.y, memory.data.weight, memory.data.continuum, memory.single
        level = memory.alternatives.level
        for r in range(len(rows)):
            i = rows[r]
            for k in range(len(y)):
                y[k], weight[k] = kept.y[i, k], kept.weight[i, k]
            if dof[i] < 0:
                problem = GeneralProblem(
                    weights.double, y, weight, terms.fitted.double, axes, kept.n_solved[i], taps.double,
                    memory.moved.double, continua[i], broadening,
                )  # fmt: skip
                chi2[i] = evaluate(problem, x[i], gradient[i], matrix[i])
                continue
            for k in range(len(y)):
                single.y[k], single.weight[k] = y[k], weight[k]
            single_problem = GeneralProblem(
                weights.single, single.y, single.weight, terms.fitted.single, axes, kept.n_solved[i], taps.single,
                memory.moved.single, continua[i], broadening,
            )  # fmt: skip
            chi2[i] = evaluate(single_problem, x[i], gradient[i], matrix[i])
            sum_terms(continua[i], terms.fitted.single, ranges, level)
            model = memory.moved.single.rest if stays else memory.moved.single.moved
            score(
                single.y, single.weight, model, terms.fitted.single, level, alternatives, memory.alternatives, written,
                i,
            )  # fmt: skip
            written.extra_scatter[i] = 0.0
            if is_needed(chi2[i], dof[i]):
                for k in range(len(y)):
                    continuum[k] = level[k]
                    y[k] -= level[k] * model[k]
                written.extra_scatter[i] = extra_scatter(y, weight, continuum, dof[i])

    return look_at_all
