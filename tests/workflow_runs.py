"""Runs of the workflow in directories of their own, on a few pixels and with short training."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import PATIENCE, ROOT

PROGRAMS = Path(sys.executable).parent
GRID = ROOT / "resources/hband_grid.npz"

# 17 pixels, in chunks of 6, 6 and 5
SETTINGS = {
    "grid": str(GRID),
    "pixels": "::450",
    "chunk_size": 6,
}
AFTER_TRAINING = {
    *("gather_networks", "evaluate_networks", "calibrate_errors", "fit_spectra", "gather_fits"),
    *("explore_networks", "plot_figure", "write_report"),
}
RESULTS = [
    *("grid_summary.json", "neural_network.npz", "training_record.ecsv", "fits.ecsv", "fits.fits"),
    *("explore.html", "report.html"),
    *("figures/flux_prediction.png", "figures/flux_deviation.png"),
    *("figures/fitting_results.png", "figures/fit_overview.png", "figures/training_summary.png"),
]


def snakemake(directory, *options):
    """Run Snakemake on the workflow in `directory`; returns its exit status and all that it printed."""
    command = [PROGRAMS / "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", directory]
    command += ["--workflow-profile", ROOT / "workflow/profiles/default", "--cores", "2", *options]
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=directory, check=False
    )
    return done.returncode, done.stdout + done.stderr


def new_directory(directory, **settings):
    """A directory with a config.yaml of its own: the repository's, with few pixels and `settings`."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, value in {**SETTINGS, **settings}.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return directory


def planned(output):
    """The rules and their number of jobs in the table that Snakemake prints before it starts."""
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total", output, flags=re.MULTILINE | re.DOTALL)
    rows = [line.split() for line in table[1].splitlines()] if table else []
    return {rule: int(count) for rule, count in rows if rule != "all"}
