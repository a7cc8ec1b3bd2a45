"""The kernel that fits everything: labels, a velocity, continua, on the networks' own pixels or on others.

For one spectrum after the other: which pixels count; division by its own continuum; the velocity by correlation; an
estimate of the labels at that velocity; the emulator's error added to the noise where the velocity puts it; the search.
"""

from functools import cache

import numpy as np

from payneflow.fitting.engine.continuum import build_flatten, build_terms
from payneflow.fitting.engine.correlation import build_correlate
from payneflow.fitting.engine.general_pass import STAY, build_general_pass
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.pixels import prepare
from payneflow.fitting.engine.scatter import extra_scatter, is_needed
from payneflow.fitting.engine.search import bound, build_search, without_priors
from payneflow.fitting.engine.starts import build_estimate
from payneflow.simd import kernel, part


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
def build_general_fit(n_label, n_neurons, n_projection, n_term, n_flat, move, velocity):
    """The kernel for networks of this size; continua of n_term terms (0: none), division by n_flat terms at first."""
    n_parameter = n_label + 1 if velocity else n_label
    evaluate, stays = build_general_pass(n_label, n_neurons, n_term, move, velocity), move == STAY
    search = build_search(evaluate, n_parameter)
    estimate = build_estimate(n_label, n_projection)
    correlate, flatten, solve_terms = build_correlate(), build_flatten(n_flat), build_terms(max(n_term, 1))

    @kernel
    def fit_all(
        weights, weights_single, terms, terms_single, flat_terms, tap_table, tap_table_single, axes, rest_tables,
        label_tables, correlation_tables, correlation_numbers, own_start, box, window, tolerance, most,
        flux, error, starts, x, matrix, chi2, snr, counts, scatter, shifts, continua,
        data_memory, single_memory, rest_memory, rest_memory_single, correlation_memory,
    ):  # fmt: skip
        """Fit flux (n, n_place) with errors, from starts (n, n_start, n_parameter).

        Written: x, matrix, chi2, snr, counts, scatter as in `fit_labels`; shifts (n, 3): that of the correlation, its
        score, the second score; continua (n, n_segment, n_term).
        """
        emulator_ranges, ranges, rest_starts, places = axes
        usable, left, fraction, interior, variance = rest_tables
        y, weight, flat, flat_weight, continuum, one, n_solved = data_memory
        y_single, weight_single, label_flux, label_weight, flat_rest, weight_rest, product_rest = single_memory
        rest, moved, columns = rest_memory
        rest_single, moved_single, columns_single = rest_memory_single
        lowest, highest, gradient = np.empty(n_parameter), np.empty(n_parameter), np.empty(n_parameter)
        square, held = np.empty((n_parameter, n_parameter)), box.held.sum()
        own_box = Box(lowest, highest, box.held, box.prior_mean, box.prior_weight)
        factor = np.empty((max(n_term, 1), max(n_term, 1)))
        for i in range(len(flux)):
            used, snr[i] = prepare(flux[i], error[i], usable, y, weight, y_single)
            counts[i, 0] = used
            if used == 0:
                continue
            size = mean_size(y, weight)
            if not size > 0.0:
                continue
            level = size if n_term > 0 else 1.0
            for k in range(len(y)):
                y[k] /= level
                weight[k] *= level * level
            flatten(y, weight, flat_terms, ranges, one, flat, flat_weight, continuum, n_solved, size / level)
            bound(box, starts[i, 0], lowest, highest)
            delta = 0.0
            if velocity or own_start:
                to_rest(flat, flat_weight, left, fraction, flat_rest, weight_rest, product_rest)
            if velocity:
                delta, shifts[i, 1], shifts[i, 2] = correlate(
                    correlation_tables, correlation_numbers, product_rest, weight_rest, correlation_memory
                )
                lowest[n_label], highest[n_label] = delta - window, delta + window
                for s in range(starts.shape[1]):
                    starts[i, s, n_label] = delta
            shifts[i, 0] = delta
            if own_start:
                at_shift(flat_rest, weight_rest, delta, emulator_ranges, rest_starts, label_flux, label_weight)
                estimate(label_tables, label_flux, label_weight, starts[i, 0])
            counts[i, 0] = weigh(weight, places, delta, interior, variance, continuum, n_term > 0)
            if counts[i, 0] == 0:
                continue
            linear = 0
            for s in range(len(ranges)):
                n_solved[s] = 0
                if n_term > 0:
                    n_solved[s] = solve_terms(
                        one, y, weight, terms, len(y), ranges[s, 0], ranges[s, 1], -1, factor, continua[i, s]
                    )
                linear += n_solved[s]
            counts[i, 4] = linear
            for k in range(len(y)):
                y_single[k] = y[k]
                weight_single[k] = weight[k]
            fixed = emulator_ranges, ranges, rest_starts, places, n_solved
            problem = (
                (weights_single, y_single, weight_single, terms_single, fixed, tap_table_single, rest_single,
                 moved_single, columns_single, continua[i]),
                (weights, y, weight, terms, fixed, tap_table, rest, moved, columns, continua[i]),
            )  # fmt: skip
            least, passes, ended, disagree = search(problem, own_box, starts[i], tolerance, most, x[i], matrix[i])
            chi2[i] = without_priors(least, own_box, x[i])
            counts[i, 1], counts[i, 2], counts[i, 3] = passes, ended, disagree
            scatter[i] = 0.0
            dof = counts[i, 0] - n_parameter + held - linear
            if is_needed(chi2[i], dof):
                evaluate(problem[1], x[i], gradient, square)
                for s in range(len(ranges)):
                    for k in range(ranges[s, 0], ranges[s, 1]):
                        continuum[k] = 1.0
                        if n_term > 0:
                            continuum[k] = 0.0
                            for t in range(n_term):
                                continuum[k] += continua[i, s, t] * terms[t * len(y) + k]
                        y[k] -= continuum[k] * (rest[k] if stays else moved[k])
                scatter[i] = extra_scatter(y, weight, continuum, dof)
            for s in range(len(ranges)):
                for k in range(n_term):
                    continua[i, s, k] *= level

    return fit_all
