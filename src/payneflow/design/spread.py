"""Points that fill a region evenly: a scrambled Sobol sequence (Owen 1998), of which the region keeps what is in it.

The sequence has a coordinate more than the points need. Points whose extra coordinate is below a half go to even rows,
the others to odd rows: each lot is as well spread as the sequence is, so that a grid's training set and test set match.
(Row by row, a Sobol sequence would put one half of a label's range into each set.)
"""

import numpy as np

from payneflow.design.region import Region
from payneflow.errors import SettingsError

SPAWN_KEY = 4  # of the random numbers here: 0 to 3 belong to training and to the split
MOST = 1_000_000  # points
BLOCK = 2**13  # of the sequence at a time; a power of 2, as its balance wants
JUDGED, LEAST_KEPT = 2**17, 1e-3  # points of the sequence, after which so many must have been kept


def spread_points(region: Region, n: int, seed: int, purpose: int = 0) -> np.ndarray:
    """(n, n_label): n different points of the region, in the units of its labels.

    Any first ones are well spread, and so are even and odd rows of these. `purpose`: another number, other points.
    Raises SettingsError for n that cannot be, and where the region keeps next to nothing, naming what rejects most.
    """
    from scipy.stats import qmc

    if not 1 <= n <= MOST:
        raise SettingsError(f"-n {n}: expected 1 to {MOST} points.")
    if seed < 0:
        raise SettingsError(f"--seed {seed}: expected a whole number, 0 or more.")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPAWN_KEY, purpose)))
    sequence = qmc.Sobol(1 + region.n_coordinate, scramble=True, seed=rng)
    kept, even, n_drawn, n_kept = [], [], 0, 0
    rejected = dict.fromkeys(region.cuts, 0)
    while True:
        unit = sequence.random(BLOCK)
        labels = region.points(unit[:, 1:])
        keep = np.ones(BLOCK, dtype=bool)
        for text, keeps in region.kept_by(labels).items():
            keep &= keeps
            rejected[text] += int((~keeps).sum())
        kept.append(labels[keep])
        even.append(unit[keep, 0] < 0.5)
        n_drawn, n_kept = n_drawn + BLOCK, n_kept + int(keep.sum())
        if n_kept >= n or n_drawn >= JUDGED:
            labels, is_even = _different(np.concatenate(kept), np.concatenate(even))
            if n_drawn >= JUDGED and len(labels) < max(LEAST_KEPT * n_drawn, 1):
                raise SettingsError(_too_few(len(labels), n_drawn, rejected))
            if is_even.sum() >= (n + 1) // 2 and (~is_even).sum() >= n // 2:
                break
    rows = np.empty((n, len(region.names)))
    rows[::2] = labels[is_even][: (n + 1) // 2]
    rows[1::2] = labels[~is_even][: n // 2]
    return rows


def _different(labels: np.ndarray, even: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each point among labels (n, n_label), in their order, and its entry of `even` (n,)."""
    _, first = np.unique(labels, axis=0, return_index=True)
    first.sort()
    return labels[first], even[first]


def _too_few(n_kept: int, n_drawn: int, rejected: dict[str, int]) -> str:
    """Which cuts are to blame, the worst first."""
    order = sorted(rejected, key=lambda text: -rejected[text])
    said = (
        "; ".join(f"{text} rejects {100 * rejected[text] / n_drawn:.3g} %" for text in order) or "nothing rejects any"
    )
    return (
        f"{n_kept} of {n_drawn} points are left, each counted once: {said}. Where no one rejects all, they contradict "
        "each other. Correct them, or the ranges, so that at least one point in a thousand is left."
    )
