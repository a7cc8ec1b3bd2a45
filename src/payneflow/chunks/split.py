"""A grid cut into chunk files, which are written side by side while the flux of the grid streams by.

The flux is stored by spectra and trained by pixels, so writing chunks turns it over: every block of spectra is cut up
among the chunk files, which grow by as many rows each. Blocks are limited (grid/blocks.py), and what is held of the
training spectra for kriging is limited here; where both limits and the number of open files ask for it, the chunks are
written in several passes over the grid.
"""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.chunks.chunk import FORMAT_VERSION, TRAINING_KEY
from payneflow.chunks.origin import stored_resolution
from payneflow.chunks.selection import parse_pixels, plan_chunks
from payneflow.files import whole_file
from payneflow.grid import SpectralGrid, Split
from payneflow.grid.blocks import for_each_block
from payneflow.settings import settings_record
from payneflow.stored_arrays import write_checksum
from payneflow.training.lm.preparation import Preparation
from payneflow.training.trainers import Settings, check_size, prepare

MOST_OPEN = 128  # files written at a time; systems allow 256 or more
MOST_HELD = 64 * 2**20  # bytes of training flux, at most, that are held for kriging; one chunk's may be more


def split_grid(
    grid: SpectralGrid,
    selection: str,
    chunk_size: int,
    directory: str | Path,
    trainer: str,
    settings: Settings,
    seed: int,
) -> list[Path]:
    """Write one chunk file `directory/NAME.npz` for each chunk of the selected pixels; returns their paths.

    Each carries `trainer`, `settings` and `seed`, with which `train` will train it; what these draw from all training
    spectra is made here, once. The flux streams by in blocks of spectra, each of which every chunk takes its pixels of.
    Raises SettingsError, before anything is written, where the settings do not fit the grid.
    """
    check_size(settings, grid.split.n_training)
    chunks = plan_chunks(len(grid.wavelength), selection, chunk_size)
    requested = parse_pixels(selection, len(grid.wavelength))
    training = grid.split.training
    labels, flux = grid.scaler.scale(grid.labels[training]), grid.flux[training]
    preparation = prepare(labels, flux, settings, seed, grid.flux_scale)
    common = {
        "labels": grid.labels,
        "x_min": grid.scaler.x_min,
        "x_max": grid.scaler.x_max,
        "label_names": np.array(grid.label_names),
        "label_units": np.array(grid.label_units),
        "requested": np.array([requested.start, requested.stop, requested.step]),
        "trains": grid.split.trains,
        "flux_scale": np.array([grid.flux_scale.lowest, grid.flux_scale.highest]),
        "split_name": grid.split.name,
        "grid_medium": grid.medium,
        "virtual_labels": preparation.virtual.labels,
        "template_w0": preparation.templates.w0,
        "template_b0": preparation.templates.b0,
        "grid_sha256": grid.sha256,
        TRAINING_KEY: json.dumps(settings_record(trainer, settings, seed)),
        "preparation_note": preparation.note,
        "format_version": FORMAT_VERSION,
    }
    pieces = [
        Piece(
            path=Path(directory) / f"{chunk.name}.npz",
            pixels=chunk.pixels,
            arrays={
                "chunk": chunk.name,
                "pixels": np.array(chunk.pixels),
                "wavelength": grid.wavelength[chunk.pixels],
                **stored_resolution(grid.resolution, chunk.pixels),
                **common,
            },
        )
        for chunk in chunks
    ]
    write_pieces(pieces, grid.flux, preparation, grid.split)
    return [piece.path for piece in pieces]


# ---------------------------------------------------------------------- written side by side


@dataclass(frozen=True, eq=False)
class Piece:
    """A chunk file to be written: where, which pixels, all its arrays but real and virtual flux and floors."""

    path: Path
    pixels: range
    arrays: dict[str, np.ndarray | str | int]


def write_pieces(pieces: list[Piece], flux, preparation: Preparation, split: Split) -> None:
    """Write the files of all pieces, of flux (n_spectrum, n_pixel) in memory or in a file, each whole or not at all.

    Raises PayneflowError where one cannot be written, GridError where the flux cannot be read.
    """
    to_hold = _spectra_to_hold(preparation, split)
    held = int(to_hold.sum()) * flux.dtype.itemsize  # bytes a pixel
    for some in _passes(pieces, MOST_HELD // held if held else None):
        with ExitStack() as stack:
            growing = [stack.enter_context(_growing_chunk(piece, flux, preparation, to_hold)) for piece in some]
            for_each_block(flux, *(chunk.take for chunk in growing))


def _spectra_to_hold(preparation: Preparation, split: Split) -> np.ndarray:
    """(n_spectrum,) bool: those whose flux virtual spectra and floors are made of."""
    if len(preparation.virtual.labels):
        return split.trains
    to_hold = np.zeros(len(split.trains), dtype=bool)
    to_hold[split.training_rows[preparation.floor.rows]] = True
    return to_hold


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
def _growing_chunk(piece: Piece, flux, preparation: Preparation, to_hold: np.ndarray) -> Iterator[_GrowingChunk]:
    """The chunk file of `piece`, to be fed with all blocks of the flux; only then does it get its place and name."""
    virtual, floor = preparation.virtual, preparation.floor
    with whole_file(piece.path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, array in piece.arrays.items():
            _write(archive, key, array)
        with _member(archive, "flux") as stream:
            shape = (flux.shape[0], len(piece.pixels))
            header = {"descr": np.lib.format.dtype_to_descr(flux.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            chunk = _GrowingChunk(piece.pixels, stream, to_hold)
            yield chunk
        held = np.concatenate(chunk.held)
        kriging = len(virtual.labels) > 0
        known = held[floor.rows] if kriging else held
        floors = floor.of(known)
        nothing = np.empty((0, len(piece.pixels)))
        _write(archive, "virtual_flux", virtual.flux(held, floors.nugget) if kriging else nothing)
        _write(archive, "noise", floors.noise)
        _write(archive, "floor", floors.deviation)
        _write(archive, "kriging", floors.kriging)
        _write(archive, "relevance", floor.relevance(known, floors.nugget))
        write_checksum(archive)


def _write(archive: zipfile.ZipFile, key: str, array) -> None:
    with _member(archive, key) as stream:
        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def _member(archive: zipfile.ZipFile, key: str):
    """A stream into an array of the npz file, which may grow beyond 4 GB."""
    return archive.open(f"{key}.npy", "w", force_zip64=True)
