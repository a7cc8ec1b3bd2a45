"""Levenberg-Marquardt for the networks of single pixels, eight pixels side by side.

Labels of the spectra and scaled flux of a pixel go in, the weights of its network come out. The cost of a network is

    sum over spectra n of  weight_n (y'_n - prediction_n)^2   +   penalty * sum over its weights squared,

and one iteration replaces the weights p by `p - v - a/2`: v solves `(J'J + penalty + damping) v = J'r` (r residuals, J
their derivatives), a is the geodesic acceleration, the same system with the second derivative of r along v on its
right-hand side (Transtrum & Sethna 2012, arXiv:1201.5885). A step that lowers the cost is taken and the damping falls,
any other is refused and the damping rises.

Everything is solved in the coordinates `u = (x' - 0.5)/0.2` of the scaled labels x', in which hidden weights and biases
are of like size, so that one damping and one penalty suit all. Outside this folder weights are in the published layout
and coordinates: one vector of w0 (n_neurons, n_label) row by row, b0 (n_neurons,), w1 (n_neurons,), b1.

Inside, the weights of eight pixels are the rows of an array (see `simd`), hidden neuron by hidden neuron (its n_label
w0, then its b0), then w1, then b1. A lane is refilled as soon as its pixel is done. The groups of arrays that the
functions here are given stand in arguments.py; `size`: Sizes; `now`, `after`, `first`: rows of Networks.activations.
"""

from functools import cache

from payneflow.simd import (
    LANES,
    absolute,
    fill,
    for_lanes,
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
from payneflow.training.lm.arguments import (
    COST,
    COUNTED,
    DAMPING,
    DEVIATION,
    GAIN,
    ROOT_WEIGHT,
    TRIAL_COST,
    TRIAL_DEVIATION,
)
from payneflow.training.lm.cholesky import factorize, solve_lower, solve_upper, triangle_row
from payneflow.training.lm.layout import BLOCK, TILE, Layout
from payneflow.training.lm.normal_matrix import derivatives, project, sum_cross, sum_pairs, sum_square

DAMPING_DOWN, DAMPING_UP = 0.7, 1.5  # gentle, as geodesic acceleration wants it (Transtrum & Sethna 2012, section 4)
DAMPING_LEAST, DAMPING_MOST = 1e-14, 1e9  # the first is far below J'J, the second a step of nothing: the run ends
LONGEST_BEND = 0.75  # 2|a|/|v| at most, Transtrum & Sethna's bound on the acceleration
SMALL_GAIN, SMALL_GAINS = 1e-4, 3  # this many steps running that lower the cost by less than this part end a run
TINY = 1e-300  # against 0/0


@inlined
def predict(networks, spectra, first, size):
    """Of the trial weights: activations of all spectra from row `first` on, TRIAL_COST and TRIAL_DEVIATION."""
    n_label, n_neurons, outer = size.n_label, size.n_neurons, size.n_hidden
    weights, penalties, scalars = networks.trial, networks.penalties, networks.scalars
    activations, table, targets = networks.activations, spectra.table, spectra.targets
    cost = fill(0.0)
    for i in range(outer + n_neurons + 1):
        w = load(weights, LANES * i)
        cost = cost + load(penalties, LANES * i) * w * w
    largest = fill(0.0)
    for x in range(len(targets) // LANES):
        label = x * size.n_table
        row = first + x * (n_neurons + 1)
        z = load(weights, LANES * (outer + n_neurons))
        for k in range(n_neurons):
            own = k * (n_label + 1)
            a = load(weights, LANES * (own + n_label))
            for c in range(n_label):
                a = a + load(weights, LANES * (own + c)) * for_lanes(table, label + c)
            h = sigmoid(a)
            store(activations, LANES * (row + k), h)
            z = z + load(weights, LANES * (outer + k)) * h
        output = sigmoid(z)
        store(activations, LANES * (row + n_neurons), output)
        residual = output - load(targets, LANES * x)
        largest = maximum(largest, absolute(residual) * for_lanes(table, label + size.n_column + COUNTED))
        residual = residual * for_lanes(table, label + size.n_column + ROOT_WEIGHT)
        cost = cost + residual * residual
    store(scalars, LANES * TRIAL_COST, cost)
    store(scalars, LANES * TRIAL_DEVIATION, largest)


@inlined
def acceleration(memory, networks, spectra, now, x, size):
    """Write the pull of the second derivatives of the residuals along `step`, of a block from spectrum x on."""
    n_label, n_neurons, outer = size.n_label, size.n_neurons, size.n_hidden
    weights, activations, table = networks.weights, networks.activations, spectra.table
    pull, step = memory.pull, memory.step
    row, label = now + x * (n_neurons + 1), x * size.n_table
    one, two = fill(1.0), fill(2.0)
    for s in range(BLOCK):
        z1 = load(step, LANES * (outer + n_neurons))  # first and second derivative of the output neuron's input
        z2 = fill(0.0)
        for k in range(n_neurons):
            own = k * (n_label + 1)
            a1 = load(step, LANES * (own + n_label))
            for c in range(n_label):
                a1 = a1 + load(step, LANES * (own + c)) * for_lanes(table, label + s * size.n_table + c)
            h = load(activations, LANES * (row + s * (n_neurons + 1) + k))
            w1, w1_step = load(weights, LANES * (outer + k)), load(step, LANES * (outer + k))
            h1 = h * (one - h) * a1
            z1 = z1 + w1_step * h + w1 * h1
            z2 = z2 + h1 * (two * w1_step + w1 * (one - two * h) * a1)
        output = load(activations, LANES * (row + s * (n_neurons + 1) + n_neurons))
        slope = output * (one - output) * for_lanes(table, label + s * size.n_table + size.n_column + ROOT_WEIGHT)
        store(pull, LANES * s, slope * slope * (z2 + (one - two * output) * z1 * z1))


@inlined
def take_step(networks, memory, n_weight):
    """trial = weights - v - a/2, the acceleration a bounded by LONGEST_BEND; v is `step`, a is `bend`."""
    weights, trial, step, bend = networks.weights, networks.trial, memory.step, memory.bend
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
def accept(networks, n_weight):
    """Lane by lane: take the trial where it lowers the cost. GAIN: the part of the cost it took away, -1 if refused."""
    weights, trial, scalars = networks.weights, networks.trial, networks.scalars
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
def merge(networks, now, after, n):
    """Where the trial was refused, put the n rows of activations of the weights in place of those of the trial."""
    activations, gains, zero = networks.activations, load(networks.scalars, LANES * GAIN), fill(0.0)
    for i in range(n):
        old, new = load(activations, LANES * (now + i)), load(activations, LANES * (after + i))
        store(activations, LANES * (after + i), where_less(gains, zero, old, new))


@inlined
def begin(networks, spectra, now, size):
    """Activations, cost and deviation of all lanes anew; a lane that is under way gets the same numbers again."""
    weights, trial, scalars = networks.weights, networks.trial, networks.scalars
    for i in range(LANES * size.n_weight):
        trial[i] = weights[i]
    predict(networks, spectra, now, size)
    for lane in range(LANES):
        scalars[LANES * COST + lane] = scalars[LANES * TRIAL_COST + lane]
        scalars[LANES * DEVIATION + lane] = scalars[LANES * TRIAL_DEVIATION + lane]


@inlined
def sum_normal_equations(memory, networks, spectra, places, now, size):
    """Write `gradient` and `sums`, over all spectra."""
    sums, gradient, weights, penalties = memory.sums, memory.gradient, networks.weights, networks.penalties
    for i in range(LANES * size.n_sum):
        sums[i] = 0
    for i in range(LANES * size.n_row):
        gradient[i] = penalties[i] * weights[i]
    for x in range(0, len(spectra.targets) // LANES, BLOCK):
        derivatives(memory, networks, spectra, now, x, size)
        project(gradient, memory, networks, spectra, now, x, size)
        sum_pairs(memory, spectra, places, x, size)
        sum_cross(memory, spectra, x, size)
        sum_square(memory, size)


@inlined
def solve_step(memory, networks, places, size):
    """Write the factor of the damped normal matrix, and `step`."""
    step, factor, n_weight, n_row = memory.step, memory.factor, size.n_weight, size.n_row
    damping = load(networks.scalars, LANES * DAMPING)
    factorize(factor, memory.sums, places.sum_of_element, memory.gradient, networks.penalties, damping, n_row)
    last = triangle_row(n_row // TILE - 1) + TILE - 1
    for i in range(n_weight):
        store(step, LANES * i, load(factor.tiles, LANES * (last + TILE * i)))
    for i in range(LANES * n_weight, LANES * n_row):
        step[i] = 0.0
    solve_upper(factor, step, n_row)


@inlined
def solve_bend(memory, networks, spectra, now, size):
    """Write `bend`, by the factor that `solve_step` has left."""
    bend, factor, n_weight, n_row = memory.bend, memory.factor, size.n_weight, size.n_row
    for i in range(LANES * n_row):
        bend[i] = 0.0
    for x in range(0, len(spectra.targets) // LANES, BLOCK):
        acceleration(memory, networks, spectra, now, x, size)
        project(bend, memory, networks, spectra, now, x, size)
    solve_lower(factor, bend, n_row)
    for i in range(LANES * n_weight, LANES * n_row):
        bend[i] = 0.0
    solve_upper(factor, bend, n_row)


@inlined
def count_iteration(runs, scalars):
    """Judge each lane's run after an iteration: how many lanes are done, and how many have refused the trial."""
    n_done, n_refused = 0, 0
    for lane in range(LANES):
        gain = scalars[LANES * GAIN + lane]
        if gain < 0:
            n_refused += 1
        else:
            runs.small[lane] = runs.small[lane] + 1 if gain < SMALL_GAIN else 0
        runs.count[lane] += 1
        over = runs.count[lane] >= runs.limit[lane] or runs.small[lane] >= SMALL_GAINS
        runs.done[lane] = runs.limit[lane] > 0 and (over or not scalars[LANES * DAMPING + lane] < DAMPING_MOST)
        n_done += runs.done[lane]
    return n_done, n_refused


@inlined
def iterate(spectra, places, networks, memory, runs, half, fresh, size):
    """Iterate all lanes until one is done; `runs.done` says which. Returns `half` for the next call.

    `half`: 0 or 1, which half of Networks.activations is that of the weights. `fresh`: weights, targets or damping have
    been written since the last call, so those activations are not known.
    """
    half_size = len(spectra.targets) // LANES * (size.n_neurons + 1)
    if fresh:
        begin(networks, spectra, half * half_size, size)
    n_done = 0
    while n_done == 0:
        now, after = half * half_size, (1 - half) * half_size
        sum_normal_equations(memory, networks, spectra, places, now, size)
        solve_step(memory, networks, places, size)
        solve_bend(memory, networks, spectra, now, size)
        take_step(networks, memory, size.n_weight)
        predict(networks, spectra, after, size)
        accept(networks, size.n_weight)
        n_done, n_refused = count_iteration(runs, networks.scalars)
        if n_refused:
            merge(networks, now, after, half_size)
        half = 1 - half
    return half


@cache
def build(n_label, n_neurons):
    """`iterate`, compiled for networks of this size."""
    size = Layout(n_label, n_neurons).sizes

    @kernel
    def descend(spectra, places, networks, memory, runs, half, fresh):
        return iterate(spectra, places, networks, memory, runs, half, fresh, size)

    return descend


@kernel
def descend_at_any_size(spectra, places, networks, memory, runs, half, fresh, size):
    """`iterate`, compiled once for all sizes of networks."""
    return iterate(spectra, places, networks, memory, runs, half, fresh, size)
