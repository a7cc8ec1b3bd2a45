"""Pieces of stars — visits, arms, orders, chips — as a fit of whole stars takes them, checked, and their first fits.

The first fit of a piece is that of a spectrum alone (fit.py), with its own labels: it finds where to begin, where the
velocity is, and which pixels are outliers. The fit of the star (stars.py) starts from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.fitting.data_groups import groups_of
from payneflow.fitting.engine.arguments import Kept
from payneflow.fitting.engine.emulator import emulator_of
from payneflow.fitting.engine.engines import SPECTRA_A_BLOCK, GeneralEngine
from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.engine.whole_pass import WHOLE
from payneflow.fitting.fit import check_names, checked_axis, checked_flux, starts_of
from payneflow.fitting.flux_units import check_continuum, in_shares, networks_of_shares
from payneflow.fitting.quality import Fits
from payneflow.fitting.resolutions import check_label_errors
from payneflow.fitting.sampling import check_sampling
from payneflow.fitting.settings import FASTEST, FitSettings
from payneflow.network import PixelNetworks

MOST_ENGINES = 1000  # of pieces with resolutions of their own; 2 MB each
BINS = 64  # of the networks' pixels, in which it is counted how much pieces overlap


@dataclass(frozen=True, eq=False)
class Pieces:
    """Some pieces of stars that share one wavelength axis and one networks file.

    `star` (n,): names or numbers that say to which star each piece belongs; pieces with the same one are one star, in
    whichever of the `Pieces` of a fit they are. `flux`, `flux_error`, `wavelength`, `resolution`, `label_errors`: as
    those of `fit_spectra`, of n spectra. `barycentric`: (n,) km/s, or one number, what is to be added to the observed
    velocity of a piece to have that of its star; None: nothing. `place`: (n,) numbers, in whose order stars and their
    pieces are fitted and stand in the tables; None: as they are given. All `Pieces` of a fit have them, or none.
    """

    networks: PixelNetworks
    flux: np.ndarray
    flux_error: np.ndarray | float
    star: np.ndarray
    wavelength: np.ndarray | None = None
    resolution: np.ndarray | float | None = None
    barycentric: np.ndarray | float | None = None
    label_errors: object = None
    place: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """Pieces with one engine: `rows` (n,) of part number `part`, their flux and errors as shares of the flux scale,
    `starts` (n, n_start, n_label) of their first fits, and `offset` (n,), places that a barycentric correction takes
    off their shift.
    """

    part: int
    rows: np.ndarray
    engine: GeneralEngine
    flux: np.ndarray
    flux_error: np.ndarray
    starts: np.ndarray
    offset: np.ndarray
    bins: np.ndarray  # (BINS + 1,) places of the data at which the bins begin

    def first_fits(self, rows: np.ndarray, fits: Fits, kept: Kept, working) -> None:
        """Fit the pieces `rows` of this run, each alone, into `fits` and `kept`."""
        for first in range(0, len(rows), SPECTRA_A_BLOCK):
            some = slice(first, first + SPECTRA_A_BLOCK)
            own = rows[some]
            some_kept = Kept(*(values[some] for values in kept))
            self.engine.fit(self.flux[own], self.flux_error[own], self.starts[own], fits[some], working, some_kept)

    def weights(self, kept: Kept) -> np.ndarray:
        """(n, BINS): sums of the inverse variances of pieces in bins of the networks' axis."""
        total = np.concatenate([np.zeros((len(kept.weight), 1)), np.cumsum(kept.weight, axis=1)], axis=1)
        return np.diff(total[:, self.bins], axis=1)


def runs_of(parts: Sequence[Pieces], settings: FitSettings) -> list[Run]:
    """The pieces by engine. Raises what `fit_spectra` raises, naming the part of several, and SettingsError where
    networks have other labels than those of the first part.
    """
    if not parts:
        raise SpectraError("no pieces to fit: expected one or more Pieces.")
    runs: list[Run] = []
    own_resolutions = any(part.resolution is not None for part in parts)
    for p, part in enumerate(parts):
        try:
            runs += _runs_of_part(p, part, parts[0], settings, own_resolutions)
        except (SpectraError, SettingsError, CalibrationError) as error:
            if len(parts) == 1:
                raise
            raise type(error)(f"pieces[{p}]: {error}") from error
    return runs


def _runs_of_part(p: int, part: Pieces, first: Pieces, settings: FitSettings, own_resolutions: bool) -> list[Run]:
    networks = part.networks
    check_names(networks)
    _check_same_labels(networks, first.networks)
    settings.check_labels(networks)
    check_continuum(networks, settings)
    axis = checked_axis(part.wavelength)
    flux, flux_error = checked_flux(networks, part.flux, part.flux_error, axis)
    n = len(flux)
    if np.shape(part.star) != (n,):
        raise SpectraError(f"star has shape {np.shape(part.star)}, expected ({n},), the star of each piece.")
    if part.place is not None and np.shape(part.place) != (n,):
        raise SpectraError(f"place has shape {np.shape(part.place)}, expected ({n},), a number for each piece.")
    if (part.place is None) != (first.place is None):
        raise SpectraError("some Pieces of the fit have a place and some have none; expected it of all, or of none.")
    if part.label_errors is not None and own_resolutions:
        check_label_errors(networks, settings, part.label_errors, axis, part.resolution, flux_error)
    own_each = [name for name, value in settings.fixed.items() if value is None]
    if own_each:
        raise SettingsError(
            f"fixed {own_each[0]} is None, each spectrum's own value; a star has one for all of its pieces: give a "
            "number, or fit spectra one by one."
        )
    starts, _ = starts_of(networks, settings, None, None, n)
    shares_of, shares = networks_of_shares(networks), in_shares(networks, flux, flux_error)
    offset = _offsets(part, settings, n)
    runs = []
    groups = groups_of(axis, part.resolution, *flux.shape)
    if len(groups) > MOST_ENGINES:
        raise SpectraError(
            f"the pieces have {len(groups)} different resolutions, and each takes an engine of its own, in memory "
            f"together; expected {MOST_ENGINES} at most. Fit fewer stars at a time, or round the resolutions."
        )
    for group in groups:
        engine, own = GeneralEngine.of(shares_of, settings, axis, group.resolution), group.rows
        data = [group.of(share) for share in shares]
        bins = _bins(networks.wavelength, networks.wavelength if axis is None else axis, engine.axis.place)
        places = -to_places(offset[own], engine.log_step)
        runs.append(Run(p, own, engine, *data, starts[own], places, bins))
    broadens = settings.broadenings(networks.label_names) or settings.resolution or part.resolution is not None
    if settings.velocity or axis is not None or broadens:
        check_sampling(networks, settings.velocity)
    return runs


def _check_same_labels(networks: PixelNetworks, first: PixelNetworks) -> None:
    """Raise SettingsError where two networks files cannot describe one star."""
    kind, other_kind = emulator_of(networks).kind, emulator_of(first).kind
    if networks.digest != first.digest and (kind != other_kind or kind == WHOLE):
        raise SettingsError(
            f"the networks are of the kind {kind}, those of the first pieces {other_kind}: several networks files of "
            "one star are to be of one kind, a network for each pixel. Give all pieces the same networks file."
        )
    for name, what in (("label_names", "labels"), ("label_units", "units")):
        one, other = getattr(networks, name), getattr(first, name)
        if tuple(one) != tuple(other):
            raise SettingsError(
                f"the networks have the {what} {', '.join(one)}, those of the first pieces {', '.join(other)}; "
                "expected the same, in the same order: one star has one set of labels."
            )
    for name in ("x_min", "x_max"):
        one, other = getattr(networks, name), getattr(first, name)
        if not np.array_equal(one, other):
            j = int(np.argmax(one != other))
            raise SettingsError(
                f"the networks have {name} {one[j]:g} of {networks.label_names[j]}, those of the first pieces "
                f"{other[j]:g}; expected the same range of training labels: train both on grids of the same labels."
            )


def _offsets(part: Pieces, settings: FitSettings, n: int) -> np.ndarray:
    """(n,) barycentric corrections, km/s."""
    if part.barycentric is None:
        return np.zeros(n)
    if not settings.velocity:
        raise SettingsError("barycentric is given, but no velocity is fitted: FitSettings(velocity=True).")
    given = np.asarray(part.barycentric)
    if given.shape not in ((), (n,)) or given.dtype.kind not in "fiu":
        raise SpectraError(f"barycentric has shape {given.shape}, expected ({n},) or one number, km/s.")
    wrong = np.flatnonzero(~(np.abs(np.broadcast_to(given, n).astype(float)) < FASTEST))
    if len(wrong):
        raise SpectraError(
            f"barycentric of piece {wrong[0]} is {np.broadcast_to(given, n)[wrong[0]]}, expected a velocity in km/s "
            f"between -{FASTEST:g} and {FASTEST:g}."
        )
    return np.broadcast_to(given, n).astype(float)


def _bins(networks: np.ndarray, wavelength: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(BINS + 1,) places at which pixels of `wavelength` (n,), Angstrom, enter the next bin of the networks' axis."""
    edges = networks[np.linspace(0, len(networks) - 1, BINS + 1).astype(int)]
    first = np.searchsorted(wavelength, edges)
    first[-1] = np.searchsorted(wavelength, edges[-1], side="right")
    return np.append(place, place[-1] + 1)[first]
