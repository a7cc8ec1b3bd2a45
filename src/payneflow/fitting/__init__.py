"""Observed spectra -> labels, radial velocity and continuum, with errors and flags."""

from importlib import import_module

# Loaded only when asked for: kernels and tables take a second, and a command line that fits nothing needs neither.
_MODULES = {
    "FLAG_MEANINGS": "flags",
    "FitFlag": "flags",
    "LABEL_FLAG_MEANINGS": "flags",
    "LabelFlag": "flags",
    "FitSettings": "settings",
    "LogLikelihood": "likelihood",
    "Pieces": "pieces",
    "SpectralModel": "model",
    "Window": "windows",
    "add_true_labels": "table",
    "fit_spectra": "fit",
    "fit_stars": "stars",
    "fits_column_names": "results",
    "results_text": "results",
    "measure_label_errors": "calibration",
    "read_results": "results",
    "read_label_errors": "calibration",
    "read_faults": "faults",
    "read_windows": "windows",
    "write_results": "results",
    "write_label_errors": "calibration",
}
__all__ = [*_MODULES]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
