"""How large faults are in each pixel: what all stars share, and what scatters from star to star beyond their noise.

Empirical Bayes. In a pixel the residuals of the stars are normal with variance `noise + scatter^2`, and besides share
an offset of variance `offset^2`. Which sizes there are, and how often, is learned from all pixels together: the
distribution over a grid of sizes that makes all residuals most likely (Kiefer & Wolfowitz 1956, Ann. Math. Stat. 27,
887), by EM. Each pixel then has its mean by Bayes. Where the model is right nearly all pixels have size 0, and none
gets one by noise; of few stars each pixel keeps what pixels of its kind have.
"""

import numpy as np

from payneflow.statistics import evenly

OFFSETS = np.concatenate([[0.0], np.geomspace(4e-4, 0.6, 17)])  # of the flux scale
SCATTERS = np.concatenate([[0.0], np.geomspace(4e-4, 0.3, 11)])
ROUNDS, PIXELS = 40, 2000  # of EM, and pixels that tell how often each size is
ROWS = 1000  # pixels at a time


def fault_sizes(
    residual: np.ndarray, variance: np.ndarray, hidden: np.ndarray | None = None, kind: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares (n_pixel,) of the offset and of the scatter, given residuals (n_star, n_pixel).

    `variance` (n_star, n_pixel) of the noise, inf where a star says nothing of a pixel. `hidden` (n_star, n_pixel):
    variance of what the stars' parameters may hide of a fault: a pixel that rules a label says little of its own fault,
    and has what others have. `kind` (n_pixel,): numbers; how often sizes are is learned for each kind of pixels.
    """
    hidden = np.zeros_like(residual) if hidden is None else hidden
    kind = np.zeros(residual.shape[1], int) if kind is None else kind
    found = np.zeros((2, residual.shape[1]))
    for one in np.unique(kind):
        own = kind == one
        found[:, own] = _sizes(residual[:, own], variance[:, own] + hidden[:, own], hidden[:, own].mean(axis=0))
    return found[0], found[1]


def _sizes(residual: np.ndarray, variance: np.ndarray, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of pixels of one kind; `shared` (n_pixel,): hidden from all stars alike."""
    log_chance = np.concatenate(
        [
            _log_chances(residual[:, k : k + ROWS], variance[:, k : k + ROWS], shared[k : k + ROWS])
            for k in range(0, residual.shape[1], ROWS)
        ]
    )
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    told = np.flatnonzero(np.isfinite(variance).any(axis=0))
    told = told[evenly(len(told), PIXELS)]
    share = np.full(chance.shape[1], 1.0 / chance.shape[1])
    for _ in range(ROUNDS):
        own = chance[told] * share
        share = (own / own.sum(axis=1, keepdims=True)).mean(axis=0)
    own = chance * share
    own /= own.sum(axis=1, keepdims=True)
    own = own.reshape(-1, len(SCATTERS), len(OFFSETS))
    return own.sum(axis=1) @ OFFSETS**2, own.sum(axis=2) @ SCATTERS**2


def _log_chances(residual: np.ndarray, variance: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """(n_pixel, n_scatter * n_offset), logarithms."""
    result = np.zeros((residual.shape[1], len(SCATTERS), len(OFFSETS)))
    known = np.isfinite(variance)
    residual, variance = np.where(known, residual, 0.0), np.where(known, variance, 1.0)
    for j, scatter in enumerate(SCATTERS):
        total = variance + scatter**2
        weight = known / total
        mean, square = (weight * residual).sum(axis=0), (weight * residual**2).sum(axis=0)
        sure, level = weight.sum(axis=0), (known * np.log(total)).sum(axis=0)
        offset2 = OFFSETS**2 + shared[:, None]
        grown = 1.0 + sure[:, None] * offset2
        gain = mean[:, None] ** 2 * offset2 / grown
        result[:, j] = -0.5 * (level[:, None] + square[:, None] + np.log(grown) - gain)
    return result.reshape(len(result), -1)
