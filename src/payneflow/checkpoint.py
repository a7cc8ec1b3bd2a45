"""The progress of a chunk's pixels on disk, so that a killed job goes on where it was.

A checkpoint lies beside the chunk's output and says which chunk, grid, settings and version it belongs to. One that
belongs to anything else is never used.
"""

import json
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.errors import PayneflowError
from payneflow.files import read_npz, write_npz
from payneflow.training.policy import PixelProgress, Stage

FORMAT_VERSION = 1


def checkpoint_path(output: str | Path) -> Path:
    """Where the checkpoint of a trained chunk lies while it is being trained."""
    output = Path(output)
    return output.with_name(f"{output.stem}.checkpoint.npz")


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


def _arrays(progress: list[PixelProgress], n_weight: int) -> dict[str, np.ndarray]:
    nothing = np.full(n_weight, np.nan)
    weights = [nothing if pixel.weights is None else pixel.weights for pixel in progress]
    best = [nothing if pixel.best_weights is None else pixel.best_weights for pixel in progress]
    return {
        "stage": np.array([str(pixel.stage) for pixel in progress]),
        "restarts": np.array([pixel.restarts for pixel in progress]),
        "loops": np.array([pixel.loops for pixel in progress]),
        "divisor": np.array([pixel.divisor for pixel in progress]),
        "deviation": np.array([pixel.deviation for pixel in progress]),
        "seconds": np.array([pixel.seconds for pixel in progress]),
        "weights": np.array(weights),
        "best_weights": np.array(best),
        "has_weights": np.array([pixel.weights is not None for pixel in progress]),
        "has_best": np.array([pixel.best_weights is not None for pixel in progress]),
    }


def _progress(stored: dict[str, np.ndarray]) -> list[PixelProgress]:
    return [
        PixelProgress(
            stage=Stage(str(stored["stage"][i])),
            restarts=int(stored["restarts"][i]),
            loops=int(stored["loops"][i]),
            divisor=float(stored["divisor"][i]),
            weights=stored["weights"][i].copy() if stored["has_weights"][i] else None,
            best_weights=stored["best_weights"][i].copy() if stored["has_best"][i] else None,
            deviation=float(stored["deviation"][i]),
            seconds=float(stored["seconds"][i]),
        )
        for i in range(len(stored["stage"]))
    ]
