"""One spectrum in a text file: columns parted by blanks, commas or tabs, with or without names, and ECSV."""

import re
from pathlib import Path

import numpy as np
from astropy.io import ascii
from astropy.table import Table

from payneflow.errors import SpectraError
from payneflow.files import read_small
from payneflow.spectra.header_says import check_said, said_of_unit
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.masked import parted

MOST_TEXT = 2**28  # bytes; a spectrum of a million pixels has a tenth of it
MOST_COLUMNS = 1000  # a spectrum that is written along a row would keep the readers busy for minutes
_ORDER = ("wavelength", "flux", "flux_error")  # of columns without names; ivar is where flux_error is
_FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]\d)")  # an exponent: 1.5D+04
_CALLED = {  # what files call the columns of the usual names, in lower case
    "wavelength": ("wavelength", "wave", "lambda", "wavelengths", "wl"),
    "flux": ("flux",),
    "flux_error": ("flux_error", "error", "err", "flux_err", "fluxerr", "sigma", "e_flux", "uncertainty"),
    "ivar": ("ivar",),
    "mask": ("mask",),
    "identifier": (),
}


class TextStore:
    """The columns of a text file by their names, by their numbers from 1, and by the usual names of their roles.

    Where the file names no columns they are wavelength, flux and its error (or ivar), in this order. An entry that is
    missing takes no part.
    """

    def __init__(self, path: Path, layout: SpectraLayout):
        self.layout, self._path = layout, path
        self._table, self._has_names = _table(path)

    def close(self) -> None:
        pass

    def check(self) -> None:
        """Raise SpectraError where the unit of the wavelengths (ECSV) is another than the layout has."""
        column = self._find(self.layout.wavelength)
        unit = self._table[column].unit if column else None
        said = said_of_unit("the unit", str(unit)) if unit else []
        check_said(f"{self._path}: column {column}", said, self.layout)

    def doubt(self) -> str:
        return ""

    def names(self) -> list[str]:
        if self._has_names:
            return list(self._table.colnames)
        return [str(number + 1) for number in range(len(self._table.colnames))]

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        column = self._find(key)
        if column is None:
            return None
        array = self.whole(key)
        if array.dtype.kind == "U" and key != self.layout.identifier:
            pixel = next(pixel for pixel, entry in enumerate(array) if not _is_numbers(entry, ","))
            raise SpectraError(
                f"{self._path}: {key}[{pixel}] is {str(array[pixel])!r} (pixel {pixel}); expected a number. Write "
                "nan where there is none."
            )
        return array.shape, array.dtype

    def whole(self, key: str) -> np.ndarray:
        numbers, missing = parted(self._table[self._find(key)])
        if missing is None:
            return numbers
        return np.where(missing, 1, numbers) if key == self.layout.mask else np.where(missing, np.nan, numbers)

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        return self.whole(key)[first:last]

    def _find(self, key: str) -> str | None:
        """The column that a key names, None where there is none."""
        columns = self._table.colnames
        if self._has_names and key in columns:
            return key
        if key.isdigit():
            return columns[int(key) - 1] if 0 < int(key) <= len(columns) else None
        role = next((role for role in _CALLED if key == role == self.layout.key(role)), None)
        if role and self._has_names:
            called = [column for column in columns if column.lower() in _CALLED[role]]
            return called[0] if len(called) == 1 else None
        if role == "ivar":
            role = "flux_error" if self.layout.uncertainty == "ivar" else None
        elif role == "flux_error" and self.layout.uncertainty == "ivar":
            role = None
        place = _ORDER.index(role) if role in _ORDER else len(columns)
        return columns[place] if place < len(columns) else None


def _table(path: Path) -> tuple[Table, bool]:
    """The table in a file, and whether its columns have names there."""
    content = read_small(path, SpectraError, "columns of numbers", MOST_TEXT)
    if b"\0" in content:
        raise SpectraError(f"{path}: not a text file; expected columns of numbers. Say its format.")
    lines = [line for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    if not lines:
        raise SpectraError(f"{path}: empty; expected columns of numbers: wavelength, flux and its error.")
    try:
        if lines[0].startswith("# %ECSV"):
            return Table.read(lines, format="ascii.ecsv"), True
        return _plain_table(lines)
    except Exception as error:  # its readers raise many kinds
        said = " ".join(str(error).split())
        raise SpectraError(
            f"{path}: no table of numbers ({said[:300]}); expected a row a pixel with as many entries in each, parted "
            "by blanks, commas or tabs, below at most one row of names, which may begin with #."
        ) from error


def _plain_table(lines: list[str]) -> tuple[Table, bool]:
    """A table without a description: names are in a row of their own, or in the last comment above the numbers."""
    data = [_FORTRAN.sub("e", line) for line in lines if not line.lstrip().startswith("#")]
    if not data:
        raise ValueError("there are comments only")
    delimiter = next((sign for sign in (",", "\t", ";") if sign in data[0]), " ")
    n_column = len(data[0].split(None if delimiter == " " else delimiter))
    if n_column > MOST_COLUMNS:
        raise ValueError(f"{n_column} entries in a row")
    if delimiter in ("\t", ";"):  # readers of astropy take several tabs for one
        data, delimiter = [line.replace(delimiter, ",") for line in data], ","
    options = {"delimiter": delimiter, "fill_values": [("", "nan")], "guess": False}
    if _is_numbers(data[0], delimiter):
        table = ascii.read("\n".join([*data, ""]), format="no_header", **options)
        names = _names_in_comments(lines, delimiter, len(table.colnames))
        if names:
            table.rename_columns(table.colnames, names)
        return table, bool(names)
    return ascii.read("\n".join([*data, ""]), format="basic", **options), True


def _is_numbers(line: str, delimiter: str) -> bool:
    for entry in line.split(None if delimiter == " " else delimiter):
        try:
            float(entry or "nan")
        except ValueError:
            return False
    return True


def _names_in_comments(lines: list[str], delimiter: str, n_column: int) -> list[str]:
    """The last comment above the numbers, if it has an entry a column."""
    comments = []
    for line in lines:
        if not line.lstrip().startswith("#"):
            break
        comments.append(line.strip().lstrip("#").strip())
    for sign in (None if delimiter == " " else delimiter, None):
        names = [name.strip() for name in comments[-1].split(sign)] if comments else []
        if len(names) == n_column == len(set(names)):
            return names
    return []
