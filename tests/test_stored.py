"""Files that payneflow writes and reads back: what they hold is declared, and one changed bit of it is an error."""

import numpy as np
import pytest
from astropy.table import Table

from payneflow.chunks.record import write_record
from payneflow.errors import PayneflowError
from payneflow.stored_arrays import Array, FileOf, write_arrays
from payneflow.stored_tables import SEAL, read_table

FILE = FileOf(
    what="a file of stars",
    again="Make it again.",
    error=PayneflowError,
    version=2,
    checksum_since=2,
    arrays=(
        Array("names", "U", ("n_star",), unique=True),
        Array("fluxes", "f", ("n_star", "n_pixel")),
        Array("axis", "f", ("n_pixel",), finite=True, increasing=True),
        Array("weight", "f", finite=True, positive=True, farthest=1e6, formerly="mass"),
        Array("about", "U", json=True, since=2),
    ),
    relations=(lambda stored: "axis is too long" if len(stored["axis"]) > 9 else "",),
)
STARS = {
    "names": np.array(["a", "b"]),
    "fluxes": np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]]),
    "axis": np.array([1.0, 2.0, 4.0]),
    "weight": np.array(2.0),
    "about": np.array('{"a": 1}'),
}


@pytest.fixture
def path(tmp_path):
    FILE.write(tmp_path / "stars.npz", STARS)
    return tmp_path / "stars.npz"


def refused(path, says, **changes):
    stored = {**np.load(path), **changes}
    write_arrays(path, {key: array for key, array in stored.items() if array is not None})
    with pytest.raises(PayneflowError, match=f"{path}: {says}"):
        FILE.read(path)


def test_what_was_written_is_read(path):
    stored = FILE.read(path)
    assert all(np.array_equal(stored[key], array, equal_nan=key == "fluxes") for key, array in STARS.items())
    assert set(FILE.read(path, keys=("axis",))) == {"axis"}
    with FILE.opened(path) as archive:
        assert archive.row("fluxes", 1).tolist() == [4.0, 5.0, 6.0] and FILE.whole(archive, "weight") == 2.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"names": np.array(["a", "a"])}, "names has 'a' twice"),
        ({"weight": np.array(1e300)}, "weight holds 1e\\+300, expected at most 1e\\+06 in size"),
        ({"names": np.array([b"a", b"b"])}, "names is |S1, expected text"),
        ({"fluxes": np.zeros((2, 4))}, r"fluxes has shape \(2, 4\), expected \(2, n_pixel\)|axis has shape"),
        ({"fluxes": np.zeros((2, 3), int)}, "fluxes is int64, expected floating-point numbers"),
        ({"fluxes": np.full((2, 3), np.inf)}, r"fluxes is not finite.*it is inf at \(0, 0\)"),
        ({"axis": np.array([1.0, np.nan, 2.0])}, "axis is not finite everywhere.*it is nan at 1"),
        ({"axis": np.array([1.0, 1.0, 2.0])}, "axis does not increase: 1.0 is followed by 1.0 at 1"),
        ({"weight": np.array(0.0)}, "weight holds 0.0, expected positive numbers"),
        ({"weight": np.ones(1)}, r"weight has shape \(1,\), expected \(\)"),
        ({"about": np.array("[" * 9999)}, "about is not JSON"),
        ({"about": None, "axis": None}, "no axis, about; expected a file of stars. Make it again."),
        ({"format_version": np.array(3)}, "format_version 3 is newer"),
        ({"axis": np.arange(10.0), "fluxes": np.zeros((2, 10))}, "axis is too long"),
        ({"names": np.array([], "U1"), "fluxes": np.zeros((0, 3))}, "names has shape"),
    ],
)
def test_what_is_not_as_declared_is_named(path, changes, says):
    refused(path, says.replace("|S1", r"\|S1"), **changes)


def test_every_flipped_bit_of_an_array_is_an_error(path):
    content = path.read_bytes()
    place = content.index(STARS["axis"].tobytes())
    for bit in range(8 * STARS["axis"].nbytes):
        damaged = bytearray(content)
        damaged[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(PayneflowError, match="stars.npz"):
            FILE.read(path)


def test_arrays_that_were_changed_by_hand_are_an_error_and_files_from_before_checksums_are_read(path):
    stored = {**np.load(path), "axis": np.array([1.0, 2.0, 5.0])}
    np.savez(path, **stored)
    with pytest.raises(PayneflowError, match="the checksum is not that of the arrays.*changed by hand"):
        FILE.read(path)
    del stored["checksum"]
    np.savez(path, **stored)
    with pytest.raises(PayneflowError, match="no checksum; expected a file of stars"):
        FILE.read(path)
    old = {key: array for key, array in stored.items() if key not in ("format_version", "about", "weight")}
    np.savez(path, **old, mass=np.array(3.0))
    assert FILE.read(path)["weight"] == 3.0


def test_the_same_arrays_compressed_are_the_same_file(path):
    np.savez_compressed(path, **np.load(path))
    assert FILE.read(path)["axis"].tolist() == [1.0, 2.0, 4.0]


def test_what_would_swell_is_not_read(path):
    stored = dict(np.load(path))
    np.savez_compressed(path, **{**stored, "about": np.array(" " * 2**25)})
    with pytest.raises(PayneflowError, match="about would take .* bytes of memory"):
        FILE.read(path)


# -------------------------------------------------------------------------------------------------------------- tables

COLUMNS, META = {"pixel": "i", "seconds": "f"}, {"settings": str}


def read(path):
    return read_table(path, PayneflowError, "a table of pixels", COLUMNS, META)


@pytest.fixture
def table(tmp_path):
    written = Table({"pixel": [1, 2, 3], "seconds": [0.5, 1.0, 1.5]}, meta={"settings": "é"})
    write_record(written, tmp_path / "record.ecsv")
    return tmp_path / "record.ecsv"


def test_a_table_is_read_and_every_change_of_its_text_is_an_error(table):
    assert read(table)["seconds"].tolist() == [0.5, 1.0, 1.5] and SEAL in table.read_bytes()
    text = table.read_text()
    for other in (text.replace("1.5", "1.6"), text.rpartition("3 1.5")[0], text + "4 2.0\n"):
        table.write_text(other)
        with pytest.raises(PayneflowError, match=r"record\.ecsv: the checksum .* remove the line that begins with"):
            read(table)


def test_a_table_that_astropy_has_written_anew_is_read_without_a_checksum(table):
    some = Table.read(table, format="ascii.ecsv")[:2]
    some.write(table, format="ascii.ecsv", overwrite=True)
    assert SEAL not in table.read_bytes() and len(read(table)) == 2


@pytest.mark.parametrize(
    ("columns", "meta", "says"),
    [
        ({"pixel": [1]}, {"settings": ""}, "no column seconds"),
        ({"pixel": [1.5], "seconds": [1.0]}, {"settings": ""}, "column pixel is float64, expected whole numbers"),
        ({"pixel": [1], "seconds": ["a"]}, {"settings": ""}, "column seconds is <U1, expected numbers"),
        ({"pixel": [1], "seconds": [[1.0, 2.0]]}, {"settings": ""}, "column seconds is float64 of shape"),
        ({"pixel": [1], "seconds": [1.0]}, {}, "no entry in meta settings"),
        ({"pixel": [1], "seconds": [1.0]}, {"settings": 3}, "settings in its meta is '3'"),
    ],
)
def test_columns_and_entries_of_other_kinds_are_named(tmp_path, columns, meta, says):
    Table(columns, meta=meta).write(tmp_path / "a.ecsv")
    with pytest.raises(PayneflowError, match=f"a.ecsv: {says}.*a table of pixels"):
        read(tmp_path / "a.ecsv")
