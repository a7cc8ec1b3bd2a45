"""The cluster of these tests is what they take it for, and the workflow runs on it as typed, accounts or none."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import PATIENCE, ROOT
from workflow_runs import planned

from cluster.conftest import HERE, start_cluster, stop_cluster
from cluster.runs import CHUNKS, NETWORK, PROGRAMS, Run, site


def test_the_cluster_has_the_properties_that_tests_rely_on(cluster):
    """check.sh: queue, placement, MPI, memory limits, accounting, daemons that die and come back."""
    environment = {**cluster, "PYTHON": sys.executable}
    checked = subprocess.run([HERE / "check.sh"], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert checked.returncode == 0 and "all checks passed" in checked.stdout, checked.stdout
    assert "skipped" not in checked.stdout


def test_the_whole_demonstration_as_typed_at_the_top_of_the_repository(cluster, tmp_path):
    """What `make cluster` runs: `snakemake --profile slurm`, from the grid to the figures."""
    environment = {**cluster, "PATH": f"{PROGRAMS}:{cluster['PATH']}"}
    command = [HERE / "run_demo.sh", tmp_path / "results"]
    shown = subprocess.run(
        [*command, "-n"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert shown.returncode == 0 and planned(shown.stdout + shown.stderr)["train_chunk"] == 8
    assert not (tmp_path / "results").exists()
    demo = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    said = demo.stdout + demo.stderr
    assert demo.returncode == 0, said
    assert "113 pixels in 8 chunks, trainer lm" in said and "The workflow took " in said
    for name in ("neural_network.npz", "fits.ecsv", "figures/flux_prediction.png", "figures/fitting_results.png"):
        assert (tmp_path / "results" / name).stat().st_size > 1000
    logs = list((tmp_path / "results/logs/train_chunk").glob("*.log"))
    assert len(logs) == 8 and all("trainer lm, 2 ranks" in log.read_text() for log in logs)


def test_plan_warns_of_what_slurm_would_leave_pending_for_ever(run):
    """The partition allows 60 minutes, its nodes have two cores: Slurm would accept both jobs and never start them."""
    fits = run.payneflow("plan", "--profile", ROOT / "slurm")
    assert "2 ranks each, on Slurm" in fits and "PartitionTimeLimit" not in fits
    long = run.payneflow("plan", "--profile", ROOT / "slurm", "sgd={num_epochs: 100000000}")
    assert "partition main allows 60: that job would be pending for ever (PartitionTimeLimit)" in long


def test_an_account_of_nobody_is_refused_at_once(run):
    said = run.fail("--default-resources", *site(slurm_account="nobodys"))
    assert "The given account nobodys appears to be invalid. Available accounts" in said


def test_without_slurm_the_profile_shows_its_plan_and_refuses_to_start(cluster, run, tmp_path):
    """On a laptop: PATH holds what Snakemake needs, but none of Slurm's commands."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("which", "sh", "bash", "env", "cat", "awk", "seq", "sleep", "timeout"):
        (programs / name).symlink_to(next(p for p in (Path("/bin") / name, Path("/usr/bin") / name) if p.exists()))
    run.environment = {**os.environ, "PATH": f"{PROGRAMS}:{programs}"}
    run.start("--dry-run")
    assert run.finish() == 0 and "train_chunk" in run.said()
    said = run.fail()
    assert "--profile slurm needs Slurm's commands, but there is no sbatch on this machine's PATH" in said
    assert "make run" in said


def test_a_cluster_without_accounting(serial, tmp_path, cluster):
    """The same profile; its account is ignored, and the state of jobs comes from squeue."""
    stop_cluster()
    # the PATH of a user: the workflow itself must find the sacct that asks squeue
    run = Run(tmp_path / "run", {**start_cluster("no"), "PATH": os.environ["PATH"]}, serial)
    try:
        run.start("--default-resources", *site(ranks=1))
        assert run.finish() == 0, run.said()
        assert "ranks" not in run.job_log(CHUNKS[0]), "one rank a job needs no MPI"
        run.assert_nothing_is_lost()
    finally:
        run.end()
        stop_cluster()
        start_cluster("yes")
    assert (run.place / NETWORK).exists()
