"""The forward model of a fit: labels, broadening, velocity, continuum -> flux, and how likely a spectrum makes them.

The same model as the engine's kernels, in plain numpy: for samplers, for best-fit spectra, and to check the kernels by.
"""

from collections.abc import Mapping

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.broadening import LineBroadening
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import PaddedAxis, emulator_of
from payneflow.fitting.engine.shift import C_KM_S, INTERVALS, NOWHERE, RestAxis, tap_table, to_places
from payneflow.fitting.engine.taps import HALF, tap_weights
from payneflow.fitting.engine.widths import to_width
from payneflow.fitting.parameters import ParameterLayout
from payneflow.fitting.quality import VELOCITY_WINDOW
from payneflow.fitting.sampling import check_sampling
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.spectra.bad_pixels import good_pixels
from payneflow.spectra.masked import parted

STEP = 1e-4  # places: of differences that stand for derivatives by a width
SOLUTIONS = 2  # of the continuum: the emulator's error in the weights is a share of it, so a first one must be known
DEFAULT = FitSettings()


class SpectralModel:
    """Spectra of `networks` on a wavelength axis (n_data,) in Angstrom, vacuum; None: the networks' own.

    Of `settings` it takes whether there is a velocity (and `max_velocity`), how many terms a continuum has, and whether
    the emulator's own error is part of the noise, and what broadens lines. `resolution`: R of the spectra, one or
    (n_data,); None: that of `settings`. Raises SpectraError where the networks must be moved and the
    steps of their wavelengths differ too much, or are too wide for their lines.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings = DEFAULT,
        wavelength: np.ndarray | None = None,
        resolution: np.ndarray | float | None = None,
    ) -> None:
        self.networks, self.settings = networks, settings
        self._emulator, own = emulator_of(networks), networks.wavelength
        self._broadening = LineBroadening.of(networks, settings, wavelength, resolution)
        reach = None if self._broadening is None else self._broadening.reach
        self._moves = settings.velocity or wavelength is not None or self._broadening is not None
        fastest, window = (settings.max_velocity, VELOCITY_WINDOW) if settings.velocity else (0.0, 0.0)
        self._rest = RestAxis(self._emulator, own, fastest, window, self._moves, reach)
        if self._moves:
            check_sampling(networks, settings.velocity)
        self.wavelength = own if wavelength is None else np.asarray(wavelength, dtype=float)
        on_own = wavelength is None
        self._places = self._rest.own_places(self._emulator.axis) if on_own else self._rest.place(self.wavelength)
        self._axis, n_term = PaddedAxis(self.wavelength, own), settings.continuum
        self._terms = chebyshev(self._axis, self.wavelength, n_term)[:, self._axis.place] if n_term else None

    def predict(
        self,
        labels: np.ndarray,
        velocity: float | np.ndarray = 0.0,
        continuum: np.ndarray | None = None,
        broadening: Mapping[str, float | np.ndarray] | None = None,
    ) -> np.ndarray:
        """Flux (n_spectrum, n_data) of labels (n_spectrum, n_label) in their units, or (n_data,) of labels (n_label,).

        `velocity`: km/s, one or (n_spectrum,). `continuum`: (n_data,) or (n_spectrum, n_data), what the normalised flux
        is multiplied by; None: 1. `broadening`: {"vsini": 12.0} in km/s, numbers or (n_spectrum,), of those that the
        settings fit; what is left out is 0, or what the settings hold. NaN where the networks do not reach. Raises
        SpectraError as `log_likelihood` does.
        """
        one = np.ndim(labels) == 1
        rows, velocity = self._rows(labels, velocity)
        widths = self._widths(broadening, len(rows))
        flux = np.full((len(rows), len(self.wavelength)), np.nan)
        for i, row in enumerate(rows):
            found, _, inside = self.at(row, velocity[i], widths[i])
            flux[i, inside] = found[inside]
        if continuum is not None:
            flux *= continuum
        return flux[0] if one else flux

    def log_likelihood(
        self,
        labels: np.ndarray,
        flux: np.ndarray,
        flux_error: np.ndarray | float,
        velocity: float | np.ndarray = 0.0,
        continuum: np.ndarray | None = None,
        broadening: Mapping[str, float | np.ndarray] | None = None,
    ) -> float | np.ndarray:
        """ln of the probability of flux (n_spectrum, n_data), or (n_data,), given labels (n_spectrum, n_label).

        -1/2 sum [(flux - c m)^2 / s^2 + ln(2 pi s^2)] over the pixels that count (`good_pixels`, and the networks
        reach), m the normalised model, c the continuum and s^2 = flux_error^2 + c^2 e^2, with e the emulator's rms
        error of the pixel where `settings.emulator_error` says so, else 0. `broadening` and
        `continuum` as in `predict`; no continuum: the best Chebyshev polynomials of `settings.continuum` terms, solved
        linearly, 1 where that is 0. `flux_error`: 1 sigma, in the unit of flux. One labels (n_label,) for a spectrum
        (n_data,) gives a number, else (n_spectrum,). -inf where no pixel counts or a label is not finite. A pixel that
        is masked in `flux` or `flux_error` (numpy.ma, astropy's Masked) does not count. Raises SpectraError where
        shapes do not fit, or a velocity or broadening is given that the settings do not have.
        """
        (flux, *masks), (flux_error, error_mask) = parted(flux), parted(flux_error)
        one = np.ndim(labels) == 1 and np.ndim(flux) == 1
        rows, velocity = self._rows(labels, velocity)
        widths = self._widths(broadening, len(rows))
        shape = len(rows), len(self.wavelength)
        try:
            flux, flux_error = np.broadcast_to(flux, shape), np.broadcast_to(flux_error, shape)
            for mask in (*masks, error_mask):
                flux_error = flux_error if mask is None else np.where(mask, np.inf, flux_error)
            given = None if continuum is None else np.broadcast_to(continuum, shape)
        except ValueError:
            raise SpectraError(f"flux, flux_error or continuum does not have the shape {shape}.") from None
        result = np.full(len(rows), -np.inf)
        known = np.isfinite(rows).all(axis=1) & np.isfinite(velocity) & (widths >= 0.0).all(axis=1)
        for i in np.flatnonzero(known):
            level = None if given is None else given[i]
            model, _, sigma, used = self.compare(rows[i], velocity[i], flux[i], flux_error[i], level, widths[i])
            if used.any():
                residual = (flux[i, used] - model[used]) / sigma[used]
                result[i] = (
                    -0.5 * (residual @ residual) - np.log(sigma[used]).sum() - 0.5 * used.sum() * np.log(2 * np.pi)
                )
        return float(result[0]) if one else result

    def compare(self, labels, velocity, flux, flux_error, continuum=None, widths=None) -> tuple[np.ndarray, ...]:
        """Model with continuum, continuum, 1 sigma of flux - model, and the pixels that count, all (n_data,).

        Of labels (n_label,), a velocity, and one spectrum (n_data,); `continuum` as in `log_likelihood`, `widths` as in
        `at`.
        """
        (flux, *masks), (flux_error, error_mask) = parted(flux), parted(flux_error)
        model, variance, inside = self.at(labels, velocity, widths)
        used = inside & good_pixels(flux, flux_error)
        for mask in (*masks, error_mask):
            used = used if mask is None else used & ~mask
        noise = variance if self.settings.emulator_error else np.zeros_like(variance)
        if continuum is None and self._terms is not None:
            continuum = _continuum(self._axis, self._terms, model, noise, flux, flux_error, used)
        elif continuum is None:
            continuum = np.ones(len(model))
        sigma = np.sqrt(np.asarray(flux_error, dtype=float) ** 2 + noise * continuum**2)
        return model * continuum, continuum, sigma, used

    def at(
        self, labels: np.ndarray, velocity: float, widths: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Normalised flux, variance of the networks' error, and where there are networks around: (n_data,) each.

        `widths`: (n_broad,) of the broadenings, km/s; None: 0, or what the settings hold.
        """
        rest, axis = self._rest, self._emulator.axis
        at_rest = np.nan_to_num(self.networks.predict_scaled(self.networks.scaler.scale(labels)))
        flux = rest.laid(axis, axis.padded(at_rest))
        if self._broadening is not None:
            widths = self._widths(None, 1)[0] if widths is None else widths
            flux = self._broadening.broadened(rest, flux, widths)
        place, nearest = self._places_at(velocity)
        inside = (place >= 0.0) & (rest.interior[nearest] > 0.0)
        return self._interpolated(flux, place, nearest), rest.variance[nearest], inside

    def moved(self, values: np.ndarray, velocity: float) -> np.ndarray:
        """What belongs to pixels of the networks, (n_pixel,) or (n_row, n_pixel), at the pixels of data of a star with
        this velocity: (n_data,) or (n_row, n_data); 0 where there are no networks.
        """
        rest, axis = self._rest, self._emulator.axis
        place, nearest = self._places_at(velocity)
        rows = [rest.laid(axis, axis.padded(row)) for row in np.atleast_2d(values)]
        moved = [np.where(place >= 0.0, self._interpolated(row, place, nearest), 0.0) for row in rows]
        return np.array(moved).reshape(*np.shape(values)[:-1], len(place))

    @property
    def log_step(self) -> float:
        """Of a place of the rest axis, in ln(wavelength): the unit of shifts and widths in a search."""
        return self._rest.log_step

    @property
    def places(self) -> np.ndarray:
        """(n_data,) of the data's pixels on the rest axis, in pixels, of a star at rest; negative where none is."""
        return self._places

    def continuum_terms(self) -> np.ndarray:
        """(n_segment * n_term, n_data): the polynomials of each segment of the data, 0 in the others."""
        if self._terms is None:
            return np.zeros((0, len(self.wavelength)))
        rows = np.zeros((len(self._axis.segments), *self._terms.shape))
        for own, (first, stop) in zip(rows, self._axis.segments, strict=True):
            own[:, first:stop] = self._terms[:, first:stop]
        return rows.reshape(-1, len(self.wavelength))

    def _places_at(self, velocity: float) -> tuple[np.ndarray, np.ndarray]:
        """Places (n_data,) of the data's pixels on the rest axis, NOWHERE where they have none, and the nearest."""
        place = np.where(self._places == NOWHERE, NOWHERE, self._places - to_places(velocity, self._rest.log_step))
        return place, np.clip(np.floor(place + 0.5).astype(int), 0, self._rest.n_place - 1)

    def _interpolated(self, values: np.ndarray, place: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Values (n_place,) of the rest axis at places (n_data,)."""
        if not self._moves:
            return values[nearest]
        whole, taps = self._around(place)
        return (tap_weights(place - whole) * values[taps]).sum(axis=1)

    def _around(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place before each of `place` (n_data,), and the eight around it (n_data, 8)."""
        whole = np.clip(np.floor(place).astype(int), HALF - 1, self._rest.n_place - HALF - 1)
        return whole, whole[:, None] + np.arange(1 - HALF, HALF + 1)

    # --- In the parameters that a search moves (parameters.py), flux as a share of the flux scale

    @property
    def segments(self) -> np.ndarray:
        """(n_segment, 2), first pixel and stop, exclusive, of what has a continuum of its own."""
        return self._axis.segments

    @property
    def terms(self) -> np.ndarray:
        """(n_term, n_data), the Chebyshev polynomials of the continuum."""
        return np.zeros((0, len(self.wavelength))) if self._terms is None else self._terms

    def known_at(self, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the networks' error, and where there are networks around, (n_data,), for a shift in places."""
        place = np.where(self._places == NOWHERE, NOWHERE, self._places - shift)
        nearest = np.floor(place + 0.5).astype(int)
        inside = (self._places >= 0.0) & (nearest >= 0) & (nearest < self._rest.n_place)
        nearest = np.where(inside, nearest, 0)
        return self._rest.variance[nearest], inside & (self._rest.interior[nearest] > 0.0)

    def linearised(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_data,) at parameters (n_parameter,), without continuum, and its derivatives (n_parameter, n_data)."""
        layout = ParameterLayout.of(self.networks, self.settings)
        flux, by_labels = self.networks.jacobian_scaled(x[layout.labels])
        rest, axis = self._rest, self._emulator.axis
        at_rest = [rest.laid(axis, axis.padded(np.nan_to_num(one))) for one in (flux, *by_labels.T)]
        rows = self._broadened(at_rest, x[layout.broadenings])
        place = np.where(
            self._places == NOWHERE, NOWHERE, self._places - (x[layout.velocity] if layout.has_velocity else 0.0)
        )
        if not self._moves:
            rows = rows[:, np.clip(np.floor(place + 0.5).astype(int), 0, rest.n_place - 1)]
            return rows[0], rows[1:]
        whole, taps = self._around(place)
        weights, slope = interpolated_taps(place - whole)
        moved = np.stack([np.einsum("kt,kt->k", weights, row[taps]) for row in rows])
        if not layout.has_velocity:
            return moved[0], moved[1:]
        return moved[0], np.concatenate([moved[1:], [-np.einsum("kt,kt->k", slope, rows[0][taps])]])

    def _broadened(self, at_rest: list[np.ndarray], widths: np.ndarray) -> np.ndarray:
        """Flux at rest and its derivatives, each (n_place,), broadened; behind them those by the broadenings."""
        if self._broadening is None:
            return np.stack(at_rest)
        rest, km_s = self._rest, C_KM_S * self._rest.log_step
        rows = [self._broadening.broadened(rest, row, to_width(widths) * km_s) for row in at_rest]
        for b in range(len(widths)):
            sides, middle = np.tile(widths, (2, 1)), max(widths[b], STEP)
            sides[:, b] = middle + STEP, middle - STEP
            more, less = (self._broadening.broadened(rest, at_rest[0], to_width(side) * km_s) for side in sides)
            rows.append((more - less) / (2.0 * STEP))
        return np.stack(rows)

    def _widths(self, broadening: Mapping | None, n: int) -> np.ndarray:
        """Widths (n, n_broad) in km/s."""
        names = () if self._broadening is None else self._broadening.names
        widths = np.zeros((n, len(names)))
        for name, value in {**self.settings.fixed, **(broadening or {})}.items():
            if name in names:
                widths[:, names.index(name)] = value
            elif name in (broadening or {}):
                raise SpectraError(
                    f"broadening has {name}, but the settings fit {', '.join(names) or 'none'}: "
                    "FitSettings(vsini=True, vmac=True)."
                )
        return widths

    def _rows(self, labels, velocity) -> tuple[np.ndarray, np.ndarray]:
        """Labels (n, n_label) and velocities (n,)."""
        rows, n_label = np.atleast_2d(np.asarray(labels, dtype=float)), len(self.networks.x_min)
        if rows.ndim != 2 or rows.shape[1] != n_label:
            raise SpectraError(f"labels of shape {np.shape(labels)}: expected ({n_label},) or (n_spectrum, {n_label}).")
        if np.ndim(velocity) > 1 or (np.ndim(velocity) == 1 and len(velocity) != len(rows)):
            raise SpectraError(f"velocity has shape {np.shape(velocity)}, expected one number or ({len(rows)},).")
        if np.any(velocity) and not self.settings.velocity:
            raise SpectraError("a velocity is given, but the settings have none: FitSettings(velocity=True).")
        return rows, np.broadcast_to(np.asarray(velocity, dtype=float), len(rows))


def interpolated_taps(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 8) weights of the eight taps for values at t (n,) in 0 ... 1, and their derivatives, as the kernels' are."""
    scaled = t * INTERVALS
    interval = np.clip(scaled.astype(int), 0, INTERVALS - 1)
    u = (scaled - interval)[:, None]
    c0, c1, c2, c3 = np.moveaxis(tap_table()[interval], 1, 0)
    return c0 + u * (c1 + u * (c2 + u * c3)), INTERVALS * (c1 + u * (2.0 * c2 + 3.0 * u * c3))


def _continuum(axis: PaddedAxis, terms, model, variance, flux, flux_error, used) -> np.ndarray:
    """Chebyshev polynomials of each segment that go best with the model, (n_data,); NaN where no pixel tells them."""
    continuum = np.full(len(flux), np.nan)
    for first, stop in axis.segments:
        rows = np.flatnonzero(used[first:stop]) + first
        if not len(rows):
            continue
        level = np.zeros(len(rows))
        for _ in range(SOLUTIONS):
            sigma = np.sqrt(flux_error[rows] ** 2 + variance[rows] * level**2)
            matrix = (terms[:, rows] * (model[rows] / sigma)).T
            solution = np.linalg.lstsq(matrix, flux[rows] / sigma, rcond=None)[0]
            level = solution @ terms[:, rows]
        continuum[first:stop] = solution @ terms[:, first:stop]
    return continuum
