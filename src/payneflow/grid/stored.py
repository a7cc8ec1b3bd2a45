"""One grid file, whatever its format: opened once, its arrays judged by their headers, then read.

A store (one class a format: npz.py, hdf5.py) answers by the file's own names for arrays; `GridFile` knows what each of
them means for a grid.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from payneflow.errors import GridError
from payneflow.files import refuse_special
from payneflow.grid.hdf5 import Hdf5Store, StoredFlux, is_hdf5
from payneflow.grid.layout import (
    PUBLISHED,
    ROLES,
    WHAT,
    GridKeys,
    Header,
    check_axis,
    check_keys,
    check_kind,
    check_shapes,
)
from payneflow.grid.npz import NpzStore
from payneflow.grid.sets import ALTERNATE, RANDOM, Split
from payneflow.swelling import refuse_many_pixels, refuse_unstored


class GridStore(Protocol):
    """What `GridFile` needs of a format. A file stays open until `close`; every failure is a GridError that names it.

    `header(key)` is None where there is no such array, and reads no array. `names()` are the keys of all arrays, those
    that `header` was asked for and found among them. `read(key)` gives an array whole. `flux(key)` gives (n_spectrum,
    n_pixel) of the header's `trained_dtype`, in memory or, as `StoredFlux`, in the file; it outlives the store.
    `some(key, rows)` gives these increasing rows of it, in memory.
    """

    def names(self) -> list[str]: ...
    def header(self, key: str) -> Header | None: ...
    def read(self, key: str) -> np.ndarray: ...
    def flux(self, key: str) -> np.ndarray | StoredFlux: ...
    def some(self, key: str, rows: np.ndarray) -> np.ndarray: ...
    def close(self) -> None: ...


class GridFile:
    """A grid file that is open, whose arrays are there, of the right kinds, and fit together, by their headers.

    `roles`: those of ROLES that are asked for and judged. Raises GridError for what is no grid file, a missing key, or
    an array of the wrong kind or shape.
    """

    def __init__(self, path: str | Path, keys: GridKeys = PUBLISHED, roles: tuple[str, ...] = ROLES):
        self.path, self.keys = Path(path), keys
        refuse_special(self.path, GridError, WHAT)
        self._store: GridStore = Hdf5Store(self.path) if is_hdf5(self.path) else NpzStore(self.path)
        try:
            self._headers = self._judged_headers(roles)
        except BaseException:
            self._store.close()
            raise

    def _judged_headers(self, roles: tuple[str, ...]) -> dict[str, Header]:
        """Key -> header of the arrays that play `roles`, those of optional ones that are there."""
        found = {key: self._store.header(key) for key in (getattr(self.keys, role) for role in roles)}
        headers = {key: header for key, header in found.items() if header is not None}
        check_keys(self.path, self.keys, roles, self._store.names())
        for role in roles:
            key = getattr(self.keys, role)
            if key in headers:
                check_kind(self.path, key, headers[key], role)
                refuse_unstored(self.path, key, headers[key].shape, headers[key].dtype, GridError)
        shapes = {key: header.shape for key, header in headers.items()}
        if roles == ROLES:
            check_shapes(self.path, self.keys, shapes)
        else:
            check_axis(self.path, self.keys.wavelength, shapes[self.keys.wavelength])
        place = f"{self.path}: {self.keys.wavelength}"
        refuse_many_pixels(place, headers[self.keys.wavelength].shape[0], GridError)
        return headers

    def __enter__(self) -> "GridFile":
        return self

    def __exit__(self, *_) -> None:
        self._store.close()

    @property
    def n_pixel(self) -> int:
        return self._headers[self.keys.wavelength].shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_spectrum, n_pixel, n_label)."""
        return *self._headers[self.keys.flux].shape, self._headers[self.keys.labels].shape[0]

    def read(self, role: str) -> np.ndarray | None:
        """The array that plays `role`, one of ROLES, as it is stored; None for an optional one that is not there."""
        key = getattr(self.keys, role)
        return self._store.read(key) if key in self._headers else None

    def split(self, said: str, seed: int = 0) -> Split:
        """The training set and test set that the setting `split` says; `seed` draws a random one.

        Raises GridError where it names an array that is not there, or is no split.
        """
        n_spectrum = self.shape[0]
        if said == ALTERNATE:
            return Split.alternate(n_spectrum)
        if said == RANDOM:
            return Split.random(n_spectrum, seed)
        header = self._store.header(said)
        if header is None:
            raise GridError(
                f"{self.path}: no array '{said}', which the setting split names; expected {ALTERNATE}, {RANDOM}, or an "
                f"array that says which spectra train. The file holds {', '.join(map(repr, self._store.names()))}."
            )
        if header.pickled:
            raise GridError(
                f"{self.path}: {said}, which the setting split names, is a pickled array, never loaded. Store it as "
                "np.array(trains, dtype=bool)."
            )
        refuse_unstored(self.path, said, header.shape, header.dtype, GridError)
        return Split.of_array(self.path, said, self._store.read(said), n_spectrum)

    def flux(self) -> np.ndarray | StoredFlux:
        """The flux (n_spectrum, n_pixel): that of an npz file in memory, that of an HDF5 file still in the file."""
        return self._store.flux(self.keys.flux)

    def some_flux(self, rows: np.ndarray) -> np.ndarray:
        """The flux of these increasing rows, (n, n_pixel), in memory; the others are read only where they must be."""
        return self._store.some(self.keys.flux, rows)
