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
    def network(weights, group, labels):
        """Flux of a group of pixels."""
        width = CACHE_LINE // weights.itemsize
        first = group * n_row * width
        z = load_line(weights, first + (n_row - 1) * width)
        one = like(z, 1.0)
        for pair in range(n_pair):
            a = first + 2 * pair * stride * width
            b = a + stride * width
            z_a, z_b = load_line(weights, a + n_label * width), load_line(weights, b + n_label * width)
            for j in range(n_label):
                z_a = z_a + load_line(weights, a + j * width) * get(labels, j)
                z_b = z_b + load_line(weights, b + j * width) * get(labels, j)
            e_a, e_b = one + power_of_two(z_a), one + power_of_two(z_b)
            inverse = one / (e_a * e_b)
            z = z + load_line(weights, a + (n_label + 1) * width) * inverse * e_b
            z = z + load_line(weights, b + (n_label + 1) * width) * inverse * e_a
        if linear:
            return z
        return (one / (one + power_of_two(z)) - like(z, offset)) * like(z, 1.0 / span)

    @kernel
    def changes(weights, variance, noise, x, first, places, squares):
        """Fill squares (n_place,): by how much the flux of each place differs from its star's, squared, over the
        variance, summed over the pixels.

        `weights`: of Emulator, float32; `variance`: (n_pixel of the padded axis,) float32; `noise`: (n_star,) variance
        to be added; `x`: (n_star, n_label) scaled labels; `places`: (n_place, n_label) scaled labels to look at, those
        of star i from first[i] to first[i + 1]. A group of pixels is done for all places of a star, while its weights
        are at hand.
        """
        width = CACHE_LINE // weights.itemsize
        base = load_line(weights, 0)
        labels = registers_like(base, n_label)
        squares[:] = 0.0
        for star in range(len(x)):
            if first[star] == first[star + 1]:
                continue
            for group in range(len(variance) // width):
                for place in range(first[star] - 1, first[star + 1]):
                    of_star = place < first[star]
                    for j in range(n_label):
                        put(labels, j, like(base, x[star, j] if of_star else places[place, j]))
                    flux = network(weights, group, labels)
                    if of_star:
                        base = flux
                    else:
                        away, both = flux - base, load_line(variance, group * width) + like(base, noise[star])
                        squares[place] += total(away * away / both)

    return changes
