"""The arrays around the kernels: what all spectra share, and the working memory of a thread."""

from collections.abc import Callable
from copy import copy
from weakref import WeakKeyDictionary

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.broadening import NOTHING, LineBroadening, to_places_of_width
from payneflow.fitting.engine.alternatives import MOST_LAG, lags, n_row_of, shapes
from payneflow.fitting.engine.arguments import (
    AlternativeMemory,
    Alternatives,
    Axes,
    DataMemory,
    GeneralMemory,
    Kept,
    LabelMemory,
    Limits,
    MovedMemory,
    Noise,
    OutlierMemory,
    Precisions,
    Rest,
    SingleMemory,
    Spectra,
    Terms,
)
from payneflow.fitting.engine.broaden import NO_BROADENING, Broadening
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.contract import FitEngine
from payneflow.fitting.engine.correlation import Correlation, flattened
from payneflow.fitting.engine.data_axis import Around, AxisMemory, DataAxis, in_precisions, laid_out, of_networks
from payneflow.fitting.engine.emulator import LINE, Emulator, PaddedAxis, emulator_of
from payneflow.fitting.engine.general_fit import build_general_fit
from payneflow.fitting.engine.general_pass import RESAMPLE, SHIFT, STAY
from payneflow.fitting.engine.label_fit import build_label_fit
from payneflow.fitting.engine.minimiser import END_OF_PIECE, Box
from payneflow.fitting.engine.piece_pass import build_piece_pass
from payneflow.fitting.engine.shift import NOWHERE, RestAxis, tap_table, to_places
from payneflow.fitting.engine.starts import SAMPLES, LabelEstimate, predicted, spread
from payneflow.fitting.engine.widths import to_parameter
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import VELOCITY_WINDOW, Fits
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.simd import LANES, aligned
from payneflow.weights import LOGISTIC

END_WITHIN = 0.05  # a fit ends so many tolerances from the minimum, as it predicts it: predictions err
SPECTRA_A_BLOCK = 32  # spectra that a thread takes at a time
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
    networks: PixelNetworks,
    settings: FitSettings,
    wavelength: np.ndarray | None,
    own_start: bool,
    resolution: np.ndarray | float | None = None,
) -> FitEngine:
    """The engine for spectra on `wavelength` (None: the networks' own) with these settings.

    `resolution`: of the spectra, one or (n_data,); None: that of the settings.
    """
    broadening = LineBroadening.of(networks, settings, wavelength, resolution)
    labels_alone = wavelength is None and not settings.velocity and not settings.continuum and broadening is None
    labels_alone &= emulator_of(networks).kind == LOGISTIC  # of the others each fit goes through memory
    if labels_alone and resolution is None:  # else the spectra beside these may be broadened, and all have one engine
        return LabelEngine(networks, settings, own_start)
    return GeneralEngine(networks, settings, wavelength, own_start, broadening)


class LabelEngine:
    """Fits labels alone, on the networks' own pixels."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, own_start: bool):
        emulator = emulator_of(networks)
        estimate = estimate_of(emulator, networks.wavelength, 0)
        self.axis, self.n_label = emulator.axis, emulator.n_label
        self._kernel = build_label_fit(emulator.n_label, emulator.n_neurons, estimate.n_projection)
        variance = emulator.variance if settings.emulator_error else np.zeros_like(emulator.variance)
        usable = (~emulator.dead).astype(float)
        noise, limits = Noise(variance, usable), Limits(END_WITHIN * settings.tolerance, settings.most_iterations, 0.0)
        alternatives = _alternatives(self.axis, networks.wavelength, 0, usable)
        self._given = (
            _weights(emulator), noise, estimate.tables, own_start, box_of(networks, settings), limits, alternatives
        )  # fmt: skip

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra."""
        return Fits.empty(n, self.n_label)

    def working(self) -> tuple[np.ndarray, np.ndarray, LabelMemory]:
        """Working memory of one thread: flux and error of a block, and the spectrum under way."""
        n_row = self.axis.n_place // LANES
        block = (aligned(SPECTRA_A_BLOCK * n_row).reshape(SPECTRA_A_BLOCK, -1) for _ in range(2))
        data, single = (aligned(n_row) for _ in range(2)), (aligned(n_row, np.float32) for _ in range(2))
        longest = int(np.diff(self.axis.ranges).max())
        alternatives = _alternative_memory(self.axis.n_place, longest, self.n_label, 0, self.n_label)
        return (*block, LabelMemory(_outlier_memory(n_row), alternatives, _ones(n_row), *data, *single))

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working) -> None:
        """Fit a block of spectra (n, n_data), n <= SPECTRA_A_BLOCK, into the rows of `fits`."""
        *block, memory = working
        self._kernel(*self._given, _laid(self.axis, block, flux, error, starts), fits.written(), memory)


class EveryEngine:
    """What all engines share that fit labels with a velocity, continua, broadened lines, or on other wavelengths.

    `on_networks`: are the data on the networks' own pixels? `reach`: places that kernels reach to either side, of a
    step of ln(wavelength); None: lines are not broadened. `end`: sigma from the minimum where fits end; None: that of
    the settings.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings,
        on_networks: bool,
        own_start: bool,
        reach: Callable[[float], int] | None,
        end: float | None = None,
    ):
        self._emulator = emulator = emulator_of(networks)
        self._wavelength = own = networks.wavelength
        self._layout = Parameters.of(networks, settings).layout
        self.n_label, self._n_slope = emulator.n_label, self._layout.n - self._layout.has_velocity
        self._n_term, self._n_flat = settings.continuum, settings.continuum or FLAT_TERMS
        moves = not on_networks or settings.velocity or reach is not None
        fastest = settings.max_velocity if settings.velocity else 0.0
        self._rest = rest = RestAxis(
            emulator, own, fastest, VELOCITY_WINDOW if settings.velocity else 0.0, moves, reach
        )
        self._move = RESAMPLE if not on_networks or rest.uneven else SHIFT if moves else STAY
        self.log_step = rest.log_step
        estimate = estimate_of(emulator, own, self._n_flat)
        self._correlation = Correlation(
            emulator, rest, chebyshev(emulator.axis, own, self._n_flat), to_places(fastest, rest.log_step)
        )
        self._variance = rest.variance if settings.emulator_error else np.zeros_like(rest.variance)
        window = to_places(VELOCITY_WINDOW, rest.log_step)
        limits = Limits(END_WITHIN * settings.tolerance if end is None else end, settings.most_iterations, window)
        self._weights, self._taps, self._lags = _weights(emulator), in_precisions(tap_table()), lags()
        self._own_places = emulator.axis.padded(rest.own_places(emulator.axis) - NOWHERE) + NOWHERE
        box, found = box_of(networks, settings, self.log_step), self._correlation
        self._search = estimate.tables, found.templates, found.lags, own_start, box, limits
        size, n_broad = (emulator.n_label, emulator.n_neurons), self._layout.n_broad
        mode = self._move, settings.velocity, rest.uneven, NO_BROADENING if reach is None else n_broad, emulator.kind
        self._kernel = build_general_fit(*size, estimate.n_projection, self._n_term, self._n_flat, *mode)
        self._look = build_piece_pass(*size, self._n_term, *mode)
        self._nothing_kept = Kept(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((0, 1), np.int64), np.zeros(0))

    def _on(self, data: DataAxis, interior: np.ndarray, broadening: Broadening) -> tuple:
        """What the kernel is given of spectra on an axis; `interior`: of their Rest."""
        rest, stops = self._rest, data.ranges[:, 0] + data.segments[:, 1] - data.segments[:, 0]
        return (
            self._weights,
            Terms(data.terms, data.flat),
            self._taps,
            Axes(
                self._emulator.axis.ranges, data.ranges, rest.starts, data.places, self._own_places, rest.firsts,
                rest.weights,
            ),
            Rest(data.usable, data.left, data.fraction, interior, self._variance),
            *self._search,
            Alternatives(data.ranges, stops, data.alive, data.shapes, self._lags),
            broadening,
        )  # fmt: skip

    def _memory(self, n_place: int, n_segment: int, longest: int, broadens: bool, varies: bool) -> GeneralMemory:
        """Working memory for spectra of up to n_place places, and `longest` in a segment."""
        n, n_own, n_rest = n_place // LANES, self._emulator.axis.n_place // LANES, self._rest.n_place // LANES
        data = DataMemory(*(aligned(n) for _ in range(5)), _ones(n), np.zeros(n_segment, np.int64))
        sizes = (n, n, n_own, n_own, n_rest, n_rest, n_rest)
        single = SingleMemory(*(aligned(size, np.float32) for size in sizes))
        n_row, registers = 1 + self._n_slope, -(-(1 + self._n_slope) // LANES)
        moved = Precisions(
            *(
                MovedMemory(
                    rest=aligned((1 + self.n_label) * n_rest, kind),
                    moved=aligned((1 + n_row) * n, kind),
                    own=aligned((1 + self.n_label) * n_own * self._rest.uneven, kind),
                    columns=aligned(max(registers * LANES * n_rest * (self._move == RESAMPLE), 1), kind),
                    broad=aligned(n_row * n_rest * broadens, kind),
                    varied=aligned(n_row * n_rest * varies, kind),
                )
                for kind in (np.float32, np.float64)
            )
        )
        alternatives = _alternative_memory(n_place, longest, self._layout.n, self._n_term)
        return GeneralMemory(data, _outlier_memory(n), alternatives, single, moved, self._correlation.working())


class GeneralEngine(EveryEngine):
    """Fits labels with a velocity, continua, broadened lines, or on another wavelength axis (n_data,) in Angstrom."""

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings,
        wavelength: np.ndarray | None,
        own_start: bool,
        broadening: LineBroadening | None = None,
        end: float | None = None,
    ):
        reach = None if broadening is None else broadening.reach
        super().__init__(networks, settings, wavelength is None, own_start, reach, end)
        own, terms = networks.wavelength, (self._n_term, self._n_flat)
        if wavelength is None:
            data = of_networks(self._emulator, self._rest, own, *terms)
        else:
            around = Around.of(self._rest, own)
            data = laid_out(around, wavelength, *terms, AxisMemory.of(around, len(wavelength), *terms))
        if not data.alive.any():
            raise nothing_in_common(own if wavelength is None else wavelength, own)
        self.axis = self._emulator.axis if wavelength is None else PaddedAxis(wavelength, own)
        given = NOTHING if broadening is None else broadening.given(self._rest)
        self._given, self._start = self._on(data, self._rest.interior, given), given.start
        self._broadens, self._varies = broadening is not None, len(given.varied) > 0

    @classmethod
    def of(
        cls,
        networks: PixelNetworks,
        settings: FitSettings,
        wavelength: np.ndarray | None,
        resolution: np.ndarray | float | None = None,
    ) -> "GeneralEngine":
        """The engine for pieces of stars, whatever is fitted; arguments as those of `engine_for`.

        Its fits end early, in single precision: pieces are not at the minimum of their star, anyway.
        """
        broadening = LineBroadening.of(networks, settings, wavelength, resolution)
        return cls(networks, settings, wavelength, True, broadening, END_OF_PIECE)

    def beginning_at(self, widths: np.ndarray) -> "GeneralEngine":
        """The same, of searches that begin with lines broadened by widths (n_broad,) in km/s."""
        other = copy(self)
        other._start = to_parameter(to_places_of_width(widths, self.log_step))
        return other

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra."""
        n_segment = len(self.axis.segments)
        return Fits.empty(n, self._layout.n, n_segment, self._n_term, self.log_step)

    def working(self) -> tuple[np.ndarray, np.ndarray, GeneralMemory]:
        """Working memory of one thread: flux and error of a block, the spectrum under way, the emulator moved to it."""
        n, longest = self.axis.n_place // LANES, int(np.diff(self.axis.ranges).max())
        block = (aligned(SPECTRA_A_BLOCK * n).reshape(SPECTRA_A_BLOCK, -1) for _ in range(2))
        sizes = self.axis.n_place, len(self.axis.segments), longest
        return (*block, self._memory(*sizes, self._broadens, self._varies))

    def keep(self, n: int) -> Kept:
        """Room for what the fits of n pieces of stars leave."""
        shape = n, self.axis.n_place
        y, weight = (aligned(n * self.axis.n_place // LANES).reshape(shape) for _ in range(2))
        n_solved = np.zeros((n, len(self.axis.segments)), np.int64)
        return Kept(y, weight, n_solved, np.full(n, np.nan))

    def fit(
        self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working, kept: Kept | None = None
    ) -> None:
        """Fit a block of spectra (n, n_data), n <= SPECTRA_A_BLOCK, into the rows of `fits`.

        `kept`: where the spectra are pieces of stars, which are not scored; of n rows.
        """
        *block, memory = working
        spectra = _laid(self.axis, block, flux, error, self._layout.joined(starts, broadenings=self._start))
        self._kernel(*self._given, spectra, self._nothing_kept if kept is None else kept, fits.written(), memory)

    def look(self, rows: np.ndarray, x: np.ndarray, dof: np.ndarray, gradient: np.ndarray, fits: Fits, kept, working):
        """Look at pieces of stars at given parameters, see `build_piece_pass`; `kept` as `fit` left it."""
        weights, terms, taps, axes, *_, alternatives, broadening = self._given
        memory = working[-1]
        given = weights, terms, taps, axes, alternatives, broadening
        self._look(*given, kept, rows, x, dof, gradient, fits.written(), memory)


def nothing_in_common(wavelength: np.ndarray, networks: np.ndarray) -> SpectraError:
    """What is wrong with wavelengths (n_data,) that are not those of the networks."""
    return SpectraError(
        f"wavelength runs from {wavelength[0]:.2f} to {wavelength[-1]:.2f} A, the networks' from "
        f"{networks[0]:.2f} to {networks[-1]:.2f} A (vacuum): they have no pixel in common. Is the unit Angstrom?"
    )


def _laid(axis: PaddedAxis, block: list[np.ndarray], flux: np.ndarray, error: np.ndarray, starts) -> Spectra:
    """A block of n spectra in the first n rows of its working memory."""
    padded_flux, padded_error = (memory[: len(flux)] for memory in block)
    axis.lay(flux, padded_flux)
    axis.lay(error, padded_error)
    return Spectra(padded_flux, padded_error, starts)


def _alternatives(axis: PaddedAxis, wavelength: np.ndarray, n_term: int, alive: np.ndarray) -> Alternatives:
    """What the alternatives of fits with continua of n_term terms are scored with; `alive` (n_place,) bool."""
    first, stop = axis.segments.T
    single = in_precisions(shapes(axis, wavelength, n_term)).single
    return Alternatives(axis.ranges, axis.ranges[:, 0] + stop - first, alive.astype(np.float32), single, lags())


def _alternative_memory(
    n_place: int, longest: int, n_parameter: int, n_term: int, n_model: int = 0
) -> AlternativeMemory:
    """Working memory of the scores; `longest`: places of a segment; `n_model`: derivatives of a model kept there."""
    n = n_place // LANES
    one = (aligned(n, np.float32) for _ in range(5))
    lines = aligned(-(-(longest + 2 * (MOST_LAG + LINE) + LINE) // LANES), np.float32)
    rows = aligned(n_row_of(n_parameter, n_term) * n, np.float32)
    sums = (np.empty(len(lags())) for _ in range(2))
    level = aligned(n, np.float32)
    level[:] = 1.0
    return AlternativeMemory(rows, *one, lines, *sums, aligned((1 + n_model) * n, np.float32), level)


def _outlier_memory(n_row: int) -> OutlierMemory:
    marks = (np.zeros(n_row * LANES, np.int64) for _ in range(2))
    return OutlierMemory(aligned(n_row), aligned(n_row, np.float32), *marks, np.zeros(1, np.int64))


def _weights(emulator: Emulator) -> Precisions:
    return Precisions(single=emulator.weights[np.float32], double=emulator.weights[np.float64])


def _ones(n_row: int) -> np.ndarray:
    ones = aligned(n_row)
    ones[:] = 1.0
    return ones


def box_of(networks: PixelNetworks, settings: FitSettings, log_step: float = 1.0) -> Box:
    """What a search needs of the parameters; `log_step`: of the rest axis, in places of which broadenings are."""
    given = Parameters.of(networks, settings)
    own = given.layout.broadenings
    is_width = np.zeros(given.layout.n, bool)
    is_width[own] = True
    place = to_places_of_width(1.0, log_step)
    highest, mean, weight = given.highest.copy(), given.prior_mean.copy(), given.prior_weight.copy()
    highest[own], mean[own] = to_parameter(highest[own] * place), mean[own] * place
    weight[own] /= place**2
    return Box(given.lowest, highest, ~given.free, mean, weight, is_width)
