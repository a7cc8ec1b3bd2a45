"""Noise of test spectra: synthetic spectra have none, so that errors of fits could not be seen to be right.

The noise of a spectrum depends on the seed and its row in the grid alone, not on which others are fitted or which
pixels are trained.
"""

import numpy as np

KEY = 4  # of the random numbers here: 0 to 2 belong to training, 3 to the split of a grid


def with_noise(
    flux: np.ndarray, error: float, seed: int, rows: np.ndarray, columns: np.ndarray, n_pixel: int
) -> np.ndarray:
    """Flux (n, n_column) with Gaussian noise of standard deviation `error`, in the unit of the flux.

    `rows` (n,): of the spectra in the grid; `columns` (n_column,): of their pixels among the grid's `n_pixel`.
    """
    noisy = np.array(flux, dtype=float)
    for i, row in enumerate(rows.tolist()):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(KEY, row)))
        noisy[i] += error * generator.standard_normal(n_pixel)[columns]
    return noisy
