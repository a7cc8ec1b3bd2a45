# What all stages share: the checked settings, and what payneflow.run.workflow makes of them.

import difflib
import os
import sys
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError
from snakemake.resources import Resources
from snakemake.settings.types import DeploymentMethod

try:
    from payneflow.errors import PayneflowError
    from payneflow.run import workflow as run
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error.msg}: payneflow is not installed in the Python that runs Snakemake ({sys.executable}). "
        "Use `make run`, which installs both, or `pip install -e '.[workflow]'` in this environment."
    ) from None

# Of this file, not of the main Snakefile, which may be another that uses this workflow as a module.
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]

# Of the conda environments, as seen from the rules; Snakemake formats it, so that braces of a checkout are doubled.
ENVS = "../../envs"
if set("{}") & set(str(CHECKOUT)):
    ENVS = str(CHECKOUT / "envs").replace("{", "{{").replace("}", "}}")


QUOTE_PIXELS = """YAML reads an unquoted 1:50:2 as a number in base 60 and 100: as a mapping. Use quotes:
  in config.yaml           pixels: "1:50:2"
  on the command line      --config 'pixels="1:50:2"'"""


def check_config(config: dict) -> None:
    """Refuse settings that the schema does not allow, all of them in one message, each with where and what to do."""
    schema = yaml.safe_load((CHECKOUT / "workflow/schemas/config.schema.yaml").read_text())
    config.update(as_meant(config, schema))
    if not isinstance(config.get("pixels", ""), str):
        raise WorkflowError(f"pixels is {config['pixels']!r}, expected text. {QUOTE_PIXELS}")
    problems = [describe_problem(error) for error in Draft202012Validator(schema).iter_errors(config)]
    if problems:
        heading = "These settings (from config.yaml, --configfile or --config) cannot be used:"
        raise WorkflowError("\n".join([heading, *problems]))


def as_meant(value, part: dict):
    """Numbers and truth values for text where the schema means them: YAML takes 1e-3, --config any nested value, for text."""
    if isinstance(value, dict):
        others = part.get("additionalProperties") or {}
        return {name: as_meant(one, part.get("properties", {}).get(name, others)) for name, one in value.items()}
    if isinstance(value, list):
        return [as_meant(one, part.get("items", {})) for one in value]
    meanings = {"integer": int, "number": float, "boolean": {"true": True, "false": False}.__getitem__}
    kinds = part.get("type", [])
    for kind in ([kinds] if isinstance(kinds, str) else kinds) if isinstance(value, str) else []:
        try:
            return meanings[kind](value)
        except (KeyError, ValueError):
            pass  # text is meant, or the schema will refuse it
    return value


def describe_problem(error) -> str:
    """One line for what jsonschema found: the setting, what is wrong, what the setting is."""
    section = "".join(f"{name}." for name in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = [str(name) for name in error.instance if name not in known]
        guesses = [difflib.get_close_matches(name, known, n=1) for name in unknown]
        hints = [f"did you mean {guess[0]}?" if guess else f"expected {', '.join(known)}." for guess in guesses]
        return "\n".join(f"  {section}{name}: no such setting; {hint}" for name, hint in zip(unknown, hints))
    about = error.schema.get("description", "")
    if error.validator == "required":
        return f"  {section or 'config.yaml'}: {error.message}. config.yaml of the repository has all of them."
    return f"  {section.rstrip('.') or 'config.yaml'}: {error.message}. {about}"


check_config(config)

# The profile of a cluster says how many ranks a training job has there; config.yaml says it for this machine alone.
of_profile = Resources.from_mapping(workflow.resource_settings.default_resources or {})
SITE = run.Site.of(config, {name: of_profile[name].raw for name in ("ranks", "launcher") if name in of_profile})
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method

# So that `.venv/bin/snakemake` finds the `payneflow` installed beside it, in an environment that is not activated too;
# and before all, on a cluster, the sacct that the Slurm plugin can work with.
PROGRAMS = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
if SITE.on_cluster:
    PROGRAMS.insert(0, str(CHECKOUT / "workflow/scripts/slurm"))
os.environ.update(PATH=os.pathsep.join(PROGRAMS))

# As Snakemake can take them, see alias_of; the rules' options that are text are functions, for the same reason.
GRID = run.alias_of(config["grid"])
RESULTS = run.alias_of_directory(config["results"])
LOGS = RESULTS / "logs"
BENCHMARKS = RESULTS / "benchmarks"

try:
    TRAINING = run.plan_training(config, SITE)
    SHARDS = run.plan_fits(config["fit"])
    # now, because Snakemake takes stock of a directory once: a link made later would be missing
    SHARD_FILES = {name: run.files_of_shard(shard, GRID) for name, shard in SHARDS.items()}
    ENVIRONMENT = ""
    if config["trainer"] == "theano":
        ENVIRONMENT = run.theano_environment(RESULTS, None if WITH_CONDA else CHECKOUT)
except PayneflowError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    chunk=r"[\w-]+",
    shard=r"[\w-]+",
    figure="|".join(run.REPORT_FIGURES),
