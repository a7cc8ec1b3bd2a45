"""How searches end, what is flagged and what a fit costs, from clean spectra to ones that tell hardly a label.

    python benchmarks/convergence.py NETWORK_FILE [GRID]

Spectra are the test set of the grid (default: resources/hband_grid.npz) with noise from a fixed seed; fits are of
labels alone, without label errors. Times are processor time of one core, through `payneflow.fit_spectra`.
"""

import sys
import time

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, LabelFlag
from payneflow.grid import TEST, read_grid

SIGNAL_TO_NOISE, SEED = (300, 100, 30, 10), 5


def main(network: str, grid: str = "resources/hband_grid.npz") -> None:
    networks, grid = read_networks(network), read_grid(grid)
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    clean = grid.flux[TEST][:, columns].astype(float)
    print(f"{len(clean)} spectra, {len(networks.wavelength)} pixels, {len(networks.x_min)} labels")
    fit_spectra(networks, clean[:1], 0.01)  # compile, or read the compiled code from disk
    for noise in SIGNAL_TO_NOISE:
        flux = clean + np.random.default_rng(SEED).normal(0, 1 / noise, clean.shape)
        begin = time.process_time()
        table = fit_spectra(networks, flux, 1 / noise)
        cost = (time.process_time() - begin) / len(flux) * 1e3
        passes, flags = np.asarray(table["iterations"]), np.asarray(table["flags"])
        print(f"\nS/N {noise}: {cost:.2f} ms; passes {passes.mean():.1f}, at most {passes.max()}; ", end="")
        print(f"{(flags > 0).mean():.1%} with a flag of the star: {said(flags, FitFlag)}")
        for name in networks.label_names:
            of_label = np.asarray(table[f"{name}_flags"])
            if of_label.any():
                print(f"  {name}: {said(of_label, LabelFlag)}")


def said(flags: np.ndarray, kinds) -> str:
    """Each flag that occurs, with the share of fits that have it."""
    shares = {flag.name: ((flags & flag) > 0).mean() for flag in kinds}
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share) or "none"


if __name__ == "__main__":
    main(*sys.argv[1:])
