"""How the settings of the trainer `lm` are chosen: cross-validation within the training set of the grid.

    python benchmarks/choose_lm.py [GRID] [--pixels 384]

The test set is not used. Every row is the default but for one change. In each of 4 folds a quarter of the training
spectra is held out, all the rest (virtual spectra, templates, networks of the same random pixels) is made anew without
them; the errors at the held-out spectra of all folds are judged together:

MAD       median over the pixels of the median absolute error, normalised flux
rms       over all pixels and spectra
99.9 %    quantile of the error; beyond the edge of the remaining labels it is large whatever one does
beyond    99.9 % quantile of how much the error exceeds that of kriging, which errs there as well: wild networks
ms        of one core per pixel, without what is prepared once per grid
MAD, rms against default: geometric mean over the pixels of a pixel's ratio to the default, in per cent, with its
standard error over the pixels. The held-out spectra are the same for all pixels, so the true one is larger: the
row of another seed shows what a difference between equals looks like.

About 2 minutes on one core.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np
from trainers import SEED, Case, Measured, measure, measure_kriging, random_pixels, rehearse

from payneflow.grid import TRAINING, read_grid
from payneflow.settings import LmSettings
from payneflow.training.lm import templates, virtual_spectra
from payneflow.training.lm.preparation import Preparation
from payneflow.training.trainers import prepare

N_FOLD = 4
DEFAULT = LmSettings().for_labels(3)  # the demonstration grid
PREPARED_ANEW = {"penalty", "virtual_weight", "random_iterations", "random_damping"}  # the templates' training sees it
HEAD = (
    f"{'':26}{'MAD':>10}{'rms':>10}{'99.9 %':>10}{'beyond':>10}{'ms':>7}"
    f"{'MAD against default':>22}{'rms against default':>22}"
)


@dataclass(frozen=True)
class Change:
    """One row: other settings, another seed, or other constants of virtual_spectra.py and templates.py."""

    settings: dict = field(default_factory=dict)
    per_training: float = virtual_spectra.VIRTUAL_PER_TRAINING
    n_template: int = templates.N_TEMPLATE
    seed: int = SEED

    @property
    def needs_preparation(self) -> bool:
        return bool(PREPARED_ANEW & set(self.settings)) or replace(self, settings={}) != Change()

    def prepare(self, case: Case) -> Preparation:
        with ExitStack() as stack:
            stack.enter_context(patch.object(virtual_spectra, "VIRTUAL_PER_TRAINING", self.per_training))
            stack.enter_context(patch.object(templates, "N_TEMPLATE", self.n_template))
            return prepare(case.labels, case.flux, replace(DEFAULT, **self.settings), self.seed)


ROWS = {
    "default": Change(),
    "default, another seed": Change(seed=SEED + 1),
    **{f"n_starts {n}": Change({"n_starts": n}) for n in (1, 2, 5)},
    **{f"start_iterations {n}": Change({"start_iterations": n}) for n in (15, 60)},
    **{f"max_iterations {n}": Change({"max_iterations": n}) for n in (40, 100)},
    **{f"penalty {value:.0e}": Change({"penalty": value}) for value in (1e-8, 1e-10)},
    **{f"virtual_weight {value}": Change({"virtual_weight": value}) for value in (0.0, 0.01, 0.02, 0.1, 0.2)},
    **{f"virtual per training {n}": Change(per_training=n) for n in (0.25, 1.0, 2.0)},
    **{f"templates {n}": Change(n_template=n) for n in (0, 32, 64, 256)},
}


def read_folds(path: str, n_pixel: int) -> list[Case]:
    """The folds of the training set, all with the same random pixels; labels scaled by the whole training set."""
    grid = read_grid(path)
    labels, flux = grid.scaler.scale(grid.labels[TRAINING]), grid.flux[TRAINING].astype(float)
    pixels = random_pixels(flux.shape[1], n_pixel)
    held = [np.arange(len(labels)) % N_FOLD == fold for fold in range(N_FOLD)]
    return [Case(labels[~out], flux[~out], labels[out], flux[out], pixels) for out in held]


def show(name: str, measured: list[Measured], kriging: np.ndarray, default: np.ndarray | None) -> np.ndarray:
    """Print a row; return its errors (n_pixel, n_held of all folds). `kriging`, `default`: the errors of these."""
    errors = np.hstack([one.errors for one in measured])
    reference = errors if default is None else default
    rms = np.sqrt(np.mean(errors**2))
    beyond = np.quantile(errors - kriging, 0.999)
    milliseconds = np.mean([one.milliseconds for one in measured])
    print(
        f"{name:26}{np.median(np.median(errors, axis=1)):10.2e}{rms:10.2e}{np.quantile(errors, 0.999):10.2e}"
        f"{beyond:10.2e}{milliseconds:7.2f}"
        f"{against(np.median(errors, axis=1), np.median(reference, axis=1)):>22}"
        f"{against(np.sqrt((errors**2).mean(axis=1)), np.sqrt((reference**2).mean(axis=1))):>22}",
        flush=True,
    )
    return errors


def against(values: np.ndarray, reference: np.ndarray) -> str:
    """Geometric mean of values / reference (n_pixel,), as a difference in per cent, with its standard error."""
    logarithm = np.log(values / reference) * 100
    return f"{logarithm.mean():+.1f} +- {logarithm.std() / np.sqrt(len(values)):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz", metavar="GRID")
    parser.add_argument("--pixels", type=int, default=384, metavar="N")
    options = parser.parse_args()
    folds = read_folds(options.grid, options.pixels)
    trained_on = len(folds[0].labels)
    print(f"{N_FOLD} folds of the training set, {trained_on} spectra left to train on; {len(folds[0].pixels)} pixels")
    print(HEAD)
    rehearse(folds[0], DEFAULT)
    prepared = [Change().prepare(case) for case in folds]
    kriging = np.hstack([measure_kriging(case).errors for case in folds])
    default = None
    for name, change in ROWS.items():
        preparations = [change.prepare(case) for case in folds] if change.needs_preparation else prepared
        settings = replace(DEFAULT, **change.settings)
        measured = [
            measure(case, settings, ready, change.seed) for case, ready in zip(folds, preparations, strict=True)
        ]
        errors = show(name, measured, kriging, default)
        default = errors if default is None else default
    print(f"{'kriging, no network':26}{np.median(np.median(kriging, axis=1)):10.2e}", end="")
    print(f"{np.sqrt(np.mean(kriging**2)):10.2e}{np.quantile(kriging, 0.999):10.2e}")


if __name__ == "__main__":
    main()
