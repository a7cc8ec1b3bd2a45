"""What the headers of a FITS file say of sizes, before astropy believes it: it would count to any number of axes."""

import bz2
import gzip
import lzma
import math
from pathlib import Path
from typing import BinaryIO

from payneflow.errors import SpectraError

BLOCK, CARD = 2880, 80  # bytes (FITS standard 4.0, section 3.1)
MOST = {"NAXIS": 999, "TFIELDS": 999}  # axes and columns (sections 4.4.1 and 7.3.1)
MOST_BLOCKS = 10_000  # of one header; 360 000 keywords
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def check_headers(path: Path) -> None:
    """Raise SpectraError where a header has more axes, columns or keywords than any; all else is left to astropy."""
    with open(path, "rb") as stream:
        begin = stream.read(6)
    opened = next((opened for magic, opened in _OPENERS.items() if begin.startswith(magic)), open)
    try:
        with opened(path, "rb") as stream:
            number = 0
            while said := _numbers_of(path, number, stream):
                sizes = [said.get(f"NAXIS{axis + 1}", 0) for axis in range(said.get("NAXIS", 0))]
                values = said.get("GCOUNT", 1) * (said.get("PCOUNT", 0) + (math.prod(sizes) if sizes else 0))
                n_block = math.ceil(abs(said.get("BITPIX", 8)) * values / (8 * BLOCK))
                if n_block < 0:
                    return
                stream.seek(n_block * BLOCK, 1)
                number += 1
    except (OSError, EOFError, ValueError, OverflowError, lzma.LZMAError):  # astropy says what is wrong
        return


def _numbers_of(path: Path, number: int, stream: BinaryIO) -> dict[str, int]:
    """Whole numbers of the next header by their keywords; {} where there is none."""
    said: dict[str, int] = {}
    for _ in range(MOST_BLOCKS):
        block = stream.read(BLOCK)
        if block.startswith(b"XTENSION=") and not block[10:CARD].lstrip().startswith(b"'"):  # astropy has no end of it
            raise SpectraError(f"{path}: XTENSION of HDU {number} is no text; expected a kind of HDU. Is it damaged?")
        cards = [block[i : i + CARD] for i in range(0, len(block), CARD)]
        for card in cards:
            name, value = card[:8].decode("ascii", "replace").strip(), card[10:].partition(b"/")[0].strip()
            if name in ("BITPIX", "GCOUNT", "PCOUNT", "TFIELDS") or name.startswith("NAXIS"):
                said[name] = int(value) if value.lstrip(b"+-").isdigit() else 0
            if said.get(name, 0) > MOST.get(name, math.inf):
                raise SpectraError(
                    f"{path}: {name} of HDU {number} is {said[name]}; expected at most {MOST[name]}. Is "
                    "the file damaged?"
                )
        if len(block) < BLOCK:
            return {}
        if any(card.rstrip() == b"END" for card in cards):
            return said
    raise SpectraError(
        f"{path}: the header of HDU {number} does not end within {MOST_BLOCKS * BLOCK} bytes; expected a FITS file. "
        "Is it damaged?"
    )
