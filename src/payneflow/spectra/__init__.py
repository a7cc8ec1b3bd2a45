"""Observed spectra: what a file holds is declared in a layout, read in batches of bounded size, and never guessed.

files -> arrays as stored (one module a format) -> checked spectra -> batches that share one wavelength axis
"""

from payneflow.spectra.layout import SpectraLayout, make_layout
from payneflow.spectra.reading import Spectra, count_spectra, read_spectra

__all__ = ["Spectra", "SpectraLayout", "count_spectra", "make_layout", "read_spectra"]
