"""Spectra in, labels out: the labels whose predicted spectrum is nearest to the observed one, with their errors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from astropy.table import Column, Table

from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting.emulator import emulator_of
from payneflow.fitting.judgement import Fits, judge
from payneflow.fitting.label_fit import build_label_fit
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.starts import estimate_of, spread
from payneflow.fitting.table import fits_table
from payneflow.network import PixelNetworks
from payneflow.scaling import OFFSET
from payneflow.training.simd import aligned

LOWEST, HIGHEST = 0.0, 1.0  # bounds of the scaled labels (published listing); training labels fill 0.1 ... 0.9
MARGIN = 0.05  # a fit ends so many tolerances from the minimum, as it predicts it: predictions err
BLOCK = 32  # spectra that a thread takes at a time
DEFAULT = FitSettings()


def fit_spectra(
    networks: PixelNetworks,
    flux: np.ndarray,
    flux_error: np.ndarray | float,
    wavelength: np.ndarray | None = None,
    *,
    settings: FitSettings = DEFAULT,
    label_errors=None,
    start: np.ndarray | str | None = None,
    identifier: np.ndarray | None = None,
    spectrum: np.ndarray | None = None,
    exclude: np.ndarray | None = None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Least-squares labels of spectra, each fitted on its own.

    `flux`: (n_spectrum, n_data). `flux_error`: its 1 sigma errors, the same shape, (n_data,), or one number. Pixels
    whose flux is not finite, whose error is not finite and positive or is more than 100 times the spectrum's median
    |flux|, or that have no network take no part. `wavelength`: None where the data are on the networks' own pixels.
    `settings`: what is fitted, and how (FitSettings).
    `label_errors`: what a calibration measured (LabelErrors); without it errors are the formal ones of the photon noise
    and the emulator's error in each pixel. `exclude`: (n_spectrum,) rows of the grid behind `label_errors` that these
    spectra themselves are, -1 for none.
    `start`: labels (n_spectrum, n_label) in their units to start from; "middle": the middle of the training range;
    None: an estimate from the spectrum. `identifier`: (n_spectrum,) names, `spectrum`: (n_spectrum,) numbers for the
    table. `processes`: threads that share the spectra; neither their number nor the order of the spectra changes a bit.
    `progress` is called with the number of fits done.

    Returns one row a spectrum, see `fits_table`. A fit that fails is NaN and flagged FAILED; it never stops the others.
    Raises SpectraError where shapes do not fit, SettingsError where a setting names what the networks do not have.
    """
    settings.check_labels(networks)
    flux, flux_error = _checked(networks, flux, flux_error, wavelength)
    _check_rows("identifier", identifier, len(flux))
    _check_rows("spectrum", spectrum, len(flux))
    _check_rows("exclude", exclude, len(flux))
    starts, own_start = _starts(networks, settings, start, len(flux))
    engine = _LabelEngine(networks, settings, own_start)
    fits = Fits.empty(len(flux), len(networks.x_min))
    _fit_blocks(engine, flux, flux_error, starts, fits, processes, progress)
    verdict = judge(networks, settings, fits, label_errors, exclude)
    table = fits_table(networks, settings, fits, verdict, flux.shape[1])
    table.meta["errors"] = "formal" if label_errors is None else "calibrated"
    if spectrum is not None:
        table["spectrum"][:] = spectrum
    if identifier is not None:
        table.replace_column("spectrum", Column(identifier, "identifier", description="identifier of the spectrum"))
        table.rename_column("spectrum", "identifier")
    return table


def _checked(networks, flux, flux_error, wavelength) -> tuple[np.ndarray, np.ndarray]:
    """Flux (n_spectrum, n_data) and its errors as arrays of that shape, neither copied nor converted."""
    flux, flux_error = np.atleast_2d(np.asanyarray(flux)), np.asanyarray(flux_error)
    for name, array in (("flux", flux), ("flux_error", flux_error)):
        if array.dtype.kind not in "fiu":
            raise SpectraError(f"{name} holds {array.dtype}, expected numbers.")
    n_data = len(networks.wavelength) if wavelength is None else len(wavelength)
    if flux.ndim != 2 or flux.shape[1] != n_data:
        pixel = "one value for each network" if wavelength is None else "one value for each wavelength"
        raise SpectraError(f"flux has shape {flux.shape}, expected (n_spectrum, {n_data}), {pixel}.")
    try:
        return flux, np.broadcast_to(flux_error, flux.shape)
    except ValueError:
        raise SpectraError(f"flux_error has shape {flux_error.shape}, expected {flux.shape}.") from None


def _check_rows(name: str, values: np.ndarray | None, n: int) -> None:
    if values is not None and np.shape(values) != (n,):
        raise SpectraError(f"{name} has shape {np.shape(values)}, expected ({n},), one for each spectrum.")


def _starts(networks, settings, start, n) -> tuple[np.ndarray, bool]:
    """Scaled labels (n, n_start, n_label) to start from, and whether the first is to be an estimate instead."""
    n_label = len(networks.x_min)
    more = spread(settings.n_starts, n_label)  # its first point is the middle
    starts = np.tile(more, (n, 1, 1))
    if start is None or isinstance(start, str):
        if start not in (None, "middle"):
            raise SettingsError(f'start is {start!r}: expected labels, "middle" or None.')
        return starts, start is None
    if np.shape(start) != (n, n_label):
        raise SpectraError(f"start has shape {np.shape(start)}, expected {(n, n_label)}, the labels to start from.")
    starts[:, 0] = np.clip(networks.scaler.scale(start), LOWEST, HIGHEST)
    return starts, False


class _LabelEngine:
    """Fits labels alone, on the networks' own pixels."""

    def __init__(self, networks: PixelNetworks, settings: FitSettings, own_start: bool):
        emulator = emulator_of(networks)
        estimate = estimate_of(emulator)
        self.axis = emulator.axis
        self.box = _box(networks, settings)
        self._own_start = own_start
        self._kernel = build_label_fit(emulator.n_label, emulator.n_neurons, estimate.n_projection)
        variance = emulator.variance if settings.emulator_error else np.zeros_like(emulator.variance)
        usable = (~emulator.dead).astype(float)
        weights = emulator.weights[np.float64], emulator.weights[np.float32]
        self._given = (*weights, variance, usable, estimate.tables, own_start, self.box)
        self._limits = MARGIN * settings.tolerance, settings.most_iterations

    def working(self) -> tuple[np.ndarray, ...]:
        """Working memory of one thread: a block of spectra, and the spectrum under way in both precisions."""
        n_row = self.axis.n_place // 8
        block = (aligned(BLOCK * n_row).reshape(BLOCK, -1) for _ in range(2))
        return (*block, aligned(n_row), aligned(n_row), aligned(n_row, np.float32), aligned(n_row, np.float32))

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working) -> None:
        """Fit a block of spectra (n, n_data), n <= BLOCK, into the rows of `fits`."""
        padded_flux, padded_error, *rest = working
        n = len(flux)
        self.axis.lay(flux, padded_flux[:n])
        self.axis.lay(error, padded_error[:n])
        data = padded_flux[:n], padded_error[:n], starts
        self._kernel(*self._given, *self._limits, *data, fits.x, fits.matrix, fits.chi2, fits.snr, fits.counts, *rest)


def _box(networks: PixelNetworks, settings: FitSettings) -> tuple[np.ndarray, ...]:
    """Bounds of the scaled labels, which are held, and their priors; see `minimise`."""
    n_label = len(networks.x_min)
    lowest, highest = np.full(n_label, LOWEST), np.full(n_label, HIGHEST)
    held, mean, weight = np.zeros(n_label, bool), np.zeros(n_label), np.zeros(n_label)
    width = networks.scaler.width
    for name, value in settings.fixed.items():
        j = networks.label_names.index(name)
        held[j] = True
        lowest[j] = highest[j] = (value - networks.x_min[j]) / width[j] + OFFSET
    for name, (centre, sigma) in settings.priors.items():
        j = networks.label_names.index(name)
        mean[j] = (centre - networks.x_min[j]) / width[j] + OFFSET
        weight[j] = (width[j] / sigma) ** 2
    return lowest, highest, held, mean, weight


def _fit_blocks(engine, flux, flux_error, starts, fits: Fits, processes: int, progress) -> None:
    """Fit all spectra, block by block, on `processes` threads: the kernels let go of Python's lock."""
    n_thread = max(1, min(processes, -(-len(flux) // BLOCK)))
    memory: SimpleQueue = SimpleQueue()
    for _ in range(n_thread):
        memory.put(engine.working())

    def fit(first: int) -> int:
        rows = slice(first, first + BLOCK)
        working = memory.get()
        try:
            engine.fit(flux[rows], flux_error[rows], starts[rows], fits[rows], working)
        finally:
            memory.put(working)
        return len(flux[rows])

    done = 0
    with ThreadPoolExecutor(n_thread) as pool:
        for n in pool.map(fit, range(0, len(flux), BLOCK)):
            done += n
            if progress:
                progress(done)
