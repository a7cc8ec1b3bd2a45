"""Do networks go on from those of an earlier, smaller grid, or do they begin anew? Time and error, side by side.

    python benchmarks/warm_start.py [GRID] [--pixels 256] [--first 0.5]

The first part of the training set is the first batch, all of it the joined grid. Each pixel's network of the first
batch, trained as usual, is brought to the label ranges of the joined grid, exactly, by its hidden layer. Then the
pixels are trained on the joined grid: cold, as payneflow does it; from the earlier network in place of all trials (a
loop alone); from it as the only trial; from it as one trial more. Errors are those of the test set, which no row has
seen; ms is the time of one core a pixel, the quickest of three, without what is prepared once per grid. The last column
compares with the cold row, pixel by pixel: the geometric mean of the ratio of rms errors, and its standard error.
"""

import argparse
import os
import time
from dataclasses import replace

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from choose_lm import against
from trainers import HEAD, Case, Measured, measure, predict, random_pixels, rehearse

from payneflow.grid import TEST, TRAINING, read_grid
from payneflow.scaling import LabelScaler
from payneflow.settings import LmSettings
from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
from payneflow.training.lm.preparation import Preparation
from payneflow.training.policy import PixelProgress, Stage
from payneflow.training.trainers import make_trainer, prepare
from payneflow.weights import join, split

SEED = 0


def moved(weights: np.ndarray, before: LabelScaler, after: LabelScaler) -> np.ndarray:
    """Networks (n_pixel, n_weight) of labels scaled by `before`, for labels scaled by `after`: the same flux."""
    w0, b0, w1, b1 = split(weights, len(before.x_min))
    # x'_before = slope x'_after + shift, label by label
    shift = before.scale(after.unscale(np.zeros((1, len(before.x_min)))))[0]
    slope = before.scale(after.unscale(np.ones((1, len(before.x_min)))))[0] - shift
    return np.array([join(w0[i] * slope, b0[i] + w0[i] @ shift, w1[i], b1[i]) for i in range(len(weights))])


def measure_warm(case: Case, settings: LmSettings, preparation: Preparation, start: np.ndarray, way: str) -> Measured:
    """As `measure`, with a network (n_pixel, n_weight) of each pixel to start from."""
    given = dict(zip(map(int, case.pixels), start, strict=True))
    n_starts = settings.for_labels(case.labels.shape[1]).n_starts
    if way == "trial":
        settings = replace(settings, n_starts=1)
    elif way == "one more":
        settings = replace(settings, n_starts=n_starts + 1)
    trainer, policy = make_trainer(case.labels, preparation, settings, SEED)
    usual = trainer.new_network

    def new_network(pixel, restart, flux, relevance=None):
        if way != "loop" and restart == 0:
            return given[pixel]
        return usual(pixel, restart - (way != "loop"), flux, relevance)

    trainer.new_network = new_network
    begin = time.process_time()
    flux = case.flux[:, case.pixels]
    floors = preparation.floor.of(flux[preparation.floor.rows])
    to_learn = flux_to_learn(flux, preparation.virtual.flux(flux, floors.nugget))
    relevance = preparation.floor.relevance(flux[preparation.floor.rows], floors.nugget)
    known = zip(floors.noise, floors.deviation, relevance if len(relevance) else [None] * len(case.pixels), strict=True)
    tasks = []
    for i, of_pixel in enumerate(known):
        progress = PixelProgress()
        if way == "loop":
            progress = PixelProgress(stage=Stage.LOOP, weights=start[i].copy())
        tasks.append(PixelTask(int(case.pixels[i]), to_learn[i], progress, *of_pixel))
    for _ in train_pixels(trainer, policy, tasks):
        pass
    milliseconds = (time.process_time() - begin) / len(tasks) * 1e3
    weights = np.array([task.progress.best_weights for task in tasks])
    return Measured(
        case.errors(predict(weights, case.held_labels)),
        np.array([task.progress.deviation for task in tasks]),
        milliseconds,
        np.mean([task.progress.steps for task in tasks]),
        weights,
    )


def rms_of_pixels(measured: Measured) -> np.ndarray:
    return np.sqrt((measured.errors**2).mean(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz", metavar="GRID")
    parser.add_argument("--pixels", type=int, default=256, metavar="N")
    parser.add_argument("--first", type=float, default=0.5, metavar="SHARE", help="of the training spectra")
    parser.add_argument("--most", type=int, default=0, metavar="N", help="training spectra, at most (0: all)")
    parser.add_argument("--times", type=int, default=3, metavar="N", help="the quickest of so many")
    options = parser.parse_args()
    grid = read_grid(options.grid)
    labels, flux = grid.labels[TRAINING], grid.flux[TRAINING].astype(float)
    n = min(options.most or len(labels), len(labels))
    labels, flux, first = labels[:n], flux[:n], int(n * options.first)
    pixels = random_pixels(flux.shape[1], options.pixels)
    cases, scalers, held = [], [], (grid.labels[TEST], grid.flux[TEST].astype(float))
    for count in (first, n):
        scaler = LabelScaler.of_training_labels(labels[:count])
        cases.append(Case(scaler.scale(labels[:count]), flux[:count], scaler.scale(held[0]), held[1], pixels))
        scalers.append(scaler)
    print(f"{first} and then {n} training spectra, {labels.shape[1]} labels, {len(pixels)} pixels, test set")
    settings = LmSettings()
    preparations = [prepare(case.labels, case.flux, settings, SEED) for case in cases]
    rehearse(cases[1], settings)
    earlier = measure(cases[0], settings, preparations[0])
    print(HEAD + f"{'rms against cold':>22}")
    print(earlier.row(f"the earlier networks, {first} spectra"), flush=True)
    start = moved(earlier.weights, *scalers)
    off = np.abs(predict(start, cases[1].held_labels) - predict(earlier.weights, cases[0].held_labels)).max()
    print(f"  brought to the joined label ranges they are off by {off:.1e}")

    def quickest(run):
        return min((run() for _ in range(options.times)), key=lambda one: one.milliseconds)

    cold = quickest(lambda: measure(cases[1], settings, preparations[1]))
    print(cold.row(f"cold, {n} spectra"), flush=True)
    again = measure(cases[1], settings, preparations[1], SEED + 1)
    print(again.row("cold, another seed") + f"{against(rms_of_pixels(again), rms_of_pixels(cold)):>22}", flush=True)
    for way, name in (
        ("loop", "warm: no trial, a loop"),
        ("trial", "warm: the only trial"),
        ("one more", "warm: one trial more"),
    ):
        warm = quickest(lambda way=way: measure_warm(cases[1], settings, preparations[1], start, way))
        print(warm.row(name) + f"{against(rms_of_pixels(warm), rms_of_pixels(cold)):>22}", flush=True)


if __name__ == "__main__":
    main()
