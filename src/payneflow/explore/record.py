"""The training record as the page shows it: what it says of each pixel of the networks."""

from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError
from payneflow.explore.packed import single
from payneflow.network import Networks
from payneflow.stored_tables import read_table

COLUMNS = {
    "wavelength": "f",
    "deviation": "f",
    "deviation_test": "f",
    "loops": "i",
    "restarts": "i",
    "end": "U",
}
LATER = ("median_deviation_test", "explained_test", "seconds")  # not in the records of earlier versions


def read_record_of(networks: Networks, path: str | Path) -> dict:
    """Columns of the record (n_pixel,), and `ends`, the words that the numbers of `end` stand for.

    Raises PayneflowError where the file is no training record, or that of other networks.
    """
    table = read_table(path, PayneflowError, "a training record", COLUMNS, {"trunc_diff": (int, float)})
    made = table.meta.get("networks")
    if len(table) != len(networks.wavelength) or not np.allclose(table["wavelength"], networks.wavelength, rtol=1e-9):
        raise PayneflowError(
            f"{path}: its pixels are not those of the networks ({len(table)} and {len(networks.wavelength)}). Give the "
            "record that payneflow gather wrote beside them."
        )
    if made and made != networks.digest:
        raise PayneflowError(
            f"{path}: the record of other networks (digest {str(made)[:12]}..., theirs is {networks.digest[:12]}...). "
            "Give the record that payneflow gather wrote beside them."
        )
    ends, number = np.unique(np.asarray(table["end"], dtype=str), return_inverse=True)
    names = [name for name in COLUMNS if name not in ("wavelength", "end")]
    names += [name for name in LATER if name in table.colnames]
    columns = {name: single(np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)) for name in names}
    return {**columns, "end": single(number), "ends": ends.tolist(), "trunc_diff": float(table.meta["trunc_diff"])}
