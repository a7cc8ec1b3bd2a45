"""The result files that figures are drawn from, read and checked: a wrong one is named, with what it lacks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import Table

from payneflow.errors import PayneflowError
from payneflow.label_names import NO_NOISE, NOISELESS, TEST_SNR
from payneflow.scaling import PUBLISHED_FLUX, FluxScale
from payneflow.stored_tables import check_columns, read_table


def flux_scale_of(evaluation: dict[str, np.ndarray]) -> tuple[FluxScale, str]:
    """The flux scale of an evaluation, published where it says none, and what a share of it is called."""
    scale = FluxScale(*map(float, evaluation.get("flux_scale", (0.0, 1.0))))
    return scale, "normalised flux" if scale == PUBLISHED_FLUX else "share of the flux scale"


def read_record(path: str | Path) -> Table:
    """Read a training record of at least one pixel."""
    columns = {"wavelength": "f", "loops": "i", "deviation": "f", "deviation_test": "f", "end": "U"}
    return _with_rows(
        path, read_table(path, PayneflowError, "a training record", columns, {"trunc_diff": (int, float)})
    )


def read_fits(path: str | Path, columns: Mapping[str, str]) -> Table:
    """Read a table of at least one fit, with these columns and those of its labels."""
    what = "a table of fits"
    meta = {"label_names": list, "flags": dict}
    table = read_table(path, PayneflowError, what, {**columns, "flags": "i"}, meta)
    names, flags = table.meta["label_names"], table.meta["flags"]
    if not names or not all(isinstance(name, str) for name in names):
        raise PayneflowError(f"{path}: label_names in its meta is {names!r}; expected the names of labels: {what}.")
    if not all(isinstance(bit, int) for bit in flags.values()):
        raise PayneflowError(f"{path}: flags in its meta is {flags!r}; expected a number for each name: {what}.")
    check_columns(path, PayneflowError, what, table, {c: "f" for name in names for c in (name, f"{name}_error")})
    true = {f"{name}_true": "f" for name in names if f"{name}_true" in table.colnames}
    check_columns(path, PayneflowError, what, table, true)
    noiseless = {f"{name}{NOISELESS}": "f" for name in names if f"{name}{NOISELESS}" in table.colnames}
    check_columns(path, PayneflowError, what, table, noiseless)
    snr = table.meta.get(TEST_SNR, NO_NOISE)
    if snr != NO_NOISE and not isinstance(snr, int | float):
        raise PayneflowError(f"{path}: {TEST_SNR} in its meta is {snr!r}; expected a number or {NO_NOISE}: {what}.")
    return _with_rows(path, table)


def _with_rows(path: str | Path, table: Table) -> Table:
    if not len(table):
        raise PayneflowError(f"{path}: the table has no rows; there is nothing to plot.")
    return table


def floats(column) -> np.ndarray:
    """A table column as float64, NaN where it is masked."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
