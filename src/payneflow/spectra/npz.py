"""Spectra in an npz file, read by rows: np.savez does not compress, so each row lies at a known place of the file."""

import zipfile
from pathlib import Path

import numpy as np

from payneflow.errors import SpectraError
from payneflow.files import read_npz
from payneflow.spectra.layout import SpectraLayout

_WHAT = "a file of observed spectra"
_LOCAL_HEADER = 30  # bytes of a zip member's own header before its name; bytes 26 to 29 are two lengths


class NpzStore:
    """The arrays of an npz file. A compressed one, or one in Fortran's order, is read whole when it is first needed."""

    def __init__(self, path: Path, layout: SpectraLayout):
        self.layout, self._path = layout, path
        read_npz(path, SpectraError, _WHAT, keys=())  # refuses what is no npz file
        self._whole: dict[str, np.ndarray] = {}
        self._headers: dict[str, tuple[tuple[int, ...], bool, np.dtype, int]] = {}
        with zipfile.ZipFile(path) as archive:
            self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()

    def close(self) -> None:
        self._file.close()

    def names(self) -> list[str]:
        return list(self._members)

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        if key not in self._members:
            return None
        shape, _, dtype, _ = self._read_header(key)
        return shape, dtype

    def whole(self, key: str) -> np.ndarray:
        if key not in self._whole:
            self._whole[key] = read_npz(self._path, SpectraError, _WHAT, keys=(key,))[key]
        return self._whole[key]

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        shape, fortran, dtype, begin = self._read_header(key)
        compressed = self._members[key].compress_type != zipfile.ZIP_STORED
        if compressed or (fortran and len(shape) > 1):
            return self.whole(key)[first:last]
        length = int(np.prod(shape[1:]))
        self._file.seek(self._data_offset(key) + begin + first * length * dtype.itemsize)
        array = np.fromfile(self._file, dtype, (last - first) * length)
        if array.size != (last - first) * length:
            raise SpectraError(f"{self._path}: {key} ends before row {last}. Was the file changed meanwhile?")
        return array.reshape(last - first, *shape[1:])

    def _read_header(self, key: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
        """Shape, order, dtype, and how many bytes the header takes."""
        if key in self._headers:
            return self._headers[key]
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._members[key]) as stream:
                # Versions above 1.0 have a longer length field; 3.0 differs from 2.0 by non-ASCII field names only.
                first = np.lib.format.read_magic(stream) == (1, 0)
                read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(stream)
                begin = stream.tell()
        except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
            raise SpectraError(
                f"{self._path}: {key}: not a readable array ({error}). Is the file truncated? Make it again."
            ) from error
        stored, expected = self._members[key].file_size, begin + int(np.prod(shape)) * dtype.itemsize
        if stored != expected and not dtype.hasobject:
            raise SpectraError(
                f"{self._path}: {key} takes {stored} bytes; expected {expected} for its shape {shape} and dtype "
                f"{dtype}. Is the file damaged? Make it again."
            )
        self._headers[key] = shape, fortran, dtype, begin
        return self._headers[key]

    def _data_offset(self, key: str) -> int:
        """Where a member's bytes begin: behind its local header, whose extra field the directory does not know."""
        place = self._members[key].header_offset
        self._file.seek(place)
        header = self._file.read(_LOCAL_HEADER)
        return place + _LOCAL_HEADER + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
