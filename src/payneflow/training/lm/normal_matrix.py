"""The parts of an iteration that sum the normal equations over a block of spectra: gradient J'r and matrix J'J.

A block is BLOCK spectra from spectrum `x` on. `now`: first row of Networks.activations of the weights; `size`: Sizes;
the other arguments are the groups of arguments.py.
"""

from numba.extending import overload

from payneflow.simd import LANES, fill, float_registers, for_lanes, get, inlined, load, narrow, put, registers, store
from payneflow.training.lm.arguments import ROOT_WEIGHT
from payneflow.training.lm.layout import BLOCK, OUTPUTS, PAIRS, PRODUCTS, TILE

HELD_PAIRS, HELD_CROSS, HELD_TILE = PAIRS * PRODUCTS, OUTPUTS * TILE, TILE * TILE  # registers held at a time


@inlined
def project(total, memory, networks, spectra, now, x, size):
    """Add to `total` (n_row rows) the sum over a block of `pull` times the derivatives of the output neuron's input."""
    n_label, n_neurons = size.n_label, size.n_neurons
    weights, activations, table = networks.weights, networks.activations, spectra.table
    pull, scratch = memory.pull, memory.scratch
    row, label = now + x * (n_neurons + 1), x * size.n_table
    outer = size.n_hidden
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
                    put(sums, c, get(sums, c) + t * for_lanes(table, label + s * size.n_table + c0 + c))
            for c in range(TILE):
                if c0 + c <= n_label:
                    own = LANES * (k * (n_label + 1) + c0 + c)
                    store(total, own, load(total, own) + get(sums, c))


def products_of_inputs(spectra_products, inputs, made, places, x, m0, size):
    """PRODUCTS products of two inputs, from number m0 on, for a block: an array, its first row, rows to a spectrum.

    Of labels that are the same for all lanes they are in `spectra_products`. Where each lane has inputs of its own, an
    array (n, 8), they are written to `made`.
    """
    raise NotImplementedError("a part of kernels, which compile it")


@overload(products_of_inputs, jit_options={"error_model": "numpy", "nogil": True, "forceinline": True})
def _products_of_inputs(spectra_products, inputs, made, places, x, m0, size):
    def known(spectra_products, inputs, made, places, x, m0, size):
        return spectra_products, x * size.n_product + m0, size.n_product

    def multiplied(spectra_products, inputs, made, places, x, m0, size):
        first_of_product, second_of_product = places.first_of_product, places.second_of_product
        for s in range(BLOCK):
            row = (x + s) * size.n_column
            for m in range(PRODUCTS):
                a, b = row + first_of_product[m0 + m], row + second_of_product[m0 + m]
                store(made, LANES * (s * PRODUCTS + m), for_lanes(inputs, a) * for_lanes(inputs, b))
        return made, 0, PRODUCTS

    return multiplied if inputs.ndim == 2 else known


@inlined
def sum_pairs(memory, spectra, places, x, size):
    """Add a block's hidden weights x hidden weights to J'J: PAIRS pairs of neurons times PRODUCTS products."""
    sums, by_hidden, n_product = memory.sums, memory.by_hidden, size.n_product
    first_of_pair, second_of_pair = places.first_of_pair, places.second_of_pair
    for m0 in range(0, n_product, PRODUCTS):
        products, row, step = products_of_inputs(spectra.products, spectra.inputs, memory.products, places, x, m0, size)
        for p0 in range(0, size.n_pair, PAIRS):
            held = float_registers(HELD_PAIRS)
            both = float_registers(PAIRS)
            for p in range(PAIRS):
                for m in range(PRODUCTS):
                    put(held, p * PRODUCTS + m, load(sums, LANES * ((p0 + p) * n_product + m0 + m)))
            for s in range(BLOCK):
                for p in range(PAIRS):
                    j, k = first_of_pair[p0 + p], second_of_pair[p0 + p]
                    first, second = load(by_hidden, LANES * (j * BLOCK + s)), load(by_hidden, LANES * (k * BLOCK + s))
                    put(both, p, first * second)
                for m in range(PRODUCTS):
                    product = for_lanes(products, row + s * step + m)
                    for p in range(PAIRS):
                        put(held, p * PRODUCTS + m, get(held, p * PRODUCTS + m) + get(both, p) * product)
            for p in range(PAIRS):
                for m in range(PRODUCTS):
                    store(sums, LANES * ((p0 + p) * n_product + m0 + m), get(held, p * PRODUCTS + m))


@inlined
def sum_cross(memory, spectra, x, size):
    """Add a block's output weights x hidden weights to J'J: OUTPUTS output weights times TILE inputs of one neuron."""
    sums, by_output, by_hidden, inputs = memory.sums, memory.by_output, memory.by_hidden, spectra.inputs
    n_neurons, n_column = size.n_neurons, size.n_column
    width = n_neurons * n_column
    for i0 in range(0, n_neurons + 1, OUTPUTS):
        for k in range(n_neurons):
            for c0 in range(0, n_column, TILE):
                held = float_registers(HELD_CROSS)
                slopes = float_registers(TILE)
                corner = size.cross + i0 * width + k * n_column + c0
                for i in range(OUTPUTS):
                    for c in range(TILE):
                        put(held, i * TILE + c, load(sums, LANES * (corner + i * width + c)))
                for s in range(BLOCK):
                    slope = load(by_hidden, LANES * (k * BLOCK + s))
                    for c in range(TILE):
                        put(slopes, c, slope * for_lanes(inputs, (x + s) * n_column + c0 + c))
                    for i in range(OUTPUTS):
                        h = load(by_output, LANES * ((i0 + i) * BLOCK + s))
                        for c in range(TILE):
                            put(held, i * TILE + c, get(held, i * TILE + c) + h * get(slopes, c))
                for i in range(OUTPUTS):
                    for c in range(TILE):
                        store(sums, LANES * (corner + i * width + c), get(held, i * TILE + c))


@inlined
def sum_square(memory, size):
    """Add a block's output weights x output weights to J'J, lower triangle of tiles."""
    sums, by_output, n_neurons, n_output = memory.sums, memory.by_output, size.n_neurons, size.n_output
    for i0 in range(0, n_neurons + 1, TILE):
        for j0 in range(0, i0 + 1, TILE):
            held = float_registers(HELD_TILE)
            across = float_registers(TILE)
            corner = size.square + i0 * n_output + j0
            for i in range(TILE):
                for j in range(TILE):
                    put(held, i * TILE + j, load(sums, LANES * (corner + i * n_output + j)))
            for s in range(BLOCK):
                for j in range(TILE):
                    put(across, j, load(by_output, LANES * ((j0 + j) * BLOCK + s)))
                for i in range(TILE):
                    down = load(by_output, LANES * ((i0 + i) * BLOCK + s))
                    for j in range(TILE):
                        put(held, i * TILE + j, get(held, i * TILE + j) + down * get(across, j))
            for i in range(TILE):
                for j in range(TILE):
                    store(sums, LANES * (corner + i * n_output + j), get(held, i * TILE + j))


@inlined
def derivatives(memory, networks, spectra, now, x, size):
    """Write a block's derivatives of the residuals, `by_output` and `by_hidden`, and the pull of the residuals."""
    n_neurons = size.n_neurons
    weights, activations, table, targets = networks.weights, networks.activations, spectra.table, spectra.targets
    by_output, by_hidden, pull = memory.by_output, memory.by_hidden, memory.pull
    row, label = now + x * (n_neurons + 1), x * size.n_table
    one = fill(1.0)
    for s in range(BLOCK):
        output = load(activations, LANES * (row + s * (n_neurons + 1) + n_neurons))
        root_weight = for_lanes(table, label + s * size.n_table + size.n_column + ROOT_WEIGHT)
        slope = output * (one - output) * root_weight
        residual = (output - load(targets, LANES * (x + s))) * root_weight
        store(pull, LANES * s, slope * residual)
        store(by_output, LANES * (n_neurons * BLOCK + s), narrow(slope))
        for k in range(n_neurons):
            h = load(activations, LANES * (row + s * (n_neurons + 1) + k))
            t = slope * h
            store(by_output, LANES * (k * BLOCK + s), narrow(t))
            w1 = load(weights, LANES * (size.n_hidden + k))
            store(by_hidden, LANES * (k * BLOCK + s), narrow(t * (one - h) * w1))
