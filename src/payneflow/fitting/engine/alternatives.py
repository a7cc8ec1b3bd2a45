"""Score tests: does a spectrum differ from the best fit in ways that no label describes, and what would that do to it?

An alternative is a direction D in which a spectrum may differ from the model: its lines broader, diluted by another
light, at another velocity, its continuum bent, the lines of a companion beside them. With J the derivatives by the
fitted parameters, z the residual, all in units of the noise, and D' what J leaves of D, the score D'z over |D'| is
normal with width 1 where the model is right (Rao 1948, Math. Proc. Camb. Phil. Soc. 44, 50), and an amplitude a of D
moves the fitted parameters by (J'J)^-1 J'D a. This is far more sensitive than chi2, which sums over all directions.

A kernel writes the sums; quality of a fit (quality.py, mismatch.py) follows from them.
"""

from functools import cache

import numpy as np

from payneflow.fitting.engine.emulator import LINE, PaddedAxis
from payneflow.simd import get, like, load_line, part, put, registers_like, total

# columns of the scores; the last one is chosen among many velocities
VELOCITY, NARROW, WIDE, DILUTION, CONTINUUM, COMPANION = 0, 1, 2, 3, slice(4, 8), 8
N_ALTERNATIVE = 9
N_SHAPE = CONTINUUM.stop - CONTINUUM.start  # continua that are not fitted
NARROW_STEP, WIDE_STEP = 1, 4  # pixels of the second differences: what a little and what much broadening does
LEAST_LAG, MOST_LAG, LAG_STEP = 4, 50, 2  # pixels between the lines of a star and of its companion
TILE = 4  # rows, and lags, that are summed at a time
HELD = TILE * TILE  # registers that the sums of a tile are held in


def lags() -> np.ndarray:
    """(n_lag,) int64, how far the lines of a companion are looked for, in pixels."""
    one_side = np.arange(LEAST_LAG, MOST_LAG + 1, LAG_STEP)
    return np.concatenate([-one_side[::-1], one_side])


def shapes(axis: PaddedAxis, wavelength: np.ndarray, n_term: int) -> np.ndarray:
    """(N_SHAPE, n_place) continua, of normalised flux, that a fit with `n_term` terms has not: what may be left.

    Without a continuum: Chebyshev polynomials over the whole axis. Else the next two terms of every other segment.
    """
    chebyshev = np.polynomial.chebyshev.chebvander
    if n_term == 0:
        width = wavelength[-1] - wavelength[0]
        unit = 2.0 * (wavelength - wavelength[0]) / width - 1.0 if width > 0.0 else np.zeros(len(wavelength))
        return axis.padded(chebyshev(unit, N_SHAPE - 1).T)
    found = np.zeros((N_SHAPE, len(wavelength)))
    for s, (first, stop) in enumerate(axis.segments):
        unit = np.linspace(-1.0, 1.0, stop - first) if stop - first > 1 else np.zeros(1)
        found[2 * (s % 2) : 2 * (s % 2) + 2, first:stop] = chebyshev(unit, n_term + 1).T[n_term:]
    return axis.padded(found)


def n_row_of(n_parameter: int, n_term: int) -> int:
    """Rows that `score` works with: terms, derivatives, alternatives, residual, and none to fill the last tile."""
    return -(-(n_term + n_parameter + N_ALTERNATIVE + 1) // TILE) * TILE


@cache
def build_gram(n_row):
    """The part that multiplies rows with rows."""

    @part
    def gram(rows, n_place, first, stop, out):
        """Lower triangle of out (n_row, n_row) = the products of rows (n_row * n_place,) over places first ... stop."""
        zero = like(load_line(rows, 0), 0.0)
        for a in range(0, n_row, TILE):
            for b in range(0, a + 1, TILE):
                sums, across = registers_like(zero, HELD), registers_like(zero, TILE)
                for m in range(HELD):
                    put(sums, m, zero)
                for i in range(first, stop, LINE):
                    for c in range(TILE):
                        put(across, c, load_line(rows, (b + c) * n_place + i))
                    for r in range(TILE):
                        down = load_line(rows, (a + r) * n_place + i)
                        for c in range(TILE):
                            put(sums, r * TILE + c, get(sums, r * TILE + c) + down * get(across, c))
                for r in range(TILE):
                    for c in range(TILE):
                        out[a + r, b + c] = total(get(sums, r * TILE + c))

    return gram


@part
def eliminate(a, n, n_row):
    """Take from the lower triangle of `a` what its first n rows explain; a row that follows from others is left out."""
    for k in range(n):
        pivot = a[k, k]
        if not pivot > 0.0:
            continue
        for i in range(k + 1, n_row):
            share = a[i, k] / pivot
            if i < n and a[i, i] - share * a[i, k] < 1e-5 * a[i, i]:
                a[i, i] = 0.0
                continue
            for j in range(k + 1, i + 1):
                a[i, j] -= share * a[j, k]


@part
def correlate_lines(all_lags, residual, square, template, margin, length, first, above, below):
    """Add a segment's correlation of the residual with its lines, moved by each lag, to `above` and `below` (n_lag,).

    `residual`, `square` (n_place,): inverse variance times residual, and times 1; `template`: the segment's lines with
    `margin` zeros on both sides.
    """
    zero = like(load_line(residual, 0), 0.0)
    for at in range(0, len(all_lags), TILE):
        up, down = registers_like(zero, TILE), registers_like(zero, TILE)
        for v in range(TILE):
            put(up, v, zero)
            put(down, v, zero)
        for i in range(0, length, LINE):
            r, w = load_line(residual, first + i), load_line(square, first + i)
            for v in range(TILE):
                lines = load_line(template, margin + i - all_lags[at + v])
                put(up, v, get(up, v) + r * lines)
                put(down, v, get(down, v) + w * lines * lines)
        for v in range(TILE):
            above[at + v] += total(get(up, v))
            below[at + v] += total(get(down, v))


@part
def sum_of_two(a, b):
    """The sums of a and of a * b."""
    zero = like(load_line(a, 0), 0.0)
    alone, both = zero, zero
    for i in range(0, len(a), LINE):
        one = load_line(a, i)
        alone = alone + one
        both = both + one * load_line(b, i)
    return total(alone), total(both)


@part
def multiply(a, b, product):
    """product = a * b, place by place."""
    for k in range(len(product)):
        product[k] = a[k] * b[k]


@part
def bend(factor, model, alive, step, row):
    """row = factor * half the second difference of the model over `step` pixels; 0 near the ends and beside gaps.

    All (n,) of one segment.
    """
    n, half = len(row), np.float32(0.5)
    row[:] = np.float32(0.0)
    inner, centre, left, right = row[step : n - step], model[step : n - step], model[: n - 2 * step], model[2 * step :]
    weight, one, two = factor[step : n - step], alive[: n - 2 * step], alive[2 * step :]
    for k in range(len(inner)):
        inner[k] = weight[k] * one[k] * two[k] * (half * (left[k] + right[k]) - centre[k])


@part
def slope(factor, model, alive, row):
    """row = factor * the derivative of the model by a shift of one pixel, else as `bend`."""
    n, half = len(row), np.float32(0.5)
    row[:] = np.float32(0.0)
    inner, left, right, weight = row[1 : n - 1], model[: n - 2], model[2:], factor[1 : n - 1]
    one, two = alive[: n - 2], alive[2:]
    for k in range(len(inner)):
        inner[k] = weight[k] * one[k] * two[k] * half * (right[k] - left[k])


@part
def moved(factor, contrast, lag, row):
    """row = factor * the contrast of the model, moved by `lag` pixels, else as `bend`."""
    n = len(row)
    row[:] = np.float32(0.0)
    if abs(lag) < n:
        first, stop = max(lag, 0), n + min(lag, 0)
        multiply(factor[first:stop], contrast[first - lag : stop - lag], row[first:stop])


@part
def find_companion(given, memory):
    """The lag, in pixels, at which lines like the model's stand out most in the residual."""
    margin, above, below = MOST_LAG + LINE, memory.above, memory.below
    for m in range(len(above)):
        above[m] = below[m] = 0.0
    for s in range(len(given.ranges)):
        first, length = given.ranges[s, 0], given.stops[s] - given.ranges[s, 0]
        for k in range(length):
            memory.lines[margin + k] = memory.contrast[first + k]
        memory.lines[margin + length : length + 2 * margin + LINE] = np.float32(0.0)
        correlate_lines(given.lags, memory.residual, memory.square, memory.lines, margin, length, first, above, below)
    best, lag = -np.inf, 0
    for m in range(len(above)):
        value = above[m] / below[m] ** 0.5 if below[m] > 0.0 else 0.0
        if value > best:
            best, lag = value, given.lags[m]
    return lag


@cache
def build_score(n_parameter, n_term, fits_velocity):
    """The part of a kernel that scores the alternatives of one fitted spectrum."""
    n_row = n_row_of(n_parameter, n_term)
    gram = build_gram(n_row)
    first_parameter, first_alternative = n_term, n_term + n_parameter
    residual_row = first_alternative + N_ALTERNATIVE
    first_shape = first_alternative + CONTINUUM.start

    @part
    def score(y, weight, model, terms, level, given, memory, written, i):
        """Write score, information, cross, lag and total_weight of spectrum i (see Written).

        `y`, `weight` (n_place,) float32 flux and inverse variance; `model`: float32 rows of n_place, the emulator's
        flux and its derivatives by each parameter; `terms`: of the fitted continuum, float32; `level` (n_place,)
        float32: that continuum. `given`: Alternatives; `memory`: AlternativeMemory.
        """
        n = len(y)
        rows, root, factor, contrast = memory.rows, memory.root, memory.factor, memory.contrast
        flux = model[:n]
        for k in range(n):
            root[k] = np.sqrt(weight[k])
            factor[k] = root[k] * level[k]
            contrast[k] = y[k] - level[k] * flux[k]
            memory.square[k] = factor[k] * factor[k]
            memory.residual[k] = root[k] * factor[k] * contrast[k]
        all_weight, mean = sum_of_two(memory.square, flux)
        written.total_weight[i] = all_weight
        if not all_weight > 0.0:
            return
        multiply(root, contrast, rows[residual_row * n : (residual_row + 1) * n])
        middle = np.float32(mean / all_weight)
        for k in range(n):
            contrast[k] = given.alive[k] * (flux[k] - middle)
        lag = find_companion(given, memory)
        written.lag[i] = lag
        for t in range(n_term):
            row = rows[t * n : (t + 1) * n]
            multiply(root, terms[t * n : (t + 1) * n], row)
            multiply(flux, row, row)
        for a in range(n_parameter):
            row = rows[(first_parameter + a) * n : (first_parameter + a + 1) * n]
            multiply(factor, model[(1 + a) * n : (2 + a) * n], row)
        for d in range(N_SHAPE):
            row = rows[(first_shape + d) * n : (first_shape + d + 1) * n]
            multiply(factor, given.shapes[d * n : (d + 1) * n], row)
            multiply(flux, row, row)
        multiply(factor, contrast, rows[(first_alternative + DILUTION) * n : (first_alternative + DILUTION + 1) * n])
        products = np.empty((n_row, n_row))
        written.score[i] = 0.0
        written.information[i] = 0.0
        written.cross[i] = 0.0
        for s in range(len(given.ranges)):
            first, stop, end = given.ranges[s, 0], given.stops[s], given.ranges[s, 1]
            at = first_alternative * n
            own, lines, alive = factor[first:stop], flux[first:stop], given.alive[first:stop]
            if not fits_velocity:
                slope(own, lines, alive, rows[at + VELOCITY * n + first : at + VELOCITY * n + stop])
            if stop - first > 2 * WIDE_STEP:
                bend(own, lines, alive, NARROW_STEP, rows[at + NARROW * n + first : at + NARROW * n + stop])
                bend(own, lines, alive, WIDE_STEP, rows[at + WIDE * n + first : at + WIDE * n + stop])
            moved(own, contrast[first:stop], lag, rows[at + COMPANION * n + first : at + COMPANION * n + stop])
            gram(rows, n, first, end, products)
            eliminate(products, n_term, residual_row + 1)
            for a in range(N_ALTERNATIVE):
                written.score[i, a] += products[residual_row, first_alternative + a]
                for b in range(a + 1):
                    written.information[i, a, b] += products[first_alternative + a, first_alternative + b]
                for b in range(n_parameter):
                    written.cross[i, b, a] += products[first_alternative + a, first_parameter + b]
        for a in range(N_ALTERNATIVE):
            for b in range(a):
                written.information[i, b, a] = written.information[i, a, b]

    return score
