"""Is `sgd` the published algorithm? The same pixels trained by it and by the published listing in Theano, side by side.

    make theano       or       .venv-theano/bin/python benchmarks/theano_equality.py [GRID]

Three tables. What a run does: weights after 100 epochs, predicted flux after a whole trial. What is decided: restarts,
loops, step sizes and ends, under settings short enough to wait for. And where the two part after many epochs, beside
how `sgd` parts from itself when only its rounding is changed: the neurons of a network are put in another order, which
changes nothing but the order of a sum, or its first weights are moved by one unit in the last place.
tests/with_theano/ asserts what is printed here.
"""

import sys
from collections.abc import Iterator

import numpy as np

from payneflow.grid import TRAINING, read_grid
from payneflow.scaling import scale_flux, unscale_deviation
from payneflow.settings import SgdSettings, TheanoSettings
from payneflow.training.lanes import PixelTask, Trainer, train_pixels
from payneflow.training.policy import Outcome, PixelProgress, PublishedPolicy, Run
from payneflow.training.sgd import SgdTrainer
from payneflow.training.theano import TheanoTrainer
from payneflow.weights import join, split

SEED = 0
# so short that Theano needs half a minute for the pixels below, and that all that can be decided is decided
SHORT = {"trial_epochs": 200, "num_epochs": 200, "max_iter": 5, "trunc_diff": 0.02, "min_eta": 0.03}
PIXELS = (
    *(36, 180),  # converge in the trial
    *(216, 0, 1764, 648, 1872),  # converge after 1, 2, 3, 4, 5 loops
    *(684, 2628, 5076),  # stall once, twice, three times, and converge
    *(144, 4320),  # use up their loops; without and with restarts
    *(324, 3204, 6048, 6876),  # halve the step size
    *(2772, 4536),  # end with too small a step
)
STALLING, FEW_LOOPS = (4320, 5076), 3  # all trials stall where there are no more loops than this
TRIAL_EPOCHS = SgdSettings().trial_epochs
PARTING = (4500, 7200, 0)  # two pixels that part early, one that takes long
PARTED = 1e-4  # relative difference of the weights, far above rounding and below what a single step changes


def read_case(path: str = "resources/hband_grid.npz") -> tuple[np.ndarray, np.ndarray]:
    """Scaled labels (n_training, n_label) and scaled flux (n_pixel, n_training) of a grid's training set."""
    grid = read_grid(path)
    return grid.scaler.scale(grid.labels[TRAINING]), np.ascontiguousarray(scale_flux(grid.flux[TRAINING]).T)


def run_once(trainer: Trainer, flux: np.ndarray, weights: np.ndarray, run: Run) -> Outcome:
    trainer.start(0, flux, weights, run)
    return trainer.advance()[0][1]


def first_run(trainer: Trainer, pixel: int, flux: np.ndarray, epochs: int) -> Outcome:
    """How the first trial of a pixel stands after `epochs` epochs."""
    return run_once(trainer, flux, trainer.new_network(pixel, 0, flux), Run(0, epochs, SgdSettings().eta, True))


def relative_difference(weights: np.ndarray, reference: np.ndarray) -> float:
    """Of the weight that differs most."""
    return float(np.max(np.abs(weights - reference) / np.abs(reference)))


def flux_difference(weights: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> float:
    """Largest difference of the normalised flux that two networks predict for scaled labels (n, n_label)."""
    return float(unscale_deviation(np.abs(predict(weights, labels) - predict(reference, labels)).max()))


def predict(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    w0, b0, w1, b1 = split(weights, labels.shape[1])
    return 1 / (1 + np.exp(-(1 / (1 + np.exp(-(labels @ w0.T + b0))) @ w1 + b1)))


def train(trainer: Trainer, settings: SgdSettings, pixels, flux: np.ndarray) -> dict[int, tuple[list, PixelProgress]]:
    """Each pixel trained to its end: what was decided after each of its runs, and its progress."""
    policy = PublishedPolicy(settings)
    tasks = [PixelTask(pixel, flux[pixel], PixelProgress()) for pixel in pixels]
    decisions = {pixel: [] for pixel in pixels}
    for task in train_pixels(trainer, policy, tasks):
        progress = task.progress
        decided = str(progress.stage), progress.restarts, progress.loops, policy.step_size(progress), progress.steps
        decisions[task.pixel].append(decided)
    return {task.pixel: (decisions[task.pixel], task.progress) for task in tasks}


# -------------------------------------------------------------------------------------------------- how they part


def reorder(weights: np.ndarray, order: np.ndarray, n_label: int) -> np.ndarray:
    """The same network with its hidden neurons in another order."""
    w0, b0, w1, b1 = split(weights, n_label)
    return join(w0[order], b0[order], w1[order], b1)


def walk(trainer: Trainer, flux: np.ndarray, starts: list[np.ndarray], epochs: int, every: int) -> Iterator[list]:
    """The weights of networks trained side by side, after each `every` of `epochs` epochs of one and the same run."""
    weights = list(starts)
    for _ in range(0, epochs, every):
        for first in range(0, len(weights), trainer.n_lane):
            lanes = range(min(trainer.n_lane, len(weights) - first))
            for lane in lanes:
                trainer.start(lane, flux, weights[first + lane], Run(1, every, SgdSettings().eta, False))
            for lane, outcome in trainer.advance():
                weights[first + lane] = outcome.weights
        yield list(weights)


def partings(labels, flux, pixel, theano: TheanoTrainer, sgd: SgdTrainer, epochs: int, every: int) -> np.ndarray:
    """(n, 8): after each `every` epochs, largest difference of weights from those of `sgd`, over the largest weight.

    Of Theano; of `sgd` with its neurons in six other orders; of `sgd` with its first weights one unit in the last
    place larger.
    """
    n_label, n_neurons = labels.shape[1], sgd.settings.n_neurons
    generator = np.random.default_rng(SEED)
    orders = [np.arange(n_neurons), *(generator.permutation(n_neurons) for _ in range(6)), np.arange(n_neurons)]
    start = sgd.new_network(pixel, 0, flux[pixel])
    starts = [reorder(start, order, n_label) for order in orders[:-1]] + [np.nextafter(start, np.inf)]
    table = []
    for (reference,), ours in zip(
        walk(theano, flux[pixel], [start], epochs, every), walk(sgd, flux[pixel], starts, epochs, every), strict=True
    ):
        back = [reorder(weights, np.argsort(order), n_label) for weights, order in zip(ours, orders, strict=True)][1:]
        table.append([np.abs(weights - ours[0]).max() / np.abs(ours[0]).max() for weights in (reference, *back)])
    return np.array(table)


# ------------------------------------------------------------------------------------------------------------ tables


def main(path: str = "resources/hband_grid.npz") -> None:
    labels, flux = read_case(path)
    theano, sgd = TheanoTrainer(labels, TheanoSettings(), SEED), SgdTrainer(labels, SgdSettings(), SEED)
    print(f"{len(labels)} training spectra, seed {SEED}, published settings unless said; differences are the largest\n")
    print(f"{'pixel':>6}{'weights, relative,':>22}{'flux after':>22}")
    print(f"{'':>6}{'after 100 epochs':>22}{f'{TRIAL_EPOCHS} epochs (trial)':>22}")
    for pixel in PIXELS:
        short = [first_run(trainer, pixel, flux[pixel], 100).weights for trainer in (theano, sgd)]
        whole = [first_run(trainer, pixel, flux[pixel], TRIAL_EPOCHS).weights for trainer in (theano, sgd)]
        print(f"{pixel:6}{relative_difference(*short):22.1e}{flux_difference(*whole, labels):22.1e}", flush=True)
    said = ", ".join(f"{name} {value}" for name, value in SHORT.items())
    print(f"\ndecisions, with {said} (last lines: max_iter {FEW_LOOPS})\n")
    print(f"{'pixel':>6}{'runs':>6}{'restarts':>10}{'loops':>7}{'last step':>11}  {'end':16}{'same?':7}{'flux':>9}")
    for pixels, asked in ((PIXELS, SHORT), (STALLING, {**SHORT, "max_iter": FEW_LOOPS})):
        published = train(theano, TheanoSettings(**asked), pixels, flux)
        ours = train(sgd, SgdSettings(**asked), pixels, flux)
        for pixel in pixels:
            (decided, progress), (ours_decided, ours_progress) = published[pixel], ours[pixel]
            stage, restarts, loops, step, _ = decided[-1]
            same = "yes" if decided == ours_decided else "NO"
            difference = flux_difference(progress.best_weights, ours_progress.best_weights, labels)
            row = f"{pixel:6}{len(decided):6}{restarts:10}{loops:7}{step:11.4g}  {stage:16}{same:7}"
            print(f"{row}{difference:9.1e}")
    print("\nhow weights part, relative to the largest weight (one run of step 0.1)\n")
    print(f"{'pixel':>6}{'epochs':>8}{'Theano from sgd':>18}{'sgd, neurons reordered':>26}{'sgd, 1 ulp':>12}")
    for pixel in PARTING:
        for row, differences in enumerate(partings(labels, flux, pixel, theano, sgd, 4000, 500)):
            first, others, last = differences[0], differences[1:7], differences[7]
            reordered = f"{others.min():.0e} ... {others.max():.0e}"
            print(f"{pixel:6}{500 * (row + 1):8}{first:18.0e}{reordered:>26}{last:12.0e}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
