"""Levenberg-Marquardt for the networks of single pixels, eight pixels side by side.

Labels of the spectra and scaled flux of a pixel go in, the weights of its network come out. The cost of a network is

    sum over spectra n of  weight_n (y'_n - prediction_n)^2   +   penalty * sum over its weights squared,

and one iteration replaces the weights p by `p - v - a/2`: v solves `(J'J + penalty + damping) v = J'r` (r residuals, J
their derivatives), a is the geodesic acceleration, the same system with the second derivative of r along v on its
right-hand side (Transtrum & Sethna 2012, arXiv:1201.5885). A step that lowers the cost is taken and the damping falls,
any other is refused and the damping rises.

Everything is solved in the coordinates `u = (x' - 0.5)/0.2` of the scaled labels x', in which hidden weights and biases
are of like size, so that one damping and one penalty suit all. Outside this file weights are in the published layout
and coordinates: one vector of w0 (n_neurons, n_label) row by row, b0 (n_neurons,), w1 (n_neurons,), b1.

Inside, the weights of eight pixels are the rows of an array (see `simd`), hidden neuron by hidden neuron (its n_label
w0, then its b0), then w1, then b1. A lane is refilled as soon as its pixel is done.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from payneflow.training.simd import (
    LANES,
    absolute,
    fill,
    float_registers,
    get,
    inlined,
    kernel,
    load,
    maximum,
    minimum,
    narrow,
    put,
    registers,
    sigmoid,
    square_root,
    store,
    where_less,
    widen,
)

# ------------------------------------------------------------------------------------------------------------ constants

LABEL_CENTRE, LABEL_SCALE = 0.5, 0.2  # u = (x' - centre)/scale has mean 0 and variance about 1 on labels in 0.1 .. 0.9

DAMPING_DOWN, DAMPING_UP = 0.7, 1.5  # gentle, as geodesic acceleration wants it (Transtrum & Sethna 2012, section 4)
DAMPING_LEAST, DAMPING_MOST = 1e-14, 1e9  # the first is far below J'J, the second a step of nothing: the run ends
LONGEST_BEND = 0.75  # 2|a|/|v| at most, Transtrum & Sethna's bound on the acceleration
SMALL_GAIN, SMALL_GAINS = 1e-4, 3  # this many steps running that lower the cost by less than this part end a run
TINY = 1e-300  # against 0/0

# Sizes of what is held in registers at a time (32 of them on AVX-512), and spectra to a block.
TILE = 4  # rows and columns of a tile of the matrix
PAIRS, PRODUCTS = 2, 10  # hidden neurons x hidden neurons: this many pairs times this many products of labels
OUTPUTS = 6  # output weights x hidden neuron: this many rows of TILE columns
HELD_PAIRS, HELD_CROSS, HELD_TILE = PAIRS * PRODUCTS, OUTPUTS * TILE, TILE * TILE
BLOCK = 16  # spectra

# Rows of the array `scalars`
COST, TRIAL_COST, DEVIATION, TRIAL_DEVIATION, DAMPING, GAIN = range(6)


def whole(n, size):
    """n rounded up to a multiple of size."""
    return -(-n // size) * size


# ---------------------------------------------------------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Layout:
    """Where the weights and the sums of J'J of a network with `n_label` labels and `n_neurons` hidden neurons are."""

    n_label: int
    n_neurons: int

    @property
    def n_input(self):
        """Inputs of a hidden neuron: the labels and 1."""
        return self.n_label + 1

    @property
    def n_weight(self):
        return self.n_neurons * (self.n_label + 2) + 1

    @property
    def n_row(self):
        """Rows of the matrix: the weights, filling, and the gradient in the last one."""
        return whole(self.n_weight + 1, TILE)

    @property
    def n_column(self):
        """Columns of the label table: inputs filled up with 0 to whole tiles."""
        return whole(self.n_input, TILE)

    @property
    def n_product(self):
        """Products of two inputs, filled up."""
        return whole(self.n_input * (self.n_input + 1) // 2, PRODUCTS)

    @property
    def n_pair(self):
        """Pairs of hidden neurons, filled up."""
        return whole(self.n_neurons * (self.n_neurons + 1) // 2, PAIRS)

    @property
    def n_output(self):
        """Rows of derivatives by w1 and b1, filled up for tiles of either height."""
        return max(whole(self.n_neurons + 1, OUTPUTS), whole(self.n_neurons + 1, TILE))

    @property
    def cross(self):
        """First row of the sums output weights x hidden weights."""
        return self.n_pair * self.n_product

    @property
    def square(self):
        """First row of the sums output weights x output weights."""
        return self.cross + self.n_output * self.n_neurons * self.n_column

    @property
    def n_sum(self):
        return self.square + self.n_output**2 + 1  # the last row stays 0

    def products(self):
        """The pairs of inputs whose products are needed, (n, 2)."""
        return np.array([(a, b) for a in range(self.n_input) for b in range(a + 1)])

    def pairs(self):
        """The pairs of hidden neurons, (n_pair, 2), first one the larger."""
        pairs = [(j, k) for j in range(self.n_neurons) for k in range(j + 1)]
        return np.array(pairs + [(0, 0)] * (self.n_pair - len(pairs)))

    def row_of_sum(self):
        """(n_row, n_row): the row of the sums that is this element of J'J; the last row, 0, where there is none."""
        i = np.arange(self.n_row)
        high, low = np.maximum(i[:, None], i), np.minimum(i[:, None], i)
        n_hidden = self.n_neurons * self.n_input

        def triangle(a, b):
            a, b = np.maximum(a, b), np.minimum(a, b)
            return a * (a + 1) // 2 + b

        pair = triangle(high // self.n_input, low // self.n_input)
        product = triangle(high % self.n_input, low % self.n_input)
        column = low // self.n_input * self.n_column + low % self.n_input
        hidden = pair * self.n_product + product
        cross = self.cross + (high - n_hidden) * self.n_neurons * self.n_column + column
        square = self.square + (high - n_hidden) * self.n_output + low - n_hidden
        where = np.where(high < n_hidden, hidden, np.where(low < n_hidden, cross, square))
        return np.where(high < self.n_weight, where, self.n_sum - 1)

    def tiles_of_sums(self):
        """`row_of_sum` of the lower triangle, tile by tile, flat."""
        where = self.row_of_sum()
        tiles = [
            where[TILE * i : TILE * (i + 1), TILE * j : TILE * (j + 1)].ravel()
            for i in range(self.n_row // TILE)
            for j in range(i + 1)
        ]
        return np.concatenate(tiles).astype(np.int32)


# ------------------------------------------------------------------------------------------------------------- networks


def to_rows(weights, n_label, n_neurons):
    """Published layout in x' coordinates -> layout and u coordinates of this file."""
    w0 = weights[: n_neurons * n_label].reshape(n_neurons, n_label)
    b0, w1, b1 = np.split(weights[n_neurons * n_label :], [n_neurons, 2 * n_neurons])
    hidden = np.column_stack([w0 * LABEL_SCALE, b0 + LABEL_CENTRE * w0.sum(1)])
    return np.concatenate([hidden.ravel(), w1, b1])


def from_rows(rows, n_label, n_neurons):
    """The inverse of `to_rows`."""
    hidden, w1, b1 = np.split(rows, [n_neurons * (n_label + 1), n_neurons * (n_label + 2)])
    hidden = hidden.reshape(n_neurons, n_label + 1)
    w0 = hidden[:, :n_label] / LABEL_SCALE
    return np.concatenate([w0.ravel(), hidden[:, n_label] - LABEL_CENTRE * w0.sum(1), w1, b1])


# ------------------------------------------------------------------------------------------ one iteration, part by part


@inlined
def predict(weights, penalties, table, targets, activations, first, scalars, n_spectrum, n_label, n_neurons, n_column):
    """Activations of all spectra from row `first` (hidden ones, then the output); TRIAL_COST, TRIAL_DEVIATION."""
    outer = n_neurons * (n_label + 1)
    cost = fill(0.0)
    for i in range(outer + n_neurons + 1):
        w = load(weights, LANES * i)
        cost = cost + load(penalties, LANES * i) * w * w
    largest = fill(0.0)
    for x in range(n_spectrum):
        label = x * (n_column + 2)
        row = first + x * (n_neurons + 1)
        z = load(weights, LANES * (outer + n_neurons))
        for k in range(n_neurons):
            own = k * (n_label + 1)
            a = load(weights, LANES * (own + n_label))
            for c in range(n_label):
                a = a + load(weights, LANES * (own + c)) * fill(table[label + c])
            h = sigmoid(a)
            store(activations, LANES * (row + k), h)
            z = z + load(weights, LANES * (outer + k)) * h
        output = sigmoid(z)
        store(activations, LANES * (row + n_neurons), output)
        residual = output - load(targets, LANES * x)
        largest = maximum(largest, absolute(residual) * fill(table[label + n_column + 1]))
        residual = residual * fill(table[label + n_column])
        cost = cost + residual * residual
    store(scalars, LANES * TRIAL_COST, cost)
    store(scalars, LANES * TRIAL_DEVIATION, largest)


@inlined
def project(total, pull, weights, activations, row, table, label, scratch, n_label, n_neurons, n_column):
    """Add to `total` the sum over a block of spectra of `pull` times the derivatives of the output neuron's input."""
    outer = n_neurons * (n_label + 1)
    sum_b1 = load(total, LANES * (outer + n_neurons))
    for s in range(BLOCK):
        sum_b1 = sum_b1 + load(pull, LANES * s)
    store(total, LANES * (outer + n_neurons), sum_b1)
    for k in range(n_neurons):
        w1 = load(weights, LANES * (outer + k))
        sum_w1 = load(total, LANES * (outer + k))
        for s in range(BLOCK):
            h = load(activations, LANES * (row + s * (n_neurons + 1) + k))
            t = load(pull, LANES * s) * h
            sum_w1 = sum_w1 + t
            store(scratch, LANES * s, t * (fill(1.0) - h) * w1)
        store(total, LANES * (outer + k), sum_w1)
        for c0 in range(0, n_label + 1, TILE):
            sums = registers(TILE)
            for c in range(TILE):
                put(sums, c, fill(0.0))
            for s in range(BLOCK):
                t = load(scratch, LANES * s)
                for c in range(TILE):
                    put(sums, c, get(sums, c) + t * fill(table[label + s * (n_column + 2) + c0 + c]))
            for c in range(TILE):
                if c0 + c <= n_label:
                    own = LANES * (k * (n_label + 1) + c0 + c)
                    store(total, own, load(total, own) + get(sums, c))


@inlined
def sum_pairs(sums, q, products, pairs, spectrum, n_pair, n_product):
    """Add a block's hidden weights x hidden weights to J'J: PAIRS pairs of neurons times PRODUCTS products."""
    for p0 in range(0, n_pair, PAIRS):
        for m0 in range(0, n_product, PRODUCTS):
            held = float_registers(HELD_PAIRS)
            both = float_registers(PAIRS)
            for p in range(PAIRS):
                for m in range(PRODUCTS):
                    put(held, p * PRODUCTS + m, load(sums, LANES * ((p0 + p) * n_product + m0 + m)))
            for s in range(BLOCK):
                for p in range(PAIRS):
                    j, k = pairs[2 * (p0 + p)], pairs[2 * (p0 + p) + 1]
                    put(both, p, load(q, LANES * (j * BLOCK + s)) * load(q, LANES * (k * BLOCK + s)))
                for m in range(PRODUCTS):
                    product = fill(products[(spectrum + s) * n_product + m0 + m])
                    for p in range(PAIRS):
                        put(held, p * PRODUCTS + m, get(held, p * PRODUCTS + m) + get(both, p) * product)
            for p in range(PAIRS):
                for m in range(PRODUCTS):
                    store(sums, LANES * ((p0 + p) * n_product + m0 + m), get(held, p * PRODUCTS + m))


@inlined
def sum_cross(sums, first, u, q, inputs, spectrum, n_neurons, n_column):
    """Add a block's output weights x hidden weights to J'J: OUTPUTS output weights times TILE inputs of one neuron."""
    width = n_neurons * n_column
    for i0 in range(0, n_neurons + 1, OUTPUTS):
        for k in range(n_neurons):
            for c0 in range(0, n_column, TILE):
                held = float_registers(HELD_CROSS)
                slopes = float_registers(TILE)
                corner = first + i0 * width + k * n_column + c0
                for i in range(OUTPUTS):
                    for c in range(TILE):
                        put(held, i * TILE + c, load(sums, LANES * (corner + i * width + c)))
                for s in range(BLOCK):
                    slope = load(q, LANES * (k * BLOCK + s))
                    for c in range(TILE):
                        put(slopes, c, slope * fill(inputs[(spectrum + s) * n_column + c0 + c]))
                    for i in range(OUTPUTS):
                        h = load(u, LANES * ((i0 + i) * BLOCK + s))
                        for c in range(TILE):
                            put(held, i * TILE + c, get(held, i * TILE + c) + h * get(slopes, c))
                for i in range(OUTPUTS):
                    for c in range(TILE):
                        store(sums, LANES * (corner + i * width + c), get(held, i * TILE + c))


@inlined
def sum_square(sums, first, u, n_neurons, n_output):
    """Add a block's output weights x output weights to J'J, lower triangle of tiles."""
    for i0 in range(0, n_neurons + 1, TILE):
        for j0 in range(0, i0 + 1, TILE):
            held = float_registers(HELD_TILE)
            across = float_registers(TILE)
            corner = first + i0 * n_output + j0
            for i in range(TILE):
                for j in range(TILE):
                    put(held, i * TILE + j, load(sums, LANES * (corner + i * n_output + j)))
            for s in range(BLOCK):
                for j in range(TILE):
                    put(across, j, load(u, LANES * ((j0 + j) * BLOCK + s)))
                for i in range(TILE):
                    down = load(u, LANES * ((i0 + i) * BLOCK + s))
                    for j in range(TILE):
                        put(held, i * TILE + j, get(held, i * TILE + j) + down * get(across, j))
            for i in range(TILE):
                for j in range(TILE):
                    store(sums, LANES * (corner + i * n_output + j), get(held, i * TILE + j))


@inlined
def derivatives(u, q, pull, weights, activations, row, targets, spectrum, table, label, n_label, n_neurons, n_column):
    """A block's derivatives of the residuals by w1 and b1 (u) and by b0 (q), and the pull of the residuals."""
    one = fill(1.0)
    for s in range(BLOCK):
        output = load(activations, LANES * (row + s * (n_neurons + 1) + n_neurons))
        root_weight = fill(table[label + s * (n_column + 2) + n_column])
        slope = output * (one - output) * root_weight
        residual = (output - load(targets, LANES * (spectrum + s))) * root_weight
        store(pull, LANES * s, slope * residual)
        store(u, LANES * (n_neurons * BLOCK + s), narrow(slope))
        for k in range(n_neurons):
            h = load(activations, LANES * (row + s * (n_neurons + 1) + k))
            t = slope * h
            store(u, LANES * (k * BLOCK + s), narrow(t))
            w1 = load(weights, LANES * (n_neurons * (n_label + 1) + k))
            store(q, LANES * (k * BLOCK + s), narrow(t * (one - h) * w1))


@inlined
def triangle_row(i):
    """First row of the factor's tiles in tile row i: element (4i + a, k) is row `triangle_row(i) + 4k + a`."""
    return TILE * TILE * (i * (i + 1) // 2)


@inlined
def factorize(factor, inverse, sums, where, gradient, penalties, damping, n_row):
    """Cholesky factor of J'J + penalties + damping, tile by tile; `inverse` of its diagonal.

    The gradient is the last row of the matrix, so that of the factor is the solution of the lower triangular system.
    """
    n_tile = n_row // TILE
    for j in range(n_tile):
        for i in range(j, n_tile):
            held = registers(HELD_TILE)
            across = registers(TILE)
            at = (i * (i + 1) // 2 + j) * TILE * TILE
            for m in range(TILE * TILE):
                put(held, m, widen(load(sums, LANES * where[at + m])))
            if i == j:
                for m in range(TILE):
                    put(held, 5 * m, get(held, 5 * m) + damping + load(penalties, LANES * (TILE * j + m)))
            if i == n_tile - 1:
                for n in range(TILE):
                    put(held, 12 + n, load(gradient, LANES * (TILE * j + n)))
            left, right = triangle_row(i), triangle_row(j)
            for k in range(TILE * j):
                for n in range(TILE):
                    put(across, n, load(factor, LANES * (right + TILE * k + n)))
                for m in range(TILE):
                    down = load(factor, LANES * (left + TILE * k + m))
                    for n in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) - down * get(across, n))
            if i == j:
                for n in range(TILE):
                    least = damping + load(penalties, LANES * (TILE * j + n))  # of a pivot, were it not for rounding
                    d = fill(1.0) / square_root(maximum(get(held, 5 * n), least))
                    store(inverse, LANES * (TILE * j + n), d)
                    for m in range(TILE):
                        if m > n:
                            put(held, TILE * m + n, get(held, TILE * m + n) * d)
                    for m in range(TILE):
                        for o in range(TILE):
                            if n < o <= m:
                                product = get(held, TILE * m + n) * get(held, TILE * o + n)
                                put(held, TILE * m + o, get(held, TILE * m + o) - product)
            else:
                for n in range(TILE):
                    for o in range(TILE):
                        if o < n:
                            d = load(factor, LANES * (right + TILE * (TILE * j + o) + n))
                            for m in range(TILE):
                                put(held, TILE * m + n, get(held, TILE * m + n) - get(held, TILE * m + o) * d)
                    d = load(inverse, LANES * (TILE * j + n))
                    for m in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) * d)
            for n in range(TILE):
                for m in range(TILE):
                    store(factor, LANES * (left + TILE * (TILE * j + n) + m), get(held, TILE * m + n))


@inlined
def solve_lower(factor, inverse, x, n_row):
    """x <- L^-1 x"""
    for i in range(n_row // TILE):
        held = registers(TILE)
        row = triangle_row(i)
        for m in range(TILE):
            put(held, m, load(x, LANES * (TILE * i + m)))
        for k in range(TILE * i):
            solved = load(x, LANES * k)
            for m in range(TILE):
                put(held, m, get(held, m) - load(factor, LANES * (row + TILE * k + m)) * solved)
        for n in range(TILE):
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m > n:
                    below = load(factor, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, m, get(held, m) - below * solved)


@inlined
def solve_upper(factor, inverse, x, n_row):
    """x <- L'^-1 x"""
    n_tile = n_row // TILE
    for back in range(n_tile):
        i = n_tile - 1 - back
        held = registers(TILE)
        for n in range(TILE):
            put(held, n, load(x, LANES * (TILE * i + n)))
        for k in range(i + 1, n_tile):
            row = triangle_row(k)
            for m in range(TILE):
                solved = load(x, LANES * (TILE * k + m))
                for n in range(TILE):
                    below = load(factor, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, n, get(held, n) - below * solved)
        row = triangle_row(i)
        for back_n in range(TILE):
            n = TILE - 1 - back_n
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m < n:
                    below = load(factor, LANES * (row + TILE * (TILE * i + m) + n))
                    put(held, m, get(held, m) - below * solved)


@inlined
def bending(pull, step, weights, activations, row, table, label, n_label, n_neurons, n_column):
    """A block's pull of the second derivatives of the residuals along `step`."""
    one, two = fill(1.0), fill(2.0)
    outer = n_neurons * (n_label + 1)
    for s in range(BLOCK):
        z1 = load(step, LANES * (outer + n_neurons))  # first and second derivative of the output neuron's input
        z2 = fill(0.0)
        for k in range(n_neurons):
            own = k * (n_label + 1)
            a1 = load(step, LANES * (own + n_label))
            for c in range(n_label):
                a1 = a1 + load(step, LANES * (own + c)) * fill(table[label + s * (n_column + 2) + c])
            h = load(activations, LANES * (row + s * (n_neurons + 1) + k))
            w1, w1_step = load(weights, LANES * (outer + k)), load(step, LANES * (outer + k))
            h1 = h * (one - h) * a1
            z1 = z1 + w1_step * h + w1 * h1
            z2 = z2 + h1 * (two * w1_step + w1 * (one - two * h) * a1)
        output = load(activations, LANES * (row + s * (n_neurons + 1) + n_neurons))
        slope = output * (one - output) * fill(table[label + s * (n_column + 2) + n_column])
        store(pull, LANES * s, slope * slope * (z2 + (one - two * output) * z1 * z1))


@inlined
def take_step(trial, weights, step, bend, n_weight):
    """trial = weights - v - a/2, the acceleration a bounded by LONGEST_BEND"""
    bend_square, step_square = fill(0.0), fill(0.0)
    for i in range(n_weight):
        a, v = load(bend, LANES * i), load(step, LANES * i)
        bend_square = bend_square + a * a
        step_square = step_square + v * v
    longest = fill(0.25 * LONGEST_BEND * LONGEST_BEND) * step_square / (bend_square + fill(TINY))
    half = fill(0.5) * minimum(fill(1.0), square_root(longest))
    for i in range(n_weight):
        straight = load(weights, LANES * i) - load(step, LANES * i)
        store(trial, LANES * i, straight - half * load(bend, LANES * i))


@inlined
def accept(weights, trial, scalars, n_weight):
    """Lane by lane: take the trial where it lowers the cost. GAIN: the part of the cost it took away, -1 if refused."""
    cost, trial_cost = load(scalars, LANES * COST), load(scalars, LANES * TRIAL_COST)
    damping = load(scalars, LANES * DAMPING)
    less = maximum(damping * fill(DAMPING_DOWN), fill(DAMPING_LEAST))
    more = damping * fill(DAMPING_UP)
    store(scalars, LANES * GAIN, where_less(trial_cost, cost, (cost - trial_cost) / cost, fill(-1.0)))
    store(scalars, LANES * DAMPING, where_less(trial_cost, cost, less, more))
    store(scalars, LANES * COST, where_less(trial_cost, cost, trial_cost, cost))
    deviation, trial_deviation = load(scalars, LANES * DEVIATION), load(scalars, LANES * TRIAL_DEVIATION)
    store(scalars, LANES * DEVIATION, where_less(trial_cost, cost, trial_deviation, deviation))
    for i in range(n_weight):
        taken = where_less(trial_cost, cost, load(trial, LANES * i), load(weights, LANES * i))
        store(weights, LANES * i, taken)


@inlined
def merge(activations, now, after, gains, n):
    """Where the trial was refused, put the activations of the weights in place of those of the trial."""
    zero = fill(0.0)
    for i in range(n):
        old, new = load(activations, LANES * (now + i)), load(activations, LANES * (after + i))
        store(activations, LANES * (after + i), where_less(gains, zero, old, new))


# --------------------------------------------------------------------------------------------------------------- kernel


@cache
def build(n_label, n_neurons):
    """The compiled loop for networks of this size: iterate all eight lanes until one of them is done."""
    layout = Layout(n_label, n_neurons)
    n_weight, n_row, n_column, n_output = layout.n_weight, layout.n_row, layout.n_column, layout.n_output
    n_pair, n_product, cross, square, n_sum = layout.n_pair, layout.n_product, layout.cross, layout.square, layout.n_sum
    n_activation = n_neurons + 1

    @kernel
    def descend(
        table, inputs, products, pairs, where, penalties, targets,
        weights, trial, gradient, step, bend, scalars, activations, pull, scratch, u, q, sums, factor, inverse,
        n_spectrum, fresh, half, limit, count, small, done,
    ):  # fmt: skip
        half_size = n_spectrum * n_activation
        if fresh:  # activations of all lanes anew; a lane that is under way gets the same numbers again
            for i in range(LANES * n_weight):
                trial[i] = weights[i]
            predict(trial, penalties, table, targets, activations, half[0] * half_size, scalars,
                    n_spectrum, n_label, n_neurons, n_column)  # fmt: skip
            for lane in range(LANES):
                scalars[LANES * COST + lane] = scalars[LANES * TRIAL_COST + lane]
                scalars[LANES * DEVIATION + lane] = scalars[LANES * TRIAL_DEVIATION + lane]
        n_done = 0
        while n_done == 0:
            now, after = half[0] * half_size, (1 - half[0]) * half_size
            for i in range(LANES * n_sum):
                sums[i] = 0
            for i in range(LANES * n_row):
                gradient[i] = penalties[i] * weights[i]
                bend[i] = 0.0
            for x in range(0, n_spectrum, BLOCK):
                row, label = now + x * n_activation, x * (n_column + 2)
                derivatives(u, q, pull, weights, activations, row, targets, x, table, label,
                            n_label, n_neurons, n_column)  # fmt: skip
                project(gradient, pull, weights, activations, row, table, label, scratch, n_label, n_neurons, n_column)
                sum_pairs(sums, q, products, pairs, x, n_pair, n_product)
                sum_cross(sums, cross, u, q, inputs, x, n_neurons, n_column)
                sum_square(sums, square, u, n_neurons, n_output)
            factorize(factor, inverse, sums, where, gradient, penalties, load(scalars, LANES * DAMPING), n_row)
            last = triangle_row(n_row // TILE - 1) + TILE - 1
            for i in range(n_weight):
                store(step, LANES * i, load(factor, LANES * (last + TILE * i)))
            for i in range(LANES * n_weight, LANES * n_row):
                step[i] = 0.0
            solve_upper(factor, inverse, step, n_row)
            for x in range(0, n_spectrum, BLOCK):
                row, label = now + x * n_activation, x * (n_column + 2)
                bending(pull, step, weights, activations, row, table, label, n_label, n_neurons, n_column)
                project(bend, pull, weights, activations, row, table, label, scratch, n_label, n_neurons, n_column)
            solve_lower(factor, inverse, bend, n_row)
            for i in range(LANES * n_weight, LANES * n_row):
                bend[i] = 0.0
            solve_upper(factor, inverse, bend, n_row)
            take_step(trial, weights, step, bend, n_weight)
            predict(trial, penalties, table, targets, activations, after, scalars,
                    n_spectrum, n_label, n_neurons, n_column)  # fmt: skip
            accept(weights, trial, scalars, n_weight)
            refused = 0
            for lane in range(LANES):
                gain = scalars[LANES * GAIN + lane]
                if gain < 0:
                    refused += 1
                else:
                    small[lane] = small[lane] + 1 if gain < SMALL_GAIN else 0
                count[lane] += 1
                over = count[lane] >= limit[lane] or small[lane] >= SMALL_GAINS
                done[lane] = limit[lane] > 0 and (over or not scalars[LANES * DAMPING + lane] < DAMPING_MOST)
                n_done += done[lane]
            if refused:
                merge(activations, now, after, load(scalars, LANES * GAIN), half_size)
            half[0] = 1 - half[0]

    return descend
