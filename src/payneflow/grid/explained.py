"""How far the labels of a grid explain its flux, for `payneflow check`: what to warn of, and where all is in vain."""

import numpy as np

from payneflow.errors import GridError
from payneflow.grid.spectral_grid import SpectralGrid
from payneflow.grid.unexplained import LEAST_SPECTRA, SPECTRA, LeaveOneOut, Unexplained, sound_spectra
from payneflow.statistics import evenly

FINE = 0.003  # share of the flux scale, the published trunc_diff: noise below it hinders no training
PIXELS_ABOVE = 0.01  # part of the pixels with more noise, from which on it is said
MOST_PIXELS = 20_000  # that are looked at, evenly spread
WORST, APART = 5, 10  # wavelengths that are named, and pixels between them at least
NOTHING = 0.15  # part of the variance that kriging seems to explain of labels in any order: at most 0.07 of 100 spectra
TELLING = 100  # spectra from which on it is sure that nothing is explained
CAUSES = (
    "noise, or a label that is missing (vsini, microturbulence, an abundance, resolution), or wrong labels. Networks "
    "come no nearer than this; trainer lm takes it as its noise, sgd learns it. Give the label that varies, or keep it "
    "constant; of observed spectra take more, or less noisy ones"
)


def measure_explained(grid: SpectralGrid) -> dict:
    """What kriging of the training spectra leaves of each other's flux, ready for JSON; {} where these are too few.

    `noise_median`, `noise_above` (median of the pixels above FINE) and `noise` of the `worst` wavelengths (Angstrom):
    standard deviations, as shares of the flux scale; `share_above`: the part of the pixels above FINE.
    Raises GridError where the labels explain nothing at all.
    """
    if grid.split.n_training < LEAST_SPECTRA:
        return {}
    rows = evenly(grid.split.n_training, SPECTRA)
    pixels = evenly(len(grid.wavelength), MOST_PIXELS)
    labels = grid.scaler.scale(grid.labels[grid.split.training_rows[rows]])
    flux = grid.flux_scale.share(np.asarray(grid.flux[grid.split.training_rows[rows]][:, pixels]))
    sound, lengths = sound_spectra(labels, flux)
    found = LeaveOneOut(labels[sound], lengths).unexplained(flux[sound], FINE)
    if len(sound) >= TELLING and _is_nothing_explained(found):
        raise GridError(_all_in_vain(grid, len(sound)))
    above = found.noise > FINE
    return {
        "n_spectrum": len(sound),
        "n_pixel": len(pixels),
        "noise_median": float(np.median(found.noise)),
        "noise_above": float(np.median(found.noise[above])) if above.any() else 0.0,
        "share_above": float(above.mean()),
        "worst": [
            {"wavelength": float(grid.wavelength[pixels[i]]), "noise": float(found.noise[i])}
            for i in _worst(np.where(above, found.noise, 0.0))
        ],
    }


def _is_nothing_explained(found: Unexplained) -> bool:
    varies = found.largest > FINE
    return bool(varies.any() and (found.explained[varies] <= NOTHING).all())


def _worst(noise: np.ndarray) -> list[int]:
    """The pixels of the most noise above 0, APART from each other, the worst first."""
    chosen: list[int] = []
    for i in np.argsort(-noise, kind="stable"):
        if len(chosen) == WORST or not noise[i] > 0:
            break
        if all(abs(i - one) >= APART for one in chosen):
            chosen.append(int(i))
    return chosen


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
