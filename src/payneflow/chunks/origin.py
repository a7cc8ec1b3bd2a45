"""Where a chunk belongs, as its file and that of its networks say it; no numba, for `payneflow status`."""

import numpy as np

from payneflow.grid.reading import AIR, VACUUM
from payneflow.stored_arrays import Array, Arrays

# its pixels, and how the grid was taken that they are of
ORIGIN_OF_CHUNK = (
    Array("chunk", "U"),
    Array("pixels", "i", ("n_pixel",), least=0, unique=True),
    Array("requested", "i", (3,), least=0),
    Array("trains", "b", ("n_spectrum",)),
    Array("flux_scale", "f", (2,), finite=True),
    Array("split_name", "U"),
    Array("grid_medium", "U", choices=(VACUUM, AIR)),
    Array("grid_sha256", "U"),
    # of the spectra, where the grid says it: one number, or one for each pixel
    Array("grid_resolution", "f", finite=True, positive=True, optional=True),
    Array("resolution", "f", ("n_pixel",), finite=True, positive=True, optional=True),
    Array("preparation_note", "U"),
)


def problem_of_requested(stored: Arrays) -> str:
    """Start, stop and step of a slice that holds a pixel."""
    start, stop, step = stored["requested"].tolist()
    good = step > 0 and start < stop
    return "" if good else f"requested is {start}, {stop}, {step}, expected start, a larger stop, and a positive step"


def problem_of_resolution(stored: Arrays) -> str:
    both = "grid_resolution" in stored and "resolution" in stored
    return "it has grid_resolution and resolution, expected one of them" if both else ""


def stored_resolution(resolution: float | np.ndarray, pixels: range | slice = slice(None)) -> Arrays:
    """What a file of these `pixels` says of R, a number or one for each of an axis; nothing where R is 0, not known."""
    if not np.any(resolution):
        return {}
    return {"grid_resolution": np.array(resolution)} if np.ndim(resolution) == 0 else {"resolution": resolution[pixels]}


def resolution_of(stored: Arrays) -> float | np.ndarray:
    """R that a file of pixels says: a number, (n_pixel,), or 0 where it says none."""
    return stored["resolution"] if "resolution" in stored else float(stored.get("grid_resolution", 0.0))
