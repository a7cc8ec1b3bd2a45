"""Broadening: its shapes against formulas, kernels against convolution on a fine axis, slopes against differences."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfc

from payneflow.fitting.engine.broaden import Broadening, build_broaden, build_kernel
from payneflow.fitting.engine.profiles import (
    HALF,
    KAISER_BETA,
    after,
    gaussian,
    gaussian_velocity,
    half_kernel,
    radial_tangential,
    rotation,
    whole_kernel,
)
from payneflow.fitting.engine.shift import tap_table
from payneflow.fitting.engine.widths import FLOOR, to_parameter, to_width
from payneflow.simd import LANES, aligned

MOST = 40.0  # places
EPSILON = 0.6
STEP = 4.14  # km/s a pixel
SPREAD = 9.4 / STEP  # pixels, sigma of lines as wide as those of R = 13 500
N_PIXEL, FINE = 400, 20


def gray(x, epsilon=EPSILON):
    """Gray 2005, equation 18.14, in units of v sin i."""
    root = np.sqrt(np.maximum(1.0 - x**2, 0.0))
    value = 2.0 * (1.0 - epsilon) * root + 0.5 * np.pi * epsilon * root**2
    return value / (np.pi * (1.0 - epsilon / 3.0))


def macro(y):
    """Gray's radial-tangential profile over the disk, in units of zeta."""
    y = np.abs(y)
    return 2.0 / np.sqrt(np.pi) * (np.exp(-(y**2)) - np.sqrt(np.pi) * y * erfc(y))


def normal(z):
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


SHAPES = [
    (lambda most: rotation(most, EPSILON), gray, 1.0),
    (lambda most: rotation(most, 0.0), lambda x: gray(x, 0.0), 1.0),
    (radial_tangential, macro, 8.0),
    (gaussian, normal, 8.0),
    (gaussian_velocity, lambda y: np.exp(-(y**2)) / np.sqrt(np.pi), 8.0),
]


@pytest.mark.parametrize(("made", "formula", "end"), SHAPES)
@pytest.mark.parametrize("frequency", [0.0, 0.5, 2.0, 5.0])
def test_shapes_integrate_as_their_formulas_do(made, formula, end, frequency):
    shape = made(MOST)
    true = 2.0 * quad(lambda z: formula(z) * np.cos(frequency * z), 0.0, end, limit=200)[0]
    assert shape.weights @ np.cos(frequency * shape.nodes) == pytest.approx(true, abs=2e-5)


def lines(axis):
    """A spectrum of blended lines at places of an axis in pixels."""
    rng = np.random.default_rng(5)
    flux = np.ones(len(axis))
    for centre, depth, width in zip(
        rng.uniform(0, N_PIXEL, 120), rng.uniform(0, 0.25, 120), rng.uniform(1, 1.5, 120) * SPREAD, strict=True
    ):
        flux -= depth * np.exp(-0.5 * ((axis - centre) / width) ** 2)
    return flux


@pytest.mark.parametrize(
    ("made", "formula", "end"), [SHAPES[0], SHAPES[2], SHAPES[3]], ids=["rotation", "macroturbulence", "instrument"]
)
@pytest.mark.parametrize("velocity", [0.5, 2.0, 5.0, 10.0, 30.0, 80.0, 150.0])
def test_a_broadened_spectrum_is_that_of_a_finer_axis(made, formula, end, velocity):
    width = velocity / STEP
    flux = lines(np.arange(float(N_PIXEL)))
    fine = lines(np.arange(N_PIXEL * FINE) / FINE)
    # each pixel of the fine axis takes the profile's share between its edges, by 20 points a pixel
    far = int(np.ceil(min(end, 4.5) * width * FINE)) + 1
    places = (np.arange(-far, far + 1)[:, None] + (np.arange(20) + 0.5) / 20 - 0.5) / FINE / width
    share = (formula(places) * (np.abs(places) <= min(end, 4.5))).mean(axis=1)
    true = np.convolve(fine, share / share.sum(), mode="same")[::FINE]
    found = np.convolve(flux, whole_kernel(half_kernel(made(MOST), width)), mode="same")
    inner = slice(far // FINE + 10, N_PIXEL - far // FINE - 10)
    if inner.start < inner.stop:
        assert np.abs(found - true)[inner].max() < 1e-4


LONGEST, LENGTH = 160, 128


def given(*shapes, fixed=(1.0,)):
    ends = np.cumsum([len(shape.nodes) for shape in shapes])
    return Broadening(
        tap_table(HALF, KAISER_BETA).ravel(),
        np.concatenate([shape.nodes for shape in shapes]),
        np.concatenate([shape.weights for shape in shapes]),
        ends,
        np.array(fixed),
        np.zeros(len(shapes)),
        np.array([LENGTH]),
        LONGEST,
        np.zeros((0, 1)),
    )


BOTH = rotation(MOST, EPSILON), radial_tangential(MOST)
INSTRUMENT = half_kernel(gaussian(3.0), 1.7)


def rows_of(parameters):
    rows = np.full((3, LONGEST), np.nan)
    n = build_kernel(2)(given(*BOTH, fixed=INSTRUMENT), np.array(parameters), 0, rows)
    return rows[:, :n]


def test_widths_and_parameters_are_each_others_inverse():
    widths = np.array([0.0, 0.02, 0.5, 3.0, 40.0])
    assert to_width(to_parameter(widths))[1:] == pytest.approx(widths[1:], rel=2e-1 * FLOOR + 1e-6, abs=FLOOR)
    assert to_parameter(0.0) == 0.0


@pytest.mark.parametrize("widths", [(0.0, 0.0), (0.3, 0.01), (4.0, 1.0), (35.0, 6.0)])
def test_the_kernel_is_that_of_numpy_and_its_slopes_are_differences(widths):
    x = to_parameter(np.array(widths))
    rows = rows_of(x)
    expected = INSTRUMENT
    for shape, width in zip(BOTH, widths, strict=True):
        expected = after(expected, half_kernel(shape, np.hypot(width, 0.0) if width > FLOOR else FLOOR))
    assert rows.shape[1] == len(expected)
    assert np.abs(rows[0] - expected).max() < 1e-6
    assert rows[0, 0] + 2.0 * rows[0, 1:].sum() == pytest.approx(1.0, abs=1e-12)
    h = 1e-6
    for b in range(2):
        step = h * np.eye(2)[b]
        up, down = (np.zeros(200) for _ in range(2))
        for sign, row in ((1, up), (-1, down)):
            at = rows_of(np.maximum(x + sign * step, 0.0))
            row[: at.shape[1]] = at[0]
        between = (np.maximum(x + step, 0.0) - np.maximum(x - step, 0.0))[b]
        slope = (up - down)[: rows.shape[1]] / between
        assert np.abs(rows[1 + b] - slope).max() < 3e-4 * np.abs(slope).max() + 1e-7


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_are_broadened_as_by_numpy(dtype):
    n_label, n_rest, start, length = 2, 512, 192, LENGTH
    rng = np.random.default_rng(3)
    rest = aligned((1 + n_label) * n_rest // LANES, dtype)
    values = np.zeros((1 + n_label, n_rest))
    values[:, start : start + length] = rng.normal(1, 0.1, (1 + n_label, length))
    rest[:] = values.ravel()
    broad = aligned((3 + n_label) * n_rest // LANES, dtype)
    x = np.array([0.3, 0.4, *to_parameter(np.array([12.0, 2.0]))])
    build_broaden(n_label, 2)(given(*BOTH, fixed=INSTRUMENT), x, rest, n_rest, np.array([start]), broad)
    kernels, inner = rows_of(x[n_label:]), slice(start, start + length)
    found = broad.reshape(-1, n_rest)[:, inner]
    one = [np.convolve(row, whole_kernel(kernels[0]), mode="same")[inner] for row in values]
    slopes = [np.convolve(values[0], whole_kernel(kernels[1 + b]), mode="same")[inner] for b in range(2)]
    assert np.abs(found - np.array([*one, *slopes])).max() < (1e-12 if dtype == np.float64 else 1e-5)
