"""The published trainer in Theano, one pixel at a time: the reference that `sgd` is compared with.

Network, cost, symbolic gradient and update are those of the published listing, driven by the same policy and drawing
the same random numbers as `sgd`, a thousand times slower (docs/published_algorithm.md). Theano-PyMC needs an old numpy:
`make theano` installs both in an environment of their own. Theano is imported when a trainer is made, not before.
"""

import logging
import os
import shutil
import sys
import tempfile
import warnings
from atexit import register
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from payneflow.errors import SettingsError
from payneflow.scaling import unscale_deviation
from payneflow.settings import WINDOW, SgdSettings
from payneflow.training.policy import Outcome, PublishedPolicy, Run
from payneflow.training.randomness import published_network, shuffled_order
from payneflow.weights import join, split

MEND = (
    "`make theano` in the checkout builds .venv-theano, an environment that has it. The workflow then uses it by "
    "itself; by hand it is .venv-theano/bin/payneflow train."
)


def make(scaled_labels: np.ndarray, preparation, settings: SgdSettings, seed: int):
    """Trainer and policy, as training/trainers.py wants them; there is no preparation to use."""
    return TheanoTrainer(scaled_labels, settings, seed), PublishedPolicy(settings)


class TheanoTrainer:
    """The published listing as a `lanes.Trainer`. `scaled_labels`: (n_training, n_label).

    Raises SettingsError where Theano is missing or a mini-batch needs more spectra than there are.
    """

    n_lane = 1

    def __init__(self, scaled_labels: np.ndarray, settings: SgdSettings, seed: int):
        self.scaled_labels = np.ascontiguousarray(scaled_labels, dtype=float)
        self.settings = settings
        self.seed = seed
        n_training, n_label = self.scaled_labels.shape
        self._n_mini_batch = settings.mini_batches(n_training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy 1.23 about Theano, which nobody will change
            self._compile(n_training, n_label, import_theano())

    def _compile(self, n_training: int, n_label: int, theano) -> None:
        """Network, cost, gradient and update as symbols; compiled once, so that runs differ in shared values alone."""
        n_neurons, size = self.settings.n_neurons, self.settings.mini_batch_size
        tensor, sigmoid = theano.tensor, theano.tensor.nnet.sigmoid
        self._labels = theano.shared(self.scaled_labels)
        self._flux = theano.shared(np.zeros((n_training, 1)))
        self._order = theano.shared(np.arange(n_training))
        self._step = theano.shared(0.0)  # eta / mini_batch_size
        shapes = (n_label, n_neurons), (n_neurons,), (n_neurons, 1), (1,)
        self._parameters = w0, b0, w1, b1 = [theano.shared(np.zeros(shape)) for shape in shapes]
        labels, flux = tensor.dmatrix("labels"), tensor.dmatrix("flux")
        output = sigmoid(tensor.dot(sigmoid(tensor.dot(labels, w0) + b0), w1) + b1)
        cost = tensor.sum(tensor.abs_(flux - output))
        gradients = tensor.grad(cost, self._parameters)
        number = tensor.lscalar("number")
        spectra = self._order[number * size : (number + 1) * size]
        self._train_mini_batch = theano.function(
            [number],
            cost,
            updates=[(p, p - self._step * gradient) for p, gradient in zip(self._parameters, gradients, strict=True)],
            givens={labels: self._labels[spectra], flux: self._flux[spectra]},
        )

    def new_network(
        self, pixel: int, restart: int, flux: np.ndarray, relevance: np.ndarray | None = None
    ) -> np.ndarray:
        return published_network(self.seed, pixel, restart, self.settings.n_neurons, self.scaled_labels.shape[1])

    def start(self, lane: int, flux: np.ndarray, weights: np.ndarray, run: Run) -> None:
        self._true_flux = np.asarray(flux[: len(self.scaled_labels)], dtype=float)  # no virtual spectra
        self._flux.set_value(self._true_flux[:, None])
        self._order.set_value(shuffled_order(self.seed, run.number, len(self.scaled_labels)))
        self._step.set_value(run.step_size / self.settings.mini_batch_size)
        self._set_weights(weights)
        self._run = run

    def advance(self) -> list[tuple[int, Outcome]]:
        costs = [
            sum(float(self._train_mini_batch(number)) for number in range(self._n_mini_batch))
            for _ in range(self._run.steps)
        ]
        first, last = sum(costs[:WINDOW]), sum(costs[-WINDOW:])
        improvement = abs(first - last) / first if first > 0.0 else 0.0
        outcome = Outcome(self._get_weights(), improvement, last / WINDOW, self._deviation(), self._run.steps)
        return [(0, outcome)]

    def _deviation(self) -> float:
        """The validation, over all training spectra and without Theano, as in the listing."""
        w0, b0, w1, b1 = (parameter.get_value() for parameter in self._parameters)
        predicted = logistic(logistic(self.scaled_labels @ w0 + b0) @ w1[:, 0] + b1)
        return float(unscale_deviation(np.abs(predicted - self._true_flux).max()))

    def _set_weights(self, weights: np.ndarray) -> None:
        """Flat weights (n_weight,) -> the matrices of Theano, whose rows are the inputs."""
        w0, b0, w1, b1 = split(weights, self.scaled_labels.shape[1])
        values = w0.T.copy(), b0, w1[:, None], b1[None]
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.set_value(value)

    def _get_weights(self) -> np.ndarray:
        w0, b0, w1, b1 = (parameter.get_value() for parameter in self._parameters)
        return join(w0.T, b0, w1[:, 0], b1[0])


def logistic(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(-z) of a saturated neuron; the quotient is 0
        return 1.0 / (1.0 + np.exp(-z))


@cache
def import_theano():
    """Theano, set up for this process. Raises SettingsError where it is missing or does not work.

    Its compile directory is one of this process alone, so that parallel jobs neither wait for each other nor read what
    another is writing, and is removed when the process ends. It lies in base_compiledir of the variable THEANO_FLAGS,
    if that is given (the workflow gives the results' directory), else among the system's temporary files.
    """
    missing = f"trainer theano needs Theano-PyMC 1.1.2, which this Python ({sys.executable})"
    if find_spec("theano") is None:
        raise SettingsError(f"{missing} does not have. {MEND}")
    flags = dict(flag.partition("=")[::2] for flag in os.environ.get("THEANO_FLAGS", "").split(",") if flag)
    parent = Path(flags.get("base_compiledir") or tempfile.gettempdir()).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="theano-", dir=parent)
    register(shutil.rmtree, directory, ignore_errors=True)
    # no BLAS: matrices of ten by three gain nothing, and one is not everywhere
    flags |= {"blas__ldflags": "", "floatX": "float64", "base_compiledir": directory}
    os.environ["THEANO_FLAGS"] = ",".join(f"{name}={value}" for name, value in flags.items())
    logging.getLogger("theano.tensor.blas").setLevel(logging.ERROR)  # that there is no BLAS is meant
    try:
        import theano
        import theano.tensor.nnet
    except (ImportError, AttributeError) as error:  # AttributeError: what newer numpys no longer have
        raise SettingsError(f"{missing} cannot import: {error}. {MEND}") from None
    return theano
