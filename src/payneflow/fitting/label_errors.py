"""What the emulator's own error does to fitted labels: how far off they are, and how uncertain that leaves them.

Noiseless spectra of the grid, fitted, give labels that are off by the emulator's label error there. `LabelErrors` holds
these errors for one network file and one mode of fitting, and answers for any fitted labels:

- the correction, by kriging (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, equations 2.25, 2.26)
  from the errors of all spectra of the grid: where the emulator errs is a smooth function of the labels;
- the covariance of what the correction leaves. Kriging's own variance says how it grows away from the spectra; its size
  and shape are those of the held-back spectra nearby, each predicted without itself (leave-one-out), in units of
  kriging's standard deviation, averaged with a Gaussian kernel around the fitted labels. Far from all spectra both
  are held down to what was ever measured.

A star's covariance is its formal one (photon noise) plus this one. No error per pixel can stand in for it, because the
residuals of neighbouring pixels are correlated.
"""

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.spatial import KDTree

from payneflow.errors import CalibrationError
from payneflow.fitting.mismatch import EmulatorScatter, HeldBackScatter
from payneflow.fitting.parameters import ParameterLayout
from payneflow.kriging import matern, solve, walk
from payneflow.network import PixelNetworks
from payneflow.simd import kernel
from payneflow.statistics import evenly

KERNEL_WIDTH = 0.12  # standard deviation of the kernel in scaled labels, and
PRIOR_SPECTRA = 1.0  # weight of the mean over all held-back spectra: chosen by benchmarks/label_errors.py
LARGEST = 2.0  # times the rms of the held-back errors: a star's error is capped there
LEAST_HELD_BACK = 10  # held-back spectra; fewer cannot tell a covariance
SEARCH_SPECTRA = 400  # the search for kriging's lengths looks at no more, evenly spread
LENGTH_START, LENGTH_STEP, LENGTH_LEAST, LENGTH_MOST = 0.3, 1.5, 0.05, 3.0  # in scaled labels
NUGGET_START, NUGGET_STEP, NUGGET_LEAST = 1e-3, 10.0, 1e-5  # variance of the scatter in units of the smooth part's
LEAST_GAIN = 1e-3  # of a step of the search; less is not worth another step


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Label errors of noiseless fits of a grid's spectra, and what they say about other fits.

    `scaled` (n_row, n_label): true scaled labels of the fitted spectra. `errors` (n_row, n_parameter): fitted less
    true, in the order of `layout` (parameters.py), scaled labels and, where the mode fits it, the velocity in km/s.
    A label that the mode fixes has errors of zero. `rows` (n_row,): the spectra's rows in the grid, increasing.
    `held_back` (n_row,) bool: not in the networks' training. `training` (n_training, n_label): scaled labels of all
    spectra that are. `lengths` (n_label,) and `nugget`: of the kriging. `mode`: of the fits (FitSettings.mode).
    `networks`: digest of the networks they were made with. `amplitudes` (n_row, N_ALTERNATIVE) of alternatives and
    `excess` (n_row,), the mean square error of the flux beyond that of each pixel, both of the noiseless fits
    (mismatch.py); None where they were not measured. `provenance`: how they were made.
    Raises CalibrationError where fewer than 10 spectra are held back.
    """

    scaled: np.ndarray
    errors: np.ndarray
    rows: np.ndarray
    held_back: np.ndarray
    training: np.ndarray
    lengths: np.ndarray
    nugget: float
    mode: str
    networks: str
    amplitudes: np.ndarray | None = None
    excess: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.held_back.sum() < LEAST_HELD_BACK:
            raise CalibrationError(
                f"label errors of {self.held_back.sum()} held-back spectra: at least {LEAST_HELD_BACK} are needed to "
                "tell a covariance. Calibrate with a larger grid, or fit without label errors."
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what was measured, of which networks and in which mode, in hexadecimal."""
        total = hashlib.sha256(f"{self.networks} {self.mode} {self.n_starts}".encode())
        for name in ("scaled", "errors", "rows", "held_back", "training", "lengths", "nugget", "amplitudes", "excess"):
            if getattr(self, name) is not None:
                total.update(np.ascontiguousarray(getattr(self, name), dtype=float))
        return total.hexdigest()

    @property
    def n_label(self) -> int:
        return self.scaled.shape[1]

    @property
    def n_starts(self) -> int:
        """Starts from which the fits of the calibration found the minimum of the true labels."""
        return int(self.provenance.get("n_starts", 1))

    @property
    def layout(self) -> ParameterLayout:
        """Which column of `errors`, of corrections and of covariances is which parameter."""
        return ParameterLayout.of_width(self.n_label, self.errors.shape[1])

    @cached_property
    def held_back_scatter(self) -> HeldBackScatter | None:
        """What the emulator's errors look like among the alternatives; None where it was not measured."""
        if self.amplitudes is None or self.excess is None:
            return None
        held = self.held_back
        return HeldBackScatter(self.fitted[held], self.amplitudes[held], self.excess[held])

    def emulator_scatter(self, scaled: np.ndarray, exclude: np.ndarray | None = None) -> EmulatorScatter | None:
        """The same at fitted scaled labels (n, n_label); arguments as those of `estimate`."""
        if self.held_back_scatter is None:
            return None
        if exclude is None:
            return self.held_back_scatter.at(scaled)
        held = self.rows[self.held_back]
        place = np.clip(np.searchsorted(held, exclude), 0, len(held) - 1)
        return self.held_back_scatter.at(scaled, np.where(held[place] == exclude, place, -1))

    @property
    def fitted(self) -> np.ndarray:
        """(n_row, n_label): fitted scaled labels. Errors are looked up by these: a star's true ones are unknown."""
        return self.scaled + self.errors[:, self.layout.labels]

    def estimate(self, scaled: np.ndarray, exclude: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Correction (n, n_parameter), to be subtracted from the fitted parameters, and covariance of what is left.

        `scaled`: (n, n_label) fitted scaled labels. `exclude`: (n,) grid rows, each left out for its own fit, so that
        no spectrum calibrates itself; a row that is not in the grid, such as -1, leaves out nothing. The covariance
        (n, n_parameter, n_parameter) is to be added to the formal one. Units are those of `errors`. NaN gives NaN.
        """
        scaled = np.ascontiguousarray(scaled, dtype=float)
        without = np.full(len(scaled), -1)
        if exclude is not None:
            place = np.clip(np.searchsorted(self.rows, exclude), 0, len(self.rows) - 1)
            without = np.where(self.rows[place] == exclude, place, -1)
        correction = np.empty((len(scaled), self.errors.shape[1]))
        covariance = np.empty((*correction.shape, self.errors.shape[1]))
        nodes = self.fitted, self.errors, np.flatnonzero(self.held_back)
        kriging = self.lengths, self.nugget, *self._solved
        _estimate(scaled, without, *nodes, *kriging, KERNEL_WIDTH, PRIOR_SPECTRA, correction, covariance)
        shrink = self._shrink(covariance, without)
        return shrink[:, None] * correction, shrink[:, None, None] * covariance

    def _shrink(self, covariance: np.ndarray, without: np.ndarray) -> np.ndarray:
        """(n,), factors that keep kriging from carrying slopes on and on, far from all spectra.

        r is the ratio of covariance (n, n_parameter, n_parameter) to the capped one, averaged
        over all directions. 1 / sqrt(1 + r^2) is 1 where spectra are near, and takes r to 1 far from them.
        """
        held = self.errors * self.held_back[:, None]
        own = held[without] * (without >= 0)[:, None]
        n_held = self.held_back.sum() - (self.held_back[without] & (without >= 0))
        largest = LARGEST**2 * (held.T @ held - own[:, :, None] * own[:, None, :]) / n_held[:, None, None]
        inverse = np.linalg.pinv(largest, hermitian=True)  # not `inv`: a label may be fixed
        ratio = (inverse * covariance).sum(axis=(1, 2)) / max(held.any(axis=0).sum(), 1)
        return 1 / np.sqrt(1 + ratio**2)

    def correction(self, scaled: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
        """(n, n_label), to be subtracted from the fitted scaled labels; arguments as those of `estimate`."""
        return self.estimate(scaled, exclude)[0][:, self.layout.labels]

    def covariance(self, scaled: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
        """(n, n_label, n_label) of the corrected scaled labels; arguments as those of `estimate`."""
        return self.estimate(scaled, exclude)[1][:, self.layout.labels, self.layout.labels]

    def velocity_variance(self, scaled: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
        """(n,), (km/s)^2, of the corrected velocity; arguments as those of `estimate`.

        Raises CalibrationError where the mode has no velocity.
        """
        if not self.layout.has_velocity:
            raise CalibrationError(f"label errors of the mode '{self.mode}' say nothing about velocities.")
        return self.estimate(scaled, exclude)[1][:, self.layout.velocity, self.layout.velocity]

    def far(self, scaled: np.ndarray) -> np.ndarray:
        """(n,) bool: is a star with these scaled labels (n, n_label) farther from all training spectra than is known?

        That is, farther from the nearest one, in scaled labels, than every held-back spectrum is: no measured error
        speaks for such a star. NaN is not far.
        """
        known = np.isfinite(scaled).all(axis=1)
        distance = np.zeros(len(scaled))
        distance[known] = self._tree.query(scaled[known])[0]
        return distance > self.reach

    @cached_property
    def reach(self) -> float:
        """The largest distance of a held-back spectrum to the nearest training spectrum, in scaled labels."""
        return float(self._tree.query(self.scaled[self.held_back])[0].max())

    def check(self, networks: PixelNetworks, mode: str) -> None:
        """Raise CalibrationError unless these label errors are those of `networks` and of fits in `mode`."""
        if self.networks != networks.digest:
            what = "those of other networks (other weights) than the ones that fit"
        elif self.mode != mode:
            what = f"those of fits in the mode '{self.mode[:200]}', not '{mode}'"
        else:
            return
        raise CalibrationError(
            f"the label errors are {what}: run `payneflow calibrate` for these networks and settings."
        )

    def without(self, rows: np.ndarray) -> "LabelErrors":
        """The same without these rows of the grid, as if they had never been fitted; for cross-validation."""
        kept = ~np.isin(self.rows, rows)
        by_row = ("scaled", "errors", "rows", "held_back", "amplitudes", "excess")
        arrays = {name: getattr(self, name)[kept] for name in by_row if getattr(self, name) is not None}
        lengths, nugget = smoothness(self.fitted[kept], arrays["errors"], arrays["held_back"])
        return replace(self, **arrays, lengths=lengths, nugget=nugget)

    @cached_property
    def _solved(self) -> tuple[np.ndarray, np.ndarray]:
        """Inverse (n_row, n_row) of the covariance between the spectra, and its product with the errors."""
        inverse = _inverse(self.fitted, self.lengths, self.nugget)
        return inverse, inverse @ self.errors

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.training)


def smoothness(fitted: np.ndarray, errors: np.ndarray, held_back: np.ndarray) -> tuple[np.ndarray, float]:
    """Kriging's lengths (n_label,) and nugget that predict the held-back errors best, each from all the others.

    Arguments as in LabelErrors. Best is the greatest leave-one-out likelihood (Rasmussen & Williams, section 5.4.2),
    each parameter with the variance that suits it. A walk in steps of a factor: nugget, all lengths together, each.
    """
    some = evenly(len(fitted), SEARCH_SPECTRA)
    fitted, errors, held_back = fitted[some], errors[some], held_back[some]
    errors = errors[:, errors.any(axis=0)]  # no label that is fixed

    def misfit(at: np.ndarray) -> float:
        inverse = _inverse(fitted, at[:-1], at[-1])
        diagonal = np.diag(inverse)[held_back]
        square = (inverse @ errors)[held_back] ** 2 / diagonal[:, None]
        return float(np.log(square.mean(axis=0)).sum() - errors.shape[1] * np.log(diagonal).mean())

    n_label = fitted.shape[1]
    moves = np.vstack([np.eye(n_label + 1)[-1:], [*[1.0] * n_label, 0.0], np.eye(n_label + 1)[:-1]])
    factors = np.append(np.full(n_label, LENGTH_STEP), NUGGET_STEP)
    least, most = np.append(np.full(n_label, LENGTH_LEAST), NUGGET_LEAST), np.append(np.full(n_label, LENGTH_MOST), 1.0)
    at = np.append(np.full(n_label, LENGTH_START), NUGGET_START)
    if not errors.size:  # an emulator without error
        return at[:-1], float(at[-1])
    at = walk(misfit, at, moves, factors, (least, most), lambda _: LEAST_GAIN)
    return at[:-1], float(at[-1])


def _inverse(scaled: np.ndarray, lengths: np.ndarray, nugget: float) -> np.ndarray:
    """(n, n), of the covariance between errors at scaled labels (n, n_label), in units of that of the smooth part."""
    return solve(matern(scaled, scaled, lengths), nugget, np.eye(len(scaled)))


@kernel
def _estimate(
    scaled, without, nodes, errors, held, lengths, nugget, inverse, solved, width, prior, correction, covariance
):
    """Fill correction and covariance, spectrum by spectrum: no bit depends on which others come along."""
    n_node, n_label = nodes.shape
    n_parameter = errors.shape[1]
    near, weight, one = np.empty(n_node), np.empty(n_node), np.empty(n_parameter)
    mean, local = np.empty((n_parameter, n_parameter)), np.empty((n_parameter, n_parameter))
    for i in range(len(scaled)):
        own = without[i]
        for j in range(n_node):
            square = 0.0
            for c in range(n_label):
                square += ((scaled[i, c] - nodes[j, c]) / lengths[c]) ** 2
            r = math.sqrt(5 * square)
            near[j] = (1 + r + square * (5 / 3)) * math.exp(-r)  # as `matern`
        weight[:] = 0.0
        for j in range(n_node):
            for m in range(n_node):
                weight[m] += inverse[j, m] * near[j]
        if own >= 0:  # the inverse without a node: its row takes its own weight to zero
            of_own = weight[own] / inverse[own, own]
            for m in range(n_node):
                weight[m] -= of_own * inverse[own, m]
            weight[own] = 0.0
        variance = 1 + nugget
        correction[i] = 0.0
        for j in range(n_node):
            variance -= near[j] * weight[j]
            for a in range(n_parameter):
                correction[i, a] += weight[j] * errors[j, a]
        mean[:] = 0.0
        local[:] = 0.0
        n_mean, total = 0, prior
        for h in held:
            if h == own:
                continue
            # error of one held-back spectrum without itself (Rasmussen & Williams, equation 5.12) and without `own`
            size = inverse[h, h] - (inverse[own, h] ** 2 / inverse[own, own] if own >= 0 else 0.0)
            square = 0.0
            for c in range(n_label):
                square += (scaled[i, c] - nodes[h, c]) ** 2
            close = math.exp(-0.5 * square / width**2)
            for a in range(n_parameter):
                of_own = inverse[own, h] / inverse[own, own] * solved[own, a] if own >= 0 else 0.0
                one[a] = (solved[h, a] - of_own) / math.sqrt(size)
            for a in range(n_parameter):
                for b in range(n_parameter):
                    mean[a, b] += one[a] * one[b]
                    local[a, b] += close * one[a] * one[b]
            n_mean += 1
            total += close
        for a in range(n_parameter):
            for b in range(n_parameter):
                average = (local[a, b] + prior * mean[a, b] / n_mean) / total
                covariance[i, a, b] = max(variance, nugget) * average
