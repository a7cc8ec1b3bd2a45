"""Networks side by side that each know labels of their own."""

import numpy as np
import pytest
from known_lm import make_labels, new_network, published_flux

from payneflow.simd import LANES
from payneflow.training.lm.engine import LaneEngine
from payneflow.training.lm.own_labels import OwnLabelsEngine, labels_that_act, with_labels, without_labels
from payneflow.weights import split

N, N_LABEL, N_NEURONS, PENALTY = 40, 6, 4, 1e-6
LABELS = make_labels(N, N_LABEL, seed=8)
SPECTRUM_WEIGHTS = np.linspace(0.5, 1.5, N)
KEPT = np.array([1, 2, 5])
RELEVANCE = np.array([50.0, 1.0, 2.0, 70.0, 90.0, 4.0])


def flux_of(lane):
    a, b, c = LABELS[:, KEPT].T
    return 0.5 + 0.1 * np.sin((2 + 0.2 * lane) * a + b) * (1 + c)


def run(engine, iterations=6, lanes=range(LANES), **more):
    """The outcomes of an engine whose lanes have different pixels and networks."""
    for lane in lanes:
        weights = new_network(lane, 0, 0, 0.5, N_LABEL, N_NEURONS)
        engine.start(lane, weights, flux_of(lane), iterations, 1e-2, relevance=RELEVANCE, **more)
    outcomes = {}
    while ended := engine.advance():
        outcomes |= {lane: engine.result(lane) for lane in ended}
    return [outcomes[lane] for lane in lanes]


def own(width):
    return OwnLabelsEngine(LABELS, SPECTRUM_WEIGHTS, N, N_NEURONS, PENALTY, width)


def test_labels_that_act_are_those_of_largest_effect_and_as_many_more_as_cost_nothing():
    effects = np.array([0.1, 5.0, 0.2, 4.0, 0.3, 3.0, 0.4, 2.0])
    assert np.array_equal(labels_that_act(effects, 2.5), [1, 3, 5]), "with the bias they fill a tile"
    assert np.array_equal(labels_that_act(effects, 1.0), [1, 2, 3, 4, 5, 6, 7]), "three more fill the next one"
    assert np.array_equal(labels_that_act(effects, 0.0), range(8))
    assert np.array_equal(labels_that_act(np.zeros(5), 1.0), [0, 1, 2]), "the first ones, where none acts"
    assert np.array_equal(labels_that_act(np.ones(2), 0.5), [0, 1])


def test_who_keeps_all_labels_descends_as_lanes_that_share_them_do():
    """But for the rounding of J'J, which decides how a step goes, not where."""
    shared = run(LaneEngine(LABELS, SPECTRUM_WEIGHTS, N, N_NEURONS, PENALTY))
    for one, other in zip(run(own(N_LABEL)), shared, strict=True):
        assert one.steps == other.steps
        assert one.cost == pytest.approx(other.cost, rel=1e-3)
        assert one.deviation == pytest.approx(other.deviation, rel=1e-2)


def test_no_bit_depends_on_the_labels_of_the_other_lanes():
    engine = own(6)
    run(engine, lanes=range(3), kept=np.array([0, 3, 4, 5]))
    (alone,) = run(own(6), lanes=[5], kept=KEPT)
    engine.start(1, new_network(1, 0, 0, 0.5, N_LABEL, N_NEURONS), flux_of(1), 9, 1e-2, kept=np.array([0, 2]))
    engine.start(5, new_network(5, 0, 0, 0.5, N_LABEL, N_NEURONS), flux_of(5), 6, 1e-2, 0.0, RELEVANCE, kept=KEPT)
    assert engine.advance() == [5]
    assert np.array_equal(alone.weights, engine.result(5).weights)


def test_a_label_that_is_not_kept_has_no_weight_and_the_kept_ones_learn_the_line():
    for lane, outcome in enumerate(run(own(3), 60, kept=KEPT)):
        w0 = split(outcome.weights, N_LABEL).w0
        assert not np.delete(w0, KEPT, axis=1).any() and w0[:, KEPT].any(axis=0).all()
        assert np.abs(published_flux(outcome.weights, LABELS, N_NEURONS) - flux_of(lane)).max() < 0.02


def test_what_a_label_does_at_the_middle_of_its_range_stays_when_it_leaves():
    weights, labels = new_network(2, 0, 0, 0.5, N_LABEL, N_NEURONS), LABELS.copy()
    labels[:, np.delete(np.arange(N_LABEL), KEPT)] = 0.5
    left = without_labels(with_labels(weights, KEPT, N_LABEL, 5), KEPT, N_LABEL, 5)
    expected = published_flux(weights, labels, N_NEURONS)
    np.testing.assert_allclose(published_flux(left, LABELS, N_NEURONS), expected, rtol=1e-12)
