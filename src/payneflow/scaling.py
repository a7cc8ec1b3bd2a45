"""Labels and flux as the networks see them: both squeezed into 0.1 ... 0.9, where the logistic function is not flat.

x' = (x - x_min) * 0.8 / (x_max - x_min) + 0.1 for labels, with x_min and x_max over the training labels only, and
y' = 0.8 y + 0.1 for normalised flux (published listing of The Payne, Ting et al. 2019, ApJ 879, 69). Flux on any other
scale is first made a share y of that scale (`FluxScale`).

The functions here are the only place that knows these two maps. SPAN and OFFSET are for kernels, which take constants.
"""

from dataclasses import dataclass

import numpy as np

SPAN = 0.8
OFFSET = 0.1

TRAINING_LEAST, TRAINING_MOST = OFFSET, OFFSET + SPAN  # scaled labels of the training spectra


def scale_flux(flux: np.ndarray) -> np.ndarray:
    """Normalised flux (any shape) -> network output scale, float64."""
    return np.asarray(flux, dtype=float) * SPAN + OFFSET


def unscale_flux(scaled: np.ndarray) -> np.ndarray:
    """Network output (any shape) -> normalised flux."""
    return (scaled - OFFSET) / SPAN


def unscale_slope(slope: np.ndarray) -> np.ndarray:
    """Derivative of the network output by anything (any shape) -> that of the normalised flux."""
    return slope / SPAN


def unscale_deviation(deviation: np.ndarray) -> np.ndarray:
    """Difference of two network outputs (any shape) -> that of their normalised fluxes."""
    return deviation / SPAN


LOWEST_OUTPUT, HIGHEST_OUTPUT = unscale_flux(0.0), unscale_flux(1.0)  # shares of the flux scale that a network can give


@dataclass(frozen=True)
class FluxScale:
    """The flux that networks see as 0.1 and as 0.9, in the unit of the flux; published: 0 and 1, of normalised flux."""

    lowest: float = 0.0
    highest: float = 1.0

    @classmethod
    def of_range(cls, lowest: float, highest: float) -> "FluxScale":
        """The scale of flux that fills this range: it begins at 0 where networks then reach all, else at the lowest."""
        begins_at_zero = highest > 0 and lowest >= LOWEST_OUTPUT * highest
        return cls(0.0 if begins_at_zero else float(lowest), float(highest))

    @property
    def width(self) -> float:
        return self.highest - self.lowest

    @property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest flux that networks can give, exclusive."""
        return self.flux(LOWEST_OUTPUT), self.flux(HIGHEST_OUTPUT)

    def share(self, flux: np.ndarray) -> np.ndarray:
        """Flux (any shape) -> share of this scale, float64; itself where that is published."""
        if self == PUBLISHED_FLUX:
            return flux
        return (np.asarray(flux, dtype=float) - self.lowest) / self.width

    def flux(self, share: np.ndarray) -> np.ndarray:
        """Share of this scale (any shape) -> flux."""
        return share if self == PUBLISHED_FLUX else share * self.width + self.lowest


PUBLISHED_FLUX = FluxScale()


@dataclass(frozen=True)
class LabelScaler:
    """Linear map between labels in their own units and scaled labels; the training labels fill 0.1 ... 0.9.

    `x_min`, `x_max`: (n_label,), the range of the training labels, in the labels' units.
    """

    x_min: np.ndarray
    x_max: np.ndarray

    @classmethod
    def of_training_labels(cls, labels: np.ndarray) -> "LabelScaler":
        """The scaler of training labels (n_training, n_label)."""
        return cls(labels.min(axis=0), labels.max(axis=0))

    @property
    def width(self) -> np.ndarray:
        """(n_label,): how much of each label one unit of the scaled label is, in the label's unit."""
        return (self.x_max - self.x_min) / SPAN

    def scale(self, labels: np.ndarray) -> np.ndarray:
        """Labels (..., n_label) in their units -> scaled labels (..., n_label)."""
        return (np.asarray(labels, dtype=float) - self.x_min) * SPAN / (self.x_max - self.x_min) + OFFSET

    def scale_one(self, label: int, value: float) -> float:
        """A value of label number `label`, in its unit -> scaled; `scale` may differ from it in the last bit."""
        return (value - self.x_min[label]) / self.width[label] + OFFSET

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled labels (..., n_label) -> labels in their units."""
        return (np.asarray(scaled, dtype=float) - OFFSET) * self.width + self.x_min
