"""SHA-256 of every number that a run ends with, to prove that a change of the code changes none of them.

    python benchmarks/digests.py --output before.json [--spectra 40]
    python benchmarks/digests.py --compare before.json

In a directory of its own it runs the demonstration grid through the workflow with `lm` (all pixels, to the fits), with
`lm` on two MPI ranks and with `sgd` (few pixels, to the networks). With the networks of the first run it calibrates and
fits noisy test spectra: labels alone; labels, velocity and continuum; both on another wavelength axis. Each array of
each file, and each column of each table, is one line. Only the command line, the workflow's settings and the public
names of the package are used, so that the same script runs before and after any change inside. Bits hold on one kind of
CPU and one set of package versions: compare on one machine.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # linear algebra of more threads rounds otherwise

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.table import Table

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitSettings

ROOT = Path(__file__).parents[1]
GRID = ROOT / "resources/hband_grid.npz"
PROGRAMS = Path(sys.executable).parent
PUBLISHED_KEYS = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "x_min", "x_max")
EVERYTHING = {"velocity": True, "continuum": 4}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the digests to this file (JSON)")
    parser.add_argument(
        "--compare", type=Path, help="say which digests are not those of this file; exit status 1 if any"
    )
    parser.add_argument("--spectra", type=int, default=40, help="test spectra that are fitted (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        digests = {**of_runs(Path(scratch)), **of_fits(Path(scratch) / "lm", options.spectra)}
    if options.output:
        options.output.write_text(json.dumps(digests, indent=1) + "\n")
    for name, digest in digests.items():
        print(f"{digest[:16]}  {name}")
    if not options.compare:
        return 0
    before = json.loads(options.compare.read_text())
    changed = [name for name in before if digests.get(name) != before[name]]
    for name in changed:
        print(f"{'MISSING' if name not in digests else 'CHANGED'}  {name}")
    print(f"{len(before) - len(changed)} of {len(before)} digests are the same")
    return 1 if changed else 0


def digest_of(values) -> str:
    """SHA-256 of an array's shape and bytes; of text, of its characters."""
    values = np.asarray(values)
    content = (
        json.dumps(values.tolist()).encode() if values.dtype.kind in "UO" else np.ascontiguousarray(values).tobytes()
    )
    return hashlib.sha256(str(values.shape).encode() + content).hexdigest()


def of_runs(scratch: Path) -> dict[str, str]:
    """The workflow with three trainers' settings."""
    snakemake("lm", scratch)
    snakemake("mpi", scratch, 'pixels="::8"', "ranks=2", "chunk_size=300", target="neural_network.npz")
    short = "sgd={num_epochs: 300, trial_epochs: 200, max_iter: 4}"
    snakemake("sgd", scratch, "trainer=sgd", short, 'pixels="::1200"', "chunk_size=3", target="neural_network.npz")
    digests = {}
    for run in ("lm", "mpi", "sgd"):
        digests |= of_arrays(f"{run}/neural_network", scratch / run / "neural_network.npz", PUBLISHED_KEYS)
        record = Table.read(scratch / run / "training_record.ecsv")
        columns = ("pixel", "restarts", "loops", "deviation", "end", "test_mad")
        digests |= {f"{run}/record/{name}": digest_of(record[name]) for name in columns if name in record.colnames}
    digests |= of_arrays("lm/evaluation", scratch / "lm/evaluation.npz")
    digests |= of_arrays("lm/label_errors", scratch / "lm/label_errors.npz")
    return digests | of_table("lm/fits", Table.read(scratch / "lm/fits.ecsv"))


def snakemake(name: str, scratch: Path, *settings: str, target: str = "") -> None:
    results = scratch / name
    command = [PROGRAMS / "snakemake", *([results / target] if target else [])]
    command += ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "config.yaml"]
    command += ["--cores", "2", "--quiet", "all"]
    settings = [f"grid={GRID}", f"results={results}", *settings]
    subprocess.run([*command, "--config", *settings], cwd=scratch, check=True)


def of_fits(run: Path, n_spectrum: int) -> dict[str, str]:
    """Fits by the public function, and label errors in the mode with velocity and continuum by the command line."""
    network, errors = run / "neural_network.npz", run / "everything.npz"
    command = [PROGRAMS / "payneflow", "calibrate", network, GRID, "--velocity", "--continuum", "4", "--output", errors]
    subprocess.run(command, check=True)
    networks = read_networks(network)
    flux = np.load(GRID)["Y_u_all"][1::2][:n_spectrum].astype(float)
    flux += 0.01 * np.random.default_rng(1).standard_normal(flux.shape)
    elsewhere = networks.wavelength * (1 + 3e-6)  # between the networks' pixels
    digests = of_arrays("label_errors of everything", errors)
    for said, settings in (("labels", {}), ("everything", EVERYTHING)):
        for place, axis in (("", {}), (" on another axis", {"wavelength": elsewhere})):
            table = fit_spectra(networks, flux, 0.01, settings=FitSettings(**settings), **axis)
            digests |= of_table(said + place, table)
    return digests


def of_arrays(name: str, path: Path, keys: tuple[str, ...] = ()) -> dict[str, str]:
    """Every array of numbers of a file, or those of `keys`."""
    with np.load(path) as arrays:
        chosen = keys or [key for key in arrays.files if arrays[key].dtype.kind in "fiub" and "version" not in key]
        return {f"{name}/{key}": digest_of(arrays[key]) for key in chosen}


def of_table(name: str, table: Table) -> dict[str, str]:
    return {f"{name}/{column}": digest_of(np.asarray(table[column])) for column in table.colnames}


if __name__ == "__main__":
    sys.exit(main())
