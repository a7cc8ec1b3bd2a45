"""Networks that make the whole spectrum at once, as kernels compute them: hidden layers once, then pixel after pixel.

All pixels share the hidden layers, which are computed for each vector of labels in double precision; the last layer is
that of a group of pixels in a register, as in label_pass.py. The weights are in the order of Emulator; `size`, of
networks, is (n_first, n_second, leaky_slope).
"""

from functools import cache

import numpy as np

from payneflow.simd import CACHE_LINE, get, inlined, kernel, like, load_line, part, put, registers_like, store, total

WHOLE = "whole"
LINE = 16  # a multiple of which the weights that all pixels share are filled up to


@cache
def build_hidden(n_label, size, n_slope):
    """The part that computes the second hidden layer, and its derivatives by the first n_slope scaled labels."""
    n_first, n_second, leaky_slope = size
    b0 = n_first * n_label
    w1 = b0 + n_first
    b1 = w1 + n_second * n_first

    @part
    def hidden(weights, x):
        """(n_second, 1 + n_slope) of scaled labels x (n_label,)."""
        first, second = np.empty((n_first, 1 + n_slope)), np.empty((n_second, 1 + n_slope))
        for i in range(n_first):
            z = np.float64(weights[b0 + i])
            for j in range(n_label):
                z += weights[i * n_label + j] * x[j]
            steepness = 1.0 if z > 0.0 else leaky_slope
            first[i, 0] = steepness * z
            for j in range(n_slope):
                first[i, 1 + j] = steepness * weights[i * n_label + j]
        for k in range(n_second):
            second[k, 0] = weights[b1 + k]
            for j in range(n_slope):
                second[k, 1 + j] = 0.0
            for i in range(n_first):
                weight = np.float64(weights[w1 + k * n_first + i])
                for j in range(1 + n_slope):
                    second[k, j] += weight * first[i, j]
            steepness = 1.0 if second[k, 0] > 0.0 else leaky_slope
            for j in range(1 + n_slope):
                second[k, j] *= steepness
        return second

    return hidden


@cache
def build_last(n_label, size):
    """The part that computes the last layer of a group of pixels, without derivatives."""
    shared, n_second = n_shared(n_label, size), size[1]

    @inlined
    def last(weights, group, second):
        """Flux of a group, of what `hidden` gave."""
        width = CACHE_LINE // weights.itemsize
        first = shared + group * (n_second + 1) * width
        z = load_line(weights, first + n_second * width)
        for k in range(n_second):
            z = z + load_line(weights, first + k * width) * like(z, second[k, 0])
        return z

    return last


def n_shared(n_label, size):
    """How many weights come before those of the pixels."""
    n_first, n_second, _ = size
    n = n_first * n_label + n_first + n_second * n_first + n_second
    return -(-n // LINE) * LINE


@cache
def build_whole_spectrum(n_label, size):
    """The part that computes flux and derivatives on the rest axis: what build_spectrum is to other networks."""
    hidden = build_hidden(n_label, size, n_label)
    shared, n_second = n_shared(n_label, size), size[1]

    @part
    def spectrum(weights, ranges, starts, x, rest, n_rest):
        """Rows of `rest`: flux, then its derivatives by the labels; segment s of the emulator goes to starts[s]."""
        width = CACHE_LINE // weights.itemsize
        second = hidden(weights, x)
        slopes = registers_like(load_line(weights, shared), n_label)
        for s in range(len(ranges)):
            for place in range(ranges[s, 0], ranges[s, 1], width):
                first = shared + place // width * (n_second + 1) * width
                z = load_line(weights, first + n_second * width)
                for j in range(n_label):
                    put(slopes, j, like(z, 0.0))
                for k in range(n_second):
                    weight = load_line(weights, first + k * width)
                    z = z + weight * like(z, second[k, 0])
                    for j in range(n_label):
                        put(slopes, j, get(slopes, j) + weight * like(z, second[k, 1 + j]))
                at = starts[s] + place - ranges[s, 0]
                store(rest, at, z)
                for j in range(n_label):
                    store(rest, (1 + j) * n_rest + at, get(slopes, j))

    return spectrum


@cache
def build_whole_predict(n_label, size):
    """The kernel that writes the flux of scaled labels (n_label,) to all places of the padded axis."""
    hidden, last = build_hidden(n_label, size, 0), build_last(n_label, size)

    @kernel
    def predict(weights, x, flux):
        width = CACHE_LINE // weights.itemsize
        second = hidden(weights, x)
        for group in range(flux.size // width):
            store(flux, group * width, last(weights, group, second))

    return predict


@cache
def build_whole_changes(n_label, size):
    """The kernel that says by how much spectra of other labels differ: what build_changes is to other networks."""
    hidden, last = build_hidden(n_label, size, 0), build_last(n_label, size)

    @kernel
    def changes(weights, variance, noise, x, first, places, squares):
        """As in far_away.py."""
        width = CACHE_LINE // weights.itemsize
        squares[:] = 0.0
        for star in range(len(x)):
            if first[star] == first[star + 1]:
                continue
            own = hidden(weights, x[star])
            for place in range(first[star], first[star + 1]):
                other = hidden(weights, places[place])
                for group in range(len(variance) // width):
                    away = last(weights, group, other) - last(weights, group, own)
                    both = load_line(variance, group * width) + like(away, noise[star])
                    squares[place] += total(away * away / both)

    return changes
