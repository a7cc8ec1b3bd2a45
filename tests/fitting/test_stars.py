"""Stars in pieces: one fit of visits, arms and chips, held against fits of whole spectra and of each piece alone."""

from dataclasses import replace

import numpy as np
import pytest
from known_networks import line_networks

from payneflow import fit_spectra
from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.fitting import FitFlag, FitSettings, Pieces, SpectralModel, fit_stars
from payneflow.fitting.label_errors import LabelErrors
from payneflow.label_names import COLUMNS

SETTINGS = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # as in test_segments.py: one kernel for both
NOISE, N_STAR, N_PIXEL = 0.01, 12, 300
GAP = 100  # first pixel of the second detector segment
LABELS = ("label0", "label1", "label2")


@pytest.fixture(scope="module")
def networks():
    return line_networks(3, 10, n_pixel=N_PIXEL, seed=4)


def labels_of(networks, n=N_STAR, seed=3):
    return networks.scaler.unscale(np.random.default_rng(seed).uniform(0.3, 0.7, (n, 3)))


def visits(networks, velocity, n_star=N_STAR, noise=NOISE, seed=0, networks_of_stars=None):
    """Labels, flux and error of stars with as many visits each as velocity (n_star, n_visit) says, star by star."""
    rng = np.random.default_rng(seed)
    labels, velocity = labels_of(networks, n_star), np.asarray(velocity)
    n_visit = velocity.shape[1]
    flux = SpectralModel(networks_of_stars or networks, SETTINGS).predict(
        np.repeat(labels, n_visit, axis=0), velocity.ravel()
    )
    level = rng.uniform(0.7, 1.4, (len(flux), 1)) * np.linspace(0.9, 1.2, flux.shape[1])
    known = np.isfinite(flux)
    error = np.where(known, noise * level, np.inf)
    return labels, level * np.where(known, flux, 1.0) + np.where(known, error, 0.0) * rng.normal(size=flux.shape), error


def names_of(n_star, n_visit):
    return np.repeat([f"star {i}" for i in range(n_star)], n_visit)


def test_one_piece_is_the_fit_of_a_spectrum(networks):
    _, flux, error = visits(networks, np.full((N_STAR, 1), 7.0))
    flux[3, 50] = 30.0  # a cosmic ray
    alone = fit_spectra(networks, flux, error, settings=SETTINGS)
    stars, pieces = fit_stars([Pieces(networks, flux, error, np.arange(N_STAR))], settings=SETTINGS)
    assert stars["identifier"].tolist() == list(range(N_STAR))
    for name in (*LABELS, "RV"):
        assert np.abs(stars[name] - alone[name]).max() < 1e-3 * alone[f"{name}_error"].min()
        assert stars[f"{name}_error"] == pytest.approx(alone[f"{name}_error"], rel=1e-3)
    for name in ("chi2", "dof", "SNR", "n_pixel", "n_outlier", "flags", "extra_scatter"):
        assert stars[name] == pytest.approx(np.asarray(alone[name]), rel=1e-4, abs=1e-6), name
    assert stars["mismatch"] == pytest.approx(alone["mismatch"], abs=0.02)
    assert pieces["chi2"] == pytest.approx(pieces["chi2_alone"], rel=1e-3)
    assert set(stars.colnames) - {f"{name}{end}" for name in LABELS for end in ("", "_error", "_flags")} <= set(COLUMNS)
    assert stars["n_outlier"][3] > 0 and np.isnan(stars["RV_chance"]).all()


@pytest.mark.parametrize("velocity", ["common", "each"])
def test_both_chips_of_a_spectrum_as_pieces_give_the_labels_and_errors_of_the_whole(networks, velocity):
    _, flux, error = visits(networks, np.full((N_STAR, 1), -4.0))
    whole = fit_spectra(networks, flux, error, settings=SETTINGS)
    blue = np.arange(N_PIXEL) < GAP
    flux = np.repeat(flux, 2, axis=0)
    error = np.repeat(error, 2, axis=0)
    error[0::2, ~blue], error[1::2, blue] = np.inf, np.inf
    given = Pieces(networks, flux, error, names_of(N_STAR, 2))
    stars, pieces = fit_stars([given], settings=SETTINGS, velocity=velocity)
    assert (pieces["n_pixel"][0::2] + pieces["n_pixel"][1::2] == whole["n_pixel"]).all()
    if velocity == "common":  # the velocity at which the emulator's error is added to that of a pixel is a piece's own
        for name in (*LABELS, "RV"):
            assert np.abs(stars[name] - whole[name]).max() < 0.02 * whole[f"{name}_error"].min()
            assert stars[f"{name}_error"] == pytest.approx(whole[f"{name}_error"], rel=0.01)
        assert stars["chi2"] == pytest.approx(whole["chi2"], rel=1e-3)
        assert (stars["dof"] == whole["dof"]).all()
    else:
        for name in LABELS:
            assert np.abs(stars[name] - whole[name]).max() < 1.5 * whole[f"{name}_error"].max()
        assert (stars["dof"] == whole["dof"] - 1).all(), "a velocity more"


def test_chips_on_axes_of_their_own_are_those_of_networks_of_their_own(networks):
    """Two networks files, one a chip, as arms have them."""
    _, flux, error = visits(networks, np.full((N_STAR, 1), 11.0))
    names = names_of(N_STAR, 1)
    arms = []
    for own in (slice(0, GAP), slice(GAP, N_PIXEL)):
        arrays = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "wavelength", "emulator_rms")
        arm = replace(networks, **{name: getattr(networks, name)[own] for name in arrays})
        arms.append(Pieces(arm, flux[:, own], error[:, own], names))
    whole = fit_spectra(networks, flux, error, settings=SETTINGS)
    stars, pieces = fit_stars(arms, settings=SETTINGS)
    assert stars["identifier"].tolist() == names.tolist()
    assert pieces["part"].tolist() == [0, 1] * N_STAR
    for name in (*LABELS, "RV"):
        assert np.abs(stars[name] - whole[name]).max() < 0.05 * whole[f"{name}_error"].min()
        assert stars[f"{name}_error"] == pytest.approx(whole[f"{name}_error"], rel=0.02)


@pytest.mark.parametrize("velocity", ["common", "each"])
def test_errors_of_visits_are_those_of_the_summed_information(networks, velocity):
    exact = replace(networks, emulator_rms=np.full(N_PIXEL, 1e-9))
    speeds = np.full((40, 3), 5.0) + (0.0 if velocity == "common" else np.array([-20.0, 0.0, 9.0]))
    labels, flux, error = visits(exact, speeds, n_star=40)
    settings = replace(SETTINGS, emulator_error=True)
    alone = fit_spectra(exact, flux, error, settings=settings)
    stars, pieces = fit_stars([Pieces(exact, flux, error, names_of(40, 3))], settings=settings, velocity=velocity)
    for j, name in enumerate(LABELS):
        information = (np.asarray(alone[f"{name}_error"]).reshape(40, 3) ** -2.0).sum(axis=1)
        assert np.median(stars[f"{name}_error"] * np.sqrt(information)) == pytest.approx(1.0, abs=0.03)
        pull = (stars[name] - labels[:, j]) / stars[f"{name}_error"]
        assert 0.75 < pull.std() < 1.25, name
    assert 0.75 < ((stars["RV"] - speeds.mean(axis=1)) / stars["RV_error"]).std() < 1.3 or velocity == "each"
    pull = (pieces["RV"] - speeds.ravel()) / pieces["RV_error"]
    assert 0.8 < pull.std() < 1.2
    assert np.sqrt(np.mean(pieces["disagreement"] ** 2)) == pytest.approx(np.sqrt(2 / 3), abs=0.2)


def test_the_emulators_own_error_does_not_average_down(networks):
    """Exact spectra of an emulator that is off by much more than the noise: three visits know no more than one."""
    wrong = replace(networks, emulator_rms=np.full(N_PIXEL, 0.02))
    _, flux, error = visits(wrong, np.full((N_STAR, 3), 5.0), noise=1e-4)
    alone = fit_spectra(wrong, flux[::3], error[::3], settings=SETTINGS)
    stars, _ = fit_stars([Pieces(wrong, flux, error, names_of(N_STAR, 3))], settings=SETTINGS)
    for name in LABELS:
        assert stars[f"{name}_error"] == pytest.approx(alone[f"{name}_error"], rel=0.1)
    _, flux, error = visits(wrong, np.full((N_STAR, 3), 5.0), noise=0.2)
    alone = fit_spectra(wrong, flux[::3], error[::3], settings=SETTINGS)
    stars, _ = fit_stars([Pieces(wrong, flux, error, names_of(N_STAR, 3))], settings=SETTINGS)
    assert np.median(alone["label0_error"] / stars["label0_error"]) > 1.4


@pytest.mark.parametrize("velocity", ["common", "each"])
def test_a_star_that_moves_is_flagged_and_noise_is_not(networks, velocity):
    still = np.full((200, 3), 5.0)
    _, flux, error = visits(networks, still, n_star=200, noise=0.03)
    given = Pieces(networks, flux, error, names_of(200, 3))
    stars, pieces = fit_stars([given], settings=SETTINGS, velocity=velocity)
    variable = (stars["flags"] & FitFlag.RV_VARIABLE) > 0
    assert variable.sum() <= 2, "a chance of one in a thousand"
    assert 0.3 < np.median(stars["RV_chance"]) < 0.7
    moving = still[:N_STAR] + 8.0 * np.median(pieces["RV_error"]) * np.array([-1.0, 0.0, 1.0])
    _, flux, error = visits(networks, moving, noise=0.03)
    given = Pieces(networks, flux, error, names_of(N_STAR, 3))
    stars, _ = fit_stars([given], settings=SETTINGS, velocity=velocity)
    assert ((stars["flags"] & FitFlag.RV_VARIABLE) > 0).all()
    assert (stars["RV_scatter"] > 3.0 * np.median(pieces["RV_error"])).all()


def test_barycentric_corrections_make_velocities_common(networks):
    correction = np.random.default_rng(5).uniform(-25.0, 25.0, (N_STAR, 3))
    labels, flux, error = visits(networks, 12.0 - correction)
    given = Pieces(networks, flux, error, names_of(N_STAR, 3), barycentric=correction.ravel())
    for velocity in ("common", "each"):
        stars, pieces = fit_stars([given], settings=SETTINGS, velocity=velocity)
        assert np.abs((stars["RV"] - 12.0) / stars["RV_error"]).max() < 4.5
        assert np.abs((pieces["RV"] - 12.0) / pieces["RV_error"]).max() < 4.5
        assert not (stars["flags"] & FitFlag.RV_VARIABLE).any()
        for j, name in enumerate(LABELS):
            assert np.abs((stars[name] - labels[:, j]) / stars[f"{name}_error"]).max() < 4.5
    without = fit_stars([replace(given, barycentric=None)], settings=SETTINGS)[0]
    assert ((without["flags"] & FitFlag.RV_VARIABLE) > 0).all()


def test_neither_order_nor_blocks_nor_threads_change_a_star(networks, monkeypatch):
    _, flux, error = visits(networks, np.tile([-9.0, 2.0, 15.0], (N_STAR, 1)))
    names = names_of(N_STAR, 3)
    for velocity in ("common", "each"):
        stars, _ = fit_stars([Pieces(networks, flux, error, names)], settings=SETTINGS, velocity=velocity)
        order = np.random.default_rng(1).permutation(len(names))
        given = [Pieces(networks, flux[some], error[some], names[some]) for some in (order[:20], order[20:])]
        monkeypatch.setattr("payneflow.fitting.stars.PIECES_A_BLOCK", 4)
        other, _ = fit_stars(given, settings=SETTINGS, velocity=velocity, processes=2)
        again, _ = fit_stars([Pieces(networks, flux, error, names)], settings=SETTINGS, velocity=velocity, processes=2)
        monkeypatch.undo()
        other = other[np.argsort(np.array([name.split()[1] for name in other["identifier"]], dtype=int))]
        assert set(other["identifier"]) == set(names)
        for name in stars.colnames:
            assert np.array_equal(stars[name], again[name], equal_nan=stars[name].dtype.kind == "f"), name
        for name in (*LABELS, "RV"):
            assert np.abs(stars[name] - other[name]).max() < 2e-3 * stars[f"{name}_error"].min()
            assert stars[f"{name}_error"] == pytest.approx(other[f"{name}_error"], rel=1e-4)


@pytest.mark.parametrize("velocity", ["common", "each"])
def test_a_bad_piece_is_flagged_and_its_star_fitted_from_the_others(networks, velocity):
    _, flux, error = visits(networks, np.full((N_STAR, 3), 3.0))
    names, bad = names_of(N_STAR, 3), np.zeros(3 * N_STAR, dtype=bool)
    bad[[1, 5, 9, 10, 11]] = True  # one of three, and all of the fourth star
    good = Pieces(networks, flux[~bad], error[~bad], names[~bad])
    expected, _ = fit_stars([good], settings=SETTINGS, velocity=velocity)
    flux[bad] = np.nan
    stars, pieces = fit_stars([Pieces(networks, flux, error, names)], settings=SETTINGS, velocity=velocity)
    assert (pieces["flags"][bad] == FitFlag.FAILED).all() and not (pieces["flags"][~bad] & FitFlag.FAILED).any()
    assert stars["flags"][3] == FitFlag.FAILED and np.isnan(stars["label0"][3]) and np.isnan(stars["RV"][3])
    assert stars["n_piece"].tolist() == [3] * N_STAR
    assert stars["n_fitted"].tolist() == [2, 2, 3, 0] + [3] * (N_STAR - 4)
    left = stars[stars["n_fitted"] > 0]
    for name in (*LABELS, "RV", "chi2", "dof", "flags"):
        assert left[name] == pytest.approx(np.asarray(expected[name]), rel=1e-9), name


def test_a_visit_too_faint_to_tell_its_velocity_has_that_of_the_others(networks):
    labels, flux, error = visits(networks, np.full((N_STAR, 3), -30.0), noise=0.01)
    rng = np.random.default_rng(8)
    faint = np.arange(3 * N_STAR) % 3 == 0
    flux[faint] += 1.5 * rng.normal(size=flux[faint].shape)
    error[faint] = np.where(np.isfinite(error[faint]), 1.5, np.inf)
    stars, pieces = fit_stars([Pieces(networks, flux, error, names_of(N_STAR, 3))], settings=SETTINGS)
    assert (pieces["flags"][faint] & FitFlag.RV_UNSURE).any()
    assert np.abs((stars["RV"] + 30.0) / stars["RV_error"]).max() < 4.5
    assert not (stars["flags"] & FitFlag.RV_VARIABLE).any()
    for j, name in enumerate(LABELS):
        assert np.abs((stars[name] - labels[:, j]) / stars[f"{name}_error"]).max() < 4.5


def test_what_cannot_be_one_star_is_refused(networks):
    _, flux, error = visits(networks, np.zeros((2, 1)), n_star=2)
    given = Pieces(networks, flux, error, np.array(["a", "b"]))
    refused = [
        (SettingsError, 'expected "common" or "each"', [given], {"velocity": "own"}),
        (SettingsError, "none is fitted", [given], {"velocity": "each", "settings": FitSettings(continuum=4)}),
        (SpectraError, "no pieces", [], {}),
        (SpectraError, "star has shape", [replace(given, star=np.array(["a"]))], {}),
        (SpectraError, "the same name is the same star", [given, replace(given, star=np.array([1, 2]))], {}),
        (SpectraError, r"pieces\[1\]: flux has shape", [given, replace(given, flux=flux[:, :9])], {}),
        (
            SettingsError,
            r"pieces\[1\]: the networks have the labels",
            [given, replace(given, networks=replace(networks, label_names=("a", "b", "c")))],
            {},
        ),
        (
            SettingsError,
            "expected the same range",
            [given, replace(given, networks=replace(networks, x_min=networks.x_min - 1.0))],
            {},
        ),
        (
            SettingsError,
            "kind linear, those of the first pieces logistic: .* Give all pieces the same networks file",
            [given, replace(given, networks=replace(networks, output="linear"))],
            {},
        ),
        (SettingsError, "one for all of its pieces", [given], {"settings": replace(SETTINGS, fixed={"label0": None})}),
        (SpectraError, "barycentric has shape", [replace(given, barycentric=np.zeros(3))], {}),
        (SpectraError, "barycentric of piece 1", [replace(given, barycentric=np.array([0.0, np.nan]))], {}),
        (
            SettingsError,
            "barycentric is given",
            [replace(given, barycentric=1.0)],
            {"settings": FitSettings(continuum=4)},
        ),
    ]
    for kind, says, pieces, options in refused:
        with pytest.raises(kind, match=says):
            fit_stars(pieces, **{"settings": SETTINGS, **options})


def test_a_label_that_is_held_or_has_a_prior_is_so_once_for_a_star(networks):
    labels, flux, error = visits(networks, np.full((N_STAR, 3), 3.0), noise=0.2)
    held = replace(SETTINGS, fixed={"label1": float(networks.scaler.unscale(np.full(3, 0.5))[1])})
    stars, _ = fit_stars([Pieces(networks, flux, error, names_of(N_STAR, 3))], settings=held)
    assert (stars["label1_error"] == 0.0).all() and np.ptp(stars["label1"]) < 1e-12
    free = fit_stars([Pieces(networks, flux, error, names_of(N_STAR, 3))], settings=SETTINGS)[0]
    sigma = float(np.median(free["label0_error"]))
    known = replace(SETTINGS, priors={"label0": (float(labels[0, 0]), sigma)})
    stars, _ = fit_stars([Pieces(networks, flux, error, names_of(N_STAR, 3))], settings=known)
    expected = (free["label0_error"] ** -2.0 + sigma**-2.0) ** -0.5
    assert np.median(stars["label0_error"] / expected) == pytest.approx(1.0, abs=0.05)


def test_arms_whose_axes_have_other_steps_share_velocity_and_rotation():
    """Widths and shifts are in places of an axis: those of the second arm are other places, and other parameters."""
    settings = FitSettings(velocity=True, max_velocity=60.0, vsini=True, max_vsini=60.0, emulator_error=False)
    first = line_networks(2, 3, n_pixel=1600, seed=4)  # as in test_broadening.py
    second = line_networks(2, 3, n_pixel=1600, seed=5)
    logarithm = np.log(second.wavelength)
    second = replace(second, wavelength=np.exp(logarithm[0] + 1.5 * (logarithm - logarithm[0])))
    rng = np.random.default_rng(2)
    labels, vsini = first.scaler.unscale(rng.uniform(0.3, 0.7, (24, 2))), np.repeat([0.0, 12.0, 30.0], 8)
    arms, alone = [], []
    for arm in (first, second):
        flux = SpectralModel(arm, settings).predict(labels, -8.0, broadening={"vsini": vsini})
        error = np.where(np.isfinite(flux), 0.003, np.inf)
        flux = np.where(np.isfinite(flux), flux, 1.0) + 0.003 * rng.normal(size=flux.shape)
        arms.append(Pieces(arm, flux, error, np.arange(24)))
        alone.append(fit_spectra(arm, flux, error, settings=settings))
    for velocity in ("common", "each"):
        stars, pieces = fit_stars(arms, settings=settings, velocity=velocity)
        told = vsini > 0.0
        information = sum(one["vsini_error"] ** -2.0 for one in alone)
        assert np.median((stars["vsini_error"] * np.sqrt(information))[told]) == pytest.approx(1.0, abs=0.15)
        assert np.abs((stars["vsini"] - vsini) / stars["vsini_error"])[told].max() < 4.5
        assert (stars["vsini_limit"][~told] > 0.0).sum() >= 6, "upper limits"
        assert np.abs((stars["RV"] + 8.0) / stars["RV_error"]).max() < 4.5
        assert np.abs((pieces["RV"] + 8.0) / pieces["RV_error"]).max() < 4.5
        other, _ = fit_stars(arms[::-1], settings=settings, velocity=velocity)
        for name in ("label0", "label1", "RV", "vsini"):
            assert np.abs((stars[name] - other[name]) / stars[f"{name}_error"])[told].max() < 5e-3, name


def measured(networks):
    """Label errors of a few hundredths of the training range, and of velocities, as a calibration finds them."""
    rng = np.random.default_rng(0)
    scaled, held_back = rng.uniform(0.1, 0.9, (60, 3)), np.arange(60) % 2 == 1
    errors = rng.normal(size=(60, 4)) * [0.02, 0.03, 0.01, 0.4]
    given = {"lengths": np.full(3, 0.5), "nugget": 1.0, "size_lengths": np.full(3, 5.0), "size_nugget": 1.0}
    mode, digest = SETTINGS.mode(networks.label_names), networks.digest
    return LabelErrors(
        scaled, errors, np.arange(60), held_back, scaled[~held_back], **given, mode=mode, networks=digest
    )


def test_label_errors_are_added_once_however_many_visits_there_are(networks):
    """Hardly any noise: what is left is what the calibration measured, for one visit as for three."""
    exact = replace(networks, emulator_rms=np.full(N_PIXEL, 1e-9))
    _, flux, error = visits(exact, np.full((N_STAR, 3), 5.0), noise=1e-4)
    errors = measured(exact)
    alone = fit_spectra(exact, flux[::3], error[::3], settings=SETTINGS, label_errors=errors)
    given = Pieces(exact, flux, error, names_of(N_STAR, 3), label_errors=errors)
    for velocity in ("common", "each"):
        stars, pieces = fit_stars([given], settings=SETTINGS, velocity=velocity)
        assert stars.meta["errors"] == "calibrated"
        for name in (*LABELS, "RV"):
            assert stars[f"{name}_error"] == pytest.approx(alone[f"{name}_error"], rel=0.05), (velocity, name)
        for name in LABELS:
            assert np.abs(stars[name] - alone[name]).max() < 0.1 * alone[f"{name}_error"].min()
        assert pieces["RV_error"][::3] == pytest.approx(np.asarray(alone["RV_error"]), rel=0.05)


def test_label_errors_of_all_pieces_are_the_same(networks):
    given = Pieces(networks, np.ones((1, N_PIXEL)), 0.1, np.array(["a"]), label_errors=measured(networks))
    with pytest.raises(CalibrationError, match=r"pieces\[1\] has no label errors"):
        fit_stars([given, replace(given, label_errors=None)], settings=SETTINGS)
    other = replace(networks, b_array_1=networks.b_array_1 + 1.0)
    with pytest.raises(CalibrationError, match="other weights"):
        fit_stars([replace(given, networks=other)], settings=SETTINGS)
