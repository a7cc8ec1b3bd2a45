"""Flags in a figure of fits, of stars and of labels: which rows have which, its marker, and its name in words."""

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from payneflow.figures.numbers import words
from payneflow.figures.reading import floats
from payneflow.figures.style import GREEN, INK, ORANGE, PURPLE, SKY, VERMILION
from payneflow.label_names import FLAGS

_MARKERS = {
    "NOT_CONVERGED": ("s", ORANGE),
    "AT_BOUND": ("D", VERMILION),
    "OUTSIDE_TRAINING": ("^", PURPLE),
    "FAR_FROM_TRAINING": ("v", GREEN),
    "MODEL_MISMATCH": ("o", INK),
    "RV_UNSURE": ("<", SKY),
    "RV_EDGE": (">", ORANGE),
    "FEW_PIXELS": ("p", VERMILION),
    "STARTS_DISAGREE": ("h", GREEN),
    "MANY_OUTLIERS": ("P", SKY),
    "POOR_NETWORKS": ("X", INK),
    "RV_VARIABLE": ("*", VERMILION),
    "DOUBLE_LINED": ("H", VERMILION),
}
_MARKERS_OF_LABELS = {
    "AT_BOUND": ("d", SKY),
    "OUTSIDE_TRAINING": ("2", GREEN),
    "NO_INFORMATION": ("x", VERMILION),
    "LOPSIDED": ("1", ORANGE),
}
_OTHER = ("8", PURPLE)  # a flag that this version does not know
_FAILED = "FAILED"  # such a fit has no labels, so that there is nothing to mark


def is_failed(fits: Table) -> np.ndarray:
    """(n_spectrum,) whether a fit gave no labels: any of them NaN."""
    labels = np.column_stack([floats(fits[name]) for name in fits.meta["label_names"]])
    return ~np.isfinite(labels).all(axis=1)


def flagged(fits: Table) -> list[tuple[str, np.ndarray, dict]]:
    """For each flag but FAILED its name, the rows (n_spectrum,) that have it, and the look of their marker."""
    bits = {name: bit for name, bit in fits.meta["flags"].items() if name != _FAILED}
    return _marks(np.asarray(fits["flags"], dtype=int), bits, _MARKERS)


def flagged_label(fits: Table, label: str) -> list[tuple[str, np.ndarray, dict]]:
    """The same for each flag of this label; none in a table of an earlier version, which has flags of stars alone."""
    if label + FLAGS not in fits.colnames:
        return []
    return _marks(np.asarray(fits[label + FLAGS], dtype=int), fits.meta.get("label_flags", {}), _MARKERS_OF_LABELS)


def _marks(flags: np.ndarray, bits: Mapping[str, int], markers: dict) -> list[tuple[str, np.ndarray, dict]]:
    marks = []
    for name, bit in in_order(bits):
        marker, colour = markers.get(name, _OTHER)
        rows = (flags & bit) != 0
        marks.append((name, rows, {"marker": marker, "mec": colour, "ls": "none", "mfc": "none", **_ring(rows)}))
    return marks


def _ring(rows: np.ndarray) -> dict:
    """Size of the open markers of these rows: the more there are, the smaller, so that the fits stay visible."""
    n = int(rows.sum())
    size, width = (4.5, 0.8) if n <= 100 else (3.0, 0.5) if n <= 1000 else (1.5, 0.3)
    return {"ms": size, "mew": width, "rasterized": n > 1000}


def in_order(flags: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names and bits by bit: a table read from a file has them by name."""
    return sorted(flags.items(), key=lambda item: item[1])


def flag_words(value: int, flags: Mapping[str, int]) -> list[str]:
    """The flags in a sum of bits, each in words; `flags` are the bits by name."""
    return [words(name) for name, bit in in_order(flags) if value & bit]
