"""Many observed spectra divided into shards, each fitted by a job of its own, as chunks divide the pixels of a grid."""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from payneflow.errors import SettingsError, SpectraError
from payneflow.files import is_there, no_path, read_list
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.names import names_of_files
from payneflow.spectra.reading import count_spectra

DIGITS = 6  # of the numbers in a shard's name, so that a directory lists a million spectra in order


@dataclass(frozen=True)
class Shard:
    """A run of all spectra: which, counted from 0 through all files, and in what files it lies.

    `spectra` are the same, counted from 0 through `paths`; `names` of the files, which no two of all files share;
    `n_all`, how many spectra there are in all files.
    """

    selection: range
    paths: tuple[Path, ...]
    spectra: range
    names: tuple[str, ...]
    n_all: int

    @property
    def name(self) -> str:
        """Such as spectra000000-009999; also its files'."""
        return f"spectra{self.selection.start:0{DIGITS}d}-{self.selection.stop - 1:0{DIGITS}d}"

    @property
    def digest(self) -> str:
        """Tells this shard from one of other files or other spectra: a job sees by it that files came or went."""
        lines = [*map(str, self.paths), str(self.spectra)]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def find_files(patterns: Sequence[str] | str) -> list[Path]:
    """The files of paths and patterns (`spectra/*.fits`), each pattern's in the order of their names.

    `@list.txt` stands for the paths and patterns in that file, one a line; `~` for the home directory. One text alone
    will do. Raises SpectraError for a pattern that fits no file, and for a file that is given twice, PayneflowError for
    a list that cannot be read.
    """
    found: list[Path] = []
    for pattern in _listed([patterns] if isinstance(patterns, str) else patterns):
        path = _at_home(pattern)
        if not any(sign in str(path) for sign in "*?[") or is_there(path):
            found.append(path)
            continue
        fitting = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        if not fitting:
            raise SpectraError(f"{pattern}: no file fits this pattern; expected files of observed spectra.")
        found += fitting
    if len(set(found)) < len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise SpectraError(f"{twice}: given twice; each of its spectra would be fitted twice. Name it once.")
    return found


def _listed(patterns: Sequence[str]) -> Iterator[str]:
    """The patterns, and in place of each @FILE the lines of that file."""
    for pattern in patterns:
        if problem := no_path(pattern):
            raise SpectraError(f"{pattern[:60]!a}... is no path: {problem}; expected files of observed spectra.")
        if pattern.startswith("@") and not is_there(pattern):
            yield from read_list(_at_home(pattern[1:]))
        else:
            yield pattern


def _at_home(path: str) -> Path:
    """The path, with ~ and ~user as the shell understands them; as it stands where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def plan_shards(paths: Sequence[Path], layout: SpectraLayout, shard_size: int) -> list[Shard]:
    """Cut the spectra of files into shards of `shard_size`, the last one shorter.

    Among several files one that cannot be read counts as one spectrum, and will be recorded as a failed fit; a single
    one raises SpectraError. Raises SettingsError for a size that makes no sense.
    """
    check_shard_size(shard_size)
    begins, names = _begins(paths, layout), names_of_files(paths)
    firsts = range(0, begins[-1], shard_size)
    return [_cut(paths, names, begins, range(first, min(first + shard_size, begins[-1]))) for first in firsts]


def check_shard_size(shard_size: int) -> None:
    """Raise SettingsError for a size that makes no sense."""
    if not isinstance(shard_size, int) or shard_size < 1:
        raise SettingsError(f"shard_size is {shard_size!r}, expected a whole number of spectra of at least 1.")


def find_shard(paths: Sequence[Path], layout: SpectraLayout, selection: range | None) -> Shard:
    """The shard of these spectra, counted through all files as `plan_shards` counts them; None: all of them.

    Raises SpectraError where the selection holds no spectrum.
    """
    begins = _begins(paths, layout)
    spectra = range(begins[-1]) if selection is None else range(selection.start, min(selection.stop, begins[-1]))
    if not spectra:
        raise SpectraError(
            f"there are {begins[-1]} spectra in {len(paths)} files, and none of {selection.start}:{selection.stop}. "
            "They are counted from 0."
        )
    return _cut(paths, names_of_files(paths), begins, spectra)


def _begins(paths: Sequence[Path], layout: SpectraLayout) -> list[int]:
    """The number that the first spectrum of each file has, and after them how many there are."""
    begins = [0]
    for path in paths:
        begins.append(begins[-1] + count_of(path, layout, alone=len(paths) == 1))
    return begins


def _cut(paths: Sequence[Path], names: list[str], begins: list[int], spectra: range) -> Shard:
    first, stop = bisect_right(begins, spectra.start) - 1, bisect_left(begins, spectra.stop)
    own = range(spectra.start - begins[first], spectra.stop - begins[first])
    return Shard(spectra, tuple(paths[first:stop]), own, tuple(names[first:stop]), begins[-1])


def parse_selection(text: str, what: str = "spectra") -> range:
    """The spectra, or stars, "start:stop", counted from 0; SettingsError where the text is something else."""
    start, colon, stop = text.partition(":")
    if not colon or not (start + stop).isdigit() or not start or not stop or int(start) >= int(stop):
        raise SettingsError(f'{what} is {text!r}, expected "start:stop", such as "0:1000" for the first thousand.')
    return range(int(start), int(stop))


def count_of(path: Path, layout: SpectraLayout, alone: bool) -> int:
    """How many spectra a file counts for: one where it cannot be read, which is an error where it is `alone`."""
    try:
        return count_spectra(path, layout)
    except SpectraError:
        if alone:
            raise
        return 1
