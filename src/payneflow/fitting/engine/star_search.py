"""The least chi2 of stars of several pieces: the search of minimiser.py, taken from pass to pass.

Pieces of one star may have kernels of their own, so no kernel can go through all of them. Between two passes over all
pieces `advance` sums what they gave, judges the step before, and takes the next, as `minimise` does.

Parameters of a star are the scaled labels, widths, and velocities: none, one for all pieces, or one for each. Widths
and shifts are in places of the star's own rest axis. `ratio` of a piece is the step of that axis over the piece's own,
and `offset` what its shift, in its own places, has beyond the star's.
"""

from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.bounded_step import bounded_step
from payneflow.fitting.engine.curvature import learn
from payneflow.fitting.engine.minimiser import (
    CONVERGED,
    DAMPING_DOWN,
    DAMPING_UP,
    FIRST_DAMPING,
    LONGEST_LAST,
    MOST_DAMPING,
    NO_DAMPING,
    ROUNDING_STEP,
    STUCK,
    TOO_MANY,
    Box,
)
from payneflow.fitting.engine.widths import FLOOR, SOFT, floored_width
from payneflow.simd import kernel, part

# stages: the next sums are of the fits of each piece; of passes at x_new in single, or in double precision; of none
GUESSED, ROUGH, LOOKED, DONE = range(4)

TELLING = 0.01  # sigma: a step so long tells of curvature also where it begins in single precision


class PieceSums(NamedTuple):
    """Of n pieces, star by star: where they are looked at, and what they give there."""

    x: np.ndarray  # (n, n_own) parameters of each piece, as its kernel takes them; the velocity is the last
    chi2: np.ndarray  # (n,)
    gradient: np.ndarray  # (n, n_own)
    matrix: np.ndarray  # (n, n_own, n_own)
    ratio: np.ndarray  # (n,)
    offset: np.ndarray  # (n,) places
    column: np.ndarray  # (n,) int64, which parameter of its star the velocity is; -1: none is fitted
    takes_part: np.ndarray  # (n,) bool


class StarStates(NamedTuple):
    """Of n stars, how far their searches are. Star i has the pieces first[i] ... first[i + 1] - 1."""

    first: np.ndarray  # (n + 1,) int64
    n: np.ndarray  # (n,) int64, parameters of each star, at most n_most
    stage: np.ndarray  # (n,) int64
    x: np.ndarray  # (n, n_most)
    x_new: np.ndarray  # (n, n_most), where its pieces are to be looked at
    lowest: np.ndarray  # (n, n_most)
    highest: np.ndarray  # (n, n_most)
    gradient: np.ndarray  # (n, n_most)
    matrix: np.ndarray  # (n, n_most, n_most)
    beyond: np.ndarray  # (n, n_most, n_most)
    step: np.ndarray  # (n, n_most)
    pull: np.ndarray  # (n, n_most)
    chi2: np.ndarray  # (n,) with priors
    length: np.ndarray  # (n,) of the step to x_new, sigma
    last: np.ndarray  # (n,) of the one before
    damping: np.ndarray  # (n,)
    failed: np.ndarray  # (n,) int64, steps in turn that raised chi2
    passes: np.ndarray  # (n,) int64
    ended: np.ndarray  # (n,) int64
    stale: np.ndarray  # (n,) bool, whether the last pass was at a step that was not taken


@part
def slope_of_width(q, ratio):
    """A piece's parameter of a width whose parameter in the star's places is q, and its derivative by q."""
    square = max(ratio * ratio * (q * (q + 2.0 * SOFT) + FLOOR * FLOOR), FLOOR * FLOOR)
    own = (square + SOFT * SOFT - FLOOR * FLOOR) ** 0.5
    return own - SOFT, ratio * ratio * (q + SOFT) / own


@part
def scales_of(pieces, p, x, is_width, n_common, scale):
    """Write the derivatives of a piece's parameters by those of its star at x to `scale` (n_own,)."""
    for j in range(len(scale)):
        scale[j] = 1.0
        if j >= n_common:
            scale[j] = pieces.ratio[p]
        elif is_width[j]:
            _, scale[j] = slope_of_width(x[j], pieces.ratio[p])


@kernel
def to_pieces(stars, pieces, is_width, n_common):
    """Put the parameters at which pieces are to be looked at, those of their star's x_new, into `pieces.x`."""
    for i in range(len(stars.n)):
        for p in range(stars.first[i], stars.first[i + 1]):
            for j in range(n_common):
                value = stars.x_new[i, j]
                if is_width[j] and pieces.ratio[p] != 1.0:
                    value, _ = slope_of_width(value, pieces.ratio[p])
                pieces.x[p, j] = value
            if pieces.column[p] >= 0:
                pieces.x[p, n_common] = stars.x_new[i, pieces.column[p]] * pieces.ratio[p] + pieces.offset[p]


@part
def sum_pieces(stars, pieces, i, box, n_common, x, gradient, matrix):
    """chi2 of star i at x (n,), with priors, from its pieces; gradient and matrix are written."""
    n, n_own = len(x), pieces.x.shape[1]
    scale, at = np.empty(n_own), np.empty(n_own, np.int64)
    chi2 = 0.0
    for a in range(n):
        gradient[a] = 0.0
        for b in range(n):
            matrix[a, b] = 0.0
    for p in range(stars.first[i], stars.first[i + 1]):
        if not pieces.takes_part[p]:
            continue
        chi2 += pieces.chi2[p]
        scales_of(pieces, p, x, box.is_width, n_common, scale)
        for j in range(n_own):
            at[j] = j if j < n_common else pieces.column[p]
        for j in range(n_own):
            gradient[at[j]] += scale[j] * pieces.gradient[p, j]
            for k in range(n_own):
                matrix[at[j], at[k]] += scale[j] * pieces.matrix[p, j, k] * scale[k]
    for a in range(n_common):
        weight = box.prior_weight[a]
        if weight > 0.0:
            away, slope = box.prior_mean[a] - x[a], 1.0
            if box.is_width[a]:
                width = floored_width(x[a])
                away, slope = box.prior_mean[a] - width, (x[a] + SOFT) / width
            chi2 += weight * away * away
            gradient[a] += weight * away * slope
            matrix[a, a] += weight * slope * slope
    return chi2


@part
def finish(stars, pieces, i, box, n_common, ended, step):
    """End the search of star i after a last step (n,), which no pass follows: pieces as the parabola predicts them.

    Those of a star that is `stale` have been looked at elsewhere, and are left as they are.
    """
    n_own = pieces.x.shape[1]
    scale, own = np.empty(n_own), np.empty(n_own)
    for p in range(stars.first[i], stars.first[i + 1]):
        if stars.stale[i] or not pieces.takes_part[p]:
            continue
        scales_of(pieces, p, stars.x[i], box.is_width, n_common, scale)
        for j in range(n_own):
            own[j] = scale[j] * step[j if j < n_common else pieces.column[p]]
        for j in range(n_own):
            along = 0.0
            for k in range(n_own):
                along += pieces.matrix[p, j, k] * own[k]
            pieces.chi2[p] += own[j] * (along - 2.0 * pieces.gradient[p, j])
            pieces.gradient[p, j] -= along
    for a in range(len(step)):
        stars.x[i, a] = stars.x_new[i, a] = stars.x[i, a] + step[a]
    stars.stage[i], stars.ended[i] = DONE, ended


@kernel
def advance(stars, pieces, box, n_common, limits):
    """Take each star that is not DONE a step on, from what its pieces gave at `x_new`.

    `stars`: StarStates; `pieces`: PieceSums, which a star that ends leaves as they are at its end, unless it is stale;
    `box`: Box of the n_common parameters that all pieces share; `limits`: Limits. Of a star that is GUESSED the sums
    are those of parabolas around its pieces' own fits, seen from x_new: no pass was made there.
    """
    for i in range(len(stars.n)):
        if stars.stage[i] == DONE:
            continue
        n = stars.n[i]
        x_new, gradient_new, matrix_new = stars.x_new[i, :n].copy(), np.empty(n), np.empty((n, n))
        chi2_new = sum_pieces(stars, pieces, i, box, n_common, x_new, gradient_new, matrix_new)
        x, gradient, step, pull = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
        matrix, beyond, hessian = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
        held = np.zeros(n, np.bool_)
        for a in range(n):
            held[a] = a < n_common and box.held[a]
            x[a], gradient[a], step[a] = stars.x[i, a], stars.gradient[i, a], stars.step[i, a]
            for b in range(n):
                matrix[a, b], beyond[a, b] = stars.matrix[i, a, b], stars.beyond[i, a, b]
        own_box = Box(
            stars.lowest[i, :n].copy(), stars.highest[i, :n].copy(), held, box.prior_mean, box.prior_weight,
            box.is_width,
        )  # fmt: skip
        guessed, rough = stars.stage[i] == GUESSED, stars.stage[i] == ROUGH
        stars.passes[i] += 0 if guessed else 1
        length = stars.length[i]
        first = stars.passes[i] <= 2  # one of each precision, whose chi2 rounds otherwise
        stuck, known = False, stars.passes[i] > 1 and (not first or length > TELLING)
        stars.stale[i] = not (first or chi2_new < stars.chi2[i] or length < ROUNDING_STEP)
        if not stars.stale[i]:
            known = known and learn(matrix_new, gradient, gradient_new, step, length, held, beyond)
            stars.chi2[i], stars.last[i], stars.failed[i] = chi2_new, 0.0 if guessed else length, 0
            for a in range(n):
                x[a], gradient[a] = x_new[a], gradient_new[a]
                for b in range(n):
                    matrix[a, b] = matrix_new[a, b]
            down = stars.damping[i] > NO_DAMPING
            stars.damping[i] = stars.damping[i] * DAMPING_DOWN if down else 0.0
        else:
            known = learn(matrix, gradient, gradient_new, step, length, held, beyond)
            stars.last[i] = 0.0
            stars.failed[i] += 1
            if not known or stars.failed[i] > 1:
                stars.damping[i] = max(DAMPING_UP * stars.damping[i], FIRST_DAMPING)
                stuck = not stars.damping[i] < MOST_DAMPING
        for a in range(n):
            stars.x[i, a], stars.gradient[i, a] = x[a], gradient[a]
            for b in range(n):
                beyond[a, b] = beyond[a, b] if known else 0.0
                hessian[a, b] = matrix[a, b] + beyond[a, b]
                stars.matrix[i, a, b], stars.beyond[i, a, b] = matrix[a, b], beyond[a, b]
        lower, length = 0.0, np.nan
        while not stuck:
            length, lower = bounded_step(hessian, gradient, stars.damping[i], x, own_box, step, pull)
            if length >= 0.0:
                break
            stars.damping[i] = max(DAMPING_UP * stars.damping[i], FIRST_DAMPING)
            stuck = not stars.damping[i] < MOST_DAMPING
        nothing = np.zeros(n)
        if stuck:
            finish(stars, pieces, i, box, n_common, STUCK, nothing)
            continue
        for a in range(n):
            step[a] = min(max(x[a] + step[a], own_box.lowest[a]), own_box.highest[a]) - x[a]
            stars.step[i, a], stars.pull[i, a] = step[a], pull[a]
        tolerance = limits.tolerance
        predicted = length < LONGEST_LAST and length * length < tolerance * stars.last[i]
        if not guessed and not rough and stars.damping[i] < FIRST_DAMPING and (length < tolerance or predicted):
            stars.chi2[i] -= lower
            finish(stars, pieces, i, box, n_common, CONVERGED, step)
        elif stars.passes[i] >= limits.most_passes:
            finish(stars, pieces, i, box, n_common, TOO_MANY, nothing)
        else:
            stars.stage[i], stars.length[i] = ROUGH if guessed else LOOKED, length
            for a in range(n):
                stars.x_new[i, a] = x[a] + step[a]
