"""Every command and every line of Python in the README, run as a user would: in a fresh clone, with its own .venv."""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(command: str, clone: Path, seconds: float = 2 * PATIENCE) -> str:
    done = subprocess.run(["bash", "-ec", command], cwd=clone, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What is checked out here, as a bare clone has it, set to train six pixels so that a test can wait for it."""
    place = tmp_path_factory.mktemp("clone") / "payneflow"
    place.mkdir()
    # the working tree and not the last commit: a test must see what it is meant to test
    run(
        f"git -C {ROOT} ls-files -z --cached --others --exclude-standard | tar -C {ROOT} --null -T - -c | tar -x", place
    )
    config = place / "config.yaml"
    text = config.read_text()
    assert text.count('\npixels: "::"\n') == 1
    config.write_text(text.replace('\npixels: "::"\n', '\npixels: "::1300"\n'))
    return place


def test_make_alone_lists_the_targets(clone):
    said = run("make", clone)
    assert all(f"make {target} " in said for target in ("run", "test", "report", "clean"))


def test_every_command_of_the_readme_in_order(clone):
    commands = blocks("sh")
    assert commands[0] == "make run\nmake test\n"
    run("make run", clone)
    assert "Nothing to be done" in run("make run", clone)
    run("make run ARGS=--unlock", clone)
    assert "pytest" in run("make -n test", clone), "the real one is what runs this test"
    # one shell for the rest, because one of them activates the environment for those behind it
    run("".join(commands[1:]), clone)
    for name in ("results_few/figures/fitting_results.png", "by_hand/training_summary.png", "by_hand/fits.fits"):
        assert (clone / name).stat().st_size > 1000
    code = clone / "readme.py"
    code.write_text("import numpy as np\n" + "".join(blocks("python")) + "assert flux.shape == (2, 6)\nprint(table)\n")
    assert "Teff_error" in run(".venv/bin/python -W error readme.py", clone)


def test_every_file_the_readme_names_is_there_or_comes_out():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).is_file(), link
