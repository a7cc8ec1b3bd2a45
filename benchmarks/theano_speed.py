"""Speed of the published trainer, ours and in Theano, side by side on the same pixels, one process and one core.

    make theano       or       .venv-theano/bin/python benchmarks/theano_speed.py [GRID]

Both are timed in turn, several times; the table gives medians. The work of a whole grid is that which `sgd` does on a
random sample of pixels with published settings: Theano decides the same (benchmarks/theano_equality.py), so it would do
the same work. What is compiled is stated apart: Theano compiles in every process, `sgd` once per machine.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from theano_equality import SEED, read_case

from payneflow.settings import SgdSettings, TheanoSettings
from payneflow.training.lanes import PixelTask, train_pixels
from payneflow.training.policy import PixelProgress, PublishedPolicy, Run
from payneflow.training.sgd import SgdTrainer
from payneflow.training.theano import TheanoTrainer, import_theano

ROOT = Path(__file__).parents[1]
ROUNDS, EPOCHS, THEANO_EPOCHS = 7, 2000, 40  # of 8 pixels, of 1 pixel: a fifth, a tenth of a second
SAMPLE = 32  # pixels that tell how much work a pixel is


def speed_table(path: str = "resources/hband_grid.npz") -> str:
    """The table, made by .venv-theano's Python, for a program that runs in another one."""
    command = [ROOT / ".venv-theano/bin/python", __file__, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main(path: str = "resources/hband_grid.npz") -> None:
    labels, flux = read_case(path)
    begin = time.perf_counter()
    import_theano()
    imported = time.perf_counter() - begin
    trainers, seconds = {}, {}
    for name, trainer, settings in (("sgd", SgdTrainer, SgdSettings()), ("theano", TheanoTrainer, TheanoSettings())):
        begin = time.perf_counter()
        trainers[name] = trainer(labels, settings, SEED)
        time_epochs(trainers[name], flux, 200)  # numba compiles, or reads what it compiled, when called
        seconds[name] = time.perf_counter() - begin
    nanoseconds = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, epochs in (("sgd", EPOCHS), ("theano", THEANO_EPOCHS)):
            n_mini_batch = epochs * (len(labels) // 2) * trainers[name].n_lane
            nanoseconds[name].append(time_epochs(trainers[name], flux, epochs) / n_mini_batch * 1e9)
    medians = {name: statistics.median(times) for name, times in nanoseconds.items()}
    work = epochs_of_a_pixel(trainers["sgd"], flux) * (len(labels) // 2)
    print(f"\n{len(labels)} training spectra, {labels.shape[1]} labels, 10 neurons, mini-batches of 2, {ROUNDS} rounds")
    print(f"work of a pixel with published settings: {work:.3g} mini-batches (mean of {SAMPLE} pixels)\n")
    print(f"{'':10}{'ns per pixel':>16}{'of sgd':>8}{'seconds':>10}{'core hours for':>18}{'seconds to':>13}")
    print(f"{'trainer':10}{'and mini-batch':>16}{'':>8}{'a pixel':>10}{f'all {len(flux)} pixels':>18}{'compile':>13}")
    for name, value in medians.items():
        a_pixel = work * value * 1e-9
        hours = a_pixel * len(flux) / 3600
        ratio = f"{value / medians['sgd']:.0f}x"
        compiling = f"{seconds[name]:.1f}" if name == "theano" else "once"
        print(f"{name:10}{value:16.0f}{ratio:>8}{a_pixel:10.3g}{hours:18.3g}{compiling:>13}")
    print(f"\nTheano is imported in {imported:.1f} s besides.")


def time_epochs(trainer, flux: np.ndarray, epochs: int) -> float:
    """Seconds for `epochs` epochs of as many pixels as there are lanes, evenly spread over the grid."""
    pixels = np.linspace(0, len(flux) - 1, trainer.n_lane).astype(int)
    for lane, pixel in enumerate(pixels):
        weights = trainer.new_network(int(pixel), 0, flux[pixel])
        trainer.start(lane, flux[pixel], weights, Run(0, epochs, SgdSettings().eta, True))
    begin = time.perf_counter()
    assert len(trainer.advance()) == trainer.n_lane
    return time.perf_counter() - begin


def epochs_of_a_pixel(trainer: SgdTrainer, flux: np.ndarray) -> float:
    """Mean number of epochs that a random sample of pixels takes with published settings."""
    pixels = np.random.default_rng(SEED).choice(len(flux), SAMPLE, replace=False)
    tasks = [PixelTask(int(pixel), flux[pixel], PixelProgress()) for pixel in pixels]
    for _ in train_pixels(trainer, PublishedPolicy(SgdSettings()), tasks):
        pass
    return float(np.mean([task.progress.steps for task in tasks]))


if __name__ == "__main__":
    main(*sys.argv[1:])
