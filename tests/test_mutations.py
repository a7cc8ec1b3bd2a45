"""Damaged and wrong files of every kind end in what they were, or in a clear error; benchmarks/mutations.py tries more.

What asks for the kernels of fits, minutes to compile, is left to the benchmark; their files are read here.
"""

import time
from pathlib import Path

import mutations
import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_networks import random_networks
from mutations import FAULTS, OF_ARRAYS, OF_TEXT, Bench

from payneflow.errors import PayneflowError
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.fitting.calibration import read_label_errors, write_label_errors
from payneflow.fitting.label_errors import LabelErrors

N_EXAMPLE = 25  # of each file: a minute in all


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"), with_fits=False)


FILES = ["grid", "grid, split", "grid, hdf5", "chunk", "checkpoint", "trained chunk", "list", "network"]
FILES += ["config, plan", "config, status", "profile", "record, plan", "progress"]
FIGURES = ["flux_deviation", "training_summary"]
few = settings(max_examples=N_EXAMPLE, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", FILES)
@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_damaged_file_ends_in_what_it_was_or_in_a_clear_error(bench, name, data, seed):
    mutation = data.draw(st.sampled_from(bench.targets[name].mutations))
    trial = bench.try_one(name, mutation, seed)
    assert trial.outcome not in FAULTS, f"{trial.mutation}: {trial.outcome}: {trial.said}"


@pytest.mark.parametrize("name", FIGURES)
@settings(few, max_examples=5)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_and_so_does_what_a_figure_is_drawn_from(bench, name, data, seed):
    test_a_damaged_file_ends_in_what_it_was_or_in_a_clear_error.hypothesis.inner_test(bench, name, data, seed)


# ----------------------------------------------------------------------------------- read, without the kernels of fits


def some_label_errors(path):
    rng = np.random.default_rng(0)
    write_label_errors(
        LabelErrors(
            scaled=rng.uniform(0.1, 0.9, (30, 3)),
            errors=rng.normal(0, 1e-3, (30, 3)),
            rows=np.arange(30),
            held_back=np.arange(30) % 2 == 1,
            training=rng.uniform(0.1, 0.9, (15, 3)),
            lengths=np.full(3, 0.3),
            nugget=1e-3,
            mode="labels Teff, logg, [Fe/H]",
            networks=random_networks(5).digest,
        ),
        path,
    )


def some_best_fits(path):
    ones, n = np.ones((2, 5)), np.ones(2)
    names, units = np.array(["Teff", "logg", "[Fe/H]"]), np.array(["K", "dex", "dex"])
    spectra = dict.fromkeys(("flux", "flux_error", "model", "continuum", "sigma"), ones)
    labels = {"labels": np.ones((2, 3)), "label_errors": np.ones((2, 3)), "label_names": names, "label_units": units}
    fits = {"SNR": n, "chi2": n, "dof": n.astype(int), "flags": n.astype(int), "errors": "formal"}
    flags = {"flag_names": np.array(["FAILED"]), "flag_bits": np.array([4])}
    own = {"wavelength": 15000.0 + np.arange(5), "identifier": np.array(["a", "b"]), "used": ones > 0}
    BEST_FITS.write(path, {**spectra, **labels, **fits, **flags, **own})


READERS = {
    "label errors": (some_label_errors, lambda path: vars(read_label_errors(path))),
    "best fits": (some_best_fits, BEST_FITS.read),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    paths = {name: tmp_path_factory.mktemp("whole") / "whole.npz" for name in READERS}
    for name, (write, _) in READERS.items():
        write(paths[name])
    return paths


@pytest.mark.parametrize("name", READERS)
@settings(few, max_examples=2 * N_EXAMPLE)
@given(mutation=st.sampled_from([one for one in OF_ARRAYS if one.harm]), seed=st.integers(0, 2**32))
def test_a_damaged_file_is_read_as_what_it_was_or_refused(whole, tmp_path_factory, name, mutation, seed):
    read = READERS[name][1]
    path = tmp_path_factory.mktemp("damaged") / "damaged.npz"
    path.write_bytes(whole[name].read_bytes())
    mutation.make(path, np.random.default_rng(seed))
    try:
        found = read(path)
    except PayneflowError as error:
        assert path.name in str(error) and len(str(error)) < 2000
        return
    expected = read(whole[name])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_what_spins_or_sleeps_hangs_and_what_compiles_does_not(monkeypatch):
    """By processor time, however busy the machine is; and what uses none has stopped."""
    for name, seconds in (("PATIENCE", 0.2), ("IDLE", 1.5), ("LOOK", 0.05)):
        monkeypatch.setattr(mutations, name, seconds)

    def spin():
        while True:
            pass

    def compile_for_long():
        end = mutations.CLOCK.compiled + 0.5
        while mutations.CLOCK.compiled < end:
            numba.njit(lambda x: [y**2 for y in range(x)])(3)

    for hangs in (spin, lambda: time.sleep(600)):
        with pytest.raises(mutations.Hang), mutations.patience():
            hangs()
    with mutations.patience():
        time.sleep(0.3)
    monkeypatch.setattr(mutations, "PATIENCE", 5.0)
    with mutations.patience():
        compile_for_long()


def test_every_way_to_change_a_file_is_tried_in_the_benchmark(bench):
    assert {one.name for one in OF_ARRAYS} & {one.name for one in OF_TEXT} >= {"cut", "flip", "pipe", "directory"}
    assert set(FILES + FIGURES) < set(bench.targets)
    assert Path(bench.directory).is_dir()
