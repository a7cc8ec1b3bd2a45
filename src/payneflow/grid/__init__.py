"""The grid of synthetic spectra: its file, what is checked of it, and its training and test set."""

from payneflow.grid.halves import TEST, TRAINING
from payneflow.grid.layout import GridKeys, count_pixels
from payneflow.grid.spectral_grid import SpectralGrid, default_names, read_grid

__all__ = ["TEST", "TRAINING", "GridKeys", "SpectralGrid", "count_pixels", "default_names", "read_grid"]
