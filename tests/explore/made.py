"""Networks, a grid that they describe, their record and observed stars, of which pages are made."""

from dataclasses import replace

import known_foreign as foreign
import numpy as np
from known_networks import line_networks

from payneflow import adopt_networks
from payneflow.chunks.record import record_table, write_record
from payneflow.fitting import FitSettings
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.fitting.model import SpectralModel
from payneflow.weights import LINEAR


def networks_of(kind, directory):
    """Networks of each kind that a page can evaluate, and some on an axis that is not even in ln(wavelength)."""
    if kind == "whole":
        np.savez(directory / "whole.npz", **foreign.whole_weights())
        facts = {"wavelength": foreign.WAVELENGTH, "medium": "vacuum", **foreign.LABELS}
        return adopt_networks(directory / "whole.npz", **facts).networks
    logistic = line_networks(3, 10, n_pixel=300)
    if kind == "linear":
        return replace(logistic, output=LINEAR, w_array_1=0.05 * logistic.w_array_1)
    if kind == "uneven":
        index = np.rint(np.log(logistic.wavelength / 15000.0) / 1.4e-5)
        return replace(logistic, wavelength=15000.0 + 0.21 * index)
    return logistic


def write_grid(networks, path, n=40):
    """A grid of what the networks predict, and noise; label 1 is near label 0, each as a share of its range."""
    rng = np.random.default_rng(7)
    share = rng.uniform(0.0, 1.0, (n, 3))
    share[:, 1] = np.clip(share[:, 0] + rng.uniform(-0.1, 0.1, n), 0.0, 1.0)
    labels = networks.x_min + share * (networks.x_max - networks.x_min)
    flux = networks.predict(labels)
    flux += 1e-3 * rng.normal(size=flux.shape)
    names = {"label_names": np.array(networks.label_names), "label_units": np.array(networks.label_units)}
    np.savez(path, wavelength=networks.wavelength, Y_u_all=flux, labels_array=labels.T, **names)
    return path


def write_record_of(networks, path, seconds=0.5):
    """A training record in which pixel i took i loops; its last pixel stalled."""
    n = len(networks.wavelength)
    columns = {
        "pixel": np.arange(n),
        "wavelength": networks.wavelength,
        "loops": np.arange(n),
        "end": np.where(np.arange(n) < n - 1, "converged", "stalled"),
        **{name: np.full(n, 1e-3) for name in ("deviation", "deviation_test", "median_deviation_test", "step_size")},
        **{name: np.full(n, 1) for name in ("restarts", "steps")},
        **{name: np.full(n, "all") for name in ("chunk", "trainer")},
        "explained_test": np.full(n, 0.99),
        "seconds": np.full(n, seconds),
    }
    table = record_table(columns, {"trunc_diff": 0.003})
    table.meta["networks"] = networks.digest
    write_record(table, path)
    return path


def write_stars(networks, path, labels, velocity, wavelength=None):
    """Best-fit spectra, on the networks' axis or another: what they predict, times a continuum of 2, and 0.01 more."""
    settings = FitSettings(velocity=velocity != 0.0, max_velocity=60.0)
    n, model = len(labels), SpectralModel(networks, settings, wavelength).predict(labels, velocity)
    used = np.isfinite(model)
    used[:, 10:13] = False
    hidden = np.where(used, 0.0, np.nan)
    facts = {"label_names": np.array(networks.label_names), "label_units": np.array(networks.label_units)}
    columns = {name: np.full(n, 1) for name in ("dof", "flags")} | {name: np.ones(n) for name in ("SNR", "chi2")}
    spectra = {"flux": 2.0 * (model + 0.01), "model": 2.0 * model + hidden, "continuum": 2.0 + hidden}
    BEST_FITS.write(
        path,
        {
            "wavelength": networks.wavelength if wavelength is None else wavelength,
            "identifier": np.array([f"star {i}" for i in range(n)]),
            **spectra,
            "sigma": np.full(model.shape, 0.04) + hidden,
            "used": used,
            "labels": labels,
            "label_errors": np.full(labels.shape, 0.1),
            "RV": np.full(n, velocity),
            "RV_error": np.full(n, 0.1),
            "flag_names": np.array(["LOW_SNR"]),
            "flag_bits": np.array([1]),
            "errors": np.array("formal"),
            **columns,
            **facts,
        },
    )
    return path
