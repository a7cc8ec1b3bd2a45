"""Emulators of all kinds, made alike: spectra to learn go in, a function from labels to flux comes out.

lm          networks as payneflow trains them, auto settings
sgd         networks as published: stochastic gradient descent (of few pixels: it takes its time)
kriging     Matern 5/2, one set of lengths for all pixels, by marginal likelihood
whole       one network for the whole spectrum, as the later public code trains it (whole_spectrum.py)
quadratic   all products of two labels, ridge chosen by leave-one-out
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from trainers import SEED, Case, Measured, measure, prepare, rehearse
from whole_spectrum import train_whole_spectrum

from payneflow.kriging import descended_lengths, matern, solve
from payneflow.network import logistic
from payneflow.scaling import unscale_flux
from payneflow.settings import LmSettings, SgdSettings
from payneflow.statistics import evenly
from payneflow.training.lm.preparation import Preparation
from payneflow.weights import split

SGD_PIXELS = 8  # trained side by side
REHEARSED = 60  # spectra, with which all is compiled
RIDGES = 10.0 ** np.arange(-10, 2)


@dataclass(frozen=True)
class Emulator:
    """A function `predict`: scaled labels (n, n_label) -> flux (n, n_own) of `own` (n_own,), places in a case's pixels.

    `deviation` (n_own,): largest error on the spectra that it learnt. `milliseconds`: of one core, a pixel. `course`:
    how training went, of what is trained step by step.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    own: np.ndarray
    deviation: np.ndarray
    milliseconds: float
    course: str = ""

    def errors(self, case: Case) -> np.ndarray:
        """|predicted - true| (n_held, n_own) of a case's held spectra."""
        return np.abs(self.predict(case.held_labels) - case.held_flux[:, case.pixels[self.own]])


@dataclass(frozen=True)
class WholeSpectrumSettings:
    n_step: int = 2000
    step_size: float = 1e-3


def by_lm(case: Case) -> Emulator:
    settings = LmSettings()
    rehearse(replace(case, labels=case.labels[:REHEARSED], flux=case.flux[:REHEARSED]), settings)
    found = measure(case, settings, prepare(case.labels, case.flux, settings, SEED))
    return _of_networks(found, np.arange(len(case.pixels)))


def by_sgd(case: Case) -> Emulator:
    own = evenly(len(case.pixels), SGD_PIXELS)
    few = replace(case, pixels=case.pixels[own])
    return _of_networks(measure(few, SgdSettings(), Preparation.nothing(*case.labels.shape)), own)


def _of_networks(found: Measured, own: np.ndarray) -> Emulator:
    return Emulator(partial(flux_of_networks, found.weights), own, found.deviation, found.milliseconds)


def flux_of_networks(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Flux (n, n_pixel) of networks (n_pixel, n_weight) for scaled labels (n, n_label); one product for all pixels."""
    w0, b0, w1, b1 = split(weights, labels.shape[1])
    hidden = logistic(labels @ w0.reshape(-1, labels.shape[1]).T + b0.ravel()).reshape(len(labels), *b0.shape)
    return unscale_flux(logistic((hidden * w1).sum(axis=2) + b1))


def by_kriging(case: Case) -> Emulator:
    return _made(case, _kriging)


def by_polynomial(case: Case) -> Emulator:
    return _made(case, _polynomial)


def by_whole_spectrum(case: Case, settings: WholeSpectrumSettings) -> Emulator:
    courses = []

    def make(case: Case) -> Callable:
        flux = case.flux[:, case.pixels]
        network, course = train_whole_spectrum(case.labels, flux, settings.n_step, settings.step_size)
        courses.append(str(course))
        as_double(network)
        return network.predict

    return replace(_made(case, make), course=courses[0])


def as_double(network) -> None:
    """Differences of a single-precision network would be noise."""
    network.weights = [one.astype(float) for one in network.weights]
    network.biases = [one.astype(float) for one in network.biases]


def _made(case: Case, make: Callable[[Case], Callable]) -> Emulator:
    """An emulator of all pixels of a case, made and timed."""
    begin = time.process_time()
    found = make(case)
    milliseconds = (time.process_time() - begin) / len(case.pixels) * 1e3
    deviation = np.abs(found(case.labels) - case.flux[:, case.pixels]).max(axis=0)
    return Emulator(found, np.arange(len(case.pixels)), deviation, milliseconds)


def _kriging(case: Case) -> Callable:
    lengths, nugget = descended_lengths(case.labels, case.flux)
    flux = case.flux[:, case.pixels]
    solved = solve(matern(case.labels, case.labels, lengths), nugget, np.column_stack([flux, np.ones(len(flux))]))
    mean = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()  # of least variance
    weights = solved[:, :-1] - solved[:, -1:] * mean
    return lambda labels: mean + matern(labels, case.labels, lengths) @ weights


def _polynomial(case: Case) -> Callable:
    """Ridge about the means of terms and flux; the error from each spectrum left out is exact, few as they may be."""
    flux, terms = case.flux[:, case.pixels], products(case.labels)
    mean, mean_terms, n = flux.mean(axis=0), terms.mean(axis=0), len(flux)
    u, s, v = np.linalg.svd(terms - mean_terms)
    of_flux, square = u.T @ (flux - mean), np.zeros(n)
    square[: len(s)] = s**2
    best, ridge = np.inf, None
    for trial in RIDGES * s[0] ** 2:
        left = trial / (square + trial)  # of each direction; 1 less the hat matrix would be lost in rounding
        left_out = (u @ (left[:, None] * of_flux)) / (u**2 @ left - 1 / n)[:, None]
        if (tried := (left_out**2).mean()) < best:
            best, ridge = tried, trial
    found = v[: len(s)].T @ ((s / (s**2 + ridge))[:, None] * of_flux[: len(s)])
    return lambda labels: mean + (products(labels) - mean_terms) @ found


def products(labels: np.ndarray) -> np.ndarray:
    """(n, n_term): the labels about the middle of their range, and all products of two of them."""
    centred = (labels - 0.5) / 0.4
    a, b = np.triu_indices(labels.shape[1])
    return np.column_stack([centred, centred[:, a] * centred[:, b]])
