"""Does the star differ from the model by more than noise and the networks' own errors, how, and what does it do?

The kernels score alternatives (engine/alternatives.py): what a spectrum may have that no label describes. An amplitude
of alternatives has the covariance A^-1 of the noise, A being the information that the fitted parameters leave of them,
and besides that of the emulator's own errors, which look like small amplitudes, too: it is measured on noiseless fits
of held-back spectra (calibration.py). Four tests follow: all amplitudes together, the largest of them, a companion's,
and chi2 less what the emulator adds to it. A fit that fails one is a mismatch.

Amplitudes beyond their covariance move the fitted parameters by K a, K = (J'J)^-1 J'D. That is added to the errors as
the covariance it would have were its sign unknown: nothing is corrected.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import chdtrc, chdtri, gammaln, log_ndtr, ndtri  # not scipy.stats, which takes a second to load

from payneflow.fitting.engine.alternatives import COMPANION, CONTINUUM, DILUTION, N_ALTERNATIVE, NARROW, VELOCITY, WIDE

NEAR, SPREAD = 0.24, 1.0  # kernel of held-back spectra, in lengths of the size of errors; weight of their mean
NEIGHBOURS = 5  # held-back spectra that the kernel sees where there are none so near: among many labels
ALARM = 1e-3  # chance that noise alone fails one of the four tests
COMPANIONS = 50.0  # independent velocities at which a companion is looked for
OUTLYING = 0.01  # share of held-back spectra whose amplitudes may lie beyond what their covariance allows
DOUBTED = 1.4  # standard deviations of an amplitude that widens no error
SHORT = 2.5  # times the square of a shift: amplitudes are linear, and fall short where a mismatch is large (measured)
COHERENT = 300.0  # pixels in which the emulator errs alike, where no calibration has measured it (demonstration grid)
EXCESS = 4.0  # times its mean square error, likewise
LEAST_EIGENVALUE = 1e-5
TINY = 1e-12  # of an alternative's information: less is left of it by the fitted parameters
LINEAR = np.arange(N_ALTERNATIVE) != COMPANION
KINDS = {  # what a mismatch looks like, and the alternatives that say so
    "line width": [NARROW, WIDE],
    "line depth": [DILUTION],
    "velocity": [VELOCITY],
    "continuum": list(range(CONTINUUM.start, CONTINUUM.stop)),
    "companion": [COMPANION],
}
EXPLAINED = 0.25  # of what chi2 has beyond noise: less, and the residual is of no kind that has a name
NONE = "none"  # not empty, which readers of tables take for masked
SCATTER = "scatter"  # chi2: residuals of no such kind, or errors that are too small


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of n fits with what the fitted parameters leave of each alternative.

    `score` (n, N_ALTERNATIVE), `information` (n, N_ALTERNATIVE, N_ALTERNATIVE); `leak` (n, n_parameter,
    N_ALTERNATIVE): how far an amplitude of 1 moves the parameters.
    """

    score: np.ndarray
    information: np.ndarray
    leak: np.ndarray

    @classmethod
    def of(cls, score, information, cross, covariance) -> "Scores":
        """Of what the kernels wrote (Written) and the formal covariance (n, n_parameter, n_parameter)."""
        leak = covariance @ cross
        left = information - np.swapaxes(cross, 1, 2) @ leak
        known = np.isfinite(left).all(axis=(1, 2)) & np.isfinite(score).all(axis=1)
        left = np.where(known[:, None, None], left, 0.0)
        before = np.einsum("nii->ni", np.where(known[:, None, None], information, 0.0))
        absent = np.einsum("nii->ni", left) <= TINY + 1e-4 * before
        left = np.where(absent[:, :, None] | absent[:, None, :], 0.0, left)
        score = np.where(absent | ~known[:, None], 0.0, score)
        return cls(score, left, np.where(absent[:, None, :] | ~known[:, None, None], 0.0, leak))

    @property
    def present(self) -> np.ndarray:
        """(n, N_ALTERNATIVE) bool, the alternatives that the fitted parameters do not explain."""
        return np.einsum("nii->ni", self.information) > 0.0

    def noise(self, which: np.ndarray) -> np.ndarray:
        """Covariance of the amplitudes by noise, (n, N_ALTERNATIVE, N_ALTERNATIVE), 0 outside `which` (n, ...)."""
        return _inverse(self.information, which & self.present)

    def amplitudes(self, which: np.ndarray) -> np.ndarray:
        """(n, N_ALTERNATIVE), those of `which` (n, N_ALTERNATIVE) bool taken together, 0 the others."""
        return (self.noise(which) @ self.score[:, :, None])[:, :, 0]


def _inverse(matrix: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Inverse (n, k, k) of the rows and columns of `which` (n, k), 0 elsewhere; never negative.

    What is below LEAST_EIGENVALUE of the correlation, rounding of the kernels' single precision included, is left out.
    """
    diagonal = np.einsum("nii->ni", matrix)
    which = which & (diagonal > 0.0)
    both = which[:, :, None] & which[:, None, :]
    size = np.sqrt(np.where(which, diagonal, 1.0))
    scale = size[:, :, None] * size[:, None, :]
    value, vector = np.linalg.eigh(np.where(both, matrix / scale, np.eye(matrix.shape[1])))
    inverse = np.divide(1.0, value, out=np.zeros_like(value), where=value > LEAST_EIGENVALUE)
    return np.where(both, np.einsum("nik,nk,njk->nij", vector, inverse, vector) / scale, 0.0)


@dataclass(frozen=True, eq=False)
class EmulatorScatter:
    """What the emulator's own errors look like at the labels of n fits, as amplitudes and in chi2.

    `covariance` (n, N_ALTERNATIVE, N_ALTERNATIVE) of the amplitudes; `excess` (n,): mean square error of the flux
    beyond the emulator's error of each pixel. `coherent`: in place of a covariance, by how much that of the noise grows
    with the share of the emulator's variance, one number or (n,); 0 where the covariance is known.
    """

    covariance: np.ndarray
    excess: np.ndarray
    coherent: float | np.ndarray = 0.0

    @classmethod
    def unknown(cls, n: int, emulator_rms: np.ndarray) -> "EmulatorScatter":
        """What is taken for it where no calibration has measured it; `emulator_rms` (n_pixel,)."""
        known = emulator_rms[np.isfinite(emulator_rms)]
        square = float((known**2).mean()) if len(known) else 0.0
        return cls(np.zeros((n, N_ALTERNATIVE, N_ALTERNATIVE)), np.full(n, EXCESS * square), COHERENT * square)


@dataclass(frozen=True, eq=False)
class HeldBackScatter:
    """The same as measured on noiseless fits of held-back spectra: nearby ones count more.

    `scaled` (n_held, n_label) their labels, `amplitudes` (n_held, N_ALTERNATIVE), `excess` (n_held,), `lengths`
    (n_label,) over which errors change in size: what distances are measured in.
    """

    scaled: np.ndarray
    amplitudes: np.ndarray
    excess: np.ndarray
    lengths: np.ndarray

    def at(self, scaled: np.ndarray, own: np.ndarray | None = None) -> EmulatorScatter:
        """At scaled labels (n, n_label). `own` (n,): the held-back spectrum that each fit is of, -1: none."""
        weight = self._weights(scaled, own)
        covariance = self._covariance(weight) * self._growth
        return EmulatorScatter(covariance, self._excess(weight) * self._growth_of_excess)

    def _excess(self, weight: np.ndarray) -> np.ndarray:
        """(n,): the largest excess near by, or the mean where that is more."""
        most = np.maximum(self.excess, 0.0)
        return np.maximum((weight * most).max(axis=1) / weight.max(axis=1), weight @ most / weight.sum(axis=1))

    def _weights(self, scaled: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        square = np.zeros((len(scaled), len(self.scaled)))
        for c, length in enumerate(self.lengths):
            square += ((scaled[:, c, None] - self.scaled[:, c]) / length) ** 2
        rows = np.flatnonzero(own >= 0) if own is not None else []
        if len(rows):
            square[rows, own[rows]] = np.inf
        n_near = min(NEIGHBOURS, len(self.scaled) - 1) - 1
        wide = np.maximum(np.partition(square, n_near, axis=1)[:, n_near, None], NEAR**2)
        weight = np.exp(-0.5 * square / wide) + SPREAD / len(self.scaled)
        if len(rows):
            weight[rows, own[rows]] = 0.0
        return weight

    def _covariance(self, weight: np.ndarray) -> np.ndarray:
        outer = (self.amplitudes[:, :, None] * self.amplitudes[:, None, :]).reshape(len(self.amplitudes), -1)
        mean = weight @ outer / weight.sum(axis=1, keepdims=True)
        covariance = mean.reshape(-1, N_ALTERNATIVE, N_ALTERNATIVE).copy()
        alone = covariance[:, COMPANION, COMPANION].copy()
        covariance[:, COMPANION, :] = covariance[:, :, COMPANION] = 0.0
        covariance[:, COMPANION, COMPANION] = alone
        return covariance

    @cached_property
    def _growth(self) -> np.ndarray:
        """(N_ALTERNATIVE, N_ALTERNATIVE), of covariances, so that held-back spectra are within, each by the others."""
        covariance = self._covariance(self._weights(self.scaled, np.arange(len(self.scaled))))
        linear = np.broadcast_to(LINEAR, self.amplitudes.shape) & (np.einsum("nii->ni", covariance) > 0.0)
        inverse = _inverse(covariance, linear)
        distance = np.einsum("na,nab,nb->n", self.amplitudes, inverse, self.amplitudes)
        growth = np.quantile(distance, 1.0 - OUTLYING) / chdtri(max(linear[0].sum(), 1), ALARM)
        width = np.sqrt(np.maximum(covariance[:, COMPANION, COMPANION], 1e-300))
        companion = np.quantile(np.abs(self.amplitudes[:, COMPANION]) / width, 1.0 - OUTLYING) / -ndtri(ALARM)
        factor = np.full((N_ALTERNATIVE, N_ALTERNATIVE), max(growth, 1.0))
        factor[COMPANION, COMPANION] = max(companion, 1.0) ** 2
        return factor

    @cached_property
    def _growth_of_excess(self) -> float:
        """The same for the excess."""
        weight = self._weights(self.scaled, np.arange(len(self.scaled)))
        most = np.maximum(self.excess, 0.0)
        share = most / np.maximum(self._excess(weight), 1e-300)
        return max(float(np.quantile(share, 1.0 - OUTLYING)), 1.0) if most.any() else 1.0


@dataclass(frozen=True, eq=False)
class Mismatch:
    """Of n fits: is the star another than the model describes, by how many sigma, of which kind, and what it may do.

    `found` (n,) bool; `sigma` (n,) of the test it fails most clearly; `kind` (n,) text, NONE where none is found;
    `covariance` (n, n_parameter, n_parameter) to be added to the formal one. `companion` (n,): sigma of that test;
    `grown` (n,): by how much the networks' errors widen what noise alone would make of a companion.
    """

    found: np.ndarray
    sigma: np.ndarray
    kind: np.ndarray
    covariance: np.ndarray
    companion: np.ndarray
    grown: np.ndarray


def find_mismatch(
    scores: Scores, chi2: np.ndarray, dof: np.ndarray, total_weight: np.ndarray, formal: np.ndarray,
    emulator: EmulatorScatter,
) -> Mismatch:  # fmt: skip
    """Test n fits. `chi2`, `dof`, `total_weight` (n,); `formal`: covariance (n, n_parameter, n_parameter)."""
    n = len(chi2)
    dof = np.maximum(dof, 1)
    grown = 1.0 + emulator.coherent * total_weight / dof
    linear = np.broadcast_to(LINEAR, (n, N_ALTERNATIVE)) & scores.present
    amplitude = scores.amplitudes(linear)
    covariance = scores.noise(linear) * grown[:, None, None] + emulator.covariance
    inverse = _inverse(covariance, linear)
    joint = np.einsum("na,nab,nb->n", amplitude, inverse, amplitude)
    n_linear = np.maximum(linear.sum(axis=1), 1)
    alone = _alone(scores, emulator, grown)
    largest = np.where(LINEAR, np.abs(alone), 0.0).max(axis=1)
    log_chance = np.stack(
        [
            _log_chance(joint, n_linear),
            np.log(2.0 * n_linear) + log_ndtr(-largest),
            np.log(COMPANIONS) + log_ndtr(-alone[:, COMPANION]),
            _log_chance(chi2 - emulator.excess * total_weight, dof),
        ]
    )
    smallest = np.minimum(log_chance.min(axis=0), 0.0)
    found = smallest < np.log(ALARM)
    # which directions have moved the parameters: those that are there, a companion's only where it stands out
    which = linear.copy()
    which[:, COMPANION] = found & (log_chance[2] < np.log(ALARM)) & scores.present[:, COMPANION]
    together = scores.amplitudes(which)
    shift = np.einsum("npa,na->np", scores.leak, together)
    certain = np.maximum(1.0 - n_linear / np.maximum(joint, 1e-300), 0.0)
    added = certain[:, None, None] * shift[:, :, None] * shift[:, None, :]
    added += np.where(found[:, None, None], 0.0, _most_harmful(scores, alone, formal))
    spread = scores.leak @ scores.noise(which) @ np.swapaxes(scores.leak, 1, 2)
    scale = np.maximum(chi2 / dof, 1.0)
    added *= np.where(found, SHORT, 1.0)[:, None, None]
    added += found[:, None, None] * (scale[:, None, None] * spread + (scale - 1.0)[:, None, None] * formal)
    explained = np.einsum("na,na->n", scores.score, scores.amplitudes(scores.present))
    named = explained > EXPLAINED * (chi2 - dof)
    return Mismatch(
        found, _sigma(smallest), _kinds(alone, named, found), added, alone[:, COMPANION], _grown(scores, alone)
    )


def _alone(scores: Scores, emulator: EmulatorScatter, grown: np.ndarray) -> np.ndarray:
    """(n, N_ALTERNATIVE), amplitude of each alternative without the others, in its standard deviations."""
    information = np.einsum("nii->ni", scores.information)
    present = information > 0.0
    safe = np.where(present, information, 1.0)
    variance = grown[:, None] / safe + np.einsum("nii->ni", emulator.covariance)
    return np.where(present, scores.score / safe / np.sqrt(variance), 0.0)


def _grown(scores: Scores, alone: np.ndarray) -> np.ndarray:
    """(n,), by how much the standard deviation of a companion's score exceeds that of noise."""
    information = np.einsum("nii->ni", scores.information)[:, COMPANION]
    of_noise = scores.score[:, COMPANION] / np.sqrt(np.where(information > 0.0, information, 1.0))
    return np.divide(of_noise, alone[:, COMPANION], out=np.ones(len(alone)), where=np.abs(alone[:, COMPANION]) > 0.0)


def _most_harmful(scores: Scores, alone: np.ndarray, formal: np.ndarray) -> np.ndarray:
    """(n, n_parameter, n_parameter): what the alternative that may move the parameters most would do to them.

    Each alone, and as far as its amplitude is beyond `DOUBTED` standard deviations.
    """
    information = np.einsum("nii->ni", scores.information)
    amplitude = np.divide(scores.score, information, out=np.zeros_like(information), where=information > 0.0)
    certain = np.maximum(1.0 - DOUBTED**2 / np.maximum(np.abs(alone), 1e-9) ** 2, 0.0) * LINEAR
    shift = scores.leak * (amplitude * np.sqrt(certain))[:, None, :]
    width = np.sqrt(np.maximum(np.einsum("nii->ni", formal), 1e-300))
    harm = np.abs(shift / width[:, :, None]).max(axis=1)
    row = np.arange(len(harm))
    worst = shift[row, :, harm.argmax(axis=1)]
    return worst[:, :, None] * worst[:, None, :]


def _log_chance(value: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """ln of the chance that chi2 with so many degrees of freedom is larger; far out by its leading term."""
    value = np.maximum(value, 1e-300)
    far = (dof / 2 - 1) * np.log(value / 2) - value / 2 - gammaln(dof / 2)
    with np.errstate(divide="ignore"):
        found = np.log(chdtrc(dof, value))
    return np.where(np.isfinite(found), found, far)


def _sigma(log_chance: np.ndarray) -> np.ndarray:
    """Standard deviations of a normal distribution that are exceeded with these chances, whose logarithms are given."""
    usual = log_chance > -700.0
    far = np.sqrt(-2.0 * np.where(usual, -1.0, log_chance))
    return np.where(usual, -ndtri(np.exp(np.where(usual, log_chance, 0.0))), far).clip(0.0)


def _kinds(alone: np.ndarray, named: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(n,) names: the kind whose alternative stands out most, or scatter where they explain little (not `named`)."""
    size = np.abs(alone)
    size[:, COMPANION] = np.maximum(alone[:, COMPANION], 0.0)
    by_kind = np.stack([size[:, columns].max(axis=1) for columns in KINDS.values()])
    names = np.where(named, np.array(list(KINDS))[by_kind.argmax(axis=0)], SCATTER)
    return np.where(found, names, NONE)
