"""Simulated surveys whose stars share faults that the model has not: learned from some, judged on others.

    python benchmarks/model_faults.py NETWORK_FILE [--kind constant|labels|none] [--learn 40] [--judge 60] [--seed 1]

Stars are spectra of the networks with noise of S/N 100, their lines altered: 3 % of the pixels by up to 0.15 of the
flux, in all stars alike (`constant`), with a size that goes with the first label (`labels`), or not at all (`none`).
Velocity and continuum are fitted. Prints what was learned, and of the stars that it was not learned from: pulls (robust
width / standard deviation) of labels and velocity, median quoted errors, chi2/dof, how many are flagged, and the time
of a fit, without and with the faults.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.fault_learning import learn_faults
from payneflow.fitting.fault_residuals import residuals_of
from payneflow.fitting.many import write_best_fits
from payneflow.spectra import make_layout, read_spectra
from payneflow.statistics import bias_and_width

SETTINGS = FitSettings(velocity=True, continuum=4)
LAYOUT = make_layout(uncertainty="flux_error")
SNR, ALTERED, MOST = 100.0, 0.03, 0.15
LINE = np.exp(-0.5 * (np.arange(-3, 4) / 1.3) ** 2)  # of a fault, pixel by pixel


def faults_of(n_pixel: int, random) -> np.ndarray:
    """(n_pixel,): lines at random places, each three pixels wide, deeper or shallower than the model's."""
    faults = np.zeros(n_pixel)
    for middle in random.integers(5, n_pixel - 5, int(ALTERED * n_pixel / 3)):
        faults[middle - 3 : middle + 4] += LINE * random.uniform(-MOST, MOST)
    return faults


def stars_of(networks, n: int, faults: np.ndarray, kind: str, random):
    """True labels (n, n_label), flux (n, n_pixel) and its errors of n stars at rest."""
    scaled = random.uniform(0.15, 0.85, (n, len(networks.x_min)))
    size = 0.4 + 1.2 * scaled[:, :1] if kind == "labels" else 1.0
    flux = networks.predict_scaled(scaled) + size * faults
    return networks.scaler.unscale(scaled), flux + random.normal(0.0, 1.0 / SNR, flux.shape)


def learn(networks, flux: np.ndarray):
    """Faults learned from these stars, as `payneflow mismatch` does it."""
    with tempfile.TemporaryDirectory() as folder:
        spectra, fits = Path(folder) / "spectra.npz", Path(folder) / "best.npz"
        names = np.array([f"star{i}" for i in range(len(flux))])
        errors = np.full(flux.shape, 1.0 / SNR)
        np.savez(spectra, wavelength=networks.wavelength, flux=flux, flux_error=errors, identifier=names)
        write_best_fits(networks, read_spectra([spectra], LAYOUT, networks.wavelength), SETTINGS, fits)
        residuals, _ = residuals_of(networks, [fits])
        return learn_faults(residuals, networks.digest)


def judge(networks, truth: np.ndarray, flux: np.ndarray, faults) -> str:
    began = time.perf_counter()
    fits = fit_spectra(networks, flux, np.full(flux.shape, 1.0 / SNR), settings=SETTINGS, faults=faults)
    seconds = (time.perf_counter() - began) / len(flux)
    of_labels = dict(zip(networks.label_names, truth.T, strict=True)) | {"RV": np.zeros(len(flux))}
    pulls = {name: np.array((fits[name] - true) / fits[f"{name}_error"]) for name, true in of_labels.items()}
    shown = ", ".join(f"{name} {bias_and_width(pull)[1]:.2f} / {np.std(pull):.2f}" for name, pull in pulls.items())
    errors = ", ".join(f"{np.median(fits[f'{name}_error']):.2g}" for name in of_labels)
    low, middle, high = np.percentile(fits["chi2"] / fits["dof"], [5, 50, 95])
    flagged = np.mean((fits["flags"] & FitFlag.MODEL_MISMATCH) > 0)
    of_all = f"chi2/dof {low:.2f}, {middle:.2f}, {high:.2f}; flagged {flagged:.0%}; {seconds:.2f} s a fit"
    return f"{shown}; errors {errors}; {of_all}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--kind", choices=("constant", "labels", "none"), default="constant")
    parser.add_argument("--learn", type=int, default=40)
    parser.add_argument("--judge", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    networks, random = read_networks(given.network), np.random.default_rng(given.seed)
    faults = faults_of(len(networks.wavelength), random) * (given.kind != "none")
    _, flux = stars_of(networks, given.learn, faults, given.kind, random)
    learned = learn(networks, flux)
    print(f"learned from {given.learn} stars: {learned.provenance}")
    truth, flux = stars_of(networks, given.judge, faults, given.kind, random)
    for name, known in (("without", None), ("with", learned)):
        print(f"{name:8}{judge(networks, truth, flux, known)}", flush=True)


if __name__ == "__main__":
    main()
