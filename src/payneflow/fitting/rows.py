"""Rows of a table of fits that come block after block, kept on the disk until the table can be written.

A file of a table begins with what only its last row tells: how many there are, what could not be read, how wide the
longest name is. So rows wait in a file without a name, which is gone however the process ends, and memory holds one
block of them, however many there are.
"""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from payneflow.errors import PayneflowError

BLOCK = 2000  # rows that are held, and turned into text, at a time: astropy takes several kB for each
MOST_HELD = 2**22  # bytes of rows before the first of them go to the disk


class StoredRows:
    """Tables that are appended, as one table whose rows lie in a file of `directory` (by default that of tempfile).

    `meta` is what the owner sets. A column is read when it is asked for by its name, and `blocks` gives all of them,
    BLOCK rows at a time, whatever pieces they came in.
    """

    def __init__(self, directory: str | Path | None = None):
        self.meta: dict = {}
        self._directory = None if directory is None else Path(directory)
        self._stream = tempfile.SpooledTemporaryFile(MOST_HELD, dir=self._directory)  # noqa: SIM115 - closed by close()
        self._first: Table | None = None
        self._types: dict[str, np.dtype] = {}
        self._masked: set[str] = set()
        self._blocks: list[dict[str, tuple[int, np.dtype, bool]]] = []
        self._waiting: list[dict[str, np.ndarray]] = []
        self._n_waiting = 0

    def __enter__(self) -> "StoredRows":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the rows up."""
        with suppress(OSError):  # a full disk, which was said before
            self._stream.close()

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + self._n_waiting

    @property
    def colnames(self) -> list[str]:
        return [] if self._first is None else self._first.colnames

    # --- Rows come

    def append(self, table: Table) -> None:
        """Add the rows of a table, whose columns have the names and shapes of those before it.

        Raises PayneflowError where the disk has no room for them, and for a column of anything but numbers and text.
        """
        if self._first is None:
            _refuse_objects(table)
            self._first = Table(table[:0], copy_indices=False)
            self._types = {name: table[name].dtype for name in table.colnames}
        self._masked |= {name for name in table.colnames if isinstance(table[name], MaskedColumn)}
        for first in range(0, len(table), BLOCK):
            self._hold({name: _plain(table[name][first : first + BLOCK]) for name in self.colnames})

    def _hold(self, piece: dict[str, np.ndarray]) -> None:
        self._waiting.append(piece)
        self._n_waiting += len(next(iter(piece.values())))
        for name, array in piece.items():
            self._types[name] = np.promote_types(self._types[name], array.dtype)
        if self._n_waiting >= BLOCK:
            rows = self._joined(self._waiting)
            self._store({name: array[:BLOCK] for name, array in rows.items()})
            self._n_waiting -= BLOCK
            self._waiting = [{name: array[BLOCK:].copy() for name, array in rows.items()}] if self._n_waiting else []

    def _joined(self, pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: _concatenated([piece[name] for piece in pieces]) for name in self.colnames}

    def _store(self, rows: dict[str, np.ndarray]) -> None:
        places = {}
        try:
            self._make_room()
            for name, array in rows.items():
                masked = np.ma.isMaskedArray(array)
                places[name] = self._stream.seek(0, 2), array.dtype, masked
                self._stream.write(np.ascontiguousarray(np.ma.getdata(array)).tobytes())
                if masked:
                    self._stream.write(np.ma.getmaskarray(array).tobytes())
        except OSError as error:
            raise PayneflowError(
                f"{self._directory or tempfile.gettempdir()}: the fits cannot be kept there until their table is "
                f"written: {error.strerror or error}. Check permission and free space there."
            ) from error
        self._blocks.append(places)

    def _make_room(self) -> None:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)

    # --- Rows go

    def empty(self) -> Table:
        """The table without its rows: columns with their units and meanings, and `meta`."""
        return self._table(self._none(), self.meta)

    def blocks(self) -> Iterator[Table]:
        """The rows as tables of BLOCK rows, the last one shorter, without the meta; one table where there is no row."""
        for places in self._blocks:
            yield self._table({name: self._read(name, places) for name in self.colnames})
            gc.collect(1)  # astropy's writers hold themselves and what they wrote, until Python happens to look
        if self._waiting:
            yield self._table(self._joined(self._waiting))
        elif not self._blocks:
            yield self._table(self._none())

    def columns(self, name: str) -> Iterator[np.ndarray]:
        """One column, block by block."""
        yield from (self._read(name, places) for places in self._blocks)
        yield from (piece[name] for piece in self._waiting)

    def __getitem__(self, name: str) -> Column:
        """One column, all rows of it."""
        return self._column(name, _concatenated(list(self.columns(name)) or [np.empty((0, *self._shape(name)))]))

    def table(self) -> Table:
        """All rows as one table in memory."""
        return self._table({name: self[name] for name in self.colnames}, self.meta)

    def _read(self, name: str, places: dict[str, tuple[int, np.dtype, bool]]) -> np.ndarray:
        begin, dtype, masked = places[name]
        shape = BLOCK, *self._shape(name)
        size = int(np.prod(shape))
        self._stream.seek(begin)
        array = np.frombuffer(self._stream.read(size * dtype.itemsize), dtype).reshape(shape)
        if not masked:
            return array
        return np.ma.array(array, mask=np.frombuffer(self._stream.read(size), bool).reshape(shape))

    def _none(self) -> dict[str, np.ndarray]:
        return {name: np.empty((0, *self._shape(name))) for name in self.colnames}

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._first[name].shape[1:]

    def _table(self, columns: dict[str, np.ndarray], meta: dict | None = None) -> Table:
        table = Table([self._column(name, values) for name, values in columns.items()], copy=False)
        if meta is not None:
            table.meta = meta
        return table

    def _column(self, name: str, values: np.ndarray) -> Column:
        """Values as a column of the type of all rows; one that has an empty entry anywhere can have them everywhere."""
        like = self._first[name]
        kind = MaskedColumn if name in self._masked else Column
        said = {"unit": like.unit, "format": like.format, "description": like.description, "meta": like.meta}
        return kind(values.astype(self._types[name], copy=False), name=name, **said)


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    return np.ma.concatenate(arrays) if any(map(np.ma.isMaskedArray, arrays)) else np.concatenate(arrays)


def _plain(column: Column) -> np.ndarray:
    return np.ma.array(column) if isinstance(column, MaskedColumn) and column.mask.any() else np.array(column)


def _refuse_objects(table: Table) -> None:
    for name in table.colnames:
        if not isinstance(table[name], Column) or table[name].dtype.hasobject:
            raise PayneflowError(f"column {name} holds {type(table[name]).__name__}, expected numbers or text.")
