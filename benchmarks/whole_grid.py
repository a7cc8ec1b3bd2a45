"""Train a grid with one trainer's default settings in several processes: wall time, memory, accuracy.

    python benchmarks/whole_grid.py [--trainer lm] [--pixels ::] [--processes 2] [--grid resources/hband_grid.npz]
                                    [--keep DIRECTORY]

Prints wall times, processor time, the largest memory of a process, the training record's summary and the accuracy on
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

from payneflow.chunks.gather import gather_chunks
from payneflow.chunks.record import summary_text, write_record
from payneflow.chunks.selection import parse_pixels
from payneflow.chunks.split import split_grid
from payneflow.evaluation import evaluate_networks, evaluation_text
from payneflow.grid import read_grid
from payneflow.training.trainers import make_settings

CHUNKS_A_PROCESS = {"lm": 2, "sgd": 6}  # several, so that all processes end together; few, where starting up counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="resources/hband_grid.npz")
    parser.add_argument("--trainer", default="lm", choices=list(CHUNKS_A_PROCESS))
    parser.add_argument("--pixels", default="::")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run(options, options.keep or Path(scratch))


def run(options: argparse.Namespace, directory: Path) -> None:
    grid = read_grid(options.grid)
    n_pixel = len(parse_pixels(options.pixels, len(grid.wavelength)))
    settings = make_settings(options.trainer, {})
    chunk_size = -(-n_pixel // (CHUNKS_A_PROCESS[options.trainer] * options.processes))
    begin = time.perf_counter()
    chunks = split_grid(grid, options.pixels, chunk_size, directory / "chunks", options.trainer, settings, seed=0)
    prepared, begin = time.perf_counter() - begin, time.perf_counter()
    with ThreadPoolExecutor(options.processes) as pool:
        trained = list(pool.map(lambda chunk: train(chunk, directory), chunks))
    wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    networks, record = gather_chunks(trained)
    networks.write(directory / "neural_network.npz")
    write_record(record, directory / "training_record.ecsv")
    print(f"trainer {options.trainer}, {n_pixel} pixels, {options.processes} processes, {len(chunks)} chunks")
    print(f"split with preparation {prepared:.1f} s; training: wall time {wall:.1f} s, ", end="")
    print(f"processor time {used.ru_utime + used.ru_stime:.1f} s, ", end="")
    per_pixel = np.sum(record["seconds"]) / n_pixel * 1e3
    print(f"{per_pixel:.2f} ms a pixel without starting up, largest process {used.ru_maxrss / 1024:.0f} MiB")
    print(summary_text(record))
    print(evaluation_text(evaluate_networks(networks, grid)))


def train(chunk: Path, directory: Path) -> Path:
    output = directory / "trained" / chunk.name
    command = [sys.executable, "-m", "payneflow.cli", "train", chunk, "--output", output]
    subprocess.run(command, check=True)
    return output


if __name__ == "__main__":
    main()
