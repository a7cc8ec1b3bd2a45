"""`sgd` is the published algorithm: real pixels trained by it and by the published listing in Theano, side by side.

Run by the Python of .venv-theano, from test_theano.py of the main suite. What differs is rounding: sums are taken in
another order and the logistic function is another one.
"""

from pathlib import Path

import numpy as np
import pytest
from theano_equality import (
    FEW_LOOPS,
    PARTED,
    SEED,
    SHORT,
    TRIAL_EPOCHS,
    first_run,
    flux_difference,
    partings,
    read_case,
    relative_difference,
    run_once,
    train,
)

from payneflow.errors import SettingsError
from payneflow.settings import SgdSettings, TheanoSettings
from payneflow.training.policy import Run
from payneflow.training.sgd import SgdTrainer
from payneflow.training.theano import TheanoTrainer

ROOT = Path(__file__).parents[2]
LABELS, FLUX = read_case(str(ROOT / "resources/hband_grid.npz"))
# Of the 18 pixels of `make theano`, those that all decisions occur in: what Theano needs a third of the time for.
PIXELS = (36, 684, 2628, 1764, 6048, 4320, 2772)
STALLING = (5076,)


@pytest.fixture(scope="module")
def sgd():
    return SgdTrainer(LABELS, SgdSettings(), SEED)


@pytest.fixture(scope="module")
def theano():
    return TheanoTrainer(LABELS, TheanoSettings(), SEED)


def test_the_first_weights_are_the_same(theano, sgd):
    for restart in range(3):
        assert (theano.new_network(7, restart, FLUX[7]) == sgd.new_network(7, restart, FLUX[7])).all()


def test_weights_are_the_same_after_100_epochs(theano, sgd):
    """Each weight of each pixel, to a billionth of itself."""
    for pixel in PIXELS:
        weights, ours = (first_run(trainer, pixel, FLUX[pixel], 100).weights for trainer in (theano, sgd))
        assert relative_difference(weights, ours) < 1e-9, pixel


# 5076 stalls, and no other amplifies rounding that fast: 1e-7 here, so that another processor's may come near the bound
@pytest.mark.parametrize("pixel", [36, 684, 4320])
def test_the_flux_is_the_same_after_a_whole_trial(theano, sgd, pixel):
    """Published settings; so are all numbers that the policy decides by."""
    outcome, ours = (first_run(trainer, pixel, FLUX[pixel], TRIAL_EPOCHS) for trainer in (theano, sgd))
    assert flux_difference(outcome.weights, ours.weights, LABELS) < 1e-6
    for name in ("improvement", "cost", "deviation"):
        assert getattr(outcome, name) == pytest.approx(getattr(ours, name), rel=1e-5), name
    assert outcome.steps == ours.steps == TRIAL_EPOCHS


@pytest.mark.parametrize(("pixels", "max_iter"), [(PIXELS, SHORT["max_iter"]), (STALLING, FEW_LOOPS)])
def test_the_decisions_are_the_same(theano, sgd, pixels, max_iter):
    """After each run of each pixel: where it stands, restarts, loops, step size, epochs; and the network kept."""
    asked = {**SHORT, "max_iter": max_iter}
    published = train(theano, TheanoSettings(**asked), pixels, FLUX)
    ours = train(sgd, SgdSettings(**asked), pixels, FLUX)
    for pixel in pixels:
        assert published[pixel][0] == ours[pixel][0], pixel
        assert flux_difference(published[pixel][1].best_weights, ours[pixel][1].best_weights, LABELS) < 1e-6, pixel
    ends = {decided[-1][0] for decided, _ in ours.values()}
    restarts = {progress.restarts for _, progress in ours.values()}
    if pixels is PIXELS:  # otherwise this test would prove little
        assert ends == {"converged", "max_loops", "step_too_small"} and restarts == {0, 1, 2, 3}
        assert {progress.loops for _, progress in ours.values()} == {0, 1, 2, 3, 4, 5}
        assert {progress.divisor for _, progress in ours.values()} == {1.0, 2.0, 4.0}
    else:
        assert ends == {"stalled"}


def test_after_many_epochs_they_part_as_rounding_does(theano, sgd):
    """`sgd` with its neurons in another order, or with first weights one ulp larger, parts from `sgd` just as fast."""
    table = partings(LABELS, FLUX, 4500, theano, sgd, epochs=4000, every=500)
    of_theano, of_rounding = table[:, 0], table[:, 1:]
    parted = [np.argmax(column > PARTED) for column in table.T]
    assert (table[-1] > PARTED).all(), "all have parted by the end"
    assert min(parted[1:]) - 1 <= parted[0] <= max(parted[1:]) + 1, "in units of 500 epochs"
    together = (table < PARTED).all(axis=1)
    assert together.sum() >= 4
    distance = np.log10(of_theano) - np.median(np.log10(of_rounding), axis=1)
    assert (np.abs(distance[together]) < 1.5).all(), distance
    assert np.log10(of_theano[together][-1] / of_theano[0]) > 3, "the growth is seen, not only the noise"


@pytest.mark.parametrize(("n_training", "n_label", "n_neurons", "mini_batch_size"), [(7, 1, 1, 1), (13, 5, 4, 3)])
def test_other_shapes(n_training, n_label, n_neurons, mini_batch_size):
    """A tail shorter than a mini-batch is dropped; the listing's Python 2 did that by dividing whole numbers."""
    generator = np.random.default_rng(3)
    labels, flux = generator.uniform(0.1, 0.9, (n_training, n_label)), generator.uniform(0.5, 0.9, n_training)
    asked = {"n_neurons": n_neurons, "mini_batch_size": mini_batch_size}
    trainers = TheanoTrainer(labels, TheanoSettings(**asked), 5), SgdTrainer(labels, SgdSettings(**asked), 5)
    start = trainers[0].new_network(2, 1, flux)
    outcome, ours = (run_once(trainer, flux, start, Run(4, 220, 0.05, False)) for trainer in trainers)
    assert relative_difference(outcome.weights, ours.weights) < 1e-9
    assert outcome.improvement == pytest.approx(ours.improvement, rel=1e-9)
    assert outcome.deviation == pytest.approx(ours.deviation, rel=1e-9), "over all spectra, the tail included"


def test_a_grid_smaller_than_a_mini_batch_is_refused():
    with pytest.raises(SettingsError, match="mini_batch_size is 200.*160 training spectra"):
        TheanoTrainer(LABELS, TheanoSettings(mini_batch_size=200), SEED)


def test_the_compile_directory_is_this_process_s_own():
    import theano

    directory = Path(theano.config.base_compiledir)
    assert directory.name.startswith("theano-") and directory.is_dir()
    assert theano.config.blas__ldflags == "" and theano.config.floatX == "float64"
