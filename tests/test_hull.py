"""The hull of training labels: known corners, and what lies outside."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import random_networks

from payneflow.errors import NetworkFileError
from payneflow.hull import FEW, distances, spanning
from payneflow.network import read_networks


def test_the_corners_of_a_square_span_it():
    inner = np.random.default_rng(1).uniform(-0.6, 0.6, (FEW, 2))
    labels = np.array([[-1.0, -1.0], [1.0, -1.0], *inner, [1.0, 1.0], [-1.0, 1.0]]) * [500.0, 0.1] + [5000.0, 0.0]
    assert spanning(labels).tolist() == [0, 1, FEW + 2, FEW + 3]
    assert spanning(labels[:FEW]).tolist() == list(range(FEW))


def test_distances_from_a_triangle_are_those_of_geometry():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    at = np.array([[0.2, 0.2], [0.5, 0.5], [1.0, 1.0], [-0.3, 0.5], [2.0, 0.0]])
    assert distances(at, corners) == pytest.approx([0.0, 0.0, np.sqrt(0.5), 0.3, 1.0], abs=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_every_training_spectrum_and_every_mixture_of_them_is_inside(n_label, seed):
    random = np.random.default_rng(seed)
    labels = random.uniform(0.1, 0.9, (60, n_label))
    corners = labels[spanning(labels)]
    mixtures = random.dirichlet(np.ones(60), 5) @ labels
    assert (distances(np.concatenate([labels[:10], mixtures]), corners) < 1e-4).all()
    assert (distances(labels[:3] + 2.0, corners) > 1.0).all()


def test_networks_know_their_hull_after_reading(tmp_path):
    networks = random_networks(20)
    ends = np.array([networks.x_min, networks.x_max])
    corners = np.array([ends[[i, j, k], [0, 1, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    replace(networks, hull=corners[1:]).write(tmp_path / "n.npz")
    found = read_networks(tmp_path / "n.npz")
    assert np.array_equal(found.hull, corners[1:])
    outside = found.outside_hull(np.array([networks.x_min, networks.x_max, ends.mean(axis=0)]))
    assert outside[0] > 0.3 and outside[1:].tolist() == [0.0, 0.0]
    with pytest.raises(NetworkFileError, match="do not know the hull of their training labels"):
        networks.outside_hull(ends)


def test_a_hull_beyond_the_training_range_is_refused(tmp_path):
    networks = random_networks(20)
    replace(networks, hull=np.array([networks.x_min, networks.x_max + 1.0])).write(tmp_path / "n.npz")
    with pytest.raises(NetworkFileError, match="n.npz: hull has 6501.0 for label 0 of corner 1, expected"):
        read_networks(tmp_path / "n.npz")
