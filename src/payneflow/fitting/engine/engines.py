"""The arrays around the kernels: what all spectra share, and the working memory of a thread."""

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
from payneflow.fitting.engine.broaden import NO_BROADENING
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.contract import FitEngine
from payneflow.fitting.engine.correlation import Correlation, flattened
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
        alternatives = _alternative_memory(self.axis, self.n_label, 0, self.n_label)
        return (*block, LabelMemory(_outlier_memory(n_row), alternatives, _ones(n_row), *data, *single))

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working) -> None:
        """Fit a block of spectra (n, n_data), n <= SPECTRA_A_BLOCK, into the rows of `fits`."""
        *block, memory = working
        self._kernel(*self._given, _laid(self.axis, block, flux, error, starts), fits.written(), memory)


class GeneralEngine:
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
        """`end`: sigma from the minimum where fits end; None: that of the settings."""
        emulator = emulator_of(networks)
        self._layout = Parameters.of(networks, settings).layout
        self.n_label = emulator.n_label
        self.axis = emulator.axis if wavelength is None else PaddedAxis(wavelength, networks.wavelength)
        moves = wavelength is not None or settings.velocity or broadening is not None
        self._n_term, n_flat = settings.continuum, settings.continuum or FLAT_TERMS
        own = networks.wavelength
        estimate = estimate_of(emulator, own, n_flat)
        fastest = settings.max_velocity if settings.velocity else 0.0
        reach = None if broadening is None else broadening.reach
        rest = RestAxis(emulator, own, fastest, VELOCITY_WINDOW if settings.velocity else 0.0, moves, reach)
        move = RESAMPLE if wavelength is not None or rest.uneven else SHIFT if moves else STAY
        self.log_step = rest.log_step
        data_wavelength = own if wavelength is None else wavelength
        terms = chebyshev(self.axis, data_wavelength, max(settings.continuum, 1))
        flat_terms = chebyshev(self.axis, data_wavelength, n_flat)
        places = rest.place(data_wavelength) if wavelength is not None else rest.own_places(emulator.axis)
        places = self.axis.padded(places - NOWHERE) + NOWHERE
        own_places = emulator.axis.padded(rest.own_places(emulator.axis) - NOWHERE) + NOWHERE
        usable = self.axis.padded(np.ones(len(data_wavelength)))
        around = (places >= 0.0) & (rest.good[np.clip(np.rint(places).astype(int), 0, rest.n_place - 1)] > 0)
        if not around.any():
            raise SpectraError(
                f"wavelength runs from {data_wavelength[0]:.2f} to {data_wavelength[-1]:.2f} A, the networks' from "
                f"{own[0]:.2f} to {own[-1]:.2f} A (vacuum): they have no pixel in common. Is the unit Angstrom?"
            )
        left, fraction = rest.neighbours(places)
        self._correlation = Correlation(
            emulator, rest, chebyshev(emulator.axis, own, n_flat), to_places(fastest, rest.log_step)
        )
        variance = rest.variance if settings.emulator_error else np.zeros_like(rest.variance)
        window = to_places(VELOCITY_WINDOW, rest.log_step)
        self._given = (
            _weights(emulator),
            Terms(_precisions(terms), flat_terms.ravel()),
            _precisions(tap_table()),
            Axes(emulator.axis.ranges, self.axis.ranges, rest.starts, places, own_places, rest.firsts, rest.weights),
            Rest(usable, left, fraction, rest.interior, variance),
            estimate.tables,
            self._correlation.templates,
            self._correlation.lags,
            own_start,
            box_of(networks, settings, rest.log_step),
            Limits(END_WITHIN * settings.tolerance if end is None else end, settings.most_iterations, window),
            _alternatives(self.axis, data_wavelength, self._n_term, usable * around),
            NOTHING if broadening is None else broadening.given(rest),
        )
        self._start = self._given[-1].start
        self._n_broad_rest = 0 if broadening is None else rest.n_place
        self._n_varied_rest = rest.n_place if len(self._given[-1].varied) else 0
        self._n_own_moved = emulator.axis.n_place if rest.uneven else 0
        self._n_rest, self._n_place_own = rest.n_place, emulator.axis.n_place
        self._n_slope = self._layout.n - self._layout.has_velocity
        self._columns = rest.n_place * -(-(self._n_slope + 1) // LANES) * LANES if move == RESAMPLE else LANES
        size, n_broad = (emulator.n_label, emulator.n_neurons), self._layout.n_broad
        mode = move, settings.velocity, rest.uneven, NO_BROADENING if broadening is None else n_broad, emulator.kind
        self._kernel = build_general_fit(*size, estimate.n_projection, self._n_term, n_flat, *mode)
        self._look = build_piece_pass(*size, self._n_term, *mode)
        self._nothing_kept = self.keep(0)

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

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra."""
        n_segment = len(self.axis.segments)
        return Fits.empty(n, self._layout.n, n_segment, self._n_term, self.log_step)

    def working(self) -> tuple[np.ndarray, np.ndarray, GeneralMemory]:
        """Working memory of one thread: flux and error of a block, the spectrum under way, the emulator moved to it."""
        n, n_own, n_rest = self.axis.n_place // LANES, self._n_place_own // LANES, self._n_rest // LANES
        block = (aligned(SPECTRA_A_BLOCK * n).reshape(SPECTRA_A_BLOCK, -1) for _ in range(2))
        data = DataMemory(*(aligned(n) for _ in range(5)), _ones(n), np.zeros(len(self.axis.segments), np.int64))
        sizes = (n, n, n_own, n_own, n_rest, n_rest, n_rest)
        single = SingleMemory(*(aligned(size, np.float32) for size in sizes))
        moved = Precisions(
            *(
                MovedMemory(
                    rest=aligned((1 + self.n_label) * n_rest, kind),
                    moved=aligned((2 + self._n_slope) * n, kind),
                    own=aligned((1 + self.n_label) * self._n_own_moved // LANES, kind),
                    columns=aligned(self._columns // LANES, kind),
                    broad=aligned((1 + self._n_slope) * self._n_broad_rest // LANES, kind),
                    varied=aligned((1 + self._n_slope) * self._n_varied_rest // LANES, kind),
                )
                for kind in (np.float32, np.float64)
            )
        )
        alternatives = _alternative_memory(self.axis, self._layout.n, self._n_term)
        return (
            *block,
            GeneralMemory(data, _outlier_memory(n), alternatives, single, moved, self._correlation.working()),
        )

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


def _laid(axis: PaddedAxis, block: list[np.ndarray], flux: np.ndarray, error: np.ndarray, starts) -> Spectra:
    """A block of n spectra in the first n rows of its working memory."""
    padded_flux, padded_error = (memory[: len(flux)] for memory in block)
    axis.lay(flux, padded_flux)
    axis.lay(error, padded_error)
    return Spectra(padded_flux, padded_error, starts)


def _alternatives(axis: PaddedAxis, wavelength: np.ndarray, n_term: int, alive: np.ndarray) -> Alternatives:
    """What the alternatives of fits with continua of n_term terms are scored with; `alive` (n_place,) bool."""
    first, stop = axis.segments.T
    single = _precisions(shapes(axis, wavelength, n_term)).single
    return Alternatives(axis.ranges, axis.ranges[:, 0] + stop - first, alive.astype(np.float32), single, lags())


def _alternative_memory(axis: PaddedAxis, n_parameter: int, n_term: int, n_model: int = 0) -> AlternativeMemory:
    """Working memory of the scores; `n_model`: derivatives of the model that are kept there."""
    n, longest = axis.n_place // LANES, int(np.diff(axis.ranges).max())
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


def _precisions(values: np.ndarray) -> Precisions:
    """A flat table in both precisions."""
    single = aligned(values.size // LANES, np.float32)
    single[:] = values.ravel()
    return Precisions(single=single, double=values.ravel())


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
