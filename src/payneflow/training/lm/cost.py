"""What the Levenberg-Marquardt trainer costs in time and memory: numbers only, without loading numba.

Measured on one core of an AMD EPYC (Zen 4, AVX-512); docs/scaling.md has the tables and the commands that print them.
`n_training`: training spectra.
"""

from math import ceil

from payneflow.settings import FEW_LABELS, LmSettings
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


def seconds_a_pixel(settings: LmSettings, n_training: int, n_label: int) -> float:
    """Seconds of one core for a pixel, on average.

    An iteration costs `spectra x n_weight^2 + n_weight^3` and, for the outputs, `spectra x n_weight`; counted is every
    iteration of the first round (`n_starts` trials and a loop); networks too small for the grid need more rounds, 5
    neurons on the demonstration grid twice as many.
    """
    settings = settings.for_labels(n_label)
    trials = settings.n_starts * settings.start_iterations * _iteration(settings, n_training, n_label)
    n_given = n_training + n_virtual(settings, n_training, n_label)
    return trials + settings.max_iterations * _iteration(settings, n_given, n_label)


def seconds_of_preparation(settings: LmSettings, n_training: int, n_label: int, n_pixel: int) -> float:
    """Seconds of one core that `payneflow split` needs to train the templates of a grid of `n_pixel` pixels in all."""
    if n_label > FEW_LABELS:  # there are none
        return 0.0
    settings = settings.for_labels(n_label)
    trials = TEMPLATE_STARTS * settings.random_iterations * _iteration(settings, n_training, n_label)
    n_given = n_training + n_virtual(settings, n_training, n_label)
    each = trials + TEMPLATE_ITERATIONS * _iteration(settings, n_given, n_label)
    return min(N_TEMPLATE, n_pixel // PIXELS_PER_TEMPLATE) * each


def n_virtual(settings: LmSettings, n_training: int, n_label: int) -> int:
    """Virtual spectra that a loop learns beside `n_training` training spectra."""
    if not settings.for_labels(n_label).virtual_weight or n_training > LARGEST_KRIGING:
        return 0
    return min(ceil(VIRTUAL_PER_TRAINING * n_training), LARGEST_VIRTUAL)


def _iteration(settings: LmSettings, n_spectrum: int, n_label: int) -> float:
    n = n_weight(settings.n_neurons, n_label)
    return n_spectrum * (LINEAR * n + SQUARE * n**2) + CUBE * n**3


def working_mb(settings: LmSettings, n_training: int, n_label: int) -> float:
    """Megabytes that every rank needs beside its process and the pixels it holds."""
    settings = settings.for_labels(n_label)
    judged = min(n_training, FIT_SPECTRA) if n_label <= FEW_LABELS else 0
    templates = 5 * N_TEMPLATE * judged * settings.n_neurons * 8  # their hidden outputs, five copies at most
    products = 3 * 4 * n_training * (n_label + 3) ** 2 / 2  # of two labels each, in two engines, and being made
    normal = 2 * 1.5 * LANES * n_weight(settings.n_neurons, n_label) ** 2 * 8  # J'J of eight lanes, and its factor
    return (templates + products + normal) / 1e6
