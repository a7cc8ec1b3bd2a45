"""One star's light as the data see it, with all derivatives: networks, rotation, velocity, in plain numpy.

The kernels of a fit do the same faster, for one star. Here broadening and, where pixels are even in ln(wavelength), the
taps that move a star are products in Fourier space; elsewhere the taps are a sparse matrix. Single precision suffices:
flux is good to 1e-6.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.sparse import csr_matrix

from payneflow.fitting.broadening import LineBroadening
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import LINE, PaddedAxis, emulator_of
from payneflow.fitting.engine.profiles import half_kernel, rotation, whole_kernel, whole_kernels
from payneflow.fitting.engine.shift import C_KM_S, INTERVALS, NOWHERE, RestAxis, tap_table
from payneflow.fitting.engine.taps import HALF, TAPS
from payneflow.fitting.engine.widths import FLOOR, to_parameter, to_width
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks, logistic
from payneflow.scaling import unscale_flux, unscale_slope
from payneflow.weights import LOGISTIC

WINDOW = 60.0  # km/s that a star may move from where its search starts
VARIANCE = 0.2  # of a rotation profile, times the square of its width; a little less for strong limb darkening
KNOT = 0.125  # places, of the parameter of a rotation: responses between knots are cubic


@dataclass(frozen=True, eq=False)
class Star:
    """The light of one star: flux (n_data,), and its derivatives (n_label + 3, n_data) by scaled labels, by the
    parameter of its rotation (engine/widths.py), by its blur in places^2, and by its shift in places.
    """

    flux: np.ndarray
    slopes: np.ndarray


class StarLight:
    """Stars of `networks` (of shares, flux_units.py) as data at `wavelength` (n_data,) see them; None: their own axis.

    `settings`, `resolution`: of the fits. Lines may rotate besides, where no label says how fast. `terms` (n_term,
    n_data): of a continuum with `more_terms` more than that of the fit, for each of the `segments`.
    """

    def __init__(self, networks: PixelNetworks, settings: FitSettings, wavelength, resolution, more_terms: int):
        self.networks, self.n_label = networks, len(networks.x_min)
        self.rotates = "vsini" not in networks.label_names
        if self.rotates:
            fixed = {name: value for name, value in settings.fixed.items() if name != "vsini"}
            settings = replace(settings, vsini=True, fixed=fixed)
        emulator, own = emulator_of(networks), networks.wavelength
        self._axis = emulator.axis
        self._broadening = LineBroadening.of(networks, settings, wavelength, resolution)
        reach = None if self._broadening is None else self._broadening.reach
        self.rest = RestAxis(emulator, own, settings.max_velocity, WINDOW, True, reach)
        self.log_step = self.rest.log_step
        self.step = C_KM_S * self.log_step
        self._see(wavelength, settings.continuum + more_terms)
        self._spots = None if self.rest.uneven else self.rest.own_places(self._axis).astype(int)
        self._taps = tap_table()
        self._n_fft = next_fast_len(self.rest.n_place, real=True)
        self._half_square = 0.5 * (2.0 * np.pi * np.arange(self._n_fft // 2 + 1) / self._n_fft) ** 2
        self._varied = self._varied_matrix()
        self._by_fourier = wavelength is None and not self.rest.uneven and self._varied is None
        if emulator.kind == LOGISTIC:
            self._w0 = np.ascontiguousarray(np.nan_to_num(networks.w_array_0).transpose(2, 1, 0), np.float32)
            self._b0 = np.ascontiguousarray(np.nan_to_num(networks.b_array_0).T, np.float32)
            self._w1 = np.ascontiguousarray(np.nan_to_num(networks.w_array_1).T, np.float32)
            self._b1 = np.nan_to_num(networks.b_array_1).astype(np.float32)
        self._logistic, self._known = emulator.kind == LOGISTIC, networks.has_network
        self._place = 1.0 / self.step
        most = settings.max_vsini * self._place if self.rotates else 0.0
        self._profile, self._knots = rotation(max(most, FLOOR), settings.epsilon), {}
        self.most_rotation = float(to_parameter(most)) if self.rotates else 0.0
        self._others = self._response_of(np.zeros(0 if self._broadening is None else len(self._broadening.names)))

    def _see(self, wavelength: np.ndarray | None, n_term: int) -> None:
        own = self.networks.wavelength
        data = own if wavelength is None else np.asarray(wavelength, dtype=float)
        self.places = self.rest.own_places(self._axis) if wavelength is None else self.rest.place(data)
        padded = PaddedAxis(data, own)
        self.segments = [slice(first, stop) for first, stop in padded.segments]
        self.terms = chebyshev(padded, data, n_term)[:, padded.place]

    def on(self, wavelength: np.ndarray) -> "StarLight":
        """The same stars as data on another axis than the first one see them; none of both is the networks' own."""
        light = copy.copy(self)
        light._see(wavelength, len(self.terms))
        return light

    def with_widths(self, widths: dict[str, float]) -> "StarLight":
        """The same where broadenings of the fit other than rotation have these widths in km/s."""
        if self._broadening is None or not any(name in widths for name in self._broadening.names if name != "vsini"):
            return self
        own = [0.0 if name == "vsini" else widths.get(name, 0.0) for name in self._broadening.names]
        light = copy.copy(self)
        light._others = self._response_of(np.array(own))
        return light

    def rotation(self, vsini: float) -> float:
        """The parameter of a rotation in km/s."""
        return min(float(to_parameter(vsini * self._place)), self.most_rotation) if self.rotates else 0.0

    def rotation_of(self, rotation: float, blur: float) -> float:
        """The parameter of a rotation whose lines are as broad as those of `rotation` and a blur in places^2."""
        if not self.rotates:
            return 0.0
        width = np.sqrt(to_width(rotation) ** 2 + blur / VARIANCE)
        return min(float(to_parameter(width)), self.most_rotation)

    def inside(self, shift: float) -> np.ndarray:
        """(n_data,) bool, whether there are networks around a pixel, for stars near a shift in places."""
        nearest = np.clip(np.rint(self.places - shift).astype(int), 0, self.rest.n_place - 1)
        return (self.places != NOWHERE) & (self.rest.interior[nearest] > 0.0)

    def variance(self, shift: float) -> np.ndarray:
        """(n_data,) of the networks' error."""
        return self.rest.variance[np.clip(np.rint(self.places - shift).astype(int), 0, self.rest.n_place - 1)]

    def emitted(self, labels: np.ndarray, slopes: bool = True) -> np.ndarray:
        """Flux and, if asked, its derivatives by scaled labels (n_label,), (1 + n_label, n_place) on the rest axis."""
        if not self._logistic:
            flux, by_labels = self.networks.jacobian_scaled(labels)
            rows = np.vstack([flux, by_labels.T]) if slopes else flux[None]
            return self.on_rest(np.where(self._known, rows, 0.0))
        z = self._b0.copy()
        for w, label in zip(self._w0, labels.astype(np.float32), strict=True):
            z += w * label
        hidden = logistic(z)
        output = logistic((self._w1 * hidden).sum(axis=0) + self._b1)
        rows = [np.where(self._known, unscale_flux(output), 0.0)]
        if slopes:
            own = self._w1 * hidden * (1.0 - hidden)
            scale = np.where(self._known, unscale_slope(output * (1.0 - output)), 0.0)
            rows += [(own * w).sum(axis=0) * scale for w in self._w0]
        return self.on_rest(np.stack(rows))

    def on_rest(self, rows: np.ndarray) -> np.ndarray:
        """Values (n_row, n_pixel) of the networks' pixels on the rest axis."""
        if self._spots is None:
            return np.stack([self.rest.laid(self._axis, self._axis.padded(row)) for row in rows])
        laid = np.zeros((len(rows), self.rest.n_place), rows.dtype)
        laid[:, self._spots] = rows
        return laid

    def back_to_rest(self, values: np.ndarray) -> np.ndarray:
        """Values (n_data,) on the rest axis (n_place,), each spread over the places that its pixel is seen from."""
        if self._by_fourier:
            return self.on_rest(values[None])[0]
        return self._matrices(0.0)[0].T @ values

    def star(self, labels: np.ndarray, rotation: float, blur: float, shift: float) -> Star:
        """The star of scaled labels (n_label,), the parameter of its rotation, a shift in places.

        `blur`: the variance in places^2 of a Gaussian that broadens lines besides.
        """
        waves = rfft(self.emitted(labels), self._n_fft)
        turned, by_rotation = self._rotation(rotation)
        others = self._others * np.exp(-blur * self._half_square)
        waves, turned_more = waves * (others * turned), waves[0] * (others * by_rotation)
        blurred = waves[0] * -self._half_square
        if self._by_fourier:
            taps, by_shift = self._tap_waves(shift)
            seen = irfft(
                np.vstack([waves * taps, turned_more * taps, blurred * taps, waves[0] * by_shift]), self._n_fft
            )
            seen = seen[:, self._spots]
        else:
            rows = irfft(np.vstack([waves, turned_more, blurred]), self._n_fft)[:, : self.rest.n_place]
            if self._varied is not None:
                rows = (self._varied @ rows.T).T
            taps, by_shift = self._matrices(shift)
            seen = np.vstack([(taps @ rows.T).T, by_shift @ rows[0]])
        return Star(seen[0], seen[1:])

    def flux(self, labels: np.ndarray, rotation: float, shift: float) -> np.ndarray:
        """(n_data,) flux of a star without a blur, as `star`."""
        return self.seen(self.emitted(labels, slopes=False)[0], rotation, shift)

    def seen(self, emitted: np.ndarray, rotation: float, shift: float) -> np.ndarray:
        """(n_data,) of what is `emitted` (n_place,), as `flux`."""
        turned = self._rotation(rotation)[0]
        wave = rfft(emitted, self._n_fft) * (self._others * turned)
        if self._by_fourier:
            return irfft(wave * self._tap_waves(shift)[0], self._n_fft)[self._spots]
        row = irfft(wave, self._n_fft)[: self.rest.n_place]
        row = row if self._varied is None else self._varied @ row
        return self._matrices(shift)[0] @ row

    def _tap_weights(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, TAPS) weights at t (n,) in 0 ... 1 after the middle, and their derivatives by a shift."""
        interval = np.minimum((t * INTERVALS).astype(int), INTERVALS - 1)
        u = (t * INTERVALS - interval)[:, None]
        c0, c1, c2, c3 = (self._taps[:, k][interval] for k in range(4))
        return c0 + u * (c1 + u * (c2 + u * c3)), -INTERVALS * (c1 + u * (2.0 * c2 + 3.0 * u * c3))

    def _tap_waves(self, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """What moves a star by a shift, in Fourier space, and its derivative."""
        whole = int(np.floor(-shift))
        laid = np.zeros((2, self._n_fft))
        laid[:, (-whole - np.arange(1 - HALF, HALF + 1)) % self._n_fft] = np.vstack(
            self._tap_weights(np.array([-shift - whole]))
        )
        return tuple(rfft(laid))

    def _matrices(self, shift: float) -> tuple[csr_matrix, csr_matrix]:
        """What takes the rest axis to the data, moved by a shift in places, and its derivative by the shift."""
        place = np.clip(self.places - shift, HALF, self.rest.n_place - HALF - 1)
        whole = np.floor(place).astype(int)
        columns = (whole[:, None] + np.arange(1 - HALF, HALF + 1)).ravel()
        shape, starts = (len(place), self.rest.n_place), TAPS * np.arange(len(place) + 1)
        both = self._tap_weights(place - whole)
        return tuple(csr_matrix((values.ravel(), columns, starts), shape) for values in both)

    def _varied_matrix(self) -> csr_matrix | None:
        """The instrument that differs along the axis, as a matrix on the rest axis."""
        kernels = np.zeros((0, 1)) if self._broadening is None else self._broadening.laid_kernels(self.rest)
        if not len(kernels):
            return None
        whole, n = whole_kernels(np.repeat(kernels, LINE, axis=0)), self.rest.n_place
        reach = whole.shape[1] // 2
        columns = np.clip(np.arange(n)[:, None] + np.arange(-reach, reach + 1), 0, n - 1)
        return csr_matrix((whole.ravel(), columns.ravel(), whole.shape[1] * np.arange(n + 1)), (n, n))

    def _response_of(self, widths: np.ndarray) -> np.ndarray:
        """What broadening by widths (n_broad,) in km/s does to waves."""
        if self._broadening is None:
            return np.ones(self._n_fft // 2 + 1)
        return self._waves_of(self._broadening.kernel(self.log_step, widths))

    def _waves_of(self, half: np.ndarray) -> np.ndarray:
        """The transform, a real one, of a kernel whose half is given."""
        kernel, reach = whole_kernel(half), len(half) - 1
        centred = np.zeros(self._n_fft)
        centred[np.arange(-reach, reach + 1)] = kernel
        return rfft(centred).real

    def _rotation(self, width: float) -> tuple[np.ndarray | float, np.ndarray | float]:
        """What rotation does to waves, and its derivative by the parameter of the width."""
        if not self.rotates:
            return 1.0, 0.0
        first = max(int(width / KNOT) - 1, 0)
        knots = np.stack([self._knot(first + k) for k in range(4)])
        t = width / KNOT - first
        nodes = np.arange(4.0)
        weights, slopes = np.ones(4), np.zeros(4)
        for k in range(4):
            others = [m for m in range(4) if m != k]
            scale = np.prod(nodes[k] - nodes[others])
            weights[k] = np.prod(t - nodes[others]) / scale
            slopes[k] = sum(np.prod([t - nodes[m] for m in others if m != left]) for left in others) / scale
        return weights @ knots, slopes @ knots / KNOT

    def _knot(self, k: int) -> np.ndarray:
        if k not in self._knots:
            self._knots[k] = self._waves_of(half_kernel(self._profile, max(float(to_width(k * KNOT)), FLOOR)))
        return self._knots[k]
