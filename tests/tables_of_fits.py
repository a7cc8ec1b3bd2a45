"""Tables as fits have them, of made-up numbers, whose names are hard to write."""

import numpy as np
from astropy.table import Table

LABELS = ["Teff", "[α/Fe]"]
NAMES = ["#first", 'quote " and, comma', "two\nlines", "星", "é  é", "", "a" * 50, "undecodable \udce9"]


def table_of(n_row, seed=0, first=0):
    """A table as fits have it, with names that are hard to write."""
    rng = np.random.default_rng(seed)
    table = Table({"identifier": np.array([NAMES[i % len(NAMES)] for i in range(n_row)], dtype=str)})
    for name, unit in zip(LABELS, ("K", "dex"), strict=True):
        for column in (name, f"{name}_error"):
            table[column] = rng.normal(size=n_row)
            table[column].unit, table[column].description = unit, f"of {column}"
    table["covariance"] = rng.normal(size=(n_row, 2, 2))
    table["covariance"][n_row // 2 :] = np.nan
    table["flags"] = rng.integers(0, 9, n_row)
    meta = {"label_names": LABELS, "flags": {"AT_BOUND": 2, "FAILED": 4}, "mode": "labels", "grid": "é"}
    table.meta = {**meta, "unreadable": {"星": "no file"}, "n_row": n_row, "spectra": [[first, first + n_row]]}
    return table
