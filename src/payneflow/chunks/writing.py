"""Chunk files written side by side while the flux of the grid streams by.

The flux is stored by spectra and trained by pixels, so writing chunks turns it over: every block of spectra is cut up
among the chunk files, which grow by as many rows each. Blocks are limited (grid_blocks.py), and what is held of the
training spectra for kriging is limited here; where both limits and the number of open files ask for it, the chunks are
written in several passes over the grid.
"""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.files import whole_file
from payneflow.grid import Split
from payneflow.grid.blocks import for_each_block
from payneflow.training.lm.virtual_spectra import VirtualSpectra

MOST_OPEN = 128  # files written at a time; systems allow 256 or more
MOST_HELD = 64 * 2**20  # bytes of training flux, at most, that are held for kriging; one chunk's may be more


@dataclass(frozen=True, eq=False)
class Piece:
    """A chunk file to be written: where, which pixels of the grid, and all its arrays but real and virtual flux."""

    path: Path
    pixels: range
    arrays: dict[str, np.ndarray | str | int]


def write_pieces(pieces: list[Piece], flux, virtual: VirtualSpectra, split: Split) -> None:
    """Write the files of all pieces, of flux (n_spectrum, n_pixel) in memory or in a file, each whole or not at all.

    Raises PayneflowError where one cannot be written, GridError where the flux cannot be read.
    """
    held = split.n_training * flux.dtype.itemsize if len(virtual.labels) else 0  # bytes a pixel
    for some in _passes(pieces, MOST_HELD // held if held else None):
        with ExitStack() as stack:
            growing = [stack.enter_context(_growing_chunk(piece, flux, virtual, split)) for piece in some]
            for_each_block(flux, *(chunk.take for chunk in growing))


def _passes(pieces: list[Piece], most_pixels: int | None) -> Iterator[list[Piece]]:
    """The pieces in groups that may be written together."""
    some: list[Piece] = []
    for piece in pieces:
        n_pixel = sum(len(one.pixels) for one in [*some, piece])
        if some and (len(some) == MOST_OPEN or (most_pixels is not None and n_pixel > most_pixels)):
            yield some
            some = []
        some.append(piece)
    yield some


class _GrowingChunk:
    """A chunk file to which flux is added as it comes; that of the spectra `to_hold` (n_spectrum,) stays here, too."""

    def __init__(self, pixels: range, stream, to_hold: np.ndarray):
        self._pixels, self._stream, self._to_hold = slice(pixels.start, pixels.stop, pixels.step), stream, to_hold
        self.held: list[np.ndarray] = []

    def take(self, first: int, rows: np.ndarray) -> None:
        """Add this chunk's pixels of the spectra `first` ..., (n, n_pixel), which follow on those before."""
        own = np.ascontiguousarray(rows[:, self._pixels])
        self._stream.write(own)
        self.held.append(own[self._to_hold[first : first + len(rows)]])


@contextmanager
def _growing_chunk(piece: Piece, flux, virtual: VirtualSpectra, split: Split) -> Iterator[_GrowingChunk]:
    """The chunk file of `piece`, to be fed with all blocks of the flux; only then does it get its place and name."""
    kriging = len(virtual.labels) > 0
    to_hold = split.trains & kriging
    with whole_file(piece.path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, array in piece.arrays.items():
            _write(archive, key, array)
        with _member(archive, "flux") as stream:
            shape = (flux.shape[0], len(piece.pixels))
            header = {"descr": np.lib.format.dtype_to_descr(flux.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            chunk = _GrowingChunk(piece.pixels, stream, to_hold)
            yield chunk
        nothing = np.empty((0, len(piece.pixels)))
        _write(archive, "virtual_flux", virtual.flux(np.concatenate(chunk.held)) if kriging else nothing)


def _write(archive: zipfile.ZipFile, key: str, array) -> None:
    with _member(archive, key) as stream:
        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def _member(archive: zipfile.ZipFile, key: str):
    """A stream into an array of the npz file, which may grow beyond 4 GB."""
    return archive.open(f"{key}.npy", "w", force_zip64=True)
