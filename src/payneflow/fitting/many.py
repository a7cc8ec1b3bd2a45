"""Many spectra -> one table of fits: observed ones batch after batch, or the test set of a grid.

Of observed spectra, memory holds one batch and a block of rows of the table, however many there are.
"""

import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.fitting import FitSettings, add_true_labels, fit_spectra
from payneflow.fitting.best_fit import BestFits, best_fits
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.fitting.faults import ModelFaults
from payneflow.fitting.noise import with_noise
from payneflow.fitting.resolutions import fittable
from payneflow.fitting.rows import StoredRows
from payneflow.fitting.run_meta import summed, united
from payneflow.fitting.settings import BROADENINGS
from payneflow.fitting.table import add_noiseless_fits
from payneflow.grid import SpectralGrid
from payneflow.label_names import NO_NOISE, TEST_SNR
from payneflow.network import PixelNetworks
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.spectra import Spectra

MOST_BEST_FITS = 10_000  # spectra; six arrays of 0.6 GB each at 7214 pixels
NORMALISED = 0.5, 2.0  # median flux over that of the networks: a spectrum divided by its continuum is well within


def fit_test_set(
    networks: PixelNetworks,
    grid: SpectralGrid,
    settings: FitSettings,
    flux_error: float,
    *,
    snr: float | None = None,
    seed: int = 0,
    start: str | None = None,
    label_errors=None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Fit the spectra of a grid that its networks have not seen, each pixel with the 1 sigma error `flux_error`.

    That is a share of the networks' flux scale, which normalised flux is itself. With `snr` they get noise of 1 / snr
    of that scale, drawn by `seed` (noise.py), and are fitted with this error; what is fitted to them without noise,
    with `flux_error`, as The Payne's listing does, stands beside it: `Teff_noiseless`, ..., `chi2_noiseless` and
    `flags_noiseless`.

    The table is that of `fit_spectra` with the true labels beside the fitted ones; no spectrum takes part in its own
    `label_errors`. `start`: None, "middle" or "truth". `progress` is called with the number of fits done, of which
    each spectrum has two with noise.
    Raises NetworkFileError where grid and networks do not belong together, else what `fit_spectra` raises.
    """
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    split = networks.split_of(grid)
    rows, labels = split.test_rows, grid.labels[split.test]
    flux, width = grid.flux[split.test][:, columns], networks.flux_scale.width

    def fitted(flux: np.ndarray, error: float, before: int) -> Table:
        return fit_spectra(
            networks,
            flux,
            error,
            settings=settings,
            label_errors=label_errors,
            start=labels if start == "truth" else start,
            exclude=rows,
            processes=processes,
            progress=progress and (lambda n: progress(before + n)),
        )

    fits = fitted(flux, flux_error * width, 0)
    if snr is not None:
        noiseless, error = fits, width / snr
        fits = fitted(with_noise(flux, error, seed, rows, columns, len(grid.wavelength)), error, len(rows))
        add_noiseless_fits(fits, noiseless)
    add_true_labels(fits, networks, labels, rows)
    fits.meta |= made_with(networks, settings, label_errors) | which_spectra(fits, range(len(rows)), len(rows))
    fits.meta |= {TEST_SNR: NO_NOISE} if snr is None else {TEST_SNR: float(snr), "noise_seed": seed}
    return fits


def fit_batches(networks: PixelNetworks, batches: Iterable[Spectra], settings: FitSettings, **options) -> Table:
    """Fit batches of observed spectra as `fit_into` does, and return the table, in memory."""
    with StoredRows() as rows:
        fit_into(rows, networks, batches, settings, **options)
        return rows.table()


def fit_into(
    rows: StoredRows,
    networks: PixelNetworks,
    batches: Iterable[Spectra],
    settings: FitSettings,
    *,
    start: str | None = None,
    label_errors=None,
    faults: ModelFaults | None = None,
    spectra: range | None = None,
    n_all: int | None = None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fit batches of observed spectra one after another, and append them to `rows`, which holds none; arguments as
    of `fit_spectra`.

    The table is that of `fit_spectra` for all of them, with a column `path`, the file of each spectrum. Its meta has
    `unreadable`, what was wrong with each file that could not be read, `left_out`, pixels without a part by reason,
    and, as `fit_test_set`, `settings`, `n_row`, and by their digests `networks` (their weights), `grid` (which the
    networks were trained on) and `label_errors`. `spectra`: which of all spectra these are, counted from 0, and
    `n_all`, how many there are, for `gather_into` to prove that each is there once.
    Where files say the resolution of each spectrum, `resolution` says by which array, and a spectrum whose own is not
    that of the grid, or of the label errors, fails, and is `unreadable` (resolutions.py).
    Neither the batches nor `processes` change a bit of a fit. Raises SpectraError as reading them does,
    and where there is no spectrum at all.
    """
    shared: dict = {}
    unread: list[list[tuple[str, str]]] = []
    left_out: dict[str, int] = {}
    for batch in batches:
        if not len(rows) and not settings.continuum and networks.flux_scale == PUBLISHED_FLUX:
            _warn_unless_normalised(networks, batch)
        before, batch = len(rows), fittable(networks, settings, batch, label_errors)
        unknown = label_errors is not None and batch.resolution_said and batch.resolution is None  # of files unread

        def show(n: int, before: int = before) -> None:
            if progress:
                progress(before + n)

        table = fit_spectra(
            networks,
            batch.flux,
            batch.flux_error,
            None if batch.on_networks_axis else batch.wavelength,
            settings=settings,
            resolution=batch.resolution,
            label_errors=label_errors.of_own_resolutions if unknown else label_errors,
            faults=faults,
            start=start,
            identifier=batch.identifier,
            processes=processes,
            progress=show,
        )
        table["path"] = batch.path
        table["path"].description = "file that the spectrum was read from"
        rows.append(table)
        shared = shared or dict(table.meta) | resolution_meta(batch)
        left_out = summed([left_out, batch.n_left_out])
        bad = batch.problem != ""
        if bad.any():
            unread.append(list(zip(batch.identifier[bad].tolist(), batch.problem[bad].tolist(), strict=True)))
        del batch  # before the next one is read
    if not len(rows):
        raise SpectraError("no spectrum to fit: the selection begins after the last one.")
    own = {"unreadable": united(unread), "left_out": left_out}
    made = made_with(networks, settings, label_errors, faults)
    rows.meta = shared | own | made | which_spectra(rows, spectra, n_all)


def resolution_meta(spectra: Spectra) -> dict:
    """What the table says of the resolution of each spectrum."""
    return {"resolution": spectra.resolution_said} if spectra.resolution_said else {}


def made_with(networks: PixelNetworks, settings: FitSettings, label_errors, faults: ModelFaults | None = None) -> dict:
    """What the table says of its making, in plain lists and numbers, and what shards of one run share."""
    priors = {name: list(prior) for name, prior in settings.priors.items()}
    plain = {**asdict(settings), "priors": priors}
    plain.pop("windows")  # which the mode tells apart, and the table has in its meta where there are any
    return {
        "settings": plain,
        "networks": networks.digest,
        "grid": networks.provenance.get("grid_sha256", "unknown"),
        "label_errors": "none" if label_errors is None else label_errors.digest,
        **({} if faults is None else {"faults": faults.digest}),
    }


def which_spectra(fits: Table | StoredRows, spectra: range | None, n_all: int | None) -> dict:
    """How many rows the table has, and as far as known, which of how many spectra they are: runs [first, stop]."""
    said = {"n_row": len(fits)}
    if spectra is not None:
        said["spectra"] = [[spectra.start, spectra.stop]]
    if n_all is not None:
        said["n_all"] = n_all
    return said


def write_best_fits(
    networks: PixelNetworks,
    batches: Iterable[Spectra],
    settings: FitSettings,
    path: str | Path,
    start: str | None = None,
    reported: Table | StoredRows | None = None,
    faults: ModelFaults | None = None,
) -> int:
    """Write the best-fit spectra (npz) of observed ones that share one wavelength axis; returns how many.

    They are fitted once more, without label errors, whose correction would move the labels off the best fit.
    `wavelength` (n_pixel,) Angstrom in vacuum; `flux`, `flux_error`, `model`, `continuum`, `sigma`, `used`
    (n, n_pixel); `identifier` (n,); `resolution` (n, 1) or (n, n_pixel), where their files say R; and what the fits
    found, see `_results`: `reported`, one row a spectrum, is the table that users know, None stands for that of these
    fits. See `best_fits`. `faults` as in `fit_spectra`: `model` and `sigma` are without them.
    Raises SpectraError where there are several axes, or more than MOST_BEST_FITS.
    """
    tables: list[Table] = []
    parts: list[tuple[Spectra, BestFits]] = []
    for batch in batches:
        if parts and not np.array_equal(batch.wavelength, parts[0][0].wavelength):
            raise SpectraError(
                f"{batch.path[0]}: another wavelength axis than {parts[0][0].path[0]}; best-fit spectra are written of "
                "one axis at a time. Choose with --spectra START:STOP."
            )
        if sum(len(spectra) for spectra, _ in parts) + len(batch) > MOST_BEST_FITS:
            raise SpectraError(
                f"more than {MOST_BEST_FITS} best-fit spectra at once are too many for memory. Choose with --spectra "
                "START:STOP."
            )
        batch = fittable(networks, settings, batch, None)
        data = batch.flux, batch.flux_error, None if batch.on_networks_axis else batch.wavelength
        without = replace(settings, posterior=False)
        fits = fit_spectra(networks, *data, settings=without, resolution=batch.resolution, start=start, faults=faults)
        tables.append(fits)
        parts.append((batch, best_fits(networks, settings, fits, *data, resolution=batch.resolution)))
    stacked = {
        name: np.concatenate([getattr(part[which], name) for part in parts])
        for which, names in enumerate((("identifier", "flux", "flux_error"), ("model", "continuum", "sigma", "used")))
        for name in names
    }
    if reported is None:
        reported = vstack(tables, metadata_conflicts="silent")
        reported.meta = tables[0].meta  # vstack would join the lists in it
    made = made_with(networks, settings, None)
    own = {"networks": np.array(made["networks"]), "settings": np.array(json.dumps(made["settings"]))}
    own |= _resolutions([spectra for spectra, _ in parts])
    BEST_FITS.write(path, {"wavelength": parts[0][0].wavelength, **stacked, **_results(reported), **own})
    return len(stacked["flux"])


def _resolutions(parts: list[Spectra]) -> dict[str, np.ndarray]:
    """R of the spectra, (n, 1) or (n, n_pixel), where their files say it; of those that could not be read it is 1."""
    known = [part.resolution for part in parts if part.resolution is not None]
    if not known:
        return {}
    n = max(one.shape[1] for one in known)
    given = [np.ones((len(part), 1)) if part.resolution is None else part.resolution for part in parts]
    return {"resolution": np.concatenate([np.broadcast_to(one, (len(one), n)) for one in given])}


def _results(fits: Table | StoredRows) -> dict[str, np.ndarray]:
    """What the fits found, as arrays: `label_names`, `label_units` (n_label,), `labels`, `label_errors` (n, n_label);
    `SNR`, `chi2`, `dof`, `flags` and, where it is fitted, `RV`, `RV_error` (n,); `flag_names`, `flag_bits`; `errors`.
    """
    names = fits.meta["label_names"]
    columns = ("SNR", "chi2", "dof", "flags", "RV", "RV_error", *BROADENINGS)
    return {
        "label_names": np.array(names, dtype=str),
        "label_units": np.array([str(fits[name].unit or "") for name in names], dtype=str),
        "labels": np.column_stack([np.asarray(fits[name]) for name in names]),
        "label_errors": np.column_stack([np.asarray(fits[f"{name}_error"]) for name in names]),
        **{name: np.asarray(fits[name]) for name in columns if name in fits.colnames},
        "flag_names": np.array(list(fits.meta["flags"]), dtype=str),
        "flag_bits": np.array(list(fits.meta["flags"].values())),
        "errors": np.array(fits.meta["errors"]),
    }


def _warn_unless_normalised(networks: PixelNetworks, batch: Spectra) -> None:
    used = batch.flux[np.isfinite(batch.flux_error)]
    usual = np.nanmedian(networks.predict_scaled(np.full(len(networks.x_min), 0.5)))
    median = np.median(used) if len(used) else usual
    if not NORMALISED[0] < median / usual < NORMALISED[1]:
        said = (
            f"{batch.path[0]}: the median flux is {median:.3g}, that of the networks {usual:.3g}; expected normalised "
            "flux, because no continuum is fitted. Set continuum to a number of terms, or divide by the continuum."
        )
        warnings.warn(SpectraWarning(said), stacklevel=3)
