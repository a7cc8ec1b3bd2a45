"""A small synthetic grid with smooth, known spectra, for tests that need a file but not real physics."""

import signal
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

# A shell that starts the tests in the background has Ctrl-C ignored, which the jobs that they interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# nothing is skipped: test_theano.py runs them with the Python that has Theano
collect_ignore = [] if find_spec("theano") else ["with_theano"]


def write_small_grid(path: Path, n_spectrum: int = 24, n_pixel: int = 20, seed: int = 0, **replace) -> Path:
    """A valid grid in the published layout: three labels, lines whose depth depends smoothly on them."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform([4000.0, 1.0, -2.0], [6500.0, 5.0, 0.5], (n_spectrum, 3))
    unit = (labels - [4000.0, 1.0, -2.0]) / [2500.0, 4.0, 2.5]
    strength = rng.uniform(0.0, 3.0, (3, n_pixel))
    flux = 1.0 - rng.uniform(0.02, 0.4, n_pixel) * np.exp(-unit @ strength)
    arrays = {
        "wavelength": 15000.0 + 0.2 * np.arange(n_pixel),
        "Y_u_all": flux.astype(np.float32),
        "labels_array": labels.T,
        "label_names": np.array(["Teff", "logg", "[Fe/H]"]),
        "label_units": np.array(["K", "dex", "dex"]),
        **replace,
    }
    np.savez(path, **arrays)
    return path


def wait_for(condition, seconds=60):
    """Wait until `condition()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def same_but_seconds(a, b):
    """Do two trained chunks hold the same to the bit, apart from the time it took?"""
    a, b = np.load(a), np.load(b)
    return set(a) == set(b) and all((a[key] == b[key]).all() for key in set(a) - {"seconds"})


@pytest.fixture
def small_grid(tmp_path) -> Path:
    return write_small_grid(tmp_path / "grid.npz")
