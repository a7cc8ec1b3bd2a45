"""The wheel and the sdist: what they hold, and that the wheel works where there is no checkout."""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT

from payneflow import __version__
from payneflow.fitting import read_results
from payneflow.run.new_run import DEMO, WORKFLOW

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IN_THE_WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The sdist, and the wheel that is built from it alone."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_the_wheel_is_told_to_take_what_init_writes():
    assert {name: f"payneflow/checkout/{name}" for name in (*WORKFLOW, *DEMO)} == IN_THE_WHEEL


def test_the_wheel_holds_the_very_files_of_the_checkout(built):
    package = ROOT / "src/payneflow"
    own = [*package.rglob("*.py"), *(one for one in package.glob("*/page/**/*") if one.is_file())]
    expected = {f"payneflow/{one.relative_to(package)}": one for one in own}
    for name, place in IN_THE_WHEEL.items():
        source = ROOT / name
        files = [one for one in source.rglob("*") if one.is_file()] if source.is_dir() else [source]
        expected |= {f"{place}{str(one).removeprefix(str(source))}": one for one in files}
    with zipfile.ZipFile(built / f"payneflow-{__version__}-py3-none-any.whl") as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert held == set(expected)
        assert all(wheel.read(name) == path.read_bytes() for name, path in expected.items())


def test_the_sdist_holds_all_that_is_committed(built):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    committed = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    with tarfile.open(built / f"payneflow-{__version__}.tar.gz") as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert committed <= held


def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built / f"payneflow-{__version__}-py3-none-any.whl") as wheel:
        (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(wheel.read(about).decode())
        licence = wheel.read(about.replace("METADATA", "licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert said["Version"] == __version__ and said["License-Expression"] == "BSD-3-Clause"
    assert said["Requires-Python"] == ">=3.11" and said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().startswith("# payneflow")
    for minor in range(11, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in said.get_all("Classifier")


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory) -> Path:
    """An environment with the wheel, all it depends on being that of this one; nothing of it knows the checkout.

    What Python and numba have compiled is that of the checkout, of the same sources: nothing is compiled for both.
    """
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "dependencies.pth").write_text(f"{here}\n")  # whose own .pth, that of this checkout, is not looked at
    wheel = built / f"payneflow-{__version__}-py3-none-any.whl"
    command = [sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "--quiet", "--no-index"]
    run([*command, "--no-deps", "--no-compile", "--ignore-installed", wheel], place)
    for source in (ROOT / "src/payneflow").rglob("*.py"):
        installed, compiled = packages / source.relative_to(ROOT / "src"), source.with_name("__pycache__")
        os.utime(installed, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))  # what Python compares
        compiled.mkdir(exist_ok=True)
        if not installed.with_name("__pycache__").exists():
            installed.with_name("__pycache__").symlink_to(compiled)
    return place / "bin"


def run(command, directory) -> str:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outside["XDG_CACHE_HOME"] = str(directory / "cache")
    done = subprocess.run(command, cwd=directory, env=outside, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_init_and_a_run_where_there_is_no_checkout(elsewhere, tmp_path):
    stars = tmp_path / "étoiles à moi"
    found = run([elsewhere / "python", "-c", "import payneflow; print(payneflow.__file__)"], tmp_path)
    assert str(ROOT) not in found and found.startswith(str(elsewhere.parent))
    said = run([elsewhere / "payneflow", "init", stars, "--demo"], tmp_path)
    assert f"cd '{stars}'" in said
    assert "Teff" in run([elsewhere / "payneflow", "check", "resources/hband_grid.npz"], stars)
    few = ["--config", 'pixels="1000:1008"', "fit={calibrate: false}"]
    snakemake = [elsewhere / "python", "-m", "snakemake", "--workflow-profile", "workflow/profiles/default", *few]
    assert "train_chunk" in run([*snakemake, "--snakefile", "workflow/Snakefile", "--dry-run"], stars)
    run([*snakemake, "--", "results/fits.fits"], stars)
    assert len(read_results(stars / "results/fits.ecsv")) == 160, "as many as the test set has"
