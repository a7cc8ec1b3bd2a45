"""The flat weight vector: its length, its order, and that splitting and joining undo each other."""

import numpy as np
import pytest

from payneflow import weights as flat

SIZES = [(1, 1), (10, 3), (4, 25)]  # neurons, labels


@pytest.mark.parametrize(("n_neurons", "n_label"), SIZES)
def test_the_parts_come_in_the_published_order(n_neurons, n_label):
    length = n_neurons * n_label + n_neurons + n_neurons + 1
    assert flat.n_weight(n_neurons, n_label) == length
    w0, b0, w1, b1 = flat.split(np.arange(length), n_label)
    assert w0.tolist() == [list(range(k * n_label, (k + 1) * n_label)) for k in range(n_neurons)]
    first = flat.first_places(n_neurons, n_label)
    assert b0.tolist() == list(range(first.b0, first.w1)) and w1.tolist() == list(range(first.w1, first.b1))
    assert b1 == first.b1 == length - 1


@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
@pytest.mark.parametrize(("n_neurons", "n_label"), SIZES)
def test_joining_undoes_splitting_under_any_leading_axes(n_neurons, n_label, lead):
    weights = np.random.default_rng(0).normal(size=(*lead, flat.n_weight(n_neurons, n_label)))
    parts = flat.split(weights, n_label)
    shapes = [part.shape for part in parts]
    assert shapes == [(*lead, n_neurons, n_label), (*lead, n_neurons), (*lead, n_neurons), lead]
    assert np.array_equal(flat.join(*parts), weights)


def test_a_network_file_has_the_four_published_arrays():
    arrays = flat.network_arrays(np.arange(2 * 51.0).reshape(2, 51), 3)
    assert {key: array.shape for key, array in arrays.items()} == {
        "w_array_0": (2, 10, 3), "b_array_0": (2, 10), "w_array_1": (2, 10), "b_array_1": (2,),
    }  # fmt: skip
