"""payneflow design report, of networks and grids that are known."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import write_small_grid
from known_networks import random_networks

from payneflow import cli
from payneflow.design.learning import learning_curve
from payneflow.design.report import design_report, report_text, signals_of_labels
from payneflow.errors import SettingsError
from payneflow.grid import read_grid


def test_signals_are_what_a_step_does_to_the_flux():
    networks = replace(random_networks(30), label_units=("K", "dex", ""))
    scaled = np.full((1, 3), 0.5)
    steps, signals, strongest = signals_of_labels(networks, scaled)
    assert steps.tolist() == [100.0, 0.1, pytest.approx(0.25)], "a tenth of the range where the unit says nothing"
    labels = networks.scaler.unscale(scaled[0])
    for i in range(3):
        moved = labels.copy()
        moved[i] += 1e-3 * steps[i]
        change = (networks.predict(moved) - networks.predict(labels)) * 1e3
        assert signals[i] == pytest.approx(np.sqrt((change**2).mean()), rel=0.01)
        assert strongest[i] == networks.wavelength[np.abs(change).argmax()]


def trained(tmp_path, n_spectrum=170):
    """A small grid and networks that were trained on it."""
    grid = write_small_grid(tmp_path / "grid.npz", n_spectrum, 8)
    chunks, network = tmp_path / "chunks", tmp_path / "networks.npz"
    steps = [["split", grid, "--output", chunks, "--chunk-size", "8"]]
    steps += [["train", chunks / "pixel0-7.npz", "--output", tmp_path / "t.npz"]]
    steps += [["gather", tmp_path / "t.npz", "--network", network, "--record", tmp_path / "record.ecsv"]]
    for step in steps:
        assert cli.main([str(word) for word in step]) == 0
    return network, grid


def test_the_report_says_coverage_signals_and_what_twice_as_many_are_worth(tmp_path, capsys):
    network, grid = trained(tmp_path)
    figure = tmp_path / "report.png"
    assert cli.main(["design", "report", str(network), str(grid), "--figure", str(figure)]) == 0
    said = capsys.readouterr().out
    assert "85 training spectra, 85 test spectra, 3 labels" in said
    assert "100 K" in said and "outside the hull" in said and "with twice as many" in said
    assert figure.stat().st_size > 10_000


def test_networks_that_do_not_say_how_they_were_trained_have_a_report_without_a_curve(tmp_path):
    grid = read_grid(write_small_grid(tmp_path / "grid.npz", 40, 6))
    networks = replace(random_networks(6), wavelength=grid.wavelength, x_min=grid.scaler.x_min, x_max=grid.scaler.x_max)
    with pytest.raises(SettingsError, match="do not say how they were trained"):
        learning_curve(networks, grid)
    said = report_text(design_report(networks, grid))
    assert "note: no learning curve: these networks do not say how they were trained" in said
    by_sgd = replace(networks, provenance={"settings": {"trainer": "sgd", "seed": 0}})
    with pytest.raises(SettingsError, match="were trained by sgd"):
        learning_curve(by_sgd, grid)


def test_a_figure_of_no_known_format_is_refused(tmp_path, capsys):
    grid = write_small_grid(tmp_path / "grid.npz", 40, 6)
    networks = replace(random_networks(6), wavelength=read_grid(grid).wavelength)
    scaler = read_grid(grid).scaler
    replace(networks, x_min=scaler.x_min, x_max=scaler.x_max).write(tmp_path / "n.npz")
    words = ["design", "report", str(tmp_path / "n.npz"), str(grid), "--figure"]
    assert cli.main([*words, str(tmp_path / "a.parrot")]) == 2
    assert "no such image format" in capsys.readouterr().err
