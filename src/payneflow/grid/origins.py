"""Where the spectra of a grid come from: one file, or several that are joined in the order in which they are given.

Spectra are numbered through all files; a message names the file and the row there.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

GridPath = str | Path | Sequence[str | Path]  # a grid: its file, or its files


def paths_of(grid: GridPath) -> tuple[Path, ...]:
    """The files of a grid, in their order."""
    return (Path(grid),) if isinstance(grid, str | os.PathLike) else tuple(map(Path, grid))


def name_of(grid: GridPath) -> str:
    """The grid in a message: its file, or its files."""
    return ", ".join(map(str, paths_of(grid)))


def joined_digest(digests: Iterable[str]) -> str:
    """The SHA-256 that several files go by, of theirs (hexadecimal) in this order; of one file its own."""
    digests = list(digests)
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Origins:
    """The files of a grid, and how many spectra each holds."""

    paths: tuple[Path, ...]
    counts: tuple[int, ...]

    @classmethod
    def one(cls, path: str | Path, n_spectrum: int) -> "Origins":
        return cls((Path(path),), (n_spectrum,))

    def __str__(self) -> str:
        return name_of(self.paths)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum((0, *self.counts))

    def of(self, spectrum: int) -> tuple[Path, int]:
        """The file of a spectrum of the grid, and its row there."""
        file = int(np.searchsorted(self._starts, spectrum, side="right")) - 1
        return self.paths[file], int(spectrum - self._starts[file])

    def said_of(self, spectrum: int) -> str:
        """A spectrum in a message: its number, with its file where there are several."""
        path, row = self.of(spectrum)
        return f"{row}" if len(self.paths) == 1 else f"{row} of {path}"

    def parts(self) -> Iterator[tuple[Path, slice]]:
        """Each file, and which spectra of the grid are its own."""
        for path, start, stop in zip(self.paths, self._starts[:-1], self._starts[1:], strict=True):
            yield path, slice(int(start), int(stop))
