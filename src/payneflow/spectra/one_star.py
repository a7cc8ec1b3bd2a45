"""Pieces of one star's spectrum, such as detector chips or orders -> one spectrum on one increasing axis.

Pixels stay what they are: those of pieces that overlap lie between each other, and only where two have the same
wavelength they are combined, weighted by their inverse variances. No pixel is resampled.
"""

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.wavelengths import SAME_WAVELENGTH

MOST_OVERLAP = 0.5  # of the pixels of a row: beyond it rows are several spectra rather than pieces of one


def are_pieces(lowest: np.ndarray, highest: np.ndarray) -> bool:
    """Whether rows from `lowest` to `highest` wavelength (n,) each follow one another, as chips and orders do."""
    if len(lowest) < 2 or not np.isfinite(lowest).all() or not np.isfinite(highest).all():
        return False
    order = np.argsort(lowest)
    lowest, highest = lowest[order], highest[order]
    width, shared = highest - lowest, highest[:-1] - lowest[1:]
    return bool((shared < MOST_OVERLAP * np.minimum(width[:-1], width[1:])).all())


def joined(
    place: str, wavelengths: list[np.ndarray], flux: np.ndarray, flux_error: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One spectrum: wavelength, flux and its 1 sigma errors (n,), of pixels (n_pixel,) in the order of the pieces.

    `wavelengths`: those of each piece, increasing; `flux`, `flux_error` (n_pixel,) of all pieces together, inf where a
    pixel takes no part. Raises SpectraError with `place` (file and key) where the pieces are no pieces of a spectrum.
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
    new = np.diff(wavelength, prepend=0.0) > SAME_WAVELENGTH * wavelength
    if new.all():
        return wavelength, flux, flux_error
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
    return wavelength[first], flux, flux_error
