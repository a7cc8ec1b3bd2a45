"""Errors of the predicted spectra, where they are known because they were put there."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import write_small_grid

from payneflow import PixelNetworks
from payneflow.errors import NetworkFileError
from payneflow.evaluation import evaluate_networks, evaluation_text, read_evaluation, write_evaluation
from payneflow.grid import read_grid


@pytest.fixture
def networks_and_grid(tmp_path):
    """Networks that predict a flux of 0.5 everywhere, and a grid whose flux is off by a known amount."""
    n_spectrum, n_pixel = 12, 4
    error = np.zeros((n_spectrum, n_pixel))
    error[::2, 0], error[1::2, 0] = 0.01, 0.02  # pixel 0: one value for each set
    error[1::2, 1] = [0.0, 0.01, 0.02, 0.03, 0.04, -0.3]  # pixel 1: an outlier, which the median does not feel
    error[:, 3] = np.linspace(0, 1e-4, n_spectrum)  # no two rows alike
    path = write_small_grid(tmp_path / "grid.npz", n_spectrum, n_pixel, Y_u_all=0.5 - error)
    grid = read_grid(path)
    networks = PixelNetworks(
        w_array_0=np.zeros((n_pixel, 1, 3)),
        b_array_0=np.zeros((n_pixel, 1)),
        w_array_1=np.zeros((n_pixel, 1)),
        b_array_1=np.zeros(n_pixel),
        x_min=grid.scaler.x_min,
        x_max=grid.scaler.x_max,
        wavelength=grid.wavelength,
        label_names=grid.label_names,
        label_units=grid.label_units,
        emulator_rms=np.zeros(n_pixel),
    )
    return networks, grid


def test_errors_of_each_half_are_those_put_there(networks_and_grid):
    results = evaluate_networks(*networks_and_grid)
    assert results["median_deviation_training"][:3] == pytest.approx([0.01, 0, 0], abs=1e-12)
    assert results["median_deviation_test"][:3] == pytest.approx([0.02, 0.025, 0], abs=1e-12)
    assert results["largest_test"][1] == pytest.approx(0.3, abs=1e-12)
    rms = np.sqrt(np.mean(np.array([0, 0.01, 0.02, 0.03, 0.04, 0.3]) ** 2))
    assert results["rms_test"][1] == pytest.approx(rms, abs=1e-12)
    assert "largest 0.3000" in evaluation_text(results)


def test_the_example_is_a_test_spectrum_of_typical_error(networks_and_grid):
    networks, grid = networks_and_grid
    results = evaluate_networks(networks, grid)
    spectrum = int(results["example_spectrum"])
    assert spectrum in (5, 7), "its rms is in the middle of the six test spectra"
    assert (results["example_flux"] == grid.flux[spectrum]).all()
    assert results["example_prediction"] == pytest.approx(np.full(4, 0.5), abs=1e-12)
    assert (results["example_labels"] == grid.labels[spectrum]).all()


def test_only_the_pixels_that_have_networks_are_compared(networks_and_grid):
    networks, grid = networks_and_grid
    arrays = {name: getattr(networks, name)[[1, 3]] for name in ("w_array_0", "b_array_0", "w_array_1", "b_array_1")}
    some = PixelNetworks(**{**networks.__dict__, **arrays, "wavelength": grid.wavelength[[1, 3]]})
    whole, part = evaluate_networks(networks, grid), evaluate_networks(some, grid)
    assert (part["rms_test"] == whole["rms_test"][[1, 3]]).all()
    shifted = PixelNetworks(**{**networks.__dict__, "wavelength": grid.wavelength + 1e-9})
    with pytest.raises(NetworkFileError, match=r"grid.npz: it has no pixel at 15000"):
        evaluate_networks(shifted, grid)


def test_a_grid_whose_sets_are_swapped_is_refused_where_the_networks_say_which_was_theirs(networks_and_grid):
    networks, grid = networks_and_grid
    theirs = replace(networks, provenance={"grid_sha256": grid.sha256})
    swapped = replace(grid, flux=grid.flux[::-1], labels=grid.labels[::-1], sha256="b" * 64)
    assert (
        evaluate_networks(theirs, grid)["rms_test"].tolist() == evaluate_networks(networks, grid)["rms_test"].tolist()
    )
    with pytest.raises(
        NetworkFileError, match=rf"grid.npz: not the grid .* is {'b' * 64}, that of theirs {grid.sha256}"
    ):
        evaluate_networks(theirs, swapped)
    evaluate_networks(networks, swapped)  # from elsewhere: nothing is known of their grid


def test_networks_that_explain_nothing_have_failed_in_the_first_line(networks_and_grid):
    """The networks' own finding comes first; without one, what is measured counts."""
    networks, grid = networks_and_grid
    results = evaluate_networks(networks, grid)
    assert not (results["explained_test"][:2] > 0).any() and np.isnan(results["explained_test"][2])
    assert "FAILED" not in evaluation_text(results), "two of four pixels, and two within trunc_diff"
    off = replace(grid, flux=grid.flux - np.array([0, 0, 0, 0.02]))
    assert evaluation_text(evaluate_networks(networks, off)).startswith("FAILED: 3 of 4 pixels have no network, or one")
    found = replace(networks, provenance={"failed": "learnt by heart"})
    assert evaluation_text(evaluate_networks(found, grid)).startswith("FAILED: learnt by heart\n")
    assert "FAILED" not in evaluation_text(evaluate_networks(replace(networks, provenance={"failed": ""}), off))
    assert (str(results["networks"]), str(results["grid"])) == (networks.digest, grid.sha256)


def test_a_failed_pixel_is_counted_and_spoils_nothing(networks_and_grid):
    networks, grid = networks_and_grid
    weights = networks.b_array_1.copy()
    weights[2] = np.nan
    results = evaluate_networks(PixelNetworks(**{**networks.__dict__, "b_array_1": weights}), grid)
    assert np.isnan(results["rms_test"][2]) and np.isfinite(results["rms_test"][[0, 1, 3]]).all()
    text = evaluation_text(results)
    assert "over 3 pixels" in text and "1 pixels have no network" in text and "nan" not in text


def test_errors_of_each_spectrum_are_over_the_pixels_that_have_a_network(networks_and_grid):
    networks, grid = networks_and_grid
    known = np.sqrt(((0.5 - grid.flux) ** 2).mean(axis=1))
    results = evaluate_networks(networks, grid)
    assert results["rms_spectrum"] == pytest.approx(known, abs=1e-12)
    assert "rms_kriging" not in results and "kriging" not in evaluation_text(results), "6 training spectra are too few"
    weights = networks.b_array_1.copy()
    weights[1] = np.nan
    lost = evaluate_networks(replace(networks, b_array_1=weights), grid)
    assert lost["rms_spectrum"] == pytest.approx(np.sqrt(((0.5 - grid.flux[:, [0, 2, 3]]) ** 2).mean(axis=1)))


def test_kriging_beside_it_is_that_of_the_training_spectra(networks_and_grid, tmp_path):
    """Smooth flux is predicted nearly without error; of noise, at best the mean is known."""
    networks, _ = networks_and_grid
    path = write_small_grid(tmp_path / "large.npz", 200, 4)
    grid = read_grid(path)
    flux = np.array(grid.flux, dtype=float)
    flux[:, 2] = 0.5 + 0.1 * np.random.default_rng(4).normal(size=200)
    grid = replace(grid, flux=flux)
    results = evaluate_networks(networks, grid)
    deviation = flux[1::2].std(axis=0)
    assert (results["rms_kriging"][[0, 1, 3]] < 0.05 * deviation[[0, 1, 3]]).all()
    assert 0.9 < results["rms_kriging"][2] / deviation[2] < 2 and int(results["n_kriging"]) == 100
    assert "kriging of 100 training spectra, rms " in evaluation_text(results)
    write_evaluation(results, tmp_path / "evaluation.npz")
    assert (read_evaluation(tmp_path / "evaluation.npz")["rms_kriging"] == results["rms_kriging"]).all()
