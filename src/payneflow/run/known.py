"""What is known of files by their content, so that none is read again before it changes.

The inputs of the workflow go by digest: rules take a small file that says the SHA-256 of the grid (the summary of its
check), or of a shard's spectra. It is made anew only where the content is another, whatever date, name and place.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from payneflow.errors import PayneflowError
from payneflow.files import sha256_of, whole_file
from payneflow.grid.origins import joined_digest

KNOWN = "known"  # the directory among a run's results
SETTLED = 2.0  # seconds since a file last changed, before which another change may leave it with the same dates


class Known:
    """What was found out of files, kept in a JSON file at `path`; each finding holds until its file changes.

    Without `path`, in memory only. A file has changed where its size, one of its dates or its inode is another; the
    date of the last change of the inode is among them, which no program can set. Where what is known cannot be read or
    written, that costs time and nothing else.
    """

    def __init__(self, path: str | Path | None):
        self._path, self._changed = path and Path(path), False
        try:
            self._held = dict(json.loads(self._path.read_bytes())) if self._path else {}
        except (OSError, ValueError, TypeError, RecursionError):
            self._held = {}

    def of(self, path: str | Path, find: Callable[[Path], Any], again: bool = False, name: str = "") -> Any:
        """What `find(path)` says, which JSON can hold; not asked where it is known already, unless `again` is set.

        `name`: what the file goes by here; without it, its absolute path. Raises OSError where it is not there.
        """
        name = name or os.path.abspath(path)  # noqa: PTH100 - a link stays one
        stamp = _stamp(path)
        held = self._held.get(name)
        if not again and isinstance(held, list) and len(held) == 2 and held[0] == stamp:
            return held[1]
        found = find(Path(path))
        if _stamp(path) == stamp and time.time() - max(stamp[1:3]) / 1e9 > SETTLED:
            self._held[name] = [stamp, found]
            self._changed = True
        return found

    def save(self) -> None:
        """Write what was found since this was read, if the directory is there and may be written to."""
        if not self._path or not self._changed or not self._path.parent.is_dir():
            return
        with suppress(PayneflowError), whole_file(self._path) as temporary:
            temporary.write_text(json.dumps(self._held), encoding="utf-8", errors="backslashreplace")


def _stamp(path: str | Path) -> list[int]:
    found = os.stat(path)  # noqa: PTH116 - of many files, and Path.stat takes its time
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


# -------------------------------------------------------------------------------------------- the digests of the inputs


def digest_of(paths: Iterable[str | Path], known: Known) -> str:
    """SHA-256 of the content of one file; of several, that of their digests in this order.

    A file that cannot be read has for its digest that it cannot: whoever reads it says why.
    """
    digests = [_digest_of_one(path, known) for path in paths]
    return joined_digest(digests)


def _digest_of_one(path: str | Path, known: Known) -> str:
    if not Path(path).is_file():  # a pipe would be waited for
        return "no file"
    try:
        return str(known.of(path, sha256_of))
    except OSError:
        return "cannot be read"


def write_digest(path: str | Path, digest: str) -> None:
    """Write a digest file, whole or not at all. Raises PayneflowError where that is not possible."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"sha256": digest}) + "\n", encoding="utf-8")


def read_digest(path: str | Path) -> str | None:
    """The digest that a digest file, or the summary of a grid, holds; None where it is not there, or not readable."""
    try:
        return str(json.loads(Path(path).read_bytes())["sha256"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def outdated(digest_files: Iterable[tuple[Path, Iterable[str | Path]]], known: Known) -> list[Path]:
    """Which of these digest files say another digest than their inputs have now, or are not there.

    One that is missing counts: the job that makes it may have failed, which leaves results of other inputs behind.
    """
    said = ((path, inputs, read_digest(path)) for path, inputs in digest_files)
    return [path for path, inputs, digest in said if digest is None or digest != digest_of(inputs, known)]
