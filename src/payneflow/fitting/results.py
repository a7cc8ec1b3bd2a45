"""Tables of fits as files: ECSV for people and astropy, FITS for everything else; read back, joined, summed up."""

import hashlib
import io
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits import BinTableHDU, table_to_hdu
from astropy.table import Table
from astropy.units import Unit, UnrecognizedUnit

from payneflow.errors import SpectraError
from payneflow.files import whole_file
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag
from payneflow.label_names import ascii_columns
from payneflow.statistics import bias_and_width
from payneflow.stored_tables import MOST_SAID, check_columns, read_table, write_table

BLOCK = 10_000  # rows that are turned into text at a time


def write_results(table: Table, stem: str | Path) -> None:
    """Write the fits as STEM.ecsv and STEM.fits, both with the unit and the meaning of each column."""
    write_table(f"{stem}.ecsv", _ecsv(table))
    with whole_file(f"{stem}.fits") as temporary:
        _fits_hdu(table).writeto(temporary, overwrite=True)


def _ecsv(table: Table) -> Iterator[str]:
    """The table as ECSV, in pieces: astropy needs several times the memory of the rows that it writes at once."""
    for first in range(0, max(1, len(table)), BLOCK):
        stream = io.StringIO()
        table[first : first + BLOCK].write(stream, format="ascii.ecsv")
        header, rows = _HEADER.match(stream.getvalue()).groups()
        # A name that begins with # would be read as a comment, and its row be lost: astropy does not quote it.
        yield ("" if first else header) + _NAME_LIKE_A_COMMENT.sub(r'"\1"', rows)


_HEADER = re.compile(r"((?:#.*\n)*.*\n)((?:.*\n)*)")  # comments and the names of the columns; the rows
_NAME_LIKE_A_COMMENT = re.compile(r"^(#\S*)", re.MULTILINE)


def _fits_hdu(table: Table) -> BinTableHDU:
    """The table for a FITS file, whose headers hold no lists and whose standard knows neither [Fe/H] nor dex."""
    plain = table.copy()
    plain.meta = {f"FLAG{bit}": name for name, bit in table.meta["flags"].items()}
    for name in plain.colnames:
        plain[name].unit = plain[name].description = None
        if plain[name].dtype.kind == "U":  # UTF-8, which astropy reads as such; the standard itself knows only ASCII
            plain[name] = np.array([str(text).encode("utf-8", "backslashreplace") for text in plain[name]], dtype=bytes)
    plain.rename_columns(plain.colnames, fits_column_names(plain.colnames))
    hdu = table_to_hdu(plain)
    for number, name in enumerate(table.colnames, start=1):
        unit = table[name].unit
        if unit is not None and _fits_unit(unit):
            hdu.header[f"TUNIT{number}"] = _fits_unit(unit)
        described = f"{table[name].description} [{unit}]" if unit is not None else table[name].description
        hdu.header.add_comment(_as_ascii(f"{plain.colnames[number - 1]}: {described}"))
    for name, value in table.meta.items():
        if name not in ("label_names", "flags"):
            text = f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
            hdu.header.add_history(_as_ascii(text))
    return hdu


def _as_ascii(text: str) -> str:
    """The text as FITS can hold it: e with an accent becomes \\xe9, a line break \\n."""
    return re.sub(r"[^ -~]", lambda letter: letter[0].encode("unicode_escape").decode(), text)


def _fits_unit(unit: Unit) -> str:
    """The unit as the FITS standard writes it ("km s-1"); empty where it has no such unit (dex)."""
    if isinstance(unit, UnrecognizedUnit):
        return ""
    try:
        return unit.to_string(format="fits")
    except ValueError:
        return ""


def fits_column_names(names: list[str]) -> list[str]:
    """Column names as the FITS standard wants them (`ascii_columns`): [Fe/H]_error becomes Fe_H_error."""
    return ascii_columns(names)


def results_text(table: Table) -> str:
    """Bias and robust width of each label where the true labels are known, and how many fits carry which flag.

    Where no fit is worth anything, the first line says FAILED, and the likely cause.
    """
    failed = _failure(table)
    lines = [f"FAILED: {failed}"] if failed else []
    lines += [f"{len(table)} spectra fitted"]
    lines += [
        f"  {flag.name:<14}{count:6d}  {meaning}"
        for flag, meaning in FLAG_MEANINGS.items()
        if (count := int(np.sum((table["flags"] & flag) > 0)))
    ]
    left_out = {reason: n for reason, n in table.meta.get("left_out", {}).items() if n}
    if left_out:
        lines.append("  pixels that take no part: " + ", ".join(f"{n} {reason}" for reason, n in left_out.items()))
    if table.meta.get("unreadable"):
        lines.append(
            f"  {len(table.meta['unreadable'])} could not be read, recorded as failed; the table's header says why"
        )
    for name in table.meta["label_names"]:
        if f"{name}_true" in table.colnames:
            error = np.asarray(table[name] - table[f"{name}_true"], dtype=float)
            error = error[np.isfinite(error)]
            if len(error):
                bias, width = bias_and_width(error)
                unit = table[name].unit or ""
                lines.append(
                    f"  {name}: bias {bias:.3g}, robust width {width:.3g}, "
                    f"largest error {np.abs(error).max():.3g} {unit}"
                )
    return "\n".join(lines)


_USELESS = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.AT_BOUND


def _failure(table: Table) -> str:
    """Why not one of the fits is to be used, with the likely cause; "" where some are."""
    flags = np.asarray(table["flags"])
    if len(flags) and (flags & FitFlag.POOR_NETWORKS).all():
        return "the networks are not to be used (POOR_NETWORKS). `payneflow gather` said why."
    if not len(flags) or not (flags & _USELESS).all():
        return ""
    kinds = {name: int(np.sum((flags & FitFlag[name]) > 0)) for name in ("FAILED", "NOT_CONVERGED", "AT_BOUND")}
    causes = {
        "FAILED": "spectra without usable pixels in the networks' range, or with errors of another kind than was said",
        "NOT_CONVERGED": "spectra unlike all of the grid, or flux errors that are far too small",
        "AT_BOUND": "spectra unlike all of the grid: another normalisation, wavelengths, or labels far outside it",
    }
    return f"not one of {len(flags)} spectra could be fitted. Likely cause: {causes[max(kinds, key=kinds.get)]}."


def read_results(path: str | Path) -> Table:
    """Read fits that `write_results` wrote as ECSV. Raises SpectraError for a file that is none, or is damaged."""
    what = "fits, as `payneflow fit` writes them (ecsv)"
    meta = {"label_names": list, "flags": dict, "mode": str}
    table = read_table(path, SpectraError, what, {"flags": "i"}, meta)
    names = table.meta["label_names"]
    if not all(isinstance(name, str) for name in names):
        raise SpectraError(f"{path}: label_names in its meta is {names!r}; expected {what}.")
    columns = {column: "f" for name in names for column in (name, f"{name}_error")}
    check_columns(path, SpectraError, what, table, columns)
    for name, kind in (("flags", int), ("left_out", int), ("unreadable", str)):
        found = table.meta.get(name, {})
        if not isinstance(found, dict) or not all(isinstance(value, kind) for value in found.values()):
            raise SpectraError(f"{path}: {name} in its meta is {str(found)[:MOST_SAID]!r}; expected {what}.")
    _check_which(path, what, table.meta)
    return table


def read_fits_binary(path: str | Path) -> Table:
    """Read fits that `write_results` wrote in the FITS format. Raises SpectraError for a file that is none, or cut."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a file that is cut astropy warns
            with fits.open(path, memmap=False) as hdus:
                return Table(hdus[1].data)
    except FileNotFoundError as error:
        raise SpectraError(f"{path}: no such file; expected fits, as `payneflow fit` writes them (fits).") from error
    except Exception as error:  # astropy raises many kinds on damaged bytes
        said = " ".join(str(error).split())[:MOST_SAID]
        raise SpectraError(f"{path}: not readable fits ({said}), as `payneflow fit` writes them (fits).") from error


def digest_of_values(table: Table) -> str:
    """SHA-256 of all numbers of a table of fits, column by column: the same for the text and the FITS format."""
    total = hashlib.sha256()
    for column in table.itercols():
        if column.dtype.kind in "fiub":
            kind = float if column.dtype.kind == "f" else int
            values = np.ma.filled(np.ma.asarray(column).astype(kind), np.nan if kind is float else 0)
            total.update(np.ascontiguousarray(np.where(values == values, values, np.nan) if kind is float else values))
    return total.hexdigest()


def _check_which(path: str | Path, what: str, meta: dict) -> None:
    """Raise SpectraError where the meta does not say as it should how many rows there are, and of which spectra."""
    runs = meta.get("spectra", [])
    good = isinstance(runs, list) and all(
        isinstance(run, list) and len(run) == 2 and all(isinstance(n, int) for n in run) and 0 <= run[0] < run[1]
        for run in runs
    )
    for name, right in (("n_row", isinstance(meta.get("n_row", 0), int)), ("spectra", good)):
        if not right:
            raise SpectraError(f"{path}: {name} in its meta is {str(meta[name])[:MOST_SAID]!r}; expected {what}.")
