"""The passes of a fit against what numpy makes of the same networks: flux, derivatives, sums, continua, tap weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from known_networks import line_networks

from payneflow.fitting import FitSettings, SpectralModel
from payneflow.fitting.broadening import NOTHING, LineBroadening
from payneflow.fitting.engine.arguments import Axes, GeneralProblem, LabelProblem, MovedMemory
from payneflow.fitting.engine.broaden import NO_BROADENING
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import LINE, PaddedAxis, emulator_of
from payneflow.fitting.engine.general_pass import RESAMPLE, SHIFT, STAY, build_general_pass
from payneflow.fitting.engine.label_pass import build_label_pass
from payneflow.fitting.engine.pixels import middle, select_pixels
from payneflow.fitting.engine.scatter import extra_scatter
from payneflow.fitting.engine.shift import C_KM_S, RestAxis, tap_table, to_places, to_velocity
from payneflow.fitting.engine.taps import tap_weights
from payneflow.fitting.engine.widths import to_parameter
from payneflow.simd import LANES, aligned, kernel, load_line, power_of_two, store


@hypothesis_settings(max_examples=12)
@given(
    size=st.sampled_from([(1, 1), (2, 4), (7, 3)]),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_sums_of_the_label_pass_are_those_of_numpy(size, seed, dtype):
    n_label, n_neurons = size
    networks = line_networks(n_label, n_neurons)
    emulator, rng = emulator_of(networks), np.random.default_rng(seed)
    x = rng.uniform(0, 1, n_label)
    flux, weight = rng.normal(1, 0.1, 120), rng.uniform(0, 1e4, 120) * (rng.uniform(size=120) > 0.2)
    model, jacobian = networks.jacobian_scaled(x)
    gradient, matrix = np.empty(n_label), np.empty((n_label, n_label))
    problem = LabelProblem(
        emulator.weights[dtype], emulator.axis.padded(flux, dtype), emulator.axis.padded(weight, dtype)
    )
    chi2 = build_label_pass(n_label, n_neurons)(problem, x, gradient, matrix)
    digits = 1e-9 if dtype == np.float64 else 2e-4
    pull = weight * (flux - model)
    assert chi2 == pytest.approx((pull * (flux - model)).sum(), rel=digits)
    largest = np.abs(pull[:, None] * jacobian).sum(axis=0)
    assert np.abs(gradient - pull @ jacobian).max() < digits * largest.max()
    assert np.abs(matrix - (jacobian.T * weight) @ jacobian).max() < digits * np.abs(matrix).max()


class Pass:
    """A general pass and its arrays, for one way of moving the emulator."""

    def __init__(self, n_label, n_neurons, n_term, move, velocity, dtype, seed, networks=None, broadening=None):
        self.networks = networks = line_networks(n_label, n_neurons) if networks is None else networks
        n_broad = NO_BROADENING if broadening is None else len(broadening.names)
        n_slope = n_label + max(n_broad, 0)
        emulator = emulator_of(networks)
        rng = np.random.default_rng(seed)
        reach = None if broadening is None else broadening.reach
        rest = RestAxis(emulator, networks.wavelength, 40.0, 0.0, move != STAY, reach)
        if move == RESAMPLE:
            ends = networks.wavelength[[8, 30]] if broadening is None else networks.wavelength[[130, 200]]
            wavelength = np.sort(rng.uniform(*ends, 33))
            self.axis = PaddedAxis(wavelength)
            places = rest.place(wavelength)
        else:
            wavelength, self.axis, places = networks.wavelength, emulator.axis, rest.own_places(emulator.axis)
        n, self.wavelength = len(wavelength), wavelength
        self.n_parameter = n_slope + velocity
        self.flux, self.weight = rng.normal(1, 0.1, n), rng.uniform(10, 100, n)
        self.weight *= rest.interior[np.clip(np.rint(places).astype(int), 0, rest.n_place - 1)]
        self.terms = chebyshev(self.axis, wavelength, max(n_term, 1))
        self.continuum = np.zeros((len(self.axis.segments), n_term))
        self.moved = aligned((2 + n_slope) * self.axis.n_place // LANES, dtype)
        self.rest = aligned((1 + n_label) * rest.n_place // LANES, dtype)
        self.stay, self.n_term = move == STAY, n_term
        columns = aligned(rest.n_place * -(-(1 + n_slope) // LANES), dtype)
        broad = aligned((1 + n_slope) * rest.n_place // LANES * (broadening is not None), dtype)
        solved = np.full(len(self.axis.segments), n_term)
        places = self.axis.padded(places + 1.0) - 1.0
        own_places = emulator.axis.padded(rest.own_places(emulator.axis) + 1.0) - 1.0
        n_own = emulator.axis.n_place if rest.uneven else 0
        own = aligned((1 + n_label) * n_own // LANES, dtype)
        self.problem = GeneralProblem(
            emulator.weights[dtype],
            self.axis.padded(self.flux, dtype),
            self.axis.padded(self.weight, dtype),
            self.terms.astype(dtype).ravel(),
            Axes(emulator.axis.ranges, self.axis.ranges, rest.starts, places, own_places, rest.firsts, rest.weights),
            solved,
            tap_table().astype(dtype).ravel(),
            MovedMemory(self.rest, self.moved, own, columns, broad, broad[:0]),
            self.continuum,
            NOTHING if broadening is None else broadening.given(rest),
        )
        self._evaluate = build_general_pass(n_label, n_neurons, n_term, move, velocity, rest.uneven, n_broad)

    def __call__(self, x):
        gradient, matrix = np.empty(self.n_parameter), np.empty((self.n_parameter, self.n_parameter))
        return self._evaluate(self.problem, x, gradient, matrix), gradient, matrix

    def model(self, x):
        """The moved emulator (n_data,) at x."""
        self(x)
        buffer = self.rest if self.stay else self.moved
        return buffer[: self.axis.n_place][self.axis.place].astype(float)


WAYS = [(2, 3, 3, SHIFT, True), (1, 2, 0, RESAMPLE, True), (3, 2, 2, STAY, False), (8, 2, 2, RESAMPLE, True)]


@hypothesis_settings(max_examples=8)
@given(way=st.sampled_from(WAYS), seed=st.integers(0, 1000))
def test_sums_of_the_general_pass_are_those_of_the_whole_linear_problem(way, seed):
    """chi2 at the best continuum; its derivative; the Schur complement: all from finite differences of the model."""
    one = Pass(*way, np.float64, seed)
    n_label, n_term = way[0], way[2]
    x = np.append(np.random.default_rng(seed).uniform(0.2, 0.8, n_label), [1.3] * way[4])
    h = 1e-5
    model = one.model(x)
    slopes = np.stack([(one.model(x + h * e) - one.model(x - h * e)) / (2 * h) for e in np.eye(len(x))], axis=1)
    columns = [model[:, None] * np.zeros((len(model), 0))]
    if n_term:
        for first, stop in one.axis.segments:
            basis = np.zeros((len(model), n_term))
            own = one.axis.place[first:stop]
            basis[first:stop] = one.terms[:, own].T
            columns.append(basis * model[:, None])
    basis = np.concatenate(columns, axis=1)
    root = np.sqrt(one.weight)
    level = np.ones(len(model))
    if n_term:
        best = np.linalg.lstsq(basis * root[:, None], one.flux * root, rcond=None)[0]
        level = (basis @ best) / model
    residual = one.flux - level * model
    chi2, gradient, matrix = one(x)
    assert chi2 == pytest.approx((one.weight * residual**2).sum(), rel=1e-9)
    assert np.allclose(gradient, (one.weight * residual) @ (level[:, None] * slopes), rtol=1e-5, atol=1e-4)
    change = [(one(x + h * e)[0] - one(x - h * e)[0]) / (2 * h) for e in np.eye(len(x))]
    assert np.allclose(gradient, -0.5 * np.array(change), rtol=1e-4, atol=1e-3)
    jacobian = level[:, None] * slopes * root[:, None]
    if n_term:
        jacobian -= (basis * root[:, None]) @ np.linalg.lstsq(basis * root[:, None], jacobian, rcond=None)[0]
    assert np.allclose(matrix, jacobian.T @ jacobian, rtol=1e-4, atol=1e-5 * np.abs(matrix).max())


BROADENED = FitSettings(vsini=True, vmac=True, max_vsini=15.0, max_vmac=3.0, resolution=6e4, grid_resolution=1e5)
BROAD_WAYS = [(2, 3, 2, SHIFT, True, BROADENED), (2, 3, 0, RESAMPLE, False, replace(BROADENED, vmac=False))]


@pytest.mark.parametrize("way", BROAD_WAYS, ids=["both", "rotation, other axis"])
@pytest.mark.parametrize("widths", [(0.0, 0.0), (0.2, 0.1), (9.0, 2.0)], ids=str)
def test_the_pass_of_broadened_lines_is_that_of_the_model_and_knows_its_slopes(way, widths):
    """Flux against numpy's forward model, gradient against differences of chi2, at a width of 0, too."""
    *own, settings = way
    networks = line_networks(2, 3, n_pixel=240)
    broadening = LineBroadening.of(networks, settings)
    one = Pass(*own, np.float64, 3, networks, broadening)
    n_broad, step = len(broadening.names), np.median(np.diff(np.log(networks.wavelength)))
    p = to_parameter(np.array(widths[:n_broad]) / (C_KM_S * step))
    x = np.array([0.3, 0.6, *p, *[1.3] * own[4]])
    forward = SpectralModel(networks, replace(settings, velocity=own[4], max_velocity=40.0), one.wavelength)
    named = dict(zip(broadening.names, widths, strict=False))
    expected = forward.predict(networks.scaler.unscale(x[:2]), to_velocity(1.3, step) * own[4], broadening=named)
    known = (one.weight > 0) & np.isfinite(expected)
    assert known.sum() > 20 and np.abs(one.model(x) - expected)[known].max() < 2e-6
    matrix = one(x)[2]
    h = 1e-4
    for a in range(len(x)):
        up, down = x + h * np.eye(len(x))[a], x - h * np.eye(len(x))[a]
        if a in range(2, 2 + n_broad):
            down = np.maximum(down, 0.0)  # a width of less than 0 is none: one-sided
        change = -0.5 * (one(up)[0] - one(down)[0]) / (up - down)[a]
        middle = one(0.5 * (up + down))[1][a]
        assert middle == pytest.approx(change, rel=1e-4, abs=2e-4 * np.sqrt(matrix[a, a]))


def test_single_precision_agrees_with_double():
    way = WAYS[0]
    x = np.array([0.4, 0.6, -2.7])
    chi2, gradient, matrix = Pass(*way, np.float64, 5)(x)
    single = Pass(*way, np.float32, 5)(x)
    assert single[0] == pytest.approx(chi2, rel=1e-4)
    assert np.abs(single[1] - gradient).max() < 1e-3 * np.abs(gradient).max()
    assert np.abs(single[2] - matrix).max() < 1e-3 * np.abs(matrix).max()


# ------------------------------------------------------------------------------------------------------------- parts


def test_powers_of_two_in_either_precision():
    @kernel
    def powers(x, result):
        for i in range(0, len(x), 64 // x.itemsize):
            store(result, i, power_of_two(load_line(x, i)))

    for dtype, limit, digits in ((np.float64, 400.0, 2e-12), (np.float32, 60.0, 3e-7)):
        x, result = aligned(32, dtype), aligned(32, dtype)
        x[:] = np.linspace(-1.2 * limit, 1.2 * limit, len(x))
        powers(x, result)
        expected = np.exp2(np.clip(x.astype(float), -limit, limit))
        assert np.abs(result / expected - 1).max() < digits


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_middle_is_the_lower_median(numbers):
    values = aligned(LINE * 4 // LANES, np.float32)
    values[:] = np.inf
    values[: len(numbers)] = numbers
    assert middle(values, len(numbers)) == np.sort(np.float32(numbers))[(len(numbers) - 1) // 2]


def test_pixels_that_do_not_count():
    flux, error, usable = np.ones(16), np.full(16, 0.1), np.ones(16)
    flux[0], flux[1], error[2], error[3], error[4], error[5], usable[6] = np.nan, np.inf, 0.0, -1.0, np.nan, np.inf, 0.0
    error[7] = 100.5  # more than 100 times the median |flux|
    y, weight, values = np.empty(16), np.empty(16), np.empty(16, np.float32)
    n, snr = select_pixels(flux, error, usable, y, weight, values)
    assert (n, snr) == (8, pytest.approx(10.0))
    assert y.tolist() == [0] * 8 + [1] * 8 and weight == pytest.approx([0] * 8 + [100] * 8)
    flux[8], flux[9] = 1e30, -1.1e4  # more than 10 000 times the median |flux|
    n, snr = select_pixels(flux, error, usable, y, weight, values)
    assert (n, snr) == (6, pytest.approx(10.0))
    assert y.tolist() == [0] * 10 + [1] * 6 and weight == pytest.approx([0] * 10 + [100] * 6)


@given(t=st.floats(0, 1))
def test_tap_weights_keep_a_constant_and_their_table_keeps_the_weights(t):
    weights = tap_weights(np.array([t]))[0]
    assert weights.sum() == pytest.approx(1)
    interval = min(int(t * 64), 63)
    u = t * 64 - interval
    assert tap_table()[interval].T @ u ** np.arange(4) == pytest.approx(weights, abs=2e-7)


def test_tap_weights_pass_smoothly_from_one_pixel_to_the_next():
    """A jump of the slope there (0.7 % with a plain Kaiser window) makes false minima at whole shifts."""
    here, after, before, end = tap_weights(np.array([0.0, 1e-6, 1 - 1e-6, 1.0]))
    slope_before, slope_after = np.append(end - before, 0), np.append(0, after - here)
    assert np.abs(slope_before - slope_after).max() < 1e-5 * np.abs(slope_after).max()


@given(st.floats(-3000, 3000))
def test_velocities_and_shifts(velocity):
    places = to_places(velocity, 1.4e-5)
    assert to_velocity(places, 1.4e-5) == pytest.approx(velocity, abs=1e-9)
    assert np.exp(places * 1.4e-5) == pytest.approx(np.sqrt((1 + velocity / 299792.458) / (1 - velocity / 299792.458)))


def test_extra_scatter_makes_chi2_the_degrees_of_freedom():
    rng = np.random.default_rng(0)
    residual, weight, level = rng.normal(0, 0.05, 4000), rng.uniform(1e4, 4e4, 4000), rng.uniform(0.5, 2, 4000)
    s = extra_scatter(residual, weight, level, 3990)
    assert (residual**2 / (1 / weight + (s * level) ** 2)).sum() == pytest.approx(3990, rel=1e-6)
    assert extra_scatter(residual, weight, level, 1e9) == 0
