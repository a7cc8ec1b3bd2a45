"""Which pixels are trained, and how they are cut into chunks: names and numbers, before any file is read."""

from dataclasses import dataclass

from payneflow.errors import SettingsError


@dataclass(frozen=True)
class PixelChunk:
    """A run of the requested pixels that one job trains: its name (also its file's) and its pixels in the grid."""

    name: str
    pixels: range


def parse_pixels(selection: str, n_pixel: int) -> range:
    """The pixels `start:stop:step` of a grid of `n_pixel`, read as Python reads a slice ("::" is all of them).

    Raises SettingsError where the selection is not of that form or holds no pixel.
    """
    form = 'expected "start:stop:step", such as "::" (all), "::8" (every 8th) or "100:200"'
    parts = str(selection).split(":")
    try:
        start, stop, step = (*(int(part) if part.strip() else None for part in parts), None, None)[:3]
    except ValueError:
        raise SettingsError(f"pixels is {selection!r}, {form}.") from None
    if not 2 <= len(parts) <= 3 or (step is not None and step < 1):
        raise SettingsError(f"pixels is {selection!r}, {form}, with a step of at least 1.")
    pixels = range(n_pixel)[start:stop:step]
    if not pixels:
        raise SettingsError(f"pixels is {selection!r}: that is none of the grid's {n_pixel} pixels; {form}.")
    return pixels


def plan_chunks(n_pixel: int, selection: str, chunk_size: int) -> list[PixelChunk]:
    """Cut the selected pixels of a grid of `n_pixel` into chunks of `chunk_size`, the last one shorter.

    Raises SettingsError for a selection or a size that makes no sense.
    """
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise SettingsError(f"chunk_size is {chunk_size!r}, expected a whole number of pixels of at least 1.")
    pixels = parse_pixels(selection, n_pixel)
    runs = (pixels[first : first + chunk_size] for first in range(0, len(pixels), chunk_size))
    digits = len(str(n_pixel - 1))
    step = f"-step{pixels.step}" if pixels.step > 1 else ""
    return [PixelChunk(f"pixel{run[0]:0{digits}d}-{run[-1]:0{digits}d}{step}", run) for run in runs]
