"""Fits of flux on any scale: the engine sees flux as a share of the networks' flux scale, users see their own units.

The engine's constants are those of normalised flux (a continuum near 1, networks that give -0.125 ... 1.125). With
u = (flux - lowest) / width, networks of any scale are networks of u on the published one. A continuum multiplies flux,
which is the same as multiplying u where the scale begins at 0.
"""

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from payneflow.errors import SettingsError
from payneflow.fitting.quality import Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.spectra.bad_pixels import good_pixels

_SHARES: WeakKeyDictionary[PixelNetworks, PixelNetworks] = WeakKeyDictionary()


def networks_of_shares(networks: PixelNetworks) -> PixelNetworks:
    """Networks whose flux is the share u of these networks' flux scale; made once in a process, and themselves where
    that scale is published.
    """
    if networks.flux_scale == PUBLISHED_FLUX:
        return networks
    if networks not in _SHARES:
        rms = networks.emulator_rms / networks.flux_scale.width
        _SHARES[networks] = replace(networks, flux_scale=PUBLISHED_FLUX, emulator_rms=rms)
    return _SHARES[networks]


def check_continuum(networks: PixelNetworks, settings: FitSettings) -> None:
    """Raise SettingsError where a continuum is asked for that networks of such a flux scale cannot have."""
    if settings.continuum and networks.flux_scale.lowest != 0:
        raise SettingsError(
            f"continuum is {settings.continuum}, but the networks' flux begins at {networks.flux_scale.lowest:g}, and "
            "a continuum multiplies flux that is positive. Set continuum: 0, or train on flux that is positive."
        )


def in_shares(networks: PixelNetworks, flux: np.ndarray, flux_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flux and its errors (n_spectrum, n_data) as shares of the networks' flux scale; not copied where published."""
    if networks.flux_scale == PUBLISHED_FLUX:
        return flux, flux_error
    return networks.flux_scale.share(flux), flux_error / networks.flux_scale.width


def in_own_units(networks: PixelNetworks, fits: Fits, flux: np.ndarray, flux_error: np.ndarray) -> None:
    """Turn what fits of shares say in units of flux into the networks' own, in place.

    `flux`, `flux_error` (n_spectrum, n_data): shares.
    """
    scale = networks.flux_scale
    if scale == PUBLISHED_FLUX:
        return
    fits.extra_scatter *= scale.width
    if scale.lowest == 0:  # flux over error is the same in both units
        return
    for i in range(len(flux)):
        good = good_pixels(flux[i], flux_error[i])
        if good.any():
            fits.snr[i] = np.median((flux[i] + scale.lowest / scale.width)[good] / flux_error[i][good])
