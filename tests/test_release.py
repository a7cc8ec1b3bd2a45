"""One version, and one set of requirements, whoever states them; pins that fit every Python we support."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE, ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from payneflow import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = ["workflow", "mpi", "hdf5", "specutils", "parquet", "posterior", "docs", "test"]  # by `make test`
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
CONSTRAINTS = ROOT / "envs/constraints.txt"
PINS = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#"))
PINNED = {canonicalize_name(name): version for name, version in PINS.items()}
HERE = {canonicalize_name(one.metadata["Name"]): one for one in reversed([*distributions()])}
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"  # whose wheels are installed here
# Pins without a wheel: pure Python, and one that Python 3.14 needs a compiler for. docs/install.md says so.
NO_WHEEL = {"connection_pool": PYTHONS, "immutables": ["3.14"]}


def test_the_pythons_are_the_ones_that_we_say():
    said = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one]
    assert said == PYTHONS and PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_the_version_is_the_same_wherever_it_stands():
    assert "version" in PROJECT["dynamic"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


# --------------------------------------------------------------------------------------- what others state once more


def test_the_conda_recipe_asks_for_what_the_project_asks_for():
    recipe = yaml.safe_load((ROOT / "recipe/recipe.yaml").read_text())
    assert recipe["context"] == {"version": __version__, "python_min": PYTHONS[0]}
    assert recipe["build"]["python"]["entry_points"] == [f"payneflow = {PROJECT['scripts']['payneflow']}"]
    assert recipe["about"]["license"] == PROJECT["license"] and (ROOT / recipe["about"]["license_file"]).is_file()
    assert recipe["about"]["summary"].replace(",", ":") == PROJECT["description"].replace(",", ":")
    asked = recipe["requirements"]
    assert asked["run"][:2] == ["__unix", "python >=${{ python_min }}"]
    assert requirements(asked["run"][2:]) == requirements(PROJECT["dependencies"])
    optional = [one for extra in ("workflow", "hdf5", "specutils", "parquet") for one in EXTRAS[extra]]
    assert requirements(asked["run_constraints"]) == requirements(optional)
    built_with = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert requirements(asked["host"][2:]) == requirements(built_with)


def requirements(lines: list[str]) -> dict[str, str]:
    """Versions by name; conda-forge calls the matplotlib without a window toolkit matplotlib-base."""
    found = [Requirement(line.replace("matplotlib-base", "matplotlib")) for line in lines]
    return {canonicalize_name(one.name): str(one.specifier) for one in found}


def test_ci_runs_make_test_with_every_python():
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert all(job["strategy"]["matrix"]["python"] == PYTHONS for job in jobs.values())
    assert any(step.get("run", "").startswith("make test ") for step in jobs["test"]["steps"])


def test_the_form_of_an_issue_asks_for_the_check_and_the_versions():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    needed = [one for one in form["body"] if one.get("validations", {}).get("required")]
    said = " ".join(str(one["attributes"]) for one in needed)
    assert "payneflow check" in said and "payneflow --version" in said


def test_the_catalog_finds_the_workflow():
    said = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(said) == {"mandatory-flags", "software-stack-deployment", "report"}
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme
    assert 'include: "../Snakefile"' in (ROOT / "workflow/Snakefile").read_text()
    # what snakedeploy copies: instructions, and the settings by the name that it gives to a module
    assert (ROOT / "config/README.md").read_text().startswith("# Settings")
    assert (ROOT / "config/config.yaml").resolve() == ROOT / "config.yaml"


def test_the_page_shows_the_line_of_a_kernel_that_is_compiled():
    said = "for this kind of processor; this happens once, and takes seconds"
    assert f"compiling cholesky {said}" in (ROOT / "docs/install.md").read_text()
    assert said in (ROOT / "src/payneflow/simd/compile.py").read_text()


def test_the_paper_cites_what_its_bibliography_has():
    paper, bibliography = ((ROOT / name).read_text() for name in ("paper/paper.md", "paper/paper.bib"))
    entries = re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE)
    assert set(re.findall(r"@(\w+)", paper)) == set(entries) and len(entries) == len(set(entries))
    sections = re.findall(r"^# (.*)$", paper, re.MULTILINE)
    assert sections == [
        *("Summary", "Statement of need", "State of the field", "Software design", "Research impact statement"),
        *("AI usage disclosure", "Acknowledgements", "References"),
    ]
    assert 750 < len(paper.split("\n---\n")[1].split()) < 1750
    assert all((ROOT / "paper" / one).is_file() for one in re.findall(r"\]\(([^)]*\.png)\)", paper))


# ------------------------------------------------------------------------------------------------------ constraints


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_satisfy_each_other(python):
    """Every requirement of payneflow and of whatever it needs has a pin, which suits all that ask for it."""
    for one in everything_needed(python):
        name = canonicalize_name(one.name)
        assert name in PINNED, f"{one} has no pin in {CONSTRAINTS.name}"
        assert one.specifier.contains(PINNED[name], prereleases=True), f"{one}, but {name} is pinned to {PINNED[name]}"
        about = HERE.get(name)
        if about is None:  # of another Python than this one
            assert python != RUNNING, name
            continue
        assert about.version == PINNED[name], f"{name} {about.version} is installed and not the pin: make clean test"
        assert SpecifierSet(about.metadata.get("Requires-Python") or "").contains(f"{python}.0"), name


def test_nothing_is_pinned_in_vain():
    asked = {canonicalize_name(one.name) for python in PYTHONS for one in everything_needed(python)}
    assert set(PINNED) == asked


def everything_needed(python: str) -> list[Requirement]:
    """What payneflow asks for with the extras of `make test`, and what that asks for in turn, for one Python."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    asked = [*PROJECT["dependencies"], *(one for extra in INSTALLED for one in EXTRAS[extra])]
    fresh, found, seen = [Requirement(one) for one in asked], [], set()
    while fresh:
        one = fresh.pop()
        found.append(one)
        key = (canonicalize_name(one.name), *sorted(one.extras))
        if key not in seen:
            seen.add(key)
            about = HERE.get(key[0])
            its_own = [Requirement(line) for line in (about and about.requires) or []]
            fresh += [other for other in its_own if holds(other, environment, one.extras | {""})]
    return found


def holds(one: Requirement, environment: dict, extras: set) -> bool:
    return one.marker is None or any(one.marker.evaluate({**environment, "extra": extra}) for extra in extras)


def compiled_pins() -> list[str]:
    """The pins whose wheels are made for one Python each, or for one kind of machine."""
    wheels = {
        name: HERE[canonicalize_name(name)].read_text("WHEEL") for name in PINS if canonicalize_name(name) in HERE
    }
    return [name for name, said in wheels.items() if "Root-Is-Purelib: true" not in (said or "")]


@pytest.mark.index
def test_every_compiled_pin_has_wheels_for_the_oldest_python_and_the_newest(tmp_path):
    """Then it has them for those between. Asked of the index; where there is none: pytest -m 'not index'."""
    asked = {python: start_pip(python, tmp_path) for python in (PYTHONS[0], PYTHONS[-1]) if python != RUNNING}
    for python, pip in asked.items():
        said, _ = pip.communicate(timeout=PATIENCE)
        assert pip.returncode == 0, f"Python {python}: {said}"


def start_pip(python: str, place: Path) -> subprocess.Popen:
    wanted = [f"{name}=={PINS[name]}" for name in compiled_pins() if python not in NO_WHEEL.get(name, [])]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--python-version", python, "--target", place / python, *wanted]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
