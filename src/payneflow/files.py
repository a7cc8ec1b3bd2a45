"""Files are written whole or not at all, and read without surprises.

A file is written under a temporary name of its own in its own directory, flushed to the disk, and renamed: a reader
sees the old file or the new one, never half of one, and two writers at once never mix.
"""

import functools
import hashlib
import io
import math
import os
import platform
import re
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError

SMALL = 2**16  # bytes of an array whose bytes may well be held twice
MOST_HELD = 2**18  # bytes of a file that is read at once
NPY_1 = b"\x93NUMPY\x01\x00"  # how an array of npy version 1.0 begins
LONGEST_HEADER = 10_000  # bytes of an npy header; numpy reads no longer ones
LOCAL_HEADER = 30  # bytes of a zip member's own header before its name; bytes 26 to 29 are two lengths
MOST_PROVED = 2**28  # bytes of an array read by rows whose checksum is worked out first, 0.3 s; larger ones go without
MOST_SMALL = 2**24  # bytes of a file of settings; one of a thousand lines has 2**16
LONGEST_NAME = 255  # bytes of a file's name on all common file systems
LONGEST_PATH = 4095  # bytes of a whole path on Linux
MOST_SHOWN = 60  # letters of a line that is no path
RANDOM_LETTERS = 8  # of the names that mkstemp gives
FORSAKEN = 86400  # seconds since another machine last wrote to a temporary file: its writer has ended
BLOCK = 2**20  # bytes that are read at a time for a checksum


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path`, on any failure it is removed.

    The temporary name keeps the ending of `path`, because many writers choose the format by it, and says who writes:
    what killed writers have left in that directory is removed first. A link is followed; a file that is written anew
    keeps its permissions.
    Raises PayneflowError naming the file where it cannot be written (no permission, disk full), or is no file.
    """
    path = Path(path)
    temporary = None
    try:
        place = Path(os.path.realpath(path))
        mode = _mode_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(place.parent)
        temporary = _temporary_beside(place)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        temporary.replace(place)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise PayneflowError(f"{path}: cannot be written: {reason}. Check permission and free space there.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode_of(path: Path) -> int | None:
    """The permissions of a file that is to be written anew; None where there is none yet.

    Raises PayneflowError where that is no file, or must not be written.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        special = _SPECIAL.get(stat.S_IFMT(mode), "device")
        raise PayneflowError(f"{path}: a {special}, which is not overwritten. Name a file to be written.")
    if not os.access(path, os.W_OK):
        raise PayneflowError(f"{path}: protected from being written. Name another file, or change its permissions.")
    return stat.S_IMODE(mode)


def check_outputs(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise PayneflowError, before any work, where an output cannot be written, or is an input of the same command.

    None stands for a file that the command was not asked for.
    """
    written: set[str] = set()
    read = [Path(one) for one in inputs if one is not None]
    for output in [Path(one) for one in outputs if one is not None]:
        _check_name(output)
        if _mode_of(output) is not None and any(is_there(one) and one.samefile(output) for one in read):
            raise PayneflowError(f"{output}: an input of this command, which it would overwrite. Name another file.")
        if os.path.realpath(output) in written:
            raise PayneflowError(f"{output}: named for two outputs. Name two files.")
        written.add(os.path.realpath(output))


def _check_name(output: Path) -> None:
    try:
        output.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # the name is too long, links go round in a circle, a file for a directory
        reason = getattr(error, "strerror", None) or error
        raise PayneflowError(f"{output}: cannot be written: {reason}. Name another file.") from error


# ------------------------------------------------------------------------------------------------- temporary names


def _temporary_beside(place: Path) -> Path:
    """A new empty file in the same directory, whose name says which process of which machine writes it."""
    writer = f".{_machine()}-{os.getpid()}."
    longest = LONGEST_NAME - len(os.fsencode(f".{writer}{place.suffix}")) - RANDOM_LETTERS
    stem = os.fsencode(place.stem)[: max(longest, 0)].decode("utf-8", "ignore")
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{stem}{writer}", suffix=place.suffix)
    os.close(handle)
    return Path(name)


_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)\.\w{8}(\.[^.]*)?$", re.DOTALL)  # machine, process
_seen: set[Path] = set()


def _remove_left_behind(directory: Path) -> None:
    """Remove temporary files whose writers were killed; a directory is looked through once a process."""
    if directory in _seen:
        return
    _seen.add(directory)
    with os.scandir(directory) as entries:
        found = [(Path(entry), match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for path, match in found:
        with suppress(OSError):  # another process may remove it as well
            if _is_gone(match[1], int(match[2]), path):
                path.unlink(missing_ok=True)


def _is_gone(machine: str, process: int, path: Path) -> bool:
    """Has the writer of a temporary file ended? Of another machine's nothing is known but when it last wrote."""
    if machine != _machine():
        return time.time() - path.stat().st_mtime > FORSAKEN
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


@functools.cache
def _machine() -> str:
    """Eight letters for this machine, and for what of it knows its processes by number: containers do not share it."""
    try:
        processes = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
    except OSError:
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refuse_special(path: str | Path, kind: type[PayneflowError], what: str) -> None:
    """Raise `kind` where `path`, to be read, is a directory, a pipe or a device: `what` is a file that is expected.

    A pipe that nobody writes to would be waited for without end. A path that is not there is left to whoever opens it.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISDIR(mode):
        raise kind(f"{path}: a directory; expected {what}: name the file inside it.")
    if not stat.S_ISREG(mode):
        raise kind(f"{path}: a {_SPECIAL.get(stat.S_IFMT(mode), 'device')}, no file; expected {what}.")


def read_small(path: str | Path, kind: type[PayneflowError], what: str, most: int = MOST_SMALL) -> bytes:
    """All bytes of a file of text that cannot be large: `what` it is, in the messages of `kind` where it is none.

    Raises `kind` for a file that is not there, not readable, no file, or of more than `most` bytes.
    """
    refuse_special(path, kind, what)
    try:
        with open(path, "rb") as stream:
            content = stream.read(most + 1)
    except FileNotFoundError:
        raise kind(f"{path}: no such file; expected {what}.") from None
    except (OSError, ValueError) as error:  # no permission, links in a circle; a name with a zero byte
        raise kind(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); expected {what}.") from None
    if len(content) > most:
        raise kind(f"{path}: larger than {most // 2**20} MB, as no such file is; expected {what}.")
    return content


_OF_THIS_PROCESS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # pipes that a shell has opened, with a writer
_SPECIAL = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFDIR: "directory"}


def write_list(path: str | Path, paths: Iterable[str | Path]) -> None:
    """Write a list file: one path a line, UTF-8, without quotes; whole or not at all.

    Raises PayneflowError for a path with a line break, which such a file cannot hold.
    """
    lines = [str(one) for one in paths]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise PayneflowError(f"{line!r}: a line break in a path cannot be written to a list file. Rename it.")
    with whole_file(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def read_list(path: str | Path) -> list[str]:
    """The paths of a list file, one a line as they stand; empty lines count for nothing.

    Raises PayneflowError where the file cannot be read or holds no path.
    """
    what = "a list file: one path a line"
    if not str(path).startswith(_OF_THIS_PROCESS):
        refuse_special(path, PayneflowError, what)
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise PayneflowError(f"{path}: {error.strerror}; expected {what}.") from None
    paths = [line.removesuffix("\r") for line in text.split("\n")]
    paths = [line for line in paths if line.strip()]
    if not paths:
        raise PayneflowError(f"{path}: holds no path; expected {what}.")
    for line in paths:
        if problem := no_path(line):
            raise PayneflowError(f"{path}: {_beginning(line)} is no path: {problem}; expected {what}.")
    return paths


def _beginning(text: str) -> str:
    """The first letters of a text that may be anything."""
    return ascii(text[:MOST_SHOWN]) + ("..." if len(text) > MOST_SHOWN else "")


def no_path(text: str) -> str:
    """Why no file can have this path, before a system is asked that raises an error; "" where one can."""
    path = os.fsencode(text)
    if b"\0" in path:
        return "it holds a zero byte"
    if (longest := max(map(len, path.split(b"/")))) > LONGEST_NAME:
        return f"it holds a name of {longest} bytes, {LONGEST_NAME} are possible"
    return f"it has {len(path)} bytes, {LONGEST_PATH} are possible" if len(path) > LONGEST_PATH else ""


def is_there(path: str | Path) -> bool:
    """Is there a file, or anything else, at this path? Of one that none can have Path.exists raises OSError."""
    return os.path.exists(path)  # noqa: PTH110


@dataclass(frozen=True)
class ArrayHeader:
    """What an npz file says of an array before the array is read.

    `fortran`: whether the first index runs fastest; `begin`: bytes of the header itself; `stored`: bytes of header and
    array together, before any compression; `compressed`: whether they are.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    begin: int
    stored: int
    compressed: bool


class NpzArchive:
    """An npz file that is open: its arrays by key, whole or by rows, and their headers; nothing is ever unpickled.

    `what` names such a file in the messages of `kind` that a missing, damaged or pickled one raises.
    """

    def __init__(self, path: str | Path, kind: type[PayneflowError], what: str):
        self.path, self._kind, self._what = Path(path), kind, what
        refuse_special(self.path, kind, what)
        with self._problems_said():
            self._stream = open(self.path, "rb")  # noqa: SIM115 - closed by close()
        try:
            with self._problems_said():
                self._archive = self._opened()
        except BaseException:
            self._stream.close()
            raise
        self._members = {info.filename.removesuffix(".npy"): info for info in self._archive.infolist()}
        self._headers: dict[str, ArrayHeader] = {}
        self._proved: set[str] = set()
        self._held: bytes | None = None

    def _opened(self) -> zipfile.ZipFile:
        if not self._stream.read(1):
            raise self._kind(f"{self.path}: the file is empty; expected {self._what}.")
        if not zipfile.is_zipfile(self._stream):
            raise self._kind(
                f"{self.path}: not an npz file, or a truncated one; expected {self._what}, as np.savez writes it."
            )
        self._size = self._stream.seek(0, os.SEEK_END)
        return zipfile.ZipFile(self._stream)

    def __enter__(self) -> "NpzArchive":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._archive.close()
        self._stream.close()

    def keys(self) -> list[str]:
        return list(self._members)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def member(self, key: str) -> zipfile.ZipInfo:
        """What the directory of the archive says of the array `key`: sizes and checksum, among others."""
        return self._members[key]

    def is_small(self, key: str) -> bool:
        """Is this array so small, and stored as it is, that reading it takes no memory to speak of?"""
        member = self._members[key]
        return member.compress_type == zipfile.ZIP_STORED and member.file_size <= SMALL and not member.flag_bits & 1

    def read(self, key: str) -> np.ndarray:
        """The array `key`, whole. Its bytes are proved by the checksum of the archive."""
        try:
            array = self._read_small(key)
            return self._read_any(key) if array is None else array
        except Exception as error:  # thousands of chunks have thirty arrays each: a context manager takes its time
            with self._problems_said(key):
                raise error

    def _read_any(self, key: str) -> np.ndarray:
        self.header(key)  # proves that what follows reads all bytes, to the end of which zipfile knows their checksum
        with self._archive.open(self._members[key]) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def _read_small(self, key: str) -> np.ndarray | None:
        """A small plain array as numpy reads it, in a tenth of the time; None where it is anything else."""
        if not self.is_small(key):
            return None
        member = self._members[key]
        content = self._bytes(self._data_offset(member), member.file_size)
        if zlib.crc32(content) != member.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")
        if content[:8] != NPY_1:
            return None
        begin = 10 + int.from_bytes(content[8:10], "little")
        shape, fortran, dtype = _parse_npy_1(content[:begin])
        size = math.prod(shape)
        if dtype.hasobject or size * dtype.itemsize != len(content) - begin or min(shape, default=1) < 1:
            return None
        flat = np.frombuffer(content, dtype, size, begin).copy()
        return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)

    def header(self, key: str) -> ArrayHeader:
        """What the header of the array `key` says; the array is not read. It has as many bytes as that says."""
        if key not in self._headers:
            try:
                header = self._read_header(self._members[key])
            except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
                raise self._kind(
                    f"{self.path}: {key}: not a readable array ({error}). Is the file truncated? Make it again."
                ) from error
            self._check_size(key, header)
            self._headers[key] = header
        return self._headers[key]

    def _read_header(self, member: zipfile.ZipInfo) -> ArrayHeader:
        with self._archive.open(member) as stream:
            # Versions above 1.0 have a longer length field; 3.0 differs from 2.0 by non-ASCII field names only.
            begin = stream.read(len(NPY_1))
            width, read = (2, np.lib.format.read_array_header_1_0)
            if begin != NPY_1:
                np.lib.format.read_magic(io.BytesIO(begin))
                width, read = (4, np.lib.format.read_array_header_2_0)
            length = stream.read(width)
            if int.from_bytes(length, "little") > LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = length + stream.read(int.from_bytes(length, "little"))
            shape, fortran, dtype = read(io.BytesIO(header))
            compressed = member.compress_type != zipfile.ZIP_STORED
            return ArrayHeader(shape, fortran, dtype, len(begin) + len(header), member.file_size, compressed)

    def _check_size(self, key: str, header: ArrayHeader) -> None:
        """Refuse an array whose header and directory differ in size, or that ends behind the end of the file."""
        if header.dtype.hasobject:  # never read; whoever asks for it is told so
            return
        expected = header.begin + math.prod(header.shape) * header.dtype.itemsize
        if header.stored != expected or min(header.shape, default=0) < 0:
            raise self._kind(
                f"{self.path}: {key} takes {header.stored} bytes; expected {expected} for its shape {header.shape} "
                f"and dtype {header.dtype}. Is the file damaged? Make it again."
            )
        if not header.compressed and self._data_offset(self._members[key]) + header.stored > self._size:
            raise self._kind(f"{self.path}: {key} ends behind the end of the file. Is it truncated? Make it again.")

    def has_rows_in_place(self, key: str) -> bool:
        """Does each row of the array lie at a known place of the file, so that `rows` can read it alone?"""
        header = self.header(key)
        return not header.compressed and not (header.fortran and len(header.shape) > 1)

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        """Rows `first` ... `last` - 1 of an array whose rows lie in place; nothing else of it is read."""
        header = self.header(key)
        self._prove(key)
        length = math.prod(header.shape[1:])
        self._stream.seek(self._data_offset(self._members[key]) + header.begin + first * length * header.dtype.itemsize)
        array = np.fromfile(self._stream, header.dtype, (last - first) * length)
        if array.size != (last - first) * length:
            raise self._kind(f"{self.path}: {key} ends before row {last}. Was the file changed meanwhile?")
        return array.reshape(last - first, *header.shape[1:])

    def _prove(self, key: str) -> None:
        """Compare the bytes of an array that is read by rows with their checksum, once, unless that takes too long."""
        if key in self._proved or self._members[key].file_size > MOST_PROVED:
            return
        with self._problems_said(key), self._archive.open(self._members[key]) as stream:
            while stream.read(BLOCK):
                pass
        self._proved.add(key)

    def row(self, key: str, row: int) -> np.ndarray:
        """One row of an array, read alone where that is possible."""
        return self.rows(key, row, row + 1)[0] if self.has_rows_in_place(key) else self.read(key)[row]

    def _data_offset(self, member: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: after its local header, whose extra field the directory does not know."""
        header = self._bytes(member.header_offset, LOCAL_HEADER)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return member.header_offset + LOCAL_HEADER + lengths

    def _bytes(self, first: int, n: int) -> bytes:
        """`n` bytes of the file; a small file is held as a whole."""
        if self._size > MOST_HELD:
            self._stream.seek(first)
            return self._stream.read(n)
        if self._held is None:
            self._stream.seek(0)
            self._held = self._stream.read()
        return self._held[first : first + n]

    @contextmanager
    def _problems_said(self, key: str | None = None) -> Iterator[None]:
        """Raise whatever goes wrong as an error of the kind asked for, naming the file and the array `key`."""
        path, what = self.path, self._what
        try:
            yield
        except PayneflowError:
            raise
        except FileNotFoundError as error:
            raise self._kind(f"{path}: no such file; expected {what}.") from error
        except PermissionError as error:
            raise self._kind(f"{path}: no permission to read {what}.") from error
        except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
            place = path if key is None else f"{path}: {key}"
            raise self._kind(
                f"{place}: not a readable npz file ({error}); expected {what}. Is the file truncated?"
            ) from error


@functools.lru_cache(maxsize=1024)
def _parse_npy_1(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type that a header of npy version 1.0 says; thousands of chunks have the same."""
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    return np.lib.format.read_array_header_1_0(stream)


def read_npz(
    path: str | Path, kind: type[PayneflowError], what: str, keys: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Read every array of an npz file, or only those of `keys` that it holds; see `NpzArchive`."""
    with NpzArchive(path, kind, what) as archive:
        wanted = archive.keys() if keys is None else [key for key in keys if key in archive]
        return {key: archive.read(key) for key in wanted}


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
