"""Figure: how far the networks are off, as histograms over the pixels of the median absolute deviation in each set."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from payneflow.evaluation import read_evaluation
from payneflow.figures.numbers import count, log_bins, scientific
from payneflow.figures.reading import flux_scale_of
from payneflow.figures.style import BLUE, COLUMN, STYLE, VERMILION, InchFigure, write_image


def plot_flux_deviation(input_path: str | Path, output_path: str | Path) -> None:
    """evaluation.npz -> histograms over pixels of the median absolute deviation, training set and test set."""
    evaluation = read_evaluation(input_path)
    scale, unit = flux_scale_of(evaluation)
    sets = (evaluation[f"median_deviation_{name}"] / scale.width for name in ("training", "test"))
    figure = draw_flux_deviation(*sets, unit)
    write_image(figure, output_path)


@rc_context(STYLE)
def draw_flux_deviation(training: np.ndarray, test: np.ndarray, unit: str = "normalised flux") -> Figure:
    """Histograms over pixels of the median absolute deviation (n_pixel,) in each set, in `unit`."""
    figure = InchFigure(figsize=(COLUMN, 2.7))
    axes = figure.axes_at(0.5, 0.42, COLUMN - 0.6, 2.2)
    edges = log_bins(np.concatenate([training, test]))
    in_bins = _histogram(training, edges)
    axes.stairs(in_bins, edges, fill=True, color=BLUE, alpha=0.25, lw=0)
    _draw_set(axes, "training", training, edges, color=BLUE, ls="--")
    _draw_set(axes, "test", test, edges, color=VERMILION, ls="-")
    tallest = max(1, in_bins.max(), _histogram(test, edges).max())
    axes.set(xscale="log", xlim=(edges[0], edges[-1]), ylim=(0, 1.42 * tallest))  # the legend stands above the tallest
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=f"Median absolute deviation [{unit}]", ylabel="Number of pixels")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    missing = int(np.sum(~np.isfinite(test) | ~np.isfinite(training)))
    title = count(len(test), "pixel") + (f", {missing} of them not trained" if missing else "")
    axes.legend(loc="upper left", title=title, title_fontsize=8, alignment="left", handlelength=1.6)
    return figure


def _histogram(deviation: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Pixels in each bin; zeros, which have no place on a logarithmic axis, are in the first."""
    finite = deviation[np.isfinite(deviation)]
    return np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0]


def _draw_set(axes: Axes, name: str, deviation: np.ndarray, edges: np.ndarray, color: str, ls: str) -> None:
    """Outline of one set's histogram, and a dotted line at the median, which the legend quotes."""
    finite = deviation[np.isfinite(deviation)]
    text = f"median {scientific(np.median(finite))}" if len(finite) else "no pixel"
    axes.stairs(_histogram(deviation, edges), edges, color=color, lw=1.0, ls=ls, label=f"{name}: {text}")
    if len(finite) and np.median(finite) > 0:
        axes.axvline(np.median(finite), ymax=0.72, color=color, lw=0.9, ls=":", zorder=0)
