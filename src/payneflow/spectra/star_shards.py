"""Stars in pieces divided into shards: all spectra with one identifier are one star, which no two shards share."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.names import names_of_files, names_of_rows
from payneflow.spectra.reading import identifiers_of
from payneflow.spectra.shards import DIGITS, check_shard_size, count_of


@dataclass(frozen=True, eq=False)
class StarShard:
    """A run of all stars: which, counted from 0 in the order in which they come first, and their spectra.

    `paths`: the files that hold any of these spectra, `names` of the files, which no two of all files share; `runs`:
    the spectra, counted from 0 through `paths`; `numbers` (n,): the same, counted through all files; `star` (n,):
    whose pieces they are. `n_star`, `n_all`: how many stars and spectra there are in all files.
    """

    selection: range
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    runs: tuple[range, ...]
    numbers: np.ndarray
    star: np.ndarray
    n_star: int
    n_all: int

    @property
    def name(self) -> str:
        """Such as stars000000-009999; also its files'."""
        return f"stars{self.selection.start:0{DIGITS}d}-{self.selection.stop - 1:0{DIGITS}d}"

    @property
    def digest(self) -> str:
        """Tells this shard from one of other files, spectra or stars: a job sees by it that any came or went."""
        lines = [*map(str, self.paths), *map(str, self.runs), *self.star.tolist()]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def plan_star_shards(paths: Sequence[Path], layout: SpectraLayout, shard_size: int) -> list[StarShard]:
    """Cut the stars of files into shards of `shard_size` spectra at most, or of one star that has more.

    Every file is opened for the identifiers in it. Among several files one that cannot be read is a star of its own,
    and will be recorded as failed; a single one raises SpectraError. Raises SettingsError for a size without sense.
    """
    check_shard_size(shard_size)
    every = _Stars(paths, layout)
    ends = np.cumsum(np.bincount(every.star, minlength=every.n_star))  # spectra of the first stars
    shards, first = [], 0
    while first < every.n_star:
        before = ends[first - 1] if first else 0
        stop = max(int(np.searchsorted(ends, before + shard_size, side="right")), first + 1)
        shards.append(every.shard(range(first, stop)))
        first = stop
    return shards


def find_star_shard(paths: Sequence[Path], layout: SpectraLayout, selection: range | None) -> StarShard:
    """The shard of these stars, counted as `plan_star_shards` counts them; None: all of them.

    Raises SpectraError where the selection holds no star.
    """
    every = _Stars(paths, layout)
    stars = range(every.n_star) if selection is None else range(selection.start, min(selection.stop, every.n_star))
    if not stars:
        raise SpectraError(
            f"there are {every.n_star} stars in {len(paths)} files, and none of {selection.start}:{selection.stop}. "
            "They are counted from 0, in the order in which they come first."
        )
    return every.shard(stars)


class _Stars:
    """Which star each spectrum of all files is a piece of: `star` (n_all,), numbers in the order they come first."""

    def __init__(self, paths: Sequence[Path], layout: SpectraLayout):
        self.paths, self.names_of_files = paths, names_of_files(paths)
        parts = [
            _identifiers(path, layout, name, alone=len(paths) == 1)
            for path, name in zip(paths, self.names_of_files, strict=True)
        ]
        self.begins = np.cumsum([0, *map(len, parts)])
        self.identifier = np.concatenate(parts)
        known, first, star = np.unique(self.identifier, return_index=True, return_inverse=True)
        place = np.empty(len(known), int)
        place[np.argsort(first)] = np.arange(len(known))
        self.star, self.n_star = place[np.ravel(star)], len(known)
        self._order = np.argsort(self.star, kind="stable")
        self._sorted = self.star[self._order]

    def shard(self, stars: range) -> StarShard:
        begin, stop = np.searchsorted(self._sorted, [stars.start, stars.stop])
        numbers = np.sort(self._order[begin:stop])
        file = np.searchsorted(self.begins, numbers, side="right") - 1
        own = np.unique(file)
        begins = np.cumsum([0, *np.diff(self.begins)[own]])
        here = begins[np.searchsorted(own, file)] + numbers - self.begins[file]
        cuts = np.flatnonzero(np.diff(here) != 1) + 1
        runs = tuple(range(int(run[0]), int(run[-1]) + 1) for run in np.split(here, cuts))
        paths, names = (tuple(values[k] for k in own) for values in (self.paths, self.names_of_files))
        return StarShard(
            stars, paths, names, runs, numbers, self.identifier[numbers], self.n_star, len(self.identifier)
        )


def _identifiers(path: Path, layout: SpectraLayout, name: str, alone: bool) -> np.ndarray:
    try:
        return identifiers_of(path, layout, name)
    except SpectraError:
        if alone:
            raise
        n = count_of(path, layout, alone=False)
        return names_of_rows(name, range(n), n)
