"""Two stars in one spectrum: pairs that were put in are found with their velocities, and single stars are not pairs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.fitting import FitFlag, FitSettings, SpectralModel
from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.pairs import brighter_of, broad_as, candidates, is_better, promises, spikes
from payneflow.fitting.second_lines import LineSearch, SecondLines
from payneflow.fitting.star_light import StarLight
from payneflow.fitting.two_stars import Found, Observed, OneStar, TwoStars, first_order_gain, projected, search

NOISE, N_STAR = 0.004, 24
PLAIN = FitSettings(velocity=True, max_velocity=60.0, max_vsini=60.0, emulator_error=False)
ROTATING = replace(PLAIN, vsini=True)
VELOCITY, APART, RATIO = -30.0, 75.0, 0.4
FREE = np.ones(2, bool)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=1600, seed=4)


@pytest.fixture(scope="module")
def light(networks):
    return StarLight(networks, PLAIN, None, None, 3)


def labels_of(networks, seed, n=N_STAR):
    return networks.scaler.unscale(np.random.default_rng(seed).uniform(0.2, 0.8, (n, 2)))


def predicted(networks, labels, velocity, **widths):
    flux = SpectralModel(networks, ROTATING).predict(labels, velocity, broadening=widths)
    return np.nan_to_num(flux, nan=1.0)


@pytest.fixture(scope="module")
def pairs(networks):
    """Flux (n, n_pixel) of pairs without noise."""
    one = predicted(networks, labels_of(networks, 1), VELOCITY)
    other = predicted(networks, labels_of(networks, 2), VELOCITY + APART)
    return (one + RATIO * other) / (1 + RATIO)


def noisy(flux, seed=3):
    return flux + np.random.default_rng(seed).normal(0, NOISE, flux.shape)


def double_lined(table):
    return (np.asarray(table["flags"]) & FitFlag.DOUBLE_LINED) > 0


COLUMNS = "RV1", "RV1_error", "RV2", "RV2_error", "light_ratio", "light_ratio_error"


def test_pairs_are_found_with_both_velocities_and_the_ratio_of_their_light(networks, pairs):
    table = fit_spectra(networks, noisy(pairs), NOISE, settings=PLAIN)
    found = double_lined(table)
    assert found.mean() > 0.95
    for name, truth in (("RV1", VELOCITY), ("RV2", VELOCITY + APART), ("light_ratio", RATIO)):
        pull = (np.asarray(table[name]) - truth)[found] / np.asarray(table[f"{name}_error"])[found]
        assert 0.5 < 1.4826 * np.median(np.abs(pull)) < 1.7 and np.abs(pull).max() < 6, name
    assert [table[name].unit for name in COLUMNS] == ["km/s"] * 4 + [None] * 2
    assert all(np.isnan(table[name])[~found].all() for name in COLUMNS)


def test_the_brighter_star_comes_first(networks, pairs):
    """The fit has the velocity of the star of the larger share, whichever that is."""
    one = predicted(networks, labels_of(networks, 1), VELOCITY)
    other = predicted(networks, labels_of(networks, 2), VELOCITY + APART)
    table = fit_spectra(networks, noisy((0.3 * one + 0.7 * other)[:8]), NOISE, settings=PLAIN)
    found = double_lined(table)
    assert found.sum() >= 7 and (np.asarray(table["light_ratio"])[found] < 1).all()
    assert np.asarray(table["RV1"])[found] == pytest.approx(VELOCITY + APART, abs=3)
    assert np.asarray(table["RV2"])[found] == pytest.approx(VELOCITY, abs=3)


def bent(flux):
    return flux * (1 + 0.03 * np.sin(np.linspace(0, 25, flux.shape[1])))


def with_cosmic_rays(flux):
    rng, flux = np.random.default_rng(5), flux.copy()
    for one in flux:
        one[rng.choice(len(one), 16, replace=False)] += rng.uniform(0.3, 3.0, 16)
    return flux


SINGLE = {
    "good": lambda flux: flux,
    "veil": lambda flux: 0.8 * flux + 0.2,
    "continuum": bent,
    "cosmic rays": with_cosmic_rays,
    "emission": lambda flux: flux + 0.2 * np.exp(-0.5 * ((np.arange(flux.shape[1]) - 900) / 3) ** 2),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_a_single_star_is_no_pair_whatever_is_wrong_with_it(networks, kind):
    flux = SINGLE[kind](predicted(networks, labels_of(networks, 4), 20.0))
    table = fit_spectra(networks, noisy(flux), NOISE, settings=PLAIN)
    assert not double_lined(table).any()
    assert all(np.isnan(table[name]).all() for name in COLUMNS)


@pytest.mark.parametrize("vsini", [20.0, 50.0])
def test_a_star_that_rotates_is_no_pair(networks, vsini):
    flux = predicted(networks, labels_of(networks, 6), 10.0, vsini=vsini)
    table = fit_spectra(networks, noisy(flux), NOISE, settings=PLAIN)
    assert ((np.asarray(table["flags"]) & FitFlag.MODEL_MISMATCH) > 0).any(), "the fit sees that something is wrong"
    assert not double_lined(table).any()


def test_only_fits_with_a_velocity_say_so(networks, pairs):
    table = fit_spectra(networks, noisy(pairs), NOISE, settings=FitSettings(emulator_error=False))
    assert not double_lined(table).any() and not set(COLUMNS) & set(table.colnames)


def test_who_does_not_ask_is_not_told(networks, pairs):
    table = fit_spectra(networks, noisy(pairs)[:6], NOISE, settings=PLAIN)
    unasked = fit_spectra(networks, noisy(pairs)[:6], NOISE, settings=replace(PLAIN, pairs=False))
    assert double_lined(table).any() and not double_lined(unasked).any() and not set(COLUMNS) & set(unasked.colnames)
    assert np.array_equal(np.asarray(table["flags"]) & ~FitFlag.DOUBLE_LINED, unasked["flags"])
    assert all(np.array_equal(table[name], unasked[name]) for name in ("RV", "chi2", *networks.label_names))


def test_neither_threads_nor_the_spectra_beside_it_change_a_bit(networks, pairs):
    flux = noisy(pairs)[:6]
    table = fit_spectra(networks, flux, NOISE, settings=PLAIN)
    threads = fit_spectra(networks, flux, NOISE, settings=PLAIN, processes=2)
    backwards = fit_spectra(networks, flux[::-1][:3], NOISE, settings=PLAIN)
    assert double_lined(table).any()
    for name in COLUMNS:
        assert np.array_equal(table[name], threads[name], equal_nan=True)
        assert np.array_equal(table[name][::-1][:3], backwards[name], equal_nan=True)


# ------------------------------------------------------------------------------------------------------- its pieces


def test_a_score_makes_a_candidate_unless_much_else_is_wrong():
    """Of four spectra: chi2/dof 1, the same with a score of 4, and chi2/dof 9 with scores of 20 and 80."""
    chi2 = np.array([1000.0, 1000.0, 9000.0, 9000.0])
    fits = SimpleNamespace(chi2=chi2)
    companion = np.array([1.0, 4.0, 10.0, 40.0])
    quality = SimpleNamespace(dof=np.full(4, 1000), flags=np.zeros(4, int), companion=companion, grown=np.ones(4))
    assert candidates(fits, quality).tolist() == [1, 3]  # 10^2 is less than 2 % of 8000, 40^2 is more
    quality.flags[:] = FitFlag.MODEL_MISMATCH
    assert candidates(fits, quality).tolist() == [0, 1, 3]
    quality.flags[:] = FitFlag.FAILED
    assert not len(candidates(fits, quality))


@pytest.mark.parametrize("axis", ["own", "other"])
def test_light_of_a_star_is_that_of_the_model(networks, axis):
    wavelength = None if axis == "own" else networks.wavelength[50:-50] * (1 + 4e-6)
    light, model = StarLight(networks, PLAIN, wavelength, None, 3), SpectralModel(networks, ROTATING, wavelength)
    scaled, velocity, vsini = np.array([0.4, 0.7]), 33.0, 18.0
    expected = model.predict(networks.scaler.unscale(scaled), velocity, broadening={"vsini": vsini})
    shift = to_places(velocity, light.log_step)
    found = light.flux(scaled, light.rotation(vsini), shift)
    known = np.isfinite(expected) & light.inside(shift)
    assert known.mean() > 0.7 and found[known] == pytest.approx(expected[known], abs=3e-5)
    assert light.star(scaled, light.rotation(vsini), 0.0, shift).flux[known] == pytest.approx(found[known], abs=1e-6)


def test_light_seen_by_an_instrument_that_differs_along_the_axis_is_that_of_the_model(networks):
    settings = replace(PLAIN, grid_resolution=30000.0)
    resolution = np.linspace(12000.0, 25000.0, len(networks.wavelength))
    light = StarLight(networks, settings, None, resolution, 3)
    model = SpectralModel(networks, settings, None, resolution)
    scaled, shift = np.array([0.5, 0.3]), to_places(-20.0, light.log_step)
    expected = model.predict(networks.scaler.unscale(scaled), -20.0)
    known = np.isfinite(expected) & light.inside(shift)
    assert light.flux(scaled, 0.0, shift)[known] == pytest.approx(expected[known], abs=3e-5)


@pytest.mark.parametrize("axis", ["own", "other"])
@pytest.mark.parametrize("model", [OneStar, TwoStars])
def test_derivatives_are_those_of_differences(networks, axis, model):
    wavelength = None if axis == "own" else networks.wavelength * (1 + 4e-6)
    light = StarLight(networks, PLAIN, wavelength, None, 3)
    x = np.array([0.4, 0.6, 2.1, 1.3, 3.3, 0.1])
    if model is TwoStars:
        x = np.array([0.4, 0.6, 0.7, 0.3, 2.1, 1.3, 3.3, -4.6, 0.3])
    stars, inside = model(light, FREE, x), light.inside(0.0)
    _, slopes = stars.at(x)
    for k in range(len(x)):
        step = 2e-3 * np.eye(len(x))[k]
        difference = (stars.at(x + step)[0] - stars.at(x - step)[0]) / 4e-3
        assert slopes[k][inside] == pytest.approx(difference[inside], abs=2e-3 * np.abs(slopes[k]).max()), k


def test_lines_are_looked_for_at_all_velocities(networks, light):
    lines = LineSearch(light, 60.0)
    scaled = np.array([0.5, 0.5])
    emitted = light.emitted(scaled, slopes=False)[0]
    weight = np.full(len(networks.wavelength), 1.0 / NOISE)
    for shift in (-9.0, 12.0):
        found = lines.strongest(0.2 * (light.flux(scaled, 0.0, shift) - 1.0) * weight, weight, 0.0, scaled, emitted)
        assert found.shift == shift and found.score > 10
    nothing = lines.strongest(np.random.default_rng(0).normal(size=len(weight)), weight, 0.0, scaled, emitted)
    assert nothing.score < 4


def test_a_search_ends_at_the_truth_and_stays_within_its_bounds(networks, light):
    truth = np.array([0.4, 0.6, 0.7, 0.3, 0.0, 0.0, -5.0, 8.0, 0.3])
    stars = TwoStars(light, FREE, truth + np.array([0.1, -0.1, -0.2, 0.2, 0.5, 0.1, 0.6, -0.6, 0.15]))
    root = np.where(light.inside(-5.0) & light.inside(8.0), 1.0 / NOISE, 0.0)
    two = search(stars, Observed(stars.at(truth)[0], root))
    assert two.chi2 < 20 and two.x[-3:] == pytest.approx(truth[-3:], abs=0.1)
    assert (two.x >= stars.lowest).all() and (two.x <= stars.highest).all()
    assert projected(stars, truth, Observed(stars.at(truth)[0], root))[0] < 1e-3


FIRST, SECOND, FAR = np.array([0.4, 0.6, 0.0, 0.0, -5.0, 0.0]), np.array([0.7, 0.3]), 8.0


def seen_with(light, share, one=FIRST):
    """A star with a second one that has this share of the light, without noise."""
    flux = (1 - share) * light.flux(one[:2], 0.0, one[4]) + share * light.flux(SECOND, 0.0, FAR)
    return Observed(flux, np.where(light.inside(one[4]) & light.inside(FAR), 1.0 / NOISE, 0.0))


def test_what_a_second_star_explains_is_known_before_it_is_searched_for(light):
    """To first order that is what one star, searched for, leaves over, and labels and velocity may be wrong a bit."""
    one, seen = OneStar(light, FREE, FIRST), seen_with(light, 0.03)
    left = search(one, seen).chi2
    assert left > 5
    assert first_order_gain(one, seen, SECOND, FAR)[0] == pytest.approx(left, rel=0.03)
    assert first_order_gain(one, seen, SECOND + 0.1, FAR + 0.3)[0] == pytest.approx(left, rel=0.3)
    assert first_order_gain(one, seen, SECOND, FAR)[1] == pytest.approx(projected(one, FIRST, seen)[0])


def test_what_one_star_explains_is_not_the_second_one(light):
    seen = seen_with(light, 0.0, FIRST + np.array([0.01, -0.01, 0.0, 0.0, 0.05, 0.0]))
    gain, chi2 = first_order_gain(OneStar(light, FREE, FIRST), seen, SECOND, FAR)
    assert chi2 > 5 and gain < 0.1 * chi2


def test_a_second_star_that_would_explain_too_little_is_not_searched_for(light):
    lines, one = SecondLines(5.0, FAR, SECOND), OneStar(light, FREE, FIRST)
    assert promises(one, seen_with(light, 0.2), lines) and not promises(one, seen_with(light, 0.001), lines)


def test_a_segment_with_few_pixels_takes_no_part(light):
    stars = OneStar(light, FREE, np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.0]))
    root = np.zeros(len(light.places))
    root[light.segments[0]] = 1.0
    root[light.segments[1].start : light.segments[1].start + 10] = 1.0
    chi2, residual, slopes = projected(stars, stars.start, Observed(2.0 + 0.0 * root, root))
    assert chi2 > 0 and not residual[light.segments[1]].any() and not slopes[:, light.segments[1]].any()


def test_two_stars_must_explain_more_than_noise_and_a_share_of_what_they_leave():
    seen = Observed(np.zeros(1009), np.ones(1009))

    def better(one, two):
        found = [Found(np.zeros(9), chi2, np.zeros(1009), np.zeros((9, 9))) for chi2 in (one, two)]
        return is_better(*found, seen, n_two=9, n_one=6)

    assert better(1040.0, 1000.0) and not better(1020.0, 1000.0)  # 25 and 2 for each parameter more
    assert not better(4000.0 + 200.0, 4000.0) and better(4000.0 + 1000.0, 4000.0)  # 4 * 31 + 750


def test_a_search_for_one_star_begins_between_two_or_at_the_brighter_one(light):
    x = np.array([0.4, 0.6, 0.8, 0.2, 0.0, 0.0, -2.0, 4.0, 0.5])
    between = broad_as(x, light)
    assert between[[0, 1, 4, 5]] == pytest.approx([0.6, 0.4, 1.0, 0.0])
    assert between[2] == pytest.approx(light.rotation_of(0.0, 9.0)) and between[2] > 4
    x[-1] = 0.7
    assert brighter_of(x, 2) == pytest.approx([0.8, 0.2, 0.0, 0.0, 4.0, 0.15])


def test_spikes_are_lonely():
    residual = np.random.default_rng(2).normal(size=400)
    residual[100] += 30.0
    residual[200:212] += 30.0 * np.hanning(12)  # as wide as a line
    found = spikes(residual)
    assert np.flatnonzero(found).tolist() == [99, 100, 101]
    assert not spikes(np.zeros(10)).any()
