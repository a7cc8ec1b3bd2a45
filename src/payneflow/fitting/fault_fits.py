"""Fits that know the model's faults (faults.py): generalised least squares with the kernels that there are.

The covariance of a star's flux is that of the noise, plus a variance of each pixel, plus directions U in which pixels
err together. The kernels know the first two; an amplitude of each direction is fitted besides, with a prior of width 1:

    minimise over x and a  sum w (flux - c (model(x) + U'a))^2 + a'a,

whose minimum over a is chi2 by the whole covariance (Woodbury). A step of all parameters in numpy gives a; the kernels
fit what c U'a leaves of the flux; so in turns, each a step of Newton's method. The covariance of x is that of all
parameters together, plus what it adds that the scatter of neighbouring pixels goes together, which the weights do not
know (a sandwich).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from payneflow.fitting.faults import FaultEffect, ModelFaults
from payneflow.fitting.linearised import in_units, linearised
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import Networks

TURNS = 2  # of amplitudes and kernels, after a start in which all faults are scatter
BLOCKS, SURELY = 24, 1.6  # of pixels, left out in turn; what their variance may be larger by chance
RIDGE = 1e-10  # of a normal matrix whose diagonal is 1: what nothing tells stays where it is
Search = Callable[[np.ndarray, np.ndarray, np.ndarray], Fits]  # flux, flux_error, labels to start from


@dataclass(frozen=True, eq=False)
class FaultyFits:
    """Fits that know of faults, what these do to their errors, and the flux and errors (n, n_data) that they are of."""

    fits: Fits
    effect: FaultEffect
    flux: np.ndarray
    flux_error: np.ndarray


def fits_with_faults(
    networks: Networks, settings: FitSettings, faults: ModelFaults, plain: Fits, flux: np.ndarray,
    flux_error: np.ndarray, models: Sequence[tuple[SpectralModel, np.ndarray]], search: Search,
) -> FaultyFits:  # fmt: skip
    """Fit n stars again. `plain`: their fits without faults; `flux`, `flux_error` (n, n_data), inf where masked;
    `models`: each with the rows of the stars that it is the model of; `search`: fits all stars as `plain` were.
    """
    parameters = Parameters.of(networks, settings)
    star = {int(i): _Star(model, parameters, settings, faults) for model, rows in models for i in rows}
    data = np.array(flux, dtype=float), np.array(flux_error, dtype=float)
    n, n_parameter = plain.x.shape
    effect = FaultEffect(np.zeros((n, n_parameter, n_parameter)), faults.usual_chi2, np.ones(n))
    square, size, fits = np.zeros(n), np.ones(n), plain
    given = (data[0].copy(), data[1].copy())
    for turn in range(1 + TURNS):
        before = tuple(array.copy() for array in given)
        for i in np.flatnonzero(np.isfinite(fits.x).all(axis=1)):
            own = star[int(i)]
            n_own = len(own.model.wavelength)  # behind them rows are padded
            of_star = (fits.x[i], *(array[i, :n_own] for array in (*data, *before)))
            if turn == 1:
                size[i] = own.size(*of_star)
            found = own.turn(*of_star, size[i], turn == 0)
            given[0][i, :n_own], given[1][i, :n_own], square[i], effect.covariance[i], effect.growth[i] = found
        fits = search(*given, _labels(networks, fits))
    fits.chi2 += square
    fits.snr[:] = plain.snr
    return FaultyFits(fits, effect, *given)


def _labels(networks: Networks, fits: Fits) -> np.ndarray:
    """(n, n_label) in their units, the middle where a fit failed."""
    scaled = fits.x[:, : len(networks.x_min)]
    return networks.scaler.unscale(np.where(np.isfinite(scaled), scaled, 0.5))


@dataclass(frozen=True, eq=False)
class _Star:
    model: SpectralModel
    parameters: Parameters
    settings: FitSettings
    faults: ModelFaults

    def size(self, x, flux, flux_error, fitted_flux, fitted_error) -> float:
        """How large the faults of this star are; arguments as those of `turn`."""
        labels, velocity, widths = in_units(self.model, self.parameters, x)
        model, continuum, sigma, used = self.model.compare(labels, velocity, fitted_flux, fitted_error, None, widths)
        at = self.faults.at(x[self.parameters.layout.labels])
        square = at.together**2
        own = np.stack([at.variance + square[: at.n_doubt].sum(axis=0), square[at.n_doubt :].sum(axis=0)])
        used = used & (continuum > 0)
        faults, amplitudes = np.maximum(self.model.moved(own, velocity)[:, used], 0.0) * continuum[used] ** 2
        emulator = np.maximum(sigma[used] ** 2 - fitted_error[used] ** 2, 0.0)
        noise = flux_error[used] ** 2 + emulator + amplitudes
        return self.faults.own_size((fitted_flux - model)[used] ** 2, noise, faults)

    def turn(self, x, flux, flux_error, fitted_flux, fitted_error, own_size, first):
        """Flux and errors (n_data,) to be fitted next, the sum of the squares of the amplitudes, what the faults add to
        the covariance of x (n_parameter, n_parameter), and by how much they widen scores.

        `x` (n_parameter,): the last fit, of `fitted_flux` and `fitted_error`. `own_size`: of the star's faults.
        """
        labels, velocity, widths = in_units(self.model, self.parameters, x)
        continuum = self.model.compare(labels, velocity, fitted_flux, fitted_error, None, widths)[1]
        continuum = np.where(np.isfinite(continuum), continuum, 0.0)
        at = self.faults.at(x[self.parameters.layout.labels]).times(own_size)
        own = np.concatenate([[at.offset, at.variance, at.scatter, self.faults.size], at.together])
        offset, variance, scatter, size, *together = self.model.moved(own, velocity)
        together = np.array(together).reshape(len(at.together), len(flux))
        variance, bad = np.maximum(variance, 0.0), size > self.faults.mask
        if first:
            total = variance + (together**2).sum(axis=0)
            error = np.where(bad, np.inf, np.sqrt(flux_error**2 + continuum**2 * total))
            return flux - continuum * offset, error, 0.0, 0.0, 1.0
        error = np.where(bad, np.inf, np.sqrt(flux_error**2 + continuum**2 * variance))
        found = linearised(self.model, self.parameters, x)
        residual = flux - continuum * (found.flux + offset)
        known = found.inside & np.isfinite(fitted_error) & np.isfinite(error) & np.isfinite(residual) & (continuum > 0)
        weight = np.zeros(len(flux))
        noise = found.variance if self.settings.emulator_error else 0.0
        np.divide(continuum**2, error**2 + noise * continuum**2, out=weight, where=known)
        residual = np.divide(residual, continuum, out=np.zeros(len(flux)), where=known)
        rows = np.concatenate([found.slopes.T, self.model.continuum_terms() * found.flux, together])
        n_together = len(together)
        covariance = self._covariance(rows, weight, n_together)
        every = covariance @ (rows @ (weight * residual))
        amplitude = every[len(rows) - n_together :]
        alone = self._covariance(rows[: len(rows) - n_together], weight, 0)
        neighbours = self._of_neighbours(rows, weight, np.maximum(scatter, 0.0), covariance)
        n_free = found.slopes.shape[1]
        far = _of_blocks(rows, weight, residual - every @ rows, covariance, neighbours)
        added = (covariance - np.pad(alone, (0, n_together)) + neighbours + far)[:n_free, :n_free]
        return (
            flux - continuum * (offset + amplitude @ together),
            error,
            float(amplitude @ amplitude),
            self._of_all(_never_negative(added)),
            self._growth(weight, scatter),
        )

    def _covariance(self, rows: np.ndarray, weight: np.ndarray, n_together: int) -> np.ndarray:
        """Of the amplitudes of all rows (n_row, n_data), of which the last `n_together` have a prior of width 1."""
        prior = np.zeros(len(rows))
        weights = self.parameters.prior_weight[self.parameters.free]
        labels = np.arange(len(weights)) < self.parameters.free[self.parameters.layout.labels].sum()
        prior[: len(weights)] = np.where(labels, weights, 0.0)  # those of broadenings are in other units, and left out
        prior[len(rows) - n_together :] += 1.0
        matrix = (rows * weight) @ rows.T + np.diag(prior)
        size = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        unit = matrix / size / size[:, None] + RIDGE * np.eye(len(rows))
        return np.linalg.inv(unit) / size / size[:, None]

    def _of_neighbours(self, rows, weight, scatter, covariance) -> np.ndarray:
        """What correlated scatter adds to the covariance of the rows' amplitudes."""
        each = rows * weight * scatter
        sums = np.zeros((len(rows), len(rows)))
        for lag, share in self._correlations(len(weight)):
            product = (each[:, :-lag] * share) @ each[:, lag:].T
            sums += product + product.T
        return covariance @ sums @ covariance

    def _correlations(self, n_data: int) -> list[tuple[int, np.ndarray]]:
        """Lags in pixels of the data, and the correlation (n_data - lag,) of each pair of pixels so far apart."""
        place, known = self.model.places, self.faults.correlation
        if not known[1:].any():
            return []
        lags, found = np.arange(len(known)), []
        for lag in range(1, n_data):
            apart = np.abs(place[lag:] - place[:-lag])
            share = np.interp(apart, lags, known, right=0.0)
            if not share.any():
                break
            found.append((lag, share))
        return found

    def _growth(self, weight: np.ndarray, scatter: np.ndarray) -> float:
        """By how much correlated scatter widens the sum of a smooth function of many pixels."""
        share = (weight * scatter**2).sum() / max((weight > 0).sum(), 1)
        return 1.0 + 2.0 * float(share) * sum(float(c.mean()) for _, c in self._correlations(len(weight)))

    def _of_all(self, covariance: np.ndarray) -> np.ndarray:
        """Of all parameters, 0 for those that are held."""
        every = np.zeros((len(self.parameters.free),) * 2)
        every[np.ix_(self.parameters.free, self.parameters.free)] = covariance
        return every


def _of_blocks(rows, weight, left, covariance, neighbours) -> np.ndarray:
    """What lines that lie far apart add, where they contradict each other more than their variances say.

    A jackknife: without block b of the pixels, whose normal matrix is B, the amplitudes move by (A - B)^-1 times the
    score of the block; the squares of these moves add up to their covariance, whatever is correlated within a block
    (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans). It is known to 15 % in size from so few
    blocks, so that only what it has beyond SURELY times the covariance is added. `left` (n_data,): residual of the fit.
    """
    used = np.flatnonzero(weight > 0.0)
    matrix = np.linalg.inv(covariance)
    moves = []
    for block in np.array_split(used, BLOCKS):
        own = rows[:, block] * weight[block]
        rest = matrix - own @ rows[:, block].T
        moves.append(np.linalg.lstsq(rest, own @ left[block], rcond=RIDGE)[0])
    jackknife = np.array(moves).T @ np.array(moves)
    size = np.sqrt(np.maximum(np.diag(jackknife), 1e-300))
    excess = np.sqrt(np.maximum(size**2 - SURELY * np.diag(covariance + neighbours), 0.0))
    return jackknife / size / size[:, None] * excess * excess[:, None]


def _never_negative(covariance: np.ndarray) -> np.ndarray:
    """Without what rounding, or a correlation that is cut off, makes negative."""
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(size > 0.0, size, 1.0)
    value, vector = np.linalg.eigh(covariance / safe / safe[:, None])
    return (vector * np.maximum(value, 0.0)) @ vector.T * safe * safe[:, None]
