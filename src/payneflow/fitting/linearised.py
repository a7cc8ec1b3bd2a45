"""What each fitted parameter of a star does to its spectrum, in plain numpy, where the kernels' sums do not reach."""

from dataclasses import dataclass

import numpy as np

from payneflow.fitting.engine.shift import C_KM_S, to_velocity
from payneflow.fitting.engine.widths import to_width
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Linearised:
    """Normalised `flux` (n_data,) at the parameters of a fit, the `variance` (n_data,) of the networks' error there,
    `inside` (n_data,) bool, where there are networks around, and `slopes` (n_data, n_free) by the free parameters.
    """

    flux: np.ndarray
    variance: np.ndarray
    inside: np.ndarray
    slopes: np.ndarray


def linearised(model: SpectralModel, parameters: Parameters, x: np.ndarray) -> Linearised:
    """At the vector x (n_parameter,) that a search moves: scaled labels, widths and the shift in places."""
    flux, variance, inside = model.at(*in_units(model, parameters, x))
    slopes = model.linearised(x)[1][parameters.free]
    return Linearised(flux, variance, inside, slopes.T)


def in_units(model: SpectralModel, parameters: Parameters, x: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Labels (n_label,) in their units, velocity and broadenings (n_broad,) in km/s of such a vector."""
    layout = parameters.layout
    velocity = float(to_velocity(x[layout.velocity], model.log_step)) if layout.has_velocity else 0.0
    widths = to_width(np.maximum(x[layout.broadenings], 0.0)) * C_KM_S * model.log_step
    return model.networks.scaler.unscale(x[layout.labels]), velocity, widths
