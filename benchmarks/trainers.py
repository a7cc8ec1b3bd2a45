"""Accuracy and cost of the trainers, side by side: all rows in one process on the same random pixels.

    python benchmarks/trainers.py [GRID] [--pixels 128]     the trainers, and what each part of lm is worth
    python benchmarks/trainers.py [GRID] --neurons          lm: accuracy against cost, 5 to 30 hidden neurons
    python benchmarks/trainers.py --growth                  lm: cost against spectra, labels and neurons

Default GRID: resources/hband_grid.npz. The trainers are the package's own, with default settings but for what a row
names. They learn the training set. <0.003 is the share of the pixels whose deviation there is below it, the published
criterion. All else is measured on the test set, in normalised flux: MAD is the median over the pixels of the median
absolute error, rms and largest are over all pixels and spectra. ms is the time of one core per pixel (lm: the quickest
of three times), without compilation and without what is prepared once per grid, stated apart. Iterations (sgd: epochs,
scipy: evaluations) are all that a pixel needed on average, trials and loops. --pixels 0: all pixels.

--growth needs no grid: its spectra are known smooth functions of the labels. The work there is fixed, one random start
of 20 iterations and a loop of 20, so that the time of an iteration is what grows.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from scipy.optimize import least_squares
from theano_speed import speed_table

from payneflow.grid import TEST, TRAINING, read_grid
from payneflow.scaling import scale_flux, unscale_deviation, unscale_flux
from payneflow.settings import LmSettings, SgdSettings
from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import Templates
from payneflow.training.lm.trainer import random_network
from payneflow.training.lm.virtual_spectra import kriging_lengths, kriging_matrix, make_virtual_spectra
from payneflow.training.policy import PixelProgress
from payneflow.training.randomness import weights_generator
from payneflow.training.trainers import make_trainer, prepare
from payneflow.weights import split

SEED = 0
CRITERION = 0.003  # of the published trainer, on the deviation
HEAD = f"{'':40}{'<0.003':>9}{'MAD':>11}{'rms':>11}{'largest':>10}{'ms':>9}{'iterations':>13}"
KRIGING_PIXELS = 1000  # to find the lengths from, evenly spread, as the package does
SCIPY_PIXELS, SCIPY_EVALUATIONS = 128, 200  # at most

Settings = LmSettings | SgdSettings


@dataclass(frozen=True)
class Case:
    """Spectra to train on and to judge by: scaled labels (n, n_label), flux (n, n_pixel), and the chosen pixels."""

    labels: np.ndarray
    flux: np.ndarray
    held_labels: np.ndarray
    held_flux: np.ndarray
    pixels: np.ndarray

    def errors(self, predicted: np.ndarray) -> np.ndarray:
        """|predicted - true| (n_pixel, n_held) of the chosen pixels' predicted flux (n_pixel, n_held)."""
        return np.abs(predicted - self.held_flux[:, self.pixels].T)


@dataclass(frozen=True)
class Measured:
    """Errors (n_pixel, n_held) on held spectra, deviation (n_pixel,) on training spectra, ms and iterations a pixel.

    `weights` (n_pixel, n_weight) where it is networks that were measured.
    """

    errors: np.ndarray
    deviation: np.ndarray
    milliseconds: float
    iterations: float | None = None
    weights: np.ndarray | None = None

    def row(self, name: str) -> str:
        share, mad = np.mean(self.deviation <= CRITERION), np.median(np.median(self.errors, axis=1))
        rms, largest = np.sqrt(np.mean(self.errors**2)), self.errors.max()
        iterations = "-" if self.iterations is None else f"{self.iterations:,.0f}".replace(",", " ")
        return f"{name:40}{share:9.2%}{mad:11.2e}{rms:11.2e}{largest:10.4f}{self.milliseconds:9.3g}{iterations:>13}"


def read_case(path: str, n_pixel: int) -> Case:
    """The training set and the test set of a grid, and `n_pixel` random pixels of it (0: all)."""
    grid = read_grid(path)
    labels = grid.scaler.scale(grid.labels)
    return Case(
        labels[TRAINING],
        grid.flux[TRAINING].astype(float),
        labels[TEST],
        grid.flux[TEST].astype(float),
        random_pixels(grid.flux.shape[1], n_pixel),
    )


def random_pixels(n_all: int, n_pixel: int) -> np.ndarray:
    if n_pixel == 0:
        return np.arange(n_all)
    return np.sort(np.random.default_rng(SEED).choice(n_all, min(n_pixel, n_all), replace=False))


def prepare_timed(case: Case, settings: Settings) -> tuple[Preparation, float]:
    """What is prepared once per grid, and the seconds of one core it took; nothing is compiled in them."""
    rehearse(case, settings)
    begin = time.process_time()
    preparation = prepare(case.labels, case.flux, settings, SEED)
    return preparation, time.process_time() - begin


def rehearse(case: Case, settings: Settings) -> None:
    """Prepare a few pixels and train one, so that all is compiled."""
    few = replace(case, flux=case.flux[:, :16], held_flux=case.held_flux[:, :16], pixels=np.array([0]))
    measure(few, settings, prepare(few.labels, few.flux, settings, SEED))


def measure(case: Case, settings: Settings, preparation: Preparation, seed: int = SEED) -> Measured:
    """Train the chosen pixels as a chunk would be trained, and judge them by the held spectra."""
    trainer, policy = make_trainer(case.labels, preparation, settings, seed)
    begin = time.process_time()
    flux = case.flux[:, case.pixels]
    floors = preparation.floor.of(flux[preparation.floor.rows])
    to_learn = flux_to_learn(flux, preparation.virtual.flux(flux, floors.nugget))
    relevance = preparation.floor.relevance(flux[preparation.floor.rows], floors.nugget)
    known = zip(floors.noise, floors.deviation, relevance if len(relevance) else [None] * len(case.pixels), strict=True)
    tasks = [
        PixelTask(int(pixel), to_learn[i], PixelProgress(), *of_pixel)
        for i, (pixel, of_pixel) in enumerate(zip(case.pixels, known, strict=True))
    ]
    for _ in train_pixels(trainer, policy, tasks):
        pass
    milliseconds = (time.process_time() - begin) / len(tasks) * 1e3
    weights = np.array([task.progress.best_weights for task in tasks])
    predicted = predict(weights, case.held_labels)
    deviation = np.array([task.progress.deviation for task in tasks])
    iterations = np.mean([task.progress.steps for task in tasks])
    return Measured(case.errors(predicted), deviation, milliseconds, iterations, weights)


def measure_thrice(case: Case, settings: Settings, preparation: Preparation) -> Measured:
    """The quickest of three times; they differ by what else the machine does, and in nothing else."""
    return min((measure(case, settings, preparation) for _ in range(3)), key=lambda one: one.milliseconds)


def predict(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Flux (n_pixel, n) of networks (n_pixel, n_weight) for scaled labels (n, n_label)."""
    return unscale_flux(_forward(weights, labels)[0])


def _forward(weights, labels):
    """Output (n_pixel, n), hidden outputs (n_pixel, n, n_neurons), output weights (n_pixel, n_neurons)."""
    w0, b0, w1, b1 = split(weights, labels.shape[1])
    inputs = np.einsum("pjd,nd->pnj", w0, labels) + b0[:, None]
    hidden = 0.5 + 0.5 * np.tanh(0.5 * inputs)
    return 0.5 + 0.5 * np.tanh(0.5 * (np.einsum("pnj,pj->pn", hidden, w1) + b1[:, None])), hidden, w1


# ---------------------------------------------------------------------------------------------- rows that are not ours


def measure_scipy(case: Case, n_neurons: int = 10) -> Measured:
    """scipy's Levenberg-Marquardt (MINPACK) with exact derivatives, one random start, training spectra alone."""
    n_label = case.labels.shape[1]
    inputs = np.column_stack([case.labels, np.ones(len(case.labels))])
    found = []
    begin = time.process_time()
    for pixel in case.pixels:
        scaled = scale_flux(case.flux[:, pixel])

        def residuals(weights, scaled=scaled):
            return _forward(weights[None], case.labels)[0][0] - scaled

        def derivatives(weights):
            output, hidden, w1 = (array[0] for array in _forward(weights[None], case.labels))
            slope = (output * (1 - output))[:, None]
            by_input = slope * w1 * hidden * (1 - hidden)  # (n, n_neurons)
            by_w0 = (by_input[:, :, None] * inputs[:, None, :n_label]).reshape(len(inputs), -1)
            return np.hstack([by_w0, by_input, slope * hidden, slope])

        first = random_network(weights_generator(SEED, int(pixel), 0), scaled.mean(), n_label, n_neurons)
        found.append(least_squares(residuals, first, derivatives, method="lm", max_nfev=SCIPY_EVALUATIONS))
    milliseconds = (time.process_time() - begin) / len(found) * 1e3
    predicted = predict(np.array([fit.x for fit in found]), case.held_labels)
    deviation = np.array([unscale_deviation(np.abs(fit.fun).max()) for fit in found])
    return Measured(case.errors(predicted), deviation, milliseconds, np.mean([fit.nfev for fit in found]))


def measure_kriging(case: Case) -> Measured:
    """Kriging from the training spectra, without any network."""
    lengths, nugget = kriging_lengths(case.labels, case.flux[:, :: max(1, case.flux.shape[1] // KRIGING_PIXELS)])
    flux = case.flux[:, case.pixels]
    matrix = kriging_matrix(case.labels, case.held_labels, lengths, nugget)  # once per grid
    begin = time.process_time()
    predicted = (matrix @ flux).T
    milliseconds = (time.process_time() - begin) / len(case.pixels) * 1e3
    again = kriging_matrix(case.labels, case.labels, lengths, nugget) @ flux
    return Measured(case.errors(predicted), np.abs(again - flux).max(axis=0), milliseconds)


# -------------------------------------------------------------------------------------------------------------- tables


def compare_trainers(case: Case) -> None:
    print(HEAD)
    published, default = SgdSettings(), LmSettings()
    rehearse(case, replace(published, trial_epochs=200, num_epochs=200, max_iter=1))
    nothing = prepare(case.labels, case.flux, published, SEED)
    print(measure(case, published, nothing).row("sgd, the published trainer"), flush=True)
    preparation, seconds = prepare_timed(case, default)
    one_start, no_virtual = replace(default, n_starts=1), replace(default, virtual_weight=0.0)
    print(measure_thrice(case, default, preparation).row("lm, default"), flush=True)
    print(measure_thrice(case, one_start, preparation).row("lm, one start"), flush=True)
    bare, _ = prepare_timed(case, no_virtual)
    print(measure_thrice(case, no_virtual, bare).row("lm, without virtual spectra"), flush=True)
    random = replace(preparation, templates=Templates.none(case.labels.shape[1]))
    print(measure_thrice(case, default, random).row("lm, without templates"), flush=True)
    print(measure_thrice(case, one_start, random).row("lm, neither several starts nor templates"), flush=True)
    some = case if len(case.pixels) <= SCIPY_PIXELS else replace(case, pixels=case.pixels[evenly(len(case.pixels))])
    print(measure_scipy(some).row(f"scipy least_squares ({len(some.pixels)} pixels)"), flush=True)
    print(measure_kriging(case).row("kriging, no network"), flush=True)
    begin = time.process_time()
    make_virtual_spectra(case.labels, case.flux, SEED)
    virtual = time.process_time() - begin
    print(f"prepared once per grid, for lm: {seconds:.2f} s, of it {virtual:.2f} s for the virtual spectra")
    print(f"that is: {preparation.note}")


def evenly(n: int) -> np.ndarray:
    """SCIPY_PIXELS of n pixels, evenly spread."""
    return np.linspace(0, n - 1, SCIPY_PIXELS).astype(int)


def compare_neurons(case: Case) -> None:
    print(HEAD + f"{'preparation, s':>17}")
    for n_neurons in (5, 10, 15, 20, 30):
        settings = LmSettings(n_neurons=n_neurons)
        preparation, seconds = prepare_timed(case, settings)
        print(measure_thrice(case, settings, preparation).row(f"{n_neurons} neurons") + f"{seconds:17.2f}", flush=True)


def measure_growth() -> None:
    print(
        f"{'':10}{'microseconds an iteration':42}{'exponent':>10}  {'seconds for virtual spectra':42}{'exponent':>10}"
    )
    for what, values, sizes_of in (
        ("spectra", (160, 640, 2560), lambda n: (n, 3, 10)),
        ("labels", (3, 10, 25), lambda n: (160, n, 10)),
        ("neurons", (10, 20, 40), lambda n: (160, 3, n)),
    ):
        costs = np.array([time_iteration(*sizes_of(n)) for n in values]).T
        row = f"{what:10}"
        for cost, digits in zip(costs, (1, 2), strict=True):
            shown = "".join(f"{f'{n}: {c:.{digits}f}':14}" for n, c in zip(values, cost, strict=True))
            row += f"{shown}{np.polyfit(np.log(values), np.log(cost), 1)[0]:10.2f}  "
        print(row.rstrip(), flush=True)


def time_iteration(n_training: int, n_label: int, n_neurons: int, n_pixel: int = 16) -> tuple[float, float]:
    """Microseconds of one iteration of one pixel, training spectra alone, and seconds that the virtual spectra take."""
    labels, flux = smooth_grid(n_training, n_label, n_pixel)
    case = Case(labels, flux, labels[:1], flux[:1], np.arange(n_pixel))
    settings = LmSettings(
        n_neurons=n_neurons, n_starts=1, max_rounds=1, random_iterations=20, max_iterations=20, virtual_weight=0.0
    )
    nothing = Preparation.nothing(n_training, n_label)
    measure(case, settings, nothing)  # compile
    trained = [measure(case, settings, nothing) for _ in range(5)]
    begin = time.process_time()
    make_virtual_spectra(labels, flux, SEED)
    seconds = time.process_time() - begin
    return min(one.milliseconds / one.iterations for one in trained) * 1e3, seconds


def smooth_grid(n_spectrum: int, n_label: int, n_pixel: int) -> tuple[np.ndarray, np.ndarray]:
    """Scaled labels (n_spectrum, n_label) in a cube and flux (n_spectrum, n_pixel): lines whose depth is smooth."""
    generator = np.random.default_rng(SEED)
    labels = generator.uniform(0.1, 0.9, (n_spectrum, n_label))
    strength = generator.normal(size=(n_label, n_pixel)) / np.sqrt(n_label)
    depth = 1 / (1 + np.exp(-6 * (labels - 0.5) @ strength))
    return labels, 1 - 0.5 * depth - 0.2 * depth**3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz", metavar="GRID")
    parser.add_argument("--pixels", type=int, default=128, metavar="N")
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--neurons", action="store_true")
    tables.add_argument("--growth", action="store_true")
    options = parser.parse_args()
    if options.growth:
        measure_growth()
        return
    case = read_case(options.grid, options.pixels)
    print(f"{len(case.labels)} training spectra, {case.labels.shape[1]} labels, {len(case.pixels)} pixels, test set")
    if options.neurons:
        compare_neurons(case)
    else:
        compare_trainers(case)
        print("\nsgd beside the same listing in Theano (environment: make theano):")
        print(speed_table(options.grid))


if __name__ == "__main__":
    main()
