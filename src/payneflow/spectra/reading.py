"""Files of observed spectra -> batches on one wavelength axis, or on an axis each, of bounded size, in the order given.

A file that cannot be read is an error where it is the only one; among many it becomes one spectrum that takes no part,
so that it is recorded with its reason and stops no other.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError, SpectraError, SpectraWarning
from payneflow.files import is_there, refuse_special
from payneflow.spectra.formats import FORMATS
from payneflow.spectra.instrument import filled, of_pixels, resolution_of, resolution_of_pieces, resolutions_of_rows
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.names import names_of_files, names_of_rows
from payneflow.spectra.one_star import are_pieces, doubt_of_levels, joined
from payneflow.spectra.stored import SpectraFile, StoredSpectra
from payneflow.spectra.uncertainty import MOST_MASKED, REASONS, flux_errors, is_masked, kind_in_doubt
from payneflow.spectra.wavelengths import check_overlap, columns_of, rising_axis, rounding_of, within_reach
from payneflow.swelling import refuse_swelling

BATCH_SIZE = 500  # spectra
BATCH_PIXELS = 2**20  # of an array of a batch, 8 MB of numbers: of spectra of more than 2097 pixels there are fewer
DOUBT_FROM = 20  # spectra of a batch that are looked at for errors or masks of a wrong kind


@dataclass(frozen=True, eq=False)
class Spectra:
    """Some observed spectra on one wavelength axis, or each on its own.

    `identifier` (n,), text; `wavelength` (n_pixel,), Angstrom in vacuum, increasing, or (n, n_pixel), an axis each,
    NaN after the last pixel of those that have fewer than others; `flux` (n, n_pixel), as the file
    has it; `flux_error` (n, n_pixel), 1 sigma, inf where a pixel takes no part; `path` (n,), the file of each;
    `barycentric` (n,) km/s, what the layout names so; None: nothing. `resolution` (n, 1) or (n, n_pixel), R =
    wavelength / FWHM, NaN in the rows of spectra that take no part; None: the files say none; `resolution_said`: where
    it comes from.
    `problem` (n,), why a spectrum could not be read at all, "" for the others; `on_networks_axis`, whether the
    wavelengths are the networks' own; `n_left_out`, pixels that take no part, by reason.
    """

    identifier: np.ndarray
    wavelength: np.ndarray
    flux: np.ndarray
    flux_error: np.ndarray
    path: np.ndarray
    problem: np.ndarray
    on_networks_axis: bool
    n_left_out: dict[str, int]
    barycentric: np.ndarray | None = None
    resolution: np.ndarray | None = None
    resolution_said: str = ""

    def __len__(self) -> int:
        return len(self.flux)


def count_spectra(path: str | Path, layout: SpectraLayout) -> int:
    """The number of spectra in a file, from the headers of its arrays; formats that hold one are not even opened.

    Raises SpectraError as `read_spectra` does, for what the headers tell.
    """
    if FORMATS[layout.format].one_spectrum:
        return 1
    with open_spectra(path, layout) as file:
        return file.n_spectrum


def identifiers_of(path: str | Path, layout: SpectraLayout, name: str) -> np.ndarray:
    """(n_spectrum,) what the spectra of a file are called, without their flux; `name` as in `open_spectra`.

    Raises SpectraError as `read_spectra` does, for what the headers and the identifiers tell.
    """
    with open_spectra(path, layout, name) as file, _damage_said(file.path, layout):
        return file.identifiers()


def open_spectra(path: str | Path, layout: SpectraLayout, name: str = "") -> SpectraFile:
    """Open a file of spectra in the format of the layout; SpectraError where that is not what it is.

    `name`: what its spectra are called where they have no identifier, by default the file's own without its ending.
    """
    path = Path(path)
    if path.is_dir():
        raise SpectraError(f"{path}: a directory; expected a file of spectra: name the files inside it.")
    if not is_there(path):
        raise SpectraError(f"{path}: no such file; expected a file of observed spectra.")
    refuse_special(path, SpectraError, "a file of observed spectra")
    with _damage_said(path, layout):
        if layout.format != "npz":  # whose arrays are judged one by one
            refuse_swelling(path, SpectraError)
        store = FORMATS[layout.format].load_store()(path, layout)
        try:
            return SpectraFile(path, store, name)
        except BaseException:
            store.close()
            raise


@contextmanager
def _damage_said(path: Path, layout: SpectraLayout) -> Iterator[None]:
    """Whatever the library of a format makes of damaged bytes is an error of this file, which stops no other."""
    try:
        yield
    except PayneflowError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise SpectraError(
            f"{path}: cannot be read as {layout.format} ({type(error).__name__}: {said}). Is the file damaged, or of "
            "another format?"
        ) from error


def _read(file: SpectraFile, first: int, stop: int) -> StoredSpectra:
    with _damage_said(file.path, file.layout):
        return file.read(first, stop)


def read_spectra(
    paths: Sequence[str | Path],
    layout: SpectraLayout,
    networks_wavelength: np.ndarray,
    *,
    selection: range | Sequence[range] | None = None,
    batch_size: int = BATCH_SIZE,
    flag_bad_files: bool | None = None,
    names: Sequence[str] | None = None,
    own_axes: bool = False,
) -> Iterator[Spectra]:
    """Yield the spectra of files in batches, in order; a new axis begins a new batch, unless `own_axes`.

    A batch has at most `batch_size` spectra, and at most BATCH_PIXELS pixels unless one spectrum alone has more.
    `networks_wavelength` (n_pixel,), Angstrom: pixels out of reach of it are left away, and where it is part of the
    spectra's own axis exactly those pixels are kept. `selection` of all spectra, counted from 0 through the files (a
    file that cannot be read counts as one): a range, or several, in rising order. `flag_bad_files`: such a file gives
    one spectrum whose errors are all infinite and whose `problem` says why, instead of an error; by default where there
    is more than one file. `names` of the files, for spectra without an identifier; by default as `names_of_files` gives
    them. `own_axes`: neighbours on unlike axes share a batch, in which each has its own; not those on the networks' own
    axis.

    Raises SpectraError naming file, key and row. Gives a SpectraWarning, once, where the kind of error looks wrong.
    """
    flag = len(paths) > 1 if flag_bad_files is None else flag_bad_files
    networks = np.asarray(networks_wavelength, dtype=float)
    paths = [Path(path) for path in paths]
    named = list(zip(paths, names_of_files(paths) if names is None else names, strict=True))
    runs = [selection] if selection is None or isinstance(selection, range) else list(selection)
    return _join(_pieces(named, layout, networks, runs, batch_size, flag), batch_size, own_axes)


# --- Files -> pieces, each of one file and one axis -------------------------------------------------------------------


def _pieces(
    named: Sequence[tuple[Path, str]],
    layout: SpectraLayout,
    networks: np.ndarray,
    runs: Sequence[range | None],
    batch_size: int,
    flag: bool,
) -> Iterator[Spectra]:
    begin, said = 0, set()
    for path, name in named:
        if runs[-1] is not None and begin >= runs[-1].stop:
            return
        n_spectrum, wanted = 1, _selected(1, begin, runs)  # what a file counts for that cannot even be opened
        try:
            with open_spectra(path, layout, name) as file:
                n_spectrum = file.n_spectrum
                wanted = _selected(n_spectrum, begin, runs)
                at_once = _room(batch_size, file.n_pixel)
                while wanted:
                    rows = wanted[0]
                    yield from _checked(file, rows[:at_once], networks, said)
                    wanted = ([rows[at_once:]] if len(rows) > at_once else []) + wanted[1:]  # left if damaged there
        except SpectraError as error:
            if not flag:
                raise
            if wanted:
                warnings.warn(SpectraWarning(f"{error} Recorded as failed."), stacklevel=2)
            at_once = _room(batch_size, len(networks))
            for rows in wanted:
                for first in range(0, len(rows), at_once):
                    names = names_of_rows(name, rows[first : first + at_once], n_spectrum)
                    yield _taking_no_part(names, path, str(error), networks, layout)
        begin += n_spectrum


def _room(batch_size: int, n_pixel: int) -> int:
    """How many spectra of so many pixels a batch holds."""
    return min(batch_size, max(1, BATCH_PIXELS // n_pixel))


def _selected(n_spectrum: int, begin: int, runs: Sequence[range | None]) -> list[range]:
    """The rows of a file of `n_spectrum` spectra, of which the first is number `begin` of all, that are asked for."""
    if runs[0] is None:
        return [range(n_spectrum)]
    own = (range(max(run.start - begin, 0), min(run.stop - begin, n_spectrum)) for run in runs)
    return [rows for rows in own if rows]


def _checked(file: SpectraFile, rows: range, networks: np.ndarray, said: set[str]) -> list[Spectra]:
    """Some rows of a file, in runs that share one axis; a row whose own axis is wrong takes no part."""
    if file.is_one_star:
        stored = _read(file, 0, file.n_row)
        _warn_of_doubts(file, stored, said)
        return [_one_star(file, stored, networks, said)]
    stored = _read(file, rows.start, rows.stop)
    _warn_of_doubts(file, stored, said)
    if stored.wavelength.ndim == 1:
        return [_on_one_axis(file, stored, stored.wavelength, networks, rows)]
    changes = np.flatnonzero((np.diff(stored.wavelength, axis=0) != 0).any(axis=1)) + 1
    runs = np.split(np.arange(len(rows)), changes)
    pieces = []
    for run in (slice(run[0], run[-1] + 1) for run in runs):
        part = stored.some(run)
        try:
            pieces.append(_on_one_axis(file, part, part.wavelength[0], networks, rows[run]))
        except SpectraError as error:
            if file.n_spectrum == 1:
                raise
            message = f"spectrum {rows[run.start]}: {error}"
            warnings.warn(SpectraWarning(f"{message} Recorded as failed."), stacklevel=2)
            pieces.append(_taking_no_part(part.identifier, file.path, message, networks, file.layout))
    return pieces


def _on_one_axis(
    file: SpectraFile, stored: StoredSpectra, axis: np.ndarray, networks: np.ndarray, rows: range
) -> Spectra:
    """Spectra whose wavelengths, in the unit of the layout, are `axis` (n_pixel,); `rows` of the file."""
    unit = file.layout.wavelength_unit
    wavelength, pixels = _axis(file, stored, axis)
    check_overlap(file.place("wavelength"), axis[pixels], wavelength, networks, unit)
    columns = columns_of(networks, wavelength, rounding_of(axis[pixels], wavelength, unit))
    on_networks_axis = columns is not None
    if not on_networks_axis:
        columns = within_reach(wavelength, networks)

    if on_networks_axis and len(columns) == len(wavelength):
        columns = slice(None)  # no copy

    def cut(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[:, pixels][:, columns]

    flux = np.ascontiguousarray(cut(stored.flux), dtype=float)
    flux_error, n_left_out = flux_errors(flux, cut(stored.uncertainty), cut(stored.mask), file.layout)
    if isinstance(pixels, np.ndarray):
        n_left_out = _added([n_left_out, _padding(stored, pixels, file.layout)])
    found = _spectra(
        file, stored.identifier, wavelength[columns], flux, flux_error, n_left_out, networks, on_networks_axis
    )
    found = replace(found, barycentric=stored.barycentric)
    if stored.instrument is None:
        return found
    number, used = np.arange(file.n_pixel)[pixels], np.isfinite(flux_error)
    resolution, problem = resolutions_of_rows(file, stored, wavelength, number, columns, used, rows)
    flux_error[problem != ""] = np.inf
    said = file.layout.instrument_said
    return replace(found, flux_error=flux_error, problem=problem, resolution=resolution, resolution_said=said)


def _padding(stored: StoredSpectra, kept: np.ndarray, layout: SpectraLayout) -> dict[str, int]:
    """How many pixels, by reason, are no part of any axis: all but those that are kept."""
    out = np.ones(stored.flux.shape[1], dtype=bool)
    out[kept] = False
    given = (None if array is None else array[:, out] for array in (stored.uncertainty, stored.mask))
    return flux_errors(np.asarray(stored.flux[:, out], dtype=float), *given, layout)[1]


def _one_star(file: SpectraFile, stored: StoredSpectra, networks: np.ndarray, said: set[str]) -> Spectra:
    """The one spectrum whose pieces the rows of a file are."""
    wavelengths, places, whole, counts, resolutions = [], [], [], [], []
    for row, axis in enumerate(np.atleast_2d(stored.wavelength)):
        part = stored.some(slice(row, row + 1))
        try:
            wavelength, pixels = _axis(file, part, axis)
        except SpectraError as error:
            raise SpectraError(f"{file.path}: row {row}: {str(error).removeprefix(f'{file.path}: ')}") from None
        if isinstance(pixels, np.ndarray):
            counts.append(_padding(part, pixels, file.layout))
        whole.append(wavelength)
        near, number = within_reach(wavelength, networks), np.arange(file.n_pixel)[pixels]
        wavelengths.append(wavelength[near])
        places.append(row * file.n_pixel + number[near])
        if part.instrument is not None:
            of_row = resolution_of(of_pixels(part.instrument, pixels), wavelength, number, file.layout)
            resolutions.append(of_pixels(of_row, near)[0])
    if not any(map(len, wavelengths)):
        everywhere, unit = np.concatenate(whole), file.layout.wavelength_unit
        check_overlap(file.place("wavelength"), np.ravel(stored.wavelength), everywhere, networks, unit)
    own = np.concatenate(places)
    flux, *rest = (
        None if array is None else array.reshape(1, -1)[:, own]
        for array in (stored.flux, stored.uncertainty, stored.mask)
    )
    flux = np.ascontiguousarray(flux, dtype=float)
    flux_error, n_left_out = flux_errors(flux, *rest, file.layout)
    n_left_out = _added([n_left_out, *counts])
    if "levels" not in said:
        _warn_once(said, "levels", file.place("flux"), doubt_of_levels(wavelengths, flux[0], flux_error[0]))
    resolution, doubt = resolution_of_pieces(file, stored, resolutions, wavelengths, own, np.isfinite(flux_error[0]))
    _warn_once(said, "resolutions", file.path, doubt)
    wavelength, flux, flux_error, resolution = joined(
        file.place("wavelength"), wavelengths, flux[0], flux_error[0], resolution
    )
    columns = columns_of(networks, wavelength)
    taken = slice(None) if columns is None else columns
    flux, flux_error = flux[None, taken], flux_error[None, taken]
    name = stored.identifier[:1]
    found = _spectra(file, name, wavelength[taken], flux, flux_error, n_left_out, networks, columns is not None)
    if resolution is not None:
        kept = filled(of_pixels(resolution[None], taken)[0], np.isfinite(flux_error[0]))
        found = replace(found, resolution=kept[None], resolution_said=file.layout.instrument_said)
    return found if stored.barycentric is None else replace(found, barycentric=stored.barycentric[:1])


def _axis(file: SpectraFile, stored: StoredSpectra, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray | slice]:
    """Wavelengths, Angstrom in vacuum, increasing, and the pixels that have them, without masked padding."""
    layout = file.layout

    def takes_part() -> np.ndarray:
        flux = np.asarray(stored.flux, dtype=float)
        return np.isfinite(flux_errors(flux, stored.uncertainty, stored.mask, layout)[0]).any(axis=0)

    return rising_axis(file.place("wavelength"), axis, layout.wavelength_unit, layout.medium, takes_part)


def _spectra(file, identifier, wavelength, flux, flux_error, n_left_out, networks, on_networks_axis: bool) -> Spectra:
    return Spectra(
        identifier=identifier,
        wavelength=networks if on_networks_axis else wavelength,
        flux=flux,
        flux_error=flux_error,
        path=np.full(len(flux), str(file.path)),
        problem=np.full(len(flux), ""),
        on_networks_axis=on_networks_axis,
        n_left_out=n_left_out,
    )


def _warn_of_doubts(file: SpectraFile, stored: StoredSpectra, said: set[str]) -> None:
    """Say once of all files where errors, masks, rows or wavelengths look as if something else were meant."""
    layout, first = file.layout, slice(0, DOUBT_FROM)
    given = None if stored.uncertainty is None else stored.uncertainty[first]
    doubts = {"uncertainty": "uncertainty" not in said and kind_in_doubt(stored.flux[first], given, layout.uncertainty)}
    if stored.mask is not None and "mask" not in said:
        share = is_masked(stored.mask[first], layout.mask_bits).mean()
        if share > MOST_MASKED:
            doubts["mask"] = f"the mask takes {share:.0%} of the pixels away; expected what is set in it to be bad"
    if "rows" not in said and not file.is_one_star and stored.wavelength.ndim == 2 and _look_like_pieces(stored):
        doubts["rows"] = (
            f"each of the {file.n_row} rows has wavelengths that follow those of another, as chips or orders of one "
            "star have; they are fitted as so many stars. Set rows to one_star where they are one"
        )
    if "wavelength" not in said:
        doubts["wavelength"] = file.doubt()
    role = {"uncertainty": layout.uncertainty, "mask": "mask", "rows": "wavelength", "wavelength": "wavelength"}
    for what, doubt in doubts.items():
        if doubt:
            _warn_once(said, what, file.place(role[what]), doubt)


def _warn_once(said: set[str], what: str, place: str | Path, doubt: str) -> None:
    """Say a doubt, if there is one, and if nothing of the kind was said before."""
    if doubt and what not in said:
        said.add(what)
        warnings.warn(SpectraWarning(f"{place}: {doubt}"), stacklevel=2)


def _look_like_pieces(stored: StoredSpectra) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that are nothing but NaN
        return are_pieces(np.nanmin(stored.wavelength, axis=1), np.nanmax(stored.wavelength, axis=1))


def _taking_no_part(
    identifier: np.ndarray, path: Path, problem: str, networks: np.ndarray, layout: SpectraLayout
) -> Spectra:
    """Spectra that could not be read: on the networks' axis, with infinite errors and the reason."""
    shape = len(identifier), len(networks)
    return Spectra(
        identifier=identifier,
        wavelength=networks,
        flux=np.full(shape, np.nan),
        flux_error=np.full(shape, np.inf),
        path=np.full(len(identifier), str(path)),
        problem=np.full(len(identifier), problem),
        on_networks_axis=True,
        n_left_out=dict.fromkeys(REASONS, 0),
        resolution_said=layout.instrument_said,
    )


# --- Pieces -> batches ------------------------------------------------------------------------------------------------


def _join(pieces: Iterable[Spectra], batch_size: int, own_axes: bool) -> Iterator[Spectra]:
    """Join neighbours as long as a batch has room for both; memory keeps no batch that was given.

    They are on the same axis, unless `own_axes`, and R of their files is one number each, or one for each pixel.
    """
    waiting: list[Spectra] = []
    for piece in pieces:
        room = _room(batch_size, max(len(one.wavelength) for one in (piece, *waiting)))
        if waiting and (sum(map(len, waiting)) + len(piece) > room or not _go_together(waiting[0], piece, own_axes)):
            yield _taken(waiting)
            room = _room(batch_size, len(piece.wavelength))
        waiting.append(piece)
        del piece
        if sum(map(len, waiting)) >= room:
            yield _taken(waiting)
    if waiting:
        yield _taken(waiting)


def _go_together(one: Spectra, other: Spectra, own_axes: bool) -> bool:
    """Whether two can share a batch: what kernels fit them may not depend on it."""
    kinds = [None if spectra.resolution is None else spectra.resolution.shape[1] > 1 for spectra in (one, other)]
    if kinds[0] is not kinds[1]:
        return False
    on_networks = one.on_networks_axis or other.on_networks_axis
    return (own_axes and not on_networks) or np.array_equal(one.wavelength, other.wavelength)


def _taken(pieces: list[Spectra]) -> Spectra:
    """All pieces as one, and the list empty."""
    whole = _joined(pieces)
    pieces.clear()
    return whole


def _joined(pieces: list[Spectra]) -> Spectra:
    if len(pieces) == 1:
        return pieces[0]
    arrays = {
        name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("identifier", "path", "problem")
    }
    first, n_pixel = pieces[0].wavelength, max(len(piece.wavelength) for piece in pieces)
    if not all(np.array_equal(piece.wavelength, first) for piece in pieces):
        axes = [np.broadcast_to(piece.wavelength, piece.flux.shape) for piece in pieces]
        arrays["wavelength"] = np.concatenate([_padded(axis, n_pixel, np.nan) for axis in axes])
    for name, padding in _PADDING.items():
        if pieces[0].resolution is not None or name != "resolution":
            arrays[name] = np.concatenate([_padded(getattr(piece, name), n_pixel, padding) for piece in pieces])
    known = [np.full(len(piece), np.nan) if piece.barycentric is None else piece.barycentric for piece in pieces]
    if any(piece.barycentric is not None for piece in pieces):  # of files that could not be read nothing is known
        arrays["barycentric"] = np.concatenate(known)
    return replace(pieces[0], **arrays, n_left_out=_added([piece.n_left_out for piece in pieces]))


_PADDING = {"flux": np.nan, "flux_error": np.inf, "resolution": np.nan}  # behind the last pixel of a spectrum


def _padded(values: np.ndarray, n_pixel: int, padding: float) -> np.ndarray:
    """Rows (n, ...) with as many pixels as others; one number a row stays one."""
    more = n_pixel - values.shape[1]
    return values if not more or values.shape[1] == 1 else np.pad(values, [(0, 0), (0, more)], constant_values=padding)


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    return {reason: sum(count[reason] for count in counts) for reason in REASONS}
