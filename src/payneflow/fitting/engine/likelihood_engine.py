"""The arrays around the kernels of the likelihood: what all spectra share, and the working memory of a thread."""

import numpy as np

from payneflow.fitting.broadening import NOTHING, LineBroadening
from payneflow.fitting.engine.arguments import OutlierMemory
from payneflow.fitting.engine.broaden import NO_BROADENING
from payneflow.fitting.engine.continuum import chebyshev
from payneflow.fitting.engine.emulator import PaddedAxis, emulator_of
from payneflow.fitting.engine.general_pass import RESAMPLE, SHIFT, STAY
from payneflow.fitting.engine.likelihood_pass import (
    Judging,
    JudgingMemory,
    Model,
    ModelMemory,
    Star,
    build_likelihood,
)
from payneflow.fitting.engine.shift import NOWHERE, RestAxis, tap_table
from payneflow.fitting.parameters import Parameters
from payneflow.fitting.quality import VELOCITY_WINDOW
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.simd import LANES, aligned
from payneflow.weights import LOGISTIC

SINGLE = np.float32


class LikelihoodEngine:
    """Measures chi2 of spectra (n_data,) on `wavelength`; arguments as those of `engine_for`.

    What it holds after it is made never changes. `log_step`: of the rest axis; `layout`: of the parameters.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        settings: FitSettings,
        wavelength: np.ndarray | None = None,
        resolution: np.ndarray | float | None = None,
    ):
        emulator, own = emulator_of(networks), networks.wavelength
        broadening = LineBroadening.of(networks, settings, wavelength, resolution)
        self.layout = Parameters.of(networks, settings).layout
        self._axis = emulator.axis if wavelength is None else PaddedAxis(wavelength, own)
        moves = wavelength is not None or settings.velocity or broadening is not None
        fastest, window = (settings.max_velocity, VELOCITY_WINDOW) if settings.velocity else (0.0, 0.0)
        rest = RestAxis(emulator, own, fastest, window, moves, None if broadening is None else broadening.reach)
        self.log_step, n_term = rest.log_step, settings.continuum
        data_wavelength = own if wavelength is None else wavelength
        terms = chebyshev(self._axis, data_wavelength, max(n_term, 1))
        places = rest.place(data_wavelength) if wavelength is not None else rest.own_places(emulator.axis)
        usable = self._axis.padded(np.ones(len(data_wavelength)))
        if not (moves or n_term) and emulator.kind == LOGISTIC:  # as the fit of labels alone has it
            usable = (~emulator.dead).astype(float)
        self._model = Model(
            weights=emulator.weights[SINGLE],
            own_ranges=emulator.axis.ranges,
            starts=rest.starts,
            ranges=self._axis.ranges,
            places=self._axis.padded(places - NOWHERE) + NOWHERE,
            firsts=rest.firsts,
            even_weights=rest.weights,
            taps=_single(tap_table()),
            terms=_single(terms),
            broadening=NOTHING if broadening is None else broadening.given(rest),
        )
        variance = rest.variance if settings.emulator_error else np.zeros_like(rest.variance)
        self._judging = Judging(usable, rest.interior, variance, terms.ravel())
        self._sizes = {
            "own": emulator.axis.n_place if rest.uneven else 0,
            "rest": rest.n_place,
            "broad": 0 if broadening is None else rest.n_place,
            "varied": rest.n_place if len(self._model.broadening.varied) else 0,
            "moved": self._axis.n_place if moves else 0,
        }
        move = RESAMPLE if wavelength is not None or rest.uneven else SHIFT if moves else STAY
        n_broad = NO_BROADENING if broadening is None else self.layout.n_broad
        self._mode = emulator.n_label, emulator.n_neurons, n_term, move, rest.uneven, n_broad, emulator.kind

    def working(self) -> ModelMemory:
        """Working memory of one thread for `chi2`."""
        return ModelMemory(**{name: aligned(size // LANES, SINGLE) for name, size in self._sizes.items()})

    def judging(self) -> JudgingMemory:
        """Working memory of one thread for `star`."""
        n = self._axis.n_place // LANES
        y, weight, flat, flat_weight, continuum, ones = (aligned(n) for _ in range(6))
        ones[:] = 1.0
        marks = (np.zeros(n * LANES, np.int64) for _ in range(2))
        outliers = OutlierMemory(aligned(n), aligned(n, SINGLE), *marks, np.zeros(1, np.int64))
        return JudgingMemory(y, weight, flat, flat_weight, continuum, ones, aligned(n, SINGLE), outliers)

    def star(
        self,
        flux: np.ndarray,
        flux_error: np.ndarray,
        x: np.ndarray,
        found: float,
        memory: ModelMemory,
        judging: JudgingMemory,
    ) -> tuple[Star, int, float]:
        """A spectrum (n_data,) as it counts in the fit that ended at x (n_parameter,), in the parameters of a search.

        `found`: places, the shift at which that fit began; 0 without a velocity. Also how many pixels count, and the
        unit of its flux in that of `flux`. Outliers of the fit do not count, and the weights are those of the fit.
        """
        n = self._axis.n_place // LANES
        padded = [aligned(n).reshape(1, -1) for _ in range(2)]
        self._axis.lay(np.asarray(flux, dtype=float)[None], padded[0])
        self._axis.lay(np.asarray(flux_error, dtype=float)[None], padded[1])
        star = Star(aligned(n, SINGLE), aligned(n, SINGLE), np.zeros(len(self._axis.segments), np.int64))
        judge, _ = build_likelihood(*self._mode)
        data = padded[0][0], padded[1][0]
        n_used, unit = judge(self._model, self._judging, *data, np.array(x), float(found), star, memory, judging)
        return star, n_used, unit

    def chi2(self, star: Star, x: np.ndarray, memory: ModelMemory) -> np.ndarray:
        """(m,) of parameters x (m, n_parameter), as a search has them, with the best continua and without priors."""
        chi2 = np.empty(len(x))
        _, measure = build_likelihood(*self._mode)
        measure(self._model, star, np.ascontiguousarray(x), memory, chi2)
        return chi2


def _single(values: np.ndarray) -> np.ndarray:
    """A flat table in single precision."""
    single = aligned(values.size // LANES, SINGLE)
    single[:] = values.ravel()
    return single
