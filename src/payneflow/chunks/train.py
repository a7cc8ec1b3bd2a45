"""One chunk trained: from a chunk file to its pixels' networks and training record, through any number of kills."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from payneflow.chunks.checkpoint import (
    checkpoint_path,
    identity_text,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from payneflow.chunks.chunk import Chunk, read_chunk
from payneflow.chunks.progress_file import JobState, ProgressFile, progress_path
from payneflow.chunks.trained import TrainedChunk, versions_here
from payneflow.errors import PayneflowError
from payneflow.hull import spanning
from payneflow.network import PixelNetworks, explained
from payneflow.progress import LOG_EVERY, Counter, say
from payneflow.settings import settings_record
from payneflow.training.lanes import PixelTask, flux_to_learn
from payneflow.training.policy import PixelProgress, Policy, Stage
from payneflow.training.ranks import Alone, Leader
from payneflow.training.trainers import for_labels, make_trainer
from payneflow.weights import n_weight, network_arrays

# A network is wild that is farther off on the test set than both (docs/lm.md):
WILD = 2.0  # times the largest deviation of kriging from spectra left out
LEAST_WILD = 6.0  # times trunc_diff
_COUNTED = ("restarts", "loops", "steps", "seconds")  # what the progress of a pixel counts for the training record


def train_chunk(
    chunk_path: str | Path,
    output: str | Path,
    checkpoint_seconds: float = 30.0,
    ranks: Alone | Leader | None = None,
    keep_checkpoint: bool = False,
) -> None:
    """Train the pixels of a chunk file, as it says itself, and write networks and training record to `output`.

    Every `checkpoint_seconds` the progress is written beside `output`; the same call after a kill goes on from there
    and ends with the same bits, also with other `ranks` (default: this process alone). The checkpoint is removed in the
    end, or with `keep_checkpoint` left for `gather` to remove; so are the numbers for `payneflow status`
    (progress_file.py). Raises ChunkError for a chunk that is damaged or does not say how to train it, SettingsError
    where its settings do not fit its grid.
    """
    chunk = read_chunk(chunk_path)
    record = settings_record(chunk.trainer, chunk.settings, chunk.seed)
    report = ProgressFile(progress_path(output), chunk.name, record, len(chunk.pixels))
    try:
        _train_chunk(chunk, record, Path(output), checkpoint_seconds, ranks or Alone(), keep_checkpoint, report)
    except KeyboardInterrupt:
        report.write(state=JobState.INTERRUPTED)
        raise
    except Exception as error:
        said = f"{error}" if isinstance(error, PayneflowError) else f"{type(error).__name__}: {error}"
        report.write(state=JobState.FAILED, reason=said)
        raise
    if keep_checkpoint:
        report.write(n_done=len(chunk.pixels), state=JobState.DONE)
    else:
        remove_checkpoints([output])


def _train_chunk(
    chunk: Chunk,
    record: dict,
    output: Path,
    checkpoint_seconds: float,
    ranks: Alone | Leader,
    keep_checkpoint: bool,
    report: ProgressFile,
) -> None:
    identity = identity_text(chunk.identity, record)
    checkpoint = checkpoint_path(output)
    settings = for_labels(chunk.settings, chunk.labels.shape[1])
    length = n_weight(settings.n_neurons, chunk.labels.shape[1])
    progress, found = read_checkpoint(checkpoint, identity, (len(chunk.pixels), length))
    shared = f", {ranks.size} ranks" if ranks.size > 1 else ""
    of = f"{len(chunk.pixels)} pixels, {len(chunk.labels)} spectra, trainer {chunk.trainer}{shared}"
    say(f"{chunk.name}: {of}; {found}")
    if progress is None:
        progress = [PixelProgress() for _ in chunk.pixels]
    report.write(n_done=count_ended(progress)[0])
    scaled_labels = chunk.scaler.scale(chunk.labels[chunk.split.training])
    engine, policy = ranks.make(partial(make_trainer, scaled_labels, chunk.preparation, chunk.settings, chunk.seed))
    flux = flux_to_learn(*map(chunk.scale.share, (chunk.flux[chunk.split.training], chunk.virtual_flux)))
    relevance = chunk.relevance if len(chunk.relevance) else [None] * len(chunk.pixels)
    of_pixels = zip(chunk.noise.tolist(), chunk.floor.tolist(), relevance, strict=True)
    tasks = [PixelTask(int(chunk.pixels[i]), flux[i], progress[i], *known) for i, known in enumerate(of_pixels)]

    def save() -> None:
        try:
            write_checkpoint(checkpoint, identity, [task.progress for task in tasks], length)
        except PayneflowError as error:  # a full disk may have room again when the chunk is done
            say(f"no checkpoint written, training goes on: {error}")

    _train(tasks, ranks.train(engine, policy, tasks), save, checkpoint_seconds, report)
    if keep_checkpoint:
        save()
    _trained(chunk, record, policy, [task.progress for task in tasks], length).write(output)


def _train(
    tasks: list[PixelTask],
    training: Iterator[PixelTask],
    save: Callable[[], None],
    checkpoint_seconds: float,
    report: ProgressFile,
) -> None:
    """Let `training` go on to its end; show and report how far it is, and save now and then."""
    done, converged = count_ended([task.progress for task in tasks])
    counter = Counter(len(tasks), "pixels done", done)
    saved = reported = time.monotonic()
    try:
        for task in training:
            done += task.progress.ended
            converged += task.progress.stage is Stage.CONVERGED
            counter.detail = f", {converged} converged"
            counter.show_done(done)
            now = time.monotonic()
            if now >= min(reported + LOG_EVERY, saved + checkpoint_seconds):
                report.write(n_done=done, rate=counter.rate)
                reported = now
            if now - saved >= checkpoint_seconds:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        report.write(n_done=done, rate=counter.rate)
    counter.close()


def count_ended(progress: list[PixelProgress]) -> tuple[int, int]:
    """How many pixels have ended, and how many of those converged."""
    return sum(pixel.ended for pixel in progress), sum(pixel.stage is Stage.CONVERGED for pixel in progress)


def _trained(chunk: Chunk, settings: dict, policy: Policy, progress: list[PixelProgress], length: int) -> TrainedChunk:
    """The networks and the columns of the training record of a chunk whose pixels have ended."""
    nothing = np.full(length, np.nan)  # a failed pixel keeps its place: its flux is NaN, its end says why
    weights = np.array([nothing if pixel.best_weights is None else pixel.best_weights for pixel in progress])
    networks = network_arrays(weights, chunk.labels.shape[1])
    error = _test_error(chunk, networks)
    square = (error**2).mean(axis=1)
    failed = np.array([pixel.best_weights is None for pixel in progress])
    largest = error.max(axis=1) / chunk.scale.width
    columns = {name: np.array([getattr(pixel, name) for pixel in progress]) for name in _COUNTED}
    columns |= {
        "trainer": np.full(len(progress), chunk.trainer),
        "step_size": np.array([policy.step_size(pixel) for pixel in progress]),
        "deviation": np.where(failed, np.nan, [pixel.deviation for pixel in progress]),
        "deviation_test": largest,
        "median_deviation_test": np.median(error, axis=1) / chunk.scale.width,
        "explained_test": explained(square, _variance(chunk.flux[chunk.split.test])),
        "end": _ends(progress, largest, chunk.kriging, settings["trunc_diff"]),
    }
    labels = chunk.labels[chunk.split.training]
    return TrainedChunk(
        name=chunk.name,
        pixels=chunk.pixels,
        wavelength=chunk.wavelength,
        x_min=chunk.x_min,
        x_max=chunk.x_max,
        label_names=chunk.label_names,
        label_units=chunk.label_units,
        requested=chunk.requested,
        grid_sha256=chunk.grid_sha256,
        preparation_note=chunk.preparation_note,
        trains=chunk.trains,
        flux_scale=chunk.flux_scale,
        split_name=chunk.split_name,
        grid_medium=chunk.grid_medium,
        resolution=chunk.resolution,
        hull=labels[spanning(labels)],
        settings=json.dumps(settings, sort_keys=True),
        networks=networks,
        emulator_rms=np.sqrt(square),
        columns=columns,
        versions=versions_here(),
    )


def _ends(progress: list[PixelProgress], largest: np.ndarray, kriging: np.ndarray, trunc_diff: float) -> np.ndarray:
    """(n,): why training ended. The test set chooses nothing; its `largest` deviation (n,) says who has gone wild."""
    ends = np.array([str(pixel.stage) for pixel in progress])
    wild = (ends == Stage.CONVERGED) & (kriging > 0) & (largest > np.maximum(WILD * kriging, LEAST_WILD * trunc_diff))
    return np.where(wild, str(Stage.WILD), ends)


def _variance(flux: np.ndarray) -> np.ndarray:
    """(n,) of flux (n_spectrum, n), pixel by pixel: no bit depends on the other pixels."""
    return np.ascontiguousarray(flux.T, dtype=float).var(axis=1)


def _test_error(chunk: Chunk, networks: dict[str, np.ndarray]) -> np.ndarray:
    """(n, n_test): |predicted - true flux| of the test spectra; a pixel's row never depends on the other pixels."""
    emulator = PixelNetworks(
        **networks,
        x_min=chunk.x_min,
        x_max=chunk.x_max,
        wavelength=chunk.wavelength,
        label_names=tuple(chunk.label_names),
        label_units=tuple(chunk.label_units),
        emulator_rms=np.zeros(len(chunk.pixels)),
        flux_scale=chunk.scale,
    )
    test = chunk.split.test
    error = np.abs(emulator.predict_scaled(chunk.scaler.scale(chunk.labels[test])) - chunk.flux[test])
    return np.ascontiguousarray(error.T)
