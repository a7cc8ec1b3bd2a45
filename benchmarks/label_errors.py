"""Are the errors of fitted labels what they say? Pulls of spectra that never took part in their own calibration.

    python benchmarks/label_errors.py NETWORK_FILE [GRID] [--folds 8] [--repeat 4] [--mode labels] [--choose]

The test set of the grid is fitted in two modes, labels alone and labels with velocity and continuum, without noise and
at several S/N. The spectra of a fold are corrected by, and get their errors from, the label errors of all other folds
(`LabelErrors.without`: smoothness, correction and covariance are made anew without them). In the second mode every
spectrum is moved by a velocity within 200 km/s and multiplied by a random continuum in each detector segment. With
`--folds 0` there are no folds: one calibration, each spectrum left out of its own, as fits of a test set do; faster.

first table    robust width and largest of the noiseless label errors, as fitted and corrected
second table   pull = (fitted - true) / error, robust width / standard deviation of REPEAT noises of every spectrum;
               share of fits that carry any flag; fits whose chi2 asked for scaled errors
--choose       log likelihood per spectrum of the noiseless errors with the noise of S/N 300 added to their covariance,
               each spectrum left out of its own, for other priors and cuts of wild errors, in both halves of the test
               set: where label_errors.py has its two constants from
--mode         one mode alone

Of networks with many labels the tables give the smallest, the median and the largest over the labels. *all*: every
label of every star. *told*: of stars without a flag those labels that are not flagged as without information or
lopsided, where that is one label in ten or more; beyond 5: how many stars have such a label with a pull of more than 5.
About a minute on one core for three labels.
"""

import argparse
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from payneflow import PixelNetworks, fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, LabelFlag, label_errors
from payneflow.fitting.calibration import measure_label_errors
from payneflow.fitting.label_errors import FLUX_ERROR, LabelErrors
from payneflow.grid import TEST, SpectralGrid, read_grid
from payneflow.statistics import bias_and_width
from payneflow.wavelength import after_gaps

MODES = {"labels": FitSettings(), "labels + RV + continuum": FitSettings(velocity=True, continuum=4)}
SIGNAL_TO_NOISE = (300, 100, 30, 10)
CORRECTED = {"as fitted": False, "corrected": True}
SPEED_OF_LIGHT = 299792.458  # km/s
WILDS, PRIORS = (2.5, 4.0, 8.0), (2.0, 5.0, 20.0)
MANY = 6  # parameters: of more, a table has no column for each
UNTOLD = LabelFlag.NO_INFORMATION | LabelFlag.LOPSIDED
ENOUGH, LARGE = 0.1, 5.0  # share of stars that tell a label; pull that a flag is expected of
LARGEST_VELOCITY, SEED = 200.0, 5  # km/s
HALF_TAPS, KAISER = 24, 7.0  # of the sinc that moves spectra: three times the engine's


class Truth:
    """The noiseless test spectra of one mode: flux (n, n_pixel), relative error of each pixel, labels, velocity."""

    def __init__(self, networks: PixelNetworks, grid: SpectralGrid, settings: FitSettings):
        self.rows = np.arange(len(grid.labels))[TEST]
        self.labels = grid.labels[self.rows]
        self.flux = grid.flux[self.rows].astype(float)[
            :, networks.columns_in(grid.wavelength, grid.label_names, grid.path)
        ]
        self.continuum = np.ones_like(self.flux)
        self.velocity = np.zeros(len(self.rows))
        if settings.velocity:
            rng = np.random.default_rng(SEED)
            self.velocity = rng.uniform(-LARGEST_VELOCITY, LARGEST_VELOCITY, len(self.rows))
            cuts = after_gaps(networks.wavelength)
            parts = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(networks.wavelength)], strict=True)]
            for part in parts:
                self.flux[:, part] = moved(self.flux[:, part], networks.wavelength[part], self.velocity)
                self.continuum[:, part] = random_continua(rng, len(self.rows), networks.wavelength[part])

    def observed(self, relative_error: float, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Flux with `noise` of the continuum, and its errors for `relative_error` of the continuum."""
        rng = np.random.default_rng(seed)
        return self.continuum * (self.flux + noise * rng.normal(size=self.flux.shape)), relative_error * self.continuum


def moved(flux: np.ndarray, wavelength: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Flux (n, n_pixel) of one segment of even steps in log wavelength, seen at velocities (n,); NaN where unknown."""
    step = np.log(wavelength[-1] / wavelength[0]) / (len(wavelength) - 1)
    shift = np.arctanh(velocity / SPEED_OF_LIGHT) / step  # pixels: the relativistic Doppler factor is exp(artanh(v/c))
    result = np.full_like(flux, np.nan)
    for row, pixels in enumerate(shift):
        whole = int(np.floor(-pixels))
        at = -pixels - whole - np.arange(1 - HALF_TAPS, HALF_TAPS + 1)
        taps = np.sinc(at) * np.i0(KAISER * np.sqrt(np.maximum(1 - (at / HALF_TAPS) ** 2, 0)))
        inner = np.convolve(flux[row], taps[::-1] / taps.sum(), mode="valid")  # of pixels HALF_TAPS - 1 and on
        first = HALF_TAPS - 1 - whole
        target = np.arange(len(inner)) + first
        known = (target >= 0) & (target < flux.shape[1])
        result[row, target[known]] = inner[known]
    return result


def random_continua(rng: np.random.Generator, n: int, wavelength: np.ndarray) -> np.ndarray:
    """(n, n_pixel): cubic polynomials in wavelength that change a segment by some tens of per cent."""
    terms = np.column_stack([np.ones(n), rng.normal(size=(n, 3)) * [0.12, 0.06, 0.03]])
    unit = 2 * (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0]) - 1
    basis = np.polynomial.chebyshev.chebvander(unit, 3)
    return np.exp(rng.normal(0, 0.3, (n, 1))) * (terms @ basis.T)


class Calibrated:
    """Fits of the test spectra in one mode, each fold with the label errors of all other folds."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, truth: Truth, errors: LabelErrors, n_fold: int):
        self._given, self._truth, self.names = (networks, settings), truth, [*networks.label_names]
        fold = np.arange(len(truth.rows)) % max(n_fold, 1)
        self._folds = [(fold == k, errors.without(truth.rows[fold == k])) for k in range(n_fold)]
        self._folds = self._folds or [(fold == 0, errors)]
        self.units = [*networks.label_units]
        if settings.velocity:
            self.names.append("RV")
            self.units.append("km/s")

    def fit(self, flux: np.ndarray, flux_error: np.ndarray, calibrated: bool = True) -> tuple[np.ndarray, ...]:
        """Fitted less true and its error, (n, n_parameter) in the labels' units and km/s, the flags (n,), and which
        parameters are told (n, n_parameter).
        """
        networks, settings = self._given
        true = np.column_stack([self._truth.labels, self._truth.velocity])[:, : len(self.names)]
        off, error = np.empty_like(true), np.empty_like(true)
        flags, told = np.empty(len(true), int), np.ones(true.shape, bool)
        for rows, errors in self._folds:
            given = errors if calibrated else None
            own = self._truth.rows[rows]  # in no fold's errors; without folds, to be left out
            fits = fit_spectra(
                networks, flux[rows], flux_error[rows], settings=settings, label_errors=given, exclude=own
            )
            off[rows] = np.column_stack([fits[name] for name in self.names]) - true[rows]
            error[rows] = np.column_stack([fits[f"{name}_error"] for name in self.names])
            flags[rows] = fits["flags"]
            for j, name in enumerate(networks.label_names):
                told[rows, j] = (np.asarray(fits[f"{name}_flags"]) & UNTOLD) == 0
        return off, error, flags, told


def print_accuracy(mode: str, fits: Calibrated, truth: Truth) -> None:
    found = {what: fits.fit(*truth.observed(FLUX_ERROR), calibrated)[0] for what, calibrated in CORRECTED.items()}
    if len(fits.names) > MANY:
        raw, corrected = (off[np.isfinite(off).all(axis=1)] for off in found.values())
        ratios = widths(corrected) / widths(raw), corrected.std(axis=0) / raw.std(axis=0)
        print(
            f"{mode:24}corrected / as fitted: robust width {extent(ratios[0])}, standard deviation {extent(ratios[1])}"
        )
        return
    for what, off in found.items():
        columns = zip(fits.names, fits.units, off.T, strict=True)
        cells = [f"{bias_and_width(one)[1]:9.2g}, {np.abs(one).max():6.2g} {unit:4}" for _, unit, one in columns]
        print(f"{mode:24}{what:12}" + "  ".join(cells))


def widths(values: np.ndarray) -> np.ndarray:
    return np.array([bias_and_width(one)[1] for one in values.T])


def extent(values) -> str:
    return "{:.2f}, {:.2f}, {:.2f}".format(*np.percentile(values, [0, 50, 100]))


def print_pulls(mode: str, fits: Calibrated, truth: Truth, repeat: int) -> None:
    for signal_to_noise in SIGNAL_TO_NOISE:
        noise = 1 / signal_to_noise
        all_fits = [fits.fit(*truth.observed(noise, noise, seed)) for seed in range(repeat)]
        off, error, flags, told = (np.concatenate(parts) for parts in zip(*all_fits, strict=True))
        good = np.isfinite(off).all(axis=1)
        flagged = f"{np.mean(flags > 0):9.1%}{np.mean((flags & FitFlag.MODEL_MISMATCH) > 0):11.1%}"
        pulls = off / error
        if len(fits.names) > MANY:
            for what, which in (("all", np.ones_like(told)), ("told", told & (flags == 0)[:, None])):
                which = which & good[:, None]
                columns = [pull[own] for pull, own in zip(pulls.T, which.T, strict=True) if own.mean() >= ENOUGH]
                numbers = [[bias_and_width(one)[1] for one in columns], [one.std() for one in columns]]
                numbers.append([np.abs(one).max() for one in columns])
                beyond = (which & (np.abs(pulls) > LARGE)).any(axis=1).mean()
                said = "   ".join(extent(values) for values in numbers)
                print(f"{mode:24}{signal_to_noise:4d}  {what:6} {said}{beyond:9.2%}{flagged}", flush=True)
            continue
        cells = [
            f"{width:8.2f} / {pull.std():4.2f}" for width, pull in zip(widths(pulls[good]), pulls[good].T, strict=True)
        ]
        print(f"{mode:24}{signal_to_noise:4d}  {''.join(cells)}{flagged}")


def print_choice(mode: str, errors: LabelErrors, networks: PixelNetworks, settings: FitSettings, truth: Truth) -> None:
    """The log likelihoods that the cut of wild errors and the prior of correlations were chosen by."""
    flux, flux_error = truth.observed(FLUX_ERROR)
    fits = fit_spectra(networks, flux, flux_error, settings=settings)
    width = networks.scaler.width
    scaled = networks.scaler.scale(np.column_stack([fits[name] for name in networks.label_names]))
    off = scaled - networks.scaler.scale(truth.labels)
    formal = fits["covariance"] / width[:, None] / width
    for wild in WILDS:
        for prior in PRIORS:
            with patch.multiple(label_errors, WILD=wild, PRIOR_SPECTRA=prior):
                anew = replace(errors)  # nothing that was worked out with other constants
                correction, covariance = anew.correction(scaled, truth.rows), anew.covariance(scaled, truth.rows)
            left, total = off - correction, covariance + formal
            square = np.einsum("na,nab,nb->n", left, np.linalg.inv(total), left)
            likelihood = -0.5 * (square + np.linalg.slogdet(total)[1])
            halves = [likelihood[first::2].mean() for first in (0, 1)]
            chosen = "  chosen" if (wild, prior) == (label_errors.WILD, label_errors.PRIOR_SPECTRA) else ""
            print(f"{mode:24}{wild:6.1f}{prior:6.1f}{halves[0]:9.3f}{halves[1]:9.3f}{chosen}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network")
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz")
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--mode", choices=MODES)
    options = parser.parse_args()
    networks, grid = read_networks(options.network), read_grid(options.grid)
    cases = []
    for mode, settings in MODES.items():
        if options.mode not in (None, mode):
            continue
        truth = Truth(networks, grid, settings)
        errors = measure_label_errors(networks, grid, settings)
        cases.append((mode, settings, truth, errors, Calibrated(networks, settings, truth, errors, options.folds)))
    if options.choose:
        print(f"{'log likelihood':24}{'wild':>6}{'prior':>6}{'even':>9}{'odd':>9}")
        for mode, settings, truth, errors, _ in cases:
            print_choice(mode, errors, networks, settings, truth)
        return
    names = cases[-1][-1].names
    many = len(names) > MANY
    print("noiseless" if many else f"{'noiseless':36}robust width, largest: " + ", ".join(names))
    for mode, _, truth, _, fits in cases:
        print_accuracy(mode, fits, truth)
    columns = " which   robust width       standard deviation largest           beyond 5"
    columns = columns if many else "".join(f"{name:>15}" for name in names)
    print(f"\n{'pulls':24}{'S/N':>4} {columns}  flagged   mismatch")
    for mode, _, truth, _, fits in cases:
        print_pulls(mode, fits, truth, options.repeat)


if __name__ == "__main__":
    main()
