"""What a fit needs of an observed spectrum before its first pass: which pixels count, their weights, the S/N."""

import numpy as np

from payneflow.simd import (
    LANES,
    absolute,
    fill,
    inlined,
    like,
    load,
    load_line,
    maximum,
    minimum,
    narrow,
    part,
    store,
    total,
    where_less,
)
from payneflow.spectra.bad_pixels import BEYOND, HUGE, TINY

SIXTEEN = 16  # float32 numbers in a register
SIGN_TURNED = np.int32(0x7FFFFFFF)  # all bits of a float32 but its sign


@part
def middle(values, n):
    """The lower median of the n finite numbers of `values` (float32), the rest of which is inf; a whole of registers.

    The bit patterns of floats are ordered as the floats are, once those of negative ones are turned over. So the median
    is found bit by bit; counting runs in registers, sorting does not.
    """
    rank = (n - 1) // 2
    lowest, highest = np.int64(-(2**31)), np.int64(2**31 - 1)
    bits = np.empty(1, np.int32)
    while lowest < highest:
        guess = (lowest + highest + 1) >> 1
        pattern = np.int32(guess)
        bits[0] = pattern if guess >= 0 else pattern ^ SIGN_TURNED
        first = load_line(values, 0)
        limit, one, zero = like(first, bits.view(np.float32)[0]), like(first, 1.0), like(first, 0.0)
        below = zero
        for i in range(0, len(values), SIXTEEN):
            below = below + where_less(load_line(values, i), limit, one, zero)
        if total(below) <= rank:
            lowest = guess
        else:
            highest = guess - 1
    pattern = np.int32(lowest)
    bits[0] = pattern if lowest >= 0 else pattern ^ SIGN_TURNED
    return np.float64(bits.view(np.float32)[0])


@inlined
def _counts(flux, error, usable, i):
    """1 for each of eight pixels that counts, 0 for the others: a comparison with what is not a number is false."""
    e, zero = load(error, i), fill(0.0)
    counts = where_less(zero, e, load(usable, i), zero)
    counts = where_less(e, fill(np.inf), counts, zero)
    return where_less(absolute(load(flux, i)), fill(np.inf), counts, zero)


@part
def _highest(flux, error, usable, values):
    """The HUGE error; the median |flux| of pixels that are not 0 is found only where it can matter. 0: all are."""
    n, smallest, largest = fill(0.0), fill(np.inf), fill(0.0)
    half, zero, no_number = fill(0.5), fill(0.0), fill(np.inf)
    for i in range(0, len(flux), LANES):
        counts, size = _counts(flux, error, usable, i), absolute(load(flux, i))
        largest = maximum(largest, where_less(half, counts, load(error, i), zero))
        lit = where_less(zero, size, counts, zero)
        size = where_less(half, lit, size, no_number)
        store(values, i, narrow(size))
        n = n + lit
        smallest = minimum(smallest, size)
    if total(n) == 0.0:
        return 0.0
    limit = HUGE * least_of(smallest)
    if most_of(largest) > limit:
        limit = HUGE * middle(values, int(total(n)))
    return limit


@part
def _lowest(flux, error, usable, highest, values):
    """The TINY error; the median error of pixels that are not HUGE is found only where it can matter."""
    n, smallest, largest = fill(0.0), fill(np.inf), fill(0.0)
    half, zero, no_number, limit = fill(0.5), fill(0.0), fill(np.inf), fill(highest)
    for i in range(0, len(flux), LANES):
        e = load(error, i)
        counts = where_less(limit, e, zero, _counts(flux, error, usable, i))
        smallest = minimum(smallest, where_less(half, counts, e, no_number))
        largest = maximum(largest, where_less(half, counts, e, zero))
    if not least_of(smallest) < TINY * most_of(largest):
        return 0.0
    for i in range(0, len(flux), LANES):
        e = load(error, i)
        counts = where_less(limit, e, zero, _counts(flux, error, usable, i))
        store(values, i, narrow(where_less(half, counts, e, no_number)))
        n = n + counts
    return TINY * middle(values, int(total(n)))


@part
def _brightest(flux, error, usable, lowest, highest, values):
    """The |flux| that a star may have; both medians are found only where it can matter."""
    n, n_lit, smallest, largest = fill(0.0), fill(0.0), fill(np.inf), fill(0.0)
    half, zero, no_number, least, most = fill(0.5), fill(0.0), fill(np.inf), fill(lowest), fill(highest)
    for i in range(0, len(flux), LANES):
        e, size = load(error, i), absolute(load(flux, i))
        counts = where_less(e, least, zero, where_less(most, e, zero, _counts(flux, error, usable, i)))
        lit = where_less(zero, size, counts, zero)
        n, n_lit = n + counts, n_lit + lit
        size = where_less(half, lit, size, no_number)
        store(values, i, narrow(size))
        smallest = minimum(smallest, size)
        largest = maximum(largest, where_less(half, lit, size, zero))
    if not most_of(largest) > BEYOND * least_of(smallest):
        return np.inf
    limit = middle(values, int(total(n_lit)))
    for i in range(0, len(flux), LANES):
        e = load(error, i)
        counts = where_less(e, least, zero, where_less(most, e, zero, _counts(flux, error, usable, i)))
        store(values, i, narrow(where_less(half, counts, e, no_number)))
    limit = BEYOND * max(limit, middle(values, int(total(n))))
    return limit if limit > 0.0 else np.inf


@part
def least_of(register):
    """The smallest of eight numbers."""
    lanes = np.empty(LANES)
    store(lanes, 0, register)
    return lanes.min()


@part
def most_of(register):
    """The largest of eight numbers."""
    lanes = np.empty(LANES)
    store(lanes, 0, register)
    return lanes.max()


@part
def select_pixels(flux, error, usable, y, inverse_variance, values):
    """Flux and 1/error^2 of one spectrum, all on the padded axis; returns the pixels used and their median flux/error.

    A pixel counts where `usable` is 1 (not 0), its flux is finite and not BEYOND all others, and its error finite,
    positive, not HUGE and not TINY (`good_pixels`); every other one gets flux and weight 0. `values` (n_place,) float32
    is working memory.
    """
    highest = _highest(flux, error, usable, values)
    lowest = _lowest(flux, error, usable, highest, values)
    least, most, beyond = fill(lowest), fill(highest), fill(_brightest(flux, error, usable, lowest, highest, values))
    one, zero, half = fill(1.0), fill(0.0), fill(0.5)
    n = zero
    for i in range(0, len(flux), LANES):
        f, e = load(flux, i), load(error, i)
        counts = where_less(most, e, zero, _counts(flux, error, usable, i))
        counts = where_less(e, least, zero, counts)
        counts = where_less(beyond, absolute(f), zero, counts)
        n = n + counts
        store(y, i, where_less(half, counts, f, zero))
        store(inverse_variance, i, where_less(half, counts, one / (e * e), zero))
        store(values, i, narrow(where_less(half, counts, f / e, fill(np.inf))))
    n_used = int(total(n))
    return n_used, middle(values, n_used) if n_used > 0 else np.nan


@part
def add_variance(inverse_variance, variance, scale):
    """1/sigma^2 -> 1/(sigma^2 + scale variance); pixels that take no part stay at 0."""
    for i in range(len(inverse_variance)):
        inverse_variance[i] = inverse_variance[i] / (1.0 + scale * inverse_variance[i] * variance[i])


@part
def count_used(inverse_variance):
    """How many pixels take part."""
    n = 0
    for i in range(len(inverse_variance)):
        n += inverse_variance[i] > 0.0
    return n
