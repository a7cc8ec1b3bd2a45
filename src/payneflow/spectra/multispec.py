"""IRAF's multispec format: wavelengths of each aperture from functions that are written into the keywords WAT2_nnn.

Formulas: "The IRAF/NOAO Spectral World Coordinate Systems" (Valdes 1993), section 5. These are physical pixels, which
LTV1 and LTM1_1 make of those of the image.
"""

import re
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebval
from numpy.polynomial.legendre import legval

from payneflow.errors import SpectraError

_CARD = 68  # signs that a keyword holds; where it has fewer, they are blanks that FITS does not keep
_LOG_LINEAR, _NONLINEAR = 1, 2


def is_multispec(header: Any) -> bool:
    return str(header.get("CTYPE1", "")).strip().upper().startswith("MULTISPE")


def wavelengths_of_apertures(place: str, header: Any, n_row: int, n_pixel: int) -> np.ndarray:
    """Wavelengths (n_row, n_pixel) in the unit of the file; NaN beyond the pixels that an aperture has.

    Raises SpectraError with `place` (file and HDU) for an aperture that is not there or not calibrated, and for a
    function that is not known here.
    """
    keys = sorted(key for key in header if re.fullmatch(r"WAT2_\d{3}", key))
    text = "".join(str(header[key]).ljust(_CARD) for key in keys)
    found = {int(number): entries for number, entries in re.findall(r'spec(\d+)\s*=\s*"([^"]*)"', text)}
    pixel = (np.arange(1.0, n_pixel + 1) - header.get("LTV1", 0.0)) / header.get("LTM1_1", 1.0)
    rows = []
    for row in range(1, n_row + 1):
        if row not in found:
            raise SpectraError(
                f"{place} has CTYPE1 MULTISPE, but no spec{row} in WAT2_nnn for row {row - 1}; expected one of each of "
                f"its {n_row} rows. Name an HDU that holds the wavelengths."
            )
        try:
            wavelength = _wavelengths([float(entry) for entry in found[row].split()], pixel)
        except (ValueError, IndexError) as error:
            raise SpectraError(
                f"{place}: spec{row} in WAT2_nnn (row {row - 1}) gives no wavelengths: {error}. Make them even with "
                "IRAF's dispcor, or name an HDU that holds the wavelengths."
            ) from None
        rows.append(wavelength)
    return np.array(rows)


def _wavelengths(entries: list[float], pixel: np.ndarray) -> np.ndarray:
    """Wavelengths (n_pixel,) at physical pixels by the entries of a spec: aperture, beam, type, w1, dw, nw, z, ..."""
    kind, first, step, n_valid, doppler = int(entries[2]), *entries[3:7]
    if kind == -1:
        raise ValueError("its type is -1, not calibrated")
    wavelength = first + step * (pixel - 1.0)
    if kind == _NONLINEAR:
        wavelength, left = np.zeros(len(pixel)), entries[9:]
        while left:
            value, left_over = _function(left, pixel)
            wavelength += left[0] * (left[1] + value)
            left = left_over
    wavelength /= 1.0 + doppler
    if kind == _LOG_LINEAR:
        wavelength = 10.0**wavelength
    wavelength[int(n_valid) :] = np.nan
    return wavelength


def _function(entries: list[float], pixel: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Values of the first function, which begins with its weight and zero point, and the entries after it."""
    kind, order, lowest, highest = int(entries[2]), int(entries[3]), *entries[4:6]
    n_coefficient = order + {1: 0, 2: 0, 3: 3, 4: 1}.get(kind, 0)
    coefficients, left = np.array(entries[6 : 6 + n_coefficient]), entries[6 + n_coefficient :]
    if kind not in (1, 2, 3, 4):
        raise ValueError(f"its function is of type {kind}; known are 1 to 4, Chebyshev, Legendre, splines")
    if len(coefficients) < n_coefficient:
        raise ValueError(f"{len(coefficients)} coefficients where it says {n_coefficient}")
    if kind in (1, 2):
        unit = (pixel - 0.5 * (highest + lowest)) / (0.5 * (highest - lowest))
        return (chebval if kind == 1 else legval)(unit, coefficients), left
    place = (pixel - lowest) / (highest - lowest) * order
    knot = np.clip(np.floor(place).astype(int), 0, order - 1)
    b = place - knot
    a = 1.0 - b
    basis = [a**3, 1 + 3 * a * (1 + a * b), 1 + 3 * b * (1 + a * b), b**3] if kind == 3 else [a, b]
    return sum(coefficients[knot + k] * part for k, part in enumerate(basis)), left
