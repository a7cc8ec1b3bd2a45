"""An HDF5 grid is the same grid: what is read, what is refused, and every bit of what is made of it, as for npz."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import write_small_grid
from hypothesis import given, settings
from hypothesis import strategies as st
from make_large_grid import make_large_grid
from split_memory import run
from test_grid import REFUSED, SHIPPED, good, refusal

from payneflow import cli, evaluation
from payneflow.chunks import split as chunk_writing
from payneflow.chunks.split import Piece, write_pieces
from payneflow.errors import GridError
from payneflow.evaluation import evaluate_networks
from payneflow.grid import GridKeys, Split, count_pixels, grid_shape, read_grid
from payneflow.grid import blocks as grid_blocks
from payneflow.grid.blocks import for_each_block, rows_at_once
from payneflow.grid.hdf5 import is_hdf5
from payneflow.grid.summary import summarise
from payneflow.training.lm.preparation import Preparation


def write_hdf5(path: Path, arrays: dict[str, np.ndarray], **storage) -> Path:
    """The arrays of an npz grid in an HDF5 file, text of variable length; `storage`: how the flux is stored."""
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            text = array.dtype.kind == "U"
            how = storage if key == "Y_u_all" and array.size else {}
            file.create_dataset(key, data=array.astype(object) if text else array, **how)
            if text:
                assert h5py.check_string_dtype(file[key].dtype).length is None
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of one spectrum or a few, as those of a large grid are of many."""
    monkeypatch.setattr(grid_blocks, "BLOCK_BYTES", 5 * 30 * 4)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """The same small grid as npz and as HDF5, compressed."""
    directory = tmp_path_factory.mktemp("pair")
    npz = write_small_grid(directory / "grid.npz", n_pixel=33)
    with np.load(npz) as arrays:
        return npz, write_hdf5(directory / "grid.h5", dict(arrays), chunks=(4, 10), compression="gzip", shuffle=True)


# ------------------------------------------------------------------------------------------------------- what is read


@settings(max_examples=40)
@given(
    n_spectrum=st.integers(5, 40),
    n_pixel=st.integers(1, 50),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2"]),
    storage=st.sampled_from([{}, {"chunks": (3, 7)}, {"chunks": (1, 50)}, {"chunks": (40, 1)}, {"chunks": (16, 16)}]),
    compression=st.sampled_from([None, "gzip", "lzf"]),
    block_bytes=st.sampled_from([1, 1000, 10_000, 2**26]),
)
def test_what_is_stored_is_what_is_read(
    tmp_path_factory, n_spectrum, n_pixel, dtype, storage, compression, block_bytes
):
    arrays = good(n_spectrum, n_pixel, 3)
    arrays["Y_u_all"] = np.linspace(0.7, 1.0, n_spectrum * n_pixel).reshape(n_spectrum, -1).astype(dtype)
    if storage:
        rows, columns = storage["chunks"]
        storage = {"chunks": (min(rows, n_spectrum), min(columns, n_pixel)), "compression": compression}
    path = write_hdf5(tmp_path_factory.mktemp("grid") / "grid.h5", arrays, **storage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_blocks, "BLOCK_BYTES", block_bytes)
        grid = read_grid(path)
        flux = np.asarray(grid.flux)
        assert summarise(grid)["flux"]["max"] == flux.max()
    assert count_pixels(path) == n_pixel
    np.testing.assert_array_equal(flux, arrays["Y_u_all"])
    assert flux.dtype == grid.flux.dtype == (np.float32 if dtype.endswith("f4") else np.float64)
    assert flux.dtype.isnative
    np.testing.assert_array_equal(grid.labels, arrays["labels_array"].T)
    np.testing.assert_array_equal(grid.wavelength, arrays["wavelength"])
    assert grid.label_names == ("Teff", "logg", "[Fe/H]") and grid.label_units == ("K", "dex", "dex")


ROWS = st.one_of(
    st.slices(24), st.sets(st.integers(0, 23)).map(sorted), st.integers(-24, 23), st.sampled_from([slice(1, None, 2)])
)
PIXELS = st.one_of(st.slices(33), st.lists(st.integers(-33, 32), max_size=40))


@settings(max_examples=60)
@given(ROWS, ROWS, PIXELS, st.sampled_from([1, 700, 2**26]))
def test_stored_flux_is_indexed_as_an_array_is(pair, half, rows, pixels, block_bytes):
    in_memory, stored = (read_grid(path).flux for path in pair)
    half, rows, pixels = (np.array(i, dtype=int) if isinstance(i, list) else i for i in (half, rows, pixels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_blocks, "BLOCK_BYTES", block_bytes)
        increasing = all((np.diff(np.atleast_1d(np.arange(24)[i])) > 0).all() for i in (half, rows))
        if not increasing:
            with pytest.raises(IndexError, match="increasing"):
                np.asarray(stored[half]), np.asarray(stored[rows])
            return
        np.testing.assert_array_equal(stored[half, pixels], in_memory[half][..., pixels])
        np.testing.assert_array_equal(stored[rows], in_memory[rows])
        part, part_in_memory = stored[::2], in_memory[::2]
        np.testing.assert_array_equal(part[1:7][:, pixels], part_in_memory[1:7][:, pixels])
        np.testing.assert_array_equal(part[-3, pixels], part_in_memory[-3, pixels])
        assert len(part) == len(part_in_memory) and part.shape == part_in_memory.shape


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 30), st.integers(1, 5000))
def test_blocks_follow_each_other_and_stay_small(n_spectrum, n_pixel, unit, block_bytes):
    flux = np.arange(n_spectrum * n_pixel, dtype=float).reshape(n_spectrum, n_pixel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_blocks, "BLOCK_BYTES", block_bytes)
        firsts, parts = [], []
        for_each_block(flux, lambda first, _: firsts.append(first), lambda _, rows: parts.append(rows))
        step = rows_at_once(flux.shape, flux.dtype, unit)
    np.testing.assert_array_equal(np.concatenate(parts), flux)
    assert firsts == [0, *np.cumsum([len(part) for part in parts])[:-1]]
    assert all(part.nbytes <= block_bytes or len(part) == 1 for part in parts)
    fits = unit * n_pixel * 8 <= block_bytes
    assert step * n_pixel * 8 <= max(block_bytes, n_pixel * 8) and (step % unit == 0 or not fits)


@pytest.mark.parametrize(
    "text",
    [
        np.array([b"Teff", b"logg"]),
        np.array([b"Teff ", b"logg  "]),
        np.array(["Teff", "logg"], dtype=h5py.string_dtype("utf-8", 6)),
        np.array(["Teff", "logg"], dtype=h5py.string_dtype("ascii")),
        np.array([b"Teff", b"logg"], dtype=h5py.string_dtype("utf-8")),
    ],
    ids=["fixed", "fixed, blanks", "fixed utf-8", "variable ascii", "variable utf-8"],
)
def test_names_are_read_however_hdf5_stores_text(tmp_path, text):
    path = write_hdf5(tmp_path / "grid.h5", good())
    with h5py.File(path, "r+") as file:
        del file["label_names"]
        file.create_dataset("label_names", data=text, dtype=text.dtype)
    assert read_grid(path).label_names == ("Teff", "logg")


def test_the_content_tells_the_format_not_the_name(tmp_path):
    """HDF5 that is called npz, npz that is called h5, and HDF5 behind a user block, as MATLAB writes it."""
    arrays = good()
    hdf5, npz, behind = tmp_path / "hdf5.npz", tmp_path / "npz.h5", tmp_path / "behind.mat"
    write_hdf5(hdf5, arrays)
    with open(npz, "wb") as stream:
        np.savez(stream, **arrays)
    with h5py.File(behind, "w", userblock_size=1024) as file:
        for key in ("wavelength", "Y_u_all", "labels_array"):
            file[key] = arrays[key]
    assert [is_hdf5(path) for path in (hdf5, npz, behind, tmp_path, tmp_path / "absent")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    for path in (hdf5, npz, behind):
        np.testing.assert_array_equal(read_grid(path).flux, arrays["Y_u_all"])


def test_arrays_in_groups_and_behind_links_are_read_by_name(tmp_path):
    arrays = good()
    path = write_hdf5(tmp_path / "grid.h5", {f"my/{key}": array for key, array in arrays.items()})
    with h5py.File(path, "r+") as file:
        file["Y_u_all"] = h5py.SoftLink("/my/Y_u_all")
    keys = GridKeys("my/wavelength", "Y_u_all", "/my/labels_array", "my/label_names", "my/label_units")
    grid = read_grid(path, keys)
    np.testing.assert_array_equal(grid.flux, arrays["Y_u_all"])
    assert grid.label_names == ("Teff", "logg")
    message = refusal(path)
    assert "no array 'wavelength'" in message and "'my/wavelength'" in message


@pytest.mark.parametrize("stored", [np.array(22500.0), np.linspace(2e4, 3e4, 30)])
def test_a_resolution_is_read_as_from_npz(tmp_path, stored):
    path, keys = write_hdf5(tmp_path / "grid.h5", {**good(), "made/at": stored}), GridKeys(resolution="made/at")
    assert np.array_equal(read_grid(path, keys).resolution, stored)


def test_counting_pixels_reads_no_array(pair, monkeypatch):
    def read(*_):
        raise AssertionError("an array was read")

    for name in ("__getitem__", "read_direct", "__array__"):
        monkeypatch.setattr(h5py.Dataset, name, read)
    assert count_pixels(pair[1]) == 33


def test_the_file_is_opened_once_and_once_for_each_block_of_flux(pair, monkeypatch):
    opened = []

    class CountedFile(h5py.File):
        def __init__(self, *args):
            opened.append(args)
            super().__init__(*args)

    monkeypatch.setattr(h5py, "File", CountedFile)
    assert count_pixels(pair[1]) == 33 and grid_shape(pair[1])[:2] == (24, 33)
    assert len(opened) == 2
    monkeypatch.setattr(grid_blocks, "BLOCK_BYTES", 8 * 33 * 8)  # blocks of 8 of 24 spectra
    n_block = -(-24 // rows_at_once((24, 33), read_grid(pair[1]).flux.dtype, read_grid(pair[1]).flux.unit))
    opened.clear()
    read_grid(pair[1])
    assert len(opened) == 1 + n_block


# ---------------------------------------------------------------------------------------------------- what is refused

NOT_IN_HDF5 = ("pickled flux", "pickled names", "wavelength as dates")  # it knows no such arrays
OTHER_DTYPE = ("flux as text", "resolution as text")  # the message names the dtype, which differs


@pytest.mark.parametrize("case", [case for case in REFUSED if case.name not in NOT_IN_HDF5], ids=lambda case: case.name)
def test_refused_as_npz_is(tmp_path, small_blocks, case):
    arrays = good()
    case.change(arrays)
    path = write_hdf5(tmp_path / "grid.h5", arrays)
    np.savez(tmp_path / "grid.npz", **arrays)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    if case.name not in OTHER_DTYPE:
        order = str.maketrans("", "", ".")
        same = refusal(tmp_path / "grid.npz").replace("grid.npz", "grid.h5")
        if "The file holds" not in message:  # in HDF5 in alphabetical order
            assert message.translate(order) == same.translate(order)
    for part in case.said:
        assert part in message or case.name in OTHER_DTYPE or "holds" in part


@pytest.mark.parametrize("block_bytes", [1, 700, 2**26])
def test_the_worst_is_named_wherever_the_blocks_end(tmp_path, monkeypatch, block_bytes):
    """Not normalised in the first spectrum, outside the range in several, one NaN in the last: in that order."""
    monkeypatch.setattr(grid_blocks, "BLOCK_BYTES", block_bytes)
    arrays = good()
    arrays["Y_u_all"][[2, 5, 9], [7, 3, 1]] = 1.2, -0.3, 1.3  # 0.8 and 0.7 from the middle: [5, 3] and [9, 1] tie
    arrays["Y_u_all"][5, 3] = -0.31
    path = write_hdf5(tmp_path / "grid.h5", arrays)
    assert "Y_u_all[5, 3] is -0.31" in refusal(path) and "of 3 values outside" in refusal(path)
    arrays["Y_u_all"][4] *= 100
    arrays["Y_u_all"][8] *= 100
    assert "Y_u_all[4] (spectrum 4) is not normalised" in refusal(write_hdf5(path, arrays))
    arrays["Y_u_all"][7, 20], arrays["Y_u_all"][11, 29] = np.nan, np.inf
    assert "Y_u_all[7, 20] is nan" in refusal(path := write_hdf5(path, arrays)) and "first of 2 values" in refusal(path)


def as_group(file):
    file.move("Y_u_all", "other")
    file["Y_u_all/flux"] = file["other"]


def as_references(file):
    del file["Y_u_all"]
    file.create_dataset("Y_u_all", (12, 30), dtype=h5py.ref_dtype)


def as_scalar(file):
    del file["wavelength"]
    file["wavelength"] = 15000.0


def as_no_resolution(file):
    file["resolution"] = h5py.Empty("f8")


def as_nothing(file):
    del file["labels_array"]
    file["labels_array"] = h5py.Empty("f8")


def elsewhere(file):
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["flux"] = file["Y_u_all"][()]
    del file["Y_u_all"]


def as_external_link(file):
    elsewhere(file)
    file["Y_u_all"] = h5py.ExternalLink("other.h5", "flux")


def as_virtual_dataset(file):
    elsewhere(file)
    layout = h5py.VirtualLayout((12, 30), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "flux", (12, 30))
    file.create_virtual_dataset("Y_u_all", layout)


def as_broken_link(file):
    del file["Y_u_all"]
    file["Y_u_all"] = h5py.ExternalLink("gone.h5", "flux")


def as_raw_file(file):
    del file["Y_u_all"]
    raw = str(Path(file.filename).with_name("flux.raw"))
    file.create_dataset("Y_u_all", data=good()["Y_u_all"], external=[(raw, 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (as_group, ("Y_u_all is no array but holds 'Y_u_all/flux'", "Name the one inside")),
        (as_references, ("Y_u_all has dtype object", "real numbers")),
        (as_scalar, ("wavelength has shape ()", "expected (n_pixel,)")),
        (as_nothing, ("labels_array has shape (0,)", "expected (n_label, 12)")),
        (as_no_resolution, ("resolution has shape (0,)", "one number or (30,)")),
        (as_external_link, ("Y_u_all lies in another file", "Copy all arrays into one file")),
        (as_virtual_dataset, ("Y_u_all lies in another file", "Copy all arrays into one file")),
        (as_broken_link, ("Y_u_all: not readable as HDF5",)),
        (as_raw_file, ("Y_u_all lies in another file", "Copy all arrays into one file")),
    ],
)
def test_what_only_hdf5_can_hold_is_refused(tmp_path, change, said):
    path = write_hdf5(tmp_path / "grid.h5", good())
    with h5py.File(path, "r+") as file:
        change(file)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    for part in said:
        assert part in message


@settings(max_examples=40)
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_cut_anywhere_it_is_refused(tmp_path_factory, pair, share):
    content = pair[1].read_bytes()
    path = tmp_path_factory.mktemp("cut") / "grid.h5"
    path.write_bytes(content[: int(share * len(content))])
    for reader in (read_grid, count_pixels):
        with pytest.raises(GridError) as refused:
            reader(path)
        assert str(refused.value).startswith(f"{path}: ")


def test_damage_in_the_flux_names_the_array(tmp_path):
    arrays = good()
    path = write_hdf5(tmp_path / "grid.h5", arrays, chunks=(12, 30), compression="gzip", fletcher32=True)
    with h5py.File(path) as file:
        place = file["Y_u_all"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + place.size // 2] ^= 0xFF
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: Y_u_all: not readable as HDF5")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "grid.h5", good())
    grid = read_grid(path)
    write_hdf5(path, good(n_spectrum=13))
    with pytest.raises(GridError, match=r"grid.h5: it was changed while it was read"):
        np.asarray(grid.flux)


def test_without_h5py_it_says_what_to_install(pair, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)  # what `import` finds where it is not installed
    assert cli.main(["check", str(pair[1])]) == 2
    said = capsys.readouterr().err
    assert f"{pair[1]}: this grid is an HDF5 file" in said and "pip install 'payneflow[hdf5]'" in said
    with pytest.raises(GridError, match=r"payneflow\[hdf5\]"):
        count_pixels(pair[1])
    assert cli.main(["check", str(pair[0])]) == 0, "npz needs no h5py"


# ------------------------------------------------------------------------------------------------------ the same bits

LM = ["--trainer", "lm", "--n-neurons", "3", "--trunc-diff", "0.0003"]
SGD = ["--trainer", "sgd", "--num-epochs", "200", "--trial-epochs", "200", "--max-iter", "3", "--trunc-diff", "0.01"]


def whole_run(grid: Path, directory: Path, options: list[str]) -> None:
    """Every subcommand from the grid to fits."""
    assert cli.main(["split", str(grid), "--chunk-size", "7", "--output", str(directory / "chunks"), *options]) == 0
    trained = [str(directory / "trained" / chunk.name) for chunk in sorted((directory / "chunks").iterdir())]
    for chunk in trained:
        assert cli.main(["train", chunk.replace("trained", "chunks"), "--output", chunk]) == 0
    network = str(directory / "network.npz")
    assert cli.main(["gather", *trained, "--network", network, "--record", str(directory / "record.ecsv")]) == 0
    assert cli.main(["evaluate", network, str(grid), "--output", str(directory / "evaluation.npz")]) == 0
    assert cli.main(["fit", network, "--grid", str(grid), "--output", str(directory / "fits")]) == 0


def different(a: Path, b: Path) -> set[str]:
    """The keys under which two npz files differ in any bit."""
    a, b = np.load(a), np.load(b)
    assert set(a) == set(b)
    return {
        key for key in set(a) - {"checksum"} if a[key].dtype != b[key].dtype or a[key].tobytes() != b[key].tobytes()
    }


@pytest.mark.parametrize("options", [LM, SGD], ids=["lm", "sgd"])
def test_every_bit_is_that_of_the_same_grid_as_npz(pair, tmp_path, monkeypatch, options):
    npz, hdf5 = tmp_path / "of_npz", tmp_path / "of_hdf5"
    whole_run(pair[0], npz, options)
    monkeypatch.setattr(grid_blocks, "BLOCK_BYTES", 700)  # 5 spectra
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 700)
    monkeypatch.setattr(chunk_writing, "MOST_OPEN", 2)
    whole_run(pair[1], hdf5, options)
    names = sorted(path.name for path in (npz / "chunks").iterdir())
    assert len(names) == 5 and names == sorted(path.name for path in (hdf5 / "chunks").iterdir())
    for name in names:
        assert different(npz / "chunks" / name, hdf5 / "chunks" / name) == {"grid_sha256"}
        assert different(npz / "trained" / name, hdf5 / "trained" / name) <= {"grid_sha256", "seconds"}
    assert different(npz / "network.npz", hdf5 / "network.npz") == {"provenance"}
    assert different(npz / "evaluation.npz", hdf5 / "evaluation.npz") == {"grid"}  # its SHA-256
    rows = [
        [line for line in (place / "fits.ecsv").read_text().splitlines() if not line.startswith("#")]
        for place in (npz, hdf5)
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 1  # what begins with # names the grid by its SHA-256


def test_virtual_spectra_are_part_of_what_is_the_same(pair, tmp_path, monkeypatch):
    """The whole training flux of a chunk makes its virtual flux, whatever it streams by in."""
    assert cli.main(["split", str(pair[0]), "--chunk-size", "7", "--output", str(tmp_path / "npz"), *LM]) == 0
    monkeypatch.setattr(grid_blocks, "BLOCK_BYTES", 700)
    monkeypatch.setattr(chunk_writing, "MOST_HELD", 12 * 10 * 4)  # of ten pixels: one chunk at a time
    assert cli.main(["split", str(pair[1]), "--chunk-size", "7", "--output", str(tmp_path / "hdf5"), *LM]) == 0
    for path in (tmp_path / "npz").iterdir():
        assert different(path, tmp_path / "hdf5" / path.name) == {"grid_sha256"}
        assert np.load(path)["virtual_flux"].shape[0] == 6


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12), st.sampled_from([None, 1, 10, 50]))
def test_pieces_are_written_in_order_as_many_at_a_time_as_allowed(sizes, most_open, most_pixels):
    pieces = [Piece(Path(str(i)), range(size), {}) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_writing, "MOST_OPEN", most_open)
        passes = list(chunk_writing._passes(pieces, most_pixels))
    assert [piece for some in passes for piece in some] == pieces
    for some, following in zip(passes, [*passes[1:], None], strict=True):
        n_pixel = sum(len(piece.pixels) for piece in some)
        assert len(some) <= most_open and (most_pixels is None or n_pixel <= most_pixels or len(some) == 1)
        if following:  # no pass is left half empty
            more = n_pixel + len(following[0].pixels)
            assert len(some) == most_open or (most_pixels is not None and more > most_pixels)


def test_a_chunk_file_that_was_not_fed_to_the_end_never_gets_its_name(tmp_path):
    class Failing(np.ndarray):
        def __getitem__(self, index):
            if isinstance(index, slice) and index.start == 4:
                raise GridError("grid.h5: damaged here")
            return super().__getitem__(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_blocks, "BLOCK_BYTES", 2 * 6 * 8)
        flux = np.ones((10, 6)).view(Failing)
        pieces = [Piece(tmp_path / f"{i}.npz", range(2 * i, 2 * i + 2), {"chunk": str(i)}) for i in range(3)]
        with pytest.raises(GridError, match="damaged here"):
            write_pieces(pieces, flux, Preparation.nothing(5, 3), Split.alternate(10))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_chunk(pair, tmp_path, monkeypatch, capsys):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zipfile._ZipWriteFile.write", full)
    assert cli.main(["split", str(pair[1]), "--chunk-size", "7", "--output", str(tmp_path), *SGD]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block_bytes", [1, 5000, 40_000])
def test_evaluation_in_blocks_of_pixels_changes_no_bit(tmp_path, monkeypatch, block_bytes):
    """On real spectra, with some pixels left out and one that failed to train."""
    networks = smooth_networks(read_grid(SHIPPED), range(100, 3000, 29))
    whole = evaluate_networks(networks, read_grid(SHIPPED))
    with np.load(SHIPPED) as arrays:
        path = write_hdf5(tmp_path / "grid.h5", dict(arrays))
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", block_bytes)
    n_block = len(evaluation._blocks_of_pixels(100, 320))
    assert n_block == {1: 50, 5000: 26, 40_000: 4}[block_bytes]
    pieces = evaluate_networks(networks, read_grid(path))
    assert whole.keys() == pieces.keys() and whole.pop("grid") != pieces.pop("grid"), "two files, of other SHA-256"
    for key, array in whole.items():
        np.testing.assert_array_equal(array, pieces[key], err_msg=key)


def smooth_networks(grid, pixels):
    """Networks that predict something near the flux of some pixels of a grid; one is undefined."""
    from payneflow.network import PixelNetworks

    n, random = len(pixels), np.random.default_rng(3)
    bias = np.full(n, 2.0)
    bias[7] = np.nan
    return PixelNetworks(
        w_array_0=random.normal(size=(n, 4, 3)),
        b_array_0=random.normal(size=(n, 4)),
        w_array_1=random.normal(size=(n, 4)),
        b_array_1=bias,
        x_min=grid.scaler.x_min,
        x_max=grid.scaler.x_max,
        wavelength=grid.wavelength[list(pixels)],
        label_names=grid.label_names,
        label_units=grid.label_units,
        emulator_rms=np.zeros(n),
    )


# ------------------------------------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_grid(tmp_path):
    """Four times the spectra, 48 MB more of flux: `check` and `split` need no more memory for it, with blocks of 4 MB.

    With the usual blocks, and at 20 000 spectra, benchmarks/split_memory.py prints the peaks.
    """
    grid, peaks = str(tmp_path / "grid.h5"), {}
    commands = {"check": [grid], "split": [grid, "--trainer", "sgd", "--output", str(tmp_path / "chunks")]}
    for n_spectrum in (2000, 8000):
        make_large_grid(grid, n_spectrum, 2000)
        for name, arguments in commands.items():
            before = "from payneflow.grid import blocks as grid_blocks; grid_blocks.BLOCK_BYTES = 2**22"
            peaks[name, n_spectrum] = run(name, *arguments, before=before)[1]
    for name in commands:
        assert peaks[name, 8000] - peaks[name, 2000] < 16, peaks
