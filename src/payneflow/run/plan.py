"""What a run will take, before anything is submitted: chunks, minutes, core-hours, memory, and what will go wrong.

Slurm accepts jobs that it will never start, and says nothing; so the partition is looked at here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from payneflow.chunks.selection import PixelChunk, parse_pixels, plan_chunks
from payneflow.errors import SettingsError
from payneflow.grid import grid_shape, grid_split, name_of
from payneflow.run.config import AUTO, RunConfig, check_labels
from payneflow.run.cost import PixelCost, cost_by_law
from payneflow.run.profile import Profile
from payneflow.run.sizing import (
    chunk_size,
    memory_mb_per_rank,
    minutes_of_job,
    runtime_minutes,
)
from payneflow.run.slurm import Partition, SlurmError, read_partitions
from payneflow.training.trainers import check_size, for_labels, seconds_of_preparation

ATTEMPTS = (1, 2, 3)
SHORT_JOB = 5  # minutes below which the scheduler's part of a job is worth a warning


@dataclass(frozen=True)
class Plan:
    """A run in numbers. `runtime` (minutes) and `memory` (MB a rank) are what is asked for at attempts 1, 2 and 3."""

    config: RunConfig
    profile: Profile | None
    shape: tuple[int, int, int]  # n_spectrum, n_pixel, n_label of the grid
    n_training: int
    cost: PixelCost
    chunks: list[PixelChunk]
    ranks: int
    preparation: float  # seconds of one core, in payneflow split
    runtime: tuple[int, ...]
    memory: tuple[int, ...]

    @property
    def n_pixel(self) -> int:
        return sum(len(chunk.pixels) for chunk in self.chunks)

    @property
    def largest(self) -> int:
        """Pixels of the largest chunk."""
        return max(len(chunk.pixels) for chunk in self.chunks)

    @property
    def on_cluster(self) -> bool:
        return self.profile is not None and self.profile.is_slurm

    @property
    def minutes(self) -> float:
        """Expected minutes of the largest job."""
        return self._minutes_of(self.largest)

    @property
    def core_hours(self) -> float:
        return self.ranks * sum(self._minutes_of(len(chunk.pixels)) for chunk in self.chunks) / 60

    @property
    def start_seconds(self) -> float:
        """Seconds of a job before its first pixel."""
        return 60 * self._minutes_of(0)

    def _minutes_of(self, n_pixel: int) -> float:
        return minutes_of_job(n_pixel, self.cost.seconds, self.ranks, self.on_cluster)


def make_plan(
    config: RunConfig, profile: Profile | None = None, find_cost: Callable[[RunConfig], PixelCost] | None = None
) -> Plan:
    """Plan the training of a run; `find_cost` looks the cost of a pixel up, by default by the law of its trainer.

    What the profile sets for rule train_chunk stands above config.yaml. Raises SettingsError or GridError.
    """
    n_spectrum, n_pixel, n_label = shape = grid_shape(config.grid, config.keys)
    check_labels(config.fit, config.grid, config.keys, config.reading, config.seed, config.pixels)
    n_training = grid_split(config.grid, config.keys, config.reading, config.seed).n_training
    check_size(config.settings, n_training)
    cost = find_cost(config) if find_cost else cost_by_law(config, n_training, n_label)
    ranks = profile.ranks if profile and profile.ranks else config.ranks
    size = config.chunk_size
    if size is None:
        n_selected = len(parse_pixels(config.pixels, n_pixel))
        size = chunk_size(n_selected, cost.seconds, ranks, profile is not None and profile.is_slurm)
    chunks = plan_chunks(n_pixel, config.pixels, size)
    largest = len(chunks[0].pixels)
    runtime = [runtime_minutes(largest, cost.seconds, ranks, attempt) for attempt in ATTEMPTS]
    memory = [memory_mb_per_rank(largest, n_spectrum, n_label, config.settings, attempt) for attempt in ATTEMPTS]
    if profile and profile.runtime:
        runtime = [profile.runtime] * len(ATTEMPTS)
    if profile and profile.mem_mb_per_cpu:
        memory = [profile.mem_mb_per_cpu] * len(ATTEMPTS)
    preparation = seconds_of_preparation(config.settings, n_training, n_label, n_pixel)
    return Plan(config, profile, shape, n_training, cost, chunks, ranks, preparation, tuple(runtime), tuple(memory))


# --------------------------------------------------------------------------------------------------------- what is said


def plan_text(plan: Plan) -> str:
    """The plan in lines for a user, without its warnings."""
    config = plan.config
    n_spectrum, n_pixel, n_label = plan.shape
    ranks = "1 rank" if plan.ranks == 1 else f"{plan.ranks} ranks"
    where = f"Slurm, {plan.profile.path}" if plan.on_cluster else "this machine"
    rows = [
        (
            "grid",
            f"{name_of(config.grid)}: {n_spectrum} spectra, {plan.n_training} of them to train on, {n_label} labels",
        ),
        ("pixels", f"{plan.n_pixel} of {n_pixel} ({config.pixels})"),
        ("trainer", f"{config.trainer}, {for_labels(config.settings, n_label).n_neurons} neurons"),
        ("a pixel", f"{_seconds(plan.cost.seconds)} of one core: {plan.cost.origin}"),
        ("chunks", f"{len(plan.chunks)} of {plan.largest} pixels at most{_chosen(config)}, {ranks} each, on {where}"),
        ("a job", f"{_seconds(60 * plan.minutes)} expected, of it {plan.start_seconds:g} s to start"),
        ("together", f"{plan.core_hours:.3g} core-hours; the split before, on one core, about {_split(plan)}"),
    ]
    lines = [f"{name:<10}{text}" for name, text in rows]
    lines.append(f"{'a job asks for':<31}{'attempt 1':>10}{'2':>10}{'3':>10}")
    for name, values in (("  runtime, minutes", plan.runtime), ("  memory of each rank, MB", plan.memory)):
        lines.append(f"{name:<31}" + "".join(f"{value:>10}" for value in values))
    return "\n".join(lines)


def _chosen(config: RunConfig) -> str:
    return f" (chunk_size: {AUTO})" if config.chunk_size is None else ""


def _split(plan: Plan) -> str:
    return _seconds(plan.preparation + 5)  # to read, check and write a grid that fits into memory


def _seconds(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= (2 if length > 1 else 1) * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


# ------------------------------------------------------------------------------------------------- what will go wrong


def plan_warnings(plan: Plan) -> list[str]:
    """What a user should know before submitting, one sentence or two for each fault; for Slurm, also its partition."""
    found = _about_size(plan)
    if not plan.on_cluster:
        return found
    try:
        partition = find_partition(plan.profile, read_partitions())
    except SlurmError as error:
        return [*found, f"the partition was not checked: {error}. Run this where you would run snakemake."]
    return [*found, *about_partition(plan, partition)]


def _about_size(plan: Plan) -> list[str]:
    found = []
    if plan.on_cluster and plan.minutes < SHORT_JOB:
        better = chunk_size(plan.n_pixel, plan.cost.seconds, plan.ranks, on_cluster=True)
        alone = minutes_of_job(plan.n_pixel, plan.cost.seconds, on_cluster=False)
        advice = (
            f"Of chunk_size {better} there would be {ceil(plan.n_pixel / better)}." if better > plan.largest else ""
        )
        if alone < SHORT_JOB:
            advice = f"One core of one machine does everything in {_seconds(60 * alone)}."
        several = "8 jobs of 8 s took 60 s on a free cluster"
        found.append(
            f"jobs of {_seconds(60 * plan.minutes)} are short: each costs {plan.start_seconds:g} s to start, and "
            f"Snakemake may notice its end a minute or more later ({several}). {advice}".strip()
        )
    if plan.on_cluster and plan.profile.jobs and plan.profile.jobs < len(plan.chunks):
        found.append(
            f"{len(plan.chunks)} chunks, but the profile submits {plan.profile.jobs} jobs at a time (jobs), which is "
            f"{plan.profile.jobs * plan.ranks} cores at most."
        )
    return found


def find_partition(profile: Profile, partitions: dict[str, Partition]) -> Partition:
    """The partition that the profile names, or else the default one.

    Raises SettingsError where Slurm knows no such partition: every job would be refused.
    """
    wanted = profile.partition or next((one.name for one in partitions.values() if one.is_default), None)
    if wanted not in partitions:
        there = ", ".join(partitions) or "none"
        what = f"slurm_partition is {wanted!r}" if wanted else "no slurm_partition is set, and Slurm has no default"
        raise SettingsError(f"{profile.path}: {what}; expected one of Slurm's partitions: {there} (sinfo shows them).")
    return partitions[wanted]


def about_partition(plan: Plan, partition: Partition) -> list[str]:
    """Why jobs of this plan would be refused by the partition, or wait in it for ever."""
    found = []
    if not partition.is_up:
        found.append(f"partition {partition.name} is not up: jobs wait until it is (sinfo).")
    limit = partition.minutes
    late = [attempt for attempt, minutes in zip(ATTEMPTS, plan.runtime, strict=True) if limit and minutes > limit]
    if late:
        found.append(
            f"attempt {late[0]} asks for {plan.runtime[late[0] - 1]} minutes, partition {partition.name} allows "
            f"{limit:g}: that job would be pending for ever (PartitionTimeLimit), and nobody would say so. "
            "Choose a smaller chunk_size, more ranks or another partition."
        )
    wide = [
        attempt for attempt, memory in zip(ATTEMPTS, plan.memory, strict=True) if plan.ranks > _room(partition, memory)
    ]
    if wide:
        memory = plan.memory[wide[0] - 1]
        found.append(
            f"attempt {wide[0]} asks for {plan.ranks} cores with {memory} MB each; partition {partition.name} has room "
            f"for {_room(partition, memory)} of them in one job ({_described(partition)}): that job would be refused, "
            "or pending for ever. Choose fewer ranks, or a smaller chunk_size, which needs less memory."
        )
    return found


def _room(partition: Partition, memory_mb: int) -> int:
    """Ranks of so much memory that one job can have, with the partition empty."""
    rooms = sorted((min(node.cores, node.memory_mb // memory_mb) for node in partition.nodes), reverse=True)
    return sum(rooms[: partition.most_nodes])


def _described(partition: Partition) -> str:
    cores, memory = sum(node.cores for node in partition.nodes), max(node.memory_mb for node in partition.nodes)
    most = f", {partition.most_nodes} of them a job" if partition.most_nodes else ""
    return f"{len(partition.nodes)} nodes{most}, {cores} cores, {memory} MB on the largest node"
