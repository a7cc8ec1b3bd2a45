"""What the Levenberg-Marquardt trainer costs in time and memory: numbers only, without loading numba.

Measured on one core of an AMD EPYC (Zen 4, AVX-512); docs/scaling.md has the tables and the commands that print them.
`n_training`: training spectra.
"""

from math import ceil

from payneflow.settings import LmSettings, has_many_labels
from payneflow.training.lanes import LANES
from payneflow.training.lm.limits import (
    FIT_SPECTRA,
    LARGEST_KRIGING,
    LARGEST_VIRTUAL,
    N_TEMPLATE,
    PIXELS_PER_TEMPLATE,
    TEMPLATE_ITERATIONS,
    TEMPLATE_STARTS,
    VIRTUAL_PER_TRAINING,
)
from payneflow.weights import n_weight

# Seconds of an iteration: by spectra x weights, spectra x weights^2 and weights^3. Within a fifth of the measured
# from 160 spectra, 3 labels, 10 neurons (13 us) to 50 000, 25, 20 (0.13 s); 5 neurons cost 1.7 x it.
LINEAR, SQUARE, CUBE = 8.8e-10, 6.4e-12, 9.2e-12


# Of many labels, measured on 22 of them (docs/lm.md): the part that a network keeps, the loops that a pixel needs on
# average, and the sizes of networks that are under way at a time.
KEPT, ROUNDS, SIZES = 0.77, 1.65, 3


def seconds_a_pixel(settings: LmSettings, n_training: int, n_label: int) -> float:
    """Seconds of one core for a pixel, on average.

    An iteration costs `spectra x n_weight^2 + n_weight^3` and, for the outputs, `spectra x n_weight`. With few labels
    every iteration of the first round is counted (`n_starts` trials and a loop); networks too small for the grid need
    more rounds, 5 neurons on the demonstration grid twice as many. With many labels it is what such networks need.
    """
    settings = settings.for_labels(n_label)
    n_given = n_training + n_virtual(settings, n_training, n_label)
    rounds = 1.0
    if has_many_labels(n_label):
        n_label, rounds = ceil(KEPT * n_label), min(ROUNDS, settings.max_rounds)
    trials = settings.n_starts * settings.start_iterations * seconds_of_iteration(settings, n_training, n_label)
    return trials + rounds * settings.max_iterations * seconds_of_iteration(settings, n_given, n_label)


def seconds_of_preparation(settings: LmSettings, n_training: int, n_label: int, n_pixel: int) -> float:
    """Seconds of one core that `payneflow split` needs to train the templates of a grid of `n_pixel` pixels in all."""
    if has_many_labels(n_label):  # there are none
        return 0.0
    settings = settings.for_labels(n_label)
    trials = TEMPLATE_STARTS * settings.random_iterations * seconds_of_iteration(settings, n_training, n_label)
    n_given = n_training + n_virtual(settings, n_training, n_label)
    each = trials + TEMPLATE_ITERATIONS * seconds_of_iteration(settings, n_given, n_label)
    return min(N_TEMPLATE, n_pixel // PIXELS_PER_TEMPLATE) * each


def n_virtual(settings: LmSettings, n_training: int, n_label: int) -> int:
    """Virtual spectra that a loop learns beside `n_training` training spectra."""
    if not settings.for_labels(n_label).virtual_weight or n_training > LARGEST_KRIGING:
        return 0
    return min(ceil(VIRTUAL_PER_TRAINING * n_training), LARGEST_VIRTUAL)


def seconds_of_iteration(settings: LmSettings, n_spectrum: int, n_label: int) -> float:
    """Seconds of one core for an iteration of one network that knows `n_label` labels."""
    n = n_weight(settings.n_neurons, n_label)
    return n_spectrum * (LINEAR * n + SQUARE * n**2) + CUBE * n**3


def working_mb(settings: LmSettings, n_training: int, n_label: int) -> float:
    """Megabytes that every rank needs beside its process and the pixels it holds."""
    settings = settings.for_labels(n_label)
    normal = 1.5 * LANES * n_weight(settings.n_neurons, n_label) ** 2 * 8  # J'J of eight lanes, and its factor
    if has_many_labels(n_label):
        # labels of each lane in double and in single precision, filled up; outputs of two networks; flux
        spectra = n_training * LANES * (12 * (n_label + 4) + 16 * (settings.n_neurons + 1) + 8)
        return SIZES * (spectra + normal) / 1e6
    judged = min(n_training, FIT_SPECTRA)
    templates = 5 * N_TEMPLATE * judged * settings.n_neurons * 8  # their hidden outputs, five copies at most
    products = 3 * 4 * n_training * (n_label + 3) ** 2 / 2  # of two labels each, in two engines, and being made
    return (templates + products + 2 * normal) / 1e6
