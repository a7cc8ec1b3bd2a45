"""What Slurm says of its partitions and of one's own jobs, by its commands sinfo and squeue; nothing is changed."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from payneflow.errors import PayneflowError
from payneflow.run.profile import TRAINING_RULE

PATIENCE = 20  # seconds; without its controller squeue gives up after 9
NEVER_ENDING = ("infinite", "UNLIMITED")
# What the Snakemake plugin writes into a job's comment; a module's rules may have a prefix to their names.
COMMENT = re.compile(rf"rule_(?:\w+_)?{TRAINING_RULE}_wildcards_(.+)")


class SlurmError(PayneflowError):
    """A Slurm command is missing, or does not answer."""


@dataclass(frozen=True)
class Node:
    """A node of a partition: its cores and its memory in megabytes."""

    name: str
    cores: int
    memory_mb: int


@dataclass(frozen=True)
class Partition:
    """A partition: its time limit in minutes (None: none), whether it takes jobs, most nodes of a job (None: all)."""

    name: str
    is_default: bool
    is_up: bool
    minutes: float | None
    most_nodes: int | None
    nodes: tuple[Node, ...]


def read_partitions() -> dict[str, Partition]:
    """Name -> partition, of all that sinfo shows. Raises SlurmError where it cannot be asked."""
    rows = [line.split("|") for line in _ask("sinfo", "--noheader", "--Node", "--format=%P|%a|%l|%s|%N|%c|%m")]
    partitions: dict[str, Partition] = {}
    for shown, up, limit, job_size, node, cores, memory in (row for row in rows if len(row) == 7):
        name = shown.rstrip("*")
        most = job_size.rpartition("-")[2]
        nodes = partitions[name].nodes if name in partitions else ()
        partitions[name] = Partition(
            name,
            is_default=shown.endswith("*"),
            is_up=up == "up",
            minutes=minutes_of(limit),
            most_nodes=int(most) if most.isdecimal() else None,
            nodes=(*nodes, Node(node, _whole(cores), _whole(memory))),
        )
    return partitions


def read_jobs(directory: Path) -> dict[str, str]:
    """Chunk -> state of its job (PENDING, RUNNING, ...), of the training jobs that Snakemake submitted in `directory`.

    Of several jobs of one chunk a running one is shown. Raises SlurmError where squeue cannot be asked.
    """
    jobs: dict[str, str] = {}
    for line in _ask("squeue", "--me", "--noheader", "--format=%T|%Z|%k"):
        state, _, rest = line.partition("|")
        place, _, comment = rest.rpartition("|")
        found = COMMENT.fullmatch(comment.strip())
        if not found or Path(place).resolve() != directory.resolve():
            continue
        chunk = found[1]
        if jobs.get(chunk, "PENDING") == "PENDING":
            jobs[chunk] = state
    return jobs


def minutes_of(limit: str) -> float | None:
    """Minutes of a time limit as Slurm writes it: `2-12:00:00`, `1:30:00`, `30:00`; None for no limit."""
    if limit in NEVER_ENDING or not re.fullmatch(r"(\d+-)?[\d:]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = ([0, 0, 0, *map(int, clock.split(":"))])[-3:]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


def _whole(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def _ask(command: str, *options: str) -> list[str]:
    if shutil.which(command) is None:
        raise SlurmError(f"{command}, a command of Slurm, is not on PATH here")
    try:
        done = subprocess.run(
            [command, *options], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command} does not answer within {PATIENCE} s; is Slurm's controller away?") from None
    except OSError as error:
        raise SlurmError(f"{command} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["without a word"]
        raise SlurmError(f"{command} failed: {said[-1]}")
    return done.stdout.splitlines()
