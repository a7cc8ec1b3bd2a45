"""Stars that no label describes, simulated from the test set of a grid: are they flagged, and do their errors cover it?

    python benchmarks/mismatch.py results/neural_network.npz [--grid resources/hband_grid.npz] [--mode everything]

One line for each kind of mismatch and S/N; no spectrum takes part in its own label errors. `> 3`: share of fits whose
largest error of a label is beyond three of the quoted ones, and the share of these that carry a flag. `flagged`: share
with MODEL_MISMATCH, and the 90th percentile of their largest |pull|. `not flagged`: 99th percentile of |pull|. The last
lines: good stars with outliers, robust width of the pulls of each label.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import convolve1d

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.calibration import measure_label_errors
from payneflow.grid import read_grid
from payneflow.wavelength import segments

C_KM_S = 299792.458
SIGNAL_TO_NOISE = (20, 50, 100, 200, 300)
MODES = {"labels": FitSettings(), "everything": FitSettings(velocity=True, continuum=4)}


class Sky:
    """Changes to normalised spectra (n, n_pixel) on the wavelengths of a grid, segment by segment."""

    def __init__(self, wavelength: np.ndarray):
        self.wavelength, self.parts = wavelength, [slice(*pair) for pair in segments(wavelength)]
        self.step = C_KM_S * np.median(np.diff(np.log(wavelength)))  # km/s a pixel

    def moved(self, flux: np.ndarray, velocity: float) -> np.ndarray:
        """One spectrum at another velocity, linearly interpolated: a companion's light needs no better."""
        result = flux.copy()
        for part in self.parts:
            own = self.wavelength[part]
            result[part] = np.interp(own, own * (1 + velocity / C_KM_S), flux[part])
        return result

    def convolved(self, flux: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        result = flux.copy()
        for part in self.parts:
            result[..., part] = convolve1d(flux[..., part], kernel / kernel.sum(), axis=-1, mode="nearest")
        return result

    def broadened(self, flux: np.ndarray, sigma: float) -> np.ndarray:
        """With a Gaussian of `sigma` km/s."""
        reach = int(np.ceil(5 * sigma / self.step))
        return self.convolved(flux, np.exp(-0.5 * (np.arange(-reach, reach + 1) * self.step / sigma) ** 2))

    def rotating(self, flux: np.ndarray, vsini: float, epsilon: float = 0.6) -> np.ndarray:
        """With Gray's profile (2005, The Observation and Analysis of Stellar Photospheres, equation 18.14)."""
        fine, reach = 21, int(np.ceil(vsini / self.step)) + 1
        place = (np.arange((2 * reach + 1) * fine) - (2 * reach + 1) * fine // 2) / fine
        inside = np.clip(1 - (place * self.step / vsini) ** 2, 0, None)
        profile = 2 * (1 - epsilon) * np.sqrt(inside) + np.pi * epsilon / 2 * inside
        return self.convolved(flux, profile.reshape(-1, fine).sum(axis=1))


def good(sky, flux, rng):
    return flux, 1.0


def companion(sky, flux, rng):
    """5 to 30 % of the light, 10 to 150 km/s away."""
    others = flux[rng.permutation(len(flux))]
    share = rng.choice([0.05, 0.1, 0.2, 0.3], len(flux))
    velocity = rng.choice([10, 20, 40, 80, 150], len(flux)) * rng.choice([-1, 1], len(flux))
    moved = np.array([sky.moved(*pair) for pair in zip(others, velocity, strict=True)])
    return (1 - share[:, None]) * flux + share[:, None] * moved, 1.0


def rotation(sky, flux, rng):
    """3 to 40 km/s."""
    return np.array([sky.rotating(one, rng.choice([3, 5, 8, 12, 20, 40])) for one in flux]), 1.0


def broadening(sky, flux, rng):
    """A Gaussian of 2 to 12 km/s."""
    return np.array([sky.broadened(one, rng.choice([2, 4, 6, 8, 12])) for one in flux]), 1.0


def level(sky, flux, rng):
    """A continuum 0.25 to 2 % too high or too low."""
    size = rng.choice([0.0025, 0.005, 0.01, 0.02], (len(flux), 1)) * rng.choice([-1, 1], (len(flux), 1))
    return flux * (1 + size), 1.0


def waves(sky, flux, rng):
    """A continuum off by a random polynomial of seventh degree, 0.25 to 2 % rms."""
    place = np.linspace(-1, 1, flux.shape[1])
    wave = np.polynomial.chebyshev.chebval(place, rng.normal(size=(8, len(flux))))
    size = rng.choice([0.0025, 0.005, 0.01, 0.02], (len(flux), 1))
    return flux * (1 + size * wave / wave.std(axis=1, keepdims=True)), 1.0


def errors(sky, flux, rng):
    """Errors 1.1 to 2 times too small."""
    return flux, rng.choice([1.1, 1.2, 1.4, 1.6, 2.0], (len(flux), 1))


def cosmic_rays(sky, flux, rng):
    """In one of a hundred pixels, 0.3 to 3 of the continuum."""
    for one in flux:
        hit = rng.choice(len(one), len(one) // 100, replace=False)
        one[hit] += rng.uniform(0.3, 3.0, len(hit))
    return flux, 1.0


def dead_columns(sky, flux, rng):
    """Four columns of three pixels without flux."""
    for one in flux:
        for first in rng.integers(0, len(one) - 3, 4):
            one[first : first + 3] = 0.0
    return flux, 1.0


MISMATCHES = (good, companion, rotation, broadening, level, waves, errors)
OUTLIERS = (cosmic_rays, dead_columns)


def fitted(networks, grid, settings, label_errors, change, signal_to_noise, rng):
    """The table of fits of the changed test spectra, and the pulls (n, n_label) of their labels."""
    rows = np.flatnonzero(~grid.split.trains)
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    flux, wider = change(Sky(networks.wavelength), np.array(grid.flux[rows][:, columns], dtype=float), rng)
    sigma = 1.0 / signal_to_noise
    flux = flux + rng.normal(0.0, sigma, flux.shape) * wider
    table = fit_spectra(networks, flux, sigma, settings=settings, label_errors=label_errors, exclude=rows)
    pulls = [
        (table[name] - grid.labels[rows, j]) / table[f"{name}_error"] for j, name in enumerate(networks.label_names)
    ]
    return table, np.abs(np.column_stack(pulls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--grid", type=Path, default=Path("resources/hband_grid.npz"))
    parser.add_argument("--mode", choices=list(MODES), default="labels")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    networks, grid, settings = read_networks(given.network), read_grid(given.grid), MODES[given.mode]
    label_errors, rng = measure_label_errors(networks, grid, settings), np.random.default_rng(given.seed)
    beyond = flagged_beyond = 0
    print(f"{'':14}{'S/N':>4}{'> 3':>8}{'of these flagged':>18}{'flagged':>9}{'p90':>6}{'not flagged: p99':>18}")
    for change in MISMATCHES:
        for signal_to_noise in SIGNAL_TO_NOISE:
            table, pulls = fitted(networks, grid, settings, label_errors, change, signal_to_noise, rng)
            largest, flags = pulls.max(axis=1), np.asarray(table["flags"])
            mismatch, bad = (flags & FitFlag.MODEL_MISMATCH) > 0, largest > 3
            if change is not good:
                beyond, flagged_beyond = beyond + bad.sum(), flagged_beyond + (bad & (flags > 0)).sum()
            share = f"{(flags[bad] > 0).mean():.0%}" if bad.any() else ""
            p90 = f"{np.quantile(largest[mismatch], 0.9):.1f}" if mismatch.any() else ""
            p99 = f"{np.quantile(pulls[~mismatch], 0.99):.1f}" if not mismatch.all() else ""
            print(
                f"{change.__name__:14}{signal_to_noise:4d}{bad.mean():8.1%}{share:>18}{mismatch.mean():9.1%}{p90:>6}{p99:>18}",
                flush=True,
            )
    print(f"beyond 3 quoted errors, all kinds: {beyond}, of which {flagged_beyond / max(beyond, 1):.1%} carry a flag")
    for change in OUTLIERS:
        for signal_to_noise in (30, 100, 300):
            table, pulls = fitted(networks, grid, settings, label_errors, change, signal_to_noise, rng)
            widths = " ".join(f"{width:.2f}" for width in 1.4826 * np.median(pulls, axis=0))
            found = np.median(table["n_outlier"])
            print(f"{change.__name__:14}{signal_to_noise:4d}  robust widths of pulls {widths}; outliers {found:.0f}")


if __name__ == "__main__":
    main()
