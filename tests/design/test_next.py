"""payneflow design next, of networks that are wrong in a corner that is known."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import write_small_grid
from known_networks import random_networks

from payneflow import cli
from payneflow.design.table import read_design
from payneflow.grid import read_grid

N_SPECTRUM = 60


@pytest.fixture
def files(tmp_path):
    """Networks and their grid, whose flux is theirs but for stars of large [Fe/H], of which the grid has few."""
    rng = np.random.default_rng(0)
    networks = random_networks(6)
    labels = rng.uniform(networks.x_min, networks.x_max, (N_SPECTRUM, 3))
    labels[:2] = networks.x_min, networks.x_max
    scaled = networks.scaler.scale(labels)
    flux = networks.predict_scaled(scaled)
    flux += np.where(scaled[:, 2:] > 0.7, 0.1 * np.sin(12 * scaled[:, 2:] + np.arange(6)), 0.0)
    path = write_small_grid(
        tmp_path / "grid.npz",
        N_SPECTRUM,
        6,
        Y_u_all=flux,
        labels_array=labels.T,
        wavelength=networks.wavelength,
    )
    grid = read_grid(path)
    networks = replace(networks, x_min=grid.scaler.x_min, x_max=grid.scaler.x_max, label_names=grid.label_names)
    replace(networks, label_units=grid.label_units).write(tmp_path / "networks.npz")
    return [str(tmp_path / "networks.npz"), str(path)]


def run(files, tmp_path, *words, n=12):
    output = tmp_path / "next.ecsv"
    command = ["design", "next", *files, "-n", str(n), "--candidates", "1000", *words, "--output", str(output)]
    return cli.main(command), output


def test_the_next_spectra_are_where_networks_are_wrong_and_new(files, tmp_path, capsys):
    status, output = run(files, tmp_path)
    assert status == 0
    labels, names, _ = read_design(output)
    grid = read_grid(files[1])
    assert names == grid.label_names and len(np.unique(labels, axis=0)) == 12
    assert (labels >= grid.labels.min(axis=0)).all() and (labels <= grid.labels.max(axis=0)).all()
    assert (grid.scaler.scale(labels)[:, 2] > 0.6).mean() >= 0.5
    assert not {tuple(row) for row in labels} & {tuple(row) for row in grid.labels}
    assert "expected rms error" in capsys.readouterr().out
    assert run(files, tmp_path)[0] == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(files, tmp_path, "--overwrite")[0] == 0
    assert (read_design(output)[0] == labels).all()


def test_ranges_and_relations_say_where(files, tmp_path):
    grid = read_grid(files[1])
    low, high = grid.labels.min(axis=0), grid.labels.max(axis=0)
    ranges = [f"{name}={a - 1}:{b + 1}" for name, a, b in zip(grid.label_names, low, high, strict=True)]
    words = [word for text in ranges for word in ("--range", text)]
    middle = (low[0] + high[0]) / 2
    status, output = run(files, tmp_path, *words, "--where", f"{grid.label_names[0]} < {middle}")
    assert status == 0
    assert (read_design(output)[0][:, 0] < middle).all()


@pytest.mark.parametrize(
    ("words", "n", "said"),
    [
        ([], 0, "-n 0: expected 1 to 1000"),
        ([], 1001, "-n 1001: expected 1 to 1000, the number of candidates"),
        (["--range", "Teff=4000:5000"], 5, "no range for"),
        (["--range", "[X/Fe]=0:1"], 5, "no label '[X/Fe]'"),
        (["--where", "vsini < 3"], 5, "no label 'vsini'"),
        (["--candidates", "9999999"], 5, "expected 1 to 1000000 points"),
    ],
)
def test_what_cannot_be_meant_is_said(files, tmp_path, capsys, words, n, said):
    status, output = run(files, tmp_path, *words, n=n)
    assert status == 2 and said in capsys.readouterr().err and not output.exists()


def test_another_grid_is_refused(files, tmp_path, capsys):
    other = write_small_grid(tmp_path / "other.npz", label_names=np.array(list("abc")))
    assert run([files[0], str(other)], tmp_path)[0] == 2
    assert "Use the grid they were trained on" in capsys.readouterr().err
