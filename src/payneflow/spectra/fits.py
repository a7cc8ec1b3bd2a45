"""Spectra in a FITS file: HDUs that are images, or columns of tables, named in the layout as "HDU" or "HDU:COLUMN"."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from payneflow.errors import SpectraError
from payneflow.spectra.fits_headers import check_headers
from payneflow.spectra.header_axis import doubt_of_header, wavelengths_of_header
from payneflow.spectra.header_says import check_said, said_of_axis, said_of_column, said_of_medium, said_of_unit
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.multispec import is_multispec, wavelengths_of_apertures
from payneflow.spectra.names import as_text
from payneflow.spectra.rows import split

HEADER = "header"  # instead of an HDU: the wavelengths follow from keywords of the flux HDU's header


class FitsStore:
    """The images and columns of a FITS file; of apStar, which has the visits below it, the combined spectrum only."""

    def __init__(self, path: Path, layout: SpectraLayout):
        self.layout, self._path = layout, path
        check_headers(path)
        self._stream = open(path, "rb")  # noqa: SIM115 - closed by close(), also where astropy gives up half way
        try:
            self._file = self._open(self._stream, memmap=False)
        except BaseException:
            self._stream.close()
            raise

    def _open(self, stream: BinaryIO, memmap: bool) -> fits.HDUList:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("error", message=".*truncated")
                return fits.open(stream, memmap=memmap, lazy_load_hdus=False)
        except Exception as error:  # astropy raises many kinds on damaged bytes
            raise SpectraError(f"{self._path}: not a readable FITS file ({error}). Is it truncated?") from error

    def close(self) -> None:
        self._file.close()
        self._stream.close()

    def check(self) -> None:
        """Raise SpectraError where the headers say of wavelengths or bands what the layout does not."""
        if self.layout.format == "iraf":
            self._check_bands()
        named = [split(key)[0] for key in (self.layout.flux, self.layout.wavelength)]
        found = {key: self._find(key) for key in named if key != HEADER}
        hdus = {
            "0": self._file[0],
            **{key.partition(":")[0]: hdu for key, (hdu, *_) in found.items() if hdu is not None},
        }
        for name, hdu in hdus.items():
            check_said(f"{self._path}: HDU {name}", said_of_medium(hdu.header), self.layout)
        flux, wavelength = named
        hdu, column, _ = found.get(wavelength, (None, "", ""))
        if hdu is None or wavelength == flux:
            return
        number = hdu.columns.names.index(column) + 1 if column else 0
        said = said_of_column(hdu.header, number) if column else said_of_unit("BUNIT", str(hdu.header.get("BUNIT", "")))
        check_said(f"{self._path}: {wavelength}", said, self.layout)

    def _check_bands(self) -> None:
        """Refuse an image that is not what IRAF's apall writes, whose fourth band is the sigma of the first."""
        shape, fourth = self._file[0].shape, str(self._file[0].header.get("BANDID4", "sigma"))
        if len(shape) != 3 or "sigma" not in fourth.lower():
            what = f"shape {shape}" if len(shape) != 3 else f"BANDID4 {fourth!r}"
            raise SpectraError(
                f"{self._path}: 0 has {what}; expected the bands (4, n_aperture, n_pixel) of apall, the fourth of them "
                'sigma, because format is iraf. With format fits name flux ("0[0]") and errors, if there are any.'
            )

    def doubt(self) -> str:
        """What a user should know of the wavelengths, empty where there is nothing."""
        if self.layout.wavelength != HEADER:
            return ""
        hdu, _, _ = self._find(split(self.layout.flux)[0])
        return "" if is_multispec(hdu.header) else doubt_of_header(hdu.header)

    def names(self) -> list[str]:
        """Every HDU by its number, with the columns of tables."""
        found = []
        for number, hdu in enumerate(self._file):
            columns = hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else []
            found += [f"{number}:{column}" for column in columns]
            if hdu.is_image and hdu.shape:
                found.append(f"{number}" + (f" ({hdu.name})" if hdu.name else ""))
        return found

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        if key == HEADER:
            flux = self._flux_shape()
            return None if flux is None else (flux[-2:] if self._has_apertures() else flux[-1:], np.dtype(float))
        hdu, column, keyword = self._find(key)
        if hdu is None or (not column and not keyword and not hdu.shape):
            return None
        if keyword:
            return (), np.dtype("U")
        if column:
            return self._column_header(key, hdu, column)
        shape = hdu.shape[1:] if self._is_combined_with_visits(hdu) else hdu.shape
        return shape, np.dtype(fits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]])

    def whole(self, key: str) -> np.ndarray:
        if key == HEADER:
            return self._axis_of_header()
        hdu, column, keyword = self._find(key)
        if keyword:
            return np.array(self._text_of(hdu, keyword))
        if column:
            return self._native(key, lambda: hdu.data[column])
        return self._native(key, lambda: hdu.section[0] if self._is_combined_with_visits(hdu) else hdu.section[...])

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        if key == HEADER:
            return self._axis_of_header()[first:last]
        hdu, column, _ = self._find(key)
        if not column:
            return self._native(key, lambda: hdu.section[first:last])
        # Mapped, and opened for these rows only: else a table of any size would be read, or stay mapped, as a whole.
        with open(self._path, "rb") as stream, self._open(stream, memmap=True) as file:
            return self._native(key, lambda: file[self._file.index(hdu)].data[first:last][column])

    def _text_of(self, hdu, keyword: str) -> str:
        """The value of a keyword; astropy has question marks where a letter is not ASCII, so that the file is asked."""
        text = str(hdu.header[keyword])
        place = hdu.fileinfo()
        if "?" not in text or place is None or self._path.suffix in (".gz", ".bz2", ".xz"):
            return text
        with open(self._path, "rb") as stream:
            stream.seek(place["hdrLoc"])
            header = stream.read(place["datLoc"] - place["hdrLoc"])
        begin = f"{keyword.upper():<8}= '".encode()
        cards = [header[i : i + 80] for i in range(0, len(header), 80)]
        found = [card[len(begin) :].partition(b"'")[0] for card in cards if card.startswith(begin)]
        return as_text(found[0]) if found else text

    def _native(self, key: str, read) -> np.ndarray:
        """What `read()` gives, copied to the byte order of this machine."""
        try:
            array = np.asarray(read())
            return np.array(array, dtype=array.dtype.newbyteorder("="))
        except Exception as error:  # astropy raises many kinds on damaged bytes
            raise SpectraError(f"{self._path}: {key} cannot be read ({error}). Is the file damaged?") from error

    def _find(self, key: str) -> tuple:
        """HDU, column and keyword that a key names; each None or empty where there is none."""
        place, _, name = key.partition(":")
        try:
            hdu = self._file[int(place) if place.isdigit() else place]
        except (KeyError, IndexError):
            return None, "", ""
        table = isinstance(hdu, fits.BinTableHDU)
        if not name and table:
            raise SpectraError(
                f"{self._path}: {key} is a table; expected one of its columns, such as "
                f"'{key}:{hdu.columns.names[0]}'. The file holds {', '.join(self.names())}."
            )
        columns = {column.lower(): column for column in hdu.columns.names} if table else {}
        if not name or name.lower() in columns:
            return hdu, columns.get(name.lower(), ""), ""
        return (hdu, "", name) if name in hdu.header else (None, "", "")

    def _column_header(self, key: str, hdu, column: str) -> tuple[tuple[int, ...], np.dtype]:
        if hdu.columns[column].format[:1] in "PQ" or hdu.columns[column].format.lstrip("0123456789")[:1] in "PQ":
            raise SpectraError(
                f"{self._path}: {key} has rows of different lengths; expected n_pixel values in each. Write one file "
                "a spectrum, or pad the rows and mask what was added."
            )
        base, shape = hdu.columns.dtype[column].subdtype or (hdu.columns.dtype[column], ())
        return (hdu.header["NAXIS2"], *shape), base

    def _is_combined_with_visits(self, hdu) -> bool:
        """apStar has the combined spectrum in row 0 and, where there are several, the visits below."""
        return self.layout.format == "apStar" and len(hdu.shape) == 2

    def _flux_shape(self) -> tuple[int, ...] | None:
        """The shape of the flux, or of the rows of it that are named; None where there is no such array."""
        flux, row = split(self.layout.flux)
        found = self.header(flux)
        return None if found is None else found[0][min(len(row), len(found[0]) - 1) :]

    def _has_apertures(self) -> bool:
        """Whether the header has wavelengths for each row of the flux, as IRAF writes them."""
        return is_multispec(self._find(split(self.layout.flux)[0])[0].header)

    def _axis_of_header(self) -> np.ndarray:
        """Wavelengths by the keywords of the HDU that has the flux, in the unit of the layout.

        (n_pixel,), of IRAF's apertures (n_row, n_pixel) where there are several.
        """
        flux, row = split(self.layout.flux)
        hdu, column, _ = self._find(flux)
        place = f"{self._path}: HDU {flux.removesuffix(f':{column}') if column else flux}"
        shape = self._flux_shape()
        if not self._has_apertures():
            return wavelengths_of_header(place, hdu.header, shape[-1], self.layout, self._file)
        check_said(place, said_of_axis(hdu.header), self.layout)
        if len(shape) > 1:
            return wavelengths_of_apertures(place, hdu.header, shape[-2], shape[-1])
        number = row[-1] if row else 0
        return wavelengths_of_apertures(place, hdu.header, number + 1, shape[-1])[number]
