"""By how much the networks' spectra of other labels differ from that of a fit: what lopsided.py asks.

The networks are computed as in label_pass.py, but without derivatives, which makes them twice as fast.
"""

from functools import cache

from payneflow.fitting.engine.whole_pass import WHOLE, build_whole_changes
from payneflow.scaling import OFFSET, SPAN
from payneflow.simd import (
    CACHE_LINE,
    get,
    inlined,
    kernel,
    like,
    load_line,
    power_of_two,
    put,
    registers_like,
    total,
)
from payneflow.weights import LINEAR, LOGISTIC


@inlined
def through_pair(z, z_a, z_b, w_a, w_b):
    """`z` with what two neurons of the arguments z_a and z_b add to it; they share one division."""
    one = like(z, 1.0)
    e_a, e_b = one + power_of_two(z_a), one + power_of_two(z_b)
    inverse = one / (e_a * e_b)
    return z + w_a * inverse * e_b + w_b * inverse * e_a


@cache
def build_changes(n_label, n_neurons, kind=LOGISTIC):
    """The kernel for networks of this size; `kind`: of the Emulator."""
    if kind == WHOLE:
        return build_whole_changes(n_label, n_neurons)
    n_pair = -(-n_neurons // 2)
    stride = n_label + 2
    n_row = 2 * n_pair * stride + 1
    offset, span, linear = OFFSET, SPAN, kind == LINEAR

    @inlined
    def network(weights, group, labels, others, fluxes):
        """Flux of a group of pixels for two vectors of labels into `fluxes`: the weights are read once for both."""
        width = CACHE_LINE // weights.itemsize
        first = group * n_row * width
        z = load_line(weights, first + (n_row - 1) * width)
        z_other = z
        one = like(z, 1.0)
        for pair in range(n_pair):
            a = first + 2 * pair * stride * width
            b = a + stride * width
            z_a, z_b = load_line(weights, a + n_label * width), load_line(weights, b + n_label * width)
            other_a, other_b = z_a, z_b
            for j in range(n_label):
                w_a, w_b = load_line(weights, a + j * width), load_line(weights, b + j * width)
                z_a, z_b = z_a + w_a * get(labels, j), z_b + w_b * get(labels, j)
                other_a, other_b = other_a + w_a * get(others, j), other_b + w_b * get(others, j)
            w_a, w_b = load_line(weights, a + (n_label + 1) * width), load_line(weights, b + (n_label + 1) * width)
            z = through_pair(z, z_a, z_b, w_a, w_b)
            z_other = through_pair(z_other, other_a, other_b, w_a, w_b)
        if not linear:
            z = (one / (one + power_of_two(z)) - like(z, offset)) * like(z, 1.0 / span)
            z_other = (one / (one + power_of_two(z_other)) - like(z, offset)) * like(z, 1.0 / span)
        put(fluxes, 0, z)
        put(fluxes, 1, z_other)

    @kernel
    def changes(weights, variance, noise, x, first, places, squares):
        """Fill squares (n_place,): by how much the flux of each place differs from its star's, squared, over the
        variance, summed over the pixels.

        `weights`: of Emulator, float32; `variance`: (n_pixel of the padded axis,) float32; `noise`: (n_star,) variance
        to be added; `x`: (n_star, n_label) scaled labels; `places`: (n_place, n_label) scaled labels to look at, those
        of star i from first[i] to first[i + 1]. A group of pixels is done for all places of a star,
        while its weights are at hand.
        """
        width = CACHE_LINE // weights.itemsize
        base = load_line(weights, 0)
        labels, others = registers_like(base, n_label), registers_like(base, n_label)
        fluxes = registers_like(base, 2)
        squares[:] = 0.0
        for star in range(len(x)):
            if first[star] == first[star + 1]:
                continue
            for group in range(len(variance) // width):
                for j in range(n_label):
                    put(labels, j, like(base, x[star, j]))
                network(weights, group, labels, labels, fluxes)
                base = get(fluxes, 0)
                both = load_line(variance, group * width) + like(base, noise[star])
                for place in range(first[star], first[star + 1], 2):
                    other = min(place + 1, first[star + 1] - 1)  # the last one of an odd number is done twice
                    for j in range(n_label):
                        put(labels, j, like(base, places[place, j]))
                        put(others, j, like(base, places[other, j]))
                    network(weights, group, labels, others, fluxes)
                    for at in range(place, other + 1):
                        away = get(fluxes, at - place) - base
                        squares[at] += total(away * away / both)

    return changes
