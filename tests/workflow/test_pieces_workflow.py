"""Stars in pieces through the workflow, on 150 pixels: shards of whole stars, two tables, the same bits as by hand."""

import os
import subprocess

import numpy as np
import pytest
import yaml
from conftest import PATIENCE, ROOT
from workflow_runs import GRID, PROGRAMS, new_directory, planned, snakemake

from payneflow import cli
from payneflow.fitting import read_results
from payneflow.fitting.results import read_piece_blocks
from payneflow.grid import TEST, read_grid

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
LAYOUT = {**CONFIG["fit"]["layout"], "barycentric": "bary"}
SETTINGS = {"pixels": "1000:1150", "chunk_size": 150}
FIT = {"spectra": ["nights/*.npz"], "layout": LAYOUT, "pieces": "common", "shard_size": 7}
FIT |= {"velocity": True, "continuum": 4, "max_velocity": 60}  # a kernel that other tests have
STARS, NIGHTS, VELOCITY = 5, 3, 8.0
SHARDS = ["stars000000-000001", "stars000002-000003", "stars000004-000004"]


def write_nights(directory):
    """Test spectra of the grid, S/N 100, in three nights, in which stars come in other orders."""
    rng, grid = np.random.default_rng(3), read_grid(GRID)
    flux = grid.flux[TEST][:STARS, 900:1250]
    directory.mkdir()
    for night in range(NIGHTS):
        stars = rng.permutation(STARS) if night else np.arange(STARS)
        bary = rng.uniform(-1.0, 1.0, STARS)
        axis = grid.wavelength[900:1250]
        seen = [
            np.interp(axis, axis * (1 + (VELOCITY - b) / 299792.458), flux[i]) for i, b in zip(stars, bary, strict=True)
        ]
        arrays = {"flux": seen + rng.normal(0, 0.01, (STARS, len(axis))), "flux_error": np.full(len(axis), 0.01)}
        names = np.array([f"star {i}" for i in stars])
        np.savez(directory / f"night {night}.npz", wavelength=axis, **arrays, identifier=names, bary=bary)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = new_directory(tmp_path_factory.mktemp("pieces") / "run", **SETTINGS, fit=FIT)
    write_nights(directory / "nights")
    status, output = snakemake(directory)
    assert status == 0, output
    return directory, output


def test_every_star_and_every_piece_has_its_row(run):
    directory, output = run
    jobs = planned(output)
    assert (jobs["know_spectra"], jobs["fit_spectra"], jobs["gather_fits"]) == (len(SHARDS), len(SHARDS), 1)
    there = sorted(path.name for path in (directory / "results/fits").iterdir())
    assert there == sorted(
        f"{shard}{of}.{end}" for shard in SHARDS for of in ("", "_pieces") for end in ("ecsv", "fits")
    )
    stars = read_results(directory / "results/fits.ecsv")
    assert stars["identifier"].tolist() == [f"star {i}" for i in range(STARS)]
    assert stars["n_piece"].tolist() == stars["n_fitted"].tolist() == [NIGHTS] * STARS
    assert stars.meta["errors"] == "calibrated" and stars.meta["stars"] == [[0, STARS]]
    assert np.median(np.abs(stars["RV"] - VELOCITY) / stars["RV_error"]) < 2.5
    _, pieces = read_piece_blocks(directory / "results/fits_pieces.ecsv")
    assert sorted(pieces["spectrum"].tolist()) == list(range(STARS * NIGHTS))
    assert pieces["identifier"].tolist() == [f"star {i}" for i in range(STARS) for _ in range(NIGHTS)]
    assert (directory / "results/figures/fit_overview.png").exists()
    assert not (directory / "results/figures/fitting_results.png").exists(), "the true labels are unknown"


def test_shards_of_stars_are_the_same_as_one_command_to_the_bit(run, tmp_path):
    directory, _ = run
    command = "payneflow fit results/neural_network.npz nights/*.npz --uncertainty flux_error --array barycentric=bary "
    command += "--pieces common --velocity --continuum 4 --max-velocity 60 --label-errors results/label_errors.npz "
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        f"{command} --output {tmp_path}/fits",
        shell=True,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0 and "5 stars of 15 pieces fitted" in done.stdout, done.stderr
    for name in ("fits.ecsv", "fits_pieces.ecsv"):
        assert (tmp_path / name).read_bytes() == (directory / "results" / name).read_bytes(), name


def test_verify_knows_both_tables_and_says_which_is_damaged(run, capsys):
    directory, _ = run
    results, table = directory / "results", directory / "results/fits_pieces.ecsv"
    assert cli.main(["verify", str(results)]) == 0
    said = capsys.readouterr().out
    assert "whole            fits_pieces.ecsv" in said and "does not belong" not in said
    content = table.read_bytes()
    try:
        table.write_bytes(content.replace(b"star 3", b"star 4", 1))
        assert cli.main(["verify", str(results)]) == 2
        said = capsys.readouterr().out
        assert "damaged          fits_pieces.ecsv" in said and "whole            fits.ecsv" in said
        status, output = snakemake(directory, "--dry-run")
        assert status == 0 and planned(output)["gather_fits"] == 1 and "fit_spectra" not in planned(output), output
    finally:
        table.write_bytes(content)
