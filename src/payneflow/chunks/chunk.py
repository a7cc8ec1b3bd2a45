"""A chunk file: all that one job needs to train its pixels of a grid, and where it belongs. split.py writes it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from payneflow.chunks.origin import ORIGIN_OF_CHUNK, problem_of_requested, problem_of_resolution, resolution_of
from payneflow.errors import ChunkError, SettingsError
from payneflow.grid import Split
from payneflow.network import LABELS_OF_NETWORKS, problem_of_flux_scale, problem_of_range, problem_of_trains
from payneflow.scaling import FluxScale, LabelScaler
from payneflow.settings import settings_record
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import Templates
from payneflow.training.lm.virtual_spectra import VirtualSpectra
from payneflow.training.trainers import Settings, read_settings_record

FORMAT_VERSION = 5
TRAINING_KEY = "prepared_for"  # trainer, settings and seed (JSON); of lm, chunks of earlier versions have them, too
_TEXTS = ("grid_sha256", "preparation_note", "split_name", "grid_medium")
_ARRAYS = ("pixels", "wavelength", "flux", "labels", "x_min", "x_max", "label_names", "label_units", "requested")
_ARRAYS += (
    "trains",
    "flux_scale",
    "virtual_labels",
    "virtual_flux",
    "template_w0",
    "template_b0",
    "noise",
    "floor",
    "kriging",
    "relevance",
)


def _problem_of_training(stored: Arrays) -> str:
    """What trains is finite; of the test set nothing is learnt."""
    trains = stored["trains"]
    torn = next((key for key in ("flux", "labels") if not np.isfinite(stored[key][trains]).all()), None)
    return "" if torn is None else f"{torn} of the training spectra is not finite everywhere"


def _problem_of_relevance(stored: Arrays) -> str:
    """That of the labels of every pixel, or of none."""
    n, n_pixel = len(stored["relevance"]), len(stored["pixels"])
    return "" if n in (0, n_pixel) else f"relevance is that of {n} pixels, expected {n_pixel}, or 0"


_FILE = FileOf(
    what="a chunk file made by payneflow split",
    again="Make it again with payneflow split.",
    error=ChunkError,
    version=FORMAT_VERSION,
    checksum_since=4,
    oldest=5,
    may_be_none=("n_virtual", "n_template", "n_relevance"),
    arrays=(
        *ORIGIN_OF_CHUNK,
        *LABELS_OF_NETWORKS,
        Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True),
        Array("flux", "f", ("n_spectrum", "n_pixel")),
        Array("labels", "f", ("n_spectrum", "n_label")),
        Array("virtual_labels", "f", ("n_virtual", "n_label"), finite=True),
        Array("virtual_flux", "f", ("n_virtual", "n_pixel"), finite=True),
        Array("template_w0", "f", ("n_template", "n_neurons", "n_label"), finite=True),
        Array("template_b0", "f", ("n_template", "n_neurons"), finite=True),
        Array("noise", "f", ("n_pixel",), finite=True, least=0.0),
        Array("floor", "f", ("n_pixel",), finite=True, least=0.0),
        Array("kriging", "f", ("n_pixel",), finite=True, least=0.0),
        Array("relevance", "f", ("n_relevance", "n_label"), finite=True, least=1.0),
        Array(TRAINING_KEY, "U"),
    ),
    relations=(
        problem_of_range,
        problem_of_flux_scale,
        problem_of_requested,
        problem_of_resolution,
        problem_of_trains,
        _problem_of_training,
        _problem_of_relevance,
    ),
)


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a chunk file holds: flux of its pixels, all labels, the grid's scaling, how to train, where it belongs.

    `pixels`, `wavelength` (n,) in Angstrom, vacuum, of `grid_medium` in the grid; `flux` (n_spectrum, n); `labels`
    (n_spectrum, n_label) in their units; `x_min`, `x_max` (n_label,) of the grid's training labels; `requested` are
    (start, stop, step) of all pixels that were asked for, which `gather` checks. `trains` (n_spectrum,): whether a
    spectrum trains, as `split_name`, the setting, says; `flux_scale` (2,): the flux that is share 0 and share 1 for
    the networks; `resolution` R of the grid's spectra, a number or (n,), 0 where it is not known.
    What was drawn from the whole grid (training/preparation.py): `virtual_labels` (n_virtual, n_label) scaled,
    `virtual_flux` (n_virtual, n), `template_w0` and `template_b0`; `preparation_note` says how. `noise`, `floor`
    (n,) and `relevance` (n, n_label), or (0, n_label): those of the pixels (`PixelTask`). `kriging` (n,): the
    largest deviation of kriging from training spectra that it does not know, 0 where that was not measured.
    `trainer`, `settings` and `seed` are what this was drawn for, and what the pixels are trained with.
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
    trains: np.ndarray
    flux_scale: np.ndarray
    virtual_labels: np.ndarray
    virtual_flux: np.ndarray
    template_w0: np.ndarray
    template_b0: np.ndarray
    noise: np.ndarray
    floor: np.ndarray
    kriging: np.ndarray
    relevance: np.ndarray
    grid_sha256: str
    preparation_note: str
    split_name: str
    grid_medium: str
    trainer: str
    settings: Settings
    seed: int
    resolution: float | np.ndarray = 0.0

    @property
    def split(self) -> Split:
        return Split(self.split_name, self.trains)

    @property
    def scale(self) -> FluxScale:
        return FluxScale(*map(float, self.flux_scale))

    @property
    def preparation(self) -> Preparation:
        virtual = VirtualSpectra.none(self.split.n_training, self.labels.shape[1], self.preparation_note)
        virtual = replace(virtual, labels=self.virtual_labels)
        return Preparation(virtual, Templates(self.template_w0, self.template_b0), self.preparation_note)

    @property
    def scaler(self) -> LabelScaler:
        return LabelScaler(self.x_min, self.x_max)

    @property
    def identity(self) -> dict:
        """What a checkpoint carries on, so that it cannot be taken for another chunk's."""
        return {
            "chunk": self.name,
            "pixels": self.pixels,
            "wavelength": self.wavelength,
            "x_min": self.x_min,
            "x_max": self.x_max,
            "label_names": self.label_names,
            "label_units": self.label_units,
            "requested": self.requested,
            "trains": self.trains,
            "flux_scale": self.flux_scale,
            "split_name": self.split_name,
            "grid_medium": self.grid_medium,
            "grid_sha256": self.grid_sha256,
            "preparation_note": self.preparation_note,
        }


def read_preparation_note(path: str | Path) -> str:
    """How a chunk file that `split_grid` wrote was prepared, read without the rest of it."""
    key = "preparation_note"
    return str(_FILE.read(path, keys=(key,))[key])


def read_training(path: str | Path) -> tuple[str, Settings, int]:
    """Trainer, settings and seed that a chunk file carries, read without the rest of it. Raises ChunkError."""
    return _training(path, str(_FILE.read(path, keys=(TRAINING_KEY,))[TRAINING_KEY]))


def read_grid_and_training(path: str | Path) -> tuple[str, dict]:
    """The digest of a chunk's grid, and its trainer, settings and seed, read without the rest. Raises ChunkError."""
    stored = _FILE.read(path, keys=("grid_sha256", TRAINING_KEY))
    return str(stored["grid_sha256"]), settings_record(*_training(path, str(stored[TRAINING_KEY])))


def read_chunk(path: str | Path) -> Chunk:
    """Read a chunk file. Raises ChunkError where it is missing, damaged, or of another format or version."""
    stored = _FILE.read(path)
    trainer, settings, seed = _training(path, str(stored[TRAINING_KEY]))
    arrays = {key: stored[key] for key in _ARRAYS} | {key: str(stored[key]) for key in _TEXTS}
    known = {"trainer": trainer, "settings": settings, "seed": seed, "resolution": resolution_of(stored)}
    return Chunk(name=str(stored["chunk"]), **arrays, **known)


def _training(path: str | Path, record: str) -> tuple[str, Settings, int]:
    """Trainer, settings and seed of a chunk; an earlier version wrote only the trainer's name where it was not lm."""
    try:
        return read_settings_record(dict(json.loads(record)))
    except (ValueError, TypeError, RecursionError):
        said = f"{TRAINING_KEY} is {record[:200]!r}, expected trainer, settings and seed (JSON)."
    except SettingsError as error:
        said = str(error)
    raise ChunkError(f"{path}: this chunk does not say how to train it: {said} Run payneflow split again.") from None
