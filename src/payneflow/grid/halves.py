"""Which spectra of a grid train and which test (the published split), and what it asks of a grid.

Both halves need spectra enough, and no spectrum may be in both.
"""

import hashlib
from pathlib import Path

import numpy as np

from payneflow.errors import GridError

TRAINING = slice(0, None, 2)  # published split: spectra 0, 2, 4, ... train
TEST = slice(1, None, 2)  # and 1, 3, 5, ... test

MIN_TRAINING, MIN_TEST = 3, 1  # spectra; fewer leave nothing to learn from, or nothing to check it with


def check_enough_spectra(path: Path, key: str, n_spectrum: int) -> None:
    """Raise GridError where `n_spectrum` spectra leave a half too small; `key` names the flux array."""
    n_training, n_test = len(range(n_spectrum)[TRAINING]), len(range(n_spectrum)[TEST])
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
