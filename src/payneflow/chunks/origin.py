"""Where a chunk belongs, as its file and that of its networks say it; no numba, for `payneflow status`."""

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
    Array("preparation_note", "U"),
)


def problem_of_requested(stored: Arrays) -> str:
    """Start, stop and step of a slice that holds a pixel."""
    start, stop, step = stored["requested"].tolist()
    good = step > 0 and start < stop
    return "" if good else f"requested is {start}, {stop}, {step}, expected start, a larger stop, and a positive step"
