"""How near label errors must be to the resolution of spectra: pulls of noiseless fits at one R, with those of another.

    python benchmarks/near_resolution.py NETWORK_FILE [GRID]

Fits with velocity and a continuum of four terms of the grid's held-back spectra (default: resources/hband_grid.npz),
whose R is taken to be 22 500, broadened to each R. No spectrum takes part in its own label errors. A pull is what these
leave of a label, over its error; there is no photon noise, which hides most of it in stars.
"""

import sys
from dataclasses import replace

import numpy as np

from payneflow import read_networks
from payneflow.fitting import FitSettings
from payneflow.fitting.calibration import measure_label_errors

GRID_R = 22500.0
SETTINGS = FitSettings(velocity=True, continuum=4, grid_resolution=GRID_R)
PAIRS = {  # R of the label errors: those of the spectra
    10000.0: (9500.0, 10500.0, 12000.0, 15000.0, 22500.0),
    20000.0: (18000.0, 19000.0, 20000.0, 21000.0, 22000.0),
    22500.0: (18000.0, 21400.0, 22000.0, 22500.0),
}


def main(network: str, grid_file: str = "resources/hband_grid.npz") -> None:
    networks = read_networks(network)
    grid = networks.read_grid(grid_file)
    every = sorted({one for pair in PAIRS.items() for one in (pair[0], *pair[1])})
    at = {
        one: measure_label_errors(networks, grid, replace(SETTINGS, resolution=one * (one < GRID_R))) for one in every
    }
    names = " ".join(f"{name:>12}" for name in (*networks.label_names, "RV"))
    print(f"{'label errors':>12} {'spectra':>8}  robust width / standard deviation of pulls\n{'':21} {names}")
    for known, others in PAIRS.items():
        for other in others:
            stars = at[other]
            held = np.flatnonzero(stars.held_back)
            correction, covariance = at[known].estimate(stars.fitted[held], stars.rows[held])
            pull = (stars.errors[held] - correction) / np.sqrt(np.einsum("nii->ni", covariance))
            robust, standard = 1.4826 * np.median(np.abs(pull), axis=0), pull.std(axis=0)
            said = " ".join(f"{f'{a:.2f} / {b:.2f}':>12}" for a, b in zip(robust, standard, strict=True))
            print(f"{known:12.0f} {other:8.0f}  {said}")


if __name__ == "__main__":
    main(*sys.argv[1:])
