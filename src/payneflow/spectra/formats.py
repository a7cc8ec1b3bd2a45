"""The formats of files of observed spectra: one line a format. Layout, command line, schema and reading follow from it.

A store is loaded only where a file of its format is opened, because astropy, h5py and specutils take a second each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Format:
    """A format of files.

    `module`, `store`: the module in payneflow.spectra and its class that opens a file as `stored.Store` describes.
    `one_spectrum`: a file holds one spectrum, and is not opened to be counted. `names_errors`: the file says itself
    which kind its errors are. `known`: the parts of the layout that files of this format settle; of these a user may
    choose the mask bits only. `takes`: of the settings hdu, loader and mask_bits those that have an effect.
    """

    module: str
    store: str
    one_spectrum: bool = False
    names_errors: bool = False
    known: Mapping[str, Any] = field(default_factory=dict)
    takes: frozenset[str] = frozenset({"mask_bits"})

    def load_store(self) -> type:
        """The class of the store; imports what it needs."""
        return getattr(import_module(f"payneflow.spectra.{self.module}"), self.store)


# Bad pixels of APOGEE, by their bits in APOGEE_PIXMASK (Holtzman et al. 2015, AJ 150, 148, table 4): BADPIX, CRPIX,
# SATPIX, UNFIXABLE, BADDARK, BADFLAT, BADERR, NOSKY, SIG_SKYLINE. The others are remarks on pixels that can be used.
APOGEE_BAD_BITS = (0, 1, 2, 3, 4, 5, 6, 7, 12)

# APOGEE's files, as SDSS documents them: HDU 1 flux, 2 its error, in apStar 3 the mask; a log10 axis in the header.
_APOGEE = {
    "uncertainty": "flux_error",
    "wavelength": "header",
    "flux": "1",
    "flux_error": "2",
    "wavelength_unit": "log10_Angstrom",
    "medium": "vacuum",
}
_AP_STAR = {**_APOGEE, "mask": "3", "mask_bits": APOGEE_BAD_BITS, "identifier": "0:OBJID"}
_ASPCAP_STAR = {**_APOGEE, "identifier": "4:APOGEE_ID"}
# Before the visits are combined: a row a chip, each with its wavelengths in HDU 4, which fall.
_AP_VISIT = {**_AP_STAR, "wavelength": "4", "wavelength_unit": "Angstrom", "rows": "one_star"}

# Astra's files of SDSS-V, one HDU an instrument and observatory; mwm.py fills in which.
_MWM = {"uncertainty": "ivar", "medium": "vacuum"}

# LAMOST's low-resolution spectra up to DR7: rows of one image, named in its documentation of the data release.
_LAMOST = {
    "uncertainty": "ivar",
    "flux": "0[0]",
    "ivar": "0[1]",
    "wavelength": "0[2]",
    "mask": "0[3]",
    "identifier": "0:OBSID",
    "wavelength_unit": "Angstrom",
    "medium": "vacuum",
}

# What IRAF's apall extracts: bands of one image, of which the first is the spectrum and the fourth its sigma.
_IRAF = {"uncertainty": "flux_error", "flux": "0[0]", "flux_error": "0[3]", "wavelength": "header"}

_NOTHING: frozenset[str] = frozenset()
_MWM_TAKES = frozenset({"hdu", "mask_bits"})

FORMATS = {
    "npz": Format("npz", "NpzStore"),
    "hdf5": Format("hdf5", "Hdf5Store"),
    "text": Format("text", "TextStore", one_spectrum=True),
    "fits": Format("fits", "FitsStore"),
    "apStar": Format("fits", "FitsStore", one_spectrum=True, known=_AP_STAR),
    "apVisit": Format("fits", "FitsStore", one_spectrum=True, known=_AP_VISIT),
    "aspcapStar": Format("fits", "FitsStore", one_spectrum=True, known=_ASPCAP_STAR, takes=_NOTHING),
    "mwmStar": Format("mwm", "MwmStore", known=_MWM, takes=_MWM_TAKES),
    "mwmVisit": Format("mwm", "MwmStore", known=_MWM, takes=_MWM_TAKES),
    "lamost": Format("fits", "FitsStore", one_spectrum=True, known=_LAMOST),
    "iraf": Format("fits", "FitsStore", known=_IRAF),
    "specutils": Format(
        "with_specutils", "SpecutilsStore", one_spectrum=True, names_errors=True, takes=frozenset({"hdu", "loader"})
    ),
}

DESCRIBED = tuple(name for name, one in FORMATS.items() if not one.known)  # by the rest of the layout
KNOWN = tuple(name for name, one in FORMATS.items() if one.known)
