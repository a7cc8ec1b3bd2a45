"""benchmarks/simulate_scheduling.py: runs whose course is known, and what no run may break."""

import numpy as np
import pytest
import simulate_scheduling
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_scheduling import START, Cluster, Run


@pytest.fixture
def no_faults(monkeypatch):
    """A cluster on which nothing fails, all nodes are alike and all pixels cost the same."""
    for name in ("FAILED_AT_START", "FAILED_A_CORE_HOUR", "SLOW_SHARE", "PIXEL_SPREAD"):
        monkeypatch.setattr(simulate_scheduling, name, 1e-12 if name == "FAILED_A_CORE_HOUR" else 0.0)


def run(cluster, n_pixel, size, seconds, seed=0):
    return Run(cluster, n_pixel, size, seconds, np.random.default_rng(seed)).simulate()


def test_one_job_ends_when_snakemake_looks(no_faults):
    one = run(Cluster(cores=8, ranks=8, jobs=1, wait=0.0), 64, 64, seconds=1.0)
    assert one.wall == 40.0, "13 s of work, seen at the first look"
    assert (one.started, one.failed) == (1, 0)
    assert one.useful == pytest.approx(64.0)
    assert one.core_seconds == pytest.approx(8 * (START + 8.0))


def test_a_long_job_is_looked_for_less_and_less_often(no_faults):
    one = run(Cluster(cores=8, ranks=8, jobs=1, wait=0.0), 64, 64, seconds=25.0)
    assert one.wall == 40 + 50 + 60 + 70, "205 s of work"


def test_a_rank_that_cannot_fill_its_lanes_takes_as_long_as_one_that_can(no_faults):
    few, many = (run(Cluster(1, 1, 1, 0.0), n_pixel, n_pixel, 1.0) for n_pixel in (1, 8))
    assert few.core_seconds == many.core_seconds


def test_jobs_wait_for_free_cores(no_faults):
    """Ten jobs of 45 s on the cores of one: nobody can be faster than their sum."""
    ten = run(Cluster(cores=1, ranks=1, jobs=10, wait=0.0), 80, 8, seconds=5.0)
    assert 450 <= ten.wall <= 450 + 180
    assert ten.core_seconds == pytest.approx(450.0)


@settings(max_examples=30)
@given(
    n_pixel=st.integers(1, 2000),
    size=st.integers(1, 300),
    seconds=st.floats(0.1, 50.0),
    ranks=st.integers(1, 16),
    seed=st.integers(0, 100),
)
def test_all_is_trained_once_whatever_fails_unless_it_is_given_up(n_pixel, size, seconds, ranks, seed):
    simulated = Run(Cluster(64, ranks, 20, 60.0), n_pixel, size, seconds, np.random.default_rng(seed))
    work = ranks * sum(job.left for job in simulated.waiting)
    n_chunk = len(simulated.waiting)
    outcome = simulated.simulate()
    assert outcome.started == n_chunk + outcome.failed - outcome.given_up
    if not outcome.given_up:
        assert outcome.useful == pytest.approx(work)
    assert outcome.useful <= work * (1 + 1e-9) and outcome.useful <= outcome.core_seconds
    assert outcome.wall * 64 >= outcome.core_seconds
