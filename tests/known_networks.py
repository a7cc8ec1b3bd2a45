"""Networks of known weights, whose spectra fits can be tried on."""

import numpy as np

from payneflow import PixelNetworks


def ten_neurons(weights):
    """Weights of each neuron (n_pixel, n_neurons, ...), filled up with neurons that do nothing.

    Trained networks have ten: a kernel is compiled for a number of neurons, and that one serves all tests.
    """
    return np.pad(weights, [(0, 10 - size if axis == 1 else 0) for axis, size in enumerate(weights.shape)])


def random_networks(n_pixel: int):
    """Networks of five neurons with known weights, and of five that do nothing, whose spectra fits can be tried on."""
    rng = np.random.default_rng(2)
    return PixelNetworks(
        w_array_0=ten_neurons(rng.normal(size=(n_pixel, 5, 3))),
        b_array_0=ten_neurons(rng.normal(size=(n_pixel, 5))),
        w_array_1=ten_neurons(rng.normal(size=(n_pixel, 5))),
        b_array_1=rng.normal(size=n_pixel),
        x_min=np.array([4000.0, 1.0, -2.0]),
        x_max=np.array([6500.0, 5.0, 0.5]),
        wavelength=15000 + 0.2 * np.arange(n_pixel),
        label_names=("Teff", "logg", "[Fe/H]"),
        label_units=("K", "dex", "dex"),
        emulator_rms=np.full(n_pixel, 1e-3),
    )


def line_networks(n_label, n_neurons, n_pixel=120, seed=0):
    """Networks whose weights are smooth along two detector segments, as those of real lines are; log-even pixels."""
    rng = np.random.default_rng(seed)
    smooth = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)

    def weights(*shape):
        rough = rng.normal(size=(n_pixel + 24, int(np.prod(shape))))
        columns = [np.convolve(column, smooth / np.sqrt((smooth**2).sum()), mode="valid") for column in rough.T]
        return np.stack(columns, axis=1).reshape(n_pixel, *shape)

    index = np.arange(n_pixel) + np.where(np.arange(n_pixel) < n_pixel // 3, 0, 500)
    return PixelNetworks(
        w_array_0=weights(n_neurons, n_label),
        b_array_0=weights(n_neurons),
        w_array_1=weights(n_neurons),
        b_array_1=weights(1)[:, 0] + 1.0,
        x_min=np.linspace(-1.0, 3.0, n_label),
        x_max=np.linspace(2.0, 9.0, n_label),
        wavelength=15000.0 * np.exp(1.4e-5 * index),
        label_names=tuple(f"label{j}" for j in range(n_label)),
        label_units=("dex",) * n_label,
        emulator_rms=np.full(n_pixel, 1e-3),
    )
