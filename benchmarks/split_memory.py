"""Peak memory and time of `payneflow check` and `payneflow split` for a large HDF5 grid, each in a process of its own.

    python benchmarks/split_memory.py [--spectra 20000] [--pixels 7214] [--trainer lm] [--compression gzip] [--files 1]

The grid is made in a temporary directory (TMPDIR), which needs twice the size of the flux, and removed. Peak memory is
what the kernel calls VmHWM: all pages in memory, the libraries with them; Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHOW_PEAK = "for line in open('/proc/self/status'):\n if line.startswith('VmHWM'): print(line.split()[1])"
CHILD = f"import sys; from payneflow import cli; status = cli.main(sys.argv[1:])\n{SHOW_PEAK}\nsys.exit(status)"
MAKER = Path(__file__).with_name("make_large_grid.py")


def run(*arguments: str, before: str = "") -> tuple[float, float]:
    """Seconds and peak memory in MB of `payneflow ARGUMENTS`, in a process that runs the statement `before` first."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", f"{before}\n{CHILD}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - begin, int(done.stdout.split()[-1]) * 1024 / 1e6


def measure(
    n_spectrum: int, n_pixel: int, trainer: str, compression: str | None = None, n_file: int = 1
) -> dict[str, tuple]:
    """Seconds and peak memory in MB of each command, on a grid made for it, in `n_file` files."""
    sizes = ["--spectra", str(n_spectrum // n_file), "--pixels", str(n_pixel)]
    sizes += ["--compression", compression] if compression else []
    with tempfile.TemporaryDirectory() as directory:
        free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
        if free < 2.2 * 4 * n_spectrum * n_pixel:
            sys.exit(f"{directory}: {free / 1e9:.1f} GB free, too little for this grid. Set TMPDIR to another disk.")
        grids = [f"{directory}/grid{i}.h5" for i in range(n_file)]
        for i, grid in enumerate(grids):
            subprocess.run([sys.executable, str(MAKER), grid, *sizes, "--seed", str(i)], check=True)
        split = ("split", *grids, "--trainer", trainer, "--output", f"{directory}/chunks")
        return {"check": run("check", *grids), f"split, trainer {trainer}": run(*split)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=7214)
    parser.add_argument("--trainer", choices=("lm", "sgd"), default="lm")
    parser.add_argument("--compression", choices=("gzip", "lzf"))
    parser.add_argument("--files", type=int, default=1, help="that the grid is joined of")
    options = parser.parse_args()
    flux = 4 * options.spectra * options.pixels / 1e6
    print(f"{options.spectra} spectra x {options.pixels} pixels, float32: {flux:.0f} MB of flux", flush=True)
    for command, (seconds, peak) in measure(*vars(options).values()).items():
        print(f"payneflow {command:20} {seconds:7.1f} s   peak {peak:5.0f} MB")


if __name__ == "__main__":
    main()
