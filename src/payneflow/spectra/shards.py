"""Many observed spectra divided into shards, each fitted by a job of its own, as chunks divide the pixels of a grid."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from payneflow.errors import SettingsError, SpectraError
from payneflow.files import whole_file
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.reading import count_spectra


@dataclass(frozen=True)
class Shard:
    """A run of all spectra: its name (also its file's), the files it lies in, and which of their spectra are its own.

    `spectra` are counted from 0 through `paths`.
    """

    name: str
    paths: tuple[Path, ...]
    spectra: range


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files of paths and patterns (`spectra/*.fits`), each pattern's in the order of their names.

    Raises SpectraError for a pattern that fits no file, and for a file that is given twice.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.exists() or not any(sign in pattern for sign in "*?["):
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


def plan_shards(paths: Sequence[Path], layout: SpectraLayout, shard_size: int) -> list[Shard]:
    """Cut the spectra of files into shards of `shard_size`, the last one shorter.

    Among several files one that cannot be read counts as one spectrum, and will be recorded as a failed fit; a single
    one raises SpectraError. Raises SettingsError for a size that makes no sense.
    """
    if not isinstance(shard_size, int) or shard_size < 1:
        raise SettingsError(f"shard_size is {shard_size!r}, expected a whole number of spectra of at least 1.")
    begins = [0]
    for path in paths:
        begins.append(begins[-1] + _count(path, layout, alone=len(paths) == 1))
    digits = len(str(begins[-1] - 1))
    shards, file = [], 0
    for first in range(0, begins[-1], shard_size):
        last = min(first + shard_size, begins[-1])
        while begins[file + 1] <= first:
            file += 1
        behind = file + 1
        while begins[behind] < last:
            behind += 1
        name = f"spectra{first:0{digits}d}-{last - 1:0{digits}d}"
        shards.append(Shard(name, tuple(paths[file:behind]), range(first - begins[file], last - begins[file])))
    return shards


def write_shard(shard: Shard, directory: str | Path) -> Path:
    """Write a shard as a file of arguments, one a line, for `payneflow fit NETWORK @FILE`; whole or not at all."""
    path = Path(directory) / f"{shard.name}.txt"
    # The files first: argparse wants all that has no option's name in one place, behind the network.
    lines = [*map(str, shard.paths), f"--spectra={shard.spectra.start}:{shard.spectra.stop}"]
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    return path


def parse_selection(text: str) -> range:
    """The spectra "start:stop", counted from 0; SettingsError where the text is something else."""
    start, colon, stop = text.partition(":")
    if not colon or not (start + stop).isdigit() or not start or not stop or int(start) >= int(stop):
        raise SettingsError(f'spectra is {text!r}, expected "start:stop", such as "0:1000" for the first thousand.')
    return range(int(start), int(stop))


def _count(path: Path, layout: SpectraLayout, alone: bool) -> int:
    try:
        return count_spectra(path, layout)
    except SpectraError:
        if alone:
            raise
        return 1
