"""The figures say what the numbers say: counts, biases, gaps; and none breaks on one pixel, equal values or NaN."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table

from payneflow.errors import PayneflowError
from payneflow.figures import FIGURES, plot
from payneflow.figures.fitting_results import bias_and_width, bias_and_width_text, draw_fitting_results
from payneflow.figures.flux_deviation import draw_flux_deviation
from payneflow.figures.flux_prediction import draw_flux_prediction
from payneflow.figures.numbers import MINUS
from payneflow.figures.spectrum_axes import broken_at_gaps, is_finely_sampled, panel_edges
from payneflow.figures.style import COLUMN, DPI, PAGE
from payneflow.figures.training_summary import draw_training_summary, share

FLAGS = {"NOT_CONVERGED": 1, "AT_BOUND": 2, "FAILED": 4}
UNITS = {"Teff": "K", "logg": "dex", "[Fe/H]": "dex"}


def chips(step=1):
    """Wavelengths of an H-band spectrograph (n_pixel,) in Angstrom: three chips with gaps of 85 A between."""
    edges = ((15168.1, 15792.3), (15881.4, 16416.5), (16499.6, 16936.8))
    return np.concatenate([np.arange(first, last, 0.7) for first, last in edges])[::step]


def two_panels():
    """Wavelengths (60,) in the first and last of eight panels, the only ones then drawn, because panels take time."""
    return np.concatenate([chips()[:30], chips()[270:300]])


def absorption(wavelength):
    """Flux (n_pixel,) with a line every 20 A, 3 A wide."""
    return 1.0 - 0.3 * np.exp(-0.5 * ((wavelength % 20 - 10) / 1.5) ** 2)


def evaluation_of(wavelength, error=1e-3):
    """What evaluation.npz holds, with normal errors of the prediction."""
    random = np.random.default_rng(1)
    n_pixel = len(wavelength)
    flux = absorption(wavelength)
    size = error * np.exp(random.normal(0, 0.5, n_pixel))
    return {
        "wavelength": wavelength,
        "label_names": np.array(list(UNITS)),
        "label_units": np.array(list(UNITS.values())),
        "median_deviation_test": size,
        "median_deviation_training": 0.6 * size,
        **{f"{what}_{part}": 4 * size for what in ("rms", "largest") for part in ("test", "training")},
        "example_spectrum": np.array(131),
        "example_labels": np.array([5621.4, 3.487, -0.0162]),
        "example_flux": flux,
        "example_prediction": flux + random.normal(0, 1, n_pixel) * size,
    }


def fits_of(n_label=3, n_spectrum=80):
    """What fits.ecsv holds: row 5 not converged, rows 10 and 20 at a bound, rows 40 and 41 failed."""
    random = np.random.default_rng(2)
    names = ["Teff", "logg", "[Fe/H]", *(f"[X{i}/Fe]" for i in range(22))][:n_label]
    flags = np.zeros(n_spectrum, dtype=int)
    for row, flag in {5: 1, 10: 2, 20: 2, 40: 4, 41: 5}.items():
        if row < n_spectrum:
            flags[row] = flag
    table = Table({"spectrum": 2 * np.arange(n_spectrum) + 1})
    for name in names:
        true = random.uniform(3500, 7000, n_spectrum) if name == "Teff" else random.uniform(-1, 1, n_spectrum)
        width = 6.0 if name == "Teff" else 0.01
        fitted = np.where(flags & 4, np.nan, true + width * random.normal(0.3, 1, n_spectrum))
        error = np.where(flags & 4, np.nan, width)
        for ending, values in (("", fitted), ("_error", error), ("_true", true)):
            table[name + ending] = values
            table[name + ending].unit = UNITS.get(name, "dex")
    table["SNR"], table["chi2"], table["dof"], table["flags"] = 100.0, 100.0, 100, flags
    table["covariance"] = np.zeros((n_spectrum, n_label, n_label))
    table.meta = {"label_names": names, "flags": FLAGS}
    return table


def best_fits_of(wavelength, identifiers=("a", "b", "12"), velocity=True):
    """What a file of best-fit spectra holds: pixels 3 and 4 take no part; star 1 is flagged, star 2 failed."""
    random = np.random.default_rng(4)
    n, n_pixel = len(identifiers), len(wavelength)
    used = np.ones((n, n_pixel), dtype=bool)
    used[:, 3:5], used[2:] = False, False
    results = {
        "labels": np.tile([5621.4, 3.487, -0.0162], (n, 1)),
        "label_errors": np.tile([12.3, 0.0456, 0.0], (n, 1)),
        "SNR": np.full(n, 100.0),
        "chi2": used.sum(axis=1) * 1.04,
    }
    if velocity:
        results |= {"RV": np.full(n, -45.123), "RV_error": np.full(n, 0.05)}
    for values in results.values():
        values[2:] = np.nan
    return results | {
        "wavelength": wavelength,
        "identifier": np.array(identifiers),
        "flux": absorption(wavelength) + 0.01 * random.normal(size=(n, n_pixel)),
        "model": np.where(used, absorption(wavelength), np.nan),
        "continuum": np.where(used, 1.0, np.nan),
        "sigma": np.where(used, 0.01, np.nan),
        "used": used,
        "dof": used.sum(axis=1),
        "flags": np.array([0, 3, 4])[:n],
        "errors": np.array("calibrated"),
        "label_names": np.array(list(UNITS)),
        "label_units": np.array(list(UNITS.values())),
        "flag_names": np.array(list(FLAGS)),
        "flag_bits": np.array(list(FLAGS.values())),
    }


def record_of(wavelength, ends=("converged", "converged", "max_loops", "step_too_small")):
    """What training_record.ecsv holds, the ends in turn; a failed pixel has no deviation."""
    random = np.random.default_rng(3)
    end = np.array(list(itertools.islice(itertools.cycle(ends), len(wavelength))))
    deviation = np.where(end == "converged", 0.002, 0.008) * random.uniform(0.8, 1.2, len(wavelength))
    deviation[end == "failed"] = np.nan
    n_pixel = len(wavelength)
    columns = {
        "pixel": np.arange(n_pixel),
        "wavelength": wavelength,
        "chunk": np.full(n_pixel, "0000"),
        "trainer": np.full(n_pixel, "sgd"),
        "restarts": np.zeros(n_pixel, dtype=int),
        "loops": random.integers(0, 101, n_pixel),
        "step_size": np.full(n_pixel, 0.05),
        "deviation": deviation,
        "deviation_test": 1.3 * deviation,
        "median_deviation_test": 0.1 * deviation,
        "end": end,
        "seconds": np.ones(n_pixel),
    }
    table = Table(columns, meta={"trunc_diff": 0.003, "settings": {"eta": 0.1}})
    table["wavelength"].unit = "Angstrom"
    return table


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """For each figure, a file of the right ending that it can be drawn from."""
    directory = tmp_path_factory.mktemp("inputs")
    archives = ("flux_prediction", "flux_deviation", "best_fit")
    paths = {name: directory / f"{name}.{'npz' if name in archives else 'ecsv'}" for name in FIGURES}
    for name in ("flux_prediction", "flux_deviation"):
        np.savez(paths[name], **evaluation_of(two_panels()))
    np.savez(paths["best_fit"], **best_fits_of(two_panels()))
    for name in ("fitting_results", "fit_overview"):
        fits_of().write(paths[name], format="ascii.ecsv")
    record_of(chips(8)).write(paths["training_summary"], format="ascii.ecsv")
    return paths


@pytest.fixture(scope="module")
def prediction():
    """The flux_prediction of the whole H band, to be looked at only."""
    return draw_prediction(evaluation_of(chips()))


@pytest.fixture(scope="module")
def fits():
    """The fits that `fits_figure` shows, to be looked at only."""
    return fits_of()


@pytest.fixture(scope="module")
def fits_figure(fits):
    return draw_fitting_results(fits)


def draw_prediction(evaluation):
    keys = ("wavelength", "example_flux", "example_prediction")
    names = {"label_names": list(evaluation["label_names"]), "label_units": list(evaluation["label_units"])}
    labels = evaluation["example_labels"]
    return draw_flux_prediction(*(evaluation[key] for key in keys), labels=labels, spectrum=131, **names)


def texts_of(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for text in (*figure.texts, *(t for legend in legends for t in legend.get_texts()))]


def png_size(path):
    """Width and height in dots, from the header of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


# ------------------------------------------------------------------------------------------------------------ files


def test_the_names_of_the_figures_cost_no_slow_import():
    program = "import sys, payneflow.figures; sys.exit(any(name in sys.modules for name in ('matplotlib', 'astropy')))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_written_as_an_image_of_journal_width(name, inputs, tmp_path):
    output = tmp_path / "figures" / f"{name}.png"
    plot(name, inputs[name], output)
    width, height = png_size(output)
    assert width == round((COLUMN if name == "flux_deviation" else PAGE) * DPI)
    assert 500 <= height <= 10 * DPI
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_the_ending_chooses_the_format_and_an_unknown_one_is_refused(inputs, tmp_path):
    evaluation = inputs["flux_deviation"]
    plot("flux_deviation", evaluation, tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(PayneflowError, match=r"figure\.xyz: no such image format; .*\.pdf.*\.png"):
        plot("flux_deviation", evaluation, tmp_path / "figure.xyz")
    assert not (tmp_path / "figure.xyz").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_a_missing_or_truncated_input_is_named(name, inputs, tmp_path):
    path = tmp_path / inputs[name].name
    shutil.copy(inputs[name], path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(PayneflowError, match=path.name):
        plot(name, path, tmp_path / "figure.png")
    path.unlink()
    with pytest.raises(PayneflowError, match=f"{path.name}: no such file"):
        plot(name, path, tmp_path / "figure.png")


def test_a_missing_key_or_column_is_named(tmp_path):
    np.savez(tmp_path / "evaluation.npz", wavelength=chips())
    with pytest.raises(
        PayneflowError, match="no label_names, .*median_deviation_training, median_deviation_test.*payneflow evaluate"
    ):
        plot("flux_deviation", tmp_path / "evaluation.npz", tmp_path / "figure.png")
    record = record_of(chips(8))
    del record["end"]
    record.write(tmp_path / "record.ecsv", format="ascii.ecsv")
    with pytest.raises(PayneflowError, match="no column end"):
        plot("training_summary", tmp_path / "record.ecsv", tmp_path / "figure.png")


def test_fits_of_observed_spectra_have_no_truth_to_be_compared_with(tmp_path):
    fits = fits_of()
    del fits["logg_true"]
    fits.write(tmp_path / "fits.ecsv", format="ascii.ecsv")
    with pytest.raises(PayneflowError, match="no column logg_true: the true labels of these spectra are not known"):
        plot("fitting_results", tmp_path / "fits.ecsv", tmp_path / "figure.png")


def test_a_table_without_rows_is_refused(tmp_path):
    record_of(chips(8))[:0].write(tmp_path / "record.ecsv", format="ascii.ecsv")
    with pytest.raises(PayneflowError, match="no rows"):
        plot("training_summary", tmp_path / "record.ecsv", tmp_path / "figure.png")


# -------------------------------------------------------------------------------------------------- flux_prediction


def test_panels_of_the_h_band_are_25_nm_wide():
    np.testing.assert_allclose(panel_edges(chips()), 15000 + 250 * np.arange(9))


@pytest.mark.parametrize("wavelength", [np.array([15189.1]), np.array([3.0, 4.0]), np.linspace(0.37, 2.4, 500)])
def test_panels_cover_any_range(wavelength):
    edges = panel_edges(wavelength)
    assert len(edges) == 9
    assert edges[0] <= wavelength.min()
    assert wavelength.max() <= edges[-1]


def test_lines_are_broken_at_chip_gaps_and_only_there():
    wavelength = chips()
    broken, values = broken_at_gaps(wavelength, absorption(wavelength))
    gaps = broken[np.isnan(values)]
    assert len(gaps) == 2
    assert 15792 < gaps[0] < 15882
    assert 16416 < gaps[1] < 16500
    np.testing.assert_array_equal(broken[~np.isnan(values)], wavelength)


def test_eight_panels_each_with_a_spectrum_and_a_residual_and_no_line_across_a_gap(prediction):
    assert len(prediction.axes) == 16
    holding_gap = prediction.axes[2 * 3]
    assert holding_gap.get_xlim() == (15750, 16000)
    assert [line.get_linestyle() for line in holding_gap.lines] == ["-", "-"]
    for line in holding_gap.lines:
        assert np.isnan(line.get_ydata()).sum() == 1


def test_pixels_far_apart_are_points():
    evaluation = evaluation_of(chips(21))
    assert is_finely_sampled(chips(), absorption(chips()))
    assert not is_finely_sampled(evaluation["wavelength"], evaluation["example_flux"])
    for axes in draw_prediction(evaluation).axes[::2]:
        assert {line.get_linestyle() for line in axes.lines} == {"None"}


def test_the_headline_gives_spectrum_labels_and_rms(prediction):
    evaluation = evaluation_of(chips())
    text = " ".join(texts_of(prediction))
    rms = np.sqrt(np.mean((evaluation["example_prediction"] - evaluation["example_flux"]) ** 2))
    mantissa, exponent = f"{rms:.1e}".split("e")
    assert "Spectrum 131" in text
    assert "= 5621 K" in text
    assert "= 3.487 dex" in text
    assert f"[Fe/H] = {MINUS}0.016 dex" in text
    assert rf"rms ${mantissa}\times10^{{{int(exponent)}}}$" in text


def test_residuals_have_a_scale_of_their_own_and_mark_what_lies_beyond():
    evaluation = evaluation_of(chips())
    evaluation["example_prediction"][100] += 0.5
    figure = draw_prediction(evaluation)
    limits = {axes.get_ylim() for axes in figure.axes[1::2]}
    assert len(limits) == 1
    triangles = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "^"]
    assert evaluation["wavelength"][100] in np.concatenate([line.get_xdata() for line in triangles])


def test_panels_without_pixels_are_left_out():
    wavelength = chips()
    figure = draw_prediction(evaluation_of(wavelength[(wavelength < 15700) | (wavelength > 16600)]))
    assert len(figure.axes) == 2 * 5


@pytest.mark.parametrize("case", ["one pixel", "two pixels", "flat", "exact", "all failed", "one failed"])
def test_prediction_of_odd_spectra(case, tmp_path):
    wavelength = two_panels()[: {"one pixel": 1, "two pixels": 2}.get(case)]
    evaluation = evaluation_of(wavelength)
    if case == "flat":
        evaluation["example_flux"][:] = 1.0
    if case in ("flat", "exact"):
        evaluation["example_prediction"] = evaluation["example_flux"].copy()
    if case.endswith("failed"):
        evaluation["example_prediction"][0 if case == "one failed" else slice(None)] = np.nan
    figure = draw_prediction(evaluation)
    figure.savefig(tmp_path / "figure.png")
    missing = {"all failed": len(wavelength), "one failed": 1}.get(case)
    assert any(f"({missing} without a prediction)" in text for text in texts_of(figure)) == (missing is not None)


def test_many_labels_wrap_into_a_headline_that_stays_on_the_page():
    evaluation = evaluation_of(chips())
    evaluation["label_names"] = np.array([f"[X{i}/Fe]" for i in range(25)])
    evaluation["label_units"] = np.full(25, "dex")
    evaluation["example_labels"] = np.linspace(-1, 1, 25)
    figure = draw_prediction(evaluation)
    right = max(text.get_window_extent().x1 for text in figure.texts)
    assert right <= figure.bbox.x1


# --------------------------------------------------------------------------------------------------- flux_deviation


def test_deviation_counts_every_pixel_and_quotes_the_medians():
    random = np.random.default_rng(4)
    training, test = 3e-4 * np.exp(random.normal(size=500)), 5e-4 * np.exp(random.normal(size=500))
    axes = draw_flux_deviation(training, test).axes[0]
    assert axes.get_xscale() == "log"
    assert [patch.get_data().values.sum() for patch in axes.patches] == [500, 500, 500]
    for text, values in zip(axes.get_legend().get_texts(), (training, test), strict=True):
        assert f"{np.median(values):.1e}".split("e")[0] in text.get_text()
    assert axes.get_legend().get_title().get_text() == "500 pixels"


@pytest.mark.parametrize("values", [[1e-3], [1e-3] * 5, [0.0, 0.0], [np.nan, 1e-3], [np.nan], [1e-9, 0.5]])
def test_deviation_of_odd_values(values, tmp_path):
    figure = draw_flux_deviation(np.array(values), np.array(values))
    figure.savefig(tmp_path / "figure.png")
    title = figure.axes[0].get_legend().get_title().get_text()
    assert ("1 of them not trained" in title) == bool(np.isnan(values).any())


# -------------------------------------------------------------------------------------------------- fitting_results


def test_bias_and_width_are_numpys_over_every_fit_that_did_not_fail(fits, fits_figure):
    difference = (fits["Teff"] - fits["Teff_true"])[~np.isnan(fits["Teff"])]
    bias = np.median(difference)
    width = 1.4826 * np.median(np.abs(difference - bias))
    assert bias_and_width(np.asarray(difference)) == pytest.approx((bias, width))
    assert fits_figure.axes[0].get_title() == f"bias {bias:+.1f}, width {width:.1f} K"
    difference = (fits["logg"] - fits["logg_true"])[~np.isnan(fits["logg"])]
    bias = np.median(difference)
    width = 1.4826 * np.median(np.abs(difference - bias))
    assert 0.01 <= width < 0.1
    assert fits_figure.axes[2].get_title() == f"bias {bias:+.3f}, width {width:.3f} dex".replace("-0.000", "+0.000")


@pytest.mark.parametrize(
    ("bias", "width", "text"),
    [
        (-0.7123, 6.68, "bias −0.7, width 6.7 K"),
        (12.4, 143.0, "bias +12, width 143 K"),
        (-0.00001, 0.013, "bias +0.000, width 0.013 K"),
        (0.0, 0.0, "bias +0.0e+00, width 0.0e+00 K"),
        (2e-7, 3e-6, "bias +2.0e−07, width 3.0e−06 K"),
    ],
)
def test_the_bias_has_the_decimals_of_the_width(bias, width, text):
    assert bias_and_width_text(bias, width, "K") == text


def test_flagged_fits_are_marked_and_failed_ones_counted(fits, fits_figure):
    assert texts_of(fits_figure) == ["78 fits (2 more failed, not drawn)", "not converged: 1", "at bound: 2"]
    at_bound = next(line for line in fits_figure.axes[0].lines if line.get_marker() == "D")
    np.testing.assert_array_equal(at_bound.get_xdata(), fits["Teff_true"][[10, 20]])
    np.testing.assert_array_equal(at_bound.get_ydata(), fits["Teff"][[10, 20]])


def test_units_stand_on_every_axis(fits_figure):
    upper, lower = fits_figure.axes[:2]
    assert all("[K]" in label for label in (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()))


@pytest.mark.parametrize("n_label", [1, 2, 3, 4, 7, 25])
def test_one_panel_a_label_none_over_another(n_label):
    figure = draw_fitting_results(fits_of(n_label, n_spectrum=45))
    assert len(figure.axes) == 2 * n_label
    page = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes[::2]]
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert not any(a.shrunk(0.98, 0.98).overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("case", ["one fit", "all failed", "exact", "same truth"])
def test_odd_fits(case, tmp_path):
    fits = fits_of(n_label=2, n_spectrum=1 if case == "one fit" else 30)
    for name in fits.meta["label_names"]:
        if case == "all failed":
            fits[name] = np.nan
        if case == "exact":
            fits[name] = fits[f"{name}_true"]
        if case == "same truth":
            fits[f"{name}_true"] = fits[f"{name}_true"][0]
    figure = draw_fitting_results(fits)
    figure.savefig(tmp_path / "figure.png")
    assert (figure.axes[0].get_title() == "no fit") == (case == "all failed")


def test_a_label_without_a_unit_and_with_a_dollar_sign(tmp_path):
    fits = fits_of(1)
    for ending in ("", "_error", "_true"):
        fits[f"Teff{ending}"].unit = None
        fits.rename_column(f"Teff{ending}", f"cost_$x{ending}")
    fits.meta["label_names"] = ["cost_$x"]
    fits.write(tmp_path / "fits.ecsv", format="ascii.ecsv")
    plot("fitting_results", tmp_path / "fits.ecsv", tmp_path / "figure.png")
    assert png_size(tmp_path / "figure.png")[0] == COLUMN * DPI


# ------------------------------------------------------------------------------------------------- training_summary


def test_ends_are_counted_the_criterion_drawn_and_failed_pixels_shown_at_the_top():
    record = record_of(chips()[:100], ends=["converged"] * 5 + ["max_loops"] * 4 + ["failed"])
    figure = draw_training_summary(record)
    texts = texts_of(figure)
    assert "converged: 50 (50.0 %)" in texts
    assert "max loops: 40 (40.0 %)" in texts
    assert "failed: 10 (10.0 %)" in texts
    assert "100 pixels, 50.0 % at or below 0.003 (dashed)" in texts
    main = figure.axes[0]
    assert main.get_yscale() == "log"
    assert any(np.all(np.asarray(line.get_ydata()) == 0.003) for line in main.lines)
    marks = next(line for line in main.lines if line.get_marker() == "v")
    np.testing.assert_array_equal(marks.get_xdata(), record["wavelength"][record["end"] == "failed"])
    assert np.all(np.asarray(marks.get_ydata()) > 0.95)


def test_a_rare_end_is_drawn_over_a_frequent_one_and_an_unheard_of_end_has_a_colour():
    figure = draw_training_summary(record_of(chips()[:50], ends=["converged"] * 9 + ["tired"]))
    numbers = [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert numbers == [45, 5]
    assert "tired: 5 (10.0 %)" in texts_of(figure)


@pytest.mark.parametrize("case", ["one pixel", "one failed pixel", "all equal", "zero deviation"])
def test_odd_records(case, tmp_path):
    record = record_of(chips()[: 1 if "pixel" in case else 20], ends=["failed" if "failed" in case else "converged"])
    if case == "all equal":
        record["deviation"] = record["deviation_test"] = 0.003
    if case == "zero deviation":
        record["deviation"][3] = 0.0
    figure = draw_training_summary(record)
    figure.savefig(tmp_path / "figure.png")
    assert f"{len(record)} pixel" in " ".join(texts_of(figure))


@pytest.mark.parametrize(("part", "text"), [(0, "0 %"), (7213, "99.99 %"), (7214, "100 %"), (2236, "31.0 %")])
def test_shares_are_not_rounded_to_all_or_nothing(part, text):
    assert share(part, 7214) == text


def test_the_figure_of_training_that_failed_says_so():
    record = record_of(chips()[:50])
    record.meta["failed"] = "50 of 50 pixels"
    (said,) = [text.get_text() for text in draw_training_summary(record).texts]
    assert said.startswith("FAILED, `payneflow gather` says why: 50 pixels, ")
