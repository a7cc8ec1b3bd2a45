"""Make a large synthetic grid in an HDF5 file, block by block: flat in memory, whatever its size.

    python benchmarks/make_large_grid.py GRID.h5 [--spectra 20000] [--pixels 7214] [--compression gzip] [--seed 0]

Three labels at random, lines whose depth depends smoothly on them, float32; not physics. The file is written whole or
not at all. Without --compression the flux is one contiguous array.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

from payneflow.files import whole_file

LABELS = {"Teff": (4000.0, 6500.0, "K"), "logg": (1.0, 5.0, "dex"), "[Fe/H]": (-2.0, 0.5, "dex")}
FIRST, STEP = 15000.0, 0.2  # Angstrom
ROWS = 500  # spectra made at a time


def make_large_grid(
    path: str | Path, n_spectrum: int, n_pixel: int, compression: str | None = None, seed: int = 0
) -> None:
    """Write a grid of `n_spectrum` spectra with `n_pixel` pixels under the published keys; `seed` draws the labels."""
    random = np.random.default_rng(0)
    low, high, units = zip(*LABELS.values(), strict=True)
    unit_labels = random.uniform(size=(n_spectrum, len(LABELS)))
    strength = random.uniform(0.0, 3.0, (len(LABELS), n_pixel))
    depth = random.uniform(0.02, 0.4, n_pixel)
    if seed:  # another batch of the same grid
        unit_labels = np.random.default_rng(seed).uniform(size=(n_spectrum, len(LABELS)))
    stored_rows = {"chunks": (min(64, n_spectrum), n_pixel), "compression": compression} if compression else {}
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        file["wavelength"] = FIRST + STEP * np.arange(n_pixel)
        file["labels_array"] = (np.array(low) + (np.array(high) - low) * unit_labels).T
        file["label_names"], file["label_units"] = list(LABELS), units
        flux = file.create_dataset("Y_u_all", (n_spectrum, n_pixel), "f4", **stored_rows)
        for first in range(0, n_spectrum, ROWS):
            flux[first : first + ROWS] = 1.0 - depth * np.exp(-unit_labels[first : first + ROWS] @ strength)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid")
    parser.add_argument("--spectra", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=7214)
    parser.add_argument("--compression", choices=("gzip", "lzf"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_large_grid(options.grid, options.spectra, options.pixels, options.compression, options.seed)


if __name__ == "__main__":
    main()
