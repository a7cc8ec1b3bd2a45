"""The networks that come with payneflow: files that belong together, and that README.md of resources describes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from payneflow import read_networks
from payneflow.fitting import read_label_errors
from payneflow.grid import read_grid

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
