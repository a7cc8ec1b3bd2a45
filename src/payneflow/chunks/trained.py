"""A trained chunk: the networks of its pixels, their rows of the training record, and where it belongs.

`train` writes it, `gather` reads it, `payneflow status` asks whether it is there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.chunks.record import COLUMNS
from payneflow.errors import ChunkError
from payneflow.files import read_npz, write_npz
from payneflow.weights import PUBLISHED_KEYS

FORMAT_VERSION = 4
_WHAT = "a trained chunk made by payneflow train"
_ARRAYS = ("pixels", "wavelength", "x_min", "x_max", "label_names", "label_units", "requested", "emulator_rms")
_ARRAYS += ("trains", "flux_scale")
_TEXTS = ("grid_sha256", "preparation_note", "settings", "split_name", "grid_medium")
_COLUMNS = tuple(name for name in COLUMNS if name not in ("pixel", "wavelength", "chunk"))
_KEYS = ("chunk", *_ARRAYS, *_TEXTS, *PUBLISHED_KEYS, "pixel", *_COLUMNS, "format_version")


@dataclass(frozen=True, eq=False)
class TrainedChunk:
    """What a trained chunk's file holds.

    `name`, `pixels` (n,), `wavelength` (n,) in Angstrom, `x_min`, `x_max`, `label_names` and `label_units` (n_label,),
    `requested` (start, stop, step), `grid_sha256`, `preparation_note`, `trains` (n_spectrum,), `flux_scale` (2,),
    `split_name` and `grid_medium` are those of its `Chunk`. `settings`: trainer,
    settings and seed, as JSON. `networks`: the four weight arrays by published key, n networks each, NaN where a pixel
    failed; `emulator_rms` (n,) in normalised flux; `columns`: those of the training record (record.py) that training
    fills, (n,) each.
    """

    name: str
    pixels: np.ndarray
    wavelength: np.ndarray
    x_min: np.ndarray
    x_max: np.ndarray
    label_names: np.ndarray
    label_units: np.ndarray
    requested: np.ndarray
    grid_sha256: str
    preparation_note: str
    trains: np.ndarray
    flux_scale: np.ndarray
    split_name: str
    grid_medium: str
    settings: str
    networks: dict[str, np.ndarray]
    emulator_rms: np.ndarray
    columns: dict[str, np.ndarray]

    def write(self, path: str | Path) -> None:
        """Write it, whole or not at all. Raises PayneflowError where that is not possible."""
        own = {key: getattr(self, key) for key in (*_ARRAYS, *_TEXTS)}
        about = {"chunk": self.name, "pixel": self.pixels, "format_version": FORMAT_VERSION}
        columns = {name: self.columns[name] for name in _COLUMNS}
        write_npz(path, {**about, **own, **self.networks, **columns})

    @classmethod
    def read(cls, path: str | Path) -> "TrainedChunk":
        """Read one. Raises ChunkError where it is missing, damaged, no trained chunk, or of another version."""
        stored = read_npz(path, ChunkError, _WHAT)
        missing = [key for key in _KEYS if key not in stored]
        if missing:
            raise ChunkError(f"{path}: no {', '.join(missing)}; expected a trained chunk. Train this chunk again.")
        version = int(stored["format_version"])
        if version != FORMAT_VERSION:
            raise ChunkError(f"{path}: format_version {version}, expected {FORMAT_VERSION}. Train this chunk again.")
        return cls(
            name=str(stored["chunk"]),
            **{key: stored[key] for key in _ARRAYS},
            **{key: str(stored[key]) for key in _TEXTS},
            networks={key: stored[key] for key in PUBLISHED_KEYS},
            columns={name: stored[name] for name in _COLUMNS},
        )

    def column(self, name: str) -> np.ndarray:
        """A column (n,) of the training record, of any name in record.COLUMNS."""
        if name == "chunk":
            return np.full(len(self.pixels), self.name)
        return {"pixel": self.pixels, "wavelength": self.wavelength, **self.columns}[name]


def read_trained_pixels(path: str | Path) -> list[int]:
    """The pixels of a trained chunk, read without the rest of it. Raises ChunkError where that is none."""
    stored = read_npz(path, ChunkError, _WHAT, keys=("pixels", "end"))
    if "end" not in stored or "pixels" not in stored:  # "end" tells it from a chunk file
        raise ChunkError(f"{path}: no end or no pixels; expected {_WHAT}.")
    return stored["pixels"].ravel().tolist()
