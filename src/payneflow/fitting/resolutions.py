"""R of each spectrum, held against that of the networks' grid and that of label errors, before anything is fitted.

Label errors are measured at one R. They serve spectra whose R, in every pixel, is within NEAR of it.
"""

from dataclasses import replace

import numpy as np

from payneflow.errors import CalibrationError, SettingsError
from payneflow.fitting.broadening import instrument_of, resolution_of_grid, within_segments
from payneflow.fitting.data_groups import checked_resolution
from payneflow.fitting.engine.data_axis import number_of_pixels
from payneflow.fitting.label_errors import LabelErrors
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.spectra import Spectra

NEAR = 0.05  # of R at which label errors were measured: there they are those of the spectra


def fittable(
    networks: PixelNetworks, settings: FitSettings, spectra: Spectra, label_errors: LabelErrors | None
) -> Spectra:
    """The spectra, of which those whose R fits cannot have take no part: sharper than the grid, or than label errors
    know. `problem` says so. Raises SettingsError where settings have a resolution too, or nobody says that of the grid.
    """
    if not spectra.resolution_said:
        return spectra
    if settings.resolution:
        raise SettingsError(
            f"resolution is {settings.resolution:g}, but the layout says that of each spectrum: "
            f"{spectra.resolution_said}. Leave one of both out."
        )
    if spectra.resolution is None:
        return spectra
    known = np.isfinite(spectra.resolution).any(axis=1)
    lowest = np.asarray(np.nanmin(spectra.resolution[known])) if known.any() else None
    grid = 1.0 if lowest is None else resolution_of_grid(networks, settings, lowest)
    axis = None if spectra.on_networks_axis else spectra.wavelength
    problem = spectra.problem.tolist()
    for i in np.flatnonzero(known):
        own = _row(axis, i), spectra.resolution[i]
        said = problem_with_grid(networks, settings, *own)
        if not said and label_errors is not None:
            said = problem_with_label_errors(networks, settings, *own, label_errors)
        if said:
            problem[i] = f"{spectra.path[i]}: {said}"
    problem = np.array(problem, dtype=str)
    out = problem != ""
    resolution = np.where(out[:, None] | np.isnan(spectra.resolution), np.min(grid), spectra.resolution)
    flux_error = np.where(out[:, None], np.inf, spectra.flux_error) if out.any() else spectra.flux_error
    return replace(spectra, flux_error=flux_error, problem=problem, resolution=resolution)


def check_label_errors(
    networks: PixelNetworks,
    settings: FitSettings,
    label_errors: LabelErrors,
    wavelength: np.ndarray | None,
    resolution: np.ndarray | float | None,
    flux_error: np.ndarray,
) -> None:
    """Raise CalibrationError where these label errors are of fits at another R than that of spectra.

    `wavelength` as `checked_axis` gives it; `resolution` as in `fit_spectra`, None: that of the networks' grid;
    `flux_error` (n, n_data): a spectrum without any takes no part.
    """
    if resolution is None and not label_errors.resolution:
        return
    given = np.min(resolution_of_grid(networks, settings, np.array(label_errors.resolution)))
    given = given if resolution is None else resolution
    rows = np.atleast_2d(checked_resolution(given, *flux_error.shape)).astype(float)
    each = len(rows) > 1 or np.ndim(wavelength) == 2
    for i in np.flatnonzero(np.isfinite(flux_error).any(axis=1)) if each else [0]:
        own = rows[i if len(rows) > 1 else 0]
        said = problem_with_label_errors(networks, settings, _row(wavelength, i), own, label_errors)
        if said:
            raise CalibrationError(f"spectrum {i}: {said}" if each else said)


def problem_with_grid(
    networks: PixelNetworks, settings: FitSettings, wavelength: np.ndarray | None, resolution: np.ndarray
) -> str:
    """Why a spectrum of R (1,) or (n_data,) at `wavelength` (n_data,), None: the networks' own, cannot be fitted.

    "" where nothing is wrong: it is not sharper than the grid.
    """
    axis = networks.wavelength if wavelength is None else wavelength
    try:
        instrument_of(networks, settings, np.asarray(_own(resolution, axis)), axis)
    except SettingsError as error:
        return str(error)
    return ""


def problem_with_label_errors(
    networks: PixelNetworks,
    settings: FitSettings,
    wavelength: np.ndarray | None,
    resolution: np.ndarray,
    label_errors: LabelErrors,
) -> str:
    """Why label errors do not serve such a spectrum; "" where it is as sharp as the spectra that they are of."""
    axis = networks.wavelength if wavelength is None else wavelength
    own = _own(resolution, axis)
    axis = networks.wavelength if np.ndim(own) == 0 else axis
    known = label_errors.resolution or resolution_of_grid(networks, settings, np.asarray(own))
    if np.ndim(known):
        known = np.interp(np.log(axis), np.log(networks.wavelength), known)
    inside = within_segments(networks.wavelength, axis)
    known, own = np.broadcast_to(known, len(axis))[inside], np.broadcast_to(own, len(axis))[inside]
    off = np.abs(own / known - 1.0)
    if not len(off) or off.max() <= NEAR:
        return ""
    at = int(np.argmax(off))
    return (
        f"resolution is {own[at]:.5g} at {axis[inside][at]:.1f} Angstrom, that of the label errors {known[at]:.5g}: "
        f"expected it within {NEAR:.0%}. Measure them at this one (payneflow calibrate --resolution R), fit spectra of "
        "other resolutions apart with label errors of their own, or fit without."
    )


def _own(resolution: np.ndarray, axis: np.ndarray) -> float | np.ndarray:
    """R, one number or (n_data,), of the pixels that a spectrum has; behind them a row may be padded."""
    return resolution[0] if len(resolution) == 1 else resolution[: len(axis)]


def _row(wavelength: np.ndarray | None, i: int) -> np.ndarray | None:
    if wavelength is None or wavelength.ndim == 1:
        return wavelength
    return wavelength[i, : number_of_pixels(wavelength[i])]
