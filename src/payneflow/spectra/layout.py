"""What a user declares about files of observed spectra: format, names of the arrays, kind of error, unit and medium."""

from dataclasses import asdict, replace
from typing import Annotated, Literal

from pydantic import Field, Strict

from payneflow.declaration import declare, setting
from payneflow.errors import SettingsError
from payneflow.spectra.formats import DESCRIBED, FORMATS, KNOWN

UNCERTAINTIES = ("flux_error", "ivar", "mask", "none")
WITHOUT_ERRORS = ("mask", "none")  # each pixel has the error `constant_error`
WAVELENGTH_UNITS = ("Angstrom", "nm", "um", "m", "log10_Angstrom", "log10_nm")
MEDIA = ("vacuum", "air")
ROWS = ("spectra", "one_star")
INSTRUMENTS = ("resolution", "lsf_sigma")  # what a file may say of the line-spread function, one of both
ROLES = ("wavelength", "flux", "flux_error", "ivar", "mask", "identifier", "barycentric", *INSTRUMENTS)
LSF_UNITS = ("Angstrom", "km/s", "pixel")
MOST_BITS = 63  # of a mask, which is read as a signed 64-bit number

_ARRAY = {"min_length": 1, "expected": "the name of an array"}
_Bits = Annotated[tuple[Annotated[int, Field(ge=0, lt=MOST_BITS)], ...], Strict(False)]  # not strict: a list will do


@declare
class SpectraLayout:
    """How to read files of observed spectra. Nothing in it is guessed from the data.

    `format`: one of formats.py. npz, hdf5 (the same arrays), fits (images or tables) and text (columns) are described
    by what follows; specutils' objects name their own arrays, errors and units; of all others the layout is known.
    `uncertainty` says what comes with the flux: flux_error (1 sigma), ivar (inverse variance), mask (neither, but a
    mask) or none; with these two each pixel that is not masked has the error `constant_error`. It must be said, but for
    the formats that know it.

    The arrays' names: `wavelength` (n_pixel,), or (n_spectrum, n_pixel) where each spectrum has its own; `flux`,
    `flux_error`, `ivar`, `mask` (n_spectrum, n_pixel), or (n_pixel,) where there is one spectrum; `flux_error`, `ivar`
    and `mask` may be (n_pixel,) for all spectra; `identifier` (n_spectrum,), text or whole numbers; `barycentric`
    (n_spectrum,), what is to be added to an observed velocity, km/s, of pieces of stars; "": there is none. Of the
    instrument's line-spread function `resolution`, R = wavelength / FWHM, or `lsf_sigma`, the sigma of a Gaussian in
    `lsf_unit`, which must be said: one number, (n_spectrum,), (n_pixel,), or (n_spectrum, n_pixel); "": there is none.
    In a fits file a name is the HDU's name or number, with a column of its table after a colon ("COADD:flux"), for what
    a spectrum has one of also a keyword of its header ("0:OBJECT"); the wavelength may be "header": what the keywords
    of the flux's HDU say. In a text file it is a column's name, or its number from 1. A row of an array, or of several
    axes, counted from 0, stands in brackets: "0[1]", "0[3,0]". `mask` and `identifier` may be absent while they have
    their usual names.

    `rows`: spectra, or one_star: the rows of a file are pieces of one spectrum, such as detector chips or orders.
    `hdu`: of mwmStar, mwmVisit and specutils, which HDU: its number, its name, or the part of it before a slash.
    `mask_bits`: bits of the mask that make a pixel bad; empty: any that is set. `wavelength_unit`: Angstrom, nm, um, m,
    log10_Angstrom or log10_nm. `medium`: vacuum or air. `loader`: specutils' name of a format, where it cannot tell.
    """

    format: Literal[tuple(FORMATS)] = setting("npz", f"{', '.join(DESCRIBED)}; or {', '.join(KNOWN[:4])} ...")
    uncertainty: Literal["", *UNCERTAINTIES] = setting(
        "", "with the flux: flux_error (1 sigma), ivar (1/sigma^2), mask (neither) or none"
    )
    wavelength: str = setting(
        "wavelength", "(n_pixel,); in fits, an array is an HDU or HDU:COLUMN, or here header (CRVAL1 ...)", **_ARRAY
    )
    flux: str = setting("flux", "(n_spectrum, n_pixel)", **_ARRAY)
    flux_error: str = setting("flux_error", "(n_spectrum, n_pixel)", **_ARRAY)
    ivar: str = setting("ivar", "(n_spectrum, n_pixel)", **_ARRAY)
    mask: str = setting(
        "mask", "(n_spectrum, n_pixel), not 0 where a pixel is bad; may be absent from the files", **_ARRAY
    )
    identifier: str = setting("identifier", "(n_spectrum,), names; may be absent from the files", **_ARRAY)
    mask_bits: _Bits = setting(
        (),
        "bits of the mask that make a pixel bad, such as [0, 1, 12]; []: any",
        expected=f"whole numbers from 0 to {MOST_BITS - 1}",
        metavar="N,N,...",
    )
    wavelength_unit: Literal[WAVELENGTH_UNITS] = setting("Angstrom", f"{', '.join(WAVELENGTH_UNITS[:-1])} or log10_nm")
    medium: Literal[MEDIA] = setting("vacuum", "vacuum or air")
    rows: Literal[ROWS] = setting("spectra", "spectra, or one_star: chips or orders, pieces of one spectrum a file")
    barycentric: str = setting("", '(n_spectrum,), km/s to add to observed velocities, of stars in pieces; "": none')
    resolution: str = setting("", "R of each spectrum or pixel (wavelength / FWHM); in fits also a keyword, 0:NAME")
    lsf_sigma: str = setting("", "in its place: sigma of the line-spread function, in lsf_unit")
    lsf_unit: Literal["", *LSF_UNITS] = setting("", f"{', '.join(LSF_UNITS[:-1])} or {LSF_UNITS[-1]}, of lsf_sigma")
    hdu: str = setting(
        "",
        "of mwmStar, mwmVisit and specutils: which HDU, by number or name",
        metavar="HDU",
        expected='text, such as "3"',
    )
    loader: str = setting("", "specutils' name of a format that it cannot recognise", metavar="NAME")
    constant_error: float = setting(
        0.01, "1 sigma of every pixel where uncertainty is mask or none", unit="normalised flux", gt=0, in_config=False
    )

    def key(self, role: str) -> str:
        """What the file calls the array that plays `role`."""
        return getattr(self, role)

    @property
    def instrument(self) -> str:
        """The role of what the files say of the line-spread function, one of INSTRUMENTS; "": nothing is named."""
        return next((role for role in INSTRUMENTS if self.key(role)), "")

    @property
    def instrument_said(self) -> str:
        """Where the resolution of the spectra comes from, for tables; "" where the files say none."""
        role = self.instrument
        unit = f" in {self.lsf_unit}" if role == "lsf_sigma" else ""
        return f"{role}{unit}, {self.key(role)} of the files" if role else ""

    def is_optional(self, role: str) -> bool:
        """May the array that plays `role` be absent from the file?"""
        usual = _USUAL.key(role) == self.key(role) or bool(FORMATS[self.format].known)
        return usual and (role == "identifier" or (role == "mask" and self.uncertainty != "mask"))


_USUAL = SpectraLayout()


def make_layout(**given) -> SpectraLayout:
    """A checked layout; a format that settles parts of it, such as APOGEE's, fills these in.

    Raises SettingsError naming the wrong part and what it may be.
    """
    layout = _filled_in(SpectraLayout(**given))
    _check_instrument(layout)
    if not layout.uncertainty and not FORMATS[layout.format].names_errors:
        raise SettingsError(f"uncertainty of the spectra is '', expected {_or(UNCERTAINTIES)}.")
    return layout


def _check_instrument(layout: SpectraLayout) -> None:
    """Raise SettingsError where two arrays say the line-spread function, or nobody says in which unit."""
    units = _or(LSF_UNITS)
    if layout.resolution and layout.lsf_sigma:
        raise SettingsError(
            f"resolution is {layout.resolution!r} and lsf_sigma {layout.lsf_sigma!r}: expected one of them. Leave the "
            "other out."
        )
    if layout.lsf_sigma and not layout.lsf_unit:
        raise SettingsError(f"lsf_sigma is {layout.lsf_sigma!r}, but lsf_unit is ''; expected {units}.")
    if layout.lsf_unit and not layout.lsf_sigma:
        raise SettingsError(
            f"lsf_unit is {layout.lsf_unit!r}, but no array is named lsf_sigma, which it is the unit of. Leave it out."
        )


def _filled_in(layout: SpectraLayout) -> SpectraLayout:
    """The layout with the parts that its format settles; SettingsError where another is asked for, or one in vain."""
    format = FORMATS[layout.format]
    known = dict(format.known)
    if "mask_bits" in known:
        known["mask_bits"] = layout.mask_bits or known["mask_bits"]
    asked = {name: value for name, value in asdict(layout).items() if value != getattr(_USUAL, name)}
    for name in set(asked) & set(known) - {"mask_bits"}:
        in_config = name == "uncertainty" and asked[name] == "flux_error"  # which stands in config.yaml by default
        if asked[name] != known[name] and not in_config:
            raise SettingsError(
                f"{name} is {asked[name]!r}, but files of the format {layout.format} have {known[name]!r} there. "
                "Leave it out, or choose the format fits and name everything."
            )
    for name in sorted(set(asked) & {"hdu", "loader", "mask_bits"} - format.takes):
        able = ", ".join(other for other, one in FORMATS.items() if name in one.takes)
        raise SettingsError(
            f"{name} is {asked[name]!r}, which has no effect on files of the format {layout.format}; expected it with "
            f"{able} only. Leave it out."
        )
    return replace(layout, **known)


def _or(allowed: tuple[str, ...]) -> str:
    return f"{', '.join(allowed[:-1])} or {allowed[-1]}"
