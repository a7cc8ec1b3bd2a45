"""Figure: one test spectrum, its prediction and the residual, in panels of wavelength; above, its labels."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoMinorLocator, MaxNLocator, MultipleLocator

from payneflow.figures.numbers import MINUS, count, padded, residual_limit, scientific, symbol, unit_after, wrapped
from payneflow.figures.reading import read_evaluation
from payneflow.figures.style import BLUE, FAINT, INK, PAGE, STYLE, VERMILION, InchFigure, limit_residuals, write_image
from payneflow.wavelength import is_gap

_N_PANEL = 8
_FEW = 40  # so many pixels a panel, or fewer, are marked one by one
_MARGIN = 0.55  # inches: left and right of the panels
_SPACING = 0.2  # inches between panels, for the wavelengths
_BOTTOM = 0.24  # inches below the last panel's spacing
_LINE = 0.16  # inches: height of a line of the headline


def plot_flux_prediction(input_path: str | Path, output_path: str | Path) -> None:
    """evaluation.npz -> one test spectrum, its prediction and the residual, in eight panels of wavelength."""
    examples = [f"example_{what}" for what in ("flux", "prediction", "labels", "spectrum")]
    evaluation = read_evaluation(input_path, ["wavelength", *examples, "label_names", "label_units"])
    figure = draw_flux_prediction(
        evaluation["wavelength"],
        evaluation["example_flux"],
        evaluation["example_prediction"],
        labels=evaluation["example_labels"],
        label_names=[str(name) for name in evaluation["label_names"]],
        label_units=[str(unit) for unit in evaluation["label_units"]],
        spectrum=int(evaluation["example_spectrum"]),
    )
    write_image(figure, output_path)


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
    headline = wrapped(_spectrum_words(labels, label_names, label_units, spectrum), 84)
    headline.append(_residual_text(residual))
    edges = panel_edges(wavelength)
    panel = np.clip(np.searchsorted(edges, wavelength, side="right") - 1, 0, _N_PANEL - 1)
    occupied = np.unique(panel)

    top = _LINE * (1 + len(headline))
    heights = (0.62, 0.28) if len(occupied) > 2 else (1.3, 0.5)
    pitch = sum(heights) + _SPACING
    figure = InchFigure(figsize=(PAGE, top + _BOTTOM + pitch * len(occupied)))

    joined = is_finely_sampled(wavelength, flux)
    limit = residual_limit(residual)
    exponent = int(np.floor(np.log10(limit) + 1e-9))
    scale = 10.0**exponent
    flux_limits = padded(np.concatenate([flux, prediction]), 0.08, least=0.05)
    for row, number in enumerate(occupied):
        here = panel == number
        upper, lower = figure.pair_at(_MARGIN, figure.height - top - pitch * row, PAGE - 2 * _MARGIN, *heights)
        _draw_spectra(upper, wavelength[here], flux[here], prediction[here], joined)
        upper.set_ylim(flux_limits)
        _draw_residual(lower, wavelength[here], residual[here] / scale, limit / scale, joined)
        _divide_wavelengths((upper, lower), edges[number], edges[number + 1])
    _name_axes(figure, top, exponent)
    _draw_headline(figure, headline)
    return figure


# ------------------------------------------------------------------------------------------ the panels of wavelength


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


def _divide_wavelengths(pair: tuple[Axes, Axes], first: float, last: float) -> None:
    for axes in pair:
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(MultipleLocator((last - first) / 5))
        axes.xaxis.set_minor_locator(AutoMinorLocator(5))
    pair[1].ticklabel_format(axis="x", useOffset=False, style="plain")


# ------------------------------------------------------------------------------------------ a panel, and its residual


def _draw_spectra(axes: Axes, wavelength: np.ndarray, flux: np.ndarray, prediction: np.ndarray, joined: bool) -> None:
    if joined:
        dots = {"marker": "o", "mew": 0} if len(wavelength) <= _FEW else {}
        axes.plot(*broken_at_gaps(wavelength, flux), color=INK, lw=1.3, ms=4, label="truth", **dots)
        axes.plot(*broken_at_gaps(wavelength, prediction), color=VERMILION, lw=0.6, ms=2, label="prediction", **dots)
    else:
        axes.plot(wavelength, flux, "o", mfc="none", mec=INK, mew=0.7, ms=4, label="truth")
        axes.plot(wavelength, prediction, "o", color=VERMILION, mew=0, ms=2, label="prediction")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="lower"))


def _draw_residual(axes: Axes, wavelength: np.ndarray, residual: np.ndarray, limit: float, joined: bool) -> None:
    """Residual below the spectrum, its ticks on the right; values beyond +-limit are triangles at the edge."""
    axes.axhline(0, color=FAINT, lw=0.5)
    if joined:
        dots = {"marker": "o", "ms": 2, "mew": 0} if len(wavelength) <= _FEW else {}
        axes.plot(*broken_at_gaps(wavelength, residual), color=BLUE, lw=0.5, **dots)
    else:
        axes.plot(wavelength, residual, "o", color=BLUE, mew=0, ms=2)
    tick = limit_residuals(axes, wavelength, residual, limit)
    axes.set_yticks([-tick, tick], labels=[f"{MINUS}{tick:g}", f"{tick:g}"])  # its panel is too low for three labels
    axes.yaxis.tick_right()
    axes.yaxis.set_ticks_position("both")
    axes.tick_params(axis="y", labelleft=False, labelright=True, labelsize=7)


def broken_at_gaps(wavelength: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelength and values (n_pixel,) with a NaN value in the middle of each gap, so that no line crosses it."""
    after = np.flatnonzero(is_gap(wavelength)) + 1
    middle = 0.5 * (wavelength[after - 1] + wavelength[after])
    return np.insert(wavelength, after, middle), np.insert(np.asarray(values, dtype=float), after, np.nan)


def is_finely_sampled(wavelength: np.ndarray, flux: np.ndarray) -> bool:
    """Whether neighbouring pixels resemble each other, so that a straight line between them is close to the truth.

    Their mean squared step must be at most half that of two pixels chosen at random, which is twice the variance.
    Pixels without a finite flux and steps across gaps do not count.
    """
    step = np.diff(flux)[~is_gap(wavelength)]
    step = step[np.isfinite(step)]
    return len(step) >= 2 and bool(np.mean(step**2) <= np.nanvar(flux))


# ------------------------------------------------------------------------------------------------- texts around them


def _name_axes(figure: InchFigure, top: float, exponent: int) -> None:
    """Titles of the axes, once for all panels: wavelength below, flux on the left, residual on the right."""
    middle = (_BOTTOM + _SPACING + (figure.height - top)) / 2 / figure.height
    unit = "" if exponent == 0 else rf" [$10^{{{exponent}}}$]"
    upright = {"rotation": 90, "va": "center", "size": 9}
    figure.text(0.5, 0.06 / figure.height, "Wavelength [Å]", ha="center", va="bottom", size=9)
    figure.text(0.09 / PAGE, middle, "Normalised flux", ha="left", **upright)
    figure.text(1 - 0.09 / PAGE, middle, f"Prediction {MINUS} truth{unit}", ha="right", **upright)


def _draw_headline(figure: InchFigure, lines: Sequence[str]) -> None:
    """The lines on the left, and on the right what the two colours of the panels are."""
    for number, text in enumerate(lines):
        figure.text(_MARGIN / PAGE, 1 - (0.08 + _LINE * number) / figure.height, text, ha="left", va="top")
    figure.legend(
        handles=figure.axes[0].lines[:2],
        loc="upper right",
        bbox_to_anchor=(1 - _MARGIN / PAGE, 1 - 0.06 / figure.height),
        ncols=2,
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.2,
    )


def _spectrum_words(labels: Sequence[float], names: Sequence[str], units: Sequence[str], spectrum: int) -> list[str]:
    """Words of the headline; a line may break between any two of them."""
    values = [f"{symbol(n)} = {_label_value(v)}{unit_after(u)}" for n, v, u in zip(names, labels, units, strict=True)]
    return [f"Spectrum {spectrum} of the grid:", *(f"{value}," for value in values[:-1]), *values[-1:]]


def _label_value(value: float) -> str:
    """A label to four digits, at most three of them decimals: 5621, 3.487, -0.016 (with a true minus sign)."""
    return (f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}").replace("-", MINUS)


def _residual_text(residual: np.ndarray) -> str:
    """How many pixels there are, and how far the prediction is off."""
    finite = residual[np.isfinite(residual)]
    text = count(len(residual), "pixel")
    if len(finite) < len(residual):
        text += f" ({len(residual) - len(finite)} without a prediction)"
    if len(finite):
        rms, largest = np.sqrt(np.mean(finite**2)), np.abs(finite).max()
        text += f"; residual: rms {scientific(rms)}, largest {scientific(largest)}"
    return text
