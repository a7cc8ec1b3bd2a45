"""The fit of whole stars from their pieces: first fits, a start from all of them, and the search.

Every piece is fitted alone first. Where these fits agree on the velocity, or where each piece has one of its own, the
star begins at their mean, each weighted by the matrix of its last pass; else pieces are fitted once more from the
velocity that most of the signal speaks for. From there `advance` (engine/star_search.py) takes the star to its least
chi2, a pass over each piece after the other. Where first fits differ by far more than noise, the star begins from the
most certain of them, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from payneflow.fitting.engine.arguments import FOUND, PASSES, SCORE, SECOND_SCORE, TERMS, USED, Limits
from payneflow.fitting.engine.engines import box_of
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.search import AS_GOOD
from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.engine.star_search import (
    DONE,
    GUESSED,
    LOOKED,
    ROUGH,
    PieceSums,
    StarStates,
    advance,
    to_pieces,
)
from payneflow.fitting.engine.widths import SOFT, to_parameter, to_width
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.pieces import BINS, Run
from payneflow.fitting.quality import CERTAIN, NO_ROWS, VELOCITY_WINDOW, Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks

COMMON, EACH = "common", "each"
END = 0.5  # a search ends so many tolerances from the minimum, as it predicts it
MOVED = 0.25  # sigma squared by which a piece may move after it was scored: what a residual says is linear as far
APART = 4.0  # times what noise makes of how far first fits lie from their mean: then two starts are tried


@dataclass
class StarFits:
    """Stars as they end, and their pieces, star by star: star i has the pieces first[i] ... first[i + 1] - 1.

    `x` (n_star, n_most): parameters of each star, shifts in places of `log_step`, which is that of the first run;
    `matrix`, `pull`, `passes`, `ended`, `disagree`: as of a fit. `run`, `row` (n_piece,): where a piece is. `alone`:
    the first fits of pieces; `fits`: the pieces at their star's parameters, matrices without priors, of which
    `gradient` (n_piece, n_own) is half of what chi2 falls by. `scale` (n_piece, n_own): derivatives of a piece's
    parameters by its star's; `column` (n_piece,) of its velocity. `takes_part` (n_piece,) bool: could be fitted.
    `weights` (n_piece, BINS): sums of inverse variances along the networks' axis.
    """

    first: np.ndarray
    x: np.ndarray
    matrix: np.ndarray
    pull: np.ndarray
    passes: np.ndarray
    ended: np.ndarray
    disagree: np.ndarray
    run: np.ndarray
    row: np.ndarray
    alone: Fits
    fits: Fits
    gradient: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    ratio: np.ndarray
    column: np.ndarray
    takes_part: np.ndarray
    weights: np.ndarray
    log_step: float

    @property
    def star(self) -> np.ndarray:
        """(n_piece,), the star of each piece."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


class StarFitter:
    """Fits blocks of stars whose pieces are in `runs`; `velocity`: COMMON or EACH."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, runs: Sequence[Run], velocity: str):
        self.runs, self.settings, self.velocity = runs, settings, velocity
        self.parameters = Parameters.of(networks, settings)
        self.layout, self.log_step = self.parameters.layout, runs[0].engine.log_step
        self.n_own, self.n_common = self.layout.n, self.layout.n - self.layout.has_velocity
        box = box_of(networks, settings, self.log_step)
        self.box = Box(*(np.ascontiguousarray(values[: self.n_common]) for values in box))
        self.limits = Limits(END * settings.tolerance, settings.most_iterations, 0.0)
        self.window = to_places(VELOCITY_WINDOW, self.log_step) if self.layout.has_velocity else 0.0
        self.n_free = int(self.parameters.free.sum())

    def working(self) -> dict:
        """Working memory of one thread, that of each run made when it is needed."""
        return {}

    def fit(self, first: np.ndarray, run: np.ndarray, row: np.ndarray, working: dict) -> StarFits:
        """Fit stars of the pieces `row` (n_piece,) of the runs `run` (n_piece,), star i from first[i] on."""
        block = _Block(self, first, run, row, working)
        block.fit_alone()
        if self.layout.has_velocity:
            block.agree_on_velocities()
        block.begin()
        block.descend()
        block.try_other_starts()
        return block.ended()


class _Block:
    """Some stars under way."""

    def __init__(self, fitter: StarFitter, first: np.ndarray, run: np.ndarray, row: np.ndarray, working: dict):
        self.of, self.first, self.run, self.row, self.working = fitter, first, run, row, working
        self.n_star, self.n_piece = len(first) - 1, len(run)
        self.star = np.repeat(np.arange(self.n_star), np.diff(first))
        self.at = {k: np.flatnonzero(run == k) for k in range(len(fitter.runs)) if (run == k).any()}
        self.fits, self.kept, self.gradient = {}, {}, {}
        steps = np.array([r.engine.log_step for r in fitter.runs])
        self.ratio = fitter.log_step / steps[run] if fitter.layout.has_velocity or fitter.layout.n_broad else np.ones(
            self.n_piece
        )  # fmt: skip
        self.offset = np.array([fitter.runs[k].offset[i] for k, i in zip(run, row, strict=True)])

    # --- Each piece alone

    def fit_alone(self) -> None:
        """The first fits of all pieces, which find the outliers, too."""
        for k, at in self.at.items():
            run = self.of.runs[k]
            if k not in self.working:
                self.working[k] = run.engine.working()
            self.fits[k], self.kept[k] = run.engine.no_fits(len(at)), run.engine.keep(len(at))
            self.gradient[k] = np.zeros((len(at), self.of.n_own))
            run.first_fits(self.row[at], self.fits[k], self.kept[k], self.working[k])
        self.alone = self._gathered()
        self.found = self._in_places_of_stars(self.alone.shifts[:, FOUND])
        self.takes_part = self._could_be_fitted(self.alone)

    def _gathered(self) -> Fits:
        """The fits of all pieces, in their order; without what differs in shape from run to run."""
        every = Fits.empty(self.n_piece, self.of.n_own, log_step=self.of.log_step)
        for k, at in self.at.items():
            for name in every.__dict__:
                if name not in (*NO_ROWS, "continua"):
                    getattr(every, name)[at] = getattr(self.fits[k], name)
        return every

    def _could_be_fitted(self, fits: Fits) -> np.ndarray:
        finite = np.isfinite(fits.x).all(axis=1) & np.isfinite(fits.matrix).all(axis=(1, 2))
        return finite & np.isfinite(fits.chi2) & (fits.counts[:, USED] > fits.counts[:, TERMS])

    def _in_places_of_stars(self, shift: np.ndarray) -> np.ndarray:
        return (shift - self.offset) / self.ratio

    # --- Velocities

    def agree_on_velocities(self) -> None:
        """Fit pieces once more whose velocity was not found where that of the star is, if they can have it."""
        self.agrees = self.takes_part.copy()
        again = np.zeros(self.n_piece, dtype=bool)
        begin = np.full(self.n_piece, np.nan)
        certain = self._certain(self.alone)
        for i in range(self.n_star):
            own = np.arange(self.first[i], self.first[i + 1])
            own = own[self.takes_part[own]]
            if len(own) < 2:
                continue
            star = self._most_likely(self.found[own], self.alone.shifts[own, SCORE])
            far = np.abs(self.found[own] - star) > 0.5 * self.of.window
            self.agrees[own] = ~far
            again[own] = far & (~certain[own] | (self.of.velocity == COMMON))
            begin[own] = star
        fastest = to_places(self.of.settings.max_velocity, self.of.log_step)
        star = begin.copy()
        begin = np.clip(begin * self.ratio + self.offset, -fastest * self.ratio, fastest * self.ratio)
        self._fit_again(again, begin)
        if self.of.velocity == COMMON:
            self.takes_part &= ~(np.abs(self.found - star) > 0.5 * self.of.window)

    def _most_likely(self, found: np.ndarray, score: np.ndarray) -> float:
        """The velocity, of those found, that most of the signal lies around."""
        signal = np.maximum(np.nan_to_num(score), 0.0) ** 2
        near = np.abs(found[:, None] - found) <= 0.5 * self.of.window
        support = near @ signal
        return found[np.lexsort((found, signal, support))[-1]]

    def _certain(self, fits: Fits) -> np.ndarray:
        """(n_piece,) bool: no other velocity correlates nearly as well with a piece alone."""
        score, second = fits.shifts[:, SCORE], fits.shifts[:, SECOND_SCORE]
        dof = np.maximum(fits.counts[:, USED] - fits.counts[:, TERMS] - self.of.n_free, 1)
        return score**2 - second**2 >= CERTAIN * np.maximum(fits.chi2 / dof, 1.0)

    def _fit_again(self, again: np.ndarray, begin: np.ndarray) -> None:
        """First fits of pieces (n_piece,) bool from given shifts; where each has its own, if that is as good."""
        for k, at in self.at.items():
            rows = np.flatnonzero(again[at])
            if not len(rows):
                continue
            run = self.of.runs[k]
            fits, kept = run.engine.no_fits(len(rows)), run.engine.keep(len(rows))
            kept.delta[:] = begin[at[rows]]
            run.first_fits(self.row[at[rows]], fits, kept, self.working[k])
            before, own = self.fits[k][rows], at[rows]
            dof = np.maximum(before.counts[:, USED] - before.counts[:, TERMS] - self.of.n_free, 1)
            allowed = CERTAIN * np.maximum(before.chi2 / dof, 1.0)
            good = np.isfinite(fits.chi2) & np.isfinite(fits.x).all(axis=1)
            if self.of.velocity == EACH:
                good &= fits.chi2 < before.chi2 + allowed
            fits.shifts[:, SCORE:], fits.snr[:] = before.shifts[:, SCORE:], before.snr
            fits.counts[:, PASSES] += before.counts[:, PASSES]
            taken = rows[good]
            self.fits[k].put(taken, fits[good])
            for values, new in zip(self.kept[k], kept, strict=True):
                values[taken] = new[good]
            self.found[own[good]] = self._in_places_of_stars(begin)[own[good]]

    # --- The star

    def begin(self) -> None:
        """The state of all stars before the first pass over their pieces."""
        of, begun = self.of, self._gathered()
        self.begun = begun
        each = of.layout.has_velocity and of.velocity == EACH
        n_piece = np.diff(self.first)
        n_velocity = n_piece if each else np.full(self.n_star, int(of.layout.has_velocity))
        n = of.n_common + n_velocity
        order = np.arange(self.n_piece) - self.first[self.star]
        self.column = np.full(self.n_piece, -1) if not of.layout.has_velocity else of.n_common + order * each
        most = int(n.max())
        self.pieces = PieceSums(
            x=np.ascontiguousarray(begun.x),
            chi2=begun.chi2.copy(),
            gradient=np.zeros((self.n_piece, of.n_own)),
            matrix=begun.matrix.copy(),
            ratio=self.ratio,
            offset=self.offset,
            column=self.column,
            takes_part=self.takes_part,
        )
        shape = self.n_star, most
        self.stars = StarStates(
            first=self.first,
            n=n.astype(np.int64),
            stage=np.full(self.n_star, GUESSED),
            x=np.zeros(shape),
            x_new=np.zeros(shape),
            lowest=np.zeros(shape),
            highest=np.ones(shape),
            gradient=np.zeros(shape),
            matrix=np.zeros((*shape, most)),
            beyond=np.zeros((*shape, most)),
            step=np.zeros(shape),
            pull=np.zeros(shape),
            chi2=np.zeros(self.n_star),
            length=np.zeros(self.n_star),
            last=np.zeros(self.n_star),
            damping=np.zeros(self.n_star),
            failed=np.zeros(self.n_star, np.int64),
            passes=np.zeros(self.n_star, np.int64),
            ended=np.zeros(self.n_star, np.int64),
            stale=np.zeros(self.n_star, dtype=bool),
        )
        self.disagree, self.scored = np.zeros(self.n_star, np.int64), np.zeros((self.n_piece, of.n_own))
        self._set_bounds()
        self._guess()

    def _set_bounds(self) -> None:
        of, stars = self.of, self.stars
        common = slice(0, of.n_common)
        stars.lowest[:, common], stars.highest[:, common] = of.box.lowest, of.box.highest
        if not of.layout.has_velocity:
            return
        low, high = self.found - of.window / self.ratio, self.found + of.window / self.ratio
        stars.lowest[:, of.n_common :], stars.highest[:, of.n_common :] = -np.inf, np.inf
        for p in np.flatnonzero(self.takes_part):
            i, c = self.star[p], self.column[p]
            stars.lowest[i, c], stars.highest[i, c] = max(stars.lowest[i, c], low[p]), min(stars.highest[i, c], high[p])
        idle = np.ones(stars.lowest.shape, dtype=bool)  # velocities of pieces that take no part stay at 0
        idle[:, common] = False
        idle[self.star[self.takes_part], self.column[self.takes_part]] = False
        stars.lowest[idle] = stars.highest[idle] = 0.0

    def _guess(self) -> None:
        """Parabolas around the first fits, seen from the most certain one of each star."""
        of, stars, pieces = self.of, self.stars, self.pieces
        signal = np.where(self.takes_part, np.nan_to_num(self.begun.snr) ** 2 * self.begun.counts[:, USED], -1.0)
        self.best = np.zeros(self.n_star, np.int64)
        for i in range(self.n_star):
            self.best[i] = self.first[i] + np.argmax(signal[self.first[i] : self.first[i + 1]])
        own = self._of_stars(self.begun.x)
        stars.x_new[:, : of.n_common] = own[self.best, : of.n_common]
        if of.layout.has_velocity:
            velocity = own[self.best] if of.velocity == COMMON else own
            which = self.best if of.velocity == COMMON else np.arange(self.n_piece)
            stars.x_new[self.star[which], self.column[which]] = np.nan_to_num(velocity[:, of.n_common])
        none = np.zeros(self.n_star, dtype=bool)
        none[np.setdiff1d(np.arange(self.n_star), self.star[self.takes_part])] = True
        stars.stage[none] = DONE
        stars.x_new[none] = 0.0
        np.clip(stars.x_new, stars.lowest, stars.highest, out=stars.x_new)
        if of.box.held.any():  # what is held is where every piece has it
            held = np.flatnonzero(of.box.held)
            stars.lowest[:, held] = stars.highest[:, held] = stars.x_new[:, held]
        self.start = stars.x_new.copy()
        to_pieces(stars, pieces, of.box.is_width, of.n_common)
        away = np.where(self.takes_part[:, None], self.begun.x - pieces.x, 0.0)
        matrix = np.where(self.takes_part[:, None, None], self.begun.matrix, 0.0)
        pieces.matrix[:], pieces.gradient[:] = matrix, (matrix * away[:, None, :]).sum(axis=2)
        pieces.chi2[:] = np.where(self.takes_part, self.begun.chi2, 0.0) + (away * pieces.gradient).sum(axis=1)
        advance(stars, pieces, of.box, of.n_common, of.limits)
        to_pieces(stars, pieces, of.box.is_width, of.n_common)
        away = np.where(self.takes_part[:, None], self.begun.x - pieces.x, 0.0)
        distance = (matrix * away[:, None, :] * away[:, :, None]).sum(axis=(1, 2))
        self.apart = np.zeros(self.n_star)
        np.add.at(self.apart, self.star, distance)

    def _of_stars(self, x: np.ndarray) -> np.ndarray:
        """Parameters of pieces (n_piece, n_own) as those of their stars."""
        own, broad = x.copy(), self.of.layout.broadenings
        differs = self.ratio != 1.0
        own[differs, broad] = to_parameter(to_width(x[differs, broad]) / self.ratio[differs, None])
        if self.of.layout.has_velocity:
            own[:, -1] = self._in_places_of_stars(x[:, -1])
        return own

    def descend(self) -> None:
        """Take all stars that are under way to their least chi2."""
        of, stars = self.of, self.stars
        while (stars.stage != DONE).any():
            self._look(stars.stage == ROUGH, rough=True)
            self._look(stars.stage == LOOKED)
            advance(stars, self.pieces, of.box, of.n_common, of.limits)
        self._look(stars.stale)
        stars.stale[:] = False

    def _look(self, which: np.ndarray, rough: bool = False) -> None:
        """A pass over all pieces of the stars `which` (n_star,) bool; a rough one scores them, too."""
        if not which.any():
            return
        to_pieces(self.stars, self.pieces, self.of.box.is_width, self.of.n_common)
        if rough:
            mine = which[self.star]
            self.scored[mine] = self.pieces.x[mine]
        for k, at in self.at.items():
            rows = np.flatnonzero(which[self.star[at]] & self.takes_part[at])
            if not len(rows):
                continue
            fits, x = self.fits[k], np.ascontiguousarray(self.pieces.x[at])
            dof = np.maximum(fits.counts[:, USED] - fits.counts[:, TERMS] - self.of.n_free, 0) if rough else None
            own = np.full(len(at), -1) if dof is None else dof
            self.of.runs[k].engine.look(rows, x, own, self.gradient[k], fits, self.kept[k], self.working[k])
            fits.counts[rows, PASSES] += 1
            self.pieces.chi2[at[rows]], self.pieces.matrix[at[rows]] = fits.chi2[rows], fits.matrix[rows]
            self.pieces.gradient[at[rows]] = self.gradient[k][rows]

    def try_other_starts(self) -> None:
        """Search once more, from the most certain first fit, where these differ by far more than noise makes them."""
        of, stars = self.of, self.stars
        taking = np.bincount(self.star, self.takes_part, self.n_star)
        expected = np.maximum(taking - 1, 0) * of.n_own
        again = (self.apart > APART * expected + AS_GOOD) & (taking > 1) & (stars.stage == DONE)
        if not again.any():
            return
        before = [[values.copy() for values in group] for group in (stars, self.pieces)]
        stars.stage[again], stars.passes[again] = ROUGH, 0
        for name in ("damping", "last", "length", "beyond", "failed"):
            getattr(stars, name)[again] = 0
        stars.x_new[again] = self.start[again]
        self.descend()
        old = StarStates(*before[0])
        apart = np.einsum("na,nab,nb->n", stars.x - old.x, old.matrix, stars.x - old.x)
        near = np.abs(stars.chi2 - old.chi2) < AS_GOOD
        self.disagree[again & (apart > 1.0) & near] = 1
        worse = again & ~(stars.chi2 < old.chi2)
        for group, copy in zip((stars, self.pieces), before, strict=True):
            for values, one in zip(group, copy, strict=True):
                rows = worse if len(values) == self.n_star else worse[self.star]
                if group is stars and values is stars.first:
                    continue
                values[rows] = one[rows]

    def ended(self) -> StarFits:
        """The stars, after a last look at their pieces."""
        of, stars = self.of, self.stars
        to_pieces(stars, self.pieces, of.box.is_width, of.n_common)
        pieces = PieceSums(*(values.copy() for values in self.pieces))
        away = pieces.x - self.scored
        far = (away[:, None, :] @ pieces.matrix @ away[:, :, None])[:, 0, 0] > MOVED
        if (far & self.takes_part).any():
            which = np.zeros(self.n_star, dtype=bool)
            which[self.star[far & self.takes_part]] = True
            self._look(which, rough=True)
            away = pieces.x - self.scored
        fits = self._gathered()
        fits.score -= (away[:, None, :] @ fits.cross)[:, 0, :]
        fits.x[:], fits.chi2[:], fits.matrix[:] = pieces.x, pieces.chi2, pieces.matrix
        weights = np.zeros((self.n_piece, BINS))
        for k, at in self.at.items():
            weights[at] = of.runs[k].weights(self.kept[k])
        return StarFits(
            self.first, stars.x, stars.matrix, stars.pull, stars.passes, stars.ended, self.disagree, self.run, self.row,
            self.alone, fits, pieces.gradient, self._scales(), self.offset, self.ratio, self.column, self.takes_part,
            np.where(self.takes_part[:, None], weights, 0.0), of.log_step,
        )  # fmt: skip

    def _scales(self) -> np.ndarray:
        """(n_piece, n_own), derivatives of the pieces' parameters by those of their stars, as in engine/star_search."""
        scale = np.ones((self.n_piece, self.of.n_own))
        if self.of.layout.has_velocity:
            scale[:, -1] = self.ratio
        if not self.of.layout.n_broad or (self.ratio == 1.0).all():
            return scale
        broad = self.of.layout.broadenings
        q, own = self.stars.x[self.star, broad], self.pieces.x[:, broad]
        scale[:, broad] = self.ratio[:, None] ** 2 * (q + SOFT) / (own + SOFT)
        return scale
