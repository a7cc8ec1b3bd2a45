"""One pass over a spectrum with everything: the emulator moved to the data, times a continuum, against the flux.

Unlike the pass of labels alone (label_pass.py), flux and derivatives go through memory: from the emulator's own pixels
to the rest axis, where lines are broadened (broaden.py), moved to the data's pixels (shift.py), and from there, with
the continuum of each segment (continuum.py), into the sums. Parameters are the scaled labels, the broadenings that are
fitted, and, where a velocity is, the shift in places.
"""

from functools import cache

import numpy as np

from payneflow.fitting.engine.broaden import NO_BROADENING, build_broaden, build_vary
from payneflow.fitting.engine.cholesky import solve_factored
from payneflow.fitting.engine.continuum import build_terms
from payneflow.fitting.engine.label_pass import build_network
from payneflow.fitting.engine.shift import build_resample, build_shift
from payneflow.fitting.engine.uneven import build_to_even
from payneflow.fitting.engine.whole_pass import WHOLE, build_whole_spectrum
from payneflow.simd import CACHE_LINE, get, like, load_line, part, put, registers_like, store, total
from payneflow.weights import LOGISTIC

STAY, SHIFT, RESAMPLE = range(3)  # data on the networks' own pixels, unmoved; moved by a velocity; on another axis


@cache
def build_spectrum(n_label, n_neurons, kind=LOGISTIC):
    """The part that computes flux and derivatives on the rest axis; `kind`: of the Emulator."""
    if kind == WHOLE:
        return build_whole_spectrum(n_label, n_neurons)
    network = build_network(n_label, n_neurons, kind)

    @part
    def spectrum(weights, ranges, starts, x, rest, n_rest):
        """Rows of `rest`: flux, then its derivatives by the labels; segment s of the emulator goes to starts[s]."""
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels, slopes = registers_like(first, n_label), registers_like(first, n_label)
        for j in range(n_label):
            put(labels, j, like(first, x[j]))
        for s in range(len(ranges)):
            for place in range(ranges[s, 0], ranges[s, 1], width):
                at = starts[s] + place - ranges[s, 0]
                store(rest, at, network(weights, place // width, labels, slopes))
                for j in range(n_label):
                    store(rest, (1 + j) * n_rest + at, get(slopes, j))

    return spectrum


@cache
def build_normal(n_parameter, n_term):
    """The part that sums chi2, gradient, matrix, and the cross terms with the continuum, over one segment."""
    n_matrix = n_parameter * (n_parameter + 1) // 2
    n_sum = 1 + n_parameter + n_matrix + n_parameter * n_term
    n_factor = max(n_term, 1)  # registers for the continuum's coefficients; there is no array of none

    @part
    def normal(moved, n_data, flux, inverse_variance, terms, continuum, first, stop, out):
        """Sums (n_sum,): chi2, gradient, lower triangle of the matrix, then parameter by parameter the cross terms."""
        width = CACHE_LINE // moved.itemsize
        zero = like(load_line(moved, 0), 0.0)
        one = like(zero, 1.0)
        sums, slopes = registers_like(zero, n_sum), registers_like(zero, n_parameter)
        factors = registers_like(zero, n_factor)
        for m in range(n_sum):
            put(sums, m, zero)
        for k in range(n_term):
            put(factors, k, like(zero, continuum[k]))
        for i in range(first, stop, width):
            level = one
            if n_term > 0:
                level = get(factors, 0) * load_line(terms, i)
                for k in range(1, n_term):
                    level = level + get(factors, k) * load_line(terms, k * n_data + i)
            weight, model = load_line(inverse_variance, i), load_line(moved, i)
            residual = load_line(flux, i) - level * model
            weighted_residual = weight * residual
            put(sums, 0, get(sums, 0) + weighted_residual * residual)
            for a in range(n_parameter):
                slope = level * load_line(moved, (1 + a) * n_data + i)
                put(slopes, a, slope)
                put(sums, 1 + a, get(sums, 1 + a) + weighted_residual * slope)
                weighted = weight * slope
                for b in range(a + 1):
                    m = 1 + n_parameter + a * (a + 1) // 2 + b
                    put(sums, m, get(sums, m) + weighted * get(slopes, b))
                weighted = weighted * model
                for k in range(n_term):
                    m = 1 + n_parameter + n_matrix + a * n_term + k
                    put(sums, m, get(sums, m) + weighted * load_line(terms, k * n_data + i))
        for m in range(n_sum):
            out[m] = total(get(sums, m))

    return normal


@cache
def build_general_pass(n_label, n_neurons, n_term, move, velocity, uneven, n_broad=NO_BROADENING, kind=LOGISTIC):
    """The pass of a fit of labels, a velocity (or none) and continua of n_term terms.

    `move`: STAY, SHIFT, RESAMPLE; `uneven`: whether the emulator's axis is to be made even first. `n_broad`: how many
    broadenings are parameters; what is broadened does not STAY. `kind`: of the Emulator.
    """
    broadens, n_slope = n_broad != NO_BROADENING, n_label + max(n_broad, 0)  # broadenings are like labels once made
    n_parameter = n_slope + 1 if velocity else n_slope
    n_matrix = n_parameter * (n_parameter + 1) // 2
    n_sum = 1 + n_parameter + n_matrix + n_parameter * n_term
    spectrum = build_spectrum(n_label, n_neurons, kind)
    shift, resample = build_shift(n_slope), build_resample(n_slope)
    broaden, vary = build_broaden(n_label, max(n_broad, 0)), build_vary(1 + n_slope)
    to_even = build_to_even(n_label)
    solve_terms = build_terms(max(n_term, 1))
    normal = build_normal(n_parameter, n_term)

    @part
    def evaluate(problem, x, gradient, matrix):
        """chi2 of the parameters x (n_parameter,); gradient, matrix, and the continuum of each segment are written.

        `problem`: GeneralProblem.
        """
        flux, inverse_variance, terms, continuum = (
            problem.flux, problem.inverse_variance, problem.terms, problem.continuum
        )  # fmt: skip
        rest, moved = problem.memory.rest, problem.memory.moved
        ranges, starts = problem.axes.ranges, problem.axes.rest_starts
        n_data, n_rest = len(flux), len(rest) // (1 + n_label)
        delta = x[n_slope] if velocity else 0.0
        if uneven:
            own, own_ranges = problem.memory.own, problem.axes.emulator_ranges
            n_own = len(own) // (1 + n_label)
            spectrum(problem.weights, own_ranges, own_ranges[:, 0], x, own, n_own)
            to_even(own, n_own, problem.axes.firsts, problem.axes.weights, rest, n_rest)
        else:
            spectrum(problem.weights, problem.axes.emulator_ranges, starts, x, rest, n_rest)
        lines = problem.memory.broad if broadens else rest
        if broadens:
            given = problem.broadening
            broaden(given, x, rest, n_rest, starts, lines)
            if len(given.varied) > 0:
                vary(given.varied, lines, n_rest, starts, given.lengths, problem.memory.varied)
                lines = problem.memory.varied
        if move == SHIFT:
            shift(lines, n_rest, starts, moved, n_data, ranges, problem.taps, delta)
        if move == RESAMPLE:
            resample(lines, n_rest, problem.memory.columns, problem.axes.places, moved, n_data, problem.taps, delta)
        model = rest if move == STAY else moved
        out, factor = np.empty(n_sum), np.empty((max(n_term, 1), max(n_term, 1)))
        cross = np.empty(max(n_term, 1))
        chi2 = 0.0
        for a in range(n_parameter):
            gradient[a] = 0.0
            for b in range(n_parameter):
                matrix[a, b] = 0.0
        for s in range(len(ranges)):
            found = 0
            if n_term > 0:
                found = solve_terms(
                    model, flux, inverse_variance, terms, n_data, ranges[s, 0], ranges[s, 1], problem.n_solved[s],
                    factor, continuum[s],
                )  # fmt: skip
            normal(model, n_data, flux, inverse_variance, terms, continuum[s], ranges[s, 0], ranges[s, 1], out)
            chi2 += out[0]
            m = 1 + n_parameter
            for a in range(n_parameter):
                gradient[a] += out[1 + a]
                for b in range(a + 1):
                    matrix[a, b] += out[m]
                    m += 1
            for a in range(n_parameter):
                own = m + a * n_term
                for k in range(n_term):
                    cross[k] = out[own + k]
                solve_factored(factor, cross, found)
                for b in range(a, n_parameter):
                    for k in range(found):
                        matrix[b, a] -= cross[k] * out[m + b * n_term + k]
        for a in range(n_parameter):
            for b in range(a):
                matrix[b, a] = matrix[a, b]
        return chi2

    return evaluate
