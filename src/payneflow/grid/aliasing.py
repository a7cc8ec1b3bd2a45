"""Whether the published split suits the order of a grid: do both sets see the same values of every label?

A mesh is written with one label running fastest. Where that has an even number of values, rows 0, 2, 4, ... hold every
other value of it, and the networks never see those they are tested with. Meshes with rows left out, meshes written to
and fro, and quasi-random sequences (Sobol, Halton) do the same to one label, or to two labels together.

The labels are sorted into cells, the values of a mesh or shares of equal size, singly and in pairs, and Pearson's
chi-squared says whether cells fall to one set more than chance lets them. A split that is more even than chance, as
the published one of a sorted grid, is harmless.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.sets import ALTERNATE, RANDOM, Split

VALUES_A_SPECTRUM = 0.25  # a label with fewer different values than this share of the spectra is that of a mesh
SHARES, SHARES_OF_PAIR = 8, 4  # of any other label
CHANCE = 1e-5  # probability below which chance is no explanation
UNEVEN = 0.25  # chi-squared over spectra, 1 where every cell lies in one set: below it, all values train well enough
PURE_MESH, PURE = 8, 17  # spectra beyond one a cell, from which cells that each lie in one set are no chance


@dataclass(frozen=True)
class Alias:
    """The labels (one or two, by number) whose values the sets share unevenly, and how: 0 evenly, 1 not at all."""

    labels: tuple[int, ...]
    uneven: float


def check_aliasing(path: str, key: str, labels: np.ndarray, names: tuple[str, ...], split: Split) -> None:
    """Raise GridError where the published split gives labels (n_spectrum, n_label), finite, unevenly to its two sets.

    A random split is what cures it, and one that an array says is meant: neither is refused.
    """
    if split.name != ALTERNATE:
        return
    found = find_alias(labels, split.trains)
    if found is None:
        return
    which = " and ".join(names[j] for j in found.labels)
    rows = ", ".join(f"{key}[{j}]" for j in found.labels)
    what = f"(label {which})" if len(found.labels) == 1 else f"(labels {which})"
    raise GridError(
        f"{path}: {rows} {what}: {_said(labels, found, split.trains)}. The spectra are in an order with which the "
        "published split, rows 0, 2, 4, ... to train and the others to test, keeps step, as with a regular mesh: the "
        "networks would never see what they are tested with. Divide the spectra at random: split: random in "
        f"config.yaml (--split {RANDOM} on the command line), or name an array of the grid that says which train."
    )


def _said(labels: np.ndarray, found: Alias, trains: np.ndarray) -> str:
    """What the sets see of the labels, in words."""
    if len(found.labels) == 2:
        return "their values are combined in one way in the training set, in another in the test set"
    values = labels[:, found.labels[0]]
    seen = [np.unique(values[rows]) for rows in (trains, ~trains)]
    only = [np.setdiff1d(*pair) for pair in (seen, seen[::-1])]
    if len(np.unique(values)) <= VALUES_A_SPECTRUM * len(values) and all(len(one) for one in only):
        shown = [", ".join(f"{one:g}" for one in each[:3]) + (", ..." if len(each) > 3 else "") for each in only]
        return f"only the training set has {shown[0]}, only the test set {shown[1]}"
    middle = [f"{np.median(values[rows]):g}" for rows in (trains, ~trains)]
    return f"training set and test set have other distributions of it, medians {middle[0]} and {middle[1]}"


def find_alias(labels: np.ndarray, trains: np.ndarray) -> Alias | None:
    """The label, or else the pair of labels, that the sets share most unevenly; None where all is well.

    `labels` (n_spectrum, n_label), finite; `trains` (n_spectrum,) bool.
    """
    n_label = labels.shape[1]
    singles = [Alias((j,), _unevenness(*_cells(labels[:, j], SHARES), trains)) for j in range(n_label)]
    cells = [_cells(labels[:, j], SHARES_OF_PAIR)[0] for j in range(n_label)]
    pairs = [
        Alias((i, j), _unevenness(cells[i] * (cells[j].max() + 1) + cells[j], PURE, trains))
        for i, j in combinations(range(n_label), 2)
    ]
    for some in (singles, pairs):
        worst = max(some, key=lambda one: one.uneven, default=None)
        if worst is not None and worst.uneven > 0:
            return worst
    return None


def _cells(values: np.ndarray, shares: int) -> tuple[np.ndarray, int]:
    """(n,) numbers from 0, the cell of each value, one of a mesh or one of `shares` of equal size; and `pure_from`."""
    distinct, cell = np.unique(values, return_inverse=True)
    if len(distinct) <= max(2, VALUES_A_SPECTRUM * len(values)):
        return cell.ravel(), PURE_MESH
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * shares // len(values), PURE


def _unevenness(cell: np.ndarray, pure_from: int, trains: np.ndarray) -> float:
    """Chi-squared over spectra of cells (n,) that fall to the sets more unevenly than chance lets them, else 0.

    `pure_from`: spectra beyond one a cell from which cells that each lie in one set are refused as well.
    """
    from scipy.special import chdtrc  # the survival function of chi-squared; not where a grid is only counted

    n = len(cell)
    size = np.bincount(cell).astype(float)
    there = size > 0
    size, train = size[there], np.bincount(cell, weights=trains)[there]
    if len(size) < 2 or len(size) > n / 2:  # one spectrum a cell tells nothing
        return 0.0
    share = trains.mean()
    chi_squared = float(((train - share * size) ** 2 / (size * share * (1 - share))).sum())
    pure = ((train == 0) | (train == size)).all() and n - len(size) >= pure_from
    by_chance = chdtrc(len(size) - 1, chi_squared) >= CHANCE
    return chi_squared / n if pure or (chi_squared > UNEVEN * n and not by_chance) else 0.0
