"""Observed spectra -> labels, radial velocity and continuum, with errors and flags."""

from payneflow.fitting.fit import fit_spectra
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag
from payneflow.fitting.output import fits_names, fits_text, read_fits, write_fits
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.table import add_true_labels

__all__ = [
    "FLAG_MEANINGS",
    "FitFlag",
    "FitSettings",
    "add_true_labels",
    "fit_spectra",
    "fits_names",
    "fits_text",
    "read_fits",
    "write_fits",
]
