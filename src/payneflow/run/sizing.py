"""How long a chunk takes and how much memory it needs, and so how many pixels make a good job. Numbers only, no files.

The workflow asks here for what it asks Slurm for, and `payneflow plan` for what it tells the user. What a pixel costs
is the law of its trainer (training/trainers.py). All constants are measured on one core of an AMD EPYC (Zen 4,
AVX-512); docs/scaling.md has the tables and the commands that print them.
"""

from math import ceil

from payneflow.grid import count_training
from payneflow.training.lanes import LANES
from payneflow.training.trainers import Settings, entry_of, for_labels
from payneflow.weights import n_weight

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
SNAKEMAKE_MB = 2 * 180  # the two Snakemake processes of a job, on the node of rank 0; 2 * 125 without pyarrow
SPECTRUM_BYTES = 24  # of a pixel for each spectrum: flux in the chunk, to learn, and to be tested with
WEIGHT_BYTES = 64  # of a pixel for each weight: progress, checkpoint, result
MEMORY_SAFETY = 1.3  # before it, the law lies 4 % below to 45 % above what was measured, 180 to 850 MB
MB = 1e6


def memory_mb_per_rank(
    n_pixel_in_chunk: int, n_spectrum: int, n_label: int, settings: Settings, attempt: int = 1
) -> int:
    """Megabytes to ask Slurm for, for each rank, as `mem_mb_per_cpu`; as much again at each further `attempt` (from 1).

    `n_spectrum`: all spectra of the grid. Every rank asks for what rank 0 needs, which holds the chunk and its results
    and may be alone on its node with the job's Snakemake; the others hold what their trainer's `working_mb` says.
    """
    n_neurons = for_labels(settings, n_label).n_neurons
    held = n_pixel_in_chunk * (SPECTRUM_BYTES * n_spectrum + WEIGHT_BYTES * n_weight(n_neurons, n_label)) / MB
    working = entry_of(settings).working_mb(settings, count_training(n_spectrum), n_label)
    needed = MEMORY_SAFETY * (PROCESS_MB + working + held) + SNAKEMAKE_MB
    return attempt * 50 * ceil(needed / 50)


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
