"""Where labels may be: ranges, polygons of two labels, the surroundings of given stars, and relations between labels.

Ranges and polygons are read from text: `Teff=4000:6000`, and `Teff,logg=4000,0.5 5000,3.5 6500,4.5` with the corners in
the order in which one walks round. Every label has a range, a polygon, or stars; a range or a polygon of a label that
the stars have cuts off some of them.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from payneflow.design.relations import Relation
from payneflow.design.stars import Stars
from payneflow.errors import SettingsError


@dataclass(frozen=True)
class Range:
    """`label` is within `lowest` ... `highest`. Raises SettingsError where that is no range."""

    label: str
    lowest: float
    highest: float

    def __post_init__(self):
        if not (np.isfinite(self.lowest) and np.isfinite(self.highest) and self.lowest < self.highest):
            raise SettingsError(
                f"--range {self.label}={self.lowest:g}:{self.highest:g}: expected two numbers, the lower one first."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.label,)

    @property
    def spans(self) -> list[tuple[float, float]]:
        return [(self.lowest, self.highest)]

    def __str__(self) -> str:
        return f"--range {self.label}={self.lowest:g}:{self.highest:g}"

    def keeps(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) bool: which labels (n,), by their names, are within it."""
        return (columns[self.label] >= self.lowest) & (columns[self.label] <= self.highest)


@dataclass(frozen=True, eq=False)
class Polygon:
    """The two `labels` lie in the polygon of `corners` (n_corner, 2), in the order in which one walks round."""

    labels: tuple[str, str]
    corners: np.ndarray

    @property
    def spans(self) -> list[tuple[float, float]]:
        return list(zip(self.corners.min(axis=0).tolist(), self.corners.max(axis=0).tolist(), strict=True))

    def __str__(self) -> str:
        return f"--polygon {','.join(self.labels)}"

    def keeps(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) bool: which labels (n,), by their names, lie in it."""
        from matplotlib.path import Path

        closed = np.vstack([self.corners, self.corners[:1]])
        return Path(closed, closed=True).contains_points(np.column_stack([columns[name] for name in self.labels]))


@dataclass(frozen=True, eq=False)
class Region:
    """Where labels `names` (n_label,) may be. `lowest`, `highest` (n_label,): in the labels' own units, of all points.

    `stars`: that the points are near, whose labels are some of `names`, or None. What `cuts` names, by its text, keeps
    some of the points: relations, polygons, ranges of labels that the stars have.
    """

    names: tuple[str, ...]
    lowest: np.ndarray
    highest: np.ndarray
    stars: Stars | None = None
    cuts: dict[str, Relation | Polygon | Range] = field(default_factory=dict)

    @property
    def n_coordinate(self) -> int:
        """How many numbers between 0 and 1 make a point."""
        return len(self.names) + (Stars.N_CHOICE if self.stars else 0)

    def points(self, unit: np.ndarray) -> np.ndarray:
        """Labels (n, n_label) of numbers (n, n_coordinate) between 0 and 1; cuts are still to be made."""
        n_choice = self.n_coordinate - len(self.names)
        labels = self.lowest + unit[:, n_choice:] * (self.highest - self.lowest)
        if self.stars:
            own = [self.names.index(name) for name in self.stars.names]
            labels[:, own] = self.stars.near(unit[:, :n_choice], unit[:, n_choice:][:, own])
        return labels

    def kept_by(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """(n,) bool for each cut, by its text: which of labels (n, n_label) it keeps."""
        columns = dict(zip(self.names, labels.T, strict=True))
        return {text: cut.keeps(columns) for text, cut in self.cuts.items()}


def make_region(
    names: Sequence[str],
    limits: Sequence[Range | Polygon],
    relations: Sequence[Relation] = (),
    stars: Stars | None = None,
) -> Region:
    """The region that these say. Raises SettingsError naming a label that none of them limits, or two do."""
    names = tuple(names)
    of_stars = stars.names if stars else ()
    lowest, highest = np.full((2, len(names)), np.nan)
    cuts: dict[str, Relation | Polygon | Range] = {}
    boxed: dict[str, str] = {}
    for one in limits:
        for name, span in zip(one.labels, one.spans, strict=True):
            check_name(str(one), name, names)
            if name in boxed:
                raise SettingsError(f"{one}: {name} has {boxed[name]} already. Give one of them.")
            boxed[name] = str(one)
            lowest[names.index(name)], highest[names.index(name)] = span
        if isinstance(one, Polygon) or one.label in of_stars:
            cuts[str(one)] = one
    free = [name for name in names if name not in boxed and name not in of_stars]
    if free:
        raise SettingsError(
            f"no range for {', '.join(free)}: give --range {free[0]}=LOWEST:HIGHEST, a --polygon, or stars that have "
            "it (--like)."
        )
    if stars:
        own = [names.index(name) for name in stars.names]
        lowest[own], highest[own] = stars.lowest, stars.highest
    cuts |= {f"--where {relation.text}": relation for relation in relations}
    return Region(names, lowest, highest, stars, cuts)


def check_name(said: str, name: str, names: Sequence[str]) -> None:
    """Raise SettingsError where `said` names a label that is none of `names`."""
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise SettingsError(f"{said}: no label {name!r}; the labels are {', '.join(names)}.{hint}")


# ------------------------------------------------------------------------------------------------------ as it is typed


def parse_range(text: str) -> Range:
    """NAME=LOWEST:HIGHEST; the name may hold a "=". Raises SettingsError."""
    name, _, span = text.rpartition("=")
    ends = span.split(":")
    if not name or len(ends) != 2:
        raise SettingsError(f"--range {text}: expected NAME=LOWEST:HIGHEST, such as Teff=4000:6000.")
    return Range(name, *(_number(f"--range {text}", end) for end in ends))


def parse_polygon(text: str) -> Polygon:
    """NAME,NAME=X,Y X,Y X,Y ..., three corners or more that enclose something. Raises SettingsError."""
    said, (names, _, corners) = f"--polygon {text}", text.rpartition("=")
    labels = names.split(",")
    pairs = [corner.split(",") for corner in corners.split()]
    if len(labels) != 2 or not all(labels) or labels[0] == labels[1] or any(len(pair) != 2 for pair in pairs):
        raise SettingsError(f"{said}: expected NAME,NAME=X,Y X,Y X,Y ..., two labels and the corners, walking round.")
    found = np.array([[_number(said, value) for value in pair] for pair in pairs]).reshape(-1, 2)
    x, y = found.T
    if len(found) < 3 or not abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) > 0:  # twice the area
        raise SettingsError(f"{said}: these corners enclose nothing. Give three or more, in the order of a walk round.")
    return Polygon((labels[0], labels[1]), found)


def _number(said: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise SettingsError(f"{said}: {text!r} is no number.")
    return value
