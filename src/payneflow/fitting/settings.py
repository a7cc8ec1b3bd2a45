"""What is fitted and how, with every value checked before the first spectrum is touched."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, Strict

from payneflow.declaration import declare, setting
from payneflow.errors import SettingsError
from payneflow.fitting.windows import FITTED_VELOCITY, Window, digest, problem_of_repeated, problems_of_windows
from payneflow.network import PixelNetworks

MOST_TERMS = 32  # of a continuum: more are unstable in single precision, and no continuum of a segment needs them
FASTEST = 30000.0  # km/s, a tenth of the speed of light: no star
BROADENINGS = "vsini", "vmac"  # their order in tables and in the parameters of a fit
BROADEST = 1000.0  # km/s: faster than any star rotates
AND, RESOLUTION = "; ", "resolution "  # between what a mode says, and before R that it says
HELD = " held"  # what a mode says of a broadening that is not fitted
LEAST_ESS = 200.0  # effective draws from a posterior: with fewer a sampler goes on, and percentiles are rough
RADIAL_TANGENTIAL, GAUSSIAN = "radial-tangential", "gaussian"


_Prior = Annotated[tuple[float, Annotated[float, Field(gt=0)]], Strict(False)]  # not strict: a list is a pair, too
_Windows = Annotated[tuple[Window, ...], Strict(False)]


@declare
class FitSettings:
    """What is fitted to each spectrum. Raises SettingsError naming the setting that cannot work.

    `fixed`: labels that are held, {name: value in the label's unit, or None for each spectrum's own value in `start`},
    and broadenings, {"vsini": 12.0} in km/s.
    `priors`: Gaussian priors, {name: (mean, sigma)} in the label's unit; a broadening that has one is fitted.
    `emulator_error`: add the square of the emulator's own error (`PixelNetworks.emulator_rms`) to the variance of each
    pixel.
    `windows`: which wavelengths may inform a label, or may not (windows.py); of a table, `read_windows(path)`.
    """

    fixed: dict[str, float | None] = setting(
        dict,
        "what is held, each label in its unit, vsini and vmac in km/s, such as {logg: 2.5}",
        expected="a number in the label's unit",
        option="--fix",
        metavar="LABEL=VALUE",
    )
    priors: dict[str, _Prior] = setting(
        dict,
        "Gaussian priors, mean and sigma, such as {Teff: [5000, 100]}",
        expected="a pair, the mean and the sigma, a number above 0",
        option="--prior",
        metavar="LABEL=MEAN,SIGMA",
    )
    velocity: bool = setting(False, "fit the radial velocity with the labels")
    max_velocity: float = setting(
        500.0, "it is searched from minus to plus this", unit="km/s", gt=0, le=FASTEST, metavar="V"
    )
    vsini: bool = setting(False, "fit the rotation v sin i with the labels")
    vmac: bool = setting(False, "fit the macroturbulence with the labels")
    max_vsini: float = setting(
        100.0, "largest v sin i of a fit; the edges of detectors lose as much", unit="km/s", gt=0, le=BROADEST
    )
    max_vmac: float = setting(
        20.0, "largest macroturbulence of a fit; edges lose three times as much", unit="km/s", gt=0, le=BROADEST
    )
    epsilon: float = setting(0.6, "linear limb darkening of the rotation profile", ge=0, le=1)
    vmac_kind: Literal["radial-tangential", "gaussian"] = setting(
        RADIAL_TANGENTIAL, "profile of the macroturbulence; gaussian is exp(-(v/vmac)^2)"
    )
    resolution: float = setting(
        0.0, "R of the spectra, where it is less than that of the networks' grid; 0: the same", ge=0, metavar="R"
    )
    grid_resolution: float = setting(
        0.0, "R of the networks' grid, where their file does not say it; 0: as it says", ge=0, metavar="R"
    )
    continuum: int = setting(
        0,
        "Chebyshev terms of the continuum of each detector segment; 0: spectra are normalised",
        ge=0,
        le=MOST_TERMS,
    )
    n_starts: int = setting(1, "starts of a fit, of which the best end is kept", ge=1, le=1000)
    tolerance: float = setting(0.001, "how far from the minimum a fit may end, in sigma of the labels", gt=0, le=0.5)
    emulator_error: bool = setting(True, "add the networks' own error to the errors of the pixels")
    pairs: bool = setting(True, "look for a second star in fits with a velocity: DOUBLE_LINED, RV1, RV2, light_ratio")
    posterior: bool = setting(
        False, "also draw from the posterior, for its percentiles; a hundred times the time of a fit"
    )
    posterior_seed: int = setting(0, "seed of the draws from the posterior", ge=0, in_config=False)
    most_iterations: int = setting(
        100,
        "passes over a spectrum after which a fit stops, NOT_CONVERGED; most fits need 3 to 8",
        ge=2,
        le=10**6,
        in_config=False,
    )
    windows: _Windows = setting(
        (),
        "a table of which wavelengths may inform a label (ECSV; docs/fitting.md)",
        expected="a list of Window, or what read_windows gives",
        metavar="FILE",
        in_config=False,
    )

    def check(self) -> None:
        both = set(self.fixed) & set(self.priors)
        if both:
            raise ValueError(f"fixed and priors both name {min(both)}: a label that is held has no prior.")
        repeated = problem_of_repeated(self.windows)
        if repeated:
            raise ValueError(repeated)
        if 0.0 < self.grid_resolution <= self.resolution:
            raise ValueError(
                f"resolution is {self.resolution:g}, expected less than that of the grid, {self.grid_resolution:g}: "
                "sharper data than the grid cannot be fitted with it."
            )

    def broadenings(self, label_names: Sequence[str]) -> tuple[str, ...]:
        """Those of BROADENINGS that are fitted or held. One that the grid has as a label is that label."""
        named = {name for name in BROADENINGS if getattr(self, name)} | set(self.fixed) | set(self.priors)
        return tuple(name for name in BROADENINGS if name in named and name not in label_names)

    def broadest(self, name: str) -> float:
        """The largest width of a broadening, km/s: that at which it is held, or that of the setting."""
        held = self.fixed.get(name)
        return getattr(self, f"max_{name}") if held is None else held

    def check_labels(self, networks: PixelNetworks) -> None:
        """Raise SettingsError where a setting names no label of the networks, or holds one beyond the bounds."""
        x_min, x_max = networks.x_min, networks.x_max
        problems = self.problems_of_labels("the networks", networks.label_names, networks.label_units, x_min, x_max)
        known = networks.wavelength[networks.has_network]
        problems += self.problems_of_windows("the networks", networks.label_names, known)
        if problems:
            raise SettingsError(" ".join(problems))

    def problems_of_labels(
        self, whose: str, names: Sequence[str], units: Sequence[str], x_min: np.ndarray, x_max: np.ndarray
    ) -> list[str]:
        """What cannot work with these labels: one that is unknown, or is held beyond the bounds of a fit.

        `x_min`, `x_max` (n_label,) of the training labels in their units. A fit leaves them by a tenth of their width.
        """
        problems = self._problems_of_broadenings(whose, names)
        for name in (*self.fixed, *self.priors):
            if name not in names and name not in BROADENINGS:
                close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
                hint = f" Did you mean {close[0]}?" if close else ""
                where = "fixed" if name in self.fixed else "priors"
                problems.append(f"{where} names the label {name!r}; {whose} have {', '.join(names)}.{hint}")
        for name, value in self.fixed.items():
            if value is None or name not in names:
                continue
            j = list(names).index(name)
            margin = 0.1 * (x_max[j] - x_min[j])
            lowest, highest, unit = x_min[j] - margin, x_max[j] + margin, units[j]
            if not lowest <= value <= highest:
                problems.append(
                    f"fixed {name} is {value:g} {unit}: beyond the bounds of a fit, {lowest:g} to {highest:g} {unit}."
                )
        return problems

    def problems_of_windows(self, whose: str, names: Sequence[str], wavelength: np.ndarray) -> list[str]:
        """What windows cannot work with these labels and pixels (n_pixel,) in Angstrom, vacuum."""
        if not self.windows or not len(wavelength):
            return []
        parameters = [*names, *self.broadenings(names), *([FITTED_VELOCITY] * self.velocity)]
        away = self.max_velocity if self.velocity else 0.0
        return problems_of_windows(self.windows, whose, parameters, list(self.fixed), wavelength, away)

    def _problems_of_broadenings(self, whose: str, names: Sequence[str]) -> list[str]:
        problems = []
        for name in BROADENINGS:
            if name in names:
                if getattr(self, name):
                    problems.append(
                        f"{name} is to be fitted, but {whose} have a label of that name, which is fitted anyway: "
                        f"leave {name} out, or give the label another name."
                    )
                continue
            most = getattr(self, f"max_{name}")
            if getattr(self, name) and name in self.fixed:
                problems.append(f"{name} is to be fitted, and fixed holds it: choose one.")
            held = self.fixed.get(name, 0.0)
            if held is None or not 0.0 <= held <= BROADEST:
                problems.append(f"fixed {name} is {held}, expected a number from 0 to {BROADEST:g} km/s.")
            if name in self.priors and not 0.0 <= self.priors[name][0] <= most:
                problems.append(
                    f"priors have {name} at {self.priors[name][0]:g} km/s, expected 0 to max_{name}, {most:g} km/s."
                )
        return problems

    def mode(self, label_names: tuple[str, ...]) -> str:
        """What is fitted, as a short text that is the same for fits whose label errors are alike.

        Such as `labels Teff logg [Fe/H]; velocity; continuum 4`: the labels that are not fixed, and what else.
        """
        fitted = [name for name in label_names if name not in self.fixed]
        parts = [" ".join(["labels", *fitted])]
        if self.velocity:
            parts.append("velocity")
        for name in self.broadenings(label_names):
            parts.append(f"{name}{HELD}" if name in self.fixed else name)
        if self.resolution:
            parts.append(f"{RESOLUTION}{self.resolution:g}")
        if self.continuum:
            parts.append(f"continuum {self.continuum}")
        if self.windows:
            parts.append(f"windows {digest(self.windows)}")
        return AND.join(parts)
