"""How wild networks of noisy spectra are, against kriging: the demonstration grid with noise, or without a label.

    python benchmarks/noise.py [--grid resources/hband_grid.npz] [--pixels 256]

Prints, for each grid, with the floor (training/lm/floor.py) and without: rms of the error on the test spectra as they
are, noise included; how many times that of kriging a pixel's rms error and its largest error are, in the median pixel
and in the worst; ms of one core and iterations a pixel. Kriging has each pixel's own nugget, so it is no straw man.
"""

import argparse
from dataclasses import replace

import numpy as np
from trainers import Case, measure, random_pixels, read_case

from payneflow.kriging import kriging_matrix
from payneflow.settings import LmSettings
from payneflow.training.lm.floor import Floor
from payneflow.training.lm.preparation import Preparation
from payneflow.training.trainers import prepare

NOISE = 0.001, 0.003, 0.01, 0.03  # standard deviations, in normalised flux
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="resources/hband_grid.npz")
    parser.add_argument("--pixels", type=int, default=256, help="random ones (default: %(default)s)")
    options = parser.parse_args()
    clean = read_case(options.grid, 0)
    clean = replace(clean, pixels=random_pixels(clean.flux.shape[1], options.pixels))
    print(f"{'':34}{'rms':>10}{'rms / kriging':>20}{'largest / kriging':>20}{'ms':>8}{'iterations':>12}")
    print(f"{'':44}{'median':>10}{'worst':>10}{'median':>10}{'worst':>10}")
    for noise in NOISE:
        compare(f"noise {noise:g}", with_noise(clean, noise))
    compare(
        "without the last label", replace(clean, labels=clean.labels[:, :-1], held_labels=clean.held_labels[:, :-1])
    )
    compare("as it is", clean)


def with_noise(case: Case, noise: float) -> Case:
    rng = np.random.default_rng(SEED)
    flux, held = (one + noise * rng.normal(size=one.shape) for one in (case.flux, case.held_flux))
    return replace(case, flux=flux, held_flux=held)


def compare(name: str, case: Case) -> None:
    settings = LmSettings()
    preparation = prepare(case.labels, case.flux, settings, SEED)
    kriging = kriging_errors(case, preparation)
    without = replace(preparation, floor=Floor())  # the templates are still those of the floor: little hangs on them
    for said, one in ((f"{name}", preparation), (f"{name}, no floor", without)):
        found = measure(case, settings, one)
        rms, largest = (measured(found.errors) / measured(kriging) for measured in (rms_of, largest_of))
        print(f"{said:34}{np.sqrt(np.mean(found.errors**2)):10.2e}", end="")
        print("".join(f"{np.median(one):10.2f}{one.max():10.2f}" for one in (rms, largest)), end="")
        print(f"{found.milliseconds:8.2f}{found.iterations:12.0f}", flush=True)
    print(f"{name + ', kriging':34}{np.sqrt(np.mean(kriging**2)):10.2e}", flush=True)


def rms_of(errors: np.ndarray) -> np.ndarray:
    return np.sqrt((errors**2).mean(axis=1))


def largest_of(errors: np.ndarray) -> np.ndarray:
    return errors.max(axis=1)


def kriging_errors(case: Case, preparation: Preparation) -> np.ndarray:
    """Errors (n_pixel, n_held) of kriging, by the lengths of the virtual spectra and the nugget of each pixel."""
    flux, floor, lengths = case.flux[:, case.pixels], preparation.floor, preparation.virtual.lengths
    nuggets = floor.leave_one_out.unexplained(flux[floor.rows]).nugget
    predicted = np.empty((flux.shape[1], len(case.held_labels)))
    for nugget in np.unique(nuggets):
        own = nuggets == nugget
        predicted[own] = (kriging_matrix(case.labels, case.held_labels, lengths, nugget) @ flux[:, own]).T
    return case.errors(predicted)


if __name__ == "__main__":
    main()
