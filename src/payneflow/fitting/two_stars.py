"""The light of one star, or of two, as a model with derivatives, and the least squares of either.

One star is the networks' spectrum with rotating lines at a velocity, and a veil of light without lines. Two stars are
two such spectra at velocities of their own, one of which has a share of the light; they have one broadening, and no
veil. Both are multiplied by Chebyshev polynomials in each detector segment, solved for linearly (variable projection,
Kaufman 1975, BIT 15, 49). So what two stars explain better than one is no broad line, no bent continuum, and no light
without lines. Plain numpy: few spectra are looked at so closely.
"""

from dataclasses import dataclass, replace

import numpy as np

from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL
from payneflow.fitting.star_light import WINDOW, StarLight

LEAST_LIGHT, MOST_LIGHT = 0.01, 0.99  # share of the second of two stars
MOST_VEIL = 0.9
MOST_BLUR = 30.0**2  # (km/s)^2
FEW = 8  # usable pixels of a segment for each term of its continuum: with less it takes no part
RIDGE = 1e-10  # of the diagonal of normal equations
ALIKE = 1e-7  # the same where flux is good to 1e-6: what slopes explain together that are alike
DAMPING, MOST_DAMPING = 1e-3, 1e8
MOST_STEPS = 30
ENOUGH = 0.3  # by how much chi2 falls, in units of its own per pixel, where a search ends


@dataclass(frozen=True, eq=False)
class Observed:
    """One spectrum: flux (n_data,) and 1 / sigma (n_data,), 0 where a pixel takes no part."""

    flux: np.ndarray
    root: np.ndarray

    def without(self, pixels: np.ndarray) -> "Observed":
        """Without `pixels` (n_data,) bool."""
        return replace(self, root=np.where(pixels, 0.0, self.root))


@dataclass(frozen=True, eq=False)
class Found:
    """The end of a search: parameters (n,), chi2, residuals (n_data,) in sigma, and how the parameters' products are
    left by the continuum, (n, n): their inverse is the covariance.
    """

    x: np.ndarray
    chi2: float
    residual: np.ndarray
    square: np.ndarray


class OneStar:
    """Parameters: scaled labels, rotation, blur, the shift in places, the veil."""

    def __init__(self, light: StarLight, free: np.ndarray, start: np.ndarray):
        """Stars near `start` (n,); `free` (n_label,) bool, which labels are searched."""
        self.light, self.start, n = light, start, light.n_label
        window, most = to_places(WINDOW, light.log_step), MOST_BLUR / light.step**2
        self.lowest = np.concatenate([np.full(n, LOWEST_LABEL), [0.0, 0.0, start[n + 2] - window, -MOST_VEIL]])
        self.highest = np.concatenate(
            [np.full(n, HIGHEST_LABEL), [light.most_rotation, most, start[n + 2] + window, MOST_VEIL]]
        )
        self.free = np.concatenate([free, [light.rotates, True, True, True]])

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_data,) and its derivatives (n_parameter, n_data)."""
        n, veil = self.light.n_label, x[-1]
        star = self.light.star(x[:n], *x[n : n + 3])
        dark = star.flux.mean() - star.flux
        return star.flux + veil * dark, np.vstack([(1.0 - veil) * star.slopes, dark])


class TwoStars:
    """Parameters: scaled labels of one star, of the other, rotation and blur of both, the shift of each, the other's
    share of the light.
    """

    def __init__(self, light: StarLight, free: np.ndarray, start: np.ndarray):
        """Stars near `start` (n,); `free` (n_label,) bool, which labels of either are searched."""
        self.light, self.start, n = light, start, light.n_label
        window, most = to_places(WINDOW, light.log_step), MOST_BLUR / light.step**2
        shifts = start[-3:-1]
        self.lowest = np.concatenate([np.full(2 * n, LOWEST_LABEL), [0.0, 0.0], shifts - window, [LEAST_LIGHT]])
        self.highest = np.concatenate(
            [np.full(2 * n, HIGHEST_LABEL), [light.most_rotation, most], shifts + window, [MOST_LIGHT]]
        )
        self.free = np.concatenate([free, free, [light.rotates, True, True, True, True]])

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_data,) and its derivatives (n_parameter, n_data)."""
        n = self.light.n_label
        rotation, blur, shift, other_shift, share = x[2 * n :]
        one = self.light.star(x[:n], rotation, blur, shift)
        other = self.light.star(x[n : 2 * n], rotation, blur, other_shift)
        first, second = (1.0 - share) * one.slopes, share * other.slopes
        slopes = np.vstack(
            [first[:n], second[:n], first[n : n + 2] + second[n : n + 2], first[-1], second[-1], other.flux - one.flux]
        )
        return (1.0 - share) * one.flux + share * other.flux, slopes


class SecondLight:
    """One star, and what a second one's light changes to first order: its share alone, and times its labels and shift.

    So the labels and the velocity of the second star need not be known well.
    """

    def __init__(self, one: OneStar, labels: np.ndarray, shift: float):
        """A second star of scaled labels (n_label,) at a shift in places, as broad as the first."""
        self.one, self.light, self.labels, self.shift = one, one.light, labels, shift
        self.free = np.concatenate([one.free, [True], one.free[: len(labels)], [True]])

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_data,) of one star, and the derivatives (n_parameter, n_data), those by the second star last."""
        n = self.light.n_label
        flux, slopes = self.one.at(x)
        second = self.light.star(self.labels, x[n], x[n + 1], self.shift)
        return flux, np.vstack([slopes, second.flux - flux, second.slopes[:n], second.slopes[-1]])


def first_order_gain(one: OneStar, seen: Observed, labels: np.ndarray, shift: float) -> tuple[float, float]:
    """By how much chi2 falls with a second star of about these scaled labels and shift in places, to first order; chi2.

    Beyond what the parameters of `one`, at its start, and the continuum explain: the score test (Rao 1948, Proc.
    Cambridge Phil. Soc. 44, 50), without a step of a search.
    """
    model, n = SecondLight(one, labels, shift), len(one.start)
    chi2, residual, slopes = projected(model, one.start, seen)
    return _explained(slopes[model.free], residual) - _explained(slopes[:n][one.free], residual), chi2


def _explained(slopes: np.ndarray, residual: np.ndarray) -> float:
    """By how much a combination of slopes (n, n_data) reduces chi2."""
    size = np.sqrt(np.einsum("pk,pk->p", slopes, slopes))
    slopes = slopes[size > 0.0] / size[size > 0.0, None]
    square, gradient = np.einsum("pk,qk->pq", slopes, slopes), np.einsum("pk,k->p", slopes, residual)
    return float(gradient @ np.linalg.solve(square + ALIKE * np.eye(len(square)), gradient))


def continuum_of(light: StarLight, flux: np.ndarray, seen: Observed) -> np.ndarray:
    """(n_data,) the polynomials of each segment that go best with a model's flux; 0 where too few pixels tell them."""
    level = np.zeros(len(flux))
    for part in light.segments:
        rows = light.terms[:, part] * (flux[part] * seen.root[part])
        inverse = _inverse(rows, seen.root[part])
        if inverse is not None:
            solution = inverse @ (rows @ (seen.flux[part] * seen.root[part]))
            level[part] = solution @ light.terms[:, part]
    return level


def _inverse(rows: np.ndarray, root: np.ndarray) -> np.ndarray | None:
    """Of the products of rows (n_term, n_pixel); None where a segment has too few pixels."""
    if np.count_nonzero(root) < FEW * len(rows):
        return None
    products = np.einsum("ak,bk->ab", rows, rows)
    return np.linalg.inv(products + RIDGE * np.diag(np.diag(products)))


def projected(model, x: np.ndarray, seen: Observed) -> tuple[float, np.ndarray, np.ndarray]:
    """chi2, residuals (n_data,) in sigma and their derivatives (n_parameter, n_data), the continuum solved for."""
    flux, slopes = model.at(x)
    residual, moved = np.zeros(len(flux)), np.zeros(slopes.shape)
    for part in model.light.segments:
        root, terms = seen.root[part], model.light.terms[:, part]
        rows = terms * (flux[part] * root)
        inverse = _inverse(rows, root)
        if inverse is None:
            continue
        data = seen.flux[part] * root
        solution = inverse @ (rows @ data)
        residual[part] = data - solution @ rows
        own = slopes[:, part] * ((solution @ terms) * root)
        moved[:, part] = own - np.einsum("pk,ak->pa", own, rows) @ inverse @ rows
    return float((residual**2).sum()), residual, moved


def search(model, seen: Observed, start: np.ndarray | None = None, most_steps: int = MOST_STEPS) -> Found:
    """The least chi2 of a model between its bounds from its start (Levenberg-Marquardt; what a bound holds stays)."""
    x = np.clip(model.start if start is None else start, model.lowest, model.highest)
    chi2, residual, slopes = projected(model, x, seen)
    enough = ENOUGH * max(chi2 / max(np.count_nonzero(seen.root), 1), 1.0)
    damping = DAMPING
    square = np.einsum("pk,qk->pq", slopes, slopes)
    for _ in range(most_steps):
        gradient = np.einsum("pk,k->p", slopes, residual)
        held = ~model.free | ((x <= model.lowest) & (gradient < 0.0)) | ((x >= model.highest) & (gradient > 0.0))
        move, better = np.flatnonzero(~held), False
        while len(move) and not better and damping < MOST_DAMPING:
            trial = x.copy()
            trial[move] += _step(square[np.ix_(move, move)], gradient[move], damping)
            trial = np.clip(trial, model.lowest, model.highest)
            found = projected(model, trial, seen)
            better = found[0] < chi2
            damping = damping * 0.1 if better else damping * 10.0
        if not better:
            break
        gained = chi2 - found[0]
        x, (chi2, residual, slopes) = trial, found
        square = np.einsum("pk,qk->pq", slopes, slopes)
        if gained < enough:
            break
    return Found(x, chi2, residual, square)


def _step(square: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    own = np.diag(square)
    return np.linalg.solve(square + np.diag(damping * own + RIDGE * own.max()), gradient)
