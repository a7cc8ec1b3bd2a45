"""Fits of spectra each of which has a wavelength axis of its own, or an instrument of its own, or both.

What is known of the networks is made once; what differs from spectrum to spectrum is made anew for each, by kernels,
in the memory of a thread. The kernel of the fit is that of all others, and gives the same bits.
"""

from copy import copy
from typing import NamedTuple

import numpy as np

from payneflow.fitting.broadening import NOTHING, LineBroadening, to_places_of_width
from payneflow.fitting.engine.alternatives import N_ALTERNATIVE
from payneflow.fitting.engine.arguments import GeneralMemory, OutlierMemory, Spectra, Written
from payneflow.fitting.engine.broaden import Broadening
from payneflow.fitting.engine.data_axis import (
    Around,
    AxisMemory,
    DataAxis,
    laid_out,
    lay_values,
    most_places,
    number_of_pixels,
    of_networks,
)
from payneflow.fitting.engine.emulator import LINE
from payneflow.fitting.engine.engines import EveryEngine
from payneflow.fitting.engine.instrument import varied_kernels_of
from payneflow.fitting.engine.profiles import gaussian, half_kernel
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.quality import Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.simd import LANES, aligned


class OwnMemory(NamedTuple):
    """Working memory of one thread: one spectrum, its axis, its instrument, and that of the kernel."""

    flux: np.ndarray  # (n_place,)
    error: np.ndarray  # (n_place,)
    axis: AxisMemory | None
    kernels: np.ndarray  # flat
    fit: GeneralMemory


class OwnEngine(EveryEngine):
    """Fits spectra of which each has what `fit` is given with it.

    `wavelength` (n_data,), Angstrom: the axis of all; None: the networks' own; an integer: each has its own, of at most
    so many pixels. `broadening`: of all; where `of_instrument` says what the widths are of, that of the star alone:
    "all", one number a spectrum; "data", one for each of its pixels; "networks", one for each of theirs; "": no
    spectrum has its own. `longest`: places that its kernel reaches at most, whole lines of them with that of the star.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings,
        wavelength: np.ndarray | int | None,
        own_start: bool,
        broadening: LineBroadening | None,
        of_instrument: str = "",
        longest: int = 0,
    ):
        def reach(log_step: float) -> int:
            return broadening.reach(log_step) + longest

        super().__init__(networks, settings, wavelength is None, own_start, None if broadening is None else reach)
        self._broadening = NOTHING if broadening is None else broadening.given(self._rest)
        self._broadens, self._varies = broadening is not None, len(self._broadening.varied) > 0
        self._of_instrument, self._longest = of_instrument, longest
        self._star_margin = self._rest.least_margin
        self._star_margin += 0 if broadening is None else broadening.reach(self.log_step)
        reaches = range(max(longest - LINE, -1) + 1, longest + 1)  # those that an engine is for
        self._interiors = {self._star_margin + one: self._rest.interior_of(self._star_margin + one) for one in reaches}
        if of_instrument:
            self._varies = of_instrument != "all"
            self._broadening = self._broadening._replace(longest=self._broadening.longest + longest)
        self._middles, terms = self._rest.middles(), (self._n_term, self._n_flat)
        self._around = Around.of(self._rest, networks.wavelength)
        self._data: DataAxis | None = None
        self._n_pixel = len(networks.wavelength) if wavelength is None else np.size(wavelength)
        if wavelength is None:
            self._data = of_networks(self._emulator, self._rest, networks.wavelength, *terms)
        elif isinstance(wavelength, int):
            self._n_pixel = wavelength
        else:
            self._data = laid_out(self._around, wavelength, *terms, AxisMemory.of(self._around, self._n_pixel, *terms))
        known = networks.wavelength if wavelength is None or of_instrument == "networks" else wavelength
        self._log_known = None if isinstance(known, int) else np.log(known)

    def beginning_at(self, widths: np.ndarray) -> "OwnEngine":
        """The same, of searches that begin with lines broadened by widths (n_broad,) in km/s."""
        other = copy(self)
        start = to_parameter(to_places_of_width(widths, self.log_step))
        other._broadening = self._broadening._replace(start=start)
        return other

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra; a segment that a spectrum does not have stays NaN."""
        n_segment = len(self._around.cuts) + 1 if self._data is None else len(self._data.segments)
        return Fits.empty(n, self._layout.n, n_segment, self._n_term, self.log_step)

    def working(self) -> OwnMemory:
        """Working memory of one thread."""
        n_place = most_places(self._around, self._n_pixel) if self._data is None else self._data.n_place
        own = AxisMemory.of(self._around, self._n_pixel, self._n_term, self._n_flat) if self._data is None else None
        room = np.empty(len(self._middles) * (self._longest + 1) * self._varies)
        sizes = n_place, len(self._around.cuts) + 1, n_place
        memory = self._memory(*sizes, self._broadens, self._varies)
        return OwnMemory(aligned(n_place // LANES), aligned(n_place // LANES), own, room, memory)

    def fit(
        self,
        flux: np.ndarray,
        error: np.ndarray,
        starts: np.ndarray,
        fits: Fits,
        working: OwnMemory,
        wavelength: np.ndarray | None = None,
        widths: np.ndarray | None = None,
    ) -> None:
        """Fit spectra (n, n_data) into the rows of `fits`.

        `wavelength` (n, n_data), Angstrom, where each has its own axis: NaN after its last pixel. `widths` (n, 1) or
        (n, number of pixels), sigma in km/s, where each has its own instrument.
        """
        all_starts = self._layout.joined(starts, broadenings=self._broadening.start)
        all_written = fits.written()
        for i in range(len(flux)):
            data, log_wavelength = self._data, self._log_known
            if wavelength is not None:
                own = np.array(wavelength[i, : number_of_pixels(wavelength[i])])
                log_own = np.log(own)
                log_wavelength = log_own if log_wavelength is None else log_wavelength
                data = laid_out(self._around, own, self._n_term, self._n_flat, working.axis, log_own)
                self._forget(working.fit, data.n_place)
            if not data.alive.any():
                continue
            broadening, margin = self._broadening, self._rest.margin
            if widths is not None:
                n = 1 if self._of_instrument == "all" else len(log_wavelength)
                places = to_places_of_width(widths[i, :n], self.log_step)
                broadening, reach = self._with_instrument(places, log_wavelength, working.kernels)
                margin = self._star_margin + reach
            interior = self._interiors[margin]
            own_flux, own_error = working.flux[: data.n_place], working.error[: data.n_place]
            rows = (np.array(values[i], dtype=float) for values in (flux, error))
            lay_values(data.segments, data.ranges, *rows, own_flux, own_error)
            spectra = Spectra(own_flux[None], own_error[None], all_starts[i : i + 1])
            written = Written(*(values[i : i + 1] for values in all_written))
            written = written._replace(continua=written.continua[:, : len(data.segments)])
            memory = of_length(working.fit, data.n_place)
            self._kernel(*self._on(data, interior, broadening), spectra, self._nothing_kept, written, memory)

    def _forget(self, memory: GeneralMemory, n_place: int) -> None:
        """Make zero what a kernel leaves zero where an axis of n_place places has no pixels."""
        for values in (memory.single.flat_rest, memory.single.weight_rest, memory.single.product_rest):
            values[:] = 0.0
        first = (self._n_term + self._layout.n) * n_place
        memory.alternatives.rows[first : first + N_ALTERNATIVE * n_place] = 0.0

    def _with_instrument(
        self, widths: np.ndarray, log_wavelength: np.ndarray, room: np.ndarray
    ) -> tuple[Broadening, int]:
        """The broadening of a spectrum of an instrument of these widths, in places, and how far its kernel reaches."""
        most = float(widths.max())
        if not self._varies:
            fixed = half_kernel(gaussian(most), most) if most > 0.0 else np.ones(1)
            return self._broadening._replace(fixed=fixed), len(fixed) - 1
        kernels = varied_kernels_of(self._middles, log_wavelength, widths, room)
        return self._broadening._replace(varied=kernels), kernels.shape[1] - 1


def of_length(memory: GeneralMemory, n: int) -> GeneralMemory:
    """The same memory, for a spectrum of n places."""
    data = memory.data._replace(**{name: getattr(memory.data, name)[:n] for name in OF_DATA})
    single = memory.single._replace(y=memory.single.y[:n], weight=memory.single.weight[:n])
    outliers = OutlierMemory(*(values[:n] for values in memory.outliers[:-1]), memory.outliers.n_out)
    alternatives = memory.alternatives
    alternatives = alternatives._replace(**{name: getattr(alternatives, name)[:n] for name in OF_ALTERNATIVES})
    return memory._replace(data=data, single=single, outliers=outliers, alternatives=alternatives)


OF_DATA = ("y", "weight", "flat", "flat_weight", "continuum", "ones")
OF_ALTERNATIVES = ("root", "factor", "contrast", "residual", "square", "level")
