"""Labels estimated from a spectrum at once, good enough to start a fit from.

Spectra of many labels, spread evenly in the box, are the sample. The leading principal components of their fluxes are
what a spectrum is projected on; a quadratic form of the projections, fitted to the sample's labels (with some noise on
its projections, so that no component below the noise is trusted), gives the labels. All tables are made from the
networks alone, once in a process.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from payneflow.fitting.engine.emulator import LINE, Emulator
from payneflow.fitting.engine.label_pass import build_predict
from payneflow.simd import LANES, aligned, get, like, load_line, part, put, registers_like, total, where_less

SAMPLES = 512  # spectra
PROJECTIONS, MOST_PROJECTIONS = 24, 64  # principal components; twice the number of labels where that is more
SQUARED = 24  # components whose products are in the quadratic form
NOISE = (0.01, 0.01, 0.03, 0.03)  # of normalised flux, in copies of the sample
RIDGE = 1e-9  # of the diagonal of the quadratic form's normal equations
LOWEST_ESTIMATE, HIGHEST_ESTIMATE = 0.05, 0.95  # scaled labels; the sample's, too


class EstimateTables(NamedTuple):
    """What the kernel estimates labels with."""

    mean: np.ndarray  # (n_place,) float32 flux of the sample
    components: np.ndarray  # (n_place * n_projection,) float32, line by line of places, in it component by component
    form: np.ndarray  # (n_label, n_feature) the quadratic form, `_features` -> scaled labels


def spread(n: int, n_label: int) -> np.ndarray:
    """(n, n_label) points spread evenly in the box of scaled labels, the same at every call.

    Fractional parts of multiples of powers of the root g of g^(n_label + 1) = g + 1 (M. Roberts 2018, The unreasonable
    effectiveness of quasirandom sequences).
    """
    g = 2.0
    for _ in range(60):
        g = (1.0 + g) ** (1.0 / (n_label + 1))
    unit = (0.5 + np.outer(np.arange(n), g ** -np.arange(1.0, n_label + 1))) % 1.0
    return LOWEST_ESTIMATE + (HIGHEST_ESTIMATE - LOWEST_ESTIMATE) * unit


def predicted(emulator: Emulator, scaled: np.ndarray) -> np.ndarray:
    """Flux (n, n_place) float32 of scaled labels (n, n_label) on the emulator's padded axis."""
    predict = build_predict(emulator.n_label, emulator.n_neurons, emulator.kind)
    flux = aligned(len(scaled) * emulator.axis.n_place // LANES, np.float32).reshape(len(scaled), -1)
    for labels, one in zip(scaled, flux, strict=True):
        predict(emulator.weights[np.float32], labels, one)
    return flux


class LabelEstimate:
    """The tables of the estimate from spectra whose sample is `flux` (n, n_place), with scaled labels (n, n_label)."""

    def __init__(self, flux: np.ndarray, scaled: np.ndarray, dead: np.ndarray):
        n, n_label = scaled.shape
        self.n_projection = min(max(PROJECTIONS, 2 * n_label), MOST_PROJECTIONS)
        mean = flux.mean(axis=0)
        difference = np.where(dead, np.float32(0.0), flux - mean)
        leading = n - self.n_projection, n - 1
        square, vectors = eigh((difference @ difference.T).astype(float), subset_by_index=leading)
        square = np.maximum(square[::-1], 1e-12 * square[-1] + 1e-30)
        components = (vectors[:, ::-1] / np.sqrt(square)).T.astype(np.float32) @ difference
        size = np.sqrt(square / n)
        rng = np.random.default_rng(0)
        clean = difference @ components.T
        noisy = np.concatenate([clean + sigma * rng.standard_normal(clean.shape) for sigma in NOISE]) / size
        features = _features(noisy)
        matrix = features.T @ features
        matrix[np.diag_indices_from(matrix)] *= 1.0 + RIDGE  # networks may have fewer components than there are tables
        form = np.linalg.solve(matrix, features.T @ np.tile(scaled, (len(NOISE), 1)))
        groups = (components / size[:, None]).reshape(self.n_projection, -1, LINE).transpose(1, 0, 2)
        table = aligned(groups.size // LANES, np.float32)
        table[:] = groups.ravel()
        mean_flux = aligned(len(mean) // LANES, np.float32)
        mean_flux[:] = mean
        self.tables = EstimateTables(mean_flux, table, np.ascontiguousarray(form.T))


def _features(projections: np.ndarray) -> np.ndarray:
    """1, the projections, and the products of two of the first SQUARED of them; the order of `build_estimate`."""
    a, b = np.triu_indices(min(projections.shape[1], SQUARED))
    return np.column_stack([np.ones(len(projections)), projections, projections[:, a] * projections[:, b]])


@cache
def build_estimate(n_label, n_projection):
    """The part of a kernel that estimates scaled labels."""
    squared = min(n_projection, SQUARED)
    lowest, highest = LOWEST_ESTIMATE, HIGHEST_ESTIMATE

    @part
    def estimate(tables, flux, inverse_variance, x):
        """Write scaled labels to x, from flux and inverse variance (float32) on the padded axis; weight 0: no pixel."""
        mean, components, form = tables.mean, tables.components, tables.form
        zero = like(load_line(mean, 0), 0.0)
        sums = registers_like(zero, n_projection)
        for k in range(n_projection):
            put(sums, k, zero)
        for i in range(0, len(flux), LINE):
            difference = load_line(flux, i) - load_line(mean, i)
            difference = where_less(zero, load_line(inverse_variance, i), difference, zero)
            for k in range(n_projection):
                put(sums, k, get(sums, k) + difference * load_line(components, i * n_projection + k * LINE))
        projections = np.empty(n_projection)
        for k in range(n_projection):
            projections[k] = total(get(sums, k))
        for label in range(n_label):
            value = form[label, 0]
            m = 1
            for k in range(n_projection):
                value += form[label, m] * projections[k]
                m += 1
            for a in range(squared):
                for b in range(a, squared):
                    value += form[label, m] * projections[a] * projections[b]
                    m += 1
            x[label] = min(max(value, lowest), highest)  # the larger of a bound and NaN is the bound

    return estimate
