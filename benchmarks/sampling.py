"""Are velocities honest where pixels are far apart? Networks of every 1st, 2nd and 4th pixel, which fits would refuse.

    python benchmarks/sampling.py NETWORK_FILE [GRID] [--steps 1,2,4]

The test spectra of the grid, with all their pixels, are moved by velocities within 20 km/s, get noise, and are fitted
with velocity and continuum by networks that are thinned. Label errors are measured twice: on stars at rest, and on
stars that are moved by known fractions of a pixel, as `payneflow calibrate` does it.

error      rms midway between pixels, and what is accepted, as shares of the flux
pulls      (fitted - true) / error of RV, robust width / standard deviation, and its median error; spectra that are
           flagged MODEL_MISMATCH
calibrate  processor time of measuring label errors; the first loads the kernels

About two minutes on one core.
"""

import argparse
import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from payneflow import PixelNetworks, fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, calibration, fit
from payneflow.fitting.moved_stars import known_velocities, moved_stars
from payneflow.fitting.sampling import sampling
from payneflow.grid import SpectralGrid, read_grid
from payneflow.statistics import bias_and_width
from payneflow.weights import PUBLISHED_KEYS

SETTINGS = FitSettings(velocity=True, continuum=4)
SIGNAL_TO_NOISE = (300, 100)
LARGEST_VELOCITY, SEED = 20.0, 3  # km/s


def thinned(networks: PixelNetworks, step: int) -> PixelNetworks:
    """Networks of every step-th pixel."""
    names = (*PUBLISHED_KEYS, "wavelength", "emulator_rms")
    return replace(networks, **{name: getattr(networks, name)[::step] for name in names})


def at_rest(n: int, *_) -> np.ndarray:
    return np.zeros(n)


def print_pulls(networks: PixelNetworks, grid: SpectralGrid, velocities, name: str) -> None:
    """Pulls of moved stars, with label errors measured on stars that have `velocities`."""
    rng, rows = np.random.default_rng(SEED), grid.split.test_rows
    with patch.object(calibration, "known_velocities", velocities):
        begin = time.process_time()
        errors = calibration.measure_label_errors(networks, grid, SETTINGS)
        seconds = time.process_time() - begin
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    velocity = rng.uniform(-LARGEST_VELOCITY, LARGEST_VELOCITY, len(rows))
    clean = moved_stars(grid.flux[rows].astype(float), grid.wavelength, velocity, columns)
    cells = []
    for signal_to_noise in SIGNAL_TO_NOISE:
        flux = clean + rng.normal(0, 1 / signal_to_noise, clean.shape)
        fits = fit_spectra(
            networks, flux, 1 / signal_to_noise, settings=SETTINGS, label_errors=errors, exclude=rows
        )  # fmt: skip
        pulls = np.asarray((fits["RV"] - velocity) / fits["RV_error"])
        pulls, error = pulls[np.isfinite(pulls)], np.nanmedian(fits["RV_error"])
        mismatch = np.mean((fits["flags"] & FitFlag.MODEL_MISMATCH) > 0)
        cells.append(f"{bias_and_width(pulls)[1]:8.2f} / {pulls.std():4.2f}{error:8.3f} km/s{mismatch:7.1%}")
    print(f"{name:28}{''.join(cells)}{seconds:10.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network")
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz")
    parser.add_argument("--steps", default="1,2,4")
    options = parser.parse_args()
    networks, grid = read_networks(options.network), read_grid(options.grid)
    print(
        f"{'label errors of stars':28}"
        + "".join(f"{f'pulls at S/N {one}':>34}" for one in SIGNAL_TO_NOISE)
        + " calibrate"
    )
    for step in map(int, options.steps.split(",")):
        mean = grid.flux[:].mean(axis=0, dtype=float)[::step]
        found = sampling(grid.wavelength[::step], mean)
        print(f"every {step}. pixel: error {found.error:.3%}, accepted {found.accepted(1.0):.3%}")
        some = thinned(networks, step)
        with patch.object(fit, "check_sampling", lambda *_: None):
            print_pulls(some, grid, at_rest, "  at rest")
            print_pulls(some, grid, known_velocities, "  moved")


if __name__ == "__main__":
    main()
