"""payneflow: train and use The Payne, one small neural network for each wavelength pixel of a stellar spectrum."""

from payneflow.errors import LabelRangeWarning, PayneflowError
from payneflow.network import PixelNetworks, read_networks

__all__ = ["LabelRangeWarning", "PayneflowError", "PixelNetworks", "read_networks"]
__version__ = "0.1.0"
