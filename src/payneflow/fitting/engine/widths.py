"""What a search moves in place of a width, which has no derivative at 0.

It is p, in places, with width^2 = p^2 + 2 p SOFT + FLOOR^2: at 0 the flux changes as p does, because it changes as
width^2 does, and far from 0 p is a width less SOFT. So a bound at p = 0 is like any other bound.
"""

from typing import Any

import numpy as np

from payneflow.simd import inlined

SOFT = 1.5  # places: about half a resolution element, where a width begins to be felt as such
FLOOR = 0.01  # places: what a width of 0 is taken for, 4e-6 of the flux at most


def to_parameter(width: Any) -> Any:
    """Width in places -> the parameter that a search moves."""
    return np.sqrt(np.maximum(np.square(width), FLOOR**2) + SOFT**2 - FLOOR**2) - SOFT


def to_width(parameter: Any) -> Any:
    """The parameter that a search moves -> width in places, 0 for parameter 0."""
    return np.where(parameter > 0.0, np.sqrt(parameter * (parameter + 2.0 * SOFT) + FLOOR**2), 0.0)


@inlined
def floored_width(p):
    """The width in places that the kernels take for the parameter p: FLOOR where p is 0."""
    return (p * (p + 2.0 * SOFT) + FLOOR * FLOOR) ** 0.5
