"""The posteriors of fits: percentiles of known answers, honest ones at low S/N, and the same bits in any company."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from scipy.special import ndtri
from smooth_stars import networks, stars  # noqa: F401 - fixtures

from payneflow import cli, fit_spectra
from payneflow.errors import SettingsError
from payneflow.fitting import FitSettings, Pieces, fit_stars, read_results, results_text, write_results
from payneflow.fitting.data_groups import groups_of
from payneflow.fitting.engine.shift import to_places, to_velocity
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.gather import gather_fits
from payneflow.fitting.many import fit_into
from payneflow.fitting.parameters import ParameterLayout
from payneflow.fitting.posterior import Draws, _folded, _importance, _learnt, _moved, draws_of
from payneflow.fitting.quality import BeyondNoise, quality_of
from payneflow.fitting.rows import StoredRows
from payneflow.label_names import PERCENTILES
from payneflow.spectra import make_layout, read_spectra

LABELS = FitSettings(posterior=True)
MOVED = FitSettings(posterior=True, velocity=True, continuum=4, max_velocity=60.0)  # kernels of test_likelihood.py
ENDINGS = [*PERCENTILES]


def percentiles(table, name):
    """(n, 5)."""
    return np.column_stack([np.asarray(table[name + ending]) for ending in ENDINGS])


@pytest.mark.parametrize("settings", [LABELS, MOVED], ids=["labels", "all"])
def test_where_chi2_is_a_parabola_percentiles_are_those_of_the_errors(networks, stars, settings):
    flux, error = stars
    table = fit_spectra(networks, flux, 0.3 * error, settings=settings)
    names = [*networks.label_names, *(["RV"] if settings.velocity else [])]
    for name in names:
        found, value, sigma = percentiles(table, name)[:5], table[name][:5], table[f"{name}_error"][:5]
        z = (found - np.asarray(value)[:, None]) / np.asarray(sigma)[:, None]
        assert np.abs(z - [-1.96, -0.994, 0.0, 0.994, 1.96]).max() < 0.35, name
        assert table[f"{name}_p16"].unit == table[name].unit
        assert np.isnan(percentiles(table, name)[5]).all(), "a failed fit has none"
    assert np.all(table["posterior_ess"][:5] > 800) and table["posterior_ess"][5] == 0
    assert not np.any(table["posterior_sampled"])


def test_no_bit_of_a_posterior_depends_on_other_spectra_threads_or_shards(networks, stars):
    flux, error = stars
    whole = fit_spectra(networks, flux, error, settings=LABELS)
    other = fit_spectra(networks, flux[::-1], error[::-1], settings=LABELS, processes=3)[::-1]
    alone = fit_spectra(networks, flux[2:3], error[2:3], settings=LABELS)
    without = fit_spectra(networks, flux, error)
    for name in networks.label_names:
        for ending in ENDINGS:
            assert np.array_equal(whole[name + ending], other[name + ending], equal_nan=True)
            assert whole[name + ending][2] == alone[name + ending][0]
        assert np.array_equal(whole[name], without[name], equal_nan=True), "the fits are what they were"
    seeded = fit_spectra(networks, flux, error, settings=replace(LABELS, posterior_seed=1))
    assert not np.any(percentiles(seeded, "Teff")[:5] == percentiles(whole, "Teff")[:5])


def test_truth_lies_in_the_posterior_as_often_as_it_says_at_low_signal(networks):
    rng = np.random.default_rng(8)
    scaled = rng.uniform(0.0, 1.0, (80, 3))  # as the prior is: also at the bounds
    flux = networks.predict_scaled(scaled) + rng.normal(0, 0.1, (80, 400))
    labels = networks.scaler.unscale(scaled)
    table = fit_spectra(networks, flux, 0.1, settings=replace(LABELS, emulator_error=False))
    good = (np.asarray(table["flags"]) & table.meta["flags"]["MODEL_MISMATCH"]) == 0
    for j, name in enumerate(networks.label_names):
        below = labels[good, j, None] < percentiles(table, name)[good]
        assert below.mean(axis=0) == pytest.approx([0.025, 0.16, 0.5, 0.84, 0.975], abs=0.13)
    assert np.median(table["posterior_ess"]) > 300


def test_a_label_without_information_has_the_posterior_of_its_prior(networks, stars):
    untold = replace(networks, w_array_0=networks.w_array_0 * [1.0, 1.0, 0.0])
    flux = untold.predict(untold.scaler.unscale(np.full((2, 3), 0.5)))
    flux += np.random.default_rng(1).normal(0, 0.01, flux.shape)
    low, high = untold.scaler.unscale(np.full((2, 3), [[0.0], [1.0]]))[:, 2]
    for prior in (None, (-0.75, 0.2)):
        settings = replace(LABELS, priors={} if prior is None else {"[Fe/H]": prior})
        table = fit_spectra(untold, flux, 0.01, settings=settings)
        expected = low + np.array([*PERCENTILES.values()]) / 100 * (high - low)
        if prior is not None:
            expected = prior[0] + prior[1] * np.array([-1.96, -0.9945, 0.0, 0.9945, 1.96])
        spread = expected[3] - expected[1]
        # a mismatch that is no certain one widens it
        assert np.abs(percentiles(table, "[Fe/H]") - expected).max() < 0.15 * spread
        assert np.all(table["posterior_ess"] > 800)


def test_a_label_that_is_held_stays_where_it_is(networks, stars):
    flux, error = stars
    table = fit_spectra(networks, flux[:2], error[:2], settings=replace(LABELS, fixed={"logg": 3.0}))
    assert percentiles(table, "logg") == pytest.approx(3.0)


def test_the_sampler_goes_on_where_too_few_draws_count(networks, stars, monkeypatch):
    flux, error = stars
    usual = fit_spectra(networks, flux[:2], error[:2], settings=LABELS)
    for name, value in (("LEAST_ESS", 1e9), ("STEPS", 400), ("BURN_IN", 100)):
        monkeypatch.setattr(f"payneflow.fitting.posterior.{name}", value)
    table = fit_spectra(networks, flux[:2], error[:2], settings=LABELS)
    again = fit_spectra(networks, flux[1:2], error[1:2], settings=LABELS)
    assert np.all(table["posterior_sampled"]) and np.all(table["posterior_ess"] > 150)
    for name in networks.label_names:
        sigma = np.asarray(usual[f"{name}_error"])[:, None]
        assert np.abs((percentiles(table, name) - percentiles(usual, name)) / sigma).max() < 0.35
        assert np.array_equal(percentiles(table, name)[1:], percentiles(again, name))
    assert "2 posteriors, 2 of them by the sampler" in results_text(table)
    monkeypatch.setattr("payneflow.fitting.results.LEAST_ESS", 1e9)
    assert "2 of fewer than 1e+09 effective draws" in results_text(table)


class Banana:
    """A target that no t distribution is near, as the importance sampling asks for one; z are its values."""

    def __call__(self, z):
        return -0.5 * ((z[:, 1] - z[:, 0] ** 2) / 0.1) ** 2

    def prior_transform(self, share):
        return ndtri(share)


def test_importance_sampling_finds_the_moments_of_a_bent_posterior():
    """E z0 and E z1 by quadrature, where the prior is normal and the likelihood a parabola's ridge."""
    z, log_weight = _importance(Banana(), np.zeros(2), 0.3 * np.eye(2), np.random.default_rng(0))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    grid = np.linspace(-5, 5, 801)
    density = np.exp(-0.5 * (grid**2 + grid**4))  # nearly: the ridge is narrow
    expected = (grid**2 * density).sum() / density.sum()
    assert weight @ z[:, 0] == pytest.approx(0.0, abs=0.08)
    assert weight @ z[:, 0] ** 2 == pytest.approx(expected, rel=0.12)
    assert weight @ z[:, 1] == pytest.approx(expected, rel=0.12)
    mean, covariance = _learnt(z, log_weight, np.eye(2))
    assert np.all(np.linalg.eigvalsh(covariance) > 0) and np.isfinite(mean).all()


def test_quantiles_are_those_of_weighted_draws():
    values = np.array([3.0, 1.0, 2.0, 4.0])[:, None]
    draws = Draws(values, np.array([0.25, 0.25, 0.25, 0.25]), 4.0, False)
    assert draws.quantiles(np.array([0.125, 0.5, 0.875]))[:, 0] == pytest.approx([1.0, 2.5, 4.0])
    uneven = Draws(values, np.array([0.0, 0.5, 0.5, 0.0]), 2.0, False)
    assert uneven.quantiles(np.array([0.5]))[0, 0] == pytest.approx(1.5)


def test_label_errors_move_draws_as_they_move_the_table(networks, stars):
    flux, error = stars
    settings = FitSettings()
    fits = search_spectra(networks, flux[:1], error[:1], settings=settings)
    quality = quality_of(networks, settings, fits)
    given = networks, settings, fits, quality, flux[:1], error[:1], groups_of(None, None, *flux[:1].shape)
    quality.beyond = BeyondNoise(np.ones((1, 3)), np.zeros((1, 3)), np.zeros((1, 3, 3)))
    ((_, plain),) = draws_of(*given)
    correction, share = np.array([[0.01, -0.02, 0.0]]), np.array([[0.25, 1.0, 0.81]])
    covariance = 1e-4 * np.array([[[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]])
    quality.beyond = BeyondNoise(share, correction, covariance)
    ((_, moved),) = draws_of(*given)

    def moments(draws):
        scaled = networks.scaler.scale(draws.values)
        mean = draws.weight @ scaled
        return mean, np.einsum("m,mi,mj->ij", draws.weight, scaled - mean, scaled - mean)

    (mean, noise), (found_mean, found) = moments(plain), moments(moved)
    root = np.sqrt(share[0])
    expected = noise * root[:, None] * root + covariance[0]
    size = np.sqrt(np.diag(expected))
    assert np.abs(found / size[:, None] / size - expected / size[:, None] / size).max() < 0.1
    best = fits.x[0]
    assert np.abs(found_mean - (best + (mean - best) * root - correction[0])).max() < 0.1 * size.max()


def test_draws_beyond_the_bounds_are_reflected():
    low, high = np.array([0.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.0])
    values = np.array([[-0.25, 3.5, 2.5], [1.25, -4.0, 2.0], [0.5, 1.0, 2.0], [2.25, 6.5, 2.0]])
    expected = [[0.25, 2.5, 2.5], [0.75, 2.0, 2.0], [0.5, 1.0, 2.0], [0.25, 0.5, 2.0]]
    assert _folded(values, low, high) == pytest.approx(np.array(expected))


def test_files_carry_the_percentiles_and_shards_are_gathered(networks, stars, tmp_path):
    flux, error = stars
    path = tmp_path / "stars.npz"
    np.savez(path, wavelength=networks.wavelength, flux=flux, flux_error=error, identifier=np.arange(6).astype(str))
    layout, tables = make_layout(uncertainty="flux_error"), []
    for first, stop in ((0, 6), (0, 4), (4, 6)):
        stem = tmp_path / f"fits{first}_{stop}"
        with StoredRows(tmp_path) as rows:
            batches = read_spectra([path], layout, networks.wavelength, selection=range(first, stop))
            fit_into(rows, networks, batches, LABELS, spectra=range(first, stop), n_all=6)
            write_results(rows, stem, parquet=True)
        tables.append(stem)
    whole, gathered = read_results(f"{tables[0]}.ecsv"), gather_fits([f"{stem}.ecsv" for stem in tables[1:]])
    binary, parquet = Table.read(f"{tables[0]}.fits"), Table.read(f"{tables[0]}.parquet")
    for name in [c for c in whole.colnames if c.startswith("posterior") or c[c.rfind("_") :] in ENDINGS]:
        assert np.array_equal(np.ma.filled(whole[name]), np.ma.filled(gathered[name]), equal_nan=True), name
        if not name.startswith("["):
            assert np.array_equal(np.ma.filled(whole[name]), np.ma.filled(binary[name]), equal_nan=True), name
        assert np.array_equal(np.asarray(whole[name])[:5], np.asarray(parquet[name])[:5]), name
    assert binary["Fe_H_p2_5"][1] == whole["[Fe/H]_p2_5"][1] and binary["posterior_sampled"].dtype == bool


def test_without_emcee_it_is_said_before_anything_is_fitted(networks, stars, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "emcee", None)
    monkeypatch.setattr("payneflow.fitting.fit.search_spectra", None)
    with pytest.raises(SettingsError, match=r"pip install 'payneflow\[posterior\]'"):
        fit_spectra(networks, *stars, settings=LABELS)
    networks.write(tmp_path / "networks.npz")
    np.savez(tmp_path / "stars.npz", wavelength=networks.wavelength, flux=stars[0], flux_error=stars[1])
    said = [str(tmp_path / name) for name in ("networks.npz", "stars.npz")]
    assert (
        cli.main(["fit", *said, "--uncertainty", "flux_error", "--posterior", "--output", str(tmp_path / "fits")]) == 2
    )
    assert "payneflow[posterior]" in capsys.readouterr().err


def test_stars_in_pieces_refuse_it(networks, stars):
    flux, error = stars
    with pytest.raises(SettingsError, match="stars in pieces have none"):
        fit_stars([Pieces(networks, flux, error, np.zeros(6, int))], settings=MOVED)


def test_what_moves_draws_leaves_the_velocity_unbounded():
    """A velocity is bounded by where it was searched for, not by physics."""
    layout = ParameterLayout(1, has_velocity=True)

    class Known:
        free, log_step, bounds = np.array([True, True]), 1e-5, np.array([[0.0, 1.0], [-30.0, 30.0]])

        def search_of(self, values):
            return np.column_stack([values[:, 0], to_places(values[:, 1], self.log_step)])

        def table_values_of(self, x):
            return np.column_stack([x[:, 0], to_velocity(x[:, 1], self.log_step)])

    seeds = [np.random.SeedSequence(k) for k in range(3)]
    beyond = BeyondNoise(np.ones(2), np.array([0.0, -25.0]), np.zeros((2, 2)))
    draws = Draws(np.array([[0.5, 10.0], [0.2, 20.0]]), np.array([0.5, 0.5]), 2.0, False)
    moved = _moved(draws, Known(), layout, beyond, np.array([0.4, 0.0]), seeds)
    assert moved.values == pytest.approx(np.array([[0.5, 35.0], [0.2, 45.0]]))
