"""Networks of other programs: their own formulas predict the same, and nothing that a file does not say is guessed."""

import re
from dataclasses import replace

import known_foreign as foreign
import numpy as np
import pytest
from conftest import ROOT
from known_foreign import LABELS, N_PIXEL, WAVELENGTH, X_MAX, X_MIN, pixel_weights, whole_weights

import payneflow
from payneflow import PixelNetworks, adopt_networks, cli, read_networks
from payneflow.adopt import read_wavelength
from payneflow.errors import NetworkFileError
from payneflow.stored_arrays import write_arrays
from payneflow.wavelength import air_to_vacuum
from payneflow.whole_spectrum import WholeSpectrumNetworks

FACTS = {"wavelength": WAVELENGTH, "medium": "vacuum", **LABELS}
KINDS = {
    "published": (pixel_weights(2.0), foreign.listing),
    "centred": (pixel_weights(0.3), foreign.binaries),
    "whole": (whole_weights(), foreign.whole),
}


def scale_of(kind):
    return {} if kind == "whole" else {"scale": kind}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def file(tmp_path, kind):
    np.savez(tmp_path / "foreign.npz", **KINDS[kind][0])
    return tmp_path / "foreign.npz"


@pytest.fixture
def networks(file, kind):
    return adopt_networks(file, **FACTS, **scale_of(kind)).networks


def test_the_formula_of_the_other_program_predicts_the_same(kind, networks):
    weights = {key: value.astype(float) for key, value in KINDS[kind][0].items()}
    labels = np.random.default_rng(0).uniform(X_MIN, X_MAX, (20, 2))
    expected = np.array([KINDS[kind][1](weights, one) for one in labels])
    assert expected.std(axis=0).max() > 0.01, "these networks know their labels"
    assert networks.predict(labels) == pytest.approx(expected, abs=1e-12)
    assert (networks.predict(labels)[7] == networks.predict(labels[7])).all()


def test_derivatives_are_difference_quotients(networks):
    at, step = np.array([0.31, 0.62]), 1e-6
    flux, slopes = networks.jacobian_scaled(at)
    assert (flux == networks.predict_scaled(at)).all()
    for j, move in enumerate(np.eye(2) * step):
        quotient = (networks.predict_scaled(at + move) - networks.predict_scaled(at - move)) / (2 * step)
        assert slopes[:, j] == pytest.approx(quotient, abs=1e-8)


def test_the_file_holds_all_of_it(tmp_path, kind, networks):
    path = tmp_path / "networks.npz"
    networks.write(path)
    again = read_networks(path)
    assert type(again) is {"whole": WholeSpectrumNetworks}.get(kind, PixelNetworks)
    for name in type(networks).__dataclass_fields__:
        same = np.array_equal(getattr(networks, name), getattr(again, name), equal_nan=name == "emulator_rms")
        assert same, name
    assert again.digest == networks.digest
    with np.load(path) as stored:
        assert stored["format_version"] == (4 if kind == "published" else 6)
    with pytest.raises(NetworkFileError, match=r"networks.npz: a file of payneflow itself"):
        adopt_networks(path)


def test_some_pixels_are_those_of_all(networks):
    some, labels = networks.of_pixels(slice(10, 50, 3)), X_MIN + 0.3 * (X_MAX - X_MIN)
    assert (some.predict(labels) == networks.predict(labels)[10:50:3]).all()
    assert (some.wavelength == WAVELENGTH[10:50:3]).all() and some.digest != networks.digest


def test_what_is_missing_is_asked_for_by_name(file, kind):
    with pytest.raises(NetworkFileError) as error:
        adopt_networks(file)
    said = str(error.value)
    for option in ("--wavelength", "--label-names", "--label-units", "--medium"):
        assert option in said
    assert ("--scale" in said) == (kind != "whole")
    assert ("one network for all 240 pixels" if kind == "whole" else "a network for each of 240 pixels") in said
    with pytest.raises(NetworkFileError, match="you must: label_units ") as error:
        adopt_networks(file, **{**FACTS, "label_units": None}, **scale_of(kind))
    assert "--medium" not in str(error.value)


def test_facts_that_the_file_holds_are_not_asked_for(tmp_path, kind):
    names = {key: np.array(value) for key, value in LABELS.items()}
    np.savez(tmp_path / "more.npz", **KINDS[kind][0], wavelength=WAVELENGTH, **names)
    found = adopt_networks(tmp_path / "more.npz", medium="air", resolution=22500, **scale_of(kind)).networks
    with_more = adopt_networks(tmp_path / "more.npz", **FACTS, **scale_of(kind))
    assert with_more.notes[0] == "not read: label_names, label_units, wavelength", "those that are given count"
    assert found.label_names == LABELS["label_names"] and found.label_units == LABELS["label_units"]
    assert (found.wavelength == air_to_vacuum(WAVELENGTH)).all()
    assert found.provenance["grid_medium"] == "air" and found.resolution == 22500.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wavelength": WAVELENGTH[:-1]}, r"wavelength has shape \(239,\), expected \(240,\)"),
        ({"wavelength": WAVELENGTH[::-1]}, "wavelength is not a list of finite, positive, increasing numbers"),
        ({"label_names": ("Teff",)}, r"1 label_names \(Teff\), expected 2, as in x_min"),
        ({"label_names": ("Teff", "SNR")}, "label_names has 'SNR', as is the column 'SNR'"),
        ({"label_names": ("Teff", "Teff")}, "label_names has 'Teff', which reads as that of label 0"),
        ({"label_units": ("K", "dex", "")}, "3 label_units"),
        ({"medium": "water"}, "medium is 'water', expected vacuum or air"),
        ({"scale": "mine"}, "scale is 'mine', expected published or centred"),
        ({"resolution": -1.0}, "resolution is -1.0"),
        ({"emulator_rms": np.nan}, "emulator_rms is nan"),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path, change, says):
    np.savez(tmp_path / "foreign.npz", **pixel_weights(2.0))
    with pytest.raises(NetworkFileError, match=f"foreign.npz: {says}"):
        adopt_networks(tmp_path / "foreign.npz", **{**FACTS, "scale": "published", **change})


@pytest.mark.parametrize(
    ("of", "change", "says"),
    [
        (pixel_weights(2.0), {"x_max": None}, "no x_max; expected a network of one hidden layer for each pixel"),
        (pixel_weights(2.0), {"b_array_1": np.zeros(3)}, r"b_array_1 has shape \(3,\), expected \(240,\)"),
        (pixel_weights(2.0), {"x_max": X_MIN}, "x_max of label 0 is 4200.0, expected more than its x_min"),
        (pixel_weights(2.0), {"b_array_1": np.full(N_PIXEL, np.nan)}, "pixel 0 has some weights that are NaN"),
        (pixel_weights(2.0), {"w_array_0": np.array([{}])}, "w_array_0"),
        (whole_weights(), {"b_array_1": None}, "no b_array_1; expected one network of two hidden layers"),
        (whole_weights(), {"w_array_1": np.zeros((3, 3))}, r"w_array_1 has shape \(3, 3\)"),
        (whole_weights(), {"w_array_3": np.zeros((3, 3))}, "it has w_array_3, expected one or two hidden layers"),
        (whole_weights(), {"w_array_0": pixel_weights(2.0)["w_array_0"]}, r"w_array_0 has shape \(240, 4, 2\)"),
    ],
)
def test_files_of_no_known_layout_are_refused(tmp_path, of, change, says):
    kept = {key: value for key, value in {**of, **change}.items() if value is not None}
    np.savez(tmp_path / "foreign.npz", **kept)
    with pytest.raises(NetworkFileError, match=f"foreign.npz: {says}"):
        adopt_networks(tmp_path / "foreign.npz", **FACTS)


def test_a_whole_spectrum_has_one_scale(tmp_path):
    np.savez(tmp_path / "foreign.npz", **whole_weights())
    with pytest.raises(NetworkFileError, match="Its scale is centred, and 'published' was given"):
        adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="published")


def test_networks_of_another_scale_or_unit_are_noticed(tmp_path):
    np.savez(tmp_path / "foreign.npz", **pixel_weights(0.05) | {"b_array_1": np.full(N_PIXEL, 2.2)})
    notes = adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="centred").notes
    assert any("expected about 1" in note for note in notes)
    right = adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="published").notes
    assert not any("expected about 1" in note for note in right)
    assert any("unknown" in note for note in right) and any("formal" in note for note in right)
    nanometres = adopt_networks(
        tmp_path / "foreign.npz", **{**FACTS, "wavelength": 0.1 * WAVELENGTH}, scale="published", emulator_rms=1e-3
    )
    assert any("nanometres" in note for note in nanometres.notes)
    assert (nanometres.networks.emulator_rms == 1e-3).all()
    assert not any("unknown" in note for note in nanometres.notes)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("output", np.array("square"), "output has 'square', expected one of logistic, linear"),
        ("w_array_0", np.zeros((N_PIXEL, 2)), r"w_array_0 has shape \(240, 2\)"),
    ],
)
def test_a_damaged_file_of_linear_networks_is_refused(tmp_path, key, value, says):
    np.savez(tmp_path / "foreign.npz", **pixel_weights(0.3))
    adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="centred").networks.write(tmp_path / "net.npz")
    write_arrays(tmp_path / "net.npz", {**np.load(tmp_path / "net.npz"), key: value})
    with pytest.raises(NetworkFileError, match=f"net.npz: {says}"):
        read_networks(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"leaky_slope": None}, "no leaky_slope; expected a network file"),
        ({"leaky_slope": np.array(-1.0)}, "leaky_slope holds -1"),
        ({"b_array_0": np.zeros(3)}, r"b_array_0 has shape \(3,\), expected \(9,\)"),
        ({"b_array_1": np.full(7, np.nan)}, "b_array_1 is not finite everywhere"),
        ({"b_array_2": np.full(N_PIXEL, np.nan)}, "pixel 0 has some weights that are NaN"),
        ({"format_version": np.array(7)}, "newer than this payneflow reads"),
        ({"provenance": np.array('{"grid_medium": "water"}')}, "grid_medium 'water'"),
    ],
)
def test_a_damaged_file_of_a_whole_spectrum_is_refused(tmp_path, change, says):
    np.savez(tmp_path / "foreign.npz", **whole_weights())
    adopt_networks(tmp_path / "foreign.npz", **FACTS).networks.write(tmp_path / "net.npz")
    stored = {**np.load(tmp_path / "net.npz"), **change}
    write_arrays(tmp_path / "net.npz", {key: value for key, value in stored.items() if value is not None})
    with pytest.raises(NetworkFileError, match=f"net.npz: .*{says}"):
        read_networks(tmp_path / "net.npz")


def test_a_pixel_without_network_has_no_flux(tmp_path):
    weights = whole_weights()
    weights["w_array_2"][5], weights["b_array_2"][5] = np.nan, np.nan
    np.savez(tmp_path / "foreign.npz", **weights)
    networks = adopt_networks(tmp_path / "foreign.npz", **FACTS).networks
    assert np.flatnonzero(~networks.has_network).tolist() == [5]
    assert np.flatnonzero(np.isnan(networks.predict(X_MIN))).tolist() == [5]


def test_other_weights_have_another_digest(networks):
    assert replace(networks, w_array_0=2 * networks.w_array_0).digest != networks.digest
    if isinstance(networks, PixelNetworks):
        other = "linear" if networks.output == "logistic" else "logistic"
        assert replace(networks, output=other).digest != networks.digest


# ------------------------------------------------------------------------------------------ what a file says of itself


def test_a_file_whose_networks_predict_another_flux_than_it_says_is_refused(tmp_path, networks):
    path = tmp_path / "net.npz"
    networks.write(path)
    stored = {key: value.astype(float) if value.dtype == np.float32 else value for key, value in np.load(path).items()}
    assert stored["fingerprint_labels"][1] == pytest.approx(0.5 * (X_MIN + X_MAX))
    assert stored["fingerprint"] == pytest.approx(networks.predict(stored["fingerprint_labels"]), abs=1e-12)
    bias = "b_array_2" if "b_array_2" in stored else "b_array_1"
    stored[bias][7] += 1e-6
    write_arrays(path, stored)
    with pytest.raises(NetworkFileError, match=r"net.npz: its networks predict .* in pixel 7 at point 0 of .*says"):
        read_networks(path)
    stored[bias][7] = 1e308
    write_arrays(path, stored | {"w_array_1": np.full_like(stored["w_array_1"], 1e308)})
    with pytest.raises(NetworkFileError, match=r"net.npz: its networks predict"):
        read_networks(path)
    write_arrays(path, {key: value for key, value in stored.items() if key != "fingerprint_labels"})
    with pytest.raises(NetworkFileError, match=r"net.npz: fingerprint_labels and fingerprint belong together"):
        read_networks(path)


def test_a_file_of_before_there_were_fingerprints_is_read(tmp_path, networks):
    networks.write(tmp_path / "net.npz")
    kept = {key: value for key, value in np.load(tmp_path / "net.npz").items() if "fingerprint" not in key}
    write_arrays(tmp_path / "net.npz", kept)
    assert read_networks(tmp_path / "net.npz").digest == networks.digest


def test_linear_networks_taken_for_logistic_ones_are_noticed(tmp_path):
    np.savez(tmp_path / "foreign.npz", **pixel_weights(0.3))
    adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="centred").networks.write(tmp_path / "net.npz")
    stored = {key: value for key, value in np.load(tmp_path / "net.npz").items() if key != "output"}
    write_arrays(tmp_path / "net.npz", {**stored, "format_version": np.array(4)})
    with pytest.raises(NetworkFileError, match="it is read otherwise than it was written"):
        read_networks(tmp_path / "net.npz")


def test_the_lines_of_numpy_in_the_page_predict_what_payneflow_does(tmp_path, monkeypatch, kind, networks):
    page = (ROOT / "docs/files.md").read_text()
    of_pixels, of_whole = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    leaky = re.search(r"`(f = lambda .*?)`", page)[1]
    monkeypatch.chdir(tmp_path)
    networks.write("networks.npz")
    lines = of_pixels.splitlines()
    code = "\n".join([*lines[:2], leaky, of_whole]) if kind == "whole" else of_pixels
    names = {"np": np, "labels": X_MIN + np.array([0.2, 0.7]) * (X_MAX - X_MIN)}
    exec(code, names)
    names["n"].close()
    assert names["flux"] == pytest.approx(networks.predict(names["labels"]), abs=1e-12)


def test_texts_on_networks_are_kept(tmp_path):
    np.savez(tmp_path / "foreign.npz", **pixel_weights(2.0))
    about = {"abundances": "[X/H], Asplund et al. 2009", "licence": "MIT", "citation": "Ting et al. 2019"}
    found = adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="published", about=about).networks
    found.write(tmp_path / "net.npz")
    assert read_networks(tmp_path / "net.npz").provenance.items() >= about.items()
    with pytest.raises(NetworkFileError, match="about has 'license', expected texts for abundances, licence"):
        adopt_networks(tmp_path / "foreign.npz", **FACTS, scale="published", about={"license": "MIT"})
    stored = {**np.load(tmp_path / "net.npz"), "provenance": np.array('{"licence": 3}')}
    write_arrays(tmp_path / "net.npz", stored)
    with pytest.raises(NetworkFileError, match="provenance holds licence, which is no text"):
        read_networks(tmp_path / "net.npz")


# ------------------------------------------------------------------------------------------------- the command line


def test_wavelengths_come_from_a_rule_or_from_a_file(tmp_path):
    assert read_wavelength("15000:0.2:4").tolist() == [15000.0, 15000.2, 15000.4, 15000.6]
    (tmp_path / "axis.txt").write_text("# Angstrom\n15000.0\n15000.5\n\n")
    assert read_wavelength(str(tmp_path / "axis.txt")).tolist() == [15000.0, 15000.5]
    np.savez(tmp_path / "axis.npz", any_name=WAVELENGTH)
    assert (read_wavelength(str(tmp_path / "axis.npz")) == WAVELENGTH).all()
    np.savez(tmp_path / "grid.npz", flux=np.ones(3), wavelength=WAVELENGTH)
    assert (read_wavelength(str(tmp_path / "grid.npz")) == WAVELENGTH).all()


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("15000:a:4", "expected START:STEP:N"),
        ("15000:0.2:0", "0 pixels, expected 1 to"),
        ("absent.txt", "absent.txt: no such file"),
        ("absent.npz", "absent.npz: no such file"),
        ("words.txt", "words.txt: expected one wavelength a line"),
        ("two.npz", "two.npz: no wavelength among a, b"),
        ("flat.npz", r"flat.npz: wavelength is float64 of shape \(2, 2\)"),
    ],
)
def test_wavelengths_that_cannot_be_read_are_refused(tmp_path, monkeypatch, said, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("wavelength\n15000\n")
    np.savez("two.npz", a=WAVELENGTH, b=WAVELENGTH)
    np.savez("flat.npz", wavelength=np.ones((2, 2)))
    with pytest.raises(NetworkFileError, match=says):
        read_wavelength(said)


def test_the_command_writes_a_network_file_and_says_what_it_found(tmp_path, file, kind, capsys):
    np.savez(tmp_path / "axis.npz", wavelength=WAVELENGTH)
    facts = ["--wavelength", str(tmp_path / "axis.npz"), "--medium", "vacuum"]
    facts += ["--label-names", *LABELS["label_names"], "--label-units", *LABELS["label_units"]]
    facts += ["--scale", "centred" if kind == "whole" else kind, "--citation", "Ting et al. 2019"]
    output = tmp_path / "networks.npz"
    assert cli.main(["adopt", str(file), *facts, "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "240 pixels from 15000.00 to" in said and "Teff 4200 ... 6500 K, [Fe/H] -2 ... 0.5 dex" in said
    assert "note: the error of these networks' flux is unknown" in said
    again, labels = payneflow.read_networks(output), X_MIN + 0.4 * (X_MAX - X_MIN)
    assert again.provenance["citation"] == "Ting et al. 2019" and "licence" not in again.provenance
    weights = {key: value.astype(float) for key, value in KINDS[kind][0].items()}
    assert again.predict(labels) == pytest.approx(KINDS[kind][1](weights, labels), abs=1e-6)
    assert cli.main(["adopt", str(file), "--output", str(file)]) == 2
    assert "foreign.npz: an input of this command" in capsys.readouterr().err
    assert cli.main(["fit", str(file), "--grid", "any.npz", "--output", str(tmp_path / "fits")]) == 2
    assert "networks of another program with adopt" in capsys.readouterr().err
