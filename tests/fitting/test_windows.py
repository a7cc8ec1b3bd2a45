"""Windows: labels that some pixels may not inform, against sums by hand, against fits of all pixels, and their file."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from known_networks import line_networks

from payneflow import cli
from payneflow.errors import CalibrationError, SettingsError
from payneflow.fitting import (
    FitFlag,
    FitSettings,
    LabelFlag,
    Pieces,
    SpectralModel,
    Window,
    fit_spectra,
    fit_stars,
    read_results,
    read_windows,
    windowed,
)
from payneflow.fitting.label_errors import LabelErrors
from payneflow.fitting.windows import hidden, to_rest_frame

MOVED = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # as in test_many_stars.py: one kernel for both
FIRST, SECOND, THIRD = NAMES = "label0", "label1", "label2"
START, END = 15001.0, 15150.0  # across the gap between both segments


@pytest.fixture(scope="module")
def networks():
    return line_networks(3, 10, n_pixel=300, seed=4)


def spectra(networks, n, noise, settings=FitSettings(), velocity=0.0, seed=0):  # noqa: B008 - frozen
    """Scaled labels (n, 3), flux and errors (n, n_pixel); a pixel that the networks do not reach has the error inf."""
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(0.3, 0.7, (n, 3))
    flux = SpectralModel(networks, settings).predict(networks.scaler.unscale(scaled), velocity)
    error = np.where(np.isfinite(flux), noise, np.inf)
    return scaled, np.where(np.isfinite(flux), flux, 1.0) + noise * rng.normal(size=flux.shape), error


def labels_of(networks, table):
    return networks.scaler.scale(np.column_stack([table[name] for name in NAMES]))


def halves(networks):
    """A window of the third label, and the pixels (n_pixel,) in it."""
    middle = float(np.median(networks.wavelength))
    inside = networks.wavelength >= middle
    return [Window(THIRD, middle, END + 500.0)], inside


# ------------------------------------------------------------------------------------------------------ known answers


def test_labels_and_errors_are_those_of_the_estimating_equations_by_hand(networks):
    noise = 1e-6  # so small that the model is linear
    scaled, flux, error = spectra(networks, 3, noise)
    windows, inside = halves(networks)
    settings = FitSettings(windows=windows, emulator_error=False, tolerance=1e-5)
    table = fit_spectra(networks, flux, error, settings=settings)
    for i in range(3):
        model, slopes = networks.jacobian_scaled(scaled[i])
        informed = slopes.copy()
        informed[~inside, 2] = 0.0
        inverse = np.linalg.inv(informed.T @ slopes)
        expected = scaled[i] + inverse @ informed.T @ (flux[i] - model)
        covariance = noise**2 * inverse @ (informed.T @ informed) @ inverse.T
        sigma = np.sqrt(np.diag(covariance))
        assert labels_of(networks, table)[i] == pytest.approx(expected, abs=1e-3 * sigma.min())
        width = networks.scaler.width
        assert np.asarray(table["covariance"][i]) == pytest.approx(covariance * width[:, None] * width, rel=1e-3)
        alone = noise**2 * np.diag(np.linalg.inv(slopes.T @ slopes))
        part = [table[f"{name}_information"][i] for name in NAMES]
        assert part == pytest.approx(alone / sigma**2, rel=1e-3)


@pytest.mark.parametrize("settings", [FitSettings(tolerance=1e-6), replace(MOVED, tolerance=1e-6)])
def test_windows_that_hold_all_pixels_change_nothing(networks, settings):
    _, flux, error = spectra(networks, 4, 0.01, settings, 20.0 * settings.velocity)
    flux[1, 150] = 4.0  # a cosmic ray
    flux[2, 200:205] = np.nan
    plain = fit_spectra(networks, flux, error, settings=replace(settings, priors={SECOND: (0.5, 0.3)}))
    windows = [Window(name, START - 100.0, END + 500.0) for name in NAMES[:2]]
    table = fit_spectra(networks, flux, error, settings=replace(settings, priors={SECOND: (0.5, 0.3)}, windows=windows))
    for name in (*NAMES, *(["RV"] if settings.velocity else [])):
        assert np.asarray(table[name] - plain[name]) == pytest.approx(0.0, abs=2e-6 * plain[f"{name}_error"].max())
        assert np.asarray(table[f"{name}_error"]) == pytest.approx(np.asarray(plain[f"{name}_error"]), rel=1e-5)
        assert np.asarray(table[f"{name}_information"]) == pytest.approx(1.0, abs=1e-6)
    same = [name for name in plain.colnames if "error" not in name and name not in (*NAMES, "RV", "covariance")]
    for name in same:
        numbers = plain[name].dtype.kind == "f"
        assert np.array_equal(np.asarray(table[name]), np.asarray(plain[name]), equal_nan=numbers), name


def test_a_label_is_not_biased_by_pixels_that_may_not_inform_it(networks):
    scaled, flux, error = spectra(networks, 200, 0.003, seed=1)
    windows, inside = halves(networks)
    _, slopes = networks.jacobian_scaled(np.full(3, 0.5))
    others = slopes[~inside][:, :2]
    wrong = slopes[~inside, 2] - others @ np.linalg.lstsq(others, slopes[~inside, 2], rcond=None)[0]
    flux[:, ~inside] += 0.15 * wrong  # lines of the third label alone, deeper than the model has them
    plain = fit_spectra(networks, flux, error)
    table = fit_spectra(networks, flux, error, settings=FitSettings(windows=windows))
    truth = networks.scaler.unscale(scaled)[:, 2]
    pulls = {
        how: np.asarray((fits[THIRD] - truth) / fits[f"{THIRD}_error"]) for how, fits in (("a", plain), ("w", table))
    }
    assert abs(np.median(pulls["a"])) > 3.0
    assert abs(np.median(pulls["w"])) < 0.3
    assert (table[f"{THIRD}_error"] > plain[f"{THIRD}_error"]).all(), "information is lost"


def test_errors_describe_the_scatter(networks):
    scaled, flux, error = spectra(networks, 600, 0.003, seed=7)
    windows = [*halves(networks)[0], Window(FIRST, START, START + 60.0, use="never")]
    table = fit_spectra(networks, flux, error, settings=FitSettings(windows=windows, emulator_error=False))
    truth = networks.scaler.unscale(scaled)
    for j, name in enumerate(NAMES):
        pull = np.asarray((table[name] - truth[:, j]) / table[f"{name}_error"])
        assert 0.9 < pull.std() < 1.1
        assert abs(pull.mean()) < 0.2


# ------------------------------------------------------------------------------------------ pixels that inform nothing


def test_pixels_that_inform_nothing_take_no_part(networks):
    _, flux, error = spectra(networks, 4, 0.01)
    flux[:, 20:40] += 0.5
    closed = Window("*", networks.wavelength[20], networks.wavelength[39], use="never", frame="observer")
    table = fit_spectra(networks, flux, error, settings=FitSettings(windows=[closed], tolerance=1e-6))
    masked = error.copy()
    masked[:, 20:40] = np.inf
    plain = fit_spectra(networks, flux, masked, settings=FitSettings(tolerance=1e-6))
    for name in ("chi2", "n_pixel", "n_masked", "n_outlier", "mismatch", "flags"):
        assert (table[name] == plain[name]).all()
    assert np.asarray(table[THIRD] - plain[THIRD]) == pytest.approx(0.0, abs=2e-6 * plain[f"{THIRD}_error"].max())
    assert (table[f"{THIRD}_information"] < 0.999).all()


def test_windows_of_the_star_move_with_it(networks):
    velocity = 40.0
    _, flux, error = spectra(networks, 3, 0.005, MOVED, velocity, seed=3)
    factor = networks.wavelength[0] / to_rest_frame(networks.wavelength[:1], velocity)[0]
    middle = float(np.median(networks.wavelength)) + 0.01
    for label in ("*", THIRD):
        settings = replace(MOVED, tolerance=1e-6)
        star, observer = (
            fit_spectra(
                networks, flux, error, settings=replace(settings, windows=[Window(label, a, b, "never", frame)])
            )
            for a, b, frame in (
                (middle, middle + 5.0, "star"),
                (middle * factor, (middle + 5.0) * factor, "observer"),
            )
        )
        for name in (*NAMES, "RV"):
            assert np.asarray(star[name]) == pytest.approx(
                np.asarray(observer[name]), abs=1e-7 + 1e-3 * star[f"{name}_error"].max()
            )
        assert (star["n_pixel"] == observer["n_pixel"]).all()


def test_hidden_pixels_by_hand():
    wavelength = np.arange(5000.0, 5010.0)
    windows = [
        Window("*", 5000.0, 5007.0, frame="observer"),
        Window("*", 5002.0, 5003.5, use="never", frame="observer"),
        Window("a", 5001.0, 5001.5, use="never"),
    ]
    assert np.flatnonzero(hidden(windows, wavelength, 0.0)).tolist() == [2, 3, 8, 9]
    moving = [Window("*", 5002.0, 5003.5, use="never")]
    assert np.flatnonzero(hidden(moving, wavelength, 60.0)).tolist() == [4], "60 km/s are 1.0004 A"


# ------------------------------------------------------------------------------------------------------------- flags


def test_a_label_without_pixels_is_flagged_and_the_others_go_on(networks):
    _, flux, error = spectra(networks, 3, 0.005)
    middle = networks.wavelength[120]
    error[1, 118:123] = np.inf  # all that the window has
    settings = FitSettings(windows=[Window(THIRD, middle - 0.3, middle + 0.3)])
    table = fit_spectra(networks, flux, error, settings=settings)
    assert table[f"{THIRD}_flags"][1] & LabelFlag.NO_INFORMATION
    assert table[f"{THIRD}_error"][1] == pytest.approx(0.8 * networks.scaler.width[2], rel=1e-6)
    assert table[f"{THIRD}_information"][1] == 0.0
    assert np.isfinite(table[FIRST]).all()
    assert np.isfinite(table[f"{FIRST}_error"]).all()
    assert not (table["flags"] & (FitFlag.FAILED | FitFlag.NOT_CONVERGED)).any()
    prior = replace(settings, priors={THIRD: (3.0, 0.1)})
    with_prior = fit_spectra(networks, flux, error, settings=prior)
    assert with_prior[THIRD][1] == pytest.approx(3.0, abs=1e-3)
    assert with_prior[f"{THIRD}_error"][1] == pytest.approx(0.1, rel=1e-3)


def test_a_label_stays_within_its_bounds_and_is_flagged(networks):
    windows, inside = halves(networks)
    scaled = np.array([[0.5, 0.5, 0.95]])
    flux = networks.predict_scaled(scaled)
    _, slopes = networks.jacobian_scaled(scaled[0])
    flux[:, inside] += 0.3 * slopes[inside, 2]
    table = fit_spectra(networks, flux, 0.003, settings=FitSettings(windows=windows))
    assert table[f"{THIRD}_flags"][0] & LabelFlag.AT_BOUND
    assert labels_of(networks, table)[0, 2] == pytest.approx(1.0, abs=1e-9)
    assert not table["flags"][0] & FitFlag.NOT_CONVERGED


def test_steps_that_do_not_end_are_flagged(networks, monkeypatch):
    _, flux, error = spectra(networks, 2, 0.01)
    monkeypatch.setattr(windowed, "MOST_STEPS", 1)
    table = fit_spectra(networks, flux, error, settings=FitSettings(windows=halves(networks)[0], tolerance=1e-9))
    assert (table["flags"] & FitFlag.NOT_CONVERGED).all()


def test_a_failed_spectrum_disturbs_no_other_and_threads_change_no_bit(networks):
    _, flux, error = spectra(networks, 5, 0.01, MOVED, 10.0)
    error[2] = np.inf
    flux[3, 60:70] = np.nan
    settings = replace(MOVED, windows=halves(networks)[0])
    table = fit_spectra(networks, flux, error, settings=settings, processes=3)
    assert (table["flags"] & FitFlag.FAILED > 0).tolist() == [False, False, True, False, False]
    assert np.isnan(table[f"{THIRD}_information"][2])
    alone = fit_spectra(networks, flux[3:4], error[3:4], settings=settings)
    for name in table.colnames[1:]:
        assert np.array_equal(table[name][3:4], alone[name], equal_nan=table[name].dtype.kind == "f"), name


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("a", 2.0, 2.0), "at or behind its end"),
        (("a", -2.0, 2.0), "a number above 0"),
        (("a", 1.0, np.nan), "a number above 0"),
        (("a", "1", 2.0), "a number above 0"),
        (("a", 1.0, 2.0, "may"), "expected only or never"),
        (("a", 1.0, 2.0, "only", "rest"), "expected star or observer"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(values, says):
    with pytest.raises(SettingsError, match=says):
        Window(*values)


@pytest.mark.parametrize(
    ("windows", "says"),
    [
        ([Window("lable2", START, END)], "names? the label 'lable2'.*Did you mean label2"),
        ([Window(SECOND, START, END)], "which is held"),
        ([Window(THIRD, 1500.0, 1600.0)], "holds no pixel.*vacuum"),
        ([Window(THIRD, 15030.0, 15120.0)], "holds no pixel"),
        ([Window("RV", START, END)], "names? the label 'RV'"),
        ([Window("*", 14000.0, 16000.0, "never")], "no pixel of the networks that may inform anything"),
        ([Window(THIRD, START, END), Window(THIRD, 14000.0, 16000.0, "never")], "may inform label2"),
        ([Window(THIRD, START, END), Window(THIRD, START, END)], "given twice"),
    ],
)
def test_windows_that_cannot_work_are_refused_before_anything_is_fitted(networks, windows, says):
    with pytest.raises(SettingsError, match=f"(?s){says}"):
        fit_spectra(networks, np.ones((1, 300)), 0.01, settings=FitSettings(fixed={SECOND: 1.0}, windows=windows))


def test_stars_in_pieces_have_no_windows(networks):
    pieces = Pieces(networks, np.ones((1, 300)), np.full((1, 300), 0.01), np.array(["a"]))
    with pytest.raises(SettingsError, match="not for stars in pieces"):
        fit_stars([pieces], settings=FitSettings(windows=halves(networks)[0]))


def test_label_errors_are_of_fits_with_the_same_windows(networks):
    one, same, other = (FitSettings(windows=rows).mode(NAMES) for rows in (
        [Window(THIRD, 1.0, 2.0), Window(THIRD, 3.0, 4.0)],
        [Window(THIRD, 3.0, 4.0), Window(THIRD, 1.0, 2.0)],
        [Window(THIRD, 1.0, 2.0), Window(THIRD, 3.0, 4.5)],
    ))  # fmt: skip
    assert one == same != other
    assert FitSettings().mode(NAMES) == "labels label0 label1 label2"
    scaled = np.random.default_rng(0).uniform(0.1, 0.9, (30, 3))
    rows, nothing = np.arange(30), np.zeros((30, 3))
    known = {"rows": rows, "held_back": rows % 2 == 1, "training": scaled, "lengths": np.ones(3), "nugget": 1.0}
    errors = LabelErrors(scaled, nothing, **known, mode=one, networks=networks.digest)
    errors.check(networks, same)
    with pytest.raises(CalibrationError, match="payneflow calibrate"):
        errors.check(networks, other)


# ------------------------------------------------------------------------------------------------------------ the file


def rows_of(**changed):
    rows = {"label": ["[Mg/Fe]", "*"], "start": [15740.0, 1.0], "end": [15770.0, 2.0]}
    return rows | {"use": ["only", "never"], "frame": ["star", "observer"]} | changed


def test_the_file_of_windows_comes_back(tmp_path):
    table = Table(rows_of(), units={"start": "Angstrom"})
    table.write(tmp_path / "windows.ecsv")
    expected = (Window("[Mg/Fe]", 15740.0, 15770.0), Window("*", 1.0, 2.0, "never", "observer"))
    assert read_windows(tmp_path / "windows.ecsv") == expected


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"end": [15770.0, 0.5]}, "row 2: .*at or behind its end"),
        ({"use": ["only", "often"]}, "row 2: .*expected only or never"),
        ({"use": [1, 2]}, "column use"),
        ({"label": ["*", "*"], "start": [1.0, 1.0], "end": [2.0, 2.0], "use": ["only"] * 2, "frame": ["star"] * 2},
         "row 2: .*given twice"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_by_row(tmp_path, changed, says):
    path = tmp_path / "windows.ecsv"
    Table(rows_of(**changed)).write(path)
    with pytest.raises(SettingsError, match=f"windows.ecsv.*{says}"):
        read_windows(path)


def test_files_that_are_no_windows_are_refused(tmp_path):
    path = tmp_path / "windows.ecsv"
    with pytest.raises(SettingsError, match="no such file"):
        read_windows(path)
    Table(rows_of(), units={"start": "nm"}).write(path)
    with pytest.raises(SettingsError, match="start is in nm, expected Angstrom"):
        read_windows(path)
    Table(rows_of())[:0].write(path, overwrite=True)
    with pytest.raises(SettingsError, match="no row"):
        read_windows(path)
    path.write_text("label,start\nMg,1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="not a readable ECSV table"):
        read_windows(path)


def test_the_command_line_takes_the_file(networks, tmp_path, capsys):
    _, flux, error = spectra(networks, 3, 0.01)
    networks.write(tmp_path / "networks.npz")
    np.savez(tmp_path / "stars.npz", wavelength=networks.wavelength, flux=flux, flux_error=error)
    Table(rows_of(label=[THIRD, "*"], start=[15000.0, 15130.0], end=[15127.0, 15131.0])).write(
        tmp_path / "windows.ecsv"
    )
    given = ["fit", f"{tmp_path}/networks.npz", f"{tmp_path}/stars.npz", "--uncertainty", "flux_error", "--output"]
    given += [f"{tmp_path}/fits", "--windows", f"{tmp_path}/windows.ecsv"]
    assert cli.main(given) == 0
    windows = read_windows(tmp_path / "windows.ecsv")
    expected = fit_spectra(networks, flux, error, settings=FitSettings(windows=windows))
    read = read_results(tmp_path / "fits.ecsv")
    assert np.array_equal(read[f"{THIRD}_information"], expected[f"{THIRD}_information"])
    assert np.array_equal(Table.read(tmp_path / "fits.fits")[f"{THIRD}_information"], read[f"{THIRD}_information"])
    assert read.meta["windows"][1] == ["*", 15130.0, 15131.0, "never", "observer"]
    capsys.readouterr()
    assert cli.main([*given, "--pieces", "common"]) == 2
    assert "windows are not for stars in pieces" in capsys.readouterr().err
