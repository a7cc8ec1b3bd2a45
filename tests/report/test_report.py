"""The page of the report: whole, in a browser, of any names, and refused where it could not be true."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from conftest import ROOT
from jinja2 import UndefinedError
from matplotlib.image import imread

from payneflow import cli, read_networks
from payneflow.fitting import read_results
from payneflow.report.facts import read_facts
from payneflow.report.write import report_text, write_report
from payneflow.run.changed import changed_settings
from payneflow.run.config import Config, check_config, read_settings, values_of
from payneflow.run.contents import facts_of
from report.made import FIGURES, NAMES, ODD

LOADED = "document.readyState === 'complete'"
RED_INK = np.array([0xB0, 0x00, 0x20]) / 255


@pytest.fixture
def copy(results, tmp_path):
    """A copy of the results of a good run, to be changed."""
    return shutil.copytree(results, tmp_path / "results")


@pytest.fixture(scope="module")
def page(good, tmp_path_factory):
    path = tmp_path_factory.mktemp("page é") / "report.html"
    write_report(good, path, changed_settings(check_config({**values_of(Config()), "seed": 7})))
    return path


class _Texts(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


# ------------------------------------------------------------------------------------------------------- in a browser


def overall_in(browser):
    return browser.run("return document.querySelector('.overall').textContent").strip()


@pytest.mark.parametrize("size", [(1280, 900), (390, 800)])
def test_the_page_opens_without_a_word_in_the_console_in_any_window(browser, page, size):
    browser.resize(*size)
    browser.open(page, LOADED)
    assert browser.said() == []
    wide = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], "nothing sticks out"
    shown = browser.run("return [...document.images].map(one => one.complete && one.naturalWidth > 300)")
    assert shown == [True] * len(FIGURES)
    assert (
        browser.run("return document.querySelector('.overall').textContent").strip() == "Good. All 10 checks are good."
    )
    assert (
        browser.run("return performance.getEntriesByType('resource').filter(one => !/^data:/.test(one.name)).length")
        == 0
    )


def test_names_of_any_signs_are_shown_as_they_are(browser, page):
    browser.open(page, LOADED)
    shown = browser.run("return [...document.querySelectorAll('tbody td:first-child')].map(one => one.textContent)")
    assert shown[: len(NAMES)] == list(NAMES)
    assert ODD not in page.read_text() and "&lt;[Fe/H]&gt;&amp;&#34;" in page.read_text()


def test_a_bad_run_looks_bad(browser, copy, tmp_path):
    record = copy / "training_record.ecsv"
    bad = re.sub(r"\bconverged\b(?=[^:]*$)", "stalled", record.read_text(), flags=re.MULTILINE)
    record.write_text(re.sub("# # SHA-256.*\n", "", bad))
    write_report(read_facts(copy), tmp_path / "bad.html")
    browser.resize(1280, 900)
    browser.open(tmp_path / "bad.html", LOADED)
    assert overall_in(browser) == "Bad. Bad: Training."
    browser.picture(tmp_path / "bad.png")
    shown = np.asarray(imread(tmp_path / "bad.png"))[:, :, :3]
    assert (np.abs(shown - RED_INK).max(axis=2) < 0.02).sum() > 100
    assert browser.said() == []


# ------------------------------------------------------------------------------------------------------------ the file


def test_the_page_is_one_file_that_asks_for_nothing_outside(page):
    text = page.read_text()
    tags = _Texts(text).tags
    outside = [
        attrs for tag, attrs in tags for key in ("src", "href") if not attrs.get(key, "data:").startswith("data:")
    ]
    assert outside == [] and "http" not in re.sub(r"http-equiv|data:[^\"]*", "", text)
    assert "<script" not in text


def test_the_page_says_what_it_was_made_of_and_whether_it_is_whole(results, page, tmp_path):
    said = facts_of(page, page.name, thorough=True)
    assert said == {
        "problem": "",
        "networks": read_networks(results / "neural_network.npz").digest,
        "grid": facts_of(results / "neural_network.npz", "neural_network.npz", True)["grid"],
        "label_errors": facts_of(results / "label_errors.npz", "label_errors.npz", True)["digest"],
        "fits": facts_of(results / "fits.ecsv", "fits.ecsv", True)["digest"],
    }
    (tmp_path / "report.html").write_bytes(page.read_bytes()[:-100])
    assert "not a whole page" in facts_of(tmp_path / "report.html", "report.html", True)["problem"]


def test_the_same_results_make_the_same_page(good, results, tmp_path):
    for name in ("one", "two"):
        write_report(read_facts(results), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_tables_hold_what_was_measured(good, page):
    text = " ".join(" ".join(_Texts(page.read_text()).texts).split())
    table = read_results(good.directory / "fits.ecsv")
    error = np.asarray(table["Teff"] - table["Teff_true"])
    assert f"Teff K {np.median(error):.2g} " in text
    assert "160: 80 train (0, 2, 4, ...), 80 test (1, 3, 5, ...)" in text
    assert "80 of the test set, with noise of S/N 100" in text and "300 pixels have one, trainer lm, seed 0" in text
    assert "seed 7 0 whole number from 0; the same seed gives the same networks, to the bit" in text


# ----------------------------------------------------------------------------------------------------- by the command


def test_the_command_writes_the_page_beside_the_results_and_says_each_verdict(copy, tmp_path, capsys):
    config = {**yaml.safe_load((ROOT / "config.yaml").read_text()), "chunk_size": 6, "grid": "a grid's <b>.npz"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (copy / "explore.html").write_text("")
    options = ["pixels=::2", "fit={velocity: true}", "--config", str(tmp_path / "mine.yaml")]
    assert cli.main(["report", str(copy), *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 11 and said[-1] == "Good. All 10 checks are good." and said[0].startswith("good       Grid: ")
    page = (copy / "report.html").read_text()
    rows = re.findall(r"<tr><td><code>(.*?)</code></td><td>(.*?)</td><td>(.*?)</td>", page)
    assert rows == [
        ("grid", "a grid&#39;s &lt;b&gt;.npz", "resources/hband_grid.npz"),
        ("pixels", "::2", "::"),
        ("chunk_size", "6", "auto"),
        ("fit.velocity", "True", "False"),
    ]
    assert '<a href="explore.html">' in page
    assert cli.main(["report", str(copy), "--output", str(tmp_path / "other.html")]) == 0
    assert "Not known: payneflow report takes them from" in (tmp_path / "other.html").read_text()
    assert cli.main(["report", str(copy), "--output", str(copy / "fits.ecsv")]) == 2


def test_default_settings_are_none(tmp_path):
    assert changed_settings(read_settings(ROOT / "config.yaml")) == []


def test_results_that_are_not_there_are_said(copy, tmp_path, capsys):
    for name in ("evaluation.npz", "label_errors.npz", "training_record.ecsv", "grid_summary.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "figures")
    assert cli.main(["report", str(copy)]) == 0
    assert "Not known. Nothing bad was found, but not all can be known." in capsys.readouterr().out
    page = (copy / "report.html").read_text()
    assert "There are none among the results" in page and "<img" not in page
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", str(tmp_path / "empty")]) == 2
    assert "expected the results of a run" in capsys.readouterr().err
    assert not (tmp_path / "empty/report.html").exists()


@pytest.mark.parametrize(
    "name", ["evaluation.npz", "label_errors.npz", "fits.ecsv", "neural_network.npz", "grid_summary.json"]
)
def test_results_that_are_damaged_are_refused_by_name(copy, capsys, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert cli.main(["report", str(copy)]) == 2
    assert f"{copy / name}: " in capsys.readouterr().err and not (copy / "report.html").exists()


def test_results_of_other_networks_than_those_beside_them_are_refused(copy, capsys):
    networks = read_networks(copy / "neural_network.npz")
    networks.b_array_1[0] += 1e-6
    networks.write(copy / "neural_network.npz")
    assert cli.main(["report", str(copy)]) == 2
    said = capsys.readouterr().err
    assert "label_errors.npz: made with other networks than neural_network.npz beside it has" in said


def test_a_report_that_fails_leaves_the_old_one(good, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("old")
    with pytest.raises(UndefinedError):
        write_report(good, page, settings=[object()])
    assert page.read_text() == "old" and list(tmp_path.iterdir()) == [page]


def test_the_text_of_a_report_ends_with_the_verdict_on_the_whole(good, tmp_path):
    lines = report_text(write_report(good, tmp_path / "r.html")).splitlines()
    assert len(lines) == 11 and lines[-1].startswith("Good. ")
