"""What a chunk costs in time and memory: the measured table, real processes, and laws that no grid may break."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import PATIENCE, write_small_grid
from hypothesis import given
from hypothesis import strategies as st

from payneflow.chunks.split import split_grid
from payneflow.grid import read_grid
from payneflow.run import sizing
from payneflow.settings import LmSettings, SgdSettings
from payneflow.training.lm import cost as lm_cost
from payneflow.training.lm import virtual_spectra
from payneflow.training.sgd import SgdTrainer
from payneflow.training.trainers import TRAINERS, for_labels, make_settings, seconds_of_preparation


@pytest.mark.parametrize(
    ("trainer", "n_neurons", "seconds"),
    [
        ("lm", 10, 1.8e-3),
        ("lm", 15, 3.3e-3),
        ("lm", 20, 5.8e-3),
        ("lm", 30, 12.6e-3),
        ("sgd", 10, 0.42),
        ("theano", 10, 400.0),
    ],
)
def test_the_law_gives_the_measured_cost_of_the_demonstration_grid(trainer, n_neurons, seconds):
    """The cost tables of README.md and docs/lm.md: 160 training spectra, 3 labels."""
    settings = make_settings(trainer, {"n_neurons": n_neurons})
    assert TRAINERS[trainer].seconds_a_pixel(settings, 160, 3) == pytest.approx(seconds, rel=0.15)


@pytest.mark.parametrize(
    ("n_training", "n_label", "n_neurons", "microseconds"),
    [(160, 3, 10, 12.7), (2560, 3, 10, 137), (160, 25, 10, 264), (2560, 10, 20, 1673), (50_000, 25, 20, 131_000)],
)
def test_the_law_gives_the_measured_cost_of_an_iteration(n_training, n_label, n_neurons, microseconds):
    seconds = lm_cost.seconds_of_iteration(LmSettings(n_neurons=n_neurons), n_training, n_label)
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.2)


@pytest.mark.parametrize(("n_neurons", "seconds"), [(10, 0.80), (15, 1.50), (20, 2.28), (30, 4.83)])
def test_the_law_gives_the_measured_time_of_preparation(n_neurons, seconds):
    """The table of docs/lm.md, for the demonstration grid."""
    settings = LmSettings(n_neurons=n_neurons)
    assert seconds_of_preparation(settings, 160, 3, 7214) == pytest.approx(seconds, rel=0.1)
    assert seconds_of_preparation(SgdSettings(), 160, 3, 7214) == 0.0


def test_what_is_known_of_the_trainers_is_what_they_do():
    assert SgdTrainer.n_lane == sizing.LANES


@pytest.mark.parametrize("n_training", [12, 13])
def test_virtual_spectra_are_counted_as_they_are_made(n_training):
    labels = np.random.default_rng(0).uniform(0.1, 0.9, (n_training, 2))
    made = virtual_spectra.make_virtual_spectra(labels, np.cos(labels @ np.ones((2, 5))), seed=0)
    assert lm_cost.n_virtual(LmSettings(), n_training, 2) == len(made.labels)


def test_virtual_spectra_that_are_switched_off_or_too_many_cost_nothing():
    assert lm_cost.n_virtual(LmSettings(virtual_weight=0.0), 160, 3) == 0
    assert lm_cost.n_virtual(LmSettings(), 2560, 3) == 640
    assert lm_cost.n_virtual(LmSettings(), 2561, 3) == 0
    assert lm_cost.n_virtual(LmSettings(), 160, 22) == 0


@given(
    trainer=st.sampled_from(list(TRAINERS)),
    n_training=st.integers(10, 2000),
    n_label=st.integers(1, 30),
    n_neurons=st.integers(1, 40),
)
def test_more_spectra_labels_or_neurons_never_cost_less(trainer, n_training, n_label, n_neurons):
    asked = for_labels(make_settings(trainer, {}), n_label)  # what is auto may cost less for many labels

    def seconds(n_training, n_label, n_neurons):
        settings = replace(asked, n_neurons=n_neurons)
        return TRAINERS[trainer].seconds_a_pixel(settings, n_training, n_label)

    here = seconds(n_training, n_label, n_neurons)
    assert here > 0
    assert seconds(2 * n_training, n_label, n_neurons) > here
    assert seconds(n_training, n_label + 1, n_neurons) >= here
    assert seconds(n_training, n_label, n_neurons + 1) >= here


def test_a_job_takes_its_start_and_its_share_of_the_pixels():
    assert sizing.minutes_of_job(0, 1.0) == pytest.approx(5 / 60)
    assert sizing.minutes_of_job(0, 1.0, on_cluster=False) == pytest.approx(1 / 60)
    assert sizing.minutes_of_job(1200, 0.5, ranks=2) == pytest.approx(5 + 5 / 60)


@given(
    n_pixel=st.integers(1, 100_000),
    seconds=st.floats(1e-4, 1e3),
    ranks=st.integers(1, 64),
    attempt=st.integers(1, 5),
)
def test_a_job_is_given_twice_the_time_that_it_needs_and_more_at_each_attempt(n_pixel, seconds, ranks, attempt):
    expected = sizing.minutes_of_job(n_pixel, seconds, ranks)
    minutes = sizing.runtime_minutes(n_pixel, seconds, ranks, attempt)
    assert isinstance(minutes, int)
    assert minutes >= attempt * (2 * expected + 3)
    assert sizing.runtime_minutes(n_pixel, seconds, ranks, attempt + 1) > minutes


@given(
    n_pixel=st.integers(1, 100_000),
    seconds=st.floats(1e-4, 1e4),
    ranks=st.integers(1, 64),
    on_cluster=st.booleans(),
)
def test_chunks_fill_the_lanes_of_all_ranks_and_take_about_their_time(n_pixel, seconds, ranks, on_cluster):
    size = sizing.chunk_size(n_pixel, seconds, ranks, on_cluster)
    whole = sizing.LANES * ranks
    assert isinstance(size, int)
    assert size == n_pixel or (size < n_pixel and size % whole == 0)
    target = sizing.CLUSTER_SECONDS if on_cluster else sizing.MACHINE_SECONDS
    assert (size - whole) * seconds / ranks <= target
    if not on_cluster:
        assert size < sizing.MACHINE_PIXELS + whole


def test_auto_suits_a_laptop_and_a_cluster():
    lm, sgd = (TRAINERS[name].seconds_a_pixel(TRAINERS[name].settings(), 160, 3) for name in ("lm", "sgd"))
    assert sizing.chunk_size(7214, lm) == 904, "8 chunks, of about a thousand"
    assert sizing.chunk_size(7214, sgd) == 104, "about a hundred"
    assert sizing.chunk_size(7214, lm, 2, on_cluster=True) == 7214, "14 seconds in all: one job"
    assert sizing.chunk_size(7214, 18.0, 8, on_cluster=True) == 576, "20 minutes on 8 ranks are 533 pixels"


@given(
    n_pixel=st.integers(1, 5000),
    n_spectrum=st.integers(10, 100_000),
    n_label=st.integers(1, 30),
    settings=st.sampled_from([LmSettings(), LmSettings(n_neurons=20), SgdSettings()]),
    attempt=st.integers(1, 4),
)
def test_memory_covers_what_is_held_and_grows_with_each_attempt(n_pixel, n_spectrum, n_label, settings, attempt):
    megabytes = sizing.memory_mb_per_rank(n_pixel, n_spectrum, n_label, settings, attempt)
    assert isinstance(megabytes, int) and megabytes % 50 == 0
    flux_and_what_is_learnt = n_pixel * n_spectrum * (4 + 8 / 2) / 1e6
    assert megabytes > attempt * (flux_and_what_is_learnt + sizing.SNAKEMAKE_MB + 180)
    assert sizing.memory_mb_per_rank(n_pixel, n_spectrum, n_label, settings, attempt + 1) > megabytes


MEMORY_OF_TRAIN = """
import re, sys
from pathlib import Path
from payneflow import cli
status = cli.main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


@pytest.mark.parametrize("trainer", ["lm", "sgd"])
def test_a_real_training_process_stays_below_what_is_asked_for(tmp_path, trainer):
    """Largest resident memory of `payneflow train`, as the kernel counts it, beside the job's two Snakemakes."""
    grid = read_grid(write_small_grid(tmp_path / "grid.npz", n_spectrum=4000, n_pixel=600))
    few = {
        "lm": {"n_starts": 1, "start_iterations": 1, "random_iterations": 1, "max_iterations": 1, "max_rounds": 1},
        "sgd": {"num_epochs": 200, "trial_epochs": 200, "max_iter": 1},
    }[trainer]
    pixels = "::" if trainer == "lm" else "::60"
    settings = make_settings(trainer, {**few, **({"virtual_weight": 0.0} if trainer == "lm" else {})})
    (chunk,) = split_grid(grid, pixels, 600, tmp_path / "chunks", trainer, settings, 0)
    command = [sys.executable, "-c", MEMORY_OF_TRAIN, "train", chunk, "--output", tmp_path / "trained.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    used = int(re.search(r"\d+", done.stdout)[0]) * 1024 / 1e6
    n_pixel = len(range(600)[:: 1 if trainer == "lm" else 60])
    asked = sizing.memory_mb_per_rank(n_pixel, 4000, 3, settings)
    assert 100 < used < asked - sizing.SNAKEMAKE_MB < 4 * used
