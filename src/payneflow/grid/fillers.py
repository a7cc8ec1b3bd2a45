"""Numbers among the labels of a grid that stand for "unknown": -9999, 99.99, the least integer, and their like.

One such value scales all labels of its kind away, if it trains; if it tests, it passes for an enormous error of the
networks. What is told apart here is a filler from a label, by two marks together: how the number looks, and how far it
lies from all other values of its label. A number that looks like any other is one only where it lies far outside.
"""

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.origins import Origins

FEW = 0.05  # of all spectra: a value that more of them share is a step of a mesh, unless it looks like a filler
FAR = 3.0  # ranges of all other values; a value of a plain look that lies farther away is no label
HUGE = 1e19  # a size that no label has; 1e20, 1e30 and 9.97e36 are usual fillers
_BITS = (15, 16, 31, 32, 63, 64)
_LIMITS = np.array([sign * (2.0**bit - less) for bit in _BITS for less in (0, 1) for sign in (-1, 1)])


def check_fillers(
    origins: Origins, key: str, labels: np.ndarray, names: tuple[str, ...], units: tuple[str, ...]
) -> None:
    """Raise GridError where labels (n_spectrum, n_label), finite, hold a filler; it names row, label and value."""
    for j, name in enumerate(names):
        values = labels[:, j]
        filler = _filler_in(values)
        if filler is None:
            continue
        rows = np.flatnonzero(values == filler)
        rest = values[values != filler]
        path, row = origins.of(int(rows[0]))
        count = f", the first of {len(rows)} such" if len(rows) > 1 else ""
        raise GridError(
            f"{path}: {key}[{j}, {row}] is {filler:.10g} (label {name}, spectrum {row}){count}; all other "
            f"values of {name} lie in {rest.min():g} ... {rest.max():g} {units[j]}".rstrip()
            + ". It reads as a placeholder for a label that is unknown, or as a slip; expected the label of the "
            f"spectrum. Correct it, or remove column {row} of {key} and row {row} of the flux."
        )


def _filler_in(values: np.ndarray) -> float | None:
    """The value among (n,) finite ones that is no label, the one farthest off where there are several."""
    distinct, count = np.unique(values, return_counts=True)
    looks = np.array([_looks_like_filler(value) for value in distinct])
    plain = distinct[~looks]
    if not len(plain):
        return None
    step = np.diff(plain).max() if len(plain) > 1 else np.abs(plain).max()
    away = np.maximum(plain[0] - distinct, distinct - plain[-1])
    fillers = looks & (away > step)
    if not fillers.any():
        fillers = _far_from_all_others(distinct, count)
    return float(distinct[np.argmax(np.where(fillers, np.abs(away), -np.inf))]) if fillers.any() else None


def _looks_like_filler(value: float) -> bool:
    """Is this written with nines alone (-9999, 99.99, -9), an integer at the end of its type, or beyond all labels?"""
    digits = f"{abs(value):.6g}".replace(".", "")
    nines = set(digits) == {"9"} and (len(digits) > 1 or value < 0)  # 0.9 begins with a zero
    return nines or abs(value) >= HUGE or bool((np.abs(_LIMITS - value) <= 1e-7 * abs(value)).any())


def _far_from_all_others(distinct: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Where a group of few values at either end lies farther from the others than these ever differ, (n,) bool.

    A zero at the end needs to lie but once their range away: it is a usual filler, and a usual label.
    """
    far, few = np.zeros(len(distinct), dtype=bool), FEW * count.sum()
    steps = np.diff(distinct)
    for i in range(len(steps)):  # the gap after value i
        low, high = slice(0, i + 1), slice(i + 1, None)
        for group, others in ((low, high), (high, low)):
            if count[group].sum() > few or len(distinct[others]) < 2:
                continue
            needed = 1.0 if (distinct[group] == 0).all() else FAR
            if steps[i] > needed * np.ptp(distinct[others]):
                far[group] = True
    return far
