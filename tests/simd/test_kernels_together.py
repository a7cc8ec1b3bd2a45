"""Kernels of several sizes in one process, each compiled in another one and read from disk: each has its own parts."""

import os
import subprocess
import sys

import pytest
from conftest import PATIENCE
from simd import kernels_of_sizes


def computed(cache, *sizes):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, kernels_of_sizes.__file__, *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=True)
    return done.stdout.splitlines()


def in_plain_python(size):
    values, scramble = kernels_of_sizes.VALUES, kernels_of_sizes.scrambled(size)
    return scramble(values, 1.0) + scramble(values[1:], 2.0) * scramble(values[2:], size)


def test_kernels_of_two_sizes_compute_in_one_process_what_each_does_alone(tmp_path):
    """Numba numbers functions anew in each process: the parts of both kernels once had the same names."""
    alone = [*computed(tmp_path, 2), *computed(tmp_path, 4)]
    for line, size in zip(alone, (2, 4), strict=True):
        assert float.fromhex(line.split()[1]) == pytest.approx(in_plain_python(size), rel=1e-12)
    assert computed(tmp_path, 2, 4) == alone and computed(tmp_path, 4, 2) == alone[::-1]


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
