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
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.training.policy import ENDS, PixelProgress, Stage

FORMAT_VERSION = 3
# what a checkpoint stores of each pixel, with the type it comes back as
_COUNTS, _NUMBERS = ("restarts", "loops", "trials", "steps"), ("divisor", "cost", "deviation", "seconds")
_WEIGHTS = ("weights", "best_weights")


def _problem_of_weights(stored: Arrays) -> str:
    """Weights that are there are numbers, and a pixel that goes on has some to go on with."""
    for name in _WEIGHTS:
        if not np.isfinite(stored[name][stored[f"has_{name}"]]).all():
            return f"{name} is not finite everywhere"
    idle = (stored["stage"] == Stage.LOOP) & ~stored["has_weights"]
    return f"pixel {np.argmax(idle)} has no weights to go on with" if idle.any() else ""


_FILE = FileOf(
    what="a checkpoint",
    again="Training begins anew.",
    error=PayneflowError,
    version=FORMAT_VERSION,
    checksum_since=3,
    arrays=(
        Array("identity", "U"),
        Array("stage", "U", ("n_pixel",), choices=tuple(map(str, Stage))),
        *(Array(name, "i", ("n_pixel",), least=0) for name in _COUNTS),
        Array("divisor", "f", ("n_pixel",), finite=True, positive=True),
        *(Array(name, "f", ("n_pixel",), infinite=True) for name in _NUMBERS[1:]),
        *(Array(name, "f", ("n_pixel", "n_weight")) for name in _WEIGHTS),
        *(Array(f"has_{name}", "b", ("n_pixel",)) for name in _WEIGHTS),
    ),
    relations=(_problem_of_weights,),
)


def checkpoint_path(output: str | Path) -> Path:
    """Where the checkpoint of a trained chunk lies while it is being trained."""
    output = Path(output)
    return output.with_name(f"{output.stem}.checkpoint.npz")


def remove_checkpoints(outputs: Iterable[str | Path]) -> None:
    """Remove what checkpoints, and what files of progress, lie beside trained chunks, once these are joined."""
    for output in outputs:
        for path in (checkpoint_path(output), progress_path(output)):
            if path.is_file():  # a directory or a pipe of that name is not ours
                path.unlink(missing_ok=True)


def read_ended(path: Path) -> tuple[dict, int]:
    """What a checkpoint depends on, and how many of its pixels have ended, read without the rest of it.

    Raises PayneflowError where that cannot be read, or is no such thing.
    """
    stored = _FILE.read(path, keys=("identity", "stage"))
    try:
        identity = dict(json.loads(str(stored["identity"])))
    except (ValueError, TypeError, RecursionError) as error:
        raise PayneflowError(f"{path}: identity is not JSON ({error}); expected a checkpoint.") from error
    return identity, sum(stage in ENDS for stage in stored["stage"].tolist())


def identity_text(identity: dict, settings: dict) -> str:
    """All that a checkpoint depends on, as text that can be compared."""
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in identity.items()}
    return json.dumps({**plain, "settings": settings, "version": [__version__, FORMAT_VERSION]}, sort_keys=True)


def write_checkpoint(path: Path, identity: str, progress: list[PixelProgress], n_weight: int) -> None:
    """Write the progress of all pixels of a chunk, whole or not at all."""
    arrays = {name: np.array([getattr(pixel, name) for pixel in progress]) for name in (*_COUNTS, *_NUMBERS)}
    arrays["stage"] = np.array([str(pixel.stage) for pixel in progress])
    for name in _WEIGHTS:
        given = [getattr(pixel, name) for pixel in progress]
        arrays[name] = np.array([np.full(n_weight, np.nan) if one is None else one for one in given])
        arrays[f"has_{name}"] = np.array([one is not None for one in given])
    _FILE.write(path, {"identity": identity, **arrays})


def read_checkpoint(path: Path, identity: str, shape: tuple[int, int]) -> tuple[list[PixelProgress] | None, str]:
    """The progress stored for `identity`, or None, and a sentence that says what was found.

    `shape`: how many pixels there are, and how many weights each has.
    """
    if not path.exists():
        return None, "no checkpoint: starting from the beginning"
    try:
        stored = _FILE.read(path)
    except PayneflowError as error:
        return None, f"{path} cannot be read ({error}): not used"
    if str(stored["identity"]) != identity or stored["weights"].shape != shape:
        return None, f"{path} belongs to another grid, chunk, version or settings: not used"
    progress = [_progress(stored, i) for i in range(len(stored["stage"]))]
    return progress, f"resuming from {path}: {sum(pixel.ended for pixel in progress)} pixels had ended"


def _progress(stored: Arrays, i: int) -> PixelProgress:
    weights = {name: stored[name][i].copy() if stored[f"has_{name}"][i] else None for name in _WEIGHTS}
    counts = {name: int(stored[name][i]) for name in _COUNTS}
    numbers = {name: float(stored[name][i]) for name in _NUMBERS}
    return PixelProgress(stage=Stage(str(stored["stage"][i])), **counts, **numbers, **weights)
