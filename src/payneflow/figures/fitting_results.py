"""Figure: how well the fits find the labels, one panel a label: fitted against true, and the difference below."""

from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from payneflow.errors import PayneflowError
from payneflow.figures.flags import flagged, flagged_label, is_failed
from payneflow.figures.numbers import MINUS, count, padded, residual_limit, symbol, unit_after, words
from payneflow.figures.reading import floats, read_fits
from payneflow.figures.style import (
    BLUE,
    COLUMN,
    FAINT,
    ORANGE,
    PAGE,
    SKY,
    STYLE,
    InchFigure,
    limit_residuals,
    write_image,
)
from payneflow.label_names import NO_NOISE, NOISELESS, TEST_SNR
from payneflow.statistics import bias_and_width

_LINE = 0.17, 0.13  # inches above a panel, for its bias and width; more for each further line
_BESIDE = 4  # entries of the legend beside each other


def plot_fitting_results(input_path: str | Path, output_path: str | Path) -> None:
    """fits.ecsv -> one panel a label: fitted against true, and the difference below, with noise and without."""
    fits = read_fits(input_path, {})
    for name in fits.meta["label_names"]:
        if f"{name}_true" not in fits.colnames:
            raise PayneflowError(
                f"{input_path}: no column {name}_true: the true labels of these spectra are not known, so there is "
                "nothing to compare the fits with. Plot the fits of the test spectra of a grid."
            )
    write_image(draw_fitting_results(fits), output_path)


@rc_context(STYLE)
def draw_fitting_results(fits: Table) -> Figure:
    """Fitted against true labels with the difference below, one panel a label of `fits.meta["label_names"]`.

    Bias is the median of fitted - true, width 1.4826 times the median absolute deviation from it, both over every
    fit that is drawn, flagged or not; failed fits (NaN) are counted only. Where the spectra got noise, what was fitted
    without it is drawn on top, with a second line of bias and width.
    """
    names = list(fits.meta["label_names"])
    above = _LINE[0] + (_LINE[1] if _has_noise(fits) else 0.0)
    succeeded = fits[~is_failed(fits)]
    handles = _fit_legend(succeeded, n_failed=len(fits) - len(succeeded))

    n_column = len(names) if len(names) <= 3 else int(np.ceil(np.sqrt(len(names))))
    n_row = -(-len(names) // n_column)
    small = n_column > 3
    page = COLUMN if n_column == 1 else PAGE
    left, right, below = (0.46, 0.12, 0.33) if small else (0.62, 0.1, 0.37)
    legend_height = 0.1 + 0.15 * -(-len(handles) // _BESIDE) if n_column > 1 else 0.05 + 0.15 * len(handles)
    width = page / n_column - left - right
    height = min(width, 2.3)
    cell = above + 1.35 * height + below
    figure = InchFigure(figsize=(page, legend_height + n_row * cell))
    for number, name in enumerate(names):
        row, column = divmod(number, n_column)
        top = figure.height - legend_height - above - row * cell
        upper, lower = figure.pair_at(left + column * page / n_column, top, width, height, 0.35 * height)
        _draw_fits(upper, lower, succeeded, name, small)
        _name_axes(upper, lower, name, str(fits[name].unit or ""), small)
        for axes in (upper, lower):
            axes.yaxis.set_label_coords(-(left - (0.14 if small else 0.2)) / width, 0.5)
    _draw_legend(figure, handles, beside=n_column > 1)
    return figure


def _draw_fits(upper: Axes, lower: Axes, fits: Table, name: str, small: bool) -> None:
    """One label: fitted against true above, the difference with its 1 sigma errors below."""
    fits = fits[np.isfinite(floats(fits[f"{name}_true"]))]
    fitted, error, true = (floats(fits[f"{name}{ending}"]) for ending in ("", "_error", "_true"))
    difference = fitted - true
    series = [(fitted, {"color": BLUE, "ms": 1.6 if small else 2.2, "zorder": 2})]
    if _has_noise(fits):
        series.append((floats(fits[name + NOISELESS]), {"color": ORANGE, "ms": 1.0 if small else 1.4, "zorder": 4}))
    texts = [_accuracy_text(values - true, str(fits[name].unit or "")) for values, _ in series]
    text = ("\n" if small else "\nno noise: ").join(texts)
    # Above the panel, where it can hide no fit; what is wider than a small panel has room on the left.
    upper.set_title(
        text, size=6.5 if small else 8 if len(series) == 1 else 7, pad=3, loc="right" if small else "center"
    )

    low, high = padded(np.concatenate([true, fitted]), 0.06)
    upper.plot([low, high], [low, high], color=FAINT, lw=0.7, zorder=1)
    lower.axhline(0, color=FAINT, lw=0.7, zorder=1)
    lower.errorbar(true, difference, error, fmt="none", ecolor=SKY, elinewidth=0.4, alpha=0.6, zorder=1.5)
    for axes, y in ((upper, fitted), (lower, difference)):
        for values, look in series:
            axes.plot(true, values if axes is upper else values - true, "o", mew=0, **look)
        for _, rows, look in [*flagged(fits), *flagged_label(fits, name)]:
            axes.plot(true[rows], y[rows], zorder=3, **look)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(3 if small else 5, steps=[1, 2, 5, 10]))
        axes.tick_params(labelsize=6.5 if small else 8)
    upper.set_ylim(low, high)
    upper.yaxis.set_major_locator(MaxNLocator(3 if small else 5, steps=[1, 2, 5, 10]))
    limit_residuals(lower, true, difference, residual_limit(difference))


def _has_noise(fits: Table) -> bool:
    """Whether the spectra got noise, so that what was fitted without it stands beside the fits."""
    has_both = all(name + NOISELESS in fits.colnames for name in fits.meta["label_names"])
    return has_both and fits.meta.get(TEST_SNR, NO_NOISE) != NO_NOISE


def _accuracy_text(difference: np.ndarray, unit: str) -> str:
    finite = difference[np.isfinite(difference)]
    return bias_and_width_text(*bias_and_width(finite), unit) if len(finite) else "no fit"


def bias_and_width_text(bias: float, width: float, unit: str) -> str:
    """The width to two digits, the bias to the same decimal place: more would be noise."""
    form = "+.1e"
    if 1e-4 <= width < 1e6:
        form = f"+.{max(0, 1 - int(np.floor(np.log10(width))))}f"
    rounded = float(f"{bias:{form}}") + 0.0  # + 0.0: no "-0.00"
    return f"bias {rounded:{form}}, width {width:{form[1:]}}{unit_after(unit)}".replace("-", MINUS)


def _name_axes(upper: Axes, lower: Axes, name: str, unit: str, small: bool) -> None:
    """Titles of the axes; small panels have the label's name on the horizontal axis only."""
    in_unit = f" [{unit}]" if unit else ""
    look = {"size": 7.5 if small else 9, "labelpad": 2}
    lower.set_xlabel(f"True {symbol(name)}{in_unit}", **look)
    upper.set_ylabel(f"Fitted{'' if small else f' {symbol(name)}'}{in_unit}", **look)
    lower.set_ylabel(f"Δ{'' if small else symbol(name)}{in_unit}", **look)


def _fit_legend(fits: Table, n_failed: int) -> list[Line2D]:
    """How many fits there are of each kind; kinds that do not occur are left out."""
    text = count(len(fits), "fit") + (f" ({n_failed} more failed, not drawn)" if n_failed else "")
    if _has_noise(fits):
        text += f", S/N {fits.meta[TEST_SNR]:g}"
    handles = [Line2D([], [], label=text, color=BLUE, ls="none", marker="o", ms=3, mew=0)]
    if _has_noise(fits):
        handles.append(
            Line2D([], [], label="without noise, as published", color=ORANGE, ls="none", marker="o", ms=2, mew=0)
        )
    for name, rows, look in flagged(fits):
        if rows.any():
            handles.append(Line2D([], [], label=f"{words(name)}: {rows.sum()}", **look))
    of_labels: dict[str, tuple[int, dict]] = {}
    for label in fits.meta["label_names"]:
        for name, rows, look in flagged_label(fits, label):
            of_labels[name] = of_labels.get(name, (0, look))[0] + int(rows.sum()), look
    for name, (n, look) in of_labels.items():
        if n:
            handles.append(Line2D([], [], label=f"a label {words(name)}: {n}", **look))
    return handles


def _draw_legend(figure: Figure, handles: list[Line2D], beside: bool) -> None:
    """Legend at the top of the page: its entries beside each other, or in a narrow figure below each other."""
    figure.legend(
        handles=handles,
        loc="upper center" if beside else "upper left",
        ncols=_BESIDE if beside else 1,
        bbox_to_anchor=(0.5 if beside else 0.1, 1 - 0.03 / figure.get_figheight()),
        borderaxespad=0.2,
        columnspacing=1.5,
        handletextpad=0.2,
        labelspacing=0.25,
    )
