"""What figures of spectra share: rows of panels over wavelength, lines that stop at gaps, residuals, titles, legend.

A row is a pair of axes: values above, residuals below. Axis titles stand once, around all rows.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import AutoMinorLocator, Locator, MaxNLocator

from payneflow.figures.numbers import MINUS
from payneflow.figures.style import BLUE, FAINT, PAGE, InchFigure, limit_residuals
from payneflow.wavelength import after_gaps, is_gap

FEW = 40  # so many pixels a row, or fewer, are marked one by one
MARGIN = 0.55  # inches: left and right of the panels
BOTTOM = 0.24  # inches below the last row's spacing
LINE = 0.16  # inches: height of a line of the headline
_N_PANEL = 8


# ------------------------------------------------------------------------------------------------ rows of wavelength


def panel_edges(wavelength: np.ndarray) -> np.ndarray:
    """Edges (9,) of eight equal panels of a round width, in Angstrom, that cover wavelength (n_pixel,)."""
    first, last = float(wavelength.min()), float(wavelength.max())
    step = float(np.median(np.diff(wavelength))) if len(wavelength) > 1 else 0.0
    least = max((last - first) / _N_PANEL, 3 * step) or 1.0  # a panel of fewer than about three pixels shows nothing
    edges = (width * (np.floor(first / width) + np.arange(_N_PANEL + 1)) for width in _round_numbers(least))
    return next(covering for covering in edges if covering[-1] >= last)


def _round_numbers(least: float) -> Iterator[float]:
    """Round numbers (1, 2, 2.5, 5 times a power of ten) from `least` upwards, without end."""
    for exponent in itertools.count(int(np.floor(np.log10(least)))):
        yield from (r * 10.0**exponent for r in (1.0, 2.0, 2.5, 5.0) if r * 10.0**exponent >= least * (1 - 1e-9))


def rows_of_axes(
    n_row: int, top: float, heights: tuple[float, float], spacing: float
) -> tuple[InchFigure, list[tuple[Axes, Axes]]]:
    """A page with `n_row` pairs of axes below `top`, each as high as `heights`, `spacing` apart; all in inches."""
    pitch = sum(heights) + spacing
    figure = InchFigure(figsize=(PAGE, top + BOTTOM + pitch * n_row))
    tops = [figure.height - top - pitch * row for row in range(n_row)]
    return figure, [figure.pair_at(MARGIN, height, PAGE - 2 * MARGIN, *heights) for height in tops]


def divide_wavelengths(pair: tuple[Axes, Axes], first: float, last: float, ticks: Locator | None = None) -> None:
    """Limits in Angstrom and ticks of a row; `ticks` are round numbers unless given."""
    for axes in pair:
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(ticks or MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_minor_locator(AutoMinorLocator(5))
    pair[1].ticklabel_format(axis="x", useOffset=False, style="plain")


# ---------------------------------------------------------------------------------------------- lines, and residuals


def is_finely_sampled(wavelength: np.ndarray, flux: np.ndarray) -> bool:
    """Whether neighbouring pixels resemble each other, so that a straight line between them is close to the truth.

    Their mean squared step must be at most half that of two pixels chosen at random, which is twice the variance.
    Pixels without a finite flux and steps across gaps do not count.
    """
    step = np.diff(flux)[~is_gap(wavelength)]
    step = step[np.isfinite(step)]
    return len(step) >= 2 and bool(np.mean(step**2) <= np.nanvar(flux))


def broken_at_gaps(wavelength: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelength and values (n_pixel,) with a NaN value in the middle of each gap, so that no line crosses it."""
    after = after_gaps(wavelength)
    middle = 0.5 * (wavelength[after - 1] + wavelength[after])
    return np.insert(wavelength, after, middle), np.insert(np.asarray(values, dtype=float), after, np.nan)


def draw_line(axes: Axes, wavelength: np.ndarray, values: np.ndarray, width: float, joined: bool, **look) -> None:
    """Values joined to lines, broken at gaps, each marked where they are few; or, not joined, points."""
    dots = {"marker": "o", "mew": 0} if not joined or len(wavelength) <= FEW else {}
    line = {"lw": width} if joined else {"lw": 0, "ls": "none"}
    axes.plot(*broken_at_gaps(wavelength, values), **{**line, **dots, **look})


def draw_residual(
    axes: Axes, wavelength: np.ndarray, residual: np.ndarray, limit: float, width: float, joined: bool
) -> None:
    """Residual below the spectrum, its ticks on the right; values beyond +-limit are triangles at the edge."""
    axes.axhline(0, color=FAINT, lw=0.5)
    draw_line(axes, wavelength, residual, width, joined, color=BLUE, ms=2)
    tick = limit_residuals(axes, wavelength, residual, limit)
    axes.set_yticks([-tick, tick], labels=[f"{MINUS}{tick:g}", f"{tick:g}"])  # a low panel has no room for three
    axes.yaxis.set_ticks_position("both")
    axes.tick_params(axis="y", labelleft=False, labelright=True, labelsize=7)


def few_flux_ticks(axes: Axes) -> None:
    """Ticks of the flux, none at the lower edge, where those of the residual begin."""
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="lower"))


# ------------------------------------------------------------------------------------------------- texts around them


def name_axes(figure: InchFigure, top: float, spacing: float, wavelength: str, flux: str, residual: str) -> None:
    """Titles of the axes, once for all rows: wavelength below, flux on the left, residual on the right."""
    middle = (BOTTOM + spacing + (figure.height - top)) / 2 / figure.height
    upright = {"rotation": 90, "va": "center", "size": 9}
    figure.text(0.5, 0.06 / figure.height, wavelength, ha="center", va="bottom", size=9)
    figure.text(0.09 / PAGE, middle, flux, ha="left", **upright)
    figure.text(1 - 0.09 / PAGE, middle, residual, ha="right", **upright)


def draw_legend(figure: InchFigure, handles: Sequence[Artist], **look) -> None:
    """What is what in the panels: in one line in the upper right corner of the page."""
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1 - MARGIN / PAGE, 1 - 0.06 / figure.height),
        ncols=len(handles),
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.2,
        **look,
    )
