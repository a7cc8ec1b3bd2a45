"""Every plot: one function a figure, from a result file to an image file.

`plot_NAME(input_path, output_path)` reads, calls `draw_NAME`, which turns arrays into a matplotlib Figure, and writes
the image whole; the ending of the output path (.png, .pdf, .svg) chooses the format. `FIGURES` maps names to functions.
Matplotlib's object API only: no window, no global figure, no dependence on the user's matplotlibrc where it matters.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoMinorLocator, MaxNLocator, MultipleLocator, NullFormatter

from payneflow.errors import PayneflowError
from payneflow.files import read_npz, whole_file

COLUMN = 3.5  # inches: width of one column of a journal
PAGE = 7.1  # inches: width of both columns
DPI = 200

# Okabe & Ito (2008): told apart by colour-blind readers
BLUE, VERMILION, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
INK = "0.1"
FAINT = "0.6"
MINUS = "\N{MINUS SIGN}"  # a hyphen is too short

STYLE = {
    "text.usetex": False,
    "font.family": ["STIXGeneral", "DejaVu Serif"],  # both come with matplotlib
    "mathtext.fontset": "stix",
    "font.size": 8.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    **{f"{axis}tick.{kind}.width": 0.5 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.major.size": 3.0 for axis in "xy"},
    **{f"{axis}tick.minor.size": 1.5 for axis in "xy"},
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
}

SYMBOLS = {"Teff": r"$T_\mathrm{eff}$", "logg": r"$\log\,g$"}
END_COLOURS = {
    "converged": BLUE,
    "max_loops": ORANGE,
    "step_too_small": SKY,
    "stalled": PURPLE,
    "failed": VERMILION,
}
FLAG_MARKERS = (("s", ORANGE), ("D", VERMILION), ("^", PURPLE), ("p", GREEN))

GAP = 5.0  # a step wider than this many median steps is a gap, such as the one between two detector chips
N_PANEL = 8
FEW = 40  # so many pixels a panel, or fewer, are marked one by one
ROUND = (1.0, 2.0, 2.5, 5.0)  # times a power of ten: the numbers that axes are divided by
MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


# ------------------------------------------------------------------------------------------------------ the figures


def plot_flux_prediction(input_path: str | Path, output_path: str | Path) -> None:
    """evaluation.npz -> one test spectrum, its prediction and the residual, in eight panels of wavelength."""
    examples = [f"example_{what}" for what in ("flux", "prediction", "labels", "spectrum")]
    evaluation = _read_evaluation(input_path, ["wavelength", *examples, "label_names", "label_units"])
    figure = draw_flux_prediction(
        evaluation["wavelength"],
        evaluation["example_flux"],
        evaluation["example_prediction"],
        labels=evaluation["example_labels"],
        label_names=[str(name) for name in evaluation["label_names"]],
        label_units=[str(unit) for unit in evaluation["label_units"]],
        spectrum=int(evaluation["example_spectrum"]),
    )
    _write(figure, output_path)


def plot_flux_deviation(input_path: str | Path, output_path: str | Path) -> None:
    """evaluation.npz -> histograms over pixels of the median absolute deviation, training and test half."""
    evaluation = _read_evaluation(input_path, ["median_deviation_training", "median_deviation_test"])
    figure = draw_flux_deviation(evaluation["median_deviation_training"], evaluation["median_deviation_test"])
    _write(figure, output_path)


def plot_fitting_results(input_path: str | Path, output_path: str | Path) -> None:
    """fits.ecsv -> one panel a label: fitted against true, and the difference below."""
    fits = _read_table(input_path, ["flags"], ["label_names", "flags"], "a table of fits")
    for name in fits.meta["label_names"]:
        _require(input_path, fits.colnames, [name, f"{name}_error"], "column", "a table of fits")
        if f"{name}_true" not in fits.colnames:
            raise PayneflowError(
                f"{input_path}: no column {name}_true: the true labels of these spectra are not known, so there is "
                "nothing to compare the fits with. Plot the fits of the test spectra of a grid."
            )
    _write(draw_fitting_results(fits), output_path)


def plot_training_summary(input_path: str | Path, output_path: str | Path) -> None:
    """training_record.ecsv -> deviation and loops of every pixel against wavelength, coloured by how training ended."""
    columns = ["wavelength", "loops", "deviation", "deviation_test", "end"]
    record = _read_table(input_path, columns, ["trunc_diff"], "a training record")
    _write(draw_training_summary(record), output_path)


FIGURES: dict[str, Callable[[str | Path, str | Path], None]] = {
    "flux_prediction": plot_flux_prediction,
    "flux_deviation": plot_flux_deviation,
    "fitting_results": plot_fitting_results,
    "training_summary": plot_training_summary,
}


# -------------------------------------------------------------------------------------------------- flux_prediction


@rc_context(STYLE)
def draw_flux_prediction(
    wavelength: np.ndarray,
    flux: np.ndarray,
    prediction: np.ndarray,
    *,
    labels: Sequence[float],
    label_names: Sequence[str],
    label_units: Sequence[str],
    spectrum: int,
) -> Figure:
    """One spectrum and its prediction, both (n_pixel,) in normalised flux, over wavelength (n_pixel,) in Angstrom.

    Panels without a pixel are left out. Neighbouring pixels are joined by lines only where they sample the spectrum
    finely enough for a line to be true; otherwise, as after training every 64th pixel, they are points.
    """
    residual = prediction - flux
    edges = panel_edges(wavelength)
    panel = np.clip(np.searchsorted(edges, wavelength, side="right") - 1, 0, len(edges) - 2)
    occupied = np.unique(panel)

    header = _wrapped(_spectrum_text(labels, label_names, label_units, spectrum), 84)
    header.append(_residual_text(residual))
    top, bottom, spacing = 0.16 + 0.16 * len(header), 0.24, 0.2
    flux_height, residual_height = (0.62, 0.28) if len(occupied) > 2 else (1.3, 0.5)
    pitch = flux_height + residual_height + spacing
    figure = _figure(PAGE, top + bottom + pitch * len(occupied))
    left, width = 0.55, PAGE - 0.55 - 0.55

    joined = is_finely_sampled(wavelength, flux)
    limit = residual_limit(residual)
    exponent = int(np.floor(np.log10(limit) + 1e-9))
    low, high = _padded(np.concatenate([flux, prediction]), 0.08, least=0.05)
    for row, number in enumerate(occupied):
        here = panel == number
        base = figure.height - top - pitch * row
        upper = figure.axes_at(left, base - flux_height, width, flux_height)
        lower = figure.axes_at(left, base - flux_height - residual_height, width, residual_height)
        _draw_spectra(upper, wavelength[here], flux[here], prediction[here], joined)
        upper.set(xlim=edges[number : number + 2], ylim=(low, high))
        upper.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="lower"))
        _draw_residual(lower, wavelength[here], residual[here] / 10.0**exponent, limit / 10.0**exponent, joined)
        lower.set_xlim(edges[number : number + 2])
        for axes in (upper, lower):
            axes.xaxis.set_major_locator(MultipleLocator((edges[1] - edges[0]) / 5))
            axes.xaxis.set_minor_locator(AutoMinorLocator(5))
        upper.tick_params(labelbottom=False)
        lower.ticklabel_format(axis="x", useOffset=False, style="plain")

    middle = (bottom + spacing + (figure.height - top)) / 2 / figure.height
    figure.text(0.5, 0.06 / figure.height, "Wavelength [Å]", ha="center", va="bottom", size=9)
    figure.text(0.09 / PAGE, middle, "Normalised flux", rotation=90, ha="left", va="center", size=9)
    unit = "" if exponent == 0 else rf" [$10^{{{exponent}}}$]"
    figure.text(
        1 - 0.09 / PAGE, middle, f"Prediction {MINUS} truth{unit}", rotation=90, ha="right", va="center", size=9
    )
    for line, text in enumerate(header):
        figure.text(left / PAGE, 1 - (0.08 + 0.16 * line) / figure.height, text, ha="left", va="top")
    figure.legend(
        handles=figure.axes[0].lines[:2],
        loc="upper right",
        bbox_to_anchor=(1 - 0.55 / PAGE, 1 - 0.06 / figure.height),
        ncols=2,
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.2,
    )
    return figure


def panel_edges(wavelength: np.ndarray) -> np.ndarray:
    """Edges (N_PANEL + 1,) of equal panels of a round width, in Angstrom, that cover wavelength (n_pixel,)."""
    first, last = float(wavelength.min()), float(wavelength.max())
    step = float(np.median(np.diff(wavelength))) if len(wavelength) > 1 else 0.0
    least = max((last - first) / N_PANEL, 3 * step) or 1.0  # a panel of fewer than about three pixels shows nothing
    for width in round_numbers(least):
        start = np.floor(first / width) * width
        if start + N_PANEL * width >= last:
            return start + width * np.arange(N_PANEL + 1)
    raise AssertionError("round numbers grow without end")


def broken_at_gaps(wavelength: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelength and values (n_pixel,) with a NaN value in the middle of each gap, so that no line crosses it."""
    after = np.flatnonzero(_is_gap(wavelength)) + 1
    middle = 0.5 * (wavelength[after - 1] + wavelength[after])
    return np.insert(wavelength, after, middle), np.insert(np.asarray(values, dtype=float), after, np.nan)


def _is_gap(wavelength: np.ndarray) -> np.ndarray:
    """(n_pixel - 1,) whether the step to the next pixel crosses a gap."""
    step = np.diff(wavelength)
    return step > GAP * np.median(step) if len(step) else np.zeros(0, dtype=bool)


def is_finely_sampled(wavelength: np.ndarray, flux: np.ndarray) -> bool:
    """Whether neighbouring pixels resemble each other, so that a straight line between them is close to the truth.

    Compares the mean squared step between neighbours with that of two pixels chosen at random, twice the variance.
    Pixels without a finite flux and steps across gaps do not count.
    """
    step = np.diff(flux)[~_is_gap(wavelength)]
    step = step[np.isfinite(step)]
    if len(step) < 2:
        return False
    return float(np.mean(step**2)) <= 0.5 * 2.0 * float(np.nanvar(flux))


def _draw_spectra(axes: Axes, wavelength: np.ndarray, flux: np.ndarray, prediction: np.ndarray, joined: bool) -> None:
    if joined:
        dots = {"marker": "o", "mew": 0} if len(wavelength) <= FEW else {}
        axes.plot(*broken_at_gaps(wavelength, flux), color=INK, lw=1.3, ms=4, label="truth", **dots)
        axes.plot(*broken_at_gaps(wavelength, prediction), color=VERMILION, lw=0.6, ms=2, label="prediction", **dots)
    else:
        axes.plot(wavelength, flux, "o", mfc="none", mec=INK, mew=0.7, ms=4, label="truth")
        axes.plot(wavelength, prediction, "o", color=VERMILION, mew=0, ms=2, label="prediction")


def _draw_residual(axes: Axes, wavelength: np.ndarray, residual: np.ndarray, limit: float, joined: bool) -> None:
    """Residual below the spectrum, its ticks on the right; values beyond +-limit are triangles at the edge."""
    axes.axhline(0, color=FAINT, lw=0.5)
    if joined:
        dots = {"marker": "o", "ms": 2, "mew": 0} if len(wavelength) <= FEW else {}
        axes.plot(*broken_at_gaps(wavelength, residual), color=BLUE, lw=0.5, **dots)
    else:
        axes.plot(wavelength, residual, "o", color=BLUE, mew=0, ms=2)
    _mark_beyond(axes, wavelength, residual, limit, BLUE)
    tick = _symmetric_axis(axes, limit)
    axes.set_yticks([-tick, tick])  # its panel is too low for three labels
    axes.set_yticklabels([f"{MINUS}{tick:g}", f"{tick:g}"])
    axes.yaxis.tick_right()
    axes.yaxis.set_ticks_position("both")
    axes.tick_params(axis="y", labelleft=False, labelright=True, labelsize=7)


def residual_limit(residual: np.ndarray) -> float:
    """Half height of a residual axis, never 0: holds all, or where a few are far out, twice what holds 99 of 100."""
    size = np.abs(residual[np.isfinite(residual)])
    if not len(size) or not size.max():
        return 1.0
    largest, most = 1.15 * float(size.max()), 2.0 * float(np.percentile(size, 99))
    return min(largest, most) or largest


def _symmetric_axis(axes: Axes, limit: float) -> float:
    """Set the y axis to +-limit with ticks at 0 and +-a round number well inside, which is returned."""
    tick = round_below(0.75 * limit)
    axes.set_ylim(-limit, limit)
    axes.set_yticks([-tick, 0.0, tick], labels=[f"{MINUS}{tick:g}", "0", f"{tick:g}"])
    axes.yaxis.set_minor_locator(MultipleLocator(tick / 2))
    return tick


def _mark_beyond(axes: Axes, x: np.ndarray, residual: np.ndarray, limit: float, colour: str) -> None:
    """Triangles at the edges of a residual panel for the values beyond it."""
    for marker, beyond, edge in (("^", residual > limit, 0.92), ("v", residual < -limit, 0.08)):
        if beyond.any():
            at_edge = np.full(int(beyond.sum()), edge)
            axes.plot(x[beyond], at_edge, marker, transform=axes.get_xaxis_transform(), color=colour, ms=2.5, mew=0)


def _spectrum_text(labels: Sequence[float], names: Sequence[str], units: Sequence[str], spectrum: int) -> list[str]:
    """Words of the headline; a line may break between any two of them."""
    values = [f"{_symbol(n)} = {_label_value(v)}{_unit_after(u)}" for n, v, u in zip(names, labels, units, strict=True)]
    return [f"Spectrum {spectrum} of the grid:", *(f"{value}," for value in values[:-1]), *values[-1:]]


def _residual_text(residual: np.ndarray) -> str:
    finite = residual[np.isfinite(residual)]
    text = _count(len(residual), "pixel")
    if len(finite) < len(residual):
        text += f" ({len(residual) - len(finite)} without a prediction)"
    if len(finite):
        rms, largest = np.sqrt(np.mean(finite**2)), np.abs(finite).max()
        text += f"; residual: rms {_scientific(rms)}, largest {_scientific(largest)}"
    return text


# --------------------------------------------------------------------------------------------------- flux_deviation


@rc_context(STYLE)
def draw_flux_deviation(training: np.ndarray, test: np.ndarray) -> Figure:
    """Histograms over pixels of the median absolute deviation (n_pixel,) of each half, in normalised flux."""
    figure = _figure(COLUMN, 2.7)
    axes = figure.axes_at(0.5, 0.42, COLUMN - 0.6, 2.2)
    edges = log_bins(np.concatenate([training, test]))
    halves = (("training", training, BLUE, "--", True), ("test", test, VERMILION, "-", False))
    tallest = 1
    for name, deviation, colour, dashes, filled in halves:
        finite = deviation[np.isfinite(deviation)]
        median = f"median {_scientific(np.median(finite))}" if len(finite) else "no pixel"
        counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
        tallest = max(tallest, counts.max())
        if filled:
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.25, lw=0)
        axes.stairs(counts, edges, color=colour, lw=1.0, ls=dashes if filled else "-", label=f"{name}: {median}")
        if len(finite) and np.median(finite) > 0:
            axes.axvline(np.median(finite), ymax=0.72, color=colour, lw=0.9, ls=":", zorder=0)
    missing = int(np.sum(~np.isfinite(test) | ~np.isfinite(training)))
    title = _count(len(test), "pixel") + (f", {missing} of them not trained" if missing else "")
    axes.set(xscale="log", xlim=(edges[0], edges[-1]), ylim=(0, 1.42 * tallest))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="Median absolute deviation [normalised flux]", ylabel="Number of pixels")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="upper left", title=title, title_fontsize=8, alignment="left", handlelength=1.6)
    return figure


def log_bins(values: np.ndarray, per_decade: int = 12) -> np.ndarray:
    """Edges of histogram bins, equal in log10, that cover the positive finite values; at least two decades."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return np.logspace(-5, -3, 2 * per_decade + 1)
    first = np.floor(np.log10(positive.min()) * per_decade) - 1
    last = np.floor(np.log10(positive.max()) * per_decade) + 2
    spare = max(0.0, np.ceil((2 * per_decade - (last - first)) / 2))
    return 10.0 ** (np.arange(first - spare, last + spare + 1) / per_decade)


# -------------------------------------------------------------------------------------------------- fitting_results


@rc_context(STYLE)
def draw_fitting_results(fits: Table) -> Figure:
    """Fitted against true labels with the difference below, one panel a label of `fits.meta["label_names"]`.

    Bias is the median of fitted - true, width 1.4826 times the median absolute deviation from it, both over every
    fit that is drawn, flagged or not; failed fits (NaN) are counted only.
    """
    names = list(fits.meta["label_names"])
    flags = np.asarray(fits["flags"], dtype=int)
    failed = is_failed(fits)
    n_column = len(names) if len(names) <= 3 else int(np.ceil(np.sqrt(len(names))))
    n_row = -(-len(names) // n_column)
    small = n_column > 3
    page = COLUMN if n_column == 1 else PAGE
    left, right, below = (0.46, 0.12, 0.33) if small else (0.62, 0.1, 0.37)
    handles = _fit_legend(fits.meta["flags"], flags, failed)
    legend_height = 0.25 if n_column > 1 else 0.05 + 0.15 * len(handles)
    width = page / n_column - left - right
    height, residual_height = min(width, 2.3), 0.35 * min(width, 2.3)
    title = 0.17
    cell = title + height + residual_height + below
    figure = _figure(page, legend_height + n_row * cell)
    for number, name in enumerate(names):
        x = left + (number % n_column) * page / n_column
        y = figure.height - legend_height - title - (number // n_column) * cell
        upper = figure.axes_at(x, y - height, width, height)
        lower = figure.axes_at(x, y - height - residual_height, width, residual_height)
        fitted, error, true = (_floats(fits[f"{name}{ending}"]) for ending in ("", "_error", "_true"))
        drawn = np.isfinite(fitted) & np.isfinite(true) & ~failed
        groups = [(flags[drawn] & bit) != 0 for _, bit in _ordered(fits.meta["flags"])]
        unit = str(fits[name].unit or "")
        _draw_fits(upper, lower, true[drawn], fitted[drawn], error[drawn], groups, unit, small)
        in_unit = f" [{unit}]" if unit else ""
        size = 7.5 if small else 9
        lower.set_xlabel(f"True {_symbol(name)}{in_unit}", size=size, labelpad=2)
        symbol = "" if small else f"{_symbol(name)}"
        upper.set_ylabel(f"Fitted {symbol}{in_unit}".replace("  ", " "), size=size, labelpad=2)
        lower.set_ylabel(f"Δ{symbol}{in_unit}", size=size, labelpad=2)
        for axes in (upper, lower):
            axes.yaxis.set_label_coords(-(left - (0.14 if small else 0.2)) / width, 0.5)
    figure.legend(
        handles=handles,
        loc="upper center" if n_column > 1 else "upper left",
        ncols=1 if n_column == 1 else 5,
        bbox_to_anchor=(0.5 if n_column > 1 else 0.1, 1 - 0.03 / figure.height),
        borderaxespad=0.2,
        columnspacing=1.5,
        handletextpad=0.2,
        labelspacing=0.25,
    )
    return figure


def is_failed(fits: Table) -> np.ndarray:
    """(n_spectrum,) whether a fit gave no labels: any of them NaN."""
    labels = np.column_stack([_floats(fits[name]) for name in fits.meta["label_names"]])
    return ~np.isfinite(labels).all(axis=1)


def _ordered(bits: dict[str, int]) -> list[tuple[str, int]]:
    """Flags by their bit: a table read from a file has them by their name."""
    return sorted(bits.items(), key=lambda item: item[1])


def bias_and_width(difference: np.ndarray) -> tuple[float, float]:
    """Median, and 1.4826 times the median absolute deviation from it (the standard deviation where normal)."""
    bias = float(np.median(difference))
    return bias, MAD_TO_SIGMA * float(np.median(np.abs(difference - bias)))


def bias_and_width_text(bias: float, width: float, unit: str) -> str:
    """The width to two digits, the bias to the same decimal place: more would be noise."""
    form = "+.1e"
    if 1e-4 <= width < 1e6:
        form = f"+.{max(0, 1 - int(np.floor(np.log10(width))))}f"
    rounded = float(f"{bias:{form}}") + 0.0  # + 0.0: no "-0.00"
    return f"bias {rounded:{form}}, width {width:{form[1:]}}{_unit_after(unit)}".replace("-", MINUS)


def _draw_fits(
    upper: Axes,
    lower: Axes,
    true: np.ndarray,
    fitted: np.ndarray,
    error: np.ndarray,
    groups: list[np.ndarray],
    unit: str,
    small: bool,
) -> None:
    """One label: fitted against true (n_fit,) above, the difference with its 1 sigma errors below."""
    difference = fitted - true
    text = "no fit"
    if len(true):
        text = bias_and_width_text(*bias_and_width(difference), unit)
    # Above the panel, where it can hide no fit; what is wider than a small panel has room on the left.
    upper.set_title(text, size=6.5 if small else 8, pad=3, loc="right" if small else "center")

    low, high = _padded(np.concatenate([true, fitted]), 0.06)
    limit = residual_limit(difference)
    upper.plot([low, high], [low, high], color=FAINT, lw=0.7, zorder=1)
    lower.axhline(0, color=FAINT, lw=0.7, zorder=1)
    lower.errorbar(true, difference, error, fmt="none", ecolor=SKY, elinewidth=0.4, alpha=0.6, zorder=1.5)
    for axes, y in ((upper, fitted), (lower, difference)):
        axes.plot(true, y, "o", color=BLUE, ms=1.6 if small else 2.2, mew=0, zorder=2)
        for chosen, (marker, colour) in zip(groups, FLAG_MARKERS, strict=False):
            axes.plot(true[chosen], y[chosen], marker, mfc="none", mec=colour, mew=0.8, ms=4.5, zorder=3)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(3 if small else 5, steps=[1, 2, 5, 10]))
        axes.tick_params(labelsize=6.5 if small else 8)
    _mark_beyond(lower, true, difference, limit, BLUE)
    upper.set_ylim(low, high)
    upper.yaxis.set_major_locator(MaxNLocator(3 if small else 5, steps=[1, 2, 5, 10]))
    upper.tick_params(labelbottom=False)
    _symmetric_axis(lower, limit)


def _fit_legend(bits: dict[str, int], flags: np.ndarray, failed: np.ndarray) -> list[Line2D]:
    """How many fits there are of each kind; kinds that do not occur are left out."""
    dot = {"color": BLUE, "ls": "none", "marker": "o", "ms": 3, "mew": 0}
    text = _count(int(np.sum(~failed)), "fit")
    if failed.any():
        text += f" ({int(failed.sum())} more failed, not drawn)"
    handles = [Line2D([], [], label=text, **dot)]
    for (name, bit), (marker, colour) in zip(_ordered(bits), FLAG_MARKERS, strict=False):
        count = int(np.sum(((flags & bit) != 0) & ~failed))
        if count:
            look = {"ls": "none", "marker": marker, "mfc": "none", "mec": colour, "ms": 4.5, "mew": 0.8}
            handles.append(Line2D([], [], label=f"{_words(name)}: {count}", **look))
    return handles


# ------------------------------------------------------------------------------------------------- training_summary


@rc_context(STYLE)
def draw_training_summary(record: Table) -> Figure:
    """Deviation of every pixel against wavelength, its histogram for both halves, and the loops it took.

    A pixel without a deviation (failed) is a triangle at the top edge; the dashed line is the truncation criterion.
    """
    figure = _figure(PAGE, 4.1)
    left, width, side = 0.55, 4.75, PAGE - 0.55 - 4.75 - 0.08 - 0.1
    main = figure.axes_at(left, 1.5, width, 2.35)
    histogram = figure.axes_at(left + width + 0.08, 1.5, side, 2.35)
    loops = figure.axes_at(left, 0.42, width, 1.0)
    wavelength, deviation = _floats(record["wavelength"]), _floats(record["deviation"])
    deviation_test = _floats(record["deviation_test"])
    trunc_diff = float(record.meta["trunc_diff"])

    everything = np.concatenate([deviation, deviation_test, [trunc_diff]])
    edges = log_bins(everything)
    ends = np.array([str(end) for end in record["end"]])
    size = 2.0 if len(ends) > 1000 else 3.5
    for end, colour in _ends_and_colours(ends):
        here = ends == end
        known = here & np.isfinite(deviation)
        shown = np.maximum(deviation[known], edges[0])
        look = {"color": colour, "ms": size, "mew": 0, "ls": "none", "rasterized": True}
        main.plot(wavelength[known], shown, marker="o", **look)
        loops.plot(wavelength[known], _floats(record["loops"])[known], marker="o", **look)
        lost = wavelength[here & ~np.isfinite(deviation)]
        if len(lost):
            top = np.full(len(lost), 0.98)
            main.plot(lost, top, "v", color=colour, ms=4, mew=0, transform=main.get_xaxis_transform())
    for axes in (main, histogram):
        axes.axhline(trunc_diff, color=INK, lw=0.8, ls="--", zorder=3)
        axes.set(yscale="log", ylim=(edges[0], edges[-1]))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _draw_deviation_histogram(histogram, deviation, deviation_test, edges)
    limits = _padded(wavelength, 0.02, least=2.0)
    main.set(xlim=limits, ylabel="Deviation [normalised flux]")
    main.tick_params(labelbottom=False)
    most = max(1.0, _floats(record["loops"]).max())
    loops.set(xlim=limits, ylim=(-0.04 * most, 1.1 * most), xlabel="Wavelength [Å]", ylabel="Loops")
    loops.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
    loops.ticklabel_format(axis="x", useOffset=False, style="plain")
    for axes in (main, loops):
        axes.yaxis.set_label_coords(-0.38 / width, 0.5)

    below = int(np.sum(deviation <= trunc_diff))
    text = f"{_count(len(ends), 'pixel')}, {_share(below, len(ends))} at or below {trunc_diff:g} (dashed)"
    figure.text(left / PAGE, (1.5 + 2.35 + 0.06) / figure.height, text, va="bottom")
    figure.legend(
        handles=_end_legend(ends, deviation),
        loc="upper left",
        bbox_to_anchor=((left + width + 0.06) / PAGE, 1.1 / figure.height),
        borderaxespad=0,
        labelspacing=0.3,
        handletextpad=0.1,
    )
    return figure


def _draw_deviation_histogram(axes: Axes, training: np.ndarray, test: np.ndarray, edges: np.ndarray) -> None:
    """Histograms lying on their side, beside the panel whose vertical axis they share."""
    for name, deviation, colour in (("training", training, "0.75"), ("test", test, INK)):
        finite = np.clip(deviation[np.isfinite(deviation)], edges[0], edges[-1])
        counts, _ = np.histogram(finite, edges)
        fill = name == "training"
        axes.stairs(counts, edges, orientation="horizontal", fill=fill, color=colour, lw=1.0, label=name)
    axes.set_xlabel("Number of pixels")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelleft=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, handlelength=1.2, columnspacing=1.0)


def _ends_and_colours(ends: np.ndarray) -> list[tuple[str, str]]:
    """The ends that occur with their colours, the most frequent first, so that the rare are drawn on top."""
    names, counts = np.unique(ends, return_counts=True)
    return [(str(names[i]), END_COLOURS.get(str(names[i]), GREEN)) for i in np.argsort(-counts, kind="stable")]


def _end_legend(ends: np.ndarray, deviation: np.ndarray) -> list[Line2D]:
    handles = []
    for end, colour in _ends_and_colours(ends):
        here = ends == end
        lost = int(np.sum(here & ~np.isfinite(deviation)))
        label = f"{_words(end)}: {int(here.sum())} ({_share(int(here.sum()), len(ends))})"
        if 0 < lost < here.sum():
            label += f", {lost} at top"
        marker = "v" if lost == here.sum() else "o"
        handles.append(Line2D([], [], ls="none", marker=marker, color=colour, ms=4, mew=0, label=label))
    return handles


# -------------------------------------------------------------------------------------------------- read and write


def _read_evaluation(path: str | Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    evaluation = read_npz(path, PayneflowError, "an evaluation file")
    _require(path, evaluation, keys, "key", "an evaluation file")
    return evaluation


def _read_table(path: str | Path, columns: Sequence[str], meta: Sequence[str], what: str) -> Table:
    try:
        table = Table.read(path, format="ascii.ecsv")
    except FileNotFoundError as error:
        raise PayneflowError(f"{path}: no such file; expected {what}.") from error
    except (OSError, ValueError, KeyError) as error:
        raise PayneflowError(f"{path}: not a readable ECSV table ({error}); expected {what}.") from error
    _require(path, table.colnames, columns, "column", what)
    _require(path, table.meta, meta, "entry in meta", what)
    if not len(table):
        raise PayneflowError(f"{path}: the table has no rows; there is nothing to plot.")
    return table


def _require(path: str | Path, present, needed: Sequence[str], kind: str, what: str) -> None:
    missing = [name for name in needed if name not in present]
    if missing:
        raise PayneflowError(
            f"{path}: no {kind} {', '.join(missing)}; {what} has it. Was the file made by another version of payneflow?"
        )


@rc_context(STYLE)  # tick labels are made while drawing
def _write(figure: Figure, path: str | Path) -> None:
    known = figure.canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise PayneflowError(f"{path}: no such image format; endings that work: .{', .'.join(sorted(known))}.")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


# ----------------------------------------------------------------------------------------------------------- helpers


class _InchFigure(Figure):
    """A Figure whose axes are placed in inches, from its lower left corner."""

    @property
    def height(self) -> float:
        return self.get_figheight()

    def axes_at(self, left: float, bottom: float, width: float, height: float) -> Axes:
        w, h = self.get_size_inches()
        return self.add_axes((left / w, bottom / h, width / w, height / h))


def _figure(width: float, height: float) -> _InchFigure:
    figure = _InchFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def round_numbers(least: float):
    """Round numbers (1, 2, 2.5, 5 times a power of ten) from `least` upwards, without end."""
    exponent = np.floor(np.log10(least))
    while True:
        yield from (r * 10.0**exponent for r in ROUND if r * 10.0**exponent >= least * (1 - 1e-9))
        exponent += 1


def round_below(value: float) -> float:
    """The largest of a few one-digit numbers times a power of ten that is not above `value` (> 0)."""
    power = 10.0 ** np.floor(np.log10(value))
    return max(r * power for r in (1, 2, 3, 4, 5, 6, 8) if r == 1 or r * power <= value)


def _padded(values: np.ndarray, share: float, least: float = 0.0) -> tuple[float, float]:
    """Axis limits around the finite values, wider by `share` of their range on each side, at least `least` wide."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = max(share * (high - low), 0.5 * (least - (high - low))) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _floats(column) -> np.ndarray:
    """A table column as float64, NaN where it is masked."""
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _symbol(name: str) -> str:
    return SYMBOLS.get(name, name.replace("$", r"\$"))


def _words(name: str) -> str:
    """NOT_CONVERGED -> not converged."""
    return name.lower().replace("_", " ")


def _label_value(value: float) -> str:
    """A label to four digits, at most three of them decimals: 5621, 3.487, -0.016 (with a true minus sign)."""
    return f"{value:.{3 if abs(value) < 1 else 4}{'f' if abs(value) < 1 else 'g'}}".replace("-", MINUS)


def _unit_after(unit: str) -> str:
    return f" {unit}" if unit else ""


def _scientific(value: float) -> str:
    """Mathtext: 0.00037 -> 3.7 x 10^-4."""
    if not value or not np.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _share(part: int, whole: int) -> str:
    """Per cent, honest at both ends: 99.99 % is not rounded to 100 %."""
    percent = 100.0 * part / whole
    digits = 0 if part in (0, whole) else 1 if 1 <= percent <= 99 else 2
    return f"{percent:.{digits}f} %"


def _plain(text: str) -> str:
    """About what is left of mathtext on paper: its width, without the markup."""
    return re.sub(r"\\[a-z]+|[${}_^]", "", text)


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    """Join words to lines of at most about `width` characters, never breaking inside a word."""
    lines = [words[0]]
    for word in words[1:]:
        if len(_plain(lines[-1])) + 1 + len(_plain(word)) > width:
            lines.append(word)
        else:
            lines[-1] += " " + word
    return lines
