"""Are calibrated errors what they say in every mode? Pulls with broadened lines, less resolution, other axes, pieces.

    python benchmarks/calibrated_modes.py NETWORK_FILE [GRID] [--mode vsini] [--every 1] [--repeat 2]

Each mode is calibrated, and fits the test set of the grid (default: resources/hband_grid.npz) with its label errors. No
spectrum takes part in its own: fits leave it out, stars in pieces are fitted by FOLDS with those of the other folds.
Stars have vsini within 60 and vmac within 12 km/s, velocities within 100 km/s, a continuum, and noise. They are
broadened on an axis FINE times finer than the grid's, by the integrals of the profiles, which is no part of the fit.

Each cell is robust width / standard deviation, bias of pull = (fitted - true) / error. Pulls of a width are those of
its square, which is what a spectrum tells: of stars whose true square is SURE errors of it above 0, the error being
that of a fit without noise, because noise that lowers a width alters its error as well. `limits`: how many of the
others are upper limits, and how many of these hold. Not taken: FAILED, counted as `lost`.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table, vstack
from label_errors import random_continua
from scipy.interpolate import make_interp_spline
from scipy.special import erf, erfc

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, LabelFlag, Pieces, fit_stars
from payneflow.fitting.calibration import measure_label_errors
from payneflow.grid import TEST, read_grid
from payneflow.statistics import bias_and_width
from payneflow.wavelength import segments

C_KM_S, FWHM = 299792.458, 2.0 * np.sqrt(2.0 * np.log(2.0))
SIGNAL_TO_NOISE = (30, 100, 300)
FASTEST, MOST = 100.0, {"vsini": 60.0, "vmac": 12.0}  # km/s
FINE, DEGREE, MARGIN = 12, 9, 8  # of the spline through the grid's pixels; pixels at either end that it does not know
SURE, FOLDS, VISITS, SEED = 3.0, 4, 3, 7
PLAIN = FitSettings(velocity=True, continuum=4)


@dataclass(frozen=True)
class Mode:
    """What is fitted; `step`: pixels of the data, in those of the networks; `velocity` of stars in three pieces."""

    settings: FitSettings
    step: float = 1.0
    velocity: str = ""


def modes(grid_resolution: float) -> dict[str, Mode]:
    half = {"resolution": grid_resolution / 2, "grid_resolution": grid_resolution}
    return {
        "vsini": Mode(replace(PLAIN, vsini=True)),
        "vmac": Mode(replace(PLAIN, vmac=True)),
        "vsini, vmac": Mode(replace(PLAIN, vsini=True, vmac=True)),
        "half R": Mode(replace(PLAIN, **half)),
        "coarser axis": Mode(PLAIN, 1.3),
        "finer axis": Mode(PLAIN, 1 / 1.3),
        "pieces, common": Mode(PLAIN, velocity="common"),
        "pieces, each": Mode(PLAIN, velocity="each"),
    }


def of_rotation(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Share of Gray's rotation profile below x, in units of vsini (2005, equation 18.14)."""
    x = np.clip(x, -1.0, 1.0)
    root = np.sqrt(1.0 - x**2)
    integral = (1.0 - epsilon) * (x * root + np.arcsin(x)) + 0.5 * np.pi * epsilon * (x - x**3 / 3.0)
    return 0.5 + integral / (np.pi * (1.0 - epsilon / 3.0))


def of_macroturbulence(x: np.ndarray) -> np.ndarray:
    """The same of the radial-tangential profile over the disk, in units of vmac (2005, equation 17.15)."""
    y = np.abs(x)
    above = 0.5 * erfc(y) - y * np.exp(-(y**2)) / np.sqrt(np.pi) + y**2 * erfc(y)
    return np.where(x > 0.0, 1.0 - above, above)


def of_gaussian(x: np.ndarray) -> np.ndarray:
    """The same of a Gaussian, in units of its sigma."""
    return 0.5 + 0.5 * erf(x / np.sqrt(2.0))


def profile(below, width: float, end: float) -> np.ndarray:
    """Shares of pixels on either side of the middle, for a width in pixels, to `end` widths away; nothing for 0."""
    m = int(np.ceil(end * width)) + 1
    return np.diff(below((np.arange(-m, m + 2) - 0.5) / max(width, 1e-6)))


class Truth:
    """Test stars of one mode, without noise, on `wavelength` (n_data,): flux, continuum (n, n_data), and parameters."""

    def __init__(self, networks, grid, mode: Mode, every: int, n_piece: int):
        rng, self.settings = np.random.default_rng(SEED), mode.settings
        self.rows = np.arange(len(grid.labels))[TEST][::every]
        self.labels, n = grid.labels[self.rows], len(self.rows)
        self.wavelength = networks.wavelength if mode.step == 1.0 else self.other_axis(networks.wavelength, mode.step)
        self.widths = {name: MOST[name] * rng.uniform(0, 1, n) for name in MOST if getattr(mode.settings, name)}
        self.star = np.repeat(np.arange(n), n_piece)
        own = rng.uniform(-FASTEST, FASTEST, n)[self.star]
        self.velocity = own + (rng.normal(0.0, 5.0, len(own)) if mode.velocity == "each" else 0.0)
        self.flux = np.full((len(own), len(self.wavelength)), np.nan)
        self.continuum = np.ones(self.flux.shape)
        for first, stop in segments(grid.wavelength):
            part = slice(*np.searchsorted(self.wavelength, grid.wavelength[[first, stop - 1]]))
            self.continuum[:, part] = random_continua(rng, len(own), self.wavelength[part])
            for i in range(n):
                pieces = np.flatnonzero(self.star == i)
                given = np.asarray(grid.flux[self.rows[i], first:stop], dtype=float)
                widths = {name: values[i] for name, values in self.widths.items()}
                light, log, step = self.light(given, np.log(grid.wavelength[first:stop]), widths)
                places = np.log(self.wavelength[part]) - np.arctanh(self.velocity[pieces, None] / C_KM_S) - log
                places /= step
                inside = (places >= MARGIN) & (places <= stop - first - 1 - MARGIN)
                self.flux[pieces, part] = np.where(inside, light(places), np.nan)

    @staticmethod
    def other_axis(wavelength: np.ndarray, pixels: float) -> np.ndarray:
        """Even in ln(wavelength), each segment for itself, beginning a third of a pixel after it."""
        parts = []
        for first, stop in segments(wavelength):
            log = np.log(wavelength[first:stop])
            step = (log[-1] - log[0]) / (len(log) - 1)
            parts.append(np.exp(np.arange(log[0] + step / 3, log[-1], pixels * step)))
        return np.concatenate(parts)

    def light(self, flux: np.ndarray, log: np.ndarray, widths: dict[str, float]):
        """The broadened flux (n,) of a segment as a function of pixels after its first one, ln of that, and a step."""
        step = (log[-1] - log[0]) / (len(log) - 1)
        pixels, settings = np.arange(len(flux)), self.settings
        fine = make_interp_spline(pixels, flux, k=DEGREE)(np.arange((len(flux) - 1) * FINE + 1) / FINE)
        size = C_KM_S * step / FINE  # km/s
        shapes = []
        if widths.get("vsini", 0.0):
            shapes.append((lambda x: of_rotation(x, settings.epsilon), widths["vsini"] / size, 1.0))
        if widths.get("vmac", 0.0):
            shapes.append((of_macroturbulence, widths["vmac"] / size, 3.5))
        if settings.resolution:
            square = settings.resolution**-2 - settings.grid_resolution**-2
            shapes.append((of_gaussian, C_KM_S * np.sqrt(square) / FWHM / size, 5.0))
        for shape in shapes:
            kernel = profile(*shape)
            fine = np.convolve(np.pad(fine, len(kernel) // 2, mode="edge"), kernel, mode="valid")
        curve = make_interp_spline(np.arange(len(fine)) / FINE, fine, k=5)
        return curve, log[0], step

    def observed(self, signal_to_noise: float, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Flux with noise, and its errors; without noise where `seed` is None."""
        if seed is None:
            return self.continuum * self.flux, self.continuum / signal_to_noise
        noise = np.random.default_rng((SEED, seed, int(signal_to_noise))).normal(size=self.flux.shape) / signal_to_noise
        return self.continuum * (self.flux + noise), self.continuum / signal_to_noise


@dataclass
class Fitted:
    """Tables of stars; velocities and errors (n_piece,) beside them."""

    stars: Table
    velocity: np.ndarray
    velocity_error: np.ndarray


def fitted(networks, mode: Mode, truth: Truth, label_errors, flux, error) -> Fitted:
    """Stars with label errors in which none of them has part."""
    if not mode.velocity:
        settings = replace(mode.settings, pairs=False)
        axis = None if mode.step == 1.0 else truth.wavelength
        given = {"settings": settings, "label_errors": label_errors, "exclude": truth.rows}
        stars = fit_spectra(networks, flux, error, axis, **given)
        return Fitted(stars, np.asarray(stars["RV"]), np.asarray(stars["RV_error"]))
    error = np.where(np.isfinite(flux), error, np.inf)
    fold, tables, pieces = np.arange(len(truth.rows)) % FOLDS, [], []
    for k in range(FOLDS):
        own = fold[truth.star] == k
        others = label_errors.without(truth.rows[fold == k])
        part = Pieces(networks, flux[own], error[own], truth.star[own], label_errors=others)
        for into, table in zip(
            (tables, pieces), fit_stars([part], settings=mode.settings, velocity=mode.velocity), strict=True
        ):
            into.append(table)
    stars = vstack(tables, metadata_conflicts="silent")
    stars = stars[np.argsort(stars["identifier"])]
    if mode.velocity == "common":
        return Fitted(stars, np.asarray(stars["RV"]), np.asarray(stars["RV_error"]))
    seen = vstack(pieces, metadata_conflicts="silent")
    seen = seen[np.argsort(seen["identifier"], kind="stable")]
    return Fitted(stars, np.asarray(seen["RV"]), np.asarray(seen["RV_error"]))


def of_square(table: Table, name: str, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pulls (n,) of the square of a width, its error, and whether it is a limit, and the limit holds."""
    value, error, limit = (np.asarray(table[f"{name}{end}"]) for end in ("", "_error", "_limit"))
    limited = (np.asarray(table[f"{name}_flags"]) & LabelFlag.UPPER_LIMIT) > 0
    of_square = np.where(limited, (value + error) ** 2 - value**2, 2.0 * value * error)
    pull = (value**2 - true**2) / of_square
    return pull, of_square, limited, limited & (limit >= true)


def print_pulls(networks, name: str, mode: Mode, truth: Truth, label_errors, signal_to_noise: float, repeat: int):
    pulls, limits, lost, surely = {}, dict.fromkeys(truth.widths, np.zeros(3)), 0, {}
    if truth.widths:
        noiseless = fitted(networks, mode, truth, label_errors, *truth.observed(signal_to_noise, None)).stars
        surely = {w: true**2 > SURE * of_square(noiseless, w, true)[1] for w, true in truth.widths.items()}
    for seed in range(repeat):
        fits = fitted(networks, mode, truth, label_errors, *truth.observed(signal_to_noise, seed))
        table = fits.stars
        lost += int(((np.asarray(table["flags"]) & FitFlag.FAILED) > 0).sum())
        for j, label in enumerate(networks.label_names):
            pulls.setdefault(label, []).append((table[label] - truth.labels[:, j]) / table[f"{label}_error"])
        velocity = truth.velocity[:: VISITS if mode.velocity == "common" else 1]
        pulls.setdefault("RV", []).append((fits.velocity - velocity) / fits.velocity_error)
        for width, true in truth.widths.items():
            pull, _, limited, holds = of_square(table, width, true)
            sure = surely[width]
            pulls.setdefault(width, []).append(pull[sure])
            limits[width] = limits[width] + [(~sure).sum(), limited[~sure].sum(), (holds & ~sure).sum()]
    said = ""
    for what, parts in pulls.items():
        every = np.concatenate([np.asarray(part, dtype=float) for part in parts])
        every = every[np.isfinite(every)]
        said += f"  {what} {bias_and_width(every)[1]:.2f}/{every.std():.2f},{np.median(every):+.2f}"
    for width, (n, limited, holds) in limits.items():
        said += f"  {width}: {limited:.0f} of {n:.0f} limits, {holds:.0f} hold"
    print(f"{name:<15}{signal_to_noise:4}{said}" + (f"  lost {lost}" if lost else ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network")
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz")
    parser.add_argument("--mode", action="append", help="one of these alone")
    parser.add_argument("--every", type=int, default=1, help="fit one of so many test spectra")
    parser.add_argument("--repeat", type=int, default=2, help="noises of every spectrum")
    parser.add_argument("--grid-resolution", type=float, default=22500.0)
    given = parser.parse_args()
    networks, grid = read_networks(given.network), read_grid(given.grid)
    measured: dict = {}
    print("pulls: robust width / standard deviation, bias (median)")
    for name, mode in modes(given.grid_resolution).items():
        if given.mode and name not in given.mode:
            continue
        if mode.settings not in [settings for settings, _ in measured.values()]:
            measured[name] = mode.settings, measure_label_errors(networks, grid, mode.settings)
        label_errors = next(errors for settings, errors in measured.values() if settings == mode.settings)
        truth = Truth(networks, grid, mode, given.every, VISITS if mode.velocity else 1)
        for signal_to_noise in SIGNAL_TO_NOISE:
            print_pulls(networks, name, mode, truth, label_errors, signal_to_noise, given.repeat)


if __name__ == "__main__":
    main()
