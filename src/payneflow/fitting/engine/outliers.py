"""Pixels that no star can have: cosmic rays, dead columns, holes; found in the residual of a fit, and left out of it.

A run of pixels is an outlier where all are more than LIMIT sigma from the model on the same side. Where the residual is
wider than its errors in most pixels, because errors are too small or the model is another star's, sigma is taken as
wider, too. A star that the model does not describe has such runs as well, but in the shape of lines, and many: a run as
wide as a line is left out only where there are few of them, so that a mismatch stays to be seen (mismatch.py).

A velocity and a first estimate are looked for before there is a model. What no star can have is left out of them.
"""

import numpy as np

from payneflow.simd import absolute, like, load_line, maximum, part, store

LIMIT = 5.0  # sigma
USUAL, WIDTH_OF_USUAL = 0.95, 1.96  # share of pixels that noise leaves within so many sigma
LINE_LIKE = 0.4  # of the largest residual: a neighbour beyond it makes the run as wide as a line
MOST_LINES = 5  # runs as wide as lines that are taken for outliers
GROWN = 1  # pixels on both sides that go with a run
MOST_FITS = 6  # of a spectrum, each without the outliers of the one before
MANY = 0.01  # share of outliers among the pixels beyond which a fit is flagged
BINS, BINS_A_SIGMA = 1024, 20  # of the histogram that `usual_size` reads
ELEMENTS = 16  # float32 numbers in a register
BRIGHTEST = 1.0  # of the continuum, above it: more is a cosmic ray where no model says otherwise
SURELY = 3.0  # sigma beyond black or BRIGHTEST


@part
def largest_size(values):
    """The largest magnitude of `values` (float32), a whole number of registers."""
    most = like(load_line(values, 0), 0.0)
    for i in range(0, len(values), ELEMENTS):
        most = maximum(most, absolute(load_line(values, i)))
    lanes = np.empty(ELEMENTS, np.float32)
    store(lanes, 0, most)
    return lanes.max()


@part
def usual_size(values, weight):
    """By how much the residuals are wider than their errors in most pixels: 1, or the USUAL quantile over its due."""
    counts = np.zeros(BINS, np.int64)
    n = 0
    for k in range(len(values)):
        if weight[k] > 0.0:
            n += 1
            counts[min(int(abs(values[k]) * BINS_A_SIGMA), BINS - 1)] += 1
    below, at = 0, 0
    while at < BINS - 1 and below + counts[at] < USUAL * n:
        below += counts[at]
        at += 1
    return max((at + 1) / BINS_A_SIGMA / WIDTH_OF_USUAL, 1.0)


@part
def mark_runs(values, ranges, limit, with_lines, marks):
    """Mark runs beyond `limit`: 1 for an outlier, 2 for a neighbour that goes with it. Returns runs wide as lines."""
    lines = 0
    for s in range(len(ranges)):
        first, stop = ranges[s, 0], ranges[s, 1]
        k = first
        while k < stop:
            if not abs(values[k]) > limit:
                k += 1
                continue
            begin, sign, most = k, values[k] > 0.0, np.float32(0.0)
            while k < stop and abs(values[k]) > limit and (values[k] > 0.0) == sign:
                most = max(most, abs(values[k]))
                k += 1
            wide = k - begin > 1
            for beside in (begin - 1, k):
                if first <= beside < stop and (values[beside] > 0.0) == sign:
                    wide = wide or abs(values[beside]) > LINE_LIKE * most
            lines += wide
            if wide and not with_lines:
                continue
            for j in range(max(begin - GROWN, first), min(k + GROWN, stop)):
                if begin <= j < k:
                    marks[j] = 1
                elif marks[j] == 0:
                    marks[j] = 2
    return lines


@part
def leave_out_impossible(flat, weight):
    """Set `weight` (n_place,) to 0 where `flat` (n_place,), flux / continuum - 1, is darker than black or too bright.

    An absorption line does neither; an emission line this bright takes no part in the first estimate alone.
    """
    for k in range(len(flat)):
        if weight[k] > 0.0:
            noise = SURELY / weight[k] ** 0.5
            if flat[k] < -1.0 - noise or flat[k] > BRIGHTEST + noise:
                weight[k] = 0.0


@part
def no_outliers(memory, weight):
    """Before the first fit of a spectrum with these inverse variances: nothing is left out."""
    for k in range(len(weight)):
        memory.all_weight[k] = weight[k]
    memory.n_out[0] = 0


@part
def leave_out_outliers(y, model, level, ranges, memory, weight, weight_single):
    """Leave the outliers of a fit out of the next; returns whether this changed any weight.

    `y`, `model`, `level` (n_place,) float32: flux, normalised model and continuum. `memory`: OutlierMemory, which knows
    those of the fit before. `weight`, `weight_single` (n_place,) become 0 where a pixel is left out, and what they were
    elsewhere.
    """
    marks, before, all_weight, residual = memory.marks, memory.before, memory.all_weight, memory.residual
    for k in range(len(residual)):
        residual[k] = (y[k] - level[k] * model[k]) * np.sqrt(np.float32(all_weight[k]))
    if memory.n_out[0] == 0:
        if not largest_size(residual) > LIMIT:
            return False
        marks[:] = 0
    limit = np.float32(LIMIT * usual_size(residual, all_weight))
    for k in range(len(marks)):
        before[k], marks[k] = marks[k], 0
    if mark_runs(residual, ranges, limit, True, marks) > MOST_LINES:
        marks[:] = 0
        mark_runs(residual, ranges, limit, False, marks)
    changed, found = False, 0
    for k in range(len(marks)):
        counts = all_weight[k] > 0.0
        out = counts and marks[k] > 0
        changed = changed or out != (counts and before[k] > 0)
        found += counts and marks[k] == 1
        weight[k] = 0.0 if out else all_weight[k]
        weight_single[k] = weight[k]
    memory.n_out[0] = found
    return changed
