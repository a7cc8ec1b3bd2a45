"""The repository keeps its own rules: formatted, lint-free, and one truth about every setting."""

import re
import subprocess
import sys
import tomllib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE

from payneflow.figures import REPORT_FIGURES
from payneflow.training.trainers import TRAINERS

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
PYTHON_CODE = [name for name in ("src", "tests", "benchmarks") if any((ROOT / name).rglob("*.py"))]
WORKFLOW_CODE = ["Snakefile", "workflow"]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", *PYTHON_CODE],
        ["ruff", "format", "--check", "--no-cache", *PYTHON_CODE],
        ["snakefmt", "--check", *WORKFLOW_CODE],
        ["snakemake", "--lint"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_code_is_clean(command):
    done = subprocess.run(
        [PROGRAMS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "--lint" in command:
        assert "Lints for" not in done.stdout + done.stderr, done.stdout + done.stderr


CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def sections(schema, path=()):
    """Every object of the schema with the path of its settings: the whole, `sgd`, `fit`, ..."""
    yield path, schema
    for name, part in schema["properties"].items():
        if "properties" in part:  # a mapping of the user's own names, such as fit.fixed, has none
            yield from sections(part, (*path, name))


@pytest.mark.parametrize(("path", "section"), list(sections(SCHEMA)), ids=lambda value: ".".join(value) or "top")
def test_config_and_schema_have_the_same_settings_all_described(path, section):
    settings = CONFIG
    for name in path:
        settings = settings[name]
    assert list(settings) == list(section["properties"]) == section["required"]
    assert section["additionalProperties"] is False
    assert all(part["description"].endswith(".") for part in section["properties"].values())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_config_has_each_trainer_with_its_own_defaults(trainer):
    assert trainer in SCHEMA["properties"]["trainer"]["enum"]
    defaults = asdict(TRAINERS[trainer].settings())
    section = TRAINERS[trainer].section
    assert CONFIG[section] == {name: defaults[name] for name in CONFIG[section]}
    shown = {"lm": ["n_neurons", "n_starts", "max_iterations", "trunc_diff", "virtual_weight"], "sgd": list(defaults)}
    assert list(CONFIG[section]) == shown[section], "what a user would turn"


def test_the_published_values_beside_the_settings_are_those_of_the_code():
    text = (ROOT / "config.yaml").read_text()
    lines = re.findall(r"^  (\w+): +\S+ +# published ([\d.]*\d)\b", text, flags=re.MULTILINE)
    published = {name: yaml.safe_load(value) for name, value in lines}
    assert published.pop("flux_error") == 0.01
    assert published == asdict(TRAINERS["sgd"].settings())


def test_every_setting_is_explained_in_the_file_a_user_edits():
    lines = (ROOT / "config.yaml").read_text().splitlines()
    settings = [(above, line) for above, line in pairwise(lines) if re.match(r" *\w+:", line)]
    for above, line in settings:
        assert "  # " in line or above.startswith("# ") or line == "fit:", line


def test_the_grid_keys_of_config_are_the_published_ones():
    from payneflow.grid import GridKeys

    assert CONFIG["grid_keys"] == asdict(GridKeys())


def test_every_figure_of_the_report_has_its_caption():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    captions = {Path(name).name for name in re.findall(r'caption="([^"]+)"', rules)} | {"workflow.rst"}
    captions |= {f"{name}.rst" for name in REPORT_FIGURES}
    assert captions == {path.name for path in (ROOT / "workflow/report").glob("*.rst")}


def test_every_rule_but_a_copy_runs_one_payneflow_subcommand_and_logs_it():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            keys = re.findall(r"^    (\w+):", rule, flags=re.MULTILINE)
            assert [key for key in keys if key not in ("benchmark", "params", "localrule")] == [
                *("input", "output", "log", "conda", "threads", "resources", "message", "shell")
            ], rule
            shell = rule.split("    shell:")[1]
            assert shell.count("payneflow ") == 1 or shell.strip().startswith('"cp '), rule
            assert "> {log:q} 2>&1" in shell, rule


@pytest.mark.parametrize(
    ("file", "needed"),
    [
        ("constraints.txt", ["workflow", "mpi", "hdf5", "specutils", "parquet", "posterior", "docs", "test"]),
        ("constraints-theano.txt", ["theano", "mpi"]),
    ],
)
def test_the_constraints_pin_every_dependency_exactly(file, needed):
    lines = (ROOT / "envs" / file).read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins, "empty"
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s@/]+", line) for line in pins)
    pinned = {line.partition("==")[0].lower() for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for extra in needed for line in extras[extra])]
    assert {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in asked} <= pinned
    assert "payneflow" not in pinned
