"""Virtual spectra: against a known function, their independence of the other pixels, and awkward grids."""

import numpy as np
import pytest

from payneflow.training.lm.virtual_spectra import LARGEST_KRIGING, labels_in_gaps, make_virtual_spectra


def make_grid(n=60, n_label=3, n_pixel=15, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0.1, 0.9, (n, n_label))
    return labels, smooth(labels, n_pixel)


def smooth(labels, n_pixel):
    phase = np.linspace(0, 2, n_pixel)
    return 1 - 0.4 * np.exp(-2 * (labels[:, :1] - 0.4 * phase) ** 2) * (0.5 + 0.5 * labels[:, -1:])


def test_virtual_flux_is_near_the_true_function():
    labels, flux = make_grid(n=120)
    virtual = make_virtual_spectra(labels, flux, 0, 120)
    assert virtual.labels.shape == (120, 3) and virtual.matrix.shape == (120, 120)
    inside = ((virtual.labels > 0.15) & (virtual.labels < 0.85)).all(1)
    error = np.abs(virtual.flux(flux) - smooth(virtual.labels, 15))[inside]
    assert inside.sum() > 20 and np.median(error) < 1e-4 and error.max() < 5e-3
    assert "120 virtual spectra" in virtual.note


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
