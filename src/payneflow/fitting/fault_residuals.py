"""Residuals of fitted stars in their rest frame, on the networks' pixels: what faults of the model are learned from."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from payneflow.errors import CalibrationError, SpectraError
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.fitting.broadening import to_places_of_width
from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.engine.taps import TAPS, tap_weights_at
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.fault_learning import Residuals
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.linearised import linearised
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.parameters import VELOCITY, Parameters
from payneflow.fitting.settings import FitSettings
from payneflow.network import Networks
from payneflow.statistics import evenly
from payneflow.stored_arrays import Arrays
from payneflow.wavelength import segments

MOST_STARS = 300  # that are learned from, evenly spread among all: each has a matrix of its own in memory
NO_USE = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.DOUBLE_LINED | FitFlag.RV_EDGE
LEAST_WEIGHT = 0.05  # of a bad pixel among the eight that a pixel is interpolated from, with which it is bad, too


def residuals_of(networks: Networks, paths: Sequence[str | Path]) -> tuple[Residuals, dict[str, int]]:
    """Those of the stars in files of best fits, and how many are left out, by reason.

    Of several spectra with one identifier the one of the highest S/N is taken: what they share are the faults of one
    star. Raises SpectraError or CalibrationError naming the file whose fits are of other networks, or of other settings
    than those of the first file, or do not say of which.
    """
    files = [BEST_FITS.read(path) for path in paths]
    settings = [_settings_of(networks, *pair) for pair in zip(paths, files, strict=True)]
    for path, one in zip(paths, settings, strict=True):
        if one.mode(networks.label_names) != settings[0].mode(networks.label_names):
            raise CalibrationError(
                f"{path}: fits in the mode '{one.mode(networks.label_names)}', those of {paths[0]} in the mode "
                f"'{settings[0].mode(networks.label_names)}'; expected one mode: fit all stars alike."
            )
    chosen, left_out = _stars(files)
    if not chosen:
        raise CalibrationError(f"{paths[0]}: no fit of use among {left_out['fits']}; expected fits that ended well.")
    model = SpectralModel(networks, settings[0])
    parts = [_of_star(networks, settings[0], model, files[f], i) for f, i in chosen]
    residual, variance, slopes, scaled = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    n_label = int(Parameters.of(networks, settings[0]).free[: scaled.shape[1]].sum())
    return Residuals(residual, variance, slopes, scaled, n_label), left_out


def _settings_of(networks: Networks, path: str | Path, stored: Arrays) -> FitSettings:
    if "networks" not in stored or "settings" not in stored:
        raise SpectraError(
            f"{path}: no networks, settings, which tell how the spectra were fitted; an earlier payneflow wrote this "
            "file. Fit these spectra again."
        )
    if "resolution" in stored:
        raise CalibrationError(
            f"{path}: spectra with a resolution each; faults of the model are learned from those of one: fit them with "
            "--resolution R, without an array of the layout that says it."
        )
    if str(stored["networks"]) != networks.digest:
        raise CalibrationError(f"{path}: fits of other networks (other weights). Fit these spectra with the same ones.")
    values = json.loads(str(stored["settings"]))
    try:
        return FitSettings(**values)
    except (TypeError, ValueError) as error:
        raise SpectraError(f"{path}: settings cannot be meant: {error}. Fit these spectra again.") from error


def _stars(files: list[Arrays]) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """Which file and row each star is taken from, and what is left out."""
    best: dict[str, tuple[float, int, int]] = {}
    n, no_use = 0, 0
    for f, stored in enumerate(files):
        for i, name in enumerate(stored["identifier"]):
            n += 1
            snr = float(stored["SNR"][i])
            if int(stored["flags"][i]) & NO_USE or not np.isfinite(stored["labels"][i]).all() or not snr > 0:
                no_use += 1
            elif str(name) not in best or snr > best[str(name)][0]:
                best[str(name)] = snr, f, i
    found = [best[name][1:] for name in best]
    chosen = [found[k] for k in evenly(len(found), MOST_STARS)]
    of_one = n - no_use - len(best)
    return chosen, {"fits": n, "no use": no_use, "of the same star": of_one, "too many": len(found) - len(chosen)}


def _of_star(networks: Networks, settings: FitSettings, model: SpectralModel, stored: Arrays, i: int):
    """Residual, variance, slopes and scaled labels of one star."""
    parameters = Parameters.of(networks, settings)
    velocity = float(stored[VELOCITY][i]) if settings.velocity else 0.0
    continuum, used = stored["continuum"][i], stored["used"][i]
    flux, error = stored["flux"][i].astype(float), stored["flux_error"][i].astype(float)
    used = used & np.isfinite(flux) & np.isfinite(error) & np.isfinite(continuum)
    safe = np.where(used, continuum, 1.0)
    residual = np.where(used, (flux - stored["model"][i]) / safe, 0.0)
    variance = np.where(used, (error / safe) ** 2, np.inf)
    residual, variance = _at_rest(networks.wavelength, stored["wavelength"], velocity, residual, variance)
    scaled = networks.scaler.scale(stored["labels"][i])
    widths = np.array([stored[name][i] for name in settings.broadenings(networks.label_names)])
    x = parameters.layout.joined(scaled, 0.0, to_parameter(to_places_of_width(widths, model.log_step)))
    found = linearised(model, parameters, x)
    if settings.emulator_error:
        variance = variance + found.variance
    known = np.isfinite(variance) & found.inside
    terms = model.continuum_terms() * found.flux
    slopes = np.where(known, np.concatenate([found.slopes.T, terms]), 0.0).astype(np.float32)
    return np.where(known, residual, 0.0), np.where(known, variance, np.inf), slopes, scaled


def _at_rest(own: np.ndarray, wavelength: np.ndarray, velocity: float, residual, variance):
    """Residual and variance (n_data,) at the networks' pixels `own` (n_pixel,), seen from a star with this velocity."""
    log_wavelength = np.log(wavelength)
    shift = to_places(velocity, 1.0)  # ln of the Doppler factor
    wanted = np.log(own) + shift
    if np.array_equal(own, wavelength) and shift == 0.0:
        return residual, variance
    found, found_variance = np.zeros(len(own)), np.full(len(own), np.inf)
    for first, stop in segments(wavelength):
        inside = np.flatnonzero((wanted >= log_wavelength[first]) & (wanted <= log_wavelength[stop - 1]))
        if stop - first < TAPS or not len(inside):
            continue
        firsts, weights = tap_weights_at(log_wavelength[first:stop], wanted[inside])
        taps = first + firsts[:, None] + np.arange(TAPS)
        bad = ~np.isfinite(variance[taps])
        spoilt = (bad & (np.abs(weights) > LEAST_WEIGHT)).any(axis=1) | ~weights.any(axis=1)
        found[inside] = (weights * np.where(bad, 0.0, residual[taps])).sum(axis=1)
        sums = (weights**2 * np.where(bad, 0.0, variance[taps])).sum(axis=1)
        found_variance[inside] = np.where(spoilt, np.inf, sums)
    return found, found_variance
