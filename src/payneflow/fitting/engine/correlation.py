"""The radial velocity found from nothing: cross-correlation of the spectrum with a few templates over all velocities.

Spectrum and templates are divided by their own fitted continua; of what remains (flux - 1), y with inverse variance w
and t, the score of a template at a lag is sum w y t / sqrt(sum w t^2): its square is by how much chi2 falls when the
template, freely scaled, is taken into the model. All lags are scored with bins of a few pixels, sixteen templates side
by side in a register; then the best template is scored pixel by pixel around the best lag, and a parabola through the
highest point and its neighbours gives the shift.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.continuum import build_flatten_all
from payneflow.fitting.engine.emulator import LINE, Emulator
from payneflow.fitting.engine.shift import RestAxis, to_places
from payneflow.fitting.engine.starts import predicted, spread
from payneflow.simd import LANES, aligned, get, like, load_line, part, put, registers_like, store

TEMPLATES = LINE  # in one register
TILE = 12  # lags whose sums are in registers together
MOST_BIN = 6  # pixels
ALIKE = 0.85  # autocorrelation of the templates at half a bin: a coarser bin would blur their lines
FINE = LINE  # lags scored pixel by pixel
LEAST_SQUARE = 1e-3  # of the largest sum w t^2: lags at which hardly a template pixel meets the data do not win
AWAY = 30.0  # km/s: a peak nearer than this is the same one


class Templates(NamedTuple):
    """Templates in bins and pixel by pixel."""

    coarse: np.ndarray  # (n_bin of all segments * TEMPLATES,) float32, bin by bin
    fine: np.ndarray  # (TEMPLATES * n_rest,) float32, template by template
    bins: np.ndarray  # (n_segment, 2) int64: first bin in the data's bins, after half the lags; number of bins
    starts: np.ndarray  # (n_segment,) place of a segment's first pixel on the rest axis
    length: np.ndarray  # (n_segment,) places of a segment and its padding


class Lags(NamedTuple):
    """Which lags are scored."""

    width: int  # places of a bin
    first: int  # bins, negative
    number: int  # a multiple of TILE
    away: float  # places: AWAY


class CorrelationMemory(NamedTuple):
    """Working memory of `correlate`, float32."""

    upper: np.ndarray  # (number of lags * TEMPLATES,) sums of w y t, then the scores
    lower: np.ndarray  # (number of lags * TEMPLATES,) sums of w t^2
    product_bins: np.ndarray  # (n_bin with the lags between segments,) sums of w y
    weight_bins: np.ndarray  # (the same,) sums of w


class Correlation:
    """Templates on a rest axis, in bins and pixel by pixel, for shifts up to `largest` places."""

    def __init__(self, emulator: Emulator, rest: RestAxis, terms: np.ndarray, largest: float):
        flux = flattened(emulator, predicted(emulator, 0.1 + 0.8 * spread(TEMPLATES, emulator.n_label)), terms)
        pixels = np.stack([rest.laid(emulator.axis, one) for one in flux])
        self.bin = _bin_width(pixels)
        n_side = int(np.ceil(largest / self.bin))
        self.n_lag = -(-(2 * n_side + 1) // TILE) * TILE
        self.first_lag = -n_side
        length = rest.length
        n_bin = -(-length // self.bin)
        end = np.cumsum(n_bin + self.n_lag)
        bins = np.column_stack([end - n_bin - self.n_lag, n_bin])
        self.n_bins = int(end[-1])
        coarse = aligned(int(n_bin.sum()) * TEMPLATES // LANES, np.float32).reshape(-1, TEMPLATES)
        row = 0
        for start, size, number in zip(rest.starts, length, n_bin, strict=True):
            filled = np.zeros((TEMPLATES, number * self.bin))
            filled[:, :size] = pixels[:, start : start + size]
            coarse[row : row + number] = filled.reshape(TEMPLATES, number, self.bin).mean(axis=2).T
            row += number
        fine = aligned(pixels.size // LANES, np.float32)
        fine[:] = pixels.ravel()
        self.templates = Templates(coarse.ravel(), fine, bins, rest.starts, length)
        self.lags = Lags(self.bin, self.first_lag, self.n_lag, to_places(AWAY, rest.log_step))

    def working(self) -> CorrelationMemory:
        """Working memory of `correlate`."""
        scores = (aligned(2 * self.n_lag, np.float32) for _ in range(2))
        return CorrelationMemory(*scores, np.zeros(self.n_bins, np.float32), np.zeros(self.n_bins, np.float32))


def flattened(emulator: Emulator, flux: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Fluxes (n, n_place) divided by their fitted continua, less 1; 0 where there is no network."""
    flat = np.empty(flux.shape)
    alive = (~emulator.dead).astype(float)
    build_flatten_all(len(terms))(flux.astype(float), alive, terms.ravel(), emulator.axis.ranges, flat)
    return flat


def _bin_width(pixels: np.ndarray) -> int:
    """The widest bin that does not blur the templates (n, n_place)."""
    square = (pixels**2).sum()
    for half in range(1, MOST_BIN // 2 + 1):
        if (pixels[:, half:] * pixels[:, :-half]).sum() < ALIKE * square:
            return 2 * half - 1
    return MOST_BIN


@cache
def build_correlate():
    """The part of a kernel that finds the shift of a spectrum."""

    @part
    def correlate(templates, lags, product, weight, memory):
        """Shift in places, score of the best lag, and best score farther than AWAY from it.

        `product` (w y) and `weight` (w) lie on the rest axis, float32, 0 where there is no pixel.
        `templates`: Templates; `lags`: Lags; `memory`: CorrelationMemory.
        """
        coarse, fine, bins, starts, length = (
            templates.coarse, templates.fine, templates.bins, templates.starts, templates.length
        )  # fmt: skip
        width, first_lag, n_lag, away = lags.width, lags.first, lags.number, lags.away
        upper, lower, product_bins, weight_bins = memory.upper, memory.lower, memory.product_bins, memory.weight_bins
        zero = like(load_line(coarse, 0), 0.0)
        for m in range(len(upper)):
            upper[m] = 0.0
            lower[m] = 0.0
        row = 0
        for s in range(len(bins)):
            first, number = bins[s, 0] - first_lag, bins[s, 1]
            for b in range(number):
                a, c = np.float32(0.0), np.float32(0.0)
                for i in range(starts[s] + b * width, min(starts[s] + (b + 1) * width, starts[s] + length[s])):
                    a += product[i]
                    c += weight[i]
                product_bins[first + b] = a
                weight_bins[first + b] = c
            for lag in range(0, n_lag, TILE):
                above, below = registers_like(zero, TILE), registers_like(zero, TILE)
                for v in range(TILE):
                    put(above, v, load_line(upper, (lag + v) * LINE))
                    put(below, v, load_line(lower, (lag + v) * LINE))
                for b in range(number):
                    template = load_line(coarse, (row + b) * LINE)
                    square = template * template
                    at = bins[s, 0] + b + lag
                    for v in range(TILE):
                        put(above, v, get(above, v) + template * like(zero, product_bins[at + v]))
                        put(below, v, get(below, v) + square * like(zero, weight_bins[at + v]))
                for v in range(TILE):
                    store(upper, (lag + v) * LINE, get(above, v))
                    store(lower, (lag + v) * LINE, get(below, v))
            row += number
        largest = np.zeros(LINE, np.float32)
        for m in range(n_lag * LINE):
            largest[m % LINE] = max(largest[m % LINE], lower[m])
        best, lag, template = np.float32(-np.inf), 0, 0
        for m in range(n_lag * LINE):
            least = np.float32(LEAST_SQUARE) * largest[m % LINE]
            upper[m] = upper[m] / np.sqrt(max(lower[m], least)) if least > 0.0 else np.float32(0.0)
            if upper[m] > best and m // LINE <= -2 * first_lag:  # not the lags that only fill the last tile
                best, lag, template = upper[m], m // LINE, m % LINE
        # pixel by pixel
        centre = (lag + first_lag) * width
        above, below = zero, zero
        n_rest = len(product)
        for s in range(len(starts)):
            for i in range(starts[s], starts[s] + length[s]):
                value = like(zero, fine[template * n_rest + i])
                above = above + value * load_line(product, i + centre - FINE // 2)
                below = below + value * value * load_line(weight, i + centre - FINE // 2)
        fine_scores, squares = np.empty(FINE, np.float32), np.empty(FINE, np.float32)
        store(fine_scores, 0, above)
        store(squares, 0, below)
        top = 1
        for v in range(FINE):
            fine_scores[v] /= np.sqrt(max(squares[v], np.float32(LEAST_SQUARE) * largest[template]))
            if 0 < v < FINE - 1 and fine_scores[v] > fine_scores[top]:
                top = v
        bend = fine_scores[top - 1] - 2.0 * fine_scores[top] + fine_scores[top + 1]
        tilt = 0.5 * (fine_scores[top - 1] - fine_scores[top + 1])
        shift = centre - FINE // 2 + top + (min(max(tilt / bend, -1.0), 1.0) if bend < 0.0 else 0.0)
        second = np.float32(0.0)
        for m in range(n_lag * LINE):
            if m // LINE <= -2 * first_lag and abs((m // LINE + first_lag) * width - shift) > away + width:
                second = max(second, upper[m])
        return shift, np.float64(max(best, fine_scores[top])), np.float64(second)

    return correlate
