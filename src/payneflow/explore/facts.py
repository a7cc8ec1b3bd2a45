"""All that the page knows, as one object that JSON holds: networks, labels, training spectra, record and stars."""

import json

import numpy as np

from payneflow import __version__
from payneflow.explore.moves import moves_of
from payneflow.explore.packed import columns_in_bytes, packed, single
from payneflow.explore.stars import Stars
from payneflow.explore.weights import kind_of, packed_weights
from payneflow.grid import SpectralGrid
from payneflow.network import Networks
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.statistics import evenly

MOST_POINTS = 4_000_000  # bytes of the flux of training spectra in the page, before base64
MOST_LABELS = 1_500_000  # bytes of the labels of training spectra, before base64
SINGLE = 4  # bytes


def facts_of(
    networks: Networks,
    name: str,
    training: np.ndarray | None,
    grid: SpectralGrid | None,
    record: dict | None,
    stars: list[Stars],
) -> dict:
    """The facts of the page. `name`: of the network file; `training` (n, n_label): scaled labels that trained."""
    weights, bits, error = packed_weights(networks)
    coverage, notes = _coverage(training)
    points, more = _points(networks, grid)
    given = networks.resolution
    return {
        "version": __version__,
        "name": name,
        "failed": networks.failure,
        "kind": kind_of(networks),
        "weights": weights,
        "leaky_slope": float(getattr(networks, "leaky_slope", 0.0)),
        "bits": bits,
        "error": error,
        "wavelength": packed(networks.wavelength.astype(float)),
        "emulator_rms": single(networks.emulator_rms),
        "flux_scale": [networks.flux_scale.lowest, networks.flux_scale.highest],
        "flux_name": "Normalised flux" if networks.flux_scale == PUBLISHED_FLUX else "Flux",
        "resolution": float(given) if np.ndim(given) == 0 else float(np.median(given)),
        "labels": _labels(networks, training),
        "moves": moves_of(networks),
        "training": coverage,
        "points": points,
        "record": record,
        "stars": [one.facts() for one in stars],
        "notes": [*notes, *more, *(note for one in stars for note in one.notes)],
        "about": {
            key: networks.provenance[key] for key in ("abundances", "licence", "citation") if _said(networks, key)
        },
    }


def as_json(facts: dict) -> str:
    """The facts as text that no HTML parser takes for the end of the script it is in; NaN and infinity are refused."""
    text = json.dumps(facts, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _said(networks: Networks, key: str) -> bool:
    return bool(networks.provenance.get(key))


def _labels(networks: Networks, training: np.ndarray | None) -> list[dict]:
    """Names, units, ranges, and where the sliders begin: at the training spectrum nearest to the middle of them all."""
    start = np.full(len(networks.x_min), 0.5)
    if training is not None:
        start = training[np.argmin(((training - np.median(training, axis=0)) ** 2).sum(axis=1))]
    values = networks.scaler.unscale(start)
    facts = zip(networks.label_names, networks.label_units, networks.x_min, networks.x_max, values, strict=True)
    keys = ("name", "unit", "low", "high", "start")
    return [dict(zip(keys, (name, unit, *map(float, numbers)), strict=True)) for name, unit, *numbers in facts]


def _coverage(training: np.ndarray | None) -> tuple[dict | None, list[str]]:
    """Scaled labels (n, n_label) of training spectra, evenly chosen where there are too many; and what is left out."""
    if training is None:
        return None, [
            "Where the training spectra lie is not known: only the ranges of labels are compared. "
            "payneflow explore takes it from --grid or --label-errors."
        ]
    n = max(MOST_LABELS // (SINGLE * training.shape[1]), 1)
    chosen = training[evenly(len(training), n)]
    notes = [f"Labels are compared with those of {n} of {len(training)} training spectra."] if len(training) > n else []
    return {"scaled": single(chosen), "n_all": len(training)}, notes


def _points(networks: Networks, grid: SpectralGrid | None) -> tuple[dict | None, list[str]]:
    """Flux of spectra of the grid, both sets, in 8 bits, with their labels; and which are left out."""
    if grid is None:
        return None, ["The flux of the training spectra is not in this page: payneflow explore takes it from --grid."]
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    most = max(MOST_POINTS // len(columns), 1)
    rows = evenly(len(grid.labels), most)
    flux = np.stack([np.asarray(grid.flux[row], dtype=float)[columns] for row in rows.tolist()])
    trains = networks.split_of(grid).trains[rows]
    notes = []
    if len(rows) < len(grid.labels):
        notes = [f"Points of a pixel are those of {len(rows)} of {len(grid.labels)} spectra, evenly chosen."]
    return {
        "flux": columns_in_bytes(flux),
        "labels": packed(grid.labels[rows].astype(float)),
        "trains": trains.tolist(),
    }, notes
