"""The table of spectra to compute (ECSV): a column for each label, in the order of a grid's `labels_array`.

table = Table.read("first.ecsv")
labels_array = np.array([table[name] for name in table.meta["label_names"]])  # (n_label, n_spectrum)
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.errors import PayneflowError, SettingsError
from payneflow.files import check_outputs
from payneflow.label_names import problems_of_names
from payneflow.stored_tables import read_table, write_table

WHAT = "a table of spectra to compute (ECSV), as `payneflow design` writes it"


def check_free(path: str | Path, overwrite: bool, inputs: Sequence[str | Path | None] = ()) -> None:
    """Raise PayneflowError where a file is there already, and is not to be overwritten.

    A list of spectra is what computing of weeks goes by: it is not lost by typing a command again.
    """
    check_outputs([path], inputs)
    if Path(path).exists() and not overwrite:
        raise PayneflowError(f"{path}: there already. Name another file, or say --overwrite.")


def check_label_names(names: Sequence[str], units: Sequence[str]) -> None:
    """Raise SettingsError where a grid could not call its labels so, or a unit is none."""
    from astropy.units import Unit

    for _, why in problems_of_names(names):
        raise SettingsError(f"labels {', '.join(map(repr, names))}: one has a name {why}. Rename it.")
    for name, unit in zip(names, units, strict=True):
        try:
            Unit(unit)
        except ValueError:
            raise SettingsError(f"--unit {name}={unit}: no unit that astropy knows, such as K, dex or km/s.") from None


def write_design(
    path: str | Path, labels: np.ndarray, names: Sequence[str], units: Sequence[str], provenance: dict[str, object]
) -> None:
    """Write labels (n, n_label), in their `units`, one row a spectrum; `provenance` goes into the table's meta."""
    from astropy.table import Table

    table = Table(labels, names=list(names))
    for name, unit in zip(names, units, strict=True):
        table[name].unit = unit or None
    table.meta = {
        "label_names": list(names),
        "label_units": list(units),
        "payneflow_version": __version__,
        **provenance,
    }
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_table(path, [text.getvalue()])


def read_design(path: str | Path) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels (n, n_label), names and units of a table that `write_design` wrote. Raises SettingsError."""
    meta = {"label_names": list, "label_units": list}
    table = read_table(path, SettingsError, WHAT, {}, meta)
    names = tuple(map(str, table.meta["label_names"]))
    missing = [name for name in names if name not in table.colnames]
    if missing or len(names) != len(table.meta["label_units"]):
        raise SettingsError(f"{path}: its columns are not those that its meta names; expected {WHAT}.")
    labels = np.column_stack([np.asarray(table[name], dtype=float) for name in names])
    return labels, names, tuple(map(str, table.meta["label_units"]))
