"""The emulator moved to the pixels of the data: eight taps of a Kaiser-windowed sinc around every place.

The rest axis is the networks' own, or one near it (uneven.py): `log_step` in ln(wavelength) from place to place within
each detector segment, and `pad` places of nothing on both sides of it, so that data may lie anywhere within a shift of
the segment. A velocity v moves the data by `delta = ln((1 + v/c) / (1 - v/c)) / 2 / log_step` places: the flux of a
data pixel at place p is the emulator's at p - delta. Flux error of the interpolation 3e-5 on spectra of R = 22 500
sampled with 3 pixels a resolution element; four taps would bias velocities by 0.1 km/s.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.engine.emulator import LINE, Emulator, PaddedAxis
from payneflow.fitting.engine.taps import HALF, KAISER_BETA, TAPS, tap_weights, tap_weights_at
from payneflow.fitting.engine.transpose import transpose
from payneflow.simd import CACHE_LINE, LANES, get, inlined, like, load, load_line, part, put, registers_like, store
from payneflow.wavelength import GAP, even_step

C_KM_S = 299792.458  # speed of light, exact
INTERVALS = 64  # of the tap table: cubic polynomials between them, error 2e-8
UNEVEN = 0.02  # places by which an axis may deviate from even steps in ln(wavelength)
SAME_PLACE = 1e-6  # places: a pixel so near a place is there
NOWHERE = -1.0  # place of a data pixel beyond all segments


@cache
def tap_table(half: int = HALF, beta: float = KAISER_BETA) -> np.ndarray:
    """(INTERVALS, 4, 2 half): coefficients of cubic polynomials within each interval, value and slope fitted."""
    edges, h = np.arange(INTERVALS + 1) / INTERVALS, 1e-5
    value = tap_weights(edges, half, beta)
    slope = (tap_weights(edges + h, half, beta) - tap_weights(edges - h, half, beta)) / (2.0 * h) / INTERVALS
    rise, start, end = np.diff(value, axis=0), slope[:-1], slope[1:]
    return np.stack([value[:-1], start, 3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise], axis=1)


class RestAxis:
    """The emulator's segments in even steps of ln(wavelength), each with `pad` places of nothing on both sides.

    It serves velocities up to `fastest` km/s and fits that move by `window` km/s from where they start, and kernels
    that are at most reach(log_step) places long from their middle; without
    `moves` nothing is padded, and the places are the networks' own pixels. So they are, too, where these are even in
    ln(wavelength); else, `uneven`, the emulator is interpolated (uneven.py): `firsts` (n_place,) and `weights`
    (n_place, 8) of the emulator's places.
    `starts`, `length`: (n_segment,) place of each segment's first pixel, and its places; `counts`: without padding.
    `good`: (n_place,) 1 where there is a network. `interior`: (n_place,) 1 where there is also one at `margin` places
    to either side: where the emulator may be moved to; without kernels that were `least_margin`. Raises SpectraError
    where the steps of the axis differ too much.
    """

    def __init__(
        self,
        emulator: Emulator,
        wavelength: np.ndarray,
        fastest: float,
        window: float,
        moves: bool,
        reach: Callable[[float], int] | None = None,
    ):
        axis = emulator.axis
        self.segments = axis.segments
        self.log_wavelength = np.log(wavelength)
        self.log_step = float(np.median(np.diff(self.log_wavelength)))
        self.uneven = moves and not _is_even(axis, self.log_wavelength, self.log_step)
        self.counts = np.diff(axis.segments, axis=1)[:, 0]
        if self.uneven:
            self.log_step, can_be_even = even_step(wavelength)
            if not can_be_even:
                raise SpectraError(
                    f"the steps of the networks' wavelengths {wavelength[0]:.2f} ... {wavelength[-1]:.2f} A differ too "
                    "much for velocities and other wavelength axes. Train networks on a more even axis, or fit labels "
                    "alone on their own pixels."
                )
            first, last = self.log_wavelength[axis.segments[:, 0]], self.log_wavelength[axis.segments[:, 1] - 1]
            self.counts = ((last - first) / self.log_step + SAME_PLACE).astype(int) + 1
        self.length = -(-self.counts // LINE) * LINE
        self.margin = self.pad = self.least_margin = 0
        if moves:
            self.least_margin = int(np.ceil(to_places(window, self.log_step))) + HALF
            longest = reach(self.log_step) if reach else 0
            self.margin = self.least_margin + longest
            farthest = int(np.ceil(to_places(fastest, self.log_step))) + self.least_margin
            self.pad = whole_lines(farthest + whole_lines(longest) + 2 * LINE)
        self.starts = np.cumsum(self.length + 2 * self.pad) - self.length - self.pad
        self.n_place = int(self.starts[-1] + self.length[-1] + self.pad)
        n_tap = self.n_place if self.uneven else 0
        self.firsts, self.weights = np.zeros(n_tap, np.int64), np.zeros((n_tap, TAPS))
        alive = (~emulator.dead).astype(float)
        if self.uneven:
            self._interpolate(axis)
            taps = self.firsts[:, None] + np.arange(TAPS)
            used = self.weights != 0.0
            self.good = (used.any(axis=1) & (alive[taps] + ~used > 0).all(axis=1)).astype(float)
            self.variance = (np.abs(self.weights) * emulator.variance[taps]).sum(axis=1)
            self.variance /= np.maximum(np.abs(self.weights).sum(axis=1), 1.0)
        else:
            self.good, self.variance = self.laid(axis, alive), self.laid(axis, emulator.variance)
        self.interior = self.interior_of(self.margin)

    def _interpolate(self, axis: PaddedAxis) -> None:
        for (first, stop), (place, _), start, count in zip(
            axis.segments, axis.ranges, self.starts, self.counts, strict=True
        ):
            own = self.log_wavelength[first:stop]
            wanted = np.minimum(own[0] + self.log_step * np.arange(count), own[-1])
            firsts, weights = tap_weights_at(own, wanted)
            self.firsts[start : start + count], self.weights[start : start + count] = place + firsts, weights

    def interior_of(self, margin: int) -> np.ndarray:
        """(n_place,) 1 where there is a network at all places up to `margin` away."""
        n_good = np.pad(np.cumsum(self.good > 0.0), (margin + 1, margin), mode="edge")
        n_good[: margin + 1] = 0
        return (n_good[2 * margin + 1 :] - n_good[: -2 * margin - 1] > 2 * margin).astype(float)

    def middles(self) -> np.ndarray:
        """(n_place / LINE,) ln(Angstrom) of the middle of each line, NaN between segments."""
        places = np.full(self.n_place, np.nan)
        for (first, _), start, length in zip(self.segments, self.starts, self.length, strict=True):
            places[start : start + length] = self.log_wavelength[first] + self.log_step * np.arange(length)
        return places.reshape(-1, LINE).mean(axis=1)

    def laid(self, axis: PaddedAxis, padded: np.ndarray) -> np.ndarray:
        """Values (n_place of the padded axis,) -> (n_place,)."""
        if self.uneven:
            return (padded[self.firsts[:, None] + np.arange(TAPS)] * self.weights).sum(axis=1)
        result = np.zeros(self.n_place)
        for (first, end), start in zip(axis.ranges, self.starts, strict=True):
            result[start : start + end - first] = padded[first:end]
        return result

    def own_places(self, axis: PaddedAxis) -> np.ndarray:
        """(n_pixel,) places of the networks' own pixels."""
        pixels = zip(axis.segments, self.starts, strict=True)
        if self.uneven:
            own = ((self.log_wavelength[first:stop], start) for (first, stop), start in pixels)
            return np.concatenate([start + (log - log[0]) / self.log_step for log, start in own])
        return np.concatenate([start + np.arange(float(stop - first)) for (first, stop), start in pixels])

    def neighbours(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place of this axis, the data pixel to its left (-1: none) and how far it is towards the next one.

        `places` (n,): those of the data's padded axis, NOWHERE where there is none. Pixels that a gap separates are
        no neighbours.
        """
        left, fraction = np.full(self.n_place, -1), np.zeros(self.n_place)
        data = np.flatnonzero(places >= 0.0)
        place = places[data]
        if len(data) < 2:
            return left, fraction
        wanted = np.flatnonzero(self.good > 0.0)
        k = np.clip(np.searchsorted(place, wanted, side="right") - 1, 0, len(data) - 1)
        step = np.diff(place, append=np.inf)
        exact = place[k] == wanted
        between = (place[k] < wanted) & (np.diff(data, append=-1)[k] == 1) & (step[k] < GAP * np.median(np.diff(place)))
        found = exact | between
        left[wanted[found]] = data[k[found]]
        fraction[wanted[between]] = (wanted[between] - place[k[between]]) / step[k[between]]
        return left, fraction

    def place(self, wavelength: np.ndarray) -> np.ndarray:
        """(n,) places of wavelengths (n,) in the nearest segment, NOWHERE farther from it than the pad."""
        log_wavelength = np.log(wavelength)
        best, nearest = np.full(len(wavelength), NOWHERE), np.full(len(wavelength), np.inf)
        for (first, _), start, count in zip(self.segments, self.starts, self.counts, strict=True):
            within = (log_wavelength - self.log_wavelength[first]) / self.log_step
            beyond = np.maximum(np.maximum(-within, within - (count - 1)), 0.0)
            closer = (beyond < nearest) & (beyond < self.pad - TAPS)
            best[closer], nearest[closer] = start + within[closer], beyond[closer]
        return best


def _is_even(axis: PaddedAxis, log_wavelength: np.ndarray, log_step: float) -> bool:
    """Are the pixels of each segment in steps of `log_step`?"""
    for first, stop in axis.segments:
        within = (log_wavelength[first:stop] - log_wavelength[first]) / log_step
        if np.abs(within - np.arange(stop - first)).max() > UNEVEN:
            return False
    return True


def whole_lines(n: int) -> int:
    """Places, filled up to whole lines: how far kernels reach changes the pad by lines only."""
    return -(-n // LINE) * LINE


def to_places(velocity: float | np.ndarray, log_step: float) -> float | np.ndarray:
    """Radial velocity in km/s -> shift in places."""
    return np.arctanh(velocity / C_KM_S) / log_step


def to_velocity(places: float | np.ndarray, log_step: float) -> float | np.ndarray:
    """Shift in places -> radial velocity in km/s."""
    return C_KM_S * np.tanh(places * log_step)


# --------------------------------------------------------------------------------------------------- parts of kernels


@inlined
def _taps(table, t, weights, slopes):
    """Weights of the eight taps for a value at t in 0 ... 1 after the fourth, and their derivatives by t."""
    scaled = t * INTERVALS
    interval = min(int(scaled), INTERVALS - 1)
    at = interval * 4 * TAPS
    c0, c1, c2, c3 = load(table, at), load(table, at + TAPS), load(table, at + 2 * TAPS), load(table, at + 3 * TAPS)
    u = like(c0, scaled - interval)
    store(weights, 0, c0 + u * (c1 + u * (c2 + u * c3)))
    store(slopes, 0, like(c0, float(INTERVALS)) * (c1 + u * (c2 + c2 + like(c0, 3.0) * u * c3)))


@cache
def build_shift(n_label):
    """The part that moves the emulator to data on the networks' own pixels: all of them by the same shift."""

    @part
    def shift(rest, n_rest, starts, moved, n_data, ranges, table, delta):
        """Flux, its derivatives by the labels and by delta (rows of `moved`, n_data places) from those of `rest`."""
        width = CACHE_LINE // rest.itemsize
        weights, slopes = np.empty(TAPS, rest.dtype), np.empty(TAPS, rest.dtype)
        whole = int(np.floor(-delta))
        _taps(table, -delta - whole, weights, slopes)
        for s in range(len(ranges)):
            ahead = starts[s] - ranges[s, 0] + whole + 1 - HALF
            for i in range(ranges[s, 0], ranges[s, 1], width):
                value = load_line(rest, ahead + i)
                slope = value * like(value, -slopes[0])
                value = value * like(value, weights[0])
                for k in range(1, TAPS):
                    tap = load_line(rest, ahead + i + k)
                    value = value + tap * like(tap, weights[k])
                    slope = slope - tap * like(tap, slopes[k])
                store(moved, i, value)
                store(moved, (1 + n_label) * n_data + i, slope)
                for j in range(1, n_label + 1):
                    at = j * n_rest + ahead + i
                    value = load_line(rest, at)
                    value = value * like(value, weights[0])
                    for k in range(1, TAPS):
                        tap = load_line(rest, at + k)
                        value = value + tap * like(tap, weights[k])
                    store(moved, j * n_data + i, value)

    return shift


@cache
def build_resample(n_label):
    """The part that moves the emulator to data on another wavelength axis: each pixel has taps of its own."""
    n_block = -(-(n_label + 1) // LANES)  # registers of the flux and its derivatives at one place

    @part
    def to_columns(rest, n_rest, columns):
        """`rest` place by place: register n_block * q of `columns` begins with the flux at q and its derivatives."""
        tile, zero = registers_like(load(rest, 0), LANES), like(load(rest, 0), 0.0)
        for q in range(0, n_rest, LANES):
            for block in range(n_block):
                for j in range(LANES):
                    row = block * LANES + j
                    put(tile, j, load(rest, row * n_rest + q) if row <= n_label else zero)
                transpose(tile)
                for k in range(LANES):
                    store(columns, ((q + k) * n_block + block) * LANES, get(tile, k))

    @part
    def resample(rest, n_rest, columns, places, moved, n_data, table, delta):
        """As `shift`; data pixel i lies at places[i]. `columns` (n_rest * n_block * LANES) is working memory.

        Eight pixels at a time: what has been summed for each of them is turned into rows.
        """
        weights, slopes = np.empty(TAPS, rest.dtype), np.empty(TAPS, rest.dtype)
        sums, products = np.empty(n_block * LANES * LANES, rest.dtype), np.empty(LANES * TAPS, rest.dtype)
        tile, zero = registers_like(load(rest, 0), LANES), like(load(rest, 0), 0.0)
        row = n_block * LANES
        to_columns(rest, n_rest, columns)
        for i in range(0, n_data, LANES):
            for v in range(LANES):
                place = places[i + v] - delta
                if not (HALF <= place < n_rest - HALF):
                    store(products, v * TAPS, zero)
                    for block in range(n_block):
                        store(sums, (block * LANES + v) * LANES, zero)
                    continue
                whole = int(place)
                _taps(table, place - whole, weights, slopes)
                first = whole + 1 - HALF
                store(products, v * TAPS, load(rest, first) * load(slopes, 0))
                for block in range(n_block):
                    at = first * row + block * LANES
                    value = load(columns, at) * like(zero, weights[0])
                    for k in range(1, TAPS):
                        value = value + load(columns, at + k * row) * like(zero, weights[k])
                    store(sums, (block * LANES + v) * LANES, value)
            for block in range(n_block):
                for v in range(LANES):
                    put(tile, v, load(sums, (block * LANES + v) * LANES))
                transpose(tile)
                for j in range(LANES):
                    if block * LANES + j <= n_label:
                        store(moved, (block * LANES + j) * n_data + i, get(tile, j))
            for v in range(LANES):
                put(tile, v, load(products, v * TAPS))
            transpose(tile)
            slope = zero - get(tile, 0)
            for k in range(1, TAPS):
                slope = slope - get(tile, k)
            store(moved, (n_label + 1) * n_data + i, slope)

    return resample
