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
    lots: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    wanted, n_drawn = ((n + 1) // 2, n // 2), 0
    rejected = dict.fromkeys(region.cuts, 0)
    while any(sum(map(len, lot)) < most for lot, most in zip(lots, wanted, strict=True)):
        unit = sequence.random(BLOCK)
        labels = region.points(unit[:, 1:])
        kept = np.ones(BLOCK, dtype=bool)
        for text, keeps in region.kept_by(labels).items():
            kept &= keeps
            rejected[text] += int((~keeps).sum())
        for lot, own in zip(lots, (unit[:, 0] < 0.5, unit[:, 0] >= 0.5), strict=True):
            lot.append(labels[kept & own])
        n_drawn += BLOCK
        n_kept = sum(len(part) for lot in lots for part in lot)
        if n_drawn >= JUDGED and n_kept < LEAST_KEPT * n_drawn:
            raise SettingsError(_too_few(n_kept, n_drawn, rejected))
    rows = np.empty((n, len(region.names)))
    for parity, (lot, most) in enumerate(zip(lots, wanted, strict=True)):
        rows[parity::2] = np.concatenate(lot)[:most]
    if len(np.unique(rows, axis=0)) < n:
        raise SettingsError(f"the region has no {n} different points: its ranges are too narrow. Widen them.")
    return rows


def _too_few(n_kept: int, n_drawn: int, rejected: dict[str, int]) -> str:
    """Which cuts are to blame, the worst first."""
    order = sorted(rejected, key=lambda text: -rejected[text])
    said = "; ".join(f"{text} rejects {100 * rejected[text] / n_drawn:.3g} %" for text in order)
    return (
        f"{n_kept} of {n_drawn} points are left: {said}. Where no one rejects all, they contradict each other. Correct "
        "them, or make the ranges narrower, so that at least one point in a thousand is left."
    )
