"""A grid in an npz file: the headers of its arrays, read without the arrays, and the arrays themselves."""

import zipfile
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.files import read_npz
from payneflow.grid.stored import WHAT, Header


def read_headers(path: Path, wanted: list[str]) -> tuple[dict[str, Header], list[str]]:
    """Key -> header of those of the `wanted` arrays that the file holds, and the keys of all that it holds.

    Raises GridError for what is no npz file, or a damaged one.
    """
    read_npz(path, GridError, WHAT, keys=())  # reads no array, but refuses what is no npz file
    headers, key = {}, None
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for key in (key for key in wanted if key in members):
                headers[key] = _header(archive, members[key])
    except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
        place = path if key is None else f"{path}: {key}"
        raise GridError(f"{place}: not a readable array ({error}). Is the file truncated? Make it again.") from error
    return headers, list(members)


def _header(archive: zipfile.ZipFile, member: str) -> Header:
    with archive.open(member) as stream:
        # Versions above 1.0 have a longer length field; 3.0 differs from 2.0 by non-ASCII field names only.
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return Header(shape, dtype, text=dtype.kind in "US", pickled=dtype.hasobject)


def read_flux(path: Path, key: str, header: Header) -> np.ndarray:
    """The flux, whole: (n_spectrum, n_pixel), contiguous, of the dtype it is trained as. Raises GridError."""
    return np.ascontiguousarray(read_arrays(path, [key])[key], dtype=header.trained_dtype)


def read_arrays(path: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Key -> array. Raises GridError where one is damaged."""
    return read_npz(path, GridError, WHAT, keys=tuple(keys))
