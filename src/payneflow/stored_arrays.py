"""Files of arrays (npz) that payneflow writes and reads back: each is declared once, and opened by its declaration.

A file that is read holds the declared keys, each of its kind, of shapes that fit each other, with values that can be
meant; or an error names file and key. Kinds and shapes are judged by headers, before an array is read, so that no key
and no header can ask for more memory than a true file. Keys that are not declared are never read.

A checksum over all arrays is stored with them: the SHA-256 of their keys, sizes and CRC-32, as the directory of the zip
has them. The CRC-32 of each array is compared with its bytes when it is read; so one flipped bit anywhere is an error.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError
from payneflow.files import NpzArchive, whole_file

CHECKSUM, VERSION = "checksum", "format_version"
# Texts, and arrays that are compressed, though payneflow compresses none: no true file comes near.
MOST_TEXT, MOST_INFLATED, MOST_RATIO = 2**26, 2**26, 100  # bytes, bytes, and stored bytes for each compressed one
MOST_SHOWN = 100  # letters of a text in a message
KINDS = {"f": "floating-point numbers", "i": "whole numbers", "b": "true or false", "U": "text"}
_FLOATS = (4, 8)  # bytes of the floating-point numbers that all of payneflow takes

Arrays = dict[str, np.ndarray]
Relation = Callable[[Arrays], str]


@dataclass(frozen=True)
class Array:
    """An array of a file: its key, its kind (one of KINDS), and its shape, as names of lengths or as lengths.

    Every name stands for one length in all of a file. Numbers may be NaN unless they are `finite`, and infinite only
    where they are `infinite`. `positive`; `least`, the least value; `farthest`: from 0, beyond which nothing lies that
    payneflow writes, and arithmetic overflows; `increasing`: each is larger than the one before; `unique`: no two
    entries are the same. `json`: a text that is a JSON object; `choices`: what each text may be.
    `since`: the first version of the file that has it; `optional`: may be absent; `formerly`: its key in earlier files.
    """

    key: str
    kind: str
    shape: tuple[str | int, ...] = ()
    finite: bool = False
    infinite: bool = False
    positive: bool = False
    increasing: bool = False
    unique: bool = False
    least: float | None = None
    farthest: float | None = None
    json: bool = False
    choices: Collection[str] = ()
    since: int = 0
    optional: bool = False
    formerly: str = ""

    def key_in(self, archive: NpzArchive) -> str:
        """The key that a file has it under; its own where it is absent."""
        return self.formerly if self.formerly in archive and self.key not in archive else self.key


@dataclass(frozen=True)
class FileOf:
    """A kind of file: `what` it is, in messages; `again`, what to do about a bad one; and the `error` that says so.

    `version` is written, and versions from `oldest` on are read; one that says none is of version 0. Since
    `checksum_since` it has a checksum. No length is 0 but those that `may_be_none` names. `relations`: each says of the
    arrays what is wrong between them, "" for nothing.
    """

    what: str
    again: str
    error: type[PayneflowError]
    version: int
    checksum_since: int
    arrays: tuple[Array, ...]
    oldest: int = 0
    may_be_none: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def write(self, path: str | Path, arrays: Mapping[str, object], version: int | None = None) -> None:
        """Write the arrays with version and checksum, whole or not at all. Raises PayneflowError where that fails.

        `version`: an earlier one, where it has all of these arrays, so that an earlier payneflow can read them.
        """
        write_arrays(path, {**arrays, VERSION: np.array(self.version if version is None else version)})

    def read(self, path: str | Path, keys: tuple[str, ...] | None = None) -> Arrays:
        """All declared arrays, or those of `keys`, proved. Raises `error` naming file and key where one is wrong."""
        with NpzArchive(path, self.error, self.what) as archive:
            version = self._version(archive)
            sizes: dict[str, int] = {}
            stored = {}
            for array in self._present(archive, version, keys):
                stored[array.key] = self._read_one(archive, array, sizes)
                self._judge_values(path, array, stored[array.key])
            if keys is None:
                self._judge_relations(path, stored)
            self._prove(archive, version)
            return stored

    @contextmanager
    def opened(self, path: str | Path) -> Iterator[NpzArchive]:
        """The file, open, of which rows are to be read: its headers are judged, its values are not."""
        with NpzArchive(path, self.error, self.what) as archive:
            version = self._version(archive)
            sizes: dict[str, int] = {}
            for array in self._present(archive, version, None):
                self._judge_header(archive, array, array.key_in(archive), sizes)
            self._prove(archive, version)
            yield archive

    def _read_one(self, archive: NpzArchive, array: Array, sizes: dict[str, int]) -> np.ndarray:
        """An array of the kind and shape that are declared, in the byte order of this machine."""
        key = array.key_in(archive)
        if not archive.is_small(key):
            self._judge_header(archive, array, key, sizes)
        values = archive.read(key)
        self._judge_shape(archive.path, array, values.shape, values.dtype, sizes)
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))

    def whole(self, archive: NpzArchive, key: str) -> np.ndarray:
        """The array `key` of a file that `opened` gave, judged."""
        array = next(array for array in self.arrays if array.key == key)
        values = self._read_one(archive, array, {})
        self._judge_values(archive.path, array, values)
        return values

    def _present(self, archive: NpzArchive, version: int, keys: tuple[str, ...] | None) -> list[Array]:
        """The arrays to be read that are there; refuses a file in which one of them is missing."""
        wanted = [array for array in self.arrays if keys is None or array.key in keys]
        present = [array for array in wanted if array.key_in(archive) in archive]
        if len(present) < len(wanted):
            needed = [array.key for array in wanted if array.since <= version and not array.optional]
            missing = [key for key in needed if key not in {array.key for array in present}]
            if missing:
                raise self.error(f"{archive.path}: no {', '.join(missing)}; expected {self.what}. {self.again}")
        return present

    def _is_of_this_kind(self, archive: NpzArchive) -> bool:
        """Has a file more than two thirds of the keys? One that is newer may have lost some."""
        needed = [array for array in self.arrays if not array.optional]
        return 3 * sum(array.key_in(archive) in archive for array in needed) > 2 * len(needed)

    def _version(self, archive: NpzArchive) -> int:
        path, said = archive.path, 0
        if VERSION in archive:
            said = int(self._read_one(archive, Array(VERSION, "i"), {}))
        elif self.oldest:
            self._present(archive, self.oldest, None)  # what else is missing says better what the file is not
            raise self.error(f"{path}: no {VERSION}; expected {self.what}. {self.again}")
        if said > self.version:
            if not self._is_of_this_kind(archive):
                self._present(archive, self.version, None)
            raise self.error(
                f"{path}: {VERSION} {said} is newer than this payneflow reads ({self.version}): update payneflow."
            )
        if said < self.oldest:
            expected = f"{self.oldest} to {self.version}" if self.oldest < self.version else f"{self.version}"
            raise self.error(f"{path}: {VERSION} {said}, expected {expected}: {self.what}. {self.again}")
        return said

    # ------------------------------------------------------------------------------------------------ what is judged

    def _judge_header(self, archive: NpzArchive, array: Array, key: str, sizes: dict[str, int]) -> None:
        """Refuse an array by its header, and one that would swell beyond what such a file holds."""
        header = archive.header(key)
        self._judge_shape(archive.path, array, header.shape, header.dtype, sizes)
        compressed = archive.member(key).compress_size
        swells = header.stored > max(MOST_INFLATED, MOST_RATIO * compressed) and header.compressed
        if swells or (array.kind == "U" and header.stored > MOST_TEXT):
            raise self.error(
                f"{archive.path}: {key} would take {header.stored} bytes of memory, more than any true one does; "
                f"expected {self.what}. {self.again}"
            )

    def _judge_shape(
        self, path: str | Path, array: Array, shape: tuple[int, ...], dtype: np.dtype, sizes: dict[str, int]
    ) -> None:
        fits, new = len(shape) == len(array.shape), []
        for said, n in zip(array.shape, shape, strict=False) if fits and shape else ():
            if said not in sizes and isinstance(said, str):
                sizes[said] = n
                new.append(said)
            fits &= n == sizes.get(said, said) and (n > 0 or said in self.may_be_none)
        if not fits:
            known = _as_shape(said if said in new else sizes.get(said, said) for said in array.shape)
            named = f": {_as_shape(array.shape)}" if array.shape else ""
            raise self.error(f"{path}: {array.key} has shape {shape}, expected {known}{named}. {self.again}")
        right = dtype.kind == array.kind or (array.kind == "i" and dtype.kind == "u")
        if not right or (array.kind == "f" and dtype.itemsize not in _FLOATS):
            raise self.error(f"{path}: {array.key} is {dtype}, expected {KINDS[array.kind]}. {self.again}")

    def _judge_values(self, path: str | Path, array: Array, values: np.ndarray) -> None:
        said = _problem(array, values)
        if said:
            raise self.error(f"{path}: {array.key} {said}. {self.again}")

    def _judge_relations(self, path: str | Path, stored: Arrays) -> None:
        for relation in self.relations:
            said = relation(stored)
            if said:
                raise self.error(f"{path}: {said}. {self.again}")

    def _prove(self, archive: NpzArchive, version: int) -> None:
        """Compare the checksum that the file holds with that of its arrays."""
        if CHECKSUM not in archive:
            if version < self.checksum_since:
                return
            raise self.error(f"{archive.path}: no {CHECKSUM}; expected {self.what}. {self.again}")
        said = str(self._read_one(archive, Array(CHECKSUM, "U"), {}))
        if said != checksum_of(map(archive.member, archive.keys())):
            raise self.error(
                f"{archive.path}: the checksum is not that of the arrays: the file was damaged, or changed by hand; "
                f"expected {self.what}. {self.again}"
            )


def _as_shape(lengths) -> str:
    """(3,), (n_pixel, 5): a shape as numpy shows it, with names in the place of lengths."""
    said = [str(length) for length in lengths]
    return f"({said[0]},)" if len(said) == 1 else f"({', '.join(said)})"


def _problem(array: Array, values: np.ndarray) -> str:
    """What is wrong with the values of an array, as a predicate; "" where nothing is."""
    if array.kind == "U":
        return _problem_of_texts(array, values.ravel().tolist())
    if array.kind == "f" and not array.infinite:
        good = np.isfinite(values) if array.finite else ~np.isinf(values)
        if not good.all():
            place = tuple(int(i) for i in np.argwhere(~good)[0])
            at = f" at {place[0] if len(place) == 1 else place}" if place else ""
            return f"is not finite everywhere, expected finite numbers: it is {values[place]}{at}"
    if array.positive and (values <= 0).any():
        return f"holds {values[values <= 0][0]}, expected positive numbers"
    if array.least is not None and (values < array.least).any():
        return f"holds {values[values < array.least][0]}, expected {array.least:g} or more"
    if array.farthest is not None and (np.abs(values) > array.farthest).any():
        return f"holds {values[np.abs(values) > array.farthest][0]:g}, expected at most {array.farthest:g} in size"
    if array.increasing and not (values[1:] > values[:-1]).all():
        place = int(np.argmin(values[1:] > values[:-1]))
        return f"does not increase: {values[place]} is followed by {values[place + 1]} at {place + 1}"
    if array.unique and len(np.unique(values)) < values.size:
        return "has an entry twice"
    return ""


def _problem_of_texts(array: Array, texts: list[str]) -> str:
    # UTF-32 in a damaged file may hold halves of letters, which no message and no other file can
    if not all(text.isascii() or text.encode("utf-8", "ignore").decode() == text for text in texts):
        return "holds what is no letter"
    if array.unique and len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        return f"has {_shown(twice)} twice"
    if array.choices and not set(texts) <= set(array.choices):
        other = next(text for text in texts if text not in array.choices)
        return f"has {_shown(other)}, expected one of {', '.join(array.choices)}"
    return _problem_of_json(texts[0]) if array.json else ""


def _shown(text: str) -> str:
    """A text of a damaged file as a message can hold it."""
    return repr(text) if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]!r}..."


def _problem_of_json(text: str) -> str:
    try:
        return "" if isinstance(json.loads(text), dict) else "is not JSON of named values"
    except (ValueError, RecursionError) as error:
        return f"is not JSON ({error})"


# ------------------------------------------------------------------------------------------------------- the checksum


def checksum_of(members) -> str:
    """The checksum of the members of a zip file (zipfile.ZipInfo), in hexadecimal; that of the checksum is left out."""
    own = f"{CHECKSUM}.npy"
    lines = sorted(f"{one.filename} {one.file_size} {one.CRC:08x}\n" for one in members if one.filename != own)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def write_arrays(path: str | Path, arrays: Mapping[str, object]) -> None:
    """Write arrays to `path` as an uncompressed npz file with their checksum, whole or not at all."""
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, array in arrays.items():
            if key != CHECKSUM:
                write_member(archive, key, array)
        write_checksum(archive)


def write_checksum(archive: zipfile.ZipFile) -> None:
    """Add the checksum of all that was written to the archive before."""
    write_member(archive, CHECKSUM, checksum_of(archive.infolist()))


def write_member(archive: zipfile.ZipFile, key: str, array) -> None:
    """Add an array, as np.savez does; it may be larger than 4 GB."""
    with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
