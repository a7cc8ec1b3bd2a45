"""The training set and the test set of a grid: which spectra train, how many there must be, and that none is in both.

The published split takes spectra 0, 2, 4, ... to train and 1, 3, 5, ... to test. Where the order of a grid forbids that
(aliasing.py), its spectra are divided at random, by a seed, or as an array in the grid says.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.origins import Origins

TRAINING = slice(0, None, 2)  # published split: spectra 0, 2, 4, ... are the training set
TEST = slice(1, None, 2)  # and 1, 3, 5, ... the test set

ALTERNATE, RANDOM = "alternate", "random"  # what the setting `split` may say beside the name of an array
SPAWN_KEY = 3  # of the random numbers here: 0 to 2 belong to training
MIN_TRAINING, MIN_TEST = 3, 1  # spectra; fewer leave nothing to learn from, or nothing to check it with


@dataclass(frozen=True, eq=False)
class Split:
    """Which spectra of a grid train: `trains` (n_spectrum,) bool; all others test. `name`: what the setting said."""

    name: str
    trains: np.ndarray

    @classmethod
    def alternate(cls, n_spectrum: int) -> "Split":
        """The published split."""
        trains = np.zeros(n_spectrum, dtype=bool)
        trains[TRAINING] = True
        return cls(ALTERNATE, trains)

    @classmethod
    def random(cls, n_spectrum: int, seed: int) -> "Split":
        """As many training spectra as the published split has, drawn by `seed`."""
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPAWN_KEY,)))
        trains = np.zeros(n_spectrum, dtype=bool)
        trains[generator.permutation(n_spectrum)[: count_training(n_spectrum)]] = True
        return cls(RANDOM, trains)

    @classmethod
    def of_array(cls, path: Path, name: str, array: np.ndarray, n_spectrum: int) -> "Split":
        """The split that the array `name` of a grid file says: true, or 1, where a spectrum trains.

        Raises GridError where it is no such array.
        """
        said = f"{path}: {name}, which the setting split names,"
        if array.shape != (n_spectrum,):
            raise GridError(
                f"{said} has shape {array.shape}; expected ({n_spectrum},), true where a spectrum trains. Give one "
                "value for each spectrum."
            )
        if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
            raise GridError(
                f"{said} holds {array.dtype} other than true and false; expected true, or 1, where a spectrum trains, "
                "and false, or 0, where it tests. Store it as np.array(trains, dtype=bool)."
            )
        return cls(name, array.astype(bool))

    @classmethod
    def joined(cls, splits: "Sequence[Split]") -> "Split":
        """That of several files, each of which is split as it would be alone: another file moves no spectrum."""
        return cls(splits[0].name, np.concatenate([split.trains for split in splits]))

    @cached_property
    def training(self) -> slice | np.ndarray:
        """The rows that train, increasing, as an index of any array of spectra."""
        return TRAINING if self._is_published else np.flatnonzero(self.trains)

    @cached_property
    def test(self) -> slice | np.ndarray:
        """The rows that test, increasing."""
        return TEST if self._is_published else np.flatnonzero(~self.trains)

    @property
    def training_rows(self) -> np.ndarray:
        return np.flatnonzero(self.trains)

    @property
    def test_rows(self) -> np.ndarray:
        return np.flatnonzero(~self.trains)

    @property
    def n_training(self) -> int:
        return int(self.trains.sum())

    @property
    def n_test(self) -> int:
        return len(self.trains) - self.n_training

    @property
    def _is_published(self) -> bool:
        return bool(self.trains[TRAINING].all() and not self.trains[TEST].any())

    def said_of(self, trains: bool) -> str:
        """Which rows train, or test, in a few words."""
        if self._is_published:
            return "0, 2, 4, ..." if trains else "1, 3, 5, ..."
        rows = self.training_rows if trains else self.test_rows
        return ", ".join(map(str, rows[:3])) + (", ..." if len(rows) > 3 else "")


def count_training(n_spectrum: int) -> int:
    """The number of training spectra in a grid of `n_spectrum` spectra, divided as published or at random."""
    return len(range(n_spectrum)[TRAINING])


def count_test(n_spectrum: int) -> int:
    """The number of test spectra in a grid of `n_spectrum` spectra, divided as published or at random."""
    return len(range(n_spectrum)[TEST])


def check_enough_spectra(grid: str, key: str, n_spectrum: int) -> None:
    """Raise GridError where `n_spectrum` spectra leave a set too small; `key` names the flux array."""
    n_training, n_test = count_training(n_spectrum), count_test(n_spectrum)
    if n_training < MIN_TRAINING or n_test < MIN_TEST:
        raise GridError(
            f"{grid}: {key} holds {n_spectrum} spectra, which leaves {n_training} to train on and {n_test} to "
            f"test with; at least {MIN_TRAINING} and {MIN_TEST} are needed. Add spectra."
        )


def check_split(grid: str, split: Split) -> None:
    """Raise GridError where a split leaves a set too small, as an array may, or many files of one spectrum each."""
    if split.n_training < MIN_TRAINING or split.n_test < MIN_TEST:
        raise GridError(
            f"{grid}: {split.name}, which the setting split names, leaves {split.n_training} spectra to train on and "
            f"{split.n_test} to test with; at least {MIN_TRAINING} and {MIN_TEST} are needed."
        )


@dataclass(frozen=True)
class Twins:
    """Pairs of spectra of the same flux that are both in one set: how many, and the first of them."""

    count: int
    first: tuple[int, int]


class TwinCheck:
    """Which spectra are there twice; flux (n_spectrum, n_pixel) comes in blocks.

    A test spectrum that also trains is refused: it would measure memory.
    """

    def __init__(self, origins: Origins, key: str, split: Split):
        self._origins, self._key, self._split = origins, key, split
        self._prints: list[bytes] = []  # 32 bytes a spectrum: no pair is compared

    def look_at(self, first: int, rows: np.ndarray) -> None:
        """Take in the spectra `first` ..., (n, n_pixel), which follow on those before."""
        self._prints += [hashlib.sha256(row).digest() for row in rows]

    def judge(self) -> None:
        """Raise GridError where a test spectrum has the very flux of a training spectrum."""
        prints = self._prints
        trained = {prints[spectrum]: spectrum for spectrum in reversed(self._split.training_rows)}  # first of equals
        twins = [(trained[prints[test]], test) for test in self._split.test_rows if prints[test] in trained]
        if twins:
            training, test = twins[0]
            (path, row), (other, its_row) = self._origins.of(test), self._origins.of(training)
            where = "" if other == path else f"{other}: "
            raise GridError(
                f"{path}: {self._key}[{row}] (spectrum {row}, which tests) has the very flux of "
                f"{where}{self._key}[{its_row}] (spectrum {its_row}, which trains), the first of {len(twins)} such "
                f"pairs; expected test spectra (rows {self._split.said_of(trains=False)}) that no network was trained "
                "on. Remove duplicate spectra, with their labels."
            )

    def twins(self) -> Twins | None:
        """Spectra of one flux in one set, which cost time and teach nothing; None where there are none."""
        return find_twins(self._prints)


def find_twins(prints: Sequence[bytes]) -> Twins | None:
    """The entries that were there before, each with the first of its like; None where all differ."""
    seen: dict[bytes, int] = {}
    pairs = [(first, i) for i, one in enumerate(prints) if (first := seen.setdefault(one, i)) != i]
    return Twins(len(pairs), pairs[0]) if pairs else None
