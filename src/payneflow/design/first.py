"""The first spectra of a new grid: well spread, at whatever number the computing ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from payneflow.design.region import Region
from payneflow.design.spread import spread_points


@dataclass(frozen=True, eq=False)
class Design:
    """Spectra to compute: labels (n, n_label) of `names` in `units`, (n_label,) each."""

    labels: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]


def first_spectra(region: Region, units: Sequence[str], n: int, seed: int = 0) -> Design:
    """n spectra that fill the region; see `spread_points`."""
    return Design(spread_points(region, n, seed), region.names, tuple(units))


def design_text(design: Design) -> str:
    """What a design holds, in a few lines."""
    lines = [f"{len(design.labels)} spectra of {len(design.names)} labels"]
    ends = zip(design.names, design.units, design.labels.min(axis=0), design.labels.max(axis=0), strict=True)
    lines += [f"  {name:<12}{low:10.5g} ... {high:<10.5g} {unit}".rstrip() for name, unit, low, high in ends]
    return "\n".join(lines)
