"""What the meta of tables of one run add up to, when they become one table."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy.table import Table

from payneflow.errors import SpectraError
from payneflow.fitting.rows import StoredRows


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason, added up."""
    total: dict[str, int] = {}
    for count in counts:
        for reason, n in count.items():
            total[reason] = total.get(reason, 0) + n
    return total


def united(parts: Iterable[Iterable[tuple[str, str]]]) -> dict[str, str]:
    """All problems, by the name of what has it; a name that is there already gets a number."""
    united: dict[str, str] = {}
    for part in parts:
        for name, problem in part:
            number = 1
            while (own := name if number == 1 else f"{name} ({number})") in united:
                number += 1
            united[own] = problem
    return united


def runs(parts: Iterable[Iterable[list[int]]]) -> list[list[int]]:
    """All runs [first, stop] of spectra, those that follow on each other as one."""
    joined: list[list[int]] = []
    for first, stop in sorted(run for part in parts for run in part):
        if joined and joined[-1][1] == first:
            joined[-1] = [joined[-1][0], stop]
        else:
            joined.append([first, stop])
    return joined


# What differs among the tables of one run, and how to add it up; all else is the same in each.
ADDED = {
    "unreadable": lambda parts: united(part.items() for part in parts),
    "left_out": summed,
    "n_row": sum,
    "spectra": runs,
    "stars": runs,
}


def joined_meta(metas: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The meta of the first, of which counts are added up; one that some table does not say is left away."""
    said = {name: value for name, value in metas[0].items() if all(name in meta for meta in metas)}
    return {name: ADDED[name]([meta[name] for meta in metas]) if name in ADDED else said[name] for name in said}


def refuse_if_unreadable(fits: Table | StoredRows) -> None:
    """Raise SpectraError where not one spectrum of a run could be read: then something is declared wrongly."""
    unreadable = fits.meta.get("unreadable", {})
    n = int(np.sum(fits["n_piece"])) if "n_piece" in fits.colnames else len(fits)
    if unreadable and len(unreadable) >= n:
        first = next(iter(unreadable.values()))
        raise SpectraError(f"none of {n} spectra could be read; the first: {first}")
