"""The parameter vector of a fit: what its numbers are, in which order, and between which bounds they stay.

First the scaled labels, in the networks' order; after them the broadenings that are fitted or held, `vsini` and `vmac`,
and last, where it is fitted, the velocity. In the vector that a search moves, the velocity is a shift in places of the
rest axis (engine/shift.py), and a broadening what stands for its width there (engine/widths.py); in tables they are in
km/s. Whoever needs one of the parameters asks this file where it is.
"""

from dataclasses import dataclass

import numpy as np

from payneflow.errors import CalibrationError
from payneflow.fitting.settings import BROADENINGS, HELD, FitSettings
from payneflow.network import PixelNetworks

LOWEST_LABEL, HIGHEST_LABEL = 0.0, 1.0  # bounds of scaled labels (published listing); training labels fill 0.1 ... 0.9
VELOCITY, VELOCITY_UNIT = "RV", "km/s"  # the column of a table


@dataclass(frozen=True)
class ParameterLayout:
    """Where each parameter stands in the vector (n,) of a fit of `n_label` labels, with a velocity or without.

    `n_broad`: how many broadenings there are.
    """

    n_label: int
    has_velocity: bool = False
    n_broad: int = 0

    @classmethod
    def of(cls, networks: PixelNetworks, settings: FitSettings) -> "ParameterLayout":
        """That of fits with these settings."""
        n_broad = len(settings.broadenings(networks.label_names))
        return cls(len(networks.x_min), settings.velocity, n_broad)

    @classmethod
    def of_width(cls, n_label: int, n: int, mode: str = "") -> "ParameterLayout":
        """That of vectors of n parameters of fits in a `FitSettings.mode`, which says what broadenings there are.

        Raises CalibrationError where there is none of that width.
        """
        n_broad = sum(part.removesuffix(HELD) in BROADENINGS for part in mode.split("; ")[1:])
        for has_velocity in (False, True):
            layout = cls(n_label, has_velocity, n_broad)
            if layout.n == n:
                return layout
        also = f" and {n_broad} broadenings" if n_broad else ""
        raise CalibrationError(
            f"{n} columns, expected one for each of {n_label} labels{also} and at most one more, for the velocity."
        )

    @property
    def n(self) -> int:
        """How many parameters there are."""
        return self.n_label + self.n_broad + self.has_velocity

    @property
    def labels(self) -> slice:
        """The scaled labels."""
        return slice(0, self.n_label)

    @property
    def broadenings(self) -> slice:
        """The broadenings."""
        return slice(self.n_label, self.n_label + self.n_broad)

    @property
    def velocity(self) -> int:
        """The velocity. Raises ValueError where none is fitted."""
        if not self.has_velocity:
            raise ValueError("the parameter vector of this fit has no velocity.")
        return self.n_label + self.n_broad

    def joined(
        self,
        labels: np.ndarray,
        velocity: float | np.ndarray = 0.0,
        broadenings: float | np.ndarray = 0.0,
    ) -> np.ndarray:
        """Vectors (..., n) of scaled labels (..., n_label), broadenings (..., n_broad) and velocities (...,).

        What is not fitted is left out. All come in the units that the vectors shall have.
        """
        vectors = np.empty((*np.shape(labels)[:-1], self.n))
        vectors[..., self.labels] = labels
        vectors[..., self.broadenings] = broadenings
        if self.has_velocity:
            vectors[..., self.velocity] = velocity
        return vectors


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of one fit.

    `names`, `units`: (n,) of the table's columns. `free`: (n,) bool, false for what `fixed` holds. `lowest`,
    `highest`: (n,) bounds; those of the velocity are set for each spectrum, around what its correlation finds.
    `prior_mean`, `prior_weight`: (n,) mean and 1/sigma^2 of Gaussian priors, weight 0 where there is none. Bounds and
    priors of labels are in scaled labels, those of broadenings in km/s.
    """

    layout: ParameterLayout
    names: tuple[str, ...]
    units: tuple[str, ...]
    free: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    prior_mean: np.ndarray
    prior_weight: np.ndarray

    @classmethod
    def of(cls, networks: PixelNetworks, settings: FitSettings) -> "Parameters":
        """Those of fits with these settings."""
        broadenings = settings.broadenings(networks.label_names)
        layout = ParameterLayout.of(networks, settings)
        n, velocity = layout.n, settings.velocity
        free, mean, weight = np.ones(n, bool), np.zeros(n), np.zeros(n)
        lowest, highest = np.full(n, LOWEST_LABEL), np.full(n, HIGHEST_LABEL)
        highest[layout.broadenings] = [settings.broadest(name) for name in broadenings]
        width, names = networks.scaler.width, [*networks.label_names, *broadenings]
        for name in settings.fixed:
            free[names.index(name)] = False
        for name, (centre, sigma) in settings.priors.items():
            j = names.index(name)
            if j < layout.n_label:
                mean[j] = networks.scaler.scale_one(j, centre)
                weight[j] = (width[j] / sigma) ** 2
            else:
                mean[j], weight[j] = centre, sigma**-2
        return cls(
            layout=layout,
            names=(*names, *([VELOCITY] * velocity)),
            units=(*networks.label_units, *([VELOCITY_UNIT] * (layout.n_broad + velocity))),
            free=free,
            lowest=lowest,
            highest=highest,
            prior_mean=mean,
            prior_weight=weight,
        )
