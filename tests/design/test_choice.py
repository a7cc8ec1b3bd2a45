"""The next spectra: expected errors that are known, and choices that must be."""

import numpy as np
import pytest

from payneflow.design.choice import Variance, choose
from payneflow.design.expected_error import ExpectedError, expected_error, variance_at
from payneflow.kriging import matern

RNG = np.random.default_rng(3)


def error_of(labels, lengths=(0.5, 0.5), level=None) -> ExpectedError:
    level = np.zeros(len(labels)) if level is None else level
    return ExpectedError(labels, np.array(lengths), 1e-8, labels, level)


def test_the_variance_is_that_of_kriging_however_many_spectra_were_added():
    labels, candidates = RNG.uniform(size=(20, 2)), RNG.uniform(size=(50, 2))
    error = error_of(labels)
    variance = Variance(error, candidates)
    for added in (7, 31, 2):
        variance.add(added)
    known = np.concatenate([labels, candidates[[7, 31, 2]]])
    covariance = matern(known, known, error.lengths) + 1e-8 * np.eye(len(known))
    across = matern(known, candidates, error.lengths)
    left = matern(candidates, candidates, error.lengths) - across.T @ np.linalg.solve(covariance, across)
    assert variance.own == pytest.approx(np.diag(left), abs=1e-7)
    assert variance.shared == pytest.approx(left[variance.references], abs=1e-7)


def test_a_gap_is_filled_first_and_the_choice_moves_on():
    labels = np.array([[x, y] for x in np.linspace(0, 1, 6) for y in np.linspace(0, 1, 6) if x < 0.5 or y < 0.5])
    candidates = RNG.uniform(size=(600, 2))
    chosen = candidates[choose(error_of(labels), candidates, 12)]
    in_gap = (chosen > 0.45).all(axis=1)
    assert in_gap[:6].all() and in_gap.mean() > 0.7
    distance = np.linalg.norm(chosen[:, None] - chosen, axis=2) + np.eye(12)
    assert distance.min() > 0.05, "none beside another"


def test_more_spectra_go_where_errors_are_larger():
    labels, candidates = RNG.uniform(size=(60, 2)), RNG.uniform(size=(800, 2))
    level = np.where(labels[:, 0] > 0.6, 4.0, 0.0)
    chosen = candidates[choose(error_of(labels, level=level), candidates, 30)]
    assert (chosen[:, 0] > 0.55).mean() > 0.75
    without = candidates[choose(error_of(labels), candidates, 30)]
    assert (without[:, 0] > 0.55).mean() < 0.65


def test_none_is_chosen_twice_and_what_is_there_comes_last():
    labels = RNG.uniform(size=(30, 2))
    candidates = np.concatenate([labels, RNG.uniform(size=(9, 2))])
    chosen = choose(error_of(labels), candidates, 20)
    assert len(set(chosen.tolist())) == 20 and set(chosen[:6].tolist()) <= set(range(30, 39))


def test_expected_errors_are_those_that_come():
    """Flux that changes fast where the first label is large: errors are foretold there, and how large."""

    def flux_of(labels):
        phase = np.arange(1, 41) / 20
        return np.sin(phase * np.exp(2.5 * labels[:, :1]) + 4 * labels[:, 1:]) / 10

    labels, elsewhere = RNG.uniform(0.1, 0.9, (150, 2)), RNG.uniform(0.15, 0.85, (200, 2))
    flux = flux_of(labels)
    error = expected_error(labels, flux, np.empty((0, 2)), np.empty(0))
    one = np.linalg.inv(matern(labels, labels, error.lengths) + error.nugget * np.eye(150))
    mean = one.sum(axis=0) @ flux / one.sum()
    predicted = mean + matern(elsewhere, labels, error.lengths) @ one @ (flux - mean)
    true = np.sqrt(((predicted - flux_of(elsewhere)) ** 2).mean(axis=1))
    expected = np.sqrt(error.level_at(elsewhere) * variance_at(labels, elsewhere, error.lengths, error.nugget))
    hard = elsewhere[:, 0] > 0.6
    rms = [[np.sqrt((one[rows] ** 2).mean()) for rows in (hard, ~hard)] for one in (true, expected)]
    assert rms[0][0] > 3 * rms[0][1], "what is to be foretold"
    assert rms[1][0] > 3 * rms[1][1] and rms[1][0] == pytest.approx(rms[0][0], rel=0.7)


def test_errors_of_networks_set_the_level():
    labels, test = RNG.uniform(0.1, 0.9, (60, 2)), RNG.uniform(0.2, 0.8, (40, 2))
    flux = np.sin(3 * labels @ RNG.normal(size=(2, 5)))
    expected = []
    for size in (1e-3, 1e-2):
        error = expected_error(labels, flux, test, np.full(40, size**2))
        at = np.sqrt(error.level_at(test) * variance_at(labels, test, error.lengths, error.nugget))
        expected.append(np.median(at))
    assert expected[1] / expected[0] == pytest.approx(10, rel=1e-3)
    assert expected[0] == pytest.approx(1e-3, rel=0.5)
