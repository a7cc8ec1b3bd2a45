"""The likelihood of one spectrum in the parameters that users know, with the priors and bounds of its fit."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting.broadening import to_places_of_width
from payneflow.fitting.engine.likelihood_engine import LikelihoodEngine
from payneflow.fitting.engine.likelihood_pass import Star
from payneflow.fitting.engine.shift import C_KM_S, to_places, to_velocity
from payneflow.fitting.engine.widths import SOFT, to_parameter, to_width
from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL, Parameters
from payneflow.fitting.quality import VELOCITY_WINDOW
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks

LOG_2_PI = float(np.log(2.0 * np.pi))
MOST_AWAY = 30.0  # sigma: a prior farther outside the bounds is lost in rounding


class StarLikelihood:
    """ln of the likelihood of one spectrum, at one point (n,) or many (m, n) of its n free parameters.

    Labels are in their units, broadenings and velocity in km/s, in the order of `names`; what the settings hold stays
    at `x`, the end of the fit in the parameters of its search (all of them). `found`: places, the shift that this fit
    began at. `networks`: those that the user has; `engine`, made with networks of shares of the flux scale.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings,
        engine: LikelihoodEngine,
        star: Star,
        n_pixel: int,
        unit: float,
        x: np.ndarray,
        found: float = 0.0,
    ):
        """`star`, `n_pixel` and `unit`: as `LikelihoodEngine.star` gives them."""
        parameters, layout = Parameters.of(networks, settings), engine.layout
        self._engine, self._star, self._memory = engine, star, engine.working()
        self._layout, self.free, self._x = layout, parameters.free, np.array(x)
        self.log_step = engine.log_step
        self._scaler = networks.scaler
        free, places = parameters.free, to_places(VELOCITY_WINDOW, engine.log_step)
        low, high = np.zeros(layout.n), parameters.highest.copy()
        low[layout.labels] = networks.scaler.unscale(np.full(layout.n_label, LOWEST_LABEL))
        high[layout.labels] = networks.scaler.unscale(np.full(layout.n_label, HIGHEST_LABEL))
        if layout.has_velocity:
            ends = to_velocity(found + np.array([-places, places]), engine.log_step)
            low[layout.velocity], high[layout.velocity] = ends
        self.names = tuple(name for name, is_free in zip(parameters.names, free, strict=True) if is_free)
        self.units = tuple(unit for unit, is_free in zip(parameters.units, free, strict=True) if is_free)
        self.bounds = np.column_stack([low, high])[free]
        self.n_pixel = n_pixel
        self._prior = _Priors.of(self.names, self.bounds, [settings.priors.get(name) for name in self.names])
        weight = star.weight[star.weight > 0].astype(float) / (unit * networks.flux_scale.width) ** 2
        self._constant = 0.5 * (np.log(weight).sum() - len(weight) * LOG_2_PI)

    @property
    def n(self) -> int:
        """How many free parameters there are."""
        return len(self.names)

    @property
    def best(self) -> np.ndarray:
        """(n,) parameters at which the fit ended, as it found them, without the correction of label errors."""
        return self.table_values_of(self._x[None])[0, self.free]

    def __call__(self, values: np.ndarray) -> float | np.ndarray:
        """ln of the likelihood at values (n,), a number, or (m, n), an array (m,). -inf outside the bounds.

        -1/2 sum [(flux - c m)^2 / s^2 + ln(2 pi s^2)] over the pixels that count, with the model m, the continuum c
        that goes best with it (profiled), and the s of the fit, which does not depend on the values. Raises
        SpectraError where the shape is another one.
        """
        rows, one = self._rows(values)
        result = np.full(len(rows), -np.inf)
        inside = ((rows >= self.bounds[:, 0]) & (rows <= self.bounds[:, 1])).all(axis=1)
        if inside.any():
            chi2 = self._engine.chi2(self._star, self.search_of(rows[inside]), self._memory)
            result[inside] = self._constant - 0.5 * np.where(np.isfinite(chi2), chi2, np.inf)
        return float(result[0]) if one else result

    def log_prior(self, values: np.ndarray) -> float | np.ndarray:
        """ln of the prior density, (m,) or a number: uniform between the bounds, or the Gaussian of the settings, cut
        off there. -inf outside the bounds.
        """
        rows, one = self._rows(values)
        result = self._prior.log_density(rows).sum(axis=1)
        return float(result[0]) if one else result

    def log_probability(self, values: np.ndarray) -> float | np.ndarray:
        """ln of likelihood times prior, the posterior density but for a constant; shapes as those of a call."""
        return self(values) + self.log_prior(values)

    def prior_transform(self, unit: np.ndarray) -> np.ndarray:
        """Points of the unit cube (n,) or (m, n) -> parameters distributed as the prior: nested sampling."""
        rows, one = self._rows(unit)
        values = self._prior.quantile(rows)
        return values[0] if one else values

    def prior_normal(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (m, n) as numbers z (m, n) in which the prior is the standard normal distribution, and dvalues / dz.

        The inverse of `prior_transform(ndtr(z))`.
        """
        z = ndtri(np.clip(self._prior.share(values), 1e-15, 1.0 - 1e-15))
        slope = np.exp(-0.5 * (z * z + LOG_2_PI) - self._prior.log_density(self.prior_transform(ndtr(z))))
        return z, slope

    def search_of(self, values: np.ndarray) -> np.ndarray:
        """Values (m, n) -> all parameters of the search (m, n_parameter), what is held included."""
        layout, step = self._layout, self.log_step
        every = np.zeros((len(values), layout.n))
        every[:, self.free] = values
        x = np.tile(self._x, (len(values), 1))
        made = x.copy()
        made[:, layout.labels] = self._scaler.scale(every[:, layout.labels])
        made[:, layout.broadenings] = to_parameter(to_places_of_width(every[:, layout.broadenings], step))
        if layout.has_velocity:
            made[:, layout.velocity] = to_places(every[:, layout.velocity], step)
        return np.where(self.free, made, x)

    def table_values_of(self, x: np.ndarray) -> np.ndarray:
        """Parameters of the search (m, n_parameter) in the units of a table, what is held included."""
        layout, step = self._layout, self.log_step
        values = np.array(x, dtype=float)
        values[:, layout.labels] = self._scaler.unscale(x[:, layout.labels])
        values[:, layout.broadenings] = to_width(np.maximum(x[:, layout.broadenings], 0.0)) * C_KM_S * step
        if layout.has_velocity:
            values[:, layout.velocity] = to_velocity(x[:, layout.velocity], step)
        return values

    def moved_best(self, step: np.ndarray) -> np.ndarray:
        """(n,) where the fit ended, each free parameter a `step` (n,) of the search farther up."""
        x = self._x.copy()
        x[self.free] += step
        return self.table_values_of(x[None])[0, self.free]

    def slopes_of(self, values: np.ndarray) -> np.ndarray:
        """(n,) derivatives of the free parameters of the search by the values (n,), each its own."""
        layout, step = self._layout, self.log_step
        x = self.search_of(values[None])[0]
        slopes = np.ones(layout.n)
        slopes[layout.labels] = 1.0 / self._scaler.width
        own = x[layout.broadenings]
        slopes[layout.broadenings] = to_width(own) / (own + SOFT) / (C_KM_S * step)
        if layout.has_velocity:
            velocity = to_velocity(x[layout.velocity], step)
            slopes[layout.velocity] = 1.0 / (C_KM_S * step * (1.0 - (velocity / C_KM_S) ** 2))
        return slopes[self.free]

    def _rows(self, values: np.ndarray) -> tuple[np.ndarray, bool]:
        rows, one = np.atleast_2d(np.asarray(values, dtype=float)), np.ndim(values) == 1
        if rows.ndim != 2 or rows.shape[1] != self.n:
            raise SpectraError(
                f"parameters of shape {np.shape(values)}: expected ({self.n},) or (m, {self.n}), the values of "
                f"{', '.join(self.names)}."
            )
        return rows, one


class _Priors:
    """Independent priors between bounds (n, 2): uniform, or Gaussian with `mean` and `sigma` (n,), cut off there."""

    def __init__(self, bounds: np.ndarray, mean: np.ndarray, sigma: np.ndarray):
        self._bounds, self._mean, self._normal = bounds, mean, np.isfinite(sigma)
        self._sigma = np.where(self._normal, sigma, 1.0)  # any number where the prior is uniform
        # Seen from the tail that is farther in: from there shares of a distant tail keep their digits.
        self._turned = np.where(bounds.sum(axis=1) > 2.0 * mean, -1.0, 1.0)
        ends = np.sort(self._turned[:, None] * (bounds - mean[:, None]) / self._sigma[:, None], axis=1)
        self._low, self._high = np.where(self._normal[:, None], ends, [-1.0, 1.0]).T
        self._log_all = log_ndtr(self._high) + np.log1p(-np.exp(log_ndtr(self._low) - log_ndtr(self._high)))

    @classmethod
    def of(cls, names: Sequence[str], bounds: np.ndarray, priors: Sequence[tuple[float, float] | None]) -> "_Priors":
        """`priors`: (mean, sigma) of each parameter in its unit, or None. Raises SettingsError for one far outside."""
        mean = np.array([0.0 if prior is None else prior[0] for prior in priors])
        sigma = np.array([np.inf if prior is None else prior[1] for prior in priors])
        away = np.maximum(np.maximum(bounds[:, 0] - mean, mean - bounds[:, 1]), 0.0) / sigma
        for j in np.flatnonzero(away > MOST_AWAY)[:1]:
            low, high = bounds[j]
            raise SettingsError(
                f"priors have {names[j]} at {mean[j]:g}, {away[j]:.0f} of its sigma outside the bounds of a fit, "
                f"{low:g} to {high:g}: nothing is left of such a prior between them. Give another one."
            )
        return cls(bounds, mean, sigma)

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """(m, n) of values (m, n); -inf outside the bounds."""
        low, high = self._bounds.T
        z = (values - self._mean) / self._sigma
        normal = -0.5 * (z * z + LOG_2_PI) - np.log(self._sigma) - self._log_all
        density = np.where(self._normal, normal, -np.log(high - low))
        return np.where((values >= low) & (values <= high), density, -np.inf)

    def share(self, values: np.ndarray) -> np.ndarray:
        """(m, n): which share of the prior lies below values (m, n)."""
        low, high = self._bounds.T
        z = self._turned * (values - self._mean) / self._sigma
        below, every = ndtr(self._low), ndtr(self._high) - ndtr(self._low)
        normal = (ndtr(np.where(self._normal, z, 0.0)) - below) / np.where(self._normal, every, 1.0)
        normal = np.where(self._turned > 0, normal, 1.0 - normal)
        return np.where(self._normal, normal, (values - low) / (high - low))

    def quantile(self, share: np.ndarray) -> np.ndarray:
        """(m, n): values below which these shares (m, n) of the prior lie."""
        low, high = self._bounds.T
        below, every = ndtr(self._low), ndtr(self._high) - ndtr(self._low)
        own = np.where(self._turned > 0, share, 1.0 - share)
        z = ndtri(np.where(self._normal, below + own * every, 0.5))
        normal = self._mean + np.where(self._normal, self._turned * z * self._sigma, 0.0)
        values = np.where(self._normal, normal, low + share * (high - low))
        return np.clip(values, low, high)
