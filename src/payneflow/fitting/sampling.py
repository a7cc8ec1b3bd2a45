"""Do the pixels of an axis sample the lines? By how much a spectrum is off that is interpolated between them.

A velocity, and data on another wavelength axis, take the networks to places between their pixels. How well that can be
done depends on the lines and on the step, not on the training: it is known of the grid before anything is trained, and
of networks from elsewhere, too.
"""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy.interpolate import make_interp_spline

from payneflow.errors import SpectraError
from payneflow.fitting.engine.taps import TAPS, tap_weights_at
from payneflow.grid import GridKeys, GridPath, GridReading, SpectralGrid, read_some_flux
from payneflow.network import PixelNetworks
from payneflow.scaling import FluxScale
from payneflow.statistics import evenly
from payneflow.wavelength import segments

# What is accepted: an error that no fit notices, or one that is small beside the lines, as two pixels a line give it
ALLOWED = 1e-3  # of the flux scale: 0.1 % of the continuum
ALLOWED_OF_LINES = 0.05  # of the rms of the flux about its mean
DEGREE = 9  # of the spline: nearly the one band-limited curve through the pixels, on uneven axes, too
# What the spline cannot know either, because it lies between the pixels: the demonstration grid, thinned by 2, 3 and 4,
# is off by 1.7, 2.4 and 3.0 times what taps and spline differ by
UNSEEN = 2.0
MARGIN = TAPS  # pixels at both ends of a run, where the spline hangs in the air
LEAST_RUN = 4 * MARGIN  # pixels; shorter runs say nothing
SOME = 16  # spectra, whose mean is looked at: their lines are at the same places, the errors of networks are not
INNER = 0.3, 0.7  # scaled labels they are spread over: no extrapolation among them


class Sampling(NamedTuple):
    """How well pixels sample a spectrum, in the unit of its flux."""

    error: float  # rms, midway between pixels, as the fits interpolate
    lines: float  # rms of the flux about its mean

    def accepted(self, width: float, own: float = 0.0) -> float:
        """The largest error that is accepted, for a flux scale of `width` and networks whose rms error is `own`."""
        return float(np.hypot(max(ALLOWED * width, ALLOWED_OF_LINES * self.lines), own))


def sampling(wavelength: np.ndarray, flux: np.ndarray) -> Sampling:
    """How well the pixels `wavelength` (n_pixel,), Angstrom, increasing, sample flux (n_pixel,); NaN: no pixel.

    Eight pixels around (`tap_weights_at`) are held against a spline through all of them, and the difference is taken
    UNSEEN times. All is 0 where no run of pixels is long enough to tell.
    """
    off, there = [np.zeros(0)], [np.zeros(0)]
    for first, stop in _runs(wavelength, flux):
        own, values = np.log(wavelength[first:stop]), flux[first:stop]
        own = (own - own[0]) / np.diff(own).mean()
        middles = 0.5 * (own[1:] + own[:-1])[MARGIN:-MARGIN]
        firsts, weights = tap_weights_at(own, middles)
        taken = (values[firsts[:, None] + np.arange(TAPS)] * weights).sum(axis=1)
        off.append(taken - make_interp_spline(own, values, k=DEGREE)(middles))
        there.append(values)
    off, there = np.concatenate(off), np.concatenate(there)
    return Sampling(UNSEEN * float(np.sqrt(np.mean(off**2))), float(there.std())) if len(off) else Sampling(0.0, 0.0)


def _runs(wavelength: np.ndarray, flux: np.ndarray) -> list[tuple[int, int]]:
    """First pixel and stop of the runs of pixels, between gaps of the axis and NaN, that are long enough."""
    runs = []
    for first, stop in segments(wavelength):
        bad = np.flatnonzero(~np.isfinite(flux[first:stop])) + first
        edges = zip([first, *(bad + 1)], [*bad, stop], strict=True)
        runs += [(a, b) for a, b in edges if b - a >= LEAST_RUN]
    return runs


# --------------------------------------------------------------------------------------------------------- a grid


def problem_of_grid(grid: SpectralGrid, pixels: range) -> str:
    """How far these pixels of a grid are too far apart for networks that are to be moved; empty where they are not."""
    rows = _some_rows(len(grid.labels))
    return _problem(grid.wavelength, np.asarray(grid.flux[rows]), pixels, grid.flux_scale.width)


def notes_of_grid(grid: SpectralGrid, pixels: range) -> list[str]:
    """What who trains networks of these pixels of a grid should know of them: a sentence, or none."""
    problem = problem_of_grid(grid, pixels)
    return [f"the pixels are {problem}. Fit neither velocities nor other wavelengths with them"] if problem else []


def problem_of_grid_file(path: GridPath, keys: GridKeys, reading: GridReading, pixels: range) -> str:
    """The same of a grid file, of whose flux only some spectra are read. Raises GridError as `read_some_flux` does."""
    wavelength, flux = read_some_flux(path, keys, _some_rows)
    usable = flux[np.isfinite(flux).all(axis=1)]
    if not len(usable):  # whatever reads all of the grid says so
        return ""
    scale = FluxScale() if reading.flux_scale == "published" else FluxScale.of_range(usable.min(), usable.max())
    return _problem(wavelength, usable, pixels, scale.width)


def _some_rows(n_spectrum: int) -> np.ndarray:
    """At most SOME rows of a grid, evenly spread."""
    return evenly(n_spectrum, SOME)


def _problem(wavelength: np.ndarray, flux: np.ndarray, pixels: range, width: float) -> str:
    chosen, mean = np.asarray(pixels), flux.mean(axis=0, dtype=float)
    found = sampling(wavelength[chosen], mean[chosen])
    accepted = found.accepted(width)
    if found.error <= accepted:
        return ""
    return (
        f"too far apart for their lines: spectra between them are off by {found.error / width:.2%} of the flux (rms), "
        f"and {accepted / width:.2%} is accepted"
    )


# ------------------------------------------------------------------------------------------------------- networks

_OF_NETWORKS: WeakKeyDictionary[PixelNetworks, Sampling] = WeakKeyDictionary()


def check_sampling(networks: PixelNetworks, velocity: bool) -> None:
    """Raise SpectraError where networks are too coarse to be moved: by a `velocity`, or to other wavelengths.

    They may be off between their pixels by as much as the grid's may, and, besides, as in their pixels.
    """
    width, found = networks.flux_scale.width, _of(networks)
    known = networks.emulator_rms[np.isfinite(networks.emulator_rms)]
    own = float(np.median(known)) if len(known) else 0.0
    accepted = found.accepted(width, own)
    if found.error > accepted:
        what = "a velocity" if velocity else "labels on other wavelengths than the networks' own"
        raise SpectraError(
            f"{what} cannot be fitted with these networks, whose pixels are too far apart for their lines: spectra "
            f"between them are off by {found.error / width:.2%} of the flux (rms), and {accepted / width:.2%} is "
            f"accepted (in their pixels the networks are off by {own / width:.2%}). Train all pixels of the grid "
            '(pixels: "::"), or a finer grid; or fit without a velocity on the networks\' own wavelengths.'
        )


def _of(networks: PixelNetworks) -> Sampling:
    """How well networks sample the spectra that they predict; found once in a process."""
    if networks not in _OF_NETWORKS:
        from payneflow.fitting.engine.starts import spread  # which loads the kernels: a plan needs none

        even = spread(SOME, len(networks.x_min))
        low, high = even.min(axis=0), even.max(axis=0)
        unit = (even - low) / (high - low)
        scaled = INNER[0] + (INNER[1] - INNER[0]) * unit
        mean = networks.predict_scaled(scaled).mean(axis=0)
        _OF_NETWORKS[networks] = sampling(networks.wavelength, mean)
    return _OF_NETWORKS[networks]
