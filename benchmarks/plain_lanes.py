"""The yardstick of sgd_speed.py: the same update rule in plain numba loops that LLVM must vectorise by itself.

It is the fastest way found without a register type: the pixels' state in one flat array with compile-time offsets, the
lane loop innermost, everything `fastmath`. Limits: 3 labels, 10 neurons, mini-batches of 2, one step size for all
lanes, one order of the spectra for all lanes, no refill.
"""

import math

import numpy as np
from llvmlite import ir
from numba import float64, njit
from numba.extending import intrinsic

N_LABEL, N_NEURONS, MINI_BATCH_SIZE = 3, 10, 2
LN_2_HIGH, LN_2_LOW, LOG2_E = 0.693147180369123816490, 1.90821492927058770002e-10, 1.4426950408889634
C = tuple(1 / math.factorial(i) for i in range(12))
HIDDEN_BIAS = N_LABEL * N_NEURONS
OUTPUT_WEIGHT = HIDDEN_BIAS + N_NEURONS
OUTPUT_BIAS = OUTPUT_WEIGHT + N_NEURONS
N_WEIGHT = OUTPUT_BIAS + 1
HIDDEN = N_WEIGHT
DELTA = HIDDEN + MINI_BATCH_SIZE * N_NEURONS
Z = DELTA + MINI_BATCH_SIZE
COST = Z + 1
N_ROW = COST + 1


@intrinsic
def _as_double(typing_context, bits):
    return float64(bits), lambda context, builder, signature, args: builder.bitcast(args[0], ir.DoubleType())


@njit(fastmath=True, inline="always")
def _exp(x):
    x = min(max(x, -700.0), 700.0)
    k = np.floor(x * LOG2_E + 0.5)
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW
    p = ((((C[11] * r + C[10]) * r + C[9]) * r + C[8]) * r + C[7]) * r + C[6]
    p = (((((p * r + C[5]) * r + C[4]) * r + C[3]) * r + C[2]) * r + C[1]) * r + C[0]
    return p * _as_double((np.int64(k) + 1023) << 52)


def build(lanes):
    """The compiled `epochs(labels, flux, order, n_epochs, eta, state, cost)` for `lanes` pixels side by side."""

    @njit(fastmath=True, error_model="numpy")
    def epochs(labels, flux, order, n_epochs, eta, state, cost):
        step = eta / MINI_BATCH_SIZE
        for epoch in range(n_epochs):
            for i in range(lanes):
                state[COST * lanes + i] = 0.0
            for batch in range(labels.shape[0] // MINI_BATCH_SIZE):
                for m in range(MINI_BATCH_SIZE):
                    s = order[batch * MINI_BATCH_SIZE + m]
                    x0, x1, x2 = labels[s, 0], labels[s, 1], labels[s, 2]
                    for i in range(lanes):
                        state[Z * lanes + i] = state[OUTPUT_BIAS * lanes + i]
                    for k in range(N_NEURONS):
                        for i in range(lanes):
                            q = (
                                state[(HIDDEN_BIAS + k) * lanes + i]
                                + state[k * lanes + i] * x0
                                + state[(N_NEURONS + k) * lanes + i] * x1
                                + state[(2 * N_NEURONS + k) * lanes + i] * x2
                            )
                            hidden = 1.0 / (1.0 + _exp(-q))
                            state[(HIDDEN + m * N_NEURONS + k) * lanes + i] = hidden
                            state[Z * lanes + i] += state[(OUTPUT_WEIGHT + k) * lanes + i] * hidden
                    for i in range(lanes):
                        output = 1.0 / (1.0 + _exp(-state[Z * lanes + i]))
                        error = output - flux[s, i]
                        state[COST * lanes + i] += abs(error)
                        sign = 1.0 if error > 0.0 else -1.0
                        state[(DELTA + m) * lanes + i] = sign * output * (1.0 - output) * step
                sa, sb = order[batch * MINI_BATCH_SIZE], order[batch * MINI_BATCH_SIZE + 1]
                a0, a1, a2 = labels[sa, 0], labels[sa, 1], labels[sa, 2]
                b0, b1, b2 = labels[sb, 0], labels[sb, 1], labels[sb, 2]
                for k in range(N_NEURONS):
                    for i in range(lanes):
                        w = state[(OUTPUT_WEIGHT + k) * lanes + i]
                        ha = state[(HIDDEN + k) * lanes + i]
                        hb = state[(HIDDEN + N_NEURONS + k) * lanes + i]
                        da, db = state[DELTA * lanes + i], state[(DELTA + 1) * lanes + i]
                        qa, qb = da * w * ha * (1.0 - ha), db * w * hb * (1.0 - hb)
                        state[(OUTPUT_WEIGHT + k) * lanes + i] = w - (da * ha + db * hb)
                        state[(HIDDEN_BIAS + k) * lanes + i] -= qa + qb
                        state[k * lanes + i] -= qa * a0 + qb * b0
                        state[(N_NEURONS + k) * lanes + i] -= qa * a1 + qb * b1
                        state[(2 * N_NEURONS + k) * lanes + i] -= qa * a2 + qb * b2
                for i in range(lanes):
                    state[OUTPUT_BIAS * lanes + i] -= state[DELTA * lanes + i] + state[(DELTA + 1) * lanes + i]
            for i in range(lanes):
                cost[epoch, i] = state[COST * lanes + i]

    return epochs
