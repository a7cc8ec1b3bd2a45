"""Networks whose axis is not even in ln(wavelength), taken to one that is: eight pixels around every place of it.

All that moves the emulator works in steps of ln(wavelength), which a velocity shifts by one amount. Networks on a grid
that is even in wavelength, or on any other increasing axis, are evaluated at their own pixels and interpolated to such
steps; the weights are made here, once, and serve the kernels and numpy alike.
"""

from functools import cache

from payneflow.fitting.engine.taps import TAPS
from payneflow.simd import part


@cache
def build_to_even(n_label):
    """The part that takes flux and derivatives from the emulator's own pixels to the rest axis."""

    @part
    def to_even(own, n_own, firsts, weights, rest, n_rest):
        """Rows of `rest` (1 + n_label, n_rest) from those of `own`: eight pixels from firsts[q] on, weights[q]."""
        for j in range(n_label + 1):
            for q in range(n_rest):
                at, value = j * n_own + firsts[q], 0.0
                for k in range(TAPS):
                    value += own[at + k] * weights[q, k]
                rest[j * n_rest + q] = value

    return to_even
