"""Figure: how the training went, as the deviation and loops of every pixel, coloured by how its training ended."""

from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from payneflow.figures.numbers import count, log_bins, padded, words
from payneflow.figures.reading import floats, read_record
from payneflow.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    InchFigure,
    write_image,
)

_END_COLOURS = {
    "converged": BLUE,
    "wild": INK,
    "noise_floor": GREEN,
    "max_loops": ORANGE,
    "step_too_small": SKY,
    "stalled": PURPLE,
    "failed": VERMILION,
}
_LEFT, _WIDTH = 0.55, 4.75  # inches: where the panels over wavelength begin, and how wide they are
_BOTTOM, _HEIGHT = 1.5, 2.35  # inches: of the panels of deviation


def plot_training_summary(input_path: str | Path, output_path: str | Path) -> None:
    """training_record.ecsv -> deviation and loops of every pixel against wavelength, coloured by how training ended."""
    write_image(draw_training_summary(read_record(input_path)), output_path)


@rc_context(STYLE)
def draw_training_summary(record: Table) -> Figure:
    """Deviation of every pixel against wavelength, its histogram for training set and test set, and the loops it took.

    A pixel without a deviation (failed) is a triangle at the top edge; the dashed line is the truncation criterion.
    """
    figure = InchFigure(figsize=(PAGE, 4.1))
    main = figure.axes_at(_LEFT, _BOTTOM, _WIDTH, _HEIGHT)
    histogram = figure.axes_at(_LEFT + _WIDTH + 0.08, _BOTTOM, PAGE - _LEFT - _WIDTH - 0.08 - 0.1, _HEIGHT)
    loops = figure.axes_at(_LEFT, 0.42, _WIDTH, 1.0)
    deviation, deviation_test = floats(record["deviation"]), floats(record["deviation_test"])
    ends = np.array([str(end) for end in record["end"]])
    trunc_diff = float(record.meta["trunc_diff"])
    edges = log_bins(np.concatenate([deviation, deviation_test, [trunc_diff]]))

    _draw_pixels(main, loops, record, ends, lowest=edges[0])
    _draw_histogram(histogram, deviation, deviation_test, edges)
    for axes in (main, histogram):
        axes.axhline(trunc_diff, color=INK, lw=0.8, ls="--", zorder=3)
        axes.set(yscale="log", ylim=(edges[0], edges[-1]))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _divide_axes(main, loops, record)

    below = int(np.sum(deviation <= trunc_diff))
    text = f"{count(len(ends), 'pixel')}, {share(below, len(ends))} at or below {trunc_diff:g} (dashed)"
    if record.meta.get("failed"):
        text = f"FAILED, `payneflow gather` says why: {text}"
    figure.text(_LEFT / PAGE, (_BOTTOM + _HEIGHT + 0.06) / figure.height, text, va="bottom")
    figure.legend(
        handles=_end_legend(ends, deviation),
        loc="upper left",
        bbox_to_anchor=((_LEFT + _WIDTH + 0.06) / PAGE, 1.1 / figure.height),
        borderaxespad=0,
        labelspacing=0.3,
        handletextpad=0.1,
    )
    return figure


def _draw_pixels(main: Axes, loops: Axes, record: Table, ends: np.ndarray, lowest: float) -> None:
    """Deviation and loops against wavelength; a deviation below `lowest`, such as 0, is drawn there."""
    wavelength, deviation, n_loop = (floats(record[name]) for name in ("wavelength", "deviation", "loops"))
    size = 2.0 if len(ends) > 1000 else 3.5
    for end, colour in _ends_and_colours(ends):
        known = (ends == end) & np.isfinite(deviation)
        look = {"marker": "o", "color": colour, "ms": size, "mew": 0, "ls": "none", "rasterized": True}
        main.plot(wavelength[known], np.maximum(deviation[known], lowest), **look)
        loops.plot(wavelength[known], n_loop[known], **look)
        lost = wavelength[(ends == end) & ~np.isfinite(deviation)]
        if len(lost):
            top = np.full(len(lost), 0.98)
            main.plot(lost, top, "v", color=colour, ms=4, mew=0, transform=main.get_xaxis_transform())


def _draw_histogram(axes: Axes, training: np.ndarray, test: np.ndarray, edges: np.ndarray) -> None:
    """Histograms lying on their side, beside the panel whose vertical axis they share."""
    for name, deviation, look in (
        ("training", training, {"fill": True, "color": "0.75"}),
        ("test", test, {"color": INK}),
    ):
        finite = np.clip(deviation[np.isfinite(deviation)], edges[0], edges[-1])
        counts, _ = np.histogram(finite, edges)
        axes.stairs(counts, edges, orientation="horizontal", lw=1.0, label=name, **look)
    axes.set_xlabel("Number of pixels")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelleft=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, handlelength=1.2, columnspacing=1.0)


def _divide_axes(main: Axes, loops: Axes, record: Table) -> None:
    """Limits, ticks and titles of the two panels over wavelength."""
    limits = padded(floats(record["wavelength"]), 0.02, least=2.0)
    main.set(xlim=limits, ylabel="Deviation [normalised flux]")
    main.tick_params(labelbottom=False)
    most = max(1.0, floats(record["loops"]).max())
    loops.set(xlim=limits, ylim=(-0.04 * most, 1.1 * most), xlabel="Wavelength [Å]", ylabel="Loops")
    loops.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
    loops.ticklabel_format(axis="x", useOffset=False, style="plain")
    for axes in (main, loops):
        axes.yaxis.set_label_coords(-0.38 / _WIDTH, 0.5)


def _ends_and_colours(ends: np.ndarray) -> list[tuple[str, str]]:
    """The ends that occur with their colours, the most frequent first, so that the rare are drawn on top."""
    names, counts = np.unique(ends, return_counts=True)
    return [(end, _END_COLOURS.get(end, GREEN)) for end in names[np.argsort(-counts, kind="stable")].tolist()]


def _end_legend(ends: np.ndarray, deviation: np.ndarray) -> list[Line2D]:
    """How many pixels ended in each way, and how many of them have no deviation: those are the triangles."""
    handles = []
    for end, colour in _ends_and_colours(ends):
        n_pixel = int(np.sum(ends == end))
        n_lost = int(np.sum((ends == end) & ~np.isfinite(deviation)))
        label = f"{words(end)}: {n_pixel} ({share(n_pixel, len(ends))})"
        if 0 < n_lost < n_pixel:
            label += f", {n_lost} at top"
        marker = "v" if n_lost == n_pixel else "o"
        handles.append(Line2D([], [], ls="none", marker=marker, color=colour, ms=4, mew=0, label=label))
    return handles


def share(part: int, whole: int) -> str:
    """Per cent, honest at both ends: 99.99 % is not rounded to 100 %."""
    percent = 100.0 * part / whole
    digits = 0 if part in (0, whole) else 1 if 1 <= percent <= 99 else 2
    return f"{percent:.{digits}f} %"
