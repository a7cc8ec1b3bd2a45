"""How far the labels of a grid explain its flux, for `payneflow check`: what to warn of, and where all is in vain."""

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.sample import Sample, far_apart
from payneflow.grid.spectral_grid import SpectralGrid
from payneflow.grid.unexplained import LeaveOneOut, Unexplained

FINE = 0.003  # share of the flux scale, the published trunc_diff: noise below it hinders no training
PIXELS_ABOVE = 0.01  # part of the pixels with more noise, from which on it is said
WORST = 5  # wavelengths that are named
NOTHING = 0.15  # part of the variance that kriging seems to explain of labels in any order: at most 0.07 of 100 spectra
TELLING = 100  # spectra from which on it is sure that nothing is explained
CAUSES = (
    "noise, or a label that is missing (vsini, microturbulence, an abundance, resolution), or wrong labels. Networks "
    "come no nearer than this; trainer lm takes it as its noise, sgd learns it. Give the label that varies, or keep it "
    "constant; of observed spectra take more, or less noisy ones"
)


def measure_explained(grid: SpectralGrid, sample: Sample | None) -> dict:
    """What kriging of the training spectra leaves of each other's flux, ready for JSON; {} where these are too few.

    `noise_median`, `noise_above` (median of the pixels above FINE) and `noise` of the `worst` wavelengths (Angstrom):
    standard deviations, as shares of the flux scale; `share_above`: the part of the pixels above FINE.
    Raises GridError where the labels explain nothing at all.
    """
    if sample is None:
        return {}
    n_spectrum = len(sample.labels)
    found = LeaveOneOut(sample.labels, sample.lengths).unexplained(sample.flux, FINE)
    if n_spectrum >= TELLING and _is_nothing_explained(found):
        raise GridError(_all_in_vain(grid, n_spectrum))
    above = found.noise > FINE
    return {
        "n_spectrum": n_spectrum,
        "n_pixel": len(sample.pixels),
        "noise_median": float(np.median(found.noise)),
        "noise_above": float(np.median(found.noise[above])) if above.any() else 0.0,
        "share_above": float(above.mean()),
        "worst": [
            {"wavelength": float(grid.wavelength[sample.pixels[i]]), "noise": float(found.noise[i])}
            for i in far_apart(np.where(above, found.noise, 0.0), WORST)
        ],
    }


def _is_nothing_explained(found: Unexplained) -> bool:
    varies = found.largest > FINE
    return bool(varies.any() and (found.explained[varies] <= NOTHING).all())


def _all_in_vain(grid: SpectralGrid, n_spectrum: int) -> str:
    return (
        f"{grid.path}: the labels explain nothing of the flux: in no pixel are {n_spectrum} training spectra predicted "
        "better from the labels of the others than by their mean. Expected flux that depends on the labels. Are labels "
        "and spectra in the same order, column i of the labels for row i of the flux? If they are, there is more noise "
        "than signal: take better spectra."
    )


def said_of(explained: dict) -> str:
    """The warning that `measure_explained` asks for, "" where there is none."""
    if not explained or explained["share_above"] < PIXELS_ABOVE:
        return ""
    share, where = explained["share_above"], ""
    if share < 0.995:
        where = f"in {100 * share:.0f} % of the pixels "
    worst = ", ".join(f"{one['wavelength']:.2f} A ({100 * one['noise']:.1f} %)" for one in explained["worst"])
    return f"{where}these labels explain flux to {100 * explained['noise_above']:.1f} % only: {CAUSES}. Worst: {worst}"
