"""By how much the networks' spectra of other labels differ from that of a fit: what lopsided.py asks.

The networks are computed as in label_pass.py, but without derivatives, which makes them twice as fast.
"""

from functools import cache

from payneflow.scaling import OFFSET, SPAN
from payneflow.simd import (
    CACHE_LINE,
    get,
    inlined,
    kernel,
    like,
    load_line,
    part,
    power_of_two,
    put,
    registers_like,
    store,
    total,
)


@cache
def build_changes(n_label, n_neurons):
    """The kernel for networks of this size."""
    n_pair = -(-n_neurons // 2)
    stride = n_label + 2
    n_row = 2 * n_pair * stride + 1
    offset, span = OFFSET, SPAN

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
        return (one / (one + power_of_two(z)) - like(z, offset)) * like(z, 1.0 / span)

    @part
    def look(weights, x, flux, variance, noise, base):
        """Sum of the squares by which the flux of scaled labels x (n_label,) differs from `flux`, over its variance.

        `base`: write the flux instead.
        """
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels = registers_like(first, n_label)
        for j in range(n_label):
            put(labels, j, like(first, x[j]))
        square = like(first, 0.0)
        for group in range(flux.size // width):
            found, place = network(weights, group, labels), group * width
            if base:
                store(flux, place, found)
            else:
                away = found - load_line(flux, place)
                square = square + away * away / (load_line(variance, place) + like(first, noise))
        return total(square)

    @kernel
    def changes(weights, variance, noise, x, star, places, flux, squares):
        """Fill squares (n_look, n_place): what each look at a star changes.

        `weights`: of Emulator, float32; `variance`: (n_pixel of the padded axis,) float32; `noise`: (n_star,) variance
        to be added; `x`: (n_star, n_label) scaled labels; `star`: (n_look,), increasing; `places`: (n_look, n_place,
        n_label) scaled labels to look at; `flux`: memory like `variance`.
        """
        before = -1
        for i in range(len(star)):
            if star[i] != before:
                before = star[i]
                look(weights, x[before], flux, variance, noise[before], True)
            for place in range(places.shape[1]):
                squares[i, place] = look(weights, places[i, place], flux, variance, noise[before], False)

    return changes
