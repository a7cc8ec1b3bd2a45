"""A table of fits as a FITS file, which is written block by block: its header, then rows as they lie in it."""

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits import BinTableHDU, Header, PrimaryHDU, table_to_hdu
from astropy.table import Table
from astropy.units import Unit, UnrecognizedUnit

from payneflow.errors import SpectraError
from payneflow.files import whole_file
from payneflow.fitting.rows import BLOCK, StoredRows
from payneflow.label_names import ascii_columns
from payneflow.stored_tables import MOST_SAID

RECORD = 2880  # bytes, of which headers and data have a whole number


def write_fits(rows: StoredRows, path: str | Path) -> None:
    """Write the rows as the one binary table of a FITS file, whole or not at all."""
    widths = _widths(rows)
    with whole_file(path) as temporary, open(temporary, "wb") as stream:
        for number, block in enumerate(rows.blocks()):
            hdu = _hdu(block, rows.meta["flags"], widths)
            if not number:
                stream.write(_primary().tostring().encode())
                stream.write(_header(hdu, rows).tostring().encode())
            stream.write(_data(hdu))
        stream.write(bytes(-stream.tell() % RECORD))


def rows_of_fits_binary(path: str | Path) -> int:
    """How many rows the fits have that `write_results` wrote in the FITS format, by its header and its length.

    Raises SpectraError for a file that is none, or cut.
    """
    return _place_of_rows(path)[2]


def blocks_of_fits_binary(path: str | Path) -> Iterator[list[np.ndarray]]:
    """The columns of such a file, BLOCK rows at a time; of no row where there is none. Raises SpectraError likewise."""
    begin, kind, n_row = _place_of_rows(path)
    with open(path, "rb") as stream:
        stream.seek(begin)
        for first in range(0, max(n_row, 1), BLOCK):
            rows = np.frombuffer(stream.read(kind.itemsize * min(BLOCK, n_row - first)), kind)
            yield [rows[name] for name in kind.names]


def _place_of_rows(path: str | Path) -> tuple[int, np.dtype, int]:
    """Where the rows of the binary table begin, of what type they are as they lie there, and how many there are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a file that is cut astropy warns
            with fits.open(path, memmap=True) as hdus:
                table, place = hdus[1], hdus[1].fileinfo()
                kind, n_row = table.columns.dtype.newbyteorder(">"), table.header["NAXIS2"]
                if kind.itemsize != table.header["NAXIS1"]:
                    raise ValueError(f"rows of {table.header['NAXIS1']} bytes, whose columns have {kind.itemsize}")
        end = place["datLoc"] + place["datSpan"]
        if Path(path).stat().st_size != end:
            raise ValueError(f"{Path(path).stat().st_size} bytes, by its headers {end}")
    except FileNotFoundError as error:
        raise SpectraError(f"{path}: no such file; expected fits, as `payneflow fit` writes them (fits).") from error
    except Exception as error:  # astropy raises many kinds on damaged bytes
        said = " ".join(str(error).split())[:MOST_SAID]
        raise SpectraError(f"{path}: not readable fits ({said}), as `payneflow fit` writes them (fits).") from error
    return place["datLoc"], kind, n_row


def _primary() -> Header:
    header = PrimaryHDU().header
    header["EXTEND"] = True
    return header


def _widths(rows: StoredRows) -> dict[str, int]:
    """How many bytes the longest text of each column takes; FITS has no texts of none."""
    empty = rows.empty()
    texts = [name for name in empty.colnames if empty[name].dtype.kind == "U"]
    widths = dict.fromkeys(texts, 1)
    for name in texts:
        for column in rows.columns(name):
            widths[name] = max(widths[name], *map(len, _encoded(column)))
    return widths


def _encoded(column) -> Iterator[bytes]:
    """Texts in UTF-8, which astropy reads as such; the standard itself knows only ASCII. ECSV reads "" as no entry."""
    return (str(text).encode("utf-8", "backslashreplace") for text in np.ma.filled(column, ""))


def _hdu(block: Table, flags: Mapping[str, int], widths: Mapping[str, int]) -> BinTableHDU:
    """Some rows for a FITS file, whose header holds no lists and whose standard knows neither [Fe/H] nor dex."""
    plain = block.copy()
    plain.meta = {f"FLAG{bit}": name for name, bit in flags.items()}
    for name in plain.colnames:
        plain[name].unit = plain[name].description = None
        if name in widths:
            plain[name] = np.array(list(_encoded(plain[name])), dtype=f"S{widths[name]}")
    plain.rename_columns(plain.colnames, fits_column_names(plain.colnames))
    return table_to_hdu(plain)


def _data(hdu: BinTableHDU) -> bytes:
    """The rows as they lie in a file, without what fills its last record."""
    stream = io.BytesIO()
    hdu.writeto(stream)
    begin = RECORD + len(hdu.header.tostring())  # after the primary header and its own
    return stream.getvalue()[begin : begin + hdu.header["NAXIS1"] * hdu.header["NAXIS2"]]


def _header(hdu: BinTableHDU, rows: StoredRows) -> Header:
    """The header of all rows, from that of some: units where FITS knows them, meanings, and the meta as history."""
    header = hdu.header.copy()
    header["NAXIS2"] = len(rows)
    empty = rows.empty()
    for number, (name, plain) in enumerate(zip(empty.colnames, hdu.columns.names, strict=True), start=1):
        unit = empty[name].unit
        if unit is not None and _fits_unit(unit):
            header[f"TUNIT{number}"] = _fits_unit(unit)
        described = f"{empty[name].description} [{unit}]" if unit is not None else empty[name].description
        header.add_comment(_as_ascii(f"{plain}: {described}"))
    for name, value in rows.meta.items():
        if name not in ("label_names", "flags"):
            text = f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
            header.add_history(_as_ascii(text))
    return header


def _as_ascii(text: str) -> str:
    """The text as FITS can hold it: e with an accent becomes \\xe9, a line break \\n."""
    return re.sub(r"[^ -~]", lambda letter: letter[0].encode("unicode_escape").decode(), text)


def _fits_unit(unit: Unit) -> str:
    """The unit as the FITS standard writes it ("km s-1"); empty where it has no such unit (dex)."""
    if isinstance(unit, UnrecognizedUnit):
        return ""
    try:
        return unit.to_string(format="fits")
    except ValueError:
        return ""


def fits_column_names(names: list[str]) -> list[str]:
    """Column names as the FITS standard wants them (`ascii_columns`): [Fe/H]_error becomes Fe_H_error."""
    return ascii_columns(names)
