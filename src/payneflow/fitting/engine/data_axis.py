"""The wavelength axis of the data as kernels take it: segment by segment, on the rest axis, with continua's terms.

Spectra that share an axis share its tables. Where each has an axis of its own they are made anew for each of them, by
the same kernel: a fit has the same bits, whichever spectra it is among.
"""

from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.alternatives import N_SHAPE, shapes
from payneflow.fitting.engine.arguments import Precisions
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import LINE, Emulator
from payneflow.fitting.engine.shift import NOWHERE, RestAxis
from payneflow.fitting.engine.taps import TAPS
from payneflow.simd import LANES, aligned, kernel, part
from payneflow.wavelength import GAP, cuts_of


class DataAxis(NamedTuple):
    """One axis, of n_segment segments and n_place places."""

    segments: np.ndarray  # (n_segment, 2) int64 first pixel and stop
    ranges: np.ndarray  # (n_segment, 2) int64 the places of each
    places: np.ndarray  # (n_place,) on the rest axis, NOWHERE where there is none
    usable: np.ndarray  # (n_place,) 1 where there is a pixel
    alive: np.ndarray  # (n_place,) float32 1 where it has a network around it
    left: np.ndarray  # (n_rest,) int64, as Rest
    fraction: np.ndarray  # (n_rest,)
    terms: Precisions  # (max(n_term, 1) * n_place,) of the continuum that is fitted
    flat: np.ndarray  # (n_flat * n_place,) of that which a spectrum is divided by first
    shapes: np.ndarray  # (N_SHAPE * n_place,) float32, of alternatives

    @property
    def n_place(self) -> int:
        return len(self.places)


class Around(NamedTuple):
    """What axes are laid out by: where the networks have gaps, and their rest axis."""

    cuts: np.ndarray  # (n_cut,) Angstrom, where a segment ends
    first: np.ndarray  # (n,) ln(Angstrom) of the first pixel of each segment of the networks
    nearer: np.ndarray  # (n - 1,) ln(Angstrom) beyond which the next segment is the nearest
    starts: np.ndarray  # (n,) its place
    counts: np.ndarray  # (n,) how many places there are up to the last one
    good: np.ndarray  # (n_rest,) 1 where there is a network
    log_step: float  # of a place
    farthest: float  # places from a segment at which data still have a place

    @classmethod
    def of(cls, rest: RestAxis, networks_wavelength: np.ndarray) -> "Around":
        first = rest.log_wavelength[rest.segments[:, 0]]
        last, farthest = first + (rest.counts - 1) * rest.log_step, float(rest.pad - TAPS)
        return cls(
            cuts_of(networks_wavelength),
            first,
            0.5 * (last[:-1] + first[1:]),
            rest.starts,
            rest.counts,
            rest.good,
            rest.log_step,
            farthest,
        )


class AxisMemory(NamedTuple):
    """Room for one axis, of which `lay_axis` fills the beginnings; names as in DataAxis."""

    segments: np.ndarray
    ranges: np.ndarray
    places: np.ndarray
    usable: np.ndarray
    alive: np.ndarray
    left: np.ndarray
    fraction: np.ndarray
    terms: Precisions
    flat: np.ndarray
    shapes: np.ndarray
    steps: np.ndarray  # (n_pixel,) between data
    scratch: np.ndarray  # (3, n_pixel)

    @classmethod
    def of(cls, around: Around, n_pixel: int, n_term: int, n_flat: int) -> "AxisMemory":
        """For axes of up to n_pixel pixels."""
        n_segment = len(around.cuts) + 1
        n, n_rest = most_places(around, n_pixel), len(around.good)
        pairs = (np.zeros((n_segment, 2), np.int64) for _ in range(2))
        rows = n // LANES
        terms = Precisions(*(aligned(max(n_term, 1) * rows, kind) for kind in (np.float32, np.float64)))
        return cls(
            *pairs,
            *(aligned(rows) for _ in range(2)),
            aligned(rows, np.float32),
            np.zeros(n_rest, np.int64),
            np.zeros(n_rest),
            terms,
            terms.double if n_flat == max(n_term, 1) else aligned(n_flat * rows),
            aligned(N_SHAPE * rows, np.float32),
            np.zeros(n_pixel),
            np.zeros((3, n_pixel)),
        )

    def filled(self, n_segment: int, n_place: int) -> DataAxis:
        """The axis that `lay_axis` has laid out; it lies in this memory."""

        def rows(table: np.ndarray) -> np.ndarray:
            return table[: len(table) // len(self.places) * n_place]

        return DataAxis(
            self.segments[:n_segment],
            self.ranges[:n_segment],
            self.places[:n_place],
            self.usable[:n_place],
            self.alive[:n_place],
            self.left,
            self.fraction,
            Precisions(rows(self.terms.single), rows(self.terms.double)),
            rows(self.flat),
            rows(self.shapes),
        )


def most_places(around: Around, n_pixel: int) -> int:
    """The places that an axis of n_pixel pixels has at most."""
    return -(-n_pixel // LINE) * LINE + len(around.cuts) * LINE


def number_of_pixels(wavelength: np.ndarray) -> int:
    """Of an axis (n_data,) that may end in NaN."""
    return len(wavelength) if np.isfinite(wavelength[-1]) else int(np.count_nonzero(np.isfinite(wavelength)))


def laid_out(
    around: Around,
    wavelength: np.ndarray,
    n_term: int,
    n_flat: int,
    memory: AxisMemory,
    log_wavelength: np.ndarray | None = None,
) -> DataAxis:
    """The axis of data at `wavelength` (n_pixel,), Angstrom, in `memory`; their logarithms where these are known."""
    wavelength = np.array(wavelength, dtype=float)
    log_wavelength = np.log(wavelength) if log_wavelength is None else log_wavelength
    return memory.filled(*lay_axis(around, wavelength, log_wavelength, n_term, n_flat, memory))


def of_networks(emulator: Emulator, rest: RestAxis, wavelength: np.ndarray, n_term: int, n_flat: int) -> DataAxis:
    """The axis of data on the networks' own pixels, `wavelength` (n_pixel,)."""
    axis, own = emulator.axis, rest.own_places(emulator.axis)
    places = axis.padded(own - NOWHERE) + NOWHERE
    usable = axis.padded(np.ones(len(wavelength)))
    around = (places >= 0.0) & (rest.good[np.clip(np.rint(places).astype(int), 0, rest.n_place - 1)] > 0)
    return DataAxis(
        axis.segments,
        axis.ranges,
        places,
        usable,
        (usable * around).astype(np.float32),
        *rest.neighbours(places),
        in_precisions(chebyshev(axis, wavelength, max(n_term, 1))),
        chebyshev(axis, wavelength, n_flat).ravel(),
        in_precisions(shapes(axis, wavelength, n_term)).single,
    )


def in_precisions(values: np.ndarray) -> Precisions:
    """A flat table in both precisions."""
    single = aligned(values.size // LANES, np.float32)
    single[:] = values.ravel()
    return Precisions(single=single, double=values.ravel())


# --------------------------------------------------------------------------------------------------- parts of kernels


@part
def find_segments(cuts, wavelength, segments, ranges):
    """Write the runs of pixels between cuts, and their places; returns how many runs and places there are."""
    n, first, place = 0, 0, 0
    for c in range(len(cuts) + 1):
        stop = np.searchsorted(wavelength, cuts[c]) if c < len(cuts) else len(wavelength)
        if stop > first:
            segments[n, 0], segments[n, 1] = first, stop
            ranges[n, 0] = place
            place += -(-(stop - first) // LINE) * LINE
            ranges[n, 1] = place
            n, first = n + 1, stop
    return n, place


@part
def find_places(around, log_wavelength, segments, ranges, places, usable, alive):
    """As RestAxis.place: the place of each pixel in the nearest segment of the networks."""
    n_rest, r = len(around.good), 0
    places[:] = NOWHERE
    usable[:] = 0.0
    alive[:] = np.float32(0.0)
    for s in range(len(segments)):
        ahead = ranges[s, 0] - segments[s, 0]
        for p in range(segments[s, 0], segments[s, 1]):
            while r < len(around.nearer) and log_wavelength[p] > around.nearer[r]:
                r += 1
            usable[p + ahead] = 1.0
            within = (log_wavelength[p] - around.first[r]) / around.log_step
            if max(-within, within - (around.counts[r] - 1)) < around.farthest:
                place = around.starts[r] + within
                places[p + ahead] = place
                if around.good[min(int(place + 0.5), n_rest - 1)] > 0.0:
                    alive[p + ahead] = np.float32(1.0)


@part
def widest_step(places, steps):
    """The widest step from a pixel to the next that is none over a gap: GAP median steps; inf where all are alike."""
    n, last, least, most = 0, -1, np.inf, 0.0
    for i in range(len(places)):
        if places[i] >= 0.0:
            if last >= 0:
                step = places[i] - places[last]
                steps[n] = step
                least = min(least, step)
                most = max(most, step) if last == i - 1 else most
                n += 1
            last = i
    return np.inf if most < GAP * least else GAP * np.median(steps[:n])


@part
def find_neighbours(places, good, steps, left, fraction):
    """As RestAxis.neighbours: for each place of the rest axis the data pixel to its left."""
    left[:] = -1
    fraction[:] = 0.0
    widest = widest_step(places, steps)
    i, following = -1, 0
    for q in range(len(good)):
        while following < len(places) and places[following] <= q:
            i = following if places[following] >= 0.0 else i
            following += 1
        if i < 0 or not good[q] > 0.0:
            continue
        if places[i] == q:
            left[q] = i
        elif i + 1 < len(places) and places[i + 1] >= 0.0 and places[i + 1] - places[i] < widest:
            left[q], fraction[q] = i, (q - places[i]) / (places[i + 1] - places[i])


@part
def polynomials(scratch, n, first, n_term, table, n_place, at):
    """Write Chebyshev polynomials of the degrees first ... first + n_term - 1 to rows of a table, from `at` on.

    At the n numbers of the first row of `scratch` (3, n_pixel); the others are working memory.
    """
    unit, before, own = scratch[0, :n], scratch[1, :n], scratch[2, :n]
    for k in range(n):
        before[k], own[k] = unit[k], 1.0  # of degrees -1 and 0
    for t in range(first + n_term):
        if t >= first:
            begin = (t - first) * n_place + at
            row = table[begin : begin + n]
            for k in range(n):
                row[k] = own[k]
        for k in range(n):
            following = 2.0 * unit[k] * own[k] - before[k]
            before[k], own[k] = own[k], following


@part
def span(wavelength, origin, width, unit):
    """Write wavelengths (n,) as numbers from -1 on, where `origin` is, to 1 at `width` beyond."""
    for k in range(len(wavelength)):
        unit[k] = 2.0 * (wavelength[k] - origin) / width - 1.0 if width > 0.0 else 0.0


@kernel
def lay_values(segments, ranges, flux, error, own_flux, own_error):
    """Flux and errors (n_pixel,) of a spectrum on the places of its axis, NaN in the padding."""
    for s in range(len(segments)):
        place, n = ranges[s, 0], segments[s, 1] - segments[s, 0]
        for k in range(n):
            own_flux[place + k], own_error[place + k] = flux[segments[s, 0] + k], error[segments[s, 0] + k]
        own_flux[place + n : ranges[s, 1]] = np.nan
        own_error[place + n : ranges[s, 1]] = np.nan


@kernel
def lay_axis(around, wavelength, log_wavelength, n_term, n_flat, memory):
    """Lay an axis (n_pixel,) out in `memory`: AxisMemory; returns its numbers of segments and of places."""
    n_segment, n = find_segments(around.cuts, wavelength, memory.segments, memory.ranges)
    segments, ranges, places = memory.segments[:n_segment], memory.ranges[:n_segment], memory.places[:n]
    find_places(around, log_wavelength, segments, ranges, places, memory.usable[:n], memory.alive[:n])
    find_neighbours(places, around.good, memory.steps, memory.left, memory.fraction)
    n_own, scratch = max(n_term, 1), memory.scratch
    double, single, flat, shape_table = memory.terms.double, memory.terms.single, memory.flat, memory.shapes
    double[: n_own * n] = 0.0
    if n_flat != n_own:  # else both are one table
        flat[: n_flat * n] = 0.0
    shape_table[: N_SHAPE * n] = np.float32(0.0)
    for s in range(n_segment):
        first, stop, place = segments[s, 0], segments[s, 1], ranges[s, 0]
        own, length = wavelength[first:stop], stop - first
        span(own, own[0], own[-1] - own[0], scratch[0])
        polynomials(scratch, length, 0, n_own, double, n, place)
        if n_flat != n_own:
            polynomials(scratch, length, 0, n_flat, flat, n, place)
        if n_term == 0:  # the shapes are those of alternatives.py
            span(own, wavelength[0], wavelength[-1] - wavelength[0], scratch[0])
            polynomials(scratch, length, 0, N_SHAPE, shape_table, n, place)
            continue
        for k in range(length):
            scratch[0, k] = 2.0 * k / (length - 1.0) - 1.0 if length > 1 else 0.0
        polynomials(scratch, length, n_term, 2, shape_table, n, 2 * (s % 2) * n + place)
    for i in range(n_own * n):
        single[i] = double[i]
    return n_segment, n
