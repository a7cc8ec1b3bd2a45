"""What a fit finds where the answer is known: labels, velocities, continua, flags; and what must not change a bit."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import PATIENCE
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from known_networks import line_networks
from scipy.optimize import least_squares

from payneflow import PixelNetworks, fit_spectra
from payneflow.errors import SettingsError, SpectraError
from payneflow.fitting import FitFlag, FitSettings, LabelFlag
from payneflow.fitting.engine.arguments import TERMS
from payneflow.fitting.engine.engines import engine_for
from payneflow.wavelength import is_gap

NOISE = 0.01
EVERYTHING = FitSettings(velocity=True, continuum=2, max_velocity=100.0)
PURE = FitSettings(emulator_error=False)


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=400, seed=4)


@pytest.fixture(scope="module")
def stars(networks):
    """Labels (100, 2) inside the training range, their flux, and the flux with noise."""
    rng = np.random.default_rng(1)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (100, 2)))
    flux = networks.predict(labels)
    return labels, flux, flux + rng.normal(0, NOISE, flux.shape)


def values(table):
    return np.array([table["label0"], table["label1"]]).T


def same(one, other):
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one.colnames)


def moved(networks, flux, velocity, half=24):
    """Flux of the networks' pixels at radial velocities (n,): Kaiser sinc of 48 taps; edges of segments are useless."""
    step = np.median(np.diff(np.log(networks.wavelength)))
    result = np.empty_like(flux)
    cut = np.flatnonzero(is_gap(networks.wavelength)) + 1
    for i, v in enumerate(velocity):
        shift = np.arctanh(v / 299792.458) / step
        whole = int(np.floor(-shift))
        away = -shift - whole - np.arange(1 - half, half + 1)
        taps = np.sinc(away) * np.i0(7 * np.sqrt(np.maximum(1 - (away / half) ** 2, 0)))
        taps /= taps.sum()
        for part in np.split(np.arange(flux.shape[1]), cut):
            wide = np.pad(flux[i, part], 200, mode="edge")
            places = 200 + whole + 1 - half + np.arange(len(part))
            result[i, part] = sum(tap * wide[places + k] for k, tap in enumerate(taps))
    return result


# ------------------------------------------------------------------------------------------------------ known answers


def test_the_minimum_is_that_of_a_general_solver(networks, stars):
    """Within 1e-4 sigma of where scipy ends with tolerances of 1e-14; the same formal covariance."""
    table = fit_spectra(networks, stars[2], NOISE, settings=PURE)
    width = networks.scaler.width
    for noisy, row in list(zip(stars[2], table, strict=True))[:12]:
        fit = least_squares(
            lambda x, noisy=noisy: (networks.predict_scaled(x) - noisy) / NOISE,
            networks.scaler.scale([row["label0"], row["label1"]]),
            lambda x: networks.jacobian_scaled(x)[1] / NOISE,
            (0, 1),
            ftol=1e-14,
            xtol=1e-14,
            gtol=1e-14,
        )
        matrix = fit.jac.T @ fit.jac
        difference = networks.scaler.scale([row["label0"], row["label1"]]) - fit.x
        assert np.sqrt(difference @ matrix @ difference) < 1e-4
        assert row["chi2"] == pytest.approx(2 * fit.cost, rel=1e-6)
        assert row["covariance"] == pytest.approx(np.linalg.inv(matrix) * width[:, None] * width, rel=2e-3)
    assert (table["flags"] == 0).all() and (table["n_pixel"] == 400).all() and (table["n_masked"] == 0).all()
    assert table["SNR"] == pytest.approx(np.median(stars[2] / NOISE, axis=1), rel=0.02)


def test_the_start_does_not_matter(networks, stars):
    own = fit_spectra(networks, stars[2], NOISE)
    for start in ("middle", stars[0]):
        other = fit_spectra(networks, stars[2], NOISE, start=start)
        assert np.abs((values(own) - values(other)) / own["label0_error"][:, None]).max() < 2e-3


def test_a_finer_tolerance_ends_nearer(networks, stars):
    exact = fit_spectra(networks, stars[2], NOISE, settings=FitSettings(tolerance=1e-9))
    for tolerance in (0.1, 1e-3):
        near = fit_spectra(networks, stars[2], NOISE, settings=FitSettings(tolerance=tolerance))
        assert np.abs((values(near) - values(exact)) / exact["label0_error"][:, None]).max() < tolerance
        assert near["iterations"].mean() < exact["iterations"].mean()


def test_a_fixed_label_stays_and_the_other_is_that_of_a_fit_without_it(networks, stars):
    labels, _, noisy = stars
    settings = FitSettings(fixed={"label1": float(labels[0, 1])}, emulator_error=False)
    (row,) = fit_spectra(networks, noisy[0], NOISE, settings=settings)
    held = networks.scaler.scale(labels[0])[1]
    fit = least_squares(
        lambda x: (networks.predict_scaled(np.array([x[0], held])) - noisy[0]) / NOISE, [0.5], xtol=1e-14, ftol=1e-14
    )
    assert row["label0"] == pytest.approx(networks.scaler.unscale([fit.x[0], held])[0], rel=1e-6)
    assert row["label1"] == pytest.approx(labels[0, 1], rel=1e-14) and row["label1_error"] == 0
    assert row["label0_error"] == pytest.approx(networks.scaler.width[0] / np.linalg.norm(fit.jac), rel=1e-3)
    assert row["dof"] == 400 - 1


def test_a_label_fixed_to_none_stays_where_each_spectrum_starts(networks, stars):
    labels, _, noisy = stars
    each = fit_spectra(networks, noisy[:5], NOISE, settings=FitSettings(fixed={"label1": None}), start=labels[:5])
    assert each["label1"] == pytest.approx(labels[:5, 1], rel=1e-12)
    for i in range(5):
        one = FitSettings(fixed={"label1": float(labels[i, 1])})
        assert each["label0"][i] == pytest.approx(fit_spectra(networks, noisy[i], NOISE, settings=one)["label0"][0])
    with pytest.raises(SpectraError, match="fixed label1 is None"):
        fit_spectra(networks, noisy[:5], NOISE, settings=FitSettings(fixed={"label1": None}))


def test_a_prior_is_one_more_measurement(networks, stars):
    labels, _, noisy = stars
    sigma = 0.02
    settings = FitSettings(priors={"label0": (float(labels[0, 0]), sigma)}, emulator_error=False)
    (row,) = fit_spectra(networks, noisy[0], NOISE, settings=settings)
    mean, scaled_sigma = networks.scaler.scale(labels[0])[0], sigma / networks.scaler.width[0]

    def residuals(x):
        return np.append((networks.predict_scaled(x) - noisy[0]) / NOISE, (x[0] - mean) / scaled_sigma)

    fit = least_squares(residuals, [0.5, 0.5], xtol=1e-14, ftol=1e-14)
    assert [row["label0"], row["label1"]] == pytest.approx(networks.scaler.unscale(fit.x), rel=1e-6)
    sigmas = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac))) * networks.scaler.width
    assert [row["label0_error"], row["label1_error"]] == pytest.approx(sigmas, rel=2e-3)
    assert row["chi2"] == pytest.approx((residuals(fit.x)[:-1] ** 2).sum(), rel=1e-6), "of the data alone"


def test_the_emulators_error_is_part_of_the_noise(networks, stars):
    with_it = fit_spectra(networks, stars[2], NOISE)
    total = np.hypot(NOISE, networks.emulator_rms[0])
    assert values(with_it) == pytest.approx(values(fit_spectra(networks, stars[2], total, settings=PURE)), rel=1e-9)


def test_velocity_and_continuum_are_found_together(networks, stars):
    labels, flux, _ = stars
    rng = np.random.default_rng(7)
    velocity = rng.uniform(-95, 95, len(flux))
    x = np.linspace(-1, 1, 400)
    continuum = rng.uniform(50, 5000, (100, 1)) * (1 + rng.uniform(-0.2, 0.2, (100, 1)) * x)
    clean = moved(networks, flux, velocity)
    noisy = continuum * (clean + rng.normal(0, NOISE, flux.shape))
    table = fit_spectra(networks, noisy, NOISE * continuum, settings=EVERYTHING)
    sure = (table["flags"] & (FitFlag.RV_EDGE | FitFlag.RV_UNSURE | FitFlag.AT_BOUND)) == 0
    assert sure.mean() > 0.85
    pulls = ((table["RV"] - velocity) / table["RV_error"])[sure]
    assert np.abs(np.median(pulls)) < 0.4 and 0.7 < np.std(pulls) < 1.3 and np.abs(pulls).max() < 6
    for j in range(2):
        pulls = (values(table)[:, j] - labels[:, j])[sure] / table[f"label{j}_error"][sure]
        assert 0.7 < 1.4826 * np.median(np.abs(pulls)) < 1.3
    assert np.median(table["chi2"] / table["dof"]) == pytest.approx(1, abs=0.05)
    assert table["RV"].unit == "km/s" and (table["dof"] == table["n_pixel"] - 3 - 4).all()


def test_continua_are_recovered(networks, stars):
    """Without noise the Chebyshev coefficients of each segment come back, whatever the unit of the flux."""
    _, flux, _ = stars
    engine = engine_for(networks, FitSettings(continuum=2), None, True)
    fits = engine.no_fits(1)
    coefficients = 1e-12 * np.array([[1.0, 0.1], [2.0, -0.3]])
    cut = int(np.flatnonzero(is_gap(networks.wavelength))[0]) + 1
    wavelength = networks.wavelength
    parts = []
    for own, c in zip((wavelength[:cut], wavelength[cut:]), coefficients, strict=True):
        parts.append(np.polynomial.chebyshev.chebval(2 * (own - own[0]) / (own[-1] - own[0]) - 1, c))
    continuum = np.concatenate(parts)[None]
    engine.fit(flux[:1] * continuum, 1e-3 * continuum, np.full((1, 1, 2), 0.5), fits, engine.working())
    assert fits.continua[0] == pytest.approx(coefficients, rel=1e-4, abs=1e-16)
    assert fits.counts[0, TERMS] == 4


def test_the_emulator_goes_to_the_data_on_another_wavelength_axis(networks, stars):
    """Data at irregular places, made of the same smooth spectra by 48 taps: labels within the interpolation's error."""
    labels, flux, _ = stars
    step = np.median(np.diff(np.log(networks.wavelength)))
    rng = np.random.default_rng(3)
    offsets = np.sort(rng.uniform(0.05, 0.95, 6))
    wavelength, data = [], []
    for offset in offsets:  # a shift to the red by v shows at pixel i what the unshifted spectrum has at i - offset
        wavelength.append(networks.wavelength[150:370] * np.exp(-offset * step))
        speed = 299792.458 * np.tanh(offset * step)
        data.append(moved(networks, flux[:10], np.full(10, speed))[:, 150:370])
    order = np.argsort(np.concatenate(wavelength))
    axis, spectra = np.concatenate(wavelength)[order], np.concatenate(data, axis=1)[:, order]
    table = fit_spectra(networks, spectra, 1e-3, axis)
    assert values(table) == pytest.approx(labels[:10], abs=5e-3) and (table["flags"] == 0).all()
    beyond = fit_spectra(networks, np.c_[spectra, np.ones(10)], 1e-3, np.append(axis, 2 * axis[-1]))
    assert (beyond["n_masked"] == table["n_masked"] + 1).all() and (values(beyond) == values(table)).all()


def test_the_same_pixels_given_as_a_wavelength_axis(networks, stars):
    own, given = fit_spectra(networks, stars[2], NOISE), fit_spectra(networks, stars[2], NOISE, networks.wavelength)
    assert (own["n_pixel"] - given["n_pixel"] == 2 * 8).all(), "taps reach beyond the ends of two segments"
    assert np.abs((values(own) - values(given)) / own["label0_error"][:, None]).max() < 1.5


# --------------------------------------------------------------------------------------------------------- never a bit


@pytest.fixture(scope="module")
def undisturbed(networks, stars):
    """Fits of the spectra as they are, of labels alone (False) and of everything (True)."""
    each = {False: FitSettings(), True: EVERYTHING}
    return {everything: fit_spectra(networks, stars[2], NOISE, settings=asked) for everything, asked in each.items()}


@hypothesis_settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), processes=st.integers(1, 5), everything=st.booleans())
def test_neither_order_nor_company_nor_threads_change_a_bit(networks, stars, undisturbed, seed, processes, everything):
    settings = EVERYTHING if everything else FitSettings()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(100)[: rng.integers(1, 100)]
    spectra = stars[2].copy()
    spectra[rng.integers(100)] = rng.choice([np.nan, np.inf, 0.0, -1e300])
    error = np.full(spectra.shape, NOISE)
    error[rng.integers(100)] = rng.choice([np.nan, 0.0, -1.0, 1e-300, 1e300])
    alone = undisturbed[everything][rows]
    together = fit_spectra(networks, spectra[rows], error[rows], settings=settings, processes=processes)
    untouched = (spectra[rows] == stars[2][rows]).all(axis=1) & (error[rows] == NOISE).all(axis=1)
    del alone["spectrum"], together["spectrum"]
    assert same(alone[untouched], together[untouched]) and untouched.sum() >= len(rows) - 2


def test_float32_and_strided_input_are_the_same_numbers(networks, stars):
    spectra = stars[2].astype(np.float32)
    strided = np.asfortranarray(spectra)[::2]
    assert same(fit_spectra(networks, spectra.astype(float)[::2], NOISE), fit_spectra(networks, strided, NOISE))


def test_progress_counts_every_spectrum(networks, stars):
    seen = []
    fit_spectra(networks, stars[2], NOISE, processes=2, progress=seen.append)
    assert seen[-1] == 100 and seen == sorted(seen)


def test_machine_code_is_read_from_disk_by_the_next_process():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from known_networks import line_networks; import numpy as np;"
        "from payneflow import fit_spectra; fit_spectra(line_networks(2, 3, 400, 4), np.ones((1, 400)), 0.1)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE) for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert "compiling" not in runs[1].stderr


# --------------------------------------------------------------------------------------------------------------- flags


def flagged(table, flag):
    return ((np.asarray(table["flags"]) & flag) > 0).tolist()


def test_a_model_that_does_not_describe_the_spectrum(networks, stars):
    """Four times the noise, and nobody reported it: errors are scaled, and the extra scatter is what was added."""
    extra = np.random.default_rng(2).normal(0, 0.04, stars[1].shape)
    honest, wrong = fit_spectra(networks, stars[2], NOISE), fit_spectra(networks, stars[2] + extra, NOISE)
    assert not any(flagged(honest, FitFlag.MODEL_MISMATCH)) and all(flagged(wrong, FitFlag.MODEL_MISMATCH))
    assert np.median(wrong["extra_scatter"]) == pytest.approx(0.04, rel=0.05)
    assert np.median(honest["extra_scatter"]) == 0
    ratio = wrong["label0_error"] / honest["label0_error"]
    assert np.median(ratio / np.sqrt(wrong["chi2"] / wrong["dof"])) == pytest.approx(1, abs=0.1)


def test_extra_scatter_is_in_units_of_the_normalised_flux(networks, stars):
    extra = np.random.default_rng(2).normal(0, 0.04, stars[1].shape)
    table = fit_spectra(networks, 300 * (stars[2] + extra), 300 * NOISE, settings=EVERYTHING)
    assert np.median(table["extra_scatter"]) == pytest.approx(0.04, rel=0.05)


def test_a_star_outside_the_training_labels(networks):
    scaled = np.array([[0.95, 0.5], [0.5, 0.03], [0.5, 0.5], [0.89, 0.11], [1.7, 0.5]])
    table = fit_spectra(networks, networks.predict_scaled(scaled), 1e-3)
    assert flagged(table, FitFlag.OUTSIDE_TRAINING) == [True, True, False, False, True]
    assert flagged(table, FitFlag.AT_BOUND) == [False, False, False, False, True]
    assert (np.asarray(table["label0_flags"]) & LabelFlag.OUTSIDE_TRAINING).tolist() == [2, 0, 0, 0, 2]
    assert table["label1_flags"].tolist() == [0, LabelFlag.OUTSIDE_TRAINING, 0, 0, table["label1_flags"][4]]
    assert table["label0_flags"][4] == LabelFlag.AT_BOUND | LabelFlag.OUTSIDE_TRAINING


def test_a_label_that_the_spectrum_does_not_tell_flags_itself_and_not_the_star(networks, stars):
    """Its error is its range; the other label is fitted as if there were no such label."""
    silent = networks.w_array_0.copy()
    silent[:, :, 1] = 0.0
    deaf = replace(networks, w_array_0=silent)
    flux = deaf.predict(stars[0]) + NOISE * np.random.default_rng(6).normal(size=stars[1].shape)
    table = fit_spectra(deaf, flux, NOISE)
    middle = float(networks.scaler.unscale([0.5, 0.5])[1])
    alone = fit_spectra(deaf, flux, NOISE, settings=FitSettings(fixed={"label1": middle}))
    assert table["label1_error"] == pytest.approx(networks.x_max[1] - networks.x_min[1])
    assert (table["label1_flags"] == LabelFlag.NO_INFORMATION).all()
    assert (table["flags"] == 0).all() and (table["label0_flags"] == 0).all()
    assert np.abs((table["label0"] - alone["label0"]) / alone["label0_error"]).max() < 1e-3
    assert table["label0_error"] == pytest.approx(alone["label0_error"], rel=1e-3)


def test_fits_that_end_at_a_bound_converge_and_noise_flags_no_star(networks):
    """All of the spectrum's signal is noise here: once every tenth search went on until all passes were used."""
    rng = np.random.default_rng(8)
    flux = networks.predict_scaled(rng.uniform(0.15, 0.85, (300, 2)))
    table = fit_spectra(networks, flux + rng.normal(0, 3.0, flux.shape), 3.0)
    at_bound = np.stack([table[f"label{j}_flags"] & LabelFlag.AT_BOUND for j in range(2)]) > 0
    assert at_bound.any(axis=0).mean() > 0.3
    assert not any(flagged(table, FitFlag.NOT_CONVERGED)) and np.mean(flagged(table, FitFlag.AT_BOUND)) < 0.03
    width = networks.x_max - networks.x_min
    for j in range(2):
        error = np.asarray(table[f"label{j}_error"])
        untold = (np.asarray(table[f"label{j}_flags"]) & LabelFlag.NO_INFORMATION) > 0
        assert error.max() <= width[j] * (1 + 1e-12) and (untold == (error > 0.5 * width[j])).all()
        covariance = np.asarray(table["covariance"])[:, j, j]
        assert error == pytest.approx(np.sqrt(covariance))


def test_few_pixels_and_none(networks, stars):
    spectra = np.repeat(stars[2][:1], 4, axis=0)
    spectra[0, 19:] = spectra[1, 20:] = spectra[2, 2:] = np.nan
    table = fit_spectra(networks, spectra, NOISE)
    assert flagged(table, FitFlag.FEW_PIXELS) == [True, False, False, False]
    assert flagged(table, FitFlag.FAILED) == [False, False, True, False]
    assert table["n_pixel"].tolist() == [19, 20, 2, 400] and table["n_masked"].tolist() == [381, 380, 398, 0]


def test_velocities_at_the_edge_and_unsure_ones(networks, stars):
    flux = moved(networks, stars[1][:20], np.full(20, 99.5))
    table = fit_spectra(
        networks, flux + np.random.default_rng(0).normal(0, 1e-3, flux.shape), 1e-3, settings=EVERYTHING
    )
    assert np.mean(flagged(table, FitFlag.RV_EDGE)) > 0.9
    noise = 1 + np.random.default_rng(0).normal(0, 1, (20, 400))
    assert np.mean(flagged(fit_spectra(networks, noise, 1.0, settings=EVERYTHING), FitFlag.RV_UNSURE)) > 0.8


def test_starts_that_disagree():
    """A flux that depends on the square of a label has two labels for each spectrum."""
    rng = np.random.default_rng(0)
    slope, depth = rng.uniform(4, 8, 64), rng.uniform(0.5, 1.5, 64)
    networks = PixelNetworks(
        w_array_0=np.stack([slope, -slope], axis=1)[:, :, None],
        b_array_0=np.stack([-0.8 * slope, 0.2 * slope], axis=1),
        w_array_1=np.stack([depth, depth], axis=1),
        b_array_1=np.zeros(64),
        x_min=np.zeros(1),
        x_max=np.ones(1),
        wavelength=15000.0 + np.arange(64.0),
        label_names=("label",),
        label_units=("",),
        emulator_rms=np.zeros(64),
    )
    flux = networks.predict_scaled(np.array([[0.2], [0.8]]))
    one, many = fit_spectra(networks, flux, 0.01), fit_spectra(networks, flux, 0.01, settings=FitSettings(n_starts=4))
    assert not any(flagged(one, FitFlag.STARTS_DISAGREE)) and all(flagged(many, FitFlag.STARTS_DISAGREE))


# --------------------------------------------------------------------------------------------------- settings and input


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"continuum": -1}, "continuum is -1"),
        ({"continuum": 2.0}, "continuum is 2.0"),
        ({"n_starts": 0}, "n_starts is 0"),
        ({"most_iterations": 1}, "most_iterations is 1"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"max_velocity": -5.0}, "max_velocity is -5.0"),
        ({"velocity": 1}, "velocity is 1"),
        ({"emulator_error": "yes"}, "emulator_error is 'yes'"),
        ({"fixed": {"label0": "high"}}, "fixed label0 is 'high'"),
        ({"fixed": {"Teff": 5000.0}}, "fixed names the label 'Teff'; the networks have label0, label1"),
        ({"fixed": {"label0": 1e6}}, "beyond the bounds"),
        ({"priors": {"label0": 3.0}}, "expected a pair"),
        ({"priors": {"label0": (3.0, 0.0)}}, r"priors label0 is \(3.0, 0.0\), .* sigma, a number above 0"),
        ({"priors": {"label0": (0.0, 1.0)}, "fixed": {"label0": 0.0}}, "both name label0"),
    ],
)
def test_settings_that_cannot_work_are_refused(networks, stars, given, says):
    with pytest.raises(SettingsError, match=says):
        fit_spectra(networks, stars[1], NOISE, settings=FitSettings(**given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"wavelength": np.arange(400.0)[::-1]}, "increasing"),
        ({"wavelength": np.r_[np.nan, np.arange(1.0, 400)]}, "increasing"),
        ({"wavelength": np.linspace(1500, 1600, 400)}, "no pixel in common. Is the unit Angstrom"),
        ({"wavelength": np.linspace(15000, 15010, 399)}, "flux has shape"),
        ({"flux": np.full((100, 400), "1.0")}, "flux holds <U3"),
        ({"flux_error": np.ones(399)}, "flux_error has shape"),
        ({"identifier": ["a"]}, "identifier has shape"),
        ({"spectrum": np.arange(3)}, "spectrum has shape"),
    ],
)
def test_input_that_does_not_fit_is_refused(networks, stars, given, says):
    given = {"flux": stars[1], "flux_error": NOISE, **given}
    with pytest.raises(SpectraError, match=says):
        fit_spectra(networks, **given)


def test_columns_and_header(networks, stars):
    names = np.array([f"star {i}" for i in range(100)])
    table = fit_spectra(networks, stars[2], NOISE, identifier=names, settings=FitSettings(fixed={"label1": 5.0}))
    assert table.colnames[0] == "identifier" and (table["identifier"] == names).all()
    assert all(table[name].description for name in table.colnames)
    assert table.meta["mode"] == "labels label0" and table.meta["errors"] == "formal"
    assert EVERYTHING.mode(("a", "b")) == "labels a b; velocity; continuum 2"
    numbered = fit_spectra(networks, stars[2], NOISE, spectrum=np.arange(100, 0, -1))
    assert (numbered["spectrum"] == np.arange(100, 0, -1)).all()


class ConstantErrors:
    """Label errors as a calibration measures them: here the same for all labels."""

    n_starts = 1

    def check(self, networks, mode):
        self.mode = mode

    def photon_shares(self, variance, emulator_rms):
        return np.ones((len(variance), 2))

    def estimate(self, scaled, exclude=None):
        self.exclude = exclude
        return np.full((len(scaled), 2), 0.01), np.tile(np.diag([1e-4, 4e-4]), (len(scaled), 1, 1))

    def far(self, scaled, variance):
        return scaled[:, 0] > 0.5

    def emulator_scatter(self, scaled, exclude=None):
        """Not measured."""


def test_calibrated_errors_correct_and_widen(networks, stars):
    spectra = stars[2].copy()
    spectra[3] = np.nan
    errors = ConstantErrors()
    plain = fit_spectra(networks, spectra, NOISE)
    table = fit_spectra(networks, spectra, NOISE, label_errors=errors, exclude=np.arange(100))
    width = networks.scaler.width
    assert values(table) == pytest.approx(values(plain) - 0.01 * width, nan_ok=True)
    added = table["label1_error"] ** 2 - plain["label1_error"] ** 2
    assert np.delete(added, 3) == pytest.approx(4e-4 * width[1] ** 2, rel=1e-6)
    assert errors.mode == "labels label0 label1" and 3 not in errors.exclude and len(errors.exclude) == 99
    assert table.meta["errors"] == "calibrated"
    far = networks.scaler.scale(values(plain))[:, 0] > 0.5
    assert flagged(table, FitFlag.FAR_FROM_TRAINING) == (far & (np.arange(100) != 3)).tolist()
