"""The floor of training: pixels whose labels do not explain them as finely as training asks, and by how much.

`trunc_diff` asks for the largest deviation of all training spectra. Where noise, or a label that is missing, makes more
than that, a network that comes nearer learns the noise. Such a pixel is trained with its noise (engine.py), learns
virtual spectra from which the noise is smoothed away, and gets no new starts once it is as near as kriging comes to
spectra that it does not know. All other pixels, those of a noise-free grid above all, know nothing of this.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from payneflow.grid.unexplained import LEAST_SPECTRA, SPECTRA, LeaveOneOut, sound_spectra
from payneflow.kriging import SLOPE_PIXELS
from payneflow.scaling import PUBLISHED_FLUX, FluxScale
from payneflow.statistics import evenly
from payneflow.training.lm.relevance import relevance_by_kriging

LARGEST_OF_NOISE = 3.0  # standard deviations: the largest deviation of some hundred spectra with normal noise
LEAST_OF_MANY = 1.0  # of trunc_diff: the lengths of many labels, common to all pixels, leave a third of it unexplained


class PixelFloors(NamedTuple):
    """The floors of pixels, (n_pixel,) each; noise, deviation, nugget are 0 where `trunc_diff` is above the noise."""

    noise: np.ndarray  # standard deviation of what the labels do not explain, as a share of the flux scale
    deviation: np.ndarray  # largest deviation of kriging from spectra left out, likewise; training need come no nearer
    nugget: np.ndarray  # of the pixel's kriging
    kriging: np.ndarray  # largest deviation of kriging from spectra left out, with a floor or without; 0: not known


@dataclass(frozen=True, eq=False)
class Floor:
    """What tells the floor of any pixel: `rows` (n,) of the training set, by which it is told, none for no floor."""

    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    leave_one_out: LeaveOneOut | None = None
    least: float = 0.0  # noise below which there is no floor
    flux_scale: FluxScale = PUBLISHED_FLUX
    n_label: int = 0
    tells_relevance: bool = False

    def of(self, flux: np.ndarray) -> PixelFloors:
        """The floors of pixels by the flux of the training spectra `rows` (n, n_pixel), on the flux scale.

        No floor depends on the other pixels.
        """
        if self.leave_one_out is None:
            return PixelFloors(*np.zeros((4, flux.shape[1])))
        found = self.leave_one_out.unexplained(self.flux_scale.share(flux), self.least)
        floors = found.noise >= self.least
        own = (np.where(floors, one, 0.0) for one in (found.noise, found.largest, found.nugget))
        return PixelFloors(*own, found.largest)

    def relevance(self, flux: np.ndarray, nugget: np.ndarray) -> np.ndarray:
        """(n_pixel, n_label) of the labels for the same pixels, (0, n_label) where labels are few and taken alike.

        `nugget` (n_pixel,): those of their floors.
        """
        if self.leave_one_out is None or not self.tells_relevance:
            return np.empty((0, self.n_label))
        return relevance_by_kriging(self.leave_one_out, self.flux_scale.share(flux), nugget)


def find_floor(
    labels: np.ndarray, flux: np.ndarray, trunc_diff: float, flux_scale: FluxScale, tells_relevance: bool = False
) -> Floor:
    """The floor of a grid: training labels (n_training, n_label), scaled, and flux (n_training, n_pixel), or a file's.

    A sample of spectra and pixels is read.
    """
    if len(labels) < LEAST_SPECTRA:
        return Floor(n_label=labels.shape[1])
    rows = evenly(len(labels), SPECTRA)
    sample = flux_scale.share(np.asarray(flux[rows][:, evenly(flux.shape[1], SLOPE_PIXELS)]))
    sound, lengths = sound_spectra(labels[rows], sample)
    rows = rows[sound]
    least = LEAST_OF_MANY * trunc_diff if tells_relevance else trunc_diff / LARGEST_OF_NOISE
    return Floor(rows, LeaveOneOut(labels[rows], lengths), least, flux_scale, labels.shape[1], tells_relevance)
