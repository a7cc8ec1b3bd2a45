"""How long a chunk takes and how much memory it needs, and so how many pixels make a good job. Numbers only, no files.

The workflow asks here for what it asks Slurm for, and `payneflow plan` for what it tells the user. All constants are
measured on one core of an AMD EPYC (Zen 4, AVX-512); docs/scaling.md has the tables and the commands that print them.
"""

from math import ceil

from payneflow.settings import LmSettings, SgdSettings
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

LANES = 8  # pixels that a rank trains side by side, whatever the trainer; fewer leave some of its SIMD lanes idle

# --- A pixel ----------------------------------------------------------------------------------------------------------

# lm, seconds of an iteration: by spectra x weights, spectra x weights^2 and weights^3. Within a fifth of the measured
# from 160 spectra, 3 labels, 10 neurons (13 us) to 50 000, 25, 20 (0.13 s); 5 neurons cost 1.7 x it.
LM_LINEAR, LM_SQUARE, LM_CUBE = 8.8e-10, 6.4e-12, 9.2e-12

# sgd, seconds of a training spectrum in one epoch: by weights and by neurons. Within a tenth from 10 to 20 neurons, 3
# to 25 labels, 160 to 2000 spectra (10 to 77 ns); 5 neurons cost 1.2 x it.
SGD_WEIGHT, SGD_NEURON = 1.16e-10, 4.6e-10
SGD_LOOPS = 26.5  # loops that a pixel of the demonstration grid needs on average; a grid easier or harder has its own
THEANO_MINI_BATCH = 1.9e-5  # seconds of a mini-batch in Theano, whatever its size: nearly all of it is Python


def seconds_a_pixel(trainer: str, settings: LmSettings | SgdSettings, n_training: int, n_label: int) -> float:
    """Seconds that one core needs to train one pixel, on average, by the law of each trainer and its measured cost.

    `n_training`: training spectra, half of the grid. lm: an iteration costs `spectra x n_weight^2 + n_weight^3`
    and, for the outputs, `spectra x n_weight`; counted is every iteration of the first round (`n_starts` trials and a
    loop); networks too small for the grid need more rounds, 5 neurons on the demonstration grid twice as many. sgd: an
    epoch costs `spectra x n_weight`.
    """
    if trainer == "lm":
        trials = settings.n_starts * settings.start_iterations * _lm_iteration(settings, n_training, n_label)
        n_given = n_training + n_virtual(settings, n_training)
        return trials + settings.max_iterations * _lm_iteration(settings, n_given, n_label)
    n_epoch = settings.trial_epochs + min(SGD_LOOPS, settings.max_iter) * settings.num_epochs
    n_mini_batch = n_training // settings.mini_batch_size
    if trainer == "theano":
        return n_epoch * n_mini_batch * THEANO_MINI_BATCH
    a_spectrum = SGD_WEIGHT * n_weight(settings.n_neurons, n_label) + SGD_NEURON * settings.n_neurons
    return n_epoch * n_mini_batch * settings.mini_batch_size * a_spectrum


def seconds_of_preparation(
    trainer: str, settings: LmSettings | SgdSettings, n_training: int, n_label: int, n_pixel: int
) -> float:
    """Seconds of one core that `payneflow split` needs to train the templates of a grid of `n_pixel` pixels in all."""
    if trainer != "lm":
        return 0.0
    trials = TEMPLATE_STARTS * settings.random_iterations * _lm_iteration(settings, n_training, n_label)
    n_given = n_training + n_virtual(settings, n_training)
    each = trials + TEMPLATE_ITERATIONS * _lm_iteration(settings, n_given, n_label)
    return min(N_TEMPLATE, n_pixel // PIXELS_PER_TEMPLATE) * each


def n_virtual(settings: LmSettings, n_training: int) -> int:
    """Virtual spectra that a loop of lm learns beside `n_training` training spectra."""
    if not settings.virtual_weight or n_training > LARGEST_KRIGING:
        return 0
    return min(ceil(VIRTUAL_PER_TRAINING * n_training), LARGEST_VIRTUAL)


def _lm_iteration(settings: LmSettings, n_spectrum: int, n_label: int) -> float:
    n = n_weight(settings.n_neurons, n_label)
    return n_spectrum * (LM_LINEAR * n + LM_SQUARE * n**2) + LM_CUBE * n**3


# --- A job ------------------------------------------------------------------------------------------------------------

START_SECONDS = 1.0  # before the first pixel: Python and the kernels load
SNAKEMAKE_SECONDS = 4.0  # on a cluster, before that: Snakemake starts twice inside a job
TIME_SAFETY = 2.0  # slower nodes, chunks of hard pixels; a chunk that needs more goes on from its checkpoint
TIME_MARGIN = 3.0  # minutes: kernels compiled for a new kind of processor (20 s), a slow file system


def minutes_of_job(n_pixel: int, seconds_a_pixel: float, ranks: int = 1, on_cluster: bool = True) -> float:
    """Expected minutes of a job that trains `n_pixel` pixels on `ranks` ranks, its start included."""
    start = START_SECONDS + (SNAKEMAKE_SECONDS if on_cluster else 0.0)
    return (start + n_pixel * seconds_a_pixel / ranks) / 60


def runtime_minutes(n_pixel: int, seconds_a_pixel: float, ranks: int = 1, attempt: int = 1) -> int:
    """Minutes to ask Slurm for: twice what is expected, and three; as much again at each further `attempt` (from 1).

    Tight on purpose: a job whose Slurm daemon was killed is only seen as lost when this time is over.
    """
    return attempt * ceil(TIME_SAFETY * minutes_of_job(n_pixel, seconds_a_pixel, ranks) + TIME_MARGIN)


# --- Its memory -------------------------------------------------------------------------------------------------------

PROCESS_MB = 280  # Python, numba and MPI (180), and compiling kernels (100)
SNAKEMAKE_MB = 2 * 125  # the two Snakemake processes of a job, on the node of rank 0
SPECTRUM_BYTES = 24  # of a pixel for each spectrum: flux in the chunk, to learn, and to be tested with
WEIGHT_BYTES = 64  # of a pixel for each weight: progress, checkpoint, result
MEMORY_SAFETY = 1.3  # before it, the law lies 4 % below to 45 % above what was measured, 180 to 850 MB
MB = 1e6


def memory_mb_per_rank(
    n_pixel_in_chunk: int, n_spectrum: int, n_label: int, settings: LmSettings | SgdSettings, attempt: int = 1
) -> int:
    """Megabytes to ask Slurm for, for each rank, as `mem_mb_per_cpu`; as much again at each further `attempt` (from 1).

    `n_spectrum`: all spectra of the grid. Every rank asks for what rank 0 needs, which holds the chunk and its results
    and may be alone on its node with the job's Snakemake; the others hold what `working_mb` says.
    """
    held = n_pixel_in_chunk * (SPECTRUM_BYTES * n_spectrum + WEIGHT_BYTES * n_weight(settings.n_neurons, n_label)) / MB
    needed = MEMORY_SAFETY * (PROCESS_MB + working_mb(n_spectrum, n_label, settings) + held) + SNAKEMAKE_MB
    return attempt * 50 * ceil(needed / 50)


def working_mb(n_spectrum: int, n_label: int, settings: LmSettings | SgdSettings) -> float:
    """Megabytes that every rank needs beside its process and the pixels it holds."""
    n_training = (n_spectrum + 1) // 2
    if isinstance(settings, SgdSettings):
        return n_training * LANES * (n_label + 2) * 8 / MB
    judged = min(n_training, FIT_SPECTRA)
    templates = 5 * N_TEMPLATE * judged * settings.n_neurons * 8  # their hidden outputs, five copies at most
    products = 3 * 4 * n_training * (n_label + 3) ** 2 / 2  # of two labels each, in two engines, and being made
    normal = 2 * 1.5 * LANES * n_weight(settings.n_neurons, n_label) ** 2 * 8  # J'J of eight lanes, and its factor
    return (templates + products + normal) / MB


# --- Its size ---------------------------------------------------------------------------------------------------------

CLUSTER_SECONDS = 20 * 60  # of a job on a cluster where jobs wait: benchmarks/simulate_scheduling.py, docs/scaling.md
MACHINE_SECONDS, MACHINE_PIXELS = 45, 1000  # of a job on one machine, and at most so many pixels: progress is seen


def chunk_size(n_pixel: int, seconds_a_pixel: float, ranks: int = 1, on_cluster: bool = False) -> int:
    """The pixels of a chunk where config.yaml says `auto`, of `n_pixel` to be trained in all.

    On a cluster a job of about 20 minutes; on one machine 1000 pixels, or as many as take 45 seconds. The chunks are
    nearly equal, fill all lanes of every rank, and are never larger than all there is.
    """
    seconds = CLUSTER_SECONDS if on_cluster else MACHINE_SECONDS
    wanted = int(seconds * ranks / seconds_a_pixel)
    wanted = max(wanted if on_cluster else min(wanted, MACHINE_PIXELS), 1)
    equal = ceil(n_pixel / ceil(n_pixel / wanted))
    whole = LANES * ranks
    return min(whole * ceil(equal / whole), n_pixel)
