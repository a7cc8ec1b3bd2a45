"""Which spectra share wavelengths and resolution: what is done for one of them is done for all."""

from typing import NamedTuple

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.engine.data_axis import number_of_pixels


class Group(NamedTuple):
    """Spectra `rows` (n_row,) of n that have the same `wavelength` (n_data,), None for the networks' own, and the same
    `resolution`, a number, (n_data,) or None. `n_data`: of their pixels; behind them rows are padded.
    """

    wavelength: np.ndarray | None
    resolution: np.ndarray | float | None
    rows: np.ndarray
    n_data: int

    def of(self, data: np.ndarray) -> np.ndarray:
        """The rows (n_row, n_data) of data (n, ...) of all spectra; not copied where they are all."""
        own = data if len(self.rows) == len(data) else data[self.rows]
        return own[:, : self.n_data]


def groups_of(wavelength: np.ndarray | None, resolution, n: int, n_data: int) -> list[Group]:
    """The groups of n spectra of n_data pixels, each spectrum in one.

    `wavelength`: None, (n_data,), or (n, n_data) with NaN after a spectrum's last pixel. `resolution`: as in
    `fit_spectra`. Raises SpectraError where its shape does not fit.
    """
    resolution = checked_resolution(resolution, n, n_data)
    own = [(resolution, np.arange(n))] if np.ndim(resolution) == 0 else _by_resolution(resolution, n, n_data)
    if wavelength is None or wavelength.ndim == 1:
        return [Group(wavelength, one, rows, n_data) for one, rows in own]
    groups = []
    for one, rows in own:
        for i in rows:
            n_own = number_of_pixels(wavelength[i])
            here = one if one is None or np.ndim(one) == 0 else one[:n_own]
            groups.append(Group(wavelength[i, :n_own], here, np.array([i]), n_own))
    return groups


def checked_resolution(resolution, n: int, n_data: int) -> np.ndarray | float | None:
    """A number or None as it is, else an array of n spectra of n_data pixels; SpectraError where its shape is none."""
    if np.ndim(resolution) == 0:
        return resolution
    given = np.asarray(resolution, dtype=float)
    if given.shape not in ((n_data,), (n, 1), (n, n_data)):
        raise SpectraError(
            f"resolution has shape {given.shape}, expected one number, ({n_data},), ({n}, 1) or ({n}, {n_data})."
        )
    return given


def _by_resolution(given: np.ndarray, n: int, n_data: int) -> list[tuple[np.ndarray | float, np.ndarray]]:
    """Each resolution, a number or (n_data,), and the rows that have it."""
    if given.shape == (n_data,):
        return [(given, np.arange(n))]
    own, which = np.unique(given, axis=0, return_inverse=True)
    which = np.ravel(which)
    return [(row[0] if given.shape[1] == 1 else row, np.flatnonzero(which == k)) for k, row in enumerate(own)]
