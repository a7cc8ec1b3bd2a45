"""What files say of the line-spread function -> R = wavelength / FWHM of each spectrum, or of each of its pixels.

An lsf_sigma is the sigma of a Gaussian, in the unit that the layout names. R of a pixel that takes no part in a fit is
of no concern, and is often padding: it is that of its neighbours.
"""

import warnings

import numpy as np

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.stored import SpectraFile, StoredSpectra
from payneflow.wavelength import GAP

FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a Gaussian, in sigma
C_KM_S = 299792.458  # speed of light
ALIKE = 1.05  # times: pieces of a star with other resolutions where they overlap cannot share one kernel


def resolution_of(stored: np.ndarray, wavelength: np.ndarray, pixels: np.ndarray, layout: SpectraLayout) -> np.ndarray:
    """R (n, 1) or (n, n_pixel) of what is stored, of the same shape but where one sigma gives each pixel its own R.

    `wavelength` (n_pixel,), Angstrom, increasing; `pixels` (n_pixel,): their numbers in the file, which a sigma in
    pixels counts. Where a number is none, or not above 0, neither is R.
    """
    stored = np.where(np.isfinite(stored) & (stored > 0.0), stored, np.nan)
    if layout.instrument == "resolution":
        return stored
    if layout.lsf_unit == "km/s":
        return C_KM_S / (FWHM * stored)
    size = step_of_pixels(wavelength, pixels) if layout.lsf_unit == "pixel" else 1.0
    return wavelength / (FWHM * stored * size)


def step_of_pixels(wavelength: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(n_pixel,) Angstrom that a pixel is wide, at each of increasing wavelengths; `pixels`: their numbers.

    Between two pixels it is their difference, at a pixel the line through both; steps across a gap between detectors
    do not count.
    """
    step = np.diff(wavelength) / np.abs(np.diff(pixels))
    inside = step <= GAP * np.median(step)
    middle = 0.5 * (wavelength[1:] + wavelength[:-1])
    return np.interp(wavelength, middle[inside], step[inside])


def of_pixels(values: np.ndarray, pixels) -> np.ndarray:
    """Some pixels of values (n, n_pixel); those that are one number a spectrum, (n, 1), as they are."""
    return values[:, pixels] if values.shape[1] > 1 else values


def resolutions_of_rows(
    file: SpectraFile,
    stored: StoredSpectra,
    wavelength: np.ndarray,
    number: np.ndarray,
    columns: slice | np.ndarray,
    used: np.ndarray,
    rows: range,
) -> tuple[np.ndarray, np.ndarray]:
    """R (n, 1) or (n, n_column) of spectra on one axis, and what is wrong with that of each (n,), "" if nothing.

    `wavelength` (n_pixel,), Angstrom: the axis; `number` (n_pixel,): of its pixels in the file; `columns` of it that
    are kept, of which fits use `used` (n, n_column); `rows` of the file. A spectrum whose R is none is to take no part,
    which a SpectraWarning says; where the file has no other, SpectraError.
    """
    said = of_pixels(stored.instrument, number)
    resolution = of_pixels(resolution_of(said, wavelength, number, file.layout), columns)
    said, number = of_pixels(said, columns), number[columns]
    problem = [_problem(resolution[i], said[i], used[i], number) for i in range(len(used))]
    where = f"{file.place(file.layout.instrument)}: {file.layout.instrument}"
    if file.n_spectrum == 1 and problem[0]:
        raise SpectraError(f"{where} {problem[0]}")
    problem = [one and f"{where} of spectrum {row} {one}" for row, one in zip(rows, problem, strict=True)]
    bad = [one for one in problem if one]
    if bad:
        more = f" So are {len(bad) - 1} more spectra." if len(bad) > 1 else ""
        warnings.warn(SpectraWarning(f"{bad[0]} Recorded as failed.{more}"), stacklevel=2)
    return np.stack([filled(*own) for own in zip(resolution, used, strict=True)]), np.array(problem, dtype=str)


def _problem(resolution: np.ndarray, said: np.ndarray, used: np.ndarray, number: np.ndarray) -> str:
    """What is wrong with R (n_pixel,) or (1,) of a spectrum where pixels are `used` (n_pixel,); "": nothing.

    `said`, of the shape of R or (1,): what the file has; `number` (n_pixel,): of the pixels there.
    """
    bad = np.broadcast_to(~np.isfinite(resolution), used.shape) & used
    if not bad.any():
        return ""
    first = int(np.argmax(bad))
    value = said[first] if len(said) > 1 else said[0]
    where = f" in pixel {number[first]}, the first of {int(bad.sum())} such" if len(said) > 1 else ""
    return f"is {value:g}{where}; expected a number above 0 in every pixel that takes part. Mask what is padding."


def resolution_of_pieces(
    file: SpectraFile,
    stored: StoredSpectra,
    resolutions: list[np.ndarray],
    wavelengths: list[np.ndarray],
    own: np.ndarray,
    used: np.ndarray,
) -> tuple[np.ndarray | None, str]:
    """R (n_pixel,) of all pieces of one star together, or (1,) where it is one number, and what a user should know.

    None where the file says nothing of it. `resolutions` (n,) or (1,) of each piece, with these `wavelengths`; `own`
    (n_pixel,): places of the pixels in the rows of the file; `used` (n_pixel,). Raises SpectraError with row and pixel
    where it is no number.
    """
    if not resolutions:
        return None, ""
    pieces = zip(resolutions, wavelengths, strict=True)
    together = np.concatenate([np.broadcast_to(one, len(axis)) for one, axis in pieces])
    row, pixel = np.divmod(own, file.n_pixel)
    bad = np.flatnonzero(used & ~np.isfinite(together))
    if len(bad):
        at, role = bad[0], file.layout.instrument
        each = stored.instrument.shape[1] > 1
        value = stored.instrument[row[at], pixel[at] if each else 0]
        raise SpectraError(
            f"{file.place(role)}: {role} of row {row[at]} is {value:g}{f' in pixel {pixel[at]}' if each else ''}, the "
            f"first of {len(bad)} such; expected a number above 0 in every pixel that takes part. Mask what is padding."
        )
    if all(len(one) == 1 for one in resolutions) and len(np.unique(resolutions)) == 1:
        return resolutions[0], ""
    order = np.argsort(np.concatenate(wavelengths), kind="stable")
    order = order[used[order]]
    return together, _doubt_of_resolutions(together[order], row[order])


def filled(resolution: np.ndarray, used: np.ndarray) -> np.ndarray:
    """R (n_pixel,) that is, where a pixel is not `used` (n_pixel,), that of the nearest ones which are; (1,): the same.

    All NaN where none is used, or where something is wrong with R.
    """
    if len(resolution) == 1:
        return resolution if used.any() else np.full(1, np.nan)
    known = used & np.isfinite(resolution)
    if known.all():
        return resolution
    if not known.any() or (used & ~known).any():
        return np.full(len(resolution), np.nan)
    place = np.arange(len(resolution))
    return np.interp(place, place[known], resolution[known])


def _doubt_of_resolutions(resolution: np.ndarray, row: np.ndarray) -> str:
    """What a user should know of R (n_pixel,) of pieces of one star whose pixels, from `row`, lie between each other.

    "" where there is nothing: where pieces meet, at most one pair of neighbours differs.
    """
    ratio = np.abs(np.diff(np.log(resolution)))
    apart = (np.diff(row) != 0) & (ratio > np.log(ALIKE))
    if apart.sum() < max(len(np.unique(row)), 2):
        return ""
    return (
        f"the resolutions of rows of one star differ by up to {np.expm1(ratio[apart].max()):.0%} where they overlap, "
        "where one kernel serves both. Fit them as pieces (--pieces), each with its own"
    )
