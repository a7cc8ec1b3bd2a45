"""Tables of fits as files: ECSV for people and astropy, FITS and parquet for large ones; read back and summed up."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from payneflow.errors import SpectraError
from payneflow.fitting.fits_file import fits_column_names, write_fits
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag, LabelFlag
from payneflow.fitting.parquet_file import check_pyarrow, write_parquet
from payneflow.fitting.rows import BLOCK, StoredRows
from payneflow.fitting.settings import LEAST_ESS
from payneflow.label_names import NOISELESS
from payneflow.statistics import bias_and_width
from payneflow.stored_tables import MOST_SAID, check_columns, read_blocks, read_table, write_table

MOST_LABELS = 3  # that are named of those with a flag, the most frequent ones

__all__ = ["fits_column_names", "read_results", "results_text", "write_results"]


def write_results(fits: Table | StoredRows, stem: str | Path, parquet: bool = False) -> None:
    """Write the fits as STEM.ecsv, STEM.fits and, if asked, STEM.parquet, with the unit and the meaning of each column.

    Memory holds a block of the rows, beside a table that is given as such. Raises SettingsError where pyarrow, which
    writes parquet, is missing, and PayneflowError where a file cannot be written.
    """
    if parquet:
        check_pyarrow()
    if isinstance(fits, Table):
        with StoredRows(Path(stem).parent) as rows:
            rows.append(fits)
            rows.meta = fits.meta
            write_results(rows, stem, parquet)
        return
    write_table(f"{stem}.ecsv", _ecsv(fits))
    write_fits(fits, f"{stem}.fits")
    if parquet:
        write_parquet(fits, f"{stem}.parquet")


def _ecsv(rows: StoredRows) -> Iterator[str]:
    """The table as ECSV, in pieces: the first has the header."""
    for number, block in enumerate(rows.blocks()):
        if not number:
            block.meta = rows.meta
        stream = io.StringIO()
        block.write(stream, format="ascii.ecsv")
        header, lines = _HEADER.match(stream.getvalue()).groups()
        # A name that begins with # would be read as a comment, and its row be lost: astropy does not quote it.
        yield ("" if number else header) + _NAME_LIKE_A_COMMENT.sub(r'"\1"', lines)


_HEADER = re.compile(r"((?:#.*\n)*.*\n)((?:.*\n)*)")  # comments and the names of the columns; the rows
_NAME_LIKE_A_COMMENT = re.compile(r"^(#\S*)", re.MULTILINE)


def results_text(table: Table | StoredRows) -> str:
    """How many fits, and how many labels of them, carry which flag; bias and robust width of each label where the true
    labels are known.

    Where no fit is worth anything, the first line says FAILED, and the likely cause.
    """
    failed = _failure(table)
    lines = [f"FAILED: {failed}"] if failed else []
    n_piece = int(np.sum(table["n_piece"])) if "n_piece" in table.colnames else None
    lines += [f"{len(table)} spectra fitted" if n_piece is None else f"{len(table)} stars of {n_piece} pieces fitted"]
    lines += [
        f"  {flag.name:<14}{count:6d}  {meaning}"
        for flag, meaning in FLAG_MEANINGS.items()
        if (count := int(np.sum((table["flags"] & flag) > 0)))
    ]
    lines += _flags_of_labels(table) + _posteriors(table)
    left_out = {reason: n for reason, n in table.meta.get("left_out", {}).items() if n}
    if left_out:
        lines.append("  pixels that take no part: " + ", ".join(f"{n} {reason}" for reason, n in left_out.items()))
    if table.meta.get("unreadable"):
        lines.append(
            f"  {len(table.meta['unreadable'])} could not be read, recorded as failed; the table's header says why"
        )
    for name in table.meta["label_names"]:
        if f"{name}_true" in table.colnames:
            said = _accuracy(table, name, name)
            if said and f"{name}{NOISELESS}" in table.colnames:
                said += f"; without noise: {_accuracy(table, f'{name}{NOISELESS}', name) or 'no fit'}"
            lines += [f"  {name}: {said}"] if said else []
    return "\n".join(lines)


def _accuracy(table: Table | StoredRows, column: str, name: str) -> str:
    """How far this column is from the true values of the label `name`; "" where no fit has both."""
    error = np.asarray(table[column] - table[f"{name}_true"], dtype=float)
    error = error[np.isfinite(error)]
    if not len(error):
        return ""
    bias, width = bias_and_width(error)
    return (
        f"bias {bias:.3g}, robust width {width:.3g}, largest error {np.abs(error).max():.3g} {table[name].unit or ''}"
    ).rstrip()


def _flags_of_labels(table: Table | StoredRows) -> list[str]:
    """One line that says how often each flag of a label was raised, and for which labels most; none where none was."""
    counts = {flag: Counter() for flag in LabelFlag}
    for name in table.meta["label_names"]:
        if f"{name}_flags" in table.colnames:
            flags = np.asarray(table[f"{name}_flags"])
            for flag in LabelFlag:
                counts[flag][name] = int(np.sum((flags & flag) > 0))
    said = []
    for flag, count in ((flag, +count) for flag, count in counts.items()):  # without the labels that have none
        most = [f"{name} {n}" for name, n in count.most_common(MOST_LABELS)]
        if count:
            said.append(f"{count.total()} {flag.name} ({', '.join(most + ['...'][: len(count) - len(most)])})")
    return [f"  of labels, in <label>_flags: {'; '.join(said)}"] if said else []


def _posteriors(table: Table | StoredRows) -> list[str]:
    """One line that says how many posteriors the sampler made, and how many are rough; none where none was made."""
    if "posterior_ess" not in table.colnames:
        return []
    made = (np.asarray(table["flags"]) & FitFlag.FAILED) == 0
    sampled = int(np.sum(made & np.asarray(table["posterior_sampled"])))
    rough = int(np.sum(made & (np.asarray(table["posterior_ess"]) < LEAST_ESS)))
    more = f"; {rough} of fewer than {LEAST_ESS:g} effective draws: their percentiles are rough" if rough else ""
    return [f"  {int(made.sum())} posteriors, {sampled} of them by the sampler{more}"]


_USELESS = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.AT_BOUND


def _failure(table: Table | StoredRows) -> str:
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


_WHAT = "fits, as `payneflow fit` writes them (ecsv)"
_PIECES = "the pieces of stars, as `payneflow fit --pieces` writes them (STEM_pieces.ecsv)"
_OF_PIECES = {"flags": "i", "spectrum": "i"}
_COLUMNS, _META = {"flags": "i"}, {"label_names": list, "flags": dict, "mode": str}


def read_results(path: str | Path) -> Table:
    """Read fits that `write_results` wrote as ECSV. Raises SpectraError for a file that is none, or is damaged."""
    table = read_table(path, SpectraError, _WHAT, _COLUMNS, _META)
    _check(path, table)
    return table


def read_result_blocks(path: str | Path) -> Iterator[Table]:
    """Read fits as `read_results` does: a table without rows first, and then the rows, some at a time."""
    for number, table in enumerate(read_blocks(path, SpectraError, _WHAT, _COLUMNS, _META, BLOCK)):
        if not number:
            _check(path, table)
        yield table


def read_piece_blocks(path: str | Path) -> Iterator[Table]:
    """Read the pieces of stars that `payneflow fit --pieces` wrote beside them, as `read_result_blocks` reads fits."""
    for number, table in enumerate(read_blocks(path, SpectraError, _PIECES, _OF_PIECES, {"flags": dict}, BLOCK)):
        if not number:
            _check_which(path, _PIECES, table.meta)
        yield table


def _check(path: str | Path, table: Table) -> None:
    """Raise SpectraError where the labels have not their columns, or the meta is not what it should be."""
    names = table.meta["label_names"]
    if not all(isinstance(name, str) for name in names):
        raise SpectraError(f"{path}: label_names in its meta is {names!r}; expected {_WHAT}.")
    columns = {column: "f" for name in names for column in (name, f"{name}_error")}
    check_columns(path, SpectraError, _WHAT, table, columns)
    for name, kind in (("flags", int), ("left_out", int), ("unreadable", str)):
        found = table.meta.get(name, {})
        if not isinstance(found, dict) or not all(isinstance(value, kind) for value in found.values()):
            raise SpectraError(f"{path}: {name} in its meta is {str(found)[:MOST_SAID]!r}; expected {_WHAT}.")
    _check_which(path, _WHAT, table.meta)


def digest_of_values(blocks: Iterable[Iterable[np.ndarray]]) -> tuple[int, str]:
    """How many rows a table of fits has, and SHA-256 of all its numbers, from its columns, some rows at a time.

    It is the same for all formats, and for blocks of any size: each column has a sum of its own, and these have one.
    """
    n_row, sums = 0, []
    for columns in blocks:
        numbers = [column for column in columns if column.dtype.kind in "fiub"]
        sums = sums or [hashlib.sha256() for _ in numbers]
        for total, column in zip(sums, numbers, strict=True):
            kind = float if column.dtype.kind == "f" else int
            values = np.ma.filled(np.ma.asarray(column).astype(kind), np.nan if kind is float else 0)
            total.update(np.ascontiguousarray(np.where(values == values, values, np.nan) if kind is float else values))
        n_row += len(numbers[0])
    return n_row, hashlib.sha256("".join(total.hexdigest() for total in sums).encode()).hexdigest()


def _check_which(path: str | Path, what: str, meta: dict) -> None:
    """Raise SpectraError where the meta does not say as it should how many rows there are, and of which spectra."""
    runs = {name: meta.get(name, []) for name in ("spectra", "stars")}
    good = {name: isinstance(given, list) and all(map(_is_run, given)) for name, given in runs.items()}
    whole = {name: isinstance(meta.get(name, 0), int) for name in ("n_row", "n_all", "n_star")}
    for name, right in (whole | good).items():
        if not right:
            raise SpectraError(f"{path}: {name} in its meta is {str(meta[name])[:MOST_SAID]!r}; expected {what}.")


def _is_run(run) -> bool:
    return isinstance(run, list) and len(run) == 2 and all(isinstance(n, int) for n in run) and 0 <= run[0] < run[1]
