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
    `remark`: what a list of the formats says of it. `one_spectrum`: a file holds one spectrum, and need not be opened
    to be counted. `names_errors`: the file itself says which kind its errors are. `known`: the parts of the layout that
    files of this format settle; of these a user may choose the mask bits only.
    """

    module: str
    store: str
    remark: str = ""
    one_spectrum: bool = False
    names_errors: bool = False
    known: Mapping[str, Any] = field(default_factory=dict)

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
_SETTLED = "these two need nothing more said"

FORMATS = {
    "npz": Format("npz", "NpzStore"),
    "hdf5": Format("hdf5", "Hdf5Store"),
    "fits": Format("fits", "FitsStore"),
    "apStar": Format("fits", "FitsStore", one_spectrum=True, known=_AP_STAR),
    "aspcapStar": Format("fits", "FitsStore", _SETTLED, one_spectrum=True, known=_ASPCAP_STAR),
    "specutils": Format("with_specutils", "SpecutilsStore", one_spectrum=True, names_errors=True),
}


def listed() -> str:
    """All formats in one line, each with its remark."""
    *first, last = (f"{name} ({one.remark})" if one.remark else name for name, one in FORMATS.items())
    return f"{', '.join(first)} or {last}"
