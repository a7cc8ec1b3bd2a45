"""The file of best-fit spectra (npz): `fit --best-fits` writes it, the figure of one of them reads it."""

from payneflow.errors import PayneflowError
from payneflow.fitting.settings import BROADENINGS
from payneflow.network import NAMES_OF_LABELS
from payneflow.stored_arrays import Array, FileOf

_SPECTRA = ("n_spectrum", "n_pixel")
# NaN stands for a pixel that takes no part, and for what a fit that failed has not
BEST_FITS = FileOf(
    what="a file of best-fit spectra (payneflow fit --best-fits)",
    again="Fit these spectra again.",
    error=PayneflowError,
    version=1,  # still read: files of earlier versions, which say no version and have no checksum
    checksum_since=1,
    arrays=(
        *NAMES_OF_LABELS,
        Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True),
        Array("identifier", "U", ("n_spectrum",)),
        Array("flux", "f", _SPECTRA, infinite=True),
        Array("flux_error", "f", _SPECTRA, infinite=True, optional=True),
        *(Array(name, "f", _SPECTRA, infinite=True) for name in ("model", "continuum", "sigma")),
        Array("used", "b", _SPECTRA),
        *(Array(name, "f", ("n_spectrum", "n_label")) for name in ("labels", "label_errors")),
        *(Array(name, "f", ("n_spectrum",)) for name in ("SNR", "chi2")),
        *(Array(name, "i", ("n_spectrum",)) for name in ("dof", "flags")),
        *(Array(name, "f", ("n_spectrum",), optional=True) for name in ("RV", "RV_error")),
        Array("flag_names", "U", ("n_flag",), unique=True),
        Array("flag_bits", "i", ("n_flag",), least=1, unique=True),
        Array("errors", "U"),
        # what faults of the model are learned with (fault_residuals.py): of which networks, and how they were fitted
        Array("networks", "U", optional=True),
        Array("settings", "U", json=True, optional=True),
        *(Array(name, "f", ("n_spectrum",), optional=True) for name in BROADENINGS),
        Array(
            "resolution", "f", ("n_spectrum", "n_resolution"), finite=True, positive=True, optional=True
        ),  # R: 1, or n_pixel
    ),
)
