"""Stars that a grid is for, such as isochrones or a survey's catalogue: points near them, as dense as they are.

A point lies on the line from a star to one of its nearest neighbours, and then off it by a margin, a share of the range
of each label. So it lies in the stars' hull, widened by the margin, and more points lie where there are more stars.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from payneflow.errors import SettingsError

NEIGHBOURS = 12  # of a star, one of which the line goes to
MARGIN = 0.05  # of the range of each label


@dataclass(frozen=True, eq=False)
class Stars:
    """`labels` (n_star, n_own) of the stars, in the units of their labels `names` (n_own,).

    `margin`: how far points may be off the stars' hull, as a share of each label's range. `beyond`: how far on the line
    a point may be outside star and neighbour, as a share of their distance. `within`: points beyond the stars' ranges
    are moved to these.
    """

    N_CHOICE: ClassVar[int] = 3  # numbers that choose star, neighbour and place on the line

    names: tuple[str, ...]
    labels: np.ndarray
    margin: float = MARGIN
    beyond: float = 0.0

    def __post_init__(self):
        if not 0.0 <= self.margin <= 1.0:
            raise SettingsError(f"--margin {self.margin:g}: expected a share of the labels' ranges, 0 ... 1.")
        for name, low, high in zip(self.names, self.labels.min(axis=0), self.labels.max(axis=0), strict=True):
            if not low < high:
                raise SettingsError(
                    f"all stars have {name} = {low:g}. Give it a --range, and leave it out of the stars."
                )

    @property
    def _ends(self) -> np.ndarray:
        return np.array([self.labels.min(axis=0), self.labels.max(axis=0)])

    @property
    def lowest(self) -> np.ndarray:
        """(n_own,): below which no point is."""
        low, high = self._ends
        return low - self.margin * (high - low)

    @property
    def highest(self) -> np.ndarray:
        """(n_own,): above which no point is."""
        low, high = self._ends
        return high + self.margin * (high - low)

    @cached_property
    def _scaled(self) -> np.ndarray:
        """(n_star, n_own), each label 1 wide, in order along the direction in which they differ most."""
        low, high = self._ends
        scaled = (self.labels - low) / (high - low)
        _, _, directions = np.linalg.svd(scaled - scaled.mean(axis=0), full_matrices=False)
        return scaled[np.argsort(scaled @ directions[0], kind="stable")]

    def near(self, choice: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Labels (n, n_own) near the stars that numbers between 0 and 1 say: `choice` (n, 3), `offset` (n, n_own)."""
        from scipy.spatial import KDTree

        stars = self._scaled
        n_neighbour = min(NEIGHBOURS, len(stars) - 1)
        star = _whole(choice[:, 0], len(stars))
        _, near = KDTree(stars).query(stars[star], k=n_neighbour + 1)
        neighbour = near[np.arange(len(star)), 1 + _whole(choice[:, 1], n_neighbour)]
        along = (choice[:, 2:] * (1 + 2 * self.beyond)) - self.beyond
        points = stars[star] + along * (stars[neighbour] - stars[star])
        low, high = self._ends
        labels = low + (points + self.margin * (2 * offset - 1)) * (high - low)
        return np.clip(labels, self.lowest, self.highest)


def _whole(unit: np.ndarray, n: int) -> np.ndarray:
    """Numbers (m,) between 0 and 1 -> 0 ... n - 1."""
    return np.minimum((unit * n).astype(int), n - 1)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Stars as they were read. `units`: of the labels, "" where the table says none. `n_left_out`: without a label."""

    stars: Stars
    units: dict[str, str]
    n_left_out: int


def read_stars(path: str | Path, names: tuple[str, ...], margin: float, needed: bool = True) -> Catalogue:
    """Stars from a table (ECSV) whose columns have the names of labels; rows without a value for one are left out.

    `needed`: all of `names` must be columns; else those that are. Raises SettingsError where a column is missing or is
    none of numbers, and where the stars are fewer than one more than their labels.
    """
    from payneflow.stored_tables import read_table

    what = "a table of stars (ECSV), with a column for each label"
    table = read_table(path, SettingsError, what, {}, {})
    own = tuple(name for name in names if name in table.colnames)
    missing = [name for name in names if name not in own]
    if not own or (missing and needed):
        shown = ", ".join(table.colnames[:20])
        raise SettingsError(f"{path}: no column {', '.join(missing)}; it has {shown}. Name columns as the labels are.")
    columns = []
    for name in own:
        column = table[name]
        if column.dtype.kind not in "fiu" or column.ndim != 1:
            raise SettingsError(f"{path}: column {name} is {column.dtype}, expected numbers: {what}.")
        columns.append(np.ma.filled(np.ma.asarray(column, dtype=float), np.nan))
    labels = np.column_stack(columns)
    whole = np.isfinite(labels).all(axis=1)
    n_different = len(np.unique(labels[whole], axis=0))
    if n_different < len(own) + 1:
        raise SettingsError(
            f"{path}: {n_different} different stars that have a value for each of {', '.join(own)}; {len(own) + 1} or "
            "more are needed to span a hull. Give more stars, or ranges instead."
        )
    units = {name: str(table[name].unit or "") for name in own}
    return Catalogue(Stars(own, labels[whole], margin), units, int((~whole).sum()))
