"""How many pixels should a job train? A simulated cluster runs one grid in chunks of many sizes; no job is started.

    python benchmarks/simulate_scheduling.py [--spectra 100000] [--labels 25] [--neurons 20] [--pixels 7214]
                                             [--cores 1000] [--ranks 8] [--jobs 125] [--wait 5] [--runs 20] [--seed 0]

The cost of a pixel is the law of the lm trainer (--seconds: another one). Simulated are: the
start of each job; Slurm, where a job waits for --wait minutes on average (exponentially distributed, as others' jobs
come first) and so many are started a second; Snakemake, which has no more than --jobs submitted and
learns of an end only when it asks (at first every 40 s, 10 s later after each answer without a success, up to 180 s);
SIMD lanes, of which a rank fills eight or leaves some idle; jobs that fail at their start, and by the core-hour;
slow nodes; time limits as sizing.runtime_minutes asks for, and retries, which go on from the last checkpoint.

Each row is the median of the runs: jobs, of them failed ones; expected minutes of a job; wall time, and that of the
worst run in ten; core-hours, and how much of them trained pixels; seconds between two jobs' ends, which the scheduler
and the file system see. Chosen is the size with the fewest jobs among those whose wall time is at most a tenth above
the shortest.
"""

import argparse
import heapq
from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np

from payneflow.run.sizing import LANES, minutes_of_job, runtime_minutes
from payneflow.settings import LmSettings
from payneflow.training.lm.cost import seconds_a_pixel

START = 60 * minutes_of_job(0, 0.0)  # seconds of a job before its first pixel, measured
POLL_FIRST, POLL_LATER, POLL_MOST = 40.0, 10.0, 180.0  # seconds, of the Slurm plugin
SUBMITTED_A_SECOND = 20.0  # sbatch takes 12 ms on a free cluster, Snakemake as much again
STARTED_A_SECOND = 2.0  # by Slurm: assumed; busy sites start fewer
FAILED_AT_START = 0.005  # of all jobs: assumed
FAILED_A_CORE_HOUR = 1e-3  # assumed; a node of 64 cores then fails twice a month
SLOW_SHARE, SLOW_SPEED = 0.03, 0.4  # of all jobs, on nodes so much slower: assumed
PIXEL_SPREAD = 0.5  # standard deviation of a pixel's cost over its mean
CHECKPOINT = 30.0  # seconds between two checkpoints
ATTEMPTS = 3


@dataclass(frozen=True)
class Cluster:
    """Cores at one's disposal, ranks of a job, jobs that Snakemake has submitted at a time, seconds a job waits."""

    cores: int
    ranks: int
    jobs: int
    wait: float


@dataclass
class Job:
    """A chunk on its way: seconds of training left at full speed, its pixels, and the attempt that comes next."""

    left: float
    n_pixel: int
    attempt: int = 1


@dataclass
class Outcome:
    """Of one run: seconds of wall time, core-seconds in all and of training, jobs started, failed, and given up."""

    wall: float = 0.0
    core_seconds: float = 0.0
    useful: float = 0.0
    started: int = 0
    failed: int = 0
    given_up: int = 0


class Run:
    """One simulated run: events in the order of their time, from the first submission to the last end that is seen."""

    def __init__(self, cluster: Cluster, n_pixel: int, size: int, seconds: float, rng: np.random.Generator):
        self.cluster, self.seconds, self.rng = cluster, seconds, rng
        self.waiting = deque(self._job(min(size, n_pixel - first)) for first in range(0, n_pixel, size))
        self.queue: deque[Job] = deque()  # submitted, and nobody's job comes before
        self.free = cluster.cores // cluster.ranks
        self.submitted = 0  # as Snakemake knows it
        self.unseen: list[tuple[Job, bool]] = []  # ended, and whether well
        self.last_start = 0.0
        self.events: list[tuple[float, int, str, object]] = []
        self.n_event = 0
        self.outcome = Outcome()

    def _job(self, n_pixel: int) -> Job:
        filled = ceil(n_pixel / (LANES * self.cluster.ranks)) * LANES  # pixels' worth of time of a rank
        spread = max(0.5, self.rng.normal(1.0, PIXEL_SPREAD / np.sqrt(n_pixel)))
        return Job(filled * self.seconds * spread, n_pixel)

    def simulate(self) -> Outcome:
        self._submit(0.0)
        now, wait, poll = 0.0, POLL_FIRST, POLL_FIRST
        while self.waiting or self.submitted:
            while self.events and self.events[0][0] <= poll:
                now, _, what, payload = heapq.heappop(self.events)
                if what == "eligible":
                    self.queue.append(payload)
                else:
                    self.free += 1
                    self.unseen.append(payload)
                self._start(now)
            now = poll
            success = self._look(now)
            wait = POLL_FIRST if success else min(wait + POLL_LATER, POLL_MOST)
            poll = now + wait
        self.outcome.wall = now
        return self.outcome

    def _submit(self, now: float) -> None:
        while self.waiting and self.submitted < self.cluster.jobs:
            now += 1 / SUBMITTED_A_SECOND
            self._happens(now + self.rng.exponential(self.cluster.wait), "eligible", self.waiting.popleft())
            self.submitted += 1

    def _start(self, now: float) -> None:
        while self.queue and self.free:
            self.free -= 1
            self.last_start = begin = max(now, self.last_start + 1 / STARTED_A_SECOND)
            self._run(self.queue.popleft(), begin)

    def _run(self, job: Job, begin: float) -> None:
        """Decide how a job that begins now will end, and when."""
        speed = SLOW_SPEED if self.rng.random() < SLOW_SHARE else 1.0
        whole = START + job.left / speed
        breaks = self.rng.exponential(3600 / (FAILED_A_CORE_HOUR * self.cluster.ranks))
        if self.rng.random() < FAILED_AT_START:
            breaks = START
        limit = 60 * runtime_minutes(job.n_pixel, self.seconds, self.cluster.ranks, job.attempt)
        lasts = min(whole, breaks, limit)
        well = lasts == whole
        trained = job.left if well else CHECKPOINT * max(0, (lasts - START) // CHECKPOINT) * speed
        job.left -= trained
        self.outcome.started += 1
        self.outcome.failed += not well
        self.outcome.core_seconds += self.cluster.ranks * lasts
        self.outcome.useful += self.cluster.ranks * trained
        self._happens(begin + lasts, "ended", (job, well))

    def _look(self, now: float) -> bool:
        """Snakemake asks what has ended: failed jobs are submitted again, waiting ones take the places."""
        success = False
        for job, well in self.unseen:
            self.submitted -= 1
            success |= well
            if not well:
                job.attempt += 1
                if job.attempt <= ATTEMPTS:
                    self.waiting.appendleft(job)
                else:
                    self.outcome.given_up += 1
        self.unseen = []
        self._submit(now)
        return success

    def _happens(self, when: float, what: str, payload: object) -> None:
        self.n_event += 1  # events of one time keep their order
        heapq.heappush(self.events, (when, self.n_event, what, payload))


def compare(cluster: Cluster, n_pixel: int, seconds: float, n_run: int, seed: int) -> None:
    print(
        f"{'pixels':>8}{'jobs':>8}{'failed':>8}{'min a job':>11}{'wall, min':>11}{'worst':>8}{'core-h':>9}"
        f"{'useful':>9}{'s an end':>10}"
    )
    rows = []
    whole = LANES * cluster.ranks
    sizes = [whole * 2**power for power in range(20) if whole * 2**power < 2 * n_pixel]
    for size in sizes:
        runs = [
            Run(cluster, n_pixel, size, seconds, np.random.default_rng([seed, size, run])).simulate()
            for run in range(n_run)
        ]
        walls = np.array([run.wall for run in runs]) / 60
        jobs, failed = np.median([run.started for run in runs]), np.mean([run.failed for run in runs])
        core_hours = np.median([run.core_seconds for run in runs]) / 3600
        useful = np.median([run.useful / run.core_seconds for run in runs])
        wall = np.median(walls)
        minutes = minutes_of_job(min(size, n_pixel), seconds, cluster.ranks)
        rows.append((size, wall, jobs))
        print(
            f"{min(size, n_pixel):8d}{jobs:8.0f}{failed:8.1f}{minutes:11.1f}{wall:11.1f}{np.quantile(walls, 0.9):8.1f}"
            f"{core_hours:9.1f}{useful:9.1%}{60 * wall / jobs:10.2f}",
            flush=True,
        )
        given_up = sum(run.given_up for run in runs)
        if given_up:
            print(f"{'':8}  {given_up} chunks in {n_run} runs failed {ATTEMPTS} times and wait for another run")
    best = min(wall for _, wall, _ in rows)
    size, wall, jobs = max(row for row in rows if row[1] <= 1.1 * best)
    print(f"choose {min(size, n_pixel)} pixels a chunk: {jobs:.0f} jobs, {wall:.1f} minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("spectra", 100_000), ("labels", 25), ("neurons", 20), ("pixels", 7214), ("cores", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--ranks", type=int, default=8, metavar="N")
    parser.add_argument("--jobs", type=int, metavar="N", help="default: as many as fill the cores")
    parser.add_argument("--wait", type=float, default=5.0, metavar="MINUTES")
    parser.add_argument("--runs", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--seconds", type=float, metavar="S", help="of one core, for a pixel")
    options = parser.parse_args()
    seconds = options.seconds or seconds_a_pixel(
        LmSettings(n_neurons=options.neurons), options.spectra // 2, options.labels
    )
    cluster = Cluster(options.cores, options.ranks, options.jobs or options.cores // options.ranks, 60 * options.wait)
    print(
        f"{options.pixels} pixels of {seconds:.3g} s, {options.pixels * seconds / 3600:.1f} core-hours; "
        f"{cluster.cores} cores, {cluster.ranks} ranks a job, "
        f"{cluster.jobs} jobs at a time, {options.wait:g} min of waiting"
    )
    compare(cluster, options.pixels, seconds, options.runs, options.seed)


if __name__ == "__main__":
    main()
