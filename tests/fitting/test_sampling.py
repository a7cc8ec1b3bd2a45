"""How well pixels sample lines of known width, and what is refused where they do not."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.errors import SpectraError
from payneflow.fitting import FitSettings, SpectralModel
from payneflow.fitting.calibration import measure_label_errors
from payneflow.fitting.engine.taps import TAPS, tap_weights_at
from payneflow.fitting.moved_stars import FRACTIONS, known_velocities, moved_stars
from payneflow.fitting.sampling import check_sampling, problem_of_grid, sampling
from payneflow.grid import SpectralGrid
from payneflow.weights import PUBLISHED_KEYS

N_PIXEL, STEP, C_KM_S = 600, 2e-5, 299792.458
EVEN = 6000.0 * np.exp(STEP * np.arange(N_PIXEL))
AXES = {
    "even in ln(wavelength)": EVEN,
    "even in wavelength": np.linspace(EVEN[0], EVEN[-1], N_PIXEL),
    "with a gap": np.concatenate([EVEN[:250], EVEN[270:]]),
}
MOVES = FitSettings(velocity=True, continuum=2, max_velocity=60.0)


def lines(wavelength, width, velocity=0.0):
    """Normalised flux of many lines whose FWHM is `width` steps, as seen at a velocity in km/s; exact anywhere."""
    rng = np.random.default_rng(4)
    places = rng.uniform(-40.0, N_PIXEL + 40.0, 300)
    depth = rng.uniform(0.02, 0.3, 300)
    at = (np.log(wavelength / EVEN[0]) - np.arctanh(velocity / C_KM_S)) / STEP
    sigma = width / 2.3548
    return 1.0 - (depth * np.exp(-0.5 * ((at[:, None] - places) / sigma) ** 2)).sum(axis=1)


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("width", [1.2, 1.6, 2.0])
def test_the_error_between_pixels_is_told_within_a_factor_of_three(axis, width):
    middles = np.log(np.sqrt(axis[1:] * axis[:-1]))
    firsts, weights = tap_weights_at(np.log(axis), middles)
    inside = weights.any(axis=1) & (np.diff(axis) < 5 * np.median(np.diff(axis)))
    taken = (lines(axis, width)[firsts[:, None] + np.arange(TAPS)] * weights).sum(axis=1)
    true = np.sqrt(np.mean((taken - lines(np.exp(middles), width))[inside] ** 2))
    assert true / 3 < sampling(axis, lines(axis, width)).error < 3 * true


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_two_pixels_a_line_are_enough_and_one_and_a_half_are_not(axis):
    for width, enough in ((3.0, True), (2.0, True), (1.5, False)):
        found = sampling(axis, lines(axis, width))
        assert found.lines == pytest.approx(lines(axis, width).std())
        assert (found.error <= found.accepted(1.0)) == enough, width
    shallow = sampling(axis, 1.0 + 0.005 * (lines(axis, 1.5) - 1.0))
    assert shallow.error < shallow.accepted(1.0) == 0.001


def test_pixels_that_are_missing_make_no_error_and_too_few_tell_nothing():
    flux = lines(EVEN, 4.0)
    whole = sampling(EVEN, flux).error
    flux[100:420:40] = np.nan
    assert 0.2 * whole < sampling(EVEN, flux).error < 2.0 * whole
    assert sampling(EVEN[:31], lines(EVEN, 1.2)[:31]).error == 0.0


# --------------------------------------------------------------------------------------------------- moved stars


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_stars_are_moved_as_if_they_were_observed(axis):
    velocity = np.array([2.9, -1.3, 2.9])
    columns = np.arange(0, len(axis), 3)
    flux = np.stack([lines(axis, 4.0)] * 3)
    moved = moved_stars(flux, axis, velocity, columns)
    true = np.stack([lines(axis[columns], 4.0, one) for one in velocity])
    known = np.isfinite(moved)
    assert known.sum(axis=1).min() > len(columns) - 14
    assert moved[known] == pytest.approx(true[known], abs=1e-5)
    assert (moved[0] == moved[2])[known[0]].all()
    assert not known[:, [0, -1]].any(), "nor is what comes from beyond the first and the last pixel"


def test_velocities_are_spread_over_a_pixel_and_go_with_no_mesh():
    n = 320
    velocity = known_velocities(n, EVEN, 500.0)
    assert (velocity == known_velocities(n, EVEN, 500.0)).all()
    places = np.arctanh(velocity / C_KM_S) / STEP
    distinct, counts = np.unique(places.round(6), return_counts=True)
    assert len(distinct) == FRACTIONS and (counts == n // FRACTIONS).all()
    assert np.diff(distinct) == pytest.approx(np.full(FRACTIONS - 1, 1 / FRACTIONS), abs=1e-5)
    for period in range(2, 21):
        means = [places[first::period].mean() * np.sqrt(n / period) for first in range(period)]
        assert np.abs(means).max() < 4 / np.sqrt(12), f"rows of a mesh of {period} share a fraction"
    assert np.abs(known_velocities(n, EVEN, 1.0)).max() < 0.5


# ------------------------------------------------------------------------------------------------- what is refused


def thinned(networks, step, **replaced):
    """Networks of every step-th pixel, with the same axis of segments."""
    arrays = {name: getattr(networks, name)[::step] for name in (*PUBLISHED_KEYS, "wavelength", "emulator_rms")}
    return replace(networks, **{**arrays, **replaced})


@pytest.fixture(scope="module")
def fine():
    return line_networks(2, 3, n_pixel=1200, seed=4)


@pytest.fixture(scope="module")
def coarse(fine):
    return thinned(fine, 5)


def test_networks_that_are_too_coarse_are_refused_for_what_moves_them(fine, coarse):
    check_sampling(fine, velocity=True)
    flux = coarse.predict(coarse.scaler.unscale(np.full((1, 2), 0.5)))
    said = r"off by \d+\.\d\d% of the flux \(rms\), and \d\.\d\d% is accepted .* Train all pixels"
    with pytest.raises(SpectraError, match="a velocity cannot be fitted.*" + said):
        fit_spectra(coarse, flux, 0.01, settings=MOVES)
    other = coarse.wavelength[5:-5] + 0.01
    with pytest.raises(SpectraError, match="other wavelengths than the networks' own cannot be fitted.*" + said):
        fit_spectra(coarse, flux[:, 5:-5], 0.01, other)
    with pytest.raises(SpectraError, match="too far apart"):
        SpectralModel(coarse, MOVES)
    labels = fit_spectra(coarse, flux, 0.01)
    assert labels["label0"][0] == pytest.approx(coarse.scaler.unscale(np.full(2, 0.5))[0], rel=1e-3)
    SpectralModel(coarse)


def test_what_is_accepted_grows_with_the_error_that_networks_have_anyway(coarse):
    check_sampling(replace(coarse, emulator_rms=np.full(len(coarse.wavelength), 0.2)), velocity=True)
    with pytest.raises(SpectraError, match="in their pixels the networks are off by 0.00%"):
        check_sampling(replace(coarse, emulator_rms=np.full(len(coarse.wavelength), np.nan)), velocity=True)


def grid_of(networks):
    labels = networks.scaler.unscale(np.random.default_rng(5).uniform(0.2, 0.8, (96, 2)))
    names, units = networks.label_names, networks.label_units
    return SpectralGrid("grid.npz", networks.wavelength, networks.predict(labels), labels, names, units, "of the grid")


def test_the_grid_tells_it_before_anything_is_trained(fine):
    grid = grid_of(fine)
    assert problem_of_grid(grid, range(1200)) == ""
    assert "too far apart for their lines" in problem_of_grid(grid, range(0, 1200, 5))


def test_a_calibration_sees_what_interpolating_the_networks_does(fine):
    """The pixels of all networks are perfect; between them the coarse ones are wrong."""
    grid = grid_of(fine)
    coarse = thinned(fine, 3, emulator_rms=np.full(400, 0.03))
    velocity = {}
    for name, networks in (("fine", fine), ("coarse", coarse)):
        errors = measure_label_errors(networks, grid, MOVES)
        velocity[name] = np.sqrt(np.mean(errors.errors[:, 2] ** 2))
        assert errors.provenance["left_out"] < 10
    assert velocity["fine"] < 0.01 and velocity["coarse"] > 10 * velocity["fine"], velocity
