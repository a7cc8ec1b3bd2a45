"""The figure of a design report: where the spectra are, how far apart, and how the error falls with their number."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from payneflow.design.report import DesignReport
from payneflow.figures.numbers import symbol
from payneflow.figures.style import BLUE, FAINT, PAGE, STYLE, VERMILION, write_image

COLUMNS = 4
HEIGHT = 1.75  # inches of a row


def plot_report(report: DesignReport, path: str | Path) -> None:
    """Write the figure, whole or not at all; the ending of `path` is the format."""
    write_image(draw_report(report), path)


@rc_context(STYLE)
def draw_report(report: DesignReport) -> Figure:
    """Each label against the first: training spectra grey, test spectra by their error; distances; learning curve."""
    n_label = len(report.names)
    n_row = -(-(max(n_label - 1, 1) + 2) // COLUMNS)
    figure = Figure(figsize=(PAGE, HEIGHT * n_row + 0.3), layout="constrained")
    axes = figure.subplots(n_row, COLUMNS, squeeze=False).ravel()
    for i, axis in enumerate(axes[: max(n_label - 1, 1)]):
        shown = _draw_projection(axis, report, min(i + 1, n_label - 1))
    figure.colorbar(shown, ax=axes.tolist(), label="rms error of a test spectrum", shrink=0.5 if n_row > 1 else 1.0)
    _draw_distances(axes[max(n_label - 1, 1)], report)
    _draw_curve(axes[max(n_label - 1, 1) + 1], report)
    for axis in axes[max(n_label - 1, 1) + 2 :]:
        axis.set_axis_off()
    return figure


def _draw_projection(axis: Axes, report: DesignReport, label: int):
    from matplotlib.colors import LogNorm

    x, y = report.labels[:, 0], report.labels[:, label]
    axis.plot(x[report.trains], y[report.trains], ".", color=FAINT, ms=1.5, mew=0, rasterized=True)
    error = np.maximum(report.error, 1e-12)
    norm = LogNorm(error.min(), max(error.max(), error.min() * 1.01))
    test = ~report.trains
    shown = axis.scatter(x[test], y[test], c=error, s=3, lw=0, norm=norm, cmap="viridis", rasterized=True)
    axis.set(xlabel=_named(report, 0), ylabel=_named(report, label))
    return shown


def _named(report: DesignReport, label: int) -> str:
    unit = report.units[label]
    return symbol(report.names[label]) + (f" [{unit}]" if unit and unit != "dex" else "")


def _draw_distances(axis: Axes, report: DesignReport) -> None:
    edges = np.linspace(0, report.nearest.max() * 1.01, 25)
    for name, rows, colour in (("training", report.trains, FAINT), ("test", ~report.trains, BLUE)):
        axis.stairs(*np.histogram(report.nearest[rows], edges), color=colour, label=name)
    axis.set(xlabel="to nearest training spectrum", ylabel="spectra")
    axis.legend()


def _draw_curve(axis: Axes, report: DesignReport) -> None:
    curve = report.curve
    axis.set(xlabel="training spectra", ylabel="rms error")
    if curve is None:
        axis.text(0.5, 0.5, "no learning curve", ha="center", va="center", transform=axis.transAxes)
        return
    sizes = np.geomspace(curve.sizes[0], 2 * curve.sizes[-1], 50)
    axis.loglog(curve.sizes, curve.errors, "o", color=BLUE, ms=3.5)
    axis.loglog(sizes, curve.at(sizes), "-", color=BLUE, lw=1)
    shown = [*curve.sizes, 2 * curve.sizes[-1]]
    axis.set_xticks(shown, labels=[f"{size:.0f}" for size in shown])
    axis.minorticks_off()
    axis.loglog(2 * curve.sizes[-1], curve.at(2 * curve.sizes[-1]), "o", mfc="none", color=VERMILION, ms=4.5)
