"""mwmStar and mwmVisit of SDSS-V (Astra): a table an instrument and observatory, BOSS first, many of them empty."""

from dataclasses import replace
from pathlib import Path

from astropy.io import fits

from payneflow.errors import SpectraError
from payneflow.spectra.fits import HEADER, FitsStore
from payneflow.spectra.formats import APOGEE_BAD_BITS
from payneflow.spectra.layout import SpectraLayout


class MwmStore(FitsStore):
    """The one table of the file that `layout.hdu` names and that holds spectra; without a name, the only one.

    Of BOSS a pixel is bad where any bit is set, of APOGEE where one of APOGEE_BAD_BITS is, unless the layout has bits.
    """

    def __init__(self, path: Path, layout: SpectraLayout):
        super().__init__(path, layout)
        try:
            self.layout = self._completed(layout)
        except BaseException:
            self.close()
            raise

    def _completed(self, layout: SpectraLayout) -> SpectraLayout:
        number = self._number_of(layout.hdu)
        table = self._file[number]
        columns = [column.lower() for column in table.columns.names]
        axis = {"wavelength": HEADER, "wavelength_unit": "log10_Angstrom"}
        if "wavelength" in columns:
            axis = {"wavelength": f"{number}:wavelength", "wavelength_unit": "Angstrom"}
        of_apogee = "APOGEE" in f"{table.name} {table.header.get('INSTRMNT', '')}".upper()
        names = {"flux": "flux", "ivar": "ivar", "mask": "pixel_flags", "identifier": "sdss_id"}
        return replace(
            layout,
            **{role: f"{number}:{column}" for role, column in names.items()},
            **axis,
            mask_bits=layout.mask_bits or (APOGEE_BAD_BITS if of_apogee else ()),
        )

    def _number_of(self, wanted: str) -> int:
        """The number of the table with spectra that is wanted."""
        tables = {number: hdu for number, hdu in enumerate(self._file) if isinstance(hdu, fits.BinTableHDU)}
        listed = ", ".join(f"{number} ({hdu.name}, {hdu.header['NAXIS2']} spectra)" for number, hdu in tables.items())
        known = f"The file has the HDUs {listed or 'of no table'}."
        named = [number for number, hdu in tables.items() if _is_named(wanted, number, hdu.name)]
        if not named:
            raise SpectraError(
                f"{self._path}: no HDU {wanted!r}, as the setting hdu has it; expected its number, its name or "
                f"the part of the name before a slash. {known}"
            )
        filled = [number for number in named if tables[number].header["NAXIS2"] > 0]
        if not filled:
            which = f"HDU {wanted}" if wanted else "any HDU"
            raise SpectraError(f"{self._path}: no spectrum in {which}; expected one at least. {known}")
        if len(filled) > 1:
            raise SpectraError(
                f"{self._path}: spectra in {len(filled)} HDUs{f' named {wanted}' if wanted else ''}; expected one. Say "
                f"which as hdu, such as hdu: {tables[filled[-1]].name or filled[-1]}. {known}"
            )
        return filled[0]


def _is_named(wanted: str, number: int, name: str) -> bool:
    return wanted.upper() in ("", str(number), name.upper(), name.upper().partition("/")[0])
