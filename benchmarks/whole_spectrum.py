"""One network for the whole spectrum, as the later public code of The Payne trains it, in plain numpy.

    python benchmarks/whole_spectrum.py [GRID] [--steps 10000] [--step-size 1e-4]

Default GRID: resources/many_labels.npz. Labels go in, the flux of all pixels comes out; between them are two hidden
layers of 300, leaky ReLU. Adam (Kingma & Ba 2015) lowers the mean |error| of normalised flux, a step for every 512
spectra, or for all where there are fewer. No spectra are held back, and the last state is taken. The training set
trains, the test set judges; the rows above the last show the state on the way, by the training set alone.
"""

import argparse
import os
import time
from itertools import pairwise

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np

from payneflow.grid import TEST, TRAINING, read_grid

HIDDEN, BATCH = (300, 300), 512
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

    def __init__(self, parameters: list[np.ndarray], step_size: float):
        self._parameters, self._step_size, self._done = parameters, step_size, 0
        self._mean, self._square = ([np.zeros_like(one) for one in parameters] for _ in range(2))

    def step(self, gradients: list[np.ndarray]) -> None:
        self._done += 1
        of_mean, of_square = 1 - DECAY_OF_MEAN**self._done, 1 - DECAY_OF_SQUARE**self._done
        size = self._step_size * np.sqrt(of_square) / of_mean
        moved = zip(self._parameters, gradients, self._mean, self._square, strict=True)
        for parameter, gradient, mean, square in moved:
            mean += (1 - DECAY_OF_MEAN) * (gradient - mean)
            square += (1 - DECAY_OF_SQUARE) * (gradient * gradient - square)
            parameter -= size * mean / (np.sqrt(square) + LEAST_ROOT * np.sqrt(of_square))


def train_whole_spectrum(
    labels: np.ndarray, flux: np.ndarray, n_step: int, step_size: float
) -> tuple[WholeSpectrumNetwork, np.ndarray]:
    """A network of scaled labels (n, n_label) and flux (n, n_pixel), and the loss of each step (n_step,)."""
    rng = np.random.default_rng(SEED)
    network = WholeSpectrumNetwork(labels.shape[1], flux.shape[1], rng)
    adam, flux, losses = Adam(network.parameters, step_size), flux.astype(np.float32), np.empty(n_step)
    for step in range(n_step):
        rows = rng.permutation(len(labels))[:BATCH]
        losses[step], gradients = network.loss_and_gradients(labels[rows], flux[rows])
        adam.step(gradients)
    return network, losses


def means_on_the_way(losses: np.ndarray) -> dict[int, float]:
    """Mean loss of the last twentieth of steps before a quarter, a half and the whole of them: {steps done: mean}."""
    n_mean = max(1, len(losses) // 20)
    ends = (max(1, len(losses) * quarter // 4) for quarter in (1, 2, 4))
    return {end: float(losses[max(0, end - n_mean) : end].mean()) for end in ends}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/many_labels.npz")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--step-size", type=float, default=1e-4)
    given = parser.parse_args()
    grid = read_grid(given.grid)
    labels, flux = grid.scaler.scale(grid.labels), grid.flux.astype(float)
    begin = time.process_time()
    network, losses = train_whole_spectrum(labels[TRAINING], flux[TRAINING], given.steps, given.step_size)
    seconds = time.process_time() - begin
    for step, mean in means_on_the_way(losses).items():
        print(f"after {step} steps: mean |error| on the training set {mean:.2e}")
    errors = np.abs(network.predict(labels[TEST]) - flux[TEST])
    rms = np.sqrt((errors**2).mean())
    print(f"test set: rms {rms:.2e}, median {np.median(errors):.2e}, largest {errors.max():.3f}; {seconds:.0f} s")


if __name__ == "__main__":
    main()
