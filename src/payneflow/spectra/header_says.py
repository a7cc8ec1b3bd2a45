"""What the keywords of a FITS file say about its wavelengths, held against the layout: medium, unit, even or in log10.

The axis of an image: Greisen et al. 2006, A&A 446, 747 (FITS Paper III), and IRAF's keyword DC-FLAG. Of air or vacuum
also AIRORVAC (DESI, IRAF users), VACUUM (SDSS, LAMOST), and TUCD of a column (ESO's Phase 3 standard).
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units

from payneflow.errors import SpectraError
from payneflow.spectra.layout import WAVELENGTH_UNITS, SpectraLayout
from payneflow.spectra.wavelengths import ANGSTROM_IN

_NOT_WAVELENGTHS = ("FREQ", "ENER", "WAVN", "VRAD", "VOPT", "ZOPT", "VELO", "BETA", "PIXE")
_SPELT = {  # lower case, singular
    "Angstrom": ("angstrom", "ang", "a", "aa", "å"),
    "nm": ("nm", "nanometer", "nanometre"),
    "um": ("um", "micron", "micrometer", "micrometre", "µm", "μm"),
    "m": ("m", "meter", "metre"),
}


@dataclass(frozen=True)
class Said:
    """A keyword and its value (as text), what they say in words, and the setting that must agree: `expected` of it."""

    keyword: str
    meaning: str
    setting: str
    expected: tuple[str, ...]


def check_said(place: str, said: list[Said], layout: SpectraLayout) -> None:
    """Raise SpectraError where a keyword and the layout disagree; `place`: file and HDU."""
    for one in said:
        if not one.expected:
            raise SpectraError(
                f"{place} has {one.keyword}, which says that {one.meaning}; expected wavelengths. Convert them, or "
                "name the array that holds the wavelengths."
            )
        declared, wanted = getattr(layout, one.setting), " or ".join(one.expected)
        if declared not in one.expected:
            raise SpectraError(
                f"{place} has {one.keyword}, which says that {one.meaning}; expected {one.setting}: {wanted}, and the "
                f"layout has {one.setting}: {declared}. Set {one.setting} to {wanted}, or correct the keyword."
            )


def kind_of_axis(header: Any) -> tuple[str, str]:
    """CTYPE1 as FITS Paper III has it: its type, and the algorithm after the hyphen; ("", "") for any other text."""
    text = str(header.get("CTYPE1", "")).strip().upper()
    found = re.fullmatch(r"([A-Z]{4})(?:-+([A-Z0-9]{3}))?", text)
    if not found or found[1] not in ("WAVE", "AWAV", *_NOT_WAVELENGTHS):
        return "", ""
    return found[1], found[2] or ""


def said_of_axis(header: Any) -> list[Said]:
    """What is said of wavelengths that follow from the header of an image, or of a table with such keywords."""
    said = said_of_medium(header)
    kind, algorithm = kind_of_axis(header)
    text = str(header.get("CTYPE1", header.get("CTYPE", ""))).strip()
    even = "wavelengths themselves are given, not their log10"
    if text.upper().startswith("MULTISPE"):
        return [*said, Said(f"CTYPE1 {text}", even, "wavelength_unit", _units(None, False)), *_said_by_iraf(header)]
    if kind in _NOT_WAVELENGTHS or text.upper().startswith("PIXEL"):
        said.append(Said(f"CTYPE1 {text}", "these are no wavelengths", "wavelength_unit", ()))
    elif kind:
        said.append(Said(f"CTYPE1 {text}", even, "wavelength_unit", _units(None, False)))
    elif text.upper().startswith("LOG"):
        said.append(Said(f"CTYPE1 {text}", "the axis is log10", "wavelength_unit", _units(None, True)))
    flag = header.get("DC-FLAG")
    if flag is not None and not algorithm:
        logarithmic = _is_true(flag)
        what = {1: "the axis is log10", 0: "the axis is linear"}.get(int(logarithmic))
        if str(flag).strip() == "-1":
            said.append(Said(f"DC-FLAG {flag}", "the wavelengths are not calibrated", "wavelength_unit", ()))
        else:
            said.append(Said(f"DC-FLAG {flag}", what, "wavelength_unit", _units(None, logarithmic)))
    for keyword in ("CUNIT1", "CUNIT"):
        if keyword in header:
            return said + said_of_unit(keyword, str(header[keyword]))
    return said + _said_by_iraf(header)


def _said_by_iraf(header: Any) -> list[Said]:
    """What IRAF says of the unit of the first axis: "wtype=linear label=Wavelength units=angstroms"."""
    found = re.search(r"\bunits=(\S+)", str(header.get("WAT1_001", "")))
    return said_of_unit("WAT1_001 units", found[1]) if found else []


def said_of_column(header: Any, number: int) -> list[Said]:
    """What is said of wavelengths in column `number`, from 1, of a table."""
    said = said_of_unit(f"TUNIT{number}", str(header.get(f"TUNIT{number}", "")))
    ucd = str(header.get(f"TUCD{number}", "")).strip()
    words = [word.strip().lower() for word in ucd.split(";")]
    if "em.wl" in words:
        said.append(_medium(f"TUCD{number} {ucd}", "air" if "obs.atmos" in words else "vacuum"))
    return said


def said_of_medium(header: Any) -> list[Said]:
    """What AIRORVAC, VACUUM and the type of the axis say of air and vacuum."""
    said = []
    kind, _ = kind_of_axis(header)
    if kind in ("WAVE", "AWAV"):
        said.append(_medium(f"CTYPE1 {str(header['CTYPE1']).strip()}", "air" if kind == "AWAV" else "vacuum"))
    text = str(header.get("AIRORVAC", "")).strip()
    if text.lower()[:3] in ("air", "vac"):
        said.append(_medium(f"AIRORVAC {text}", "air" if text.lower().startswith("air") else "vacuum"))
    vacuum = header.get("VACUUM")
    if str(vacuum).strip().upper() in ("TRUE", "FALSE", "T", "F", "1", "0"):  # some write the pressure there
        in_vacuum = _is_true(vacuum)
        said.append(_medium(f"VACUUM {'T' if in_vacuum else 'F'}", "vacuum" if in_vacuum else "air"))
    return said


def said_of_unit(keyword: str, text: str) -> list[Said]:
    """What a unit says, such as nm, log10(Angstrom) or Angstrom (Vacuum); nothing where it is no unit that is known."""
    words = text.strip()
    said = [_medium(f"{keyword} {words}", medium) for medium in ("vacuum", "air") if f"({medium})" in words.lower()]
    bare = re.sub(r"\((vacuum|air)\)", "", words, flags=re.IGNORECASE).strip().lower()
    logarithmic = re.match(r"(log10|log|dex)\b[\s(\[]*", bare)
    if logarithmic:
        bare = bare[logarithmic.end() :].rstrip(" )]")
    unit, is_wavelength = _unit(bare, words)
    if unit:
        meant = _units(unit, True if logarithmic else None)
        said.append(Said(f"{keyword} {words}", f"wavelengths are in {words}", "wavelength_unit", meant))
    elif not is_wavelength:
        said.append(Said(f"{keyword} {words}", f"the unit is {words}", "wavelength_unit", ()))
    return said


def _unit(bare: str, text: str) -> tuple[str, bool]:
    """The setting's name of a unit, "" where it has none; and whether it may be one of wavelengths at all."""
    for unit, spelt in _SPELT.items():
        if bare in spelt or bare.removesuffix("s") in spelt:
            return unit, True
    try:
        parsed = units.Unit(text)
    except (ValueError, TypeError):
        return "", True  # not for the wavelengths, such as BUNIT of flux in words
    if parsed.physical_type == "length":
        lengths = ANGSTROM_IN.items()
        return next((unit for unit, length in lengths if np.isclose(parsed.to(units.AA), length, rtol=1e-9)), ""), False
    return "", parsed.physical_type not in ("frequency", "energy", "wavenumber", "speed")


def _medium(keyword: str, medium: str) -> Said:
    return Said(keyword, f"wavelengths are in {medium}", "medium", (medium,))


def _units(unit: str | None, logarithmic: bool | None) -> tuple[str, ...]:
    """The settings wavelength_unit of a unit (None: any), with or without log10 (None: either)."""
    return tuple(
        one
        for one in WAVELENGTH_UNITS
        if (unit is None or one.removeprefix("log10_") == unit)
        and (logarithmic is None or one.startswith("log10_") == logarithmic)
    )


def _is_true(value: Any) -> bool:
    return value in (True, 1) or str(value).strip().upper() in ("T", "TRUE", "1")
