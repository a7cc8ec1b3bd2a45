"""Tables that payneflow writes as text (ECSV) and reads back: written with a checksum, read with their columns judged.

The checksum is a comment among the header's lines, which whoever reads and writes the table anew leaves away: a table
that astropy has filtered is read without one. Loads astropy only where a table is read.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from astropy.table import Table

    refuse_special(path, error, what)
    try:
        _prove(path, error, what)
        table = Table.read(str(path), format="ascii.ecsv")
    except FileNotFoundError as problem:
        raise error(f"{path}: no such file; expected {what}.") from problem
    except PayneflowError:
        raise
    except Exception as problem:  # the parsers of ECSV and YAML raise many kinds on damaged text
        said = " ".join(str(problem).split())[:MOST_SAID]
        raise error(f"{path}: not a readable ECSV table ({said}); expected {what}.") from problem
    _check_meta(path, error, what, table.meta, meta)
    check_columns(path, error, what, table, columns)
    return table


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
