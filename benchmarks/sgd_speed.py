"""Speed of the published trainer: nanoseconds per pixel and mini-batch of 2, one core, side by side with plain loops.

    python benchmarks/sgd_speed.py [GRID]

Every way is timed in turn, several times, in one process; the table gives the median and the ratio to the fastest of
the plain loops. Pixels and labels are those of the grid (default: resources/hband_grid.npz).
"""

import statistics
import sys
import time

import numpy as np
import plain_lanes

from payneflow.grid import TRAINING, read_grid
from payneflow.scaling import scale_flux
from payneflow.settings import SgdSettings
from payneflow.training.policy import Run
from payneflow.training.sgd import SgdTrainer

ROUNDS, EPOCHS = 9, 1000


def main(path: str = "resources/hband_grid.npz") -> None:
    grid = read_grid(path)
    labels = grid.scaler.scale(grid.labels[TRAINING])
    flux = scale_flux(grid.flux[TRAINING][:, :: grid.flux.shape[1] // 32][:, :32])
    mini_batches = EPOCHS * (len(labels) // 2)
    ways = {f"plain numba loops, {lanes} lanes": plain(labels, flux, lanes) for lanes in (8, 16, 32)}
    ways["payneflow sgd, 8 lanes in registers"] = ours(labels, flux)
    nanoseconds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (run, lanes) in ways.items():
            begin = time.perf_counter()
            run()
            nanoseconds[name].append((time.perf_counter() - begin) / mini_batches / lanes * 1e9)
    medians = {name: statistics.median(times) for name, times in nanoseconds.items()}
    yardstick = min(value for name, value in medians.items() if name.startswith("plain"))
    print(f"{len(labels)} training spectra, 3 labels, 10 neurons, float64, mini-batches of 2, {ROUNDS} rounds")
    print(f"{'':38}{'ns per pixel and mini-batch':>28}{'speed against best plain':>26}")
    for name, value in medians.items():
        print(f"{name:38}{value:28.1f}{yardstick / value:25.2f}x")


def plain(labels: np.ndarray, flux: np.ndarray, lanes: int):
    epochs = plain_lanes.build(lanes)
    state = np.zeros(plain_lanes.N_ROW * lanes)
    cost = np.zeros((EPOCHS, lanes))
    flux = np.ascontiguousarray(flux[:, :lanes])
    order = np.random.default_rng(0).permutation(len(labels))
    start = np.random.default_rng(1).normal(size=plain_lanes.N_WEIGHT * lanes)
    epochs(labels, flux, order, 1, 0.1, state.copy(), cost)  # compile

    def run():
        state[: len(start)] = start
        epochs(labels, flux, order, EPOCHS, 0.1, state, cost)

    return run, lanes


def ours(labels: np.ndarray, flux: np.ndarray):
    trainer = SgdTrainer(labels, SgdSettings(), seed=0)

    def run():
        for lane in range(trainer.n_lane):
            weights = trainer.new_network(lane, 0, flux[:, lane])
            trainer.start(lane, flux[:, lane], weights, Run(lane, EPOCHS, 0.1, trial=True))
        assert len(trainer.advance()) == trainer.n_lane

    run()  # compile, or read the compiled code from disk
    return run, trainer.n_lane


if __name__ == "__main__":
    main(*sys.argv[1:])
