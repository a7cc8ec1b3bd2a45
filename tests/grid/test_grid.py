"""The grid: what is read from a good file, and what is said of each kind of bad one."""

import json
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import GridError
from payneflow.grid import (
    TEST,
    TRAINING,
    GridKeys,
    GridReading,
    count_pixels,
    count_test,
    count_training,
    grid_shape,
    read_grid,
    read_resolution,
)
from payneflow.grid.summary import summarise, summary_text

SHIPPED = ROOT / "resources" / "hband_grid.npz"
N_SPECTRUM, N_PIXEL = 12, 30
PUBLISHED = GridKeys()


def good(n_spectrum: int = N_SPECTRUM, n_pixel: int = N_PIXEL, n_label: int = 2) -> dict[str, np.ndarray]:
    """The arrays of a grid that nothing is wrong with; no two spectra alike."""
    random = np.random.default_rng(5)
    names = ["Teff", "logg", "[Fe/H]", "[Mg/H]", "vmicro"][:n_label]
    return {
        "wavelength": 15000.0 + 0.2 * np.arange(n_pixel),
        "Y_u_all": random.uniform(0.7, 1.0, (n_spectrum, n_pixel)).astype(np.float32),
        "labels_array": random.uniform(1.0, 5.0, (n_label, n_spectrum)),
        "label_names": np.array(names),
        "label_units": np.array(["K", "dex", "dex", "dex", "km/s"][:n_label]),
    }


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def refusal(path: Path, keys: GridKeys = PUBLISHED) -> str:
    """The message with which this grid is refused."""
    with pytest.raises(GridError) as refused:
        read_grid(path, keys)
    return str(refused.value)


# --- Good grids -------------------------------------------------------------------------------------------------------


def test_shipped_grid():
    grid = read_grid(SHIPPED)
    assert grid.path == SHIPPED
    assert grid.flux.shape == (320, 7214)
    assert grid.flux.dtype == np.float32
    assert grid.labels.shape == (320, 3)
    assert grid.wavelength.dtype == grid.labels.dtype == np.float64
    assert grid.label_names == ("Teff", "logg", "[Fe/H]")
    assert grid.label_units == ("K", "dex", "dex")
    assert grid.sha256 == "03bf8c4fbd2695d929d6b598e022bce590f6f182a30cddc86db6085127b60ef4"
    with np.load(SHIPPED) as stored:
        np.testing.assert_array_equal(grid.flux, stored["Y_u_all"])
        np.testing.assert_array_equal(grid.labels[7], stored["labels_array"][:, 7])


def test_scaler_knows_the_training_set_only():
    grid = read_grid(SHIPPED)
    np.testing.assert_allclose(grid.scaler.x_min, [3690.41883, 1.01760649, -1.99576694], rtol=1e-8)
    np.testing.assert_allclose(grid.scaler.x_max, [6851.20105, 4.93385076, 0.495898697], rtol=1e-8)
    assert grid.labels[TEST][:, 0].min() < grid.scaler.x_min[0]  # test labels outside the training range are allowed


def test_summary_of_shipped_grid():
    summary = summarise(read_grid(SHIPPED))
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["n_spectrum"], summary["n_training"], summary["n_test"]) == (320, 160, 160)
    assert (summary["n_pixel"], summary["n_label"]) == (7214, 3)
    axis = summary["wavelength"]
    assert axis["unit"] == "Angstrom"
    assert axis["first"] == pytest.approx(15168.1285, abs=1e-4)
    assert axis["last_nm"] == pytest.approx(1693.67470, abs=1e-5)
    chips = [(one["first_pixel"], one["last_pixel"]) for one in axis["segments"]]
    assert chips == [(0, 2919), (2920, 5319), (5320, 7213)]
    assert summary["flux"]["min"] == pytest.approx(0.41791)
    assert summary["flux"]["max"] == pytest.approx(0.99995)
    teff = summary["labels"][0]
    assert (teff["name"], teff["unit"], teff["n_test_outside"]) == ("Teff", "K", 4)
    assert (round(teff["min"]), round(teff["max"])) == (3621, 6968)
    assert (round(teff["training_min"]), round(teff["training_max"])) == (3690, 6851)
    assert summary["notes"] == []


def test_summary_text_says_it_all():
    grid = read_grid(SHIPPED)
    text = summary_text(summarise(grid))
    said = (
        str(SHIPPED),
        grid.sha256,
        "160 train",
        "160 test",
        "7214 in 3 segments",
        "15168.129 ... 16936.747 Angstrom",
    )
    said += ("1516.81 ... 1693.67 nm", "0.4179", "float32", "Teff [K]", "3620.77", "6967.67", "3690.42", "6851.2")
    for part in (*said, "[Fe/H] [dex]", "pixels 2920 ... 5319"):
        assert part in text


@settings(max_examples=30)
@given(
    n_spectrum=st.integers(5, 40),
    n_pixel=st.integers(1, 50),
    n_label=st.integers(1, 5),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2"]),
    order=st.sampled_from("CF"),
)
def test_what_is_stored_is_what_is_read(n_spectrum, n_pixel, n_label, dtype, order):
    # evenly spaced: random float16 spectra of one pixel would repeat
    arrays = good(n_spectrum, n_pixel, n_label)
    arrays["Y_u_all"] = np.linspace(0.7, 1.0, n_spectrum * n_pixel).reshape(n_spectrum, -1).astype(dtype, order=order)
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory) / "grid.npz", arrays)
        grid = read_grid(path)
        assert count_pixels(path) == n_pixel == len(grid.wavelength)
    np.testing.assert_array_equal(grid.flux, arrays["Y_u_all"])
    assert grid.flux.dtype == (np.float32 if dtype.endswith("f4") else np.float64)
    np.testing.assert_array_equal(grid.labels, arrays["labels_array"].T)
    # each spectrum either trains or tests
    both = sorted([*range(n_spectrum)[TRAINING], *range(n_spectrum)[TEST]])
    assert both == list(range(n_spectrum))
    assert len(grid.flux[TRAINING]) + len(grid.flux[TEST]) == n_spectrum
    assert summarise(grid)["n_pixel"] == n_pixel


def test_labels_without_names_are_not_guessed(tmp_path):
    arrays = good(n_label=3)
    del arrays["label_names"], arrays["label_units"]
    grid = read_grid(write(tmp_path / "grid.npz", arrays))
    assert grid.label_names == ("label_1", "label_2", "label_3")
    assert grid.label_units == ("", "", "")
    assert "label_1" in summary_text(summarise(grid))
    assert len(summarise(grid)["notes"]) == 1


def test_other_keys_are_read_by_name(tmp_path):
    arrays = {f"my_{key}": array for key, array in good().items()}
    keys = GridKeys("my_wavelength", "my_Y_u_all", "my_labels_array", "my_label_names", "my_label_units")
    path = write(tmp_path / "grid.npz", arrays)
    assert read_grid(path, keys).label_names == ("Teff", "logg")
    assert count_pixels(path, keys) == N_PIXEL


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (22500, "resolution  R = 22500\n"),
        (np.float32([1e4]), "resolution  R = 10000\n"),
        (np.full(N_PIXEL, 5e3), "resolution  R = 5000\n"),
        (np.linspace(2e4, 24123.4, N_PIXEL), "resolution  R = 20000 ... 24123.4, which differs along the axis\n"),
    ],
)
def test_the_resolution_of_the_spectra_is_one_number_or_one_for_each_pixel(tmp_path, stored, said):
    path, keys = write(tmp_path / "grid.npz", {**good(), "R": np.array(stored)}), GridKeys(resolution="R")
    grid = read_grid(path, keys)
    assert np.ndim(grid.resolution) == (np.ptp(stored) > 0) and np.array_equal(
        np.unique(stored), np.unique(grid.resolution)
    )
    assert np.array_equal(read_resolution(path, keys), grid.resolution)
    assert said in summary_text(summarise(grid))
    assert summarise(grid)["resolution"] == [np.min(stored), np.max(stored)]


def test_a_resolution_that_is_not_there_is_never_guessed(tmp_path):
    """Not even where an array is called as others call it; `check` says nothing of it."""
    path = write(tmp_path / "grid.npz", {**good(), "Resolution": np.full(N_PIXEL, "high"), "resolving_power": 5.0})
    grid = read_grid(path)
    assert grid.resolution == read_resolution(path) == 0.0
    assert "resolution" not in summarise(grid) and "resolution  R" not in summary_text(summarise(grid))
    assert "mean 'Resolution'" in refusal(path, GridKeys(resolution="power"))


def as_many_labels_as_spectra(arrays):
    arrays["labels_array"] = np.random.default_rng(1).uniform(size=(N_SPECTRUM, N_SPECTRUM))
    del arrays["label_names"], arrays["label_units"]


def as_many_pixels_as_spectra(arrays):
    arrays["wavelength"], arrays["Y_u_all"] = arrays["wavelength"][:N_SPECTRUM], arrays["Y_u_all"][:, :N_SPECTRUM]


def whole_numbers(arrays):
    arrays["wavelength"] = np.arange(15000, 15000 + N_PIXEL)
    arrays["labels_array"] = np.arange(2 * N_SPECTRUM).reshape(2, -1) ** 2


def text_in_bytes(arrays):
    arrays["label_names"] = np.array([b"Teff", b"logg"])


def the_same_labels_twice(arrays):
    arrays["labels_array"][:, 3] = arrays["labels_array"][:, 4]


def the_same_spectrum_twice_in_one_set(arrays):
    arrays["Y_u_all"][6] = arrays["Y_u_all"][2]


def something_pickled_that_nobody_asked_for(arrays):
    arrays["stars"] = np.array([{"name": "Arcturus"}], dtype=object)


def deep_lines(arrays):
    arrays["Y_u_all"][3, 5:12] = 0.02


def weak_emission_and_noise(arrays):
    arrays["Y_u_all"][3, 5:7] = 1.12, -0.12


@pytest.mark.parametrize(
    "change",
    [
        as_many_labels_as_spectra,
        as_many_pixels_as_spectra,
        whole_numbers,
        text_in_bytes,
        the_same_labels_twice,
        the_same_spectrum_twice_in_one_set,
        something_pickled_that_nobody_asked_for,
        deep_lines,
        weak_emission_and_noise,
    ],
)
def test_unusual_grids_are_accepted(tmp_path, change):
    arrays = good()
    change(arrays)
    grid = read_grid(write(tmp_path / "grid.npz", arrays))
    np.testing.assert_array_equal(grid.labels, arrays["labels_array"].T)
    np.testing.assert_array_equal(grid.flux, arrays["Y_u_all"])


def test_far_ultraviolet_is_noted_not_refused(tmp_path):
    arrays = good()
    arrays["wavelength"] = 1500 + 0.02 * np.arange(N_PIXEL)  # the H band in nm, or ultraviolet in Angstrom
    (note,) = summarise(read_grid(write(tmp_path / "grid.npz", arrays)))["notes"]
    assert "nanometres" in note
    assert "multiply them by 10" in note


def test_wavelengths_in_air_are_converted_once(tmp_path):
    """Vacuum 15 004.1 A and 5003.4 A of air 15 000 A and 5002 A: tables of the refractive index, 1.00027."""
    for first, difference in ((15000.0, 4.099), (5002.0, 1.395)):
        arrays = {**good(), "wavelength": first + 0.2 * np.arange(N_PIXEL)}
        path = write(tmp_path / "grid.npz", arrays)
        grid = read_grid(path, reading=GridReading(grid_medium="air"))
        assert grid.wavelength[0] - first == pytest.approx(difference, abs=2e-3) and grid.medium == "air"
        assert (np.diff(grid.wavelength) > 0.2).all()
        assert "nm), in vacuum, converted from air" in summary_text(summarise(grid))
        vacuum = read_grid(path)
        assert vacuum.wavelength.tolist() == arrays["wavelength"].tolist()
        assert "nm), in vacuum\n" in summary_text(summarise(vacuum))
    path = write(tmp_path / "grid.npz", {**good(), "wavelength": 1990.0 + np.arange(N_PIXEL)})
    with pytest.raises(GridError, match=r"goes down to 1990 Angstrom.*grid_medium to be vacuum"):
        read_grid(path, reading=GridReading(grid_medium="air"))


def processor_seconds(path):
    """The least of three readings: other work on the machine only adds to it."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        read_grid(path)
        seconds.append(time.process_time() - start)
    return min(seconds)


def test_the_time_to_read_a_grid_grows_with_its_spectra_not_with_their_pairs(tmp_path):
    """Ten times the spectra: comparing all pairs would take a hundred times as long."""
    few = processor_seconds(write(tmp_path / "few.npz", good(n_spectrum=2_000, n_pixel=50)))
    path = write(tmp_path / "many.npz", good(n_spectrum=20_000, n_pixel=50))
    assert len(read_grid(path).flux) == 20_000
    assert processor_seconds(path) < 30 * few


# --- Refused grids: the arrays ----------------------------------------------------------------------------------------


@dataclass
class Refused:
    """One change to a good grid, and what the message must say of it (besides the file)."""

    name: str
    change: object  # called with the arrays
    said: tuple[str, ...]


def put(key, value):
    """The change that replaces an array."""
    return lambda arrays: arrays.update({key: value(arrays[key]) if callable(value) else value})


def at(key, index, value):
    """The change that sets one element of an array."""

    def change(arrays):
        arrays[key] = arrays[key].copy()
        arrays[key][index] = value

    return change


def rename(old, new):
    return lambda arrays: arrays.update({new: arrays.pop(old)})


def drop(key):
    return lambda arrays: arrays.pop(key)


def spectra(n):
    return lambda arrays: arrays.update(Y_u_all=arrays["Y_u_all"][:n], labels_array=arrays["labels_array"][:, :n])


CONFIG = "config.yaml"
REFUSED = [
    # keys
    Refused(
        "misnamed wavelength", rename("wavelength", "wave"), ("'wavelength'", "mean 'wave'", "wavelength: wave", CONFIG)
    ),
    Refused("misspelt wavelength", rename("wavelength", "Wavelenght"), ("mean 'Wavelenght'", "grid_keys", CONFIG)),
    Refused("misnamed flux", rename("Y_u_all", "Flux"), ("'Y_u_all'", "mean 'Flux'", "grid_keys: flux: Flux", CONFIG)),
    Refused("misspelt flux", rename("Y_u_all", "y_all"), ("'Y_u_all'", "mean 'y_all'", CONFIG)),
    Refused(
        "misnamed labels",
        rename("labels_array", "labels"),
        ("'labels_array'", "mean 'labels'", "labels: labels", CONFIG),
    ),
    Refused("misnamed names", rename("label_names", "labels_names"), ("'label_names'", "mean 'labels_names'", CONFIG)),
    Refused("misnamed units", rename("label_units", "label_unit"), ("'label_units'", "mean 'label_unit'", CONFIG)),
    Refused("missing flux", drop("Y_u_all"), ("'Y_u_all'", "grid_keys: flux", CONFIG, "holds 'wavelength'")),
    # kinds
    Refused("pickled flux", put("Y_u_all", lambda y: y.astype(object)), ("Y_u_all", "pickled", "dtype=float")),
    Refused("pickled names", put("label_names", lambda x: x.astype(object)), ("label_names", "pickled", "dtype=str")),
    Refused("complex flux", put("Y_u_all", lambda y: y + 0j), ("Y_u_all", "complex", "real numbers", "Convert")),
    Refused(
        "flux as text", put("Y_u_all", lambda y: y.astype(str)), ("Y_u_all", "dtype <U", "real numbers", "Convert")
    ),
    Refused("labels true or false", put("labels_array", lambda x: x > 3), ("labels_array", "bool", "real numbers")),
    Refused(
        "wavelength as dates", put("wavelength", lambda w: w.astype("M8[s]")), ("wavelength", "datetime64", "Convert")
    ),
    Refused("names as numbers", put("label_names", np.arange(2)), ("label_names", "int64", "expected text")),
    # shapes
    Refused("axis for each spectrum", put("wavelength", np.ones((12, 30))), ("wavelength", "(12, 30)", "Resample")),
    Refused("no pixels", put("wavelength", np.ones(0)), ("wavelength", "(0,)", "at least one pixel")),
    Refused("pixels missing", put("wavelength", lambda w: w[1:]), ("Y_u_all", "(12, 30)", "(n_spectrum, 29)")),
    Refused("flux transposed", put("Y_u_all", lambda y: y.T), ("Y_u_all", "transposed", "(30, 12)", "Y_u_all.T")),
    Refused("flux of one dimension", put("Y_u_all", np.ones(30)), ("Y_u_all", "(30,)", "(n_spectrum, 30)")),
    Refused("labels transposed", put("labels_array", lambda x: x.T), ("transposed", "(12, 2)", "Store labels_array.T")),
    Refused(
        "labels of other spectra", put("labels_array", np.ones((2, 11))), ("labels_array", "(2, 11)", "(n_label, 12)")
    ),
    Refused(
        "one label, flat", put("labels_array", np.arange(12.0)), ("labels_array", "(12,)", "labels_array[None, :]")
    ),
    Refused("no labels", put("labels_array", np.ones((0, 12))), ("labels_array", "(0, 12)", "(n_label, 12)")),
    Refused(
        "labels in a cube", put("labels_array", np.ones((1, 2, 12))), ("labels_array", "(1, 2, 12)", "(n_label, 12)")
    ),
    Refused("no spectra", spectra(0), ("Y_u_all", "0 spectra", "at least 3 and 1", "Add spectra")),
    Refused("four spectra", spectra(4), ("Y_u_all", "4 spectra", "2 to train", "2 to test", "at least 3 and 1")),
    Refused("names too few", put("label_names", np.array(["Teff"])), ("label_names", "(1,)", "2 labels", "(2,)")),
    Refused("units too many", put("label_units", np.array(["K"] * 3)), ("label_units", "(3,)", "2 labels", "(2,)")),
    Refused(
        "names twice", put("label_names", np.array(["Teff", "Teff "])), ("label_names[1]", "'Teff'", "label_names[0]")
    ),
    Refused("name empty", put("label_names", np.array(["Teff", " "])), ("label_names[1]", "empty", "Name label 1")),
    Refused(
        "name of a column",
        put("label_names", np.array(["Teff", "snr"])),
        ("label_names[1]", "'snr'", "column 'SNR' of every table", "Rename label 1"),
    ),
    Refused(
        "name of another label's error",
        put("label_names", np.array(["Teff_error", "Teff"])),
        ("label_names[0]", "the column of 'Teff' that holds its error"),
    ),
    # wavelengths
    Refused("wavelength NaN", at("wavelength", 4, np.nan), ("wavelength[4]", "nan", "pixel 4", "first of 1 ")),
    Refused("wavelength negative", at("wavelength", 0, -1), ("wavelength[0]", "-1", "pixel 0", "positive")),
    Refused("wavelength zero", at("wavelength", 9, 0), ("wavelength[9]", "pixel 9", "positive")),
    Refused("nanometres", put("wavelength", lambda w: w / 20), ("wavelength", "750.145", "nanometres", "by 10)")),
    Refused("micrometres", put("wavelength", lambda w: w / 1e4), ("wavelength", "1.50029", "micrometres", "by 1e4")),
    Refused("logarithm", put("wavelength", np.log10), ("wavelength", "4.17618", "logarithm", "10**")),
    Refused("repeated", at("wavelength", 7, 15001.2), ("wavelength[7]", "15001.2", "pixel 7", "repeated from pixel 6")),
    Refused(
        "unsorted", at("wavelength", 7, 15000.5), ("wavelength[7]", "15000.5", "unsorted", "15001.2 of pixel 6", "Sort")
    ),
    Refused(
        "repeated but for rounding",
        put("wavelength", lambda w: 15000.0 + 2e-12 * np.arange(N_PIXEL)),
        ("wavelength[1]", "pixel 1", "repeated from pixel 0 but for rounding"),
    ),
    Refused("wavelength huge", put("wavelength", lambda w: w * 1e296), ("wavelength[0]", "1.5e+300", "1 ... 1e+09")),
    Refused("wavelength tiny", at("wavelength", 0, 1e-300), ("wavelength[0]", "1e-300", "pixel 0", "the first of 1 ")),
    Refused("descending", put("wavelength", lambda w: w[::-1]), ("wavelength[1]", "pixel 1", "descends", "reverse")),
    # labels
    Refused("label NaN", at("labels_array", (1, 7), np.nan), ("labels_array[1, 7]", "label logg, spectrum 7", "nan")),
    Refused(
        "label infinite", at("labels_array", (0, 2), -np.inf), ("labels_array[0, 2]", "label Teff, spectrum 2", "-inf")
    ),
    Refused(
        "label constant", at("labels_array", 1, 4.5), ("labels_array[1]", "logg", "constant: 4.5 dex", "Remove row 1")
    ),
    Refused(
        "constant where it trains", at("labels_array", (1, TRAINING), 4.5), ("labels_array[1]", "logg", "training")
    ),
    Refused(
        "constant but for rounding", at("labels_array", (0, TRAINING), 0.1 + 1e-13 * np.arange(6)), ("[0]", "Teff")
    ),
    Refused(
        "labels huge", put("labels_array", lambda x: x * [[1], [1e300]]), ("[1] (label logg)", "e+300 dex", "1e+100")
    ),
    Refused("labels tiny", put("labels_array", lambda x: x * [[1e-300], [1]]), ("[0] (label Teff)", "1e-100 or more")),
    Refused("labels subnormal", put("labels_array", lambda x: x * 1e-310), ("[0] (label Teff)", "another unit")),
    Refused(
        "labels whose range overflows",
        put("labels_array", lambda x: (x - 3) * 8e307),
        ("[0] (label Teff)", "at most 1e+100", "its logarithm"),
    ),
    Refused(
        "placeholder in the test set",
        at("labels_array", (1, 7), -999.0),
        ("labels_array[1, 7]", "-999", "label logg, spectrum 7", "1.", "Correct it, or remove column 7"),
    ),
    Refused("placeholder 99.9", at("labels_array", (0, [2, 5]), 99.9), ("[0, 2]", "99.9", "the first of 2 such")),
    Refused("no number, as a whole one", at("labels_array", (0, 3), -(2.0**63)), ("[0, 3]", "-9.22", "spectrum 3")),
    Refused(
        "constant where it trains, by the split",
        put("labels_array", lambda x: np.vstack([x[:1], np.tile([2.0, 3.0], 6)])),
        ("labels_array[1]", "logg", "the split is at fault", "split: random"),
    ),
    # flux
    Refused(
        "flux NaN",
        at("Y_u_all", (3, slice(8, 11)), np.nan),
        ("Y_u_all[3, 8]", "spectrum 3, pixel 8", "15001.6", "of 3 "),
    ),
    Refused(
        "flux infinite", at("Y_u_all", (11, 29), np.inf), ("Y_u_all[11, 29]", "inf", "spectrum 11, pixel 29", "of 1 ")
    ),
    Refused(
        "counts",
        put("Y_u_all", lambda y: y * 2e4),
        ("Y_u_all[0]", "spectrum 0", "not normalised", "pixel", "continuum"),
    ),
    Refused("per cent", put("Y_u_all", lambda y: y * 100), ("Y_u_all[0]", "not normalised", "Divide each spectrum")),
    Refused("twice", put("Y_u_all", lambda y: y * 2), ("Y_u_all[0]", "not normalised", "Divide each spectrum")),
    Refused(
        "erg", put("Y_u_all", lambda y: y * 1e-13), ("Y_u_all[0]", "not normalised", "e-14", "Divide each spectrum")
    ),
    Refused(
        "one failed spectrum", at("Y_u_all", 5, 0), ("Y_u_all[5]", "spectrum 5", "not normalised", "median flux is 0,")
    ),
    Refused(
        "emission", at("Y_u_all", (4, 6), 1.3), ("[4, 6]", "1.3", "spectrum 4, pixel 6", "emission", "-0.125 ... 1.125")
    ),
    Refused(
        "negative", at("Y_u_all", (4, slice(6, 8)), -0.2), ("[4, 6]", "-0.2", "pixel 6", "of 2 values", "negative flux")
    ),
    # resolution
    Refused("resolution as text", put("resolution", np.array("high")), ("resolution has dtype <U", "real numbers")),
    Refused("resolution of other pixels", put("resolution", np.ones(29)), ("resolution", "(29,)", "number or (30,)")),
    Refused("no resolution at all", put("resolution", np.ones(0)), ("resolution", "(0,)", "number or (30,)")),
    Refused("resolution 0", put("resolution", np.array(0)), ("resolution is 0;", "R = wavelength / FWHM", "not known")),
    Refused("one resolution NaN", put("resolution", np.array([np.nan])), ("resolution is nan;", "above 0")),
    Refused(
        "a pixel of infinite resolution",
        put("resolution", np.where(np.arange(30) == 7, np.inf, 2e4)),
        ("resolution[7] is inf (pixel 7, 15001.4 Angstrom)", "finite number above 0", "leave this array out"),
    ),
    # training set and test set
    Refused(
        "seen in training",
        put("Y_u_all", lambda y: y[[*range(9), 2, 10, 6]]),
        ("[9]", "spectrum 9", "[2]", "of 2 such"),
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(tmp_path, case):
    arrays = good()
    case.change(arrays)
    path = write(tmp_path / "grid.npz", arrays)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    for part in case.said:
        assert part in message


@pytest.mark.parametrize("factor", [1e300, 1e-300, 1e-310, 1.5e308])
def test_flux_on_a_scale_of_its_own_that_has_no_squares_is_refused(tmp_path, factor):
    flux = (good()["Y_u_all"] - 0.5).astype(float)
    path = write(tmp_path / "grid.npz", {**good(), "Y_u_all": flux * factor})
    with pytest.raises(GridError, match=r"Y_u_all goes from .*expected flux of at most 1e\+100.*in another unit"):
        read_grid(path, reading=GridReading(flux_scale="grid"))


def test_flux_that_varies_by_rounding_alone_is_refused(tmp_path):
    flux = 1e4 + 1e-11 * np.arange(N_SPECTRUM * N_PIXEL).reshape(N_SPECTRUM, N_PIXEL)
    with pytest.raises(GridError, match="is -10000 everywhere; expected spectra that differ"):
        read_grid(write(tmp_path / "grid.npz", {**good(), "Y_u_all": -flux}), reading=GridReading(flux_scale="grid"))


def test_all_missing_keys_in_one_message(tmp_path):
    arrays = {"wave": np.arange(3.0), "spectra": np.ones((5, 3)), "params": np.ones((2, 5))}
    message = refusal(write(tmp_path / "grid.npz", arrays))
    for part in ("wavelength: wave", "flux: spectra", "labels: params"):
        assert part in message


def test_a_key_that_config_names_must_be_there(tmp_path):
    path = write(tmp_path / "grid.npz", good())
    message = refusal(path, GridKeys(label_names="names_of_labels"))
    assert f"{path}: no array 'names_of_labels'" in message
    assert "mean 'label_names'" in message
    with pytest.raises(GridError, match=r"no array 'lambda'.*mean 'wavelength'.*config\.yaml"):
        count_pixels(path, GridKeys(wavelength="lambda"))


@settings(max_examples=40)
@given(
    spectrum=st.integers(0, N_SPECTRUM - 1),
    pixel=st.integers(0, N_PIXEL - 1),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1.4, -0.3]),
)
def test_one_bad_value_is_found_wherever_it_is(spectrum, pixel, value):
    arrays = good()
    arrays["Y_u_all"][spectrum, pixel] = value
    with tempfile.TemporaryDirectory() as directory:
        message = refusal(write(Path(directory) / "grid.npz", arrays))
    assert f"Y_u_all[{spectrum}, {pixel}]" in message
    assert f"spectrum {spectrum}, pixel {pixel}, " in message


@settings(max_examples=40)
@given(training=st.integers(0, N_SPECTRUM // 2 - 1), test=st.integers(0, N_SPECTRUM // 2 - 1))
def test_a_spectrum_in_both_sets_is_found_wherever_it_is(training, test):
    arrays = good()
    arrays["Y_u_all"][2 * test + 1] = arrays["Y_u_all"][2 * training]
    with tempfile.TemporaryDirectory() as directory:
        message = refusal(write(Path(directory) / "grid.npz", arrays))
    assert f"Y_u_all[{2 * test + 1}] (spectrum {2 * test + 1}, which tests)" in message
    assert f"Y_u_all[{2 * training}] (spectrum {2 * training}, which trains), the first of 1" in message


@pytest.mark.parametrize("reader", [read_grid, grid_shape, count_pixels])
def test_the_archive_is_opened_once(monkeypatch, reader):
    """Once a grid was opened seven times. Beside the archive, the format is told, and read_grid takes the SHA-256."""
    opened, archives = [], []

    def counted(path, mode):
        opened.append(path)
        return open(path, mode)

    class CountedZip(zipfile.ZipFile):
        def __init__(self, *args, **kwargs):
            archives.append(args)
            super().__init__(*args, **kwargs)

    for module in ("files", "grid.hdf5"):
        monkeypatch.setattr(f"payneflow.{module}.open", counted, raising=False)
    monkeypatch.setattr(zipfile, "ZipFile", CountedZip)
    reader(SHIPPED)
    assert len(archives) == 1
    assert opened == [SHIPPED] * (3 if reader is read_grid else 2)


# --- Refused grids: the file ------------------------------------------------------------------------------------------


def both_refusals(path: Path) -> tuple[str, str]:
    """What read_grid and count_pixels say of a file."""
    with pytest.raises(GridError) as refused:
        count_pixels(path)
    return refusal(path), str(refused.value)


def as_directory(path):
    path.mkdir()


def as_single_array(path):
    with open(path, "wb") as stream:
        np.save(stream, np.ones((12, 30)))


def with_a_member_that_is_no_array(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wavelength.npy", "15000 15001 15002")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (as_directory, "a directory"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("wavelength,flux\n15000,1\n"), "not an npz file"),
        (lambda path: path.write_bytes(b"\x80\x04N."), "not an npz file"),  # a pickle
        (as_single_array, "not an npz file"),
        (lambda path: path.write_bytes(SHIPPED.read_bytes()[:100_000]), "truncated"),
        (lambda path: path.write_bytes(SHIPPED.read_bytes()[:-1]), "truncated"),
        (with_a_member_that_is_no_array, "wavelength"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "holds nothing"),
    ],
)
def test_refused_file(tmp_path, make, said):
    path = tmp_path / "grid.npz"
    make(path)
    for message in both_refusals(path):
        assert message.startswith(f"{path}: ")
        assert said in message


def test_no_permission(tmp_path, monkeypatch):
    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "grid.npz", good())
    monkeypatch.setattr("payneflow.files.open", forbidden, raising=False)  # root may read everything: chmod is no test
    for message in both_refusals(path):
        assert message.startswith(f"{path}: no permission to read a grid")


@settings(max_examples=60)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_harmless(data):
    """Cut or flip a byte anywhere: a GridError that names the file, or the very same grid; never anything else."""
    arrays = good()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "grid.npz"
        np.savez_compressed(path, **arrays)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        if data.draw(st.booleans(), label="cut"):
            content = content[:place]
        else:
            content[place] ^= data.draw(st.integers(1, 255), label="flip")
        path.write_bytes(content)
        try:
            grid = read_grid(path)
        except GridError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            # an optional array whose name is damaged is absent
            np.testing.assert_array_equal(grid.flux, arrays["Y_u_all"])
            np.testing.assert_array_equal(grid.labels, arrays["labels_array"].T)
            np.testing.assert_array_equal(grid.wavelength, arrays["wavelength"])


class Bomb:
    """An object that, once unpickled, has written a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("key", ["wavelength", "Y_u_all", "labels_array", "label_names", "label_units"])
def test_no_pickle_ever_runs(tmp_path, key):
    mark = tmp_path / "mark"
    path = write(tmp_path / "grid.npz", {**good(), key: np.array([Bomb(mark)] * 2, dtype=object)})
    message = refusal(path)
    assert f"{path}: {key} is a pickled array" in message
    assert not mark.exists()
    with np.load(path, allow_pickle=True) as unguarded:
        unguarded[key]
    assert mark.exists()  # the bomb was a real one


# --- Counting pixels --------------------------------------------------------------------------------------------------


def test_count_pixels_of_shipped_grid():
    assert count_pixels(SHIPPED) == len(read_grid(SHIPPED).wavelength) == 7214


@pytest.mark.parametrize(
    ("wavelength", "said"),
    [
        (np.ones((2, 3)), "expected (n_pixel,)"),
        (np.ones(0), "at least one pixel"),
        (np.array(["15000"]), "real numbers"),
        (np.array([None]), "pickled"),
    ],
)
def test_count_pixels_refuses(tmp_path, wavelength, said):
    path = write(tmp_path / "grid.npz", {"wavelength": wavelength})
    with pytest.raises(GridError) as refused:
        count_pixels(path)
    assert f"{path}: wavelength " in str(refused.value)
    assert said in str(refused.value)


def test_count_pixels_reads_no_array(monkeypatch):
    def read_array(*args, **kwargs):
        raise AssertionError("an array was read")

    monkeypatch.setattr(np.lib.format, "read_array", read_array)
    assert count_pixels(SHIPPED) == 7214


# --- The two sets -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000))
def test_every_spectrum_is_in_one_of_the_two_sets(n_spectrum):
    spectra = range(n_spectrum)
    assert sorted([*spectra[TRAINING], *spectra[TEST]]) == list(spectra)
    assert (count_training(n_spectrum), count_test(n_spectrum)) == (len(spectra[TRAINING]), len(spectra[TEST]))
