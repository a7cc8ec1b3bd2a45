"""Fits in which some pixels may not inform some labels (windows.py), begun at the fit of all pixels.

With w_jk, 0 or 1, whether pixel k may inform parameter j, r the residual, 1/s^2 the weights and J_j the derivatives of
the flux, the parameters solve the estimating equations

    g_j = sum_k w_jk J_jk r_k / s_k^2 = 0        (and, of a prior, its own term)

together: a parameter of which all w are 1 is informed by all pixels, as ever, at the values that the others take. Near
the solution they move by A^-1 g, A_jl = sum w_jk J_jk J_lk / s_k^2, and noise has the covariance A^-1 B A^-T, B_jl =
sum w_jk w_lk J_jk J_lk / s_k^2 (the sandwich of Huber 1967, Proc. Fifth Berkeley Symp. 1, 221; Godambe 1960, Ann. Math.
Stat. 31, 1208). Where all w are 1, A = B, and both are least squares. Continua are solved for linearly, by all pixels:
their part is projected out of w J and of J.

Pixels, weights and outliers are those of the fit of all pixels. Sums run in numpy's own loops, not in BLAS: threads
would change their bits.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from payneflow.fitting.engine.arguments import FOUND
from payneflow.fitting.engine.continuum import LEAST_CONTINUUM, LEAST_PIVOT
from payneflow.fitting.engine.engines import box_of
from payneflow.fitting.engine.outliers import LIMIT, MOST_LINES, mark_runs, usual_size
from payneflow.fitting.engine.shift import to_places, to_velocity
from payneflow.fitting.engine.widths import FLOOR, SOFT
from payneflow.fitting.formal_covariance import WIDEST
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import VELOCITY_WINDOW, Fits, Windowed
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.windows import hidden, may_inform, to_rest_frame
from payneflow.network import PixelNetworks
from payneflow.spectra.bad_pixels import good_pixels

MOST_STEPS = 50
MOST_HALVINGS = 6  # of a step that leads away from the solution
UNTOLD = 1e-12  # of the information of all pixels: less is none
LEAST_SINGULAR = 1e-9  # of the matrix of a step, in units of its diagonal: below it parameters cannot be told apart


@dataclass(frozen=True, eq=False)
class _Equations:
    """At some parameters: `score` (p,), what is to become 0; `matrix`, `noise` and, of all pixels, `every` (p, p): A, B
    and the information without windows; `continua` (n_segment, n_term).
    """

    score: np.ndarray
    matrix: np.ndarray
    noise: np.ndarray
    every: np.ndarray
    continua: np.ndarray


def inform(
    networks: PixelNetworks,
    settings: FitSettings,
    fits: Fits,
    flux: np.ndarray,
    flux_error: np.ndarray,
    wavelength: np.ndarray | None,
    resolution: np.ndarray | float | None,
    placed: np.ndarray,
    processes: int = 1,
) -> tuple[Fits, Windowed]:
    """Fits whose labels are informed through windows alone, from `fits` of the pixels that are hidden from none.

    `networks`, `flux` and `flux_error` (n, n_data): in shares of the flux scale. `placed` (n,): velocities in km/s by
    which pixels were hidden. `resolution`: one, or (n_data,). Neither `processes` nor other spectra change a bit.
    """
    solver = _Solver(networks, settings, wavelength, resolution)
    solved = replace(fits, x=fits.x.copy(), continua=fits.continua.copy())
    found = np.flatnonzero(np.isfinite(fits.x).all(axis=1) & np.isfinite(fits.chi2))
    windowed = Windowed.empty(*fits.x.shape)
    windowed.placed[:] = placed
    own = partial(_solve_one, solver, fits, flux, flux_error, placed)
    with ThreadPoolExecutor(max(1, processes)) as pool:
        for i, (x, continua, of_one) in zip(found.tolist(), pool.map(own, found.tolist()), strict=True):
            solved.x[i] = x
            if settings.continuum:
                solved.continua[i] = continua
            windowed.put(i, of_one)
    return solved, windowed


def _solve_one(solver: "_Solver", fits: Fits, flux, flux_error, placed, i: int):
    spectrum = solver.spectrum(flux[i], flux_error[i], fits.x[i], fits.shifts[i, FOUND], placed[i])
    x, continua, of_one = spectrum.solve()
    return x, continua, replace(of_one, placed=placed[i])


class _Solver:
    """What all spectra of a run share."""

    def __init__(self, networks, settings: FitSettings, wavelength, resolution):
        self.settings = settings
        self.model = SpectralModel(networks, settings, wavelength, resolution)
        self.parameters = Parameters.of(networks, settings)
        self.layout = self.parameters.layout
        self.log_step = self.model.log_step
        self.box = box_of(networks, settings, self.log_step)
        self.moves = settings.velocity
        labels_alone = wavelength is None and self.layout.n == self.layout.n_label and not settings.continuum
        self.usable = self.model.known_at(0.0)[1] if labels_alone else None  # as their kernel has it

    def spectrum(self, flux, flux_error, x: np.ndarray, shift: float, placed: float) -> "_Spectrum":
        """One spectrum (n_data,), whose fit of all pixels ended at `x` (p,); `shift`: found by correlation."""
        shift = shift if self.moves else 0.0
        wavelength, windows = self.model.wavelength, self.settings.windows
        flux, flux_error = np.asarray(flux, dtype=float), np.asarray(flux_error, dtype=float)
        closed = hidden(windows, wavelength, placed)
        weight, n_solved = self._weights(flux, np.where(closed, np.inf, flux_error), shift)
        every, _ = self._weights(flux, flux_error, shift)
        velocity = to_velocity(x[self.layout.velocity], self.log_step) if self.layout.has_velocity else 0.0
        at_rest = to_rest_frame(wavelength, velocity)
        told = np.stack([may_inform(windows, name, wavelength, at_rest) for name in self.parameters.names])
        flux = np.where((weight > 0.0) | (every > 0.0), flux, 0.0)
        found = _Spectrum(self, flux, weight, np.where(closed, every, weight), told, n_solved, x.copy(), shift)
        return found.without_outliers()

    def _weights(self, flux: np.ndarray, flux_error: np.ndarray, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """1/s^2 (n_data,), 0 where a pixel takes no part, and how many terms each segment has, as in the kernels."""
        terms, segments = self.model.terms, self.model.segments
        good = good_pixels(flux, flux_error, self.usable)
        flux, weight = np.where(good, flux, 0.0), np.zeros(len(flux))
        weight[good] = flux_error[good] ** -2.0
        level = np.ones(len(flux))
        if len(terms) and good.any():
            least = LEAST_CONTINUUM * np.abs(flux[good]).mean()
            for first, stop in segments:
                own = slice(first, stop)
                gram, sums = _normal(terms[:, own], weight[own], flux[own])
                level[own] = np.maximum(_solved(gram, sums, _n_told(gram)) @ terms[:, own], least)
        variance, inside = self.model.known_at(shift)
        if not self.settings.emulator_error:
            variance = np.zeros(len(flux))
        weight = np.where(inside, weight / (1.0 + weight * variance * level**2), 0.0)
        n_solved = [_n_told(_normal(terms[:, a:b], weight[a:b], weight[a:b])[0]) for a, b in segments]
        return weight, np.array(n_solved, dtype=int)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """One spectrum: `flux`, `weight` and, of all pixels, `every` (n_data,); `told` (p, n_data) bool; `n_solved`
    (n_segment,) terms of its continua; `start` (p,), where all pixels lead, and `shift`, where the velocity began.
    """

    of: _Solver
    flux: np.ndarray
    weight: np.ndarray
    every: np.ndarray
    told: np.ndarray
    n_solved: np.ndarray
    start: np.ndarray
    shift: float

    def without_outliers(self) -> "_Spectrum":
        """The same without the outliers that the fit of all pixels has left out."""
        model, _ = self.of.model.linearised(self.start)
        marks = np.zeros(len(model), np.int64)
        values = (self._residual(model, self._continua(model)) * np.sqrt(self.weight)).astype(np.float32)
        if np.abs(values).max(initial=0.0) > LIMIT:
            limit, ranges = np.float32(LIMIT * usual_size(values, self.weight)), self.of.model.segments
            if mark_runs(values, ranges, limit, True, marks) > MOST_LINES:
                marks[:] = 0
                mark_runs(values, ranges, limit, False, marks)
        return replace(self, weight=np.where(marks > 0, 0.0, self.weight), every=np.where(marks > 0, 0.0, self.every))

    def _continua(self, model: np.ndarray) -> np.ndarray:
        """(n_segment, n_term), the continua that go best with a model (n_data,)."""
        terms, segments = self.of.model.terms, self.of.model.segments
        found = np.zeros((len(segments), len(terms)))
        for s, (a, b) in enumerate(segments):
            normal = _normal(terms[:, a:b], self.weight[a:b] * model[a:b] ** 2, self.flux[a:b], model[a:b])
            found[s] = _solved(*normal, self.n_solved[s])
        return found

    def _level(self, continua: np.ndarray) -> np.ndarray:
        """The continuum (n_data,)."""
        if not continua.shape[1]:
            return np.ones(len(self.flux))
        terms = self.of.model.terms
        parts = [continua[s] @ terms[:, a:b] for s, (a, b) in enumerate(self.of.model.segments)]
        return np.concatenate(parts)

    def _residual(self, model: np.ndarray, continua: np.ndarray) -> np.ndarray:
        return self.flux - self._level(continua) * model

    def at(self, x: np.ndarray) -> _Equations:
        """The equations at parameters (p,)."""
        model, slopes = self.of.model.linearised(x)
        continua = self._continua(model)
        level = self._level(continua)
        slopes = slopes * level
        basis = [self.of.model.terms[: self.n_solved[s], a:b] * model[a:b] for s, (a, b) in self._segments()]
        informed = self._without(basis, np.where(self.told, slopes, 0.0), self.weight)
        rest = self._without(basis, slopes, self.weight)
        alone = rest if np.array_equal(self.every, self.weight) else self._without(basis, slopes, self.every)
        residual = self.flux - level * model
        score = _sums(informed, (self.weight * residual)[None])[:, 0]
        prior, curvature = self._priors(x)
        return _Equations(
            score + prior,
            _sums(informed * self.weight, rest) + curvature,
            _sums(informed * self.weight, informed) + curvature,
            _sums(alone * self.every, alone) + curvature,
            continua,
        )

    def _segments(self):
        return enumerate(self.of.model.segments)

    def _without(self, basis: list[np.ndarray], rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Rows (p, n_data) less what continua of `basis` can do of them."""
        if not len(self.of.model.terms):
            return rows
        left = rows.copy()
        for s, (a, b) in self._segments():
            if len(basis[s]):
                weighted = basis[s] * weight[a:b]
                share = np.linalg.lstsq(_sums(weighted, basis[s]), _sums(weighted, rows[:, a:b]), rcond=None)[0]
                left[:, a:b] -= np.einsum("tj,tk->jk", share, basis[s])
        return left

    def _priors(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What priors add to the score (p,) and to the matrices (p, p)."""
        box = self.of.box
        value = np.where(box.is_width, floored_of(x), x)
        slope = np.where(box.is_width, (x + SOFT) / np.where(box.is_width, value, 1.0), 1.0)
        return box.prior_weight * (box.prior_mean - value) * slope, np.diag(box.prior_weight * slope**2)

    # --- The solution

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(p,) each."""
        box, layout = self.of.box, self.of.layout
        lowest, highest = box.lowest.copy(), box.highest.copy()
        if layout.has_velocity:
            reach = to_places(VELOCITY_WINDOW, self.of.log_step)
            lowest[layout.velocity], highest[layout.velocity] = self.shift - reach, self.shift + reach
        return lowest, highest

    def ranges(self) -> np.ndarray:
        """(p,): by how much a parameter that no pixel informs may lie elsewhere."""
        layout, (_, highest) = self.of.layout, self.bounds()
        ranges = np.full(layout.n, WIDEST)
        ranges[layout.broadenings] = highest[layout.broadenings]
        if layout.has_velocity:
            ranges[layout.velocity] = to_places(VELOCITY_WINDOW, self.of.log_step)
        return ranges

    def untold(self, here: _Equations) -> np.ndarray:
        """(p,) bool: fitted parameters that no pixel and no prior informs."""
        own, every = np.diag(here.noise), np.diag(here.every)
        return ~self.of.box.held & (own <= UNTOLD * every)

    def solve(self):
        """Parameters (p,), continua, and a `Windowed` of one spectrum, without a first axis."""
        free = ~self.of.box.held
        here = self.at(self.start)
        untold = self.untold(here)
        if not (np.isfinite(here.matrix).all() and np.isfinite(here.score).all()):  # flux or networks beyond all sense
            nothing = np.full(len(self.start), np.nan)
            covariance = np.full(here.matrix.shape, np.nan)
            return self.start, here.continua, Windowed(covariance, 0.0 * self.start, nothing, untold, False, np.nan)
        loose = untold.copy()  # known by their range around the start alone
        if not _tells_apart(self.with_ranges(here, self.start, loose).matrix[np.ix_(free, free)]):
            loose = free.copy()
        x, here, converged = _find(self, self.with_ranges(here, self.start, loose), loose)
        if not _tells_apart(here.matrix[np.ix_(free, free)]):
            here, converged = self.with_ranges(here, x, free), False
        covariance, beyond = np.zeros(here.matrix.shape), np.zeros(len(x))
        both = np.ix_(free, free)
        inverse = np.linalg.pinv(here.matrix[both], rcond=LEAST_SINGULAR**2)
        covariance[both] = np.einsum("ij,jk,lk->il", inverse, here.noise[both], inverse)
        beyond[free] = inverse @ here.score[free]
        information = self._information(here, covariance, untold)
        return x, here.continua, Windowed(covariance, beyond, information, untold, converged, np.nan)

    def with_ranges(self, here: _Equations, x: np.ndarray, loose: np.ndarray) -> _Equations:
        """The equations at `x` (p,) with what is known of `loose` (p,) parameters: how far from the start they are."""
        if not loose.any():
            return here
        added = np.where(loose, self.ranges() ** -2.0, 0.0)
        score, diagonal = here.score + added * (self.start - x), np.diag(added)
        return replace(here, score=score, matrix=here.matrix + diagonal, noise=here.noise + diagonal)

    def _information(self, here: _Equations, covariance: np.ndarray, untold: np.ndarray) -> np.ndarray:
        """(p,): the part that windows leave of what all pixels tell; NaN of what is held."""
        free = np.flatnonzero(~self.of.box.held)
        every = here.every[np.ix_(free, free)]
        size = np.sqrt(np.diag(every))
        size = np.where(size > 0.0, size, 1.0)
        alone = np.diag(np.linalg.pinv(every / size / size[:, None], hermitian=True)) / size**2
        information = np.full(len(covariance), np.nan)
        information[free] = np.minimum(alone / np.diag(covariance)[free], 1.0)
        information[untold] = 0.0
        return information


def _find(spectrum: _Spectrum, here: _Equations, loose: np.ndarray) -> tuple[np.ndarray, _Equations, bool]:
    """Newton's steps to where the equations, `here` at the start, hold within bounds; and whether they got there.

    `loose` (p,) bool: parameters that are known by their ranges.
    """
    (lowest, highest), tolerance = spectrum.bounds(), spectrum.of.settings.tolerance
    x = spectrum.start.copy()
    for _ in range(MOST_STEPS):
        step, moved = _step(here, x, ~spectrum.of.box.held, lowest, highest)
        size = _size(here, here, moved)
        share = 1.0
        while True:
            trial = np.clip(x + share * step, lowest, highest)
            then = spectrum.with_ranges(spectrum.at(trial), trial, loose)
            if size < tolerance or _size(then, here, moved) < size:
                break
            share *= 0.5
            if share < 0.5**MOST_HALVINGS:
                return x, here, False
        x, here = trial, then
        if size < tolerance:
            return x, here, bool(np.isfinite(x).all())
    return x, here, False


def _step(here: _Equations, x, free, lowest, highest) -> tuple[np.ndarray, np.ndarray]:
    """The step (p,) that would solve the equations, and which parameters (p,) it moves: none out of its bound."""
    moved = free.copy()
    while moved.any():
        step = np.zeros(len(x))
        step[moved] = np.linalg.lstsq(here.matrix[np.ix_(moved, moved)], here.score[moved], rcond=None)[0]
        out = moved & (((x <= lowest) & (step < 0.0)) | ((x >= highest) & (step > 0.0)))
        if not out.any():
            return step, moved
        moved &= ~out
    return np.zeros(len(x)), moved


def _size(then: _Equations, here: _Equations, moved: np.ndarray) -> float:
    """How many sigma the scores of `then` are off, by the noise `here`."""
    if not moved.any():
        return 0.0
    if not np.isfinite(then.score).all():
        return np.inf
    noise, score = here.noise[np.ix_(moved, moved)], then.score[moved]
    return float(np.sqrt(max(score @ np.linalg.lstsq(noise, score, rcond=None)[0], 0.0)))


def _tells_apart(matrix: np.ndarray) -> bool:
    """Can the steps of this matrix (k, k) be found?"""
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not (size > 0.0).all() or not np.isfinite(matrix).all():
        return False
    return np.linalg.svd(matrix / size / size[:, None], compute_uv=False)[-1] > LEAST_SINGULAR


def floored_of(x: np.ndarray) -> np.ndarray:
    """Widths in places (n,) of what a search moves in their place."""
    p = np.maximum(x, 0.0)
    return np.sqrt(p * (p + 2.0 * SOFT) + FLOOR**2)


# --------------------------------------------------------------------------------------------------------- sums


def _sums(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(a, b), sums over pixels of the products of rows (a, n) and others (b, n)."""
    return np.einsum("ak,bk->ab", rows, others)


def _normal(terms: np.ndarray, weight: np.ndarray, flux: np.ndarray, model: np.ndarray | None = None):
    """Matrix (n_term, n_term) and sums (n_term,) of the terms (n_term, n) that go best with flux (n,).

    `weight` (n,): inverse variance, times the square of `model` (n,), where terms are multiplied by that.
    """
    weighted = terms * weight
    flux = flux if model is None else np.divide(flux, model, out=np.zeros_like(flux), where=weight > 0.0)
    return _sums(weighted, terms), _sums(weighted, flux[None])[:, 0]


def _n_told(gram: np.ndarray) -> int:
    """How many leading terms pixels tell apart, as the kernels' Cholesky says."""
    for k in range(len(gram)):
        before = np.linalg.lstsq(gram[:k, :k], gram[:k, k], rcond=None)[0] if k else np.zeros(0)
        if not gram[k, k] - gram[:k, k] @ before > LEAST_PIVOT * gram[k, k]:
            return k
    return len(gram)


def _solved(gram: np.ndarray, sums: np.ndarray, n: int) -> np.ndarray:
    """Coefficients (n_term,) of the leading n terms, 0 of the others."""
    solution = np.zeros(len(sums))
    if n:
        solution[:n] = np.linalg.solve(gram[:n, :n], sums[:n])
    return solution
