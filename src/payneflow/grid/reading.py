"""How a grid is to be taken: what its arrays do not say themselves. Settings of `check` and `split`.

Networks keep what they were trained with, so that no later command asks again.
"""

from typing import Literal

from payneflow.declaration import declare, setting
from payneflow.grid.sets import ALTERNATE

VACUUM, AIR = "vacuum", "air"
PUBLISHED, OF_GRID = "published", "grid"


@declare
class GridReading:
    """The settings of a run that say how its grid is taken; the defaults are published."""

    split: str = setting(
        ALTERNATE,
        "which spectra of each file train, the others test: alternate (0, 2, 4, ...), random (half, by the seed), or "
        "the name of an array in the grid that is true where a spectrum trains. `payneflow check` says where alternate "
        "does not suit the order of a grid",
        published=ALTERNATE,
        min_length=1,
        expected="alternate, random, or the name of an array in the grid",
    )
    flux_scale: Literal["published", "grid"] = setting(
        PUBLISHED,
        "what flux the networks can give: published, that of normalised spectra, -0.125 ... 1.125; grid, what the grid "
        "has, in any unit. Networks keep this scale; trunc_diff and the flux_error of test spectra are shares of it",
        published=PUBLISHED,
    )
    grid_medium: Literal["vacuum", "air"] = setting(
        VACUUM,
        "what the grid's wavelengths are measured in; those in air are converted, networks have wavelengths in vacuum",
    )


AS_PUBLISHED = GridReading()
