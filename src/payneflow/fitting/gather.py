"""The fits of all shards of one run -> one table, read row after row: memory holds one block of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.table import Table

from payneflow.errors import SpectraError
from payneflow.fitting.results import read_result_blocks
from payneflow.fitting.rows import StoredRows
from payneflow.fitting.run_meta import ADDED, joined_meta


def gather_fits(paths: Sequence[str | Path]) -> Table:
    """The fits of all shards of one run as `gather_into` joins them, in memory."""
    with StoredRows() as rows:
        gather_into(rows, paths)
        return rows.table()


def gather_into(
    rows: StoredRows,
    paths: Sequence[str | Path],
    read: Callable[[str | Path], Iterator[Table]] = read_result_blocks,
) -> None:
    """Append the fits of all shards of one run (ecsv) to `rows`, in the order given, with the meta of them all.

    `read`: `read_piece_blocks` for the pieces of stars.

    Raises SpectraError naming the files where two were not made with the same networks, settings and label errors, or
    where spectra or stars are there twice or not at all; and what `read_results` raises. Headers are compared first.
    """
    heads = [next(read(path)) for path in paths]
    for path, head in zip(paths, heads, strict=True):
        _prove_one_run(path, head, paths[0], heads[0])
    metas = [head.meta for head in heads]
    _prove_no_file_twice(paths)
    for what, n_all in _COUNTED.items():
        _prove_each_once(what, n_all, paths, metas)
    for path, meta in zip(paths, metas, strict=True):
        before = len(rows)
        for block in read(path):
            rows.append(block)
        _prove_rows(path, len(rows) - before, meta)
    rows.meta = joined_meta(metas)


def _prove_one_run(path: str | Path, head: Table, first_path: str | Path, first: Table) -> None:
    """Raise SpectraError where a table has another meta, other columns or other types than the first."""
    for what in set(first.meta) | set(head.meta) - set(ADDED):
        if head.meta.get(what) != first.meta.get(what) and what not in ADDED:
            raise SpectraError(
                f"{path}: its {what} is {head.meta.get(what)!r}, but that of {first_path} is "
                f"{first.meta.get(what)!r}; expected shards of one run. Fit them again."
            )
    if head.colnames != first.colnames:
        other = sorted(set(head.colnames) ^ set(first.colnames))
        raise SpectraError(f"{path}: has not the columns of {first_path}: {', '.join(other)}. Fit it again.")
    for name in head.colnames:
        kinds = [(one[name].dtype.kind, one[name].shape[1:]) for one in (head, first)]
        if kinds[0] != kinds[1]:
            raise SpectraError(
                f"{path}: its column {name} is {head[name].dtype}, but that of {first_path} is {first[name].dtype}; "
                "expected shards of one run. Fit them again."
            )


def _prove_no_file_twice(paths: Sequence[str | Path]) -> None:
    given: dict[Path, str | Path] = {}
    for path in paths:
        if (own := Path(path).resolve()) in given:
            raise SpectraError(f"{path}: given twice, first as {given[own]}. Give each shard once.")
        given[own] = path


def _prove_rows(path: str | Path, n_row: int, meta: Mapping[str, Any]) -> None:
    """Raise SpectraError where a table has lost rows."""
    if n_row != meta.get("n_row", n_row):
        raise SpectraError(
            f"{path}: {n_row} rows, but it was made with {meta['n_row']}: rows were removed or added. Fit this shard "
            "again."
        )


_COUNTED = {"spectra": "n_all", "stars": "n_star"}  # which of them a table holds, of how many


def _prove_each_once(what: str, of: str, paths: Sequence[str | Path], metas: Sequence[Mapping[str, Any]]) -> None:
    """Raise SpectraError where spectra, or stars, are in two tables or in none.

    Tables that do not say which ones they hold, such as those of earlier versions, are proved only not to be one
    file given twice; those that do not say how many there are, that none is missing before the last.
    """
    if not all(what in meta for meta in metas):
        return
    runs = sorted((*run, str(path)) for path, meta in zip(paths, metas, strict=True) for run in meta[what])
    seen, before = 0, ""
    for first, stop, path in runs:
        if first < seen:
            raise SpectraError(f"{path}: {what} {first}:{min(seen, stop)} are also in {before}. Give each shard once.")
        if first > seen:
            raise SpectraError(
                f"{what} {seen}:{first} are in none of the {len(metas)} tables given: a shard is missing before "
                f"{path}. Fit it and give it too."
            )
        seen, before = stop, path
    n_all = metas[0].get(of, seen)
    if seen != n_all:
        raise SpectraError(
            f"the {len(metas)} tables given hold {what} 0:{seen}, the last of them in {before}; expected those of all "
            f"{n_all} that there are. Fit {seen}:{n_all} and give their tables too."
            if seen < n_all
            else f"{before}: holds {what} up to {seen}, but says that there are {n_all}. Fit this shard again."
        )
