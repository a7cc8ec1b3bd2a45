"""A grid in pieces: each chunk file holds all that one job needs to train its pixels, and knows where it belongs."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from payneflow.chunks.selection import parse_pixels, plan_chunks
from payneflow.chunks.writing import Piece, write_pieces
from payneflow.errors import ChunkError
from payneflow.files import read_npz
from payneflow.grid import TRAINING, SpectralGrid
from payneflow.scaling import LabelScaler
from payneflow.settings import LmSettings, SgdSettings, settings_record
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import Templates
from payneflow.training.lm.virtual_spectra import VirtualSpectra
from payneflow.training.trainers import prepare

FORMAT_VERSION = 2
_WHAT = "a chunk file made by payneflow split"


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a chunk file holds: this chunk's flux, all labels, the scaling of the whole grid, and where it belongs.

    `pixels`, `wavelength` (n,) in Angstrom; `flux` (n_spectrum, n) normalised; `labels` (n_spectrum, n_label) in their
    units; `x_min`, `x_max` (n_label,) of the grid's training labels; `requested` are (start, stop, step) of all pixels
    that were asked for, which `gather` checks. What was drawn from the whole grid (training/preparation.py):
    `virtual_labels` (n_virtual, n_label) scaled, `virtual_flux` (n_virtual, n) normalised, `template_w0` and
    `template_b0`; `prepared_for` are the trainer and settings this was done for (JSON), `preparation_note` says how.
    """

    name: str
    pixels: np.ndarray
    wavelength: np.ndarray
    flux: np.ndarray
    labels: np.ndarray
    x_min: np.ndarray
    x_max: np.ndarray
    label_names: np.ndarray
    label_units: np.ndarray
    requested: np.ndarray
    virtual_labels: np.ndarray
    virtual_flux: np.ndarray
    template_w0: np.ndarray
    template_b0: np.ndarray
    grid_sha256: str
    prepared_for: str
    preparation_note: str

    @property
    def preparation(self) -> Preparation:
        virtual = VirtualSpectra.none(len(self.labels[TRAINING]), self.labels.shape[1], self.preparation_note)
        virtual = replace(virtual, labels=self.virtual_labels)
        return Preparation(virtual, Templates(self.template_w0, self.template_b0), self.preparation_note)

    @property
    def scaler(self) -> LabelScaler:
        return LabelScaler(self.x_min, self.x_max)

    @property
    def identity(self) -> dict:
        """What a trained chunk and a checkpoint carry on, so that they cannot be taken for another chunk's."""
        return {
            "chunk": self.name,
            "pixels": self.pixels,
            "wavelength": self.wavelength,
            "x_min": self.x_min,
            "x_max": self.x_max,
            "label_names": self.label_names,
            "label_units": self.label_units,
            "requested": self.requested,
            "grid_sha256": self.grid_sha256,
            "preparation_note": self.preparation_note,
        }


def split_grid(
    grid: SpectralGrid,
    selection: str,
    chunk_size: int,
    directory: str | Path,
    trainer: str,
    settings: LmSettings | SgdSettings,
    seed: int,
) -> list[Path]:
    """Write one chunk file `directory/NAME.npz` for each chunk of the selected pixels; returns their paths.

    What `trainer` with `settings` and `seed` draws from the whole grid's training set is made here, once. The flux
    streams by in blocks of spectra, each of which every chunk takes its pixels of.
    """
    chunks = plan_chunks(len(grid.wavelength), selection, chunk_size)
    requested = parse_pixels(selection, len(grid.wavelength))
    preparation = prepare(grid.scaler.scale(grid.labels[TRAINING]), grid.flux[TRAINING], settings, seed)
    common = {
        "labels": grid.labels,
        "x_min": grid.scaler.x_min,
        "x_max": grid.scaler.x_max,
        "label_names": np.array(grid.label_names),
        "label_units": np.array(grid.label_units),
        "requested": np.array([requested.start, requested.stop, requested.step]),
        "virtual_labels": preparation.virtual.labels,
        "template_w0": preparation.templates.w0,
        "template_b0": preparation.templates.b0,
        "grid_sha256": grid.sha256,
        "prepared_for": preparation_key(trainer, settings, seed),
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
                **common,
            },
        )
        for chunk in chunks
    ]
    write_pieces(pieces, grid.flux, preparation.virtual)
    return [piece.path for piece in pieces]


def preparation_key(trainer: str, settings: LmSettings | SgdSettings, seed: int) -> str:
    """What a preparation depends on beside the grid; the published trainer needs none, whatever its settings."""
    return trainer if isinstance(settings, SgdSettings) else json.dumps(settings_record(trainer, settings, seed))


def read_preparation_note(path: str | Path) -> str:
    """How a chunk file that `split_grid` wrote was prepared, read without the rest of it."""
    key = "preparation_note"
    return str(read_npz(path, ChunkError, _WHAT, keys=(key,))[key])


def read_chunk(path: str | Path) -> Chunk:
    """Read a chunk file. Raises ChunkError where it is missing, damaged or of another format."""
    stored = read_npz(path, ChunkError, _WHAT)
    keys = [*Chunk.__dataclass_fields__]
    keys[0] = "chunk"
    missing = [key for key in (*keys, "format_version") if key not in stored]
    if missing:
        raise ChunkError(f"{path}: no {', '.join(missing)}; expected a chunk file. Make it again with payneflow split.")
    if int(stored["format_version"]) != FORMAT_VERSION:
        raise ChunkError(
            f"{path}: format_version {stored['format_version']}, expected {FORMAT_VERSION}. Make it again with "
            "payneflow split."
        )
    texts = ("grid_sha256", "prepared_for", "preparation_note")
    arrays = {key: str(stored[key]) if key in texts else stored[key] for key in keys[1:]}
    return Chunk(str(stored["chunk"]), **arrays)
