"""Whatever kills a training job, its work is kept: every run ends with the bits of a serial one.

Each scenario strikes a run of its own while its ranks are really training. The scenarios of `alone` strike only their
own jobs and run two at a time, as many as the cluster has room for; those of daemons and nodes run by themselves.
"""

import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import PATIENCE, wait_for

from cluster.conftest import start_cluster
from cluster.runs import CHUNKS, Run, kill_all, site

AT_A_TIME = 2  # runs, of two jobs of two ranks each: all of them train at once on the cluster's eight cores
FIRST, SECOND = CHUNKS
ALONE = {}


def alone(scenario):
    ALONE[scenario.__name__] = scenario
    return scenario


@alone
def time_limit_and_lost_slurmstepd(run):
    """A job whose ranks hang runs into its limit; one whose slurmstepd died ends well, but Slurm never hears of it."""
    run.start("--set-resources", "train_chunk:runtime=attempt")
    run.wait_for_training()
    jobs = run.jobs()
    for rank in run.ranks(FIRST).values():
        os.kill(rank, signal.SIGSTOP)
    kill_all(step_daemons(jobs[SECOND]))
    trained = run.place / f"results/trained/{SECOND}.npz"
    wait_for(trained.exists)
    assert jobs[SECOND] in run.jobs().values(), "Slurm thinks that it still runs"
    assert run.finish() == 0, run.said()
    states = run.slurm("sacct", "-X", "-n", "--format=State", "-j", f"{jobs[FIRST]},{jobs[SECOND]}").split()
    assert states == ["TIMEOUT", "TIMEOUT"]
    assert "resuming from" in run.job_log(FIRST)
    assert "8 pixels had ended" in run.job_log(SECOND), "its output was deleted, its work was not"
    run.assert_nothing_is_lost()


def step_daemons(job: str) -> list[int]:
    """The processes slurmstepd of a job's MPI step, which its ranks are children of."""
    listed = subprocess.run(["pgrep", "-f", rf"slurmstepd: \[{job}\.0\]"], capture_output=True, text=True, check=False)
    processes = [int(word) for word in listed.stdout.split()]
    assert processes, f"no slurmstepd of {job}.0"
    return processes


@alone
def rank_killed_and_job_cancelled(run):
    """`kill -9` of a rank of one chunk's job, `scancel` of the other's: both are tried again and resume."""
    run.start()
    run.wait_for_training()
    jobs, ranks = run.jobs(), run.ranks(FIRST)
    status = run.payneflow("status")
    assert re.search(r"running +2 +16\n", status) and "judged by squeue: 2 training jobs" in status
    assert set(ranks) == {0, 1}
    os.kill(ranks[1], signal.SIGKILL)
    run.slurm("scancel", jobs[SECOND])
    for job in (jobs[FIRST], jobs[SECOND]):
        run.wait_until_gone(job)
    assert run.finish() == 0, run.said()
    for chunk in CHUNKS:
        assert "resuming from" in run.job_log(chunk)
    assert re.search(r"done +2 +16\n", run.payneflow("status"))
    run.assert_nothing_is_lost()


@alone
def memory_above_the_request(run):
    """A first request that is too small for the ranks: Slurm kills the job, the next one asks for more."""
    run.start("--set-resources", "train_chunk:mem_mb_per_cpu=165*attempt**2")
    assert run.finish() == 0, run.said()
    logs = "".join(path.read_text() for path in (run.place / ".snakemake/slurm_logs").rglob("*.log"))
    said = run.said() + logs
    assert re.search(r"StepId=\d+\.\w+ exceeded memory limit", said), "the ranks, or the Snakemake beside them"
    requests = run.slurm("sacct", "-X", "-n", "--format=ReqMem%20,State", "--name", run_id(run)).split()
    assert {"330M", "FAILED", "COMPLETED"} <= set(requests), requests
    run.assert_nothing_is_lost()


def run_id(run) -> str:
    return next(line.split()[-1] for line in run.said().splitlines() if line.startswith("SLURM run ID"))


@alone
def main_process_killed(run):
    """`kill -9` of Snakemake: its jobs go on; the next run cancels them and goes on from their checkpoints."""
    pace = run.environment["STEP_SECONDS"]
    run.environment["STEP_SECONDS"] = "5"  # five minutes: the orphans outlive two starts of Snakemake on any machine
    run.start()
    run.wait_for_training()
    orphans = run.jobs()
    assert set(orphans) == set(CHUNKS)
    os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()
    run.start()
    assert run.finish() == 1 and "cannot be locked" in run.said()
    assert subprocess.run(run.command("--unlock"), cwd=run.place, env=run.environment, timeout=PATIENCE).returncode == 0
    assert set(run.jobs().values()) == set(orphans.values()), "the orphans are still training"
    run.environment["STEP_SECONDS"] = pace
    run.start()
    assert run.finish() == 0, run.said()
    cancelled = next(line for line in run.said().splitlines() if "an earlier run of this directory left behind" in line)
    assert all(job in cancelled for job in orphans.values())
    for chunk in CHUNKS:
        assert "resuming from" in run.job_log(chunk)
    run.assert_nothing_is_lost()


@alone
def interrupted_twice_over(run):
    """Ctrl-C ends the jobs at once and leaves no lock; the same command goes on. And SIGTERM of a rank is like kill."""
    run.start()
    run.wait_for_training()
    jobs = run.jobs()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.finish() != 0
    for job in jobs.values():
        run.wait_until_gone(job)
    run.start()
    run.wait_for_training()
    os.kill(run.ranks(FIRST)[0], signal.SIGTERM)
    assert run.finish() == 0, run.said()
    assert "cannot be locked" not in run.said()
    for chunk in CHUNKS:
        assert "resuming from" in run.job_log(chunk)
    run.assert_nothing_is_lost()


@alone
def ranks_of_the_wrong_mpi(run):
    """Every process believes to be rank 0 of 1, and would train all pixels: each refuses; Snakemake names the log."""
    said = run.fail("--default-resources", *site(launcher="srun --mpi=none --kill-on-bad-exit=1"))
    assert "Error in rule train_chunk" in said
    for chunk in CHUNKS:
        assert f"results/logs/train_chunk/{chunk}.log" in said
    assert "this process is rank 0 of 1" in said and "mpich: srun --mpi=pmi2" in said
    assert not list((run.place / "results").glob("trained/*.npz"))


@pytest.fixture(scope="module")
def outcomes(request, cluster, serial, tmp_path_factory):
    """Every scenario of `alone` that is to be tested, each an outcome to be waited for."""
    places = tmp_path_factory.mktemp("faults")
    wanted = {item.name for item in request.session.items}
    chosen = {name: strike for name, strike in ALONE.items() if f"test_nothing_is_lost_with[{name}]" in wanted}
    runs = {name: Run(places / name, cluster, serial) for name in chosen}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {name: pool.submit(strike, runs[name]) for name, strike in chosen.items()}
        for run in runs.values():
            run.end()


@pytest.mark.parametrize("scenario", ALONE)
def test_nothing_is_lost_with(outcomes, scenario):
    outcomes[scenario].result()


# ------------------------------------------------------------------------------------------------- daemons and nodes


def daemon(run, name: str) -> int:
    """The process of a daemon: slurmctld, slurmdbd, mariadbd, slurmd.n1, ..."""
    return int((Path(run.environment["CLUSTER_BASE"]) / f"run/{name}.pid").read_text())


def node_of(run, chunk: str) -> str:
    return run.slurm("squeue", "--noheader", "--format=%N", "-j", run.jobs()[chunk]).strip()


def states(run) -> list[str]:
    return run.slurm("sacct", "-X", "-n", "--format=State%20", "--name", run_id(run)).split()


def test_controller_and_accounting_away_for_a_minute_and_slurmd_for_a_moment(run):
    """The jobs run on, Snakemake asks until there is an answer, and nothing is trained twice."""
    run.start()
    run.wait_for_training()
    kill_all([daemon(run, f"slurmd.{node_of(run, FIRST)}")])
    start_cluster("yes")
    os.kill(daemon(run, "slurmctld"), signal.SIGTERM)  # killed, it would forget jobs of the last seconds
    kill_all([daemon(run, "slurmdbd")])
    begin = time.monotonic()
    while time.monotonic() - begin < 60:
        assert run.process.poll() is None, run.said()
        time.sleep(1)
    start_cluster("yes")
    assert run.finish() == 0, run.said()
    assert states(run) == ["COMPLETED", "COMPLETED"]
    run.assert_nothing_is_lost()


def test_a_lost_node(run):
    """A node crashes with all that runs on it: its job is started anew on another node and goes on."""
    run.start()
    run.wait_for_training()
    crashed, job = node_of(run, FIRST), run.jobs()[FIRST]
    kill_all([daemon(run, f"slurmd.{crashed}"), *everything_of(job)])
    status = run.finish()
    start_cluster("yes")
    assert status == 0, run.said()
    assert sorted(states(run)) == ["COMPLETED", "COMPLETED", "NODE_FAIL"]
    assert "resuming from" in run.job_log(FIRST)
    run.assert_nothing_is_lost()


def everything_of(job: str) -> list[int]:
    """All processes of a job on its node: those of Slurm that watch over it, its Snakemake, and the ranks."""
    listed = subprocess.run(["pgrep", "-f", rf"slurmstepd: \[{job}\."], capture_output=True, text=True, check=True)
    found = [int(word) for word in listed.stdout.split()]
    for process in found:  # grows as it goes
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        found += [int(word) for task in tasks for word in task.read_text().split()]
    return found
