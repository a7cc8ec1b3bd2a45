"""How far the training of a chunk is, as numbers in a small file beside its checkpoint, for `payneflow status`.

Training writes it at its start, every half minute, with every checkpoint, and at its end, however that comes. A job
that is killed leaves it behind, saying "running": whoever reads it looks at its time. `gather` removes it with the
checkpoint.
"""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from payneflow.errors import PayneflowError
from payneflow.files import read_small, whole_file
from payneflow.progress import say


class JobState(StrEnum):
    """What a training job says of itself."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """What the file holds: which chunk is trained and how (trainer, settings, seed), how far, and how that goes.

    `n_done` of `n_pixel` pixels have ended; `rate`: pixels a second of this job, 0 where none has ended yet; `time`:
    seconds since 1970 when this was written; `reason`: why it failed.
    """

    chunk: str
    settings: dict
    n_pixel: int
    n_done: int = 0
    rate: float = 0.0
    time: float = 0.0
    state: JobState = JobState.RUNNING
    reason: str = ""


def progress_path(output: str | Path) -> Path:
    """Where the progress of a trained chunk lies while it is being trained."""
    output = Path(output)
    return output.with_name(f"{output.stem}.progress.json")


class ProgressFile:
    """The file of one training job: `write` changes what it holds. A full disk costs the file, not the training."""

    def __init__(self, path: Path, chunk: str, settings: dict, n_pixel: int):
        self._path, self._latest = path, Progress(chunk, settings, n_pixel)

    def write(self, **changes) -> None:
        """Write what was known before with `changes`, fields of `Progress`, and the time."""
        self._latest = replace(self._latest, **changes, time=time.time())
        try:
            with whole_file(self._path) as temporary:
                temporary.write_text(json.dumps(asdict(self._latest)) + "\n", encoding="utf-8")
        except PayneflowError as error:
            say(f"no progress written for payneflow status, training goes on: {error}")


def read_progress(path: Path, chunk: str, settings: dict) -> Progress | None:
    """What the file says of this chunk and these settings; None where there is none, or of something else, or torn."""
    try:
        found = Progress(**json.loads(read_small(path, PayneflowError, "progress").decode("utf-8")))
        found = replace(found, n_done=int(found.n_done), state=JobState(found.state), reason=str(found.reason))
        numbers = [float(one) for one in (found.n_done, found.rate, found.time)]
    except (PayneflowError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    of_this = found.chunk == chunk and found.settings == settings
    return found if of_this and all(math.isfinite(one) and one >= 0 for one in numbers) else None
