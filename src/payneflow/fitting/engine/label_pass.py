"""One pass over a spectrum: what a step of a fit needs, summed over all pixels while the flux is computed.

Sums of a pass, with residual r = flux - prediction, inverse variance w and the derivatives J of the prediction by the
scaled labels: chi2 = sum w r^2, gradient = sum w r J (minus half the derivative of chi2), matrix = sum w J J'.

The same source is compiled for float32 and float64 arrays; the arrays' precision decides. A register holds the pixels
of one cache line of the padded axis, see emulator.py. A neuron's activation is 1 / (1 + 2**z), z from weights times
-log2(e), and two neurons share one division.
"""

from functools import cache
from math import log

from payneflow.fitting.engine.products import GROUPS, build_products, place_of
from payneflow.fitting.engine.whole_pass import WHOLE, build_whole_predict
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
from payneflow.weights import LINEAR, LOGISTIC

MOST_IN_REGISTERS = 6  # labels up to which the sums of a pass fit into the CPU's registers


@cache
def build_network(n_label, n_neurons, output=LOGISTIC):
    """The part of every pass that computes the flux of one group of pixels and its derivatives by the labels."""
    n_pair = -(-n_neurons // 2)
    stride = n_label + 2
    n_down, n_row = 2 * n_pair, 2 * n_pair * stride + 1
    n_fours = n_label // 4 * 4
    slope_scale = log(2.0) ** 2 / SPAN  # w1 and w0 both carry a factor -log2(e)
    offset, span = OFFSET, SPAN
    linear, linear_scale = output == LINEAR, -log(2.0)  # w1 carries none

    @inlined
    def network(weights, group, labels, slopes):
        """Flux of a group; its derivatives by the scaled labels into `slopes`."""
        width = CACHE_LINE // weights.itemsize
        first = group * n_row * width
        z = load_line(weights, first + (n_row - 1) * width)
        one = like(z, 1.0)
        downs = registers_like(z, n_down)  # what the output's argument owes to that of each neuron
        for pair in range(n_pair):
            a = first + 2 * pair * stride * width
            b = a + stride * width
            z_a, z_b = load_line(weights, a + n_label * width), load_line(weights, b + n_label * width)
            for j in range(n_label):
                z_a = z_a + load_line(weights, a + j * width) * get(labels, j)
                z_b = z_b + load_line(weights, b + j * width) * get(labels, j)
            e_a, e_b = one + power_of_two(z_a), one + power_of_two(z_b)
            inverse = one / (e_a * e_b)
            h_a, h_b = inverse * e_b, inverse * e_a
            q_a = load_line(weights, a + (n_label + 1) * width) * h_a
            q_b = load_line(weights, b + (n_label + 1) * width) * h_b
            z = z + q_a + q_b
            put(downs, 2 * pair, q_a - q_a * h_a)
            put(downs, 2 * pair + 1, q_b - q_b * h_b)
        if linear:
            flux, slope_of_output = z, like(z, linear_scale)
        else:
            output = one / (one + power_of_two(z))
            flux = (output - like(z, offset)) * like(z, 1.0 / span)
            slope_of_output = output * (one - output) * like(z, slope_scale)
        zero = like(z, 0.0)
        for j in range(0, n_fours, 4):
            s_0, s_1, s_2, s_3 = zero, zero, zero, zero
            for neuron in range(n_down):
                down, at = get(downs, neuron), first + (neuron * stride + j) * width
                s_0 = s_0 + down * load_line(weights, at)
                s_1 = s_1 + down * load_line(weights, at + width)
                s_2 = s_2 + down * load_line(weights, at + 2 * width)
                s_3 = s_3 + down * load_line(weights, at + 3 * width)
            put(slopes, j, s_0 * slope_of_output)
            put(slopes, j + 1, s_1 * slope_of_output)
            put(slopes, j + 2, s_2 * slope_of_output)
            put(slopes, j + 3, s_3 * slope_of_output)
        for j in range(n_fours, n_label):
            slope = zero
            for neuron in range(n_down):
                slope = slope + get(downs, neuron) * load_line(weights, first + (neuron * stride + j) * width)
            put(slopes, j, slope * slope_of_output)
        return flux

    return network


@cache
def build_predict(n_label, n_neurons, kind=LOGISTIC):
    """The kernel that writes the flux of scaled labels (n_label,) to all places of the padded axis.

    `kind`: of the Emulator.
    """
    if kind == WHOLE:
        return build_whole_predict(n_label, n_neurons)
    network = build_network(n_label, n_neurons, kind)

    @kernel
    def predict(weights, x, flux):
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels, slopes = registers_like(first, n_label), registers_like(first, n_label)
        for j in range(n_label):
            put(labels, j, like(first, x[j]))
        for group in range(flux.size // width):
            store(flux, group * width, network(weights, group, labels, slopes))

    return predict


@cache
def build_subtract(n_label, n_neurons):
    """The part of a kernel that takes the flux of scaled labels from that of the data."""
    network = build_network(n_label, n_neurons)

    @part
    def subtract(weights, x, flux):
        """flux <- flux - prediction, all places of the padded axis."""
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels, slopes = registers_like(first, n_label), registers_like(first, n_label)
        for j in range(n_label):
            put(labels, j, like(first, x[j]))
        for group in range(flux.size // width):
            residual = load_line(flux, group * width) - network(weights, group, labels, slopes)
            store(flux, group * width, residual)

    return subtract


@cache
def build_label_pass(n_label, n_neurons):
    """The pass of a fit of labels alone, flux on the networks' own pixels."""
    if n_label > MOST_IN_REGISTERS:
        return _build_pass_of_many(n_label, n_neurons)
    return _build_pass_of_few(n_label, n_neurons)


def _build_pass_of_few(n_label, n_neurons):
    """The pass with all sums in registers."""
    network = build_network(n_label, n_neurons)
    n_sum = 1 + n_label + n_label * (n_label + 1) // 2

    @part
    def evaluate(problem, x, gradient, matrix):
        """chi2 of scaled labels x; the gradient (n_label,) and the matrix (n_label, n_label) are written.

        `problem`: LabelProblem.
        """
        weights, flux, inverse_variance = problem.weights, problem.flux, problem.inverse_variance
        width = CACHE_LINE // weights.itemsize
        first = load_line(weights, 0)
        labels, slopes = registers_like(first, n_label), registers_like(first, n_label)
        sums = registers_like(first, n_sum)
        for j in range(n_label):
            put(labels, j, like(first, x[j]))
        for m in range(n_sum):
            put(sums, m, like(first, 0.0))
        for group in range(flux.size // width):
            prediction = network(weights, group, labels, slopes)
            weight = load_line(inverse_variance, group * width)
            residual = load_line(flux, group * width) - prediction
            weighted_residual = weight * residual
            put(sums, 0, get(sums, 0) + weighted_residual * residual)
            for j in range(n_label):
                put(sums, 1 + j, get(sums, 1 + j) + weighted_residual * get(slopes, j))
                weighted_slope = weight * get(slopes, j)
                for k in range(j + 1):
                    m = 1 + n_label + j * (j + 1) // 2 + k
                    put(sums, m, get(sums, m) + weighted_slope * get(slopes, k))
        for j in range(n_label):
            gradient[j] = total(get(sums, 1 + j))
            for k in range(j + 1):
                matrix[j, k] = matrix[k, j] = total(get(sums, 1 + n_label + j * (j + 1) // 2 + k))
        return total(get(sums, 0))

    return evaluate


def _build_pass_of_many(n_label, n_neurons):
    """The pass whose sums are formed tile by tile (products.py); the residual is a row beside the derivatives."""
    network = build_network(n_label, n_neurons)
    n_row, n_sum, add = build_products(n_label + 1)
    groups, n_collected = GROUPS, GROUPS * n_row

    @part
    def collect(problem, first, stop, labels, slopes, rows, row_weights):
        """Rows of the groups from `first` on; those from `stop` on have no weight."""
        weights, flux, inverse_variance = problem.weights, problem.flux, problem.inverse_variance
        width = CACHE_LINE // weights.itemsize
        for count in range(groups):
            group = first + count
            if group < stop:
                prediction = network(weights, group, labels, slopes)
                for j in range(n_label):
                    put(rows, count * n_row + j, get(slopes, j))
                put(rows, count * n_row + n_label, load_line(flux, group * width) - prediction)
                put(row_weights, count, load_line(inverse_variance, group * width))
            else:
                put(row_weights, count, like(get(labels, 0), 0.0))

    @part
    def evaluate(problem, x, gradient, matrix):
        """As that of few labels."""
        zero = like(load_line(problem.weights, 0), 0.0)
        labels, slopes = registers_like(zero, n_label), registers_like(zero, n_label)
        sums, rows, row_weights = (
            registers_like(zero, n_sum), registers_like(zero, n_collected), registers_like(zero, groups)
        )  # fmt: skip
        for j in range(n_label):
            put(labels, j, like(zero, x[j]))
        for m in range(n_sum):
            put(sums, m, zero)
        for m in range(n_collected):
            put(rows, m, zero)
        n_group = problem.flux.size * problem.flux.itemsize // CACHE_LINE
        for group in range(0, n_group, groups):
            collect(problem, group, n_group, labels, slopes, rows, row_weights)
            add(rows, row_weights, sums)
        for j in range(n_label):
            gradient[j] = total(get(sums, place_of(n_label, j)))
            for k in range(j + 1):
                matrix[j, k] = matrix[k, j] = total(get(sums, place_of(j, k)))
        return total(get(sums, place_of(n_label, n_label)))

    return evaluate
