"""Which labels the spectra answer to, and which of them act alike: a check of the grid's physics, before any training.

A label is set free of the others (Robinson 1988, Econometrica 56, 931): it, its square, and the flux of each pixel are
predicted by kriging in the other labels, each spectrum from the rest, and what is left of the flux is held against what
is left of the label. The slope of that is the label's answer; it is beyond chance where its correlation in the best
pixel exceeds those of the same label given to the spectra in other orders. These orders keep every correlation between
pixels, so that a significance counts for all pixels together.
"""

from dataclasses import dataclass

import numpy as np

from payneflow.kriging import matern, solve, without_mean
from payneflow.scaling import TRAINING_LEAST, TRAINING_MOST
from payneflow.statistics import evenly

NUGGETS = (1e-6, 1e-4, 1e-2, 1.0)  # of which a label, and the flux, have what predicts them best; or the mean alone
SOME = 256  # pixels, evenly spread, that choose the nugget of the flux
ORDERS = 199  # random ones: the significance is a multiple of 1/200
RANGE = TRAINING_MOST - TRAINING_LEAST  # of each label in the training set, scaled
TINY = 1e-300  # instead of the 0 that a constant would give
CHANCE = 0.01  # probability of so good a correlation by chance, above which there is no answer


@dataclass(frozen=True, eq=False)
class Answer:
    """How the flux answers to one label; flux in shares of the flux scale.

    `slope` (n_pixel,): change of flux by the training range of the label, a mean over the spectra; `noise` (n_pixel,):
    its standard deviation by chance; `p`: probability of so clear an answer by chance; `least`: the largest slope that
    chance gives in 99 of 100 cases: a smaller answer is not seen. `free`: the part of the label's standard deviation
    that does not follow from the other labels.
    """

    slope: np.ndarray
    noise: np.ndarray
    p: float
    least: float
    free: float

    @property
    def rms(self) -> float:
        """The rms of the slope over the pixels, less what noise adds, but not less than the best pixel alone gives."""
        square = self.slope**2
        return float(np.sqrt(max(square.max() / len(square), square.mean() - (self.noise**2).mean())))


def find_answers(labels: np.ndarray, flux: np.ndarray, lengths: np.ndarray) -> list[Answer]:
    """The answer to each label: labels (n, n_label), scaled, flux (n, n_pixel), `lengths` (n_label,) of the kriging."""
    flux = np.asarray(flux, dtype=float)
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(len(labels)) for _ in range(ORDERS)])
    return [_answer(labels, flux, lengths, label, orders) for label in range(labels.shape[1])]


def _answer(labels, flux, lengths, label, orders) -> Answer:
    others, own = np.delete(np.arange(labels.shape[1]), label), labels[:, label]
    left_of = _left_by_kriging(labels[:, others], lengths[others])
    some = flux[:, evenly(flux.shape[1], SOME)]
    # one for label and flux: of flux that is a line in this label plus anything in the others the slope is exact
    matrix = min(left_of, key=lambda one: np.median(((one @ some) ** 2).sum(axis=0)))
    left = matrix @ flux
    size = np.sqrt((left**2).sum(axis=0))
    size[size == 0] = np.inf
    free = min((one @ own for one in left_of), key=lambda one: one @ one)
    # what is free of the label is given to other spectra before the matrix, which makes more of spectra that lie apart
    of_label, of_square = _without(matrix, own[None])
    by_chance, squares_by_chance = _without(matrix, free[orders])
    found = max(_correlation(one, left, size)[0] for one in (of_label, of_square))
    reached = np.maximum(_correlation(by_chance, left, size), _correlation(squares_by_chance, left, size))
    slopes = _slopes(by_chance, left)
    alone = left_of[-1] @ own
    return Answer(
        slope=_slopes(of_label, left)[0],
        noise=np.sqrt((slopes**2).mean(axis=0)),
        p=float((1 + (reached >= found).sum()) / (1 + len(orders))),
        least=float(np.quantile(np.abs(slopes).max(axis=1), 1 - CHANCE)),
        free=float(np.sqrt((free @ free) / max(alone @ alone, TINY))),
    )


def _left_by_kriging(labels: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Matrices (n, n) that make of values their differences from predictions by the other spectra, one a nugget.

    The last predicts the mean of the others. Rasmussen & Williams (2006), equation 5.12.
    """
    n = len(labels)
    matrices = []
    if labels.shape[1]:
        covariance = matern(labels, labels, lengths)
        inverses = (without_mean(solve(covariance, nugget, np.eye(n))) for nugget in NUGGETS)
        matrices = [inverse / np.diag(inverse)[:, None] for inverse in inverses]
    return [*matrices, (np.eye(n) - 1 / n) * (n / (n - 1))]


def _without(matrix: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `matrix` (n, n) leaves of each label (n_label, n), and of its square, the latter without the former."""
    own, square = (_centred(values @ matrix.T) for values in (labels, labels**2))
    share = (own * square).sum(axis=1) / np.maximum((own**2).sum(axis=1), TINY)
    return own, square - share[:, None] * own


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


def _correlation(own: np.ndarray, left: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The best |correlation| of each row of own (k, n) with left (n, n_pixel), of `size` (n_pixel,), in any pixel."""
    return np.abs(own @ left / size).max(axis=1) / np.maximum(np.sqrt((own**2).sum(axis=1)), TINY)


def _slopes(own: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Slopes (k, n_pixel) of left (n, n_pixel) by each row of own (k, n), over the training range."""
    return own @ left * (RANGE / np.maximum((own**2).sum(axis=1, keepdims=True), TINY))


def alike(answers: list[Answer]) -> np.ndarray:
    """Cosines (n_label, n_label) between the answers to labels; 1 or -1: the spectra do not tell the two apart."""
    slopes = np.stack([one.slope for one in answers])
    size = np.sqrt((slopes**2).sum(axis=1, keepdims=True))
    unit = slopes / np.where(size > 0, size, 1.0)
    return unit @ unit.T
