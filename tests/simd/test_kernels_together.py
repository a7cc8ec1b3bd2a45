"""Kernels of several sizes in one process, each compiled in another one and read from disk: each has its own parts."""

import os
import subprocess
import sys

from conftest import PATIENCE

PROGRAM = """
import sys
import numpy as np
from payneflow import PixelNetworks
from payneflow.fitting import fit_spectra

def networks(n_neurons):
    rng = np.random.default_rng(n_neurons)
    return PixelNetworks(
        w_array_0=rng.normal(size=(40, n_neurons, 2)), b_array_0=rng.normal(size=(40, n_neurons)),
        w_array_1=rng.normal(size=(40, n_neurons)), b_array_1=rng.normal(size=40),
        x_min=np.zeros(2), x_max=np.ones(2), wavelength=15000 + 0.2 * np.arange(40.0),
        label_names=("a", "b"), label_units=("", ""), emulator_rms=np.full(40, 1e-3),
    )

for n_neurons in map(int, sys.argv[1:]):
    emulator = networks(n_neurons)
    table = fit_spectra(emulator, emulator.predict(np.full((3, 2), 0.4)), 0.01)
    print(n_neurons, *np.round(np.concatenate([table["a"], table["b"]]), 6))
"""


def fitted(cache, *sizes):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", PROGRAM, *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=True)
    return done.stdout.splitlines()


def test_networks_of_two_sizes_are_fitted_in_one_process_as_each_alone(tmp_path):
    """Numba numbers functions anew in each process: the parts of both kernels once had the same names."""
    alone = [*fitted(tmp_path, 2), *fitted(tmp_path, 4)]
    assert [line.split()[1] for line in alone] == ["0.4", "0.4"]
    assert fitted(tmp_path, 2, 4) == alone and fitted(tmp_path, 4, 2) == alone[::-1]


ONE_KERNEL = """
import numpy as np
from payneflow.kriging import cholesky
print(cholesky(np.eye(2)))
"""


def test_processes_that_begin_at_once_compile_a_kernel_once(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen([sys.executable, "-c", ONE_KERNEL], env=environment, **pipes) for _ in range(3)]
    ended = [job.communicate(timeout=PATIENCE) for job in jobs]
    assert [printed for printed, _ in ended] == 3 * ["True\n"]
    assert sum(said.count("compiling cholesky") for _, said in ended) == 1
