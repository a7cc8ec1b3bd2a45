"""What went wrong, where, and what to do: every error a user can act on derives from `PayneflowError`."""


class PayneflowError(Exception):
    """Base of all errors that a user can act on; on the command line they end in exit status 2 and this message."""


class GridError(PayneflowError):
    """A grid cannot be read, or what it holds cannot be trained on."""


class SettingsError(PayneflowError):
    """A setting has a value that cannot work."""


class ChunkError(PayneflowError):
    """A chunk file, a trained chunk, or a set of chunks is damaged or does not belong together."""


class NetworkFileError(PayneflowError):
    """A network file cannot be read, or does not fit the data it is used with."""


class CalibrationError(PayneflowError):
    """Label errors cannot be measured or read, or belong to other networks or another mode than the fits."""


class RanksError(PayneflowError):
    """MPI is not there, or the ranks were started in another way than expected."""


class SpectraError(PayneflowError):
    """Spectra to be fitted cannot be read or do not fit the networks."""


class LabelRangeWarning(UserWarning):
    """A label lies outside the range of the training labels: the prediction is an extrapolation."""


class SpectraWarning(UserWarning):
    """Observed spectra look as if they were declared wrongly, or some of them cannot be read and are left out."""
