"""payneflow: train and use The Payne, one small neural network for each wavelength pixel of a stellar spectrum."""

from payneflow.errors import LabelRangeWarning, PayneflowError
from payneflow.network import PixelNetworks, read_networks

__all__ = [
    "LabelRangeWarning",
    "PayneflowError",
    "PixelNetworks",
    "adopt_networks",
    "fit_spectra",
    "read_networks",
]
__version__ = "0.2.0"


def __getattr__(name: str):
    if name == "fit_spectra":  # scipy and astropy are loaded only where something is fitted
        from payneflow.fitting import fit_spectra

        return fit_spectra
    if name == "adopt_networks":
        from payneflow.adopt import adopt_networks

        return adopt_networks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
