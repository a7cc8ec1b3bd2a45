"""The weights of networks as the page holds them, and by how much their flux is off there.

Only the largest arrays are in 16 bits. Where that costs more than ALLOWED of the flux scale, all have single precision.
What the hidden weights of pixels are rounded by at the middle of the labels is given to their biases, which halves it.
"""

from dataclasses import replace

import numpy as np

from payneflow.errors import NetworkFileError
from payneflow.explore.packed import Packed, quantised, rounded, single
from payneflow.network import Networks, PixelNetworks
from payneflow.weights import PUBLISHED_KEYS
from payneflow.whole_spectrum import WEIGHTS, WholeSpectrumNetworks

ALLOWED = 3e-4  # of the flux scale, anywhere among the labels; the rms error is a tenth of the largest one
MIDDLE = 0.5  # of scaled labels
TRIED = 64  # sets of labels within the training range, of which the largest error is taken
WHOLE = "whole"


def kind_of(networks: Networks) -> str:
    """logistic, linear or whole: how the page evaluates them. Raises NetworkFileError where it cannot."""
    if isinstance(networks, PixelNetworks):
        return networks.output
    if isinstance(networks, WholeSpectrumNetworks):
        return WHOLE
    raise NetworkFileError(
        f"networks of the kind {type(networks).__name__}: a page can evaluate PixelNetworks and WholeSpectrumNetworks."
    )


def packed_weights(networks: Networks) -> tuple[dict[str, Packed], int, float]:
    """Arrays of the weights by name, bits of the largest, and the largest error of the flux, in its unit."""
    kind = kind_of(networks)
    keys = WEIGHTS if kind == WHOLE else PUBLISHED_KEYS
    large = ("w_array_1", "w_array_2") if kind == WHOLE else ("w_array_0",)
    coarse = replace(networks, **{key: rounded(getattr(networks, key)) for key in large})
    if kind != WHOLE:
        lost = (networks.w_array_0 - coarse.w_array_0).sum(axis=2) * MIDDLE
        coarse = replace(coarse, b_array_0=networks.b_array_0 + lost)
    error, bits = flux_error(networks, coarse), 16
    if not error <= ALLOWED * networks.flux_scale.width:
        bits, large, coarse = 32, (), networks
        error = flux_error(networks, replace(networks, **{key: _as_single(getattr(networks, key)) for key in keys}))
    packing = {key: quantised if key in large else single for key in keys}
    return {key: packing[key](getattr(coarse, key)) for key in keys}, bits, error


def flux_error(networks: Networks, others: Networks) -> float:
    """The largest difference of the flux that both predict, at TRIED sets of labels of the training range."""
    scaled = np.random.default_rng(0).uniform(0.1, 0.9, (TRIED, len(networks.x_min)))
    there = networks.has_network
    if not there.any():
        return 0.0
    return max(float(np.abs(networks.predict_scaled(x) - others.predict_scaled(x))[there].max()) for x in scaled)


def _as_single(weights: np.ndarray) -> np.ndarray:
    return weights.astype(np.float32).astype(float)
