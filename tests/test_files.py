"""Arrays of an npz file: small ones are read without numpy's own reader, and are the same to the last flag."""

import zipfile

import numpy as np
import pytest

from payneflow.errors import PayneflowError
from payneflow.files import SMALL, read_npz, write_npz

ARRAYS = {
    "text": np.array("é 星"),
    "texts": np.array(["a", "bcd"]),
    "empty text": np.array(""),
    "number": np.array(3),
    "matrix": np.arange(12.0).reshape(3, 4),
    "turned": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "no rows": np.empty((0, 4)),
    "big-endian": np.arange(5, dtype=">f4"),
    "truth": np.array([True, False]),
    "fields": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "large": np.arange(SMALL, dtype=float),
}


@pytest.mark.parametrize("save", [write_npz, lambda path, arrays: np.savez_compressed(path, **arrays)])
def test_arrays_are_those_that_numpy_reads(tmp_path, save):
    save(tmp_path / "a.npz", ARRAYS)
    ours = read_npz(tmp_path / "a.npz", PayneflowError, "a file")
    with np.load(tmp_path / "a.npz") as theirs:
        assert list(ours) == theirs.files == list(ARRAYS)
        for key, array in ours.items():
            same = theirs[key]
            assert (array.dtype, array.shape) == (same.dtype, same.shape) and (array == same).all(), key
            assert array.flags.f_contiguous == same.flags.f_contiguous and array.flags.writeable, key


def test_a_flipped_bit_of_a_small_array_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, {"matrix": ARRAYS["matrix"]})
    content = bytearray(path.read_bytes())
    place = content.index(np.float64(7.0).tobytes())
    content[place + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(PayneflowError, match=r"a\.npz: matrix: not a readable npz file \(Bad CRC-32"):
        read_npz(path, PayneflowError, "a file")


def test_what_is_no_plain_array_is_left_to_numpy_which_refuses_it(tmp_path):
    np.savez(tmp_path / "objects.npz", one=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("one.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    for name in ("objects", "other"):
        with pytest.raises(PayneflowError, match=f"{name}.npz: one: not a readable npz file"):
            read_npz(tmp_path / f"{name}.npz", PayneflowError, "a file")
