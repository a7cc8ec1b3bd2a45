# What all stages share: the checked settings, the chunks that follow from them, and the files a run ends with.

import difflib
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError
from snakemake.resources import Resources
from snakemake.settings.types import DeploymentMethod

try:
    from payneflow.run import sizing
    from payneflow.errors import PayneflowError
    from payneflow.grid import GridKeys, count_training, grid_shape
    from payneflow.chunks.selection import parse_pixels, plan_chunks
    from payneflow.settings import make_settings
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error.msg}: payneflow is not installed in the Python that runs Snakemake ({sys.executable}). "
        "Use `make run`, which installs both, or `pip install -e '.[workflow]'` in this environment."
    ) from None


QUOTE_PIXELS = """YAML reads an unquoted 1:50:2 as a number in base 60 and 100: as a mapping. Use quotes:
  in config.yaml           pixels: "1:50:2"
  on the command line      --config 'pixels="1:50:2"'"""


def check_config(config: dict) -> None:
    """Refuse settings that the schema does not allow, all of them in one message, each with where and what to do."""
    schema = yaml.safe_load((Path(workflow.basedir) / "workflow/schemas/config.schema.yaml").read_text())
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


def key_options() -> str:
    """`--key NAME=ARRAY` for each array that the grid does not call by its published name."""
    published = asdict(GridKeys())
    renamed = [f"{name}={key}" for name, key in config["grid_keys"].items() if key != published[name]]
    return " ".join(f"--key {shlex.quote(option)}" for option in renamed)


def training_options() -> str:
    """The chosen trainer's settings as options of `payneflow train`."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings_of_trainer().items())


def settings_of_trainer() -> dict:
    return config["sgd" if config["trainer"] == "theano" else config["trainer"]]


def ranks_of_training(wildcards, threads) -> int:
    """Ranks of a training job; on one machine fewer where Snakemake has fewer cores."""
    return RANKS if ON_CLUSTER else threads


def launch_of_ranks(wildcards, resources) -> str:
    """What starts the ranks of a training job, one thread each; made of resources, whose change repeats nothing."""
    return f"OMP_NUM_THREADS=1 {resources.mpi} -n {resources.tasks}" if resources.tasks > 1 else ""


def checkpoint_options(wildcards, resources) -> str:
    """How often a training job saves its work; a function of resources, so that another interval repeats nothing."""
    return f"--checkpoint-seconds {config['checkpoint_seconds']} --keep-checkpoint"


def runtime_of_training(wildcards, attempt) -> int:
    """Minutes that a training job may take, as `payneflow plan` says; one that ran out of them resumes with more."""
    return sizing.runtime_minutes(CHUNK_SIZE, SECONDS_A_PIXEL, RANKS, attempt)


def memory_of_training(wildcards, attempt) -> int:
    """MB for each rank of a training job, as `payneflow plan` says; more for one that failed."""
    return sizing.memory_mb_per_rank(CHUNK_SIZE, n_spectrum, n_label, TRAINING, attempt)


def runtime_of_split(wildcards, attempt) -> int:
    """Minutes for the split of the grid, with what its trainer prepares once for all pixels."""
    seconds = sizing.seconds_of_preparation(config["trainer"], TRAINING, n_training, n_label, n_pixel)
    return attempt * (10 + round(sizing.TIME_SAFETY * seconds / 60))


def preparation_options() -> str:
    """What `payneflow split` must know of the training: nothing of the published trainer's settings."""
    if config["trainer"] in ("sgd", "theano"):
        return "--trainer sgd"
    return f"--trainer {config['trainer']} --seed {config['seed']} {training_options()}"


def environment_of_training() -> str:
    """What comes before `payneflow train`: for theano that program is the one of .venv-theano, unless conda has it.

    Theano compiles into a directory of each process, which lies beside the trained chunks and is removed at the end.
    """
    if config["trainer"] != "theano":
        return ""
    compile_in = f"THEANO_FLAGS=base_compiledir={shlex.quote(str(RESULTS / 'trained'))}"
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        return f"env {compile_in} "
    place = Path(workflow.basedir) / ".venv-theano"
    stamp = place / "installed"  # written at the end of `make theano`, with the directory it was made for
    if not (place / "bin/payneflow").exists() or not stamp.exists() or stamp.read_text() != workflow.basedir:
        raise WorkflowError(
            f"trainer is theano, but {place}, the environment that has Theano, is missing, half built or made for "
            f"another directory. Type `make theano` in {workflow.basedir}: a minute. Or choose sgd, the same algorithm a "
            "thousand times faster."
        )
    return f'env {compile_in} PATH={shlex.quote(str(place / "bin"))}:"$PATH" '


def get_final_output() -> list[Path]:
    """The files that a whole run ends with."""
    figures = ["flux_prediction", "flux_deviation", "training_summary", "fit_overview"]
    if not config["fit"]["spectra"]:  # of observed spectra the true labels are unknown
        figures.append("fitting_results")
    return [
        RESULTS / "grid_summary.json",
        RESULTS / "neural_network.npz",
        RESULTS / "training_record.ecsv",
        RESULTS / "fits.ecsv",
        RESULTS / "fits.fits",
        *(RESULTS / "figures" / f"{figure}.png" for figure in figures),
    ]


def summary_of_run() -> str:
    """What training, evaluation and fitting said at their ends, and where everything is."""
    stages = ["gather_networks", "evaluate_networks", "gather_fits"]
    said = [(LOGS / f"{stage}.log").read_text().strip() for stage in stages if (LOGS / f"{stage}.log").exists()]
    return "\n\n".join(["", *said, f"Everything is in {RESULTS}/, the figures in {RESULTS}/figures/."])


check_config(config)

# The profile of a cluster says how many ranks a training job has there; config.yaml says it for this machine alone.
SITE = Resources.from_mapping(workflow.resource_settings.default_resources or {})
ON_CLUSTER = "ranks" in SITE
RANKS = int(SITE["ranks"].raw) if ON_CLUSTER else config["ranks"]
LAUNCHER = SITE["launcher"].raw if ON_CLUSTER else config["launcher"]

# So that `.venv/bin/snakemake` finds the `payneflow` installed beside it, in an environment that is not activated too;
# and before all, on a cluster, the sacct that the Slurm plugin can work with.
PROGRAMS = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
if ON_CLUSTER:
    PROGRAMS.insert(0, str(Path(workflow.basedir) / "workflow/scripts/slurm"))
os.environ.update(PATH=os.pathsep.join(PROGRAMS))

GRID = Path(config["grid"])
RESULTS = Path(config["results"])
LOGS = RESULTS / "logs"
BENCHMARKS = RESULTS / "benchmarks"

try:
    n_spectrum, n_pixel, n_label = grid_shape(GRID, GridKeys(**config["grid_keys"]))
    n_training = count_training(n_spectrum)
    TRAINING = make_settings(config["trainer"], settings_of_trainer())
    SECONDS_A_PIXEL = sizing.seconds_a_pixel(config["trainer"], TRAINING, n_training, n_label)
    n_wanted = len(parse_pixels(config["pixels"], n_pixel))
    if config["chunk_size"] == "auto":
        CHUNK_SIZE = sizing.chunk_size(n_wanted, SECONDS_A_PIXEL, RANKS, ON_CLUSTER)
    else:
        CHUNK_SIZE = config["chunk_size"]
    CHUNKS = [chunk.name for chunk in plan_chunks(n_pixel, config["pixels"], CHUNK_SIZE)]
except PayneflowError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    chunk=r"[\w-]+",
