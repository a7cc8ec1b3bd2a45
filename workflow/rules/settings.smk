# What all stages share: the checked settings, and what payneflow.run.workflow makes of them.

import functools
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.resources import Resources
from snakemake.settings.types import DeploymentMethod

try:
    from payneflow.errors import PayneflowError
    from payneflow.run import fits, workflow as run
    from payneflow.run.config import check_config, check_labels, has_pieces, refuse_names_given_twice, values_of
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error.msg}: payneflow is not installed in the Python that runs Snakemake ({sys.executable}). "
        "Use `make run` in a checkout, which installs both, or `pip install 'payneflow[workflow]'` in this environment."
    ) from None

# Of this file, not of the main Snakefile, which may be another that uses this workflow as a module.
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]

# Of the conda environments, as seen from the rules; Snakemake formats it, so that braces of a checkout are doubled.
ENVS = "../../envs"
if set("{}") & set(str(CHECKOUT)):
    ENVS = str(CHECKOUT / "envs").replace("{", "{{").replace("}", "}}")

try:
    if workflow.is_main_process:  # Snakemake has read these files itself
        refuse_names_given_twice(workflow.configfiles)
    SETTINGS = check_config(config)
except PayneflowError as error:
    raise WorkflowError(str(error)) from None
config.update(values_of(SETTINGS))  # as they are meant: YAML takes 1e-3 for text, and --config any nested value

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
RESULTS = run.alias_of_directory(config["results"])
LOGS = RESULTS / "logs"
BENCHMARKS = RESULTS / "benchmarks"
KNOWN_GRID = run.digest_file(RESULTS)

try:
    TRAINING = run.plan_training(config, SITE)
    SHARDS, PIECES = fits.plan_fits(config["fit"]), has_pieces(config["fit"])
    if workflow.is_main_process:  # jobs need not read the grid again
        check_labels(
            SETTINGS.fit.with_windows(),
            config["grid"],
            SETTINGS.grid_keys,
            SETTINGS.reading,
            config["seed"],
            config["pixels"],
        )
        fits.check_resolution(config, SETTINGS.fit.with_windows(), SHARDS)
        fits.check_other_wavelengths(config, SHARDS)
        fits.check_extras(config["fit"], WITH_CONDA)
    ENVIRONMENT = run.environment_of(config["trainer"], RESULTS, None if WITH_CONDA else CHECKOUT)
except PayneflowError as error:
    raise WorkflowError(str(error)) from None


@functools.cache
def look_at_content():
    """Have Snakemake make again what is up to date by its date alone, as --forcerun would; with -n it says so.

    An input of the rule that all others depend on, for it is asked while the graph of jobs grows. It names no file.
    """
    if workflow.is_main_process:
        runs = workflow.executor_plugin is not None and not workflow.dryrun and not workflow.touch
        try:
            again = run.look_at_content(RESULTS, config, TRAINING, SHARDS, runs)
        except PayneflowError as error:
            raise WorkflowError(str(error)) from None
        workflow.dag.forcefiles.update(map(str, again))
    return []


wildcard_constraints:
    chunk=r"[\w-]+",
    shard=r"test_set|[a-z]+\d+-\d+",  # and not its table of pieces, NAME_pieces
    figure="|".join(run.REPORT_FIGURES),
