"""Stars in, labels out: all pieces of a star — visits, arms, orders, chips — in one fit."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
from astropy.table import Table

from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.fitting.fit import DEFAULT
from payneflow.fitting.flux_units import in_own_units, networks_of_shares
from payneflow.fitting.pieces import Pieces, Run, runs_of
from payneflow.fitting.quality import NO_ROWS
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.star_fits import COMMON, EACH, StarFits, StarFitter
from payneflow.fitting.star_quality import star_quality
from payneflow.fitting.star_tables import pieces_table, stars_table
from payneflow.network import PixelNetworks
from payneflow.scaling import PUBLISHED_FLUX

PIECES_A_BLOCK = 64  # that a thread takes at a time, or those of one star


def fit_stars(
    pieces: Sequence[Pieces],
    *,
    settings: FitSettings = DEFAULT,
    velocity: str = COMMON,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[Table, Table]:
    """Least-squares labels of stars, each from all of its pieces: one set of labels and of broadenings for a star.

    `pieces`: those of all stars, `Pieces` by `Pieces` of one wavelength axis and networks file: the visits of many
    stars in one, the arms of a spectrograph in one each. A continuum, the resolution, bad pixels and outliers are a
    piece's own. `settings`: what is fitted, and how. `velocity`, where the settings fit one: "common", one to all
    pieces of a star, with their barycentric corrections where these are given; "each", one for each piece.
    `processes`: threads that share the stars; neither their number nor what other stars there are changes a bit.
    `progress` is called with the number of pieces done.

    Returns two tables: one row a star, in the order in which they come first, and one row a piece, star by star; see
    `stars_table` and `pieces_table`. A piece that cannot be fitted is flagged FAILED in the second, and its star is
    fitted from the others; a star without any is NaN and FAILED. Raises what `fit_spectra` raises, and SettingsError
    where networks have other labels than those of the first pieces.
    """
    if velocity not in (COMMON, EACH):
        raise SettingsError(f'velocity is {velocity!r}, expected "{COMMON}" or "{EACH}".')
    if velocity == EACH and not settings.velocity:
        raise SettingsError(f'velocity is "{EACH}", but none is fitted: FitSettings(velocity=True).')
    if settings.windows:
        raise SettingsError(
            "windows are not for stars in pieces, which are fitted to all of their pixels: mask pixels, whose error is "
            "inf, or fit each piece alone with windows."
        )
    if settings.posterior:
        raise SettingsError(
            "posterior is set, but stars in pieces have none: leave --posterior out, or fit their spectra one by one."
        )
    pieces = list(pieces)
    label_errors = _label_errors(pieces)
    if label_errors is not None:  # as many starts as the calibration needed
        settings = replace(settings, n_starts=max(settings.n_starts, label_errors.n_starts))
    runs = runs_of(pieces, settings)
    names, star, run, row = _by_stars(pieces, runs)
    networks = pieces[0].networks
    group, together = _together(pieces)
    fitter = StarFitter(networks_of_shares(networks), settings, runs, velocity)
    ended = _joined(list(_fit_blocks(fitter, star, run, row, processes, progress)))
    part = np.array([r.part for r in runs])
    if label_errors is not None and any(one.resolution is not None for one in pieces):
        label_errors = label_errors.of_own_resolutions
    quality = star_quality(together, settings, velocity, ended, group[part][run], label_errors)
    _in_units_of_flux(pieces, runs, ended, quality.pieces)
    n_data = np.array([r.flux.shape[1] for r in runs])[run]
    rows = np.concatenate([r.rows for r in runs]) if len(runs) else np.zeros(0, int)
    first_of_run = np.cumsum([0, *(len(r.rows) for r in runs)])
    which = part[run], rows[first_of_run[run] + row]
    stars = stars_table(together, settings, velocity, ended, quality, names, n_data)
    stars.meta["errors"] = "formal" if label_errors is None else "calibrated"
    return stars, pieces_table(settings, velocity, ended, quality, names, which, n_data)


def _label_errors(pieces: Sequence[Pieces]):
    """The label errors of all pieces. Raises CalibrationError where these are not the same everywhere."""
    given = [part.label_errors for part in pieces]
    if all(one is None for one in given):
        return None
    for p, one in enumerate(given):
        if one is None or one.digest != given[0].digest:
            raise CalibrationError(
                f"pieces[{p}] has {'no' if one is None else 'other'} label errors than pieces[0]: what calibrations of "
                "several networks files say of one star together is not known. Fit without label errors, or pieces of "
                "one networks file."
            )
    return given[0]


def _by_stars(pieces: Sequence[Pieces], runs: Sequence[Run]) -> tuple[np.ndarray, ...]:
    """Names of stars (n_star,) in the order in which they come; of each piece its star, run and row there, ordered by
    star, then by their place: as they were given, where they have none.
    """
    kinds = {np.asarray(part.star).dtype.kind for part in pieces}
    if not (kinds <= set("US") or kinds <= set("iu")):
        raise SpectraError(
            f"star holds {', '.join(str(np.asarray(part.star).dtype) for part in pieces)}; expected text in all "
            "Pieces, or whole numbers in all: the same name is the same star."
        )
    starts = np.cumsum([0, *(len(part.star) for part in pieces)])
    every = np.concatenate([np.asarray(part.star) for part in pieces])
    run, row = np.empty((2, len(every)), int)
    for k, one in enumerate(runs):
        run[starts[one.part] + one.rows], row[starts[one.part] + one.rows] = k, np.arange(len(one.rows))
    places = [np.arange(len(every))] if pieces[0].place is None else [np.asarray(part.place) for part in pieces]
    in_order = np.argsort(np.concatenate(places), kind="stable")
    known, first, star = np.unique(every[in_order], return_index=True, return_inverse=True)
    rank = np.empty(len(known), int)
    rank[np.argsort(first)] = np.arange(len(known))
    star = rank[np.ravel(star)]
    by_star = np.argsort(star, kind="stable")
    order = in_order[by_star]
    return known[np.argsort(first)], star[by_star], run[order], row[order]


def _together(pieces: Sequence[Pieces]) -> tuple[np.ndarray, PixelNetworks]:
    """Which networks each of the pieces has, (n_part,), and the pixels of all of them as one PixelNetworks.

    The latter is what quality asks: how well the networks know their pixels, and what they say of labels far away.
    """
    digests = [part.networks.digest for part in pieces]
    known = list(dict.fromkeys(digests))
    group = np.array([known.index(digest) for digest in digests])
    different = [pieces[digests.index(digest)].networks for digest in known]
    if len(different) == 1:
        return group, different[0]
    shares = [networks_of_shares(networks) for networks in different]
    most = max(networks.b_array_0.shape[1] for networks in shares)
    order = np.argsort(np.concatenate([networks.wavelength for networks in shares]), kind="stable")

    def joined(name: str) -> np.ndarray:
        arrays = [getattr(networks, name) for networks in shares]
        if arrays[0].ndim > 1:  # neurons that some have more: others get ones that do nothing
            arrays = [
                np.pad(array, [(0, most - array.shape[1] if axis == 1 else 0) for axis in range(array.ndim)])
                for array in arrays
            ]
        return np.concatenate(arrays)[order]

    names = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "wavelength", "emulator_rms")
    failed = [networks.failure for networks in different if networks.failure]
    return group, replace(
        shares[0],
        **{name: joined(name) for name in names},
        provenance={"failed": failed[0]} if failed else {},
        split=None,
        flux_scale=PUBLISHED_FLUX,
        resolution_of_pixels=None,
    )


def _fit_blocks(fitter: StarFitter, star, run, row, processes: int, progress) -> Iterator[StarFits]:
    """Blocks of whole stars, in order, on `processes` threads."""
    first = np.searchsorted(star, np.arange(star[-1] + 2)) if len(star) else np.zeros(1, int)
    blocks, begin = [], 0
    while begin < len(first) - 1:
        stop = max(int(np.searchsorted(first, first[begin] + PIECES_A_BLOCK, side="right")) - 1, begin + 1)
        blocks.append((begin, stop))
        begin = stop
    memory: SimpleQueue = SimpleQueue()
    n_thread = max(1, min(processes, len(blocks)))
    for _ in range(n_thread):
        memory.put(fitter.working())

    def fit(block: tuple[int, int]) -> StarFits:
        begin, stop = block
        own = slice(first[begin], first[stop])
        working = memory.get()
        try:
            return fitter.fit(first[begin : stop + 1] - first[begin], run[own], row[own], working)
        finally:
            memory.put(working)

    done = 0
    with ThreadPoolExecutor(n_thread) as pool:
        for ended in pool.map(fit, blocks):
            done += len(ended.run)
            if progress:
                progress(done)
            yield ended


def _joined(blocks: Sequence[StarFits]) -> StarFits:
    """All blocks as one; stars of fewer parameters than others are filled up with zeros."""
    if not blocks:
        raise SpectraError("no pieces to fit: all Pieces are empty.")
    most = max(block.x.shape[1] for block in blocks)

    def joined(name: str) -> np.ndarray:
        arrays = [getattr(block, name) for block in blocks]
        if name in ("x", "matrix", "pull"):
            arrays = [np.pad(array, [(0, 0), *([(0, most - array.shape[1])] * (array.ndim - 1))]) for array in arrays]
        return np.concatenate(arrays)

    every = blocks[0].__dict__
    values = {name: joined(name) for name in every if name not in ("first", "alone", "fits", "log_step")}
    n_piece = np.concatenate([np.diff(block.first) for block in blocks])
    for name in ("alone", "fits"):
        parts = [getattr(block, name) for block in blocks]
        own = {
            key: np.concatenate([getattr(part, key) for part in parts])
            for key in parts[0].__dict__
            if key not in NO_ROWS
        }
        values[name] = replace(parts[0], **own)
    return StarFits(first=np.cumsum([0, *n_piece]), log_step=blocks[0].log_step, **values)


def _in_units_of_flux(pieces: Sequence[Pieces], runs: Sequence[Run], ended: StarFits, quality) -> None:
    """Turn what the pieces say in shares of the flux scale into the networks' own unit."""
    for k, run in enumerate(runs):
        if pieces[run.part].networks.flux_scale == PUBLISHED_FLUX:
            continue
        at = np.flatnonzero(ended.run == k)
        own = ended.fits[at]
        rows = ended.row[at]
        in_own_units(pieces[run.part].networks, own, run.flux[rows], run.flux_error[rows])
        ended.fits.extra_scatter[at], ended.fits.snr[at] = own.extra_scatter, own.snr
