"""Every part of the kernels of a fit beside its naive twin: the same in a few lines of numpy, or by scipy."""

import numpy as np
import pytest
from known_networks import line_networks
from scipy.optimize import least_squares

from payneflow.fitting.engine.arguments import Limits, Precisions
from payneflow.fitting.engine.cholesky import LEAST_PIVOT, cholesky, solve_factored
from payneflow.fitting.engine.continuum import LEAST_CONTINUUM, build_flatten, build_terms, chebyshev
from payneflow.fitting.engine.correlation import FINE, LEAST_SQUARE, TEMPLATES, Correlation, build_correlate
from payneflow.fitting.engine.emulator import LINE, emulator_of
from payneflow.fitting.engine.engines import estimate_of
from payneflow.fitting.engine.general_fit import at_shift, mean_size, to_rest, weigh
from payneflow.fitting.engine.label_pass import build_predict, build_subtract
from payneflow.fitting.engine.minimiser import CONVERGED, Box, build_minimiser
from payneflow.fitting.engine.pixels import add_variance
from payneflow.fitting.engine.scatter import is_needed
from payneflow.fitting.engine.search import bound, build_search, without_priors
from payneflow.fitting.engine.shift import RestAxis, build_resample, build_shift, tap_table, to_places
from payneflow.fitting.engine.starts import HIGHEST_ESTIMATE, LOWEST_ESTIMATE, SQUARED, build_estimate
from payneflow.fitting.engine.taps import HALF, TAPS, tap_weights
from payneflow.simd import LANES, aligned, part

NETWORKS = line_networks(2, 3)
EMULATOR = emulator_of(NETWORKS)
AXIS = EMULATOR.axis
FASTEST = 40.0  # km/s


def rest_axis():
    return RestAxis(EMULATOR, NETWORKS.wavelength, FASTEST, 0.0, True)


def in_lines(values, dtype=np.float64):
    """The same numbers, flat, at the start of a cache line."""
    flat = aligned(-(-np.size(values) // LANES), dtype)[: np.size(values)]
    flat[:] = np.ravel(values)
    return flat


# ---------------------------------------------------------------------------------------------------- small matrices


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_cholesky_and_the_solution_are_those_of_numpy(n):
    rng = np.random.default_rng(n)
    root = rng.normal(size=(n, n))
    matrix, b = root @ root.T + 0.1 * np.eye(n), rng.normal(size=n)
    factor, solution = matrix.copy(), b.copy()
    assert cholesky(factor, n, LEAST_PIVOT) == n
    assert np.tril(factor) == pytest.approx(np.linalg.cholesky(matrix))
    solve_factored(factor, solution, n)
    assert solution == pytest.approx(np.linalg.solve(matrix, b))


def test_cholesky_stops_at_a_row_that_follows_from_those_above():
    rows = np.random.default_rng(0).normal(size=(4, 6))
    rows[2] = rows[0] + rows[1]
    assert cholesky(rows @ rows.T, 4, LEAST_PIVOT) == 2


# -------------------------------------------------------------------------------------------------- flux and its noise


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_predict_and_subtract(dtype, digits):
    x, data = np.array([0.3, 0.8]), np.random.default_rng(0).normal(1, 0.1, 120)
    flux, model = AXIS.padded(data, dtype), aligned(AXIS.n_place // LANES, dtype)
    build_predict(2, 3)(EMULATOR.weights[dtype], x, model)
    build_subtract(2, 3)(EMULATOR.weights[dtype], x, flux)
    expected = NETWORKS.predict_scaled(x)
    assert model[AXIS.place] == pytest.approx(expected, abs=digits)
    assert flux[AXIS.place] == pytest.approx(data - expected, abs=digits)


def test_variances_add():
    rng = np.random.default_rng(0)
    weight, variance = rng.uniform(1, 100, 16), rng.uniform(0, 1, 16)
    weight[3] = 0.0
    with np.errstate(divide="ignore"):
        expected = 1 / (1 / weight + 0.5 * variance)
    add_variance(weight, variance, 0.5)
    assert weight == pytest.approx(expected)


def test_the_emulators_error_goes_in_where_it_is_moved_to():
    rest, rng, delta = rest_axis(), np.random.default_rng(1), 2.3
    places = rest.own_places(AXIS)
    places[7] = -1.0
    weight, level = rng.uniform(1, 100, 120), rng.uniform(0.5, 2, 120)
    variance, found = rng.uniform(0, 1, rest.n_place), weight.copy()
    q = np.floor(places - delta + 0.5).astype(int)
    inside = (places >= 0) & (rest.interior[q] > 0)
    assert weigh(found, places, delta, rest.interior, variance, level, True) == inside.sum() < 120
    assert found == pytest.approx(np.where(inside, 1 / (1 / weight + variance[q] * level**2), 0))


def test_mean_size_and_when_scatter_is_needed():
    assert mean_size(np.array([-1.0, 2.0, 9.0]), np.array([1.0, 3.0, 0.0])) == 1.5
    assert not is_needed(100 + 3 * 200**0.5, 100) and is_needed(101 + 3 * 200**0.5, 100) and not is_needed(9.0, 0)


# --------------------------------------------------------------------------------------------------- moving the flux


def moved(rest, places, delta):
    """Rows (n_row, n_rest) at places - delta (n,), by eight taps: (n_row, n)."""
    at = places - delta
    whole = np.floor(at).astype(int)
    weights = tap_weights(at - whole)
    return sum(weights[:, k] * rest[:, whole + k + 1 - HALF] for k in range(TAPS))


def rows_and_slope(rest, places, delta, h=1e-4):
    """What `shift` and `resample` write: flux, derivatives by the labels, the derivative of the flux by delta."""
    slope = (moved(rest[:1], places, delta + h) - moved(rest[:1], places, delta - h)) / (2 * h)
    return np.concatenate([moved(rest, places, delta), slope])


@pytest.mark.parametrize("delta", [0.37, -3.81, 9.5])
def test_shift(delta):
    rest = rest_axis()
    rows = np.random.default_rng(0).normal(size=(3, rest.n_place))
    found = aligned(4 * AXIS.n_place // LANES)
    table = in_lines(tap_table())
    build_shift(2)(in_lines(rows), rest.n_place, rest.starts, found, AXIS.n_place, AXIS.ranges, table, delta)
    expected = rows_and_slope(rows, rest.own_places(AXIS), delta)
    assert found.reshape(4, -1)[:3, AXIS.place] == pytest.approx(expected[:3], abs=1e-6)
    assert found.reshape(4, -1)[3, AXIS.place] == pytest.approx(expected[3], abs=1e-3)


@pytest.mark.parametrize("n_label", [2, 9])  # one register a place, and two
def test_resample(n_label):
    rest, rng, delta = rest_axis(), np.random.default_rng(3), -1.7
    rows = rng.normal(size=(1 + n_label, rest.n_place))
    places = np.sort(rng.uniform(10, rest.n_place - 10, 32))
    places[[0, 31]] = -1.0, rest.n_place  # beyond the rest axis: 0
    columns = aligned(rest.n_place * -(-(1 + n_label) // LANES))
    found = aligned((2 + n_label) * 32 // LANES)
    table = in_lines(tap_table())
    build_resample(n_label)(in_lines(rows), rest.n_place, columns, places, found, 32, table, delta)
    found, expected = found.reshape(-1, 32), rows_and_slope(rows, places[1:31], delta)
    assert found[:-1, 1:31] == pytest.approx(expected[:-1], abs=1e-6)
    assert found[-1, 1:31] == pytest.approx(expected[-1], abs=1e-3)
    assert (found[:, [0, 31]] == 0).all()


def test_a_spectrum_goes_to_the_rest_axis_and_back_by_a_shift():
    rest, rng, delta = rest_axis(), np.random.default_rng(2), 1.4
    flat, weight = rng.normal(size=120), rng.uniform(1, 2, 120)
    weight[50] = 0.0
    left, fraction = rest.neighbours(rest.own_places(AXIS) + 0.25)
    on_rest = [aligned(-(-rest.n_place // LANES), np.float32)[: rest.n_place] for _ in range(3)]
    to_rest(flat, weight, left, fraction, *on_rest)
    a, b = np.maximum(left, 0), np.where(fraction > 0, left + 1, np.maximum(left, 0))
    counts = (left >= 0) & (weight[a] > 0) & (weight[b] > 0)
    value = np.where(counts, (1 - fraction) * flat[a] + fraction * flat[b], 0)
    inverse = np.where(counts, np.minimum(weight[a], weight[b]), 0)
    for found, expected in zip(on_rest, (value, inverse, value * inverse), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    y, w = np.empty(AXIS.n_place, np.float32), np.empty(AXIS.n_place, np.float32)
    at_shift(*on_rest[:2], delta, AXIS.ranges, rest.starts, y, w)
    q, f = np.floor(rest.own_places(AXIS) + delta).astype(int), delta % 1
    both = (inverse[q] > 0) & (inverse[q + 1] > 0)
    assert y[AXIS.place] == pytest.approx(np.where(both, (1 - f) * value[q] + f * value[q + 1], 0), abs=1e-5)
    assert w[AXIS.place] == pytest.approx(np.where(both, inverse[q], 0), abs=1e-5)


# ----------------------------------------------------------------------------------------------------------- continua


def best_terms(terms, model, flux, weight):
    """Coefficients (n_term,) of the polynomials (n_term, n) that, times the model, are nearest to the flux."""
    root = np.sqrt(weight)
    return np.linalg.lstsq((terms * model * root).T, flux * root, rcond=None)[0]


def test_continuum_terms():
    rng = np.random.default_rng(0)
    terms = chebyshev(AXIS, NETWORKS.wavelength, 3)
    model, flux = (AXIS.padded(rng.uniform(0.5, 1, 120)) for _ in range(2))
    weight = AXIS.padded(rng.uniform(1, 9, 120))
    first, stop = AXIS.ranges[1]
    own = slice(first, stop)
    factor, solution, solve_terms = np.empty((3, 3)), np.empty(3), build_terms(3)
    given = model, flux, weight, terms.ravel(), AXIS.n_place, first, stop
    assert solve_terms(*given, -1, factor, solution) == 3
    assert solution == pytest.approx(best_terms(terms[:, own], model[own], flux[own], weight[own]))
    assert solve_terms(*given, 2, factor, solution) == 2
    assert solution[:2] == pytest.approx(best_terms(terms[:2, own], model[own], flux[own], weight[own]))
    assert solution[2] == 0
    weight[first + 2 : stop] = 0.0
    weight[first : first + 2] = 1.0, 2.0
    assert solve_terms(*given, -1, factor, solution) <= 2, "two neighbours do not tell a parabola"


def test_flatten():
    rng = np.random.default_rng(1)
    terms = chebyshev(AXIS, NETWORKS.wavelength, 2)
    flux, weight = AXIS.padded(rng.uniform(0.5, 1, 120)), AXIS.padded(rng.uniform(1, 9, 120))
    weight[AXIS.place[5]] = 0.0
    flat, flat_weight, continuum, n_solved = *(np.empty(AXIS.n_place) for _ in range(3)), np.empty(2, np.int64)
    ones = in_lines(np.ones(AXIS.n_place))
    build_flatten(2)(flux, weight, terms.ravel(), AXIS.ranges, ones, flat, flat_weight, continuum, n_solved, 1.0)
    for first, stop in AXIS.ranges:
        own = slice(first, stop)
        level = np.maximum(best_terms(terms[:, own], 1.0, flux[own], weight[own]) @ terms[:, own], LEAST_CONTINUUM)
        assert continuum[own] == pytest.approx(level)
        assert flat[own] == pytest.approx(np.where(weight[own] > 0, flux[own] / level - 1, 0))
        assert flat_weight[own] == pytest.approx(weight[own] * level**2)
    assert (n_solved == 2).all()


# -------------------------------------------------------------------------------------------- correlation and estimate


def slow_correlation(correlation, product, weight):
    """Shift and score of the best template, lag by lag and bin by bin, then pixel by pixel."""
    t, lags = correlation.templates, correlation.lags
    coarse, fine = t.coarse.astype(float).reshape(-1, TEMPLATES), t.fine.astype(float).reshape(TEMPLATES, -1)
    numbers = range(1 - 2 * lags.first)
    upper, lower, row = np.zeros((len(numbers), TEMPLATES)), np.zeros((len(numbers), TEMPLATES)), 0
    for start, length, n_bin in zip(t.starts, t.length, t.bins[:, 1], strict=True):
        cut = [slice(start + b * lags.width, start + min((b + 1) * lags.width, length)) for b in range(n_bin)]
        for lag in numbers:
            for b in range(n_bin):
                data = b + lag + lags.first
                if 0 <= data < n_bin:
                    upper[lag] += coarse[row + b] * product[cut[data]].sum()
                    lower[lag] += coarse[row + b] ** 2 * weight[cut[data]].sum()
        row += n_bin
    least = LEAST_SQUARE * lower.max(axis=0)
    score = upper / np.sqrt(np.maximum(lower, least))
    lag, template = np.unravel_index(score.argmax(), score.shape)
    near = (lag + lags.first) * lags.width - FINE // 2 + np.arange(FINE)
    places = np.concatenate([start + np.arange(length) for start, length in zip(t.starts, t.length, strict=True)])
    own = fine[template, places]
    above = np.array([own @ product[places + d] for d in near])
    below = np.array([own**2 @ weight[places + d] for d in near])
    scores = above / np.sqrt(np.maximum(below, least[template]))
    top = 1 + scores[1:-1].argmax()
    before, at, after = scores[top - 1 : top + 2]
    shift = near[top] + np.clip(0.5 * (before - after) / (before - 2 * at + after), -1, 1)
    far = np.abs((np.array(numbers) + lags.first) * lags.width - shift) > lags.away + lags.width
    return shift, max(score.max(), scores[top]), score[far].max(initial=0.0)


@pytest.mark.parametrize("velocity", [0.0, 21.0])
def test_correlate(velocity):
    rest, rng = rest_axis(), np.random.default_rng(5)
    terms = chebyshev(AXIS, NETWORKS.wavelength, 2)
    correlation = Correlation(EMULATOR, rest, terms, to_places(FASTEST, rest.log_step))
    flux = NETWORKS.predict_scaled(np.array([0.4, 0.6])) + rng.normal(0, 0.01, 120)
    y, w = np.zeros(rest.n_place), np.zeros(rest.n_place)
    places = rest.own_places(AXIS).astype(int) + round(to_places(velocity, rest.log_step))
    y[places], w[places] = flux - flux.mean(), 1e4
    product, weight = in_lines(y * w, np.float32), in_lines(w, np.float32)
    found = build_correlate()(correlation.templates, correlation.lags, product, weight, correlation.working())
    assert found == pytest.approx(slow_correlation(correlation, y * w, w), rel=1e-3, abs=1e-3)


def test_estimate():
    estimate = estimate_of(EMULATOR, NETWORKS.wavelength, 0)
    mean, components, form = estimate.tables
    n = estimate.n_projection
    flux, weight = AXIS.padded(NETWORKS.predict_scaled(np.array([0.4, 0.6])), np.float32), AXIS.padded(np.ones(120))
    weight[AXIS.place[11]] = 0.0
    found = np.empty(2)
    build_estimate(2, n)(estimate.tables, flux, in_lines(weight, np.float32), found)
    difference = np.where(weight > 0, flux - mean, 0).astype(float)
    projections = components.reshape(-1, n, LINE).transpose(1, 0, 2).reshape(n, -1) @ difference
    products = [projections[a] * projections[b] for a in range(min(n, SQUARED)) for b in range(a, min(n, SQUARED))]
    labels = form @ np.concatenate([[1.0], projections, products])
    assert found == pytest.approx(np.clip(labels, LOWEST_ESTIMATE, HIGHEST_ESTIMATE), abs=1e-3)


# ----------------------------------------------------------------------------------------------------- least chi2


@part
def bent(problem, x, gradient, matrix):
    """chi2 of residuals problem - (3 x0 + x1, x0^2 - x1, x0 x1), and what a pass gives besides."""
    residual = np.empty(3)
    jacobian = np.empty((3, 2))
    residual[0], residual[1], residual[2] = 3 * x[0] + x[1], x[0] ** 2 - x[1], x[0] * x[1]
    jacobian[0, 0], jacobian[1, 0], jacobian[2, 0] = 3.0, 2 * x[0], x[1]
    jacobian[0, 1], jacobian[1, 1], jacobian[2, 1] = 1.0, -1.0, x[0]
    chi2 = 0.0
    gradient[:] = 0.0
    matrix[:] = 0.0
    for i in range(3):
        rest = problem[i] - residual[i]
        chi2 += rest * rest
        for a in range(2):
            gradient[a] += rest * jacobian[i, a]
            for b in range(2):
                matrix[a, b] += jacobian[i, a] * jacobian[i, b]
    return chi2


def box_of(lowest, highest, held=(False, False), mean=(0.0, 0.0), weight=(0.0, 0.0)):
    no_width = np.zeros(len(held), bool)
    return Box(
        *(np.array(v, float) for v in (lowest, highest)), np.array(held), np.array(mean), np.array(weight), no_width
    )


BOXES = [
    box_of([-9, -9], [9, 9]),
    box_of([-9, -9], [0.5, 9]),
    box_of([-9, -9], [9, 9], mean=(2.0, 0.0), weight=(4.0, 0.0)),
]


@pytest.mark.parametrize("box", BOXES)
def test_the_minimiser_ends_where_scipy_does(box):
    data = np.array([5.0, -1.0, 2.5])

    def residuals(x):
        own = data - np.array([3 * x[0] + x[1], x[0] ** 2 - x[1], x[0] * x[1]])
        return np.append(own, np.sqrt(box.prior_weight) * (box.prior_mean - x))

    fit = least_squares(residuals, [0.2, 0.2], bounds=(box.lowest, box.highest), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    x, matrix = np.array([0.2, 0.2]), np.empty((2, 2))
    problem = Precisions(data.astype(np.float32), data)
    beyond, pull = np.zeros((2, 2)), np.empty(2)
    chi2, _, ended, _ = build_minimiser(bent, 2)(problem, box, x, 1e-6, 100, False, 0.0, beyond, matrix, pull)
    assert ended == CONVERGED and x == pytest.approx(fit.x, abs=1e-5) and chi2 == pytest.approx(2 * fit.cost, rel=1e-6)
    best, found, pull, limits = np.full(2, np.nan), np.empty((2, 2)), np.empty(2), Limits(1e-6, 100, 0.0)
    search = build_search(bent, 2)
    least, _, ended, disagree = search(problem, box, np.array([[0.2, 0.2], [1.0, 1.0]]), limits, best, found, pull)
    assert ended == CONVERGED and not disagree and best == pytest.approx(fit.x, abs=1e-5)
    prior = (box.prior_weight * (box.prior_mean - best) ** 2).sum()
    assert without_priors(least, box, best) == pytest.approx(2 * fit.cost - prior, rel=1e-5, abs=1e-6)


@part
def two_valleys(problem, x, gradient, matrix):
    """chi2 of the residuals 100 (x^2 - 0.09) and problem (x - 0.3): least at -0.3 and 0.3."""
    first, second = -100.0 * (x[0] ** 2 - 0.09), -problem[0] * (x[0] - 0.3)
    slope = 200.0 * x[0]
    gradient[0] = first * slope + second * problem[0]
    matrix[0, 0] = slope * slope + problem[0] * problem[0]
    return first * first + second * second


@pytest.mark.parametrize(("tilt", "disagree"), [(1.0, True), (50.0, False)])
def test_the_search_says_whether_another_start_ended_elsewhere_as_well(tilt, disagree):
    box = Box(np.array([-1.0]), np.array([1.0]), np.array([False]), np.zeros(1), np.zeros(1), np.zeros(1, bool))
    problem = Precisions(np.array([tilt], np.float32), np.array([tilt]))
    for starts in ([[-0.5], [0.5]], [[0.5], [-0.5]]):
        x, matrix = np.full(1, np.nan), np.empty((1, 1))
        found = build_search(two_valleys, 1)(
            problem, box, np.array(starts), Limits(1e-6, 100, 0.0), x, matrix, np.empty(1)
        )
        assert found[3] == disagree and x == pytest.approx([0.3], abs=1e-5)


def test_what_is_held_stays_where_it_starts():
    lowest, highest = np.empty(2), np.empty(2)
    bound(box_of([0, 0], [1, 1], held=(True, False)), np.array([0.3, 0.4]), lowest, highest)
    assert lowest.tolist() == [0.3, 0.0] and highest.tolist() == [0.3, 1.0]
