"""The next spectra of a grid that has networks: candidates are drawn, and the best of them are chosen."""

from dataclasses import dataclass

import numpy as np

from payneflow.design.choice import choose
from payneflow.design.expected_error import ExpectedError, expected_error_of, variance_at
from payneflow.design.first import Design
from payneflow.design.region import Region
from payneflow.design.spread import spread_points
from payneflow.design.stars import Stars
from payneflow.errors import SettingsError
from payneflow.grid import SpectralGrid
from payneflow.network import Networks

CANDIDATES = 20_000
BEYOND = 0.3  # of the way between neighbours of the grid: edges of the hull and thin corners are candidates, too
PURPOSE = 1  # other random numbers than those of the first spectra
JUDGED = 1000  # candidates, by which a choice is summed up


@dataclass(frozen=True, eq=False)
class NextSpectra(Design):
    """A design, in the order of the choice.

    `before` and `after`: rms and largest of the errors expected over candidates, as shares of the flux scale, without
    and with all of these spectra.
    """

    before: tuple[float, float]
    after: tuple[float, float]


def stars_of_grid(grid: SpectralGrid) -> Stars:
    """Where the labels of a grid are, edges a little widened, within the range of each label."""
    return Stars(grid.label_names, grid.labels, margin=0.0, beyond=BEYOND)


def next_spectra(
    networks: Networks,
    grid: SpectralGrid,
    region: Region,
    n: int,
    seed: int = 0,
    n_candidate: int = CANDIDATES,
    show: bool = False,
) -> NextSpectra:
    """The n spectra that lower the expected error of `networks`, trained on `grid`, most, of candidates in `region`.

    `show`: the progress. Raises SettingsError where there cannot be so many, NetworkFileError for another grid.
    """
    if not 1 <= n <= n_candidate:
        raise SettingsError(f"-n {n}: expected 1 to {n_candidate}, the number of candidates (--candidates).")
    candidates = spread_points(region, n_candidate, seed, PURPOSE)
    candidates = candidates[~_there(candidates, grid.labels)]
    if n > len(candidates):
        raise SettingsError(
            f"-n {n}: all but {len(candidates)} candidates are in the grid already. Give more candidates."
        )
    error = expected_error_of(networks, grid)
    scaled = networks.scaler.scale(candidates)
    chosen = choose(error, scaled, n, show)
    judged = scaled[:JUDGED]
    return NextSpectra(
        candidates[chosen],
        networks.label_names,
        networks.label_units,
        _summed(_expected(error, judged, error.labels)),
        _summed(_expected(error, judged, np.concatenate([error.labels, scaled[chosen]]))),
    )


def _there(candidates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) bool: candidates (n, n_label) that are spectra of the grid already."""
    known = {row.tobytes() for row in np.ascontiguousarray(labels)}
    return np.array([row.tobytes() in known for row in candidates])


def _expected(error: ExpectedError, scaled: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,): expected rms error at scaled labels (n, n_label) where spectra at `known` have been learnt."""
    return np.sqrt(error.level_at(scaled) * variance_at(known, scaled, error.lengths, error.nugget))


def _summed(expected: np.ndarray) -> tuple[float, float]:
    return float(np.sqrt((expected**2).mean())), float(expected.max())


def next_text(design: NextSpectra) -> str:
    """What they are expected to be worth."""
    (rms, largest), (rms_after, largest_after) = design.before, design.after
    return (
        f"expected rms error of the flux over the region: {rms:.1e} now, {rms_after:.1e} with all of these trained; "
        f"of its worst star: {largest:.1e} now, {largest_after:.1e} then"
    )
