"""A Snakemake profile, as far as it decides how training jobs are run: where, with how many ranks, asking for what."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from payneflow.declaration import shown
from payneflow.errors import SettingsError
from payneflow.run.config import read_yaml

TRAINING_RULE = "train_chunk"
UNLIMITED = "unlimited"
MOST_OF_ANY = 2**31  # ranks, tasks or jobs: Slurm counts them in 32 bits


@dataclass(frozen=True)
class Profile:
    """What a profile says of rule train_chunk; None: nothing. `jobs` are as many as are submitted at a time.

    `ranks` is resource ranks of default-resources, which the rule goes by, or tasks of set-resources, which is above.
    """

    path: Path
    executor: str | None
    partition: str | None
    account: str | None
    ranks: int | None
    jobs: int | None
    runtime: int | None
    mem_mb_per_cpu: int | None

    @property
    def is_slurm(self) -> bool:
        return self.executor == "slurm"


def read_profile(name: str) -> Profile:
    """Read the profile in the directory `name`, as `snakemake --profile name` does; or the file itself.

    Raises SettingsError where it is missing or cannot be used.
    """
    path = Path(name)
    path = path if path.is_file() else path / "config.yaml"
    if not path.is_file():
        near = sorted(str(found.parent) for found in Path("workflow/profiles").glob("*/config.yaml"))
        there = f" There are {', '.join(near)}." if near else ""
        raise SettingsError(f"{path}: no such profile; expected a directory that holds a config.yaml.{there}")
    values = read_yaml(path, "a Snakemake profile")
    # only set-resources stands above what the rule itself asks for
    of_rule = _resources(path, f"set-resources: {TRAINING_RULE}", _of_rule(path, values.get("set-resources")))
    resources = {**_resources(path, "default-resources", values.get("default-resources")), **of_rule}
    executor = values.get("executor")
    return Profile(
        path=path,
        executor=None if executor is None else str(executor),
        partition=_text(resources.get("slurm_partition")),
        account=_text(resources.get("slurm_account")),
        ranks=_whole(path, "tasks", of_rule.get("tasks")) or _whole(path, "ranks", resources.get("ranks")),
        jobs=None if values.get("jobs") == UNLIMITED else _whole(path, "jobs", values.get("jobs")),
        runtime=_whole_or_none(of_rule.get("runtime")),
        mem_mb_per_cpu=_whole_or_none(of_rule.get("mem_mb_per_cpu")),
    )


def _of_rule(path: Path, resources) -> dict | list | None:
    """The part of set-resources, a mapping or a list of `rule:name=value`, that is for the training rule."""
    if isinstance(resources, dict):
        return resources.get(TRAINING_RULE)
    if isinstance(resources, list):
        entries = [str(entry).partition(":") for entry in resources]
        return [assignment for rule, _, assignment in entries if rule == TRAINING_RULE]
    if resources is not None:
        raise SettingsError(f"{path}: set-resources is {shown(resources)}, expected rules with their resources.")
    return None


def _resources(path: Path, where: str, resources) -> dict:
    """Resources as a mapping, which a profile may also give as a list of `name=value` or as one text of them."""
    if resources is None:
        return {}
    if isinstance(resources, str):
        try:
            resources = shlex.split(resources)
        except ValueError as error:
            raise SettingsError(f"{path}: {where} is {shown(resources)}: {error}.") from None
    if isinstance(resources, list):
        return {name: value.strip("'\"") for name, _, value in (str(entry).partition("=") for entry in resources)}
    if not isinstance(resources, dict):
        raise SettingsError(f"{path}: {where} is {shown(resources)}, expected names and values.")
    return dict(resources)


def _text(value) -> str | None:
    return None if value is None else str(value).strip("'\"")


def _whole(path: Path, name: str, value) -> int | None:
    if value is None:
        return None
    number = _whole_or_none(value)
    if number is None or not 1 <= number <= MOST_OF_ANY:
        raise SettingsError(f"{path}: {name} is {shown(value)}, expected a whole number from 1.")
    return number


def _whole_or_none(value) -> int | None:
    """A number, or None for an expression that only Snakemake can evaluate, and for nothing."""
    try:
        return int(str(value))
    except ValueError:
        return None
