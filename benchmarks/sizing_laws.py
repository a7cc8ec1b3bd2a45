"""The laws of the trainers beside what is measured: time of lm and sgd, memory of `payneflow train`.

    python benchmarks/sizing_laws.py [--time] [--memory]        default: both, ten minutes

Spectra are known smooth functions of random labels (benchmarks/trainers.py --growth uses the same). Time: of one core,
the quickest of three, of an iteration of lm and of a spectrum in an epoch of sgd; nothing is compiled in it. Memory:
the largest resident memory of rank 0 and of rank 1 as the kernel counts it, without what kernels take to compile; law
is the same without the safety and without the job's Snakemake, and asked is what memory_mb_per_rank asks Slurm for.
Training is as short as it can be, which changes no memory.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from trainers import Case, measure, smooth_grid

from payneflow.chunks.split import split_grid
from payneflow.grid import read_grid
from payneflow.run import sizing
from payneflow.settings import LmSettings, SgdSettings
from payneflow.training.lm import cost as lm_cost
from payneflow.training.lm import setup as lm_setup
from payneflow.training.lm.preparation import Preparation
from payneflow.training.sgd_cost import sgd_seconds_a_pixel
from payneflow.weights import n_weight

LM_SIZES = [  # training spectra, labels, neurons
    *((160, 3, 5), (160, 3, 10), (160, 3, 20), (160, 3, 30), (2560, 3, 10), (160, 25, 10)),
    *((2560, 10, 20), (8000, 25, 20), (50_000, 25, 20)),
]
SGD_SIZES = [(160, 3, 5), (160, 3, 10), (160, 3, 20), (160, 10, 10), (160, 25, 20), (2000, 25, 20)]
MEMORY_SIZES = [  # trainer, spectra of the grid, labels, neurons, pixels of the chunk
    *(("lm", 320, 3, 10, 1000), ("lm", 4000, 3, 10, 1000), ("lm", 4000, 3, 10, 3000), ("lm", 20_000, 3, 20, 64)),
    *(("lm", 20_000, 25, 20, 64), ("lm", 100_000, 25, 20, 24), ("sgd", 320, 3, 10, 1000), ("sgd", 4000, 3, 10, 3000)),
]
IN_GRID = 2048  # pixels, so that there are as many templates as there can be
SHORT_LM = {"n_starts": 1, "start_iterations": 1, "random_iterations": 1, "max_iterations": 1, "max_rounds": 1}
SHORT_LM["virtual_weight"] = 0.0
SHORT_SGD = {"num_epochs": 200, "trial_epochs": 200, "max_iter": 1}

TRAIN = """
import os, re, sys
from pathlib import Path
from payneflow import cli
status = cli.main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(f"rank{os.environ.get('PMI_RANK', 0)}={int(peak) * 1024 / 1e6:.0f}", flush=True)
sys.exit(status)
"""


def compare_times() -> None:
    print(
        f"{'':6}{'spectra':>9}{'labels':>8}{'neurons':>9}{'weights':>9}{'measured':>13}{'law':>13}"
        f"{'law / measured':>16}"
    )
    for name, sizes in (("lm", LM_SIZES), ("sgd", SGD_SIZES)):
        for n_training, n_label, n_neurons in sizes:
            unit, scale = ("us", 1e6) if name == "lm" else ("ns", 1e9)
            measured, law = (lm_iteration if name == "lm" else sgd_spectrum)(n_training, n_label, n_neurons)
            print(
                f"{name:6}{n_training:9d}{n_label:8d}{n_neurons:9d}{n_weight(n_neurons, n_label):9d}"
                f"{scale * measured:10.1f} {unit}{scale * law:10.1f} {unit}{law / measured:16.2f}",
                flush=True,
            )


def lm_iteration(n_training: int, n_label: int, n_neurons: int) -> tuple[float, float]:
    """Seconds of an iteration, measured and by the law."""
    n = 20 if n_training * n_label * n_neurons < 1e5 else 3
    settings = LmSettings(
        n_neurons=n_neurons,
        n_starts=1,
        max_rounds=1,
        start_iterations=n,
        random_iterations=n,
        max_iterations=n,
        virtual_weight=0.0,
    )
    law = lm_cost.seconds_of_iteration(settings, n_training, n_label)
    return _quickest(n_training, n_label, settings), law


def sgd_spectrum(n_training: int, n_label: int, n_neurons: int) -> tuple[float, float]:
    """Seconds of a training spectrum in an epoch, measured and by the law."""
    n = 2000 if n_training < 1000 else 200
    settings = SgdSettings(n_neurons=n_neurons, num_epochs=n, trial_epochs=n, max_iter=1, trunc_diff=1e-9)
    law = sgd_seconds_a_pixel(settings, n_training, n_label) / (2 * n)
    return _quickest(n_training, n_label, settings) / n_training, law / n_training


def _quickest(n_training: int, n_label: int, settings: LmSettings | SgdSettings) -> float:
    """Seconds of an iteration or epoch of one of eight pixels, which fill the lanes."""
    labels, flux = smooth_grid(n_training, n_label, sizing.LANES)
    case = Case(labels, flux, labels[:1], flux[:1], np.arange(sizing.LANES))
    nothing = Preparation.nothing(n_training, n_label)
    trained = [measure(case, settings, nothing) for _ in range(4)][1:]  # the first one compiles
    return min(one.milliseconds / one.iterations for one in trained) / 1e3


def compare_memories() -> None:
    print(
        f"{'':6}{'spectra':>9}{'labels':>8}{'neurons':>9}{'pixels':>8}{'rank 0':>9}{'rank 1':>9}"
        f"{'law':>9}{'asked':>9}  MB"
    )
    for name, n_spectrum, n_label, n_neurons, n_pixel in MEMORY_SIZES:
        settings = (
            LmSettings(n_neurons=n_neurons, **SHORT_LM)
            if name == "lm"
            else SgdSettings(n_neurons=n_neurons, **SHORT_SGD)
        )
        with tempfile.TemporaryDirectory() as scratch:
            chunk = make_chunk(Path(scratch), name, settings, n_spectrum, n_label, n_pixel)
            train(chunk, ranks=2)  # compiles
            used = train(chunk, ranks=2)
        asked = sizing.memory_mb_per_rank(n_pixel, n_spectrum, n_label, settings)
        law = (asked - sizing.SNAKEMAKE_MB) / sizing.MEMORY_SAFETY - (sizing.PROCESS_MB - 180)
        print(
            f"{name:6}{n_spectrum:9d}{n_label:8d}{n_neurons:9d}{n_pixel:8d}{used[0]:9.0f}{used[1]:9.0f}{law:9.0f}"
            f"{asked:9d}",
            flush=True,
        )


def make_chunk(scratch: Path, name: str, settings, n_spectrum: int, n_label: int, n_pixel: int) -> Path:
    labels, flux = smooth_grid(n_spectrum, n_label, 64)
    n_in_grid = max(IN_GRID, n_pixel) if name == "lm" else n_pixel
    columns = np.arange(n_in_grid)
    arrays = {
        "wavelength": 15000.0 + 0.2 * columns,
        "Y_u_all": flux.astype(np.float32)[:, columns % 64] * (1 - 1e-6 * columns).astype(np.float32),
        "labels_array": labels.T,
    }
    np.savez(scratch / "grid.npz", **arrays)
    with patch.multiple(lm_setup, TEMPLATE_STARTS=1, TEMPLATE_ITERATIONS=1):
        grid = read_grid(scratch / "grid.npz")
        (chunk,) = split_grid(grid, f"0:{n_pixel}", n_pixel, scratch / "chunks", name, settings, 0)
    return chunk


def train(chunk: Path, ranks: int) -> list[float]:
    """Largest resident memory of each rank, in megabytes."""
    command = [Path(sys.executable).with_name("mpiexec"), "-n", str(ranks), sys.executable, "-c", TRAIN, "train", chunk]
    command += ["--output", chunk.with_suffix(".trained.npz"), "--ranks", str(ranks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = dict(re.findall(r"rank(\d+)=(\d+)", done.stdout))
    return [float(found[str(rank)]) for rank in range(ranks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.time or not options.memory:
        compare_times()
    if options.memory or not options.time:
        compare_memories()


if __name__ == "__main__":
    main()
