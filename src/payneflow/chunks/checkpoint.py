"""The progress of a chunk's pixels on disk, so that a killed job goes on where it was.

A checkpoint lies beside the chunk's output and says which chunk, grid, settings and version it belongs to. One that
belongs to anything else is never used. In the workflow it outlives the output until `gather` has joined that: where
Slurm loses sight of a job that ends well, Snakemake deletes its output, and only the checkpoint saves the work.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.chunks.progress_file import progress_path
from payneflow.errors import PayneflowError
from payneflow.files import read_npz, write_npz
from payneflow.training.policy import PixelProgress, Stage

FORMAT_VERSION = 2


def checkpoint_path(output: str | Path) -> Path:
    """Where the checkpoint of a trained chunk lies while it is being trained."""
    output = Path(output)
    return output.with_name(f"{output.stem}.checkpoint.npz")


def remove_checkpoints(outputs: Iterable[str | Path]) -> None:
    """Remove what checkpoints, and what files of progress, lie beside trained chunks, once these are joined."""
    for output in outputs:
        checkpoint_path(output).unlink(missing_ok=True)
        progress_path(output).unlink(missing_ok=True)


def identity_text(identity: dict, settings: dict) -> str:
    """All that a checkpoint depends on, as text that can be compared."""
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in identity.items()}
    return json.dumps({**plain, "settings": settings, "version": [__version__, FORMAT_VERSION]}, sort_keys=True)


def write_checkpoint(path: Path, identity: str, progress: list[PixelProgress], n_weight: int) -> None:
    """Write the progress of all pixels of a chunk, whole or not at all."""
    write_npz(path, {"identity": identity, **_arrays(progress, n_weight)})


def read_checkpoint(path: Path, identity: str) -> tuple[list[PixelProgress] | None, str]:
    """The progress stored for `identity`, or None, and a sentence that says what was found."""
    if not path.exists():
        return None, "no checkpoint: starting from the beginning"
    try:
        stored = read_npz(path, PayneflowError, "a checkpoint")
        if str(stored["identity"]) != identity:
            return None, f"{path} belongs to another grid, chunk, version or settings: not used"
        progress = _progress(stored)
    except (PayneflowError, KeyError, ValueError) as error:
        return None, f"{path} cannot be read ({error}): not used"
    return progress, f"resuming from {path}: {sum(pixel.ended for pixel in progress)} pixels had ended"


# what a checkpoint stores of each pixel, with the type it comes back as
_NUMBERS = {
    "restarts": int,
    "loops": int,
    "trials": int,
    "steps": int,
    "divisor": float,
    "cost": float,
    "deviation": float,
    "seconds": float,
}


def _arrays(progress: list[PixelProgress], n_weight: int) -> dict[str, np.ndarray]:
    arrays = {name: np.array([getattr(pixel, name) for pixel in progress]) for name in _NUMBERS}
    arrays["stage"] = np.array([str(pixel.stage) for pixel in progress])
    for name in ("weights", "best_weights"):
        given = [getattr(pixel, name) for pixel in progress]
        arrays[name] = np.array([np.full(n_weight, np.nan) if one is None else one for one in given])
        arrays[f"has_{name}"] = np.array([one is not None for one in given])
    return arrays


def _progress(stored: dict[str, np.ndarray]) -> list[PixelProgress]:
    def weights(name: str, i: int) -> np.ndarray | None:
        return stored[name][i].copy() if stored[f"has_{name}"][i] else None

    return [
        PixelProgress(
            stage=Stage(str(stored["stage"][i])),
            weights=weights("weights", i),
            best_weights=weights("best_weights", i),
            **{name: kind(stored[name][i]) for name, kind in _NUMBERS.items()},
        )
        for i in range(len(stored["stage"]))
    ]
