"""What broadens the lines of a star beyond those of the networks' grid: rotation, macroturbulence, the instrument.

Each is a convolution in ln(wavelength) with a kernel of its own, one after the other. That of the instrument is what
it has beyond the grid: the difference of both squares of resolution, as Gaussians add.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from payneflow.errors import SettingsError
from payneflow.fitting.engine.broaden import Broadening
from payneflow.fitting.engine.data_axis import number_of_pixels
from payneflow.fitting.engine.emulator import LINE
from payneflow.fitting.engine.instrument import reach_of, varied_kernels_of
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
    whole_kernel,
    whole_kernels,
)
from payneflow.fitting.engine.shift import C_KM_S, RestAxis, tap_table
from payneflow.fitting.engine.widths import FLOOR, to_parameter
from payneflow.fitting.settings import RADIAL_TANGENTIAL, FitSettings
from payneflow.network import PixelNetworks
from payneflow.wavelength import segments

ROUNDING = 1e-6  # of a resolution that is interpolated between pixels
STARTS = {"vsini": 10.0, "vmac": 4.0}  # km/s, or half of the most that a fit may have


def to_places_of_width(width: float | np.ndarray, log_step: float) -> float | np.ndarray:
    """Width in km/s -> in places of the rest axis."""
    return width / (C_KM_S * log_step)


def instrument_width(resolution: float | np.ndarray, grid_resolution: float | np.ndarray) -> float | np.ndarray:
    """sigma in km/s of the Gaussian that takes spectra from one resolution, R = wavelength / FWHM, to a lower one."""
    return C_KM_S / FWHM * np.sqrt(np.maximum(1.0 / np.square(resolution) - 1.0 / np.square(grid_resolution), 0.0))


@dataclass(frozen=True, eq=False)
class LineBroadening:
    """The broadenings of fits with some settings.

    `names`: of those that are parameters, fitted or held. `most`, `start`: (n_broad,) their largest widths, and those
    that fits start from, km/s. `instrument`: sigma in km/s of the rest; 0: none. Where it differs along the axis it is
    (n,), at the wavelengths `wavelength` (n,) in Angstrom; between them it is interpolated, and a star's velocity does
    not move it.
    """

    settings: FitSettings
    names: tuple[str, ...]
    most: np.ndarray
    start: np.ndarray
    instrument: float | np.ndarray = 0.0
    wavelength: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        networks: PixelNetworks,
        settings: FitSettings,
        wavelength: np.ndarray | None = None,
        resolution: np.ndarray | float | None = None,
    ) -> "LineBroadening | None":
        """That of fits with these settings; None where nothing is broadened.

        `resolution`: R of the data, one or (n_data,) at their `wavelength` (None: the networks' own); None: that of
        `settings`. Raises SettingsError where it is given and that of the grid is not known, or not as high.
        """
        given = settings.resolution if resolution is None else resolution
        of_data = networks.wavelength if wavelength is None else wavelength
        instrument, axis = instrument_of(networks, settings, np.asarray(given, dtype=float), of_data)
        star = cls.of_star(networks, settings)
        return replace(star, instrument=instrument, wavelength=axis) if star.names or np.any(instrument) else None

    @classmethod
    def of_star(cls, networks: PixelNetworks, settings: FitSettings) -> "LineBroadening":
        """That of the star alone, whatever the instrument."""
        names = settings.broadenings(networks.label_names)
        most = np.array([settings.broadest(name) for name in names])
        start = []
        for name, own in zip(names, most, strict=True):
            usual = settings.priors[name][0] if name in settings.priors else min(STARTS[name], 0.5 * own)
            start.append(own if name in settings.fixed else usual)
        return cls(settings, names, most, np.array(start))

    def shapes(self, log_step: float) -> list[Shape]:
        """The shape of each parameter, on a rest axis of this step."""
        macro = radial_tangential if self.settings.vmac_kind == RADIAL_TANGENTIAL else gaussian_velocity
        made = []
        for name, most in zip(self.names, to_places_of_width(self.most, log_step), strict=True):
            made.append(rotation(most, self.settings.epsilon) if name == "vsini" else macro(most))
        return made

    def fixed_kernel(self, log_step: float) -> np.ndarray:
        """The half kernel (n,) of an instrument that is the same everywhere."""
        width = 0.0 if self.wavelength is not None else to_places_of_width(self.instrument, log_step)
        return half_kernel(gaussian(width), width) if width > 0.0 else np.ones(1)

    def varied_kernels(self, rest: RestAxis) -> np.ndarray:
        """(n_line, n) half kernels of an instrument that differs along the axis, one for LINE places of it; else none.

        Between segments it is as at the nearest wavelength that is known.
        """
        return np.zeros((0, 1)) if self.wavelength is None else self.kernels_at(rest.middles(), rest.log_step)

    def laid_kernels(self, rest: RestAxis) -> np.ndarray:
        """The same as fits take them, made as those of a spectrum that has an instrument of its own."""
        if self.wavelength is None:
            return np.zeros((0, 1))
        widths = to_places_of_width(np.ravel(self.instrument), rest.log_step)
        return varied_kernels_of(rest.middles(), np.log(self.wavelength), widths)

    def kernels_at(self, log_wavelength: np.ndarray, log_step: float) -> np.ndarray:
        """(n, n_half) half kernels of an instrument that differs along the axis, at ln(Angstrom) (n,); NaN: none."""
        at = np.interp(log_wavelength, np.log(self.wavelength), np.ravel(self.instrument))
        widths = to_places_of_width(np.nan_to_num(at), log_step)
        shape, kernels = gaussian(widths.max()), np.zeros((len(widths), self._reach_of_varied(log_step) + 1))
        for k in np.flatnonzero(np.isfinite(log_wavelength)):
            own = half_kernel(shape, widths[k])
            kernels[k, : len(own)] = own[: kernels.shape[1]]
        return kernels

    def _reach_of_varied(self, log_step: float) -> int:
        if self.wavelength is None:
            return 0
        return reach_of(float(to_places_of_width(np.max(self.instrument), log_step)))

    def reach(self, log_step: float) -> int:
        """Places from the middle of the longest kernel of a fit to its last one."""
        most = to_places_of_width(self.most, log_step)
        shapes = zip(self.shapes(log_step), most, strict=True)
        constant = sum(shape.reach(max(width, FLOOR)) for shape, width in shapes) + len(self.fixed_kernel(log_step)) - 1
        return constant + self._reach_of_varied(log_step)

    def broadened(self, rest: RestAxis, flux: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Flux (n_place,) on the rest axis with lines broadened by widths (n_broad,) in km/s, and by the instrument."""
        flux = np.convolve(flux, whole_kernel(self.kernel(rest.log_step, widths)), mode="same")
        kernels = self.varied_kernels(rest)
        if not len(kernels):
            return flux
        reach = kernels.shape[1] - 1
        around = sliding_window_view(np.pad(flux, reach), 2 * reach + 1)
        return (around * whole_kernels(np.repeat(kernels, LINE, axis=0))).sum(axis=1)

    def kernel(self, log_step: float, widths: np.ndarray) -> np.ndarray:
        """The half kernel (n,) of widths (n_broad,) in km/s and of an instrument that is the same everywhere."""
        kernel = self.fixed_kernel(log_step)
        for shape, width in zip(self.shapes(log_step), to_places_of_width(widths, log_step), strict=True):
            kernel = after(kernel, half_kernel(shape, max(width, FLOOR)))
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
            varied=self.laid_kernels(rest),
        )


NOTHING = Broadening(
    table=np.zeros(0),
    nodes=np.zeros(0),
    weights=np.zeros(0),
    ends=np.zeros(0, np.int64),
    fixed=np.zeros(0),
    start=np.zeros(0),
    lengths=np.zeros(0, np.int64),
    longest=0,
    varied=np.zeros((0, 1)),
)


def own_instruments(
    networks: PixelNetworks, settings: FitSettings, wavelength: np.ndarray | None, resolution: np.ndarray
) -> tuple[np.ndarray, str]:
    """sigma in km/s of the instrument of each spectrum, and of what each number is: see OwnEngine, `of_instrument`.

    `resolution` (n, 1) or (n, n_data); `wavelength` (n_data,) or (n, n_data) with NaN after the last pixel; None: the
    networks' own. Raises SettingsError as `LineBroadening.of` does, with the number of the spectrum.
    """
    found, axis = [], networks.wavelength if wavelength is None else wavelength
    for i, own in enumerate(resolution):
        here = axis if axis.ndim == 1 else axis[i, : number_of_pixels(axis[i])]
        try:
            given = own[0] if len(own) == 1 else own[: len(here)]
            width, where = instrument_of(networks, settings, np.asarray(given), here)
        except SettingsError as error:
            raise SettingsError(f"spectrum {i}: {error}") from None
        found.append(np.pad(np.atleast_1d(width), (0, (len(own) - np.size(width)) * (len(own) > 1))))
    of = "data" if resolution.shape[1] > 1 else "all" if where is None else "networks"
    return np.stack(found), of


def instrument_of(
    networks: PixelNetworks, settings: FitSettings, resolution: np.ndarray, wavelength: np.ndarray
) -> tuple[float | np.ndarray, np.ndarray | None]:
    """sigma in km/s of what the instrument has beyond the grid; 0: nothing. And where it is known, (n,) in Angstrom.

    It is one number, known everywhere (None), where both resolutions are one; else one for each pixel of the data, at
    their `wavelength`, or of the networks, where the data have one number. R of the grid is linear in ln(wavelength)
    between the pixels of the networks.
    """
    if not np.any(resolution):
        return 0.0, None
    if not (np.isfinite(resolution) & (resolution > 0.0)).all():
        raise SettingsError(f"resolution holds {np.min(resolution)}, expected numbers above 0: R = wavelength / FWHM.")
    grid = resolution_of_grid(networks, settings, resolution)
    if resolution.ndim == 0 and np.ndim(grid) == 0:
        _refuse_sharper(resolution, grid)
        return instrument_width(resolution, grid), None
    axis, wanted = wavelength if resolution.ndim else networks.wavelength, resolution
    if np.ndim(grid):
        grid = np.interp(np.log(axis), np.log(networks.wavelength), grid)
        wanted = np.where(within_segments(networks.wavelength, axis), resolution, 0.0)
    _refuse_sharper(wanted, grid)
    return instrument_width(resolution, grid), axis


def resolution_of_grid(networks: PixelNetworks, settings: FitSettings, resolution: np.ndarray) -> float | np.ndarray:
    """R of the spectra that the networks were trained on, one or (n_pixel,). Raises SettingsError where nobody says."""
    known, given = networks.resolution, settings.grid_resolution
    if np.any(known) and given and np.any(known != given):
        said = " to ".join(f"{one:g}" for one in dict.fromkeys((np.min(known), np.max(known))))
        raise SettingsError(f"grid_resolution is {given:g}, but the networks' file says {said}: leave it out.")
    if not np.any(known) and not given:
        raise SettingsError(
            f"resolution is {resolution.min():g}, but at which one the spectra of the networks' grid were made is not "
            "known: their file does not say it. Give it with grid_resolution (--grid-resolution R)."
        )
    return known if np.any(known) else given


def within_segments(axis: np.ndarray, wavelength: np.ndarray) -> np.ndarray:
    """(n,) whether wavelengths (n,) lie within a segment of an `axis`; in its gaps nobody knows R of the grid."""
    inside = np.zeros(len(wavelength), dtype=bool)
    for first, stop in segments(axis):
        inside |= (wavelength >= axis[first]) & (wavelength <= axis[stop - 1])
    return inside


def _refuse_sharper(resolution: np.ndarray, grid: float | np.ndarray) -> None:
    """Raise SettingsError where data are sharper than the grid; each R is one or (n,), of the same pixels."""
    resolution, grid = np.broadcast_arrays(resolution, grid)
    sharp = np.flatnonzero(resolution > grid * (1.0 + ROUNDING))
    if not len(sharp):
        return
    where = "" if resolution.ndim == 0 else f" in pixel {sharp[0]} ({len(sharp)} pixels are so sharp)"
    raise SettingsError(
        f"resolution is {resolution.flat[sharp[0]]:g}{where}, that of the networks' grid {grid.flat[sharp[0]]:g}: "
        "sharper data than the grid cannot be fitted with it. Broaden the data, or train networks on a sharper grid."
    )
