"""How many spectra for how many labels: errors of emulators against the size of the training set, as Markdown.

    python benchmarks/accuracy.py [GRID] [--spectra 60,120,250,500,1000] [--labels 3,8,22] [--others held,unknown]
        [--emulators lm,sgd,kriging,whole,quadratic] [--pixels 96] [--stand-in kriging|lm] [--steps 2000]

Default GRID: resources/many_labels.npz. Of its training set so many spectra train, evenly spread; all emulators
(emulators.py) learn the same ones, and are judged by the test set. The first so many labels are known. The others

    held      are at the middle of the training set in every spectrum. No such spectra were synthesised: a STAND-IN for
              the synthesis supplies them, an emulator of all labels that learnt the whole training set
    unknown   go on varying, and nobody knows how, as unknown abundances do in a library of stars

<0.003            share of the pixels whose largest deviation on the spectra learnt is not above it
median ... largest  of |error| of normalised flux, over all pixels and test spectra
first labels      robust width of fitted less true labels of 200 noiseless test spectra, in the labels' units
of noise          the same as a share of the 1 sigma error that noise of S/N 100 a pixel makes in the same pixels:
                  the median of the labels that such spectra tell (error below a quarter of the range), and the largest
ms                of one core, a pixel

sgd trains 8 of the pixels, too few for labels.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from emulators import (
    Emulator,
    WholeSpectrumSettings,
    by_kriging,
    by_lm,
    by_polynomial,
    by_sgd,
    by_whole_spectrum,
)
from noiseless_labels import Predict, fit_labels, formal_errors
from trainers import CRITERION, Case

from payneflow.grid import TEST, TRAINING, SpectralGrid, read_grid
from payneflow.statistics import bias_and_width, evenly

ALL, HELD, UNKNOWN = "-", "held", "unknown"  # what the other labels do
NOISE = 0.01  # S/N 100
FITTED = 200  # test spectra
TOLD = 0.2  # scaled labels, a quarter of their range
N_SHOWN = 3  # labels with columns of their own
WITHOUT_LABELS = "sgd"


@dataclass(frozen=True)
class Experiment:
    """Known labels, what the others do, the case, and `noise` (n_fitted, n_known): errors of S/N 100, scaled."""

    n_known: int
    others: str
    case: Case
    noise: np.ndarray


class Pool:
    """A grid, scaled, of which experiments are made; `stand_in` makes its stand-in for the synthesis."""

    def __init__(self, grid: SpectralGrid, n_pixel: int, stand_in):
        labels = grid.scaler.scale(grid.labels)
        self.width, self.names, self.units = grid.scaler.width, grid.label_names, grid.label_units
        self.pixels = evenly(grid.flux.shape[1], n_pixel)
        flux = (grid.flux[which].astype(float) for which in (TRAINING, TEST))
        self._whole = Case(labels[TRAINING], next(flux), labels[TEST], next(flux), self.pixels)
        self._make_stand_in = stand_in
        self._stand_in: Predict | None = None
        self._reference: Predict | None = None

    @property
    def stand_in(self) -> Predict:
        if self._stand_in is None:
            self._stand_in = self._make_stand_in(self._whole).predict
        return self._stand_in

    @property
    def reference(self) -> Predict:
        """Whose slopes tell what noise does: kriging of all labels and all training spectra."""
        if self._reference is None:
            self._reference = by_kriging(self._whole).predict
        return self._reference

    def experiments(self, n_known: int, others: str, sizes: list[int]) -> Iterator[Experiment]:
        whole = self._held(n_known) if others == HELD else self._whole
        some = evenly(len(whole.held_labels), FITTED)
        noise = formal_errors(self.reference, whole.held_labels[some], n_known, NOISE)
        for size in sizes:
            rows = evenly(len(whole.labels), size)
            known, judged = whole.labels[rows][:, :n_known], whole.held_labels[:, :n_known]
            yield Experiment(
                n_known, others, Case(known, whole.flux[rows], judged, whole.held_flux, whole.pixels), noise
            )

    def _held(self, n_known: int) -> Case:
        """The pixels alone, as the stand-in has them where all labels but the first are in the middle."""
        labels, judged = self._whole.labels.copy(), self._whole.held_labels.copy()
        middle = np.median(labels[:, n_known:], axis=0)
        labels[:, n_known:] = judged[:, n_known:] = middle
        every = np.arange(len(self.pixels))
        return Case(labels, self.stand_in(labels), judged, self.stand_in(judged), every)


def label_widths(emulator: Emulator, case: Case) -> np.ndarray:
    """Robust widths (n_label,) of labels fitted to some of the noiseless test spectra, scaled."""
    some = evenly(len(case.held_labels), FITTED)
    flux, true = case.held_flux[some][:, case.pixels], case.held_labels[some]
    return np.array([bias_and_width(off)[1] for off in (fit_labels(emulator.predict, flux, true) - true).T])


# ---------------------------------------------------------------------------------------------------------- the table


def head(pool: Pool) -> str:
    shown = [f"{name}{f', {unit}' if unit else ''}" for name, unit in zip(pool.names, pool.units, strict=True)]
    columns = ["labels", "others", "spectra", "emulator", "<0.003", "median", "rms", "99.9 %", "largest"]
    columns += [*shown[:N_SHOWN], "of noise", "largest of noise", "ms"]
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def row(experiment: Experiment, name: str, emulator: Emulator, pool: Pool) -> str:
    case = experiment.case
    errors = emulator.errors(case)
    cells = [str(experiment.n_known), experiment.others, str(len(case.labels)), name]
    cells += [f"{np.mean(emulator.deviation <= CRITERION):.0%}", f"{np.median(errors):.1e}"]
    cells += [f"{np.sqrt((errors**2).mean()):.1e}", f"{np.quantile(errors, 0.999):.1e}", f"{errors.max():.3f}"]
    cells += ["-"] * (N_SHOWN + 2) if name == WITHOUT_LABELS else label_cells(experiment, emulator, pool)
    return f"| {' | '.join(cells)} | {emulator.milliseconds:.3g} |"


def label_cells(experiment: Experiment, emulator: Emulator, pool: Pool) -> list[str]:
    widths, noise = label_widths(emulator, experiment.case), np.median(experiment.noise, axis=0)
    shares = (widths / noise)[noise < TOLD]
    in_units = (widths * pool.width[: experiment.n_known])[:N_SHOWN]
    told = [f"{np.median(shares):.2f}", f"{shares.max():.2f}"] if len(shares) else ["-", "-"]
    return [f"{width:.2g}" for width in in_units] + ["-"] * (N_SHOWN - len(in_units)) + told


def course_row(experiment: Experiment, emulator: Emulator) -> str:
    return f"| {experiment.n_known} | {experiment.others} | {len(experiment.case.labels)} | {emulator.course} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/many_labels.npz")
    parser.add_argument("--spectra", default="60,120,250,500,1000")
    parser.add_argument("--labels", default="3,8,22")
    parser.add_argument("--others", default=f"{HELD},{UNKNOWN}")
    parser.add_argument("--emulators", default="lm,sgd,kriging,whole,quadratic")
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--stand-in", choices=("lm", "kriging"), default="kriging")
    parser.add_argument("--steps", type=int, default=WholeSpectrumSettings.n_step, help="of the whole-spectrum network")
    given = parser.parse_args()
    makers = {
        "lm": by_lm,
        "sgd": by_sgd,
        "kriging": by_kriging,
        "whole": partial(by_whole_spectrum, settings=WholeSpectrumSettings(n_step=given.steps)),
        "quadratic": by_polynomial,
    }
    pool = Pool(read_grid(given.grid), given.pixels, makers[given.stand_in])
    sizes, courses = [int(size) for size in given.spectra.split(",")], []
    print(head(pool), flush=True)
    for n_known in map(int, given.labels.split(",")):
        for others in given.others.split(",") if n_known < len(pool.names) else [ALL]:
            for experiment in pool.experiments(n_known, others, sizes):
                for name in given.emulators.split(","):
                    emulator = makers[name](experiment.case)
                    print(row(experiment, name, emulator, pool), flush=True)
                    courses += [course_row(experiment, emulator)] if emulator.course else []
    if courses:
        print("\n| labels | others | spectra | training of `whole` |")
        print("\n".join(["| --- | --- | --- | --- |", *courses]))


if __name__ == "__main__":
    main()
