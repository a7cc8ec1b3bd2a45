"""Speed of `payneflow train` with MPI: one chunk, several rounds, in each of them every way in turn.

    python benchmarks/mpi_speed.py [GRID] [--pixels "::2"] [--rounds 5] [--ranks 2]

Default GRID: resources/hband_grid.npz; trainer lm with its default settings. The ways are: serial, without MPI; one MPI
rank; several ranks; and, as what this machine allows, as many serial runs at the same time that know nothing of each
other. Training: wall time from the first pixel to the last one, with the third of a second in which every process loads
the compiled kernels. Command: the whole process as well, with the start of
Python, reading, writing and the launcher. Each is the quickest of all rounds, because other work on the machine only
adds; the ratios of the single rounds show how far that goes. Cost: processor time of rank 0 in the training by the
pixels that it trained itself; messages and looking after the others are in it, other work on the machine hardly is.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from payneflow.chunks.chunk import read_chunk
from payneflow.chunks.split import split_grid
from payneflow.chunks.train import train_chunk
from payneflow.grid import read_grid
from payneflow.settings import LmSettings
from payneflow.training.ranks import run_on_ranks, run_with_mpi

TRAINING = "lm", LmSettings(), 0
TIMEOUT = 600  # seconds, for one run


def run(chunk: str, output: str, ranks: int) -> None:
    """Train a chunk as `payneflow train` does, 0 ranks: serial; print seconds of training and cost of a pixel."""

    def lead(team) -> None:
        train = team.train

        def timed(trainer, policy, tasks):
            begin, processor_begin = time.perf_counter(), time.process_time()
            yield from train(trainer, policy, tasks)
            seconds, processor_seconds = time.perf_counter() - begin, time.process_time() - processor_begin
            print(seconds, processor_seconds / (team.ended[0] if ranks else len(tasks)), flush=True)

        team.train = timed
        train_chunk(chunk, output, ranks=team)

    if ranks:
        run_with_mpi(ranks, lead)
    else:
        run_on_ranks(1, lead)


def measure(chunk: Path, output: Path, ranks: int, copies: int = 1) -> tuple[float, float, float]:
    """Seconds of training, cost of a pixel, seconds of the command; of the slowest of several copies at a time."""
    launcher = [Path(sys.executable).with_name("mpiexec"), "-n", str(ranks)] if ranks else []
    outputs = [output.with_name(f"{output.stem}{copy}.npz") for copy in range(copies)]
    begin = time.perf_counter()
    runs = [
        subprocess.Popen(
            [*launcher, sys.executable, __file__, "--run", chunk, path, str(ranks)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for path in outputs
    ]
    printed = [[float(word) for word in run.communicate(timeout=TIMEOUT)[0].split()] for run in runs]
    return *map(max, zip(*printed, strict=True)), time.perf_counter() - begin


def compare(chunk: Path, rounds: int, ranks: int) -> None:
    ways = {"serial": (0,), "1 rank": (1,), f"{ranks} ranks": (ranks,), f"{ranks} serial runs at a time": (0, ranks)}
    output = chunk.with_name("trained.npz")
    measure(chunk, output, 0)  # compile
    seconds = np.array([[measure(chunk, output, *way) for way in ways.values()] for _ in range(rounds)])
    best = seconds.min(axis=0)
    print(f"{'':26}{'training, s':>12}{'gain':>8}{'cost, ms':>11}{'command, s':>12}{'gain':>8}   gain in each round")
    for i, (name, way) in enumerate(ways.items()):
        work = way[1] if len(way) > 1 else 1
        training, cost, command = best[i]
        gain, command_gain = work * best[0, 0] / training, work * best[0, 2] / command
        each = "  ".join(f"{work * one:.2f}" for one in seconds[:, 0, 0] / seconds[:, i, 0])
        print(f"{name:26}{training:12.3f}{gain:8.3f}{1e3 * cost:11.4f}{command:12.3f}{command_gain:8.3f}   {each}")
    serial, one, several = best[:3, :2]
    print(f"{ranks} ranks against 1: training {one[0] / several[0]:.3f} x (target, 2 ranks: 1.85 x)")
    print(f"1 rank against serial: training {one[0] / serial[0] - 1:+.1%}, cost {one[1] / serial[1] - 1:+.1%} (2 %)")
    print(f"{ranks} ranks against serial: cost {several[1] / serial[1] - 1:+.1%}")


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(*sys.argv[2:4], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz", metavar="GRID")
    parser.add_argument("--pixels", default="::2", metavar="START:STOP:STEP")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--ranks", type=int, default=2, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        (chunk,) = split_grid(read_grid(options.grid), options.pixels, 10**9, directory, *TRAINING)
        print(f"{len(read_chunk(chunk).pixels)} pixels, {options.rounds} rounds", flush=True)
        compare(chunk, options.rounds, options.ranks)


if __name__ == "__main__":
    main()
