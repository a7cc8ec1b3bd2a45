"""Results of a run that is good: networks, a grid that they describe, label errors, fits and figures, all real."""

import json
from dataclasses import replace

import numpy as np
from explore.made import write_record_of
from known_networks import line_networks

from payneflow.evaluation import evaluate_networks, write_evaluation
from payneflow.figures import plot
from payneflow.fitting import FitSettings, measure_label_errors, write_label_errors, write_results
from payneflow.fitting.many import fit_test_set
from payneflow.grid.summary import summarise

FIGURES = ("fit_overview", "fitting_results")
ODD = '<[Fe/H]>&"'
NAMES = ("Teff", "logg", ODD)
N_SPECTRUM, N_PIXEL = 160, 300


def write_results_of_a_good_run(directory):
    """Write the results of a run into `directory`."""
    directory.mkdir(parents=True)
    networks = replace(line_networks(3, 10, N_PIXEL), label_names=NAMES, label_units=("K", "dex", "dex"))
    share = np.random.default_rng(7).uniform(0.05, 0.95, (N_SPECTRUM, 3))
    labels = networks.x_min + share * (networks.x_max - networks.x_min)
    flux = networks.predict(labels) + 1e-3 * np.random.default_rng(8).normal(size=(N_SPECTRUM, N_PIXEL))
    names = {"label_names": np.array(NAMES), "label_units": np.array(networks.label_units)}
    np.savez(directory / "grid.npz", wavelength=networks.wavelength, Y_u_all=flux, labels_array=labels.T, **names)
    grid = networks.read_grid(directory / "grid.npz")
    networks = replace(networks, provenance={"grid_sha256": grid.sha256, "settings": {"trainer": "lm", "seed": 0}})
    networks.write(directory / "neural_network.npz")
    (directory / "grid_summary.json").write_text(json.dumps(summarise(grid)))
    write_record_of(networks, directory / "training_record.ecsv")
    write_evaluation(evaluate_networks(networks, grid), directory / "evaluation.npz")
    errors = measure_label_errors(networks, grid, FitSettings())
    write_label_errors(errors, directory / "label_errors.npz")
    fits = fit_test_set(networks, grid, FitSettings(), 0.01, snr=100, label_errors=errors)
    write_results(fits, directory / "fits")
    for name in FIGURES:
        plot(name, directory / "fits.ecsv", directory / f"figures/{name}.png")
    return directory
