"""What fits are worth: errors from the matrices of the last passes, and the flags of every fit."""

from dataclasses import dataclass, replace

import numpy as np

from payneflow.fitting.bounded_widths import bounded_covariance
from payneflow.fitting.broadening import to_places_of_width
from payneflow.fitting.engine.alternatives import COMPANION, N_ALTERNATIVE, NARROW, WIDE
from payneflow.fitting.engine.arguments import (
    DISAGREE,
    ENDED,
    FOUND,
    OUTLIERS,
    SCORE,
    SECOND_SCORE,
    TERMS,
    USED,
    Written,
)
from payneflow.fitting.engine.minimiser import STUCK
from payneflow.fitting.engine.outliers import MANY
from payneflow.fitting.engine.shift import C_KM_S, to_places, to_velocity
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.faults import FaultEffect
from payneflow.fitting.flags import FitFlag, LabelFlag
from payneflow.fitting.formal_covariance import formal_covariance
from payneflow.fitting.label_flags import at_bounds, capped, flags_of_labels
from payneflow.fitting.lopsided import lopsided
from payneflow.fitting.mismatch import LINEAR, NONE, EmulatorScatter, Scores, find_mismatch
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.widths import Widths, widths_of
from payneflow.network import PixelNetworks

FEW = 10  # used pixels for each fitted parameter
EDGE = 1.0  # places: a velocity so near the end of its range is at the end
CERTAIN = 16.0  # a second peak whose chi2, in units of chi2/dof, is less than this higher may be the true one
LEAST_NOISE = 0.1  # of the mean variance of the pixels; the rest is the emulator's
QUANTILES, HALVINGS = 64, 40  # of the emulator's variances; of an interval that has the noise of a star's pixels
VELOCITY_WINDOW = 30.0  # km/s: how far a fitted velocity may be from that of the correlation
NO_ROWS = "log_step", "windowed"  # of Fits what has no row for each spectrum, or is made after all of them


@dataclass(frozen=True, eq=False)
class Windowed:
    """What the labels of fits with windows are worth (windowed.py), one row a spectrum.

    `covariance` (n, n_parameter, n_parameter): of the noise, in the parameters of the search. `beyond` (n,
    n_parameter): how far parameters would go without bounds. `information` (n, n_parameter): the part that the windows
    leave of what all pixels tell, (error of all / error)^2. `untold` (n, n_parameter) bool: no pixel that may inform
    the parameter does. `converged` (n,) bool. `placed` (n,): velocity in km/s by which windows of all parameters were
    laid on the pixels.
    """

    covariance: np.ndarray
    beyond: np.ndarray
    information: np.ndarray
    untold: np.ndarray
    converged: np.ndarray
    placed: np.ndarray

    @classmethod
    def empty(cls, n: int, n_parameter: int) -> "Windowed":
        """Of n fits that have not been informed: NaN."""
        return cls(
            covariance=np.full((n, n_parameter, n_parameter), np.nan),
            beyond=np.zeros((n, n_parameter)),
            information=np.full((n, n_parameter), np.nan),
            untold=np.zeros((n, n_parameter), dtype=bool),
            converged=np.ones(n, dtype=bool),
            placed=np.zeros(n),
        )

    def put(self, rows: np.ndarray | int, part: "Windowed") -> None:
        """Take these rows from `part`."""
        for name, values in self.__dict__.items():
            values[rows] = getattr(part, name)


@dataclass
class Fits:
    """What the kernels write, one row a spectrum.

    `x`: (n, n_parameter) scaled labels and, where a velocity is fitted, the shift in places of log_step in
    ln(wavelength). `matrix`: (n, n_parameter, n_parameter) of the last pass, priors included: its inverse is the formal
    covariance. `chi2`, `snr`: (n,). `counts`: (n, 6), its columns USED pixels, PASSES, how the search ENDED
    (minimiser.py), whether starts DISAGREE, continuum TERMS solved, OUTLIERS left out. `extra_scatter`: (n,). `shifts`:
    (n, 3), its columns the shift FOUND by correlation, its SCORE, and the SECOND_SCORE, the best at another velocity.
    `continua`: (n, n_segment, n_term) Chebyshev coefficients. `score`, `information`, `cross`, `total_weight`, `lag`:
    of alternatives, `pull`: (n, n_parameter) of bounds, see Written. The columns are constants of engine/arguments.py.
    `windowed`: of fits with windows what their `x` is worth; all else is then of the fits of all pixels.
    """

    x: np.ndarray
    matrix: np.ndarray
    chi2: np.ndarray
    snr: np.ndarray
    counts: np.ndarray
    extra_scatter: np.ndarray
    shifts: np.ndarray
    continua: np.ndarray
    score: np.ndarray
    information: np.ndarray
    cross: np.ndarray
    total_weight: np.ndarray
    lag: np.ndarray
    pull: np.ndarray
    log_step: float
    windowed: Windowed | None = None

    @classmethod
    def empty(cls, n: int, n_parameter: int, n_segment: int = 0, n_term: int = 0, log_step: float = np.nan) -> "Fits":
        """Of n spectra, none of which is fitted yet: NaN."""

        def nothing(*shape: int) -> np.ndarray:
            return np.full((n, *shape), np.nan)

        return cls(
            x=nothing(n_parameter),
            matrix=nothing(n_parameter, n_parameter),
            chi2=nothing(),
            snr=nothing(),
            counts=np.zeros((n, OUTLIERS + 1), np.int64),
            extra_scatter=np.zeros(n),
            shifts=nothing(SECOND_SCORE + 1),
            continua=nothing(n_segment, n_term),
            score=nothing(N_ALTERNATIVE),
            information=nothing(N_ALTERNATIVE, N_ALTERNATIVE),
            cross=nothing(n_parameter, N_ALTERNATIVE),
            total_weight=nothing(),
            lag=np.zeros(n, np.int64),
            pull=np.zeros((n, n_parameter)),
            log_step=log_step,
        )

    def __getitem__(self, rows: slice | np.ndarray) -> "Fits":
        """Some rows: a view where they are a slice, else a copy."""
        arrays = {name: values[rows] for name, values in self.__dict__.items() if name not in NO_ROWS}
        return Fits(**arrays, log_step=self.log_step)

    def put(self, rows: np.ndarray, part: "Fits") -> None:
        """Take the fits of these rows from `part`."""
        for name, values in self.__dict__.items():
            if name not in NO_ROWS:
                values[rows] = getattr(part, name)

    def written(self) -> Written:
        """The arrays as a kernel takes them."""
        return Written(**{name: getattr(self, name) for name in Written._fields})


@dataclass
class BeyondNoise:
    """What errors have beyond the noise of the flux, in scaled labels, the parameters of widths, and km/s.

    `share` (n, n_parameter): parts of the formal variances that are noise. `correction` (n, n_parameter): what label
    errors take off. `covariance` (n, n_parameter, n_parameter): what label errors and a mismatch add.
    """

    share: np.ndarray
    correction: np.ndarray
    covariance: np.ndarray

    def __getitem__(self, i: int) -> "BeyondNoise":
        """Of one fit."""
        return BeyondNoise(self.share[i], self.correction[i], self.covariance[i])


@dataclass
class Quality:
    """Of each fit, NaN where it failed: scaled labels (n, n_label), their covariance (n, n_label, n_label), the radial
    velocity and its error in km/s (n,), NaN where none is fitted; the degrees of freedom and the flags (n,); the flags
    of each label (n, n_label). By how many sigma the star is another than the model describes, and of which kind
    (mismatch.py), (n,). `widths`: of the broadenings. `companion`, `grown`: of its score, as a Mismatch has it, (n,).
    `beyond`: what of the errors the flux does not say.
    """

    scaled: np.ndarray
    covariance: np.ndarray
    velocity: np.ndarray
    velocity_error: np.ndarray
    dof: np.ndarray
    flags: np.ndarray
    label_flags: np.ndarray
    mismatch_sigma: np.ndarray
    mismatch_kind: np.ndarray
    widths: Widths
    companion: np.ndarray
    grown: np.ndarray
    beyond: BeyondNoise


def quality_of(
    networks: PixelNetworks, settings: FitSettings, fits: Fits, label_errors=None, exclude=None, overlap=None,
    faults: FaultEffect | None = None,
) -> Quality:  # fmt: skip
    """Errors and flags of fits; `label_errors` and `exclude` as in `fit_spectra`.

    `overlap` (n,): of stars of several pieces, on how many of them the emulator errs alike (star_quality.py).
    `faults`: what faults of the model that the fits know do to their quality.
    """
    parameters = Parameters.of(networks, settings)
    free, layout = parameters.free, parameters.layout
    used, ended, disagree, linear = (fits.counts[:, column] for column in (USED, ENDED, DISAGREE, TERMS))
    dof = used - free.sum() - linear
    formal, solved = formal_covariance(fits.matrix, free, layout.n_label)
    failed = ~(np.isfinite(fits.chi2) & np.isfinite(fits.x).all(axis=1) & solved & (dof > 0))
    reduced = np.divide(fits.chi2, dof, out=np.ones(len(dof)), where=~failed)
    good = np.flatnonzero(~failed)
    if label_errors is not None:
        label_errors.check(networks, settings.mode(networks.label_names))
    mismatch = _mismatch_of(networks, settings, fits, formal, dof, good, label_errors, exclude, overlap, faults)
    windowed, past_bound = fits.windowed, (formal @ fits.pull[:, :, None])[:, :, 0]
    if windowed is not None:
        mismatch = replace(
            mismatch, covariance=_grown_with(mismatch.covariance, formal[good], windowed.covariance[good])
        )
        formal, past_bound = windowed.covariance, windowed.beyond
    x, covariance = fits.x.copy(), formal.copy()
    more = BeyondNoise(np.ones(x.shape), np.zeros(x.shape), np.zeros(formal.shape))
    if label_errors is not None and settings.emulator_error:
        photons = _photons(networks, fits, used, good, label_errors)
        covariance[good] *= photons
        more.share[good] = np.einsum("nii->ni", photons)
    elif overlap is not None:
        covariance[good] *= coherent_growth(networks, settings, fits, overlap)[good, None, None]
    covariance[good] += mismatch.covariance
    more.covariance[good] = mismatch.covariance
    if faults is not None:
        covariance[good] += faults.covariance[good]
        more.covariance[good] += faults.covariance[good]
    at_bound = np.zeros(x.shape, dtype=bool)
    at_bound[:, layout.labels] = at_bounds(x[:, layout.labels], free[layout.labels])
    broad = layout.broadenings
    at_bound[:, broad] = x[:, broad] <= 0.0
    if layout.has_velocity:  # places -> km/s
        column = layout.velocity
        velocity = to_velocity(x[:, column], fits.log_step)
        slope = C_KM_S * fits.log_step * (1.0 - (velocity / C_KM_S) ** 2)
        x[:, column] = velocity
        for one in (covariance, more.covariance):
            one[:, column, :] *= slope[:, None]
            one[:, :, column] *= slope[:, None]
    flags = np.zeros(len(dof), np.int64)
    if label_errors is not None:
        scaled = fits.x[good, layout.labels]
        correction, added = label_errors.estimate(scaled, None if exclude is None else np.asarray(exclude)[good])
        more.correction[good] = np.where(at_bound[good] | ~free, 0.0, correction)
        x[good] -= more.correction[good]
        covariance[good] += added
        more.covariance[good] += added
        variance = np.einsum("nii->ni", covariance[good])[:, layout.labels]
        flags[good[label_errors.far(scaled, variance)]] |= FitFlag.FAR_FROM_TRAINING
    error_of_widths = np.sqrt(np.einsum("nii->ni", covariance)[:, broad])
    fitted = np.flatnonzero(free[broad])
    if len(fitted):
        most = to_parameter(to_places_of_width(parameters.highest[broad][fitted], fits.log_step))
        covariance, own = bounded_covariance(covariance, x, x + past_bound, layout.n_label + fitted, most)
        error_of_widths[:, fitted] = np.sqrt(own)
    error = np.sqrt(np.einsum("nii->ni", covariance))
    # by the errors of the labels that the star would have were it what the model describes
    surely = error[:, layout.labels].copy()
    widened = np.einsum("nii->ni", mismatch.covariance)[:, layout.labels]
    surely[good] = np.sqrt(np.maximum(surely[good] ** 2 - widened, 0.0))
    of_labels = flags_of_labels(
        x[:, layout.labels], past_bound[:, layout.labels], at_bound[:, layout.labels], error[:, layout.labels], surely
    )
    weak = _lopsided(networks, fits, formal[:, layout.labels, layout.labels], error[:, layout.labels], used, good)
    of_labels.flags[good] |= LabelFlag.LOPSIDED * weak
    covariance = capped(covariance, layout.n_label)
    error = np.sqrt(np.einsum("nii->ni", covariance))
    flags[ended >= STUCK] |= FitFlag.NOT_CONVERGED
    if windowed is not None:
        flags[~windowed.converged] |= FitFlag.NOT_CONVERGED
    flags[of_labels.at_bound] |= FitFlag.AT_BOUND
    flags[of_labels.outside] |= FitFlag.OUTSIDE_TRAINING
    flags[good[mismatch.found]] |= FitFlag.MODEL_MISMATCH
    flags[used < FEW * (free.sum() + linear)] |= FitFlag.FEW_PIXELS
    flags[fits.counts[:, OUTLIERS] > MANY * used] |= FitFlag.MANY_OUTLIERS
    flags[disagree > 0] |= FitFlag.STARTS_DISAGREE
    if layout.has_velocity:
        start, score, second = (fits.shifts[:, column] for column in (FOUND, SCORE, SECOND_SCORE))
        shift = fits.x[:, layout.velocity]
        moved = np.abs(shift - start) > to_places(VELOCITY_WINDOW, fits.log_step) - EDGE
        beyond = np.abs(shift) > to_places(settings.max_velocity, fits.log_step) - EDGE
        flags[moved | beyond] |= FitFlag.RV_EDGE
        flags[score**2 - second**2 < CERTAIN * np.maximum(reduced, 1.0)] |= FitFlag.RV_UNSURE
        if windowed is not None:
            flags[windowed.untold[:, layout.velocity]] |= FitFlag.RV_UNSURE
    flags[failed] = FitFlag.FAILED
    of_labels.flags[failed] = 0
    widths = widths_of(
        x[:, broad], error_of_widths, past_bound[:, broad], parameters.highest[broad], free[broad], fits.log_step
    )
    flags[((widths.flags & LabelFlag.AT_BOUND) > 0).any(axis=1) & ~failed] |= FitFlag.AT_BOUND
    _forget(widths, failed)
    if networks.failure:
        flags |= int(FitFlag.POOR_NETWORKS)
    x[failed], covariance[failed], error[failed] = np.nan, np.nan, np.nan
    label_flags = of_labels.flags
    velocity = velocity_error = np.full(len(x), np.nan)
    if layout.has_velocity:
        velocity, velocity_error = x[:, layout.velocity], error[:, layout.velocity]
    labels = layout.labels
    sigma, kind = np.full(len(x), np.nan), np.full(len(x), NONE, dtype="U10")
    sigma[good], kind[good] = mismatch.sigma, mismatch.kind
    companion, grown = np.full(len(x), np.nan), np.ones(len(x))
    companion[good], grown[good] = mismatch.companion, mismatch.grown
    return Quality(
        x[:, labels], covariance[:, labels, labels], velocity, velocity_error, dof, flags, label_flags, sigma, kind,
        widths, companion, grown, more,
    )  # fmt: skip


def _grown_with(added: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Covariances (n, k, k) of a mismatch, each error grown as the formal one of `before` grows to that of `after`."""
    square, wider = (np.einsum("nii->ni", one) for one in (before, after))
    growth = np.sqrt(np.divide(wider, square, out=np.ones_like(square), where=square > 0.0))
    return added * growth[:, :, None] * growth[:, None, :]


def _forget(widths: Widths, failed: np.ndarray) -> None:
    """Widths of fits that failed are NaN, without flags."""
    for values in (widths.value, widths.error, widths.limit):
        values[failed] = np.nan
    widths.flags[failed] = 0


def _scores(networks: PixelNetworks, settings: FitSettings, fits: Fits, formal: np.ndarray) -> Scores:
    """Of fits with formal covariances (n, n_parameter, n_parameter); none of other widths where a width is fitted.

    What such a width leaves of them is next to nothing, and what noise makes of that would be a large shift of it.
    """
    parameters = Parameters.of(networks, settings)
    broad = parameters.layout.broadenings
    asked = np.ones(N_ALTERNATIVE)
    asked[[NARROW, WIDE]] = not parameters.free[broad].any()
    score, information = _unbound_score(fits, formal, broad) * asked, fits.information * asked[:, None] * asked
    return Scores.of(score, information, fits.cross * asked, formal)


def _unbound_score(fits: Fits, formal: np.ndarray, broad: slice) -> np.ndarray:
    """(n, N_ALTERNATIVE), scores of alternatives where chi2 would be least if no bound stopped the `broad` parameters.

    A width that noise would make negative is no sign of another star, although its lines are narrower than any model's.
    """
    if not fits.pull[:, broad].any():
        return fits.score
    away = formal[:, :, broad] @ fits.pull[:, broad, None]
    return fits.score - (np.swapaxes(fits.cross, 1, 2) @ away)[:, :, 0]


def _mismatch_of(
    networks: PixelNetworks, settings: FitSettings, fits: Fits, formal, dof, good, label_errors, exclude, overlap,
    faults,
):  # fmt: skip
    """The Mismatch of the fits `good` (rows), by what is known of the emulator's errors."""
    emulator = None
    if label_errors is not None:
        own = None if exclude is None else np.asarray(exclude)[good]
        emulator = label_errors.emulator_scatter(fits.x[good, : len(networks.x_min)], own)
    if emulator is None:
        emulator = EmulatorScatter.unknown(len(good), networks.emulator_rms / networks.flux_scale.width)
        if overlap is not None:
            emulator = replace(emulator, coherent=emulator.coherent * overlap[good])
    if faults is not None:
        mean_variance = np.maximum(dof[good], 1) / fits.total_weight[good]
        excess = emulator.excess + (faults.usual_chi2 - 1.0) * mean_variance
        coherent = emulator.coherent + (faults.usual_chi2 * faults.growth[good] - 1.0) * mean_variance
        emulator = replace(emulator, excess=excess, coherent=coherent)
    scores = _scores(networks, settings, fits[good], formal[good])
    return find_mismatch(scores, fits.chi2[good], dof[good], fits.total_weight[good], formal[good], emulator)


def _photons(networks: PixelNetworks, fits: Fits, used, good, label_errors) -> np.ndarray:
    """(n_good, n_parameter, n_parameter), factors that leave of formal covariances what is noise: the rest is the
    emulator's error in each pixel, which is part of the label errors, too.
    """
    rms = networks.emulator_rms / networks.flux_scale.width
    root = np.sqrt(label_errors.photon_shares(used[good] / fits.total_weight[good], rms))
    return root[:, :, None] * root[:, None, :]


def coherent_growth(networks: PixelNetworks, settings: FitSettings, fits: Fits, overlap: np.ndarray) -> np.ndarray:
    """(n,), by how much formal covariances grow because the emulator errs alike on `overlap` (n,) pieces of a star.

    With inverse variances w, of which the emulator's e^2 is a part, sums over pieces have the variance
    (sum w) (1 + e^2 ((sum w)^2 - sum w^2) / sum w) where a fit takes it for sum w: 1 + (overlap - 1) <e^2 w^2> / <w>.
    """
    known = networks.emulator_rms[np.isfinite(networks.emulator_rms)] / networks.flux_scale.width
    if not settings.emulator_error or not known.any():
        return np.ones(len(overlap))
    square = np.quantile(known**2, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    mean = np.divide(
        fits.total_weight, fits.counts[:, USED], out=np.zeros(len(overlap)), where=fits.counts[:, USED] > 0
    )
    least, most = np.zeros(len(overlap)), 1.0 / np.where(mean > 0, mean, 1.0)  # of the variance that is noise
    for _ in range(HALVINGS):
        middle = 0.5 * (least + most)
        too_small = (1.0 / (middle[:, None] + square)).mean(axis=1) > mean
        least, most = np.where(too_small, middle, least), np.where(too_small, most, middle)
    weight = 1.0 / (most[:, None] + square)
    return 1.0 + (overlap - 1.0) * (square * weight**2).mean(axis=1) / weight.mean(axis=1)


def _lopsided(networks: PixelNetworks, fits: Fits, formal, error, used, good) -> np.ndarray:
    """(n_good, n_label) bool, by `formal` covariances and errors of all scaled labels."""
    variance = used[good] / fits.total_weight[good]
    known = networks.emulator_rms[np.isfinite(networks.emulator_rms)] / networks.flux_scale.width
    square = np.mean(known**2) if len(known) else 0.0
    noise = np.maximum(variance - square, LEAST_NOISE * variance)
    return lopsided(networks, fits.x[good, : formal.shape[1]], formal[good], error[good], noise)


def covariance_of_noise(networks: PixelNetworks, settings: FitSettings, fits: Fits) -> np.ndarray:
    """(n, n_parameter, n_parameter): the formal covariance of fits, in their own parameters, windows or not."""
    if fits.windowed is not None:
        return fits.windowed.covariance
    return _covariance_of_all_pixels(networks, settings, fits)


def _covariance_of_all_pixels(networks: PixelNetworks, settings: FitSettings, fits: Fits) -> np.ndarray:
    parameters = Parameters.of(networks, settings)
    return formal_covariance(fits.matrix, parameters.free, parameters.layout.n_label)[0]


def emulator_amplitudes(
    networks: PixelNetworks, settings: FitSettings, fits: Fits, flux_error: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of noiseless fits with the 1 sigma error `flux_error`: alternatives' amplitudes (n, N_ALTERNATIVE), excess (n,).

    These are what the emulator's own errors look like, see mismatch.py. The excess is the mean square error of the flux
    beyond the error that the emulator says of each pixel.
    """
    formal = _covariance_of_all_pixels(networks, settings, fits)
    scores = _scores(networks, settings, fits, formal)
    every = np.broadcast_to(LINEAR, fits.score.shape)
    amplitudes = scores.amplitudes(every)
    own = np.einsum("nii->ni", scores.information)[:, COMPANION]
    amplitudes[:, COMPANION] = np.divide(
        scores.score[:, COMPANION], own, out=np.zeros(len(own)), where=scores.present[:, COMPANION]
    )
    of_emulator = fits.counts[:, USED] - flux_error**2 * fits.total_weight
    return amplitudes, (fits.chi2 - of_emulator) / fits.total_weight
