"""The training spectra of a grid that `payneflow check` looks at: some, evenly spread, and none that is wrong."""

from dataclasses import dataclass

import numpy as np

from payneflow.grid.spectral_grid import SpectralGrid
from payneflow.grid.unexplained import LEAST_SPECTRA, SPECTRA, sound_spectra
from payneflow.statistics import evenly

MOST_PIXELS = 20_000  # that are looked at, evenly spread
APART = 10  # pixels between two that are named, at least


@dataclass(frozen=True, eq=False)
class Sample:
    """`labels` (n, n_label), scaled; `flux` (n, n_pixel), shares of the flux scale, of `pixels` (n_pixel,) of the grid;
    `lengths` (n_label,) of the kriging among them."""

    labels: np.ndarray
    flux: np.ndarray
    pixels: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, grid: SpectralGrid) -> "Sample | None":
        """The sample of a grid; None where it has too few training spectra to tell anything."""
        if grid.split.n_training < LEAST_SPECTRA:
            return None
        rows = grid.split.training_rows[evenly(grid.split.n_training, SPECTRA)]
        pixels = evenly(len(grid.wavelength), MOST_PIXELS)
        labels = grid.scaler.scale(grid.labels[rows])
        flux = grid.flux_scale.share(np.asarray(grid.flux[rows][:, pixels]))
        sound, lengths = sound_spectra(labels, flux)
        return cls(labels[sound], flux[sound], pixels, lengths)


def far_apart(values: np.ndarray, n_most: int) -> list[int]:
    """The pixels of the largest values (n_pixel,) above 0, APART from each other, the largest first."""
    chosen: list[int] = []
    for i in np.argsort(-values, kind="stable"):
        if len(chosen) == n_most or not values[i] > 0:
            break
        if all(abs(i - one) >= APART for one in chosen):
            chosen.append(int(i))
    return chosen
