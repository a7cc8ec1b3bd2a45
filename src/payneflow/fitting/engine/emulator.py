"""All networks as the kernels of a fit want them: weights in lane order, each detector segment on whole cache lines.

Three kinds are known: networks of each pixel, of logistic or of linear output, and one for the whole spectrum, whose
hidden layers all pixels share (whole_pass.py).

A padded axis holds the pixels of a wavelength axis segment by segment (a gap ends a segment, see wavelength.py); every
segment starts at a multiple of LINE pixels, so that no register holds pixels of two segments. Places between segments
and pixels without a network (NaN weights) have weights 0 and are `dead`.
"""

from weakref import WeakKeyDictionary

import numpy as np

from payneflow.fitting.engine.whole_pass import WHOLE
from payneflow.network import Networks, PixelNetworks
from payneflow.simd import CACHE_LINE, LANES, aligned
from payneflow.wavelength import segments, segments_by
from payneflow.weights import LINEAR
from payneflow.whole_spectrum import WholeSpectrumNetworks

LINE = 16  # pixels of a float32 register: the longer one, so that both precisions have whole groups
LOG2_E = 1.4426950408889634


class PaddedAxis:
    """Where the pixels of a wavelength axis (n,) lie on its padded axis of `n_place` places.

    `segments`: (n_segment, 2) first pixel and stop, exclusive. `ranges`: (n_segment, 2) the places of a segment
    and its padding. `place`: (n,) of each pixel. `gaps_of`: another axis, whose gaps divide this one; None: its own do.
    """

    def __init__(self, wavelength: np.ndarray, gaps_of: np.ndarray | None = None):
        self.segments = np.array(segments(wavelength) if gaps_of is None else segments_by(gaps_of, wavelength))
        first, stop = self.segments.T
        length = -(-(stop - first) // LINE) * LINE
        end = np.cumsum(length)
        self.ranges = np.column_stack([end - length, end])
        starts = end - length
        self.place = np.concatenate([np.arange(b - a) + c for a, b, c in zip(first, stop, starts, strict=True)])
        self.n_place = int(end[-1])

    def padded(self, values: np.ndarray, dtype=np.float64) -> np.ndarray:
        """Values (..., n) on the padded axis: (..., n_place), 0 in the padding, at the start of a cache line."""
        shape = (*np.shape(values)[:-1], self.n_place)
        result = aligned(int(np.prod(shape)) // LANES, dtype).reshape(shape)
        result[..., self.place] = values
        return result

    def lay(self, values: np.ndarray, padded: np.ndarray) -> None:
        """Copy values (n_row, n) to `padded` (n_row, n_place), NaN in the padding."""
        for (first, stop), (place, end) in zip(self.segments, self.ranges, strict=True):
            length = stop - first
            padded[:, place : place + length] = values[:, first:stop]
            padded[:, place + length : end] = np.nan


class Emulator:
    """The weights of networks in lane order, in both precisions.

    `kind`: LOGISTIC or LINEAR, the output of networks of each pixel, or WHOLE; with `n_label` and `n_neurons` it says
    which kernels there are to be. Of each pixel's:
    `weights`: {dtype: flat array}. Row r of the group of pixels that one register holds is
    `weights[(group * n_row + r) * lanes :][:lanes]`: for each neuron w0 (n_label rows), b0, w1; then b1. Weights and
    biases are times -log2(e): a neuron is then 1 / (1 + 2**z); w1 and b1 of linear output are as they are. An odd
    number of neurons is filled up with one of weights 0, because the kernels take neurons in pairs.
    Of the whole spectrum: w0, b0, w1, b1, row by row, up to a multiple of LINE, then those of each group: w2 (n_second
    rows) and b2; `n_neurons` is (n_first, n_second, leaky_slope).
    """

    def __init__(self, networks: Networks):
        self.axis = PaddedAxis(networks.wavelength)
        self.n_label = len(networks.x_min)
        if isinstance(networks, WholeSpectrumNetworks):
            shared, rows = self._of_whole_spectrum(networks)
        else:
            shared, rows = np.zeros(0), self._of_pixels(networks)
        self.has_network = np.isfinite(rows).all(axis=1)
        rows[~self.has_network] = 0.0
        padded = self.axis.padded(rows.T).T
        self.weights = {dtype: _in_lanes(shared, padded, dtype) for dtype in (np.float64, np.float32)}
        error = np.where(np.isfinite(networks.emulator_rms), networks.emulator_rms, 0.0)
        self.variance = self.axis.padded(error**2)
        self.dead = self.axis.padded(self.has_network) == 0

    def _of_pixels(self, networks: PixelNetworks) -> np.ndarray:
        """Rows (n_pixel, n_row) of the lane order."""
        self.kind, self.n_neurons = networks.output, networks.b_array_0.shape[1]
        n_pixel = len(networks.wavelength)
        neurons = np.zeros((n_pixel, self.n_neurons + self.n_neurons % 2, self.n_label + 2))
        neurons[:, : self.n_neurons, : self.n_label] = networks.w_array_0
        neurons[:, : self.n_neurons, self.n_label] = networks.b_array_0
        neurons[:, : self.n_neurons, self.n_label + 1] = networks.w_array_1
        rows = -LOG2_E * np.column_stack([neurons.reshape(n_pixel, -1), networks.b_array_1])
        if self.kind == LINEAR:
            of_output = [*range(self.n_label + 1, rows.shape[1] - 1, self.n_label + 2), rows.shape[1] - 1]
            rows[:, of_output] /= -LOG2_E
        return rows

    def _of_whole_spectrum(self, networks: WholeSpectrumNetworks) -> tuple[np.ndarray, np.ndarray]:
        """What all pixels share, up to a multiple of LINE, and rows (n_pixel, n_second + 1) of the lane order."""
        self.kind = WHOLE
        self.n_neurons = len(networks.b_array_0), len(networks.b_array_1), networks.leaky_slope
        layers = (networks.w_array_0, networks.b_array_0, networks.w_array_1, networks.b_array_1)
        shared = np.concatenate([np.ravel(one) for one in layers])
        return np.pad(shared, (0, -len(shared) % LINE)), np.column_stack([networks.w_array_2, networks.b_array_2])


def _in_lanes(shared: np.ndarray, rows: np.ndarray, dtype: type) -> np.ndarray:
    lanes = CACHE_LINE // np.dtype(dtype).itemsize
    result = aligned((len(shared) + rows.size) // LANES, dtype)
    result[: len(shared)] = shared
    result[len(shared) :] = rows.reshape(-1, lanes, rows.shape[1]).transpose(0, 2, 1).ravel()
    return result


_EMULATORS: WeakKeyDictionary[Networks, Emulator] = WeakKeyDictionary()


def emulator_of(networks: Networks) -> Emulator:
    """The emulator of these networks; made once in a process and kept as long as they are."""
    if networks not in _EMULATORS:
        _EMULATORS[networks] = Emulator(networks)
    return _EMULATORS[networks]
