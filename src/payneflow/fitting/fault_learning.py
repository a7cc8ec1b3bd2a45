"""Faults of the model, learned from the residuals of many fitted stars (faults.py says what they are).

A fit hides what of a fault its parameters can do: the residual of a star is P (fault + noise), P taking away what
labels, velocity and continuum explain. What all stars share is solved for with the parameters of all stars at once:
offsets M of greatest posterior, (1/T + sum P) M = sum P r, by conjugate gradients, with variances T pixel by pixel
(fault_sizes.py). Most pixels have no fault, and so small a T that a wrong label, which changes many pixels a little,
cannot hide as a fault of all of them. How far it can all the same is what is left uncertain: the doubts.

Stars that take no part in the learning decide what is kept: whether there are faults at all, whether they go with the
labels, and how many components they have. What does not make these stars more likely is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from payneflow.errors import CalibrationError
from payneflow.fitting.fault_sizes import fault_sizes
from payneflow.fitting.faults import MOST_LAG, WIDEST, AtStar, ModelFaults

LEAST_STARS = 3
FEW = 20  # stars: so few are left out one by one
STARS_A_SLOPE = 10  # for each label that offsets may go with
STARS_OF_COMPONENTS = 20
COMPONENTS = (3, 10)  # tried
KINDS = 4  # of pixels
WEIGHED, SOLVED = 5, 2  # rounds: each star alone, then all together
ACCURACY, MOST_STEPS = 1e-4, 150  # of conjugate gradients
MOST_DOUBTS, LEAST_DOUBT = 16, 0.02  # eigenvalues below it hide nothing
RIDGE = 1.0  # of scaled labels: one that a spectrum does not tell stays within the box
WILD = 6.0  # sigma of a pixel's usual scatter: a cosmic ray, where stars are many enough to tell
SURE = 10.0  # gain in ln likelihood of the stars held out, below which nothing is kept
SIZES = np.exp(np.linspace(-1.4, 1.4, 15))  # times what was learned, of which each star that is held out has its own
PSEUDO, TYPICAL = 3.0, 0.3  # stars, and the spread of ln size among them, that are thought of besides
USUAL = 0.97  # quantile of chi2/dof of stars held out


@dataclass(frozen=True, eq=False)
class Residuals:
    """Of n_star fitted stars on the networks' pixels, divided by their continuum.

    `residual` (n_star, n_pixel), `variance` (n_star, n_pixel) of its noise, 0 and inf where a pixel takes no part;
    `slopes` (n_star, n_parameter, n_pixel) by all that was fitted, labels first, `n_label` of them; `scaled`
    (n_star, n_label) all labels.
    """

    residual: np.ndarray
    variance: np.ndarray
    slopes: np.ndarray
    scaled: np.ndarray
    n_label: int

    def __len__(self) -> int:
        return len(self.residual)

    def __getitem__(self, rows: np.ndarray) -> "Residuals":
        arrays = (self.residual, self.variance, self.slopes, self.scaled)
        return Residuals(*(array[rows] for array in arrays), n_label=self.n_label)


@dataclass(frozen=True, eq=False)
class Hidden:
    """What the parameters of stars hide of changes to their spectra, with weights (n_star, n_pixel)."""

    slopes: np.ndarray
    weight: np.ndarray
    n_label: int

    @cached_property
    def _inverse(self) -> np.ndarray:
        matrix = (self.slopes * self.weight[:, None, :].astype(np.float32)) @ np.swapaxes(self.slopes, 1, 2)
        matrix = matrix.astype(float)
        size = np.einsum("npp->np", matrix)
        row = np.arange(matrix.shape[1])
        matrix[:, row, row] += 1e-7 * size + np.where(row < self.n_label, RIDGE, 1e-12 * size.max() + 1e-300)
        return np.linalg.inv(matrix)

    def fitted(self, flux: np.ndarray) -> np.ndarray:
        """(n_star, n_pixel), what the parameters make of `flux` (n_star, n_pixel)."""
        sums = self.slopes @ (self.weight * flux).astype(np.float32)[:, :, None]
        found = self._inverse @ sums
        return (np.swapaxes(found, 1, 2).astype(np.float32) @ self.slopes)[:, 0]

    def variance(self) -> np.ndarray:
        """(n_star, n_pixel) of what the parameters make of a spectrum, by their own uncertainty."""
        slopes = self.slopes
        return np.einsum("npk,npk->nk", self._inverse.astype(np.float32) @ slopes, slopes).astype(float)

    def left(self, flux: np.ndarray) -> np.ndarray:
        """(n_star, n_pixel), P times `flux`: what is left of it, times its weight."""
        return self.weight * (flux - self.fitted(flux))


@dataclass(frozen=True, eq=False)
class _Learned:
    """Sizes, offsets (n_basis, n_pixel) and what is left of each star, (n_star, n_pixel), by one set of stars, the
    `variance` (n_star, n_pixel) of whose noise is given.
    """

    prior: np.ndarray
    offset: np.ndarray
    scatter: np.ndarray
    left: np.ndarray
    hidden: Hidden
    share: np.ndarray
    basis: np.ndarray
    variance: np.ndarray


def learn_faults(stars: Residuals, networks: str, progress: Callable[[str], None] | None = None) -> ModelFaults:
    """Faults of the networks with this digest. Raises CalibrationError where there are fewer than LEAST_STARS stars."""
    if len(stars) < LEAST_STARS:
        raise CalibrationError(
            f"{len(stars)} stars: at least {LEAST_STARS} are needed to tell faults of the model from their own."
        )
    say = progress or (lambda said: None)
    stars = without_wild(stars)
    choice, sizes, usual, gains = _choose(stars, say)
    label_range = np.stack([stars.scaled.min(axis=0), stars.scaled.max(axis=0)])
    provenance = {"stars": len(stars), "kept": choice.said, "gains": gains}
    if not choice.offsets:
        return _no_faults(stars, label_range, networks, provenance)
    say(f"learning from all {len(stars)} stars: {choice.said}")
    faults = _faults_of(
        _learn(stars, choice.labels, _sizes_alone(stars)), choice.components, label_range, networks, with_doubts=True
    )
    return replace(_scaled(faults, sizes[0]), spread=sizes[1], usual_chi2=usual, provenance=provenance)


# ------------------------------------------------------------------------------------------- what is learned from stars


def without_wild(stars: Residuals) -> Residuals:
    """Without pixels that are far from those of all other stars: cosmic rays."""
    if len(stars) < FEW:
        return stars
    known = np.isfinite(stars.variance)
    residual = np.ma.array(stars.residual, mask=~known)
    middle = np.ma.median(residual, axis=0).filled(0.0)
    away = np.abs(residual - middle)
    usual = 1.4826 * np.ma.median(away, axis=0).filled(0.0)
    wild = known & (away.filled(0.0) > WILD * np.sqrt(np.where(known, stars.variance, 0.0) + usual**2))
    return replace(stars, residual=np.where(wild, 0.0, stars.residual), variance=np.where(wild, np.inf, stars.variance))


def _sizes_alone(stars: Residuals) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares (n_pixel,) of offset and scatter, each star with parameters that the largest faults do not move."""
    kind = _kinds(stars)
    offset2, scatter2 = fault_sizes(stars.residual, stars.variance, None, kind)
    for _ in range(WEIGHED):
        hidden = Hidden(stars.slopes, 1.0 / (stars.variance + offset2 + scatter2), stars.n_label)
        alone = stars.residual - hidden.fitted(stars.residual)
        offset2, scatter2 = fault_sizes(alone, stars.variance, hidden.variance(), kind)
    return offset2, scatter2


def _kinds(stars: Residuals) -> np.ndarray:
    """(n_pixel,) 0 … KINDS - 1, by how much the labels change a pixel: where there are lines, there are faults."""
    slopes = np.sqrt(np.einsum("npk,npk->k", stars.slopes[:, : stars.n_label], stars.slopes[:, : stars.n_label]))
    edges = np.quantile(slopes, np.arange(1, KINDS) / KINDS)
    return np.searchsorted(edges, slopes)


def _learn(stars: Residuals, with_labels: bool, sizes: tuple[np.ndarray, np.ndarray]) -> _Learned:
    """What stars with these sizes of faults, each alone, say together."""
    residual, (offset2, scatter2) = stars.residual, sizes
    basis = _basis(stars.scaled, with_labels)
    share = np.column_stack([np.ones(len(stars)), stars.scaled]) @ basis.T
    for last in [False] * (SOLVED - 1) + [True]:
        prior = np.stack([offset2] + [scatter2] * (len(basis) - 1))
        hidden = Hidden(stars.slopes, 1.0 / (stars.variance + scatter2), stars.n_label)
        offset = _solved(hidden, share, residual, prior)
        alone = residual - hidden.fitted(residual - share @ offset)
        if not last:
            offset2, scatter2 = fault_sizes(alone, stars.variance, hidden.variance(), _kinds(stars))
    left = alone - share @ offset
    if len(basis) > 1:
        scatter2 = fault_sizes(left, stars.variance, hidden.variance(), _kinds(stars))[1]
    return _Learned(prior, offset, np.sqrt(scatter2), left, hidden, share, basis, stars.variance)


def _basis(scaled: np.ndarray, with_labels: bool) -> np.ndarray:
    """(n_basis, 1 + n_label): what of 1 and the labels is 1, or uncorrelated among the stars with variance 1."""
    n_label = scaled.shape[1]
    first = np.append(1.0, np.zeros(n_label))[None]
    if not with_labels:
        return first
    middle = scaled.mean(axis=0)
    _, width, directions = np.linalg.svd(scaled - middle, full_matrices=False)
    told = width > 1e-6 * max(width[0], 1e-300)
    slopes = directions[told] / (width[told, None] / np.sqrt(len(scaled)))
    return np.concatenate([first, np.column_stack([-slopes @ middle, slopes])])


def _solved(hidden: Hidden, share: np.ndarray, residual: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Offsets (n_basis, n_pixel) of greatest posterior; `share` (n_star, n_basis), `prior` their variances."""
    root = np.sqrt(prior)
    diagonal = 1.0 + prior * (share.T**2 @ hidden.weight)

    def product(flat: np.ndarray) -> np.ndarray:
        offset = (root * flat.reshape(root.shape)).astype(float)
        return flat + (root * (share.T @ hidden.left(share @ offset))).ravel()

    n = root.size
    operator = LinearOperator((n, n), matvec=product, dtype=float)
    quick = LinearOperator((n, n), matvec=lambda flat: flat / diagonal.ravel(), dtype=float)
    right = (root * (share.T @ hidden.left(residual))).ravel()
    if not right.any():
        return np.zeros(root.shape)
    solution, _ = cg(operator, right, rtol=ACCURACY, maxiter=MOST_STEPS, M=quick)
    return root * solution.reshape(root.shape)


def _doubts(learned: _Learned) -> tuple[np.ndarray, np.ndarray]:
    """Errors (n_basis, n_pixel) of the offsets, each alone, and (n_doubt, n_basis, n_pixel), of all together.

    The posterior covariance is (D - H)^-1 with D = 1/T + sum W diagonal and H what the stars' parameters hide; with
    eigenvectors u of D^-1/2 H D^-1/2 it is D^-1 + sum D^-1/2 u l/(1 - l) u' D^-1/2.
    """
    share, weight = learned.share, learned.hidden.weight
    error = np.sqrt(learned.prior / (1.0 + learned.prior * (share.T**2 @ weight)))

    def product(flat: np.ndarray) -> np.ndarray:
        flux = share @ (error * flat.reshape(error.shape))
        return (error * (share.T @ (weight * learned.hidden.fitted(flux)))).ravel()

    operator = LinearOperator((error.size, error.size), matvec=product, dtype=float)
    k = min(MOST_DOUBTS, error.size - 2)
    start = np.ones(error.size) / np.sqrt(error.size)  # not a random one, so that the same stars give the same bits
    value, vector = eigsh(operator, k=k, which="LA", tol=1e-2, v0=start)
    kept = value > LEAST_DOUBT
    value = np.minimum(value[kept], 1.0 - 1e-6)
    size = np.sqrt(value / (1.0 - value))
    return error, error * (vector[:, kept] * size).T.reshape(-1, *error.shape)


def _faults_of(
    learned: _Learned, n_component: int, label_range: np.ndarray, networks: str, with_doubts: bool = False
) -> ModelFaults:
    components, scatter, left = _components(learned, n_component)
    if with_doubts:
        error, doubt = _doubts(learned)
        doubt *= np.sqrt(1.0 + 2.0 * _neighbours(learned).sum())
    else:
        error = np.sqrt(learned.prior / (1.0 + learned.prior * (learned.share.T**2 @ learned.hidden.weight)))
        doubt = np.zeros((0, *error.shape))
    return ModelFaults(
        offset=learned.offset,
        offset_error=error,
        doubt=doubt,
        basis=learned.basis,
        label_range=label_range,
        scatter=scatter,
        correlation=_correlation(learned.hidden.weight, scatter, left),
        components=components,
        usual_chi2=1.0,
        spread=0.0,
        networks=networks,
    )


def _components(learned: _Learned, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, n_pixel) components of what is left of the stars, the scatter (n_pixel,) beyond them, and what they leave."""
    scatter, left, weight = learned.scatter, learned.left, learned.hidden.weight
    if not n:
        return np.zeros((0, len(scatter))), scatter, left
    star = scatter * left * weight  # in units of the scatter, as far as noise lets one see
    value, vector = np.linalg.eigh(star @ star.T / len(star))
    bulk = np.median(value)
    value, vector = value[::-1][:n], vector[:, ::-1][:, :n]
    size = np.sqrt(np.maximum(value - bulk, 0.0) / np.maximum(value, 1e-300))
    components = scatter * (vector.T @ star) / np.sqrt(len(star)) * size[:, None]
    rest = np.empty_like(left)
    for i, (one, own) in enumerate(zip(left, weight, strict=True)):
        matrix = (components * own) @ components.T + np.eye(n)
        rest[i] = one - np.linalg.solve(matrix, components @ (own * one)) @ components
    return components, np.sqrt(fault_sizes(rest, learned.variance)[1]), rest


def _neighbours(learned: _Learned) -> np.ndarray:
    """(MOST_LAG,) correlations of the offset between pixels 1, 2, ... apart: lines have faults, not pixels."""
    unit = learned.offset[0] / np.sqrt(np.maximum(learned.prior[0], 1e-300))
    found = np.array([(unit[:-lag] * unit[lag:]).sum() for lag in range(1, MOST_LAG + 1)])
    found /= max(float(unit @ unit), 1e-300)
    return np.clip(np.where(np.cumprod(found > 0.0), found, 0.0), 0.0, 1.0)


def _correlation(weight: np.ndarray, scatter: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(MOST_LAG + 1,) of what is `left` of stars between pixels 0, 1, ... apart: 1, and never below 0."""
    star, root = np.sqrt(weight) * left, np.sqrt(weight) * scatter  # the last one: the part that is no noise
    n = weight.shape[1]
    both = np.array([(star[:, : n - lag] * star[:, lag:]).sum() for lag in range(1, MOST_LAG + 1)])
    full = np.array([(root[:, : n - lag] * root[:, lag:]).sum() for lag in range(1, MOST_LAG + 1)])
    told = full > 3.0 * weight.size**0.5  # noise scatters the sums by the root of how many there are
    found = np.divide(both, full, out=np.zeros(MOST_LAG), where=told)
    return np.append(1.0, np.clip(np.where(np.cumprod(found > 0.0), found, 0.0), 0.0, 1.0))


def _no_faults(stars: Residuals, label_range: np.ndarray, networks: str, provenance: dict) -> ModelFaults:
    n_pixel = stars.residual.shape[1]
    zero = np.zeros((1, n_pixel))
    return ModelFaults(
        offset=zero,
        offset_error=zero,
        doubt=np.zeros((0, 1, n_pixel)),
        basis=_basis(stars.scaled, False),
        label_range=label_range,
        scatter=zero[0],
        correlation=np.append(1.0, np.zeros(MOST_LAG)),
        components=zero[:0],
        usual_chi2=1.0,
        spread=0.0,
        networks=networks,
        provenance=provenance,
    )


# ------------------------------------------------------------------------------------- what stars that are held out say


@dataclass(frozen=True)
class _Choice:
    offsets: bool
    labels: bool = False
    components: int = 0

    @property
    def said(self) -> str:
        if not self.offsets:
            return "no faults"
        parts = ["offsets and scatter", "offsets that go with the labels"][: 1 + self.labels]
        return ", ".join([*parts, *([f"{self.components} components"] if self.components else [])])


def _folds(n: int) -> list[np.ndarray]:
    """Rows of stars that are held out together."""
    n_fold = n if n < FEW else (4 if n < 100 else 2)
    return [np.arange(n)[k::n_fold] for k in range(n_fold)]


def _choose(stars: Residuals, say) -> tuple[_Choice, tuple[float, float], float, dict]:
    """What is kept, its size and how that spreads, the usual chi2/dof, gains in ln likelihood of stars held out."""
    n = len(stars)
    choices = [_Choice(True)]
    if n >= STARS_A_SLOPE * (1 + stars.scaled.shape[1]):
        choices.append(_Choice(True, labels=True))
    if n >= STARS_OF_COMPONENTS:
        choices += [replace(choice, components=k) for choice in choices for k in COMPONENTS]
    folds, parts = _folds(n), {choice: [] for choice in choices}
    for k, held in enumerate(folds):
        say(f"stars held out: part {k + 1} of {len(folds)}")
        own = stars[np.setdiff1d(np.arange(n), held)]
        label_range = np.stack([own.scaled.min(axis=0), own.scaled.max(axis=0)])
        sizes, kinds = _sizes_alone(own), {choice.labels for choice in choices}
        learned = {with_labels: _learn(own, with_labels, sizes) for with_labels in sorted(kinds)}
        for choice in choices:
            parts[choice].append(_faults_of(learned[choice.labels], choice.components, label_range, ""))
    nothing = np.array([_judge(stars, i, None)[0] for i in range(n)])
    found = {choice: _judge_all(stars, folds, faults) for choice, faults in parts.items()}
    gains = {choice.said: float((values[0] - nothing).sum()) for choice, values in found.items()}
    best = choices[0]
    for choice in choices[1:]:
        if gains[choice.said] > gains[best.said] + SURE:
            best = choice
    if gains[best.said] <= SURE or np.median(found[best][0] - nothing) <= 0.0:
        return _Choice(False), (1.0, 0.0), 1.0, gains
    sized = np.array([_judge_all(stars, folds, [_scaled(one, size) for one in parts[best]]) for size in SIZES])
    middle, spread = _middle_and_spread(sized[:, 0])
    inside = np.abs(np.log(SIZES) - middle) <= WIDEST * spread + 0.5 * np.log(SIZES[1] / SIZES[0])
    own = np.where(inside[:, None], sized[:, 0], -np.inf).argmax(axis=0)
    usual = max(float(np.quantile(sized[own, 1, np.arange(n)], USUAL)), 1.0)
    return best, (float(np.exp(middle)), spread), usual, gains


def _middle_and_spread(chances: np.ndarray) -> tuple[float, float]:
    """Of the logarithms of the stars' sizes, by ln likelihoods (n_size, n_star); of few stars it may be larger than
    theirs, and what a star hardly tells is the middle.
    """
    log_size = np.log(SIZES)
    middle = float(log_size[chances.sum(axis=1).argmax()])
    own = log_size[(chances - 0.5 * ((log_size - middle) / TYPICAL)[:, None] ** 2).argmax(axis=0)]
    square = ((own - middle) ** 2).sum() + PSEUDO * TYPICAL**2
    return middle, float(np.sqrt(square / (len(own) - 1 + PSEUDO)))


def _judge_all(stars: Residuals, folds: list[np.ndarray], parts: list[ModelFaults]) -> np.ndarray:
    """(2, n_star), what `_judge` says of each star by the faults that were learned without it."""
    found = np.zeros((2, len(stars)))
    for held, faults in zip(folds, parts, strict=True):
        for i in held:
            found[:, i] = _judge(stars, i, faults.at(stars.scaled[i]))
    return found


def _judge(stars: Residuals, i: int, at: AtStar | None) -> tuple[float, float]:
    """ln likelihood of star i, whatever its parameters, up to a constant, and its chi2/dof."""
    known = np.isfinite(stars.variance[i])
    residual, variance = stars.residual[i, known], stars.variance[i, known].astype(float)
    slopes = stars.slopes[i][:, known].astype(float)
    prior = np.where(np.arange(len(slopes)) < stars.n_label, RIDGE, 1e-12)
    if at is not None:
        variance = variance + at.variance[known]
        slopes = np.concatenate([slopes, at.together[:, known]])
        prior = np.append(prior, np.ones(len(at.together)))
    weighted = slopes / variance
    matrix = weighted @ slopes.T + np.diag(prior)
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    unit = matrix / scale / scale[:, None] + 1e-10 * np.eye(len(scale))
    right = weighted @ residual / scale
    chi2 = float(residual @ (residual / variance) - right @ np.linalg.solve(unit, right))
    level = np.log(variance).sum() + np.linalg.slogdet(unit)[1] + 2.0 * np.log(scale).sum()
    return -0.5 * (chi2 + level), chi2 / max(len(residual) - stars.slopes.shape[1], 1)


def _scaled(faults: ModelFaults, size: float) -> ModelFaults:
    """All that no amplitude tells, times `size`: offsets and components stay."""
    names = ("offset_error", "doubt", "scatter")
    return replace(faults, **{name: size * getattr(faults, name) for name in names})
