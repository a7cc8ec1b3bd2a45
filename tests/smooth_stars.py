"""Smooth networks and noisy stars of known labels, for tests of best-fit spectra and of their figure."""

import numpy as np
import pytest
from known_networks import ten_neurons
from scipy.ndimage import gaussian_filter1d

from payneflow import PixelNetworks

N_PIXEL, N_SPECTRUM, C_KM_S = 400, 6, 299792.458
WAVELENGTH = 15200 * np.exp(1.4e-5 * np.arange(N_PIXEL))


@pytest.fixture(scope="module")
def networks():
    """Smooth networks, whose flux is near 1: neighbouring pixels know the same lines."""
    rng = np.random.default_rng(4)

    def smooth(*shape):
        return 6.0 * gaussian_filter1d(rng.normal(size=(N_PIXEL, *shape)), 3.0, axis=0, mode="nearest")

    return PixelNetworks(
        w_array_0=ten_neurons(smooth(5, 3)),
        b_array_0=ten_neurons(smooth(5)),
        w_array_1=ten_neurons(0.4 * smooth(5)),
        b_array_1=0.2 * smooth() + 2.0,
        x_min=np.array([4000.0, 1.0, -2.0]),
        x_max=np.array([6500.0, 5.0, 0.5]),
        wavelength=WAVELENGTH,
        label_names=("Teff", "logg", "[Fe/H]"),
        label_units=("K", "dex", "dex"),
        emulator_rms=np.full(N_PIXEL, 1e-3),
    )


@pytest.fixture(scope="module")
def stars(networks):
    """Noisy flux and errors of a few stars, some of their pixels bad, one spectrum all bad."""
    rng = np.random.default_rng(5)
    flux = networks.predict(networks.scaler.unscale(rng.uniform(0.3, 0.7, (N_SPECTRUM, 3))))
    error = rng.uniform(0.003, 0.006, flux.shape)
    flux = flux + error * rng.normal(size=flux.shape)
    flux[0, 100:120], error[1, 7], error[5] = np.nan, np.inf, np.inf
    return flux, error
