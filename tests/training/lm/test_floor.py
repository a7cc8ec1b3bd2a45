"""The floor of training: where it is, that a clean grid has none, and what networks of noisy spectra are worth."""

import numpy as np
import pytest
from conftest import write_small_grid
from known_lm import make_labels, new_network, published_flux

from payneflow.chunks.chunk import read_chunk
from payneflow.chunks.split import split_grid
from payneflow.chunks.train import LEAST_WILD, WILD, train_chunk
from payneflow.errors import GridError
from payneflow.files import read_npz
from payneflow.grid import TRAINING, SpectralGrid, read_grid
from payneflow.kriging import kriging_matrix
from payneflow.scaling import PUBLISHED_FLUX, unscale_flux
from payneflow.settings import LmSettings, SgdSettings
from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
from payneflow.training.lm.engine import WEIGHT_SPREAD, LaneEngine
from payneflow.training.lm.floor import Floor, find_floor
from payneflow.training.lm.layout import to_rows
from payneflow.training.lm.virtual_spectra import make_virtual_spectra
from payneflow.training.policy import PixelProgress, Stage
from payneflow.training.trainers import make_trainer, prepare

N, N_PIXEL = 80, 32
NOISY = np.arange(N_PIXEL) % 2 == 0
WILDER = 2.0  # times kriging's largest error on the test set, which docs/lm.md promises no network exceeds


def lines(labels):
    """Flux (n, N_PIXEL) of lines in a part of the grid, from scaled labels (n, 3)."""
    rng = np.random.default_rng(1)
    distance = labels @ rng.normal(size=(3, N_PIXEL)) - rng.uniform(-0.5, 0.5, N_PIXEL)
    return 1 - rng.uniform(0.1, 0.5, N_PIXEL) * np.exp(-(distance**2))


def noise(n, seed):
    return 0.01 * NOISY * np.random.default_rng(seed).normal(size=(n, N_PIXEL))


LABELS, TEST_LABELS = make_labels(N, 3, seed=1), make_labels(N, 3, seed=2)
CLEAN, FLUX = lines(LABELS), lines(LABELS) + noise(N, 3)
TEST_FLUX = lines(TEST_LABELS) + noise(N, 4)


def test_a_clean_grid_has_no_floor():
    floors = find_floor(LABELS, CLEAN, 0.003, PUBLISHED_FLUX).of(CLEAN)
    assert not np.any(floors[:3])
    assert (floors.kriging > 0).all() and floors.kriging.max() < 0.1


def test_noisy_pixels_have_one_and_their_neighbours_none():
    floor = find_floor(LABELS, FLUX, 0.003, PUBLISHED_FLUX)
    found = floor.of(FLUX[floor.rows])
    assert (np.array(found[:3])[:, ~NOISY] == 0).all()
    assert (found.noise[NOISY] > 0.006).all() and (found.noise[NOISY] < 0.015).all()
    assert (found.deviation[NOISY] > 0.015).all() and (found.deviation[NOISY] < 0.1).all()
    coarse = find_floor(LABELS, FLUX, 0.1, PUBLISHED_FLUX)
    assert not np.any(coarse.of(FLUX[coarse.rows])[:3]), "noise that hinders nothing that is asked for"


def test_few_spectra_have_no_floor():
    assert len(find_floor(LABELS[:20], FLUX[:20], 0.003, PUBLISHED_FLUX).rows) == 0
    assert not np.any(Floor().of(np.empty((0, 3))))


# ----------------------------------------------------------------------------------------------------- what is trained


@pytest.fixture(scope="module")
def prepared():
    return prepare(LABELS, FLUX, LmSettings(), 0)


def trained(preparation, floor):
    """Tasks of all pixels, trained."""
    floors = floor.of(FLUX[floor.rows])
    to_learn = flux_to_learn(FLUX, preparation.virtual.flux(FLUX, floors.nugget))
    tasks = [PixelTask(i, to_learn[i], PixelProgress(), floors.noise[i], floors.deviation[i]) for i in range(N_PIXEL)]
    for _ in train_pixels(*make_trainer(LABELS, preparation, LmSettings(), 0), tasks):
        pass
    return tasks


def errors_of(tasks):
    """(n_test, n_pixel) of the networks."""
    predicted = [unscale_flux(published_flux(task.progress.best_weights, TEST_LABELS, 10)) for task in tasks]
    return np.abs(np.transpose(predicted) - TEST_FLUX)


def kriging_errors(preparation):
    """The same of kriging, each pixel with the nugget that predicts it best."""
    floor, predicted = preparation.floor, np.empty_like(TEST_FLUX)
    for i, nugget in enumerate(floor.leave_one_out.unexplained(FLUX[floor.rows]).nugget):
        predicted[:, i] = kriging_matrix(LABELS, TEST_LABELS, preparation.virtual.lengths, nugget) @ FLUX[:, i]
    return np.abs(predicted - TEST_FLUX)


def test_networks_of_noisy_spectra_are_no_wilder_than_stated(prepared):
    tasks, kriging = trained(prepared, prepared.floor), kriging_errors(prepared)
    found = errors_of(tasks)
    assert (found.max(axis=0) <= WILDER * kriging.max(axis=0))[NOISY].all()
    assert np.sqrt((found[:, NOISY] ** 2).mean()) < 1.1 * np.sqrt((kriging[:, NOISY] ** 2).mean())
    noisy = [task.progress for task, one in zip(tasks, NOISY, strict=True) if one]
    assert {progress.stage for progress in noisy} == {Stage.NOISE_FLOOR}
    assert max(progress.loops for progress in noisy) == 1, "no new starts for nothing"
    unwarned = trained(prepared, Floor())
    assert np.sqrt((errors_of(unwarned)[:, NOISY] ** 2).mean()) > 1.1 * np.sqrt((found[:, NOISY] ** 2).mean())
    assert {unwarned[i].progress.stage for i in np.flatnonzero(NOISY)} == {Stage.MAX_LOOPS}


def test_pixels_without_noise_are_trained_as_in_a_grid_without_floors(prepared):
    with_floor, without = trained(prepared, prepared.floor), trained(prepared, Floor())
    for i in np.flatnonzero(~NOISY):
        assert np.array_equal(with_floor[i].progress.best_weights, without[i].progress.best_weights)


def test_what_is_prepared_is_said(prepared):
    assert prepared.note.endswith("2 templates; a floor of noise in 2 of the 2 pixels of the templates")
    assert "noise" not in prepare(LABELS, CLEAN, LmSettings(), 0).note


def test_the_cost_knows_the_noise_of_its_lane_and_forgets_it():
    """Known answer: penalty (0.8 noise / WEIGHT_SPREAD)^2, of that lane alone and of that run alone."""
    labels, spectrum_weights = make_labels(40, 3), np.ones(40)
    flux = 0.5 + 0.2 * np.sin(3 * labels[:, 0]) * labels[:, 1]
    engine = LaneEngine(labels, spectrum_weights, 40, 10, 1e-6)
    for given in ({2: 0.05, 3: 0.0, 4: 1e-6}, {2: 0.0, 3: 0.05, 4: 0.02}):
        for lane, sigma in given.items():
            engine.start(lane, new_network(0, lane, 0, 0.5, 3, 10), flux, 15, 1e-2, sigma)
        left = set(given)
        while left:
            for lane in engine.advance():
                run = engine.result(lane)
                error = published_flux(run.weights, labels, 10) - flux
                penalty = max(1e-6, (0.8 * given[lane] / WEIGHT_SPREAD) ** 2)
                cost = (error**2).sum() + penalty * (to_rows(run.weights, 3) ** 2).sum()
                assert run.cost == pytest.approx(cost, rel=1e-8)
                left.remove(lane)


def test_virtual_spectra_have_the_nugget_of_their_pixel():
    virtual = make_virtual_spectra(LABELS, FLUX, 0)
    nugget = np.where(NOISY, 1e-2, 0.0)
    nugget[4] = 1.0
    found, common = virtual.flux(FLUX, nugget), virtual.flux(FLUX)
    assert np.array_equal(found[:, ~NOISY], common[:, ~NOISY])
    for i, own in ((0, 1e-2), (4, 1.0)):
        expected = kriging_matrix(LABELS, virtual.labels, virtual.lengths, own) @ FLUX[:, i]
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-12)
        assert np.array_equal(found[:, [i]], virtual.flux(FLUX[:, [i]], nugget[[i]]))


# -------------------------------------------------------------------------------------------------------- in the chunks


def noisy_grid(path, n_spectrum=2 * N):
    with np.load(write_small_grid(path, n_spectrum, N_PIXEL)) as stored:
        arrays = dict(stored)
    flux = arrays["Y_u_all"] + noise(n_spectrum, 5)
    np.savez(path, **{**arrays, "Y_u_all": flux.astype(np.float32)})
    return read_grid(path)


def floors_in(paths):
    """Noise and floor (n_pixel,) of all pixels of chunk files."""
    chunks = [read_chunk(path) for path in paths]
    return np.concatenate([chunk.noise for chunk in chunks]), np.concatenate([chunk.floor for chunk in chunks])


def test_a_network_that_strays_farther_than_kriging_is_wild_not_converged(tmp_path, monkeypatch):
    (path,) = split_grid(noisy_grid(tmp_path / "grid.npz"), "1::4", 100, tmp_path, "lm", LmSettings(), 0)
    assert (read_chunk(path).kriging > 0).all()
    ends = {}
    for name, times in (("sound", (WILD, LEAST_WILD)), ("strict", (0.0, 0.0)), ("near", (0.0, LEAST_WILD))):
        monkeypatch.setattr("payneflow.chunks.train.WILD", times[0])
        monkeypatch.setattr("payneflow.chunks.train.LEAST_WILD", times[1])
        train_chunk(path, tmp_path / f"{name}.npz")
        ends[name] = read_npz(tmp_path / f"{name}.npz", GridError, "a trained chunk")
    assert set(ends["sound"]["end"]) == set(ends["near"]["end"]) == {"converged"}, "what is near enough is not wild"
    assert set(ends["strict"]["end"]) == {"wild"}
    assert np.array_equal(ends["sound"]["w_array_0"], ends["strict"]["w_array_0"]), "the test set chooses no network"


def test_floors_come_with_the_chunks_whatever_these_hold(tmp_path):
    grid = noisy_grid(tmp_path / "grid.npz")
    labels, flux = grid.scaler.scale(grid.labels[TRAINING]), grid.flux[TRAINING]
    floor = find_floor(labels, flux, 0.003, PUBLISHED_FLUX)
    expected = floor.of(flux[floor.rows])
    assert (expected.noise[NOISY] > 0.006).all() and (expected.noise[~NOISY] == 0).all()
    planted = grid.flux.copy()
    planted[1::2] = np.nan
    unseen = SpectralGrid(
        grid.path, grid.wavelength, planted, grid.labels, grid.label_names, grid.label_units, grid.sha256
    )
    few = LmSettings(virtual_weight=0)
    for name, one, size, settings in (
        ("whole", grid, 100, few),
        ("cut", grid, 7, few),
        ("unseen", unseen, 11, few),
        ("kriging", grid, 9, LmSettings(max_rounds=1)),
    ):
        found = floors_in(split_grid(one, "::", size, tmp_path / name, "lm", settings, 0))
        assert np.array_equal(found[0], expected.noise) and np.array_equal(found[1], expected.deviation), name


def test_a_noisy_pixel_says_so_in_the_record(tmp_path):
    (path,) = split_grid(noisy_grid(tmp_path / "grid.npz"), "::4", 100, tmp_path, "lm", LmSettings(), 0)
    train_chunk(path, tmp_path / "trained.npz")
    trained = read_npz(tmp_path / "trained.npz", GridError, "")
    assert set(trained["end"]) == {"noise_floor"} and (trained["deviation"] > 0.003).all()


def test_sgd_knows_no_floor(tmp_path):
    paths = split_grid(noisy_grid(tmp_path / "grid.npz"), "::", 100, tmp_path, "sgd", SgdSettings(), 0)
    assert not np.any(floors_in(paths))
