"""Names of spectra that have none of their own: those of their files, such that no two of them are the same."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def names_of_files(paths: Sequence[Path]) -> list[str]:
    """A name a file: its own without the ending; where several have that, with as many directories as tell them apart.

    Files that differ in the ending only keep it.
    """
    names = [path.stem for path in paths]
    together: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        together[name].append(place)
    for places in together.values():
        if len(places) > 1:
            for place, name in zip(places, _told_apart([paths[place] for place in places]), strict=True):
                names[place] = name
    counts = Counter(names)  # a name with its ending may be another's without
    return [str(path) if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)]


def _told_apart(paths: list[Path]) -> list[str]:
    deepest = max(len(path.parts) for path in paths)
    for last in ("stem", "name"):
        for depth in range(deepest):
            names = [_joined(_directories(path, depth), getattr(path, last)) for path in paths]
            if len(set(names)) == len(names):
                return names
    return [str(path) for path in paths]


def _directories(path: Path, depth: int) -> tuple[str, ...]:
    """The last `depth` directories of a path, or all it has."""
    return path.parts[max(0, len(path.parts) - 1 - depth) : -1]


def _joined(directories: tuple[str, ...], name: str) -> str:
    """As a path, in which a name of one dot stays what it is."""
    return "/".join((*directories, name)).replace("//", "/")


def names_of_rows(name: str, rows: range, n_spectrum: int) -> np.ndarray:
    """Names of spectra in a file of this name: the file's, with the number of the spectrum where it holds several."""
    return np.array([name if n_spectrum == 1 else f"{name}:{row}" for row in rows])


def as_text(value: object) -> str:
    """A name as a file holds it; bytes that are no UTF-8 are Latin-1, in which all bytes have a meaning."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
