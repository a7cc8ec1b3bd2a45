"""What fits of whole stars are worth: the sums of their pieces judged as one spectrum is, and each piece's velocity.

Photon noise is that of the summed information: the matrix of a star is the sum over its pieces. The emulator's error is
not noise of a piece. Pieces on the same pixels have the same one, which no number of visits averages down: what a
calibration measured is added once, and without one the part of the formal covariance that is the emulator's error in
each pixel grows with the number of pieces that see the pixel (`overlap`).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc

from payneflow.fitting.engine.arguments import (
    DISAGREE,
    ENDED,
    FOUND,
    OUTLIERS,
    SCORE,
    SECOND_SCORE,
    TERMS,
    USED,
)
from payneflow.fitting.engine.minimiser import STUCK
from payneflow.fitting.engine.outliers import MANY
from payneflow.fitting.engine.shift import C_KM_S, to_places, to_velocity
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.formal_covariance import formal_covariance
from payneflow.fitting.label_errors import LabelErrors
from payneflow.fitting.mismatch import EmulatorScatter, Scores, find_mismatch
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import CERTAIN, EDGE, FEW, VELOCITY_WINDOW, Fits, Quality, coherent_growth, quality_of
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.star_fits import EACH, StarFits
from payneflow.network import PixelNetworks

VARIABLE = 1e-3  # chance that velocities of a star that does not move scatter as much: below it they are flagged


@dataclass(frozen=True, eq=False)
class PieceQuality:
    """Of each piece: velocity of the star at it and its 1 sigma error in km/s, how many sigma its own labels are off
    those of its star, chi2 of its own fit, degrees of freedom, flags; all (n_piece,).
    """

    velocity: np.ndarray
    velocity_error: np.ndarray
    disagreement: np.ndarray
    chi2_alone: np.ndarray
    dof: np.ndarray
    flags: np.ndarray


@dataclass(frozen=True, eq=False)
class StarQuality:
    """`fits`, `quality`: of stars, as of spectra. `scatter` (n_star,): standard deviation of the velocities of a star's
    pieces in km/s, each weighted by its information; `chance` that noise alone scatters them as much; NaN where fewer
    than two tell.
    """

    fits: Fits
    quality: Quality
    scatter: np.ndarray
    chance: np.ndarray
    pieces: PieceQuality


@dataclass(frozen=True, eq=False)
class Velocities:
    """Velocities of pieces and their errors in km/s, (n_piece,), of which `emulator` (n_piece,) is the variance by the
    emulator's error, (km/s)^2; `noise`: of each star the covariance (n, n) of its n pieces by noise.
    """

    value: np.ndarray
    error: np.ndarray
    emulator: np.ndarray
    noise: list[np.ndarray]


def star_quality(
    networks: PixelNetworks,
    settings: FitSettings,
    velocity: str,
    ended: StarFits,
    group: np.ndarray,
    label_errors: LabelErrors | None = None,
) -> StarQuality:
    """Errors and flags of stars and their pieces; `group` (n_piece,): which networks each piece has.

    `networks`: those of all pieces; of several files, their pixels together.
    """
    each = settings.velocity and velocity == EACH
    own = replace(settings, velocity=False) if each else settings
    overlap = overlap_of(ended, group)
    fits = _fits_of_stars(settings, ended, each, overlap)
    errors = _without_velocity(label_errors, own, networks) if each and label_errors is not None else label_errors
    quality = quality_of(networks, own, fits, errors, overlap=overlap)
    velocities = Velocities(*np.full((3, len(ended.run)), np.nan), [])
    if each:
        growth = coherent_growth(networks, own, fits, overlap) if label_errors is None else np.ones(len(fits.chi2))
        velocities = _velocities_of_each(networks, settings, ended, fits, quality, label_errors, growth)
    elif settings.velocity:
        velocities = _velocities_alone(networks, settings, ended, label_errors)
    pieces = _pieces(networks, settings, ended, velocities)
    scatter, chance = np.full((2, len(fits.chi2)), np.nan)
    if settings.velocity:
        reduced = np.ones(len(fits.chi2))
        if each:
            reduced = np.maximum(fits.chi2 / np.maximum(quality.dof, 1), 1.0)
        _scatter(ended, pieces, velocities, reduced, scatter, chance)
        quality.flags[chance < VARIABLE] |= FitFlag.RV_VARIABLE
    if each:
        _mean_velocities(ended, pieces, velocities, quality)
    return StarQuality(fits, quality, scatter, chance, pieces)


def overlap_of(ended: StarFits, group: np.ndarray) -> np.ndarray:
    """(n_star,), on how many pieces the emulator's error of a pixel is the same: 1 where no two see the same pixel.

    That is the sum over pixels of (sum over pieces of the inverse variance)^2 over that of the squares, of the pieces
    with the same networks, in bins of the axis.
    """
    n_star = len(ended.first) - 1
    both, alone = np.zeros(n_star), np.zeros(n_star)
    np.add.at(alone, ended.star, (ended.weights**2).sum(axis=1))
    for own in np.unique(group):
        total = np.zeros((n_star, ended.weights.shape[1]))
        rows = group == own
        np.add.at(total, ended.star[rows], ended.weights[rows])
        both += (total**2).sum(axis=1)
    return np.divide(both, alone, out=np.ones(n_star), where=alone > 0)


def _fits_of_stars(settings: FitSettings, ended: StarFits, each: bool, overlap: np.ndarray) -> Fits:
    """The sums of the pieces of each star as the fit of one spectrum; velocities of each are eliminated."""
    star, part = ended.star, ended.takes_part
    n_star, n_own = len(ended.first) - 1, ended.gradient.shape[1]
    n = n_own - each
    fits, pieces = Fits.empty(n_star, n, log_step=ended.log_step), ended.fits
    taking = np.bincount(star, part, n_star)
    known = taking > 0
    cross = ended.scale[:, :, None] * pieces.cross
    score, information = pieces.score.copy(), pieces.information.copy()
    matrix = ended.matrix[:, :n, :n].copy()
    if each:
        rows = np.flatnonzero(part)
        beside, own = ended.matrix[star[rows], :n, ended.column[rows]], ended.matrix[star, ended.column, ended.column]
        of_own = np.where(own[rows] > 0, own[rows], 1.0)
        np.subtract.at(matrix, star[rows], beside[:, :, None] * beside[:, None, :] / of_own[:, None, None])
        of_velocity = cross[rows, n]
        left = (ended.scale[rows, n] * ended.gradient[rows, n] / of_own)[:, None]
        score[rows] -= of_velocity * left
        information[rows] -= of_velocity[:, :, None] * of_velocity[:, None, :] / of_own[:, None, None]
        cross[rows, :n] -= beside[:, :, None] * of_velocity[:, None, :] / of_own[:, None, None]
    fits.x[known], fits.matrix[known], fits.pull[known] = ended.x[known, :n], matrix[known], ended.pull[known, :n]
    for name, values in (
        ("chi2", pieces.chi2), ("score", score), ("information", information), ("cross", cross[:, :n]),
        ("total_weight", pieces.total_weight),
    ):  # fmt: skip
        total = np.zeros((n_star, *values.shape[1:]))
        np.add.at(total, star[part], values[part])
        getattr(fits, name)[known] = total[known]
    counts = np.zeros((n_star, pieces.counts.shape[1]), np.int64)
    np.add.at(counts, star[part], pieces.counts[part])
    fits.counts[:] = counts
    fits.counts[:, ENDED], fits.counts[:, DISAGREE] = ended.ended, ended.disagree
    if each:
        fits.counts[:, TERMS] += taking.astype(int)  # velocities are parameters as well

    def mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        total = np.bincount(star[part], (values * weight)[part], n_star)
        return np.divide(total, np.bincount(star[part], weight[part], n_star), where=known, out=np.full(n_star, np.nan))

    used = pieces.counts[:, USED].astype(float)
    fits.snr[known] = np.sqrt(overlap * mean(pieces.snr**2, np.ones(len(star))))[known]
    fits.extra_scatter[known] = np.sqrt(mean(pieces.extra_scatter**2, used))[known]
    if settings.velocity and not each:
        _correlations(ended, fits, known)
    return fits


def _correlations(ended: StarFits, fits: Fits, known: np.ndarray) -> None:
    """Where the velocity common to all pieces was looked for, and how certain their correlations are together."""
    n, part, shifts = fits.x.shape[1], ended.takes_part, ended.alone.shifts
    found = (ended.fits.shifts[:, FOUND] - ended.offset) / ended.ratio
    near = np.abs(found - ended.x[ended.star, n - 1]) <= to_places(VELOCITY_WINDOW, ended.log_step)
    best = np.where(part, shifts[:, SCORE], 0.0) ** 2
    second = np.where(part, shifts[:, SECOND_SCORE], 0.0) ** 2
    here = np.abs((shifts[:, FOUND] - ended.offset) / ended.ratio - ended.x[ended.star, n - 1])
    agrees = here <= to_places(VELOCITY_WINDOW, ended.log_step)
    best = np.where(agrees, best, second)  # what found another velocity speaks for this one no more than for others
    total = [np.bincount(ended.star, np.nan_to_num(values), len(known)) for values in (best, second)]
    fits.shifts[known, SCORE], fits.shifts[known, SECOND_SCORE] = (np.sqrt(values)[known] for values in total)
    weight = np.where(part & near, np.maximum(best, 1e-300), 0.0)
    mean = np.bincount(ended.star, np.nan_to_num(found) * weight, len(known))
    fits.shifts[known, FOUND] = (mean / np.maximum(np.bincount(ended.star, weight, len(known)), 1e-300))[known]


def _without_velocity(label_errors: LabelErrors, settings: FitSettings, networks: PixelNetworks) -> LabelErrors:
    """Label errors of fits with a velocity, as far as they speak of all else: what they say of each is its own."""
    label_errors.check(networks, replace(settings, velocity=True).mode(networks.label_names))
    kept = np.arange(label_errors.errors.shape[1] - 1)
    share = label_errors.photon_share
    return replace(
        label_errors,
        errors=np.ascontiguousarray(label_errors.errors[:, kept]),
        photon_share=None if share is None else share[kept],
        mode=settings.mode(networks.label_names),
    )


def _velocities_of_each(
    networks, settings, ended: StarFits, fits: Fits, quality: Quality, label_errors, growth
) -> Velocities:
    """Those of the fits of stars whose pieces have a velocity each; `growth` (n_star,) of formal covariances."""
    n = fits.x.shape[1]
    parameters = Parameters.of(networks, replace(settings, velocity=False))
    formal, _ = formal_covariance(fits.matrix, parameters.free, parameters.layout.n_label)
    emulator, added = np.zeros(len(formal)), np.zeros(len(formal))
    good = np.flatnonzero((quality.flags & FitFlag.FAILED) == 0)
    if label_errors is not None and len(good):
        correction, covariance = label_errors.estimate(fits.x[good, : len(networks.x_min)])
        emulator[good], added[good] = correction[:, -1], covariance[:, -1, -1]
    noises, value = [], np.full(len(ended.run), np.nan)
    for i in range(len(formal)):
        own = np.arange(ended.first[i], ended.first[i + 1])
        column = ended.column[own]
        shift = ended.x[i, column]
        slope = C_KM_S * ended.log_step * (1.0 - np.tanh(shift * ended.log_step) ** 2)
        information = ended.matrix[i, column, column]
        told = ended.takes_part[own] & (information > 0)
        follows = ended.matrix[i, :n, column] / np.where(told, information, np.inf)[:, None]
        with np.errstate(divide="ignore"):
            noise = growth[i] * (np.diag(1.0 / np.where(told, information, np.inf)) + follows @ formal[i] @ follows.T)
        noise = slope[:, None] * noise * slope
        noise[~told], noise[:, ~told] = np.nan, np.nan
        noises.append(noise)
        value[own] = np.where(told, to_velocity(shift, ended.log_step) - emulator[i], np.nan)
    of_emulator = added[ended.star]
    own = np.concatenate([np.diag(noise) for noise in noises])
    return Velocities(value, np.sqrt(own + of_emulator), of_emulator, noises)


def _velocities_alone(networks, settings, ended: StarFits, label_errors) -> Velocities:
    """Those of the fits of each piece alone, to be compared where the velocity of the star is common to all."""
    parameters, alone = Parameters.of(networks, settings), ended.alone
    layout, finite = parameters.layout, np.isfinite(ended.alone.matrix).all(axis=(1, 2))
    matrix = np.where(finite[:, None, None], alone.matrix, 0.0)
    formal, exists = formal_covariance(matrix, parameters.free, layout.n_label)
    told = exists & finite & ended.takes_part
    dof = alone.counts[:, USED] - alone.counts[:, TERMS] - parameters.free.sum()
    reduced = np.maximum(np.divide(alone.chi2, dof, out=np.ones(len(dof)), where=told & (dof > 0)), 1.0)
    shift = (alone.x[:, layout.velocity] - ended.offset) / ended.ratio
    velocity = to_velocity(shift, ended.log_step)
    slope = C_KM_S * ended.log_step * (1.0 - (velocity / C_KM_S) ** 2) / ended.ratio
    variance = reduced * formal[:, layout.velocity, layout.velocity] * slope**2
    added = np.zeros(len(told))
    if label_errors is not None and told.any():
        correction, covariance = label_errors.estimate(alone.x[told, layout.labels])
        velocity[told] -= correction[:, -1]
        added[told] = covariance[:, -1, -1]
    variance = np.where(told, variance, np.nan)
    noises = [np.diag(variance[a:b]) for a, b in zip(ended.first[:-1], ended.first[1:], strict=True)]
    return Velocities(np.where(told, velocity, np.nan), np.sqrt(variance + added), added, noises)


def _told(ended: StarFits, pieces: PieceQuality, i: int) -> np.ndarray:
    """The pieces of star i whose velocity is known: one that is unsure may be another's."""
    own = np.arange(ended.first[i], ended.first[i + 1])
    unsure = (pieces.flags[own] & (FitFlag.RV_UNSURE | FitFlag.FAILED)) > 0
    return np.flatnonzero(np.isfinite(pieces.velocity_error[own]) & ~unsure)


def _scatter(ended: StarFits, pieces: PieceQuality, velocities: Velocities, reduced, scatter, chance) -> None:
    """Do the velocities of a star's pieces differ by more than their errors? chi2 about their best mean.

    The emulator's error is taken for one of each piece here: part of it goes with the fraction of a pixel.
    """
    for i, noise in enumerate(velocities.noise):
        told = _told(ended, pieces, i)
        if len(told) < 2:
            continue
        velocity = pieces.velocity[ended.first[i] + told]
        covariance = noise[np.ix_(told, told)] + np.diag(velocities.emulator[ended.first[i] + told])
        inverse = np.linalg.inv(covariance)
        weight = inverse.sum(axis=0) / inverse.sum()
        away = velocity - weight @ velocity
        chance[i] = chdtrc(len(told) - 1, max(away @ inverse @ away, 0.0) / reduced[i])
        own = 1.0 / np.diag(covariance)
        scatter[i] = np.sqrt((own * away**2).sum() / own.sum())


def _mean_velocities(ended: StarFits, pieces: PieceQuality, velocities: Velocities, quality: Quality) -> None:
    """The velocity of each star whose pieces have their own: their best mean, which the emulator errs by as by one."""
    quality.velocity, quality.velocity_error = np.full((2, len(velocities.noise)), np.nan)
    for i, noise in enumerate(velocities.noise):
        told = _told(ended, pieces, i)
        if not len(told):
            told = np.flatnonzero(np.isfinite(np.diag(noise)))
        if not len(told) or quality.flags[i] & FitFlag.FAILED:
            continue
        inverse = np.linalg.inv(noise[np.ix_(told, told)])
        quality.velocity[i] = inverse.sum(axis=0) @ pieces.velocity[ended.first[i] + told] / inverse.sum()
        quality.velocity_error[i] = np.sqrt(1.0 / inverse.sum() + velocities.emulator[ended.first[i] + told[0]])


def _pieces(networks: PixelNetworks, settings: FitSettings, ended: StarFits, velocities: Velocities) -> PieceQuality:
    """What is known of each piece, by its own first fit and by what it says against its star."""
    parameters, fits, alone, part = Parameters.of(networks, settings), ended.fits, ended.alone, ended.takes_part
    free, n_label = parameters.free, parameters.layout.n_label
    used, linear = fits.counts[:, USED], fits.counts[:, TERMS]
    dof = used - linear
    matrix = np.where(part[:, None, None], fits.matrix, 0.0)
    formal, exists = formal_covariance(matrix, free, n_label)
    good = np.flatnonzero(part & exists & (dof > free.sum()))
    away = (formal @ ended.gradient[:, :, None])[:, :, 0]  # how far its own labels are, as its parabola says
    lower = np.where(part, (away * ended.gradient).sum(axis=1), np.nan)
    disagreement = np.full(len(dof), np.nan)
    disagreement[good] = np.sqrt(np.maximum(lower[good], 0.0) / max(free.sum(), 1))
    flags = np.zeros(len(dof), np.int64)
    flags[used < FEW * (free.sum() + linear)] |= FitFlag.FEW_PIXELS
    flags[fits.counts[:, OUTLIERS] > MANY * used] |= FitFlag.MANY_OUTLIERS
    flags[fits.counts[:, ENDED] >= STUCK] |= FitFlag.NOT_CONVERGED
    if settings.velocity:
        _flag_velocities(settings, ended, parameters, dof - free.sum(), flags)
    if len(good):
        score = fits.score[good] - (np.swapaxes(fits.cross[good], 1, 2) @ away[good][:, :, None])[:, :, 0]
        scores = Scores.of(score, fits.information[good], fits.cross[good], formal[good])
        unknown = EmulatorScatter.unknown(len(good), networks.emulator_rms / networks.flux_scale.width)
        found = find_mismatch(
            scores,
            fits.chi2[good] - lower[good],
            dof[good] - free.sum(),
            fits.total_weight[good],
            formal[good],
            unknown,
        )
        flags[good[found.found]] |= FitFlag.MODEL_MISMATCH
    flags[~part] = FitFlag.FAILED
    chi2_alone = np.where(np.isfinite(alone.x).all(axis=1), alone.chi2, np.nan)
    return PieceQuality(velocities.value, velocities.error, disagreement, chi2_alone, dof, flags)


def _flag_velocities(settings: FitSettings, ended: StarFits, parameters: Parameters, dof, flags) -> None:
    alone = ended.alone
    score, second = alone.shifts[:, SCORE], alone.shifts[:, SECOND_SCORE]
    reduced = np.maximum(alone.chi2 / np.maximum(dof, 1), 1.0)
    flags[score**2 - second**2 < CERTAIN * reduced] |= FitFlag.RV_UNSURE
    step = ended.log_step / ended.ratio
    shift = ended.fits.x[:, parameters.layout.velocity]
    moved = np.abs(shift - ended.fits.shifts[:, FOUND]) > to_places(VELOCITY_WINDOW, step) - EDGE
    beyond = np.abs(shift) > to_places(settings.max_velocity, step) - EDGE
    flags[moved | beyond] |= FitFlag.RV_EDGE
