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
from payneflow.fitting.broadening import LineBroadening, to_places_of_width
from payneflow.fitting.engine.search import AS_GOOD
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.label_errors import FLUX_ERROR, LEAST_HELD_BACK, LabelErrors, smoothness
from payneflow.fitting.moved_stars import broadened_stars, known_velocities, known_widths, moved_stars
from payneflow.fitting.parameters import ParameterLayout, Parameters
from payneflow.fitting.quality import Fits, covariance_of_noise, emulator_amplitudes, quality_of
from payneflow.fitting.settings import FitSettings
from payneflow.grid import SpectralGrid
from payneflow.network import PixelNetworks
from payneflow.statistics import evenly
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.wavelength import segments

# A row of the grid whose error is so many times the rms of all others has other labels than its spectrum: left in, it
# would correct all stars around it by as much. On the demonstration grid none exceeds 10 times it.
RUINOUS = 30.0
ASTRAY = 0.005  # of the fits may end in another minimum than that of the true labels; more, and fits get more starts
MOST_STARTS = 32
NOISE_SEED = 11  # of the noise that tells which part of the formal variance is noise
WIDEST_MOVE = 3.0  # formal sigma: noise moves no parameter farther, but a fit may end elsewhere
LEAST_UNBOUND = 20  # fits whose widths are no nearer to a bound than that; fewer tell no variance
LEAST_SHARE = 0.1  # that noise has of a formal variance
FARTHEST = 1e9  # that numbers of label errors are from 0, all of scaled labels or km/s
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
    label errors have as many. Where a velocity is fitted, each spectrum has one that is known, a fraction of a pixel;
    where broadenings are, widths from 0 to the most that a fit may have; and the resolution of the settings
    (moved_stars.py).
    `progress` is called with the number of fits done.
    Raises NetworkFileError where labels or wavelengths of grid and networks differ or the networks were trained on
    another grid, CalibrationError where too few held-back spectra could be fitted, SpectraError where the networks'
    pixels are too far apart for a velocity.
    """
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    split = networks.split_of(grid)
    sets = split.training_rows, split.test_rows
    rows = np.sort(np.concatenate([own[evenly(len(own), MOST_OF_A_SET)] for own in sets]))
    true = grid.labels[rows]
    mode = _mode_of_calibration(settings, networks)
    _check_pixels(networks, mode)
    velocity, broadening, flux = np.zeros(len(rows)), LineBroadening.of(networks, mode), grid.flux[rows]
    widths = np.zeros((len(rows), 0))
    if broadening is not None:
        widths = known_widths(len(rows), broadening)
        flux = broadened_stars(np.asarray(flux, dtype=float), grid.wavelength, broadening, widths, grid.path)
    if settings.velocity:
        velocity = known_velocities(len(rows), networks.wavelength, settings.max_velocity)
        flux = moved_stars(np.asarray(flux, dtype=float), grid.wavelength, velocity, columns)
    else:
        flux = flux[:, columns]
    fits, n_starts, astray = _as_users_fit(networks, flux, mode, true, progress)
    quality = quality_of(networks, mode, fits)
    scaled = networks.scaler.scale(grid.labels)
    parameters = Parameters.of(networks, settings)
    free, layout = parameters.free, parameters.layout
    true_widths = to_parameter(to_places_of_width(widths, fits.log_step)) if widths.size else 0.0
    off = free[layout.broadenings] * (fits.x[:, layout.broadenings] - true_widths)
    errors = layout.joined(free[layout.labels] * (quality.scaled - scaled[rows]), quality.velocity - velocity, off)
    amplitudes, excess = emulator_amplitudes(networks, mode, fits, FLUX_ERROR)
    good = np.isfinite(errors).all(axis=1) & ~astray
    if not good.any():
        raise CalibrationError(
            f"{grid.path}: no noiseless spectrum of the grid could be fitted: {len(networks.wavelength)} pixels for "
            f"{len(errors[0])} parameters. {_LESS}"
        )
    wrong = np.zeros(len(good), dtype=bool)
    wrong[good] = ruinous(errors[good][:, layout.labels])  # a velocity, which a hot star hardly has, says nothing of it
    good &= ~wrong
    fitted = scaled[rows][good] + errors[good][:, layout.labels]
    held_back = ~split.trains[rows[good]]
    smooth = smoothness(fitted, errors[good], held_back)
    return LabelErrors(
        scaled=scaled[rows][good],
        errors=errors[good],
        amplitudes=amplitudes[good],
        excess=excess[good],
        rows=rows[good],
        held_back=held_back,
        training=scaled[split.training],
        **smooth,
        photon_share=photon_share(networks, flux, replace(mode, n_starts=n_starts), fits, good),
        mode=mode.mode(networks.label_names),
        networks=networks.digest,
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


def _mode_of_calibration(settings: FitSettings, networks: PixelNetworks) -> FitSettings:
    """These settings with what is held at the truth, and without priors: a broadening that has one is free."""
    broadenings = settings.broadenings(networks.label_names)
    held = {name: settings.fixed[name] if name in broadenings else None for name in settings.fixed}
    return replace(settings, fixed=held, priors={}, **{name: name not in settings.fixed for name in broadenings})


_LESS = "Train more pixels, fit less, or do without (fit: calibrate: false in config.yaml)."


def _check_pixels(networks: PixelNetworks, settings: FitSettings) -> None:
    """Raise CalibrationError where there are no more pixels with a network than parameters: no fit can succeed."""
    n_pixel = int(networks.has_network.sum())
    n_parameter = int(Parameters.of(networks, settings).free.sum())
    n_parameter += settings.continuum * len(segments(networks.wavelength))
    if n_pixel <= n_parameter:
        raise CalibrationError(
            f"label errors take fits of the grid's spectra: {n_pixel} pixels with a network for {n_parameter} "
            f"parameters, expected more pixels than parameters. {_LESS}"
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


def photon_share(
    networks: PixelNetworks, flux: np.ndarray, mode: FitSettings, fits: Fits, which: np.ndarray
) -> np.ndarray:
    """(n_parameter,): which part of the formal variance of `fits` is noise, robustly. `which` (n_row,) bool: of them.

    The same spectra (n_row, n_pixel) are fitted with noise of FLUX_ERROR, from where the noiseless fits ended: the
    formal variance contains the emulator's error in each pixel, how far noise moves the parameters does not. A width
    that its bounds stop is moved less: fits with one are left out, where enough others are left.
    """
    flux, before = np.asarray(flux, dtype=float)[which], fits.x[which]
    error = FLUX_ERROR * networks.flux_scale.width
    noisy = flux + error * np.random.default_rng(NOISE_SEED).normal(size=flux.shape)
    labels = networks.scaler.unscale(before[:, : len(networks.x_min)])
    after = search_spectra(networks, noisy, error, settings=replace(mode, n_starts=1), start=labels)
    formal = covariance_of_noise(networks, mode, fits)[which]
    variance = np.einsum("nii->ni", formal)
    moved = np.divide(after.x - before, np.sqrt(variance), out=np.zeros_like(before), where=variance > 0)
    known = np.isfinite(moved).all(axis=1)
    unbound = known & ~_near_bounds(Parameters.of(networks, mode), before, variance, fits.log_step)
    inside = np.clip(moved[unbound if unbound.sum() >= LEAST_UNBOUND else known], -WIDEST_MOVE, WIDEST_MOVE)
    share = (inside**2).mean(axis=0)
    return np.where(variance.any(axis=0), np.clip(share, LEAST_SHARE, 1.0), 1.0)


def _near_bounds(parameters: Parameters, x: np.ndarray, variance: np.ndarray, log_step: float) -> np.ndarray:
    """(n,) bool: does noise take a width of fits `x` (n, n_parameter), of a formal `variance` alike, to its bounds?"""
    broad = parameters.layout.broadenings
    most = to_parameter(to_places_of_width(parameters.highest[broad], log_step))
    reach = WIDEST_MOVE * np.sqrt(variance[:, broad])
    near = (x[:, broad] < reach) | (x[:, broad] > most - reach)
    return (near & parameters.free[broad]).any(axis=1)


def ruinous(errors: np.ndarray) -> np.ndarray:
    """(n_row,) whether the error of a row, in any label, is beyond RUINOUS times the rms of all rows that are not.

    `errors` (n_row, n_label), fitted less true. They are left out one after another, the largest first, and those
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


# ----------------------------------------------------------------------------------------------------------- the file


def _problem_of_parameters(stored: Arrays) -> str:
    try:
        ParameterLayout.of_width(stored["scaled"].shape[1], stored["errors"].shape[1], str(stored["mode"]))
    except CalibrationError as error:
        return f"errors has {error}"
    return ""


def _problem_of_measured(stored: Arrays) -> str:
    for one, other in (("amplitudes", "excess"), ("size_lengths", "size_nugget")):
        if (one in stored) != (other in stored):
            return f"{one} and {other} belong together"
    return ""


def _problem_of_held_back(stored: Arrays) -> str:
    n = int(stored["held_back"].sum())
    return "" if n >= LEAST_HELD_BACK else f"{n} held-back spectra, expected {LEAST_HELD_BACK} or more"


_MEASURED = ("amplitudes", "excess", "size_lengths", "size_nugget", "photon_share")
_FILE = FileOf(
    what="label errors, as `payneflow calibrate` writes them",
    again="Run `payneflow calibrate` again.",
    error=CalibrationError,
    version=4,  # still read: 3, without what the size of errors depends on; 2, without a checksum; 1, without excess
    checksum_since=3,
    oldest=1,
    arrays=(
        Array("scaled", "f", ("n_row", "n_label"), finite=True, farthest=FARTHEST),
        Array("errors", "f", ("n_row", "n_parameter"), finite=True, farthest=FARTHEST),
        Array("rows", "i", ("n_row",), least=0, increasing=True),
        Array("held_back", "b", ("n_row",)),
        Array("training", "f", ("n_training", "n_label"), finite=True, farthest=FARTHEST),
        Array("lengths", "f", ("n_label",), finite=True, least=1 / FARTHEST, farthest=FARTHEST),
        Array("nugget", "f", finite=True, least=0.0, farthest=FARTHEST),
        Array("mode", "U"),
        Array("networks", "U"),
        Array("amplitudes", "f", ("n_row", "n_alternative"), finite=True, farthest=FARTHEST, since=2, optional=True),
        Array("excess", "f", ("n_row",), finite=True, farthest=FARTHEST, since=2, optional=True),
        Array(
            "size_lengths",
            "f",
            ("n_label",),
            finite=True,
            least=1 / FARTHEST,
            farthest=FARTHEST,
            since=4,
            optional=True,
        ),
        Array("size_nugget", "f", finite=True, positive=True, farthest=FARTHEST, since=4, optional=True),
        Array("photon_share", "f", ("n_parameter",), finite=True, positive=True, farthest=1e3, since=4, optional=True),
        Array("provenance", "U", json=True),
    ),
    relations=(_problem_of_parameters, _problem_of_measured, _problem_of_held_back),
)


def write_label_errors(errors: LabelErrors, path: str | Path) -> None:
    """Write label errors (npz), whole or not at all."""
    keys = [array.key for array in _FILE.arrays if array.key not in ("provenance", *_MEASURED)]
    arrays = {key: np.asarray(getattr(errors, key)) for key in keys}
    arrays |= {key: getattr(errors, key) for key in _MEASURED if getattr(errors, key) is not None}
    _FILE.write(path, {**arrays, "provenance": json.dumps(errors.provenance, sort_keys=True)})


def read_label_errors(path: str | Path) -> LabelErrors:
    """Read what `write_label_errors` wrote.

    Raises CalibrationError naming file and key where it is missing, damaged, of a newer format, or inconsistent.
    """
    stored = _FILE.read(path)
    texts = {key: str(stored[key]) for key in ("mode", "networks")}
    scalars = {key: float(stored[key]) for key in ("nugget", "size_nugget") if key in stored}
    scalars |= {"provenance": json.loads(str(stored["provenance"]))}
    return LabelErrors(**{**stored, **texts, **scalars})
