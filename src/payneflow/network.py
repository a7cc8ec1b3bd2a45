"""Networks: labels in, spectra out. What all kinds of them offer, and the kind that payneflow trains.

The network of one pixel is y' = s( w1 . s(w0 x' + b0) + b1 ), s the logistic function, x' the scaled labels, y' the
scaled flux (scaling.py). One of linear output is y = w1 . s(w0 x' + b0) + b1, y the flux itself.
"""

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from payneflow.errors import LabelRangeWarning, NetworkFileError
from payneflow.fingerprint import FINGERPRINT, check_fingerprint, fingerprint_of
from payneflow.grid import GridKeys, GridPath, GridReading, SpectralGrid, Split, grid_split, read_grid
from payneflow.grid.layout import PUBLISHED
from payneflow.grid.reading import AIR, AS_PUBLISHED, OF_GRID, VACUUM
from payneflow.grid.sets import MIN_TEST, MIN_TRAINING
from payneflow.hull import distances
from payneflow.scaling import PUBLISHED_FLUX, FluxScale, LabelScaler, unscale_flux, unscale_slope
from payneflow.stored_arrays import Array, Arrays, FileOf
from payneflow.weights import LINEAR, LOGISTIC, PUBLISHED_KEYS

# Still read: 5, whose output is logistic, and 4, which has no resolution (R), either: both are written where that is
# so; 3, no checksum, either; 2, no trains and no flux_scale, either; 1, which calls emulator_rms flux_error
FORMAT_VERSION, OF_LOGISTIC, WITHOUT_RESOLUTION = 6, 5, 4


LEAST_EXPLAINED = 0.5  # part of the variance over the test spectra; a network that explains less is not learnt


def not_learnt(largest: np.ndarray, part_explained: np.ndarray, trunc_diff: float) -> np.ndarray:
    """(n_pixel,) bool: pixels that miss `trunc_diff` on the test set and explain less than half of it.

    `largest` (n_pixel,): largest |error| over the test spectra, in the unit of `trunc_diff`; a pixel that hardly varies
    does not miss it. `part_explained` (n_pixel,): part of the variance of the test spectra that the network explains.
    Convergence is no part of it: `sgd` stops short of trunc_diff in every other pixel, and explains 99 % all the same.
    """
    return (largest > trunc_diff) & (part_explained < LEAST_EXPLAINED)


def explained(square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(n_pixel,): part of the `variance` of spectra that predictions of mean square error `square` (n_pixel,) explain.

    Where the flux does not vary: 0, or NaN without any error. NaN where either is.
    """
    nothing = np.where(square > 0, 0.0, np.nan)
    return np.where(variance > 0, 1.0 - square / np.where(variance > 0, variance, 1.0), nothing)


def logistic(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow for any finite z."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


@dataclass(frozen=True, eq=False, kw_only=True)
class Networks(ABC):
    """What fits, label errors and evaluation ask of networks of any kind: flux and derivatives at labels, and facts.

    `x_min`, `x_max` (n_label,): the range of the training labels, in their units; scaled labels are those of `scaler`.
    `wavelength` (n_pixel,) in Angstrom, vacuum; `label_names`, `label_units` (n_label,); `emulator_rms` (n_pixel,), the
    rms error of the emulator on the test set in the unit of the flux, NaN where it is not known; and `provenance`
    (settings, seed, SHA-256 of the grid, versions).
    `split`: which spectra of their grid they were trained on; None where nothing is known of it. `flux_scale`: the
    flux that is 0.1 and 0.9 to the networks. `resolution_of_pixels` (n_pixel,): R of the grid's spectra where that
    differs along the axis, else None. `hull` (n_corner, n_label): training labels that span their hull, in their units;
    None where they are not known.
    """

    x_min: np.ndarray
    x_max: np.ndarray
    wavelength: np.ndarray
    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    emulator_rms: np.ndarray
    provenance: dict = field(default_factory=dict)
    split: Split | None = None
    flux_scale: FluxScale = PUBLISHED_FLUX
    resolution_of_pixels: np.ndarray | None = None
    hull: np.ndarray | None = None

    @abstractmethod
    def predict_scaled(self, scaled: np.ndarray) -> np.ndarray:
        """Normalised flux (n_spectrum, n_pixel) for scaled labels (n_spectrum, n_label); (n_pixel,) for (n_label,)."""

    @abstractmethod
    def jacobian_scaled(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_pixel,) and its derivatives (n_pixel, n_label) by the scaled labels, at scaled labels (n_label,)."""

    @property
    @abstractmethod
    def has_network(self) -> np.ndarray:
        """(n_pixel,) bool: pixels whose flux is known; that of the others is NaN."""

    @abstractmethod
    def of_pixels(self, pixels: slice) -> "Networks":
        """The same networks of some of the pixels."""

    @abstractmethod
    def write(self, path: str | Path) -> None:
        """Write the network file (npz), which `read_networks` reads."""

    @abstractmethod
    def _weights_of_digest(self) -> list[np.ndarray]:
        """What makes these networks other networks: their weights, and of what kind they are."""

    @property
    def scaler(self) -> LabelScaler:
        return LabelScaler(self.x_min, self.x_max)

    @property
    def failure(self) -> str:
        """Why these networks are not to be used, as `payneflow gather` found; "" where it found nothing."""
        return self.provenance.get("failed", "")

    @property
    def resolution(self) -> float | np.ndarray:
        """R = wavelength / FWHM of the spectra that these networks were trained on; 0 where nothing is known of it.

        A number, `resolution` of the provenance, or (n_pixel,) where it differs along the axis.
        """
        own = self.resolution_of_pixels
        return self.provenance.get("resolution", 0.0) if own is None else own

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, the scaling of labels and flux and the wavelengths, in hexadecimal."""
        total = hashlib.sha256()
        for array in (*self._weights_of_digest(), self.x_min, self.x_max, self.wavelength):
            total.update(np.ascontiguousarray(array, dtype=float))
        if self.flux_scale != PUBLISHED_FLUX:
            total.update(np.array([self.flux_scale.lowest, self.flux_scale.highest]))
        return total.hexdigest()

    def predict(self, labels: np.ndarray) -> np.ndarray:
        """Normalised flux (n_spectrum, n_pixel) for labels (n_spectrum, n_label), or (n_pixel,) for labels (n_label,).

        Labels are in the units of `label_units`, in the order of `label_names`. A label outside the range of the
        training labels gives a LabelRangeWarning. Raises ValueError for labels of the wrong shape.
        """
        labels = np.asarray(labels, dtype=float)
        n_label = len(self.x_min)
        if labels.ndim not in (1, 2) or labels.shape[-1] != n_label:
            names = ", ".join(self.label_names)
            expected = f"(n_spectrum, {n_label}) or ({n_label},)"
            raise ValueError(f"labels of shape {labels.shape}: expected {expected}: {names}")
        self._warn_outside(np.atleast_2d(labels))
        return self.predict_scaled(self.scaler.scale(labels))

    def outside_hull(self, labels: np.ndarray) -> np.ndarray:
        """(n_spectrum,): how far labels (n_spectrum, n_label) are outside the hull of the training labels; 0: inside.

        The distance is in scaled labels, in which the range of each training label is 0.8 wide. It takes milliseconds a
        spectrum. Raises NetworkFileError where these networks do not know their hull, as older and adopted ones do not.
        """
        if self.hull is None:
            raise NetworkFileError(
                "these networks do not know the hull of their training labels. Gather the chunks again; of adopted "
                "ones nothing is known but the ranges, x_min and x_max."
            )
        scale = self.scaler.scale
        return distances(scale(np.atleast_2d(np.asarray(labels, dtype=float))), scale(self.hull))

    def _warn_outside(self, labels: np.ndarray) -> None:
        for i, name in enumerate(self.label_names):
            outside = int(np.sum((labels[:, i] < self.x_min[i]) | (labels[:, i] > self.x_max[i])))
            if outside:
                message = (
                    f"{name} of {outside} of {len(labels)} spectra lies outside the training range "
                    f"{self.x_min[i]:g} ... {self.x_max[i]:g} {self.label_units[i]}: the prediction extrapolates"
                )
                warnings.warn(message, LabelRangeWarning, stacklevel=3)

    def columns_in(self, wavelength: np.ndarray, label_names: tuple[str, ...], path: str | Path) -> np.ndarray:
        """Where the networks' pixels are on a grid's `wavelength` axis (n,), as indices (n_pixel,).

        Raises NetworkFileError naming the grid's `path` where a pixel is not there or the labels are others.
        """
        if tuple(label_names) != self.label_names:
            raise NetworkFileError(
                f"{path}: its labels are {', '.join(label_names)}, but the networks were trained for "
                f"{', '.join(self.label_names)}. Use the grid they were trained on."
            )
        columns = np.clip(np.searchsorted(wavelength, self.wavelength), 0, len(wavelength) - 1)
        absent = np.flatnonzero(wavelength[columns] != self.wavelength)
        if len(absent):
            raise NetworkFileError(
                f"{path}: it has no pixel at {self.wavelength[absent[0]]:.4f} A, where the networks have one "
                f"({len(absent)} of {len(columns)} are absent). Use the grid they were trained on."
            )
        return columns

    def split_of(self, grid: SpectralGrid) -> Split:
        """Which spectra of `grid` these networks were trained on.

        Raises NetworkFileError where they were trained on another grid, by its labels, its wavelengths, its number of
        spectra, or its SHA-256, if they say it: which of its spectra train is then unknown, and a "test" would measure
        what was learnt by heart.
        """
        self.columns_in(grid.wavelength, grid.label_names, grid.path)
        if self.split is not None and len(self.split.trains) != len(grid.labels):
            raise NetworkFileError(
                f"{grid.path}: {len(grid.labels)} spectra, but the networks were trained on a grid of "
                f"{len(self.split.trains)}, so which of these train is unknown. Use the grid they were trained on."
            )
        trained_on = self.provenance.get("grid_sha256", grid.sha256)
        if trained_on != grid.sha256:
            raise NetworkFileError(
                f"{grid.path}: not the grid that the networks were trained on: its SHA-256 is {grid.sha256}, that of "
                f"theirs {trained_on}, so which of its spectra train is unknown. Use that grid, or train with this one."
            )
        return grid.split if self.split is None else self.split

    def read_grid(self, path: GridPath, keys: GridKeys = PUBLISHED) -> SpectralGrid:
        """Read the grid that these networks were trained on as it was read then: with their split, medium and flux.

        Where nothing is known of these, they were as published. Raises GridError as `payneflow.grid.read_grid` does.
        """
        trained = self.split or grid_split(path, keys, AS_PUBLISHED, seed=0)
        reading = GridReading(
            grid_medium=self.provenance.get("grid_medium", VACUUM),
            flux_scale="published" if self.flux_scale == PUBLISHED_FLUX else OF_GRID,
        )
        return read_grid(path, keys, reading, trained=trained)

    def _facts(self) -> dict[str, object]:
        """What a network file holds beside the weights."""
        stored: dict[str, object] = {key: getattr(self, key) for key in FACTS}
        stored |= {"label_names": np.array(self.label_names), "label_units": np.array(self.label_units)}
        if self.split is not None:
            stored |= {"trains": self.split.trains, "split_name": self.split.name}
        stored["flux_scale"] = np.array([self.flux_scale.lowest, self.flux_scale.highest])
        stored["provenance"] = json.dumps(self.provenance, sort_keys=True)
        if self.resolution_of_pixels is not None:
            stored["resolution"] = self.resolution_of_pixels
        if self.hull is not None:
            stored["hull"] = self.hull
        return {**stored, **fingerprint_of(self)}


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelNetworks(Networks):
    """One small network for each wavelength pixel, with the label scaling they were trained with.

    The array names are those of the published network file:
    `w_array_0` (n_pixel, n_neurons, n_label), `b_array_0` (n_pixel, n_neurons), `w_array_1` (n_pixel, n_neurons),
    `b_array_1` (n_pixel,), `x_min`, `x_max` (n_label,) in the labels' units. `output`: LOGISTIC, as published, or
    LINEAR. The other facts are those of `Networks`.
    """

    w_array_0: np.ndarray
    b_array_0: np.ndarray
    w_array_1: np.ndarray
    b_array_1: np.ndarray
    output: str = LOGISTIC

    def predict_scaled(self, scaled: np.ndarray) -> np.ndarray:
        """Normalised flux (n_spectrum, n_pixel) for scaled labels (n_spectrum, n_label); (n_pixel,) for (n_label,)."""
        if scaled.ndim == 1:
            return self._flux(self._output(self._hidden(scaled)))
        flux = np.empty((len(scaled), len(self.b_array_1)))
        for i, one in enumerate(scaled):
            flux[i] = self._flux(self._output(self._hidden(one)))
        return flux

    def jacobian_scaled(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux (n_pixel,) and its derivatives (n_pixel, n_label) by the scaled labels, at scaled labels (n_label,)."""
        hidden = self._hidden(scaled)
        output = self._output(hidden)
        slope = self.w_array_1 * hidden * (1.0 - hidden)
        slopes = [(slope * self.w_array_0[:, :, j]).sum(axis=1) for j in range(len(scaled))]
        own = np.ones_like(output) if self.output == LINEAR else unscale_slope(output * (1.0 - output))
        slope_of_flux = own * self.flux_scale.width
        return self._flux(output), np.stack(slopes, axis=1) * slope_of_flux[:, None]

    @property
    def has_network(self) -> np.ndarray:
        return np.isfinite(self.b_array_1)

    def of_pixels(self, pixels: slice) -> "PixelNetworks":
        return replace(self, **{key: getattr(self, key)[pixels] for key in PUBLISHED_KEYS}, **facts_of(self, pixels))

    def _weights_of_digest(self) -> list[np.ndarray]:
        kind = [] if self.output == LOGISTIC else [np.ones(1)]
        return [*(getattr(self, key) for key in PUBLISHED_KEYS), *kind]

    def _hidden(self, scaled: np.ndarray) -> np.ndarray:
        # element by element: a matrix product's bits would depend on how many pixels there are
        z = self.b_array_0.copy()
        for j, label in enumerate(scaled):
            z += self.w_array_0[:, :, j] * label
        return logistic(z)

    def _output(self, hidden: np.ndarray) -> np.ndarray:
        z = (self.w_array_1 * hidden).sum(axis=1) + self.b_array_1
        return z if self.output == LINEAR else logistic(z)

    def _flux(self, output: np.ndarray) -> np.ndarray:
        return self.flux_scale.flux(output if self.output == LINEAR else unscale_flux(output))

    def rounded(self) -> "PixelNetworks":
        """These networks with weights rounded to single precision, whose file is half as large."""
        return replace(self, **{key: getattr(self, key).astype(np.float32).astype(float) for key in PUBLISHED_KEYS})

    def write(self, path: str | Path) -> None:
        """Write the network file (npz). The six published keys keep their published names and shapes.

        Weights that single precision holds without loss, as `rounded` leaves them, are stored in it.
        Raises NetworkFileError where `resolution_of_pixels` and the provenance both say a resolution.
        """
        stored = {key: _as_stored(getattr(self, key)) for key in PUBLISHED_KEYS} | self._facts()
        version = WITHOUT_RESOLUTION if self.resolution_of_pixels is None else OF_LOGISTIC
        if self.output != LOGISTIC:
            stored["output"], version = self.output, FORMAT_VERSION
        write_stored(_FILE, path, stored, version)


FACTS = ("x_min", "x_max", "wavelength", "emulator_rms")
ABOUT = ("abundances", "licence", "citation")  # texts of the provenance, where they are known


def facts_of(networks: Networks, pixels: slice) -> dict[str, np.ndarray]:
    """Those facts of networks that each pixel has, of some pixels."""
    names = ("wavelength", "emulator_rms")
    names += () if networks.resolution_of_pixels is None else ("resolution_of_pixels",)
    return {name: getattr(networks, name)[pixels] for name in names}


def write_stored(file: FileOf, path: str | Path, stored: Arrays, version: int | None = None) -> None:
    """Write a network file. Raises NetworkFileError where two resolutions are said."""
    said = _problem_of_resolution(stored)
    if said:
        raise NetworkFileError(f"{path}: {said}. Leave out resolution_of_pixels, or that of the provenance.")
    file.write(path, stored, version)


def _as_stored(weights: np.ndarray) -> np.ndarray:
    """In single precision where that loses nothing."""
    with np.errstate(over="ignore"):
        single = weights.astype(np.float32)
    return single if np.array_equal(single, weights, equal_nan=True) else weights


# ------------------------------------------------------------------------------------------------- what a file may be


def problem_of_range(stored: Arrays) -> str:
    """x_min and x_max, (n_label,), which are the range of training labels."""
    empty = np.flatnonzero(stored["x_max"] <= stored["x_min"])
    if not len(empty):
        return ""
    low, high = stored["x_min"][empty[0]], stored["x_max"][empty[0]]
    return f"x_max of label {empty[0]} is {high}, expected more than its x_min, {low}"


def problem_of_hull(stored: Arrays) -> str:
    """Its corners are training labels."""
    if "hull" not in stored:
        return ""
    beyond = (stored["hull"] < stored["x_min"]) | (stored["hull"] > stored["x_max"])
    if not beyond.any():
        return ""
    corner, label = np.argwhere(beyond)[0]
    return (
        f"hull has {stored['hull'][corner, label]} for label {label} of corner {corner}, expected a value between "
        f"{stored['x_min'][label]} and {stored['x_max'][label]}, the range of the training labels"
    )


def problem_of_flux_scale(stored: Arrays) -> str:
    lowest, highest = stored.get("flux_scale", (0.0, 1.0))
    return "" if highest > lowest else f"flux_scale is ({lowest}, {highest}), expected the lower one first"


def problem_of_weights(stored: Arrays, keys: tuple[str, ...] = PUBLISHED_KEYS) -> str:
    """A pixel whose training failed has no network: all of its weights are NaN. A network without one has all.

    `keys`: the arrays of weights that have a row for each pixel.
    """
    n_pixel = len(stored[keys[0]])
    weights = np.concatenate([stored[key].reshape(n_pixel, -1) for key in keys], axis=1)
    torn = np.flatnonzero(np.isnan(weights).any(axis=1) & ~np.isnan(weights).all(axis=1))
    return f"pixel {torn[0]} has some weights that are NaN, and others that are not" if len(torn) else ""


def _problem_of_provenance(stored: Arrays) -> str:
    provenance = json.loads(str(stored["provenance"]))
    settings = provenance.get("settings", {})
    if not isinstance(settings, dict) or not isinstance(settings.get("trunc_diff", 0.0), int | float):
        return "provenance holds settings that are none"
    if not isinstance(provenance.get("failed", ""), str):
        return "provenance holds failed, which is no text"
    resolution = provenance.get("resolution", 0.0)
    if not isinstance(resolution, int | float) or not 0.0 <= resolution < np.inf:
        return f"provenance has resolution {str(resolution)[:99]!r}, expected a number above 0, or 0 for unknown"
    said = [key for key in ABOUT if not isinstance(provenance.get(key, ""), str)]
    if said:
        return f"provenance holds {said[0]}, which is no text"
    medium = provenance.get("grid_medium", VACUUM)
    return (
        ""
        if medium in (VACUUM, AIR)
        else f"provenance has grid_medium {str(medium)[:99]!r}, expected {VACUUM} or {AIR}"
    )


def _problem_of_resolution(stored: Arrays) -> str:
    said = json.loads(str(stored["provenance"])).get("resolution", 0.0)
    if not said or "resolution" not in stored:
        return ""
    return f"provenance has resolution {said}, and resolution has one for each pixel, expected one of both"


def problem_of_trains(stored: Arrays) -> str:
    """Both sets have enough spectra."""
    trains = stored["trains"]
    n = int(trains.sum())
    enough = n >= MIN_TRAINING and len(trains) - n >= MIN_TEST
    return "" if enough else f"trains says that {n} of {len(trains)} spectra train: one of both sets is too small"


def _problem_of_split(stored: Arrays) -> str:
    if ("trains" in stored) != ("split_name" in stored):
        return "trains and split_name belong together"
    return problem_of_trains(stored) if "trains" in stored else ""


PIXELS_OF_NETWORKS = (
    Array("w_array_0", "f", ("n_pixel", "n_neurons", "n_label")),
    Array("b_array_0", "f", ("n_pixel", "n_neurons")),
    Array("w_array_1", "f", ("n_pixel", "n_neurons")),
    Array("b_array_1", "f", ("n_pixel",)),
    Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True),
    Array("emulator_rms", "f", ("n_pixel",), least=0.0, formerly="flux_error"),
)
NAMES_OF_LABELS = (
    Array("label_names", "U", ("n_label",), unique=True),
    Array("label_units", "U", ("n_label",)),
)
LABELS_OF_NETWORKS = (
    Array("x_min", "f", ("n_label",), finite=True),
    Array("x_max", "f", ("n_label",), finite=True),
    *NAMES_OF_LABELS,
)
HULL = Array("hull", "f", ("n_corner", "n_label"), finite=True, optional=True)
FACTS_OF_TRAINING = (
    Array("provenance", "U", json=True),
    Array("trains", "b", ("n_spectrum",), since=3, optional=True),
    Array("split_name", "U", since=3, optional=True),
    Array("flux_scale", "f", (2,), finite=True, since=3),
    Array("resolution", "f", ("n_pixel",), finite=True, positive=True, since=5, optional=True),
    HULL,
    *FINGERPRINT,
)
RELATIONS_OF_FACTS = (
    problem_of_range,
    problem_of_hull,
    problem_of_flux_scale,
    _problem_of_provenance,
    _problem_of_resolution,
    _problem_of_split,
)
WHAT, AGAIN = "a network file", "Make it again with payneflow gather, or of networks of another program with adopt."
_FILE = FileOf(
    what=WHAT,
    again=AGAIN,
    error=NetworkFileError,
    version=FORMAT_VERSION,
    checksum_since=4,
    oldest=1,
    arrays=(
        *PIXELS_OF_NETWORKS,
        *LABELS_OF_NETWORKS,
        *FACTS_OF_TRAINING,
        Array("output", "U", choices=(LOGISTIC, LINEAR), since=6, optional=True),
    ),
    relations=(problem_of_weights, *RELATIONS_OF_FACTS),
)


def read_networks(path: str | Path) -> Networks:
    """Read a network file, of this format or an earlier one: PixelNetworks, or WholeSpectrumNetworks.

    Raises NetworkFileError naming the key where the file is missing, damaged, of a newer format, or inconsistent, and
    where the networks predict another flux than its fingerprint says.
    """
    from payneflow.whole_spectrum import is_whole_spectrum, read_whole_spectrum

    if is_whole_spectrum(path):
        return read_whole_spectrum(path)
    stored = _FILE.read(path)
    networks = PixelNetworks(
        **{key: stored[key].astype(float, copy=False) for key in PUBLISHED_KEYS},  # predicted with in double precision
        output=str(stored.get("output", LOGISTIC)),
        **facts_in(stored),
    )
    check_fingerprint(path, networks, stored)
    return networks


def facts_in(stored: Arrays) -> dict[str, object]:
    """The facts of `Networks` that a file holds, by their names there."""
    return {
        **{key: stored[key] for key in FACTS},
        "label_names": tuple(str(name) for name in stored["label_names"]),
        "label_units": tuple(str(unit) for unit in stored["label_units"]),
        "provenance": json.loads(str(stored["provenance"])),
        "split": Split(str(stored["split_name"]), stored["trains"]) if "trains" in stored else None,
        "flux_scale": FluxScale(*map(float, stored["flux_scale"])) if "flux_scale" in stored else PUBLISHED_FLUX,
        "resolution_of_pixels": stored.get("resolution"),
        "hull": stored.get("hull"),
    }
