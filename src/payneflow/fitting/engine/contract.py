"""What a fit engine must offer; `engine_for` (engines.py) chooses one."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from payneflow.fitting.quality import Fits


@runtime_checkable
class FitEngine(Protocol):
    """Fits blocks of spectra; made once for networks, settings and a wavelength axis, then shared by all threads.

    What it holds after it is made never changes; whatever a fit writes is in `fits` or in the thread's own working
    memory. No bit of a fit may depend on the other spectra of the block or on what the memory held before.
    """

    def no_fits(self, n: int) -> Fits:
        """Room for the fits of n spectra, none of which is fitted yet."""
        ...

    def working(self) -> Any:
        """Working memory of one thread, which only `fit` of the same engine looks into."""
        ...

    def fit(self, flux: np.ndarray, error: np.ndarray, starts: np.ndarray, fits: Fits, working: Any) -> None:
        """Fit n spectra (n at most SPECTRA_A_BLOCK) into the n rows of `fits`.

        `flux`, `error`: (n, n_data), in any unit and 1 sigma in the same one; bad pixels are the engine's to find.
        `starts`: (n, n_start, n_label) scaled labels. A spectrum that cannot be fitted leaves its row as it is, NaN.
        """
        ...
