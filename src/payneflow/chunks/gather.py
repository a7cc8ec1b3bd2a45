"""Trained chunks -> one network file and one training record, after proof that they belong together."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from astropy.table import Table

from payneflow.chunks.record import COLUMNS, record_table
from payneflow.chunks.trained import TrainedChunk
from payneflow.errors import ChunkError, SettingsError
from payneflow.grid import Split
from payneflow.network import PixelNetworks
from payneflow.scaling import FluxScale
from payneflow.weights import PUBLISHED_KEYS

MOST_SHOWN = 400  # letters of what a chunk says, in a message
_SAME = {
    "grid_sha256": "comes from another grid",
    "settings": "was trained with other settings",
    "requested": "was split for other pixels",
    "x_min": "has another label scaling",
    "x_max": "has another label scaling",
    "label_names": "has other labels",
    "label_units": "has other label units",
    "preparation_note": "was prepared in another way",
    "trains": "was trained on other spectra",
    "split_name": "was trained on other spectra",
    "flux_scale": "has another flux scale",
    "grid_medium": "has wavelengths of another medium",
    "grid_resolution": "has spectra of another resolution",
}


def gather_chunks(
    paths: list[str | Path], single: bool = False, grid_resolution: float = 0.0
) -> tuple[PixelNetworks, Table]:
    """All networks, in the order of their pixels, and the training record (record.py) of trained chunks.

    `single`: with weights rounded to single precision. The record is that of training, before. `grid_resolution`: R of
    the grid's spectra, where the grid did not say it; 0: as it said.
    Raises ChunkError naming the chunk where they do not cover each requested pixel exactly once with one scaling, one
    grid and one set of settings; SettingsError where `grid_resolution` is none, or not what the grid said.
    """
    if not paths:
        raise ChunkError("no trained chunks given: nothing to gather.")
    chunks = {str(path): TrainedChunk.read(path) for path in paths}
    _prove_one_origin(chunks)
    _prove_each_pixel_once(chunks)
    first = next(iter(chunks.values()))
    columns = {name: np.concatenate([chunk.column(name) for chunk in chunks.values()]) for name in COLUMNS}
    settings = json.loads(first.settings)
    order = np.argsort(columns["pixel"], kind="stable")
    weights = {key: np.concatenate([chunk.networks[key] for chunk in chunks.values()])[order] for key in PUBLISHED_KEYS}
    record = record_table(columns, settings)
    resolution = _resolution_of(first, grid_resolution)
    one_resolution = np.ndim(resolution) == 0
    networks = PixelNetworks(
        **weights,
        emulator_rms=np.concatenate([chunk.emulator_rms for chunk in chunks.values()])[order],
        x_min=first.x_min,
        x_max=first.x_max,
        wavelength=columns["wavelength"][order],
        label_names=tuple(str(name) for name in first.label_names),
        label_units=tuple(str(unit) for unit in first.label_units),
        flux_scale=FluxScale(*map(float, first.flux_scale)),
        split=Split(first.split_name, first.trains),
        resolution_of_pixels=None
        if one_resolution
        else np.concatenate([chunk.resolution for chunk in chunks.values()])[order],
        hull=next((chunk.hull for chunk in chunks.values() if chunk.hull is not None), None),
        provenance={
            "settings": settings,
            "grid_sha256": first.grid_sha256,
            "pixels": first.requested.tolist(),
            "preparation": first.preparation_note,
            "split": first.split_name,
            "grid_medium": first.grid_medium,
            **({"resolution": resolution} if one_resolution and resolution else {}),
            "versions": _versions(chunks),
            "failed": record.meta["failed"],
        },
    )
    if single:
        networks = networks.rounded()
    record.meta |= {"grid": first.grid_sha256, "networks": networks.digest}
    return networks, record


def _resolution_of(chunk: TrainedChunk, told: float) -> float | np.ndarray:
    """R of the grid's spectra, as the chunk says, or as told where it says nothing."""
    if not 0.0 <= told < np.inf:
        raise SettingsError(f"grid_resolution is {told:g}, expected R = wavelength / FWHM, a number above 0.")
    if told and np.any(chunk.resolution) and not np.all(chunk.resolution == told):
        said = f"{chunk.resolution:g}" if np.ndim(chunk.resolution) == 0 else "one for each pixel"
        raise SettingsError(
            f"grid_resolution is {told:g}, but the grid of these chunks said its resolution: {said}. Leave it out."
        )
    return chunk.resolution if np.any(chunk.resolution) else float(told)


def _versions(chunks: dict[str, TrainedChunk]) -> dict[str, str]:
    """Versions of what trained the chunks, by name; several of them where chunks were trained with different ones."""
    names = sorted({name for chunk in chunks.values() for name in chunk.versions})
    found = {name: {chunk.versions.get(name, "unknown") for chunk in chunks.values()} for name in names}
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _prove_one_origin(chunks: dict[str, TrainedChunk]) -> None:
    """Every chunk must agree with what most chunks say, so that the odd one out is named and not its neighbours."""
    first = next(iter(chunks.values()))
    for name, fault in _SAME.items():
        if all(np.array_equal(getattr(chunk, name), getattr(first, name)) for chunk in chunks.values()):
            continue
        texts = {path: json.dumps(np.asarray(getattr(chunk, name)).tolist()) for path, chunk in chunks.items()}
        majority = Counter(texts.values()).most_common(1)[0][0]
        odd = [path for path, text in texts.items() if text != majority]
        if odd:
            found, other = (
                text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..." for text in (texts[odd[0]], majority)
            )
            raise ChunkError(
                f"{odd[0]}: this chunk {fault} ({name} is {found}, the other chunks have {other}). "
                "Split the grid and train this chunk again."
            )


def _prove_each_pixel_once(chunks: dict[str, TrainedChunk]) -> None:
    requested = range(*next(iter(chunks.values())).requested.tolist())
    trained_by: dict[int, str] = {}
    for path, chunk in chunks.items():
        for pixel in chunk.pixels.tolist():
            if pixel in trained_by:
                raise ChunkError(f"{path}: pixel {pixel} is also in {trained_by[pixel]}. Give each chunk once.")
            if pixel not in requested:
                raise ChunkError(f"{path}: pixel {pixel} was not requested. Split the grid again.")
            trained_by[pixel] = path
    absent = [pixel for pixel in requested if pixel not in trained_by]
    if absent:
        raise ChunkError(
            f"{len(absent)} of {len(requested)} requested pixels are in none of the {len(chunks)} chunks given, the "
            f"first is pixel {absent[0]}: a chunk is missing. Train it and give it too."
        )
