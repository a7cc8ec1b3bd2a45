"""Rows of arrays named in brackets: "0[1]" is row 1 of HDU 0, "0[3,0]" row 0 of its plane 3, counted from 0."""

import re
from pathlib import Path

import numpy as np

from payneflow.errors import SpectraError

_IN_BRACKETS = re.compile(r"(.+)\[(\d+(?:,\d+)*)\]")


def split(key: str) -> tuple[str, tuple[int, ...]]:
    """The name of an array and the row of each of its first axes that is named; () where none is."""
    found = _IN_BRACKETS.fullmatch(key)
    return (found[1], tuple(map(int, found[2].split(",")))) if found else (key, ())


class NamedRows:
    """The arrays of another store (see stored.py), and rows of them; a name that the file itself has goes first."""

    def __init__(self, path: Path, store):
        self.layout, self._path, self._store = store.layout, path, store
        self.names, self.check, self.doubt, self.close = store.names, store.check, store.doubt, store.close

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        name, row = split(key)
        own = self._store.header(key)
        if own is not None or not row:
            return own
        found = self._store.header(name)
        if found is None:
            return None
        shape, dtype = found
        if len(row) >= len(shape):
            raise SpectraError(
                f"{self._path}: {key}: {name} has shape {shape}; expected at most {max(len(shape) - 1, 0)} numbers in "
                "brackets, which leave an axis of pixels."
            )
        for axis, (number, length) in enumerate(zip(row, shape, strict=False)):
            if number >= length:
                raise SpectraError(
                    f"{self._path}: {key}: {name} has shape {shape}; expected 0 to {length - 1} as number {axis + 1} "
                    "in brackets. They are counted from 0."
                )
        return shape[len(row) :], dtype

    def whole(self, key: str) -> np.ndarray:
        name, row = split(key)
        if not row or self._store.header(key) is not None:
            return self._store.whole(key)
        return self._store.rows(name, row[0], row[0] + 1)[0][row[1:]]

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        if not split(key)[1] or self._store.header(key) is not None:
            return self._store.rows(key, first, last)
        return self.whole(key)[first:last]
