"""Best-fit spectra on demand: the networks at the fitted labels, moved to the data, times the fitted continuum."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from payneflow.fitting.data_groups import groups_of
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.parameters import VELOCITY
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.windows import hidden
from payneflow.network import PixelNetworks


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
    resolution: np.ndarray | float | None = None,
) -> BestFits:
    """The spectra of `fits`, which `fit_spectra` gave for the same flux and errors (n, n_data), without label errors.

    Label errors correct the labels; the spectrum of corrected labels is not the one that goes best with the data.
    `flux_error` is inf where a pixel takes no part. The networks' error at each pixel is part of the weights, as in the
    fit, where `settings.emulator_error` says so. `wavelength` (n_data,) and `resolution` as in `fit_spectra`.
    """
    shape = np.shape(flux)
    model, continuum, sigma = np.full(shape, np.nan), np.ones(shape), np.full(shape, np.nan)
    used = np.zeros(shape, dtype=bool)
    labels = np.column_stack([np.asarray(fits[name], dtype=float) for name in networks.label_names])
    velocity = np.asarray(fits[VELOCITY], dtype=float) if settings.velocity else np.zeros(len(fits))
    names = settings.broadenings(networks.label_names)
    widths = np.stack([np.asarray(fits[name], dtype=float) for name in names], axis=1) if names else [None] * len(fits)
    for group in groups_of(wavelength, resolution, *shape):
        forward = SpectralModel(networks, settings, wavelength, group.resolution)
        for i in group.rows[np.isfinite(labels[group.rows]).all(axis=1)]:
            closed = hidden(settings.windows, forward.wavelength, velocity[i])
            error = np.where(closed, np.inf, flux_error[i]) if closed.any() else flux_error[i]
            found = forward.compare(labels[i], velocity[i], flux[i], error, None, widths[i])
            model[i], continuum[i], sigma[i], used[i] = found
    model[~used], continuum[~used], sigma[~used] = np.nan, np.nan, np.nan
    return BestFits(model, continuum, sigma, used)
