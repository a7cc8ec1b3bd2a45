"""Paths as users have them, with every sign that a shell or Snakemake may misread, and the workflow as a module."""

import os
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from conftest import PATIENCE, ROOT
from workflow_runs import GRID, PROGRAMS, RESULTS, new_directory, planned, snakemake

from payneflow import cli
from payneflow.fitting import read_results

ODD = """it's "odd"; $HOME {chunk} {a b} <results> [x] * é 星"""
FEW = {"pixels": "1000:1008", "chunk_size": 4}
LAYOUT = {"uncertainty": "flux_error"}
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def write_spectra(path):
    """Three test spectra of the demonstration grid at the pixels of FEW."""
    with np.load(GRID) as grid:
        wavelength, flux = grid["wavelength"][1000:1008], grid["Y_u_all"][1:6:2, 1000:1008]
    path.parent.mkdir(parents=True)
    np.savez(path, wavelength=wavelength, flux=flux, flux_error=np.full(flux.shape, 0.01))


def run_snakemake(directory, *options):
    """Snakemake as a user calls it, without --snakefile; returns its exit status and all that it printed."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
    command = [PROGRAMS / "snakemake", "--cores", "2", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=directory)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def odd_checkout(tmp_path):
    """A copy of what the workflow consists of, in a directory of an odd name."""
    checkout = tmp_path / f"checkout {ODD}"
    checkout.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, checkout / name)
    return checkout


def test_a_checkout_results_grid_and_spectra_of_odd_names(odd_checkout):
    grid = odd_checkout / f"grid {ODD}.npz"
    shutil.copy(GRID, grid)
    write_spectra(odd_checkout / f"nights {ODD}/night {ODD}.npz")
    settings = {**FEW, "grid": grid.name, "results": f"results {ODD}"}
    fit = {"spectra": [f"nights {ODD}/night {ODD}.npz"], "layout": {**CONFIG["fit"]["layout"], **LAYOUT}}
    new_directory(odd_checkout, **settings, fit=fit)
    status, output = run_snakemake(odd_checkout)
    assert status == 0, output
    results = odd_checkout / f"results {ODD}"
    assert [name for name in RESULTS if "fitting_results" not in name and not (results / name).is_file()] == []
    assert f"Everything is in results {ODD}/" in output
    assert read_results(results / "fits.ecsv")["path"].tolist() == 3 * [f"nights {ODD}/night {ODD}.npz"]
    status, output = run_snakemake(odd_checkout)
    assert status == 0 and "Nothing to be done" in output, output
    status, output = run_snakemake(odd_checkout, "--report", "snakemake_report.html")
    assert status == 0, output


def test_odd_names_by_hand(tmp_path, monkeypatch):
    place = tmp_path / ODD
    place.mkdir()
    monkeypatch.chdir(place)
    grid = f"grid {ODD}.npz"
    shutil.copy(GRID, grid)
    write_spectra(place / f"night {ODD}/{ODD}.npz")
    assert cli.main(["check", grid]) == 0
    assert cli.main(["split", grid, "--pixels", "1000:1008", "--chunk-size", "8", "--output", f"chunks {ODD}"]) == 0
    chunk = "pixel1000-1007.npz"
    assert cli.main(["train", f"chunks {ODD}/{chunk}", "--output", f"trained {ODD}/{chunk}"]) == 0
    (place / "list").write_text(f"trained {ODD}/{chunk}\n")
    network = f"network {ODD}.npz"
    assert cli.main(["gather", "--list", "list", "--network", network, "--record", f"record {ODD}.ecsv"]) == 0
    spectra = [f"night {ODD}/{ODD}.npz", "--uncertainty", "flux_error"]
    assert cli.main(["fit", network, *spectra, "--output", f"fits {ODD}"]) == 0
    assert cli.main(["plot", "fit_overview", f"fits {ODD}.ecsv", "--output", f"figure {ODD}.png"]) == 0
    assert (place / f"figure {ODD}.png").is_file()


MODULE = """
configfile: "mine.yaml"


module payneflow:
    snakefile:
        {snakefile!r}
    config:
        config["emulator"]


use rule * from payneflow{prefix}
"""


@pytest.mark.parametrize("prefix", ["", " as payne_*"])
def test_the_workflow_as_a_module_of_another(tmp_path, prefix):
    directory = new_directory(tmp_path / "other", **FEW)
    config = yaml.safe_load((directory / "config.yaml").read_text())
    (directory / "config.yaml").unlink()
    (directory / "mine.yaml").write_text(yaml.safe_dump({"emulator": config}))
    (directory / "Snakefile").write_text(MODULE.format(snakefile=str(ROOT / "Snakefile"), prefix=prefix))
    status, output = run_snakemake(directory, *(["--dry-run"] if prefix else []))
    assert status == 0 and "not present in the Snakefile" not in output, output
    rule = f"{prefix.removeprefix(' as ').rstrip('*')}train_chunk"
    assert planned(output)[rule] == 2
    assert prefix or all((directory / "results" / name).is_file() for name in RESULTS)


def test_a_configfile_of_another_directory(tmp_path):
    """Without a config.yaml in the directory that Snakemake runs in."""
    config = new_directory(tmp_path / "settings", **FEW) / "config.yaml"
    (tmp_path / "empty").mkdir()
    status, output = snakemake(tmp_path / "empty", "--dry-run", "--configfile", config)
    assert status == 0 and planned(output)["train_chunk"] == 2, output
