"""The only two sources of randomness: the weights of a new network, and the order of the spectra in a run.

Both are functions of the seed and of what is trained, never of when, where or beside what it is trained.
"""

import numpy as np

from payneflow.weights import join


def weights_generator(seed: int, pixel: int, restart: int) -> np.random.Generator:
    """The generator of the initial weights of a pixel's network after `restart` restarts."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, pixel, restart)))


def shuffled_order(seed: int, run: int, n_training: int) -> np.ndarray:
    """(n_training,): the order in which run number `run` of any pixel walks through the training spectra."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, run)))
    return generator.permutation(n_training)


def published_network(seed: int, pixel: int, restart: int, n_neurons: int, n_label: int) -> np.ndarray:
    """Initial weights (n_weight,) of the published trainer.

    Weights are normal with variance 1/n_out of their layer, biases standard normal (published listing).
    """
    generator = weights_generator(seed, pixel, restart)
    w0 = generator.normal(size=(n_neurons, n_label)) / np.sqrt(n_neurons)
    b0, w1 = generator.normal(size=(2, n_neurons))
    return join(w0, b0, w1, generator.normal())
