"""Tables that payneflow writes as text (ECSV) and reads back: written with a checksum, read with their columns judged.

The checksum is a comment among the header's lines, which whoever reads and writes the table anew leaves away: a table
that astropy has filtered is read without one. Loads astropy only where a table is read.
"""

import gc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from payneflow.errors import PayneflowError
from payneflow.files import refuse_special, whole_file

if TYPE_CHECKING:
    from astropy.table import Table

SEAL = b"# # SHA-256 of this file, with zeros in this place: "  # a comment of YAML, in which ECSV has its header
_ZEROS = b"0" * 64
_BEGIN = b"# ---\n"  # after which the header's YAML begins
_SEALED_WITHIN = 4096  # bytes of the beginning, where the checksum is looked for
MOST_SAID = 300  # letters of what a parser says, which may go on for pages
KINDS = {"f": "numbers", "i": "whole numbers", "U": "text"}


def write_table(path: str | Path, pieces: Iterable[str]) -> None:
    """Write the text of an ECSV table, which comes in pieces, with its checksum, whole or not at all.

    The first piece holds the header. What is no UTF-8 is written with escapes, so that every reader can read the rest.
    """
    with whole_file(path) as temporary, open(temporary, "wb") as stream:
        total, place = hashlib.sha256(), 0
        for piece in pieces:
            content = piece.encode("utf-8", "backslashreplace")
            if not place:
                head, begin, rest = content.partition(_BEGIN)
                content = head + begin + SEAL + _ZEROS + b"\n" + rest
                place = len(head + begin + SEAL)
            total.update(content)
            stream.write(content)
        stream.seek(place)
        stream.write(total.hexdigest().encode())


def read_table(
    path: str | Path,
    error: type[PayneflowError],
    what: str,
    columns: Mapping[str, str],
    meta: Mapping[str, type | tuple[type, ...]],
) -> "Table":
    """Read an ECSV table with these `columns`, each of a kind of KINDS, and these entries of `meta`, of these types.

    Raises `error`, which says that `what` was expected, for a file that is none, or is damaged.
    """
    return next(_tables(path, error, what, columns, meta, None))


def read_blocks(
    path: str | Path,
    error: type[PayneflowError],
    what: str,
    columns: Mapping[str, str],
    meta: Mapping[str, type | tuple[type, ...]],
    n_row: int,
) -> "Iterator[Table]":
    """Read as `read_table` does, a table without rows first, and then all rows, about `n_row` of them at a time.

    The checksum is proved first of all; what is wrong with the rows is said when they come.
    """
    return _tables(path, error, what, columns, meta, n_row)


def _tables(path, error, what, columns, meta, n_row: int | None) -> "Iterator[Table]":
    """All rows as one table, or one without rows and then pieces of about `n_row`; checked."""
    refuse_special(path, error, what)
    stored = None
    try:
        _prove(path, error, what)
        with open(path, encoding="utf-8") as stream:
            header = _header(stream)
            for lines in _pieces(stream, n_row):
                table = _parsed(header, lines)
                if stored is None:
                    stored = table.meta
                    _check_meta(path, error, what, stored, meta)
                    if n_row is not None:
                        header = _without_meta(header)
                table.meta = stored
                check_columns(path, error, what, table, columns)
                yield table
                gc.collect(1)  # astropy's readers hold themselves and what they read, until Python happens to look
    except FileNotFoundError as problem:
        raise error(f"{path}: no such file; expected {what}.") from problem
    except PayneflowError:
        raise
    except Exception as problem:  # the parsers of ECSV and YAML raise many kinds on damaged text
        said = " ".join(str(problem).split())[:MOST_SAID]
        raise error(f"{path}: not a readable ECSV table ({said}); expected {what}.") from problem


def _header(stream: TextIO) -> list[str]:
    """The lines of the header and, the last of them, that of the columns' names."""
    lines = []
    for line in stream:
        lines.append(line.rstrip("\n"))
        if line.strip() and not line.lstrip().startswith("#"):
            break
    return lines


def _pieces(stream: TextIO, n_row: int | None) -> Iterator[list[str]]:
    """The lines of the rows: all, or none and then `n_row` or a few more at a time, none that ends in quotes."""
    if n_row is not None:
        yield []
    lines, quotes = [], 0
    for line in stream:
        lines.append(line.rstrip("\n"))
        quotes += line.count('"')
        if n_row is not None and len(lines) >= n_row and quotes % 2 == 0:
            yield lines
            lines = []
    if lines or n_row is None:
        yield lines


def _parsed(header: list[str], lines: list[str]) -> "Table":
    from astropy.table import Table

    if not any(line.strip() for line in lines):  # astropy reads no column of arrays that has no rows
        return Table.read([*header, _made_up_row(header)], format="ascii.ecsv")[:0]
    return Table.read([*header, *lines], format="ascii.ecsv")


def _made_up_row(header: list[str]) -> str:
    """A row such as the header declares: zeros, and x for text."""
    said, values = _said(header), []
    for column in said["datatype"]:
        shape = column.get("subtype", "").partition("[")[2].removesuffix("]")
        if shape and "null" not in shape:
            values.append(json.dumps(np.zeros(json.loads(f"[{shape}]"), int).tolist(), separators=(",", ":")))
        else:
            values.append({"string": "x", "bool": "False"}.get(column["datatype"], "0"))
    delimiter = said.get("delimiter", " ")
    return delimiter.join(f'"{value}"' for value in values)


def _said(header: list[str]) -> dict[str, Any]:
    """What the YAML of a header says."""
    from astropy.table.meta import get_header_from_yaml

    if not header or not re.match(r"\s*#\s*%ECSV ", header[0]):
        raise ValueError('no line "# %ECSV <version>" at its beginning')
    said = get_header_from_yaml([re.sub(r"^\s*# ?", "", line) for line in header[:-1]])
    if not isinstance(said, dict) or not isinstance(said.get("datatype"), list):
        raise ValueError("no datatype, the list of columns, in its header")
    return said


def _without_meta(header: list[str]) -> list[str]:
    """A header for further rows: its meta may hold thousands of names, and was read."""
    from astropy.io.misc import yaml

    said = {key: value for key, value in _said(header).items() if key != "meta"}
    lines = yaml.dump(said, allow_unicode=True).splitlines()
    return ["# %ECSV 1.0", "# ---", *(f"# {line}" for line in lines), header[-1]]


def header_of_table(path: str | Path, error: type[PayneflowError], what: str) -> str:
    """The YAML in the header of a table that `write_table` wrote, once its checksum is proved; no row is parsed.

    Raises `error` where the file is missing, damaged, or without a checksum.
    """
    refuse_special(path, error, what)
    if not Path(path).exists():
        raise error(f"{path}: no such file; expected {what}.")
    _prove(path, error, what)
    lines, sealed = [], False
    with open(path, "rb") as stream:
        for line in stream:
            if not line.startswith(b"#"):
                break
            sealed |= line.startswith(SEAL)
            lines.append(line.removeprefix(b"# ").decode("utf-8", "replace"))
    if not sealed:
        raise error(f"{path}: no checksum in its header; expected {what}, as payneflow writes it.")
    begin = next((i for i, line in enumerate(lines) if line == "---\n"), 0)
    return "".join(lines[begin:])


def _prove(path: str | Path, error: type[PayneflowError], what: str) -> None:
    """Compare the checksum that a table holds, if any, with that of its bytes."""
    with open(path, "rb") as stream:
        content = stream.read(_SEALED_WITHIN)
        place = content.find(SEAL) + len(SEAL)
        if place < len(SEAL):
            return
        total = hashlib.sha256(content[:place] + _ZEROS + content[place + len(_ZEROS) :])
        while block := stream.read(2**20):
            total.update(block)
    if content[place : place + len(_ZEROS)] != total.hexdigest().encode():
        raise error(
            f"{path}: the checksum in its header is not that of the file, which was damaged, or changed by hand; "
            f"expected {what}. If it was changed on purpose, remove the line that begins with {SEAL[:13].decode()!r}."
        )


def _check_meta(
    path: str | Path, error: type[PayneflowError], what: str, found: Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    missing = [name for name in meta if name not in found]
    if missing:
        raise error(
            f"{path}: no entry in meta {', '.join(missing)}; {what} has it. Was the file made by another version of "
            "payneflow?"
        )
    for name, kind in meta.items():
        if not isinstance(found[name], kind):
            raise error(f"{path}: {name} in its meta is {str(found[name])[:MOST_SAID]!r}; expected {what}.")


def check_columns(
    path: str | Path, error: type[PayneflowError], what: str, table: "Table", columns: Mapping[str, str]
) -> None:
    """Raise `error` where a column is missing, or has not a single value of its kind for each row."""
    missing = [name for name in columns if name not in table.colnames]
    if missing:
        raise error(
            f"{path}: no column {', '.join(missing)}; {what} has it. Was the file made by another version of payneflow?"
        )
    for name, kind in columns.items():
        column = table[name]
        right = column.dtype.kind == kind or (kind == "f" and column.dtype.kind in "iu")
        if not right or column.ndim != 1:
            shape = f" of shape {column.shape}" if column.ndim != 1 else ""
            raise error(f"{path}: column {name} is {column.dtype}{shape}, expected {KINDS[kind]}: {what}.")
        if kind == "i" and getattr(column, "mask", None) is not None and column.mask.any():
            raise error(f"{path}: column {name} has an empty entry, expected {KINDS[kind]}: {what}.")
