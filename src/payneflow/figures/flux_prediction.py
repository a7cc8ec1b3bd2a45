"""Figure: one test spectrum, its prediction and the residual, in panels of wavelength; above, its labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from payneflow.evaluation import read_evaluation
from payneflow.figures.numbers import MINUS, count, padded, residual_limit, scientific, symbol, unit_after, wrapped
from payneflow.figures.reading import flux_scale_of
from payneflow.figures.spectrum_axes import (
    LINE,
    MARGIN,
    divide_wavelengths,
    draw_legend,
    draw_line,
    draw_residual,
    few_flux_ticks,
    is_finely_sampled,
    name_axes,
    panel_edges,
    rows_of_axes,
)
from payneflow.figures.style import INK, PAGE, STYLE, VERMILION, InchFigure, write_image

_SPACING = 0.2  # inches between panels, for the wavelengths


def plot_flux_prediction(input_path: str | Path, output_path: str | Path) -> None:
    """evaluation.npz -> one test spectrum, its prediction and the residual, in eight panels of wavelength."""
    evaluation = read_evaluation(input_path)
    scale, unit = flux_scale_of(evaluation)
    figure = draw_flux_prediction(
        evaluation["wavelength"],
        scale.share(evaluation["example_flux"]),
        scale.share(evaluation["example_prediction"]),
        labels=evaluation["example_labels"],
        label_names=[str(name) for name in evaluation["label_names"]],
        label_units=[str(unit) for unit in evaluation["label_units"]],
        spectrum=int(evaluation["example_spectrum"]),
        flux_title=unit.capitalize(),
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
    flux_title: str = "Normalised flux",
) -> Figure:
    """One spectrum and its prediction (n_pixel,), near 1 at the continuum, over wavelength (n_pixel,) in Angstrom.

    Panels without a pixel are left out. Neighbouring pixels are joined by lines only where they sample the spectrum
    finely enough for a line to be true; otherwise, as after training every 64th pixel, they are points.
    """
    residual = prediction - flux
    headline = wrapped(_spectrum_words(labels, label_names, label_units, spectrum), 84)
    headline.append(_residual_text(residual))
    edges = panel_edges(wavelength)
    panel = np.clip(np.searchsorted(edges, wavelength, side="right") - 1, 0, len(edges) - 2)
    occupied = np.unique(panel)

    top = LINE * (1 + len(headline))
    heights = (0.62, 0.28) if len(occupied) > 2 else (1.3, 0.5)
    figure, pairs = rows_of_axes(len(occupied), top, heights, _SPACING)

    joined = is_finely_sampled(wavelength, flux)
    limit = residual_limit(residual)
    exponent = int(np.floor(np.log10(limit) + 1e-9))
    scale = 10.0**exponent
    flux_limits = padded(np.concatenate([flux, prediction]), 0.08, least=0.05)
    for number, (upper, lower) in zip(occupied, pairs, strict=True):
        here = panel == number
        _draw_spectra(upper, wavelength[here], flux[here], prediction[here], joined)
        upper.set_ylim(flux_limits)
        draw_residual(lower, wavelength[here], residual[here] / scale, limit / scale, 0.5, joined)
        first, last = edges[number], edges[number + 1]
        divide_wavelengths((upper, lower), first, last, MultipleLocator((last - first) / 5))
    unit = "" if exponent == 0 else rf" [$10^{{{exponent}}}$]"
    name_axes(figure, top, _SPACING, "Wavelength [Å]", flux_title, f"Prediction {MINUS} truth{unit}")
    _draw_headline(figure, headline)
    return figure


# ------------------------------------------------------------------------------------------ a panel, and its residual


def _draw_spectra(axes: Axes, wavelength: np.ndarray, flux: np.ndarray, prediction: np.ndarray, joined: bool) -> None:
    ring = {} if joined else {"mfc": "none", "mec": INK, "mew": 0.7}
    draw_line(axes, wavelength, flux, 1.3, joined, color=INK, ms=4, label="truth", **ring)
    draw_line(axes, wavelength, prediction, 0.6, joined, color=VERMILION, ms=2, label="prediction")
    few_flux_ticks(axes)


# ------------------------------------------------------------------------------------------------- texts around them


def _draw_headline(figure: InchFigure, lines: Sequence[str]) -> None:
    """The lines on the left, and on the right what the two colours of the panels are."""
    for number, text in enumerate(lines):
        figure.text(MARGIN / PAGE, 1 - (0.08 + LINE * number) / figure.height, text, ha="left", va="top")
    draw_legend(figure, figure.axes[0].lines[:2])


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
