"""What is fitted and how, with every value checked before the first spectrum is touched."""

from dataclasses import dataclass, field
from math import inf, isfinite

from payneflow.errors import SettingsError
from payneflow.network import PixelNetworks

MOST_TERMS = 32  # of a continuum: more are unstable in single precision, and no continuum of a segment needs them
FASTEST = 30000.0  # km/s, a tenth of the speed of light: no star


@dataclass(frozen=True)
class FitSettings:
    """What is fitted to each spectrum. Raises SettingsError naming the setting that cannot work.

    `fixed`: labels that are held, {name: value in the label's unit, or None for each spectrum's own value in `start`}.
    `priors`: Gaussian priors, {name: (mean, sigma)} in the label's unit.
    `velocity`: fit the radial velocity, found within `max_velocity` km/s of zero.
    `continuum`: Chebyshev terms of the continuum of each detector segment, solved with the labels; 0: the spectra are
    normalised as those of the grid are.
    `n_starts`: label starts of each fit, of which the best end is kept.
    `tolerance`: how far from the true minimum of chi2 a fit may end, in units of the labels' 1 sigma errors.
    `emulator_error`: add the square of the emulator's own error (`PixelNetworks.flux_error`) to the variance of each
    pixel.
    `most_iterations`: passes over a spectrum after which a fit stops, NOT_CONVERGED; most fits need 3 to 8.
    """

    fixed: dict[str, float | None] = field(default_factory=dict)
    priors: dict[str, tuple[float, float]] = field(default_factory=dict)
    velocity: bool = False
    max_velocity: float = 500.0
    continuum: int = 0
    n_starts: int = 1
    tolerance: float = 1e-3
    emulator_error: bool = True
    most_iterations: int = 100

    def __post_init__(self):
        _check_whole("continuum", self.continuum, 0, MOST_TERMS)
        _check_whole("n_starts", self.n_starts, 1, 1000)
        _check_whole("most_iterations", self.most_iterations, 2, 10**6)
        _check_number("max_velocity", self.max_velocity, 0.0, FASTEST)
        _check_number("tolerance", self.tolerance, 0.0, 0.5)
        for name in ("velocity", "emulator_error"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} is {getattr(self, name)!r}: expected true or false.")
        for name, value in self.fixed.items():
            if value is not None:
                _check_number(f"fixed {name}", value, -inf, inf)
        for name, prior in self.priors.items():
            if not isinstance(prior, list | tuple) or len(prior) != 2:
                raise SettingsError(f"priors {name} is {prior!r}: expected a pair, the mean and the sigma.")
            _check_number(f"priors {name}: mean", prior[0], -inf, inf)
            _check_number(f"priors {name}: sigma", prior[1], 0.0, inf)
        both = set(self.fixed) & set(self.priors)
        if both:
            raise SettingsError(f"fixed and priors both name {min(both)}: a label that is held has no prior.")

    def check_labels(self, networks: PixelNetworks) -> None:
        """Raise SettingsError where a setting names no label of the networks, or holds one beyond the bounds."""
        for setting in ("fixed", "priors"):
            for name in getattr(self, setting):
                if name not in networks.label_names:
                    known = ", ".join(networks.label_names)
                    raise SettingsError(f"{setting} names the label {name!r}; the networks have {known}.")
        width = networks.scaler.width
        for name, value in self.fixed.items():
            if value is None:
                continue
            j = networks.label_names.index(name)
            lowest, highest = networks.x_min[j] - 0.1 * width[j], networks.x_max[j] + 0.1 * width[j]
            if not lowest <= value <= highest:
                unit = networks.label_units[j]
                raise SettingsError(
                    f"fixed {name} is {value:g} {unit}: beyond the bounds of a fit, {lowest:g} to {highest:g} {unit}."
                )

    def mode(self, label_names: tuple[str, ...]) -> str:
        """What is fitted, as a short text that is the same for fits whose label errors are alike.

        Such as `labels Teff logg [Fe/H]; velocity; continuum 4`: the labels that are not fixed, and what else.
        """
        fitted = [name for name in label_names if name not in self.fixed]
        parts = [" ".join(["labels", *fitted])]
        if self.velocity:
            parts.append("velocity")
        if self.continuum:
            parts.append(f"continuum {self.continuum}")
        return "; ".join(parts)


def _check_whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SettingsError(f"{name} is {value!r}: expected a whole number from {least} to {most}.")


def _check_number(name: str, value: float, above: float, most: float) -> None:
    number = not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value)
    if not number or not above < value <= most:
        limits = f" above {above:g}" if above > -inf else ""
        limits += f" and at most {most:g}" if most < inf else ""
        raise SettingsError(f"{name} is {value!r}: expected a number{limits}.")
