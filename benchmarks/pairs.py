"""Two stars in one spectrum: which are found, how well their velocities are known, and what single stars are taken so.

    python benchmarks/pairs.py results/neural_network.npz [--grid resources/hband_grid.npz] [--part 1] [--pairs 600]

Pairs and single stars are made from one half of the test spectra of the grid (--part 0: the even ones, by which the
thresholds of fitting/pairs.py were chosen; 1: the odd ones), each star with its own velocity within 150 km/s, a
continuum, and noise of S/N 50, 100 or 200; velocity and continuum are fitted, with label errors. Last: milliseconds.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from mismatch import Sky, cosmic_rays, dead_columns, waves

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.calibration import measure_label_errors
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.moved_stars import moved_stars
from payneflow.fitting.quality import quality_of
from payneflow.grid import read_grid
from payneflow.statistics import bias_and_width
from payneflow.wavelength import segments

SETTINGS = FitSettings(velocity=True, continuum=4)
SIGNAL_TO_NOISE = (50, 100, 200)
SEPARATIONS = (10, 20, 40, 80, 200)
RATIOS = (0.05, 0.1, 0.2, 0.5, 1.0)
FASTEST = 150.0  # km/s
TARGET = 20.0, 0.1  # km/s and ratio, beyond which pairs are to be found: 1.5 resolution elements
ROUNDS = 5


class Stars:
    """Spectra of one half of the test set, observed."""

    def __init__(self, networks, grid, part: int, seed: int):
        self.rows = np.flatnonzero(~grid.split.trains)[part::2]
        self.columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
        self.grid, self.sky, self.rng = grid, Sky(grid.wavelength), np.random.default_rng(seed)

    def draw(self, n: int) -> np.ndarray:
        """Rows (n,) of the grid, each as often as the others, but for one."""
        return self.rng.permutation(np.resize(self.rng.permutation(self.rows), n))

    def seen(self, flux: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Spectra (n, n_pixel) at velocities (n,)."""
        moved = [
            moved_stars(one[None], self.grid.wavelength, np.array([v]), self.columns)[0]
            for one, v in zip(flux, velocity, strict=True)
        ]
        return np.array(moved)

    def observed(self, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flux with continua and noise, its errors, S/N (n,)."""
        n, wavelength = len(flux), self.grid.wavelength[self.columns]
        signal_to_noise = self.rng.choice(SIGNAL_TO_NOISE, n)
        level = np.empty(flux.shape)
        for first, stop in segments(wavelength):
            own = wavelength[first:stop]
            bent = self.rng.normal(0.0, 0.05, (n, 4))
            bent[:, 0] += 1.0
            unit = 2.0 * (own - own[0]) / (own[-1] - own[0]) - 1.0
            level[:, first:stop] = np.polynomial.chebyshev.chebval(unit, bent.T)
        error = np.repeat(1.0 / signal_to_noise[:, None], flux.shape[1], axis=1)
        return flux * level + self.rng.normal(size=flux.shape) * error, error, signal_to_noise

    def velocities(self, n: int) -> np.ndarray:
        return self.rng.uniform(-FASTEST, FASTEST, n)


def evenly_in_logarithm(rng, least: float, most: float, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(least), np.log(most), n))


def double_lined(table) -> np.ndarray:
    return (np.asarray(table["flags"]) & FitFlag.DOUBLE_LINED) > 0


def pairs(networks, stars: Stars, label_errors, n: int) -> None:
    """The share that is found, and velocities and ratios of those."""
    one, other, rng = stars.draw(n), stars.draw(n), stars.rng
    velocity, ratio = stars.velocities(n), evenly_in_logarithm(rng, RATIOS[0], RATIOS[-1], n)
    separation = evenly_in_logarithm(rng, SEPARATIONS[0], SEPARATIONS[-1], n)
    second = velocity + separation * rng.choice([-1, 1], n)
    flux = [stars.seen(np.asarray(stars.grid.flux[rows], float), v) for rows, v in ((one, velocity), (other, second))]
    flux, error, signal_to_noise = stars.observed((flux[0] + ratio[:, None] * flux[1]) / (1.0 + ratio[:, None]))
    table = fit_spectra(networks, flux, error, settings=SETTINGS, label_errors=label_errors)
    found = double_lined(table)
    print(f"{'found of pairs, S/N':22}" + "".join(f"{one:>15}" for one in SIGNAL_TO_NOISE))
    for least, most in pairwise(SEPARATIONS):
        for low, high in pairwise(RATIOS):
            here = (separation >= least) & (separation < most) & (ratio >= low) & (ratio < high)
            cells = [share(found[here & (signal_to_noise == one)]) for one in SIGNAL_TO_NOISE]
            print(f"{least:>4}-{most:<4} km/s {low:.2f}-{high:<5.2f}" + "".join(f"{cell:>15}" for cell in cells))
    target = (separation > TARGET[0]) & (ratio > TARGET[1])
    beyond = f"beyond {TARGET[0]:g} km/s and a ratio of {TARGET[1]:g}"
    print(f"{beyond}: {share(found[target])}; the others {share(found[~target])}")
    good = found & target
    for name, truth in (("RV1", velocity), ("RV2", second), ("light_ratio", ratio)):
        off = np.asarray(table[name])[good] - truth[good]
        bias, width = bias_and_width(off)
        pull = bias_and_width(off / np.asarray(table[f"{name}_error"])[good])
        print(
            f"  {name:12} bias {bias:.3g}, width {width:.3g}, 95 % within {np.quantile(np.abs(off), 0.95):.3g}; ",
            end="",
        )
        print(f"pulls {pull[0]:.2f}, {pull[1]:.2f}")


def share(found: np.ndarray) -> str:
    return f"{found.mean():.1%} of {len(found)}" if len(found) else "none"


def rotation(sky, flux, rng):
    """3 to 60 km/s."""
    return np.array([sky.rotating(one, rng.uniform(3, 60)) for one in flux]), 1.0


def blur(sky, flux, rng):
    """A Gaussian of 1 to 12 km/s."""
    return np.array([sky.broadened(one, rng.uniform(1, 12)) for one in flux]), 1.0


def ripples(sky, flux, rng):
    """A continuum in 3 to 30 waves of 0.25 to 2 %."""
    size = rng.choice([0.0025, 0.005, 0.01, 0.02], (len(flux), 1))
    phase = np.linspace(0, 2 * np.pi, flux.shape[1]) * rng.uniform(3, 30, (len(flux), 1))
    return flux * (1 + size * np.sin(phase + rng.uniform(0, 2 * np.pi, (len(flux), 1)))), 1.0


def veil(sky, flux, rng):
    """2 to 25 % of light without lines."""
    part = rng.uniform(0.02, 0.25, (len(flux), 1))
    return (1 - part) * flux + part, 1.0


def good(sky, flux, rng):
    return flux, 1.0


OF_STARS, OF_DATA = (good, rotation, blur, veil, waves, ripples), (cosmic_rays, dead_columns)


def single_stars(networks, stars: Stars, label_errors, n: int) -> None:
    """The share of single stars that is taken for pairs."""
    every = []
    for change in (*OF_STARS, *OF_DATA):
        rows = stars.draw(n)
        flux = np.asarray(stars.grid.flux[rows], float)
        if change in OF_STARS:
            flux = change(stars.sky, flux, stars.rng)[0]
        flux, error, _ = stars.observed(stars.seen(flux, stars.velocities(n)))
        if change in OF_DATA:
            flux = change(stars.sky, flux, stars.rng)[0]
        table = fit_spectra(networks, flux, error, settings=SETTINGS, label_errors=label_errors, exclude=rows)
        every.append(double_lined(table))
        print(f"{change.__name__:14} taken for two: {share(every[-1])}", flush=True)
    print(f"all            taken for two: {share(np.concatenate(every))}")


def cost(networks, stars: Stars, label_errors, n: int) -> None:
    """What the question costs stars that are good, and pairs; fits with and without it take turns."""
    rows = stars.draw(n)
    flux, error, _ = stars.observed(stars.seen(np.asarray(stars.grid.flux[rows], float), stars.velocities(n)))
    ways = {
        "without": lambda: quality_of(
            networks, SETTINGS, search_spectra(networks, flux, error, settings=SETTINGS), label_errors, rows
        ),
        "with": lambda: fit_spectra(networks, flux, error, settings=SETTINGS, label_errors=label_errors, exclude=rows),
    }
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            times[name].append((time.process_time() - begin) / n * 1e3)
    without, both = (min(times[name]) for name in ("without", "with"))
    print(f"{n} good stars: {without:.3f} ms a fit, {both:.3f} ms with the question, {both / without - 1:.1%} more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--grid", type=Path, default=Path("resources/hband_grid.npz"))
    parser.add_argument("--part", type=int, choices=(0, 1), default=1)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--singles", type=int, default=300, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    networks, grid = read_networks(given.network), read_grid(given.grid)
    label_errors = measure_label_errors(networks, grid, SETTINGS)
    stars = Stars(networks, grid, given.part, given.seed)
    if given.pairs:
        pairs(networks, stars, label_errors, given.pairs)
    if given.singles:
        single_stars(networks, stars, label_errors, given.singles)
    cost(networks, stars, label_errors, 1000)


if __name__ == "__main__":
    main()
