"""What the kernels that fit spectra are given, in groups, and the columns that they write counts and shifts to.

Sizes: n spectra of n_data pixels. `n_place` is the padded axis of the data, `n_own` that of the emulator, `n_rest` the
rest axis (emulator.py, shift.py); on the networks' own pixels the first two are one. float64 where no type is given.
A kernel takes a group as one argument: an argument in the wrong place is then another type, and does not compile.
"""

from typing import Any, NamedTuple

import numpy as np

from payneflow.fitting.engine.broaden import Broadening

USED, PASSES, ENDED, DISAGREE, TERMS, OUTLIERS = range(6)  # columns of Written.counts
FOUND, SCORE, SECOND_SCORE = range(3)  # columns of Written.shifts


class Precisions(NamedTuple):
    """The same in float32 and in float64."""

    single: Any
    double: Any


class Limits(NamedTuple):
    """When a search ends."""

    tolerance: float  # sigma from the minimum
    most_passes: int  # over one spectrum, from each start, in each precision
    window: float  # places that a shift may move from where the correlation has found it; 0 without a velocity


class Spectra(NamedTuple):
    """A block of spectra."""

    flux: np.ndarray  # (n, n_place), any unit; NaN in the padding
    error: np.ndarray  # (n, n_place), 1 sigma in the unit of flux; NaN in the padding
    starts: np.ndarray  # (n, n_start, n_parameter) scaled labels, widths, and shifts in places, which the kernel writes


class Written(NamedTuple):
    """Where a kernel writes the fits of a block, a row a spectrum; what it cannot fit stays as it is."""

    x: np.ndarray  # (n, n_parameter) scaled labels, widths (widths.py), and the shift in places, where these are fitted
    matrix: np.ndarray  # (n, n_parameter, n_parameter) of the last pass, priors included
    chi2: np.ndarray  # (n,) of the data alone
    snr: np.ndarray  # (n,) median flux / error of the used pixels
    counts: np.ndarray  # (n, 6) int64: USED pixels, PASSES, how it ENDED, do starts DISAGREE, TERMS, OUTLIERS
    extra_scatter: np.ndarray  # (n,) in units of the normalised flux
    shifts: np.ndarray  # (n, 3) places that correlation has FOUND, its SCORE, the SECOND_SCORE (another velocity's)
    continua: np.ndarray  # (n, n_segment, n_term) Chebyshev coefficients, in the unit of flux
    score: np.ndarray  # (n, N_ALTERNATIVE) products of the alternatives with the residual, in the unit of the noise
    information: np.ndarray  # (n, N_ALTERNATIVE, N_ALTERNATIVE) products of the alternatives with each other
    cross: np.ndarray  # (n, n_parameter, N_ALTERNATIVE) products of the derivatives with the alternatives
    total_weight: np.ndarray  # (n,) sum of the inverse variances of normalised flux
    lag: np.ndarray  # (n,) int64 pixels at which a companion would stand out most
    pull: np.ndarray  # (n, n_parameter) minus half the derivative of chi2 by what a bound holds; else 0


class Kept(NamedTuple):
    """What the fit of each piece of a star leaves for the fit of all of them together; without rows: nothing is kept.

    Such fits alone are only a beginning: they are not scored.
    """

    y: np.ndarray  # (n, n_place) flux, over its mean where a continuum is fitted; 0 where a pixel takes no part
    weight: np.ndarray  # (n, n_place) inverse variance of it, 0 likewise, and for outliers
    n_solved: np.ndarray  # (n, n_segment) int64 continuum terms of each segment
    delta: np.ndarray  # (n,) given: places at which a search of the shift begins; NaN: where correlation finds it


class Noise(NamedTuple):
    """Of each place, for a fit of labels alone."""

    variance: np.ndarray  # (n_place,) of the emulator's error, normalised flux^2
    usable: np.ndarray  # (n_place,) 1 where there is a network, else 0


class Alternatives(NamedTuple):
    """What the alternatives of a fit are scored with."""

    ranges: np.ndarray  # (n_segment, 2) places of a segment, padding included
    stops: np.ndarray  # (n_segment,) place after its last pixel
    alive: np.ndarray  # (n_place,) float32 1 where a pixel has a network around it
    shapes: np.ndarray  # (N_SHAPE * n_place,) float32 continua that are not fitted
    lags: np.ndarray  # (n_lag,) int64 pixels


class AlternativeMemory(NamedTuple):
    """Working memory of the scores, float32 but for the sums over lags."""

    rows: np.ndarray  # (n_row * n_place,) terms, derivatives, alternatives and residual, in the unit of the noise
    root: np.ndarray  # (n_place,) 1/sigma
    factor: np.ndarray  # (n_place,) continuum / sigma
    contrast: np.ndarray  # (n_place,) residual, then the model less its mean
    residual: np.ndarray  # (n_place,) residual of the normalised flux / variance
    square: np.ndarray  # (n_place,) 1 / variance of the normalised flux
    lines: np.ndarray  # contrast of a segment between zeros
    above: np.ndarray  # (n_lag,) float64
    below: np.ndarray  # (n_lag,) float64
    model: np.ndarray  # ((1 + n_label) * n_place,) flux and derivatives, of a fit of labels alone
    level: np.ndarray  # (n_place,) the continuum


class OutlierMemory(NamedTuple):
    """What is known of the outliers of the spectrum under way."""

    all_weight: np.ndarray  # (n_place,) inverse variance with no outlier left out
    residual: np.ndarray  # (n_place,) float32, in sigma of that
    marks: np.ndarray  # (n_place,) int64: 1 for an outlier, 2 for a neighbour that goes with it, else 0
    before: np.ndarray  # (n_place,) int64 marks of the fit before
    n_out: np.ndarray  # (1,) int64 outliers


class LabelMemory(NamedTuple):
    """Working memory of a fit of labels alone: the spectrum under way."""

    outliers: OutlierMemory
    alternatives: AlternativeMemory
    ones: np.ndarray  # (n_place,) the continuum of a normalised spectrum
    y: np.ndarray  # (n_place,) flux, 0 where a pixel takes no part
    weight: np.ndarray  # (n_place,) inverse variance, 0 likewise
    y_single: np.ndarray  # (n_place,) float32
    weight_single: np.ndarray  # (n_place,) float32


class LabelProblem(NamedTuple):
    """What a pass over normalised flux on the networks' own pixels is given, in either precision."""

    weights: np.ndarray  # Emulator.weights of this precision
    flux: np.ndarray  # (n_place,) normalised
    inverse_variance: np.ndarray  # (n_place,) 0 where a pixel takes no part


class Terms(NamedTuple):
    """Chebyshev polynomials at the data's places."""

    fitted: Precisions  # (max(n_term, 1) * n_place,) of the continuum that is fitted
    flat: np.ndarray  # (n_flat * n_place,) of the one that a spectrum is divided by before correlation and estimate


class Axes(NamedTuple):
    """How the axes of emulator and data lie to each other."""

    emulator_ranges: np.ndarray  # (n_segment of the emulator, 2) first place of a segment and stop, padding included
    ranges: np.ndarray  # (n_segment, 2) the same of the data
    rest_starts: np.ndarray  # (n_segment of the emulator,) place of a segment's first pixel on the rest axis
    places: np.ndarray  # (n_place,) of the data's pixels on the rest axis, NOWHERE where they have none
    own_places: np.ndarray  # (n_own,) of the emulator's, NOWHERE in the padding; used where its axis is uneven, as are
    firsts: np.ndarray  # (n_rest,) the first of the eight of its places that a place is interpolated from, and
    weights: np.ndarray  # (n_rest, 8) what each of them counts


class Rest(NamedTuple):
    """Which pixels count, and what the rest axis knows."""

    usable: np.ndarray  # (n_place,) 1 where there is a pixel, 0 in the padding
    left: np.ndarray  # (n_rest,) int64 data pixel to the left of a place, -1: none
    fraction: np.ndarray  # (n_rest,) how far the place is from there to the next pixel
    interior: np.ndarray  # (n_rest,) 1 where the emulator may be moved to
    variance: np.ndarray  # (n_rest,) of the emulator's error, normalised flux^2


class DataMemory(NamedTuple):
    """The spectrum under way, at the data's places."""

    y: np.ndarray  # (n_place,) flux, 0 where a pixel takes no part
    weight: np.ndarray  # (n_place,) inverse variance, 0 likewise
    flat: np.ndarray  # (n_place,) flux / its own continuum - 1
    flat_weight: np.ndarray  # (n_place,)
    continuum: np.ndarray  # (n_place,)
    ones: np.ndarray  # (n_place,)
    n_solved: np.ndarray  # (n_segment,) int64 continuum terms that can be told apart


class SingleMemory(NamedTuple):
    """The spectrum under way in float32."""

    y: np.ndarray  # (n_place,)
    weight: np.ndarray  # (n_place,)
    label_flux: np.ndarray  # (n_own,) the flattened spectrum as an emulator at rest would see it
    label_weight: np.ndarray  # (n_own,)
    flat_rest: np.ndarray  # (n_rest,) the flattened spectrum
    weight_rest: np.ndarray  # (n_rest,)
    product_rest: np.ndarray  # (n_rest,) flat_rest * weight_rest


class MovedMemory(NamedTuple):
    """The emulator under way, in either precision: row 0 is the flux, then its derivatives by the labels.

    Of what is broadened n_label counts the broadenings that are parameters, but for `rest` and `own`.
    """

    rest: np.ndarray  # ((1 + n_label) * n_rest,) on the rest axis
    moved: np.ndarray  # ((2 + n_label) * n_place,) at the data; the last row is the derivative by the shift
    own: np.ndarray  # ((1 + n_label) * n_own,) on the emulator's own axis, where that is uneven; else empty
    columns: np.ndarray  # (n_rest * registers of 1 + n_label * LANES,) `rest` place by place, for RESAMPLE alone
    broad: np.ndarray  # ((1 + n_label) * n_rest,) `rest` with broadened lines; else empty
    varied: np.ndarray  # ((1 + n_label) * n_rest,) the same where the instrument differs along the axis; else empty


class GeneralMemory(NamedTuple):
    """Working memory of one thread for fits of everything."""

    data: DataMemory
    outliers: OutlierMemory
    alternatives: AlternativeMemory
    single: SingleMemory
    moved: Precisions  # of MovedMemory
    correlation: Any  # correlation.CorrelationMemory


class GeneralProblem(NamedTuple):
    """What a pass over everything is given, in either precision."""

    weights: np.ndarray  # Emulator.weights of this precision
    flux: np.ndarray  # (n_place,)
    inverse_variance: np.ndarray  # (n_place,) 0 where a pixel takes no part
    terms: np.ndarray  # (max(n_term, 1) * n_place,) Chebyshev polynomials of the continuum
    axes: Axes
    n_solved: np.ndarray  # (n_segment,) int64 continuum terms of each segment
    taps: np.ndarray  # shift.tap_table, flat
    memory: MovedMemory
    continuum: np.ndarray  # (n_segment, n_term) float64 Chebyshev coefficients, written
    broadening: Broadening
