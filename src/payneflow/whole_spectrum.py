"""Networks of which one set makes the flux of all pixels, as later public code of The Payne has them.

y = W2 f( W1 f( W0 x' + b0 ) + b1 ) + b2, f(z) = z where z > 0 and leaky_slope z elsewhere, y (n_pixel,) the flux itself
(tingyuansen/The_Payne, spectral_model.py), x' the scaled labels of scaling.py. payneflow trains none of these.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from payneflow.errors import NetworkFileError
from payneflow.files import NpzArchive
from payneflow.fingerprint import check_fingerprint
from payneflow.network import (
    AGAIN,
    FACTS_OF_TRAINING,
    FORMAT_VERSION,
    LABELS_OF_NETWORKS,
    RELATIONS_OF_FACTS,
    WHAT,
    Networks,
    facts_in,
    facts_of,
    problem_of_weights,
    write_stored,
)
from payneflow.stored_arrays import Array, Arrays, FileOf

WEIGHTS = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "w_array_2", "b_array_2")
OF_PIXELS = ("w_array_2", "b_array_2")


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeSpectrumNetworks(Networks):
    """Two hidden layers for all pixels, and their label scaling; the other facts are those of `Networks`.

    `w_array_0` (n_first, n_label), `b_array_0` (n_first,), `w_array_1` (n_second, n_first), `b_array_1` (n_second,),
    `w_array_2` (n_pixel, n_second), `b_array_2` (n_pixel,); `leaky_slope`: of the activation where it is negative.
    """

    w_array_0: np.ndarray
    b_array_0: np.ndarray
    w_array_1: np.ndarray
    b_array_1: np.ndarray
    w_array_2: np.ndarray
    b_array_2: np.ndarray
    leaky_slope: float

    def predict_scaled(self, scaled: np.ndarray) -> np.ndarray:
        """Flux (n_spectrum, n_pixel) for scaled labels (n_spectrum, n_label); (n_pixel,) for (n_label,)."""
        if scaled.ndim == 1:
            hidden = self._activated(
                self.w_array_1, self.b_array_1, self._activated(self.w_array_0, self.b_array_0, scaled)
            )
            return self.flux_scale.flux(_times(self.w_array_2, hidden) + self.b_array_2)
        return np.array([self.predict_scaled(one) for one in scaled]).reshape(len(scaled), len(self.b_array_2))

    def jacobian_scaled(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_pixel,) and its derivatives (n_pixel, n_label) by the scaled labels, at scaled labels (n_label,)."""
        first = _times(self.w_array_0, scaled) + self.b_array_0
        second = _times(self.w_array_1, self._leaky(first)) + self.b_array_1
        rows = self._steepness(first)[:, None] * self.w_array_0
        rows = [self._steepness(second) * _times(self.w_array_1, column) for column in rows.T]
        slopes = np.stack([_times(self.w_array_2, column) for column in rows], axis=1)
        return self.predict_scaled(scaled), slopes * self.flux_scale.width

    @property
    def has_network(self) -> np.ndarray:
        return np.isfinite(self.b_array_2)

    def of_pixels(self, pixels: slice) -> "WholeSpectrumNetworks":
        return replace(self, **{key: getattr(self, key)[pixels] for key in OF_PIXELS}, **facts_of(self, pixels))

    def _weights_of_digest(self) -> list[np.ndarray]:
        return [*(getattr(self, key) for key in WEIGHTS), np.array([self.leaky_slope])]

    def _activated(self, weights: np.ndarray, bias: np.ndarray, values: np.ndarray) -> np.ndarray:
        return self._leaky(_times(weights, values) + bias)

    def _leaky(self, z: np.ndarray) -> np.ndarray:
        return z * self._steepness(z)

    def _steepness(self, z: np.ndarray) -> np.ndarray:
        return np.where(z > 0, 1.0, self.leaky_slope)

    def write(self, path: str | Path) -> None:
        """Write the network file (npz). Raises NetworkFileError where two resolutions are said."""
        stored = {key: getattr(self, key) for key in WEIGHTS} | self._facts()
        write_stored(_FILE, path, {**stored, "leaky_slope": np.array(float(self.leaky_slope))})


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A product whose bits depend neither on threads nor on how many rows there are, as those of a BLAS may."""
    return (matrix * vector).sum(axis=1)


# ----------------------------------------------------------------------------------------------------------- the file


def _problem_of_pixels(stored: Arrays) -> str:
    return problem_of_weights(stored, ("b_array_2", "w_array_2"))


WEIGHTS_OF_WHOLE = (
    Array("w_array_0", "f", ("n_first", "n_label"), finite=True),
    Array("b_array_0", "f", ("n_first",), finite=True),
    Array("w_array_1", "f", ("n_second", "n_first"), finite=True),
    Array("b_array_1", "f", ("n_second",), finite=True),
    Array("w_array_2", "f", ("n_pixel", "n_second")),
    Array("b_array_2", "f", ("n_pixel",)),
)

_FILE = FileOf(
    what=WHAT,
    again=AGAIN,
    error=NetworkFileError,
    version=FORMAT_VERSION,
    checksum_since=FORMAT_VERSION,
    oldest=FORMAT_VERSION,
    arrays=(
        *WEIGHTS_OF_WHOLE,
        Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True),
        Array("emulator_rms", "f", ("n_pixel",), least=0.0),
        *LABELS_OF_NETWORKS,
        *FACTS_OF_TRAINING,
        Array("leaky_slope", "f", finite=True, least=0.0),
    ),
    relations=(_problem_of_pixels, *RELATIONS_OF_FACTS),
)


def is_whole_spectrum(path: str | Path) -> bool:
    """Does a network file hold such networks? Raises NetworkFileError where it is none at all."""
    with NpzArchive(path, NetworkFileError, WHAT) as archive:
        return "w_array_2" in archive


def read_whole_spectrum(path: str | Path) -> WholeSpectrumNetworks:
    """Read what `write` wrote. Raises NetworkFileError as `read_networks` does."""
    stored = _FILE.read(path)
    weights = {key: stored[key] for key in WEIGHTS}
    networks = WholeSpectrumNetworks(**weights, leaky_slope=float(stored["leaky_slope"]), **facts_in(stored))
    check_fingerprint(path, networks, stored)
    return networks
