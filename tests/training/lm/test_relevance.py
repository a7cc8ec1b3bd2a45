"""Which labels matter to a pixel, and what networks gain from knowing it."""

from functools import cache

import numpy as np
import pytest
from conftest import write_small_grid
from known_lm import make_labels, new_network, published_flux

from payneflow.chunks.chunk import read_chunk
from payneflow.chunks.split import split_grid
from payneflow.grid import read_grid
from payneflow.grid.unexplained import LeaveOneOut
from payneflow.kriging import matern
from payneflow.scaling import SPAN, unscale_flux
from payneflow.settings import BY_LABELS, FEW_LABELS, LmSettings, has_many_labels
from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
from payneflow.training.lm.layout import Layout, to_rows
from payneflow.training.lm.relevance import (
    LARGEST_RELEVANCE,
    OF_BIASES,
    from_slopes,
    penalties,
    relevance_by_kriging,
    slope_of_matern,
    slopes_and_deviations,
)
from payneflow.training.lm.trainer import LATER
from payneflow.training.policy import PixelProgress
from payneflow.training.trainers import make_trainer, prepare
from payneflow.weights import split

N, N_LABEL, N_PIXEL = 90, 6, 8
LABELS, UNSEEN = make_labels(N, N_LABEL, seed=1), make_labels(200, N_LABEL, seed=2)
LENGTHS = np.full(N_LABEL, 1.5)


def lines(labels):
    """Flux (n, N_PIXEL): each line answers to two labels of its own, and a fiftieth as much to the next one."""
    pixels = np.arange(N_PIXEL)
    a, b, c = (labels[:, (pixels + shift) % N_LABEL] - 0.5 for shift in (0, 1, 2))
    return 1 - 0.3 * np.exp(-((1.5 * a + 0.8 * b + 0.03 * c) ** 2) - 0.5 * a)


FLUX = lines(LABELS)


def test_the_slope_of_the_covariance_is_its_derivative():
    labels, lengths, step = make_labels(7, 3, seed=4), np.array([0.3, 1.0, 5.0]), 1e-6
    for c in range(3):
        beyond, before = labels.copy(), labels.copy()
        beyond[:, c] += step
        before[:, c] -= step
        expected = (matern(beyond, labels, lengths) - matern(before, labels, lengths)) / (2 * step)
        apart = (labels[:, c, None] - labels[:, c]) / lengths[c] ** 2
        np.testing.assert_allclose(slope_of_matern(labels, lengths) * apart, expected, atol=1e-8)


def test_a_label_of_half_the_effect_has_relevance_two():
    assert np.array_equal(from_slopes(np.array([4.0, 2.0, 0.0])), [1.0, 2.0, LARGEST_RELEVANCE])
    assert np.array_equal(from_slopes(np.zeros((2, 3))), np.ones((2, 3))), "a constant pixel"
    assert from_slopes(np.array([1e-300, 0.0])) == pytest.approx([1.0, LARGEST_RELEVANCE])


def test_kriging_tells_which_labels_a_line_answers_to():
    found = relevance_by_kriging(LeaveOneOut(LABELS, LENGTHS), FLUX, np.zeros(N_PIXEL))
    for pixel, own in enumerate(found):
        first, second, *rest = (own[(pixel + shift) % N_LABEL] for shift in range(N_LABEL))
        assert first == 1.0 and 1.2 < second < 4 and min(rest) > 8


def test_no_pixel_changes_the_relevance_of_another():
    leave_one_out, nugget = LeaveOneOut(LABELS, LENGTHS), np.where(np.arange(N_PIXEL) % 3, 0.0, 1e-2)
    every = relevance_by_kriging(leave_one_out, FLUX, nugget)
    for pixel in range(N_PIXEL):
        one = slice(pixel, pixel + 1)
        assert np.array_equal(relevance_by_kriging(leave_one_out, FLUX[:, one], nugget[one])[0], every[pixel])


def test_weights_are_held_by_the_square_of_the_relevance_of_their_label():
    weights, relevance = new_network(0, 0, 0, 0.5, 3, 2), np.array([1.0, 3.0, 10.0])
    rows = to_rows(weights, 3)
    w0, b0, w1, b1 = split(weights, 3)
    held = (0.04 * w0**2 * relevance**2).sum() + OF_BIASES * ((b0 + 0.5 * w0.sum(1)) ** 2).sum() + (w1**2).sum() + b1**2
    assert (penalties(relevance, 2) * rows**2).sum() == pytest.approx(held)
    assert len(penalties(relevance, 2)) == Layout(3, 2).n_weight


def test_slopes_and_deviations_of_a_network_are_what_differences_say():
    weights, step = new_network(3, 0, 0, 0.4, 3, 4), 1e-6
    labels, flux = make_labels(20, 3, seed=5), np.linspace(0.2, 0.8, 20)
    w0, b0, w1, b1 = split(weights, 3)
    before = weights.copy()
    slopes, square, deviations = slopes_and_deviations(w0, b0, w1, float(b1), labels, flux)
    assert np.array_equal(weights, before), "the network is only looked at"
    np.testing.assert_allclose(deviations, np.abs(published_flux(weights, labels, 4) - flux), rtol=1e-9)
    assert square == pytest.approx((deviations**2).mean())
    for c in range(3):
        moved = labels + step * np.eye(3)[c]
        by_label = (published_flux(weights, moved, 4) - published_flux(weights, labels, 4)) / step
        assert slopes[c] == pytest.approx(np.sqrt((by_label**2).mean()), rel=1e-4)


# ------------------------------------------------------------------------------------------------------- in training

SMALL = LmSettings(n_neurons=5)


@cache
def preparation():
    return prepare(LABELS, FLUX, SMALL, 0)


def tasks(pixels, knows=True):
    floor = preparation().floor
    relevance = floor.relevance(FLUX[floor.rows], floor.of(FLUX[floor.rows]).nugget)
    to_learn = flux_to_learn(FLUX, np.empty((0, N_PIXEL)))
    return [PixelTask(p, to_learn[p], PixelProgress(), relevance=relevance[p] if knows else None) for p in pixels]


def train(pixels, knows=True):
    own = tasks(pixels, knows)
    for _ in train_pixels(*make_trainer(LABELS, preparation(), SMALL, 0), own):
        pass
    return {task.pixel: task.progress for task in own}


@cache
def every(knows=True):
    return train(range(N_PIXEL), knows)


def errors(progress):
    """Flux errors (200, N_PIXEL) of spectra that nothing was learnt from."""
    flux = np.array([unscale_flux(published_flux(one.best_weights, UNSEEN, 5)) for one in progress.values()]).T
    return flux - lines(UNSEEN)


def test_networks_that_know_which_labels_matter_err_less_between_the_spectra():
    knowing, unknowing = (np.sqrt((errors(every(knows)) ** 2).mean()) for knows in (True, False))
    assert knowing < 0.7 * unknowing


def test_a_label_that_does_nothing_has_next_to_no_weight():
    for pixel, progress in every().items():
        w0 = np.abs(split(progress.best_weights, N_LABEL).w0).max(0)
        unused = [(pixel + shift) % N_LABEL for shift in (3, 4, 5)]
        assert w0[unused].max() < 0.05 * w0[pixel % N_LABEL]


@pytest.mark.parametrize("pixels", [(5,), (7, 2, 3)])
def test_no_bit_depends_on_who_shares_the_lanes(pixels):
    for pixel, progress in train(pixels).items():
        assert np.array_equal(progress.best_weights, every()[pixel].best_weights)


def test_training_that_goes_on_after_its_trial_ends_with_the_same_bits():
    (task,) = tasks([4])
    next(train_pixels(*make_trainer(LABELS, preparation(), SMALL, 0), [task]))
    assert task.progress.loops == 0 and task.progress.weights is not None
    for _ in train_pixels(*make_trainer(LABELS, preparation(), SMALL, 0), [task]):
        pass
    assert np.array_equal(task.progress.best_weights, every()[4].best_weights)


def test_the_penalty_falls_from_loop_to_loop_where_few_spectra_deviate_and_not_in_noise():
    trainer, _ = make_trainer(LABELS, preparation(), SMALL, 0)
    weights = new_network(0, 0, 0, 0.5, N_LABEL, 5)
    learnt = published_flux(weights, LABELS, 5)
    few, noisy = learnt.copy(), learnt + SPAN * SMALL.trunc_diff * np.random.default_rng(6).normal(size=N)
    few[:3] += 5 * SPAN * SMALL.trunc_diff
    for flux, part in ((few, LATER), (noisy, 1.0)):
        square = ((flux - learnt) ** 2).mean()
        for loops in range(4):
            _, penalty, _ = trainer._as_the_network_found(weights, flux, loops)
            assert penalty == pytest.approx(square * part**loops)


# -------------------------------------------------------------------------------------------------------- many or few


def test_auto_follows_the_number_of_labels_and_a_given_value_stays():
    for n_label, many in ((1, False), (FEW_LABELS, False), (FEW_LABELS + 1, True)):
        assert has_many_labels(n_label) == many
        found = LmSettings().for_labels(n_label)
        assert {name: getattr(found, name) for name in BY_LABELS} == {
            name: two[many] for name, two in BY_LABELS.items()
        }
    asked = LmSettings(n_neurons=7, virtual_weight=0.1)
    assert (asked.for_labels(22).n_neurons, asked.for_labels(22).virtual_weight) == (7, 0.1)


@pytest.mark.parametrize(("n_label", "n_known"), [(N_LABEL, N_PIXEL), (3, 0)])
def test_a_chunk_carries_the_relevance_of_many_labels_and_none_of_few(tmp_path, n_label, n_known):
    labels = make_labels(160, n_label, seed=3)
    flux = lines(np.pad(labels, ((0, 0), (0, N_LABEL - n_label))))
    names = {"label_names": np.array([f"label{c}" for c in range(n_label)]), "label_units": np.full(n_label, "dex")}
    wavelength = 15000.0 + np.arange(N_PIXEL)
    path = write_small_grid(tmp_path / "grid.npz", wavelength=wavelength, Y_u_all=flux, labels_array=labels.T, **names)
    grid = read_grid(path)
    (path,) = split_grid(grid, "::", 100, tmp_path, "lm", SMALL, 0)
    chunk = read_chunk(path)
    assert chunk.relevance.shape == (n_known, n_label)
    assert "relevance" in chunk.preparation_note or not n_known
