"""One network for the whole spectrum, as the later public code of The Payne trains it, in plain numpy.

    python benchmarks/whole_spectrum.py [GRID] [--steps 2000] [--step-size 1e-3]

Default GRID: resources/many_labels.npz. Labels go in, the flux of all pixels comes out; between them are two hidden
layers of 300, leaky ReLU. Adam (Kingma & Ba 2015) lowers the mean |error| of normalised flux, a step for every 512
spectra, or for all where there are fewer. Every tenth spectrum of the training set is held back, and of the states
after every 50 steps the one that predicts these best is taken. The test set judges.

The public code takes 10 000 steps of 1e-4. Here the size of the steps falls evenly to 0, so that fewer and larger ones
do: without that, steps of 1e-3 shake the flux by 5e-3.
"""

import argparse
import os
import time
from dataclasses import dataclass
from itertools import pairwise

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np

from payneflow.grid import TEST, TRAINING, read_grid

HIDDEN, BATCH = (300, 300), 512
HELD_BACK, VALIDATE = 10, 50  # one spectrum in so many; steps between looks
LEAK = 0.01  # slope of the leaky ReLU below 0
DECAY_OF_MEAN, DECAY_OF_SQUARE, LEAST_ROOT = 0.9, 0.999, 1e-8  # of Adam, its authors' values
SEED = 0


class WholeSpectrumNetwork:
    """Scaled labels (n, n_label) -> flux (n, n_pixel). `weights`, `biases`: of the layers, from labels to flux."""

    def __init__(self, n_label: int, n_pixel: int, rng: np.random.Generator, dtype=np.float32):
        sizes = [n_label, *HIDDEN, n_pixel]
        self.weights, self.biases = [], []
        for n_in, n_out in pairwise(sizes):
            bound = 1 / np.sqrt(n_in)  # the public code leaves the start to PyTorch: uniform within this
            self.weights.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
            self.biases.append(rng.uniform(-bound, bound, n_out).astype(dtype))

    @property
    def parameters(self) -> list[np.ndarray]:
        return [*self.weights, *self.biases]

    def predict(self, labels: np.ndarray) -> np.ndarray:
        return self._layers(labels)[-1]

    def _layers(self, labels: np.ndarray) -> list[np.ndarray]:
        """Inputs, outputs of the hidden layers, flux: (n, size) each."""
        outputs = [((labels - 0.5) / 0.8).astype(self.weights[0].dtype)]  # the public code's labels: -0.5 ... 0.5
        for layer, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = outputs[-1] @ weights + bias
            outputs.append(z if layer == len(HIDDEN) else np.maximum(z, z * z.dtype.type(LEAK)))
        return outputs

    def loss_and_gradients(self, labels: np.ndarray, flux: np.ndarray) -> tuple[float, list[np.ndarray]]:
        """Mean |error| over spectra and pixels, and its derivatives by `parameters`, in their order and shapes."""
        outputs = self._layers(labels)
        error = outputs[-1] - flux
        by_output = np.sign(error) * error.dtype.type(1 / error.size)
        by_weights, by_biases = [], []
        for layer in reversed(range(len(self.weights))):
            by_weights.insert(0, outputs[layer].T @ by_output)
            by_biases.insert(0, by_output.sum(axis=0))
            if layer:
                slope = np.where(outputs[layer] > 0, error.dtype.type(1), error.dtype.type(LEAK))
                by_output = (by_output @ self.weights[layer].T) * slope
        return float(np.abs(error).mean()), [*by_weights, *by_biases]


class Adam:
    """Steps of Adam on arrays, in place."""

    def __init__(self, parameters: list[np.ndarray]):
        self._parameters, self._done = parameters, 0
        self._mean, self._square = ([np.zeros_like(one) for one in parameters] for _ in range(2))

    def step(self, gradients: list[np.ndarray], step_size: float) -> None:
        self._done += 1
        of_mean, of_square = 1 - DECAY_OF_MEAN**self._done, 1 - DECAY_OF_SQUARE**self._done
        size = step_size * np.sqrt(of_square) / of_mean
        moved = zip(self._parameters, gradients, self._mean, self._square, strict=True)
        for parameter, gradient, mean, square in moved:
            mean += (1 - DECAY_OF_MEAN) * (gradient - mean)
            square += (1 - DECAY_OF_SQUARE) * (gradient * gradient - square)
            parameter -= size * mean / (np.sqrt(square) + LEAST_ROOT * np.sqrt(of_square))


@dataclass(frozen=True)
class Course:
    """Looks on the way, (n_look,) each: steps done, mean |error| of the last batch learnt, of the spectra held back."""

    steps: np.ndarray
    learnt: np.ndarray
    held_back: np.ndarray

    def __str__(self) -> str:
        best = int(np.argmin(self.held_back))
        return (
            f"best after {self.steps[best]:.0f} of {self.steps[-1]:.0f} steps: mean error {self.learnt[best]:.1e} on "
            f"spectra learnt, {self.held_back[best]:.1e} on spectra held back"
        )


def train_whole_spectrum(
    labels: np.ndarray, flux: np.ndarray, n_step: int, step_size: float
) -> tuple[WholeSpectrumNetwork, Course]:
    """A network of scaled labels (n, n_label) and flux (n, n_pixel), and how training went.

    The first of `n_step` steps has `step_size`, the last next to none.
    """
    rng, flux = np.random.default_rng(SEED), flux.astype(np.float32)
    network = WholeSpectrumNetwork(labels.shape[1], flux.shape[1], rng)
    adam = Adam(network.parameters)
    back = np.arange(len(labels)) % HELD_BACK == HELD_BACK - 1
    learnt, looks, best = np.flatnonzero(~back), [], np.inf
    for step in range(1, n_step + 1):
        rows = rng.permutation(learnt)[:BATCH]
        loss, gradients = network.loss_and_gradients(labels[rows], flux[rows])
        adam.step(gradients, step_size * (1 - (step - 1) / n_step))
        if step % VALIDATE and step < n_step:
            continue
        looks.append((step, loss, float(np.abs(network.predict(labels[back]) - flux[back]).mean())))
        if looks[-1][-1] < best:
            best, kept = looks[-1][-1], [one.copy() for one in network.parameters]
    n_layer = len(network.weights)
    network.weights, network.biases = kept[:n_layer], kept[n_layer:]
    return network, Course(*np.array(looks).T)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/many_labels.npz")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--step-size", type=float, default=1e-3)
    given = parser.parse_args()
    grid = read_grid(given.grid)
    labels, flux = grid.scaler.scale(grid.labels), grid.flux.astype(float)
    begin = time.process_time()
    network, course = train_whole_spectrum(labels[TRAINING], flux[TRAINING], given.steps, given.step_size)
    seconds = time.process_time() - begin
    print(course)
    errors = np.abs(network.predict(labels[TEST]) - flux[TEST])
    rms = np.sqrt((errors**2).mean())
    print(f"test set: rms {rms:.2e}, median {np.median(errors):.2e}, largest {errors.max():.3f}; {seconds:.0f} s")


if __name__ == "__main__":
    main()
