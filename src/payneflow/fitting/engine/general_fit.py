"""The kernel that fits everything: labels, a velocity, continua, on the networks' own pixels or on others.

For one spectrum after the other: which pixels count; division by its own continuum; the velocity by correlation; an
estimate of the labels at that velocity; the emulator's error added to the noise where the velocity puts it; the search.
"""

from functools import cache

import numpy as np

from payneflow.fitting.engine.alternatives import build_score
from payneflow.fitting.engine.arguments import (
    DISAGREE,
    ENDED,
    FOUND,
    OUTLIERS,
    PASSES,
    SCORE,
    SECOND_SCORE,
    TERMS,
    USED,
    GeneralProblem,
    Precisions,
)
from payneflow.fitting.engine.broaden import NO_BROADENING
from payneflow.fitting.engine.continuum import build_flatten, build_terms, sum_terms
from payneflow.fitting.engine.correlation import build_correlate
from payneflow.fitting.engine.general_pass import STAY, build_general_pass
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.outliers import MOST_FITS, leave_out_impossible, leave_out_outliers, no_outliers
from payneflow.fitting.engine.pixels import count_used, select_pixels
from payneflow.fitting.engine.scatter import extra_scatter, is_needed
from payneflow.fitting.engine.search import bound, build_search, without_priors
from payneflow.fitting.engine.starts import build_estimate
from payneflow.simd import kernel, part
from payneflow.weights import LOGISTIC


@part
def to_rest(flat, weight, left, fraction, flat_rest, weight_rest, product_rest):
    """A flattened spectrum put on the rest axis (float32), linearly between the data's places left and left + 1.

    left < 0: no data there. Only correlation and label estimate see the result; what is fitted is the data.
    """
    for q in range(len(left)):
        i = left[q]
        if i < 0:
            continue
        f = fraction[q]
        value, inverse = flat[i], weight[i]
        if f > 0.0:
            inverse = min(inverse, weight[i + 1])
            value = (1.0 - f) * value + f * flat[i + 1]
        if not inverse > 0.0:
            value = inverse = 0.0
        flat_rest[q], weight_rest[q], product_rest[q] = value, inverse, value * inverse


@part
def at_shift(flat_rest, weight_rest, delta, ranges, starts, y, weight):
    """What an emulator at rest would see of a spectrum shifted by delta, on the emulator's padded axis, float32."""
    whole = int(np.floor(delta))
    f = np.float32(delta - whole)
    for s in range(len(ranges)):
        ahead = starts[s] - ranges[s, 0] + whole
        for place in range(ranges[s, 0], ranges[s, 1]):
            q = place + ahead
            y[place] = weight[place] = np.float32(0.0)
            if weight_rest[q] > 0.0 and f == 0.0:
                y[place], weight[place] = flat_rest[q], weight_rest[q]
            elif weight_rest[q] > 0.0 and weight_rest[q + 1] > 0.0:
                y[place] = (np.float32(1.0) - f) * flat_rest[q] + f * flat_rest[q + 1]
                weight[place] = weight_rest[q]


@part
def at_own_places(flat_rest, weight_rest, delta, own_places, y, weight):
    """As `at_shift`, for an emulator whose pixels lie at any places of the rest axis, own_places (n_own,)."""
    for i in range(len(own_places)):
        y[i] = weight[i] = np.float32(0.0)
        place = own_places[i] + delta
        q = int(np.floor(place))
        if own_places[i] < 0.0 or q < 0 or q + 1 >= len(flat_rest):
            continue
        if weight_rest[q] > 0.0 and weight_rest[q + 1] > 0.0:
            f = np.float32(place - q)
            y[i] = (np.float32(1.0) - f) * flat_rest[q] + f * flat_rest[q + 1]
            weight[i] = weight_rest[q]


@part
def weigh(inverse_variance, places, delta, interior, variance, continuum, scaled):
    """The emulator's error where it is moved to goes into the weights; none where there is no emulator."""
    used = 0
    for i in range(len(inverse_variance)):
        if inverse_variance[i] > 0.0:
            q = int(np.floor(places[i] - delta + 0.5))
            inside = 0 <= q < len(interior) and interior[q] > 0.0 and places[i] >= 0.0
            if inside:
                level = continuum[i] if scaled else 1.0
                used += 1
                inverse_variance[i] /= 1.0 + inverse_variance[i] * variance[q] * level * level
            else:
                inverse_variance[i] = 0.0
    return used


@part
def mean_size(y, inverse_variance):
    """Mean |flux| of the pixels that count: the unit in which continua are fitted."""
    size, n = 0.0, 0
    for i in range(len(y)):
        if inverse_variance[i] > 0.0:
            size += abs(y[i])
            n += 1
    return size / n


@cache
def build_general_fit(
    n_label, n_neurons, n_projection, n_term, n_flat, move, velocity, uneven, n_broad=NO_BROADENING, kind=LOGISTIC
):
    """The kernel for networks of this size; continua of n_term terms (0: none), division by n_flat terms at first."""
    n_slope = n_label + max(n_broad, 0)  # broadenings come after the labels, a velocity last
    n_parameter, stays = n_slope + 1 if velocity else n_slope, move == STAY
    evaluate = build_general_pass(n_label, n_neurons, n_term, move, velocity, uneven, n_broad, kind)
    search = build_search(evaluate, n_parameter)
    estimate = build_estimate(n_label, n_projection)
    score = build_score(n_parameter, n_term, velocity)
    correlate, flatten, solve_terms = build_correlate(), build_flatten(n_flat), build_terms(max(n_term, 1))

    @kernel
    def fit_all(
        weights, terms, taps, axes, rest, label_tables, templates, lags, own_start, box, limits, alternatives,
        broadening, spectra, kept, written, memory,
    ):  # fmt: skip
        """Fit a block of spectra into `written`.

        `weights`: Precisions of Emulator.weights; `terms`: Terms; `taps`: Precisions of shift.tap_table, flat;
        `axes`: Axes; `rest`: Rest; `label_tables`: EstimateTables; `templates`, `lags`: of the Correlation;
        `own_start`: bool, whether the first start is estimated from the spectrum; `box`: Box; `limits`: Limits;
        `alternatives`: Alternatives; `broadening`: Broadening; `spectra`: Spectra; `kept`: Kept, for pieces
        of stars; `written`: Written; `memory`: GeneralMemory.
        """
        x, matrix, chi2, counts = written.x, written.matrix, written.chi2, written.counts
        scatter, shifts, continua = written.extra_scatter, written.shifts, written.continua
        starts, ranges, places = spectra.starts, axes.ranges, axes.places
        y, weight, continuum, ones = memory.data.y, memory.data.weight, memory.data.continuum, memory.data.ones
        flat, flat_weight, n_solved = memory.data.flat, memory.data.flat_weight, memory.data.n_solved
        single, keeps = memory.single, len(kept.y) > 0
        lowest, highest, gradient = np.empty(n_parameter), np.empty(n_parameter), np.empty(n_parameter)
        again = np.empty((1, n_parameter))
        square, held = np.empty((n_parameter, n_parameter)), box.held.sum()
        own_box = Box(lowest, highest, box.held, box.prior_mean, box.prior_weight, box.is_width)
        factor, scored = np.empty((max(n_term, 1), max(n_term, 1))), np.empty((len(ranges), n_term))
        for i in range(len(spectra.flux)):
            used, written.snr[i] = select_pixels(spectra.flux[i], spectra.error[i], rest.usable, y, weight, single.y)
            counts[i, USED] = used
            if used == 0:
                continue
            size = mean_size(y, weight)
            if not size > 0.0:
                continue
            level = size if n_term > 0 else 1.0
            for k in range(len(y)):
                y[k] /= level
                weight[k] *= level * level
            flatten(y, weight, terms.flat, ranges, ones, flat, flat_weight, continuum, n_solved, size / level)
            bound(box, starts[i, 0], lowest, highest)
            delta = 0.0
            if velocity or own_start:
                leave_out_impossible(flat, flat_weight)
                to_rest(
                    flat, flat_weight, rest.left, rest.fraction, single.flat_rest, single.weight_rest,
                    single.product_rest,
                )  # fmt: skip
            if velocity and keeps and np.isfinite(kept.delta[i]):
                delta = kept.delta[i]
            elif velocity:
                delta, shifts[i, SCORE], shifts[i, SECOND_SCORE] = correlate(
                    templates, lags, single.product_rest, single.weight_rest, memory.correlation
                )
            if velocity:
                lowest[n_slope], highest[n_slope] = delta - limits.window, delta + limits.window
                for s in range(starts.shape[1]):
                    starts[i, s, n_slope] = delta
            shifts[i, FOUND] = delta
            if own_start and uneven:
                at_own_places(
                    single.flat_rest, single.weight_rest, delta, axes.own_places, single.label_flux,
                    single.label_weight,
                )  # fmt: skip
            elif own_start:
                at_shift(
                    single.flat_rest, single.weight_rest, delta, axes.emulator_ranges, axes.rest_starts,
                    single.label_flux, single.label_weight,
                )  # fmt: skip
            if own_start:
                estimate(label_tables, single.label_flux, single.label_weight, starts[i, 0])
            counts[i, USED] = weigh(weight, places, delta, rest.interior, rest.variance, continuum, n_term > 0)
            if counts[i, USED] == 0:
                continue
            linear = 0
            for s in range(len(ranges)):
                n_solved[s] = 0
                if n_term > 0:
                    n_solved[s] = solve_terms(
                        ones, y, weight, terms.fitted.double, len(y), ranges[s, 0], ranges[s, 1], -1, factor,
                        continua[i, s],
                    )  # fmt: skip
                linear += n_solved[s]
            counts[i, TERMS] = linear
            for k in range(len(y)):
                single.y[k] = y[k]
                single.weight[k] = weight[k]
            problem = Precisions(
                GeneralProblem(
                    weights.single, single.y, single.weight, terms.fitted.single, axes, n_solved, taps.single,
                    memory.moved.single, continua[i], broadening,
                ),
                GeneralProblem(
                    weights.double, y, weight, terms.fitted.double, axes, n_solved, taps.double,
                    memory.moved.double, continua[i], broadening,
                ),
            )  # fmt: skip
            least, passes, ended, disagree = search(
                problem, own_box, starts[i], limits, x[i], matrix[i], written.pull[i]
            )
            single_problem = GeneralProblem(
                weights.single, single.y, single.weight, terms.fitted.single, axes, n_solved, taps.single,
                memory.moved.single, scored, broadening,
            )  # fmt: skip
            fitted = memory.alternatives.level
            model = memory.moved.single.rest if stays else memory.moved.single.moved
            no_outliers(memory.outliers, weight)
            for _ in range(MOST_FITS):
                evaluate(single_problem, x[i], gradient, square)
                sum_terms(scored, terms.fitted.single, ranges, fitted)
                if not leave_out_outliers(
                    single.y, model[: len(y)], fitted, ranges, memory.outliers, weight, single.weight
                ):
                    break
                for j in range(n_parameter):
                    again[0, j] = x[i, j]
                least, more, ended, _ = search(problem, own_box, again, limits, x[i], matrix[i], written.pull[i])
                passes += more
            counts[i, USED], counts[i, OUTLIERS] = count_used(weight), memory.outliers.n_out[0]
            chi2[i] = without_priors(least, own_box, x[i])
            counts[i, PASSES], counts[i, ENDED], counts[i, DISAGREE] = passes, ended, disagree
            scatter[i] = 0.0
            if keeps:
                for k in range(len(y)):
                    kept.y[i, k], kept.weight[i, k] = y[k], weight[k]
                for s in range(len(ranges)):
                    kept.n_solved[i, s] = n_solved[s]
                continue
            dof = counts[i, USED] - n_parameter + held - linear
            if is_needed(chi2[i], dof):
                evaluate(problem.double, x[i], gradient, square)
                for s in range(len(ranges)):
                    for k in range(ranges[s, 0], ranges[s, 1]):
                        continuum[k] = 1.0
                        if n_term > 0:
                            continuum[k] = 0.0
                            for t in range(n_term):
                                continuum[k] += continua[i, s, t] * terms.fitted.double[t * len(y) + k]
                        y[k] -= continuum[k] * (memory.moved.double.rest[k] if stays else memory.moved.double.moved[k])
                scatter[i] = extra_scatter(y, weight, continuum, dof)
            score(
                single.y,
                single.weight,
                model,
                terms.fitted.single,
                fitted,
                alternatives,
                memory.alternatives,
                written,
                i,
            )
            for s in range(len(ranges)):
                for k in range(n_term):
                    continua[i, s, k] *= level

    return fit_all
