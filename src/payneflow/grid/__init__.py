"""The grid of synthetic spectra: its file, what is checked of it, and its training and test set."""

from payneflow.grid.joined import count_pixels, grid_shape, grid_split
from payneflow.grid.layout import GridKeys
from payneflow.grid.origins import GridPath, Origins, joined_digest, name_of, paths_of
from payneflow.grid.reading import GridReading
from payneflow.grid.sets import TEST, TRAINING, Split, count_test, count_training
from payneflow.grid.spectral_grid import (
    SpectralGrid,
    default_names,
    read_grid,
    read_labels,
    read_resolution,
    read_some_flux,
    read_wavelength,
)

__all__ = [
    "TEST",
    "TRAINING",
    "GridKeys",
    "GridPath",
    "GridReading",
    "Origins",
    "SpectralGrid",
    "Split",
    "count_pixels",
    "count_test",
    "count_training",
    "default_names",
    "grid_shape",
    "grid_split",
    "joined_digest",
    "name_of",
    "paths_of",
    "read_grid",
    "read_labels",
    "read_resolution",
    "read_some_flux",
    "read_wavelength",
]
