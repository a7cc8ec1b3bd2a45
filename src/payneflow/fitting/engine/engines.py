"""The arrays around the kernels: what all spectra share, and the working memory of a thread."""

from weakref import WeakKeyDictionary

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.contract import FitEngine
from payneflow.fitting.engine.correlation import Correlation, flattened
from payneflow.fitting.engine.emulator import Emulator, PaddedAxis, emulator_of
from payneflow.fitting.engine.general_fit import build_general_fit
from payneflow.fitting.engine.general_pass import RESAMPLE, SHIFT, STAY
from payneflow.fitting.engine.label_fit import build_label_fit
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.shift import NOWHERE, RestAxis, tap_table, to_places
from payneflow.fitting.engine.starts import SAMPLES, LabelEstimate, predicted, spread
from payneflow.fitting.parameters import ParameterLayout, Parameters
from payneflow.fitting.quality import WINDOW, Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.simd import LANES, aligned

MARGIN = 0.05  # a fit ends so many tolerances from the minimum, as it predicts it: predictions err
BLOCK = 32  # spectra that a thread takes at a time
FLAT_TERMS = 4  # of the continuum that spectra are divided by before correlation, where none is fitted

_ESTIMATES: WeakKeyDictionary[Emulator, dict] = WeakKeyDictionary()


def estimate_of(emulator: Emulator, wavelength: np.ndarray, n_flat: int) -> LabelEstimate:
    """The estimate from spectra divided by continua of n_flat terms (0: normalised ones); made once in a process."""
    made = _ESTIMATES.setdefault(emulator, {})
    if n_flat not in made:
        scaled = spread(SAMPLES, emulator.n_label)
        flux = predicted(emulator, scaled)
        if n_flat:
            flux = flattened(emulator, flux, chebyshev(emulator.axis, wavelength, n_flat)).astype(np.float32)
        made[n_flat] = LabelEstimate(flux, scaled, emulator.dead)
    return made[n_flat]


def engine_for(
    networks: PixelNetworks, settings: FitSettings, wavelength: np.ndarray | None, own_start: bool
) -> FitEngine:
    """The engine for spectra on `wavelength` (None: the networks' own) with these settings."""
    if wavelength is None and not settings.velocity and not settings.continuum:
        return LabelEngine(networks, settings, own_start)
    return GeneralEngine(networks, settings, wavelength, own_start)


class LabelEngine:
    """Fits labels alone, on the networks' own pixels."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, own_start: bool):
        emulator = emulator_of(networks)
        estimate = estimate_of(emulator, networks.wavelength, 0)
        self.axis, self.n_label = emulator.axis, emulator.n_label
        self._box = _box(networks, settings)
        self._kernel = build_label_fit(emulator.n_label, emulator.n_neurons, estimate.n_projection)
        variance = emulator.variance if settings.emulator_error else np.zeros_like(emulator.variance)
        usable = (~emulator.dead).astype(float)
        weights = emulator.weights[np.float64], emulator.weights[np.float32]
        self._given = (*weights, variance, usable, estimate.tables, own_start, self._box)
        self._limits = MARGIN * settings.tolerance, settings.most_iterations

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra."""
        return Fits.empty(n, self.n_label)

    def working(self) -> tuple[np.ndarray, ...]:
        """Working memory of one thread: a block of spectra, and the spectrum under way in both precisions."""
        n_row = self.axis.n_place // LANES
        block = (aligned(BLOCK * n_row).reshape(BLOCK, -1) for _ in range(2))
        one = aligned(n_row)
        one[:] = 1.0
        return (*block, one, aligned(n_row), aligned(n_row), aligned(n_row, np.float32), aligned(n_row, np.float32))

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working) -> None:
        """Fit a block of spectra (n, n_data), n <= BLOCK, into the rows of `fits`."""
        padded_flux, padded_error, *rest = working
        n = len(flux)
        self.axis.lay(flux, padded_flux[:n])
        self.axis.lay(error, padded_error[:n])
        data = padded_flux[:n], padded_error[:n], starts
        written = fits.x, fits.matrix, fits.chi2, fits.snr, fits.counts, fits.extra_scatter
        self._kernel(*self._given, *self._limits, *data, *written, *rest)


class GeneralEngine:
    """Fits labels with a velocity, continua, or on another wavelength axis (n_data,) in Angstrom."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, wavelength: np.ndarray | None, own_start: bool):
        emulator = emulator_of(networks)
        self._layout = ParameterLayout(emulator.n_label, settings.velocity)
        self.n_label = emulator.n_label
        self.axis = emulator.axis if wavelength is None else PaddedAxis(wavelength)
        move = RESAMPLE if wavelength is not None else SHIFT if settings.velocity else STAY
        self._n_term, n_flat = settings.continuum, settings.continuum or FLAT_TERMS
        own = networks.wavelength
        estimate = estimate_of(emulator, own, n_flat)
        fastest = settings.max_velocity if settings.velocity else 0.0
        rest = RestAxis(emulator, own, fastest, WINDOW if settings.velocity else 0.0, move != STAY)
        self.log_step = rest.log_step
        data_wavelength = own if wavelength is None else wavelength
        terms = chebyshev(self.axis, data_wavelength, max(settings.continuum, 1))
        flat_terms = chebyshev(self.axis, data_wavelength, n_flat)
        places = rest.place(data_wavelength) if wavelength is not None else rest.own_places(emulator.axis)
        places = self.axis.padded(places - NOWHERE) + NOWHERE
        usable = self.axis.padded(np.ones(len(data_wavelength)))
        if not ((places >= 0.0) & (rest.good[np.clip(np.rint(places).astype(int), 0, rest.n_place - 1)] > 0)).any():
            raise SpectraError(
                f"wavelength runs from {data_wavelength[0]:.2f} to {data_wavelength[-1]:.2f} A, the networks' from "
                f"{own[0]:.2f} to {own[-1]:.2f} A (vacuum): they have no pixel in common. Is the unit Angstrom?"
            )
        left, fraction = rest.neighbours(places)
        self._correlation = Correlation(
            emulator, rest, chebyshev(emulator.axis, own, n_flat), to_places(fastest, rest.log_step)
        )
        variance = rest.variance if settings.emulator_error else np.zeros_like(rest.variance)
        weights = emulator.weights[np.float64], emulator.weights[np.float32]
        tables = tap_table().ravel()
        self._given = (
            *weights, terms.ravel(), _single(terms), flat_terms.ravel(), tables, _single(tables),
            (emulator.axis.ranges, self.axis.ranges, rest.starts, places),
            (usable, left, fraction, rest.interior, variance),
            estimate.tables, self._correlation.tables, self._correlation.numbers, own_start,
            _box(networks, settings), to_places(WINDOW, rest.log_step),
            MARGIN * settings.tolerance, settings.most_iterations,
        )  # fmt: skip
        self._n_rest, self._n_place_own = rest.n_place, emulator.axis.n_place
        self._columns = rest.n_place * -(-(self.n_label + 1) // LANES) * LANES if move == RESAMPLE else LANES
        self._kernel = build_general_fit(
            emulator.n_label, emulator.n_neurons, estimate.n_projection, self._n_term, n_flat, move, settings.velocity
        )

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra."""
        n_segment = len(self.axis.segments)
        return Fits.empty(n, self._layout.n, n_segment, self._n_term, self.log_step)

    def working(self) -> tuple:
        """Working memory of one thread: a block of spectra, the spectrum under way, the emulator moved to it."""
        n, n_own, n_rest = self.axis.n_place // LANES, self._n_place_own // LANES, self._n_rest // LANES
        block = (aligned(BLOCK * n).reshape(BLOCK, -1) for _ in range(2))
        one = aligned(n)
        one[:] = 1.0
        data = (*(aligned(n) for _ in range(5)), one, np.zeros(len(self.axis.segments), np.int64))
        sizes = (n, n, n_own, n_own, n_rest, n_rest, n_rest)
        single = tuple(aligned(size, np.float32) for size in sizes)
        moved = [
            (
                aligned((1 + self.n_label) * n_rest, kind),
                aligned((2 + self.n_label) * n, kind),
                aligned(self._columns // LANES, kind),
            )
            for kind in (np.float64, np.float32)
        ]
        return (*block, data, single, *moved, self._correlation.working())

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working) -> None:
        """Fit a block of spectra (n, n_data), n <= BLOCK, into the rows of `fits`."""
        padded_flux, padded_error, *rest = working
        n = len(flux)
        self.axis.lay(flux, padded_flux[:n])
        self.axis.lay(error, padded_error[:n])
        starts = self._layout.joined(starts)
        written = fits.x, fits.matrix, fits.chi2, fits.snr, fits.counts, fits.extra_scatter, fits.shifts, fits.continua
        self._kernel(*self._given, padded_flux[:n], padded_error[:n], starts, *written, *rest)


def _single(values: np.ndarray) -> np.ndarray:
    result = aligned(values.size // LANES, np.float32)
    result[:] = values.ravel()
    return result


def _box(networks: PixelNetworks, settings: FitSettings) -> Box:
    """What a search needs of the parameters."""
    given = Parameters.of(networks, settings)
    return Box(given.lowest, given.highest, ~given.free, given.prior_mean, given.prior_weight)
