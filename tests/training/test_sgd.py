"""The published trainer: against the published listing in numpy, and independent of all it should not see."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from conftest import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import SettingsError
from payneflow.settings import SgdSettings
from payneflow.simd import LANES, aligned, kernel, load, sigmoid, store
from payneflow.training.lanes import PixelTask, train_pixels
from payneflow.training.policy import PixelProgress, PublishedPolicy, Run
from payneflow.training.randomness import published_network, shuffled_order
from payneflow.training.sgd import Runs, SgdTrainer, Spectra, build
from payneflow.weights import split


def sigma(z):
    return 1 / (1 + np.exp(-z))


def published_listing(labels, flux, weights, eta, n_epochs, order, n_neurons, mini_batch_size):
    """Mini-batch SGD as the published listing has it, one pixel; returns flat weights and the cost of each epoch."""
    n, costs = n_neurons * labels.shape[1], []
    w0, b0 = weights[:n].reshape(n_neurons, -1).copy(), weights[n : n + n_neurons].copy()
    w1, b1 = weights[n + n_neurons : -1].copy(), weights[-1]
    for _ in range(n_epochs):
        costs.append(0.0)
        for first in range(0, len(order) - mini_batch_size + 1, mini_batch_size):
            x, y = labels[order[first : first + mini_batch_size]], flux[order[first : first + mini_batch_size]]
            hidden = sigma(x @ w0.T + b0)
            output = sigma(hidden @ w1 + b1)
            costs[-1] += np.abs(output - y).sum()
            delta = np.sign(output - y) * output * (1 - output)
            back = delta[:, None] * w1 * hidden * (1 - hidden)
            step = eta / mini_batch_size
            w1, b1 = w1 - step * delta @ hidden, b1 - step * delta.sum()
            w0, b0 = w0 - step * back.T @ x, b0 - step * back.sum(0)
    return np.concatenate([w0.ravel(), b0, w1, [b1]]), np.array(costs)


def some_spectra(n_training, n_label, n_pixel, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0.1, 0.9, (n_training, n_label))
    depth = rng.uniform(0.05, 0.5, n_pixel) * np.exp(-labels @ rng.uniform(0, 3, (n_label, n_pixel)))
    return labels, 0.9 - 0.8 * depth


def train(labels, flux, pixels, asked, seed=0):
    """The progress of each pixel, by its index."""
    trainer = SgdTrainer(labels, asked, seed)
    tasks = [PixelTask(pixel, flux[:, pixel], PixelProgress()) for pixel in pixels]
    for _ in train_pixels(trainer, PublishedPolicy(asked), tasks):
        pass
    return {task.pixel: task.progress for task in tasks}


@pytest.mark.parametrize(
    ("n_training", "n_label", "n_neurons", "mini_batch_size"),
    [(40, 3, 10, 2), (41, 3, 10, 2), (30, 1, 1, 1), (24, 5, 7, 3), (12, 25, 4, 12), (33, 2, 20, 16)],
)
def test_the_update_is_that_of_the_published_listing(n_training, n_label, n_neurons, mini_batch_size):
    """Weights after hundreds of mini-batches agree to 1e-12, for any numbers of labels, neurons and spectra."""
    labels, flux = some_spectra(n_training, n_label, 1)
    trainer = SgdTrainer(labels, SgdSettings(n_neurons=n_neurons, mini_batch_size=mini_batch_size), seed=4)
    weights = trainer.new_network(0, 0, flux[:, 0])
    n_epochs = -(-400 * mini_batch_size // n_training)
    trainer.start(0, flux[:, 0], weights, Run(number=2, steps=n_epochs, step_size=0.1, trial=True))
    ((lane, outcome),) = trainer.advance()
    order = shuffled_order(4, 2, n_training)
    expected, _ = published_listing(labels, flux[:, 0], weights, 0.1, n_epochs, order, n_neurons, mini_batch_size)
    assert lane == 0
    assert np.abs(outcome.weights - expected).max() < 1e-12
    n = n_neurons * n_label
    hidden = sigma(labels @ expected[:n].reshape(n_neurons, -1).T + expected[n : n + n_neurons])
    deviation = np.abs(sigma(hidden @ expected[n + n_neurons : -1] + expected[-1]) - flux[:, 0]).max() / 0.8
    assert outcome.deviation == pytest.approx(deviation, abs=1e-12), "over all training spectra, the tail included"


def test_one_epoch_of_the_kernels_is_that_of_the_listing_in_every_lane():
    """Each lane has its own pixel, order, weights and step; the cost is counted as of the first epochs, or the last."""
    n_training, n_label, n_neurons, mini_batch_size = 41, 3, 10, 2
    labels, flux = some_spectra(n_training, n_label, LANES)
    spectra = Spectra(labels=aligned(n_training * n_label), flux=aligned(n_training))
    runs = Runs(aligned(51), aligned(1), aligned(1), aligned(1), np.full(LANES, 150), np.full(LANES, 400))
    runs.epochs_done[:3], runs.epochs_done[3:5] = 0, 399
    steps, expected = np.linspace(0.01, 0.2, LANES), []
    for lane in range(LANES):
        order, weights = shuffled_order(1, lane, n_training), published_network(1, lane, 0, n_neurons, n_label)
        spectra.labels[lane::LANES], spectra.flux[lane::LANES] = labels[order].ravel(), flux[order, lane]
        runs.weights[lane::LANES], runs.step[lane] = weights, steps[lane] / mini_batch_size
        listing = labels, flux[:, lane], weights, steps[lane], 1, order, n_neurons, mini_batch_size
        expected.append(published_listing(*listing))
    epochs, largest_error = build(n_label, n_neurons, mini_batch_size)
    epochs(spectra, runs, aligned(mini_batch_size * n_neurons), 1)
    largest = np.empty(LANES)
    largest_error(spectra, runs.weights, largest)
    for lane, (weights, costs) in enumerate(expected):
        assert runs.weights[lane::LANES] == pytest.approx(weights, abs=1e-14)
        w0, b0, w1, b1 = split(weights, n_label)
        error = sigma(sigma(labels @ w0.T + b0) @ w1 + b1) - flux[:, lane]
        assert largest[lane] == pytest.approx(np.abs(error).max(), abs=1e-14)
        assert runs.first_cost[lane] == pytest.approx(costs[0] if lane < 3 else 0.0, rel=1e-13)
        assert runs.last_cost[lane] == pytest.approx(costs[0] if lane in (3, 4) else 0.0, rel=1e-13)
    assert runs.epochs_done.tolist() == [1] * 3 + [400] * 2 + [151] * 3


def test_the_improvement_compares_the_first_and_the_last_hundred_epochs():
    labels, flux = some_spectra(20, 3, 1)
    trainer = SgdTrainer(labels, SgdSettings(), seed=0)
    weights = trainer.new_network(0, 0, flux[:, 0])
    trainer.start(3, flux[:, 0], weights, Run(0, 250, 0.1, True))
    ((_, outcome),) = trainer.advance()
    _, costs = published_listing(labels, flux[:, 0], weights, 0.1, 250, shuffled_order(0, 0, 20), 10, 2)
    first, last = costs[:100].mean(), costs[-100:].mean()
    assert outcome.improvement == pytest.approx(abs(first - last) / first, rel=1e-10)


def test_initial_weights_have_the_published_distribution():
    drawn = np.array([published_network(0, pixel, 0, n_neurons=10, n_label=3) for pixel in range(4000)])
    scatter = drawn.std(axis=0)
    assert scatter[:30] == pytest.approx(np.full(30, 1 / np.sqrt(10)), rel=0.08), "hidden weights: variance 1/10"
    assert scatter[30:] == pytest.approx(np.ones(21), rel=0.08), "biases and output weights: variance 1"
    assert np.abs(drawn.mean(axis=0)).max() < 0.08


def test_initial_weights_and_orders_are_those_of_the_stated_seed_sequences():
    generator = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(0, 123, 2)))
    assert published_network(7, 123, 2, 4, 3)[12:] == pytest.approx(generator.normal(size=21)[12:], rel=0, abs=0)
    permutation = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(1, 5))).permutation(9)
    assert (shuffled_order(7, 5, 9) == permutation).all()


SHORT = SgdSettings(num_epochs=200, trial_epochs=200, max_iter=4, trunc_diff=0.02)
LABELS, FLUX = some_spectra(14, 3, 20)
ALONE = {pixel: train(LABELS, FLUX, [pixel], SHORT)[pixel] for pixel in range(20)}


def same(a: PixelProgress, b: PixelProgress) -> bool:
    names = ("stage", "restarts", "loops", "divisor", "deviation", "weights", "best_weights")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@settings(max_examples=30)
@given(st.permutations(range(20)), st.integers(1, 20))
def test_no_bit_depends_on_order_or_on_who_shares_the_lanes(order, count):
    for pixel, progress in train(LABELS, FLUX, order[:count], SHORT).items():
        assert same(progress, ALONE[pixel]), pixel


@settings(max_examples=20)
@given(st.lists(st.integers(1, 19), min_size=1, max_size=4, unique=True))
def test_no_bit_depends_on_the_chunks(cuts):
    edges = [0, *sorted(cuts), 20]
    for first, last in pairwise(edges):
        for pixel, progress in train(LABELS, FLUX, range(first, last), SHORT).items():
            assert same(progress, ALONE[pixel]), pixel


@settings(max_examples=20)
@given(st.integers(0, 60))
def test_no_bit_depends_on_an_interruption(changes):
    """Stop after some number of ended runs, as a kill does, and go on from the progress alone."""
    tasks = [PixelTask(pixel, FLUX[:, pixel], PixelProgress()) for pixel in range(20)]
    for number, _ in enumerate(train_pixels(SgdTrainer(LABELS, SHORT, 0), PublishedPolicy(SHORT), tasks)):
        if number == changes:
            break
    for _ in train_pixels(SgdTrainer(LABELS, SHORT, 0), PublishedPolicy(SHORT), tasks):
        pass
    assert all(same(task.progress, ALONE[task.pixel]) for task in tasks)


def test_pixels_differ_in_cost_so_that_lanes_are_refilled():
    """Otherwise the tests above would prove little."""
    assert len({progress.loops for progress in ALONE.values()}) > 1
    assert len({progress.stage for progress in ALONE.values()}) > 1


def test_the_seed_decides():
    assert not same(train(LABELS, FLUX, [0], SHORT, seed=1)[0], ALONE[0])


def test_a_grid_smaller_than_a_mini_batch_is_refused():
    """Earlier trainers trained zero mini-batches and said nothing."""
    with pytest.raises(SettingsError, match="mini_batch_size is 15.*14 training spectra"):
        SgdTrainer(LABELS, SgdSettings(mini_batch_size=15), seed=0)


def test_a_tail_shorter_than_a_mini_batch_is_dropped():
    """15 spectra in mini-batches of 2: the last one in the shuffled order takes no part in the update."""
    labels, flux = some_spectra(15, 3, 1)
    last = shuffled_order(0, 0, 15)[-1]
    outcomes = []
    for value in (0.3, 0.7):
        flux[last, 0] = value
        trainer = SgdTrainer(labels, SgdSettings(), seed=0)
        trainer.start(0, flux[:, 0], trainer.new_network(0, 0, flux[:, 0]), Run(0, 200, 0.1, True))
        outcomes.append(trainer.advance()[0][1])
    assert (outcomes[0].weights == outcomes[1].weights).all()
    assert outcomes[0].deviation != outcomes[1].deviation, "but the deviation counts it"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("n_neurons", 0, "at least 1"),
        ("n_neurons", 2.5, "whole number"),
        ("mini_batch_size", -1, "at least 1"),
        ("num_epochs", 100, "at least 200.*first and last 100"),
        ("eta", float("nan"), "positive"),
        ("trunc_diff", 0.0, "positive"),
        ("min_eta", 0.2, "less than eta"),
        ("max_iter", True, "whole number"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, value, says):
    with pytest.raises(SettingsError, match=f"{name} is .*{says}"):
        SgdSettings(**{name: value})


@kernel
def _sigmoid_of(z, out):
    for i in range(0, len(z), LANES):
        store(out, i, sigmoid(load(z, i)))


def test_the_logistic_function_in_lanes():
    z = np.concatenate([np.linspace(-40, 40, 8000), np.linspace(-250, 250, 800)])
    out = np.empty_like(z)
    _sigmoid_of(z, out)
    exact = sigma(z.astype(np.longdouble)).astype(float)
    assert np.abs(out - exact).max() < 3e-16
    assert np.abs(out / exact - 1).max() < 2e-14
    far = np.array([-1e300, -np.inf, -400.0, 400.0, 1e300, np.inf, 0.0, -0.0])
    _sigmoid_of(far, out)
    assert out[:LANES] == pytest.approx([0, 0, 0, 1, 1, 1, 0.5, 0.5], abs=1e-100)


ON_ANOTHER_CPU = """
import numpy as np
from payneflow.training.policy import Run
from payneflow.settings import SgdSettings
from payneflow.training.sgd import Runs, SgdTrainer, Spectra, build
from payneflow.weights import split
labels = np.linspace(0.1, 0.9, 12).reshape(6, 2)
trainer = SgdTrainer(labels, SgdSettings(), 0)
flux = np.linspace(0.5, 0.9, 6)
trainer.start(0, flux, trainer.new_network(0, 0, flux), Run(0, 200, 0.1, True))
print(" ".join(value.hex() for value in trainer.advance()[0][1].weights))
"""


def test_it_works_without_avx512(monkeypatch, tmp_path):
    """LLVM splits the registers; the numbers stay the same up to rounding."""
    weights = []
    for cpu in (None, "haswell", "nehalem"):
        with monkeypatch.context() as patch:
            patch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
            if cpu:
                patch.setenv("NUMBA_CPU_NAME", cpu)
                patch.setenv("NUMBA_CPU_FEATURES", "")
            command = [sys.executable, "-c", ON_ANOTHER_CPU]
            printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        weights.append([float.fromhex(word) for word in printed.split()])
    assert len(weights[0]) == 41
    assert weights[1] == pytest.approx(weights[0], rel=0, abs=1e-12)
    assert weights[2] == pytest.approx(weights[0], rel=0, abs=1e-12)
