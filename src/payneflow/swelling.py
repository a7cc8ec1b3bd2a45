"""Files of spectra and grids that would take more memory or time than any true one: refused before they are inflated.

A file of a kilobyte may stand for a terabyte: by compression, by a header that lies, or as HDF5 that stores nothing.
"""

import bz2
import gzip
import lzma
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError

MOST_PIXELS = 10_000_000  # of one spectrum, all its pieces together; the longest ones that there are have 600 000
MOST_RATIO = 100  # bytes that each of a file stands for; noise does not shrink by a tenth of it
SMALL_STREAM, SMALL_ARRAY = 2**26, 2**28  # bytes that a compressed file, or an array by its header, may have anyway
BLOCK = 2**20  # bytes that are inflated at a time
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZIP = b"PK\x03\x04"


def refuse_swelling(path: Path, kind: type[PayneflowError]) -> None:
    """Raise `kind` where a compressed file of any format (gzip, bzip2, xz, zip) inflates beyond what it may.

    What else is wrong with it is left to whoever reads it. Takes the time to inflate it once, and no memory.
    """
    most = max(SMALL_STREAM, MOST_RATIO * path.stat().st_size)
    with open(path, "rb") as stream:
        begin = stream.read(6)
    inflated = 0
    try:
        if begin.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                inflated = max((one.file_size for one in archive.infolist()), default=0)
        for magic, opened in _OPENERS.items():
            if begin.startswith(magic):
                inflated = _inflated(opened(path), most)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    if inflated > most:
        raise kind(
            f"{path}: {path.stat().st_size} bytes that inflate to more than {most}; expected a file of spectra, which "
            "does not shrink so. Is it made to fill the memory? Make it again, or inflate it by hand."
        )


def _inflated(stream, most: int) -> int:
    """Bytes that come out of a stream, at most a block more than `most`."""
    total = 0
    with stream:
        while total <= most and (block := stream.read(BLOCK)):
            total += len(block)
    return total


def refuse_many_pixels(place: str, n_pixel: int, kind: type[PayneflowError]) -> None:
    """Raise `kind` where one spectrum has more pixels than any: `place` (file and key) says so."""
    if n_pixel > MOST_PIXELS:
        raise kind(
            f"{place} has {n_pixel} pixels a spectrum; expected at most {MOST_PIXELS}. Is its header damaged? If it is "
            "true, cut the spectra to the range that matters."
        )


def refuse_unstored(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype, kind: type[PayneflowError]) -> None:
    """Raise `kind` where the array `key`, by its header, is larger than a file of this size stands for."""
    said, stored = math.prod(shape) * dtype.itemsize, path.stat().st_size
    if said > max(SMALL_ARRAY, MOST_RATIO * stored):
        raise kind(
            f"{path}: {key} would take {said} bytes, by its shape {shape} and dtype {dtype}, the file has {stored}; "
            f"expected {MOST_RATIO} for each of these at most. Is it damaged, or was it never filled? Make it again."
        )
