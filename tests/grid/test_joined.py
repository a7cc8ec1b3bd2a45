"""A grid of several files: it is the one that holds all their spectra, and what does not belong together is said."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import write_small_grid
from hypothesis import given
from hypothesis import strategies as st

from payneflow.chunks.split import split_grid
from payneflow.errors import GridError
from payneflow.files import sha256_of
from payneflow.grid import GridReading, Split, count_pixels, grid_shape, grid_split, joined_digest, read_grid
from payneflow.grid.blocks import for_each_block
from payneflow.grid.layout import PUBLISHED
from payneflow.grid.lazy_flux import JoinedFlux
from payneflow.grid.origins import Origins
from payneflow.grid.spectral_grid import read_labels, read_some_flux
from payneflow.grid.summary import summarise, summary_text
from payneflow.settings import LmSettings


def arrays_of(path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_small_grid(tmp_path_factory.mktemp("whole") / "all.npz", n_spectrum=40)


def cut(whole, directory, *counts, as_hdf5=(), **replaced):
    """The spectra of `whole` in files of so many each; those numbered in `as_hdf5` in that format."""
    arrays, first, paths = arrays_of(whole), 0, []
    for i, count in enumerate(counts):
        rows = slice(first, first + count)
        own = {**arrays, "Y_u_all": arrays["Y_u_all"][rows], "labels_array": arrays["labels_array"][:, rows]}
        own |= replaced if i == len(counts) - 1 else {}
        own = {key: array for key, array in own.items() if array is not None}
        path = directory / f"batch{i}.{'h5' if i in as_hdf5 else 'npz'}"
        if i in as_hdf5:
            with h5py.File(path, "w") as file:
                for key, array in own.items():
                    file[key] = array.astype(bytes) if array.dtype.kind == "U" else array
        else:
            np.savez(path, **own)
        paths.append(path)
        first += count
    return paths


@pytest.mark.parametrize("as_hdf5", [(), (1,), (0, 1, 2)])
def test_joined_files_are_the_grid_of_all_their_spectra(whole, tmp_path, as_hdf5):
    paths = cut(whole, tmp_path, 10, 16, 14, as_hdf5=as_hdf5)
    one, joined = read_grid(whole), read_grid(paths)
    np.testing.assert_array_equal(np.asarray(joined.flux), one.flux)
    assert joined.flux.dtype == one.flux.dtype
    for field in ("wavelength", "labels", "label_names", "label_units", "resolution", "medium", "flux_scale"):
        np.testing.assert_array_equal(getattr(joined, field), getattr(one, field))
    np.testing.assert_array_equal(joined.split.trains, one.split.trains)
    assert joined.sha256 == joined_digest(map(sha256_of, paths)) != one.sha256
    assert joined.origins.of(25) == (paths[1], 15) and joined.origins.of(26) == (paths[2], 0)
    assert grid_shape(paths) == (40, 20, 3) and count_pixels(paths) == 20
    np.testing.assert_array_equal(read_labels(paths)[0], one.labels)
    np.testing.assert_array_equal(
        read_some_flux(paths, PUBLISHED, lambda n: np.array([1, 11, 39]))[1], one.flux[[1, 11, 39]]
    )


def test_a_list_of_one_file_is_that_file(whole):
    one, listed = read_grid(whole), read_grid([whole])
    assert listed.sha256 == one.sha256 and listed.path == one.path and isinstance(listed.flux, np.ndarray)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    rows=st.lists(st.integers(0, 44), unique=True),
    pixels=st.lists(st.integers(0, 3), min_size=1),
    block=st.integers(1, 300),
)
def test_joined_flux_is_indexed_as_the_array_would_be(counts, rows, pixels, block):
    n = sum(counts)
    flux = np.arange(4.0 * n).reshape(n, 4)
    files = np.split(flux, np.cumsum(counts)[:-1])
    joined = JoinedFlux([files[0].astype(np.float32), *files[1:]])
    rows = sorted(row for row in rows if row < n)
    np.testing.assert_array_equal(joined[rows][:, pixels], flux[rows][:, pixels])
    np.testing.assert_array_equal(joined[1::2][:, 1:3], flux[1::2][:, 1:3])
    np.testing.assert_array_equal(joined[n - 1], flux[n - 1])
    seen = []
    for_each_block(joined, lambda first, some: seen.append((first, some)))
    assert [first for first, _ in seen] == np.cumsum([0, *(len(some) for _, some in seen[:-1])]).tolist()
    np.testing.assert_array_equal(np.concatenate([some for _, some in seen]), flux)
    assert {some.dtype for _, some in seen} == {joined.dtype}


# --------------------------------------------------------------------------------------------------------- the split


@pytest.mark.parametrize("said", ["alternate", "random", "trains"])
@pytest.mark.parametrize("counts", [(11, 13), (11, 13, 9), (24, 9)])
def test_a_file_that_is_added_moves_no_spectrum_between_the_sets(whole, tmp_path, said, counts):
    paths = cut(whole, tmp_path, *counts)
    for i, path in enumerate(paths):
        trains = np.random.default_rng(i).random(counts[i]) < 0.5
        np.savez(path, **arrays_of(path), trains=trains)
    reading = GridReading(split=said)
    alone = [grid_split(path, PUBLISHED, reading, seed=3).trains for path in paths]
    joined = grid_split(paths, PUBLISHED, reading, seed=3)
    assert joined.name == said
    np.testing.assert_array_equal(joined.trains, np.concatenate(alone))
    for n in range(1, len(paths)):
        fewer = grid_split(paths[:n], PUBLISHED, reading, seed=3).trains
        np.testing.assert_array_equal(joined.trains[: len(fewer)], fewer)


def test_files_that_leave_a_set_empty_together_are_refused(whole, tmp_path):
    paths = cut(whole, tmp_path, *[1] * 8)
    with pytest.raises(GridError, match="leaves 8 spectra to train on and 0 to test with"):
        read_grid(paths)


def test_a_file_without_the_array_that_the_split_names_is_named(whole, tmp_path):
    paths = cut(whole, tmp_path, 20, 20)
    np.savez(paths[0], **arrays_of(paths[0]), trains=np.arange(20) % 2 == 0)
    with pytest.raises(GridError, match=r"batch1\.npz: no array 'trains', which the setting split names"):
        read_grid(paths, reading=GridReading(split="trains"))


# ---------------------------------------------------------------------------------- what does not belong is refused

NAMES = np.array(["Teff", "logg", "[Fe/H]"])
AXIS = 15000.0 + 0.2 * np.arange(20)


def moved(pixel: int, by: float) -> np.ndarray:
    axis = AXIS.copy()
    axis[pixel] += by
    return axis


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"wavelength": moved(7, 0.01)}, (r"wavelength\[7\] is 15001.41", "first of 1 that differ", "to one axis")),
        ({"wavelength": moved(7, 1e-9)}, (r"wavelength\[7\]", "rounding alone", "Store wavelength of one")),
        ({"label_names": NAMES[[0, 2, 1]]}, (r"label_names\[1\] is '\[Fe/H\]'", "'logg'", "Reorder")),
        ({"label_names": np.array(["Teff", "log g", "[Fe/H]"])}, (r"label_names\[1\] is 'log g'", "'logg'")),
        ({"label_names": None}, ("no array 'label_names', which .*batch0.npz has",)),
        ({"label_units": np.array(["K", "cgs", "dex"])}, (r"label_units\[1\] is 'cgs'", "'dex'")),
        ({"resolution": np.array(22500.0)}, (r"batch0.npz: no array 'resolution', which .*batch1.npz has",)),
        ({"wavelength": AXIS[:19], "Y_u_all": np.ones((20, 19))}, ("wavelength has 19 pixels", "it is 20")),
        (
            {"labels_array": np.ones((2, 20)), "label_names": NAMES[:2], "label_units": NAMES[:2]},
            ("labels_array holds 2 labels", "it is 3", "same labels"),
        ),
    ],
)
def test_files_that_differ_are_refused_with_file_key_and_place(whole, tmp_path, replaced, said):
    paths = cut(whole, tmp_path, 20, 20, **replaced)
    with pytest.raises(GridError) as error:
        read_grid(paths)
    assert "batch1.npz" in str(error.value) and "batch0.npz" in str(error.value)
    for part in said:
        assert error.match(part)


def torn(array: np.ndarray, *place: int, value=np.nan) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


def test_a_bad_value_is_named_by_its_file_and_the_row_there(whole, tmp_path):
    arrays = arrays_of(whole)
    flux, labels = arrays["Y_u_all"][20:], arrays["labels_array"][:, 20:]
    for replaced, said in (
        ({"Y_u_all": torn(flux, 3, 7)}, r"batch1.npz: Y_u_all\[3, 7\] is nan \(spectrum 3, pixel 7, 15001.4"),
        ({"Y_u_all": torn(flux, 3, 7, value=1.4)}, r"batch1.npz: Y_u_all\[3, 7\] is 1.4 \(spectrum 3, pixel 7"),
        ({"Y_u_all": torn(flux, 3, value=9.0)}, r"batch1.npz: Y_u_all\[3\] \(spectrum 3\) is not normalised"),
        ({"labels_array": torn(labels, 1, 4)}, r"batch1.npz: labels_array\[1, 4\] is nan \(label logg, spectrum 4"),
        (
            {"labels_array": torn(labels, 1, 4, value=-9999)},
            r"labels_array\[1, 4\] is -9999 \(label logg, spectrum 4",
        ),
    ):
        with pytest.raises(GridError, match=said):
            read_grid(cut(whole, tmp_path, 20, 20, **replaced))


def test_a_file_that_is_named_twice_or_copied_is_refused(whole, tmp_path):
    paths = cut(whole, tmp_path, 20, 20)
    with pytest.raises(GridError, match=r"batch0\.npz: named twice"):
        read_grid([*paths, paths[0]])
    copy = tmp_path / "copy.npz"
    copy.write_bytes(paths[0].read_bytes())
    with pytest.raises(GridError, match=r"copy\.npz: has the very content of .*batch0\.npz"):
        read_grid([*paths, copy])
    with pytest.raises(GridError, match="empty list"):
        read_grid([])


def test_a_spectrum_that_trains_in_one_file_and_tests_in_another_is_refused(whole, tmp_path):
    arrays = arrays_of(whole)
    flux = arrays["Y_u_all"][20:].copy()
    flux[5] = arrays["Y_u_all"][2]
    paths = cut(whole, tmp_path, 20, 20, Y_u_all=flux)
    with pytest.raises(GridError, match=r"batch1.npz: Y_u_all\[5\] .* very flux of .*batch0.npz: Y_u_all\[2\]"):
        read_grid(paths)


def test_spectra_and_labels_that_are_there_twice_in_a_set_are_said(whole, tmp_path):
    arrays = arrays_of(whole)
    flux, labels = arrays["Y_u_all"][20:].copy(), arrays["labels_array"][:, 20:].copy()
    flux[4], labels[:, 4] = arrays["Y_u_all"][2], arrays["labels_array"][:, 2]
    (note,) = read_grid(cut(whole, tmp_path, 20, 20, Y_u_all=flux, labels_array=labels)).notes
    assert note.startswith(f"spectrum 4 of {tmp_path / 'batch1.npz'} has the very flux of spectrum 2 of ")
    (note,) = read_grid(cut(whole, tmp_path, 20, 20, labels_array=labels)).notes
    assert "has the very labels of spectrum 2 of" in note and "first of 1 such pairs" in note
    assert read_grid(whole).notes == ()


def test_the_flux_scale_is_that_of_all_files(whole, tmp_path):
    paths = cut(whole, tmp_path, 20, 20, Y_u_all=3 * arrays_of(whole)["Y_u_all"][20:])
    scale = read_grid(paths, reading=GridReading(flux_scale="grid")).flux_scale
    assert scale.highest == pytest.approx(3 * arrays_of(whole)["Y_u_all"][20:].max())


def test_where_a_spectrum_comes_from():
    origins = Origins(("a", "b", "c"), (3, 0, 2))
    assert [origins.of(i) for i in range(5)] == [("a", 0), ("a", 1), ("a", 2), ("c", 0), ("c", 1)]
    assert replace(origins, paths=("a",), counts=(3,)).said_of(2) == "2" and origins.said_of(3) == "0 of c"
    assert Split.joined([Split.alternate(3), Split.alternate(2)]).training_rows.tolist() == [0, 2, 3]


# ---------------------------------------------------------------------------------------------------- what it is for


@pytest.mark.parametrize("as_hdf5", [(), (1,)])
def test_chunks_of_joined_files_hold_what_those_of_one_file_hold(whole, tmp_path, as_hdf5):
    """So they train to the same bits: a chunk is all that training knows of a grid."""
    known = arrays_of_chunks(whole, tmp_path / "one")
    found = arrays_of_chunks(cut(whole, tmp_path, 22, 18, as_hdf5=as_hdf5), tmp_path / "joined")
    assert known.keys() == found.keys() and len(known) == 2
    for name, arrays in known.items():
        differ = [key for key in arrays if not np.array_equal(arrays[key], found[name][key])]
        assert sorted(differ) == ["checksum", "grid_sha256"]


def arrays_of_chunks(grid, directory) -> dict[str, dict]:
    split_grid(read_grid(grid), "::", 10, directory, "lm", LmSettings(), 0)
    return {path.name: arrays_of(path) for path in directory.iterdir()}


def test_the_summary_lists_the_files(whole, tmp_path):
    paths = cut(whole, tmp_path, 11, 29)
    summary = summarise(read_grid(paths))
    said = [(one["path"], one["first"], one["n_spectrum"], one["n_training"]) for one in summary["files"]]
    assert said == [(str(paths[0]), 0, 11, 6), (str(paths[1]), 11, 29, 15)]
    assert [one["sha256"] for one in summary["files"]] == list(map(sha256_of, paths))
    text = summary_text(summary)
    assert "2 files" in text and f"{paths[1]}: spectra 11 ... 39, 15 of them train" in text
    assert "files" not in summarise(read_grid(whole))
