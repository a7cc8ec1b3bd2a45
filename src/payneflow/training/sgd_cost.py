"""What the published algorithm costs, in `sgd` and in Theano: numbers only, without loading numba.

Measured on one core of an AMD EPYC (Zen 4, AVX-512); docs/scaling.md has the tables and the commands that print them.
`n_training`: training spectra.
"""

from payneflow.settings import SgdSettings
from payneflow.training.lanes import LANES
from payneflow.weights import n_weight

# sgd, seconds of a training spectrum in one epoch: by weights and by neurons. Within a tenth from 10 to 20 neurons, 3
# to 25 labels, 160 to 2000 spectra (10 to 77 ns); 5 neurons cost 1.2 x it.
SGD_WEIGHT, SGD_NEURON = 1.16e-10, 4.6e-10
SGD_LOOPS = 26.5  # loops that a pixel of the demonstration grid needs on average; a grid easier or harder has its own
THEANO_MINI_BATCH = 1.9e-5  # seconds of a mini-batch in Theano, whatever its size: nearly all of it is Python


def sgd_seconds_a_pixel(settings: SgdSettings, n_training: int, n_label: int) -> float:
    """Seconds of one core for a pixel, on average: an epoch costs `spectra x n_weight`."""
    a_spectrum = SGD_WEIGHT * n_weight(settings.n_neurons, n_label) + SGD_NEURON * settings.n_neurons
    return _epochs(settings) * (n_training // settings.mini_batch_size) * settings.mini_batch_size * a_spectrum


def theano_seconds_a_pixel(settings: SgdSettings, n_training: int, n_label: int) -> float:
    """Seconds of one core for a pixel, on average, whatever its labels and neurons."""
    return _epochs(settings) * (n_training // settings.mini_batch_size) * THEANO_MINI_BATCH


def _epochs(settings: SgdSettings) -> float:
    return settings.trial_epochs + min(SGD_LOOPS, settings.max_iter) * settings.num_epochs


def working_mb(settings: SgdSettings, n_training: int, n_label: int) -> float:
    """Megabytes that every rank needs beside its process and the pixels it holds: each lane's own labels and flux."""
    return n_training * LANES * (n_label + 2) * 8 / 1e6
