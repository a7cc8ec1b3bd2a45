"""The training set and the test set of a grid (the published split): how many spectra each has, and what both must be.

Both sets need spectra enough, and no spectrum may be in both.
"""

import hashlib
from pathlib import Path

import numpy as np

from payneflow.errors import GridError

TRAINING = slice(0, None, 2)  # published split: spectra 0, 2, 4, ... are the training set
TEST = slice(1, None, 2)  # and 1, 3, 5, ... the test set

MIN_TRAINING, MIN_TEST = 3, 1  # spectra; fewer leave nothing to learn from, or nothing to check it with


def count_training(n_spectrum: int) -> int:
    """The number of training spectra in a grid of `n_spectrum` spectra."""
    return len(range(n_spectrum)[TRAINING])


def count_test(n_spectrum: int) -> int:
    """The number of test spectra in a grid of `n_spectrum` spectra."""
    return len(range(n_spectrum)[TEST])


def check_enough_spectra(path: Path, key: str, n_spectrum: int) -> None:
    """Raise GridError where `n_spectrum` spectra leave a set too small; `key` names the flux array."""
    n_training, n_test = count_training(n_spectrum), count_test(n_spectrum)
    if n_training < MIN_TRAINING or n_test < MIN_TEST:
        raise GridError(
            f"{path}: {key} holds {n_spectrum} spectra, which leaves {n_training} to train on and {n_test} to "
            f"test with; at least {MIN_TRAINING} and {MIN_TEST} are needed. Add spectra."
        )


class TwinCheck:
    """Whether a test spectrum also trains, which would measure memory; flux (n_spectrum, n_pixel) comes in blocks."""

    def __init__(self, path: Path, key: str):
        self._path, self._key = path, key
        self._prints: list[bytes] = []  # 32 bytes a spectrum: no pair is compared

    def look_at(self, first: int, rows: np.ndarray) -> None:
        """Take in the spectra `first` ..., (n, n_pixel), which follow on those before."""
        self._prints += [hashlib.sha256(row).digest() for row in rows]

    def judge(self) -> None:
        """Raise GridError where a test spectrum has the very flux of a training spectrum."""
        prints, spectra = self._prints, range(len(self._prints))
        trained = {prints[spectrum]: spectrum for spectrum in reversed(spectra[TRAINING])}  # the first of equal ones
        twins = [(trained[prints[spectrum]], spectrum) for spectrum in spectra[TEST] if prints[spectrum] in trained]
        if twins:
            training, test = twins[0]
            raise GridError(
                f"{self._path}: {self._key}[{test}] (spectrum {test}, which tests) has the very flux of "
                f"{self._key}[{training}] (spectrum {training}, which trains), the first of {len(twins)} such pairs; "
                "expected test spectra (odd rows) that no network was trained on. Remove duplicate spectra, with "
                "their labels."
            )
