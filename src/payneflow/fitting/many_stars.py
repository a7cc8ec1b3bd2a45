"""Observed spectra in batches -> stars: all spectra with one identifier are pieces of one star, wherever they lie."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from astropy.table import Table

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.fitting.many import made_with, resolution_meta, which_spectra
from payneflow.fitting.pieces import Pieces
from payneflow.fitting.resolutions import fittable
from payneflow.fitting.run_meta import summed, united
from payneflow.fitting.settings import FASTEST, FitSettings
from payneflow.fitting.star_fits import COMMON
from payneflow.fitting.stars import fit_stars
from payneflow.network import PixelNetworks
from payneflow.spectra import Spectra, StarShard

MOST_PIXELS = 2**27  # of all pieces together, which memory holds at once: 2 GB


def fit_stars_of_batches(
    networks: PixelNetworks,
    batches: Iterable[Spectra],
    settings: FitSettings,
    *,
    velocity: str = COMMON,
    label_errors=None,
    shard: StarShard | None = None,
    arms: Sequence[tuple[PixelNetworks, Iterable[Spectra]]] = (),
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> tuple[Table, Table]:
    """Fit all spectra of the batches, those with the same identifier as one star; the tables of `fit_stars`.

    The pieces may lie in any order, files and axes. The table of stars has the meta of `fit_into`; that of pieces has
    `spectrum`, the number of each, counted from 0 through all batches, and `path`, its file, in place of `part` and
    `row`. `shard`: which stars of many these are, whose spectra the batches are in their order: it says the star and
    the number of each, and the tables which of how many stars they hold, for `gather_into`. Stars come in the order of
    their first spectra, and shards change no bit. `arms`: further batches, each with its own networks, whose spectra
    are counted on from the others. Raises SpectraError where there is no spectrum, where there are more pixels than
    MOST_PIXELS, or other spectra than those of the shard; what `fit_stars` raises. Gives a SpectraWarning where no two
    spectra have the same identifier.
    """
    groups: dict[tuple, list[tuple[np.ndarray, Spectra]]] = {}  # by arm and `_group_of`; which spectra they are
    begin, n_pixel = 0, 0
    networks_of = [networks, *(own for own, _ in arms)]
    for arm, batch in _numbered([batches, *(own for _, own in arms)]):
        batch = fittable(networks_of[arm], settings, batch, label_errors)
        n_pixel += batch.flux.size
        if n_pixel > MOST_PIXELS:
            raise SpectraError(
                f"{batch.path[0]}: more than {MOST_PIXELS} pixels, and pieces of stars are held in memory together. "
                "Fit fewer stars at a time, such as with --stars START:STOP."
            )
        groups.setdefault((arm, *_group_of(batch)), []).append((np.arange(begin, begin + len(batch)), batch))
        begin += len(batch)
    if not begin:
        raise SpectraError("no spectrum to fit: expected files of observed spectra.")
    every = [batch for group in groups.values() for _, batch in group]
    if shard is not None and begin != len(shard.numbers):
        raise SpectraError(
            f"{every[0].path[0]}: {begin} spectra were read, but {len(shard.numbers)} had names before: a file has "
            "changed in between. Fit again."
        )
    parts = [_pieces(networks_of[arm], group, label_errors, shard) for (arm, *_), group in groups.items()]
    stars, pieces = fit_stars(parts, settings=settings, velocity=velocity, processes=processes, progress=progress)
    if begin > 1 and len(stars) == begin and (shard is None or shard.n_star == shard.n_all):
        said = (
            "no two spectra have the same identifier: each is a star of one piece. Name the array that says which star"
        )
        warnings.warn(SpectraWarning(f"{every[0].path[0]}: {said} a spectrum is of as identifier."), stacklevel=2)
    number = [part.place for part in parts]
    path = [np.concatenate([batch.path for _, batch in group]) for group in groups.values()]
    where = list(zip(pieces["part"], pieces["row"], strict=True))
    pieces.replace_column("part", np.array([number[part][row] for part, row in where]))
    pieces.replace_column("row", np.array([path[part][row] for part, row in where]))
    pieces.rename_columns(["part", "row"], ["spectrum", "path"])
    pieces["spectrum"].description = "number of the spectrum, counted from 0 through all files"
    pieces["path"].description = "file that the spectrum was read from"
    bad = [batch for batch in every if (batch.problem != "").any()]
    unread = [
        [(name, said) for name, said in zip(batch.identifier.tolist(), batch.problem.tolist(), strict=True) if said]
        for batch in bad
    ]
    said = {"unreadable": united(unread), "left_out": summed(batch.n_left_out for batch in every)}
    of_run = made_with(networks, settings, label_errors) | resolution_meta(every[0])
    of_run |= {"arms": [own.digest for own in networks_of[1:]]} if arms else {}
    which = {} if shard is None else _which_stars(shard)
    stars.meta |= said | of_run | which_spectra(stars, None, None if shard is None else shard.n_all) | which
    pieces.meta |= of_run | {"n_row": len(pieces)} | which
    return stars, pieces


def _numbered(arms: Sequence[Iterable[Spectra]]) -> Iterator[tuple[int, Spectra]]:
    """The batches of all arms, and which arm each is of."""
    for arm, batches in enumerate(arms):
        for batch in batches:
            yield arm, batch


def _which_stars(shard: StarShard) -> dict:
    """Which stars a table holds, of how many: what `gather_into` proves."""
    return {"stars": [[shard.selection.start, shard.selection.stop]], "n_star": shard.n_star}


def _group_of(batch: Spectra) -> tuple[bytes, int]:
    """The same for all batches on the same axis whose resolutions are of one kind: none, a number, or one a pixel."""
    axis = b"" if batch.on_networks_axis else hashlib.sha256(np.ascontiguousarray(batch.wavelength)).digest()
    kind = 0 if batch.resolution is None else 1 + (batch.resolution.shape[1] > 1)
    return axis, kind


def _pieces(networks: PixelNetworks, numbered: list[tuple[np.ndarray, Spectra]], label_errors, shard) -> Pieces:
    """All batches on one axis. A spectrum whose barycentric correction is no velocity takes no part."""
    group, number = [batch for _, batch in numbered], np.concatenate([own for own, _ in numbered])
    flux, flux_error, identifier, path = (
        np.concatenate([getattr(batch, name) for batch in group])
        for name in ("flux", "flux_error", "identifier", "path")
    )
    barycentric = _barycentric(group)
    if barycentric is not None:
        wrong = np.flatnonzero(~(np.abs(barycentric) < FASTEST))
        for row in wrong:
            said = f"{path[row]}: barycentric of {identifier[row]} is {barycentric[row]:g}, expected a velocity in km/s"
            warnings.warn(SpectraWarning(f"{said} below {FASTEST:g}. Recorded as failed."), stacklevel=2)
        barycentric[wrong], flux_error[wrong] = 0.0, np.inf
    axis = None if group[0].on_networks_axis else group[0].wavelength
    given = [batch.resolution for batch in group]
    resolution = None if given[0] is None else np.concatenate(given)
    star, place = (identifier, number) if shard is None else (shard.star[number], shard.numbers[number])
    own = {"barycentric": barycentric, "label_errors": label_errors, "resolution": resolution, "place": place}
    return Pieces(networks, flux, flux_error, star, axis, **own)


def _barycentric(group: list[Spectra]) -> np.ndarray | None:
    """Corrections of all spectra of a group; 0 of those that could not be read. None: the layout names none."""
    if all(batch.barycentric is None for batch in group):
        return None
    known = [np.zeros(len(batch)) if batch.barycentric is None else batch.barycentric for batch in group]
    unread = np.concatenate([batch.problem for batch in group]) != ""
    return np.where(unread, 0.0, np.concatenate(known))
