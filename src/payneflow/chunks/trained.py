"""A trained chunk: the networks of its pixels, their rows of the training record, and where it belongs.

`train` writes it, `gather` reads it, `payneflow status` asks whether it is there.
"""

import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.chunks.origin import (
    ORIGIN_OF_CHUNK,
    problem_of_requested,
    problem_of_resolution,
    resolution_of,
    stored_resolution,
)
from payneflow.chunks.record import COLUMNS
from payneflow.errors import ChunkError
from payneflow.network import (
    HULL,
    LABELS_OF_NETWORKS,
    PIXELS_OF_NETWORKS,
    problem_of_flux_scale,
    problem_of_hull,
    problem_of_range,
    problem_of_trains,
    problem_of_weights,
)
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.training.policy import ENDS
from payneflow.training.trainers import TRAINERS
from payneflow.weights import PUBLISHED_KEYS

_DEVIATIONS = ("deviation", "deviation_test", "median_deviation_test")


def _problem_of_settings(stored: Arrays) -> str:
    trunc_diff = json.loads(str(stored["settings"])).get("trunc_diff", 0.0)
    return "" if isinstance(trunc_diff, int | float) else f"settings has trunc_diff {trunc_diff!r}, expected a number"


def _problem_of_pixels(stored: Arrays) -> str:
    return "" if (stored["pixels"] == stored["pixel"]).all() else "pixels and pixel differ"


_FILE = FileOf(
    what="a trained chunk made by payneflow train",
    again="Train this chunk again.",
    error=ChunkError,
    version=6,  # still read: 5, which has neither explained_test nor versions; 4, which has no checksum, either
    checksum_since=5,
    oldest=4,
    arrays=(
        *ORIGIN_OF_CHUNK,
        *PIXELS_OF_NETWORKS,
        *LABELS_OF_NETWORKS,
        HULL,
        Array("settings", "U", json=True),
        Array("pixel", "i", ("n_pixel",), least=0),
        Array("trainer", "U", ("n_pixel",), choices=TRAINERS),
        *(Array(name, "i", ("n_pixel",), least=0) for name in ("restarts", "loops", "steps")),
        Array("step_size", "f", ("n_pixel",), least=0.0),
        # NaN where training failed, infinite where it never came to a validation
        *(Array(name, "f", ("n_pixel",), least=0.0, infinite=True) for name in _DEVIATIONS),
        Array("explained_test", "f", ("n_pixel",), infinite=True, since=6, optional=True),
        Array("versions", "U", json=True, since=6, optional=True),
        Array("seconds", "f", ("n_pixel",), least=0.0),
        Array("end", "U", ("n_pixel",), choices=tuple(map(str, ENDS))),
    ),
    relations=(
        problem_of_range,
        problem_of_hull,
        problem_of_flux_scale,
        problem_of_weights,
        problem_of_requested,
        problem_of_resolution,
        problem_of_trains,
        _problem_of_settings,
        _problem_of_pixels,
    ),
)
_ARRAYS = ("pixels", "wavelength", "x_min", "x_max", "label_names", "label_units", "requested", "emulator_rms")
_ARRAYS += ("trains", "flux_scale")
_TEXTS = ("grid_sha256", "preparation_note", "settings", "split_name", "grid_medium")
_COLUMNS = tuple(name for name in COLUMNS if name not in ("pixel", "wavelength", "chunk"))


@dataclass(frozen=True, eq=False)
class TrainedChunk:
    """What a trained chunk's file holds.

    `name`, `pixels` (n,), `wavelength` (n,) in Angstrom, `x_min`, `x_max`, `label_names` and `label_units` (n_label,),
    `requested` (start, stop, step), `grid_sha256`, `preparation_note`, `trains` (n_spectrum,), `flux_scale` (2,),
    `split_name`, `grid_medium` and `resolution` are those of its `Chunk`. `settings`: trainer,
    settings and seed, as JSON. `networks`: the four weight arrays by published key, n networks each, NaN where a pixel
    failed; `emulator_rms` (n,) in normalised flux; `columns`: those of the training record (record.py) that training
    fills, (n,) each. `versions`: of what trained them, by name; empty where an earlier version did. `hull`
    (n_corner, n_label): as of `Networks`; None where an earlier version trained them.
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
    versions: dict[str, str]
    resolution: float | np.ndarray = 0.0
    hull: np.ndarray | None = None

    @property
    def grid_resolution(self) -> str:
        """What all chunks of a grid say alike of R."""
        if np.ndim(self.resolution):
            return "one for each pixel"
        return f"{self.resolution:.15g}" if self.resolution else "unknown"

    def write(self, path: str | Path) -> None:
        """Write it, whole or not at all. Raises PayneflowError where that is not possible."""
        own = {key: getattr(self, key) for key in (*_ARRAYS, *_TEXTS)}
        about = {"chunk": self.name, "pixel": self.pixels}
        columns = {name: self.columns[name] for name in _COLUMNS}
        versions = {"versions": json.dumps(self.versions, sort_keys=True)}
        own |= stored_resolution(self.resolution) | ({} if self.hull is None else {"hull": self.hull})
        _FILE.write(path, {**about, **own, **self.networks, **columns, **versions})

    @classmethod
    def read(cls, path: str | Path) -> "TrainedChunk":
        """Read one. Raises ChunkError where it is missing, damaged, no trained chunk, or of another version."""
        stored = _FILE.read(path)
        stored.setdefault("explained_test", np.full(len(stored["pixels"]), np.nan))
        return cls(
            name=str(stored["chunk"]),
            **{key: stored[key] for key in _ARRAYS},
            **{key: str(stored[key]) for key in _TEXTS},
            networks={key: stored[key] for key in PUBLISHED_KEYS},
            columns={name: stored[name] for name in _COLUMNS},
            versions=json.loads(str(stored.get("versions", "{}"))),
            resolution=resolution_of(stored),
            hull=stored.get("hull"),
        )

    def column(self, name: str) -> np.ndarray:
        """A column (n,) of the training record, of any name in record.COLUMNS."""
        if name == "chunk":
            return np.full(len(self.pixels), self.name)
        return {"pixel": self.pixels, "wavelength": self.wavelength, **self.columns}[name]


def versions_here() -> dict[str, str]:
    """Versions of what trains in this process, by name."""
    packages = {"payneflow": __version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "theano"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the environment of trainer theano has no numba, and others no Theano
    return packages


def read_trained_pixels(path: str | Path) -> list[int]:
    """The pixels of a trained chunk, read without the rest of it. Raises ChunkError where that is none."""
    return _FILE.read(path, keys=("pixels", "end"))["pixels"].tolist()  # "end" tells it from a chunk file
