"""Files are written whole or not at all, and read without surprises.

A file is written under a temporary name of its own in its own directory, flushed to the disk, and renamed: a reader
sees the old file or the new one, never half of one, and two writers at once never mix.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path`, on any failure it is removed.

    The temporary name keeps the ending of `path`, because many writers choose the format by it.
    Raises PayneflowError naming the file where it cannot be written (no permission, disk full).
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise PayneflowError(f"{path}: cannot be written: {reason}. Check permission and free space there.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_list(path: str | Path, paths: Iterable[str | Path]) -> None:
    """Write a list file: one path a line, UTF-8, without quotes; whole or not at all.

    Raises PayneflowError for a path with a line break, which such a file cannot hold.
    """
    lines = [str(one) for one in paths]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise PayneflowError(f"{line!r}: a line break in a path cannot be written to a list file. Rename it.")
    with whole_file(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def read_list(path: str | Path) -> list[str]:
    """The paths of a list file, one a line as they stand; empty lines count for nothing.

    Raises PayneflowError where the file cannot be read or holds no path.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise PayneflowError(f"{path}: {error.strerror}; expected a list file: one path a line.") from None
    paths = [line.removesuffix("\r") for line in text.split("\n")]
    paths = [line for line in paths if line.strip()]
    if not paths:
        raise PayneflowError(f"{path}: holds no path; expected a list file: one path a line.")
    return paths


def write_npz(path: str | Path, arrays: dict[str, np.ndarray | str | float]) -> None:
    """Write arrays to `path` as an uncompressed npz file, whole or not at all."""
    with whole_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)


def read_npz(
    path: str | Path, kind: type[PayneflowError], what: str, keys: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Read every array of an npz file, or only those of `keys` that it holds; nothing is ever unpickled.

    `what` names such a file in the messages of `kind` that a missing, damaged or pickled one raises.
    """
    path = Path(path)
    key = None
    try:
        with open(path, "rb") as stream:
            if not stream.read(1):
                raise kind(f"{path}: the file is empty; expected {what}.")
            if not zipfile.is_zipfile(stream):
                raise kind(f"{path}: not an npz file, or a truncated one; expected {what}, as np.savez writes it.")
            stream.seek(0)
            arrays = {}
            with np.load(stream, allow_pickle=False) as archive:
                for key in archive.files if keys is None else [key for key in keys if key in archive.files]:
                    arrays[key] = archive[key]
            return arrays
    except PayneflowError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{path}: no such file; expected {what}.") from error
    except IsADirectoryError as error:
        raise kind(f"{path}: a directory; expected {what}: name the file inside it.") from error
    except PermissionError as error:
        raise kind(f"{path}: no permission to read {what}.") from error
    except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
        place = path if key is None else f"{path}: {key}"
        raise kind(f"{place}: not a readable npz file ({error}); expected {what}. Is the file truncated?") from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
