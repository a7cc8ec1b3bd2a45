"""A second search for spectra whose lines may be much broader than those that the first one began with.

Broad lines of a spectrum with few of them, hot and metal-poor, lie below its noise, where a search that begins with
narrow ones finds bumps as narrow: another minimum of chi2, with an upper limit that does not hold. Few fits say that
their lines may be as broad as that, and these are searched for once more; the lower end is kept.
"""

import numpy as np

from payneflow.fitting.broadening import LineBroadening
from payneflow.fitting.engine.arguments import DISAGREE, PASSES
from payneflow.fitting.engine.search import AS_GOOD
from payneflow.fitting.flags import LabelFlag
from payneflow.fitting.formal_covariance import formal_covariance
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import Fits
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.widths import widths_of
from payneflow.network import PixelNetworks

BROAD = 40.0  # km/s, v sin i that the second search begins with
MAY_BE = 1.5  # times the width that the first one began with, that an upper limit is above
APART = 1.0  # sigma: ends nearer to each other are one


def broad_start(networks: PixelNetworks, settings: FitSettings) -> np.ndarray | None:
    """(n_broad,) widths in km/s to begin with once more; None where no rotation is fitted, or there are priors."""
    star = LineBroadening.of_star(networks, settings)
    if settings.priors or "vsini" in settings.fixed or "vsini" not in star.names:
        return None
    place = star.names.index("vsini")
    start = star.start.copy()
    start[place] = min(BROAD, star.most[place])
    return start


def may_be_broad(networks: PixelNetworks, settings: FitSettings, fits: Fits) -> np.ndarray:
    """Rows of fits whose v sin i is an upper limit, of a width that is broad."""
    parameters, star = Parameters.of(networks, settings), LineBroadening.of_star(networks, settings)
    broad, place = parameters.layout.broadenings, star.names.index("vsini")
    rows = np.flatnonzero(np.isfinite(fits.chi2) & np.isfinite(fits.matrix).all(axis=(1, 2)))
    formal, _ = formal_covariance(fits.matrix[rows], parameters.free, parameters.layout.n_label)
    beyond = (formal @ fits.pull[rows][:, :, None])[:, :, 0]
    error = np.sqrt(np.einsum("nii->ni", formal))
    widths = widths_of(
        fits.x[rows][:, broad], error[:, broad], beyond[:, broad], parameters.highest[broad], parameters.free[broad],
        fits.log_step,
    )  # fmt: skip
    limited = (widths.flags[:, place] & LabelFlag.UPPER_LIMIT) > 0
    return rows[limited & (np.nan_to_num(widths.limit[:, place]) > MAY_BE * star.start[place])]


def keep_better(fits: Fits, rows: np.ndarray, other: Fits) -> None:
    """Put `other` fits of these rows into `fits` where chi2 is lower; two ends that are as good disagree."""
    first = fits[rows]
    better = other.chi2 < first.chi2
    matrix = np.where(better[:, None, None], other.matrix, first.matrix)
    away = other.x - first.x
    apart = np.einsum("ni,nij,nj->n", away, matrix, away) > APART**2
    fits.put(rows[better], other[np.flatnonzero(better)])
    as_good = apart & (np.abs(other.chi2 - first.chi2) < AS_GOOD)
    fits.counts[rows, PASSES] = first.counts[:, PASSES] + other.counts[:, PASSES]
    fits.counts[rows[as_good], DISAGREE] = 1
