"""Observed spectra -> labels, radial velocity and continuum, with errors and flags."""

from payneflow.fitting.calibration import measure_label_errors, read_label_errors, write_label_errors
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
    "measure_label_errors",
    "read_fits",
    "read_label_errors",
    "write_fits",
    "write_label_errors",
]
