"""What becomes of damaged and wrong files: every file that payneflow reads, changed in all ways, and its command.

    python benchmarks/mutations.py [--number 10000] [--seed 0] [--file NAME ...] [--show wrong traceback hang]

Each mutation changes one file of a small run: cut off, a bit flipped, a key missing or renamed, an array of another
type, shape or value, a header that lies, an archive that swells, a directory, a pipe or a link in its place; and of
text, lines that are missing, doubled or changed; of settings, bombs of aliases, nesting, tags; of FITS, cards of
headers; of HDF5, datasets. Then the command that reads the file runs in this process:

right       it ended well, with what comes of the file unharmed
error       it ended with status 2 and a message that names the file, of at most a screen
other       it ended well with something else, which is no fault: values of a user's own file, or of one of payneflow's
            whose checksum was made anew, are what they say
wrong       it ended well with something else, though the file was damaged
unclear     it ended with a message that does not name the file, or is longer than a screen
traceback   it ended with any other exception
hang        it used a minute of processor time, without that of compiling kernels, or did nothing for two: neither is
            more on a machine that has other work

tests/test_mutations.py runs some of each in the test suite.
"""

import argparse
import bz2
import contextlib
import functools
import gzip
import io
import itertools
import json
import lzma
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # which spin while they wait, at twice the processor time

import numpy as np
from numba.core.event import Listener, register

from payneflow import cli
from payneflow.chunks.progress_file import Progress
from payneflow.settings import SgdSettings, settings_record
from payneflow.stored_arrays import CHECKSUM, VERSION, write_arrays

OUTCOMES = ("right", "error", "other", "wrong", "unclear", "traceback", "hang")
FAULTS = ("wrong", "unclear", "traceback", "hang")
PATIENCE = 60  # seconds of processor time
IDLE = 120  # seconds in which a command that waits for nothing uses some processor time, however busy the machine
LOOK = 5  # seconds between two looks at these
MEMORY = 12 * 2**30  # bytes of addresses: what asks for more gets an error, and the machine lives on
SCREEN = 25  # lines of a message
GZIP = b"\x1f\x8b"
BOMB = 2**27  # bytes that a compressed array of half a megabyte inflates to


# --------------------------------------------------------------------------------------------------------- mutations


@dataclass(frozen=True)
class Mutation:
    """A change of a file, which `make` makes in place; `harm`: is the file damaged by it, or another true one?"""

    name: str
    make: Callable[[Path, np.random.Generator], None]
    harm: bool = True


def cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content)))])


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def empty(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def noise(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(1, 4000))))


def directory(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to(path.name)


def device(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def gone(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


OF_ANY = [Mutation(one.__name__, one) for one in (cut, cut, flip, flip, flip, empty, noise, directory, pipe, loop)]
OF_ANY += [Mutation("device", device), Mutation("gone", gone)]


# ---------------------------------------------------------------------------------------------- of archives of arrays


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


def any_key(arrays: dict, rng: np.random.Generator, *kinds: str) -> str:
    keys = [key for key in arrays if key != CHECKSUM and (not kinds or arrays[key].dtype.kind in kinds)]
    return keys[rng.integers(len(keys))]


def without_key(arrays, rng):
    arrays.pop(any_key(arrays, rng))


def renamed_key(arrays, rng):
    key = any_key(arrays, rng)
    arrays[f"{key}s"] = arrays.pop(key)


def exchanged_keys(arrays, rng):
    a, b = any_key(arrays, rng), any_key(arrays, rng)
    arrays[a], arrays[b] = arrays[b], arrays[a]


def other_type(arrays, rng):
    key = any_key(arrays, rng)
    values = arrays[key]
    to = ("f2", "f4", "i8", "u1", "U", "S", "bool", "c16", "M8[s]", ">f8", "f8", "V8")[rng.integers(12)]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[key] = values.astype(to)
    except (TypeError, ValueError):
        arrays[key] = np.zeros(values.shape, to)


def other_shape(arrays, rng):
    key = any_key(arrays, rng)
    values = arrays[key]
    ways = [values[None], values.ravel(), values.T, values[..., None], np.empty((0, *values.shape[1:]), values.dtype)]
    if values.ndim and len(values):
        ways += [values[:-1], values[1:], np.concatenate([values, values]), values[0]]
    arrays[key] = ways[rng.integers(len(ways))]


def other_numbers(arrays, rng):
    key = any_key(arrays, rng, "f", "i", "b")
    values = np.array(arrays[key])
    if values.dtype.kind == "f":
        special = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300, 5e-324, 1e9)
    else:
        special = (0, 1, -1, 2**31, 2**62, -(2**63), 10**6)
    with np.errstate(all="ignore"):
        value = np.array(special[rng.integers(len(special))]).astype(values.dtype)
    if rng.integers(2) and values.size:
        values.flat[rng.integers(values.size)] = value
    else:
        values[...] = value
    arrays[key] = values


def other_order(arrays, rng):
    key = any_key(arrays, rng)
    values = arrays[key]
    arrays[key] = values[rng.permutation(len(values))] if values.ndim else values


def other_text(arrays, rng):
    key = any_key(arrays, rng, "U") if any(one.dtype.kind == "U" for one in arrays.values()) else any_key(arrays, rng)
    text = ("", "a", "é" * 100, "a\nb", "\x1b[31m", "{", "[[[[" * 5000, "nan", '{"a": 1}', "\ud800", "9" * 400)
    arrays[key] = np.full(arrays[key].shape, text[rng.integers(len(text))])


EDITS = (without_key, renamed_key, exchanged_keys, other_type, other_shape, other_numbers, other_order, other_text)


def edited(edit: Callable, sealed: bool) -> Callable[[Path, np.random.Generator], None]:
    """The arrays changed by `edit` and written again; `sealed`: with a checksum of their own."""

    def make(path: Path, rng: np.random.Generator) -> None:
        arrays = arrays_of(path)
        edit(arrays, rng)
        (write_arrays if sealed else save)(path, arrays)

    return make


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def pickled(path: Path, rng: np.random.Generator) -> None:
    arrays = arrays_of(path)
    arrays[any_key(arrays, rng)] = np.array([{}, None], dtype=object)
    save(path, arrays)


def unknown_bomb(path: Path, rng: np.random.Generator) -> None:
    """A key that nobody asked for, which swells."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        add_bomb(archive, "unknown.npy", (BOMB // 8,))


def known_bomb(path: Path, rng: np.random.Generator) -> None:
    arrays = arrays_of(path)
    key = any_key(arrays, rng)
    lengths = arrays.pop(key).shape
    save(path, arrays)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        shape = (BOMB // 8 // max(1, int(np.prod(lengths[1:]))), *lengths[1:])
        add_bomb(archive, f"{key}.npy", shape)


def add_bomb(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> None:
    with archive.open(name, "w", force_zip64=True) as stream:
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        left, block = 8 * int(np.prod(shape)), bytes(2**20)
        while left > 0:
            stream.write(block[: min(left, len(block))])
            left -= len(block)


def lying_header(path: Path, rng: np.random.Generator) -> None:
    """A member whose header says another shape or type than its bytes have, with the CRC of what it is."""
    arrays = arrays_of(path)
    key = any_key(arrays, rng)
    shapes = [(2**40,), (2**62, 4), (-1,), (0,), (1, 1), arrays[key].shape[::-1], (*arrays[key].shape, 2)]
    save(path, {name: array for name, array in arrays.items() if name != key})
    stream = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(arrays[key].dtype),
        "fortran_order": bool(rng.integers(2)),
        "shape": shapes[rng.integers(len(shapes))],
    }
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{key}.npy", stream.getvalue() + arrays[key].tobytes())


def other_archive(path: Path, rng: np.random.Generator) -> None:
    """A true npz file, of something else."""
    save(path, {"a": np.zeros(3), "wavelength": np.arange(5.0)})


def compressed(path: Path, rng: np.random.Generator) -> None:
    """The same arrays, compressed: that is not harmful, and all the same to payneflow."""
    arrays = arrays_of(path)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


OF_ARRAYS = [
    *OF_ANY,
    *(Mutation(edit.__name__, edited(edit, sealed=False)) for edit in EDITS),
    *(Mutation(f"{edit.__name__}_sealed", edited(edit, sealed=True), harm=False) for edit in EDITS),
    *(Mutation(one.__name__, one) for one in (pickled, unknown_bomb, known_bomb, lying_header, other_archive)),
    Mutation("compressed", compressed),
]


# ------------------------------------------------------------------------------------------------------------ of text


def of_lines(change: Callable[[list[str], np.random.Generator], None]) -> Callable[[Path, np.random.Generator], None]:
    def make(path: Path, rng: np.random.Generator) -> None:
        lines = path.read_text(encoding="utf-8").split("\n")
        change(lines, rng)
        path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")

    return make


def line_gone(lines, rng):
    del lines[rng.integers(len(lines))]


def line_twice(lines, rng):
    place = int(rng.integers(len(lines)))
    lines.insert(place, lines[place])


def word_changed(lines, rng):
    place = int(rng.integers(len(lines)))
    words = lines[place].split(" ")
    other = (
        "nan",
        "inf",
        "-1",
        "1e400",
        "text",
        '"',
        "",
        "é",
        "[1",
        "!!python/name:os.system",
        "\x00",
        "99999999999999",
    )
    words[rng.integers(len(words))] = other[rng.integers(len(other))]
    lines[place] = " ".join(words)


def lines_exchanged(lines, rng):
    a, b = rng.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a]


OF_TEXT = [
    *OF_ANY,
    *(Mutation(one.__name__, of_lines(one)) for one in (line_gone, line_twice, word_changed, lines_exchanged)),
]


# -------------------------------------------------------------------------------------------------------- of settings

VALUES = (
    "nan",
    "1e400",
    "-1",
    "[1]",
    "{a: 1}",
    "~",
    "9" * 400,
    "'a b'",
    "true",
    "2024-13-45",
    "'\\0'",
    "a: b",
    "::0",
    "&a",
)
VALUES += (
    "x" * 5000,
    "[[[[",
    "!!python/object/apply:os.getcwd []",
    "!!binary a",
    "1:2:3",
    "*a",
    "0x",
    "1e-320",
    "[[1]]",
)


def value_changed(lines, rng):
    places = [place for place, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    place = places[rng.integers(len(places))]
    lines[place] = f"{lines[place].partition(': ')[0]}: {VALUES[rng.integers(len(VALUES))]}"


def name_changed(lines, rng):
    places = [place for place, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    place = places[rng.integers(len(places))]
    name, colon, value = lines[place].partition(":")
    lines[place] = f"{(name + 's', '1', '[1]', '{}', '<<', name[:-1], ' ' + name)[rng.integers(7)]}{colon}{value}"


def alias_bomb(lines, rng):
    lines.append("a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]")
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
    value = ("*a12", "&b [*b]", "&b {a: *b}")[rng.integers(3)]
    places = [place for place, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    place = places[rng.integers(len(places))]
    lines.append(f"{lines[place].partition(': ')[0].strip()}: {value}")


def deep_nesting(lines, rng):
    lines.append("a: " + ("[", "{a: ", "- ", "? ")[rng.integers(4)] * int(rng.integers(40, 3000)))


def no_utf8(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    place = int(rng.integers(len(content)))
    junk = (b"\xe9", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\x85", b"\t")[rng.integers(6)]
    path.write_bytes(content[:place] + junk + content[place:])


def utf16(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


OF_SETTINGS = [
    *OF_TEXT,
    *(Mutation(one.__name__, of_lines(one)) for one in (value_changed, value_changed, name_changed, alias_bomb)),
    Mutation("deep_nesting", of_lines(deep_nesting)),
    Mutation("no_utf8", no_utf8),
    Mutation("utf16", utf16),
]


# ---------------------------------------------------------------------------------------------------- of FITS and HDF5


def opened_anyhow(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(GZIP) else content


def written_likewise(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, 1) if path.read_bytes().startswith(GZIP) else content)


def card_changed(path: Path, rng: np.random.Generator) -> None:
    """One card of a header says another thing."""
    content = bytearray(opened_anyhow(path))
    cards = [i for i in range(0, len(content) - 80, 80) if content[i + 8 : i + 10] == b"= "]
    place = cards[rng.integers(len(cards))]
    others = (
        "10000000000",
        "-1",
        "0",
        "'text'",
        "1E400",
        "T",
        "7",
        "1000000",
        "",
        "'1PE(3)'",
        "NaN",
        "99999999999999999999",
    )
    content[place + 10 : place + 80] = f"{others[rng.integers(len(others))]:>20}".encode().ljust(70)
    written_likewise(path, bytes(content))


def card_gone(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(opened_anyhow(path))
    cards = [i for i in range(0, len(content) - 80, 80) if content[i + 8 : i + 10] == b"= "]
    place = cards[rng.integers(len(cards))]
    content[place : place + 80] = b" " * 80
    written_likewise(path, bytes(content))


def packed_bomb(path: Path, rng: np.random.Generator) -> None:
    """A compressed file that swells to a header and zeros without end."""
    cards = ("SIMPLE  = T", "BITPIX  = -64", "NAXIS   = 1", f"NAXIS1  = {BOMB // 8}", "END")
    header = "".join(f"{card:<80}" for card in cards)
    path.write_bytes(packed_once(int(rng.integers(3)), header))


@functools.cache
def packed_once(way: int, header: str) -> bytes:
    return (gzip.compress, bz2.compress, lzma.compress)[way](header.encode().ljust(2880) + bytes(BOMB))


def dataset_changed(path: Path, rng: np.random.Generator) -> None:
    """One dataset of an HDF5 file is something else."""
    import h5py

    with h5py.File(path, "r+") as file:
        names = list(file)
        name = names[rng.integers(len(names))]
        values = file[name][()]
        del file[name]
        ways = (
            lambda: file.create_group(name),
            lambda: file.create_dataset(name, (10**10,), "f8", chunks=True),
            lambda: file.create_dataset(name, (10**9, *values.shape[-1:]), "f4", chunks=True, compression="gzip"),
            lambda: file.update({name: h5py.SoftLink("/nothing")}),
            lambda: file.update({name: h5py.SoftLink(f"/{name}")}),
            lambda: file.update({name: h5py.ExternalLink("nowhere.h5", "/flux")}),
            lambda: file.update({name: h5py.Empty("f8")}),
            lambda: file.update({name: "text"}),
            lambda: file.update({name: values.T[..., None]}),
            lambda: file.update({name: values[:-1]}),
            lambda: file.update({name: values.astype("c16" if values.dtype.kind == "f" else "S2")}),
            lambda: file.update({name: np.zeros(values.shape, [("a", "f8"), ("b", "f8")])}),
            lambda: None,
        )
        ways[rng.integers(len(ways))]()


def dataset_numbers(path: Path, rng: np.random.Generator) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        arrays = {name: file[name][()] for name in file if file[name].dtype.kind in "fi"}
        other_numbers(arrays, rng)
        for name, values in arrays.items():
            file[name][...] = values


OF_FITS = [*OF_ANY, *[Mutation("card_changed", card_changed)] * 4, Mutation("card_gone", card_gone)]
OF_FITS += [Mutation("packed_bomb", packed_bomb)]
OF_HDF5 = [
    *OF_ANY,
    *[Mutation("dataset_changed", dataset_changed)] * 3,
    *[Mutation("dataset_numbers", dataset_numbers)] * 2,
]


# ------------------------------------------------------------------------------------------------- files and commands


NPZ, PLAIN = "npz", "plain"
_OTHER_FILES = {edit.__name__ for edit in EDITS} | {"other_archive", "pickled", "known_bomb", "lying_header"}


@dataclass(frozen=True)
class Target:
    """A file of the run, its mutations, and what is done with it: `run` writes to a directory, which is then compared.

    `foreign`: a user's own file, whose values and types are what they say: NPZ, whose bytes zip proves, or PLAIN, which
    nothing proves. `named`: what a message may name in its place.
    """

    name: str
    path: Path
    mutations: list[Mutation]
    run: Callable[[Path], int]
    foreign: str = ""
    named: str = ""
    every: int = 1  # round of mutations tries it: what comes of it may take a second

    def is_harmed_by(self, mutation: Mutation) -> bool:
        """Is something else that comes of the file a fault, rather than what another true file says?"""
        if self.foreign == NPZ:
            return mutation.harm and mutation.name not in _OTHER_FILES
        return mutation.harm and not self.foreign

    @property
    def names(self) -> tuple[str, ...]:
        return (self.path.name, *([self.named] if self.named else []))


def contents(directory: Path) -> dict[str, object]:
    """All that a command has written: of archives the arrays, but for times, versions and checksums."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.suffix == ".npz":
            for key, array in arrays_of(path).items():
                if key not in ("seconds", "grid_sha256", "provenance", CHECKSUM, VERSION):
                    found[f"{name}:{key}"] = (array.dtype.str, array.shape, array.tobytes())
        elif path.suffix in (".ecsv", ".json", ".txt"):
            found[name] = [line for line in path.read_text(encoding="utf-8").split("\n") if "sha256" not in line]
        elif path.suffix == ".png":
            found[name] = path.read_bytes()
    return found


class Hang(BaseException):
    """A command has not ended in time; not an Exception, so that no command takes it for one of its own."""


class Clock(Listener):
    """Processor seconds of this process, without `compiled`, those in which numba compiled."""

    def __init__(self):
        self._depth, self._begin, self.compiled = 0, 0.0, 0.0

    def on_start(self, event) -> None:
        if not self._depth:
            self._begin = time.process_time()
        self._depth += 1

    def on_end(self, event) -> None:
        self._depth -= 1
        if not self._depth:
            self.compiled += time.process_time() - self._begin

    def seconds(self) -> float:
        return (self._begin if self._depth else time.process_time()) - self.compiled


CLOCK = Clock()
register("numba:compile", CLOCK)


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Raise Hang in what runs for PATIENCE, or does nothing for IDLE."""
    begin, used, at = CLOCK.seconds(), time.process_time(), time.monotonic()

    def look(*_) -> None:
        nonlocal used, at
        if time.process_time() > used + 0.01:
            used, at = time.process_time(), time.monotonic()
        if CLOCK.seconds() - begin > PATIENCE or time.monotonic() - at > IDLE:
            raise Hang

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(target: Target, scratch: Path, expected: dict, harm: bool) -> tuple[str, str]:
    """What becomes of the command as the file is now: one of OUTCOMES, and what was said."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    said = io.StringIO()
    try:
        with patience(), warnings.catch_warnings(), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()):
                status = target.run(scratch)
    except Hang:
        return "hang", said.getvalue()
    except SystemExit as error:
        status = error.code
    except BaseException:
        return "traceback", traceback.format_exc()
    text = said.getvalue()
    if status == 0:
        if contents(scratch) == expected:
            return "right", text
        return ("wrong" if harm else "other"), text
    # what training says of its progress comes before the message
    message = text[text.find("payneflow ") :] if "payneflow " in text else text
    clear = (
        any(name in message for name in target.names)
        and len(message.splitlines()) <= SCREEN
        and len(message) <= 2 * 80 * SCREEN + 100
    )
    return ("error" if clear else "unclear"), text


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Trial:
    """A mutation of a file that was tried, and what became of it."""

    file: str
    mutation: str
    seed: int
    outcome: str
    said: str
    seconds: float


class Bench:
    """A small run in a directory: its files are mutated one after another, and are what they were afterwards."""

    def __init__(self, directory: Path, with_fits: bool):
        self.directory, self._scratch = directory, directory / "scratch"
        self.targets = {one.name: one for one in make_targets(directory, with_fits)}
        self._expected: dict[str, dict] = {}

    def expected(self, target: Target) -> dict:
        """What comes of the file unharmed."""
        if target.name not in self._expected:
            found, said = outcome(target, self._scratch, {}, harm=True)
            assert found in ("wrong", "right"), f"{target.name}: {said}"
            self._expected[target.name] = contents(self._scratch)
            again, said = outcome(target, self._scratch, self._expected[target.name], harm=True)
            assert again == "right", f"{target.name} is not the same twice: {said}"
        return self._expected[target.name]

    def try_one(self, name: str, mutation: Mutation, seed: int) -> Trial:
        target, begin = self.targets[name], time.monotonic()
        expected, whole = self.expected(target), target.path.read_bytes()
        try:
            mutation.make(target.path, np.random.default_rng(seed))
            found, said = outcome(target, self._scratch, expected, target.is_harmed_by(mutation))
        finally:
            remove(target.path)
            target.path.write_bytes(whole)
        return Trial(name, mutation.name, seed, found, said, time.monotonic() - begin)


SGD = ["--trainer", "sgd", "--num-epochs", "200", "--trial-epochs", "200", "--max-iter", "2"]
N_PIXEL, N_SPECTRUM = 16, 60


def write_grid(path: Path) -> None:
    """Three labels, lines whose depth depends smoothly on them, in the published layout."""
    rng = np.random.default_rng(0)
    labels = rng.uniform([4000.0, 1.0, -2.0], [6500.0, 5.0, 0.5], (N_SPECTRUM, 3))
    unit = (labels - [4000.0, 1.0, -2.0]) / [2500.0, 4.0, 2.5]
    flux = 1.0 - rng.uniform(0.02, 0.4, N_PIXEL) * np.exp(-unit @ rng.uniform(0.0, 3.0, (3, N_PIXEL)))
    np.savez(
        path,
        wavelength=15000.0 + 0.2 * np.arange(N_PIXEL),
        Y_u_all=flux.astype(np.float32),
        labels_array=labels.T,
        label_names=np.array(["Teff", "logg", "[Fe/H]"]),
        label_units=np.array(["K", "dex", "dex"]),
    )


def run(*arguments) -> int:
    return cli.main([str(one) for one in arguments])


def well(*arguments) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = run(*arguments)
    assert status == 0, said.getvalue()


def make_targets(directory: Path, with_fits: bool) -> list[Target]:
    """The files of a small run, made by its commands. `with_fits`: also what asks for the kernels of fits."""
    grid, network = directory / "the_grid.npz", directory / "the_network.npz"
    write_grid(grid)
    well("split", grid, "--chunk-size", N_PIXEL // 2, "--output", directory / "chunks", *SGD)
    chunks = sorted((directory / "chunks").glob("*.npz"))
    trained = [directory / "trained" / chunk.name for chunk in chunks]
    for chunk, output in zip(chunks, trained, strict=True):
        well("train", chunk, "--output", output)
    record = directory / "the_record.ecsv"
    well("gather", *trained, "--network", network, "--record", record)
    evaluation = directory / "the_evaluation.npz"
    well("evaluate", network, grid, "--output", evaluation)
    a_list = directory / "the_list.txt"
    a_list.write_text("".join(f"{path}\n" for path in trained))

    def gather(to: Path, *given) -> int:
        return run("gather", *given, "--network", to / "network.npz", "--record", to / "record.ecsv")

    targets = [
        Target("grid", grid, OF_ARRAYS, lambda to: run("check", grid, "--summary", to / "a.json"), foreign=NPZ),
        Target("grid, split", grid, OF_ARRAYS, lambda to: run("split", grid, "--output", to, *SGD), foreign=NPZ),
        Target("chunk", chunks[0], OF_ARRAYS, lambda to: run("train", chunks[0], "--output", to / "a.npz")),
        checkpoint_target(directory, chunks[0]),
        Target("trained chunk", trained[0], OF_ARRAYS, lambda to: gather(to, *trained), named=": this chunk "),
        Target("list", a_list, OF_TEXT, lambda to: gather(to, "--list", a_list), PLAIN, "chunk"),
        Target(
            "network",
            network,
            OF_ARRAYS,
            lambda to: run("evaluate", network, grid, "--output", to / "a.npz"),
            named=grid.name,
        ),
        *targets_of_grids(directory, grid),
        *targets_of_settings(directory, grid, record),
        *figures_of(("flux_deviation", evaluation), ("flux_prediction", evaluation), ("training_summary", record)),
    ]
    return targets + (targets_of_fits(directory, network, grid) if with_fits else [])


def checkpoint_target(directory: Path, chunk: Path) -> Target:
    """A checkpoint is never an error: one that is not used costs time only."""
    output = directory / "resumed" / "a.npz"
    checkpoint = output.with_name("a.checkpoint.npz")
    well("train", chunk, "--output", output, "--keep-checkpoint")

    def train(to: Path) -> int:
        if checkpoint.is_file() and not checkpoint.is_symlink():
            shutil.copy(checkpoint, to / "a.checkpoint.npz")
        elif checkpoint.is_dir():
            (to / "a.checkpoint.npz").mkdir()
        elif checkpoint.is_fifo():
            os.mkfifo(to / "a.checkpoint.npz")
        status = run("train", chunk, "--output", to / "a.npz")
        remove(to / "a.checkpoint.npz")
        return status

    return Target("checkpoint", checkpoint, OF_ARRAYS, train)


def targets_of_grids(directory: Path, grid: Path) -> list[Target]:
    """The grid in HDF5, with flux on a scale of its own."""
    import h5py

    path = directory / "the_grid.h5"
    with h5py.File(path, "w") as file:
        for key, array in arrays_of(grid).items():
            file[key] = array.astype("S") if array.dtype.kind == "U" else array
    check = ("check", path, "--flux-scale", "grid")
    return [Target("grid, hdf5", path, OF_HDF5, lambda to: run(*check, "--summary", to / "a.json"), PLAIN)]


def targets_of_settings(directory: Path, grid: Path, record: Path) -> list[Target]:
    """What plan and status read: settings, a profile, a training record, and what a job says of itself."""
    config, profile = directory / "config.yaml", directory / "profile" / "the_profile.yaml"
    sgd = dict(zip((one[2:].replace("-", "_") for one in SGD[::2]), SGD[1::2], strict=True))
    values = {"grid": str(grid), "results": str(directory / "results"), "chunk_size": str(N_PIXEL // 2)}
    lines = (Path(__file__).parents[1] / "config.yaml").read_text(encoding="utf-8").split("\n")
    for i, line in enumerate(lines):
        name, _, said = line.partition(":")
        value = (values | sgd).get(name.strip())
        if said and value is not None:
            lines[i] = f"{name}: {value}"
    config.write_text("\n".join(lines), encoding="utf-8")
    profile.parent.mkdir()
    profile.write_text((Path(__file__).parents[1] / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    whole_config = directory / "whole_config.yaml"
    shutil.copy(config, whole_config)
    job = directory / "results/trained/pixel00-07.progress.json"
    job.parent.mkdir(parents=True)
    settings = SgdSettings(**{name: int(value) for name, value in sgd.items() if name != "trainer"})
    progress = Progress("pixel00-07", settings_record("sgd", settings, 0), N_PIXEL // 2, 3)
    job.write_text(json.dumps(asdict(progress)), encoding="utf-8")

    def said_by(*arguments) -> Callable[[Path], int]:
        def said(to: Path) -> int:
            with contextlib.redirect_stdout(io.StringIO()) as told:
                status = run(*arguments)
            (to / "said.txt").write_text(told.getvalue(), encoding="utf-8", errors="surrogateescape")
            return status

        return said

    of_config = ("--config", whole_config)
    return [
        # it names the setting, or the file that a setting names
        Target("config, plan", config, OF_SETTINGS, said_by("plan", "--config", config), PLAIN, named="error: "),
        Target("config, status", config, OF_SETTINGS, said_by("status", "--config", config), PLAIN, named="error: "),
        Target(
            "profile", profile, OF_SETTINGS, said_by("plan", *of_config, "--profile", profile), PLAIN, "config.yaml"
        ),
        Target("record, plan", record, OF_TEXT, said_by("plan", *of_config, "--record", record)),
        Target("progress", job, OF_TEXT, said_by("status", *of_config), PLAIN),
    ]


def figures_of(*given: tuple[str, Path]) -> list[Target]:
    def target(figure: str, path: Path) -> Target:
        mutations = OF_ARRAYS if path.suffix == ".npz" else OF_TEXT
        draw = ("plot", figure, path, "--output")
        return Target(figure, path, mutations, lambda to: run(*draw, to / "a.png"), every=8)

    return [target(figure, path) for figure, path in given]


def targets_of_fits(directory: Path, network: Path, grid: Path) -> list[Target]:
    spectra, errors, best = directory / "the_spectra.npz", directory / "the_errors.npz", directory / "the_best.npz"
    with np.load(grid) as stored:
        flux = stored["Y_u_all"][1:5].astype(float)
        np.savez(spectra, wavelength=stored["wavelength"], flux=flux, flux_error=np.full(flux.shape, 0.01))
    well("calibrate", network, grid, "--output", errors)
    observed = [spectra, "--uncertainty", "flux_error"]
    shards = [directory / "the_shard0", directory / "the_shard1"]
    for rows, shard in zip(("0:2", "2:4"), shards, strict=True):
        well("fit", network, *observed, "--spectra", rows, "--output", shard)
    well("fit", network, *observed, "--output", directory / "fits", "--best-fits", best)
    tables = [Path(f"{shard}.ecsv") for shard in shards]
    test_set = directory / "the_fits.ecsv"
    well("fit", network, "--grid", grid, "--output", test_set.with_suffix(""))

    def fit(to: Path, *more) -> int:
        return run("fit", network, *observed, *more, "--output", to / "fits")

    return [
        *targets_of_formats(directory, network, spectra),
        Target(
            "network, calibrate",
            network,
            OF_ARRAYS,
            lambda to: run("calibrate", network, grid, "--output", to / "a.npz"),
            named=grid.name,
        ),
        Target("network, fit", network, OF_ARRAYS, fit),
        Target("spectra", spectra, OF_ARRAYS, fit, foreign=NPZ, every=4),
        Target("label errors", errors, OF_ARRAYS, lambda to: fit(to, "--label-errors", errors), every=4),
        Target("fits, gathered", tables[0], OF_TEXT, lambda to: run("gather_fits", *tables, "--output", to / "fits")),
        *figures_of(("best_fit", best), ("fit_overview", test_set), ("fitting_results", test_set)),
    ]


def targets_of_formats(directory: Path, network: Path, spectra: Path) -> list[Target]:
    """Observed spectra in other formats than npz, and a grid in HDF5."""
    import h5py
    from astropy.io import fits

    with np.load(spectra) as stored:
        wavelength, flux, error = (stored[key] for key in ("wavelength", "flux", "flux_error"))
        flux, error = flux[:2], error[:2]
    text, image, hdf5 = (directory / f"the_star.{ending}" for ending in ("txt", "fits", "h5"))
    np.savetxt(text, np.column_stack([wavelength, flux[0], error[0]]), header="wavelength flux error")
    hdus = [
        fits.ImageHDU(array, name=key)
        for key, array in (("wavelength", wavelength), ("flux", flux), ("flux_error", error))
    ]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(image)
    with h5py.File(hdf5, "w") as file:
        for key, array in (("wavelength", wavelength), ("flux", flux), ("flux_error", error)):
            file[key] = array

    def target(name: str, path: Path, mutations: list[Mutation]) -> Target:
        def fit(to: Path) -> int:
            declared = ["--format", name, "--uncertainty", "flux_error"]
            return run("fit", network, path, *declared, "--output", to / "fits")

        return Target(f"spectra, {name}", path, mutations, fit, foreign=PLAIN, every=4)

    packed, rice = directory / "the_packed.fits", directory / "the_rice.fits"
    packed.write_bytes(gzip.compress(image.read_bytes()))
    kept = {"compression_type": "RICE_1", "quantize_level": 1e4}
    fits.HDUList([fits.PrimaryHDU(), *(fits.CompImageHDU(one.data, name=one.name, **kept) for one in hdus)]).writeto(
        rice
    )
    return [
        target("text", text, OF_TEXT),
        target("fits", image, OF_FITS),
        replace(target("fits", packed, OF_FITS), name="spectra, fits, gzip"),
        replace(target("fits", rice, OF_FITS), name="spectra, fits, RICE"),
        target("hdf5", hdf5, OF_HDF5),
        target_of_a_batch(directory, network, image),
        target_of_list(directory, network, spectra),
    ]


def target_of_a_batch(directory: Path, network: Path, image: Path) -> Target:
    """A bad file among good ones: these are fitted, and the command ends well."""
    paths = [directory / f"the_{which}.fits" for which in ("first", "bad", "last")]
    for path in paths:
        shutil.copy(image, path)

    def fit(to: Path) -> int:
        status = run("fit", network, *paths, "--format", "fits", "--uncertainty", "flux_error", "--output", to / "fits")
        assert status == 0, "one bad file took the batch"
        table = to / "fits.ecsv"
        lines = table.read_text(encoding="utf-8").split("\n")
        rows = [line for line in lines if line.startswith(("the_first", "the_last"))]
        assert len(rows) == 4 and any(line.startswith("the_bad") for line in lines), "a row is not there"
        shutil.rmtree(to)
        to.mkdir()
        (to / "rows.txt").write_text("\n".join(rows), encoding="utf-8")
        return 0

    return Target("spectra, in a batch", paths[1], OF_FITS, fit, every=8)


def target_of_list(directory: Path, network: Path, spectra: Path) -> Target:
    path = directory / "the_spectra.txt"
    path.write_text(f"{spectra}\n", encoding="utf-8")
    declared = ("--uncertainty", "flux_error")
    # it names the file that a line names
    return Target(
        "list of spectra",
        path,
        OF_SETTINGS[: len(OF_TEXT)] + OF_SETTINGS[-2:],
        lambda to: run("fit", network, f"@{path}", *declared, "--output", to / "fits"),
        PLAIN,
        named="error: ",
        every=2,
    )


# ------------------------------------------------------------------------------------------------------- what is said


def table_of(trials: list[Trial], by: str) -> str:
    counts: dict[str, Counter] = {}
    for trial in trials:
        counts.setdefault(getattr(trial, by), Counter())[trial.outcome] += 1
    lines = [f"{by:<26}" + "".join(f"{name:>11}" for name in ("all", *OUTCOMES, "seconds"))]
    seconds: Counter = Counter()
    for trial in trials:
        seconds[getattr(trial, by)] += trial.seconds
    seconds["all"] = sum(seconds.values())
    total = Counter(trial.outcome for trial in trials)
    for name, count in [*counts.items(), ("all", total)]:
        lines.append(
            f"{name:<26}{count.total():11d}"
            + "".join(f"{count[one]:11d}" for one in OUTCOMES)
            + f"{seconds[name]:11.0f}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000, help="mutations in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random changes (default: %(default)s)")
    parser.add_argument("--file", action="append", help="only this file (default: all)")
    parser.add_argument("--show", nargs="*", default=[], choices=OUTCOMES, help="print what was said in these cases")
    parser.add_argument("--no-fits", action="store_true", help="without calibrate and fit, whose kernels are compiled")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop after so many (default: never)")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    trials = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), with_fits=not given.no_fits)
        pairs = [
            (name, mutation)
            for name, target in bench.targets.items()
            for mutation in target.mutations
            if not given.file or name in given.file
        ]
        for name, _ in pairs:
            bench.expected(bench.targets[name])  # with it kernels are compiled, and what is imported late
        begin = time.monotonic()
        order = np.random.default_rng(given.seed).permutation(len(pairs))  # so that a part of a round is a sample
        chosen = (
            pairs[i] for turn in itertools.count() for i in order if (turn + i) % bench.targets[pairs[i][0]].every == 0
        )
        for number, (name, mutation) in enumerate(itertools.islice(chosen, given.number)):
            if time.monotonic() - begin > 60 * given.minutes:
                break
            trial = bench.try_one(name, mutation, given.seed + number)
            trials.append(trial)
            if trial.outcome in given.show:
                print(
                    json.dumps([trial.file, trial.mutation, trial.seed, trial.outcome]), trial.said[-1500:], flush=True
                )
    print(table_of(trials, "file"), table_of(trials, "mutation"), sep="\n\n")
    return int(any(trial.outcome in FAULTS for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
