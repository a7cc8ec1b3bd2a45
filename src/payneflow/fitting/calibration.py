"""Label errors of a network file, measured once by fitting spectra of its own grid, and their file.

label_errors.py says what they are for.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.errors import CalibrationError
from payneflow.files import read_npz, write_npz
from payneflow.fitting.engine.search import AS_GOOD
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.label_errors import LabelErrors, digest, smoothness
from payneflow.fitting.moved_stars import known_velocities, moved_stars
from payneflow.fitting.parameters import ParameterLayout, Parameters
from payneflow.fitting.quality import Fits, emulator_amplitudes, quality_of
from payneflow.fitting.settings import FitSettings
from payneflow.grid import SpectralGrid
from payneflow.network import PixelNetworks

FORMAT_VERSION = 2  # 1 has neither amplitudes nor excess, and is still read
# Of noiseless fits, as a share of the flux scale; from S/N 10 to 1000 the label errors are the same within 5 %
FLUX_ERROR = 1 / 300
# A row of the grid whose error is so many times the rms of all others has other labels than its spectrum: left in, it
# would correct all stars around it by as much. On the demonstration grid none exceeds 10 times it.
RUINOUS = 30.0
ASTRAY = 0.005  # of the fits may end in another minimum than that of the true labels; more, and fits get more starts
MOST_STARTS = 32
FEW = 0.05  # of the rows; where more are so far off, the networks are to blame
MOST_OF_A_SET = 320  # spectra of each set; a correction costs a fit their number squared (640 in all: 0.1 ms)


def measure_label_errors(
    networks: PixelNetworks, grid: SpectralGrid, settings: FitSettings, progress: Callable[[int], None] | None = None
) -> LabelErrors:
    """Fit noiseless spectra of the grid that the networks were trained on, in the mode of `settings`.

    All spectra tell where the networks err; only those held back, the test set, tell how much is left of that where
    they were not trained. Of a large grid up to 320 spectra of each set are fitted, evenly spread. A label that
    `settings` fixes is fixed at each spectrum's true value; priors take no part. A spectrum whose fit fails is left
    out, and counted in the provenance; so is one whose labels cannot be its own (`ruinous`), whose row is named there.
    Fits start as those of stars do, whose labels are unknown, and from as many starts as that takes; fits with these
    label errors have as many. Where a velocity is fitted, each spectrum has one that is known, a fraction of a pixel
    (moved_stars.py).
    `progress` is called with the number of fits done.
    Raises NetworkFileError where labels or wavelengths of grid and networks differ, CalibrationError where the networks
    were trained on another grid or too few held-back spectra could be fitted, SpectraError where the networks' pixels
    are too far apart for a velocity.
    """
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    if networks.provenance.get("grid_sha256", grid.sha256) != grid.sha256:
        raise CalibrationError(
            f"{grid.path}: not the grid that the networks were trained on (its SHA-256 is another), so which of its "
            "spectra are held back is unknown. Use that grid, or train with this one."
        )
    split = networks.split_of(grid)
    rows = np.sort(np.concatenate([_evenly(one, MOST_OF_A_SET) for one in (split.training_rows, split.test_rows)]))
    true = grid.labels[rows]
    mode = replace(settings, fixed=dict.fromkeys(settings.fixed), priors={})
    velocity = np.zeros(len(rows))
    if settings.velocity:
        velocity = known_velocities(len(rows), networks.wavelength, settings.max_velocity)
        flux = moved_stars(np.asarray(grid.flux[rows], dtype=float), grid.wavelength, velocity, columns)
    else:
        flux = grid.flux[rows][:, columns]
    fits, n_starts, astray = _as_users_fit(networks, flux, mode, true, progress)
    quality = quality_of(networks, mode, fits)
    scaled = networks.scaler.scale(grid.labels)
    parameters = Parameters.of(networks, settings)
    free, layout = parameters.free, parameters.layout
    errors = layout.joined(free[layout.labels] * (quality.scaled - scaled[rows]), quality.velocity - velocity)
    amplitudes, excess = emulator_amplitudes(networks, mode, fits, FLUX_ERROR)
    good = np.isfinite(errors).all(axis=1) & ~astray
    if not good.any():
        raise CalibrationError(
            f"no noiseless spectrum of the grid could be fitted: {len(networks.wavelength)} pixels for "
            f"{len(errors[0])} parameters. Train more pixels, fit less, or do without (fit: calibrate: false in "
            "config.yaml)."
        )
    wrong = np.zeros(len(good), dtype=bool)
    wrong[good] = ruinous(errors[good])
    good &= ~wrong
    fitted = scaled[rows][good] + errors[good][:, layout.labels]
    held_back = ~split.trains[rows[good]]
    lengths, nugget = smoothness(fitted, errors[good], held_back)
    return LabelErrors(
        scaled=scaled[rows][good],
        errors=errors[good],
        amplitudes=amplitudes[good],
        excess=excess[good],
        rows=rows[good],
        held_back=held_back,
        training=scaled[split.training],
        lengths=lengths,
        nugget=nugget,
        mode=mode.mode(networks.label_names),
        networks=digest(networks),
        provenance={
            "grid_sha256": grid.sha256,
            "fitted": len(rows),
            "left_out": int((~good).sum()),
            "wrong_labels": rows[wrong].tolist(),
            "n_starts": n_starts,
            "astray": int(astray.sum()),
            "flux_error": FLUX_ERROR,
            "versions": {"payneflow": __version__, "numpy": np.__version__},
        },
    )


def _as_users_fit(
    networks: PixelNetworks, flux: np.ndarray, mode: FitSettings, true: np.ndarray, progress
) -> tuple[Fits, int, np.ndarray]:
    """Fits that know no more than those of stars, from how many starts, and which of them went astray (n,) bool.

    Astray is a fit whose chi2 is higher than that of one from the true labels: it ended in another minimum. Starts are
    added until few do.
    """
    error = FLUX_ERROR * networks.flux_scale.width
    from_truth = search_spectra(networks, flux, error, settings=mode, start=true)
    n_starts = mode.n_starts
    while True:
        settings = replace(mode, n_starts=n_starts)
        fits = search_spectra(networks, flux, error, settings=settings, held=true, progress=progress)
        astray = fits.chi2 > from_truth.chi2 + AS_GOOD
        if astray.mean() <= ASTRAY or n_starts >= MOST_STARTS:
            return fits, n_starts, astray
        n_starts = min(2 * n_starts, MOST_STARTS)


def ruinous(errors: np.ndarray) -> np.ndarray:
    """(n_row,) whether the error of a row, in any parameter, is beyond RUINOUS times the rms of all rows that are not.

    `errors` (n_row, n_parameter), fitted less true. They are left out one after another, the largest first, and those
    up to the last that leaves so small an rms behind are named: several wrong rows do not hide each other.
    """
    wrong = np.zeros(len(errors), dtype=bool)
    for column in errors.T:
        order = np.argsort(-np.abs(column), kind="stable")
        size = np.abs(column)[order]
        for k in range(int(FEW * len(size)), 0, -1):
            if size[k - 1] > RUINOUS * np.sqrt(np.mean(size[k:] ** 2)) > 0:
                wrong[order[:k]] = True
                break
    return wrong


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the values, evenly spread."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int))]


_KEYS = {  # kind of number or text, and shape
    "scaled": ("f", "n_row", "n_label"),
    "errors": ("f", "n_row", "n_parameter"),
    "rows": ("i", "n_row"),
    "held_back": ("b", "n_row"),
    "training": ("f", "n_training", "n_label"),
    "lengths": ("f", "n_label"),
    "nugget": ("f",),
    "mode": ("U",),
    "networks": ("U",),
}
_MEASURED = {"amplitudes": ("f", "n_row", "n_alternative"), "excess": ("f", "n_row")}  # since format 2
_KINDS = {"f": "floating-point numbers", "i": "whole numbers", "b": "true or false", "U": "text"}


def write_label_errors(errors: LabelErrors, path: str | Path) -> None:
    """Write label errors (npz), whole or not at all."""
    keys, version = (_KEYS, 1) if errors.amplitudes is None else ({**_KEYS, **_MEASURED}, FORMAT_VERSION)
    arrays = {key: np.asarray(getattr(errors, key)) for key in keys}
    provenance = json.dumps(errors.provenance, sort_keys=True)
    write_npz(path, {**arrays, "format_version": np.array(version), "provenance": provenance})


def read_label_errors(path: str | Path) -> LabelErrors:
    """Read what `write_label_errors` wrote.

    Raises CalibrationError naming file and key where it is missing, damaged, of a newer format, or inconsistent.
    """
    what = "label errors, as `payneflow calibrate` writes them"
    stored = read_npz(path, CalibrationError, what)
    keys = {**_KEYS, "format_version": ("i",), "provenance": ("U",)}
    if "amplitudes" in stored or int(stored.get("format_version", 1)) == FORMAT_VERSION:
        keys |= _MEASURED
    missing = [key for key in keys if key not in stored]
    if missing:
        raise CalibrationError(f"{path}: no {', '.join(missing)}; expected {what}.")
    _check_arrays(path, stored, keys)
    if stored["format_version"] > FORMAT_VERSION:
        raise CalibrationError(
            f"{path}: format_version {stored['format_version']} is newer than this payneflow reads ({FORMAT_VERSION}): "
            "update payneflow."
        )
    arrays = {key: stored[key] for key in _KEYS | _MEASURED if key in keys}
    scalars = {"nugget": float(stored["nugget"]), "mode": str(stored["mode"]), "networks": str(stored["networks"])}
    try:
        return LabelErrors(**{**arrays, **scalars}, provenance=json.loads(str(stored["provenance"])))
    except json.JSONDecodeError as error:
        raise CalibrationError(f"{path}: provenance is not JSON ({error}); expected {what}.") from error
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error


def _check_arrays(path: str | Path, stored: dict[str, np.ndarray], keys: dict[str, tuple[str, ...]]) -> None:
    sizes: dict[str, int] = {}
    for key, (kind, *shape) in keys.items():
        array = stored[key]
        fits = array.ndim == len(shape)
        if not fits or any(sizes.setdefault(name, n) != n for name, n in zip(shape, array.shape, strict=True)):
            known = ", ".join(str(sizes.get(name, name)) for name in shape)
            raise CalibrationError(f"{path}: {key} has shape {array.shape}, expected ({known}): ({', '.join(shape)}).")
        if array.dtype.kind != kind:
            raise CalibrationError(f"{path}: {key} is {array.dtype}, expected {_KINDS[kind]}.")
        if kind == "f" and not np.isfinite(array).all():
            raise CalibrationError(f"{path}: {key} is not finite everywhere. Run `payneflow calibrate` again.")
    try:
        ParameterLayout.of_width(sizes["n_label"], sizes["n_parameter"])
    except CalibrationError as error:
        raise CalibrationError(f"{path}: errors has {error}") from error
