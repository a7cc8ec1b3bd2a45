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

from functools import cache

from payneflow.simd import (
    LANES,
    absolute,
    fill,
    inlined,
    kernel,
    load,
    maximum,
    minimum,
    sigmoid,
    square_root,
    store,
    where_less,
)
from payneflow.training.lm.cholesky import factorize, solve_lower, solve_upper, triangle_row
from payneflow.training.lm.layout import BLOCK, TILE, Layout
from payneflow.training.lm.normal_matrix import derivatives, project, sum_cross, sum_pairs, sum_square

DAMPING_DOWN, DAMPING_UP = 0.7, 1.5  # gentle, as geodesic acceleration wants it (Transtrum & Sethna 2012, section 4)
DAMPING_LEAST, DAMPING_MOST = 1e-14, 1e9  # the first is far below J'J, the second a step of nothing: the run ends
LONGEST_BEND = 0.75  # 2|a|/|v| at most, Transtrum & Sethna's bound on the acceleration
SMALL_GAIN, SMALL_GAINS = 1e-4, 3  # this many steps running that lower the cost by less than this part end a run
TINY = 1e-300  # against 0/0

# Rows of the array `scalars`
COST, TRIAL_COST, DEVIATION, TRIAL_DEVIATION, DAMPING, GAIN = range(6)


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
