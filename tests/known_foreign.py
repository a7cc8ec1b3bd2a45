"""Files of networks as other programs write them, of known weights, and the formulas of those programs, in numpy."""

import numpy as np

LABELS = {"label_names": ("Teff", "[Fe/H]"), "label_units": ("K", "dex")}
X_MIN, X_MAX = np.array([4200.0, -2.0]), np.array([6500.0, 0.5])
N_PIXEL = 240
WAVELENGTH = 15000.0 * np.exp(1.4e-5 * np.arange(N_PIXEL))


def _smooth(rng, *shape):
    """Weights (N_PIXEL, ...) that are smooth along the pixels, as those of lines are."""
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    rough = rng.normal(size=(N_PIXEL + 24, int(np.prod(shape))))
    return np.stack([np.convolve(one, kernel, mode="valid") for one in rough.T], axis=1).reshape(N_PIXEL, *shape)


def pixel_weights(depth: float, seed: int = 3, dtype=np.float32) -> dict[str, np.ndarray]:
    """The six keys of a network of four neurons for each pixel, whose lines are so deep in the network's output."""
    rng = np.random.default_rng(seed)
    w1 = -depth * np.abs(_smooth(rng, 4))
    return {
        "w_array_0": (2.0 * _smooth(rng, 4, 2)).astype(dtype),
        "b_array_0": _smooth(rng, 4).astype(dtype),
        "w_array_1": w1.astype(dtype),
        "b_array_1": np.full(N_PIXEL, 1.0, dtype),
        "x_min": X_MIN,
        "x_max": X_MAX,
    }


def whole_weights(seed: int = 4, sizes=(9, 7), dtype=np.float32) -> dict[str, np.ndarray]:
    """The eight keys of two hidden layers for all pixels."""
    rng, (first, second) = np.random.default_rng(seed), sizes
    return {
        "w_array_0": rng.normal(0, 1.5, (first, 2)).astype(dtype),
        "w_array_1": rng.normal(0, 0.7, (second, first)).astype(dtype),
        "w_array_2": (0.1 * _smooth(rng, second)).astype(dtype),
        "b_array_0": rng.normal(size=first).astype(dtype),
        "b_array_1": rng.normal(size=second).astype(dtype),
        "b_array_2": np.full(N_PIXEL, 0.9, dtype),
        "x_min": X_MIN,
        "x_max": X_MAX,
    }


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def listing(one, labels):
    """The prediction of the published listing."""
    scaled = (labels - one["x_min"]) * 0.8 / (one["x_max"] - one["x_min"]) + 0.1
    inside = np.einsum("ijk,k->ij", one["w_array_0"], scaled) + one["b_array_0"]
    outside = np.einsum("ij,ij->i", one["w_array_1"], sigmoid(inside)) + one["b_array_1"]
    return (sigmoid(outside) - 0.1) / 0.8


def binaries(one, labels):
    """That of El-Badry et al. 2018: networks of each pixel, linear output."""
    scaled = (labels - one["x_min"]) / (one["x_max"] - one["x_min"]) - 0.5
    inside = np.einsum("ijk,k->ij", one["w_array_0"], scaled) + one["b_array_0"]
    return np.einsum("ij,ij->i", one["w_array_1"], sigmoid(inside)) + one["b_array_1"]


def leaky(z):
    return np.where(z > 0, z, 0.01 * z)


def whole(one, labels):
    """That of the later public code of The Payne: one network for all pixels."""
    scaled = (labels - one["x_min"]) / (one["x_max"] - one["x_min"]) - 0.5
    inside = leaky(np.einsum("ij,j->i", one["w_array_0"], scaled) + one["b_array_0"])
    outside = leaky(np.einsum("ij,j->i", one["w_array_1"], inside) + one["b_array_1"])
    return np.einsum("ij,j->i", one["w_array_2"], outside) + one["b_array_2"]
