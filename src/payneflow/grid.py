"""The grid of synthetic spectra: read from its file, checked once, split into a training half and a test half.

A grid file (npz) holds one wavelength axis, `n_spectrum` normalised spectra on it, and the labels of each spectrum.
What cannot be trained on is refused here, with the file, the key, the spectrum and the pixel in the message, so that
no later stage has to look again.
"""

import difflib
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import GridError
from payneflow.files import read_npz, sha256_of
from payneflow.scaling import LabelScaler, unscale_flux

TRAINING = slice(0, None, 2)  # published split: spectra 0, 2, 4, ... train
TEST = slice(1, None, 2)  # and 1, 3, 5, ... test

MIN_TRAINING, MIN_TEST = 3, 1  # spectra; fewer leave nothing to learn from, or nothing to check it with

# Clearly not normalised is a spectrum whose continuum is far from 1. Absorption lowers the median even of a good
# spectrum but not its brightest pixels; emission raises the brightest pixels but not the median.
BRIGHTEST_SHARE = 0.05  # share of a spectrum's pixels that is taken for its brightest
LOWEST_BRIGHTEST = 0.5  # normalised flux; the faintest of those may not lie below
HIGHEST_MEDIAN = 1.5  # normalised flux

LOWEST_WAVELENGTH = 1000.0  # Angstrom; a median below it is another unit: no stellar grid lies there
FAR_ULTRAVIOLET = 2500.0  # Angstrom; a median below it is possible, but more often nanometres of the near infrared
NANOMETRES_FROM = 100.0  # a median from here to LOWEST_WAVELENGTH reads as nm, below as micrometres or a logarithm

CONSTANT = 1e-9  # a label whose range is a smaller share of its size than this is constant but for rounding
GAP = 5.0  # a step of this many median steps is a gap between detector chips

_WHAT = "a grid of spectra"


@dataclass(frozen=True)
class GridKeys:
    """The names of the arrays in a grid file; the defaults are the published ones."""

    wavelength: str = "wavelength"
    flux: str = "Y_u_all"
    labels: str = "labels_array"
    label_names: str = "label_names"
    label_units: str = "label_units"


@dataclass(frozen=True, eq=False)
class SpectralGrid:
    """A checked grid.

    `wavelength` (n_pixel,) float64, Angstrom, increasing; `flux` (n_spectrum, n_pixel), normalised, float32 or float64
    as the file has it; `labels` (n_spectrum, n_label) float64, each in its unit (the file stores them the other way
    round); `label_names`, `label_units` (n_label,); `path` of the file, `sha256` of its bytes.
    """

    path: Path
    wavelength: np.ndarray
    flux: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    sha256: str

    @property
    def scaler(self) -> LabelScaler:
        """The scaler of the training labels; test labels may lie outside its range."""
        return LabelScaler.of_training_labels(self.labels[TRAINING])


def read_grid(path: str | Path, keys: GridKeys = GridKeys()) -> SpectralGrid:
    """Read a grid file and check all of it.

    Without label names in the file the labels are called label_1, label_2, ...; without units these are empty.
    Raises GridError that names file, key, spectrum and pixel, what was expected, and what to do.
    """
    path = Path(path)
    stored = _array_headers(path, keys, _ROLES)
    _check_keys(path, keys, stored, _ROLES)
    n_label = _check_shapes(path, keys, stored)
    arrays = read_npz(path, GridError, _WHAT, keys=astuple(keys))
    names = [f"label_{i + 1}" for i in range(n_label)]
    if keys.label_names in arrays:
        names = _text(arrays[keys.label_names])
        _check_names(path, keys.label_names, names)
    units = _text(arrays[keys.label_units]) if keys.label_units in arrays else [""] * n_label
    grid = SpectralGrid(
        path=path,
        wavelength=arrays[keys.wavelength].astype(float),
        flux=_as_trained_on(arrays[keys.flux]),
        labels=np.ascontiguousarray(arrays[keys.labels].T, dtype=float),
        label_names=tuple(names),
        label_units=tuple(units),
        sha256=sha256_of(path),
    )
    _check_wavelength(grid, keys.wavelength)
    _check_labels(grid, keys.labels)
    _check_flux(grid, keys.flux)
    _check_halves_differ(grid, keys.flux)
    return grid


def count_pixels(path: str | Path, keys: GridKeys = GridKeys()) -> int:
    """The number of pixels of a grid file, from the header of its wavelength array alone: no array is read.

    Raises GridError as `read_grid` does, for the file and its wavelength key only.
    """
    path = Path(path)
    stored = _array_headers(path, keys, ("wavelength",))
    _check_keys(path, keys, stored, ("wavelength",))
    return _check_axis(path, keys.wavelength, stored[keys.wavelength])


# --- The file: which arrays it holds, of which kind and shape ---------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """What the header of a stored array says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype


# What else authors call these arrays, in lower case; only ever suggested, never taken.
_ALIASES = {
    "wavelength": ("wavelength", "wavelengths", "wave", "waves", "wavelength_array", "wl", "lambda", "lam"),
    "flux": ("y_u_all", "flux", "fluxes", "spectra", "spectrum", "normalized_flux", "normalised_flux", "y"),
    "labels": ("labels_array", "labels", "label", "stellar_labels", "params", "parameters", "x"),
    "label_names": ("label_names", "labels_names", "label_name", "param_names"),
    "label_units": ("label_units", "labels_units", "label_unit", "param_units"),
}
_MEANING = {
    "wavelength": "the wavelengths, (n_pixel,), in Angstrom",
    "flux": "the normalised flux, (n_spectrum, n_pixel)",
    "labels": "the labels, (n_label, n_spectrum)",
    "label_names": "the label names, (n_label,)",
    "label_units": "the label units, (n_label,)",
}
_ROLES = tuple(_MEANING)
_OPTIONAL = ("label_names", "label_units")


def _array_headers(path: Path, keys: GridKeys, roles: tuple[str, ...]) -> dict[str, _Header | None]:
    """Key -> header of the arrays that play `roles`, and key -> None of whatever else the file holds."""
    wanted = [getattr(keys, role) for role in roles]
    read_npz(path, GridError, _WHAT, keys=())  # reads no array, but refuses what is no npz file
    key = None
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            stored: dict[str, _Header | None] = dict.fromkeys(members)
            for key in (key for key in wanted if key in members):
                stored[key] = _header(archive, members[key])
            return stored
    except Exception as error:  # the zip, zlib and npy decoders raise a dozen kinds on damaged bytes
        place = path if key is None else f"{path}: {key}"
        raise GridError(f"{place}: not a readable array ({error}). Is the file truncated? Make it again.") from error


def _header(archive: zipfile.ZipFile, member: str) -> _Header:
    with archive.open(member) as stream:
        # Versions above 1.0 have a longer length field; 3.0 differs from 2.0 by non-ASCII field names only.
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return _Header(shape, dtype)


def _check_keys(path: Path, keys: GridKeys, stored: dict[str, _Header | None], roles: tuple[str, ...]) -> None:
    """Refuse a missing key, and an array that does not hold what its role asks for: numbers, or text."""
    wanted = {role: getattr(keys, role) for role in roles}
    problems = [_missing(keys, role, key, stored) for role, key in wanted.items() if key not in stored]
    problems = [problem for problem in problems if problem]
    if problems:
        raise GridError(f"{path}: {' '.join(problems)} The file holds {', '.join(map(repr, stored)) or 'nothing'}.")
    for role, key in wanted.items():
        if key in stored:
            _check_kind(path, key, stored[key].dtype, text=role in _OPTIONAL)


def _missing(keys: GridKeys, role: str, key: str, stored: dict[str, _Header | None]) -> str:
    """What to say of a key that the file does not hold; nothing where that is no mistake."""
    likely = _likely_key(keys, role, key, stored)
    if role in _OPTIONAL and likely is None and key == getattr(GridKeys(), role):
        return ""
    problem = f"no array '{key}' ({_MEANING[role]})."
    if likely is None:
        return f"{problem} Name the array that holds this under grid_keys: {role} in config.yaml."
    return (
        f"{problem} Did you mean '{likely}'? Then set grid_keys: {role}: {likely} in config.yaml "
        f"(--key {role}={likely} on the command line)."
    )


def _likely_key(keys: GridKeys, role: str, key: str, stored: dict[str, _Header | None]) -> str | None:
    """The stored key that most likely plays `role`: a usual name for it, or else one spelled much like `key`."""
    taken = astuple(keys)
    free = {name.lower(): name for name in stored if name not in taken}
    usual = [free[alias] for alias in _ALIASES[role] if alias in free]
    # 0.75: one or two letters wrong in a word of these lengths, but labels_array is no label_names
    close = [free[name] for name in difflib.get_close_matches(key.lower(), free, n=1, cutoff=0.75)]
    return next(iter(usual + close), None)


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


def _check_axis(path: Path, key: str, header: _Header) -> int:
    """The number of pixels on the wavelength axis."""
    if len(header.shape) != 1:
        raise GridError(
            f"{path}: {key} has shape {header.shape}; expected (n_pixel,), one axis that all spectra share. "
            "Resample the spectra to one axis."
        )
    if header.shape[0] == 0:
        raise GridError(f"{path}: {key} is empty, shape (0,); expected the wavelengths of at least one pixel.")
    return header.shape[0]


def _check_shapes(path: Path, keys: GridKeys, stored: dict[str, _Header | None]) -> int:
    """The number of labels, once all shapes agree on the numbers of spectra, pixels and labels."""
    n_pixel = _check_axis(path, keys.wavelength, stored[keys.wavelength])
    n_spectrum = _check_flux_shape(path, keys, stored[keys.flux].shape, n_pixel)
    n_label = _check_labels_shape(path, keys, stored[keys.labels].shape, n_spectrum)
    for key in (keys.label_names, keys.label_units):
        if key in stored and stored[key].shape != (n_label,):
            raise GridError(
                f"{path}: {key} has shape {stored[key].shape}; {keys.labels} holds {n_label} labels, which asks for "
                f"({n_label},). Give one entry for each row of {keys.labels}."
            )
    return n_label


def _check_flux_shape(path: Path, keys: GridKeys, shape: tuple[int, ...], n_pixel: int) -> int:
    expected = f"expected (n_spectrum, {n_pixel}), because {keys.wavelength} has {n_pixel} pixels"
    # A square array fits either way, and is taken as it should be.
    if len(shape) == 2 and shape[0] == n_pixel != shape[1]:
        raise GridError(
            f"{path}: {keys.flux} is stored transposed: it has shape {shape}, (n_pixel, n_spectrum); {expected}. "
            f"Store {keys.flux}.T."
        )
    if len(shape) != 2 or shape[1] != n_pixel:
        raise GridError(f"{path}: {keys.flux} has shape {shape}; {expected}. Store one row for each spectrum.")
    n_training, n_test = len(range(shape[0])[TRAINING]), len(range(shape[0])[TEST])
    if n_training < MIN_TRAINING or n_test < MIN_TEST:
        raise GridError(
            f"{path}: {keys.flux} holds {shape[0]} spectra, which leaves {n_training} to train on and {n_test} to "
            f"test with; at least {MIN_TRAINING} and {MIN_TEST} are needed. Add spectra."
        )
    return shape[0]


def _check_labels_shape(path: Path, keys: GridKeys, shape: tuple[int, ...], n_spectrum: int) -> int:
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


# --- The values -------------------------------------------------------------------------------------------------------


def _as_trained_on(flux: np.ndarray) -> np.ndarray:
    """Flux in rows, native float32 where the file has float32, else float64."""
    single = flux.dtype.kind == "f" and flux.dtype.itemsize == 4
    return np.ascontiguousarray(flux, dtype=np.float32 if single else np.float64)


def _text(array: np.ndarray) -> list[str]:
    entries = array.tolist()
    return [(entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry).strip() for entry in entries]


def _check_names(path: Path, key: str, names: list[str]) -> None:
    for i, name in enumerate(names):
        if not name:
            raise GridError(f"{path}: {key}[{i}] is empty; expected a name for each label. Name label {i}.")
        if name in names[:i]:
            raise GridError(
                f"{path}: {key}[{i}] is '{name}', as is {key}[{names.index(name)}]; expected a name of its own for "
                "each label. Rename one, or remove the label that is there twice."
            )


def _check_wavelength(grid: SpectralGrid, key: str) -> None:
    wavelength = grid.wavelength
    _check_finite(grid, key, wavelength, lambda pixel: f"pixel {pixel}")
    if (wavelength <= 0).any():
        pixel = int(np.argmax(wavelength <= 0))
        raise GridError(
            f"{grid.path}: {key}[{pixel}] is {wavelength[pixel]:g} (pixel {pixel}); expected positive wavelengths in "
            "Angstrom. Correct the axis."
        )
    _check_unit(grid.path, key, float(np.median(wavelength)))
    wrong = np.diff(wavelength) <= 0
    if not wrong.any():
        return
    pixel = int(np.argmax(wrong)) + 1
    place = f"{grid.path}: {key}[{pixel}] is {wavelength[pixel]:.10g} Angstrom (pixel {pixel})"
    if wavelength[pixel] == wavelength[pixel - 1]:
        raise GridError(
            f"{place}, repeated from pixel {pixel - 1}; expected increasing wavelengths. Remove the pixels that are "
            "there twice, or store float64 where rounding made them equal."
        )
    remedy = "Sort the axis, and the columns of the flux with it"
    if wrong.all():
        remedy = "The axis descends: reverse it, and the columns of the flux with it"
    raise GridError(
        f"{place}, unsorted: it lies below the {wavelength[pixel - 1]:.10g} of pixel {pixel - 1}; expected increasing "
        f"wavelengths. {remedy}."
    )


def _check_unit(path: Path, key: str, median: float) -> None:
    if median >= LOWEST_WAVELENGTH:
        return
    guess = "micrometres (multiply by 1e4) or the logarithm of Angstrom (take 10**)"
    if median >= NANOMETRES_FROM:
        guess = "nanometres (multiply by 10)"
    raise GridError(f"{path}: {key} has the median {median:g}; expected Angstrom. It looks like {guess}.")


def _check_labels(grid: SpectralGrid, key: str) -> None:
    names = grid.label_names
    _check_finite(grid, key, grid.labels.T, lambda label, spectrum: f"label {names[label]}, spectrum {spectrum}")
    scaler = grid.scaler
    size = np.maximum(np.abs(scaler.x_min), np.abs(scaler.x_max))
    constant = scaler.x_max - scaler.x_min <= CONSTANT * size
    if constant.any():
        label = int(np.argmax(constant))
        raise GridError(
            f"{grid.path}: {key}[{label}] (label {names[label]}) is constant: {scaler.x_min[label]:g} "
            f"{grid.label_units[label]} in all training spectra (even rows of the flux); expected a label that varies. "
            f"Remove row {label} of {key}, and its name and unit."
        )


def _check_flux(grid: SpectralGrid, key: str) -> None:
    def place(spectrum: int, pixel: int) -> str:
        return f"spectrum {spectrum}, pixel {pixel}, {grid.wavelength[pixel]:.7g} Angstrom"

    _check_finite(grid, key, grid.flux, place)
    for spectrum, row in enumerate(grid.flux):
        _check_normalised(grid, key, spectrum, row)
    _check_representable(grid, key, place)


def _check_normalised(grid: SpectralGrid, key: str, spectrum: int, row: np.ndarray) -> None:
    """Refuse one spectrum whose continuum is clearly not at 1."""
    middle, bright = len(row) // 2, int(np.ceil((1 - BRIGHTEST_SHARE) * (len(row) - 1)))
    ordered = np.partition(row, (middle, bright))
    if ordered[middle] <= HIGHEST_MEDIAN and ordered[bright] >= LOWEST_BRIGHTEST:
        return
    highest = int(np.argmax(row))
    raise GridError(
        f"{grid.path}: {key}[{spectrum}] (spectrum {spectrum}) is not normalised: its median flux is "
        f"{ordered[middle]:.4g}, its highest {row[highest]:.4g} at pixel {highest}; expected flux divided by its "
        "continuum, which then lies near 1. Divide each spectrum by its continuum."
    )


def _check_representable(grid: SpectralGrid, key: str, place: Callable[..., str]) -> None:
    """Refuse flux that no network can give: its output, a logistic function, lies between 0 and 1."""
    low, high = unscale_flux(0.0), unscale_flux(1.0)
    if grid.flux.min() >= low and grid.flux.max() <= high:
        return
    outside = int(((grid.flux < low) | (grid.flux > high)).sum())
    worst = int(np.argmax(np.abs(grid.flux - 0.5 * (low + high))))
    spectrum, pixel = (int(i) for i in np.unravel_index(worst, grid.flux.shape))
    value = grid.flux[spectrum, pixel]
    cause = "emission, or a continuum set too low" if value > high else "negative flux"
    raise GridError(
        f"{grid.path}: {key}[{spectrum}, {pixel}] is {value:.4g} ({place(spectrum, pixel)}), the farthest of "
        f"{outside} values outside what a network can represent: {cause}. Expected {low:g} ... {high:g}, where the "
        "scaled flux lies in 0 ... 1. Correct these spectra, or leave them or these pixels out."
    )


def _check_finite(grid: SpectralGrid, key: str, array: np.ndarray, place: Callable[..., str]) -> None:
    """Refuse NaN and infinity in an array as the file stores it; `place(*index)` says in words where that is."""
    finite = np.isfinite(array)
    if finite.all():
        return
    index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
    brackets = ", ".join(map(str, index))
    raise GridError(
        f"{grid.path}: {key}[{brackets}] is {array[index]} ({place(*index)}), the first of {int((~finite).sum())} "
        "values that are NaN or infinite; expected finite numbers. Compute again or remove what they belong to."
    )


def _check_halves_differ(grid: SpectralGrid, key: str) -> None:
    """Refuse test spectra that were trained on: what they measure is memory."""
    prints = [hashlib.sha256(row).digest() for row in grid.flux]  # 32 bytes a spectrum: no pair is compared
    spectra = range(len(prints))
    trained = {prints[spectrum]: spectrum for spectrum in reversed(spectra[TRAINING])}  # the first of equal ones stays
    twins = [(trained[prints[spectrum]], spectrum) for spectrum in spectra[TEST] if prints[spectrum] in trained]
    if twins:
        training, test = twins[0]
        raise GridError(
            f"{grid.path}: {key}[{test}] (spectrum {test}, which tests) has the very flux of {key}[{training}] "
            f"(spectrum {training}, which trains), the first of {len(twins)} such pairs; expected test spectra (odd "
            "rows) that no network was trained on. Remove duplicate spectra, with their labels."
        )


# --- The summary ------------------------------------------------------------------------------------------------------


def summarise(grid: SpectralGrid) -> dict:
    """What a grid holds, ready for JSON; wavelengths in Angstrom, labels in their units, `notes` for the reader."""
    n_training = len(grid.labels[TRAINING])
    wavelength = {
        "unit": "Angstrom",
        "first": float(grid.wavelength[0]),
        "last": float(grid.wavelength[-1]),
        "first_nm": float(grid.wavelength[0]) / 10,
        "last_nm": float(grid.wavelength[-1]) / 10,
        "segments": _segments(grid.wavelength),
    }
    return {
        "path": str(grid.path),
        "sha256": grid.sha256,
        "n_spectrum": len(grid.labels),
        "n_training": n_training,
        "n_test": len(grid.labels) - n_training,
        "n_pixel": len(grid.wavelength),
        "n_label": len(grid.label_names),
        "wavelength": wavelength,
        "flux": {"dtype": str(grid.flux.dtype), "min": float(grid.flux.min()), "max": float(grid.flux.max())},
        "labels": [_label_summary(grid, i) for i in range(len(grid.label_names))],
        "notes": _notes(grid),
    }


def _segments(wavelength: np.ndarray) -> list[dict]:
    """The runs of pixels between gaps on the axis (detector chips); pixels first to last, both included."""
    steps = np.diff(wavelength)
    ends = np.flatnonzero(steps > GAP * np.median(steps)).tolist() if len(steps) else []
    firsts, lasts = [0, *(end + 1 for end in ends)], [*ends, len(wavelength) - 1]
    return [
        {"first_pixel": i, "last_pixel": j, "first": float(wavelength[i]), "last": float(wavelength[j])}
        for i, j in zip(firsts, lasts, strict=True)
    ]


def _label_summary(grid: SpectralGrid, label: int) -> dict:
    values, scaler = grid.labels[:, label], grid.scaler
    low, high = float(scaler.x_min[label]), float(scaler.x_max[label])
    return {
        "name": grid.label_names[label],
        "unit": grid.label_units[label],
        "min": float(values.min()),
        "max": float(values.max()),
        "training_min": low,
        "training_max": high,
        "n_test_outside": int(((values[TEST] < low) | (values[TEST] > high)).sum()),
    }


def _notes(grid: SpectralGrid) -> list[str]:
    notes = []
    if np.median(grid.wavelength) < FAR_ULTRAVIOLET:
        notes.append("the wavelengths are far ultraviolet if in Angstrom; if they are nanometres, multiply them by 10")
    if grid.label_names == tuple(f"label_{i + 1}" for i in range(len(grid.label_names))):
        notes.append("the file does not name its labels: they are called label_1, label_2, ...; store label_names")
    return notes


def summary_text(summary: dict) -> str:
    """The summary that `summarise` made, in lines for a terminal or a log."""
    axis, flux = summary["wavelength"], summary["flux"]
    n_segment = len(axis["segments"])
    lines = [
        f"grid        {summary['path']}",
        f"SHA-256     {summary['sha256']}",
        f"spectra     {summary['n_spectrum']}: {summary['n_training']} train (0, 2, 4, ...), "
        f"{summary['n_test']} test (1, 3, 5, ...)",
        f"pixels      {summary['n_pixel']} in {n_segment} {'segment' if n_segment == 1 else 'segments'}",
        f"wavelength  {axis['first']:.3f} ... {axis['last']:.3f} {axis['unit']} "
        f"({axis['first_nm']:.2f} ... {axis['last_nm']:.2f} nm)",
    ]
    if n_segment > 1:
        lines += [
            f"            {one['first']:.3f} ... {one['last']:.3f} {axis['unit']}, "
            f"pixels {one['first_pixel']} ... {one['last_pixel']}"
            for one in axis["segments"]
        ]
    lines.append(f"flux        {flux['min']:.4f} ... {flux['max']:.4f}, normalised, stored as {flux['dtype']}")
    lines.append(f"labels      {summary['n_label']}")
    lines += [_label_line(label) for label in summary["labels"]]
    lines += [f"note        {note}" for note in summary["notes"]]
    return "\n".join(lines)


def _label_line(label: dict) -> str:
    name = f"{label['name']} [{label['unit']}]" if label["unit"] else label["name"]
    line = (
        f"            {name:<14} {label['min']:g} ... {label['max']:g}, "
        f"training half {label['training_min']:g} ... {label['training_max']:g}"
    )
    return line + (f" (test spectra outside it: {label['n_test_outside']})" if label["n_test_outside"] else "")
