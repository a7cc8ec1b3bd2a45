"""Outliers: found pixel by pixel in residuals, left out of fits; good stars lose nothing, and their labels stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.engine.outliers import (
    LIMIT,
    WIDTH_OF_USUAL,
    largest_size,
    leave_out_impossible,
    mark_runs,
    usual_size,
)
from payneflow.simd import LANES, aligned

NOISE, N_PIXEL = 0.01, 800
EVERYTHING = FitSettings(velocity=True, continuum=2, max_velocity=100.0)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=N_PIXEL, seed=4)


@pytest.fixture(scope="module")
def stars(networks):
    """Labels (200, 2) and noisy flux."""
    rng = np.random.default_rng(3)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (200, 2)))
    return labels, networks.predict(labels) + rng.normal(0, NOISE, (200, N_PIXEL))


def test_clean_stars_lose_no_pixel(networks, stars):
    """5 sigma are passed by one of 1.7 million pixels: of 160 000 here by none."""
    table = fit_spectra(networks, stars[1], NOISE)
    assert table["n_outlier"].sum() == 0 and (table["n_pixel"] == N_PIXEL).all()


@pytest.mark.parametrize("settings", [FitSettings(), EVERYTHING], ids=["labels", "everything"])
def test_cosmic_rays_are_left_out_and_counted(networks, stars, settings):
    """Eight a spectrum, one of a hundred pixels: the pulls of the labels stay those of noise."""
    labels, flux = stars[0], stars[1].copy()
    rng = np.random.default_rng(4)
    inner = np.r_[40:230:10, 310:760:10]  # not where a velocity takes the ends of a segment out of the fit
    for spectrum in flux:
        spectrum[rng.choice(inner, 8, replace=False)] += rng.uniform(0.2, 1.0, 8)
    table = fit_spectra(networks, flux, NOISE, settings=settings)
    assert np.mean(table["n_outlier"] == 8) > 0.9
    for j in range(2):
        pull = (table[f"label{j}"] - labels[:, j]) / table[f"label{j}_error"]
        assert 1.4826 * np.median(np.abs(pull)) < 1.15


def test_negative_pixels_and_dead_columns_are_left_out(networks, stars):
    labels, flux = stars[0], stars[1].copy()
    flux[:, 300:303], flux[:, 500] = -0.3, 0.0
    table = fit_spectra(networks, flux, NOISE)
    assert np.median(table["n_outlier"]) == 4
    pull = (table["label0"] - labels[:, 0]) / table["label0_error"]
    assert 1.4826 * np.median(np.abs(pull)) < 1.15


def test_a_hole_does_not_mislead_the_velocity(networks, stars):
    """Fifteen pixels below zero are no line, however well they go with one at some velocity."""
    flux = stars[1].copy()
    flux[:, 400:415] = -0.3
    table = fit_spectra(networks, flux, NOISE, settings=EVERYTHING)
    pull = table["RV"] / table["RV_error"]
    assert np.abs(pull).max() < 5 and np.median(table["n_outlier"]) == 15


def test_what_no_star_can_have_is_left_out_before_there_is_a_model():
    flat = np.array([-1.2, -1.2, -0.99, 0.3, 1.2, 1.2, 3.0])
    weight = np.array([1e4, 1e2, 1e4, 1e4, 1e4, 1e2, 0.0])
    leave_out_impossible(flat, weight)
    assert weight.tolist() == [0.0, 1e2, 1e4, 1e4, 0.0, 1e2, 0.0]


def test_lines_of_a_star_that_the_model_does_not_describe_stay(networks, stars):
    """A companion with 30 % of the light leaves residuals of lines, far beyond 5 sigma: flagged, and few left out."""
    flux = networks.predict(stars[0])
    double = 0.7 * flux + 0.3 * np.roll(flux, 17, axis=1)
    table = fit_spectra(networks, double, 0.002)
    assert ((table["flags"] & FitFlag.MODEL_MISMATCH) > 0).mean() > 0.98
    assert np.median(table["n_outlier"]) < 0.03 * N_PIXEL


def test_many_outliers_are_flagged(networks, stars):
    flux = stars[1][:3].copy()
    flux[1, np.arange(10, N_PIXEL - 10, 40)] += 2.0  # 20 of 800
    table = fit_spectra(networks, flux, NOISE)
    assert ((table["flags"] & FitFlag.MANY_OUTLIERS) > 0).tolist() == [False, True, False]


def test_no_bit_depends_on_what_comes_along(networks, stars):
    """Also where outliers make some fits begin again."""
    flux = stars[1][:70].copy()
    flux[::3, 40] += 1.0
    together = fit_spectra(networks, flux, NOISE, processes=2)
    alone = fit_spectra(networks, flux[33:34], NOISE)
    assert all(np.array_equal(together[name][33], alone[name][0]) for name in alone.colnames if name != "spectrum")


def single(values):
    flat = aligned(-(-len(values) // (2 * LANES)) * 2, np.float32)
    flat[: len(values)] = values
    return flat


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80))
def test_the_largest_size_is_that_of_numpy(values):
    assert largest_size(single(values)) == np.abs(np.float32(values)).max()


def test_the_usual_size_is_one_for_noise_and_follows_errors_that_are_too_small():
    noise = np.random.default_rng(0).normal(size=8000)
    weight = np.ones(8000)
    assert usual_size(single(noise), weight) == pytest.approx(1.0, abs=0.03)
    assert usual_size(single(3 * noise), weight) == pytest.approx(3.0, rel=0.03)
    assert usual_size(single(np.r_[noise, np.full(80, 50.0)]), np.ones(8080)) == pytest.approx(1.1, abs=0.08)
    assert WIDTH_OF_USUAL == 1.96


def marked(values, with_lines=True):
    marks = np.zeros(len(values), np.int64)
    lines = mark_runs(np.array(values, np.float32), np.array([[0, len(values)]]), np.float32(LIMIT), with_lines, marks)
    return lines, marks.tolist()


def test_a_spike_takes_its_neighbours_with_it():
    assert marked([0, 0, 9, 0, 0]) == (0, [0, 2, 1, 2, 0])


def test_a_run_of_several_pixels_or_with_wings_is_as_wide_as_a_line():
    assert marked([0, 9, 8, 0]) == (1, [2, 1, 1, 2])
    assert marked([0, 4, 9, 0]) == (1, [0, 2, 1, 2])
    assert marked([0, 9, 8, 0, 0, -7], with_lines=False) == (1, [0, 0, 0, 0, 2, 1])


def test_two_runs_side_by_side_keep_their_own_marks():
    assert marked([9, 0, -9, 0, 9]) == (0, [1, 2, 1, 2, 1])
    assert marked([9, -9]) == (0, [1, 1])
