"""What the emulator's own error does to fitted labels: how far off they are, and how uncertain that leaves them.

Noiseless spectra of the grid, fitted, give labels that are off by the emulator's label error there. `LabelErrors` holds
these errors for one network file and one mode of fitting, and answers for any fitted labels:

- the correction, by kriging (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, equations 2.25, 2.26)
  from the errors of all spectra of the grid, each in units of the size that errors have there (error_sizes.py), and no
  larger than a few of them: one wild spectrum does not rule its neighbours. Of each parameter as much is corrected as
  helps where each held-back spectrum is predicted from all others (leave-one-out): nothing where nothing helps;
- the covariance of what the correction leaves. Kriging's own variance says how it grows away from the spectra; its size
  is that of the held-back spectra's errors, each predicted without itself, as a smooth function of the labels; which
  parameters err together is a mean over the held-back spectra, of which nearby ones count most.

Near is what kriging of the sizes says: labels that do not matter to the errors do not matter to distances. So it is
with twenty labels as with three. Far from all spectra both are held down to what was ever measured.

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
from payneflow.fitting.error_sizes import ErrorSizes, KnownSizes
from payneflow.fitting.mismatch import EmulatorScatter, HeldBackScatter
from payneflow.fitting.parameters import ParameterLayout
from payneflow.fitting.settings import AND, RESOLUTION
from payneflow.kriging import left_out_lengths, matern, solve, weighted_sums
from payneflow.network import PixelNetworks
from payneflow.simd import kernel, part
from payneflow.statistics import evenly

# Of noiseless fits, as a share of the flux scale; from S/N 10 to 1000 the label errors are the same within 5 %
FLUX_ERROR = 1 / 300
PRIOR_SPECTRA = 5.0  # weight of the mean over all held-back spectra in the correlation of parameters
WILD = 4.0  # sizes: an error beyond it corrects its neighbours, and correlates, as one of this size
SHARES, LEAST_HELP = np.linspace(0.0, 1.0, 9), 0.03  # of a correction; it helps if errors shrink by as much
LUCKY = 0.01  # of the held-back spectra: what they alone gain by a correction is no reason for it
LARGEST = 2.0  # times the size of uncorrected errors: a star's error is capped there
LEAST_HELD_BACK = 10  # held-back spectra; fewer cannot tell a covariance
SEARCH_SPECTRA = 320  # the search for kriging's lengths looks at no more, evenly spread
LENGTH_LEAST, LENGTH_MOST, NUGGET_LEAST, NUGGET_MOST = 0.05, 30.0, 1e-5, 10.0
STARTS = ((0.3, 1e-3), (1.5, 1e-1))  # length of all labels, and nugget: the variance of the scatter relative to the
# smooth part's
_BOUNDS = (LENGTH_LEAST, NUGGET_LEAST), (LENGTH_MOST, NUGGET_MOST)
MOST_ITERATIONS = 25  # of the search from each start


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Label errors of noiseless fits of a grid's spectra, and what they say about other fits.

    `scaled` (n_row, n_label): true scaled labels of the fitted spectra. `errors` (n_row, n_parameter): fitted less
    true, in the order of `layout` (parameters.py), scaled labels and, where the mode has them, broadenings as a search
    moves them (engine/widths.py), and the velocity in km/s.
    A label that the mode fixes has errors of zero. `rows` (n_row,): the spectra's rows in the grid, increasing.
    `held_back` (n_row,) bool: not in the networks' training. `training` (n_training, n_label): scaled labels of all
    spectra that are. `lengths` (n_label,) and `nugget`: of the kriging of the errors; `size_lengths` and `size_nugget`:
    of that of their sizes, searched for where they are None, as in files of earlier versions. `photon_share`
    (n_parameter,): which part of the formal variance at a flux error of `FLUX_ERROR` is noise, the rest being the
    emulator's error in each pixel; None where it was not measured. `mode`: of the fits (FitSettings.mode).
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
    size_lengths: np.ndarray | None = None
    size_nugget: float | None = None
    photon_share: np.ndarray | None = None
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
        names = "scaled errors rows held_back training lengths nugget amplitudes excess size_lengths size_nugget"
        for name in (*names.split(), "photon_share"):
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
    def resolution(self) -> float:
        """R = wavelength / FWHM of the spectra; 0: that of the networks' grid."""
        return next((float(part.removeprefix(RESOLUTION)) for part in self._parts if part.startswith(RESOLUTION)), 0.0)

    @cached_property
    def of_own_resolutions(self) -> "LabelErrors":
        """The same for fits of spectra each of which has its own R; whether it is near this one is not asked here."""
        return replace(self, mode=AND.join(part for part in self._parts if not part.startswith(RESOLUTION)))

    @property
    def _parts(self) -> list[str]:
        return self.mode.split(AND)

    @property
    def layout(self) -> ParameterLayout:
        """Which column of `errors`, of corrections and of covariances is which parameter."""
        return ParameterLayout.of_width(self.n_label, self.errors.shape[1], self.mode)

    @cached_property
    def held_back_scatter(self) -> HeldBackScatter | None:
        """What the emulator's errors look like among the alternatives; None where it was not measured."""
        if self.amplitudes is None or self.excess is None:
            return None
        held = self.held_back
        return HeldBackScatter(self.fitted[held], self.amplitudes[held], self.excess[held], self._sizes.lengths)

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
        no spectrum calibrates itself; a row that is not in the grid, such as -1, leaves out nothing. It still takes
        part in what all spectra say together: lengths, nuggets, shares and the level of the sizes, a robust mean. The
        covariance (n, n_parameter, n_parameter) is to be added to the formal one. Units are those of `errors`. NaN
        gives NaN.
        """
        scaled = np.ascontiguousarray(scaled, dtype=float)
        without = np.full(len(scaled), -1)
        if exclude is not None:
            place = np.clip(np.searchsorted(self.rows, exclude), 0, len(self.rows) - 1)
            without = np.where(self.rows[place] == exclude, place, -1)
        n_parameter, left = self.errors.shape[1], self._left
        unit, size, before = (np.empty((len(scaled), n_parameter)) for _ in range(3))
        variance, covariance = np.empty(len(scaled)), np.empty((len(scaled), n_parameter, n_parameter))
        kriging = self.fitted, self.lengths, self.nugget, *self._solved
        _predict(scaled, without, *kriging, unit, variance)
        self._sizes_at(scaled, without, self._raw_sizes, before)
        self._sizes_at(scaled, without, left.sizes, size)
        sizes = self._sizes
        own = self._held_place[without]
        _correlate(scaled, own, sizes.labels, sizes.lengths, left.units, PRIOR_SPECTRA, covariance)
        size = size * np.sqrt(_shared(variance, left.share))
        held_down = _held_down(size, before)
        size = size * held_down
        return left.share * held_down * before * unit, covariance * size[:, :, None] * size[:, None, :]

    def photon_shares(self, variance: np.ndarray, emulator_rms: np.ndarray) -> np.ndarray:
        """(n, n_parameter), parts of the formal variances that are noise, for mean variances (n,) of the pixels.

        `emulator_rms`: of the networks' pixels, in units of the flux scale. Formal variances contain this error, and so
        does the covariance of `estimate`: it is to be counted once.
        """
        if self.photon_share is None:
            return np.ones((len(variance), self.errors.shape[1]))
        square = emulator_rms[np.isfinite(emulator_rms)] ** 2
        calibrated = 1 / np.mean(1 / (FLUX_ERROR**2 + square)) if len(square) else FLUX_ERROR**2
        noise = np.maximum(variance - (calibrated - FLUX_ERROR**2), 0.0)[:, None]
        emulator = FLUX_ERROR**2 * (1 / self.photon_share - 1)
        shares = np.ones((len(noise), len(emulator)))
        return np.divide(noise, noise + emulator, out=shares, where=noise + emulator > 0)

    @cached_property
    def _sizes(self) -> ErrorSizes:
        """How errors depend on the labels of held-back spectra in size, whatever their size is."""
        held = self.fitted[self.held_back]
        if self.size_lengths is None:
            return ErrorSizes(held, *ErrorSizes.search(held, self.errors[self.held_back]))
        return ErrorSizes(held, self.size_lengths, self.size_nugget)

    @cached_property
    def _raw_sizes(self) -> KnownSizes:
        """Of the errors of held-back spectra as fitted."""
        return self._sizes.of(self.errors[self.held_back])

    @cached_property
    def _held_place(self) -> np.ndarray:
        """(n_row + 1,): which held-back spectrum a row is; -1 for the others and, at its end, for no row."""
        return np.append(np.where(self.held_back, np.cumsum(self.held_back) - 1, -1), -1)

    def _sizes_at(self, scaled, without, sizes: KnownSizes, out) -> None:
        """Put the sizes at scaled labels (n, n_label) into `out` (n, n_parameter)."""
        own = self._held_place[without]
        _smooth(scaled, own, self._sizes.labels, self._sizes.lengths, self._sizes.inverse, sizes.solved, out)
        out += sizes.mean
        _exponential(out)

    @cached_property
    def _units(self) -> np.ndarray:
        """(n_row, n_parameter), errors in units of their size there, wild ones cut."""
        return errors_in_sizes(self._sizes, self.fitted, self.errors, self._raw_sizes)

    @cached_property
    def _left(self) -> "_Left":
        """What the correction leaves of held-back spectra's errors, each predicted from all others."""
        inverse, solved = self._solved
        held, raw, errors = self.held_back, self._raw_sizes, self.errors[self.held_back]
        size = np.diag(inverse)[held]
        predicted = self._units[held] - solved[held] / size[:, None]
        before = np.empty_like(errors)
        self._sizes_at(self.fitted[held], np.flatnonzero(held), raw, before)
        share = _best_shares(errors, predicted * before, raw.left_out)
        root = np.sqrt(_shared(1 / size / (1 + self.nugget), share))
        left = errors - share * predicted * before
        sizes = self._sizes.of(left / root)
        known = sizes.left_out > 0
        units = np.divide(left / root, sizes.left_out, out=np.zeros_like(left), where=known)
        return _Left(share, sizes, np.clip(units, -WILD, WILD))

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

    def far(self, scaled: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
        """(n,) bool: is a star with these scaled labels (n, n_label) farther from all training spectra than is known?

        That is, farther from the nearest one than every held-back spectrum is: no measured error speaks for such a
        star. Distances are in lengths over which the size of errors changes; what `variance` (n, n_label) of the labels
        adds to their square is taken off. NaN is not far.
        """
        known, lengths = np.isfinite(scaled).all(axis=1), self._sizes.lengths
        square = np.zeros(len(scaled))
        square[known] = self._tree.query(scaled[known] / lengths)[0] ** 2
        if variance is not None:
            square -= (variance / lengths**2).sum(axis=1)
        return square > self.reach**2

    @cached_property
    def reach(self) -> float:
        """The largest distance of a held-back spectrum to the nearest training spectrum, in lengths of the sizes."""
        return float(self._tree.query(self.scaled[self.held_back] / self._sizes.lengths)[0].max())

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
        return replace(self, **arrays, **smoothness(self.fitted[kept], arrays["errors"], arrays["held_back"]))

    @cached_property
    def _solved(self) -> tuple[np.ndarray, np.ndarray]:
        """Inverse (n_row, n_row) of the covariance between the spectra, and its product with the errors in sizes."""
        covariance = matern(self.fitted, self.fitted, self.lengths)
        inverse = solve(covariance, self.nugget, np.eye(len(covariance)))
        return inverse, weighted_sums(inverse, self._units)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.training / self._sizes.lengths)


@dataclass(frozen=True, eq=False)
class _Left:
    """`share` (n_parameter,) of kriging's prediction that is corrected, the sizes of what is left where kriging's
    variance is that of the prior, and what is left of the held-back spectra in these sizes, (n_held, n_parameter).
    """

    share: np.ndarray
    sizes: KnownSizes
    units: np.ndarray


def smoothness(fitted: np.ndarray, errors: np.ndarray, held_back: np.ndarray) -> dict:
    """`lengths`, `nugget`, `size_lengths` and `size_nugget` of LabelErrors; arguments as there.

    Those of the sizes have the greatest marginal likelihood (kriging.py); those of the errors predict the held-back
    ones best, each from all the others: the greatest leave-one-out likelihood (Rasmussen & Williams, section 5.4.2),
    each parameter with the variance that suits it.
    """
    size_lengths, size_nugget = ErrorSizes.search(fitted[held_back], errors[held_back])
    sizes = ErrorSizes(fitted[held_back], size_lengths, size_nugget)
    some = evenly(len(fitted), SEARCH_SPECTRA)
    units = errors_in_sizes(sizes, fitted[some], errors[some], sizes.of(errors[held_back]))
    units = np.ascontiguousarray(units[:, units.any(axis=0)])  # no label that is fixed
    n_label = fitted.shape[1]
    starts = np.array([[*[length] * n_label, nugget] for length, nugget in STARTS])
    bounds = [np.append(np.full(n_label, length), nugget) for length, nugget in _BOUNDS]
    lengths, nugget = starts[0][:-1], float(starts[0][-1])
    if units.size and held_back[some].any():  # else an emulator without error
        lengths, nugget = left_out_lengths(fitted[some], units, held_back[some], bounds, starts, MOST_ITERATIONS)
    return {"lengths": lengths, "nugget": nugget, "size_lengths": size_lengths, "size_nugget": size_nugget}


def errors_in_sizes(sizes: ErrorSizes, fitted: np.ndarray, errors: np.ndarray, known: KnownSizes) -> np.ndarray:
    """(n, n_parameter), errors in units of their size at fitted scaled labels (n, n_label), wild ones cut."""
    size = np.empty(errors.shape)
    none = np.full(len(fitted), -1)
    _smooth(np.ascontiguousarray(fitted), none, sizes.labels, sizes.lengths, sizes.inverse, known.solved, size)
    size += known.mean
    _exponential(size)
    return np.clip(np.divide(errors, size, out=np.zeros_like(size), where=size > 0), -WILD, WILD)


def _best_shares(errors: np.ndarray, predicted: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n_parameter,) of SHARES: how much of predictions (n, n_parameter) leaves the smallest errors.

    By their mean in units of `size`, wild ones cut, and by their rms, to which the few spectra that gain most do not
    count as a gain. None where one of them hardly gets smaller, or the robust width gets larger.
    """
    left = errors - SHARES[:, None, None] * predicted
    mean = np.minimum(np.abs(left) / np.where(size > 0, size, 1.0), WILD).mean(axis=1)
    mean /= np.where(mean[0] > 0, mean[0], 1.0)
    gain, square = np.sort(errors**2 - left**2, axis=1), (errors**2).sum(axis=0)
    surely = gain[:, : -math.ceil(LUCKY * len(errors))]
    rms, sure = (np.sqrt(1 - one.sum(axis=1) / np.where(square > 0, square, 1.0)) for one in (gain, surely))
    width = np.median(np.abs(left), axis=1)
    helps = (np.maximum(mean, sure) < 1 - LEAST_HELP) & (width <= width[0])
    helps[0] = True
    return SHARES[np.where(helps, mean + rms, np.inf).argmin(axis=0)]


def _shared(variance: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(n, n_parameter): kriging's variance (n,), 1 far from all spectra, where only a share of it is corrected."""
    return 1 - share**2 * (1 - np.maximum(variance, 0.0))[:, None]


def _held_down(size: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(n, n_parameter), factors that keep kriging from carrying slopes on and on, far from all spectra.

    1 where the size of what is left is small against LARGEST times that of the errors as fitted; takes it there far
    from all spectra.
    """
    ratio = np.divide(size, LARGEST * before, out=np.zeros_like(size), where=before > 0)
    square = ratio * ratio
    return 1 / np.sqrt(np.sqrt(1 + square * square))


@part
def _nearness(at, nodes, lengths, near):
    """Fill near (n_node,) with the covariance of `matern` between labels (n_label,) and nodes (n_node, n_label)."""
    for j in range(len(nodes)):
        square = 0.0
        for c in range(len(at)):
            square += ((at[c] - nodes[j, c]) / lengths[c]) ** 2
        r = math.sqrt(5 * square)
        near[j] = (1 + r + square * (5 / 3)) * math.exp(-r)


@kernel
def _predict(scaled, without, nodes, lengths, nugget, inverse, solved, predicted, variance):
    """Fill predictions (n, k) and their variances (n,), 1 far away, spectrum by spectrum, each without one node."""
    n_node = len(nodes)
    near, weight = np.empty(n_node), np.empty(n_node)
    for i in range(len(scaled)):
        own = without[i]
        _nearness(scaled[i], nodes, lengths, near)
        weight[:] = 0.0
        for j in range(n_node):
            for m in range(n_node):
                weight[m] += inverse[j, m] * near[j]
        of_own = weight[own] / inverse[own, own] if own >= 0 else 0.0
        left = 1 + nugget
        predicted[i] = 0.0
        for j in range(n_node):
            for a in range(solved.shape[1]):
                predicted[i, a] += near[j] * solved[j, a]
            left -= near[j] * weight[j]
        if own >= 0:  # the inverse without a node
            left += of_own * weight[own]
            for a in range(solved.shape[1]):
                predicted[i, a] -= of_own * solved[own, a]
        variance[i] = max(left, nugget) / (1 + nugget)


@kernel
def _smooth(scaled, without, nodes, lengths, inverse, solved, out):
    """Fill predictions (n, k) of smooth functions, each without one node."""
    n_node = len(nodes)
    near = np.empty(n_node)
    for i in range(len(scaled)):
        own = without[i]
        _nearness(scaled[i], nodes, lengths, near)
        out[i] = 0.0
        weight = 0.0
        for j in range(n_node):
            for a in range(solved.shape[1]):
                out[i, a] += near[j] * solved[j, a]
            if own >= 0:
                weight += near[j] * inverse[own, j]
        if own >= 0:
            for a in range(solved.shape[1]):
                out[i, a] -= weight / inverse[own, own] * solved[own, a]


@kernel
def _exponential(values):
    """values <- exp(values), number by number: no bit depends on which others come along."""
    flat = values.ravel()
    for i in range(len(flat)):
        flat[i] = math.exp(flat[i])


@kernel
def _correlate(scaled, without, nodes, lengths, units, prior, correlation):
    """Fill correlations (n, k, k) of `units` (n_node, k): means over the nodes, of which nearby ones count most."""
    n_node, k = units.shape
    near = np.empty(n_node)
    for i in range(len(scaled)):
        _nearness(scaled[i], nodes, lengths, near)
        mean = correlation[i]
        mean[:] = 0.0
        for j in range(n_node):
            if j == without[i]:
                continue
            weight = near[j] + prior / n_node
            for a in range(k):
                for b in range(a + 1):
                    mean[a, b] += weight * units[j, a] * units[j, b]
        for a in range(k):
            for b in range(a):
                size = math.sqrt(mean[a, a] * mean[b, b])
                mean[a, b] = mean[a, b] / size if size > 0 else 0.0
                mean[b, a] = mean[a, b]
        for a in range(k):
            mean[a, a] = 1.0 if mean[a, a] == mean[a, a] else math.nan
