"""The next spectra: of many candidates those that lower the expected error most, one after the other.

Each choice is that by which the variance of kriging, weighed by the level of errors, falls most, summed over all
candidates (Cohn 1996, Neural Networks 9, 1071: "active learning Cohn"; Seo et al. 2000 for Gaussian processes). Every
fifth is instead where the expected error is largest, which are edges and thin corners. The variance is updated after
each choice: it does not depend on the flux, so a whole batch is chosen before any of it is computed.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from payneflow.design.expected_error import ExpectedError, root_of, whitened
from payneflow.kriging import matern, weighted_sums
from payneflow.progress import Counter
from payneflow.statistics import evenly

REFERENCES = 600  # candidates over which the error is summed, evenly spread
WORST_EVERY = 5  # choices, one of which goes to the largest expected error

COLUMNS, THREADS = 1024, 2  # candidates at a time


def choose(error: ExpectedError, candidates: np.ndarray, n: int, show: bool = False) -> np.ndarray:
    """(n,): which of scaled candidates (n_candidate, n_label) to compute, in this order; n_candidate is n or more.

    `show`: the progress.
    """
    variance = Variance(error, candidates)
    level = error.level_at(candidates)
    weight = level[variance.references]
    free = np.ones(len(candidates), dtype=bool)
    counter = Counter(n, "spectra chosen")
    chosen: list[int] = []
    while len(chosen) < n:
        if len(chosen) % WORST_EVERY == WORST_EVERY - 1:
            gain = level * variance.own
        else:
            gain = (weight @ variance.shared**2) / (variance.own + error.nugget)
        best = int(np.argmax(np.where(free, gain, -1.0)))
        chosen.append(best)
        variance.add(best)
        free[best] = False
        if show:
            counter.show_done(len(chosen))
    if show:
        counter.close()
    return np.array(chosen, dtype=int)


class Variance:
    """Variance of kriging at candidates, as spectra are added.

    `own` (n_candidate,): at each of them; `shared` (n_reference, n_candidate): covariance with those of `references`,
    numbers of candidates (n_reference,).
    """

    def __init__(self, error: ExpectedError, candidates: np.ndarray):
        self._candidates, self._lengths, self._nugget = candidates, error.lengths, error.nugget
        self.references = evenly(len(candidates), REFERENCES)
        root = root_of(error.labels, error.lengths, error.nugget)
        of_references = np.ascontiguousarray(whitened(root, error.labels, candidates[self.references], error.lengths).T)
        white = np.empty((len(error.labels), len(candidates)))
        self.shared = np.empty((len(self.references), len(candidates)))

        def work_out(first: int) -> None:
            some = slice(first, first + COLUMNS)
            white[:, some] = whitened(root, error.labels, candidates[some], error.lengths)
            shared = matern(candidates[self.references], candidates[some], error.lengths)
            self.shared[:, some] = shared - weighted_sums(of_references, np.ascontiguousarray(white[:, some]))

        with ThreadPoolExecutor(THREADS) as threads:  # columns apart: their number changes no bit
            list(threads.map(work_out, range(0, len(candidates), COLUMNS)))
        self.own = np.maximum(1 - (white**2).sum(axis=0), 0.0)
        self._white = [white]

    def add(self, candidate: int) -> None:
        """A spectrum is there where this candidate is."""
        covariance = matern(self._candidates[candidate][None], self._candidates, self._lengths)
        for white in self._white:
            covariance -= weighted_sums(np.ascontiguousarray(white[:, candidate][None]), white)
        covariance = covariance[0] / np.sqrt(max(covariance[0, candidate], 0.0) + self._nugget)
        self._white.append(covariance[None])
        self.shared -= np.outer(covariance[self.references], covariance)
        self.own = np.maximum(self.own - covariance**2, 0.0)
