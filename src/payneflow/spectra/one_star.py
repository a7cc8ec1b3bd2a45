"""Pieces of one star's spectrum, such as detector chips or orders -> one spectrum on one increasing axis.

Pixels stay what they are: those of pieces that overlap lie between each other, and only where two have the same
wavelength they are combined, weighted by their inverse variances. No pixel is resampled.
"""

from itertools import pairwise

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.wavelengths import SAME_WAVELENGTH

LEVELS = 1.2  # times: two pieces whose flux differs by more where they overlap have not been normalised alike
THIRDS, LEAST = 3, 5  # parts of an overlap that are compared, and good pixels of each piece there
MOST_OVERLAP = 0.5  # of the pixels of a row: beyond it rows are several spectra rather than pieces of one


def are_pieces(lowest: np.ndarray, highest: np.ndarray) -> bool:
    """Whether rows from `lowest` to `highest` wavelength (n,) each follow one another, as chips and orders do."""
    if len(lowest) < 2 or not np.isfinite(lowest).all() or not np.isfinite(highest).all():
        return False
    order = np.argsort(lowest)
    lowest, highest = lowest[order], highest[order]
    width, shared = highest - lowest, highest[:-1] - lowest[1:]
    return bool((shared < MOST_OVERLAP * np.minimum(width[:-1], width[1:])).all())


def doubt_of_levels(wavelengths: list[np.ndarray], flux: np.ndarray, flux_error: np.ndarray) -> str:
    """What a user should know of pieces that differ where they overlap, as orders with their blaze do; "" else.

    Arguments as those of `joined`. Median fluxes of two neighbours are compared in each third of what they share: the
    blaze of one falls there while that of the other rises.
    """
    edges = np.cumsum([0, *map(len, wavelengths)])
    pieces = [
        (own, flux[first:stop], np.isfinite(flux_error[first:stop]))
        for own, first, stop in zip(wavelengths, edges[:-1], edges[1:], strict=True)
        if len(own)
    ]
    pieces.sort(key=lambda piece: piece[0][0])
    worst, where = 1.0, 0.0
    for left, right in pairwise(pieces):
        cuts = np.linspace(right[0][0], left[0][-1], THIRDS + 1)
        for low, high in pairwise(cuts):
            shared = [one[1][one[2] & (one[0] >= low) & (one[0] <= high)] for one in (left, right)]
            if min(map(len, shared)) < LEAST:
                continue
            levels = [np.median(one) for one in shared]
            ratio = max(levels) / min(levels) if min(levels) > 0 else 1.0
            if ratio > worst:
                worst, where = ratio, 0.5 * (low + high)
    if worst <= LEVELS:
        return ""
    return (
        f"two rows of one star differ by a factor of {worst:.2f} near {where:.1f} Angstrom (vacuum), where they "
        "overlap. One continuum is fitted to all rows of a detector segment of the networks: divide each order by its "
        "blaze, or normalise it"
    )


def joined(
    place: str,
    wavelengths: list[np.ndarray],
    flux: np.ndarray,
    flux_error: np.ndarray,
    resolution: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """One spectrum: wavelength, flux, 1 sigma errors and R (n,), of pixels (n_pixel,) in the order of the pieces.

    `wavelengths`: those of each piece, increasing; `flux`, `flux_error` (n_pixel,) of all pieces together, inf where a
    pixel takes no part; `resolution` (n_pixel,), one number (1,), or None, NaN where it is not known. Raises
    SpectraError with `place` (file and key) where the pieces are no pieces of a spectrum.
    """
    ends = np.array([(piece[0], piece[-1]) for piece in wavelengths if len(piece)])
    if len(ends) > 1 and not are_pieces(*ends.T):
        raise SpectraError(
            f"{place}: more than half of one row covers the wavelengths of another; expected pieces of one spectrum, "
            "because rows is one_star. Set rows to spectra, or combine spectra of the same wavelengths first."
        )
    wavelength = np.concatenate(wavelengths)
    order = np.argsort(wavelength, kind="stable")
    wavelength, flux, flux_error = wavelength[order], flux[order], flux_error[order]
    of_pixels = resolution is not None and len(resolution) > 1
    resolution = resolution[order] if of_pixels else resolution
    new = np.diff(wavelength, prepend=0.0) > SAME_WAVELENGTH * wavelength
    if new.all():
        return wavelength, flux, flux_error, resolution
    first = np.flatnonzero(new)
    weight = np.isfinite(flux_error) / flux_error**2
    weights = np.add.reduceat(weight, first)
    summed = np.add.reduceat(weight * np.where(weight > 0, flux, 0.0), first)
    alone = np.diff(first, append=len(flux)) == 1
    with np.errstate(divide="ignore", invalid="ignore"):
        together = np.where(weights > 0, summed / weights, np.nan), weights**-0.5
    flux, flux_error = (
        np.where(alone, own[first], both) for own, both in zip((flux, flux_error), together, strict=True)
    )
    if of_pixels:
        summed = np.add.reduceat(weight * np.where(weight > 0, resolution, 0.0), first)
        with np.errstate(divide="ignore", invalid="ignore"):
            resolution = np.where(alone | (weights <= 0), resolution[first], summed / weights)
    return wavelength[first], flux, flux_error, resolution
