"""Spectra in a FITS file: HDUs that are images, or columns of tables, named in the layout as "HDU" or "HDU:COLUMN"."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from payneflow.errors import SpectraError
from payneflow.spectra.layout import SpectraLayout

HEADER = "header"  # instead of an HDU: the wavelengths follow from keywords of the flux HDU's header


class FitsStore:
    """The images and columns of a FITS file; of apStar, which has the visits below it, the combined spectrum only."""

    def __init__(self, path: Path, layout: SpectraLayout):
        self.layout, self._path = layout, path
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
            flux = self.header(self.layout.flux)
            return None if flux is None else (flux[0][-1:], np.dtype(float))
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
            return np.array(str(hdu.header[keyword]))
        if column:
            return self._native(key, lambda: hdu.data[column])
        return self._native(key, lambda: hdu.section[0] if self._is_combined_with_visits(hdu) else hdu.section[...])

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        hdu, column, _ = self._find(key)
        if not column:
            return self._native(key, lambda: hdu.section[first:last])
        # Mapped, and opened for these rows only: else a table of any size would be read, or stay mapped, as a whole.
        with open(self._path, "rb") as stream, self._open(stream, memmap=True) as file:
            return self._native(key, lambda: file[self._file.index(hdu)].data[first:last][column])

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

    def _axis_of_header(self) -> np.ndarray:
        """Wavelengths (n_pixel,) in the unit declared: CRVAL1 + (pixel - (CRPIX1 - 1)) CDELT1, pixel from 0."""
        hdu, _, _ = self._find(self.layout.flux)
        header, logarithmic = hdu.header, self.layout.wavelength_unit.startswith("log10_")
        step = header.get("CDELT1", header.get("CD1_1"))
        if "CRVAL1" not in header or step is None:
            raise SpectraError(
                f"{self._path}: HDU {self.layout.flux} has no CRVAL1 with CDELT1 (or CD1_1), which wavelength: header "
                "asks for. Name the HDU or column that holds the wavelengths."
            )
        if header.get("DC-FLAG", int(logarithmic)) != int(logarithmic):
            raise SpectraError(
                f"{self._path}: HDU {self.layout.flux} has DC-FLAG {header['DC-FLAG']}, which says that the axis is "
                f"{'linear' if logarithmic else 'log10'}; expected wavelength_unit to say so, too, and it is "
                f"{self.layout.wavelength_unit}."
            )
        if str(header.get("CTYPE1", "")).startswith("AWAV") and self.layout.medium != "air":
            raise SpectraError(
                f"{self._path}: HDU {self.layout.flux} has CTYPE1 AWAV, wavelengths in air; expected medium: air."
            )
        pixel = np.arange(hdu.shape[-1]) - (header.get("CRPIX1", 1.0) - 1.0)
        return header["CRVAL1"] + pixel * step
