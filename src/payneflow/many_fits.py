"""Files of observed spectra -> one table of fits, batch after batch: memory holds one batch and the table."""

from collections.abc import Callable, Iterable

from astropy.table import Table, vstack

from payneflow.fitting import FitSettings, fit_spectra
from payneflow.network import PixelNetworks
from payneflow.spectra import Spectra
from payneflow.spectra.uncertainty import REASONS


def fit_batches(
    networks: PixelNetworks,
    batches: Iterable[Spectra],
    settings: FitSettings,
    *,
    label_errors=None,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Fit batches of observed spectra one after another; arguments as those of `fit_spectra`.

    The table is that of `fit_spectra` for all of them, with a column `path`, the file of each spectrum. Its meta has
    `unreadable`, what was wrong with each file that could not be read, and `left_out`, pixels without a part by reason.
    Neither the batches nor `processes` change a bit of a fit. Raises SpectraError as reading them does.
    """
    tables, unreadable, left_out, done = [], {}, dict.fromkeys(REASONS, 0), 0
    for batch in batches:
        before = done

        def show(n: int, before: int = before) -> None:
            if progress:
                progress(before + n)

        table = fit_spectra(
            networks,
            batch.flux,
            batch.flux_error,
            None if batch.on_networks_axis else batch.wavelength,
            settings=settings,
            label_errors=label_errors,
            identifier=batch.identifier,
            processes=processes,
            progress=show,
        )
        table["path"] = batch.path
        table["path"].description = "file that the spectrum was read from"
        tables.append(table)
        for name, problem in zip(batch.identifier, batch.problem, strict=True):
            if problem:
                unreadable[str(name)] = str(problem)
        for reason, n in batch.n_left_out.items():
            left_out[reason] += n
        done += len(batch)
    fits = joined(tables)
    fits.meta.update(unreadable=unreadable, left_out=left_out)
    return fits


def joined(tables: list[Table]) -> Table:
    """One table of the rows of all, with the meta of the first: vstack would join its lists."""
    meta = tables[0].meta
    fits = tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")
    fits.meta = dict(meta)
    return fits
