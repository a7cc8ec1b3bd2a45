"""Is a spectrum the light of two stars? Their velocities and the ratio of their light, where it is.

Four questions, each far dearer than the one before, and asked of fewer spectra. The score of a companion, which each
fit has anyway (engine/alternatives.py), or any other mismatch; lines at another velocity in what the fit has left over
(second_lines.py); what a star with such lines would explain to first order; and two stars against one (two_stars.py).
The one star has all that could look like a second one: rotation, a Gaussian blur, a veil of light without lines, and a
continuum with more terms. Two stars must explain more by LEAST, and EACH for each parameter more, in units of chi2/dof,
and by SHARE of what they leave unexplained: what is wrong with a spectrum otherwise is not a second star.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from payneflow.fitting.engine.shift import C_KM_S, to_places, to_velocity
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.flux_units import networks_of_shares
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import Fits, Quality
from payneflow.fitting.second_lines import LineSearch, SecondLines
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.star_light import StarLight
from payneflow.fitting.two_stars import Found, Observed, OneStar, TwoStars, continuum_of, first_order_gain, search
from payneflow.network import PixelNetworks
from payneflow.spectra.bad_pixels import good_pixels

COMPANION = 3.0  # sigma of a companion's score, of noise and the networks' errors; wider where chi2/dof is above 1
POOR = 2.0  # chi2/dof: of a spectrum that is described no better, only a companion's score counts, and only where its
PART = 0.02  # square, by which chi2 would fall, is this part of what chi2 has beyond noise
LINES = 4.0  # the same of lines in what the fit has left over
LINES_OF_ONE = 3.5  # and in what one star with broad lines has left over
SHARE = 0.25  # of what two stars leave unexplained, by which chi2 must fall
LIKELY = SHARE / 4.0  # that part of a score: two stars explain up to four times as much once all is searched for
LEAST, EACH = 25.0, 2.0  # by how much it must fall besides, and for each parameter more, times chi2/dof
PROMISE = 0.75  # of that, which a second star must explain to first order before it is searched for
MORE_TERMS = 3  # of the continuum, beside those of the fit: what is bent is no second star
BLENDED = 12.0  # km/s, half the separation of a pair whose lines are one
FIRST_SHARE = 0.15  # of the light, that a search gives to a second star
FIRST_STEPS = 3  # of each search, of which the better one goes on
LEAST_BLUR = 1.0  # places^2
SPIKE, LONELY = 6.0, 2.5  # a residual beyond so many sigma, and so many times those around it, is no line


@dataclass(frozen=True, eq=False)
class Pairs:
    """Of n spectra: are they two stars, (n,) bool; velocities and errors of the brighter and the fainter one in km/s,
    (n, 2); light of the fainter over that of the brighter one, and its error, (n,). NaN where there is one star.
    """

    found: np.ndarray
    velocity: np.ndarray
    velocity_error: np.ndarray
    ratio: np.ndarray
    ratio_error: np.ndarray

    @classmethod
    def none(cls, n: int) -> "Pairs":
        """Of n spectra of one star each."""
        nothing = [np.full((n, 2), np.nan) for _ in range(2)] + [np.full(n, np.nan) for _ in range(2)]
        return cls(np.zeros(n, bool), *nothing)

    def put(self, rows: np.ndarray, pairs: Sequence["Pair | None"]) -> None:
        """Those of `rows`, None where there is one star."""
        for i, pair in zip(rows, pairs, strict=True):
            if pair is not None:
                self.found[i], self.velocity[i], self.velocity_error[i] = True, pair.velocity, pair.velocity_error
                self.ratio[i], self.ratio_error[i] = pair.ratio, pair.ratio_error


@dataclass(frozen=True)
class Pair:
    """Two stars: velocities of the brighter and the fainter one with their errors, km/s, and the ratio of light."""

    velocity: tuple[float, float]
    velocity_error: tuple[float, float]
    ratio: float
    ratio_error: float


def candidates(fits: Fits, quality: Quality) -> np.ndarray:
    """Rows (n,) of fits that may be of two stars, by what is known of them anyway."""
    chi2, dof = np.nan_to_num(fits.chi2, nan=1.0), np.maximum(quality.dof, 1)
    reduced, flags = np.maximum(chi2 / dof, 1.0), np.asarray(quality.flags)
    explains = (np.nan_to_num(quality.companion) * quality.grown) ** 2
    poor = reduced > POOR
    stands_out = (quality.companion > COMPANION * np.sqrt(reduced)) & ~(poor & (explains < PART * (chi2 - dof)))
    differs = ((flags & FitFlag.MODEL_MISMATCH) > 0) & ~poor
    return np.flatnonzero((stands_out | differs) & ((flags & FitFlag.FAILED) == 0))


class PairSearch:
    """Looks for second stars in spectra on one wavelength axis, of one resolution; see `StarLight`."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, wavelength=None, resolution=None):
        self._light = StarLight(networks_of_shares(networks), settings, wavelength, resolution, MORE_TERMS)
        self._parameters = Parameters.of(networks, settings)
        self._free = self._parameters.free[self._parameters.layout.labels]
        self._names = settings.broadenings(networks.label_names)
        self._lines = LineSearch(self._light, settings.max_velocity)
        self._emulator_error = settings.emulator_error

    def on(self, wavelength: np.ndarray) -> "PairSearch":
        """The same for spectra on another axis than the first one; none of both is the networks' own."""
        search = copy.copy(self)
        search._light = self._light.on(wavelength)
        search._lines = self._lines.on(search._light)
        return search

    def find(self, rows: np.ndarray, flux, flux_error, fits: Fits, quality: Quality, threads: int) -> list[Pair | None]:
        """Of each of `rows` a Pair, or None. `flux`, `flux_error` (n, n_data): shares, of all spectra of `fits`."""

        def look(i: int) -> Pair | None:
            return self._look(flux[i], flux_error[i], fits[i : i + 1], quality.widths.value[i], float(quality.grown[i]))

        with ThreadPoolExecutor(max(1, threads)) as pool:
            return list(pool.map(look, rows.tolist()))

    def _look(self, flux, flux_error, fit: Fits, widths: np.ndarray, grown: float) -> Pair | None:
        layout = self._parameters.layout
        labels, shift = fit.x[0, layout.labels], fit.x[0, layout.velocity]
        given = dict(zip(self._names, widths.tolist(), strict=True))
        light, rotation = self._light.with_widths(given), self._light.rotation(given.get("vsini", 0.0))
        level = np.ones(len(light.places))
        for part, terms in zip(light.segments, fit.continua[0, : len(light.segments)], strict=True):
            if len(terms):
                level[part] = terms @ light.terms[: len(terms), part]
        good = light.inside(shift) & good_pixels(flux, flux_error)
        variance = light.variance(shift) * level**2 if self._emulator_error else np.zeros(len(level))
        root = np.zeros(len(level))
        root[good] = 1.0 / np.sqrt(np.square(flux_error[good], dtype=float) + variance[good])
        seen = Observed(np.where(good, flux, 0.0), root)
        emitted = light.emitted(labels, slopes=False)[0]
        residual = (seen.flux - level * light.seen(emitted, rotation, shift)) * root
        bad = spikes(residual)
        seen, residual = seen.without(bad), np.where(bad, 0.0, residual)
        lines = self._lines.strongest(residual, level * seen.root, shift, labels, emitted)
        if not _stands_out(lines.score, LINES * grown, float((residual**2).sum()), seen):
            return None
        one_star = OneStar(light, self._free, np.concatenate([labels, [rotation, 0.0, shift, 0.0]]))
        return self._compare(one_star, seen, grown) if promises(one_star, seen, lines) else None

    def _compare(self, one_star: OneStar, seen: Observed, grown: float) -> Pair | None:
        """Two stars against one."""
        light, n = one_star.light, one_star.light.n_label
        one = search(one_star, seen)
        if light.rotates and one.x[n + 1] > LEAST_BLUR:  # a rotation looks like a blur at first, and stays one
            turning = one.x.copy()
            turning[n], turning[n + 1] = light.rotation_of(one.x[n], one.x[n + 1]), 0.0
            one = min(one, search(one_star, seen, turning), key=lambda found: found.chi2)
        labels, shift = one.x[:n], one.x[n + 2]
        factor = continuum_of(light, one_star.at(one.x)[0], seen) * seen.root
        lines = self._lines.strongest(one.residual, factor, shift, labels, light.emitted(labels, slopes=False)[0])
        if not _stands_out(lines.score, LINES_OF_ONE * grown, one.chi2, seen):
            return None
        seen = seen.without(~light.inside(lines.shift))
        half = to_places(BLENDED, light.log_step)
        apart = np.concatenate([labels, lines.labels, [0.0, 0.0, shift, lines.shift, FIRST_SHARE]])
        blended = np.concatenate([labels, labels, [0.0, 0.0, shift - half, shift + half, 0.5]])
        models = [TwoStars(light, self._free, begin) for begin in (apart, blended)]
        begun = [search(model, seen, most_steps=FIRST_STEPS) for model in models]
        best = min(range(len(begun)), key=lambda k: begun[k].chi2)
        two = search(models[best], seen, begun[best].x)
        # a search for one star may have gone astray
        for begin in (one.x, brighter_of(two.x, n), broad_as(two.x, light)):
            one = search(OneStar(light, self._free, begin), seen)
            if not is_better(one, two, seen, models[best].free.sum(), one_star.free.sum()):
                return None
        return self._pair(light, two, models[best], seen)

    def _pair(self, light: StarLight, two: Found, model: TwoStars, seen: Observed) -> Pair:
        inside = model.free & (two.x > model.lowest) & (two.x < model.highest)
        inside[-3:] = True
        covariance = np.linalg.pinv(two.square[np.ix_(inside, inside)]) * _reduced(two.chi2, seen, len(two.x))
        shift_error, other_error, share_error = np.sqrt(np.diag(covariance)[-3:])
        velocity = to_velocity(two.x[-3:-1], light.log_step)
        errors = C_KM_S * light.log_step * np.array([shift_error, other_error])
        share = two.x[-1]
        ratio = share / (1.0 - share)
        ratio_error = share_error / (1.0 - share) ** 2
        if ratio > 1.0:
            velocity, errors, ratio, ratio_error = velocity[::-1], errors[::-1], 1.0 / ratio, ratio_error / ratio**2
        return Pair(tuple(velocity.tolist()), tuple(errors.tolist()), float(ratio), float(ratio_error))


def _stands_out(score: float, limit: float, chi2: float, seen: Observed) -> bool:
    """Are lines of this score beyond a limit in sigma, and a part of what chi2 has beyond noise that matters?"""
    beyond = chi2 - np.count_nonzero(seen.root)
    return score > limit * np.sqrt(_reduced(chi2, seen, 0)) and score**2 > LIKELY * beyond


def promises(one_star: OneStar, seen: Observed, lines: SecondLines) -> bool:
    """May a search for the second star whose lines were seen find enough? By what its light explains to first order."""
    seen = seen.without(~one_star.light.inside(lines.shift))
    gain, chi2 = first_order_gain(one_star, seen, lines.labels, lines.shift)
    more = np.count_nonzero(one_star.free[: one_star.light.n_label]) + 1  # labels, velocity, and a share for the veil
    return gain > PROMISE * (LEAST + EACH * more) * _reduced(chi2, seen, 0)


def is_better(one: Found, two: Found, seen: Observed, n_two: int, n_one: int) -> bool:
    """Do two stars, of n_two parameters, explain a spectrum better than one does?"""
    scale, dof = _reduced(two.chi2, seen, n_two), np.count_nonzero(seen.root) - n_two
    needed = (LEAST + EACH * (n_two - n_one)) * scale + SHARE * max(two.chi2 - dof, 0.0)
    return one.chi2 - two.chi2 > needed


def brighter_of(x: np.ndarray, n_label: int) -> np.ndarray:
    """Where a search for one star begins that knows two stars: the brighter one of them, under a veil."""
    share = x[-1]
    brighter, shift = (x[:n_label], x[-3]) if share <= 0.5 else (x[n_label : 2 * n_label], x[-2])
    return np.concatenate([brighter, x[2 * n_label : 2 * n_label + 2], [shift, 0.5 * min(share, 1.0 - share)]])


def broad_as(x: np.ndarray, light: StarLight) -> np.ndarray:
    """The same with one star between the two that rotates until its lines are as broad as both of theirs."""
    n, share, apart = light.n_label, x[-1], x[-2] - x[-3]
    labels = (1.0 - share) * x[:n] + share * x[n : 2 * n]
    rotation, blur = x[2 * n : 2 * n + 2]
    rotation, blur = light.rotation_of(rotation, blur + share * (1.0 - share) * apart**2), 0.0
    return np.concatenate([labels, [rotation, blur, x[-3] + share * apart, 0.0]])


def spikes(residual: np.ndarray) -> np.ndarray:
    """(n_data,) bool: residuals (n_data,), in sigma, far above those two pixels away on either side; and neighbours."""
    size = np.abs(residual)
    used = size[size > 0.0]
    usual = max(1.4826 * float(np.median(used)), 1.0) if len(used) else 1.0
    wide = np.pad(size, 2)
    lonely = np.pad((size > SPIKE * usual) & (size > LONELY * np.maximum(wide[:-4], wide[4:])), 1)
    return lonely[:-2] | lonely[1:-1] | lonely[2:]


def _reduced(chi2: float, seen: Observed, n_parameter: int) -> float:
    """chi2/dof, 1 where it is less."""
    return max(chi2 / max(np.count_nonzero(seen.root) - n_parameter, 1), 1.0)
