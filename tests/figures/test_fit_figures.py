"""The figures of fits say what the fits say: one fit with its pixels and flags, and all fits at a glance."""

import numpy as np
import pytest
from astropy.table import Table
from smooth_stars import WAVELENGTH, networks, stars  # noqa: F401 - fixtures
from test_figures import FLAGS, best_fits_of, chips, fits_of, png_size, texts_of, two_panels

from payneflow import cli
from payneflow.errors import PayneflowError, SettingsError
from payneflow.figures import plot
from payneflow.figures.best_fit import draw_best_fit, label_words, row_of, rows_of
from payneflow.figures.fit_overview import draw_fit_overview, labels_of_kiel, pulls_of
from payneflow.figures.flags import flag_words, flagged, flagged_label
from payneflow.figures.numbers import MINUS, value_and_error, words
from payneflow.fitting import FitFlag, FitSettings, LabelFlag, fit_spectra
from payneflow.fitting.many import write_best_fits
from payneflow.spectra import make_layout, read_spectra


def one_of(row=0, wavelength=None, **replace):
    """The arrays of one best fit, as draw_best_fit wants them."""
    fits = best_fits_of(two_panels() if wavelength is None else wavelength)
    keys = ("flux", "model", "continuum", "sigma", "used")
    return {"wavelength": fits["wavelength"], **{key: fits[key][row] for key in keys}, **replace}


def draw_one(title="star", labels=("a",), quality=("b",), **arrays):
    return draw_best_fit(**{**one_of(), **arrays}, title=title, labels=labels, quality=quality)


def lines_of(axes, colour):
    """y values of all lines of a colour, one after the other, those between the points of broken lines left out."""
    values = [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_color() == colour]
    together = np.concatenate(values)
    return together[np.isfinite(together)]


def page_holds(figure):
    """Does every text lie on the page?"""
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    boxes += [axes.get_tightbbox() for axes in figure.axes] + [one.get_window_extent() for one in figure.legends]
    return all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)


# ------------------------------------------------------------------------------------------------- texts and flags


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (5621.4, 12.3, "K", "5621 ± 12 K"),
        (3.4871, 0.0456, "dex", "3.487 ± 0.046 dex"),
        (-0.0162, 0.0098, "dex", "−0.0162 ± 0.0098 dex"),
        (-0.0001, 0.12, "", "0.00 ± 0.12"),
        (2.5, 0.0, "dex", "2.5 dex (held)"),
        (123456.0, 4321.0, "K", "123456 ± 4321 K"),
        (1.5, 2e-7, "", "1.5 ± 2e−07"),
        (5000.0, np.nan, "K", "5000 K"),
        (np.nan, np.nan, "K", "unknown"),
    ],
)
def test_a_value_has_the_decimals_of_its_error(value, error, unit, text):
    assert value_and_error(value, error, unit) == text


def test_flags_in_words():
    flags = {flag.name: int(flag) for flag in FitFlag}
    assert flag_words(FitFlag.MODEL_MISMATCH | FitFlag.AT_BOUND, flags) == ["at bound", "model mismatch"]
    assert flag_words(0, flags) == []
    assert words("RV_UNSURE") == "RV unsure"


def test_every_flag_of_a_fit_that_has_labels_has_a_marker_of_its_own():
    """Once just the first four had one: fits with all other flags looked as if nothing were said of them."""
    fits = fits_of(n_spectrum=3)
    fits.meta["flags"] = {flag.name: int(flag) for flag in FitFlag}
    fits["flags"] = [0, int(FitFlag.STARTS_DISAGREE), sum(FitFlag)]
    marks = flagged(fits)
    assert [name for name, _, _ in marks] == [flag.name for flag in FitFlag if flag != FitFlag.FAILED]
    assert len({(look["marker"], look["mec"]) for _, _, look in marks}) == len(marks)
    for name, rows, _ in marks:
        assert rows.tolist() == [False, name == "STARTS_DISAGREE", True]


def test_flags_of_a_label_are_marked_where_the_label_is_drawn():
    fits = fits_of(n_spectrum=3)
    (name, *_) = fits.meta["label_names"]
    assert flagged_label(fits, name) == [], "tables of earlier versions have none"
    fits.meta["label_flags"] = {flag.name: int(flag) for flag in LabelFlag}
    fits[f"{name}_flags"] = [0, int(LabelFlag.NO_INFORMATION), sum(LabelFlag)]
    marks = flagged_label(fits, name)
    assert [name for name, _, _ in marks] == [flag.name for flag in LabelFlag]
    looks = [(look["marker"], look["mec"]) for _, _, look in [*marks, *flagged(fits)]]
    assert len(set(looks)) == len(looks), "those of labels are not those of stars"
    for name, rows, _ in marks:
        assert rows.tolist() == [False, name == "NO_INFORMATION", True]


# ---------------------------------------------------------------------------------------------------------- best_fit


def test_a_fit_drawn_from_the_file_that_the_fitting_writes(networks, stars, tmp_path):  # noqa: F811
    flux, error = stars
    identifier = [f"star {i}" for i in range(len(flux))]
    np.savez(tmp_path / "a.npz", wavelength=WAVELENGTH, flux=flux, flux_error=error, identifier=identifier)
    batches = read_spectra([tmp_path / "a.npz"], make_layout(uncertainty="flux_error"), WAVELENGTH)
    reported = fit_spectra(networks, flux, error)
    reported["Teff_error"][1] = 77.0
    write_best_fits(networks, batches, FitSettings(), tmp_path / "best.npz", reported=reported)
    with np.load(tmp_path / "best.npz") as best:
        chi2 = np.nansum(((best["flux"] - best["model"]) / best["sigma"])[:5] ** 2, axis=1, where=best["used"][:5])
        assert chi2 == pytest.approx(best["chi2"][:5], rel=1e-9), "the residual in sigma is that of chi2"
        assert best["label_errors"][1, 0] == 77.0, "labels and errors are those reported"
        assert best["flags"].tolist() == reported["flags"].tolist()
    for spectrum in ("star 1", "5"):  # the last failed
        plot("best_fit", tmp_path / "best.npz", tmp_path / f"{spectrum}.png", spectrum)
        assert png_size(tmp_path / f"{spectrum}.png")[0] == 1420


def test_the_headline_gives_name_labels_velocity_chi2_and_flags(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("payneflow.figures.best_fit.write_image", lambda figure, path: drawn.append(figure))
    np.savez(tmp_path / "best.npz", **best_fits_of(two_panels()))
    plot("best_fit", tmp_path / "best.npz", tmp_path / "figure.png", "b")
    plot("best_fit", tmp_path / "best.npz", tmp_path / "figure.png")
    plot("best_fit", tmp_path / "best.npz", tmp_path / "figure.png", "12")
    second, first, failed = (" ".join(texts_of(figure)) for figure in drawn)
    assert [figure.texts[3].get_text() for figure in drawn] == ["b", "a", "12"]
    assert r"$T_\mathrm{eff}$ = 5621 ± 12 K, $\log\,g$ = 3.487 ± 0.046 dex, [Fe/H] = −0.0162 dex (held)," in second
    assert f"RV = {MINUS}45.123 ± 0.050 km/s" in second
    assert r"$\chi^2$/dof = 1.04, S/N = 100; 60 pixels, 2 of them not used; errors calibrated;" in second
    assert "flagged: not converged, at bound" in second and "no flags" in first
    assert "[Fe/H] = unknown" in failed and "60 of them not used" in failed and "flagged: failed" in failed


def test_without_a_velocity_there_is_none_in_the_headline():
    fits = best_fits_of(two_panels(), velocity=False)
    by_row = ("labels", "label_errors")
    text = " ".join(label_words({key: value[0] if key in by_row else value for key, value in fits.items()}))
    assert "RV" not in text and text.endswith("(held)")


def test_the_residual_is_in_sigma_and_unused_pixels_are_grey_and_shaded():
    arrays = one_of()
    figure = draw_one()
    upper, lower = figure.axes[:2]
    used, first = arrays["used"][:30], slice(0, 30)
    residual = ((arrays["flux"] - arrays["model"]) / arrays["sigma"])[first]
    np.testing.assert_allclose(lines_of(lower, "#0072B2"), residual[used])
    np.testing.assert_allclose(lines_of(upper, "0.1"), arrays["flux"][first][used])
    np.testing.assert_allclose(lines_of(upper, "0.6"), arrays["flux"][first][~used])
    step = np.diff(arrays["wavelength"][:10]).mean()
    for axes in (upper, lower):
        (spans,) = (collection.get_paths() for collection in axes.collections)
        assert len(spans) == 1
        left, right = spans[0].vertices[:, 0].min(), spans[0].vertices[:, 0].max()
        assert (left, right) == pytest.approx((arrays["wavelength"][3] - step / 2, arrays["wavelength"][4] + step / 2))


def test_flux_and_model_are_divided_by_a_fitted_continuum_over_unused_pixels_too():
    arrays = one_of()
    ramp = 1000.0 + np.arange(60.0)
    raised = {key: arrays[key] * ramp for key in ("flux", "model", "continuum", "sigma")}
    figure = draw_one(**raised)
    np.testing.assert_allclose(lines_of(figure.axes[0], "0.1"), lines_of(draw_one().axes[0], "0.1"))
    np.testing.assert_allclose(lines_of(figure.axes[0], "0.6"), arrays["flux"][3:5], rtol=1e-5)
    np.testing.assert_allclose(lines_of(figure.axes[1], "#0072B2"), lines_of(draw_one().axes[1], "#0072B2"))
    assert "Flux / fitted continuum" in texts_of(figure) and "Normalised flux" in texts_of(draw_one())


def test_rows_split_no_segment_and_hold_every_pixel():
    rows = rows_of(chips(1))
    assert [stop for _, stop, _, _ in rows[:-1]] == [first for first, _, _, _ in rows[1:]]
    assert rows[0][0] == 0 and rows[-1][1] == len(chips(1)) and len(rows) == 3
    for first, stop, low, high in rows:
        assert low < chips(1)[first] and chips(1)[stop - 1] < high < low + 700
    fine = rows_of(15000 + 0.01 * np.arange(10_000))
    assert len(fine) == 7 and max(stop - first for first, stop, _, _ in fine) <= 1500


def test_of_very_many_pixels_or_segments_there_are_eight_rows_at_most():
    assert len(rows_of(15000 + 0.001 * np.arange(1_000_000))) <= 8
    echelle = np.concatenate([4000 + 50 * order + 0.1 * np.arange(300) for order in range(60)])
    rows = rows_of(echelle)
    assert len(rows) <= 8 and sum(stop - first for first, stop, _, _ in rows) == len(echelle)


CASES = {
    "one pixel": {key: value[:1] for key, value in one_of().items()},
    "failed": one_of(row=2),
    "no flux at all": one_of(row=2, flux=np.full(60, np.nan)),
    "exact": one_of(flux=one_of()["model"]),
    "spikes": one_of(flux=one_of()["flux"] + 50.0 * (np.arange(60) == 20)),
    "pixels far apart": one_of(wavelength=chips(21)),
}


@pytest.mark.parametrize("arrays", CASES.values(), ids=CASES)
def test_best_fits_of_odd_spectra(arrays):
    figure = draw_one(**arrays)
    assert page_holds(figure)
    if arrays is CASES["spikes"]:
        assert figure.axes[0].get_ylim()[1] < 45, "a single spike does not set the scale"
        assert any(line.get_marker() == "^" for line in figure.axes[1].lines)
    if arrays is CASES["pixels far apart"]:
        assert {line.get_linewidth() for line in figure.axes[0].lines} == {0}


def test_a_long_name_and_many_labels_stay_on_the_page():
    labels = [rf"[X{i}/Fe] = {MINUS}0.123 ± 0.045 dex," for i in range(25)]
    figure = draw_one(title="$" + "x" * 200, labels=labels, quality=["flagged: at bound,"] * 9)
    assert page_holds(figure)
    assert any("…" in text for text in texts_of(figure))


def test_a_spectrum_is_chosen_by_identifier_then_by_row():
    assert row_of("f", ["a", "b", "0"], None) == 0
    assert row_of("f", ["a", "b", "0"], "0") == 2
    assert row_of("f", ["a", "b", "0"], "1") == 1
    with pytest.raises(
        PayneflowError, match=r"f: no spectrum 'star-8'; expected one of 3 identifiers, such as 'star-7'"
    ):
        row_of("f", ["star-7", "x", "y"], "star-8")
    with pytest.raises(PayneflowError, match="or a row from 0 to 2"):
        row_of("f", ["a", "b", "c"], "3")
    with pytest.raises(PayneflowError, match="2 spectra are called 'a'; choose by row: 0, 2"):
        row_of("f", ["a", "b", "a"], "a")


def test_what_is_no_file_of_best_fits_and_what_takes_no_spectrum_is_said_on_the_command_line(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", wavelength=two_panels(), flux=np.ones((1, 60)))
    assert cli.main(["plot", "best_fit", str(tmp_path / "a.npz"), "--output", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "no label_names" in said and "model, continuum, sigma" in said and "--best-fits" in said
    np.savez(tmp_path / "best.npz", **best_fits_of(two_panels()))
    command = ["plot", "best_fit", str(tmp_path / "best.npz"), "--spectrum", "nobody", "--output", "a.png"]
    assert cli.main(command) == 2
    assert "no spectrum 'nobody'; expected one of 3 identifiers, such as 'a', 'b', '12'" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="only best_fit shows one"):
        plot("fit_overview", tmp_path / "fits.ecsv", tmp_path / "a.png", "a")
    assert not (tmp_path / "a.png").exists()


# ------------------------------------------------------------------------------------------------------ fit_overview


def observed(fits: Table, velocity=False) -> Table:
    """The same without true labels, S/N from 10 to 300."""
    fits.remove_columns([name for name in fits.colnames if name.endswith("_true")])
    fits["SNR"] = np.geomspace(10, 300, len(fits))
    if velocity:
        fits["RV"], fits["RV_error"] = 1.0, 5.0 / fits["SNR"]
        fits["RV"].unit = fits["RV_error"].unit = "km/s"
    fits.meta |= {"mode": "labels Teff logg [Fe/H]" + "; velocity" * velocity, "errors": "calibrated"}
    return fits


def test_pulls_are_differences_in_units_of_the_errors_and_their_widths_are_quoted():
    fits = fits_of(n_spectrum=400)
    expected = ((fits["logg"] - fits["logg_true"]) / fits["logg_error"])[~np.isnan(fits["logg"])]
    pulls = pulls_of(fits)
    assert list(pulls) == ["Teff", "logg", "[Fe/H]"]
    np.testing.assert_allclose(pulls["logg"], expected)
    panel = draw_fit_overview(fits).axes[0]
    width = 1.4826 * np.median(np.abs(expected - np.median(expected)))
    text = f"{np.median(expected):+.2f}, {width:.2f} ({np.std(expected):.2f})"
    assert 0.8 < width < 1.2
    assert text in [one.get_text() for one in panel.texts]


def test_a_histogram_of_pulls_counts_every_fit_and_lies_on_the_normal_distribution_it_has():
    fits = fits_of(n_label=1, n_spectrum=100_000)
    fits["Teff"] = fits["Teff_true"] + 6.0 * np.random.default_rng(0).normal(size=len(fits))
    fits["Teff"][0] = fits["Teff_true"][0] + 6.0e3  # beyond the axis: in its last bin
    panel = draw_fit_overview(fits).axes[0]
    (histogram,) = panel.patches
    values, edges, base = histogram.get_data()
    (normal,) = (line for line in panel.lines if len(line.get_xdata()) > 100)
    scale = np.max(normal.get_ydata()) * np.sqrt(2.0 * np.pi)
    assert np.sum((values - base) / scale * np.diff(edges)) == pytest.approx(1.0)
    middles = 0.5 * (edges[:-1] + edges[1:])
    expected = np.interp(middles, normal.get_xdata(), normal.get_ydata())
    assert np.abs(values - expected).max() < 0.05 * np.max(normal.get_ydata())


def test_a_label_that_is_held_has_no_pull_and_no_error():
    fits = fits_of(n_spectrum=50)
    fits["logg_error"] = np.where(np.isnan(fits["logg"]), np.nan, 0.0)
    assert list(pulls_of(fits)) == ["Teff", "[Fe/H]"]
    figure = draw_fit_overview(observed(fits))
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == [r"$T_\mathrm{eff}$ [K]", "[Fe/H] [dex]"]


def test_without_true_labels_the_errors_are_shown_against_s_n():
    fits = observed(fits_of(n_spectrum=60), velocity=True)
    figure = draw_fit_overview(fits)
    names = [axes.texts[0].get_text() for axes in figure.axes if axes.texts]
    assert names == [r"$T_\mathrm{eff}$ [K]", r"$\log\,g$ [dex]", "[Fe/H] [dex]", "RV [km/s]"]
    good = ~np.isnan(fits["Teff"])
    np.testing.assert_array_equal(figure.axes[3].lines[0].get_ydata(), fits["RV_error"][good])
    assert figure.axes[3].get_xscale() == figure.axes[3].get_yscale() == "log"
    assert page_holds(figure)


def test_chi2_of_each_degree_of_freedom_has_a_line_at_one_and_flags_are_marked_and_counted():
    fits = fits_of(n_spectrum=60)
    fits["chi2"] = np.linspace(90, 5000, 60)
    figure = draw_fit_overview(fits)
    panel, kiel = figure.axes[1:3]
    assert panel.get_yscale() == "log" and panel.lines[0].get_ydata() == [1, 1]
    assert [text for text in texts_of(figure) if ":" in text] == [
        *("not converged: 1", "at bound: 2", "without a flag: 55", "failed, not drawn: 2")
    ]
    for axes, y in ((panel, fits["chi2"] / fits["dof"]), (kiel, fits["logg"])):
        at_bound = next(line for line in axes.lines if line.get_marker() == "D")
        np.testing.assert_allclose(at_bound.get_ydata(), y[[10, 20]])


def test_kiel_diagram_has_hot_stars_on_the_left_and_giants_at_the_top():
    figure = draw_fit_overview(fits_of())
    kiel = figure.axes[2]
    assert kiel.xaxis.get_inverted() and kiel.yaxis.get_inverted()
    assert kiel.get_xlabel() == r"$T_\mathrm{eff}$ [K]" and kiel.get_ylabel() == r"$\log\,g$ [dex]"
    assert figure.axes[3].get_ylabel() == "[Fe/H] [dex]"
    assert len(kiel.collections[0].get_offsets()) == 78


def test_the_kiel_diagram_takes_the_first_labels_where_there_are_others():
    assert labels_of_kiel(["v", "[Fe/H]", "logg", "Teff"]) == ["Teff", "logg", "[Fe/H]"]
    assert labels_of_kiel(["mass", "age", "Teff"]) == ["Teff", "mass", "age"]
    assert labels_of_kiel(["mass"]) == ["mass"]


@pytest.mark.parametrize(("n_label", "n_spectrum"), [(1, 1), (1, 160), (2, 5), (3, 5), (3, 160), (25, 1), (25, 160)])
@pytest.mark.parametrize("truth", [True, False])
def test_any_number_of_fits_and_labels_stays_on_the_page(n_label, n_spectrum, truth):
    fits = fits_of(n_label, n_spectrum)
    assert page_holds(draw_fit_overview(fits if truth else observed(fits, velocity=True)))


@pytest.mark.parametrize("case", ["all failed", "exact", "no degrees of freedom", "chi2 of 0", "all held"])
@pytest.mark.parametrize("truth", [True, False])
def test_odd_tables(case, truth):
    fits = fits_of(n_spectrum=30)
    for name in fits.meta["label_names"]:
        if case == "all failed":
            fits[name], fits[f"{name}_error"], fits["flags"] = np.nan, np.nan, FLAGS["FAILED"]
        if case == "exact":
            fits[name] = fits[f"{name}_true"]
        if case == "all held":
            fits[f"{name}_error"] = 0.0
    if case == "no degrees of freedom":
        fits["dof"] = 0
    if case == "chi2 of 0":
        fits["chi2"] = 0.0
    figure = draw_fit_overview(fits if truth else observed(fits))
    assert page_holds(figure)
    assert ("failed, not drawn: 30" in texts_of(figure)) == (case == "all failed")


def test_a_table_that_is_none_of_fits_is_named_with_what_it_lacks(tmp_path):
    fits = fits_of(n_spectrum=5)
    fits.remove_columns(["SNR", "dof"])
    fits.write(tmp_path / "fits.ecsv", format="ascii.ecsv")
    with pytest.raises(PayneflowError, match=r"fits\.ecsv: no column SNR, dof; a table of fits has it"):
        plot("fit_overview", tmp_path / "fits.ecsv", tmp_path / "figure.png")
    fits = fits_of(n_spectrum=5)
    del fits["logg_error"]
    fits.write(tmp_path / "fits.ecsv", format="ascii.ecsv", overwrite=True)
    with pytest.raises(PayneflowError, match="no column logg_error"):
        plot("fit_overview", tmp_path / "fits.ecsv", tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()
