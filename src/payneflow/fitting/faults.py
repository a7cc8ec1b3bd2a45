"""Faults of the model that all stars of a survey share, as they were learned from stars: what a fit knows of them.

Lines that are missing from the grid, too deep or too weak, are the same in all stars. In the stars' rest frame, on the
networks' pixels, the flux of a star less the model's has

- an offset, common to all stars, and how it grows with their labels, each with its error in each pixel;
- doubts: ways in which the offsets of all pixels may be wrong together, because labels of all stars would hide them;
- a scatter from star to star, correlated between neighbouring pixels, and components, in which far ones go together.

fault_learning.py learns them, fault_fits.py makes fits know them.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from payneflow.errors import CalibrationError
from payneflow.network import Networks
from payneflow.stored_arrays import Array, Arrays, FileOf

MOST_LAG = 8  # pixels over which the scatter's correlation is known
WIDEST = 2.0  # spreads of the size of faults that a star may have; beyond it is no ordinary star
STEPS = np.linspace(-1.0, 1.0, 41)  # of WIDEST spreads, among which a star's own size is looked for


@dataclass(frozen=True, eq=False)
class AtStar:
    """Faults at the labels of one star: `offset` (n_pixel,), `variance` (n_pixel,), of which `scatter` (n_pixel,)^2
    is correlated between neighbours, and `together` (n_vector, n_pixel), each with an amplitude of normal width 1, of
    which the first `n_doubt` are doubts.
    """

    offset: np.ndarray
    variance: np.ndarray
    scatter: np.ndarray
    together: np.ndarray
    n_doubt: int

    def times(self, size: float) -> "AtStar":
        """The same with all that no amplitude tells so many times as large."""
        vectors = np.where(np.arange(len(self.together))[:, None] < self.n_doubt, size, 1.0) * self.together
        return AtStar(self.offset, size**2 * self.variance, size * self.scatter, vectors, self.n_doubt)


@dataclass(frozen=True, eq=False)
class FaultEffect:
    """What faults do to the quality of n fits: `covariance` (n, n_parameter, n_parameter) to be added to that of the
    parameters as a search moves them; `usual_chi2`, chi2/dof that an ordinary star may have; `growth` (n,), by which
    the variance of scores exceeds that of noise.
    """

    covariance: np.ndarray
    usual_chi2: float
    growth: np.ndarray


@dataclass(frozen=True, eq=False)
class ModelFaults:
    """What fits know of the faults of `networks` (their digest); all in units of the networks' flux.

    `offset`, `offset_error` (n_basis, n_pixel), `doubt` (n_doubt, n_basis, n_pixel): the fault of a star is the sum of
    them times `basis` (n_basis, 1 + n_label) applied to 1 and its scaled labels, taken within `label_range`
    (2, n_label), those of the stars that were learned from. `scatter` (n_pixel,), `correlation` (MOST_LAG + 1,) between
    pixels 0, 1, ... apart, `components` (n_component, n_pixel). `usual_chi2`: what chi2/dof of an ordinary star may be.
    `spread`: of the logarithm of how large the faults of a star are, relative to what is said here; a star has the size
    within WIDEST of it that makes its spectrum most likely.
    `mask`: pixels with larger faults take no part in fits. `correct`: the offset is subtracted; else it is an
    error of unknown sign and size, up to about itself, which each star tells. `provenance`: how it was learned.
    """

    offset: np.ndarray
    offset_error: np.ndarray
    doubt: np.ndarray
    basis: np.ndarray
    label_range: np.ndarray
    scatter: np.ndarray
    correlation: np.ndarray
    components: np.ndarray
    usual_chi2: float
    spread: float
    networks: str
    provenance: dict = field(default_factory=dict)
    mask: float = np.inf
    correct: bool = False

    @property
    def none(self) -> bool:
        """Are there no faults? Fits that know them are then as they would be without."""
        return not self.offset.any() and not self.scatter.any() and not self.components.any()

    @property
    def size(self) -> np.ndarray:
        """(n_pixel,) rms of the faults of a star with the mean labels of those learned from."""
        together = (self.components**2).sum(axis=0) + (self.doubt[:, 0] ** 2).sum(axis=0)
        return np.sqrt(self.offset[0] ** 2 + self.offset_error[0] ** 2 + self.scatter**2 + together)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what was learned and how it is used, in hexadecimal."""
        total = hashlib.sha256(f"{self.networks} {self.mask} {self.correct} {self.usual_chi2} {self.spread}".encode())
        for array in _LEARNED:
            total.update(np.ascontiguousarray(getattr(self, array), dtype=float))
        return total.hexdigest()

    def at(self, scaled: np.ndarray) -> AtStar:
        """At scaled labels (n_label,)."""
        inside = np.clip(scaled, *self.label_range)
        share = self.basis @ np.append(1.0, inside)
        offset = share @ self.offset
        variance = self.scatter**2 + share**2 @ self.offset_error**2
        doubt = np.einsum("b,dbk->dk", share, self.doubt)
        together = np.concatenate([doubt, self.components])
        if not self.correct:
            together = np.concatenate([together, offset[None]])
        offset = offset if self.correct else np.zeros_like(offset)
        return AtStar(offset, variance, self.scatter, together, len(doubt))

    def own_size(self, square: np.ndarray, noise: np.ndarray, faults: np.ndarray) -> float:
        """How large the faults of a star are that has these squares of its residual (n,), variances of its noise (n,)
        and of faults (n,), of size 1.
        """
        sizes = np.exp(WIDEST * self.spread * STEPS)
        total = noise + sizes[:, None] ** 2 * faults
        chance = -0.5 * (np.log(total) + square / total).sum(axis=1) - 0.5 * (WIDEST * STEPS) ** 2
        return float(sizes[chance.argmax()])

    def check(self, networks: Networks) -> None:
        """Raise CalibrationError unless these are the faults of `networks`."""
        if self.networks != networks.digest:
            raise CalibrationError(
                "the faults of the model are those of other networks (other weights) than the ones that fit: run "
                "`payneflow mismatch` with best fits of these networks."
            )


# ----------------------------------------------------------------------------------------------------------- the file

_LEARNED = ("offset", "offset_error", "doubt", "basis", "label_range", "scatter", "correlation", "components")
FARTHEST = 1e9  # that numbers are from 0


def _numbers(key: str, shape: tuple[str | int, ...], least: float | None = None) -> Array:
    return Array(key, "f", shape, finite=True, farthest=FARTHEST, least=least)


def _problem_of_basis(stored: Arrays) -> str:
    n_label = stored["label_range"].shape[1]
    if stored["basis"].shape[1] != 1 + n_label:
        return f"basis has {stored['basis'].shape[1]} columns, expected {1 + n_label}, one more than label_range has"
    low, high = stored["label_range"]
    return "" if (low <= high).all() else "label_range has a least label above the largest"


_FILE = FileOf(
    what="faults of the model, as `payneflow mismatch` writes them",
    again="Run `payneflow mismatch` again.",
    error=CalibrationError,
    version=1,
    checksum_since=1,
    oldest=1,
    may_be_none=("n_doubt", "n_component"),
    arrays=(
        _numbers("offset", ("n_basis", "n_pixel")),
        _numbers("offset_error", ("n_basis", "n_pixel"), 0.0),
        _numbers("doubt", ("n_doubt", "n_basis", "n_pixel")),
        _numbers("basis", ("n_basis", "n_column")),
        _numbers("label_range", (2, "n_label")),
        _numbers("scatter", ("n_pixel",), 0.0),
        _numbers("correlation", (MOST_LAG + 1,)),
        _numbers("components", ("n_component", "n_pixel")),
        _numbers("usual_chi2", (), 1.0),
        _numbers("spread", (), 0.0),
        Array("networks", "U"),
        Array("provenance", "U", json=True),
    ),
    relations=(_problem_of_basis,),
)


def write_faults(faults: ModelFaults, path: str | Path) -> None:
    """Write faults (npz), whole or not at all; how fits are to use them is not part of the file."""
    arrays = {key: getattr(faults, key) for key in _LEARNED}
    told = {key: np.array(getattr(faults, key)) for key in ("usual_chi2", "spread", "networks")}
    _FILE.write(path, {**arrays, **told, "provenance": np.array(json.dumps(faults.provenance, sort_keys=True))})


def read_faults(path: str | Path) -> ModelFaults:
    """Read what `write_faults` wrote.

    Raises CalibrationError naming file and key where it is missing, damaged, of a newer format, or inconsistent.
    """
    stored = _FILE.read(path)
    return ModelFaults(
        **{key: stored[key] for key in _LEARNED},
        usual_chi2=float(stored["usual_chi2"]),
        spread=float(stored["spread"]),
        networks=str(stored["networks"]),
        provenance=json.loads(str(stored["provenance"])),
    )
