"""What broadens the lines of a star beyond those of the networks' grid: rotation, macroturbulence, the instrument.

Each is a convolution in ln(wavelength) with a kernel of its own, one after the other. That of the instrument is what
it has beyond the grid: the difference of both squares of resolution, as Gaussians add.
"""

from dataclasses import dataclass

import numpy as np

from payneflow.errors import SettingsError
from payneflow.fitting.engine.broaden import Broadening
from payneflow.fitting.engine.profiles import (
    FWHM,
    HALF,
    KAISER_BETA,
    Shape,
    after,
    gaussian,
    gaussian_velocity,
    half_kernel,
    radial_tangential,
    rotation,
)
from payneflow.fitting.engine.shift import C_KM_S, RestAxis, tap_table
from payneflow.fitting.engine.widths import FLOOR, to_parameter
from payneflow.fitting.settings import RADIAL_TANGENTIAL, FitSettings
from payneflow.network import PixelNetworks

STARTS = {"vsini": 10.0, "vmac": 4.0}  # km/s, or half of the most that a fit may have


def to_places_of_width(width: float | np.ndarray, log_step: float) -> float | np.ndarray:
    """Width in km/s -> in places of the rest axis."""
    return width / (C_KM_S * log_step)


def instrument_width(resolution: float, grid_resolution: float) -> float:
    """sigma in km/s of the Gaussian that takes spectra from one resolution, R = wavelength / FWHM, to a lower one."""
    return C_KM_S / FWHM * float(np.sqrt(resolution**-2 - grid_resolution**-2))


@dataclass(frozen=True, eq=False)
class LineBroadening:
    """The broadenings of fits with some settings.

    `names`: of those that are parameters, fitted or held. `most`, `start`: (n_broad,) their largest widths, and those
    that fits start from, km/s. `instrument`: sigma in km/s of the rest; 0: none.
    """

    settings: FitSettings
    names: tuple[str, ...]
    most: np.ndarray
    start: np.ndarray
    instrument: float = 0.0

    @classmethod
    def of(cls, networks: PixelNetworks, settings: FitSettings) -> "LineBroadening | None":
        """That of fits with these settings; None where nothing is broadened.

        Raises SettingsError where the resolution of the data is given and that of the grid is not known, or not higher.
        """
        names = settings.broadenings(networks.label_names)
        instrument = _instrument(networks, settings)
        if not names and not instrument:
            return None
        most = np.array([settings.broadest(name) for name in names])
        start = []
        for name, own in zip(names, most, strict=True):
            usual = settings.priors[name][0] if name in settings.priors else min(STARTS[name], 0.5 * own)
            start.append(own if name in settings.fixed else usual)
        return cls(settings, names, most, np.array(start), instrument)

    def shapes(self, log_step: float) -> list[Shape]:
        """The shape of each parameter, on a rest axis of this step."""
        macro = radial_tangential if self.settings.vmac_profile == RADIAL_TANGENTIAL else gaussian_velocity
        made = []
        for name, most in zip(self.names, to_places_of_width(self.most, log_step), strict=True):
            made.append(rotation(most, self.settings.epsilon) if name == "vsini" else macro(most))
        return made

    def fixed_kernel(self, log_step: float) -> np.ndarray:
        """The half kernel (n,) of the instrument."""
        width = to_places_of_width(self.instrument, log_step)
        return half_kernel(gaussian(width), width) if width > 0.0 else np.ones(1)

    def reach(self, log_step: float) -> int:
        """Places from the middle of the longest kernel of a fit to its last one."""
        most = to_places_of_width(self.most, log_step)
        shapes = zip(self.shapes(log_step), most, strict=True)
        return sum(shape.reach(max(width, FLOOR)) for shape, width in shapes) + len(self.fixed_kernel(log_step)) - 1

    def kernel(self, log_step: float, widths: np.ndarray) -> np.ndarray:
        """The half kernel (n,) of widths (n_broad,) in km/s."""
        kernel = self.fixed_kernel(log_step)
        for shape, width in zip(self.shapes(log_step), to_places_of_width(widths, log_step), strict=True):
            kernel = after(kernel, half_kernel(shape, np.hypot(width, FLOOR)))
        return kernel

    def given(self, rest: RestAxis) -> Broadening:
        """What the kernels take."""
        shapes = self.shapes(rest.log_step)
        return Broadening(
            table=tap_table(HALF, KAISER_BETA).ravel(),
            nodes=np.concatenate([np.zeros(0), *(shape.nodes for shape in shapes)]),
            weights=np.concatenate([np.zeros(0), *(shape.weights for shape in shapes)]),
            ends=np.cumsum([len(shape.nodes) for shape in shapes], dtype=np.int64),
            fixed=self.fixed_kernel(rest.log_step),
            start=to_parameter(to_places_of_width(self.start, rest.log_step)),
            lengths=rest.length.astype(np.int64),
            longest=self.reach(rest.log_step) + len(shapes) + 1,
        )


NOTHING = Broadening(*(np.zeros(0) for _ in range(3)), np.zeros(0, np.int64), *(np.zeros(0) for _ in range(2)),
                     np.zeros(0, np.int64), 0)  # fmt: skip


def _instrument(networks: PixelNetworks, settings: FitSettings) -> float:
    """sigma in km/s of what the instrument has beyond the grid, 0 where nothing."""
    if not settings.resolution:
        return 0.0
    known = networks.resolution
    if known and settings.grid_resolution and known != settings.grid_resolution:
        raise SettingsError(
            f"grid_resolution is {settings.grid_resolution:g}, but the networks' file says {known:g}: leave it out."
        )
    grid = known or settings.grid_resolution
    if not grid:
        raise SettingsError(
            f"resolution is {settings.resolution:g}, but at which one the spectra of the networks' grid were made is "
            "not known: their file does not say it. Give it with grid_resolution (--grid-resolution R)."
        )
    if settings.resolution > grid:
        raise SettingsError(
            f"resolution is {settings.resolution:g}, that of the networks' grid {grid:g}: sharper data than the grid "
            "cannot be fitted with it. Broaden the data, or train networks on a sharper grid."
        )
    return instrument_width(settings.resolution, grid)
