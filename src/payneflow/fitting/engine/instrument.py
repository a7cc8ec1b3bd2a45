"""The kernels of an instrument that differs along the axis, made for each spectrum that has one of its own."""

import numpy as np

from payneflow.fitting.engine.profiles import HALF, KAISER_BETA, gaussian
from payneflow.fitting.engine.shift import INTERVALS, tap_table
from payneflow.simd import kernel, part


def reach_of(width: float) -> int:
    """Places from the middle of the kernel of an instrument, of this width in places at most, to its last one."""
    return gaussian(width).reach(width) if width > 0.0 else 0


def varied_kernels_of(
    log_middle: np.ndarray, log_wavelength: np.ndarray, widths: np.ndarray, room: np.ndarray | None = None
) -> np.ndarray:
    """(n_line, n) half kernels, see `lay_kernels`; in `room`, flat and long enough, where it is given."""
    most = float(np.max(widths))
    shape, n_line = gaussian(most), len(log_middle)
    n = shape.reach(most) + 1 if most > 0.0 else 1
    out = (np.empty(n_line * n) if room is None else room[: n_line * n]).reshape(n_line, n)
    if n == 1:  # there is no such instrument
        out[:] = 1.0
        return out
    lay_kernels(tap_table(HALF, KAISER_BETA).ravel(), *shape, log_middle, log_wavelength, widths, out)
    return out


@part
def half_kernel_of(table, nodes, weights, width, whole, out):
    """Write the half kernel of a shape of this width, 0 beyond its end; `whole` is working memory.

    As profiles.half_kernel, with `table`: shift.tap_table of the taps of profiles.py, flat.
    """
    taps, n = 2 * HALF, len(out)
    whole[:] = 0.0
    for k in range(len(nodes)):
        place = width * nodes[k]
        pixel = int(place)
        scaled = (place - pixel) * INTERVALS
        interval = min(int(scaled), INTERVALS - 1)
        u, at, share = scaled - interval, interval * 4 * taps, 0.5 * weights[k]
        first = whole[pixel : pixel + taps]  # whole[HALF - 1] is the middle
        for j in range(taps):
            c0, c1, c2, c3 = table[at + j], table[at + taps + j], table[at + 2 * taps + j], table[at + 3 * taps + j]
            first[j] += share * (c0 + u * (c1 + u * (c2 + u * c3)))
    middle = HALF - 1
    out[0] = 2.0 * whole[middle]
    for m in range(1, n):
        out[m] = whole[middle + m] + (whole[middle - m] if m <= middle else 0.0)


@kernel
def lay_kernels(table, nodes, weights, log_middle, log_wavelength, widths, out):
    """Half kernels `out` (n_line, n) of the widths, in places, at ln(Angstrom) `log_middle` (n_line,); NaN: none, 0.

    `widths` (n_pixel,) are known at increasing `log_wavelength` (n_pixel,); between them they are straight lines, and
    beyond as at the end. `log_middle` increases where it is known.
    """
    whole, last, left = np.empty(out.shape[1] + HALF), len(widths) - 1, 0
    for line in range(len(out)):
        at = log_middle[line]
        if not np.isfinite(at):
            out[line] = 0.0
            continue
        while left < last - 1 and log_wavelength[left + 1] <= at:
            left += 1
        width = widths[0]
        if at >= log_wavelength[last]:
            width = widths[last]
        elif at > log_wavelength[0]:
            slope = (widths[left + 1] - widths[left]) / (log_wavelength[left + 1] - log_wavelength[left])
            width = widths[left] + slope * (at - log_wavelength[left])
        half_kernel_of(table, nodes, weights, width, whole, out[line])
