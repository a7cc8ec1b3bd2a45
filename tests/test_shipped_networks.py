"""The networks that come with payneflow: files that belong together, and that README.md of resources describes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from payneflow import cli, read_networks
from payneflow.errors import NetworkFileError
from payneflow.fitting import read_label_errors
from payneflow.fitting.results import read_results
from payneflow.grid import read_grid
from payneflow.shipped import shipped

RESOURCES = Path(__file__).parents[1] / "resources"
NETWORKS, LABEL_ERRORS = RESOURCES / "hband_networks.npz", RESOURCES / "hband_label_errors.npz"
SUN = {"Teff": 5772.0, "logg": 4.44, "vmicro": 1.0}  # all other labels are 0


def test_label_errors_are_those_of_the_networks():
    networks, label_errors = read_networks(NETWORKS), read_label_errors(LABEL_ERRORS)
    assert networks.digest == label_errors.networks and not networks.failure
    assert label_errors.mode == f"labels {' '.join(networks.label_names)}; velocity; continuum 4"
    assert networks.has_network.all() and networks.resolution == 22500.0
    assert NETWORKS.stat().st_size + LABEL_ERRORS.stat().st_size < 12e6


def test_the_readme_has_their_checksums():
    text = (RESOURCES / "README.md").read_text()
    for path in (NETWORKS, LABEL_ERRORS):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text


def test_sunlike_flux_is_that_of_the_demonstration_grid():
    """Another line list and another microturbulence: alike, not the same."""
    networks, grid = read_networks(NETWORKS), read_grid(RESOURCES / "hband_grid.npz")
    assert np.array_equal(networks.wavelength, grid.wavelength)
    labels = grid.labels
    sunlike = np.argmin(np.abs(labels - [SUN["Teff"], SUN["logg"], 0.0]) @ [1e-3, 1.0, 2.0])
    own = dict(zip(grid.label_names, labels[sunlike], strict=True))
    given = [SUN | {"Teff": own["Teff"], "logg": own["logg"], "FeH": own["[Fe/H]"]}]
    values = np.array([[one.get(name, 0.0) for name in networks.label_names] for one in given])
    difference = networks.predict(values)[0] - grid.flux[sunlike]
    assert np.std(difference) < 0.02 and np.mean(difference) == pytest.approx(0.0, abs=0.01)


def test_they_are_found_by_name():
    assert shipped("hband") == (NETWORKS, LABEL_ERRORS)
    with pytest.raises(NetworkFileError, match="'kband': no networks of this name come with payneflow, expected hband"):
        shipped("kband")


STARS = ["--networks", "hband", str(RESOURCES / "apogee_stars.npz"), "--uncertainty", "flux_error"]


def test_fit_by_name_takes_their_label_errors(tmp_path, capsys):
    assert cli.main(["fit", *STARS, "--velocity", "--continuum", "4", "--output", str(tmp_path / "fits")]) == 0
    table = read_results(tmp_path / "fits.ecsv")
    errors = read_label_errors(LABEL_ERRORS)
    assert table.meta["networks"] == errors.networks and table.meta["label_errors"] == errors.digest
    assert abs(table["Teff"][0] - 3600.0) < 150.0 and table["logg"][0] < 1.5 and table["logg"][1] > 4.0
    assert "warning" not in capsys.readouterr().err


def test_fit_by_name_in_another_mode_says_that_errors_are_formal(tmp_path, capsys):
    """The spectrum has one pixel, too few for any fit: what is looked at is said before."""
    np.savez(tmp_path / "one.npz", wavelength=np.array([16000.0, 16001.0]), flux=np.ones((1, 2)), ivar=np.ones((1, 2)))
    options = ["--networks", "hband", str(tmp_path / "one.npz"), "--uncertainty", "ivar"]
    cli.main(["fit", *options, "--output", str(tmp_path / "fits")])
    assert "the label errors that come with hband are of the mode: labels Teff" in capsys.readouterr().err


def test_their_grid_is_not_there(tmp_path, capsys):
    command = ["fit", *STARS, "--grid", str(RESOURCES / "hband_grid.npz"), "--output", str(tmp_path / "fits")]
    assert cli.main(command) == 2
    assert "the grid of these networks does not come with payneflow" in capsys.readouterr().err
