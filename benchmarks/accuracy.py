"""How many spectra for how many labels: flux errors of emulators against the size of the training set.

    python benchmarks/accuracy.py [GRID] [--spectra 60,120,250,500,1000] [--labels 3,8,22] [--pixels 48] [--figure FILE]

Default GRID: resources/many_labels.npz. Of its training set so many spectra train, evenly spread; all emulators learn
the same ones and are judged by the whole test set, in normalised flux. `labels`: the first so many labels of the grid
are known; the others go on varying, and nobody knows how, as unknown abundances do in a library of stars. Emulators:

    lm          networks as payneflow trains them, auto settings
    kriging     Matern 5/2, one set of lengths for all pixels, by marginal likelihood
    quadratic   all products of two labels, ridge chosen by leave-one-out

<0.003: share of the pixels whose largest deviation on the training set is not above it. ms: of one core, a pixel.
"""

import argparse
import os
import time
from dataclasses import replace

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from trainers import CRITERION, SEED, Case, Measured, measure, prepare, rehearse

from payneflow.grid import TEST, TRAINING, read_grid
from payneflow.kriging import descended_lengths, kriging_matrix
from payneflow.settings import LmSettings
from payneflow.statistics import evenly

RIDGES = 10.0 ** np.arange(-10, 2)
HEAD = f"{'labels':>6}{'spectra':>9}  {'emulator':<11}{'<0.003':>9}"
HEAD += "".join(f"{name:>10}" for name in ("median", "rms", "99.9 %", "largest")) + f"{'ms':>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/many_labels.npz")
    parser.add_argument("--spectra", default="60,120,250,500,1000")
    parser.add_argument("--labels", default="3,8,22")
    parser.add_argument("--pixels", type=int, default=48)
    parser.add_argument("--figure", help="learning curves, as a PNG")
    given = parser.parse_args()
    grid = read_grid(given.grid)
    print(HEAD)
    curves = {}
    for n_label in map(int, given.labels.split(",")):
        for n_spectrum in map(int, given.spectra.split(",")):
            case = case_of(grid, n_label, n_spectrum, given.pixels)
            for name, emulate in (("lm", by_networks), ("kriging", by_kriging), ("quadratic", by_polynomial)):
                found = emulate(case)
                print(row(n_label, n_spectrum, name, found), flush=True)
                curves.setdefault((n_label, name), []).append((n_spectrum, found.errors))
    if given.figure:
        draw(curves, given.figure)


def case_of(grid, n_label: int, n_spectrum: int, n_pixel: int) -> Case:
    """The first labels of a grid, some of its training spectra, and pixels evenly spread."""
    labels = grid.scaler.scale(grid.labels)[:, :n_label]
    rows = evenly(len(labels[TRAINING]), n_spectrum)
    flux, held = (grid.flux[which].astype(float) for which in (TRAINING, TEST))
    return Case(labels[TRAINING][rows], flux[rows], labels[TEST], held, evenly(flux.shape[1], n_pixel))


def row(n_label: int, n_spectrum: int, name: str, found: Measured) -> str:
    share, errors = np.mean(found.deviation <= CRITERION), found.errors
    figures = np.median(errors), np.sqrt(np.mean(errors**2)), np.quantile(errors, 0.999), errors.max()
    said = f"{figures[0]:10.2e}{figures[1]:10.2e}{figures[2]:10.2e}{figures[3]:10.3f}"
    return f"{n_label:6}{n_spectrum:9}  {name:<11}{share:9.2%}{said}{found.milliseconds:9.3g}"


def by_networks(case: Case) -> Measured:
    settings = LmSettings()
    rehearse(replace(case, labels=case.labels[:60], flux=case.flux[:60]), settings)
    return measure(case, settings, prepare(case.labels, case.flux, settings, SEED))


def by_kriging(case: Case) -> Measured:
    lengths, nugget = descended_lengths(case.labels, case.flux)
    begin, flux = time.process_time(), case.flux[:, case.pixels]
    predicted = (kriging_matrix(case.labels, case.held_labels, lengths, nugget) @ flux).T
    milliseconds = (time.process_time() - begin) / len(case.pixels) * 1e3
    again = kriging_matrix(case.labels, case.labels, lengths, nugget) @ flux
    return Measured(case.errors(predicted), np.abs(again - flux).max(axis=0), milliseconds)


def by_polynomial(case: Case) -> Measured:
    begin, flux = time.process_time(), case.flux[:, case.pixels]
    terms, held = products(case.labels), products(case.held_labels)
    u, s, v = np.linalg.svd(terms, full_matrices=False)
    best, found = np.inf, None
    for ridge in RIDGES * s[0] ** 2:
        hat = (u * (s**2 / (s**2 + ridge))) @ u.T
        left_out = (flux - hat @ flux) / (1 - np.minimum(np.diag(hat), 1 - 1e-9))[:, None]
        if (square := (left_out**2).mean()) < best:
            best, found = square, (v.T * (s / (s**2 + ridge))) @ u.T @ flux
    milliseconds = (time.process_time() - begin) / len(case.pixels) * 1e3
    return Measured(case.errors((held @ found).T), np.abs(terms @ found - flux).max(axis=0), milliseconds)


def products(labels: np.ndarray) -> np.ndarray:
    """(n, n_term): 1, the labels about the middle of their range, and all products of two of them."""
    centred = (labels - 0.5) / 0.4
    a, b = np.triu_indices(labels.shape[1])
    return np.column_stack([np.ones(len(labels)), centred, centred[:, a] * centred[:, b]])


def draw(curves: dict, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    styles = {"lm": ("o-", "networks (lm)"), "kriging": ("s--", "kriging"), "quadratic": ("^:", "quadratic polynomial")}
    n_labels = sorted({n_label for n_label, _ in curves})
    figure, panels = plt.subplots(1, len(n_labels), figsize=(4 * len(n_labels), 3.6), sharey=True, squeeze=False)
    for panel, n_label in zip(panels[0], n_labels, strict=True):
        for name, (line, said) in styles.items():
            spectra, errors = zip(*curves[n_label, name], strict=True)
            panel.loglog(spectra, [np.sqrt((one**2).mean()) for one in errors], line, label=said)
        panel.set(title=f"{n_label} labels known", xlabel="training spectra")
        panel.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("rms flux error, test set")
    panels[0][-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
