"""What a user declares about files of observed spectra: format, names of the arrays, kind of error, unit and medium."""

import difflib
from dataclasses import asdict, dataclass, fields, replace

from payneflow.errors import SettingsError

FORMATS = ("npz", "hdf5", "fits", "apStar", "aspcapStar", "specutils")
UNCERTAINTIES = ("flux_error", "ivar", "mask")
WAVELENGTH_UNITS = ("Angstrom", "nm", "log10_Angstrom", "log10_nm")
MEDIA = ("vacuum", "air")
ROLES = ("wavelength", "flux", "flux_error", "ivar", "mask", "identifier")
MOST_BITS = 63  # of a mask, which is read as a signed 64-bit number

# Bad pixels of APOGEE, by their bits in APOGEE_PIXMASK (Holtzman et al. 2015, AJ 150, 148, table 4): BADPIX, CRPIX,
# SATPIX, UNFIXABLE, BADDARK, BADFLAT, BADERR, NOSKY, SIG_SKYLINE. The others are remarks on pixels that can be used.
APOGEE_BAD_BITS = (0, 1, 2, 3, 4, 5, 6, 7, 12)


@dataclass(frozen=True)
class SpectraLayout:
    """How to read files of observed spectra. Nothing in it is guessed from the data.

    `format`: npz, hdf5 (the same arrays), fits (images or tables), apStar or aspcapStar (APOGEE; the rest of the
    layout is then known), or specutils (whatever it reads; its objects name their own arrays, errors and units).
    `uncertainty` says what comes with the flux: flux_error (1 sigma), ivar (inverse variance), or mask (neither; each
    pixel that is not masked then has the error `constant_error`). It must be said, but for the formats that know it.

    The arrays' names: `wavelength` (n_pixel,), or (n_spectrum, n_pixel) where each spectrum has its own; `flux`,
    `flux_error`, `ivar`, `mask` (n_spectrum, n_pixel), or (n_pixel,) where there is one spectrum; `flux_error`, `ivar`
    and `mask` may be (n_pixel,) for all spectra; `identifier` (n_spectrum,), text or whole numbers. In a fits file a
    name is the HDU's name or number, with a column of its table behind a colon ("COADD:flux"), for the identifier also
    a keyword of its header ("0:OBJECT"); the wavelength may be "header": CRVAL1, CDELT1 and CRPIX1 of the flux.
    `mask` and `identifier` may be absent while they have their usual names.

    `mask_bits`: bits of the mask that make a pixel bad; empty: any that is set. `wavelength_unit`: Angstrom, nm,
    log10_Angstrom or log10_nm. `medium`: vacuum or air. `loader`: specutils' name of a format, where it cannot tell.
    """

    format: str = "npz"
    uncertainty: str = ""
    wavelength: str = "wavelength"
    flux: str = "flux"
    flux_error: str = "flux_error"
    ivar: str = "ivar"
    mask: str = "mask"
    identifier: str = "identifier"
    mask_bits: tuple[int, ...] = ()
    wavelength_unit: str = "Angstrom"
    medium: str = "vacuum"
    loader: str = ""
    constant_error: float = 0.01

    def key(self, role: str) -> str:
        """What the file calls the array that plays `role`."""
        return getattr(self, role)

    def is_optional(self, role: str) -> bool:
        """May the array that plays `role` be absent from the file?"""
        usual = _USUAL.key(role) == self.key(role) or self.format in _APOGEE
        return usual and (role == "identifier" or (role == "mask" and self.uncertainty != "mask"))


_USUAL = SpectraLayout()
_APOGEE = ("apStar", "aspcapStar")


def make_layout(**given) -> SpectraLayout:
    """A checked layout; an APOGEE format fills in all that is known of it.

    Raises SettingsError naming the wrong part and what it may be.
    """
    names = [field.name for field in fields(SpectraLayout)]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}."
            raise SettingsError(f"a layout of spectra has no part {name!r}; {hint}")
    layout = replace(SpectraLayout(), **given)
    if layout.format in _APOGEE:
        layout = _apogee(layout)
    said_by_file = ("",) if layout.format == "specutils" else ()
    choices = {
        "format": FORMATS,
        "uncertainty": UNCERTAINTIES + said_by_file,
        "wavelength_unit": WAVELENGTH_UNITS,
        "medium": MEDIA,
    }
    for name, allowed in choices.items():
        if getattr(layout, name) not in allowed:
            given = f"{name} of the spectra is {getattr(layout, name)!r}"
            raise SettingsError(f"{given}, expected {_or(tuple(filter(None, allowed)))}.")
    for role in ROLES:
        if not isinstance(layout.key(role), str) or not layout.key(role):
            raise SettingsError(f"the key of {role} is {layout.key(role)!r}, expected the name of an array.")
    bits = layout.mask_bits
    if not all(isinstance(bit, int) and 0 <= bit < MOST_BITS for bit in bits):
        raise SettingsError(f"mask_bits is {list(bits)}, expected whole numbers from 0 to {MOST_BITS - 1}.")
    if not layout.constant_error > 0:
        raise SettingsError(f"the constant flux error is {layout.constant_error:g}, expected more than 0.")
    return layout


def _apogee(layout: SpectraLayout) -> SpectraLayout:
    """The layout of APOGEE's files, which SDSS documents: HDU 1 flux, 2 its error, in apStar 3 the mask; log10 axis."""
    known = {
        "uncertainty": "flux_error",
        "wavelength": "header",
        "flux": "1",
        "flux_error": "2",
        "wavelength_unit": "log10_Angstrom",
        "medium": "vacuum",
    }
    if layout.format == "apStar":
        known |= {"mask": "3", "mask_bits": layout.mask_bits or APOGEE_BAD_BITS, "identifier": "0:OBJID"}
    else:
        known |= {"identifier": "4:APOGEE_ID"}
    asked = {name: value for name, value in asdict(layout).items() if value != getattr(_USUAL, name)}
    for name in set(asked) & set(known) - {"mask_bits"}:
        if asked[name] != known[name]:
            raise SettingsError(
                f"{name} is {asked[name]!r}, but files of the format {layout.format} have {known[name]!r} there. "
                "Leave it out, or choose the format fits and name everything."
            )
    return replace(layout, **known)


def _or(allowed: tuple[str, ...]) -> str:
    return f"{', '.join(allowed[:-1])} or {allowed[-1]}"
