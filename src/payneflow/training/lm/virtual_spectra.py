"""Virtual spectra: labels in the gaps between the training labels, with flux by kriging from the training spectra.

Scaled training labels (n_train, n_label) and training flux (n_train, n_pixel) go in; `VirtualSpectra` comes out. A
small network is free to swing between the training labels; a virtual spectrum of small weight ties it down there.
Nothing here knows a test spectrum.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from payneflow.kriging import kriging_lengths, kriging_matrix, weighted_sums
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.statistics import evenly
from payneflow.training.lm.limits import LARGEST_KRIGING, LARGEST_VIRTUAL, VIRTUAL_PER_TRAINING

SEARCH_SPECTRA, SEARCH_PIXELS = 400, 1000  # the search for the lengths looks at no more, evenly spread over the grid
N_NEIGHBOUR, N_CANDIDATE = 12, 6000
OVERSHOOT = 0.3  # a virtual label lies at most this part of the way to its neighbour outside the two
SPAWN_KEY = 2  # of the random numbers here: 0 is for weights, 1 for shuffles


@dataclass(frozen=True)
class VirtualSpectra:
    """Where the virtual spectra are, and what makes their flux of the training flux."""

    labels: np.ndarray  # (n_virtual, n_label), scaled to x'
    matrix: np.ndarray  # (n_virtual, n_train)
    lengths: np.ndarray  # (n_label,), scaled labels over which flux changes
    note: str  # what was done, for the log and the provenance
    training_labels: np.ndarray | None = None  # (n_train, n_label), scaled
    _matrices: dict[float, np.ndarray] = field(default_factory=dict)  # of pixels with a nugget of their own, by that

    @classmethod
    def none(cls, n_training: int, n_label: int, note: str) -> "VirtualSpectra":
        """No virtual spectra at all, and why."""
        return cls(np.empty((0, n_label)), np.empty((0, n_training)), np.full(n_label, np.nan), note)

    def flux(self, training_flux, nugget=None):
        """Flux (n_virtual, n_pixel) of the virtual spectra from that of the training spectra (n_train, n_pixel).

        `nugget` (n_pixel,): of the pixels that have one of their own, 0 for the others (training/lm/floor.py).
        """
        training_flux = np.ascontiguousarray(training_flux, dtype=np.float64)
        flux = weighted_sums(self.matrix, training_flux)
        for own in np.unique(nugget) if nugget is not None and len(self.labels) else ():
            if own > 0:
                pixels = np.flatnonzero(nugget == own)
                flux[:, pixels] = weighted_sums(self._matrix_of(own), np.ascontiguousarray(training_flux[:, pixels]))
        return flux

    def _matrix_of(self, nugget):
        if nugget not in self._matrices:
            self._matrices[nugget] = kriging_matrix(self.training_labels, self.labels, self.lengths, nugget)
        return self._matrices[nugget]


def make_virtual_spectra(labels, flux, seed, n_virtual=None, flux_scale=PUBLISHED_FLUX):
    """The virtual spectra of a grid: `n_virtual` of them, by default half as many as training spectra.

    labels (n_train, n_label) scaled to x', flux (n_train, n_pixel) on `flux_scale`, training spectra only; of the flux,
    which may lie in a file, a sample of spectra and pixels is read.
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
    sample = flux_scale.share(flux[rows][:, columns])
    lengths, nugget = kriging_lengths(labels[rows], np.ascontiguousarray(sample))
    virtual = labels_in_gaps(labels, n_virtual, seed)
    matrix = kriging_matrix(labels, virtual, lengths, nugget)
    shown = ", ".join(f"{length:.2f}" for length in lengths)
    note = f"{n_virtual} virtual spectra by kriging from {n_train}; lengths {shown} of x', nugget {nugget:.0e}"
    return VirtualSpectra(virtual, matrix, lengths, note, labels)


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
