"""Noise of test spectra: the same bits whatever spectra and pixels come along, and errors that are seen to be right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_networks import random_networks

from payneflow import cli
from payneflow.fitting import FitSettings, results_text
from payneflow.fitting.many import fit_test_set
from payneflow.fitting.noise import with_noise
from payneflow.grid import read_grid
from payneflow.statistics import bias_and_width

N_SPECTRUM, N_PIXEL = 200, 60
LABELS = ("Teff", "logg", "[Fe/H]")


@pytest.fixture(scope="module")
def networks():
    return random_networks(N_PIXEL)


@pytest.fixture(scope="module")
def grid(networks, tmp_path_factory):
    """A grid of what these networks predict, so that fits have no error but that of noise."""
    path = tmp_path_factory.mktemp("noise") / "grid.npz"
    labels = np.random.default_rng(3).uniform([4500, 2, -1.5], [6000, 4, 0], (N_SPECTRUM, 3))
    labels[:2] = networks.x_min, networks.x_max
    flux = networks.predict(labels)
    names = {"label_names": np.array(LABELS), "label_units": np.array(networks.label_units)}
    np.savez(path, wavelength=networks.wavelength, Y_u_all=flux, labels_array=labels.T, **names)
    return read_grid(path)


@given(rows=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True), seed=st.integers(0, 2**70))
def test_noise_of_a_pixel_depends_on_seed_row_and_pixel_alone(rows, seed):
    rows = np.array(rows)
    flux, every = np.zeros((len(rows), 9)), np.arange(9)
    noise = with_noise(flux, 0.5, seed, rows, every, 9)
    some = with_noise(flux[::-1, ::2], 0.5, seed, rows[::-1], every[::2], 9)
    assert some.tobytes() == noise[::-1, ::2].tobytes()
    assert not np.isin(noise, with_noise(flux, 0.5, seed + 1, rows, every, 9)).any()
    assert len(np.unique(noise)) == noise.size and not flux.any()


def test_noise_has_the_standard_deviation_that_was_asked_for():
    noise = with_noise(np.ones((4, 5000), dtype=np.float32), 0.02, 0, np.arange(4), np.arange(5000), 5000) - 1
    assert abs(noise.mean()) < 5 * 0.02 / np.sqrt(noise.size)
    assert abs(noise.std() / 0.02 - 1) < 5 / np.sqrt(2 * noise.size)


def test_pulls_of_spectra_with_noise_are_normal_and_the_noiseless_fits_stand_beside_them(networks, grid):
    settings = FitSettings()
    noisy = fit_test_set(networks, grid, settings, 0.01, snr=100, seed=5)
    without = fit_test_set(networks, grid, settings, 0.01)
    assert (noisy.meta["test_snr"], noisy.meta["noise_seed"]) == (100.0, 5) and without.meta["test_snr"] == "none"
    for name in ("Teff", "logg", "[Fe/H]", "chi2", "flags"):
        assert np.asarray(noisy[f"{name}_noiseless"]).tobytes() == np.asarray(without[name]).tobytes()
    for name in LABELS:
        error = np.asarray(noisy[name] - noisy[f"{name}_true"])
        bias, width = bias_and_width(error / np.asarray(noisy[f"{name}_error"]))
        assert abs(bias) < 0.5 and 0.7 < width < 1.4, name
        assert np.median(np.abs(error)) > 10 * np.median(np.abs(noisy[f"{name}_noiseless"] - noisy[f"{name}_true"]))
    assert 0.8 < np.median(noisy["chi2"] / noisy["dof"]) < 1.2 and np.median(without["chi2"]) < 1e-3
    assert "; without noise: bias " in results_text(noisy) and "without noise" not in results_text(without)
    other = fit_test_set(networks, grid, settings, 0.01, snr=100, seed=6)
    assert (np.asarray(other["Teff"]) != np.asarray(noisy["Teff"])).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--test-snr", "0"], "--test-snr 0: expected a positive number, or none."),
        (["--test-snr", "many"], "--test-snr many: expected a positive number, or none."),
        (["--test-snr", "nan"], "--test-snr nan: expected"),
        (["--seed", "-1"], "--seed -1: expected a whole number from 0."),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(networks, grid, tmp_path, capsys, options, said):
    networks.write(tmp_path / "networks.npz")
    command = ["fit", str(tmp_path / "networks.npz"), "--grid", str(grid.path), "--output", str(tmp_path / "fits")]
    assert cli.main([*command, *options]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "fits.ecsv").exists()
