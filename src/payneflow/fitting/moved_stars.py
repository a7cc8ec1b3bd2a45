"""Spectra of a grid as stars of known velocity and rotation, for the calibration of fits with these.

Interpolating networks between their pixels is part of what such fits do wrong, so the spectra that measure it lie
between the pixels, too. They are moved by a spline through all pixels of the grid, which is far better than the eight
taps of the fits, and knows the pixels that the networks leave out.
"""

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import make_interp_spline

from payneflow.errors import CalibrationError
from payneflow.fitting.broadening import LineBroadening
from payneflow.fitting.engine.profiles import whole_kernel, whole_kernels
from payneflow.fitting.engine.shift import C_KM_S, UNEVEN, to_velocity
from payneflow.fitting.sampling import DEGREE, MARGIN
from payneflow.wavelength import segments

FRACTIONS = 16  # shifts that differ, evenly spread over a pixel
KEY = 1  # of the one permutation that says which spectrum is moved by which


def known_velocities(n: int, wavelength: np.ndarray, most: float) -> np.ndarray:
    """Velocities (n,) in km/s, within half a pixel of the networks' `wavelength` (n_pixel,) and half of `most`.

    The error of an interpolation depends on the fraction of a pixel alone: whole pixels would only cost the ends of
    segments. Which spectrum has which fraction is drawn, the same at every call: rows of a mesh are ordered by label,
    and no fraction may go with a label.
    """
    step = float(np.median(np.diff(np.log(wavelength))))
    half = min(float(to_velocity(0.5, step)), 0.5 * most)
    fraction = (np.arange(n) % FRACTIONS + 0.5) / FRACTIONS
    drawn = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(KEY,))).permutation(fraction)
    return half * (2.0 * drawn - 1.0)


def known_widths(n: int, broadening: LineBroadening) -> np.ndarray:
    """Widths (n, n_broad) in km/s of what broadens lines: what is held, else from 0 to the most, half below a quarter.

    Which spectrum has which is drawn, the same at every call, as with velocities.
    """
    widths = np.tile(broadening.start, (n, 1))
    for b, name in enumerate(broadening.names):
        if name not in broadening.settings.fixed:
            unit = (np.arange(n) + 0.5) / n
            drawn = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(KEY, 1 + b))).permutation(unit)
            widths[:, b] = broadening.most[b] * drawn**2
    return widths


def broadened_stars(
    flux: np.ndarray, wavelength: np.ndarray, broadening: LineBroadening, widths: np.ndarray, path: str | Path
) -> np.ndarray:
    """Spectra (n, n_pixel) on `wavelength` (n_pixel,), Angstrom, with lines broadened by widths (n, n_broad) in km/s.

    Beyond the ends of a segment flux is taken to be that of its last pixel: a fit leaves out what that reaches. Raises
    CalibrationError naming the grid's `path` where its pixels are not even in ln(wavelength).
    """
    result = np.array(flux)
    for first, stop in segments(wavelength):
        log = np.log(wavelength[first:stop])
        step = float(log[-1] - log[0]) / max(len(log) - 1, 1)
        if np.abs(log - log[0] - step * np.arange(len(log))).max() > UNEVEN * step:
            raise CalibrationError(
                f"{path}: its pixels {first} to {stop - 1} are not even in ln(wavelength), so that its spectra cannot "
                "be broadened to measure label errors. Fit without them (fit: calibrate: false in config.yaml)."
            )
        for i, own in enumerate(widths):
            kernel = whole_kernel(broadening.kernel(step, own))
            half = len(kernel) // 2
            result[i, first:stop] = np.convolve(np.pad(flux[i, first:stop], half, mode="edge"), kernel, mode="valid")
        if broadening.wavelength is not None:
            result[:, first:stop] = _each_with_its_own(result[:, first:stop], broadening.kernels_at(log, step))
    return result


def _each_with_its_own(flux: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """Flux (n, n_pixel) of a segment, each pixel of it broadened by its own of half kernels (n_pixel, n_half)."""
    whole, reach = whole_kernels(kernels), kernels.shape[1] - 1
    around = (sliding_window_view(np.pad(one, reach, mode="edge"), 2 * reach + 1) for one in flux)
    return np.stack([(near * whole).sum(axis=1) for near in around])


def moved_stars(flux: np.ndarray, wavelength: np.ndarray, velocity: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Spectra (n, n_pixel) on `wavelength` (n_pixel,), Angstrom, as seen at velocities (n,) in km/s: (n, n_column).

    `columns` (n_column,): the pixels that are wanted. NaN where the spectrum comes from beyond its segment of the
    axis, or from the last MARGIN pixels within it.
    """
    moved = np.full((len(flux), len(columns)), np.nan)
    for first, stop in segments(wavelength):
        here = np.flatnonzero((columns >= first) & (columns < stop))
        if stop - first <= max(DEGREE, 2 * MARGIN) or not len(here):
            continue
        log = np.log(wavelength[first:stop])
        step = float(log[-1] - log[0]) / (len(log) - 1)
        places = (log - log[0]) / step
        for one in np.unique(velocity):
            rows = np.flatnonzero(velocity == one)
            curve = make_interp_spline(places, flux[rows, first:stop].T, k=DEGREE, check_finite=False)
            wanted = places[columns[here] - first] - np.arctanh(one / C_KM_S) / step
            inside = (wanted >= places[MARGIN]) & (wanted <= places[-1 - MARGIN])
            moved[np.ix_(rows, here[inside])] = curve(wanted[inside]).T
    return moved
