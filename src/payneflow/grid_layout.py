"""Which arrays a grid file holds: their names, kinds and shapes, all judged by their headers before any is read.

A refusal here costs no time on a grid of many gigabytes, and no pickled array is ever touched. A key that is missing
is answered with the one that was probably meant.
"""

import difflib
import zipfile
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.files import read_npz
from payneflow.grid_halves import check_enough_spectra


@dataclass(frozen=True)
class GridKeys:
    """The names of the arrays in a grid file; the defaults are the published ones."""

    wavelength: str = "wavelength"
    flux: str = "Y_u_all"
    labels: str = "labels_array"
    label_names: str = "label_names"
    label_units: str = "label_units"


PUBLISHED = GridKeys()

_WHAT = "a grid of spectra"

_MEANING = {
    "wavelength": "the wavelengths, (n_pixel,), in Angstrom",
    "flux": "the normalised flux, (n_spectrum, n_pixel)",
    "labels": "the labels, (n_label, n_spectrum)",
    "label_names": "the label names, (n_label,)",
    "label_units": "the label units, (n_label,)",
}
_ROLES = tuple(_MEANING)
_OPTIONAL = ("label_names", "label_units")  # and of text; the others are of numbers

# What else authors call these arrays, in lower case; only ever suggested, never taken.
_ALIASES = {
    "wavelength": ("wavelength", "wavelengths", "wave", "waves", "wavelength_array", "wl", "lambda", "lam"),
    "flux": ("y_u_all", "flux", "fluxes", "spectra", "spectrum", "normalized_flux", "normalised_flux", "y"),
    "labels": ("labels_array", "labels", "label", "stellar_labels", "params", "parameters", "x"),
    "label_names": ("label_names", "labels_names", "label_name", "param_names"),
    "label_units": ("label_units", "labels_units", "label_unit", "param_units"),
}


def read_arrays(path: Path, keys: GridKeys) -> dict[str, np.ndarray]:
    """Key -> array, for all of `keys` that the file holds, once their headers show that they fit together.

    Raises GridError for what is no npz file, a missing key, or an array of the wrong kind or shape.
    """
    headers = _read_headers(path, keys, _ROLES)
    _check_shapes(path, keys, {key: header.shape for key, header in headers.items()})
    return read_npz(path, GridError, _WHAT, keys=astuple(keys))


def count_pixels(path: str | Path, keys: GridKeys = PUBLISHED) -> int:
    """The number of pixels of a grid file, from the header of its wavelength array alone: no array is read.

    Raises GridError as `read_grid` does, for the file and its wavelength key only.
    """
    path = Path(path)
    headers = _read_headers(path, keys, ("wavelength",))
    return _check_axis(path, keys.wavelength, headers[keys.wavelength].shape)


# --- Headers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """What the header of a stored array says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype


def _read_headers(path: Path, keys: GridKeys, roles: tuple[str, ...]) -> dict[str, _Header]:
    """Key -> header of the arrays that play `roles`: all there but for optional ones, each of the right kind."""
    read_npz(path, GridError, _WHAT, keys=())  # reads no array, but refuses what is no npz file
    wanted = [getattr(keys, role) for role in roles]
    headers, key = {}, None
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for key in (key for key in wanted if key in members):
                headers[key] = _header(archive, members[key])
    except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
        place = path if key is None else f"{path}: {key}"
        raise GridError(f"{place}: not a readable array ({error}). Is the file truncated? Make it again.") from error
    _check_keys(path, keys, roles, list(members))
    for role, key in zip(roles, wanted, strict=True):
        if key in headers:
            _check_kind(path, key, headers[key].dtype, text=role in _OPTIONAL)
    return headers


def _header(archive: zipfile.ZipFile, member: str) -> _Header:
    with archive.open(member) as stream:
        # Versions above 1.0 have a longer length field; 3.0 differs from 2.0 by non-ASCII field names only.
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return _Header(shape, dtype)


# --- Names ------------------------------------------------------------------------------------------------------------


def _check_keys(path: Path, keys: GridKeys, roles: tuple[str, ...], stored: list[str]) -> None:
    """Refuse missing keys, all in one message; `stored` are the keys of the file."""
    problems = " ".join(filter(None, (_missing(keys, role, stored) for role in roles)))
    if problems:
        raise GridError(f"{path}: {problems} The file holds {', '.join(map(repr, stored)) or 'nothing'}.")


def _missing(keys: GridKeys, role: str, stored: list[str]) -> str:
    """What to say of a key that the file does not hold; nothing where it does, or where that is no mistake."""
    key = getattr(keys, role)
    if key in stored:
        return ""
    likely = _likely_key(keys, role, stored)
    if role in _OPTIONAL and likely is None and key == getattr(PUBLISHED, role):
        return ""
    problem = f"no array '{key}' ({_MEANING[role]})."
    if likely is None:
        return f"{problem} Name the array that holds this under grid_keys: {role} in config.yaml."
    return (
        f"{problem} Did you mean '{likely}'? Then set grid_keys: {role}: {likely} in config.yaml "
        f"(--key {role}={likely} on the command line)."
    )


def _likely_key(keys: GridKeys, role: str, stored: list[str]) -> str | None:
    """The stored key that most likely plays `role`: a usual name for it, or else one spelled much like its key."""
    taken = astuple(keys)
    free = {name.lower(): name for name in stored if name not in taken}
    usual = [free[alias] for alias in _ALIASES[role] if alias in free]
    # 0.75: one or two letters wrong in a word of these lengths, but labels_array is no label_names
    close = [free[name] for name in difflib.get_close_matches(getattr(keys, role).lower(), free, n=1, cutoff=0.75)]
    return next(iter(usual + close), None)


# --- Kinds ------------------------------------------------------------------------------------------------------------


def _check_kind(path: Path, key: str, dtype: np.dtype, text: bool) -> None:
    """Refuse an array that is pickled, or not of real numbers (`text`: not of text)."""
    if dtype.hasobject:
        remedy = "np.array(names, dtype=str)" if text else "np.asarray(values, dtype=float)"
        raise GridError(
            f"{path}: {key} is a pickled array (dtype {dtype}), which is never loaded because it can run code. "
            f"Store it as {remedy}."
        )
    if dtype.kind not in ("US" if text else "fiu"):
        expected = "text, np.array(names, dtype=str)" if text else "real numbers, float32 or float64"
        raise GridError(f"{path}: {key} has dtype {dtype}; expected {expected}. Convert it and write the grid again.")


# --- Shapes -----------------------------------------------------------------------------------------------------------


def _check_shapes(path: Path, keys: GridKeys, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse shapes (by key) that do not agree on the numbers of spectra, pixels and labels."""
    n_pixel = _check_axis(path, keys.wavelength, shapes[keys.wavelength])
    n_spectrum = _check_flux_shape(path, keys, shapes[keys.flux], n_pixel)
    n_label = _check_labels_shape(path, keys, shapes[keys.labels], n_spectrum)
    for key in (keys.label_names, keys.label_units):
        if key in shapes and shapes[key] != (n_label,):
            raise GridError(
                f"{path}: {key} has shape {shapes[key]}; {keys.labels} holds {n_label} labels, which asks for "
                f"({n_label},). Give one entry for each row of {keys.labels}."
            )


def _check_axis(path: Path, key: str, shape: tuple[int, ...]) -> int:
    """The number of pixels on a wavelength axis of this shape."""
    if len(shape) != 1:
        raise GridError(
            f"{path}: {key} has shape {shape}; expected (n_pixel,), one axis that all spectra share. "
            "Resample the spectra to one axis."
        )
    if shape[0] == 0:
        raise GridError(f"{path}: {key} is empty, shape (0,); expected the wavelengths of at least one pixel.")
    return shape[0]


def _check_flux_shape(path: Path, keys: GridKeys, shape: tuple[int, ...], n_pixel: int) -> int:
    """The number of spectra in flux of this shape."""
    expected = f"expected (n_spectrum, {n_pixel}), because {keys.wavelength} has {n_pixel} pixels"
    # A square array fits either way, and is taken as it should be.
    if len(shape) == 2 and shape[0] == n_pixel != shape[1]:
        raise GridError(
            f"{path}: {keys.flux} is stored transposed: it has shape {shape}, (n_pixel, n_spectrum); {expected}. "
            f"Store {keys.flux}.T."
        )
    if len(shape) != 2 or shape[1] != n_pixel:
        raise GridError(f"{path}: {keys.flux} has shape {shape}; {expected}. Store one row for each spectrum.")
    check_enough_spectra(path, keys.flux, shape[0])
    return shape[0]


def _check_labels_shape(path: Path, keys: GridKeys, shape: tuple[int, ...], n_spectrum: int) -> int:
    """The number of labels in a label array of this shape."""
    expected = f"expected (n_label, {n_spectrum}), because {keys.flux} has {n_spectrum} spectra"
    # As many labels as spectra fit either way, and are taken as they should be.
    if len(shape) == 2 and shape[0] == n_spectrum != shape[1]:
        raise GridError(
            f"{path}: {keys.labels} is stored transposed: it has shape {shape}, (n_spectrum, n_label); {expected}. "
            f"Store {keys.labels}.T."
        )
    if shape == (n_spectrum,):
        raise GridError(
            f"{path}: {keys.labels} has shape {shape}; {expected}. For a single label store {keys.labels}[None, :]."
        )
    if len(shape) != 2 or shape[1] != n_spectrum or shape[0] == 0:
        raise GridError(
            f"{path}: {keys.labels} has shape {shape}; {expected}. Store one row for each label, one column for each "
            "spectrum."
        )
    return shape[0]


def grid_shape(path: str | Path, keys: GridKeys = PUBLISHED) -> tuple[int, int, int]:
    """(n_spectrum, n_pixel, n_label) of a grid file, from the headers of its arrays alone.

    Raises GridError as `read_grid` does, for names, kinds and shapes.
    """
    headers = _read_headers(Path(path), keys, _ROLES)
    _check_shapes(Path(path), keys, {key: header.shape for key, header in headers.items()})
    return *headers[keys.flux].shape, headers[keys.labels].shape[0]
