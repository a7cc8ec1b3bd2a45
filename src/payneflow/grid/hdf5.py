"""A grid in an HDF5 file: headers and small arrays are read, the flux stays in the file until parts are asked for.

So a grid may be larger than the memory. Nothing else here knows h5py, which is loaded only where a grid needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.blocks import rows_at_once
from payneflow.grid.layout import WHAT, Header
from payneflow.grid.lazy_flux import LazyFlux

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # at byte 0, or at 512, 1024, 2048, ... after a user block (HDF5 file format, II.A)


def is_hdf5(path: Path) -> bool:
    """Is this an HDF5 file, by its content? False as well where it cannot be read at all."""
    try:
        with open(path, "rb") as stream:
            size, place = path.stat().st_size, 0
            while place < size:
                stream.seek(place)
                if stream.read(len(SIGNATURE)) == SIGNATURE:
                    return True
                place = max(512, 2 * place)
    except OSError:  # whoever reads it next says why
        pass
    return False


@contextmanager
def _problems_said(path: Path, key: str | None = None) -> Iterator[None]:
    """Raise whatever goes wrong inside as GridError, naming the file and the array `key`."""
    try:
        yield
    except GridError:
        raise
    except Exception as error:  # h5py raises half a dozen kinds on damaged files and filters that are not there
        place = path if key is None else f"{path}: {key}"
        raise GridError(
            f"{place}: not readable as HDF5 ({error}); expected {WHAT}. Is the file truncated, still being written, or "
            "compressed by a filter that is not installed?"
        ) from error


class Hdf5Store:
    """The arrays of an HDF5 file, which is opened once. A key may be a path in the file, such as spectra/flux.

    Raises GridError where h5py is missing, for a damaged file, a group in place of an array, and an array that lies in
    another file.
    """

    def __init__(self, path: Path):
        try:
            import h5py
        except ImportError as error:
            raise GridError(
                f"{path}: this grid is an HDF5 file, which is read with h5py, and that cannot be loaded ({error}). "
                "Install it with: pip install 'payneflow[hdf5]'. Or store the grid as npz."
            ) from error
        self._path, self._h5py = path, h5py
        self._headers: dict[str, Header] = {}
        with _problems_said(path):
            self._file = h5py.File(path, "r")
        try:
            self._paths = self._all_paths()
        except BaseException:
            self.close()
            raise

    def _all_paths(self) -> list[str]:
        """The paths of all arrays in the file."""
        paths: list[str] = []
        with _problems_said(self._path):
            self._file.visititems(
                lambda name, item: paths.append(name) if isinstance(item, self._h5py.Dataset) else None
            )
        return paths

    def close(self) -> None:
        self._file.close()

    def names(self) -> list[str]:
        """First the keys that arrays were found by, which may be links, then the paths of all others."""
        return [*self._headers, *(name for name in self._paths if name not in self._headers)]

    def header(self, key: str) -> Header | None:
        with _problems_said(self._path, key):
            if key not in self._headers and key in self._file:
                self._headers[key] = self._judged_header(key, self._file[key])
        return self._headers.get(key)

    def _judged_header(self, key: str, item) -> Header:
        if not isinstance(item, self._h5py.Dataset):
            inside = ", ".join(repr(f"{key}/{name}") for name in getattr(item, "keys", list)()) or "nothing"
            raise GridError(
                f"{self._path}: {key} is no array but holds {inside}; expected an array. Name the one inside it."
            )
        if item.is_virtual or item.external or Path(item.file.filename) != self._path:
            raise GridError(
                f"{self._path}: {key} lies in another file (an external link, external storage or a virtual dataset), "
                "whose changes the SHA-256 of the grid would not show. Copy all arrays into one file, with h5copy or "
                "h5py."
            )
        text = self._h5py.check_string_dtype(item.dtype) is not None
        shape = (0,) if item.shape is None else item.shape  # None: an empty dataspace
        return Header(shape, item.dtype, text, pickled=False)

    def read(self, key: str) -> np.ndarray:
        """An array of the file, whole; text as bytes."""
        with _problems_said(self._path, key):
            return self._file[key][()]

    def flux(self, key: str) -> "StoredFlux":
        """The flux, which stays in the file."""
        with _problems_said(self._path, key):
            unit = (self._file[key].chunks or (1,))[0]
        return StoredFlux(self._path, key, self.header(key), unit)

    def some(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Increasing rows of the flux, (n, n_pixel), in memory."""
        return self.flux(key)[rows, :]


class StoredFlux(LazyFlux):
    """Flux (n_spectrum, n_pixel) in an HDF5 file, read block by block.

    `unit`: spectra that are stored, and decompressed, together. Reading opens the file, for the flux outlives the
    `GridFile` it comes from; it raises GridError for a damaged file, or one that was changed since its headers were
    read.
    """

    def __init__(self, path: Path, key: str, header: Header, unit: int):
        super().__init__(*header.shape)
        self._path, self._key = path, key
        self.dtype, self.unit = header.trained_dtype, unit
        self._state = _state(path)

    def _read(self, rows: np.ndarray, pixels) -> np.ndarray:
        """(len(rows), number of pixels) at increasing rows of the file."""
        all_pixels = np.arange(self._n_pixel)
        chosen = all_pixels[pixels]
        flux = np.empty((len(rows), len(chosen)), self.dtype)
        step = rows_at_once(self.shape, self.dtype, self.unit)
        import h5py

        with _problems_said(self._path, self._key), h5py.File(self._path, "r") as file:
            if _state(self._path) != self._state:
                raise GridError(f"{self._path}: it was changed while it was read. Leave it alone and start again.")
            stored, done = file[self._key], 0
            while done < len(rows):
                block_end = (rows[done] // step + 1) * step  # blocks are aligned to what is decompressed together
                last = int(np.searchsorted(rows, block_end))
                span = slice(rows[done], rows[last - 1] + 1)
                if span.stop - span.start == last - done and np.array_equal(chosen, all_pixels):
                    stored.read_direct(flux, span, slice(done, last))  # needs no second copy of a block
                else:
                    block = np.empty((span.stop - span.start, stored.shape[1]), self.dtype)
                    stored.read_direct(block, span)
                    flux[done:last] = block[np.ix_(rows[done:last] - span.start, chosen)]
                done = last
        return flux


def _state(path: Path) -> tuple[int, int]:
    """What changes with the content of a file: its size and the time of its last change."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
