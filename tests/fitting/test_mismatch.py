"""Is a star another than the model describes? Known answers: noise alone, and stars with one thing wrong at a time."""

import numpy as np
import pytest
from known_networks import line_networks
from scipy.ndimage import gaussian_filter1d

from payneflow import fit_spectra
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.engine.alternatives import COMPANION, CONTINUUM, DILUTION, N_ALTERNATIVE, NARROW
from payneflow.fitting.mismatch import EmulatorScatter, HeldBackScatter, Scores, find_mismatch

NOISE = 0.005
N = 4000  # simulated fits
LABELS = FitSettings(emulator_error=False)


def simulated(amplitude=None, n=N, seed=0):
    """Scores of n fits of two parameters with noise, and with an amplitude (N_ALTERNATIVE,) of the alternatives."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2 + N_ALTERNATIVE, 60))
    cross, information = rows[:2] @ rows[2:].T, rows[2:] @ rows[2:].T
    covariance = np.linalg.inv(rows[:2] @ rows[:2].T)
    left = rows[2:] - cross.T @ covariance @ rows[:2]
    residual = rng.normal(size=(n, 60))
    if amplitude is not None:
        residual += amplitude @ rows[2:]
    residual -= residual @ rows[:2].T @ covariance @ rows[:2]
    scores = Scores.of(
        residual @ rows[2:].T,
        np.tile(information, (n, 1, 1)),
        np.tile(cross, (n, 1, 1)),
        np.tile(covariance, (n, 1, 1)),
    )
    assert scores.information[0] == pytest.approx(left @ left.T)
    found = find_mismatch(
        scores, (residual**2).sum(axis=1), np.full(n, 58), np.full(n, 1.0), np.tile(covariance, (n, 1, 1)),
        EmulatorScatter(np.zeros((n, N_ALTERNATIVE, N_ALTERNATIVE)), np.zeros(n)),
    )  # fmt: skip
    return found, scores, covariance


def test_noise_alone_is_found_to_be_a_mismatch_in_less_than_one_of_a_hundred_fits():
    found, _, covariance = simulated()
    assert found.found.mean() < 0.01
    assert set(found.kind[~found.found]) == {"none"}
    ratio = np.einsum("nii->ni", found.covariance).mean(axis=0) / np.diag(covariance)
    assert (ratio < 0.6).all(), "errors of good stars hardly widen"


@pytest.mark.parametrize(
    ("place", "kind"),
    [(NARROW, "line width"), (DILUTION, "line depth"), (CONTINUUM.start, "continuum"), (COMPANION, "companion")],
)
def test_an_amplitude_is_found_named_and_its_shift_is_in_the_errors(place, kind):
    amplitude = np.zeros(N_ALTERNATIVE)
    amplitude[place] = 3.0
    found, scores, _ = simulated(amplitude, n=300)
    assert found.found.all() and np.mean(found.kind == kind) > 0.7
    shift = scores.leak[0, :, place] * 3.0
    assert (np.einsum("nii->ni", found.covariance).mean(axis=0) > shift**2).all()


def test_sigma_grows_without_end():
    amplitude = np.zeros(N_ALTERNATIVE)
    sizes = []
    for size in (0.0, 1.0, 10.0, 1000.0):
        amplitude[NARROW] = size
        sizes.append(np.median(simulated(amplitude, n=50)[0].sigma))
    assert np.isfinite(sizes).all() and (np.diff(sizes) > 0).all()


def test_an_alternative_that_the_parameters_explain_is_absent():
    cross = np.zeros((1, 1, N_ALTERNATIVE))
    information = np.eye(N_ALTERNATIVE)[None].copy()
    cross[0, 0, DILUTION] = 1.0  # the same as the parameter
    scores = Scores.of(np.ones((1, N_ALTERNATIVE)), information, cross, np.ones((1, 1, 1)))
    assert not scores.present[0, DILUTION] and scores.present[0].sum() == N_ALTERNATIVE - 1
    assert scores.score[0, DILUTION] == 0


def test_what_held_back_spectra_show_is_no_mismatch():
    """Amplitudes of the emulator's own errors are allowed for, near where they were seen more than elsewhere."""
    rng = np.random.default_rng(5)
    labels = rng.uniform(0.1, 0.9, (200, 2))
    wild = labels[:, 0] > 0.7
    amplitudes = rng.normal(size=(200, N_ALTERNATIVE)) * np.where(wild, 10.0, 1.0)[:, None]
    held = HeldBackScatter(labels, amplitudes, np.abs(rng.normal(size=200)), np.full(labels.shape[1], 0.5))
    here = held.at(np.array([[0.2, 0.5], [0.85, 0.5]]))
    ratio = np.diag(here.covariance[1]) / np.diag(here.covariance[0])
    assert (ratio > 5).all()
    own = held.at(labels, np.arange(200))
    size = amplitudes[:, NARROW] ** 2 / own.covariance[:, NARROW, NARROW]
    assert np.quantile(size, 0.98) < 9, "each by the others"


# ---------------------------------------------------------------------------------------------------- with whole fits


@pytest.fixture(scope="module")
def networks():
    return line_networks(2, 3, n_pixel=800, seed=4)


@pytest.fixture(scope="module")
def stars(networks):
    rng = np.random.default_rng(6)
    labels = networks.scaler.unscale(rng.uniform(0.25, 0.75, (100, 2)))
    return labels, networks.predict(labels), rng.normal(0, NOISE, (100, 800))


def broadened(flux):
    return gaussian_filter1d(flux, 2.0, axis=1)


CHANGES = {
    "line width": broadened,
    "continuum": lambda flux: flux * (1 + 0.02 * np.linspace(-1, 1, flux.shape[1])),
    "companion": lambda flux: 0.8 * flux + 0.2 * np.roll(flux, 20, axis=1),
}
# lines of so few pixels look much alike: a companion's light makes those of the star shallower, too
NAMED = {"line width": ["line width"], "continuum": ["continuum"], "companion": ["companion", "line depth", "scatter"]}


def flagged(table):
    return (np.asarray(table["flags"]) & FitFlag.MODEL_MISMATCH) > 0


def test_good_stars_carry_no_flag(networks, stars):
    table = fit_spectra(networks, stars[1] + stars[2], NOISE, settings=LABELS)
    assert flagged(table).mean() <= 0.02
    for j in range(2):
        pull = (table[f"label{j}"] - stars[0][:, j]) / table[f"label{j}_error"]
        assert 0.75 < 1.4826 * np.median(np.abs(pull)) < 1.2


@pytest.mark.parametrize("kind", CHANGES)
def test_a_star_with_one_thing_wrong_is_flagged_and_its_errors_cover_it(networks, stars, kind):
    table = fit_spectra(networks, CHANGES[kind](stars[1]) + stars[2], NOISE, settings=LABELS)
    assert flagged(table).mean() > 0.95
    names, counts = np.unique(np.asarray(table["mismatch_kind"])[flagged(table)], return_counts=True)
    assert names[counts.argmax()] in NAMED[kind]
    pull = np.abs(table["label0"] - stars[0][:, 0]) / table["label0_error"]
    assert np.quantile(pull, 0.9) < 4


def test_errors_of_the_flux_that_are_too_small_are_found_at_a_tenth(networks, stars):
    flux = stars[1] + 1.25 * stars[2]
    table = fit_spectra(networks, flux, NOISE, settings=LABELS)
    assert flagged(table).all() and set(table["mismatch_kind"]) == {"scatter"}
