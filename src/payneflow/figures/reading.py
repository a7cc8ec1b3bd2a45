"""The result files that figures are drawn from, read and checked: a wrong one is named, with what it lacks."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from payneflow.errors import PayneflowError
from payneflow.scaling import PUBLISHED_FLUX, FluxScale


def flux_scale_of(evaluation: dict[str, np.ndarray]) -> tuple[FluxScale, str]:
    """The flux scale of an evaluation, published where it says none, and what a share of it is called."""
    scale = FluxScale(*map(float, evaluation.get("flux_scale", (0.0, 1.0))))
    return scale, "normalised flux" if scale == PUBLISHED_FLUX else "share of the flux scale"


def read_table(path: str | Path, columns: Sequence[str], meta: Sequence[str], what: str) -> Table:
    """Read an ECSV table of at least one row, with the `columns` and entries in `meta`; `what` names it in messages."""
    try:
        table = Table.read(path, format="ascii.ecsv")
    except FileNotFoundError as error:
        raise PayneflowError(f"{path}: no such file; expected {what}.") from error
    except (OSError, ValueError, KeyError) as error:
        raise PayneflowError(f"{path}: not a readable ECSV table ({error}); expected {what}.") from error
    require(path, table.colnames, columns, "column", what)
    require(path, table.meta, meta, "entry in meta", what)
    if not len(table):
        raise PayneflowError(f"{path}: the table has no rows; there is nothing to plot.")
    return table


def require(path: str | Path, present: Container[str], needed: Sequence[str], kind: str, what: str) -> None:
    """Raise PayneflowError naming every `needed` key, column or entry (`kind`) that is not present."""
    missing = [name for name in needed if name not in present]
    if missing:
        raise PayneflowError(
            f"{path}: no {kind} {', '.join(missing)}; {what} has it. Was the file made by another version of payneflow?"
        )


def floats(column) -> np.ndarray:
    """A table column as float64, NaN where it is masked."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
