"""chi2 of one spectrum at many parameters, without derivatives: what a sampler asks for, thousands of times a spectrum.

The model is that of a fit (general_pass.py) in single precision, the flux alone: from the emulator's own pixels to the
rest axis, broadened, moved to the data, times the continua that go best with it. Which pixels count, and with which
weights, is settled once, at the parameters of the fit, as the fit does it: so the chi2 is that of the fit.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.arguments import OutlierMemory
from payneflow.fitting.engine.broaden import NO_BROADENING, Broadening, build_kernel, build_vary
from payneflow.fitting.engine.continuum import build_flatten, build_terms, sum_terms
from payneflow.fitting.engine.general_fit import mean_size, weigh
from payneflow.fitting.engine.general_pass import RESAMPLE, SHIFT, STAY
from payneflow.fitting.engine.label_pass import build_network
from payneflow.fitting.engine.outliers import MOST_FITS, leave_out_outliers, no_outliers
from payneflow.fitting.engine.pixels import count_used, select_pixels
from payneflow.fitting.engine.shift import INTERVALS
from payneflow.fitting.engine.taps import HALF, TAPS
from payneflow.fitting.engine.uneven import build_to_even
from payneflow.fitting.engine.whole_pass import WHOLE, build_hidden, build_last
from payneflow.simd import CACHE_LINE, inlined, kernel, like, load, load_line, part, registers_like, store, total
from payneflow.simd import put as put_register
from payneflow.weights import LOGISTIC

LINES_A_SUM = 8  # cache lines whose squares are added in single precision; sums of these in double


class Model(NamedTuple):
    """What all spectra of a fit share; float32 where no type is given, sizes as in arguments.py."""

    weights: np.ndarray  # Emulator.weights
    own_ranges: np.ndarray  # (n_segment of the emulator, 2) int64 places of its segments
    starts: np.ndarray  # (n_segment of the emulator,) int64 places of these on the rest axis
    ranges: np.ndarray  # (n_segment, 2) int64 places of the data's segments
    places: np.ndarray  # (n_place,) float64 of the data's pixels on the rest axis, NOWHERE where they have none
    firsts: np.ndarray  # (n_rest,) int64 of uneven.py
    even_weights: np.ndarray  # (n_rest, 8) float64 of uneven.py
    taps: np.ndarray  # shift.tap_table, flat
    terms: np.ndarray  # (max(n_term, 1) * n_place,) Chebyshev polynomials
    broadening: Broadening


class Judging(NamedTuple):
    """What says which pixels of a spectrum count, and with which weights; float64."""

    usable: np.ndarray  # (n_place,) 1 where there is a pixel that may count
    interior: np.ndarray  # (n_rest,) 1 where the emulator may be moved to
    variance: np.ndarray  # (n_rest,) of the emulator's error
    terms: np.ndarray  # (max(n_term, 1) * n_place,) Chebyshev polynomials


class Star(NamedTuple):
    """A spectrum as it counts."""

    y: np.ndarray  # (n_place,) float32 flux, over its mean size where a continuum is fitted; 0 where none counts
    weight: np.ndarray  # (n_place,) float32 inverse variance, 0 likewise, and for outliers
    n_solved: np.ndarray  # (n_segment,) int64 continuum terms of each segment


class ModelMemory(NamedTuple):
    """Working memory of one thread, float32; what a mode does not need is empty."""

    own: np.ndarray  # (n_own,) flux on the emulator's own axis, where that is uneven
    rest: np.ndarray  # (n_rest,) flux on the rest axis
    broad: np.ndarray  # (n_rest,) with broadened lines
    varied: np.ndarray  # (n_rest,) where the instrument differs along the axis
    moved: np.ndarray  # (n_place,) at the data


class JudgingMemory(NamedTuple):
    """Working memory of one thread for what is done once a spectrum; float64 where no type is given."""

    y: np.ndarray  # (n_place,)
    weight: np.ndarray  # (n_place,)
    flat: np.ndarray  # (n_place,)
    flat_weight: np.ndarray  # (n_place,)
    continuum: np.ndarray  # (n_place,)
    ones: np.ndarray  # (n_place,)
    level: np.ndarray  # (n_place,) float32
    outliers: OutlierMemory


# --------------------------------------------------------------------------------------------------- parts of kernels


@cache
def build_flux(n_label, n_neurons, kind=LOGISTIC):
    """The part that computes the flux on the rest axis, without derivatives; `kind`: of the Emulator."""
    if kind == WHOLE:
        hidden, last = build_hidden(n_label, n_neurons, 0), build_last(n_label, n_neurons)

        @part
        def whole_flux(weights, ranges, starts, x, rest):
            """Segment s of the emulator goes to starts[s] of `rest`."""
            width = CACHE_LINE // weights.itemsize
            second = hidden(weights, x)
            for s in range(len(ranges)):
                for place in range(ranges[s, 0], ranges[s, 1], width):
                    store(rest, starts[s] + place - ranges[s, 0], last(weights, place // width, second))

        return whole_flux
    network = build_network(n_label, n_neurons, kind)

    @part
    def flux(weights, ranges, starts, x, rest):
        """Segment s of the emulator goes to starts[s] of `rest`; derivatives are not stored, and so not computed."""
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels, slopes = registers_like(first, n_label), registers_like(first, n_label)
        for j in range(n_label):
            put_register(labels, j, like(first, x[j]))
        for s in range(len(ranges)):
            for place in range(ranges[s, 0], ranges[s, 1], width):
                store(rest, starts[s] + place - ranges[s, 0], network(weights, place // width, labels, slopes))

    return flux


@inlined
def _taps(table, t):
    """A register with the weights of the eight taps for a value at t in 0 ... 1 after the fourth."""
    scaled = t * INTERVALS
    interval = min(int(scaled), INTERVALS - 1)
    at = interval * 4 * TAPS
    u = like(load(table, at), scaled - interval)
    return load(table, at) + u * (
        load(table, at + TAPS) + u * (load(table, at + 2 * TAPS) + u * load(table, at + 3 * TAPS))
    )


@part
def shift_flux(lines, starts, moved, ranges, table, delta):
    """Flux at data on the networks' own pixels, all of them moved by the same shift (shift.py)."""
    width = CACHE_LINE // lines.itemsize
    weights = np.empty(TAPS, lines.dtype)
    whole = int(np.floor(-delta))
    store(weights, 0, _taps(table, -delta - whole))
    for s in range(len(ranges)):
        ahead = starts[s] - ranges[s, 0] + whole + 1 - HALF
        for i in range(ranges[s, 0], ranges[s, 1], width):
            value = load_line(lines, ahead + i)
            value = value * like(value, weights[0])
            for k in range(1, TAPS):
                tap = load_line(lines, ahead + i + k)
                value = value + tap * like(tap, weights[k])
            store(moved, i, value)


@part
def resample_flux(lines, places, moved, table, delta):
    """Flux at data on another wavelength axis: each pixel has taps of its own."""
    for i in range(len(places)):
        place = places[i] - delta
        if HALF <= place < len(lines) - HALF:
            whole = int(place)
            moved[i] = total(load(lines, whole + 1 - HALF) * _taps(table, place - whole))
        else:
            moved[i] = 0.0


@cache
def build_broaden_flux(n_label, n_broad):
    """The part that broadens the flux by the kernel of all broadenings but that which differs along the axis."""
    make_kernel = build_kernel(n_broad)

    @part
    def broaden_flux(given, x, rest, starts, broad):
        """`broad` (n_rest,) from `rest` (n_rest,) at x; `given`: Broadening. Segment s begins at starts[s]."""
        width = CACHE_LINE // rest.itemsize
        exact = np.empty((1 + n_broad, given.longest))
        n = make_kernel(given, x, n_label, exact)
        own = exact[0].astype(rest.dtype)
        for s in range(len(starts)):
            for at in range(starts[s], starts[s] + given.lengths[s], width):
                value = load_line(rest, at)
                value = value * like(value, own[0])
                for m in range(1, n):
                    both = load_line(rest, at - m) + load_line(rest, at + m)
                    value = value + both * like(both, own[m])
                store(broad, at, value)

    return broaden_flux


@cache
def build_model(n_label, n_neurons, move, uneven, n_broad=NO_BROADENING, kind=LOGISTIC):
    """The part that computes the normalised flux at the data; arguments as those of `build_general_pass`."""
    broadens, n_slope = n_broad != NO_BROADENING, n_label + max(n_broad, 0)
    flux, to_even = build_flux(n_label, n_neurons, kind), build_to_even(0)
    broaden_flux, vary = build_broaden_flux(n_label, max(n_broad, 0)), build_vary(1)

    @part
    def model_at(model, x, memory):
        """The array, of `memory` (ModelMemory), whose first n_place numbers are the flux of x, as a search has it."""
        delta = x[n_slope] if len(x) > n_slope else 0.0
        rest = memory.rest
        if uneven:
            flux(model.weights, model.own_ranges, model.own_ranges[:, 0], x, memory.own)
            to_even(memory.own, len(memory.own), model.firsts, model.even_weights, rest, len(rest))
        else:
            flux(model.weights, model.own_ranges, model.starts, x, rest)
        lines = rest
        if broadens:
            given = model.broadening
            broaden_flux(given, x, rest, model.starts, memory.broad)
            lines = memory.broad
            if len(given.varied) > 0:
                vary(given.varied, lines, len(rest), model.starts, given.lengths, memory.varied)
                lines = memory.varied
        if move == STAY:
            return lines
        if move == SHIFT:
            shift_flux(lines, model.starts, memory.moved, model.ranges, model.taps, delta)
        if move == RESAMPLE:
            resample_flux(lines, model.places, memory.moved, model.taps, delta)
        return memory.moved

    return model_at


@cache
def build_chi2(n_term):
    """The part that sums chi2 with the continua of n_term terms that go best with a model."""
    solve_terms = build_terms(max(n_term, 1))
    most = LINES_A_SUM

    @part
    def chi2_of(flux, star, terms, ranges, factor, solution):
        """chi2 of `star` (Star) and the flux (n_place or more,) of a model.

        `factor` (n_term, n_term) is working memory, `solution` (n_segment, n_term) gets the Chebyshev coefficients.
        """
        y, weight, n = star.y, star.weight, len(star.y)
        width = CACHE_LINE // y.itemsize
        one = like(load_line(y, 0), 1.0)
        zero = like(one, 0.0)
        chi2 = 0.0
        for s in range(len(ranges)):
            first, stop = ranges[s, 0], ranges[s, 1]
            if n_term > 0:
                solve_terms(flux, y, weight, terms, n, first, stop, star.n_solved[s], factor, solution[s])
            for begin in range(first, stop, most * width):
                square = zero
                for i in range(begin, min(begin + most * width, stop), width):
                    level = one
                    if n_term > 0:
                        level = like(one, solution[s, 0]) * load_line(terms, i)
                        for k in range(1, n_term):
                            level = level + like(one, solution[s, k]) * load_line(terms, k * n + i)
                    residual = load_line(y, i) - level * load_line(flux, i)
                    square = square + load_line(weight, i) * residual * residual
                chi2 += total(square)
        return chi2

    return chi2_of


# --------------------------------------------------------------------------------------------------------- the kernels


@cache
def build_likelihood(n_label, n_neurons, n_term, move, uneven, n_broad=NO_BROADENING, kind=LOGISTIC):
    """Two kernels: one judges the pixels of a spectrum, the other one measures its chi2 at many parameters."""
    model_at = build_model(n_label, n_neurons, move, uneven, n_broad, kind)
    chi2_of, flatten, solve_terms = build_chi2(n_term), build_flatten(max(n_term, 1)), build_terms(max(n_term, 1))

    @kernel
    def judge(model, judging, flux, error, x, found, star, memory, own):
        """Write what counts of a spectrum, flux and error (n_place,), into `star`, as the fit that ended at x did.

        `found`: the shift in places at which the fit began. `memory`: ModelMemory; `own`: JudgingMemory. Returns how
        many pixels count, and the unit of star.y, in that of flux.
        """
        y, weight, n = own.y, own.weight, len(own.y)
        factor = np.empty((max(n_term, 1), max(n_term, 1)))
        solution = np.zeros((len(model.ranges), max(n_term, 1)))
        used, _ = select_pixels(flux, error, judging.usable, y, weight, star.y)
        if used == 0:
            return 0, 1.0
        unit = mean_size(y, weight) if n_term > 0 else 1.0
        if not unit > 0.0:
            return 0, 1.0
        for k in range(n):
            y[k] /= unit
            weight[k] *= unit * unit
        if n_term > 0:
            flatten(
                y, weight, judging.terms, model.ranges, own.ones, own.flat, own.flat_weight, own.continuum,
                star.n_solved, 1.0,
            )  # fmt: skip
        weigh(weight, model.places, found, judging.interior, judging.variance, own.continuum, n_term > 0)
        for s in range(len(model.ranges)):
            star.n_solved[s] = 0
            if n_term > 0:
                star.n_solved[s] = solve_terms(
                    own.ones, y, weight, judging.terms, n, model.ranges[s, 0], model.ranges[s, 1], -1, factor,
                    solution[s],
                )  # fmt: skip
        for k in range(n):
            star.y[k], star.weight[k] = y[k], weight[k]
        no_outliers(own.outliers, weight)
        predicted = model_at(model, x, memory)
        for _ in range(MOST_FITS):
            chi2_of(predicted, star, model.terms, model.ranges, factor, solution)
            sum_terms(solution[:, :n_term], model.terms, model.ranges, own.level)
            if not leave_out_outliers(
                star.y, predicted[:n], own.level, model.ranges, own.outliers, weight, star.weight
            ):
                break
        return count_used(weight), unit

    @kernel
    def measure(model, star, x, memory, chi2):
        """Write chi2 (m,) of parameters x (m, n_parameter), as a search has them; `memory`: ModelMemory."""
        factor = np.empty((max(n_term, 1), max(n_term, 1)))
        solution = np.zeros((len(model.ranges), max(n_term, 1)))
        for i in range(len(x)):
            predicted = model_at(model, x[i], memory)
            chi2[i] = chi2_of(predicted, star, model.terms, model.ranges, factor, solution)

    return judge, measure
