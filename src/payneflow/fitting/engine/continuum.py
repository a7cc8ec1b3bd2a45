"""The continuum of each detector segment: Chebyshev polynomials, solved for linearly inside each pass.

With m the emulator's flux, T_k the polynomials and w the inverse variance, the continuum sum_k c_k T_k that goes best
with m solves (sum w m^2 T T') c = sum w m y T. It follows the labels; the matrix of the labels is then the Schur
complement of their part in the whole (variable projection in Kaufman's form, 1975, BIT 15, 49).
"""

from functools import cache

import numpy as np

from payneflow.fitting.engine.cholesky import cholesky, solve_factored
from payneflow.fitting.engine.emulator import PaddedAxis
from payneflow.simd import CACHE_LINE, get, kernel, like, load_line, part, put, registers_like, total

LEAST_PIVOT = 1e-6  # of a diagonal element: where less of a term is left, the segment's pixels cannot tell it apart
LEAST_CONTINUUM = 1e-3  # of the median flux: below it a spectrum is not divided by its continuum


def chebyshev(axis: PaddedAxis, wavelength: np.ndarray, n_term: int) -> np.ndarray:
    """(n_term, n_place) Chebyshev polynomials of the first kind, each segment's wavelengths spanning -1 ... 1."""
    terms = np.empty((n_term, len(wavelength)))
    for first, stop in axis.segments:
        own = wavelength[first:stop]
        width = own[-1] - own[0]
        unit = 2.0 * (own - own[0]) / width - 1.0 if width > 0.0 else np.zeros(len(own))
        terms[:, first:stop] = np.polynomial.chebyshev.chebvander(unit, n_term - 1).T
    return axis.padded(terms)


@part
def sum_terms(solution, terms, ranges, continuum):
    """continuum (n_place,) = the terms of each segment times its solution (n_segment, n_term); 1 where none are."""
    n, n_term = len(continuum), solution.shape[1]
    for s in range(len(ranges)):
        own = continuum[ranges[s, 0] : ranges[s, 1]]
        own[:] = 1.0 if n_term == 0 else 0.0
        for t in range(n_term):
            own += np.float32(solution[s, t]) * terms[t * n + ranges[s, 0] : t * n + ranges[s, 1]]


@cache
def build_terms(n_term):
    """The parts of kernels that deal with continua of `n_term` terms."""
    n_sum = n_term * (n_term + 1) // 2 + n_term

    @part
    def solve_terms(model, flux, inverse_variance, terms, n_data, first, stop, n_solved, factor, solution):
        """Continuum of one segment, places first ... stop (exclusive), by a model of n_data places (its leading ones).

        `n_solved` terms are solved for, all that can be told apart where it is negative; returns how many. `factor`
        (n_term, n_term) is the Cholesky factor of their matrix, `solution` (n_term,) is 0 in the others.
        """
        width = CACHE_LINE // model.itemsize
        zero = like(load_line(model, 0), 0.0)
        sums = registers_like(zero, n_sum)
        for m in range(n_sum):
            put(sums, m, zero)
        for i in range(first, stop, width):
            value = load_line(model, i)
            weight = load_line(inverse_variance, i) * value
            weighted_flux = weight * load_line(flux, i)
            weight = weight * value
            for a in range(n_term):
                term = load_line(terms, a * n_data + i)
                put(sums, a, get(sums, a) + weighted_flux * term)
                weighted = weight * term
                for b in range(a + 1):
                    m = n_term + a * (a + 1) // 2 + b
                    put(sums, m, get(sums, m) + weighted * load_line(terms, b * n_data + i))
        for a in range(n_term):
            solution[a] = total(get(sums, a))
            for b in range(a + 1):
                factor[a, b] = total(get(sums, n_term + a * (a + 1) // 2 + b))
        found = cholesky(factor, n_term if n_solved < 0 else n_solved, LEAST_PIVOT)
        for a in range(found, n_term):
            solution[a] = 0.0
        solve_factored(factor, solution, found)
        return found

    return solve_terms


@cache
def build_flatten(n_term):
    """The part of a kernel that divides a spectrum by its own fitted continuum, lines and all."""
    solve_terms = build_terms(n_term)
    least = LEAST_CONTINUUM

    @part
    def flatten(flux, inverse_variance, terms, ranges, one, flat, weight, continuum, n_solved, smallest):
        """Flux / continuum - 1 and its inverse variance, 0 both where there is no pixel; the continuum itself.

        All (n_place,) float64; `one` holds ones. `n_solved` (n_segment,) gets the number of terms of each segment.
        Where the continuum is below LEAST_CONTINUUM * smallest, it is taken as that.
        """
        n = len(flux)
        factor, solution = np.empty((n_term, n_term)), np.empty(n_term)
        for s in range(len(ranges)):
            n_solved[s] = solve_terms(
                one, flux, inverse_variance, terms, n, ranges[s, 0], ranges[s, 1], -1, factor, solution
            )
            for i in range(ranges[s, 0], ranges[s, 1]):
                value = 0.0
                for k in range(n_term):
                    value += solution[k] * terms[k * n + i]
                value = max(value, least * smallest)
                continuum[i] = value
                counts = inverse_variance[i] > 0.0
                flat[i] = flux[i] / value - 1.0 if counts else 0.0
                weight[i] = inverse_variance[i] * value * value if counts else 0.0

    return flatten


@cache
def build_flatten_all(n_term):
    """The kernel that does so for spectra (n, n_place) of the same inverse variance, all continua being positive."""
    flatten = build_flatten(n_term)

    @kernel
    def flatten_all(flux, inverse_variance, terms, ranges, flat):
        n = len(inverse_variance)
        one, weight, continuum, n_solved = np.ones(n), np.empty(n), np.empty(n), np.empty(len(ranges), np.int64)
        for i in range(len(flux)):
            flatten(flux[i], inverse_variance, terms, ranges, one, flat[i], weight, continuum, n_solved, 1.0)

    return flatten_all
