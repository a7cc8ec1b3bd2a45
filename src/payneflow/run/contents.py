"""What each kind of result file says of itself, and whether it is whole: facts that JSON can hold (known.py).

Facts of a file: `problem`, what is wrong with it, "" for nothing; and as far as it says so by digest, what it was made
from or with, `grid`, `networks`, `label_errors`, `fits`, `settings` (trainer, settings and seed), its own `digest`,
`rows`.
Modules are loaded when a file of theirs is looked at: mostly all is known already.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from payneflow.errors import PayneflowError, SpectraError
from payneflow.label_names import PIECES
from payneflow.stored_tables import header_of_table

PNG = b"\x89PNG\r\n\x1a\n"  # how an image in this format begins


Facts = dict


def facts_of(path: Path, name: str, thorough: bool) -> Facts:
    """The facts of the file at `path`, which goes by `name` among the results.

    `thorough`: read chunk files whole, whose flux may be as large as the grid, and compare other tables with those in
    text; without, the checksums that say what else they hold are proved, and that all of it is there.
    """
    try:
        return {"problem": "", **_reader(name, thorough)(path)}
    except PayneflowError as error:
        return {"problem": str(error).removeprefix(f"{path}: ")}
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror or error}"}


def _reader(name: str, thorough: bool) -> Callable[[Path], Facts]:
    folder, _, file = name.rpartition("/")
    if file.endswith(".png"):
        return _image
    if folder == "chunks":
        return _chunk if thorough else _beginning_of_chunk
    if folder == "trained":
        return _trained
    if file.endswith(".fits"):
        return _fits_binary if thorough else _rows_of_fits_binary
    if file.endswith(".parquet"):
        return _parquet if thorough else _rows_of_parquet
    if file == "training_record.ecsv":
        return _record
    if file.endswith(f"{PIECES}.ecsv"):
        return _pieces if thorough else _header_of_fits
    if file.endswith(".ecsv"):
        return _fits if thorough else _header_of_fits
    return _READERS[file]


# --------------------------------------------------------------------------------------------- one function a kind


def _summary(path: Path) -> Facts:
    try:
        return {"grid": str(json.loads(path.read_bytes())["sha256"])}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PayneflowError(f"{path}: not the summary of a grid that payneflow check writes ({error!r}).") from None


def _beginning_of_chunk(path: Path) -> Facts:
    from payneflow.chunks.chunk import read_grid_and_training

    grid, settings = read_grid_and_training(path)
    return {"grid": grid, "settings": settings}


def _chunk(path: Path) -> Facts:
    from payneflow.chunks.chunk import read_chunk

    read_chunk(path)
    return _beginning_of_chunk(path)


def _trained(path: Path) -> Facts:
    from payneflow.chunks.trained import TrainedChunk

    chunk = TrainedChunk.read(path)
    return {"grid": chunk.grid_sha256, "settings": json.loads(chunk.settings)}


def _networks(path: Path) -> Facts:
    from payneflow.network import read_networks

    networks = read_networks(path)
    said = networks.provenance
    return {"grid": said.get("grid_sha256"), "settings": said.get("settings"), "digest": networks.digest}


def _evaluation(path: Path) -> Facts:
    from payneflow.evaluation import read_evaluation

    stored = read_evaluation(path)
    return {key: str(stored[key]) for key in ("grid", "networks") if key in stored}


def _page(path: Path) -> Facts:
    from payneflow.sealed import read_digests

    return dict(read_digests(path))


def _label_errors(path: Path) -> Facts:
    from payneflow.fitting.calibration import read_label_errors

    errors = read_label_errors(path)
    return {"grid": errors.provenance.get("grid_sha256"), "networks": errors.networks, "digest": errors.digest}


def _record(path: Path) -> Facts:
    meta = _meta(path, "a training record")
    return {key: meta.get(key) for key in ("grid", "networks")}


def _header_of_fits(path: Path) -> Facts:
    meta = _meta(path, "fits, as `payneflow fit` writes them (ecsv)")
    return {key: meta.get(key) for key in ("grid", "networks", "label_errors")} | {"rows": meta.get("n_row")}


def _fits(path: Path) -> Facts:
    from payneflow.fitting.results import read_result_blocks

    return _whole_table(path, read_result_blocks)


def _pieces(path: Path) -> Facts:
    from payneflow.fitting.results import read_piece_blocks

    return _whole_table(path, read_piece_blocks)


def _whole_table(path: Path, read: Callable[[Path], Iterator]) -> Facts:
    from payneflow.fitting.results import digest_of_values

    said = _header_of_fits(path)
    n_row, digest = digest_of_values(block.itercols() for block in read(path))
    if said["rows"] not in (None, n_row):
        raise SpectraError(f"{path}: {n_row} rows, but it was made with {said['rows']}.")
    return said | {"digest": digest}


def _rows_of_fits_binary(path: Path) -> Facts:
    from payneflow.fitting.fits_file import rows_of_fits_binary

    return {"rows": rows_of_fits_binary(path)}


def _fits_binary(path: Path) -> Facts:
    from payneflow.fitting.fits_file import blocks_of_fits_binary
    from payneflow.fitting.results import digest_of_values

    n_row, digest = digest_of_values(blocks_of_fits_binary(path))
    return {"rows": n_row, "digest": digest}


def _rows_of_parquet(path: Path) -> Facts:
    from payneflow.fitting.parquet_file import rows_of_parquet

    return {"rows": rows_of_parquet(path)}


def _parquet(path: Path) -> Facts:
    from payneflow.fitting.parquet_file import blocks_of_parquet
    from payneflow.fitting.results import digest_of_values

    n_row, digest = digest_of_values(blocks_of_parquet(path))
    return {"rows": n_row, "digest": digest}


def _image(path: Path) -> Facts:
    """A PNG has a CRC-32 of each of its pieces, the last of which says that it is the last."""
    content = path.read_bytes()
    place, kind, whole = len(PNG), b"", content.startswith(PNG)
    while whole and place < len(content) and kind != b"IEND":
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        end = place + 8 + length
        whole = zlib.crc32(content[place + 4 : end]) == int.from_bytes(content[end : end + 4], "big")
        place = end + 4
    if not whole or kind != b"IEND" or place != len(content):
        raise PayneflowError(f"{path}: not a whole PNG image. Draw it again with payneflow plot.")
    return {}


_READERS = {
    "grid_summary.json": _summary,
    "neural_network.npz": _networks,
    "evaluation.npz": _evaluation,
    "label_errors.npz": _label_errors,
    "explore.html": _page,
    "report.html": _page,
}


def _meta(path: Path, what: str) -> Facts:
    """The meta of a table whose checksum is right, without the table."""
    header = header_of_table(path, SpectraError, what)
    try:
        return dict(yaml.safe_load(header)["meta"])
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise SpectraError(f"{path}: its header cannot be read ({str(error)[:200]}); expected {what}.") from None
