"""How far the training of a run is, from the files that it writes and from Slurm's queue; nothing is changed.

Numbers come from the files of progress and the checkpoints; a log is only looked at for how its job ended. Works while
jobs run and after, from any shell. Numba is not imported: the answer takes a fraction of a second. A file that is torn
or belongs to something else counts as absent.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from payneflow.chunks.checkpoint import checkpoint_path, read_ended
from payneflow.chunks.progress_file import JobState, Progress, progress_path, read_progress
from payneflow.chunks.selection import PixelChunk, parse_pixels, plan_chunks
from payneflow.chunks.trained import read_trained_pixels
from payneflow.errors import PayneflowError
from payneflow.grid import count_pixels
from payneflow.progress import clock
from payneflow.run.config import RunConfig
from payneflow.run.sizing import MACHINE_PIXELS
from payneflow.run.slurm import SlurmError, read_jobs
from payneflow.settings import settings_record

FRESH = 180  # seconds since a job without Slurm last wrote; it writes every 30, a large grid's slow loops more seldom
LOG_TAIL = 4096  # bytes at the end of a log that are looked at
WAITS = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")  # states of a Slurm job that does not train
MOST_SHOWN = 10  # failed chunks that are named

# how a log ends whose job failed, as we say it and as others do
OUR_ERROR = re.compile(r"^payneflow train: error")
ANY_ERROR = re.compile(r"\berror\b|\w+Error\b|exception|traceback|killed|cancelled|bad termination|exceeded", re.I)
INTERRUPTED = re.compile(r"^payneflow train: interrupted")
TIMED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")  # what training says as it goes on (progress.py: say)


class State(StrEnum):
    """What becomes of a chunk."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class ChunkStatus:
    """A chunk: its pixels, how many of them have ended, pixels a second of its job (0: unknown), why it failed."""

    name: str
    state: State
    n_pixel: int
    n_done: int
    rate: float
    reason: str
    log: Path


@dataclass(frozen=True)
class Status:
    """All chunks of a run in their order, and how it was judged which of them are running."""

    results: Path
    chunks: list[ChunkStatus]
    n_queued: int
    judged_by: str

    @property
    def n_pixel(self) -> int:
        return sum(chunk.n_pixel for chunk in self.chunks)

    @property
    def n_done(self) -> int:
        return sum(chunk.n_done for chunk in self.chunks)

    @property
    def rate(self) -> float:
        """Pixels a second of all running jobs; one that has not said its rate is taken for one like the others."""
        rates = {state: [chunk.rate for chunk in self.chunks if chunk.state is state] for state in State}
        known = [rate for rate in rates[State.RUNNING] if rate] or [rate for rate in rates[State.DONE] if rate]
        return sum(known) / len(known) * len(rates[State.RUNNING]) if known else 0.0


def read_status(config: RunConfig, results: str | Path | None = None) -> Status:
    """The state of every chunk of a run that writes to `results` (default: what the config says).

    Raises GridError or SettingsError where the names of the chunks cannot be known; nothing else is an error.
    """
    results = Path(results) if results else config.results
    chunks = plan_chunks(*_cut(config, results))
    record = settings_record(config.trainer, config.settings, config.seed)
    try:
        jobs = read_jobs(config.path.parent)
        judged_by = f"squeue: {len(jobs)} training jobs of {config.path.parent.resolve()}"
    except SlurmError as error:
        jobs, judged_by = {}, f"{error}"
    if not jobs:
        judged_by += f"; so those run whose files were written in the last {FRESH // 60} minutes"
    states = [_chunk_status(chunk, results, record, jobs) for chunk in chunks]
    return Status(results, states, sum(job in WAITS for job in jobs.values()), judged_by)


def _cut(config: RunConfig, results: Path) -> tuple[int, str, int]:
    """(n_pixel, selection, chunk_size) of the run; with chunk_size auto, as the newest split has cut them."""
    n_pixel = count_pixels(config.grid, config.keys)
    if config.chunk_size is not None:
        return n_pixel, config.pixels, config.chunk_size
    pixels = parse_pixels(config.pixels, n_pixel)
    first = plan_chunks(n_pixel, config.pixels, len(pixels))[0].name.partition("-")[0]
    sizes = []
    for path in (results / "chunks").glob(f"{first}-*.npz"):
        last = path.stem.removeprefix(f"{first}-").partition("-")[0]
        if last.isdecimal() and int(last) in pixels:
            sizes.append((_written(path), pixels.index(int(last)) + 1))
    return n_pixel, config.pixels, max(sizes)[1] if sizes else min(MACHINE_PIXELS, len(pixels))


# ------------------------------------------------------------------------------------------------------ one chunk


def _chunk_status(chunk: PixelChunk, results: Path, record: dict, jobs: dict[str, str]) -> ChunkStatus:
    trained, log = results / "trained" / f"{chunk.name}.npz", results / "logs/train_chunk" / f"{chunk.name}.log"
    n_pixel = len(chunk.pixels)
    progress = read_progress(progress_path(trained), chunk.name, record) or Progress(chunk.name, record, n_pixel)
    if chunk.name not in jobs and _is_trained(trained, chunk, results / "chunks" / trained.name):
        return ChunkStatus(chunk.name, State.DONE, n_pixel, n_pixel, progress.rate, "", log)
    n_saved = _saved(checkpoint_path(trained), chunk, record)
    written = max(progress.time, _written(log), _written(checkpoint_path(trained)))
    state, reason = _state(jobs, chunk.name, progress, _last_lines(log), written)
    # of a job that has ended only what it saved is left, and a new job says at once what it begins with
    n_done = max(progress.n_done, n_saved) if state is State.RUNNING else n_saved
    return ChunkStatus(chunk.name, state, n_pixel, min(n_done, n_pixel), progress.rate, reason, log)


def _state(jobs: dict[str, str], name: str, progress: Progress, lines: list[str], written: float) -> tuple[State, str]:
    """The state of a chunk that is not done, and why it failed: in its job's own words, or the line of its log."""
    if name in jobs:
        return State.WAITING if jobs[name] in WAITS else State.RUNNING, ""
    reason = progress.reason if progress.state is JobState.FAILED else _failure(lines)
    if reason:
        return State.FAILED, reason
    ended = progress.state is not JobState.RUNNING or any(INTERRUPTED.search(line) for line in lines)
    running = not jobs and not ended and time.time() - written < FRESH
    return State.RUNNING if running else State.WAITING, ""


def _failure(lines: list[str]) -> str:
    """The line of a log that says why its job failed: ours, or else the last; nothing where it did not fail."""
    if any(INTERRUPTED.search(line) for line in lines):
        return ""
    ours = [line for line in lines if OUR_ERROR.search(line)]
    if ours:
        return ours[-1]
    since = next((i for i, line in enumerate(reversed(lines)) if TIMED.search(line)), len(lines))
    after = lines[len(lines) - since :]  # what others said after the last word of training
    return after[-1] if any(ANY_ERROR.search(line) for line in after) else ""


def _is_trained(trained: Path, chunk: PixelChunk, source: Path) -> bool:
    """Is this the chunk's trained file, and younger than the chunk file, so that Snakemake would keep it?"""
    try:
        same = trained.exists() and read_trained_pixels(trained) == list(chunk.pixels)
    except (PayneflowError, OSError):
        return False
    return same and _written(trained) >= _written(source)


def _saved(checkpoint: Path, chunk: PixelChunk, record: dict) -> int:
    """Pixels that have ended in the chunk's checkpoint, if it is one of this chunk and these settings."""
    try:
        identity, n_ended = read_ended(checkpoint)
    except PayneflowError:
        return 0
    return n_ended if identity.get("chunk") == chunk.name and identity.get("settings") == record else 0


def _last_lines(log: Path) -> list[str]:
    """The last lines of a log that are not empty."""
    if not log.is_file():  # a pipe in its place would be waited for
        return []
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - LOG_TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def _written(path: Path) -> float:
    """When a file was last written, in seconds; long ago where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# ------------------------------------------------------------------------------------------------------ what is said


def status_text(status: Status) -> str:
    """The status in lines for a user."""
    pixels, chunks = Counter(), Counter()
    for chunk in status.chunks:
        chunks[chunk.state] += 1
        pixels[chunk.state] += chunk.n_pixel
    lines = [f"{status.results!s:<30}{'chunks':>10}{'pixels':>10}"]
    for state in State:
        queued = f"   queued in Slurm: {status.n_queued}" if state is State.WAITING and status.n_queued else ""
        lines.append(f"  {state:<28}{chunks[state]:10d}{pixels[state]:10d}{queued}")
    share = 100 * status.n_done / status.n_pixel
    rate = f", {status.rate:.3g} a second" if status.rate else ""
    left = f", {clock((status.n_pixel - status.n_done) / status.rate)} left" if status.rate else ""
    lines.append(f"pixels done: {status.n_done} of {status.n_pixel}, {share:.1f} %{rate}{left}")
    if chunks[State.DONE] < len(status.chunks):
        lines.append(f"which are running was judged by {status.judged_by}")
    failed = [chunk for chunk in status.chunks if chunk.state is State.FAILED]
    for chunk in failed[:MOST_SHOWN]:
        lines += [f"failed: {chunk.log}", f"  {chunk.reason}"]
    if len(failed) > MOST_SHOWN:
        lines.append(f"and {len(failed) - MOST_SHOWN} more")
    return "\n".join(lines)
