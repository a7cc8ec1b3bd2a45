"""Which spectra of a grid train: the published split, where it is refused, a random one, and one that the grid says."""

from itertools import product

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc
from test_grid import good, write

from payneflow.errors import GridError
from payneflow.grid import GridReading, Split, grid_split, read_grid
from payneflow.grid.aliasing import find_alias
from payneflow.grid.fillers import check_fillers
from payneflow.grid.layout import PUBLISHED
from payneflow.grid.origins import Origins
from payneflow.grid.summary import summarise, summary_text


def mesh(*n_value):
    """Labels (n_spectrum, n_label) of a regular mesh whose last label runs fastest."""
    return np.array(list(product(*(np.linspace(1.0, 2.0, n) for n in n_value))))


def with_labels(labels, **more):
    """The arrays of a grid with these labels (n_spectrum, n_label)."""
    return {**good(len(labels), n_label=labels.shape[1]), "labels_array": labels.T, **more}


def alias(labels):
    found = find_alias(labels, Split.alternate(len(labels)).trains)
    return None if found is None else found.labels


# --- The published split, where it suits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_value", "expected"),
    [
        ((7, 5, 6), (2,)),  # the fastest label has an even number of values: every other one trains
        ((9, 9, 8), (2,)),
        ((3, 3, 3, 2), (3,)),
        ((5, 12), (1,)),
        ((7, 6, 5), (1, 2)),  # an odd number, but an even one before it: a chessboard of the two, for all else
        ((7, 5, 5), None),  # each pair of values comes in both sets
        ((9, 11), None),
    ],
)
def test_meshes(n_value, expected):
    assert alias(mesh(*n_value)) == expected


def test_meshes_that_are_not_quite_regular():
    random = np.random.default_rng(0)
    labels = mesh(10, 5, 6)
    assert alias(labels + 0.004 * random.normal(size=labels.shape)) == (2,), "values that scatter"
    gaps = np.delete(mesh(12, 8, 4), [17, 90, 201, 300], axis=0)
    assert alias(gaps) == (0, 2), "four spectra are missing, and each changes which values train from there on"
    assert alias(random.permutation(labels)) is None
    to_and_fro = [(i, j, 1 - k if j else k) for i, j, k in product(range(10), range(2), range(2))]
    assert alias(np.array(to_and_fro, dtype=float)) is not None


@pytest.mark.parametrize("sequence", [qmc.Sobol, qmc.Halton])
def test_quasi_random_sequences_keep_step_with_the_split(sequence):
    assert alias(sequence(3, scramble=True, seed=2).random(256)) is not None


@given(st.integers(5, 120), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_labels_in_no_order_are_never_refused(n_spectrum, n_label, seed, on_mesh):
    labels = np.random.default_rng(seed).uniform(size=(n_spectrum, n_label))
    assert alias(np.round(5 * labels) if on_mesh else labels) is None


def test_labels_in_rising_order_are_divided_more_evenly_than_by_chance():
    assert alias(np.sort(np.random.default_rng(1).uniform(size=(200, 3)), axis=0)) is None


def test_a_mesh_is_refused_with_the_remedy(tmp_path):
    path = write(tmp_path / "mesh.npz", with_labels(mesh(3, 3, 4)))
    with pytest.raises(GridError) as refused:
        read_grid(path)
    said = "labels_array[2]", "label [Fe/H]", "only the training set has 1, 1.66667", "split: random", "--split random"
    assert str(refused.value).startswith(f"{path}: ") and all(part in str(refused.value) for part in said)
    grid = read_grid(path, reading=GridReading(split="random"), seed=4)
    assert grid.split.n_training == 18 and len(np.unique(grid.labels[grid.split.training, 2])) == 4


# --- Other splits -----------------------------------------------------------------------------------------------------


def test_a_random_split_is_its_seed_s(tmp_path):
    path = write(tmp_path / "grid.npz", good(41))
    splits = [grid_split(path, PUBLISHED, GridReading(split="random"), seed) for seed in (1, 1, 2)]
    assert (splits[0].trains == splits[1].trains).all() and (splits[0].trains != splits[2].trains).any()
    assert [split.n_training for split in splits] == [21, 21, 21] and splits[0].n_test == 20
    first, grid = splits[0], read_grid(path, reading=GridReading(split="random"), seed=1)
    assert (grid.split.trains == first.trains).all()
    assert grid.scaler.x_max.tolist() == grid.labels[first.trains].max(axis=0).tolist()
    both = sorted([*first.training_rows, *first.test_rows])
    assert both == list(range(41)) and (np.diff(first.training) > 0).all()


@pytest.mark.parametrize("kind", [bool, int, np.uint8, float])
def test_an_array_of_the_grid_says_which_train(tmp_path, kind):
    trains = np.arange(12) % 3 > 0
    path = write(tmp_path / "grid.npz", {**good(), "in_training": trains.astype(kind)})
    grid = read_grid(path, reading=GridReading(split="in_training"))
    assert (grid.split.trains == trains).all() and grid.split.name == "in_training"
    summary = summarise(grid)
    assert (summary["n_training"], summary["n_test"]) == (8, 4)
    assert "8 train (1, 2, 4, ...), 4 test (0, 3, 6, ...); split: in_training" in summary_text(summary)


def test_an_array_of_an_hdf5_grid_says_which_train(tmp_path):
    arrays, trains = good(), np.arange(12) > 4
    with h5py.File(tmp_path / "grid.h5", "w") as file:
        for key, array in arrays.items():
            file[key] = array.astype("S") if array.dtype.kind == "U" else array
        file["sets/training"] = trains
    grid = read_grid(tmp_path / "grid.h5", reading=GridReading(split="sets/training"))
    assert (grid.split.trains == trains).all()
    assert (grid.flux[grid.split.test][:, [3, 1]] == arrays["Y_u_all"][:5, [3, 1]]).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (None, ("no array 'mine'", "alternate, random", "'Y_u_all'")),
        (np.ones(11, bool), ("shape (11,)", "(12,)")),
        (np.arange(12), ("int64", "true, or 1, where a spectrum trains")),
        (np.array(["train"] * 12), ("<U5", "dtype=bool")),
        (np.array([True] * 12, dtype=object), ("pickled", "dtype=bool")),
        (np.arange(12) < 2, ("2 spectra to train on and 10 to test", "at least 3 and 1")),
        (np.ones(12), ("12 spectra to train on and 0 to test",)),
    ],
)
def test_arrays_that_say_no_split(tmp_path, array, said):
    path = write(tmp_path / "grid.npz", good() if array is None else {**good(), "mine": array})
    with pytest.raises(GridError) as refused:
        read_grid(path, reading=GridReading(split="mine"))
    assert all(part in str(refused.value) for part in (str(path), "which the setting split names", *said))


def test_twins_are_looked_for_between_the_sets_that_are_used(tmp_path):
    arrays = good()
    arrays["Y_u_all"][6] = arrays["Y_u_all"][2]  # both train as published
    path = write(tmp_path / "grid.npz", {**arrays, "mine": np.arange(12) < 5})
    read_grid(path)
    with pytest.raises(GridError, match=r"Y_u_all\[6\].*very flux of Y_u_all\[2\].*rows 5, 6, 7, \.\.\."):
        read_grid(path, reading=GridReading(split="mine"))


# --- Placeholders among the labels ------------------------------------------------------------------------------------

UNIFORM = np.random.default_rng(3).uniform(-2.0, 0.5, 60)
FILLERS = [-9999.0, 99.99, -99.0, 999.9, -9.0, 1e20, -1e30, 9.96921e36, -32768.0, 2.0**31 - 1, 37.0, -20.0]


@pytest.mark.parametrize("value", FILLERS)
@pytest.mark.parametrize("row", [0, 33])
def test_placeholders_are_found_in_either_set(value, row):
    labels = np.column_stack([1000 * UNIFORM, UNIFORM])
    labels[row, 1] = value
    with pytest.raises(GridError, match=rf"grid\.npz: x\[1, {row}\] is .*label metals, spectrum {row}"):
        check_fillers(Origins.one("grid.npz", len(labels)), "x", labels, ("Teff", "metals"), ("K", ""))


def test_the_placeholder_of_many_rows_and_of_float32_is_found():
    labels = UNIFORM[:, None].copy()
    labels[10:40] = np.float32(-9.99)
    with pytest.raises(GridError, match="first of 30 such"):
        check_fillers(Origins.one("grid.npz", len(labels)), "x", labels, ("metals",), ("dex",))
    zero = np.append(np.linspace(4000, 6000, 50), 0.0)[:, None]
    with pytest.raises(GridError, match="is 0 "):
        check_fillers(Origins.one("grid.npz", len(zero)), "x", zero, ("Teff",), ("K",))


@pytest.mark.parametrize(
    "values",
    [
        UNIFORM,
        np.repeat([0.0, 33.0, 66.0, 99.0], 5),
        np.repeat([1.0, 10.0, 100.0, 1000.0], 8),
        np.repeat([0.0, 3.0, 6.0, 9.0], 4),
        np.repeat([0.0, 20.0], 6),
        np.array([7000.0, 8000.0, 9000.0, 9999.0]),
        np.random.default_rng(5).normal(size=400),
        np.random.default_rng(6).exponential(size=400),
        4e33 * (2.5 + UNIFORM),
        np.arange(24.0) ** 2,
    ],
)
def test_labels_that_only_look_strange_are_left_alone(values):
    check_fillers(Origins.one("grid.npz", len(values)), "x", values[:, None], ("label",), ("",))
