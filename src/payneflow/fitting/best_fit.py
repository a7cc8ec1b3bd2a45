"""Best-fit spectra on demand: the networks at the fitted labels, moved to the data, times the fitted continuum."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import PaddedAxis, emulator_of
from payneflow.fitting.engine.shift import HALF, NOWHERE, RestAxis, tap_weights, to_places
from payneflow.fitting.parameters import VELOCITY
from payneflow.fitting.quality import WINDOW
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks

SOLUTIONS = 2  # of the continuum: the emulator's error in the weights is a share of it, so a first one must be known


@dataclass(frozen=True, eq=False)
class BestFits:
    """`model` (n, n_data): the networks' flux at the fitted labels and velocity, times `continuum` (n, n_data), which
    is 1 where none is fitted. `sigma` (n, n_data): 1 sigma of flux - model, that of the flux and, where it takes part,
    of the networks, whose sum of squared residuals is chi2. `used` (n, n_data): whether a pixel takes part. NaN where
    one does not, or a fit failed.
    """

    model: np.ndarray
    continuum: np.ndarray
    sigma: np.ndarray
    used: np.ndarray


def best_fits(
    networks: PixelNetworks,
    settings: FitSettings,
    fits: Table,
    flux: np.ndarray,
    flux_error: np.ndarray,
    wavelength: np.ndarray | None = None,
) -> BestFits:
    """The spectra of `fits`, which `fit_spectra` gave for the same flux and errors (n, n_data), without label errors.

    Label errors correct the labels; the spectrum of corrected labels is not the one that goes best with the data.
    `flux_error` is inf where a pixel takes no part. The networks' error at each pixel is part of the weights, as in the
    fit, where `settings.emulator_error` says so.
    """
    emulator, own = emulator_of(networks), networks.wavelength
    moves = settings.velocity or wavelength is not None
    window = WINDOW if settings.velocity else 0.0
    rest = RestAxis(emulator, own, settings.max_velocity if settings.velocity else 0.0, window, moves)
    data_wavelength = own if wavelength is None else wavelength
    places = rest.own_places(emulator.axis) if wavelength is None else rest.place(wavelength)
    axis = PaddedAxis(data_wavelength)
    terms = chebyshev(axis, data_wavelength, settings.continuum)[:, axis.place] if settings.continuum else None
    shape = len(fits), len(data_wavelength)
    model, continuum, sigma = np.full(shape, np.nan), np.ones(shape), np.full(shape, np.nan)
    used = np.zeros(shape, dtype=bool)
    labels = np.column_stack([np.asarray(fits[name], dtype=float) for name in networks.label_names])
    velocity = np.asarray(fits[VELOCITY], dtype=float) if settings.velocity else np.zeros(len(fits))
    for i in np.flatnonzero(np.isfinite(labels).all(axis=1)):
        at_rest = np.nan_to_num(networks.predict_scaled(networks.scaler.scale(labels[i])))
        place = np.where(places == NOWHERE, NOWHERE, places - to_places(velocity[i], rest.log_step))
        one, variance, inside = _moved(rest, rest.laid(emulator.axis, emulator.axis.padded(at_rest)), place, moves)
        used[i] = inside & np.isfinite(flux[i]) & np.isfinite(flux_error[i]) & (flux_error[i] > 0)
        noise = variance if settings.emulator_error else np.zeros_like(variance)
        if terms is not None:
            continuum[i] = _continuum(axis, terms, one, noise, flux[i], flux_error[i], used[i])
        model[i] = one * continuum[i]
        sigma[i] = np.sqrt(np.asarray(flux_error[i], dtype=float) ** 2 + noise * continuum[i] ** 2)
    model[~used], continuum[~used], sigma[~used] = np.nan, np.nan, np.nan
    return BestFits(model, continuum, sigma, used)


def _moved(rest: RestAxis, flux: np.ndarray, place: np.ndarray, moves: bool) -> tuple[np.ndarray, ...]:
    """Flux, variance of the networks' error, and whether there are networks around, at places (n_data,) of the axis."""
    nearest = np.clip(np.floor(place + 0.5).astype(int), 0, rest.n_place - 1)
    inside = (place >= 0.0) & (rest.interior[nearest] > 0.0)
    if not moves:
        return flux[nearest], rest.variance[nearest], inside
    whole = np.clip(np.floor(place).astype(int), HALF - 1, rest.n_place - HALF - 1)
    taps = whole[:, None] + np.arange(1 - HALF, HALF + 1)
    return (tap_weights(place - whole) * flux[taps]).sum(axis=1), rest.variance[nearest], inside


def _continuum(axis: PaddedAxis, terms, model, variance, flux, flux_error, used) -> np.ndarray:
    """Chebyshev polynomials of each segment that go best with the model, (n_data,); NaN where no pixel tells them."""
    continuum = np.full(len(flux), np.nan)
    for first, behind in axis.segments:
        rows = np.flatnonzero(used[first:behind]) + first
        if not len(rows):
            continue
        level = np.zeros(len(rows))
        for _ in range(SOLUTIONS):
            sigma = np.sqrt(flux_error[rows] ** 2 + variance[rows] * level**2)
            matrix = (terms[:, rows] * (model[rows] / sigma)).T
            solution = np.linalg.lstsq(matrix, flux[rows] / sigma, rcond=None)[0]
            level = solution @ terms[:, rows]
        continuum[first:behind] = solution @ terms[:, first:behind]
    return continuum
