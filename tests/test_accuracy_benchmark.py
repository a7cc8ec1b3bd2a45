"""benchmarks/accuracy.py and its parts: gradients of a network, fits of noiseless labels, the table, the figure."""

import sys

import accuracy
import accuracy_figure
import numpy as np
import pytest
import whole_spectrum
from conftest import ROOT, write_small_grid
from emulators import flux_of_networks
from noiseless_labels import fit_labels, formal_errors
from trainers import predict

from payneflow.grid import read_grid

PAGE = ROOT / "docs/accuracy.md"


@pytest.fixture
def small_network(monkeypatch):
    """A network of double precision with 3 labels and 6 pixels, and spectra for it."""
    monkeypatch.setattr(whole_spectrum, "HIDDEN", (5, 4))
    rng = np.random.default_rng(3)
    network = whole_spectrum.WholeSpectrumNetwork(3, 6, rng, dtype=float)
    return network, rng.uniform(0.1, 0.9, (7, 3)), rng.uniform(0.4, 1.0, (7, 6))


def test_gradients_of_the_whole_spectrum_network_are_those_of_its_loss(small_network):
    network, labels, flux = small_network
    _, gradients = network.loss_and_gradients(labels, flux)
    for parameter, gradient in zip(network.parameters, gradients, strict=True):
        assert parameter.shape == gradient.shape
        for place in np.ndindex(parameter.shape):
            losses = []
            for move in (1e-7, -2e-7):
                parameter[place] += move
                losses.append(network.loss_and_gradients(labels, flux)[0])
            parameter[place] += 1e-7
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-7, abs=1e-7)


def test_the_first_step_of_adam_is_the_step_size(small_network):
    network, labels, flux = small_network
    before = [one.copy() for one in network.parameters]
    _, gradients = network.loss_and_gradients(labels, flux)
    whole_spectrum.Adam(network.parameters).step(gradients, 0.01)
    for old, new, gradient in zip(before, network.parameters, gradients, strict=True):
        moved = np.abs(gradient) > 1e-4
        np.testing.assert_allclose((old - new)[moved], 0.01 * np.sign(gradient[moved]), rtol=1e-3)


def test_training_lowers_the_error_and_takes_the_state_that_predicts_held_back_spectra_best(small_network):
    network, _, _ = small_network
    labels = np.random.default_rng(4).uniform(0.1, 0.9, (40, 3))
    flux = network.predict(labels)
    found, course = whole_spectrum.train_whole_spectrum(labels, flux, 400, 0.01)
    assert course.learnt[-1] < 0.3 * course.learnt[0]
    held_back = np.arange(40) % whole_spectrum.HELD_BACK == whole_spectrum.HELD_BACK - 1
    error = np.abs(found.predict(labels[held_back]) - flux[held_back]).mean()
    assert error == pytest.approx(course.held_back.min(), rel=1e-3)
    assert f"of {course.steps[-1]:.0f} steps" in str(course)


@pytest.fixture
def smooth():
    """A smooth flux (n, 12) of 3 scaled labels."""
    strength = np.random.default_rng(5).normal(size=(3, 12))
    return lambda labels: 1 - 0.3 / (1 + np.exp(-labels @ strength))


def test_labels_are_found_within_the_bounds_of_a_fit(smooth):
    rng = np.random.default_rng(6)
    true = rng.uniform(0.1, 0.9, (20, 3))
    start = np.clip(true + rng.normal(0, 0.05, true.shape), 0, 1)
    np.testing.assert_allclose(fit_labels(smooth, smooth(true), start), true, atol=1e-9)
    beyond = true + np.array([0.0, 1.5, 0.0])
    found = fit_labels(smooth, smooth(beyond), start)
    assert (found[:, 1] == 1.0).all()
    assert found.min() >= 0.0


def test_formal_errors_are_those_of_the_fitted_labels_alone():
    matrix = np.random.default_rng(7).normal(size=(3, 9))
    expected = 0.02 * np.sqrt(np.diag(np.linalg.inv(matrix[:2] @ matrix[:2].T)))
    found = formal_errors(lambda labels: labels @ matrix, np.full((4, 3), 0.5), 2, 0.02)
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), rtol=1e-6)


def test_flux_of_networks_is_that_of_the_trainers_benchmark():
    rng = np.random.default_rng(8)
    weights, labels = rng.normal(size=(6, 4 * 5 + 1)), rng.uniform(0.1, 0.9, (9, 3))
    np.testing.assert_allclose(flux_of_networks(weights, labels), predict(weights, labels).T, rtol=1e-12)


def run(monkeypatch, capsys, *options):
    """The rows that the command prints, as dicts, and all that it prints."""
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *map(str, options)])
    accuracy.main()
    said = capsys.readouterr().out
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.split("\n\n")[0].splitlines()]
    return [dict(zip(table[0], cells, strict=True)) for cells in table[2:]], said


def test_known_labels_with_others_held_and_unknown(tmp_path, monkeypatch, capsys):
    grid = write_small_grid(tmp_path / "grid.npz", 160, 12)
    options = ("--spectra", "40,80", "--labels", "2", "--pixels", 8, "--steps", 60)
    rows, said = run(monkeypatch, capsys, grid, *options, "--emulators", "kriging,whole,quadratic")
    assert [(row["others"], row["spectra"], row["emulator"]) for row in rows] == [
        (others, spectra, name)
        for others in ("held", "unknown")
        for spectra in ("40", "80")
        for name in ("kriging", "whole", "quadratic")
    ]
    rms = {(row["others"], row["spectra"], row["emulator"]): float(row["rms"]) for row in rows}
    assert rms["held", "80", "kriging"] < 1e-3 < 5e-3 < rms["unknown", "80", "kriging"]
    assert all(float(row["99.9 %"]) >= float(row["rms"]) >= float(row["median"]) for row in rows)
    widths = {key: float(row["Teff, K"]) for key, row in zip(rms, rows, strict=True)}
    assert widths["held", "80", "kriging"] < 10 < widths["unknown", "80", "kriging"]
    assert said.count("\n| 2 | held | 80 | best after ") == 1, "how the whole-spectrum network was trained"


def test_networks_pixel_by_pixel_and_the_figure(tmp_path, monkeypatch, capsys):
    grid = write_small_grid(tmp_path / "grid.npz", 80, 16)
    rows, said = run(monkeypatch, capsys, grid, "--spectra", 40, "--labels", 3, "--pixels", 12, "--emulators", "lm,sgd")
    lm, sgd = rows
    assert (lm["emulator"], lm["others"], lm["<0.003"]) == ("lm", "-", "100%")
    assert max(float(lm["rms"]), float(sgd["rms"])) < 3e-3
    assert float(lm["Teff, K"]) < 100
    assert [sgd[column] for column in ("Teff, K", "of noise", "largest of noise")] == ["-"] * 3
    page = tmp_path / "page"
    page.write_text(said.replace("| 3 | - |", "| 22 | - |"))
    figure = tmp_path / "figure.png"
    monkeypatch.setattr(sys, "argv", ["accuracy_figure.py", str(page), str(figure)])
    accuracy_figure.main()
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_page_has_the_columns_that_the_command_prints():
    pool = accuracy.Pool(read_grid(ROOT / "resources/many_labels.npz"), 8, None)
    text = PAGE.read_text()
    assert accuracy.head(pool) in text
    panels = {(row["labels"], row["others"]) for row in accuracy_figure.read_rows(PAGE)}
    assert panels >= set(accuracy_figure.PANELS)
