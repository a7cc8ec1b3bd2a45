"""Every command and line of Python in the README and docs/commands.md, run as a user would: in a fresh clone."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE, ROOT
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.fitting import FitSettings

README = (ROOT / "README.md").read_text()
BY_HAND = (ROOT / "docs/commands.md").read_text()


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def run(command: str, clone: Path, seconds: float = 2 * PATIENCE) -> str:
    # what was given to the `make test` that runs this is not meant for the user's own make
    environment = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
    environment["PIP_COMPILE"] = "no"  # of all that is installed, Python compiles what it imports
    shell = ["bash", "-ec", command]
    done = subprocess.run(shell, cwd=clone, capture_output=True, text=True, timeout=seconds, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def compile_kernels():
    """What the commands fit with, compiled by one process; each command would compile again what kernels share."""
    networks = line_networks(3, 10, n_pixel=600)
    flux = networks.predict(networks.scaler.unscale(np.full((1, 3), 0.5)))
    of_stars = FitSettings(velocity=True, continuum=4)
    fit_spectra(networks, flux, 0.01)
    fit_spectra(networks, flux, 0.01, settings=of_stars)
    fit_spectra(networks, flux[:, 8:-8], 0.01, networks.wavelength[8:-8], settings=of_stars)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What is checked out here, as a bare clone has it, set to train so few pixels that a test can wait for them.

    They are neighbours, so that a velocity can be fitted with their networks. Machine code, which Python keeps beside
    the sources, is that of the checkout: the sources are the same, and no kernel is compiled for both.
    """
    place = tmp_path_factory.mktemp("clone") / "payneflow"
    place.mkdir()
    # the working tree and not the last commit: a test must see what it is meant to test
    run(
        f"git -C {ROOT} ls-files -z --cached --others --exclude-standard | tar -C {ROOT} --null -T - -c | tar -x", place
    )
    for folder in {path.parent for path in (ROOT / "src").rglob("*.py")}:
        machine_code = folder / "__pycache__"
        machine_code.mkdir(exist_ok=True)
        (place / machine_code.relative_to(ROOT)).symlink_to(machine_code)
    config = place / "config.yaml"
    text = config.read_text()
    assert text.count('\npixels: "::"\n') == 1
    config.write_text(text.replace('\npixels: "::"\n', '\npixels: "0:600"\n'))
    return place


def test_make_alone_lists_the_targets(clone):
    said = run("make", clone)
    assert all(f"make {target} " in said for target in ("run", "test", "report", "clean"))


def test_every_command_of_the_readme_in_order(clone):
    compile_kernels()
    commands = blocks("sh", README)
    assert commands[0] == "make run\nmake test\n"
    run("make run", clone)
    assert "Nothing to be done" in run("make run", clone)
    run("make run ARGS=--unlock", clone)
    assert "pytest" in run("make -n test", clone), "the real one is what runs this test"
    # one shell for the rest, because one of them activates the environment for those after it
    run("".join([*commands[1:], *blocks("sh", BY_HAND)]), clone)
    for name in ("results_few/figures/fitting_results.png", "by_hand/training_summary.png", "by_hand/fits.fits"):
        assert (clone / name).stat().st_size > 1000
    code = clone / "readme.py"
    code.write_text("".join(blocks("python", BY_HAND)) + "assert flux.shape == (2, 600)\n")
    run(".venv/bin/python -W error readme.py", clone)
    (example,) = blocks("python", README)
    code.write_text(example + "assert all(table['flags'] & table.meta['flags']['MODEL_MISMATCH'])\nprint(table)\n")
    assert "Teff_error" in run(".venv/bin/python -W error readme.py", clone)
