"""The page as a file: all in one, small, whole; what weights of 16 bits cost; and what it is not made of."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from known_networks import random_networks

from explore.made import networks_of, write_grid, write_record_of, write_stars
from payneflow import cli
from payneflow.errors import NetworkFileError, PayneflowError
from payneflow.explore.moves import moves_of
from payneflow.explore.packed import columns_in_bytes, packed, quantised, rounded
from payneflow.explore.weights import ALLOWED, packed_weights
from payneflow.explore.write import SCRIPTS, joined_scripts, write_page
from payneflow.grid import Split
from payneflow.run.contents import facts_of

KINDS = ("logistic", "linear", "uneven", "whole")


class Parts(HTMLParser):
    """The tags of a page, and the text in its scripts by their id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._within = [], {}, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._within = dict(attrs).get("id", "") if tag == "script" else None

    def handle_data(self, data):
        if self._within is not None:
            self.scripts[self._within] = self.scripts.get(self._within, "") + data

    def handle_endtag(self, tag):
        self._within = None


def facts_in(path):
    return json.loads(Parts(path.read_text()).scripts["facts"])


def unpacked(array):
    import base64

    numbers = np.frombuffer(base64.b64decode(array["base64"]), dtype="<" + array["type"]).reshape(array["shape"])
    return numbers * unpacked(array["scale"])[..., None] if "scale" in array else numbers


@pytest.fixture
def networks(tmp_path):
    return networks_of("logistic", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_in_the_page_cost_as_little_flux_as_it_says(tmp_path, kind):
    networks = networks_of(kind, tmp_path)
    arrays, bits, error = packed_weights(networks)
    assert bits == 16 and error <= ALLOWED * networks.flux_scale.width
    coarse = replace(networks, **{key: unpacked(array).astype(float) for key, array in arrays.items()})
    scaled = np.random.default_rng(5).uniform(0.1, 0.9, (200, len(networks.x_min)))
    off = np.abs(networks.predict_scaled(scaled) - coarse.predict_scaled(scaled)).max()
    assert 0.0 < off <= 2.0 * error, "other labels than those it was measured at"


def test_where_16_bits_are_too_few_weights_are_in_single_precision(networks):
    steep = replace(networks, w_array_0=300.0 * networks.w_array_0, b_array_0=-150.0 * networks.w_array_0.sum(axis=2))
    arrays, bits, error = packed_weights(steep)
    assert bits == 32 and error < 1e-3 and "scale" not in arrays["w_array_0"]
    assert (unpacked(arrays["w_array_0"]) == steep.w_array_0.astype(np.float32)).all()


def test_rows_are_rounded_to_a_step_of_their_own():
    array = np.array([[1.0, -0.5, 1e-5], [1e-3, 0.0, -1e-3], [0.0, 0.0, 0.0], [np.nan, 1.0, 2.0]])
    assert np.abs(rounded(array) - array)[:3].max(axis=1) == pytest.approx(0.0, abs=0.51 / 32767)
    assert np.abs(rounded(array) - array)[1].max() < 0.51e-3 / 32767
    assert np.array_equal(unpacked(quantised(array)), rounded(array).astype(np.float32), equal_nan=True)
    assert np.isnan(rounded(array)[3]).all(), "a pixel without a network has no weight that is a number"


def test_flux_in_bytes_is_off_by_half_a_step_of_its_pixel():
    flux = np.random.default_rng(0).uniform(0.2, 1.0, (30, 5)) * [1.0, 0.1, 0.01, 1.0, 0.0]
    stored = columns_in_bytes(flux)
    again = unpacked(stored["low"]) + unpacked(stored["step"]) * unpacked(
        {key: stored[key] for key in ("type", "shape", "base64")}
    )
    assert (np.abs(again - flux).max(axis=0) <= 0.51 / 255 * np.ptp(flux, axis=0) + 1e-7).all()


def test_all_is_in_one_file_that_asks_for_nothing(tmp_path, networks):
    page = tmp_path / "page.html"
    made = write_page(networks, page, name="networks.npz", grid=None)
    text = page.read_text()
    tags = Parts(text).tags
    assert not [
        tag for tag, given in tags if tag in ("img", "iframe") or (tag != "link" and {"src", "href"} & set(given))
    ]
    assert [given["href"] for tag, given in tags if tag == "link"] == ["data:,"]
    assert "default-src 'none'" in text and "Copyright (c) 2022 Leon Sorokin" in text
    assert made.size == page.stat().st_size < 600_000 and "{{" not in re.sub(
        r"<script.*?</script>", "", text, flags=re.S
    )


def test_modules_are_joined_in_an_order_in_which_all_is_there():
    from payneflow.explore.write import _text

    for place, name in enumerate(SCRIPTS):
        imported = re.findall(r'^import [^;]* from "\./(\w+)\.js";', _text(f"{name}.js"), re.MULTILINE)
        assert set(imported) <= set(SCRIPTS[:place]), name
    assert not re.findall(r"^(import|export) ", joined_scripts(), re.MULTILINE)
    declared = re.findall(r"^(?:const|function|class) (\w+)", joined_scripts(), re.MULTILINE)
    assert len(set(declared)) == len(declared)


def test_eleven_labels_of_the_whole_h_band_stay_below_fifteen_megabytes():
    from payneflow.explore.packed import single

    rng = np.random.default_rng(0)
    hidden = quantised(rng.normal(size=(7214, 20, 11)))
    others = [single(rng.normal(size=(7214, n))) for n in (20, 20, 1)]
    points = columns_in_bytes(rng.normal(size=(4_000_000 // 7214, 7214)))
    assert sum(len(json.dumps(one)) for one in (hidden, *others, points)) < 12_000_000


def test_names_and_paths_of_any_letters_do_not_end_the_script(tmp_path, networks):
    odd = ("</script><b>", "[α/Fe] \"'&", "log\u2028g {{style}}")
    page = tmp_path / "page.html"
    write_page(replace(networks, label_names=odd), page, name="<!-- ü </title>.npz")
    facts = facts_in(page)
    assert tuple(label["name"] for label in facts["labels"]) == odd and facts["name"] == "<!-- ü </title>.npz"
    assert [tag for tag, _ in Parts(page.read_text()).tags].count("script") == 3


def test_what_a_page_says_of_itself_is_what_verify_compares(tmp_path, networks):
    grid = networks.read_grid(write_grid(networks, tmp_path / "grid.npz"))
    page = tmp_path / "explore.html"
    write_page(networks, page, name="n", grid=grid)
    assert facts_of(page, page.name, True) == {"problem": "", "networks": networks.digest, "grid": grid.sha256}
    page.write_bytes(page.read_bytes().replace(b"<main>", b"<MAIN>"))
    assert facts_of(page, page.name, True)["problem"] == "not a whole page of payneflow. Make it again."


def test_the_command_takes_what_a_run_has(tmp_path, networks, capsys):
    networks.write(tmp_path / "n.npz")
    grid, record = write_grid(networks, tmp_path / "grid.npz"), write_record_of(networks, tmp_path / "record.ecsv")
    stars = write_stars(networks, tmp_path / "stars.npz", np.array([networks.x_min, networks.x_max]), 20.0)
    options = ["--grid", grid, "--record", record, "--best-fits", stars, "--output", tmp_path / "page.html"]
    assert cli.main(["explore", str(tmp_path / "n.npz"), *map(str, options)]) == 0
    assert re.search(
        r"page.html: 0\.\d MB, weights in 16 bits, flux off by \d\.\de-\d\d at most\n$", capsys.readouterr().out
    )
    facts = facts_in(tmp_path / "page.html")
    assert [(kind["kind"], len(kind["entries"])) for kind in facts["stars"]] == [
        ("Observed spectra", 2),
        ("Test spectra of the grid", 8),
    ]
    assert facts["record"]["ends"] == ["converged", "stalled"] and facts["training"]["n_all"] == 20
    assert facts["notes"] == [] and sum(facts["points"]["trains"]) == 20 and len(facts["points"]["trains"]) == 40
    start = np.array([label["start"] for label in facts["labels"]])
    labels = np.load(grid)["labels_array"].T[::2]
    assert np.abs(labels - start).max(axis=1).min() < 1e-9, "sliders begin at a training spectrum"


def test_files_of_other_networks_are_refused(tmp_path, networks):
    other = replace(networks, b_array_1=networks.b_array_1 + 0.1)
    page, few = tmp_path / "page.html", networks.of_pixels(slice(0, 250))
    record = write_record_of(other, tmp_path / "record.ecsv")
    with pytest.raises(PayneflowError, match=r"record.ecsv: the record of other networks \(digest"):
        write_page(networks, page, name="n", record=record)
    with pytest.raises(PayneflowError, match=r"record.ecsv: its pixels are not those of the networks \(300 and 250\)"):
        write_page(few, page, name="n", record=record)
    renamed = replace(networks, label_names=("a", "b", "c"))
    stars = write_stars(renamed, tmp_path / "stars.npz", networks.x_min[None], 0.0)
    with pytest.raises(PayneflowError, match="stars.npz: its fits are of the labels a, b, c, the networks have label0"):
        write_page(networks, page, name="n", best_fits=stars)
    grid = networks.read_grid(write_grid(networks, tmp_path / "grid.npz"))
    with pytest.raises(NetworkFileError, match=r"grid.npz: its labels are label0, label1, label2"):
        write_page(renamed, page, name="n", grid=grid)
    assert not page.exists()


def test_label_errors_say_where_the_training_spectra_lie_only_of_their_networks(
    tmp_path, networks, monkeypatch, capsys
):
    from payneflow.fitting import calibration

    networks.write(tmp_path / "n.npz")
    training = np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))

    def read_label_errors(path):
        return type("Errors", (), {"networks": path.split("/")[-1], "training": training})

    monkeypatch.setattr(calibration, "read_label_errors", read_label_errors)
    command = ["explore", str(tmp_path / "n.npz"), "--output", str(tmp_path / "page.html"), "--label-errors"]
    assert cli.main([*command, str(tmp_path / networks.digest)]) == 0
    assert "Where the training spectra lie is not known" not in capsys.readouterr().out
    assert unpacked(facts_in(tmp_path / "page.html")["training"]["scaled"]) == pytest.approx(training, abs=1e-7)
    assert cli.main([*command, str(tmp_path / "others")]) == 2
    assert "others: those of other networks than" in capsys.readouterr().err
    assert cli.main(command[:-1]) == 0
    assert "Where the training spectra lie is not known" in capsys.readouterr().out


def test_networks_that_hold_all_their_training_labels_say_where_these_lie(tmp_path, networks):
    labels = np.random.default_rng(0).uniform(networks.x_min, networks.x_max, (50, 3))
    known = replace(networks, hull=labels, split=Split("alternate", np.arange(100) % 2 == 0))
    write_page(known, tmp_path / "page.html", name="n")
    found = unpacked(facts_in(tmp_path / "page.html")["training"]["scaled"])
    assert found == pytest.approx(networks.scaler.scale(labels), abs=1e-7)
    some = replace(known, hull=labels[:20])  # corners of the hull alone: the nearest training spectrum is unknown
    write_page(some, tmp_path / "page.html", name="n")
    assert facts_in(tmp_path / "page.html")["training"] is None


def test_pixels_too_far_apart_are_not_moved(tmp_path, networks):
    assert moves_of(networks)["problem"] == "" and "firsts" not in moves_of(networks)
    assert "firsts" in moves_of(networks_of("uneven", tmp_path))
    assert moves_of(random_networks(60))["problem"] == "the pixels are too far apart for their lines"
    write_page(networks.of_pixels(slice(0, 1)), tmp_path / "page.html", name="one pixel")
    assert facts_in(tmp_path / "page.html")["moves"] == {"segments": [[0, 1]], "problem": "there is one pixel"}


def test_a_spectrum_of_many_is_in_the_page_as_far_as_there_is_room(tmp_path, networks, monkeypatch):
    from payneflow.explore import facts, stars

    monkeypatch.setattr(facts, "MOST_POINTS", 300 * 10)
    monkeypatch.setattr(facts, "MOST_LABELS", 4 * 3 * 15)
    monkeypatch.setattr(stars, "MOST_BYTES", 13 * 300 * 2)
    grid = networks.read_grid(write_grid(networks, tmp_path / "grid.npz"))
    labels = np.tile(networks.x_min, (3, 1))
    many = write_stars(networks, tmp_path / "stars.npz", labels, 0.0)
    page = write_page(networks, tmp_path / "page.html", name="n", grid=grid, best_fits=many)
    assert page.notes == (
        "Labels are compared with those of 15 of 20 training spectra.",
        "Points of a pixel are those of 10 of 40 spectra, evenly chosen.",
        "Of 3 observed spectra the first 2 are in this page.",
    )
    assert [len(kind["entries"]) for kind in facts_in(tmp_path / "page.html")["stars"]] == [2, 2]


def test_little_endian_numbers_are_packed_as_they_are():
    assert packed(np.array([1.5, -2.0], dtype=">f4")) == packed(np.array([1.5, -2.0], dtype="<f4"))
    assert unpacked(packed(np.arange(6).reshape(2, 3).astype(np.int32))).tolist() == [[0, 1, 2], [3, 4, 5]]
