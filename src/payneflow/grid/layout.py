"""Which arrays a grid file must hold: their names, kinds and shapes, judged by their headers before any is read.

A refusal here costs no time on a grid of many gigabytes, and no pickled array is ever touched. A key that is missing
is answered with the one that was probably meant. What an npz and an HDF5 file say is judged by the same code.
"""

import difflib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from payneflow.declaration import declare, setting
from payneflow.errors import GridError

WHAT = "a grid of spectra (npz or HDF5)"  # in messages on a file that is none


@dataclass(frozen=True)
class Header:
    """Shape and dtype of an array that is not read yet. `text`, `pickled`: whether it holds text, or Python objects."""

    shape: tuple[int, ...]
    dtype: np.dtype
    text: bool
    pickled: bool

    @property
    def trained_dtype(self) -> np.dtype:
        """What flux of this dtype is read and trained as: native float32 where the file has float32, else float64."""
        single = self.dtype.kind == "f" and self.dtype.itemsize == 4
        return np.dtype(np.float32 if single else np.float64)


_ARRAY = "the name of an array"


@declare
class GridKeys:
    """The names of the arrays in a grid file; the defaults are the published ones."""

    wavelength: str = setting("wavelength", "(n_pixel,), Angstrom", min_length=1, expected=_ARRAY)
    flux: str = setting("Y_u_all", "(n_spectrum, n_pixel), normalised flux", min_length=1, expected=_ARRAY)
    labels: str = setting(
        "labels_array", "(n_label, n_spectrum), each label in its own unit", min_length=1, expected=_ARRAY
    )
    label_names: str = setting(
        "label_names", "(n_label,), text; may be absent from the grid", min_length=1, expected=_ARRAY
    )
    label_units: str = setting(
        "label_units", "(n_label,), text; may be absent from the grid", min_length=1, expected=_ARRAY
    )
    resolution: str = setting(
        "resolution", "R = wavelength / FWHM, one or (n_pixel,); may be absent", min_length=1, expected=_ARRAY
    )


PUBLISHED = GridKeys()

_MEANING = {
    "wavelength": "the wavelengths, (n_pixel,), in Angstrom",
    "flux": "the normalised flux, (n_spectrum, n_pixel)",
    "labels": "the labels, (n_label, n_spectrum)",
    "label_names": "the label names, (n_label,)",
    "label_units": "the label units, (n_label,)",
    "resolution": "R = wavelength / FWHM of the spectra, one number or (n_pixel,)",
}
ROLES = tuple(_MEANING)
_TEXTS = ("label_names", "label_units")  # the others are of numbers
_OPTIONAL = (*_TEXTS, "resolution")
_NEVER_GUESSED = ("resolution",)  # what is spelled much like it may be anything; grids without it are as good

# What else authors call these arrays, in lower case; only ever suggested, never taken.
_ALIASES = {
    "wavelength": ("wavelength", "wavelengths", "wave", "waves", "wavelength_array", "wl", "lambda", "lam"),
    "flux": ("y_u_all", "flux", "fluxes", "spectra", "spectrum", "normalized_flux", "normalised_flux", "y"),
    "labels": ("labels_array", "labels", "label", "stellar_labels", "params", "parameters", "x"),
    "label_names": ("label_names", "labels_names", "label_name", "param_names"),
    "label_units": ("label_units", "labels_units", "label_unit", "param_units"),
    "resolution": ("resolution", "resolving_power"),
}


# --- Names ------------------------------------------------------------------------------------------------------------


def check_keys(path: Path, keys: GridKeys, roles: tuple[str, ...], stored: list[str]) -> None:
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
    may_be_absent = role in _OPTIONAL and key == getattr(PUBLISHED, role)
    if may_be_absent and (likely is None or role in _NEVER_GUESSED):
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


def check_kind(path: Path, key: str, header: Header, role: str) -> None:
    """Refuse an array that is pickled, or not of what its role asks for: text or real numbers."""
    dtype, text = header.dtype, role in _TEXTS
    if header.pickled:
        remedy = "np.array(names, dtype=str)" if text else "np.asarray(values, dtype=float)"
        raise GridError(
            f"{path}: {key} is a pickled array (dtype {dtype}), which is never loaded because it can run code. "
            f"Store it as {remedy}."
        )
    if not (header.text if text else dtype.kind in "fiu"):
        expected = "text, np.array(names, dtype=str)" if text else "real numbers, float32 or float64"
        raise GridError(f"{path}: {key} has dtype {dtype}; expected {expected}. Convert it and write the grid again.")


# --- Shapes -----------------------------------------------------------------------------------------------------------


def check_shapes(path: Path, keys: GridKeys, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse shapes (by key) that do not agree on the numbers of spectra, pixels and labels."""
    n_pixel = check_axis(path, keys.wavelength, shapes[keys.wavelength])
    n_spectrum = _check_flux_shape(path, keys, shapes[keys.flux], n_pixel)
    n_label = _check_labels_shape(path, keys, shapes[keys.labels], n_spectrum)
    for key in (keys.label_names, keys.label_units):
        if key in shapes and shapes[key] != (n_label,):
            raise GridError(
                f"{path}: {key} has shape {shapes[key]}; {keys.labels} holds {n_label} labels, which asks for "
                f"({n_label},). Give one entry for each row of {keys.labels}."
            )
    key = keys.resolution
    if key in shapes and shapes[key] not in ((), (1,), (n_pixel,)):
        raise GridError(
            f"{path}: {key} has shape {shapes[key]}; {keys.wavelength} has {n_pixel} pixels, which asks for one number "
            f"or ({n_pixel},). Give R = wavelength / FWHM once, or at each pixel."
        )


def check_axis(path: Path, key: str, shape: tuple[int, ...]) -> int:
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
