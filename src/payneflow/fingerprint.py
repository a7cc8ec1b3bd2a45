"""What networks predict at five fixed points of their labels, kept in their file and compared whenever it is read.

A checksum says that a file holds what was written. The fingerprint says that these weights, read as they are, still
make the spectra that they made then: it notices a program that takes one kind of network, or scale, for another.
"""

from pathlib import Path

import numpy as np

from payneflow.errors import NetworkFileError
from payneflow.scaling import TRAINING_LEAST, TRAINING_MOST
from payneflow.stored_arrays import Array, Arrays

LABELS, FLUX = "fingerprint_labels", "fingerprint"
FINGERPRINT = (
    Array(LABELS, "f", ("n_point", "n_label"), finite=True, optional=True),
    Array(FLUX, "f", ("n_point", "n_pixel"), optional=True),
)
SAME = 1e-9  # of the flux and its scale: other machines differ by 1e-15


def fixed_points(n_label: int) -> np.ndarray:
    """(5, n_label) scaled labels: the lowest, the middle, the highest, and two that take label and label apart."""
    even = np.arange(n_label) % 2 == 0
    ends = [np.full(n_label, value) for value in (TRAINING_LEAST, 0.5, TRAINING_MOST)]
    return np.array([*ends, np.where(even, 0.3, 0.7), np.where(even, 0.7, 0.3)])


def fingerprint_of(networks) -> Arrays:
    """The arrays of a file, of its Networks: labels in their units, flux; NaN where there is no network."""
    points = fixed_points(len(networks.x_min))
    return {LABELS: networks.scaler.unscale(points), FLUX: networks.predict_scaled(points)}


def check_fingerprint(path: str | Path, networks, stored: Arrays) -> None:
    """Raise NetworkFileError where the networks predict other spectra than the file says; older files say none."""
    if (LABELS in stored) != (FLUX in stored):
        raise NetworkFileError(
            f"{path}: {LABELS} and {FLUX} belong together. Write it again with the payneflow it came from."
        )
    if FLUX not in stored:
        return
    with np.errstate(all="ignore"):  # weights that overflow are found, too
        found = networks.predict_scaled(networks.scaler.scale(stored[LABELS]))
        off = np.abs(found - stored[FLUX]) > SAME * (networks.flux_scale.width + np.abs(found))
    off |= np.isfinite(found) != np.isfinite(stored[FLUX])
    if off.any():
        point, pixel = np.argwhere(off)[0]
        raise NetworkFileError(
            f"{path}: its networks predict a flux of {found[point, pixel]:.6g} in pixel {pixel} at point {point} of "
            f"{LABELS}, and {FLUX} says {stored[FLUX][point, pixel]:.6g}: the file was changed, or it is read "
            "otherwise than it was written. Take it from where it came from again, or update payneflow."
        )
