"""Windows: which wavelengths may inform a parameter of a fit, and which may not: as settings, and their file.

A window of `use` only names a range that may inform its label; a label with such windows is informed by no pixel
outside all of them. One of `use` never names a range that may not. `EVERY` label stands for all parameters and the
continuum: pixels that are closed to it take no part at all, as telluric lines should not. Ranges move with the `star`,
as its lines do, or stand still for the `observer`, as tellurics and detectors do.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import SettingsError

EVERY = "*"  # the label of windows of all parameters
ONLY, NEVER = USES = "only", "never"
STAR, OBSERVER = FRAMES = "star", "observer"
C_KM_S = 299792.458  # speed of light, exact
FITTED_VELOCITY = "RV"  # the velocity's name among the parameters (parameters.py)


@dataclass(frozen=True)
class Window:
    """The range `start` to `end`, both included, in Angstrom in vacuum, that may inform `label`, or may never.

    `label`: of the networks, vsini, vmac or RV; "*" for all together. `use`: "only" or "never". `frame`: "star", at
    rest with the star, or "observer". Raises SettingsError naming what cannot be meant.
    """

    label: str
    start: float
    end: float
    use: str = ONLY
    frame: str = STAR

    def __post_init__(self):
        for name, choices in (("use", USES), ("frame", FRAMES)):
            if getattr(self, name) not in choices:
                raise SettingsError(
                    f"the window of {self.label} has the {name} {getattr(self, name)!r}, expected {choices[0]} or "
                    f"{choices[1]}."
                )
        for name in ("start", "end"):
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not 0.0 < value < np.inf:
                raise SettingsError(
                    f"the window of {self.label} has the {name} {value!r}, expected Angstrom, in vacuum: a number "
                    "above 0."
                )
            object.__setattr__(self, name, float(value))
        if not self.start < self.end:
            raise SettingsError(f"the {self} has its start at or behind its end, expected a range.")

    def __str__(self) -> str:
        return f"window {self.start:g} to {self.end:g} A of {self.label} ({self.use}, {self.frame})"

    def holds(self, observed: np.ndarray, at_rest: np.ndarray) -> np.ndarray:
        """(n,) bool: which pixels lie in it; their wavelengths (n,) as observed and in the rest frame of the star."""
        wavelength = at_rest if self.frame == STAR else observed
        return (wavelength >= self.start) & (wavelength <= self.end)


def to_rest_frame(wavelength: np.ndarray, velocity: float) -> np.ndarray:
    """Observed wavelengths (n,) as the star, moving away at `velocity` km/s, sees them."""
    return wavelength * np.sqrt((1.0 - velocity / C_KM_S) / (1.0 + velocity / C_KM_S))


def may_inform(windows: Sequence[Window], label: str, observed: np.ndarray, at_rest: np.ndarray) -> np.ndarray:
    """(n,) bool: which pixels the windows of `label` itself let inform it; arguments as of `Window.holds`."""
    own = [window for window in windows if window.label == label]
    informs = np.ones(len(observed), dtype=bool)
    if any(window.use == ONLY for window in own):
        informs[:] = False
    for window in own:
        if window.use == ONLY:
            informs |= window.holds(observed, at_rest)
    for window in own:
        if window.use == NEVER:
            informs &= ~window.holds(observed, at_rest)
    return informs


def hidden(windows: Sequence[Window], wavelength: np.ndarray, velocity: float) -> np.ndarray:
    """(n,) bool: which of the pixels at observed wavelengths (n,) may inform nothing, for a star with `velocity`."""
    return ~may_inform(windows, EVERY, wavelength, to_rest_frame(wavelength, velocity))


def digest(windows: Sequence[Window]) -> str:
    """What tells sets of windows apart, whatever their order."""
    rows = sorted(repr(astuple(window)) for window in windows)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------- what is wrong


def problem_of_repeated(windows: Sequence[Window]) -> str:
    """That a window stands there twice; "" where none does."""
    twice = [window for i, window in enumerate(windows) if window in windows[:i]]
    return f"the {twice[0]} is given twice: remove one." if twice else ""


def problems_of_windows(
    windows: Sequence[Window],
    whose: str,
    names: Sequence[str],
    held: Sequence[str],
    wavelength: np.ndarray,
    away: float,
) -> list[str]:
    """What cannot work with the parameters `names`, of which some are `held`, and pixels at `wavelength` (n,) at rest.

    `away`: km/s that a star may move, by which a window of the observer may lie beside the pixels.
    """
    problems = []
    for label in dict.fromkeys(window.label for window in windows):
        if label == EVERY:
            continue
        if label not in names:
            close = difflib.get_close_matches(label, names, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]}?" if close else ""
            problems.append(f"windows name the label {label!r}; {whose} have {', '.join(names)}, and * for all.{hint}")
        elif label in held:
            problems.append(f"windows name {label}, which is held: leave them out, or fit it.")
    factor = 1.0 + away / C_KM_S
    for window in windows:
        wider = factor if window.frame == OBSERVER else 1.0
        if not ((wavelength * wider >= window.start) & (wavelength / wider <= window.end)).any():
            problems.append(
                f"windows: the {window} holds no pixel; {whose} have pixels from {wavelength.min():.2f} to "
                f"{wavelength.max():.2f} A in vacuum. Correct it (Angstrom, vacuum), or leave it out."
            )
    return problems or _labels_without_pixels(windows, whose, wavelength)


def _labels_without_pixels(windows: Sequence[Window], whose: str, wavelength: np.ndarray) -> list[str]:
    """Labels that no pixel may inform, of a star at rest."""
    everywhere = may_inform(windows, EVERY, wavelength, wavelength)
    labels = dict.fromkeys(window.label for window in windows)
    return [
        f"windows leave no pixel of {whose} that may inform {'anything' if label == EVERY else label}: make them "
        "wider, or hold the label."
        for label in labels
        if not (everywhere & may_inform(windows, label, wavelength, wavelength)).any()
    ]


# ------------------------------------------------------------------------------------------------------------ the file

_WHAT = "a table of windows (ECSV) with the columns label, start, end, use and frame"
_COLUMNS = {"label": "U", "start": "f", "end": "f", "use": "U", "frame": "U"}


def read_windows(path: str | Path) -> tuple[Window, ...]:
    """Read windows from a table (ECSV) with the columns `label`, `start`, `end` (Angstrom in vacuum), `use`, `frame`.

    Raises SettingsError naming file and row where it is missing, is no such table, or a row cannot be meant.
    """
    from payneflow.stored_tables import read_table

    table = read_table(path, SettingsError, _WHAT, _COLUMNS, {})
    for name in ("start", "end"):
        if table[name].unit not in (None, "Angstrom"):
            raise SettingsError(f"{path}: {name} is in {table[name].unit}, expected Angstrom, in vacuum: convert it.")
    if not len(table):
        raise SettingsError(f"{path}: no row; expected {_WHAT}, one row a window.")
    windows: list[Window] = []
    for i, row in enumerate(table.iterrows(*_COLUMNS), start=1):
        try:
            label, start, end, use, frame = row
            windows.append(Window(str(label), start, end, str(use), str(frame)))
        except SettingsError as error:
            raise SettingsError(f"{path}, row {i}: {error}") from None
        if problem_of_repeated(windows):
            raise SettingsError(f"{path}, row {i}: {problem_of_repeated(windows)}")
    return tuple(windows)
