"""Time and peak memory of `payneflow fit` for 10^3 to 10^5 observed spectra, and of `gather_fits`: they must stay flat.

    python benchmarks/many_spectra.py NETWORK_FILE [--fit N ...] [--gather N ...]

The spectra are predictions of the networks with noise of S/N 100, a thousand of them over and over, on all their
pixels: 2.9 GB for 10^5 of 7214 pixels, written to a temporary directory (TMPDIR). Read: the same, without a fit.
What is gathered are shards of 10^4 rows, the fits of a thousand such spectra over and over.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from payneflow import PixelNetworks, read_networks
from payneflow.fitting import read_results
from payneflow.spectra import make_layout, read_spectra

DISTINCT, SNR = 1000, 100.0
SHARD = 10_000  # rows
UNCERTAINTY = "--uncertainty", "flux_error"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", metavar="NETWORK_FILE")
    parser.add_argument("--fit", type=int, nargs="*", metavar="N", default=[1_000, 10_000, 100_000])
    parser.add_argument("--gather", type=int, nargs="*", metavar="N", default=[10_000, 100_000, 1_000_000])
    given = parser.parse_args()
    networks = read_networks(given.network)
    print(f"{given.network}: {len(networks.wavelength)} pixels, {len(networks.label_names)} labels, one core")
    print("  spectra      fit, s   ms each   read, ms each   peak memory, MB", flush=True)
    for n in given.fit:
        with tempfile.TemporaryDirectory() as directory:
            spectra = Path(directory) / "spectra.npz"
            write_spectra(networks, spectra, n)
            reading = seconds_to_read(networks, spectra)
            fitting, peak = run("fit", given.network, spectra, *UNCERTAINTY, "--output", Path(directory) / "fits")
            print(f"{n:9d}{fitting:12.1f}{fitting / n * 1e3:10.3f}{reading / n * 1e3:16.3f}{peak:18.0f}", flush=True)
    print("     rows   gather, s   ms each   peak memory, MB   with --parquet", flush=True)
    for n in given.gather:
        with tempfile.TemporaryDirectory() as directory:
            paths = write_shards(networks, given.network, Path(directory), n)
            gathering, peak = run("gather_fits", *paths, "--output", Path(directory) / "fits")
            _, with_parquet = run("gather_fits", *paths, "--output", Path(directory) / "fits", "--parquet")
            print(f"{n:9d}{gathering:12.1f}{gathering / n * 1e3:10.3f}{peak:18.0f}{with_parquet:17.0f}", flush=True)


def write_spectra(networks: PixelNetworks, path: Path, n: int) -> None:
    """An npz file as np.savez writes it, its flux written piece by piece."""
    rng = np.random.default_rng(0)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (DISTINCT, len(networks.x_min))))
    flux = networks.predict(labels)
    flux = (flux + rng.normal(0, 1 / SNR, flux.shape)).astype(np.float32)
    small = {"wavelength": networks.wavelength, "flux_error": np.full(flux.shape[1], 1 / SNR)}
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in small.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{key}.npy", content.getvalue())
        with archive.open("flux.npy", "w", force_zip64=True) as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, flux.shape[1])}
            np.lib.format.write_array_header_1_0(stream, header)
            for first in range(0, n, DISTINCT):
                stream.write(flux[: n - first].tobytes())


def seconds_to_read(networks: PixelNetworks, path: Path) -> float:
    begin = time.perf_counter()
    for _ in read_spectra([path], make_layout(uncertainty="flux_error"), networks.wavelength):
        pass
    return time.perf_counter() - begin


def write_shards(networks: PixelNetworks, network: str, directory: Path, n: int) -> list[Path]:
    """Tables of fits of SHARD rows each, `n` in all, as the shards of one run have them."""
    write_spectra(networks, directory / "spectra.npz", DISTINCT)
    run(
        "fit",
        network,
        directory / "spectra.npz",
        *UNCERTAINTY,
        "--spectra",
        f"0:{DISTINCT}",
        "--output",
        directory / "a",
    )
    table = read_results(directory / "a.ecsv")
    rows = [line for line in (directory / "a.ecsv").read_text().splitlines(True) if not line.startswith("#")][1:]
    paths = []
    for first in range(0, n, SHARD):
        stop = min(first + SHARD, n)
        table.meta |= {"spectra": [[first, stop]], "n_row": stop - first, "n_all": n}
        header = io.StringIO()
        table[:0].write(header, format="ascii.ecsv")
        paths.append(directory / f"{first}.ecsv")
        repeated = (rows * (SHARD // DISTINCT))[: stop - first]
        paths[-1].write_text(header.getvalue() + "".join(repeated))
    return paths


def run(*arguments: str | Path) -> tuple[float, float]:
    """Seconds of a subcommand in a process of its own, start and files included, and its peak memory in MB."""
    command = [sys.executable, "-m", "payneflow.cli", *map(str, arguments)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        said = job.stdout.read().decode()
        _, status, usage = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        raise SystemExit(said)
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
