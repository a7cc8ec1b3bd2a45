"""Virtual spectra: labels in the gaps between the training labels, with flux by kriging from the training spectra.

Scaled training labels (n_train, n_label) and training flux (n_train, n_pixel) go in; `VirtualSpectra` comes out. A
small network is free to swing between the training labels; a virtual spectrum of small weight ties it down there.

Kriging (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2, 4, 5) predicts a pixel's flux
as a mean plus a smooth random function of the labels. Its prediction is linear in the training flux: with one
smoothness for all pixels it is ONE matrix for all of them. Nothing here knows a test spectrum.
"""

import math
from dataclasses import dataclass

import numpy as np

from payneflow.training.sampling import evenly
from payneflow.training.simd import kernel

LENGTH_START, LENGTH_STEP = 1.5, 1.25  # of the search, in scaled labels (the grid is 0.8 wide) and as a factor
LENGTH_LEAST, LENGTH_MOST = 0.05, 50.0
NUGGET_START, NUGGET_STEP = 1e-8, 10.0  # variance of what is not smooth, relative to that of the smooth function
NUGGET_LEAST, NUGGET_MOST = 1e-10, 1.0
VARIANCE_LEAST = 1e-10  # flux^2, the 1e-5 of a tabulated flux; a constant pixel's variance stays above 0
SEARCH_SPECTRA, SEARCH_PIXELS = 400, 1000  # the search for the lengths looks at no more, evenly spread over the grid
LARGEST_KRIGING = 2560  # training spectra; the matrix costs their number cubed (2560: some seconds)
VIRTUAL_PER_TRAINING = 0.5  # cross-validated: 1 is within the scatter, and slower
LARGEST_VIRTUAL = 640  # virtual spectra; every one costs an iteration as much as a training spectrum
N_NEIGHBOUR, N_CANDIDATE = 12, 6000
OVERSHOOT = 0.3  # a virtual label lies at most this part of the way to its neighbour outside the two
ROWS = 256  # of a covariance are worked on at a time: its square is large, and what it takes five times as large
COLUMNS = 128  # of a matrix are worked on at a time, so that they stay in a near cache
SPAWN_KEY = 2  # of the random numbers here: 0 is for weights, 1 for shuffles (DESIGN.md, section 2)


@dataclass(frozen=True)
class VirtualSpectra:
    """Where the virtual spectra are, and what makes their flux of the training flux."""

    labels: np.ndarray  # (n_virtual, n_label), scaled to x'
    matrix: np.ndarray  # (n_virtual, n_train)
    lengths: np.ndarray  # (n_label,), scaled labels over which flux changes
    note: str  # what was done, for the log and the provenance

    @classmethod
    def none(cls, n_training: int, n_label: int, note: str) -> "VirtualSpectra":
        """No virtual spectra at all, and why."""
        return cls(np.empty((0, n_label)), np.empty((0, n_training)), np.full(n_label, np.nan), note)

    def flux(self, training_flux):
        """Flux (n_virtual, n_pixel) of the virtual spectra from that of the training spectra (n_train, n_pixel)."""
        return _weighted_sums(self.matrix, np.ascontiguousarray(training_flux, dtype=np.float64))


def make_virtual_spectra(labels, flux, seed, n_virtual=None):
    """The virtual spectra of a grid: `n_virtual` of them, by default half as many as training spectra.

    labels (n_train, n_label) scaled to x', flux (n_train, n_pixel), training spectra only; of the flux, which may lie
    in a file, a sample of spectra and pixels is read.
    """
    n_train, n_label = labels.shape
    if n_virtual is None:
        n_virtual = min(math.ceil(VIRTUAL_PER_TRAINING * n_train), LARGEST_VIRTUAL)
    if n_virtual == 0 or n_train > LARGEST_KRIGING:
        note = "no virtual spectra"
        if n_virtual:
            note += f": {n_train} training spectra, more than {LARGEST_KRIGING}, leave a network little freedom"
        return VirtualSpectra.none(n_train, n_label, note)
    rows = evenly(n_train, SEARCH_SPECTRA)
    columns = evenly(flux.shape[1], SEARCH_PIXELS)
    lengths, nugget = kriging_lengths(labels[rows], np.ascontiguousarray(flux[rows][:, columns]))
    virtual = labels_in_gaps(labels, n_virtual, seed)
    matrix = kriging_matrix(labels, virtual, lengths, nugget)
    shown = ", ".join(f"{length:.2f}" for length in lengths)
    note = f"{n_virtual} virtual spectra by kriging from {n_train}; lengths {shown} of x', nugget {nugget:.0e}"
    return VirtualSpectra(virtual, matrix, lengths, note)


# -------------------------------------------------------------------------------------------------------------- kriging


def matern(a, b, lengths):
    """Matern 5/2 covariance (n_a, n_b) of unit variance between labels a (n_a, n_label) and b (n_b, n_label)."""
    covariance = np.empty((len(a), len(b)))
    for first in range(0, len(a), ROWS):
        some = slice(first, first + ROWS)
        square = np.zeros_like(covariance[some])
        for c, length in enumerate(lengths):  # label by label: the cube (n_a, n_b, n_label) may be large
            square += ((a[some, c, None] - b[:, c]) / length) ** 2
        r = np.sqrt(5 * square)
        covariance[some] = (1 + r + square * (5 / 3)) * np.exp(-r)
    return covariance


def kriging_matrix(labels, virtual, lengths, nugget):
    """(n_virtual, n_train): flux at `virtual` = matrix @ training flux, of least variance with each row's sum 1."""
    one = np.ones((len(labels), 1))
    across = matern(labels, virtual, lengths)
    solved = _solve(matern(labels, labels, lengths), nugget, np.hstack([across, one]))
    weights, of_one = solved[:, :-1], solved[:, -1:]
    return np.ascontiguousarray((weights + of_one * (1 - weights.sum(0)) / of_one.sum()).T)


def kriging_lengths(labels, flux):
    """Lengths (n_label,) and nugget of greatest marginal likelihood, common to all pixels, each of its own variance.

    A walk in steps of a fixed factor: one length at a time, all together, the nugget.
    """
    n_label = labels.shape[1]
    centred = flux - flux.mean(0)
    moves = np.vstack([np.eye(n_label + 1), np.append(np.ones(n_label), 0)])
    factors = np.append(np.full(n_label, LENGTH_STEP), NUGGET_STEP)
    least = np.append(np.full(n_label, LENGTH_LEAST), NUGGET_LEAST)
    most = np.append(np.full(n_label, LENGTH_MOST), NUGGET_MOST)
    at = np.append(np.full(n_label, LENGTH_START), NUGGET_START)
    best, moved = _misfit(labels, centred, at), True
    while moved:
        moved = False
        for move in np.vstack([moves, -moves]):
            trial = at * factors**move
            while (trial > least * 0.99).all() and (trial < most * 1.01).all():  # on, as long as it gets better
                misfit = _misfit(labels, centred, trial)
                if not misfit < best - 1e-9 * abs(best):
                    break
                best, at, moved = misfit, trial, True
                trial = at * factors**move
    return at[:-1], at[-1]


def _misfit(labels, centred, lengths_and_nugget):
    """-2 log marginal likelihood, mean over pixels, each pixel's mean and variance at their best."""
    n = len(labels)
    root = matern(labels, labels, lengths_and_nugget[:-1])
    root[np.diag_indices(n)] += lengths_and_nugget[-1]
    if not _factorize(root):  # repeated labels and next to no nugget
        return np.inf
    white = np.column_stack([centred, np.ones(n)])
    _solve_lower(root, white)
    of_one = white[:, -1] / np.sqrt((white[:, -1] ** 2).sum())
    white = white[:, :-1]
    square = (white**2).sum(0) - (of_one[:, None] * white).sum(0) ** 2  # the mean is free
    log_determinant = 2 * np.log(np.diag(root)).sum()
    return (n - 1) * np.log(np.maximum(square, 0) / n + VARIANCE_LEAST).mean() + log_determinant


def _solve(covariance, nugget, right):
    """(covariance + nugget)^-1 right; a nugget too small for the digits of a double is raised until it works."""
    while True:
        root = covariance.copy()
        root[np.diag_indices(len(root))] += nugget
        if _factorize(root):
            solved = right.copy()
            _solve_lower(root, solved)
            _solve_upper(root, solved)
            return solved
        nugget *= NUGGET_STEP


# Not LAPACK and BLAS in all that follows: their bits depend on the number of threads and on how many pixels come along.


@kernel
def _factorize(matrix):
    """Put the Cholesky factor R, R'R = matrix, in place of its upper triangle; False if it is not positive definite."""
    n = len(matrix)
    for i in range(n):
        row = matrix[i, i:]
        for k in range(i):
            above, factor = matrix[k, i:], matrix[k, i]
            for j in range(n - i):
                row[j] -= factor * above[j]
        if not row[0] > 0:
            return False
        inverse = 1 / math.sqrt(row[0])
        for j in range(n - i):
            row[j] *= inverse
    return True


@kernel
def _solve_lower(root, right):
    """right <- R'^-1 right, for `right` (n, n_column)."""
    n, n_column = right.shape
    for first in range(0, n_column, COLUMNS):
        last = min(first + COLUMNS, n_column)
        for i in range(n):
            row = right[i, first:last]
            for k in range(i):
                above, factor = right[k, first:last], root[k, i]
                for j in range(last - first):
                    row[j] -= factor * above[j]
            for j in range(last - first):
                row[j] /= root[i, i]


@kernel
def _solve_upper(root, right):
    """right <- R^-1 right, for `right` (n, n_column)."""
    n, n_column = right.shape
    for first in range(0, n_column, COLUMNS):
        last = min(first + COLUMNS, n_column)
        for i in range(n - 1, -1, -1):
            row = right[i, first:last]
            for k in range(i + 1, n):
                below, factor = right[k, first:last], root[i, k]
                for j in range(last - first):
                    row[j] -= factor * below[j]
            for j in range(last - first):
                row[j] /= root[i, i]


@kernel
def _weighted_sums(matrix, flux):
    """matrix @ flux."""
    n_virtual, n_train = matrix.shape
    n_pixel = flux.shape[1]
    out = np.zeros((n_virtual, n_pixel))
    for first in range(0, n_pixel, COLUMNS):
        last = min(first + COLUMNS, n_pixel)
        for k in range(n_virtual):
            for x in range(n_train):
                weight = matrix[k, x]
                for a in range(first, last):
                    out[k, a] += weight * flux[x, a]
    return out


# --------------------------------------------------------------------------------------------------------------- labels


def labels_in_gaps(labels, n, seed):
    """n labels, each as far as can be from all training labels and from those before it, (n, n_label).

    Chosen among random points on the lines from each training label to its neighbours, a little beyond both ends:
    so they stay where the grid is, whatever its shape.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPAWN_KEY,)))
    n_train = len(labels)
    k = min(N_NEIGHBOUR, n_train - 1)
    near = np.array([_neighbours(labels, i, k) for i in range(n_train)])
    n_candidate = max(N_CANDIDATE, 4 * n)
    i = np.arange(n_candidate) % n_train
    j = near[i, rng.integers(0, k, n_candidate)]
    along = rng.uniform(-OVERSHOOT, 1 + OVERSHOOT, (n_candidate, 1))
    candidates = labels[i] + along * (labels[j] - labels[i])
    distance = np.full(n_candidate, np.inf)
    for label in labels:
        distance = np.minimum(distance, ((candidates - label) ** 2).sum(1))
    chosen = np.empty((n, labels.shape[1]))
    for a in range(n):
        chosen[a] = candidates[distance.argmax()]
        distance = np.minimum(distance, ((candidates - chosen[a]) ** 2).sum(1))
    return chosen


def _neighbours(labels, i, k):
    """The k training spectra nearest to spectrum i, itself left out."""
    order = np.argsort(((labels - labels[i]) ** 2).sum(1), kind="stable")
    return order[order != i][:k]
