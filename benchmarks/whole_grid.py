"""Train a grid with one trainer's default settings in several processes: wall time, memory, accuracy.

    python benchmarks/whole_grid.py [--trainer sgd] [--pixels ::] [--processes 2] [--grid resources/hband_grid.npz]
                                    [--keep DIRECTORY]

Prints wall time, processor time, the largest memory of a process, the training record's summary and the accuracy on
the held-out spectra. With --keep the network file and the record stay in DIRECTORY.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from payneflow.chunks import split_grid
from payneflow.evaluation import evaluate_networks, evaluation_text
from payneflow.gather import gather_chunks
from payneflow.grid import read_grid
from payneflow.training.record import summary_text, write_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="resources/hband_grid.npz")
    parser.add_argument("--trainer", default="sgd")
    parser.add_argument("--pixels", default="::")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run(options, options.keep or Path(scratch))


def run(options: argparse.Namespace, directory: Path) -> None:
    grid = read_grid(options.grid)
    n_pixel = len(range(len(grid.wavelength))[slice(*(int(p) if p else None for p in options.pixels.split(":")))])
    chunk_size = -(-n_pixel // (6 * options.processes))  # several chunks a process, so that both end together
    chunks = split_grid(grid, options.pixels, chunk_size, directory / "chunks")
    begin = time.perf_counter()
    with ThreadPoolExecutor(options.processes) as pool:
        trained = list(pool.map(lambda chunk: train(chunk, directory, options.trainer), chunks))
    wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    networks, record = gather_chunks(trained)
    networks.write(directory / "neural_network.npz")
    write_record(record, directory / "training_record.ecsv")
    print(f"trainer {options.trainer}, {n_pixel} pixels, {options.processes} processes, {len(chunks)} chunks")
    print(f"wall time {wall / 60:.1f} min, processor time {(used.ru_utime + used.ru_stime) / 60:.1f} min, ", end="")
    print(
        f"{np.sum(record['seconds']) / n_pixel * 1e3:.1f} ms a pixel, largest process {used.ru_maxrss / 1024:.0f} MiB"
    )
    print(summary_text(record))
    print(evaluation_text(evaluate_networks(networks, grid)))


def train(chunk: Path, directory: Path, trainer: str) -> Path:
    output = directory / "trained" / chunk.name
    command = [sys.executable, "-m", "payneflow.cli", "train", chunk, "--output", output, "--trainer", trainer]
    subprocess.run(command, check=True)
    return output


if __name__ == "__main__":
    main()
