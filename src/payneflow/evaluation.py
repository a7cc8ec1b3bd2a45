"""How well the networks reproduce the grid's spectra: the half they were trained on, and the half they never saw."""

from pathlib import Path

import numpy as np

from payneflow.files import write_npz
from payneflow.grid import TEST, TRAINING, SpectralGrid
from payneflow.network import PixelNetworks


def evaluate_networks(networks: PixelNetworks, grid: SpectralGrid) -> dict[str, np.ndarray]:
    """Errors of the predicted spectra at the true labels, in normalised flux.

    Returns, for both halves, `median_deviation_HALF` (median over the spectra of |predicted - true|), `rms_HALF` and
    `largest_HALF`, each (n_pixel,), and as `example_...` truth and prediction of the test spectrum of median rms.
    Raises NetworkFileError where grid and networks do not have the same labels and wavelengths.
    """
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    results: dict[str, np.ndarray] = {
        "wavelength": networks.wavelength,
        "label_names": np.array(networks.label_names),
        "label_units": np.array(networks.label_units),
        "trunc_diff": np.array(networks.provenance.get("settings", {}).get("trunc_diff", np.nan)),
    }
    for half, spectra in (("training", TRAINING), ("test", TEST)):
        error = networks.predict_scaled(networks.scaler.scale(grid.labels[spectra])) - grid.flux[spectra][:, columns]
        results[f"median_deviation_{half}"] = np.median(np.abs(error), axis=0)
        results[f"rms_{half}"] = np.sqrt((error**2).mean(axis=0))
        results[f"largest_{half}"] = np.abs(error).max(axis=0)
    rms = np.sqrt((error[:, np.isfinite(error).all(axis=0)] ** 2).mean(axis=1))  # of the test half, the last above
    example = int(np.argsort(rms)[len(rms) // 2])
    spectrum = range(len(grid.labels))[TEST][example]
    truth = grid.flux[spectrum, columns].astype(float)
    return {
        **results,
        "example_spectrum": np.array(spectrum),
        "example_labels": grid.labels[spectrum],
        "example_flux": truth,
        "example_prediction": truth + error[example],
    }


def write_evaluation(results: dict[str, np.ndarray], path: str | Path) -> None:
    """Write what `evaluate_networks` returned (npz)."""
    write_npz(path, results)


def evaluation_text(results: dict[str, np.ndarray]) -> str:
    """The accuracy of the networks in a few lines; pixels that failed to train are counted apart."""
    lines = []
    for half in ("training", "test"):
        good = np.isfinite(results[f"rms_{half}"])
        lines.append(
            f"{half + ' half:':15}median over {good.sum()} pixels of the median absolute deviation "
            f"{np.median(results[f'median_deviation_{half}'][good]):.2e}, "
            f"rms {np.sqrt(np.mean(results[f'rms_{half}'][good] ** 2)):.2e}, "
            f"largest {results[f'largest_{half}'][good].max():.4f}"
            + (f"; {(~good).sum()} pixels have no network" if not good.all() else "")
        )
    return "\n".join(lines)
