"""Spectra in, labels out: the labels whose predicted spectrum is nearest to the observed one, with their errors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
from astropy.table import Column, Table

from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting.broad_starts import broad_start, keep_better, may_be_broad
from payneflow.fitting.data_groups import groups_of
from payneflow.fitting.engine.data_axis import number_of_pixels
from payneflow.fitting.engine.engines import SPECTRA_A_BLOCK
from payneflow.fitting.engine.shift import to_velocity
from payneflow.fitting.engine.starts import spread
from payneflow.fitting.fault_fits import FaultyFits, fits_with_faults
from payneflow.fitting.faults import ModelFaults
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.flux_units import check_continuum, in_own_units, in_shares, networks_of_shares
from payneflow.fitting.model import SpectralModel
from payneflow.fitting.own_data import shares_of
from payneflow.fitting.pairs import Pairs, PairSearch, candidates
from payneflow.fitting.parameters import HIGHEST_LABEL, LOWEST_LABEL, Parameters
from payneflow.fitting.posterior import check_emcee, draws_of, posteriors_of
from payneflow.fitting.quality import Fits, Windowed, quality_of
from payneflow.fitting.resolutions import check_label_errors
from payneflow.fitting.sampling import check_sampling
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.table import results_table
from payneflow.fitting.windows import EVERY, STAR, hidden
from payneflow.label_names import problems_of_names
from payneflow.network import PixelNetworks
from payneflow.spectra.masked import parted

DEFAULT = FitSettings()
BLOCKS_A_THREAD = 8  # at least, of spectra: so all threads end at about the same time


def fit_spectra(
    networks: PixelNetworks,
    flux: np.ndarray,
    flux_error: np.ndarray | float,
    wavelength: np.ndarray | None = None,
    *,
    settings: FitSettings = DEFAULT,
    resolution: np.ndarray | float | None = None,
    label_errors=None,
    start: np.ndarray | str | None = None,
    identifier: np.ndarray | None = None,
    spectrum: np.ndarray | None = None,
    exclude: np.ndarray | None = None,
    faults: ModelFaults | None = None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Least-squares labels of spectra, each fitted on its own.

    `flux`: (n_spectrum, n_data). `flux_error`: its 1 sigma errors, the same shape, (n_data,), or one number. Pixels
    whose flux is not finite, whose error is not finite and positive, is more than 100 times the spectrum's median
    |flux| or less than a thousandth of its median error, that are masked in `flux` or `flux_error` (numpy.ma, astropy's
    Masked), or that have no network take no part.
    `wavelength` (n_data,), Angstrom in vacuum: None where the data are on the networks' own pixels. Where each spectrum
    has its own it is (n_spectrum, n_data), NaN after the last pixel of those that have fewer than others.
    `settings`: what is fitted, and how (FitSettings).
    `resolution`: R = wavelength / FWHM of the spectra, in place of the one number in `settings`: a number, (n_data,),
    or a row for each spectrum, (n_spectrum, n_data) or (n_spectrum, 1). None may be above that of the networks' grid,
    nor, with label errors, farther than 5 % from that which these were measured at.
    `label_errors`: what a calibration measured (LabelErrors), with it the starts that fits need; without it errors are
    the formal ones of the photon noise and the emulator's error in each pixel. `exclude`: (n_spectrum,) rows of the
    grid of `label_errors` that these spectra themselves are, -1 for none.
    `faults`: what is known of the model's faults (`read_faults`): they are part of the covariance of the flux.
    `start`: labels (n_spectrum, n_label) in their units to start from; "middle": the middle of the training range;
    None: an estimate from the spectrum. `identifier`: (n_spectrum,) names, `spectrum`: (n_spectrum,) numbers for the
    table. `processes`: threads that share the spectra; neither their number nor the order of the spectra changes a bit.
    `progress` is called with the number of fits done.

    Returns one row a spectrum, see `results_table`. A fit that fails is NaN and flagged FAILED; it never stops others.
    Raises SpectraError where shapes do not fit, or where the networks' pixels are too far apart for a velocity or for
    other wavelengths; SettingsError where a setting names what the networks do not have; CalibrationError where label
    errors are of other networks, another mode or another resolution.
    """
    check_names(networks)
    n = np.shape(flux)[0] if np.ndim(flux) > 1 else 1
    _check_rows("identifier", identifier, n)
    _check_rows("spectrum", spectrum, n)
    _check_rows("exclude", exclude, n)
    if resolution is not None:
        settings = replace(settings, resolution=0.0)
    if label_errors is not None and resolution is not None:
        axis = checked_axis(wavelength, np.shape(flux))
        given = resolution, checked_flux(networks, flux, flux_error, axis)[1]
        check_label_errors(networks, settings, label_errors, axis, *given)
        label_errors = label_errors.of_own_resolutions
    if label_errors is not None:
        label_errors.check(networks, settings.mode(networks.label_names))
    if faults is not None and settings.windows:
        raise SettingsError(
            "windows and faults of the model: fits know what to do with one of both. Leave out windows, or faults "
            "(--mismatch)."
        )
    if label_errors is not None:  # as many starts as the calibration needed
        settings = replace(settings, n_starts=max(settings.n_starts, label_errors.n_starts))
    if settings.posterior and settings.windows:
        raise SettingsError(
            "posterior and windows: a posterior is informed by all pixels alike. Leave out windows, or posterior; to "
            "hide pixels from all labels, give them an infinite error."
        )
    if settings.posterior:
        check_emcee()
    fits = search_spectra(
        networks,
        flux,
        flux_error,
        wavelength,
        settings=settings,
        resolution=resolution,
        start=start,
        processes=processes,
        progress=None if settings.posterior else progress,  # which takes far longer than the fits
    )
    effect = None
    if faults is not None:
        faults.check(networks)
    if faults is not None and not faults.none:
        faulty = _knowing(faults, networks, settings, fits, flux, flux_error, wavelength, resolution, processes)
        fits, effect, flux, flux_error = faulty.fits, faulty.effect, faulty.flux, faulty.flux_error
    quality = quality_of(networks, settings, fits, label_errors, exclude, faults=effect)
    pairs = None
    if settings.velocity and settings.pairs:
        pairs = _pairs_of(networks, settings, fits, quality, flux, flux_error, wavelength, resolution, processes)
        quality.flags[pairs.found] |= FitFlag.DOUBLE_LINED
    posteriors = None
    if settings.posterior:
        axis = checked_axis(wavelength, np.shape(flux))
        data = checked_flux(networks, flux, flux_error, axis)
        groups = groups_of(axis, resolution, *data[0].shape)
        draws = draws_of(networks, settings, fits, quality, *data, groups, processes)
        posteriors = posteriors_of(networks, settings, len(fits.chi2), draws, progress)
    table = results_table(networks, settings, fits, quality, _numbers_of_pixels(flux, wavelength), pairs, posteriors)
    table.meta["errors"] = "formal" if label_errors is None else "calibrated"
    if spectrum is not None:
        table["spectrum"][:] = spectrum
    if identifier is not None:
        table.replace_column("spectrum", Column(identifier, "identifier", description="identifier of the spectrum"))
        table.rename_column("spectrum", "identifier")
    return table


def search_spectra(
    networks: PixelNetworks,
    flux: np.ndarray,
    flux_error: np.ndarray | float,
    wavelength: np.ndarray | None = None,
    *,
    settings: FitSettings = DEFAULT,
    resolution: np.ndarray | float | None = None,
    start: np.ndarray | str | None = None,
    held: np.ndarray | None = None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Fits:
    """What fits find, before its quality is known; arguments and errors as those of `fit_spectra`.

    `held`: labels (n_spectrum, n_label) at which those that are fixed to None are held, where `start` says none.
    """
    settings.check_labels(networks)
    check_continuum(networks, settings)
    axis = checked_axis(wavelength, np.shape(flux))
    flux, flux_error = checked_flux(networks, flux, flux_error, axis)
    given = {"settings": settings, "resolution": resolution, "start": start, "held": held, "processes": processes}
    if not settings.windows:
        return _search_pixels(networks, flux, flux_error, axis, **given, progress=progress)
    placed = np.zeros(len(flux))
    if settings.velocity and any((window.label, window.frame) == (EVERY, STAR) for window in settings.windows):
        first = _search_pixels(networks, flux, open_error(networks, settings, flux_error, axis, None), axis, **given)
        placed = np.nan_to_num(
            to_velocity(first.x[:, Parameters.of(networks, settings).layout.velocity], first.log_step)
        )
    of_open = open_error(networks, settings, flux_error, axis, placed)
    fits = _search_pixels(networks, flux, of_open, axis, **given, progress=progress)
    return _through_windows(networks, settings, fits, flux, flux_error, axis, resolution, placed, processes)


def open_error(networks, settings, flux_error, axis: np.ndarray | None, placed: np.ndarray | None) -> np.ndarray:
    """Errors (n, n_data), inf in pixels that windows of all parameters close; `axis` as `checked_axis` gives it.

    `placed`: velocities (n,) of the stars in km/s; None: unknown, and windows of the star close nothing.
    """
    windows = [one for one in settings.windows if placed is not None or one.frame != STAR]
    wavelength = networks.wavelength if axis is None else axis
    if all(window.label != EVERY for window in windows):
        return flux_error
    velocities = np.zeros(len(flux_error)) if placed is None else placed
    axes = np.broadcast_to(wavelength, np.shape(flux_error))
    closed = np.stack([hidden(windows, *own) for own in zip(axes, velocities.tolist(), strict=True)])
    return np.where(closed, np.inf, flux_error)


def _through_windows(networks, settings, fits: Fits, flux, flux_error, axis, resolution, placed, processes) -> Fits:
    """The fits once more, each label informed through its windows alone; arguments as checked by `search_spectra`."""
    from payneflow.fitting.windowed import inform

    shares, errors = in_shares(networks, flux, flux_error)
    of_shares = networks_of_shares(networks)
    windowed = Windowed.empty(*fits.x.shape)
    for group in groups_of(axis, resolution, *flux.shape):
        rows, own = group.rows, (group.wavelength, group.resolution)
        given = fits[rows], group.of(shares), group.of(errors), *own, placed[rows]
        part, of_part = inform(of_shares, settings, *given, processes)
        fits.put(rows, part)
        windowed.put(rows, of_part)
    fits.windowed = windowed
    return fits


def _search_pixels(
    networks, flux, flux_error, axis, *, settings, resolution, start, held, processes, progress=None
) -> Fits:
    """What the kernels find; arguments as checked by `search_spectra`."""
    starts, own_start = starts_of(networks, settings, start, held, len(flux))
    parts = shares_of(networks_of_shares(networks), settings, axis, resolution, len(flux), own_start)
    broadens = settings.broadenings(networks.label_names) or settings.resolution or resolution is not None
    if settings.velocity or axis is not None or broadens:
        check_sampling(networks, settings.velocity)
    fits = parts[0].engine.no_fits(len(flux))
    shares = in_shares(networks, flux, flux_error)
    done, broad = 0, broad_start(networks, settings)
    for engine, rows, own in parts:

        def show(n: int, done: int = done) -> None:
            if progress:
                progress(done + n)

        part = fits if rows is None else fits[rows]
        own_shares = shares if rows is None else [share[rows] for share in shares]
        own_starts = starts if rows is None else starts[rows]
        _fit_blocks(engine, *own_shares, own_starts, part, own, processes, show)
        again = [] if broad is None else may_be_broad(networks, settings, part)
        if len(again):
            engine, other = engine.beginning_at(broad), engine.no_fits(len(again))
            of_again = {name: values[again] for name, values in own.items()}
            own_shares = [share[again] for share in own_shares]
            _fit_blocks(engine, *own_shares, own_starts[again], other, of_again, processes, None)
            keep_better(part, again, other)
        if rows is not None:
            fits.put(rows, part)
        done += len(part.chi2)
    in_own_units(networks, fits, *shares)
    return fits


def _knowing(faults, networks, settings, fits, flux, flux_error, wavelength, resolution, processes) -> FaultyFits:
    """The fits again, with faults that are known; arguments as those of `fit_spectra`."""
    axis = checked_axis(wavelength, np.shape(flux))
    flux, flux_error = checked_flux(networks, flux, flux_error, axis)
    groups = groups_of(axis, resolution, *flux.shape)
    models = [(SpectralModel(networks, settings, group.wavelength, group.resolution), group.rows) for group in groups]

    def search(own_flux: np.ndarray, own_error: np.ndarray, start: np.ndarray) -> Fits:
        return search_spectra(
            networks, own_flux, own_error, wavelength, settings=settings, resolution=resolution, start=start,
            processes=processes,
        )  # fmt: skip

    return fits_with_faults(networks, settings, faults, fits, flux, flux_error, models, search)


def _numbers_of_pixels(flux, wavelength) -> int | np.ndarray:
    """Of each spectrum (n_spectrum,), or of all."""
    if np.ndim(wavelength) < 2:
        return np.shape(flux)[-1]
    return np.array([number_of_pixels(own) for own in np.asarray(wavelength)], dtype=np.int64)


def _pairs_of(networks, settings, fits, quality, flux, flux_error, wavelength, resolution, processes) -> Pairs:
    """Which of the spectra are two stars; arguments as those of `fit_spectra`."""
    pairs, rows = Pairs.none(len(fits.chi2)), candidates(fits, quality)
    if not len(rows):
        return pairs
    axis = checked_axis(wavelength, np.shape(flux))
    flux, flux_error = checked_flux(networks, flux, flux_error, axis)
    if fits.windowed is not None:
        flux_error = open_error(networks, settings, flux_error, axis, fits.windowed.placed)
    flux, flux_error = in_shares(networks, flux, flux_error)
    pair_search = None
    for group in groups_of(axis, resolution, *flux.shape):
        here = np.intersect1d(rows, group.rows)
        if len(here):
            if pair_search is None or np.ndim(resolution):
                pair_search = PairSearch(networks, settings, group.wavelength, group.resolution)
            elif np.ndim(axis) == 2:  # its templates serve all axes
                pair_search = pair_search.on(group.wavelength)
            data = flux[:, : group.n_data], flux_error[:, : group.n_data]
            pairs.put(here, pair_search.find(here, *data, fits, quality, processes))
    return pairs


def check_names(networks: PixelNetworks) -> None:
    """Networks of an earlier version may have labels whose columns would be overwritten."""
    for i, problem in problems_of_names(networks.label_names):
        raise SettingsError(
            f"the networks have a label {networks.label_names[i]!r}, {problem}: one would be lost. Give it another "
            "name: dataclasses.replace(networks, label_names=...).write(path)."
        )


def checked_axis(wavelength, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
    """Wavelengths (n_data,) as numbers; also (n_spectrum, n_data), where `shape` says that of such spectra."""
    if wavelength is None:
        return None
    axis, mask = parted(wavelength)
    if mask is not None:
        raise SpectraError(
            f"wavelength is masked at pixel {int(np.argmax(mask))}, the first of {int(mask.sum())} such; expected "
            "wavelengths without a mask. Mask the flux instead, or leave these pixels away."
        )
    unit = getattr(wavelength, "unit", None)
    if unit not in (None, "", "Angstrom"):
        raise SpectraError(f"wavelength is in {unit}, expected Angstrom, in vacuum: convert it.")
    numbers = axis.dtype.kind in "fiu"
    if axis.ndim == 2 and shape is not None and numbers:
        return _checked_axes(np.asarray(axis, dtype=float), shape)
    increases = axis.ndim == 1 and len(axis) > 1 and numbers and (np.diff(axis) > 0.0).all()
    if not increases or not (axis > 0.0).all() or not np.isfinite(axis).all():
        raise SpectraError("wavelength is not a list of finite, positive, increasing numbers (Angstrom, vacuum).")
    return np.asarray(axis, dtype=float)


def _checked_axes(axes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Wavelengths of each spectrum; SpectraError where a row is no axis, NaN after its last pixel aside."""
    if axes.shape != tuple(shape):
        raise SpectraError(f"wavelength has shape {axes.shape}, expected ({shape[-1]},) or {tuple(shape)}, as flux.")
    if axes.shape[1] > 1 and (axes[:, 0] > 0.0).all() and (axes[:, -1] < np.inf).all() and (np.diff(axes) > 0.0).all():
        return axes
    there = np.isfinite(axes)
    rises = (axes[:, 1:] > axes[:, :-1]) | np.isnan(axes[:, 1:])
    right = np.isnan(axes) | (there & (axes > 0.0))
    right[:, 1:] &= rises & (there[:, :-1] | ~there[:, 1:])
    wrong = np.argwhere(~right)
    if len(wrong):
        i, k = wrong[0]
        raise SpectraError(
            f"wavelength of spectrum {i} is {axes[i, k]:g} at pixel {k}; expected finite, positive, increasing numbers "
            "(Angstrom, vacuum), and NaN at the end of the row where it has fewer pixels than others."
        )
    short = np.flatnonzero(there.sum(axis=1) < 2)
    if len(short):
        raise SpectraError(f"wavelength of spectrum {short[0]} has fewer than two pixels.")
    return axes


def checked_flux(networks, flux, flux_error, wavelength: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Flux (n_spectrum, n_data) and its errors as arrays of that shape, inf where one of them is masked.

    Neither is copied or converted where nothing is masked.
    """
    units = [getattr(array, "unit", None) for array in (flux, flux_error)]
    if None not in units and units[0] != units[1]:
        raise SpectraError(f"flux_error is in {units[1]}, expected {units[0]}, the unit of flux: convert it.")
    (flux, masked), (flux_error, error_masked) = parted(flux), parted(flux_error)
    flux = np.atleast_2d(flux)
    for name, array in (("flux", flux), ("flux_error", flux_error)):
        if array.dtype.kind not in "fiu":
            raise SpectraError(f"{name} holds {array.dtype}, expected numbers.")
    n_data = len(networks.wavelength) if wavelength is None else wavelength.shape[-1]
    if flux.ndim != 2 or flux.shape[1] != n_data:
        pixel = "one value for each network" if wavelength is None else "one value for each wavelength"
        raise SpectraError(f"flux has shape {flux.shape}, expected (n_spectrum, {n_data}), {pixel}.")
    try:
        given = np.broadcast_to(flux_error, flux.shape)
    except ValueError:
        raise SpectraError(f"flux_error has shape {flux_error.shape}, expected {flux.shape}.") from None
    for mask in (masked, error_masked):
        given = given if mask is None else np.where(mask, np.inf, given)
    return flux, given


def _check_rows(name: str, values: np.ndarray | None, n: int) -> None:
    if values is not None and np.shape(values) != (n,):
        raise SpectraError(f"{name} has shape {np.shape(values)}, expected ({n},), one for each spectrum.")


def starts_of(networks, settings, start, held, n) -> tuple[np.ndarray, bool]:
    """Scaled labels (n, n_start, n_label) to start from, and whether the first is to be an estimate instead."""
    n_label = len(networks.x_min)
    starts = np.tile(spread(settings.n_starts, n_label), (n, 1, 1))  # the first of each is the middle
    own = start is None or isinstance(start, str)
    if own and start not in (None, "middle"):
        raise SettingsError(f'start is {start!r}: expected labels, "middle" or None.')
    if not own and np.shape(start) != (n, n_label):
        raise SpectraError(f"start has shape {np.shape(start)}, expected {(n, n_label)}, the labels to start from.")
    if not own:
        starts[:, 0] = np.clip(networks.scaler.scale(start), LOWEST_LABEL, HIGHEST_LABEL)
    held = start if held is None and not own else held
    for name, value in settings.fixed.items():
        if name not in networks.label_names:  # a broadening, which has a start of its own
            continue
        j = networks.label_names.index(name)
        if value is not None:
            starts[:, :, j] = networks.scaler.scale_one(j, value)
        elif held is None:
            raise SpectraError(f"fixed {name} is None, each spectrum's own value in start; start is {start!r}.")
        else:
            starts[:, :, j] = networks.scaler.scale(held)[:, j, None]
    return starts, start is None


def _fit_blocks(engine, flux, flux_error, starts, fits: Fits, own, processes: int, progress) -> None:
    """Fit all spectra, block by block, on `processes` threads: the kernels let go of Python's lock.

    `own`: what each spectrum has of its own, which the engine takes by these names.
    """
    n_spectrum = max(1, min(SPECTRA_A_BLOCK, len(flux) // (BLOCKS_A_THREAD * max(1, processes))))
    n_thread = max(1, min(processes, -(-len(flux) // n_spectrum)))
    memory: SimpleQueue = SimpleQueue()
    for _ in range(n_thread):
        memory.put(engine.working())

    def fit(first: int) -> int:
        rows = slice(first, first + n_spectrum)
        working = memory.get()
        try:
            given = {name: values[rows] for name, values in own.items()}
            engine.fit(flux[rows], flux_error[rows], starts[rows], fits[rows], working, **given)
        finally:
            memory.put(working)
        return len(flux[rows])

    done = 0
    with ThreadPoolExecutor(n_thread) as pool:
        for n in pool.map(fit, range(0, len(flux), n_spectrum)):
            done += n
            if progress:
                progress(done)
