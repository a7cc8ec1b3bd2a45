"""Virtual spectra: kriging against known functions, its independence of the other pixels, and awkward grids."""

import numpy as np
import pytest

from payneflow.kriging import cholesky, kriging_lengths, kriging_matrix, matern, solve
from payneflow.training.lm.virtual_spectra import LARGEST_KRIGING, labels_in_gaps, make_virtual_spectra


def make_grid(n=60, n_label=3, n_pixel=15, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0.1, 0.9, (n, n_label))
    return labels, smooth(labels, n_pixel)


def smooth(labels, n_pixel):
    phase = np.linspace(0, 2, n_pixel)
    return 1 - 0.4 * np.exp(-2 * (labels[:, :1] - 0.4 * phase) ** 2) * (0.5 + 0.5 * labels[:, -1:])


def test_matern_is_the_published_function():
    r = np.sqrt(5) * 0.5 / 2.0
    expected = (1 + r + r * r / 3) * np.exp(-r)
    assert matern(np.array([[0.5, 0.2]]), np.array([[0.0, 0.2]]), [2.0, 1.0]) == pytest.approx(expected)


def test_a_covariance_is_that_of_its_pairs_whatever_is_worked_on_together():
    labels, _ = make_grid(n=600)
    together = matern(labels, labels[:40], [1.0, 0.5, 2.0])
    alone = [matern(labels[i : i + 1], labels[:40], [1.0, 0.5, 2.0])[0] for i in range(600)]
    assert np.array_equal(together, alone)
    assert (together[np.arange(40), np.arange(40)] == 1).all()


def test_kriging_goes_through_the_training_spectra_and_keeps_a_constant():
    labels, flux = make_grid()
    matrix = kriging_matrix(labels, labels, np.full(3, 1.0), 1e-10)
    np.testing.assert_allclose(matrix @ flux, flux, atol=1e-7)
    elsewhere = kriging_matrix(labels, labels + 0.03, np.full(3, 1.0), 1e-8)
    np.testing.assert_allclose(elsewhere.sum(1), 1, atol=1e-9)


@pytest.mark.parametrize(("n", "n_column"), [(1, 1), (7, 3), (60, 300)])
def test_linear_systems_are_solved_as_numpy_solves_them(n, n_column):
    rng = np.random.default_rng(n)
    half, right = rng.normal(size=(n, n)), rng.normal(size=(n, n_column))
    matrix = half @ half.T + np.eye(n)
    root, kept = matrix.copy(), right.copy()
    assert cholesky(root)
    np.testing.assert_allclose(np.triu(root), np.linalg.cholesky(matrix).T, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(solve(matrix, 0.5, right), np.linalg.solve(matrix + 0.5 * np.eye(n), right), atol=1e-10)
    assert np.array_equal(right, kept)


def test_a_nugget_too_small_for_the_digits_is_raised():
    singular = np.ones((4, 4))
    assert not cholesky(singular.copy()) and not cholesky(np.full((2, 2), np.nan))
    solved = solve(singular, 1e-20, np.ones((4, 1)))
    assert (solved > 0).all() and solved.sum() == pytest.approx(1)


def test_virtual_flux_is_near_the_true_function():
    labels, flux = make_grid(n=120)
    virtual = make_virtual_spectra(labels, flux, 0, 120)
    assert virtual.labels.shape == (120, 3) and virtual.matrix.shape == (120, 120)
    inside = ((virtual.labels > 0.15) & (virtual.labels < 0.85)).all(1)
    error = np.abs(virtual.flux(flux) - smooth(virtual.labels, 15))[inside]
    assert inside.sum() > 20 and np.median(error) < 1e-4 and error.max() < 5e-3
    assert "120 virtual spectra" in virtual.note


def test_a_label_without_effect_gets_a_long_length():
    labels, flux = make_grid(n=80)  # the middle one of three labels does nothing
    lengths, _ = kriging_lengths(labels, flux)
    assert lengths[1] > 3 * lengths[0]


def test_bits_of_a_pixel_do_not_depend_on_the_others():
    labels, flux = make_grid(n_pixel=1100)
    virtual = make_virtual_spectra(labels, flux, 0)
    together = virtual.flux(flux)
    for some in ([5], [1099, 5], list(range(3, 700)), [511, 512, 513]):
        assert np.array_equal(virtual.flux(flux[:, some]), together[:, some])


def test_virtual_labels_fill_gaps_and_are_reproducible():
    labels, _ = make_grid()
    chosen = labels_in_gaps(labels, 40, 0)
    assert np.array_equal(chosen, labels_in_gaps(labels, 40, 0))
    assert not np.array_equal(chosen, labels_in_gaps(labels, 40, 1))
    everything = np.vstack([labels, chosen])
    distance = np.sqrt(((everything[:, None] - everything) ** 2).sum(-1)) + np.eye(len(everything))
    assert distance[len(labels) :].min() > np.median(distance[: len(labels), : len(labels)].min(1)) / 2


def test_switched_off_and_too_many_training_spectra_say_so():
    labels, flux = make_grid()
    off = make_virtual_spectra(labels, flux, 0, n_virtual=0)
    assert off.labels.shape == (0, 3) and off.flux(flux).shape == (0, 15) and off.note == "no virtual spectra"
    labels, flux = make_grid(n=LARGEST_KRIGING + 1, n_pixel=2)
    many = make_virtual_spectra(labels, flux, 0)
    assert len(many.labels) == 0 and str(LARGEST_KRIGING) in many.note


def test_the_test_set_is_never_touched():
    labels, flux = make_grid(n=60)
    expected = make_virtual_spectra(labels[::2], flux[::2], 0)
    planted_labels, planted = labels.copy(), flux.copy()
    planted_labels[1::2], planted[1::2] = np.nan, np.nan
    found = make_virtual_spectra(planted_labels[::2], planted[::2], 0)
    assert np.array_equal(found.matrix, expected.matrix) and np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.flux(planted[::2]), expected.flux(flux[::2]))


@pytest.mark.parametrize("n_label", [1, 3, 25])
@pytest.mark.parametrize("n", [3, 10])
def test_few_spectra(n, n_label):
    labels, flux = make_grid(n=n, n_label=n_label, n_pixel=4)
    virtual = make_virtual_spectra(labels, flux, 0)
    assert np.isfinite(virtual.flux(flux)).all() and virtual.labels.shape == ((n + 1) // 2, n_label)


def test_repeated_labels_with_different_flux():
    labels, flux = make_grid(n=20)
    labels[1], flux[1] = labels[0], flux[0] - 0.2
    virtual = make_virtual_spectra(labels, flux, 0)
    assert np.isfinite(virtual.flux(flux)).all() and np.abs(virtual.flux(flux)).max() < 3
    labels[:] = labels[0]
    assert np.isfinite(make_virtual_spectra(labels, flux, 0).flux(flux)).all()


def test_constant_pixel_stays_constant():
    labels, flux = make_grid(n=20)
    flux[:] = 1.0
    np.testing.assert_allclose(make_virtual_spectra(labels, flux, 0).flux(flux), 1.0, atol=1e-9)
