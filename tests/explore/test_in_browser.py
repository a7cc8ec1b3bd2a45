"""The page in a browser: what it plots is what `predict` says, whatever the networks, and it says what it is worth."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from explore.browser import ARROW_RIGHT
from explore.made import networks_of, write_grid, write_record_of, write_stars
from payneflow.explore.write import write_page
from payneflow.fitting import FitSettings
from payneflow.fitting.model import SpectralModel

SPECTRUM, RESIDUAL, SLOPE = range(3)  # the plots
KEPT, LEFT_OUT, OBSERVED, FIT, NETWORKS = range(3, 8)  # lines of the first plot
VERMILION, TOLERANCE = np.array([213, 94, 0]) / 255, 1e-3
BROAD = {"vsini": 14.0, "vmac": 5.0}


def plotted(browser, plot, line):
    """Wavelength and values of a line, as they are plotted; without the points of nothing in gaps."""
    x, y = browser.run(
        "const {data} = payneflow.panels.charts[arguments[0]]; return [data[0], data[arguments[1]]]", plot, line
    )
    values = np.array([np.nan if value is None else value for value in y])
    return np.array(x), values


def spectrum_in(browser, networks, plot=SPECTRUM, line=NETWORKS):
    """Values (n_pixel,) of a line at the pixels of the networks."""
    x, values = plotted(browser, plot, line)
    return values[np.searchsorted(x, networks.wavelength)]


def put(browser, name, value):
    """Type a number into the box of a label or a movement."""
    _set(browser, f"{name}-value", repr(float(value)), "input")
    drawn(browser)


def drawn(browser):
    browser.wait("!payneflow.isWaiting")


def choose(browser, menu, value):
    _set(browser, menu, value, "change")


def _set(browser, name, value, event):
    script = "const one = document.getElementById(arguments[0]); one.value = arguments[1];"
    browser.run(f"{script} one.dispatchEvent(new Event(arguments[2]))", name, value, event)


def values_in(browser):
    return np.array(browser.run("return payneflow.values"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return networks_of("logistic", tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def page(tmp_path_factory, networks):
    """A page with all that there can be in one."""
    directory = tmp_path_factory.mktemp("page")
    stars = write_stars(networks, directory / "stars.npz", _labels(networks, [[0.3, 0.4, 0.5], [0.6, 0.5, 0.2]]), 0.0)
    grid = networks.read_grid(write_grid(networks, directory / "grid.npz"))
    record = write_record_of(networks, directory / "record.ecsv")
    write_page(networks, directory / "page.html", name="networks.npz", grid=grid, record=record, best_fits=stars)
    return directory / "page.html"


def _labels(networks, share):
    return networks.x_min + np.array(share) * (networks.x_max - networks.x_min)


@pytest.mark.parametrize("kind", ["logistic", "linear", "uneven", "whole"])
def test_what_is_plotted_is_what_predict_says(browser, tmp_path, kind):
    networks = networks_of(kind, tmp_path)
    write_page(networks, tmp_path / "page.html", name=kind)
    browser.open(tmp_path / "page.html")
    before = spectrum_in(browser, networks)
    browser.press("#label-0", 40 * ARROW_RIGHT)  # the slider, by the keyboard
    drawn(browser)
    labels, width = values_in(browser), networks.x_max - networks.x_min
    moved = (labels - networks.x_min) / width - 0.5
    assert moved == pytest.approx([0.048, *np.zeros(len(labels) - 1)]), "a step is a thousandth of the slider"
    after = spectrum_in(browser, networks)
    assert np.abs(after - before).max() > 3 * TOLERANCE, "the slider moves the spectrum"
    assert after == pytest.approx(networks.predict(labels), abs=TOLERANCE)
    for j, share in enumerate((0.9, 0.05, 0.3)[: len(labels)]):
        put(browser, f"label-{j}", networks.x_min[j] + share * (networks.x_max[j] - networks.x_min[j]))
    labels = values_in(browser)
    assert spectrum_in(browser, networks) == pytest.approx(networks.predict(labels), abs=TOLERANCE)
    choose(browser, "slope-label", "1")
    step = browser.run("return payneflow.step")
    slopes = networks.jacobian_scaled(networks.scaler.scale(labels))[1][:, 1] / networks.scaler.width[1]
    assert spectrum_in(browser, networks, SLOPE, 2) == pytest.approx(step * slopes, abs=TOLERANCE)
    assert browser.said() == []


@pytest.mark.parametrize("kind", ["logistic", "uneven"])
def test_velocity_and_broadening_are_those_of_fits(browser, tmp_path, kind):
    networks = networks_of(kind, tmp_path)
    write_page(networks, tmp_path / "page.html", name=kind)
    browser.open(tmp_path / "page.html")
    still = SpectralModel(networks, FitSettings(vsini=True, vmac=True, max_vsini=20.0, max_vmac=6.0))
    moved = SpectralModel(networks, FitSettings(velocity=True, max_velocity=60.0))
    labels = values_in(browser)
    put(browser, "velocity", 47.5)
    _compare(browser, networks, moved.predict(labels, 47.5))
    put(browser, "velocity", 0.0)
    for name, width in BROAD.items():
        put(browser, name, width)
    _compare(browser, networks, still.predict(labels, broadening=BROAD))
    blurred = FitSettings(resolution=15000.0, grid_resolution=22500.0)
    for name in BROAD:
        put(browser, name, 0.0)
    put(browser, "fwhm", 299792.458 * np.sqrt(15000.0**-2 - 22500.0**-2))
    _compare(browser, networks, SpectralModel(networks, blurred).predict(labels))
    assert browser.said() == []


def _compare(browser, networks, expected):
    found = spectrum_in(browser, networks)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 0.5 * len(found) and np.isnan(found).any(), "what moves loses the ends of segments"
    assert found[both] == pytest.approx(expected[both], abs=TOLERANCE)


def test_networks_of_any_flux_and_pixels_without_one(browser, tmp_path, networks):
    from payneflow.scaling import FluxScale

    weights = {key: getattr(networks, key).copy() for key in ("w_array_0", "b_array_0", "w_array_1", "b_array_1")}
    for array in weights.values():
        array[20] = np.nan
    other = replace(
        networks, **weights, flux_scale=FluxScale(-50.0, 250.0), label_names=("vsini", "</script>'\"&", "[α/Fe]")
    )
    write_page(other, tmp_path / "page.html", name="</title><script>alert(1)</script>")
    browser.open(tmp_path / "page.html")
    found, expected = spectrum_in(browser, other), other.predict(values_in(browser))
    assert np.flatnonzero(np.isnan(found)).tolist() == [20]
    assert found == pytest.approx(expected, abs=300 * TOLERANCE, nan_ok=True)
    assert browser.run("return document.getElementById('name').textContent") == "</title><script>alert(1)</script>"
    names = browser.run("return [...document.querySelectorAll('#slope-label option')].map((one) => one.textContent)")
    assert tuple(names) == other.label_names
    assert browser.run("return Object.keys(payneflow.moves)") == ["velocity", "vmac", "fwhm"], "vsini is a label"
    assert browser.said() == []


def test_a_spectrum_stands_beside_the_networks(browser, page, networks):
    browser.open(page)
    put(browser, "vsini", 20.0)
    choose(browser, "star", "0 1")
    labels = _labels(networks, [0.6, 0.5, 0.2])
    assert values_in(browser) == pytest.approx(labels) and browser.run("return payneflow.widths.vsini") == 0
    flux, residual = spectrum_in(browser, networks, line=OBSERVED), spectrum_in(browser, networks, RESIDUAL, 4)
    left_out = np.zeros(len(flux), dtype=bool)
    left_out[10:13] = True
    assert (np.isnan(flux) == left_out).all() and (
        np.isnan(spectrum_in(browser, networks, line=LEFT_OUT)) != left_out
    ).all()
    assert flux[~left_out] == pytest.approx(networks.predict(labels)[~left_out] + 0.01, abs=1e-6)
    assert residual[~left_out] == pytest.approx(0.01, abs=TOLERANCE)
    assert spectrum_in(browser, networks, RESIDUAL, 2)[~left_out] == pytest.approx(0.02), "sigma, over the continuum"
    assert (spectrum_in(browser, networks, RESIDUAL, 3) == 0.0).all(), "the line of zero"
    assert "flags: LOW_SNR" in browser.run("return document.getElementById('star-said').textContent")
    put(browser, "label-0", networks.x_min[0])
    assert np.nanmax(np.abs(spectrum_in(browser, networks, RESIDUAL, 4))) > 0.03
    browser.click("#to-fit")
    assert values_in(browser) == pytest.approx(labels)
    choose(browser, "star", "1 3")
    assert spectrum_in(browser, networks, RESIDUAL, 4) == pytest.approx(0.0, abs=0.006), (
        "a test spectrum, at its labels"
    )
    choose(browser, "star", "")
    assert np.isnan(spectrum_in(browser, networks, line=OBSERVED)).all()
    assert browser.said() == []


def test_a_star_on_other_wavelengths_that_moves_is_compared_on_its_own(browser, tmp_path, networks):
    own = networks.wavelength
    wavelength = (0.4 * own[1:] + 0.6 * own[:-1])[np.diff(own) < 1.0]
    labels = _labels(networks, [[0.3, 0.4, 0.5]])
    stars = write_stars(networks, tmp_path / "stars.npz", labels, -38.0, wavelength)
    write_page(networks, tmp_path / "page.html", name="n", best_fits=stars)
    browser.open(tmp_path / "page.html")
    choose(browser, "star", "0 0")
    assert browser.run("return payneflow.velocity") == -38.0
    x, residual = plotted(browser, RESIDUAL, 4)
    there = np.isfinite(residual)
    assert set(wavelength) <= set(x) and there.sum() > 0.3 * len(wavelength)
    assert residual[there] == pytest.approx(0.01, abs=TOLERANCE)
    put(browser, "velocity", 0.0)
    assert np.nanmax(np.abs(plotted(browser, RESIDUAL, 4)[1])) > 0.03
    assert browser.said() == []


def test_labels_outside_the_training_spectra_are_said_to_be(browser, page, networks):
    browser.open(page)
    assert browser.run("return payneflow.verdict.verdict") == "inside"
    low, high = _labels(networks, [[0.05] * 3, [0.95] * 3])
    put(browser, "label-0", low[0])
    put(browser, "label-1", high[1])
    _wait_for_verdict(browser)
    found = browser.run("return payneflow.verdict")
    assert found["verdict"] == "outside" and found["beyond"] == [] and set(found["outward"]) == {0, 1}
    assert 0.5 < found["distance"] < 0.64, "from the strip |share 1 - share 0| < 0.1, in ranges: 0.8 / sqrt(2)"
    assert _said(browser).startswith("Outside the training spectra: the networks extrapolate")
    assert "mostly in label0, label1" in _said(browser)
    put(browser, "label-0", _labels(networks, [0.5] * 3)[0])
    put(browser, "label-1", _labels(networks, [0.5] * 3)[1])
    put(browser, "label-2", networks.x_max[2] + 1.0)
    _wait_for_verdict(browser)
    assert "Beyond the range of the training spectra: label2." in _said(browser)
    rows = browser.run("return payneflow.controls.map((one) => one.row.classList.contains('out'))")
    beyond = browser.run("return payneflow.controls.map((one) => one.row.classList.contains('beyond'))")
    assert rows == beyond == [False, False, True] and browser.said() == []


def _said(browser):
    return browser.run("return document.getElementById('verdict').textContent.trim()")


def _wait_for_verdict(browser):
    browser.run("payneflow.verdict = null; payneflow.update()")
    browser.wait("payneflow.verdict")


def test_a_pixel_that_is_clicked_shows_what_is_known_of_it(browser, page, networks):
    browser.open(page)
    browser.click("#spectrum .u-over")
    browser.wait("!document.getElementById('pixel').hidden")
    pixel = browser.run("return payneflow.pixel")
    low, high = browser.run("return payneflow.panels.range()")
    middle = 0.5 * (low + high)
    assert abs(networks.wavelength[pixel] - middle) == np.abs(networks.wavelength - middle).min()
    shown = browser.run("return document.getElementById('pixel').innerText")
    assert f"Pixel {pixel} at {networks.wavelength[pixel]:.3f} Å" in shown
    assert "converged" in shown and f"loops\n{pixel}" in shown and "0.001" in shown
    points = browser.run("return payneflow.panel.spectraAt(arguments[0], 1)", pixel)
    labels, flux, trains = map(np.array, zip(*points, strict=True))
    stored = np.load(page.parent / "grid.npz")
    assert labels == pytest.approx(stored["labels_array"][1]) and (trains == (np.arange(40) % 2 == 0)).all()
    column = stored["Y_u_all"][:, pixel]
    assert flux == pytest.approx(column, abs=np.ptp(column) / 500)
    browser.click("#strongest button")
    drawn(browser)
    strongest = browser.run("return payneflow.pixel")
    assert strongest == np.abs(spectrum_in(browser, networks, SLOPE, 2)).argmax()
    assert browser.said() == []


def test_the_plots_zoom_and_pan_together(browser, page):
    browser.open(page)
    whole = browser.run("return payneflow.panels.range()")
    browser.click("#tools button[title='zoom in']")
    browser.press("#residual .u-over", "+")
    near = browser.run("return payneflow.panels.range()")
    assert near[1] - near[0] == pytest.approx(0.35 * (whole[1] - whole[0]))
    browser.press("#slope .u-over", ARROW_RIGHT)
    moved = browser.run("return payneflow.panels.charts.map((one) => [one.scales.x.min, one.scales.x.max])")
    assert moved[0] == moved[1] == moved[2] and moved[0][0] == pytest.approx(near[0] + 0.2 * (near[1] - near[0]))
    browser.run("document.querySelector('#spectrum .u-over').dispatchEvent(new MouseEvent('dblclick'))")
    browser.wait("payneflow.panels.range()[0] === payneflow.panels.low")
    assert browser.run("return payneflow.panels.range()") == whole and browser.said() == []


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["screen", "phone"])
def test_all_is_drawn_on_a_screen_and_on_a_phone(browser, page, tmp_path, size):
    browser.resize(*size)
    browser.open(page)
    browser.wait("payneflow.panels.charts[0].width === document.getElementById('spectrum').clientWidth")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0], "nothing is to the right of the page"
    place = browser.run(
        "const one = document.getElementById('spectrum').getBoundingClientRect();"
        "return [one.x, one.y, one.width, one.height]"
    )
    left, top, width, height = map(round, place)
    browser.picture(tmp_path / "page.png")
    seen = imread(tmp_path / "page.png")[top : top + height, left : left + width, :3]
    is_model = np.abs(seen - VERMILION).max(axis=2) < 0.1
    drawn_at = np.flatnonzero(is_model.any(axis=0)) / width
    assert width > 0.55 * size[0] and drawn_at.min() < 0.3 and drawn_at.max() > 0.9, "the curve goes from left to right"
    sliders = browser.run("return [...document.querySelectorAll('input')].every((one) => one.ariaLabel)")
    assert sliders and browser.said() == []
    browser.resize(1280, 800)
