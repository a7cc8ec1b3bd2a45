"""The posterior of each fit, by importance sampling: draws from the fitted covariance, weighted by the likelihood.

Draws are of numbers z in which the prior is the standard normal distribution (`StarLikelihood.prior_normal`): there a
label that the spectrum does not tell has a normal posterior, and one that a bound stops a smooth one. A multivariate t
begins as wide as the fit's matrix and the prior say; after each round its mean and covariance are those of all draws so
far, each weighted by posterior over the mixture of all rounds' distributions (adaptive multiple importance sampling,
Cornuet et al. 2012, Scand. J. Statist. 39, 798). Where too few effective draws are left, emcee goes on from them.

What the likelihood of the flux cannot know is added as the table of fits does it: each draw is moved by the correction
of the label errors, and by a draw of the covariance that they and a mismatch add.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import lgamma

import numpy as np
from scipy.special import ndtr

from payneflow.errors import SettingsError
from payneflow.fitting.data_groups import Group
from payneflow.fitting.engine.arguments import FOUND
from payneflow.fitting.engine.likelihood_engine import LikelihoodEngine
from payneflow.fitting.engine.shift import to_places, to_velocity
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.flux_units import in_shares, networks_of_shares
from payneflow.fitting.parameters import ParameterLayout, Parameters
from payneflow.fitting.quality import BeyondNoise, Fits, Quality
from payneflow.fitting.settings import LEAST_ESS, FitSettings
from payneflow.fitting.star_likelihood import StarLikelihood
from payneflow.label_names import PERCENTILES
from payneflow.network import PixelNetworks

ROUNDS, DRAWS = 4, 500  # of the importance sampling, and draws of each
DEGREES = 5.0  # of freedom of the t distributions: longer tails than a posterior has
OWN_DRAWS = 5.0  # for each parameter: so many draws is the covariance before worth, beside those of a round
LEAST_ADAPTING = 4.0  # effective draws for each parameter that a round learns from; with fewer, weights are flattened
WALKERS, LEAST_WALKERS, STEPS, BURN_IN = 4, 32, 1000, 250  # of the sampler: for each parameter, at least; steps
MOST_DRAWS = 4000  # of the sampler's, evenly taken


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of a posterior: `values` (m, n_parameter), labels in their units, broadenings and velocity in km/s, and
    their `weight` (m,), which sum to 1. `ess`: how many independent draws they are worth. `sampled`: by the sampler.
    """

    values: np.ndarray
    weight: np.ndarray
    ess: float
    sampled: bool

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """(k, n_parameter): values below which these shares (k,) of the weight lie."""
        result = np.empty((len(shares), self.values.shape[1]))
        for j, column in enumerate(self.values.T):
            order = np.argsort(column, kind="stable")
            weight = self.weight[order]
            result[:, j] = np.interp(shares, np.cumsum(weight) - 0.5 * weight, column[order])
        return result


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Of each fit: `percentiles` (n, len(PERCENTILES), n_parameter) in the units of the table, NaN where it failed;
    `ess` (n,), 0 where it failed, and whether the sampler was needed, `sampled` (n,). `names`, `units`: (n_parameter,).
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    percentiles: np.ndarray
    ess: np.ndarray
    sampled: np.ndarray


def check_emcee() -> None:
    """Raise SettingsError where the sampler is missing, before anything is fitted."""
    try:
        import emcee  # noqa: F401 - is it there?
    except ImportError as error:
        raise SettingsError(f"a posterior needs emcee ({error}): pip install 'payneflow[posterior]'.") from None


def posteriors_of(
    networks: PixelNetworks,
    settings: FitSettings,
    n: int,
    draws_of_each: Iterable[tuple[int, Draws | None]],
    progress: Callable[[int], None] | None = None,
) -> Posteriors:
    """The posteriors of n fits, summed up from their draws, as `draws_of` gives them."""
    parameters = Parameters.of(networks, settings)
    percentiles = np.full((n, len(PERCENTILES), parameters.layout.n), np.nan)
    ess, sampled = np.zeros(n), np.zeros(n, dtype=bool)
    shares = np.array([*PERCENTILES.values()]) / 100.0
    for done, (i, draws) in enumerate(draws_of_each, start=1):
        if draws is not None:
            percentiles[i], ess[i], sampled[i] = draws.quantiles(shares), draws.ess, draws.sampled
        if progress:
            progress(done)
    return Posteriors(parameters.names, parameters.units, percentiles, ess, sampled)


def draws_of(
    networks: PixelNetworks,
    settings: FitSettings,
    fits: Fits,
    quality: Quality,
    flux: np.ndarray,
    flux_error: np.ndarray,
    groups: list[Group],
    processes: int = 1,
) -> Iterator[tuple[int, Draws | None]]:
    """The number of each fit of flux (n, n_data) and its draws, None where it failed.

    `flux`, `flux_error`: checked. `groups`: all spectra, as `groups_of` gives them. The random numbers of a spectrum
    depend on `settings.posterior_seed` and on its flux and errors alone.
    """
    shares = in_shares(networks, flux, flux_error)
    for group in groups:
        engine = LikelihoodEngine(networks_of_shares(networks), settings, group.wavelength, group.resolution)

        def one(i: int, engine: LikelihoodEngine = engine, group: Group = group) -> tuple[int, Draws | None]:
            if quality.flags[i] & FitFlag.FAILED:
                return i, None
            own_flux, own_error = (np.asarray(share[i, : group.n_data], dtype=float) for share in shares)
            found = float(fits.shifts[i, FOUND]) if settings.velocity else 0.0
            star = engine.star(own_flux, own_error, fits.x[i], found, engine.working(), engine.judging())
            likelihood = StarLikelihood(networks, settings, engine, *star, fits.x[i], found)
            seeds = _seeds(settings.posterior_seed, own_flux, own_error)
            draws = _draws(likelihood, fits.matrix[i], seeds)
            return i, _moved(draws, likelihood, engine.layout, quality.beyond[i], fits.x[i], seeds)

        with ThreadPoolExecutor(max(1, processes)) as pool:
            yield from pool.map(one, group.rows.tolist())


# --------------------------------------------------------------------------------------------------- one spectrum


def _seeds(seed: int, flux: np.ndarray, flux_error: np.ndarray) -> list[np.random.SeedSequence]:
    """Of the draws, of the sampler, and of what moves draws: by the content of a spectrum, wherever it stands."""
    content = hashlib.sha256(np.ascontiguousarray(flux).tobytes() + np.ascontiguousarray(flux_error).tobytes())
    words = np.frombuffer(content.digest(), "<u4").tolist()
    return [np.random.SeedSequence(seed, spawn_key=(*words, purpose)) for purpose in range(3)]


def _draws(likelihood: StarLikelihood, matrix: np.ndarray, seeds: list[np.random.SeedSequence]) -> Draws:
    """Draws of the posterior of a spectrum; `matrix`: of its fit."""
    mean, covariance = _beginning(likelihood, matrix)
    z, log_weight = _importance(likelihood, mean, covariance, np.random.default_rng(seeds[0]))
    weight = _weights(log_weight, 1.0)
    ess, sampled = _effective(weight) if np.isfinite(log_weight).any() else 0.0, False
    if ess < LEAST_ESS:
        z, ess = _sample(likelihood, z, log_weight, np.random.MT19937(seeds[1]))
        weight, sampled = np.full(len(z), 1.0 / len(z)), True
    return Draws(likelihood.prior_transform(ndtr(z)), weight, ess, sampled)


def _beginning(likelihood: StarLikelihood, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n,) and covariance (n, n) of z to begin with: the fit's matrix, and the prior's, which is the identity.

    A parameter at a bound begins half its error inside.
    """
    best, free = likelihood.best, likelihood.free
    hessian = np.nan_to_num(matrix[np.ix_(free, free)])
    diagonal = np.diag(hessian)
    sigma = np.divide(1.0, np.sqrt(np.maximum(diagonal, 0.0)), out=np.full(len(best), 1e3), where=diagonal > 1e-6)
    low, high = likelihood.bounds.T
    step = np.minimum(0.5 * np.abs(likelihood.moved_best(sigma) - best), 0.25 * (high - low))
    inside = np.clip(best, low + step, high - step)
    z, slope = likelihood.prior_normal(inside[None])
    jacobian = likelihood.slopes_of(inside) * slope[0]
    precision = hessian * jacobian[:, None] * jacobian + np.eye(len(best))
    return z[0], np.linalg.inv(0.5 * (precision + precision.T))


def _importance(
    likelihood: StarLikelihood, mean: np.ndarray, covariance: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """All draws z (m, n) of all rounds, and ln of their weights but for a constant (m,); -inf is none."""
    n = len(mean)
    z, log_target, log_mixture = np.zeros((0, n)), np.zeros(0), np.zeros(0)
    shapes: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(ROUNDS):
        root = np.linalg.cholesky(covariance)
        shapes.append((mean, root))
        normal = generator.standard_normal((DRAWS, n))
        stretch = np.sqrt(DEGREES / generator.chisquare(DEGREES, DRAWS))
        new = mean + np.einsum("ij,mj->mi", root, normal) * stretch[:, None]
        z = np.concatenate([z, new])
        log_target = np.concatenate([log_target, _log_target(likelihood, new)])
        log_mixture = np.logaddexp.reduce([_log_t(z, *shape) for shape in shapes], axis=0)
        log_weight = np.nan_to_num(log_target - log_mixture, nan=-np.inf, neginf=-np.inf)
        if not np.isfinite(log_weight).any():
            break
        mean, covariance = _learnt(z, log_weight, covariance)
    return z, log_weight


def _log_target(likelihood: StarLikelihood, z: np.ndarray) -> np.ndarray:
    """ln of the posterior density of z (m, n), but for a constant."""
    return likelihood(likelihood.prior_transform(ndtr(z))) - 0.5 * (z * z).sum(axis=1)


def _log_t(z: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """ln of the density at z (m, n) of a multivariate t distribution whose shape has this Cholesky factor."""
    n = len(mean)
    away = np.einsum("ij,mj->mi", np.linalg.inv(root), z - mean)
    constant = lgamma(0.5 * (DEGREES + n)) - lgamma(0.5 * DEGREES) - 0.5 * n * np.log(DEGREES * np.pi)
    return constant - np.log(np.diag(root)).sum() - 0.5 * (DEGREES + n) * np.log1p((away * away).sum(axis=1) / DEGREES)


def _learnt(z: np.ndarray, log_weight: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of weighted draws z (m, n); the covariance `before` counts as a few draws, too."""
    n, power = z.shape[1], 1.0
    weight = _weights(log_weight, power)
    while _effective(weight) < LEAST_ADAPTING * n and power > 1e-3:
        power *= 0.8
        weight = _weights(log_weight, power)
    mean = np.einsum("m,mi->i", weight, z)
    away, ess = z - mean, _effective(weight)
    found = np.einsum("m,mi,mj->ij", weight, away, away)
    own = OWN_DRAWS * n
    return mean, (ess * found + own * before) / (ess + own)


def _weights(log_weight: np.ndarray, power: float) -> np.ndarray:
    """(m,) weights to this power, whose sum is 1; all alike where there is none."""
    highest = log_weight.max()
    if not np.isfinite(highest):
        return np.full(len(log_weight), 1.0 / len(log_weight))
    weight = np.exp(power * (log_weight - highest))
    return weight / weight.sum()


def _effective(weight: np.ndarray) -> float:
    return float(1.0 / (weight * weight).sum())


def _sample(
    likelihood: StarLikelihood, z: np.ndarray, log_weight: np.ndarray, bits: np.random.MT19937
) -> tuple[np.ndarray, float]:
    """Draws z of emcee, all of the same weight, and how many independent ones they are; it begins at given ones."""
    import emcee

    n = z.shape[1]
    random = np.random.RandomState(bits)
    n_walker = max(LEAST_WALKERS, WALKERS * n)
    _, covariance = _learnt(z, log_weight, np.eye(n))
    chosen = z[random.choice(len(z), n_walker, p=_weights(log_weight, 0.5))]
    spread = np.einsum("ij,mj->mi", np.linalg.cholesky(covariance), random.standard_normal((n_walker, n)))
    moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
    sampler = emcee.EnsembleSampler(n_walker, n, lambda z: _log_target(likelihood, z), moves=moves, vectorize=True)
    state = emcee.State(chosen + 0.1 * spread, random_state=random.get_state())
    sampler.run_mcmc(state, STEPS, skip_initial_state_check=True)
    chain = sampler.get_chain(discard=BURN_IN)
    time = np.max(emcee.autocorr.integrated_time(chain, tol=0))
    flat = chain.reshape(-1, n)
    some = np.linspace(0, len(flat) - 1, min(MOST_DRAWS, len(flat))).astype(int)
    ess = len(flat) / time if np.isfinite(time) else 0.0
    return flat[some], float(min(ess, len(some)))


def _moved(
    draws: Draws,
    likelihood: StarLikelihood,
    layout: ParameterLayout,
    beyond: BeyondNoise,
    x: np.ndarray,
    seeds: list[np.random.SeedSequence],
) -> Draws:
    """Draws with what the table adds beyond the noise of the flux; all parameters, held ones included.

    x (n_parameter,): the end of the fit. What the emulator adds to the variance of each pixel is part of the label
    errors, too: draws come nearer to x by it. Draws that leave the bounds are reflected there.
    """
    generator, step = np.random.default_rng(seeds[2]), likelihood.log_step
    made = likelihood.search_of(draws.values)
    covariance = beyond.covariance * np.outer(likelihood.free, likelihood.free)
    size, axes = np.linalg.eigh(0.5 * (covariance + covariance.T))
    root = axes * np.sqrt(np.maximum(size, 0.0))
    begin = x.copy()
    if layout.has_velocity:  # places -> km/s
        made[:, layout.velocity] = to_velocity(made[:, layout.velocity], step)
        begin[layout.velocity] = to_velocity(x[layout.velocity], step)
    by_chance = np.einsum("ij,mj->mi", root, generator.standard_normal(made.shape))
    made = begin + (made - begin) * np.sqrt(beyond.share) - beyond.correction + by_chance
    low, high = likelihood.search_of(likelihood.bounds.T)
    n_bounded = layout.n - layout.has_velocity  # a velocity is bounded by where it was searched, by nothing else
    made[:, :n_bounded] = _folded(made[:, :n_bounded], low[:n_bounded], high[:n_bounded])
    if layout.has_velocity:
        made[:, layout.velocity] = to_places(made[:, layout.velocity], step)
    return Draws(likelihood.table_values_of(made), draws.weight, draws.ess, draws.sampled)


def _folded(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Values (m, n) reflected at the bounds (n,) until they are inside; what is held is left as it is."""
    width = np.where(high > low, high - low, np.inf)
    above = np.mod(values - low, 2.0 * width)
    return np.where(high > low, low + np.minimum(above, 2.0 * width - above), values)
