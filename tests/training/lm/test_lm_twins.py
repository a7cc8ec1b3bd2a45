"""The kernel of the Levenberg-Marquardt trainer beside its naive twin: the same in a few lines of numpy."""

from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from known_lm import make_labels, new_network, predicted

from payneflow.simd import LANES, aligned, kernel, load
from payneflow.training.lm import cholesky, layout
from payneflow.training.lm.arguments import COST, DAMPING, DEVIATION, Factor
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.kernel import DAMPING_DOWN, DAMPING_UP, LONGEST_BEND
from payneflow.training.lm.layout import BLOCK, TILE, from_rows, to_rows, whole

N_LABEL, N_NEURONS, N_SPECTRUM, N_TRAIN, PENALTY = 3, 10, BLOCK + 7, 17, 1e-4
LABELS = make_labels(N_SPECTRUM, N_LABEL)
SPECTRUM_WEIGHTS = np.linspace(0.3, 1.7, N_SPECTRUM)
FLUX = 0.5 + 0.3 * np.sin(np.linspace(1, 3, LANES)[:, None] * LABELS[:, 0]) * LABELS[:, 1]  # a row a lane


def rows_of(array, lane):
    """A lane's column of an array of rows."""
    return array.reshape(-1, LANES)[:, lane]


# ------------------------------------------------------------------------------------------------------------- the twin


def cost_of(rows, flux):
    error = predicted(rows, LABELS, N_NEURONS)[0] - flux
    return (SPECTRUM_WEIGHTS * error**2).sum() + PENALTY * (rows**2).sum()


def second_derivative(rows, along, h=1e-3):
    """Of the prediction along a direction, by differences of the first derivatives."""
    ahead, behind = (predicted(rows + sign * h * along, LABELS, N_NEURONS)[1] @ along for sign in (1, -1))
    return (ahead - behind) / (2 * h)


def one_step(rows, flux, damping):
    """v and a of one iteration, and the weights that it tries."""
    y, jacobian = predicted(rows, LABELS, N_NEURONS)
    weighted = jacobian * SPECTRUM_WEIGHTS[:, None]
    matrix = jacobian.T @ weighted + (PENALTY + damping) * np.eye(len(rows))
    v = np.linalg.solve(matrix, weighted.T @ (y - flux) + PENALTY * rows)
    a = np.linalg.solve(matrix, weighted.T @ second_derivative(rows, v))
    longest = LONGEST_BEND / 2 * np.sqrt((v @ v) / (a @ a))
    return v, a, rows - v - a / 2 * min(1, longest)


def descend(rows, flux, damping, iterations):
    """Weights and damping after so many iterations, and how many steps were refused."""
    refused = 0
    for _ in range(iterations):
        *_, trial = one_step(rows, flux, damping)
        if cost_of(trial, flux) < cost_of(rows, flux):
            rows, damping = trial, DAMPING_DOWN * damping
        else:
            damping, refused = DAMPING_UP * damping, refused + 1
    return rows, damping, refused


# ------------------------------------------------------------------------------------------------------------ the tests


def started(iterations, dampings):
    """An engine whose lanes have different pixels, weights and dampings, and the weights in rows."""
    engine = LaneEngine(LABELS, SPECTRUM_WEIGHTS, N_TRAIN, N_NEURONS, PENALTY)
    weights = [new_network(lane, 0, 0, 0.5, N_LABEL, N_NEURONS) for lane in range(LANES)]
    for lane in range(LANES):
        engine.start(lane, weights[lane], FLUX[lane], iterations, dampings[lane])
    assert engine.advance() == list(range(LANES))
    return engine, [to_rows(one, N_LABEL) for one in weights]


def test_one_step():
    """J'J is summed in float32, so the step is that of the twin to 1e-4 of its length; the prediction is exact."""
    dampings = np.geomspace(1e-2, 10, LANES)
    engine, start = started(1, dampings)
    n = engine.layout.n_weight
    for lane in range(LANES):
        v, a, trial = one_step(start[lane], FLUX[lane], dampings[lane])
        for found, expected in ((engine.memory.step, v), (engine.memory.bend, a), (engine.networks.trial, trial)):
            assert np.linalg.norm(rows_of(found, lane)[:n] - expected) < 1e-4 * np.linalg.norm(expected)
        found = rows_of(engine.networks.weights, lane)[:n]
        taken = np.array_equal(found, rows_of(engine.networks.trial, lane)[:n])
        assert taken or np.array_equal(found, start[lane])
        assert taken == (cost_of(trial, FLUX[lane]) < cost_of(start[lane], FLUX[lane]))
        error = predicted(found, LABELS, N_NEURONS)[0] - FLUX[lane]
        scalars = rows_of(engine.networks.scalars, lane)
        assert scalars[COST] == pytest.approx(cost_of(found, FLUX[lane]), rel=1e-12)
        assert scalars[DEVIATION] == pytest.approx(np.abs(error[:N_TRAIN]).max(), rel=1e-12)
        assert scalars[DAMPING] == pytest.approx(dampings[lane] * (DAMPING_DOWN if taken else DAMPING_UP), rel=1e-15)


def test_a_short_descent():
    """Ten iterations, some of them refused: the twin gets to the same place."""
    dampings = np.geomspace(1e-4, 1e-2, LANES)
    engine, start = started(10, dampings)
    n_refused = []
    for lane in range(LANES):
        rows, damping, refused = descend(start[lane], FLUX[lane], dampings[lane], 10)
        run = engine.result(lane)
        assert run.steps == 10
        assert rows_of(engine.networks.scalars, lane)[DAMPING] == pytest.approx(damping, rel=1e-12)
        assert run.cost == pytest.approx(cost_of(rows, FLUX[lane]), rel=2e-3)
        assert run.weights == pytest.approx(from_rows(rows, N_LABEL, N_NEURONS), abs=2e-2)
        n_refused.append(refused)
    assert max(n_refused) > 0 and min(n_refused) == 0


def cholesky_of(tile, monkeypatch):
    """cholesky.py as it would be with tiles of this size."""
    monkeypatch.setattr(layout, "TILE", tile)
    spec = spec_from_file_location(f"cholesky_of_tile_{tile}", cholesky.__file__)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_solver(module):
    factorize, solve_lower, solve_upper = module.factorize, module.solve_lower, module.solve_upper

    @kernel
    def factorize_and_solve(factor, sums, sum_of_element, gradient, penalties, damping, x, n_row):
        """x <- A^-1 x; the rows of x behind the matrix, those of the gradient's row, become 0 in between."""
        factorize(factor, sums, sum_of_element, gradient, penalties, load(damping, 0), n_row)
        solve_lower(factor, x, n_row)
        for i in range(LANES * (n_row - 1), LANES * n_row):
            x[i] = 0.0
        solve_upper(factor, x, n_row)

    return factorize_and_solve


@pytest.mark.parametrize("tile", [3, TILE])
def test_cholesky_factor_and_its_systems(tile, monkeypatch):
    """Known answers from numpy, whatever the size of a tile: the last row of L is the system that belongs to it."""
    module, rng, n_row = cholesky_of(tile, monkeypatch), np.random.default_rng(tile), whole(8, tile)
    n, n_tile = n_row - 1, n_row // tile
    root = rng.normal(size=(LANES, n_row, n_row))
    matrix = (root @ root.swapaxes(1, 2)).astype(np.float32)
    element = np.arange(n_row**2).reshape(n_tile, tile, n_tile, tile)
    places = [element[i, :, j] for i in range(n_tile) for j in range(i + 1)]
    sums, factor = aligned(n_row**2, np.float32), Factor(aligned(n_row**2), aligned(n_row))
    gradient, penalties, damping, x = aligned(n_row), aligned(n_row), aligned(1), aligned(n_row)
    sums.reshape(n_row, n_row, LANES)[:] = np.moveaxis(matrix, 0, -1)
    for array in (gradient, penalties, damping, x):
        array[:] = rng.uniform(0.1, 1, len(array))
    right = x.copy()
    build_solver(module)(factor, sums, np.ravel(places).astype(np.int32), gradient, penalties, damping, x, n_row)
    for lane in range(LANES):
        damped = matrix[lane].astype(float) + np.diag(rows_of(penalties, lane) + damping[lane])
        lower = np.linalg.cholesky(damped[:n, :n])
        row_of = [[module.triangle_row(i // tile) + tile * k + i % tile for k in range(n)] for i in range(n_row)]
        found = rows_of(factor.tiles, lane)[np.where(np.tri(n_row, n), row_of, 0)] * np.tri(n_row, n)
        assert found[:n] == pytest.approx(np.where(np.eye(n), lower**2, lower), abs=1e-10)
        assert found[n] == pytest.approx(np.linalg.solve(lower, rows_of(gradient, lane)[:n]), abs=1e-10)
        assert rows_of(factor.inverse, lane)[:n] == pytest.approx(1 / np.diag(lower), abs=1e-10)
        solution = np.linalg.solve(damped[:n, :n], rows_of(right, lane)[:n])
        assert rows_of(x, lane)[:n] == pytest.approx(solution, abs=1e-9)
