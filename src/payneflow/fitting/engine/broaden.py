"""The emulator's lines broadened on the rest axis: rotation, macroturbulence and the instrument in one convolution."""

from functools import cache
from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.emulator import LINE
from payneflow.fitting.engine.profiles import HALF
from payneflow.fitting.engine.shift import INTERVALS
from payneflow.fitting.engine.widths import SOFT, floored_width
from payneflow.simd import CACHE_LINE, get, like, load_line, part, put, registers_like, store

NO_BROADENING = -1  # in place of how many broadenings are parameters


class Broadening(NamedTuple):
    """What the kernels know of the broadening, float64. Several shapes one after the other, shape b up to ends[b]."""

    table: np.ndarray  # shift.tap_table of the taps of profiles.py, flat
    nodes: np.ndarray  # (n_node,) of Shape
    weights: np.ndarray  # (n_node,)
    ends: np.ndarray  # (n_broad,) int64
    fixed: np.ndarray  # (n,) half kernel of what is the same in all fits: the instrument
    start: np.ndarray  # (n_broad,) parameters that fits start from
    lengths: np.ndarray  # (n_segment,) int64 places of each segment on the rest axis, whole cache lines
    longest: int  # places of the longest half kernel
    varied: np.ndarray  # (n_rest / LINE, n) half kernels of what differs along the axis; no row where nothing does


# --------------------------------------------------------------------------------------------------- parts of kernels


@part
def shape_kernel(table, nodes, weights, first, stop, width, kernel, slope):
    """Write the half kernel (n,) of a shape and its derivative by the width; returns how many pixels it has."""
    taps = 2 * HALF
    most = 0
    for k in range(first, stop):
        most = max(most, int(width * nodes[k]))
    n = most + HALF + 1
    for m in range(n):
        kernel[m] = slope[m] = 0.0
    for k in range(first, stop):
        place = width * nodes[k]
        whole = int(place)
        scaled = (place - whole) * INTERVALS
        interval = min(int(scaled), INTERVALS - 1)
        u, at = scaled - interval, interval * 4 * taps
        for j in range(taps):
            c0, c1, c2, c3 = table[at + j], table[at + taps + j], table[at + 2 * taps + j], table[at + 3 * taps + j]
            m = abs(whole + j + 1 - HALF)
            share = weights[k] if m == 0 else 0.5 * weights[k]
            kernel[m] += share * (c0 + u * (c1 + u * (c2 + u * c3)))
            slope[m] += share * nodes[k] * INTERVALS * (c1 + u * (2.0 * c2 + 3.0 * u * c3))
    return n


@part
def one_after_other(one, n_one, other, n_other, out):
    """The half kernel of two half kernels; returns how many pixels of it there are."""
    n = n_one + n_other - 1
    for m in range(n):
        value = 0.0
        for k in range(max(1 - n_other, m + 1 - n_one), min(n_other, n_one + m)):
            value += one[abs(m - k)] * other[abs(k)]
        out[m] = value
    return n


@cache
def build_kernel(n_broad):
    """The part that makes the kernel of all broadenings, and its derivatives by their parameters."""

    @part
    def make_kernel(given, x, first, rows):
        """Rows (1 + n_broad, n) of half kernels at the parameters x[first : first + n_broad]; returns their length."""
        longest = rows.shape[1]
        own, own_slope, scratch = np.empty(longest), np.empty(longest), np.empty(longest)
        n = len(given.fixed)
        for m in range(n):
            rows[0, m] = given.fixed[m]
        for b in range(n_broad):
            p = x[first + b]
            width = floored_width(p)
            begin = given.ends[b - 1] if b > 0 else 0
            n_own = shape_kernel(given.table, given.nodes, given.weights, begin, given.ends[b], width, own, own_slope)
            n_new = one_after_other(rows[0], n, own_slope, n_own, rows[1 + b])
            for m in range(n_new):
                rows[1 + b, m] *= (p + SOFT) / width
            for a in range(b + 1):
                one_after_other(rows[a], n, own, n_own, scratch)
                for m in range(n_new):
                    rows[a, m] = scratch[m]
            n = n_new
        return n

    return make_kernel


@cache
def build_broaden(n_label, n_broad):
    """The part that broadens the flux and its derivatives by the labels, and adds those by the broadenings."""
    make_kernel = build_kernel(n_broad)
    n_slope = max(n_broad, 1)  # there is no array of no registers

    @part
    def broaden(given, x, rest, n_rest, starts, broad):
        """Rows of `broad` (1 + n_label + n_broad, n_rest) from those of `rest` (1 + n_label, n_rest) at x.

        What differs along the axis is left to `vary`.

        `given`: Broadening. Broadenings are the parameters after the labels. Segment s begins at starts[s].
        """
        width = CACHE_LINE // rest.itemsize
        exact = np.empty((1 + n_broad, given.longest))
        n = make_kernel(given, x, n_label, exact)
        kernel = exact.astype(rest.dtype)
        slopes = registers_like(load_line(rest, 0), n_slope)
        for s in range(len(starts)):
            for at in range(starts[s], starts[s] + given.lengths[s], width):
                value = load_line(rest, at)
                for b in range(n_broad):
                    put(slopes, b, value * like(value, kernel[1 + b, 0]))
                value = value * like(value, kernel[0, 0])
                for m in range(1, n):
                    both = load_line(rest, at - m) + load_line(rest, at + m)
                    value = value + both * like(both, kernel[0, m])
                    for b in range(n_broad):
                        put(slopes, b, get(slopes, b) + both * like(both, kernel[1 + b, m]))
                store(broad, at, value)
                for b in range(n_broad):
                    store(broad, (1 + n_label + b) * n_rest + at, get(slopes, b))
                for j in range(1, n_label + 1):
                    own = j * n_rest + at
                    value = load_line(rest, own)
                    value = value * like(value, kernel[0, 0])
                    for m in range(1, n):
                        both = load_line(rest, own - m) + load_line(rest, own + m)
                        value = value + both * like(both, kernel[0, m])
                    store(broad, own, value)

    return broaden


@cache
def build_vary(n_row):
    """The part that broadens `n_row` rows by what differs along the axis."""

    @part
    def vary(kernels, broad, n_rest, starts, lengths, varied):
        """Rows of `varied` from those of `broad`, broadened by the half kernel of each line of the rest axis.

        `kernels`: (n_rest / LINE, n). Segment s is at starts[s], lengths[s] places long.
        """
        width = CACHE_LINE // broad.itemsize
        n = kernels.shape[1]
        first = load_line(broad, 0)
        values = registers_like(first, n_row)
        for s in range(len(starts)):
            for at in range(starts[s], starts[s] + lengths[s], width):
                line = at // LINE
                share = like(first, kernels[line, 0])
                for j in range(n_row):
                    put(values, j, load_line(broad, j * n_rest + at) * share)
                for m in range(1, n):
                    share = like(first, kernels[line, m])
                    for j in range(n_row):
                        both = load_line(broad, j * n_rest + at - m) + load_line(broad, j * n_rest + at + m)
                        put(values, j, get(values, j) + both * share)
                for j in range(n_row):
                    store(varied, j * n_rest + at, get(values, j))

    return vary
