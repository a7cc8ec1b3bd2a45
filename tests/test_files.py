"""Arrays of an npz file: small ones are read without numpy's own reader, and are the same to the last flag.

And files are written whole, over nothing that is none of ours.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from payneflow.errors import PayneflowError, SpectraError
from payneflow.files import SMALL, NpzArchive, check_outputs, is_there, read_list, read_npz, read_small, whole_file
from payneflow.spectra import find_files

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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    ours = read_npz(tmp_path / "a.npz", PayneflowError, "a file")
    with np.load(tmp_path / "a.npz") as theirs:
        assert list(ours) == theirs.files == list(ARRAYS)
        for key, array in ours.items():
            same = theirs[key]
            assert (array.dtype, array.shape) == (same.dtype, same.shape) and (array == same).all(), key
            assert array.flags.f_contiguous == same.flags.f_contiguous and array.flags.writeable, key


def test_a_flipped_bit_of_a_small_array_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, matrix=ARRAYS["matrix"])
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


def test_an_array_of_which_the_header_lies_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, matrix=np.zeros((300, 400)))
    path.write_bytes(path.read_bytes().replace(b"(300, 400)", b"(300, 100)"))
    with pytest.raises(PayneflowError, match=r"matrix takes 960128 bytes; expected 240128 for its shape \(300, 100\)"):
        read_npz(path, PayneflowError, "a file")


def test_rows_of_a_damaged_array_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, matrix=np.arange(120_000.0).reshape(300, 400))
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(70_000.0).tobytes()) + 6] ^= 1
    path.write_bytes(content)
    with NpzArchive(path, PayneflowError, "a file") as archive, pytest.raises(PayneflowError, match="Bad CRC-32"):
        archive.rows("matrix", 0, 1)


# --------------------------------------------------------------------------------------------------- files are written


def write(path, text="new"):
    with whole_file(path) as temporary:
        temporary.write_text(text)


def test_a_link_is_followed_and_permissions_are_kept(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there/a.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    write(link, "first")
    target.chmod(0o640)
    write(link)
    assert link.is_symlink() and target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o640


def test_devices_pipes_and_directories_are_not_overwritten(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("full", "device"), ("directory", "directory"), ("pipe", "pipe")):
        with pytest.raises(PayneflowError, match=f"{name}: a {what}, which is not overwritten"):
            write(tmp_path / name)
        with pytest.raises(PayneflowError, match=f"{name}: a {what}, which is not overwritten"):
            check_outputs([tmp_path / name], [])
    assert (tmp_path / "full").is_symlink() and (tmp_path / "pipe").is_fifo()


def test_a_name_as_long_as_can_be_is_written_and_a_longer_one_is_refused_before_any_work(tmp_path):
    name = "é" * 125 + ".txt"
    check_outputs([tmp_path / name], [])
    write(tmp_path / name)
    assert (tmp_path / name).read_text() == "new"
    with pytest.raises(PayneflowError, match="cannot be written: File name too long"):
        check_outputs([tmp_path / f"a{name}a"], [])


def test_an_output_is_no_input_by_whatever_name(tmp_path):
    (tmp_path / "a.npz").write_text("a")
    (tmp_path / "link").symlink_to("a.npz")
    check_outputs([tmp_path / "b.npz", None], [tmp_path / "a.npz", None])
    with pytest.raises(PayneflowError, match="link: an input of this command"):
        check_outputs([tmp_path / "link"], [tmp_path / "a.npz"])
    with pytest.raises(PayneflowError, match="named for two outputs"):
        check_outputs([tmp_path / "b", tmp_path / "b"], [])


def test_what_a_killed_writer_has_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    code = """
import os, sys, time
from payneflow.files import whole_file
with whole_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(1000)
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.npz")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(writer.stdout.readline().strip()) for writer in writers)
        writers[0].kill()
        writers[0].wait()
        assert killed.exists() and living.exists()
        old = tmp_path / ".b.00000000-1.abcdefgh.npz"  # of another machine
        fresh, other = old.with_name(".b.00000000-2.abcdefgh.npz"), tmp_path / ".config"
        for path in (old, fresh, other):
            path.touch()
        os.utime(old, (0, 0))
        write(tmp_path / "c.txt")
        assert {path.name for path in tmp_path.iterdir()} == {living.name, fresh.name, other.name, "c.txt"}
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_a_list_may_come_from_a_pipe_that_a_shell_opened_and_from_no_other(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PayneflowError, match="pipe: a pipe, no file; expected a list file"):
        read_list(tmp_path / "pipe")
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\n")
    os.close(writing)
    assert read_list(f"/dev/fd/{reading}") == ["a", "b"]
    os.close(reading)


def test_small_files_are_read_whole_or_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "long").write_bytes(b"0123456789")

    def said(name: str) -> str:
        with pytest.raises(PayneflowError) as refused:
            read_small(tmp_path / name, PayneflowError, "some text", most=9)
        return str(refused.value).removeprefix(f"{tmp_path / name}: ")

    assert said("pipe") == "a pipe, no file; expected some text."
    assert said(".") == "a directory; expected some text: name the file inside it."
    assert said("/dev/zero") == "a device, no file; expected some text."
    assert said("nothing") == "no such file; expected some text."
    assert said("loop") == "cannot be read (Too many levels of symbolic links); expected some text."
    assert said("a\0b").startswith("cannot be read (")
    assert said("long").startswith("larger than 0 MB, as no such file is; expected some text")
    assert read_small(tmp_path / "long", PayneflowError, "some text", most=10) == b"0123456789"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a\0b", "zero byte"),
        ("é" * 200, "a name of 400 bytes, 255 are possible"),
        ("a/" * 2100, "4200 bytes, 4095 are"),
    ],
)
def test_a_line_that_no_file_can_be_called_is_refused_and_shown_in_letters(tmp_path, line, says):
    path = tmp_path / "list.txt"
    path.write_text(f"good.npz\n{line}\n")
    with pytest.raises(PayneflowError, match=rf"list.txt: '(a|.xe9).*is no path: it h.*{says}") as refused:
        read_list(path)
    assert str(refused.value).isascii() and len(str(refused.value)) < 700
    with pytest.raises(SpectraError, match=says):
        find_files([line])
    assert not is_there(line)
