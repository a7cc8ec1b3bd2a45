"""Networks of other programs made payneflow's own. Nothing is guessed: what a file does not say is asked for by name.

A layout is recognised by keys and shapes. Labels that these networks scale to -0.5 ... 0.5 are scaled to 0.1 ... 0.9
like all of payneflow's once their first layer is written for these: its weights are divided by 0.8, and from each
neuron's bias goes 0.625 times the sum of its weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import NetworkFileError
from payneflow.files import NpzArchive, read_small, sha256_of
from payneflow.grid.reading import AIR, VACUUM
from payneflow.label_names import problems_of_names
from payneflow.network import ABOUT, Networks, PixelNetworks, problem_of_range, problem_of_weights
from payneflow.scaling import OFFSET, SPAN
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.wavelength import LOWEST_IN_AIR, air_to_vacuum
from payneflow.weights import LINEAR, LOGISTIC, PUBLISHED_KEYS
from payneflow.whole_spectrum import OF_PIXELS, WEIGHTS, WEIGHTS_OF_WHOLE, WholeSpectrumNetworks

PUBLISHED, CENTRED = "published", "centred"
SCALES = {
    PUBLISHED: "labels and flux in 0.1 ... 0.9, logistic output, as in the published listing",
    CENTRED: "labels in -0.5 ... 0.5, linear output, which is the flux itself",
}
LEAKY_SLOPE = 0.01  # of the public code: z where z > 0, else 0.01 z
MEDIA = (VACUUM, AIR)
MOST_PIXELS = 10**7

# How a fact is asked for: by its name in Python, and on the command line
ASKED = {
    "wavelength": "wavelength (--wavelength FILE or START:STEP:N), one for each pixel, Angstrom",
    "label_names": "label_names (--label-names Teff logg ...)",
    "label_units": "label_units (--label-units K dex ...)",
    "medium": f"medium (--medium {VACUUM} or {AIR}), what the wavelengths are measured in",
    "scale": "scale (--scale), one of "
    + "; ".join(f"{name}: {said}" for name, said in SCALES.items())
    + ": keys and shapes are the same",
}

_LABELS = (Array("x_min", "f", ("n_label",), finite=True), Array("x_max", "f", ("n_label",), finite=True))
_NAMES = (
    Array("label_names", "U", ("n_label",), optional=True),
    Array("label_units", "U", ("n_label",), optional=True),
)
_AXIS = Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True, optional=True)


def _layout(what: str, *arrays: Array) -> FileOf:
    return FileOf(
        what=what,
        again="payneflow adopt reads the layouts of docs/files.md.",
        error=NetworkFileError,
        version=0,
        checksum_since=1,
        arrays=(*arrays, *_LABELS, *_NAMES, _AXIS),
    )


_OF_PIXELS = _layout(
    "a network of one hidden layer for each pixel",
    Array("w_array_0", "f", ("n_pixel", "n_neurons", "n_label")),
    Array("b_array_0", "f", ("n_pixel", "n_neurons")),
    Array("w_array_1", "f", ("n_pixel", "n_neurons")),
    Array("b_array_1", "f", ("n_pixel",)),
)
_WHOLE = _layout("one network of two hidden layers for all pixels", *WEIGHTS_OF_WHOLE)


@dataclass(frozen=True)
class Adopted:
    """Networks that were adopted, and what was found of their file: the `layout`, and what to know of it, in words."""

    networks: Networks
    layout: str
    notes: tuple[str, ...]


def adopt_networks(
    path: str | Path,
    *,
    wavelength: np.ndarray | None = None,
    label_names: Sequence[str] | None = None,
    label_units: Sequence[str] | None = None,
    medium: str | None = None,
    scale: str | None = None,
    resolution: float = 0.0,
    emulator_rms: float | None = None,
    about: Mapping[str, str] | None = None,
) -> Adopted:
    """Read the networks of another program (npz) with the facts that their file does not hold.

    `wavelength`: (n_pixel,) in Angstrom, in `medium`, "vacuum" or "air" (which is converted). `label_names`,
    `label_units`: (n_label,). These three may be keys of the file instead. `scale`: one of SCALES, of networks of one
    hidden layer for each pixel, whose keys and shapes do not tell it. `resolution`: R of the spectra they were trained
    on, 0 for unknown. `emulator_rms`: rms error of their flux; None: unknown, and fits count none. `about`: texts that
    the file keeps: "abundances", the convention of the labels, "licence", "citation".

    Raises NetworkFileError where the layout is none that is known, or naming all facts that are missing, or one that
    does not fit the file.
    """
    given = {"wavelength": wavelength, "label_names": label_names, "label_units": label_units}
    stored, whole, unread = _read(path, [key for key, value in given.items() if value is None])
    given |= {key: stored[key] for key in given if given[key] is None and key in stored}
    given |= {"medium": medium} | ({} if whole else {"scale": scale})
    layout = _layout_in_words(stored, whole, scale)
    missing = [ASKED[name] for name, value in given.items() if value is None]
    if missing:
        raise NetworkFileError(f"{path}: {layout}. It does not say, and you must: {'; '.join(missing)}.")
    _check_choice(path, "medium", medium, MEDIA)
    if whole and scale not in (None, CENTRED):
        raise NetworkFileError(f"{path}: {layout}. Its scale is {CENTRED}, and {scale!r} was given.")
    if not whole:
        _check_choice(path, "scale", scale, tuple(SCALES))
    names, units = _names(path, "label_names", given, stored), _names(path, "label_units", given, stored)
    for i, problem in problems_of_names(names):
        raise NetworkFileError(f"{path}: label_names has {names[i]!r}, {problem}. Give it another name.")
    axis = _axis(path, given["wavelength"], len(stored["b_array_2" if whole else "b_array_1"]))
    facts = {
        "x_min": stored["x_min"].astype(float),
        "x_max": stored["x_max"].astype(float),
        "wavelength": air_to_vacuum(axis) if medium == AIR else axis,
        "label_names": names,
        "label_units": units,
        "emulator_rms": np.full(len(axis), np.nan if emulator_rms is None else _positive(path, emulator_rms)),
        "provenance": _provenance(path, layout, medium, resolution, about or {}),
    }
    networks = _whole(stored, facts) if whole else _of_pixels(stored, scale, facts)
    notes = [f"not read: {', '.join(unread)}"] if unread else []
    return Adopted(networks, layout, (*notes, *_notes(networks, axis, emulator_rms)))


# ------------------------------------------------------------------------------------------------------- what is read


def _read(path: str | Path, optional: list[str]) -> tuple[Arrays, bool, list[str]]:
    """The weights, and those of `optional` that are there; whether one network makes the whole spectrum; what is left.

    What is left are the keys of the file that nothing is made of.
    """
    what = "networks of another program"
    with NpzArchive(path, NetworkFileError, what) as archive:
        keys = archive.keys()
    if "format_version" in keys:
        raise NetworkFileError(f"{path}: a file of payneflow itself: there is nothing to adopt. Use it as it is.")
    more = [key for key in keys if key.startswith(("w_array_", "b_array_")) and key not in WEIGHTS]
    if more:
        raise NetworkFileError(
            f"{path}: it has {', '.join(more)}, expected one or two hidden layers, whose weights are "
            f"{', '.join(PUBLISHED_KEYS)} or {', '.join(WEIGHTS)}. Networks of this layout cannot be adopted."
        )
    whole = any(key in keys for key in OF_PIXELS)
    weights = WEIGHTS if whole else PUBLISHED_KEYS
    stored = (_WHOLE if whole else _OF_PIXELS).read(path, (*weights, "x_min", "x_max", *optional))
    of_pixels = ("b_array_2", "w_array_2") if whole else PUBLISHED_KEYS[::-1]
    said = problem_of_range(stored) or problem_of_weights(stored, of_pixels)
    if said:
        raise NetworkFileError(f"{path}: {said}. Such networks cannot be adopted.")
    return stored, whole, sorted(set(keys) - set(stored))


def _layout_in_words(stored: Arrays, whole: bool, scale: str | None) -> str:
    n_label = len(stored["x_min"])
    if whole:
        first, second, n = (len(stored[f"b_array_{k}"]) for k in range(3))
        return (
            f"one network for all {n} pixels, {n_label} labels, hidden layers of {first} and {second} neurons (leaky "
            f"ReLU, slope {LEAKY_SLOPE}), {SCALES[CENTRED]}"
        )
    n, n_neurons = stored["b_array_0"].shape
    said = f", {SCALES[scale]}" if scale in SCALES else ""
    return f"a network for each of {n} pixels, {n_label} labels, one hidden layer of {n_neurons} logistic neurons{said}"


def _check_choice(path: str | Path, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise NetworkFileError(f"{path}: {name} is {value!r}, expected {' or '.join(choices)}.")


def _names(path: str | Path, key: str, given: dict, stored: Arrays) -> tuple[str, ...]:
    texts = tuple(str(text) for text in given[key])
    n_label = len(stored["x_min"])
    if len(texts) != n_label:
        raise NetworkFileError(f"{path}: {len(texts)} {key} ({', '.join(texts)}), expected {n_label}, as in x_min.")
    if key == "label_names" and "" in texts:
        raise NetworkFileError(f"{path}: label_names has an empty name at {texts.index('')}. Give every label a name.")
    return texts


def _axis(path: str | Path, wavelength: np.ndarray, n_pixel: int) -> np.ndarray:
    axis = np.asarray(wavelength, dtype=float)
    if axis.shape != (n_pixel,):
        raise NetworkFileError(f"{path}: wavelength has shape {axis.shape}, expected ({n_pixel},), one for each pixel.")
    if not np.isfinite(axis).all() or (axis <= 0).any() or (np.diff(axis) <= 0).any():
        raise NetworkFileError(f"{path}: wavelength is not a list of finite, positive, increasing numbers (Angstrom).")
    return axis


def _positive(path: str | Path, emulator_rms: float) -> float:
    if not 0.0 <= emulator_rms < np.inf:
        raise NetworkFileError(f"{path}: emulator_rms is {emulator_rms}, expected a number of flux, 0 or more.")
    return float(emulator_rms)


def _provenance(path: str | Path, layout: str, medium: str, resolution: float, about: Mapping[str, str]) -> dict:
    unknown = set(about) - set(ABOUT)
    if unknown:
        raise NetworkFileError(f"{path}: about has {min(unknown)!r}, expected texts for {', '.join(ABOUT)}.")
    if not 0.0 <= resolution < np.inf:
        raise NetworkFileError(f"{path}: resolution is {resolution}, expected a number above 0, or 0 for unknown.")
    known = {"resolution": float(resolution)} if resolution else {}
    adopted = {"file": Path(path).name, "sha256": sha256_of(path), "layout": layout}
    return {"adopted": adopted, "grid_medium": medium, **known, **about}


def read_wavelength(said: str) -> np.ndarray:
    """Wavelengths (n_pixel,) in Angstrom from START:STEP:N, or from a file: npz or text with one a line.

    An npz file has them as `wavelength`, or as its only array. Raises NetworkFileError where they cannot be read.
    """
    parts = said.split(":")
    if len(parts) == 3 and not Path(said).exists():
        try:
            start, step, n = float(parts[0]), float(parts[1]), int(parts[2])
        except ValueError:
            raise NetworkFileError(
                f"wavelength {said}: expected START:STEP:N, two numbers in Angstrom and how many pixels, or a file."
            ) from None
        if not 0 < n <= MOST_PIXELS:
            raise NetworkFileError(f"wavelength {said}: {n} pixels, expected 1 to {MOST_PIXELS}.")
        return start + step * np.arange(n)
    if said.endswith(".npz"):
        return _wavelength_in_npz(said)
    content = read_small(said, NetworkFileError, "a text file with one wavelength a line, or an npz file")
    try:
        return np.array([float(line) for line in content.decode().splitlines() if line.split("#")[0].strip()])
    except ValueError as error:
        raise NetworkFileError(f"{said}: expected one wavelength a line, Angstrom: {str(error)[:200]}.") from None


def _wavelength_in_npz(path: str) -> np.ndarray:
    with NpzArchive(path, NetworkFileError, "wavelengths (npz)") as archive:
        keys = archive.keys()
        key = keys[0] if len(keys) == 1 else "wavelength"
        if key not in archive:
            raise NetworkFileError(f"{path}: no wavelength among {', '.join(keys)[:200]}. Save it under this key.")
        values = archive.read(key)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise NetworkFileError(f"{path}: {key} is {values.dtype} of shape {values.shape}, expected numbers (n_pixel,).")
    return values.astype(float)


# ------------------------------------------------------------------------------------------------------- what is made


def _for_own_scale(weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First layer (..., n_label), (...) of labels in -0.5 ... 0.5 -> that of labels in 0.1 ... 0.9.

    x' = (x - x_min) / (x_max - x_min) - 0.5 = (s - OFFSET) / SPAN - 0.5 of our scaled label s.
    """
    weights = weights.astype(float)
    return weights / SPAN, bias.astype(float) - (OFFSET / SPAN + 0.5) * weights.sum(axis=-1)


def _of_pixels(stored: Arrays, scale: str, facts: dict) -> PixelNetworks:
    w0, b0 = stored["w_array_0"].astype(float), stored["b_array_0"].astype(float)
    if scale == CENTRED:
        w0, b0 = _for_own_scale(w0, b0)
    output = LOGISTIC if scale == PUBLISHED else LINEAR
    w1, b1 = (stored[key].astype(float) for key in ("w_array_1", "b_array_1"))
    return PixelNetworks(w_array_0=w0, b_array_0=b0, w_array_1=w1, b_array_1=b1, output=output, **facts)


def _whole(stored: Arrays, facts: dict) -> WholeSpectrumNetworks:
    weights = {key: stored[key].astype(float) for key in WEIGHTS}
    weights["w_array_0"], weights["b_array_0"] = _for_own_scale(stored["w_array_0"], stored["b_array_0"])
    return WholeSpectrumNetworks(**weights, leaky_slope=LEAKY_SLOPE, **facts)


NORMALISED = 0.5, 1.2  # median flux of the middle of the labels, which normalised spectra of any star have


def _notes(networks: Networks, axis: np.ndarray, emulator_rms: float | None) -> list[str]:
    """What who adopts networks should know."""
    notes = []
    middle = networks.predict_scaled(np.full(len(networks.x_min), OFFSET + 0.5 * SPAN))
    known = middle[np.isfinite(middle)]
    median = float(np.median(known)) if len(known) else np.nan
    if not NORMALISED[0] < median < NORMALISED[1]:
        notes.append(
            f"the median flux of the middle of the labels is {median:.3g}, expected about 1, of normalised spectra: "
            "another scale is meant, or their flux is not normalised, which fits take it to be"
        )
    if axis[-1] < LOWEST_IN_AIR:
        notes.append(f"the wavelengths end at {axis[-1]:g} Angstrom: are they in nanometres?")
    if emulator_rms is None:
        notes.append("the error of these networks' flux is unknown: fits count none, unless --emulator-rms says it")
    notes.append("errors of labels will be formal: payneflow calibrate measures those of the networks with a grid")
    return notes


def summary_text(adopted: Adopted) -> str:
    """What was adopted, in a few lines."""
    networks = adopted.networks
    ranges = zip(networks.label_names, networks.x_min, networks.x_max, networks.label_units, strict=True)
    labels = ", ".join(f"{name} {low:g} ... {high:g} {unit}".rstrip() for name, low, high, unit in ranges)
    n, axis, medium = int(networks.has_network.sum()), networks.wavelength, networks.provenance["grid_medium"]
    converted = ", converted from air" if medium == AIR else ""
    lines = [
        adopted.layout,
        f"{n} pixels from {axis[0]:.2f} to {axis[-1]:.2f} Angstrom in vacuum{converted}; labels {labels}",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in adopted.notes)])
