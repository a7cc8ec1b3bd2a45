"""Figure: all fits at a glance: pulls (or errors, where no truth is known), chi2, a Kiel diagram, and the flags."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from payneflow.figures.flags import flagged, is_failed
from payneflow.figures.numbers import MINUS, count, padded, symbol, words
from payneflow.figures.reading import floats, read_fits
from payneflow.figures.style import BLUE, FAINT, INK, PAGE, SKY, STYLE, InchFigure, write_image
from payneflow.label_names import NO_NOISE, TEST_SNR
from payneflow.statistics import bias_and_width

_SIDE = 2.62, 2.2  # inches: width and height of a panel
_LEFT = 0.55, 4.33  # inches: where the panels of the two columns begin
_BOTTOM = 0.42, 3.2  # inches: where those of the two rows do
_HEIGHT = 5.66  # inches: of the figure
_COLOUR_BAR = 0.06, 0.08  # inches: between a panel and its colour bar, and the width of that
_ROW = 0.17  # inches: least height of a label's pulls
_FEW = 20  # fits: of fewer, each pull is a tick; a histogram and its width would say nothing
_WIDEST_PULL = 5.0  # end of the axis of pulls
_MOST_ERRORS = 4  # panels of errors against S/N
_GAP = 0.09  # inches between those panels, so that tick labels do not meet
_LEAST_SHARE = {"x": 0.005, "y": 0.05}  # of the largest value: an axis is at least so long
_WIDE = 8.0  # ratio of largest to smallest value from which an axis is logarithmic


def plot_fit_overview(input_path: str | Path, output_path: str | Path) -> None:
    """fits.ecsv -> pulls or errors, chi2 against S/N, a Kiel diagram, and how many fits have which flag."""
    write_image(draw_fit_overview(read_fits(input_path, {"SNR": "f", "chi2": "f", "dof": "i"})), output_path)


@rc_context(STYLE)
def draw_fit_overview(fits: Table) -> Figure:
    """Four quarters of a page, with every fit that did not fail in each of the three panels.

    Upper left: (fitted - true) / error of each label beside a unit normal distribution; where the table has no true
    labels, the errors against S/N. Upper right: chi2 / dof against S/N. Lower left: the second label against the first,
    coloured by the third, which are Teff, logg and [Fe/H] where the table has them. Lower right: the legend.
    """
    succeeded, names = fits[~is_failed(fits)], fits.meta["label_names"]
    truth = all(f"{name}_true" in fits.colnames for name in names)
    more = max(0.0, _ROW * len(names) - _SIDE[1]) if truth else 0.0  # inches that many rows of pulls need
    figure = InchFigure(figsize=(PAGE, _HEIGHT + more))
    if truth:
        _draw_pulls(figure.axes_at(_LEFT[0], _BOTTOM[1], _SIDE[0], _SIDE[1] + more), succeeded)
    else:
        _draw_errors(figure, succeeded)
    _draw_chi2(figure.axes_at(_LEFT[1], _BOTTOM[1] + more, *_SIDE), succeeded)
    _draw_kiel(figure, figure.axes_at(_LEFT[0], _BOTTOM[0], *_SIDE), succeeded)
    _draw_legend(figure, succeeded, n_failed=len(fits) - len(succeeded))
    return figure


# ------------------------------------------------------------------------------------------------- pulls, or errors


def pulls_of(fits: Table) -> dict[str, np.ndarray]:
    """For each label that is not held, (fitted - true) / error of the fits in which all three are known."""
    pulls = {}
    for name in fits.meta["label_names"]:
        fitted, error, true = (floats(fits[f"{name}{ending}"]) for ending in ("", "_error", "_true"))
        known = np.isfinite(fitted) & np.isfinite(true) & (error > 0) & np.isfinite(error)
        if known.any() or not (error == 0).any():
            pulls[name] = (fitted - true)[known] / error[known]
    return pulls


def _draw_pulls(axes: Axes, fits: Table) -> None:
    """A row for each label: histogram of its pulls, the ends of the axis holding those beyond, and the unit normal."""
    pulls = pulls_of(fits)
    size, level = (7.5, 0.75) if len(pulls) <= 6 else (6.0, 0.5)
    x = np.linspace(-_WIDEST_PULL, _WIDEST_PULL, 201)
    normal = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)
    edges = np.arange(-_WIDEST_PULL, _WIDEST_PULL + 0.1, 0.25 if len(fits) >= 1000 else 0.5)
    densities = {
        name: np.histogram(np.clip(pull, edges[0], edges[-1]), edges)[0] / len(pull) / (edges[1] - edges[0])
        for name, pull in pulls.items()
        if len(pull) >= _FEW
    }
    highest = 1.25 * max([normal.max(), *(density.max() for density in densities.values())])
    for row, (name, pull) in enumerate(pulls.items()):
        base = len(pulls) - 1 - row
        if name in densities:
            axes.stairs(base + densities[name] / highest, edges, baseline=base, fill=True, color=SKY, alpha=0.6, lw=0)
        else:
            axes.plot(np.clip(pull, edges[0], edges[-1]), np.full(len(pull), base + 0.16), "|", color=BLUE, ms=6)
        axes.plot(x, base + normal / highest, color=INK, lw=0.8)
        axes.axhline(base, color=FAINT, lw=0.5)
        look = {"transform": axes.get_yaxis_transform(), "size": size, "va": "center"}
        axes.text(0.03, base + level, symbol(name), ha="left", **look)
        axes.text(0.97, base + level, _pull_text(pull), ha="right", **look)
    axes.axvline(0, color=FAINT, lw=0.5, zorder=0)
    axes.set(xlim=(-_WIDEST_PULL, _WIDEST_PULL), ylim=(0, max(1, len(pulls))), yticks=[])
    axes.set_xlabel("(Fitted − true) / error")
    title = "median, robust width (standard deviation)" if densities else "unit normal distribution (line)"
    title = f"{_noise_text(fits.meta)}{title}"
    axes.set_title(title if pulls else "all labels are held", size=7.5, pad=3, loc="right")


def _noise_text(meta: dict) -> str:
    """Which noise the test spectra got: without any, pulls are narrow though errors are right."""
    snr = meta.get(TEST_SNR)
    if snr is None:
        return ""
    return "spectra without noise: " if snr == NO_NOISE else f"noise of S/N {snr:g}: "


def _pull_text(pull: np.ndarray) -> str:
    if len(pull) < _FEW:
        return count(len(pull), "fit")
    bias, width = bias_and_width(pull)
    return f"{round(bias, 2) + 0.0:+.2f}, {width:.2f} ({np.std(pull):.2f})".replace("-", MINUS)


def _draw_errors(figure: InchFigure, fits: Table) -> None:
    """Panels on top of each other: the errors of the first labels that are not held, and of RV, against S/N."""
    labels = [name for name in fits.meta["label_names"] if not (floats(fits[f"{name}_error"]) == 0).all()]
    velocity = ["RV"] if "RV_error" in fits.colnames else []
    names = [*labels[: _MOST_ERRORS - len(velocity)], *velocity]
    snr = floats(fits["SNR"])
    pitch = (_SIDE[1] + _GAP) / max(1, len(names))
    height = pitch - _GAP
    for row, name in enumerate(names):
        axes = figure.axes_at(_LEFT[0], _BOTTOM[1] + (len(names) - 1 - row) * pitch, _SIDE[0], height)
        error, last = floats(fits[f"{name}_error"]), row == len(names) - 1
        axes.plot(snr, error, **_dots(len(fits)))
        _scale_axis(axes, "x", snr)
        _scale_axis(axes, "y", error, n_tick=3 if len(names) > 2 else 5, room=0.15 / height)
        axes.tick_params(labelbottom=last, labelsize=7)
        axes.text(0.97, 0.95, _with_unit(name, fits), transform=axes.transAxes, ha="right", va="top", size=7.5)
        if last:
            axes.set_xlabel("S/N")
    middle = (_BOTTOM[1] + 0.5 * _SIDE[1]) / _HEIGHT
    figure.text(0.05 / PAGE, middle, "1σ error", rotation=90, ha="left", va="center", size=9)
    if not names:
        figure.axes_at(_LEFT[0], _BOTTOM[1], *_SIDE).set(xticks=[], yticks=[], xlabel="all labels are held")
    elif len(names) - len(velocity) < len(labels):
        figure.axes[0].set_title(f"first {len(names) - len(velocity)} of {len(labels)} labels", size=7.5, pad=3)


# --------------------------------------------------------------------------------------------- chi2, and the labels


def _draw_chi2(axes: Axes, fits: Table) -> None:
    """chi2 / dof against S/N; the dashed line is what noise alone would give."""
    snr, chi2, dof = (floats(fits[name]) for name in ("SNR", "chi2", "dof"))
    reduced = np.divide(chi2, dof, out=np.full(len(dof), np.nan), where=dof > 0)
    axes.axhline(1, color=INK, lw=0.8, ls="--", zorder=1)
    _draw_fits(axes, fits, snr, reduced)
    _scale_axis(axes, "x", snr)
    _scale_axis(axes, "y", np.append(reduced, 1.0))
    axes.set(xlabel="S/N", ylabel=r"$\chi^2$ / dof")


def _draw_kiel(figure: InchFigure, axes: Axes, fits: Table) -> None:
    """The second label against the first, coloured by the third; of one label, its error."""
    names = labels_of_kiel(fits.meta["label_names"])
    first, second = (names[0], names[1]) if len(names) > 1 else (names[0], f"{names[0]}_error")
    x, y = floats(fits[first]), floats(fits[second])
    colour = floats(fits[names[2]]) if len(names) > 2 else None
    _draw_fits(axes, fits, x, y, colour)
    axes.set(xlim=padded(x, 0.05), ylim=padded(y, 0.05))
    if colour is not None and len(fits):
        left, bottom = _LEFT[0] + _SIDE[0] + _COLOUR_BAR[0], _BOTTOM[0]
        beside = figure.axes_at(left, bottom, _COLOUR_BAR[1], _SIDE[1])
        bar = figure.colorbar(axes.collections[0], cax=beside)
        bar.set_label(_with_unit(names[2], fits), labelpad=3)
        beside.tick_params(labelsize=7, right=True, left=False)
        beside.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for name, axis in ((first, axes.xaxis), (second, axes.yaxis)):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        if name in ("Teff", "logg"):  # hot stars on the left, giants at the top
            axis.set_inverted(True)
    axes.set_xlabel(_with_unit(first, fits))
    axes.set_ylabel(_with_unit(second, fits) if len(names) > 1 else f"1σ error of {_with_unit(first, fits)}")


def labels_of_kiel(names: Sequence[str]) -> list[str]:
    """Up to three labels: Teff, logg and [Fe/H] as far as there are, then the others."""
    usual = [name for name in ("Teff", "logg", "[Fe/H]") if name in names]
    return [*usual, *(name for name in names if name not in usual)][:3]


def _draw_fits(axes: Axes, fits: Table, x: np.ndarray, y: np.ndarray, colour: np.ndarray | None = None) -> None:
    """A dot for each fit, with the marker of each flag around it."""
    if colour is None:
        axes.plot(x, y, zorder=2, **_dots(len(fits)))
    else:
        look = {"s": _dots(len(fits))["ms"] ** 2 * 2, "lw": 0, "cmap": "cividis", "rasterized": len(fits) > 1000}
        axes.scatter(x, y, c=colour, zorder=2, **look)
    for _, rows, look in flagged(fits):
        axes.plot(x[rows], y[rows], zorder=3, **look)


def _dots(n: int) -> dict:
    """The look of n fits: the more there are, the smaller and fainter."""
    size, alpha = (2.6, 1.0) if n <= 500 else (1.6, 0.7) if n <= 5000 else (0.8, 0.3)
    return {"marker": "o", "ls": "none", "color": BLUE, "mew": 0, "ms": size, "alpha": alpha, "rasterized": n > 1000}


def _scale_axis(axes: Axes, which: str, values: np.ndarray, n_tick: int = 5, room: float = 0.0) -> None:
    """Limits around the finite values of the axis x or y, logarithmic where they differ by much.

    `room`: the share of the length that is left free beyond the highest value, for a text.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    axis = axes.xaxis if which == "x" else axes.yaxis
    if len(positive) and positive.max() > _WIDE * positive.min():
        low, high = padded(np.log10(positive), 0.06)
        high += room / (1.0 - room) * (high - low)
        axes.set(**{f"{which}scale": "log", f"{which}lim": (10.0**low, 10.0**high)})
        axis.set_minor_formatter(NullFormatter())
    else:
        least = _LEAST_SHARE[which] * float(positive.max()) if len(positive) else 0.0
        low, high = padded(values, 0.08, least)
        axes.set(**{f"{which}lim": (low, high + room / (1.0 - room) * (high - low))})
        axis.set_major_locator(MaxNLocator(n_tick, steps=[1, 2, 5, 10], prune="lower"))
        axes.ticklabel_format(axis=which, useOffset=False)


def _with_unit(name: str, fits: Table) -> str:
    unit = str(fits[name].unit or "").replace(" / ", "/")
    return symbol(name) + (f" [{unit}]" if unit else "")


# ------------------------------------------------------------------------------------------------------- the legend


def _draw_legend(figure: InchFigure, fits: Table, n_failed: int) -> None:
    """How many fits there are, how many have which flag, and what was fitted; flags that none has are left out."""
    handles = [Line2D([], [], label=f"{count(len(fits), 'fit')}", color=BLUE, ls="none", marker="o", ms=3, mew=0)]
    any_flag = np.zeros(len(fits), dtype=bool)
    for name, rows, look in flagged(fits):
        any_flag |= rows
        if rows.any():
            handles.append(Line2D([], [], label=f"{words(name)}: {rows.sum()}", **{**look, "ms": 4.5, "mew": 0.8}))
    for text in (f"without a flag: {int(np.sum(~any_flag))}", f"failed, not drawn: {n_failed}" if n_failed else ""):
        if text:
            handles.append(Line2D([], [], label=text, ls="none"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((_LEFT[1] - 0.1) / PAGE, (_BOTTOM[0] + _SIDE[1]) / figure.height),
        title=_mode_text(fits.meta),
        title_fontsize=8,
        alignment="left",
        borderaxespad=0,
        handletextpad=0.3,
        labelspacing=0.35,
    )


def _mode_text(meta: dict) -> str:
    """What was fitted, and below it which errors: Fitted: 3 labels; velocity; continuum 4."""
    labels, _, more = meta.get("mode", "").partition("; ")
    n_fitted = len(labels.split()) - 1 if labels else len(meta["label_names"])
    text = "Fitted: " + count(n_fitted, "label") + (f"; {more}" if more else "")
    return text + (f"\nErrors: {meta['errors']}" if "errors" in meta else "")
