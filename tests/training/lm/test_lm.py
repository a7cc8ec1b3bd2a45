"""The Levenberg-Marquardt trainer: against numpy, blind to what it should not see, and on pixels made to break it."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from conftest import PATIENCE, write_small_grid
from hypothesis import given, settings
from hypothesis import strategies as st
from known_lm import make_labels, new_network, predicted, published_flux

from payneflow.chunks.checkpoint import read_checkpoint, write_checkpoint
from payneflow.chunks.chunk import read_chunk
from payneflow.chunks.split import split_grid
from payneflow.chunks.train import train_chunk
from payneflow.errors import GridError
from payneflow.files import read_npz
from payneflow.grid import TEST, TRAINING, SpectralGrid, read_grid
from payneflow.settings import LmSettings
from payneflow.simd import LANES
from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.layout import BLOCK, from_rows, to_rows
from payneflow.training.lm.limits import PIXELS_PER_TEMPLATE
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import RIDGE, TemplateFits, Templates
from payneflow.training.lm.trainer import LmTrainer
from payneflow.training.policy import ENDS, PixelProgress, Stage
from payneflow.training.trainers import make_trainer, prepare

SIZES = [(1, 1), (2, 3), (3, 10), (4, 7), (25, 2)]  # labels, neurons


def finish(engine):
    """Advance until no lane is under way; runs by lane."""
    runs = {}
    while lanes := engine.advance():
        runs |= {lane: engine.result(lane) for lane in lanes}
    return runs


@pytest.mark.parametrize(("n_label", "n_neurons"), SIZES)
def test_normal_equations_are_those_of_numpy(n_label, n_neurons):
    rng = np.random.default_rng(1)
    n, penalty, damping = 2 * BLOCK + 5, 1e-3, 0.1
    labels, spectrum_weights = make_labels(n, n_label), rng.uniform(0.1, 2, n)
    engine = LaneEngine(labels, spectrum_weights, n, n_neurons, penalty)
    layout = engine.layout
    flux = rng.uniform(0.2, 0.8, (LANES, n))
    start = [new_network(lane, 0, 0, 0.5, n_label, n_neurons) for lane in range(LANES)]
    for lane in range(LANES):
        engine.start(lane, start[lane], flux[lane], 1, damping)
    assert engine.advance() == list(range(LANES))
    gradient, step, sums = engine.memory.gradient, engine.memory.step, engine.memory.sums
    for lane in range(LANES):
        rows = to_rows(start[lane], n_label)
        y, jacobian = predicted(rows, labels, n_neurons)
        jacobian *= np.sqrt(spectrum_weights)[:, None]
        residual = (y - flux[lane]) * np.sqrt(spectrum_weights)
        expected = jacobian.T @ jacobian
        found = sums.reshape(-1, LANES)[layout.row_of_sum(), lane][: layout.n_weight, : layout.n_weight]
        size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert (np.abs(found - expected) / size).max() < 1e-6  # float32 sums
        expected_gradient = jacobian.T @ residual + penalty * rows
        found_gradient = gradient.reshape(-1, LANES)[: layout.n_weight, lane]
        np.testing.assert_allclose(found_gradient, expected_gradient, rtol=1e-11, atol=1e-13)
        expected_step = np.linalg.solve(found + (penalty + damping) * np.eye(len(rows)), expected_gradient)
        np.testing.assert_allclose(
            step.reshape(-1, LANES)[: layout.n_weight, lane], expected_step, rtol=1e-8, atol=1e-11
        )


def test_layouts_are_inverse_and_mean_the_same_network():
    labels, weights = make_labels(9, 2), new_network(5, 0, 0, 0.4, 2, 3)
    rows = to_rows(weights, 2)
    np.testing.assert_allclose(from_rows(rows, 2, 3), weights, rtol=1e-14)
    np.testing.assert_allclose(predicted(rows, labels, 3)[0], published_flux(weights, labels, 3), rtol=1e-13)


def test_new_network_depends_on_pixel_restart_and_seed_only():
    given = new_network(7, 2, 0, 0.4, 3, 10)
    assert np.array_equal(given, new_network(7, 2, 0, 0.4, 3, 10))
    for other in ((8, 2, 0), (7, 3, 0), (7, 2, 1)):
        assert not np.array_equal(given, new_network(*other, 0.4, 3, 10))
    assert np.isfinite(new_network(0, 0, 0, 1.5, 1, 1)).all()  # emission beyond the scale


def test_one_step_lowers_the_cost_as_reported():
    labels, n = make_labels(40, 3), 40
    spectrum_weights = np.linspace(0.5, 1.5, n)
    flux = 0.5 + 0.2 * np.sin(3 * labels[:, 0]) * labels[:, 1]
    engine = LaneEngine(labels, spectrum_weights, 30, 10, 1e-6)
    engine.start(3, new_network(0, 0, 0, 0.5, 3, 10), flux, 25, 1e-2)
    run = finish(engine)[3]
    error = published_flux(run.weights, labels, 10) - flux
    cost = (spectrum_weights * error**2).sum() + 1e-6 * (to_rows(run.weights, 3) ** 2).sum()
    assert run.cost == pytest.approx(cost, rel=1e-8)
    assert run.deviation == pytest.approx(np.abs(error[:30]).max() / 0.8, rel=1e-8)  # of the training spectra only
    assert run.steps == 25


def test_finds_the_flux_of_a_network_set_by_hand():
    """Known answer: flux that one hidden neuron makes exactly is fitted to the penalty's floor."""
    labels = make_labels(30, 1)
    truth = np.array([4.0, -2.0, 2.0, -1.0])
    flux = published_flux(truth, labels, 1)
    engine = LaneEngine(labels, np.ones(30), 30, 1, 1e-12)
    for lane in range(4):
        engine.start(lane, new_network(0, lane, 0, flux.mean(), 1, 1), flux, 300, 1e-2)
    runs = finish(engine).values()
    best = min(runs, key=lambda run: run.cost)
    assert best.deviation < 1e-5
    np.testing.assert_allclose(published_flux(best.weights, labels, 1), flux, atol=1e-5)


def smooth_pixels(labels, n_pixel):
    """Smooth flux (n_spectrum, n_pixel) of known shape, different in every pixel."""
    phase = np.linspace(0, 3, n_pixel)
    return 1 - 0.3 * np.exp(-((labels[:, :1] - 0.3 - 0.1 * phase) ** 2) * 4) * (0.6 + 0.4 * labels[:, -1:])


def test_bits_do_not_depend_on_lane_or_lane_mates():
    labels = make_labels(24, 3)
    targets = (smooth_pixels(labels, 20) * 0.8 + 0.1).T
    alone = LaneEngine(labels, np.ones(24), 24, 10, 1e-8)
    shared = LaneEngine(labels, np.ones(24), 24, 10, 1e-8)
    start = new_network(0, 0, 0, 0.5, 3, 10)
    alone.start(0, start, targets[0], 40, 1e-2)
    expected = finish(alone)[0]
    for lane in range(LANES):  # in lane 5 after another pixel, beside others that end and are refilled at other times
        shared.start(
            lane, new_network(lane, 1, 0, 0.5, 3, 10), targets[lane + 1], 7 if lane == 5 else 5 + 3 * lane, 1e-3
        )
    refilled, found = False, None
    while lanes := shared.advance():
        for lane in lanes:
            run = shared.result(lane)
            if lane == 5 and refilled:
                found = run
            elif lane == 5:
                refilled = True
                shared.start(5, start, targets[0], 40, 1e-2)
            elif found is None:
                shared.start(lane, new_network(lane, 2, 0, 0.5, 3, 10), np.full(24, 5.0), 9, 1e-12)
    assert np.array_equal(found.weights, expected.weights)
    assert (found.cost, found.deviation, found.steps) == (expected.cost, expected.deviation, expected.steps)


# -------------------------------------------------------------------------------------------------- what it may not see


SHORT = LmSettings(n_neurons=3, trunc_diff=0.002).for_labels(3)
LABELS = make_labels(20, 2)
FLUX = smooth_pixels(LABELS, 48)
FLUX[:, ::5] += np.random.default_rng(4).normal(0, 0.01, FLUX[:, ::5].shape)  # these need new starts, in vain


@cache
def own_preparation():
    return prepare(LABELS, FLUX, SHORT, 0)


def tasks_of(pixels, labels=LABELS, flux=FLUX, preparation=None):
    """Tasks as `train_chunk` makes them of a chunk that holds these pixels."""
    pixels, preparation = list(pixels), preparation or own_preparation()
    to_learn = flux_to_learn(flux[:, pixels], preparation.virtual.flux(flux[:, pixels]))
    return [PixelTask(pixel, to_learn[i], PixelProgress()) for i, pixel in enumerate(pixels)]


def changes(tasks, seed=0):
    """Train with a new trainer; the tasks one by one as their progress changes."""
    return train_pixels(*make_trainer(LABELS, own_preparation(), SHORT, seed), tasks)


def train(pixels, seed=0):
    """The progress of each pixel, by its index."""
    tasks = tasks_of(pixels)
    for _ in changes(tasks, seed):
        pass
    return {task.pixel: task.progress for task in tasks}


def same(a: PixelProgress, b: PixelProgress) -> bool:
    names = ("stage", "restarts", "loops", "trials", "steps", "cost", "deviation", "weights", "best_weights")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@cache
def alone():
    """The progress of each pixel, trained by itself."""
    return {pixel: train([pixel])[pixel] for pixel in range(48)}


def test_pixels_differ_in_cost_so_that_lanes_are_refilled():
    """Otherwise the tests below would prove little; and some start from templates, later from random networks."""
    assert len(own_preparation().templates) == 48 // PIXELS_PER_TEMPLATE == SHORT.n_starts
    assert len({progress.loops for progress in alone().values()}) > 1
    assert len({progress.steps for progress in alone().values()}) > 20
    assert {progress.stage for progress in alone().values()} == {Stage.CONVERGED, Stage.MAX_LOOPS}


@settings(max_examples=12)
@given(st.permutations(range(48)), st.integers(1, 48))
def test_no_bit_depends_on_order_or_on_who_shares_the_lanes(order, count):
    for pixel, progress in train(order[:count]).items():
        assert same(progress, alone()[pixel]), pixel


@settings(max_examples=12)
@given(st.lists(st.integers(1, 47), min_size=1, max_size=4, unique=True))
def test_no_bit_depends_on_the_chunks(cuts):
    for first, last in pairwise([0, *sorted(cuts), 48]):
        for pixel, progress in train(range(first, last)).items():
            assert same(progress, alone()[pixel]), pixel


@settings(max_examples=12)
@given(st.lists(st.integers(0, 150), min_size=1, max_size=3), st.booleans())
def test_no_bit_depends_on_interruptions(tmp_path_factory, counts, through_a_file):
    """Stop after some number of ended runs, as a kill does, and go on from the progress alone, more than once."""
    tasks = tasks_of(range(48))
    for count in counts:
        for number, _ in enumerate(changes(tasks)):
            if number == count:
                break
        if through_a_file:
            path = tmp_path_factory.mktemp("kill") / "a.checkpoint.npz"
            write_checkpoint(path, "this chunk", [task.progress for task in tasks], n_weight=3 * 4 + 1)
            progress, found = read_checkpoint(path, "this chunk", (len(tasks), 3 * 4 + 1))
            assert "resuming" in found
            assert all(same(task.progress, read) for task, read in zip(tasks, progress, strict=True))
            for task, read in zip(tasks, progress, strict=True):
                task.progress = read
    for _ in changes(tasks):
        pass
    for task in tasks:
        assert same(task.progress, alone()[task.pixel]), task.pixel


def test_the_seed_decides():
    assert not same(train([0], seed=1)[0], alone()[0]), "new starts are random"


def test_what_is_nan_in_the_test_set_changes_no_bit(tmp_path):
    """Neither virtual spectra and templates, nor the networks trained from the chunks."""
    grid = read_grid(write_small_grid(tmp_path / "grid.npz", n_pixel=32))
    flux, labels = grid.flux.copy(), grid.labels.copy()
    flux[TEST], labels[TEST] = np.nan, np.nan
    planted = SpectralGrid(grid.path, grid.wavelength, flux, labels, grid.label_names, grid.label_units, grid.sha256)
    chunks, trained = [], []
    for name, one in (("clean", grid), ("planted", planted)):
        (path,) = split_grid(one, "::", 100, tmp_path / name, "lm", LmSettings(), 0)
        train_chunk(path, tmp_path / name / "trained.npz")
        chunks.append(read_npz(path, GridError, "a chunk"))
        trained.append(read_npz(tmp_path / name / "trained.npz", GridError, "a trained chunk"))
    assert chunks[0]["virtual_flux"].shape == (6, 32) and chunks[0]["template_w0"].shape == (2, 10, 3)
    for stored, seen in ((chunks, {"flux", "labels", "checksum"}), (trained, {"seconds", "checksum"})):
        clean, other = stored
        test_errors = {"emulator_rms", "deviation_test", "median_deviation_test", "explained_test"}
        assert clean.keys() == other.keys()
        for key in clean.keys() - seen - test_errors:
            assert clean[key].tobytes() == other[key].tobytes(), key
    assert np.isfinite(trained[1]["w_array_0"]).all() and np.isnan(trained[1]["emulator_rms"]).all()


# ------------------------------------------------------------------------------------------------------- virtual weight


def test_a_virtual_weight_of_0_means_no_virtual_spectra_anywhere(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("kriging")

    for name in ("kriging_lengths", "kriging_matrix", "labels_in_gaps"):
        monkeypatch.setattr(f"payneflow.training.lm.virtual_spectra.{name}", never)
    off = LmSettings(virtual_weight=0)
    grid = read_grid(write_small_grid(tmp_path / "grid.npz"))
    (path,) = split_grid(grid, "::", 100, tmp_path, "lm", off, 0)
    chunk = read_chunk(path)
    assert chunk.virtual_labels.shape == (0, 3) and chunk.virtual_flux.shape == (0, 20)
    assert chunk.preparation_note == "no virtual spectra; 1 templates"
    trainer, _ = make_trainer(chunk.scaler.scale(chunk.labels[TRAINING]), chunk.preparation, off, 0)
    assert [len(labels) for labels, _ in trainer._learn.values()] == [12, 12]
    train_chunk(path, tmp_path / "trained.npz")
    assert (read_npz(tmp_path / "trained.npz", GridError, "")["deviation"] < 0.003).all()


def test_the_virtual_weight_counts():
    """A virtual spectrum's flux is met the better the heavier it is."""
    errors = []
    for weight in (1e-4, 0.05, 1.0):
        asked = replace(SHORT, virtual_weight=weight, max_rounds=1)
        (task,) = tasks_of([5])
        for _ in train_pixels(*make_trainer(LABELS, own_preparation(), asked, 0), [task]):
            pass
        virtual = own_preparation().virtual.labels
        errors.append(np.abs(published_flux(task.progress.best_weights, virtual, 3) - task.flux[20:]).max())
    assert errors[0] > errors[1] > errors[2]


def test_above_the_largest_kriging_it_trains_without_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("payneflow.training.lm.virtual_spectra.LARGEST_KRIGING", 11)
    grid = read_grid(write_small_grid(tmp_path / "grid.npz"))  # 12 training spectra
    (path,) = split_grid(grid, "::", 100, tmp_path, "lm", LmSettings(), 0)
    assert read_chunk(path).preparation_note.startswith("no virtual spectra: 12 training spectra, more than 11")
    train_chunk(path, tmp_path / "trained.npz")
    trained = read_npz(tmp_path / "trained.npz", GridError, "")
    assert set(trained["end"]) == {"converged"} and "more than 11" in str(trained["preparation_note"])


# ------------------------------------------------------------------------------------------------------------ templates


@pytest.fixture(scope="module")
def small_grid():
    labels = make_labels(30, 3)
    flux = smooth_pixels(labels, 48)
    asked = LmSettings(max_rounds=2).for_labels(3)
    return labels, flux, prepare(labels, flux, asked, 0), asked


def test_bits_do_not_depend_on_chunk_or_order(small_grid):
    labels, flux, preparation, asked = small_grid
    together, mixed = (tasks_of(p, labels, flux, preparation) for p in (range(48), order_of_some()))
    for tasks in (together, mixed):
        for _ in train_pixels(*make_trainer(labels, preparation, asked, 0), tasks):
            pass
    for task in mixed:
        found, expected = task.progress, together[task.pixel].progress
        assert np.array_equal(found.best_weights, expected.best_weights)
        assert found.steps == expected.steps
    assert all(task.progress.stage == "converged" for task in together)


def order_of_some():
    return np.random.default_rng(0).permutation(48)[:23].tolist()


def output_fit(w0, b0, labels, y):
    """Ridge regression of the output layer under a hidden layer, by numpy: w1, b1, and the error in y'."""
    z = np.log(y / (1 - y))
    h = 1 / (1 + np.exp(-(labels @ w0.T + b0)))
    centred = h - h.mean(0)
    w1 = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(len(b0)), centred.T @ (z - z.mean()))
    b1 = z.mean() - h.mean(0) @ w1
    return w1, b1, (((y * (1 - y)) * (h @ w1 + b1 - z)) ** 2).sum()


def test_template_fits_are_ridge_regressions_best_first(small_grid):
    labels, flux, preparation, _ = small_grid
    templates = preparation.templates
    y = flux[:, 20] * 0.8 + 0.1
    networks = TemplateFits(templates, labels).best(y, 2)
    z, errors = np.log(y / (1 - y)), []
    for weights in networks:
        w0, w1, b1 = weights[:30].reshape(10, 3), weights[40:50], weights[50]
        h = 1 / (1 + np.exp(-(labels @ w0.T + weights[30:40])))
        expected, expected_b1, _ = output_fit(w0, weights[30:40], labels, y)
        np.testing.assert_allclose(w1, expected, rtol=1e-8, atol=1e-10)
        assert b1 == pytest.approx(expected_b1, rel=1e-8)
        errors.append((((y * (1 - y)) * (h @ w1 + b1 - z)) ** 2).sum())
    every = [output_fit(w0, b0, labels, y)[2] for w0, b0 in zip(templates.w0, templates.b0, strict=True)]
    assert len(templates) == 3 and errors == pytest.approx(sorted(every)[:2], rel=1e-6)


def test_starts_are_the_templates_nearest_then_random(small_grid):
    labels, flux, preparation, asked = small_grid
    to_learn = flux_to_learn(flux, preparation.virtual.flux(flux))
    offers = TemplateFits(preparation.templates, labels).best(to_learn[7, :30], 3)
    trainer, again = (LmTrainer(labels, preparation, asked, 0) for _ in range(2))
    for restart in range(3):
        assert np.array_equal(trainer.new_network(7, restart, to_learn[7]), offers[restart])
    assert np.array_equal(again.new_network(7, 2, to_learn[7]), offers[2]), "resumed in the midst of the trials"
    for pixel, restart in ((7, 3), (7, 4), (8, 3)):
        expected = new_network(pixel, restart, 0, to_learn[pixel, :30].mean(), 3, 10)
        assert np.array_equal(trainer.new_network(pixel, restart, to_learn[pixel]), expected)
    elsewhere = to_learn[7].copy()
    elsewhere[[0, 1]] = elsewhere[[1, 0]]
    a, b = (again.new_network(7, 3, y) for y in (to_learn[7], elsewhere))
    assert np.array_equal(a[:-1], b[:-1]) and a[-1] == pytest.approx(b[-1]), "of the flux it knows the mean alone"


def test_a_random_start_gets_the_iterations_of_one(small_grid):
    """Where there are fewer templates than starts, some of the first trials are random ones."""
    labels, _, preparation, asked = small_grid
    for n_template, steps in ((3, asked.start_iterations), (2, asked.random_iterations), (0, asked.random_iterations)):
        templates = Templates(preparation.templates.w0[:n_template], preparation.templates.b0[:n_template])
        _, policy = make_trainer(labels, Preparation(preparation.virtual, templates, ""), asked, 0)
        assert policy.next_run(PixelProgress()).steps == steps
        assert policy.next_run(PixelProgress(loops=1)).steps == asked.random_iterations


def test_template_pixels_are_trained_with_care_and_become_hidden_layers(small_grid, monkeypatch):
    labels, flux, preparation, asked = small_grid
    seen = []

    def listening(trainer, policy, tasks):
        seen.append((policy.settings, [task.pixel for task in tasks]))
        yield from train_pixels(trainer, policy, tasks)
        seen.append([task.progress.best_weights for task in tasks])

    monkeypatch.setattr("payneflow.training.lm.setup.train_pixels", listening)
    again = prepare(labels, flux, asked, 0)
    (careful, pixels), weights = seen
    assert pixels == [8, 24, 40]
    assert (careful.n_starts, careful.max_iterations, careful.damping) == (4, 200, 1e-3)
    assert np.array_equal(again.templates.w0, preparation.templates.w0)
    assert np.array_equal(again.templates.w0.reshape(3, 30), np.array(weights)[:, :30])
    assert np.array_equal(again.templates.b0, np.array(weights)[:, 30:40])


# -------------------------------------------------------------------------------------------------------- known answers


def test_flux_of_a_network_set_by_hand_is_learnt():
    """Known answer: what a network of the same size can be, with the trainer's own settings, to 1e-4 in flux."""
    labels, elsewhere = make_labels(120, 3, seed=2), make_labels(500, 3, seed=3)
    rng = np.random.default_rng(5)
    w0, middle = rng.normal(0, 2, (10, 3)), rng.uniform(0.2, 0.8, (10, 3))
    w1 = rng.normal(0, 1, 10)
    hand_set = np.concatenate([w0.ravel(), -(w0 * middle).sum(1), w1, [1.0 - w1.sum() / 2]])
    flux, flux_elsewhere = ((published_flux(hand_set, x, 10)[:, None] - 0.1) / 0.8 for x in (labels, elsewhere))
    assert np.ptp(flux) > 0.3
    asked = LmSettings(trunc_diff=1e-4)
    preparation = prepare(labels, flux, asked, 0)
    (task,) = tasks_of([0], labels, flux, preparation)
    for _ in train_pixels(*make_trainer(labels, preparation, asked, 0), [task]):
        pass
    assert task.progress.stage is Stage.CONVERGED and task.progress.deviation < 1e-4
    learnt, learnt_elsewhere = (
        (published_flux(task.progress.best_weights, x, 10)[:, None] - 0.1) / 0.8 for x in (labels, elsewhere)
    )
    assert np.abs(learnt - flux).max() < 1e-4
    assert np.abs(learnt_elsewhere - flux_elsewhere).max() < 1e-3, "where it was not trained"


# ----------------------------------------------------------------------------------------------------- another computer


ON_ANOTHER_CPU = """
import numpy as np
from payneflow.training.lm.engine import LaneEngine
labels = np.column_stack([np.linspace(0.1, 0.9, 18), np.linspace(0.1, 0.9, 18) * 7 % 0.8 + 0.1])
engine = LaneEngine(labels, np.linspace(0.5, 1.0, 18), 18, 3, 1e-9)
for lane in range(3):
    engine.start(lane, np.cos(np.arange(13) * (lane + 2)), 0.8 - 0.5 * labels[:, 0] * labels[:, 1], 8, 1e-2)
while lanes := engine.advance():
    for lane in lanes:
        run = engine.result(lane)
        print(lane, run.steps, run.deviation.hex(), " ".join(value.hex() for value in run.weights))
"""


def test_it_works_without_avx512(monkeypatch, tmp_path):
    """LLVM splits the registers; after 8 iterations the flux is the same to 1e-6 (J'J is summed in float32)."""
    labels = np.column_stack([np.linspace(0.1, 0.9, 18), np.linspace(0.1, 0.9, 18) * 7 % 0.8 + 0.1])
    found = []
    for cpu in (None, "haswell"):
        with monkeypatch.context() as patch:
            if cpu:
                patch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
                patch.setenv("NUMBA_CPU_NAME", cpu)
                patch.setenv("NUMBA_CPU_FEATURES", "")
            command = [sys.executable, "-c", ON_ANOTHER_CPU]
            printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        lanes = [line.split() for line in printed.splitlines()]
        assert [(lane[0], lane[1]) for lane in lanes] == [("0", "8"), ("1", "8"), ("2", "8")]
        weights = [np.array([float.fromhex(word) for word in lane[3:]]) for lane in lanes]
        found.append([published_flux(one, labels, 3) / 0.8 for one in weights])
    assert np.isfinite(found).all()
    assert np.abs(np.subtract(*found)).max() < 1e-6


SPLIT = """
import sys
from payneflow.chunks.split import split_grid
from payneflow.grid import read_grid
from payneflow.settings import LmSettings
split_grid(read_grid(sys.argv[1]), "::", 1000, sys.argv[2], "lm", LmSettings(n_neurons=10, max_rounds=1), 0)
"""


def test_no_bit_of_the_preparation_depends_on_the_threads_of_the_linear_algebra(tmp_path, monkeypatch):
    """LAPACK's bits do, from about 100 training spectra on."""
    grid = write_small_grid(tmp_path / "grid.npz", n_spectrum=240, n_pixel=16)
    stored = []
    for threads in "12":
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(name, threads)
        command = [sys.executable, "-c", SPLIT, str(grid), str(tmp_path / threads)]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        (path,) = (tmp_path / threads).glob("*.npz")
        stored.append(read_npz(path, GridError, "a chunk"))
    assert stored[0]["virtual_flux"].shape == (60, 16) and stored[0]["template_w0"].shape == (1, 10, 3)
    for key, array in stored[0].items():
        assert array.tobytes() == stored[1][key].tobytes(), key


# ---------------------------------------------------------------------------------------------- pixels made to break it


def hostile(name, rng):
    """Labels (n, n_label) and flux (n, 1) of a pixel that has broken trainers."""
    labels = make_labels(20, 3)
    flux = smooth_pixels(labels, 1)
    match name:
        case "constant flux":
            flux[:] = 1.0
        case "zero flux":
            flux[:] = 0.0
        case "noise":
            flux = rng.uniform(0, 1, (20, 1))
        case "equal labels, different flux":
            labels[1], flux[1] = labels[0], flux[0] - 0.3
        case "all labels equal":
            labels[:] = 0.5
        case "emission":
            flux += 0.8  # above 1.125, which no network can reach
        case "one label":
            labels, flux = labels[:, :1], flux
        case "25 labels":
            labels = make_labels(20, 25)
        case "three spectra":
            labels, flux = labels[:3], flux[:3]
        case "label ranges 1e-6 and 1e6":
            raw = rng.uniform(0, 1, (20, 3)) * [1e-6, 1e6, 1] + [1, 1e7, 0]
            labels = (raw - raw.min(0)) * 0.8 / np.ptp(raw, axis=0) + 0.1
    return labels, flux


@pytest.mark.parametrize(
    ("name", "n_neurons"),
    [
        ("constant flux", 10),
        ("zero flux", 10),
        ("noise", 10),
        ("equal labels, different flux", 10),
        ("all labels equal", 10),
        ("emission", 10),
        ("one label", 1),
        ("25 labels", 2),
        ("three spectra", 10),
        ("label ranges 1e-6 and 1e6", 10),
    ],
)
def test_hostile_pixels_end_named_finite_and_reproducible(name, n_neurons):
    labels, flux = hostile(name, np.random.default_rng(3))
    asked = LmSettings(n_neurons=n_neurons, max_rounds=2)
    preparation = prepare(labels, flux, asked, 0)
    virtual = preparation.virtual
    assert np.isfinite(virtual.matrix).all() and np.isfinite(virtual.labels).all()
    runs = []
    for _ in range(2):
        (task,) = tasks_of([0], labels, flux, preparation)
        for _ in train_pixels(*make_trainer(labels, preparation, asked, 0), [task]):
            pass
        runs.append(task.progress)
    first, again = runs
    assert np.isfinite(first.best_weights).all() and np.isfinite(first.deviation)
    assert first.stage in {"converged", "max_loops"}
    assert same(first, again)
    error = np.abs((published_flux(first.best_weights, labels, n_neurons) - 0.1) / 0.8 - flux[:, 0]).max()
    assert first.deviation == pytest.approx(error, rel=1e-6, abs=1e-9)
    if name in {"constant flux", "three spectra", "label ranges 1e-6 and 1e6"}:
        assert first.stage == "converged"


def hostile_grid(path, name):
    """A grid file with 20 pixels (pixel 3 is the hostile one, unless all are)."""
    rng = np.random.default_rng(6)
    n = 6 if name == "3 training spectra" else 40
    n_label = {"1 label": 1, "25 labels": 25}.get(name, 3)
    unit = rng.uniform(0, 1, (n, n_label))
    labels, strength = unit.copy(), rng.uniform(0, 2, (n_label, 20)) / n_label
    flux = 1.0 - rng.uniform(0.02, 0.4, 20) * np.exp(-unit @ strength)
    match name:
        case "constant":
            flux[:, 3] = 1.0
        case "noise":
            flux[:, 3] = rng.uniform(0, 1, n)
        case "equal labels, different flux":  # spectra 0 and 2, both of which train
            labels[2], flux[2] = labels[0], flux[0] - 0.2
        case "label ranges of 1e-6 and 1e6":
            labels = unit * [1e-6, 1e6, 1.0] + [1.0, -3e5, 0.0]
        case "flux at the limits":
            flux[:, 3] = np.where(unit[:, 0] > 0.5, 1.12, -0.12)
        case "flux beyond the limits":
            flux[4, 3] = 1.13
        case "range lost in the rounding of its label":
            labels[:, 1] = 1e4 + 1e-6 * unit[:, 1]
        case "2 training spectra":
            labels, flux = labels[:4], flux[:4]
        case "all spectra alike":
            flux[:] = 1.0
    names = np.array([f"label {i}" for i in range(n_label)])
    grid = {"labels_array": labels.T, "Y_u_all": flux, "label_names": names, "label_units": np.full(n_label, "dex")}
    return write_small_grid(path, n_pixel=20, **grid)


@pytest.mark.parametrize(
    ("name", "n_neurons"),
    [
        ("constant", 10),
        ("noise", 10),
        ("equal labels, different flux", 10),
        ("3 training spectra", 10),
        ("1 label", 1),  # and 1 neuron
        ("25 labels", 2),
        ("label ranges of 1e-6 and 1e6", 10),
        ("flux at the limits", 10),
    ],
)
def test_hostile_grids_go_from_file_to_networks(name, n_neurons, tmp_path):
    """Through the checks of the grid, the chunk file and its training: named ends, finite numbers, the same again."""
    asked = LmSettings(n_neurons=n_neurons, max_rounds=2)
    grid, runs = read_grid(hostile_grid(tmp_path / "grid.npz", name)), []
    for number in range(2):
        (path,) = split_grid(grid, "::", 100, tmp_path / str(number), "lm", asked, 0)
        train_chunk(path, tmp_path / f"{number}.npz")
        runs.append(read_npz(tmp_path / f"{number}.npz", GridError, ""))
    first, again = runs
    assert set(first["end"]) <= {str(end) for end in ENDS} - {"failed", "stalled"}
    for key, array in first.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), key
        assert key in ("seconds", "checksum") or array.tobytes() == again[key].tobytes(), key
    unheard_of = {"noise": 0.0, "equal labels, different flux": 0.09, "flux at the limits": 0.0}
    assert (first["deviation"] >= unheard_of.get(name, 0)).all()
    if name in {"constant", "3 training spectra", "label ranges of 1e-6 and 1e6"}:
        assert set(first["end"]) == {"converged"}
    if name in {"noise", "flux at the limits"}:
        assert set(np.delete(first["end"], 3)) == {"converged"}, "the hostile pixel harms no other"
    if name == "equal labels, different flux":
        assert set(first["end"]) == {"max_loops"}, "no network can have two fluxes at one point"


def test_the_ranges_of_labels_do_not_matter(tmp_path):
    """With labels of range 1e-6, 1e6 and 1 the test spectra are met as well as with the same labels, all of range 1."""
    deviations = []
    for name in ("plain", "label ranges of 1e-6 and 1e6"):
        grid = read_grid(hostile_grid(tmp_path / "grid.npz", name))
        (path,) = split_grid(grid, "::", 100, tmp_path / "chunks", "lm", LmSettings(), 0)
        train_chunk(path, tmp_path / "trained.npz")
        deviations.append(read_npz(tmp_path / "trained.npz", GridError, "")["deviation_test"])
    assert np.max(deviations) < 0.003
    assert np.median(deviations[1]) == pytest.approx(np.median(deviations[0]), rel=0.3)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("flux beyond the limits", r"Y_u_all\[4, 3\] is 1.13 .*outside what a network can represent: emission"),
        ("range lost in the rounding of its label", r"label 1\) is constant"),
        ("2 training spectra", "leaves 2 to train on"),
        ("all spectra alike", "the very flux of"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_grid(name, says, tmp_path):
    with pytest.raises(GridError, match=says):
        read_grid(hostile_grid(tmp_path / "grid.npz", name))
