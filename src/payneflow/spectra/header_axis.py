"""Wavelengths that follow from keywords of a FITS header, by the standard and with astropy.wcs.

FITS Papers I and III (Greisen & Calabretta 2002, A&A 395, 1061; Greisen et al. 2006, A&A 446, 747), and what IRAF adds
("The IRAF/NOAO Spectral World Coordinate Systems", Valdes 1993): DC-FLAG, and LTV for sections of images.
"""

import re
import warnings
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from payneflow.errors import SpectraError
from payneflow.spectra.header_says import Said, check_said, kind_of_axis, said_of_axis, said_of_unit
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.wavelengths import ANGSTROM_IN

# Algorithms of FITS Paper III: what is read from a table, in its own unit (section 6), and grisms (section 5)
_BY_TABLE, _GRISMS = "TAB", ("GRI", "GRA")
_PARAMETER = re.compile(r"P[SV]1_\d{1,2}")  # of these
_COPIED = ("CRVAL1", "CRPIX1", "CDELT1", "CD1_1", "PC1_1", "RESTWAV", "RESTFRQ")


def wavelengths_of_header(
    place: str, header: Any, n_pixel: int, layout: SpectraLayout, file: fits.HDUList
) -> np.ndarray:
    """Wavelengths (n_pixel,) in the unit and medium of the layout; `place`: file and HDU, for messages.

    `file`: where the table is that CTYPE1 WAVE-TAB names. Raises SpectraError where keywords are missing, disagree with
    the layout or each other, or are no axis.
    """
    header = _indexed(header)
    check_said(place, said_of_axis(header), layout)
    _check_complete(place, header)
    _check_section(place, header)
    kind, algorithm = kind_of_axis(header)
    _check_first_axis(place, header, kind)
    if algorithm in _GRISMS:
        _check_grism(place, header)
    keywords = fits.Header({"NAXIS": 1, "NAXIS1": n_pixel})
    keywords.update({key: header[key] for key in _COPIED if key in header})
    scale = 1.0
    if algorithm in (_BY_TABLE, *_GRISMS):
        keywords.update({key: header[key] for key in header if _PARAMETER.fullmatch(key)})
    if algorithm == _BY_TABLE:
        check_said(place, _said_by_table(header, file), layout)
        keywords["CTYPE1"] = f"{kind}-{algorithm}"
    elif algorithm:  # WCS gives metres then; what is linear stays in its unit, to the bit
        unit = layout.wavelength_unit
        keywords.update({"CTYPE1": f"{kind}-{algorithm}", "CUNIT1": unit})
        scale = ANGSTROM_IN["m"] / ANGSTROM_IN[unit]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = WCS(keywords, fobj=file).all_pix2world(np.arange(n_pixel), 0)[0]
    except Exception as error:  # wcslib raises many kinds
        used = ", ".join(key for key in keywords if key not in ("NAXIS", "NAXIS1"))
        raise SpectraError(
            f"{place}: its keywords {used} make no wavelength axis ({str(error).strip().splitlines()[-1]}). Correct "
            "them, or name the HDU or column that holds the wavelengths."
        ) from error
    bad = ~np.isfinite(found)
    if bad.any():
        raise SpectraError(
            f"{place}: its keywords {', '.join(keywords)} give pixel {int(np.argmax(bad))} no wavelength, the first of "
            f"{int(bad.sum())} of {n_pixel}. Correct them, or name the HDU or column that holds the wavelengths."
        )
    return found * scale if scale != 1.0 else found


def doubt_of_header(header: Any) -> str:
    """What a user should know of an axis that the standard settles, though many files mean it otherwise; else empty."""
    header = _indexed(header)
    if "CRVAL1" in header and "CRPIX1" not in header:
        return (
            "the header has no CRPIX1, which by the FITS standard is then 0: CRVAL1 is taken as the wavelength one "
            "pixel before the first. Where it is meant to be that of the first pixel, write CRPIX1 = 1 into the file"
        )
    return ""


def _indexed(header: Any) -> Any:
    """The header with CRVAL1, ... for keywords without a number, as Astra writes them (SDSS-V), where it has no others.

    There CRVAL is the wavelength of pixel CRPIX, of the first one where CRPIX is missing.
    """
    if "CRVAL1" in header or "CRVAL" not in header:
        return header
    made = header.copy()
    made["CRPIX1"] = header.get("CRPIX", 1)
    for key in ("CRVAL", "CDELT", "CTYPE", "CUNIT"):
        if key in header:
            made[f"{key}1"] = header[key]
    return made


def _check_first_axis(place: str, header: Any, kind: str) -> None:
    """Refuse images whose wavelengths run along another axis than the first, that of NAXIS1."""
    for axis in range(2, 5):
        other = str(header.get(f"CTYPE{axis}", "")).strip().upper()
        if other[:4] in ("WAVE", "AWAV") and not kind:
            raise SpectraError(
                f"{place} has CTYPE{axis} {other}: its wavelengths run along axis {axis}; expected them along axis 1, "
                "that of NAXIS1. Turn the image, and its keywords with it."
            )


def _check_grism(place: str, header: Any) -> None:
    """Refuse a grism without grooves (PV1_0, per metre) or order (PV1_1): FITS Paper III, table 6."""
    for key in ("PV1_0", "PV1_1"):
        value = header.get(key, 0)
        if isinstance(value, str) or value == 0:
            raise SpectraError(
                f"{place} has CTYPE1 {header['CTYPE1']}, a grism, and {key} {value!r}; expected a number, not 0, of "
                "its grooves (PV1_0) and order (PV1_1). Add it, or name the HDU or column that holds the wavelengths."
            )


def _said_by_table(header: Any, file: fits.HDUList) -> list[Said]:
    """What the table of CTYPE1 WAVE-TAB says of the unit; nothing where it cannot be found, which WCS complains of."""
    name, version, column = (header.get(key) for key in ("PS1_0", "PV1_1", "PS1_1"))
    try:
        table = file[(str(name), int(version or 1))]
        number = [one.upper() for one in table.columns.names].index(str(column).upper()) + 1
    except (AttributeError, KeyError, ValueError):
        return []
    return said_of_unit(f"PS1_0 {name}, whose TUNIT{number} is", str(table.header.get(f"TUNIT{number}", "")))


def _check_complete(place: str, header: Any) -> None:
    step = next((key for key in ("CD1_1", "CDELT1") if key in header), None)
    if "CRVAL1" not in header or step is None:
        raise SpectraError(
            f"{place} has no CRVAL1 with CDELT1 (or CD1_1), which wavelength: header asks for. Name the HDU or column "
            "that holds the wavelengths."
        )
    for key in ("CRVAL1", "CRPIX1", step):
        value = header.get(key, 0)
        if isinstance(value, str) or not np.isfinite(value) or (key == step and value == 0):
            raise SpectraError(f"{place} has {key} {value!r}; expected a number{', not 0' if key == step else ''}.")
    for key in ("CD1_2", "PC1_2", "CD1_3", "PC1_3"):
        if header.get(key, 0) != 0:
            raise SpectraError(
                f"{place} has {key} {header[key]}: its wavelengths change from row to row; expected one axis for all. "
                "Write the wavelengths of each row into an HDU of its own and name that."
            )


def _check_section(place: str, header: Any) -> None:
    """LTV1 says that the image is a section of another; CRPIX1 counts pixels of the section, if it was kept up."""
    offset, scale = header.get("LTV1", 0), header.get("LTM1_1", 1)
    reference = header.get("CRPIX1", 1)
    if reference == 1 and abs(scale + offset - 1) > 1e-6:
        has = "CRPIX1 1" if "CRPIX1" in header else "no CRPIX1"
        raise SpectraError(
            f"{place} has LTV1 {offset:g} and LTM1_1 {scale:g}: it is a section of a larger image, yet it has {has}, "
            f"as if it were whole; expected CRPIX1 of the section, {scale + offset:g} if CRVAL1 is that of the larger "
            "image's first pixel. Write that, or, where CRVAL1 is that of this image's first pixel, remove LTV1."
        )
