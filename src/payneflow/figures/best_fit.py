"""Figure: the fit of one observed spectrum: data, model, the residual in sigma, and the pixels that take no part."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from payneflow.errors import PayneflowError
from payneflow.figures.flags import flag_words
from payneflow.figures.numbers import MINUS, count, padded, residual_limit, symbol, value_and_error, wrapped
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
from payneflow.figures.style import FAINT, INK, PAGE, STYLE, VERMILION, InchFigure, write_image
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.wavelength import segments

_WHOLE = ("wavelength", "label_names", "label_units", "flag_names", "flag_bits", "errors")
_BY_ROW = ("identifier", "flux", "model", "continuum", "sigma", "used")
_RESULTS = ("labels", "label_errors", "SNR", "chi2", "dof", "flags")
_VELOCITY = ("RV", "RV_error")
_MOST_ROWS = 8  # of panels on the page
_MOST_PIXELS = 1500  # in a row: more, and lines run into each other
_SPACING = 0.22  # inches between rows, for the wavelengths
_LINE_WIDTH = 122  # characters of a line of the headline
_TITLE_WIDTH = 48  # characters of the identifier, beside the legend
_SHADE = "0.88"


def plot_best_fit(input_path: str | Path, output_path: str | Path, spectrum: str | None = None) -> None:
    """Best-fit spectra (npz) -> the fit of one of them: the first, or `spectrum`, an identifier or else a row."""
    fit = _read_one(input_path, spectrum)
    figure = draw_best_fit(
        *(fit[key] for key in ("wavelength", "flux", "model", "continuum", "sigma", "used")),
        title=str(fit["identifier"]),
        labels=label_words(fit),
        quality=[*quality_words(fit), *_flag_text(flag_words(int(fit["flags"]), _flag_bits(fit)))],
    )
    write_image(figure, output_path)


def _read_one(path: str | Path, spectrum: str | None) -> dict[str, np.ndarray]:
    """What the file holds of one spectrum, by key; of a large file its row alone is read."""
    with BEST_FITS.opened(path) as archive:
        whole = {key: BEST_FITS.whole(archive, key) for key in _WHOLE}
        row = row_of(path, [str(name) for name in BEST_FITS.whole(archive, "identifier")], spectrum)
        keys = [*_BY_ROW, *_RESULTS, *(key for key in _VELOCITY if key in archive)]
        return whole | {key: archive.row(key, row) for key in keys}


def row_of(path: str | Path, identifiers: Sequence[str], spectrum: str | None) -> int:
    """Where a spectrum stands among the identifiers: they come first, a number that is none of them is a row.

    Raises PayneflowError saying what there is, where it is none of them, or several.
    """
    if spectrum is None:
        return 0
    rows = [row for row, identifier in enumerate(identifiers) if identifier == spectrum]
    if len(rows) == 1:
        return rows[0]
    if rows:
        listed = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise PayneflowError(f"{path}: {len(rows)} spectra are called {spectrum!r}; choose by row: {listed}.")
    if spectrum.isdecimal() and int(spectrum) < len(identifiers):
        return int(spectrum)
    alike = difflib.get_close_matches(spectrum, identifiers, n=3) or identifiers[:3]
    raise PayneflowError(
        f"{path}: no spectrum {spectrum!r}; expected one of {len(identifiers)} identifiers, such as "
        f"{', '.join(map(repr, alike))}, or a row from 0 to {len(identifiers) - 1}."
    )


def _flag_bits(fit: dict[str, np.ndarray]) -> dict[str, int]:
    return {str(name): int(bit) for name, bit in zip(fit["flag_names"], fit["flag_bits"], strict=True)}


@rc_context(STYLE)
def draw_best_fit(
    wavelength: np.ndarray,
    flux: np.ndarray,
    model: np.ndarray,
    continuum: np.ndarray,
    sigma: np.ndarray,
    used: np.ndarray,
    *,
    title: str,
    labels: Sequence[str],
    quality: Sequence[str],
) -> Figure:
    """One spectrum and its fit, all (n_pixel,) over wavelength in Angstrom, in rows of panels that split no segment.

    Flux and model are divided by the continuum where one was fitted. Pixels that are not `used` are shaded, their flux
    is grey, if there is any. The residual is (flux - model) / sigma. A failed fit has no model: the data are shown.
    `title`, `labels` and `quality` are the headline, whose lines may break between the parts of the latter two.
    """
    whole = _continued(wavelength, continuum)
    flux, model, residual = flux / whole, model / whole, np.where(used, (flux - model) / sigma, np.nan)
    lines = [*wrapped(labels, _LINE_WIDTH), *wrapped(quality, _LINE_WIDTH)]
    rows = rows_of(wavelength)
    top = LINE * (1 + len(lines)) + 0.18
    heights = (0.66, 0.36) if len(rows) > 3 else (1.3, 0.6)
    figure, pairs = rows_of_axes(len(rows), top, heights, _SPACING)
    joined = is_finely_sampled(wavelength, model if np.isfinite(model).any() else flux)
    limit = max(3.5, residual_limit(residual))
    flux_limits = _flux_limits(flux, model, used)
    for (first, stop, low, high), (upper, lower) in zip(rows, pairs, strict=True):
        here = slice(first, stop)
        _shade_unused((upper, lower), wavelength[here], used[here])
        _draw_spectra(upper, wavelength[here], flux[here], model[here], used[here], joined)
        draw_residual(lower, wavelength[here], residual[here], limit, 0.4, joined)
        upper.set_ylim(flux_limits)
        divide_wavelengths((upper, lower), low, high)
    fitted_continuum = bool(np.any(continuum[used] != 1.0))
    flux_title = "Flux / fitted continuum" if fitted_continuum else "Normalised flux"
    name_axes(figure, top, _SPACING, "Wavelength in vacuum [Å]", flux_title, f"(Data {MINUS} model) / σ")
    _draw_headline(figure, title, lines, joined)
    return figure


# -------------------------------------------------------------------------------------------- the rows of wavelength


def rows_of(wavelength: np.ndarray) -> list[tuple[int, int, float, float]]:
    """First pixel, stop (exclusive), and the limits of the axis in Angstrom, of each row of panels.

    A row holds one detector segment, or an equal part of it; where there are more than eight, so many that each would
    be a sliver, the wavelengths are cut into eight.
    """
    parts = segments(wavelength)
    if len(parts) > _MOST_ROWS:
        edges = panel_edges(wavelength)
        places = np.searchsorted(wavelength, edges)
        places[-1] = len(wavelength)
        cuts = zip(places[:-1], places[1:], edges[:-1], edges[1:], strict=True)
        return [(int(a), int(b), float(low), float(high)) for a, b, low, high in cuts if b > a]
    most = _MOST_PIXELS
    while sum(-(-(stop - first) // most) for first, stop in parts) > _MOST_ROWS:
        most = 2 * most
    rows = []
    for first, stop in parts:
        n_part = -(-(stop - first) // most)
        low, high = float(wavelength[first]), float(wavelength[stop - 1])
        if low == high:  # one pixel
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, n_part + 1)
        places = np.concatenate([[first], np.searchsorted(wavelength, edges[1:-1]), [stop]])
        for part in range(n_part):
            margin = 0.01 * (edges[part + 1] - edges[part])
            rows.append((int(places[part]), int(places[part + 1]), edges[part] - margin, edges[part + 1] + margin))
    return rows


def _continued(wavelength: np.ndarray, continuum: np.ndarray) -> np.ndarray:
    """The continuum (n_pixel,) over unused pixels too, where it is not known: a line between the used ones."""
    known = np.isfinite(continuum) & (continuum != 0.0)
    return np.interp(wavelength, wavelength[known], continuum[known]) if known.any() else np.ones(len(wavelength))


def _flux_limits(flux: np.ndarray, model: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """Limits that hold the model, and but for a few spikes the used flux; of a failed fit, but for spikes, all flux."""
    shown = flux[used & np.isfinite(flux)]
    if not len(shown):
        shown = flux[np.isfinite(flux)]
    usual = (
        [np.percentile(shown, 0.2, method="higher"), np.percentile(shown, 99.8, method="lower")] if len(shown) else []
    )
    return padded(np.concatenate([usual, model]), 0.08, least=0.05)


# ------------------------------------------------------------------------------------------- a panel, and its residual


def _shade_unused(pair: tuple[Axes, Axes], wavelength: np.ndarray, used: np.ndarray) -> None:
    """Grey from top to bottom under each run of pixels that take no part, half a step wider on both sides."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], ~used, [False]]).astype(int)))
    if not len(change):
        return
    middle = 0.5 * (wavelength[:-1] + wavelength[1:])
    edges = np.concatenate([wavelength[:1], middle, wavelength[-1:]])
    spans = [(edges[first], edges[stop] - edges[first]) for first, stop in change.reshape(-1, 2)]
    for axes in pair:  # with an outline, so that one pixel among thousands is seen too
        look = {"fc": _SHADE, "ec": _SHADE, "lw": 0.5, "zorder": 0}
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), **look)


def _draw_spectra(
    axes: Axes, wavelength: np.ndarray, flux: np.ndarray, model: np.ndarray, used: np.ndarray, joined: bool
) -> None:
    for values, line, look in (
        (np.where(used, np.nan, flux), 0.5, {"color": FAINT, "ms": 3}),
        (np.where(used, flux, np.nan), 0.8, {"color": INK, "ms": 3}),
        (model, 0.6, {"color": VERMILION, "ms": 1.8}),
    ):
        draw_line(axes, wavelength, values, line, joined, **look)
    few_flux_ticks(axes)


# ------------------------------------------------------------------------------------------------- texts around them


def label_words(fit: dict[str, np.ndarray]) -> list[str]:
    """Parts of the headline: each label and the velocity, with their errors."""
    labels = zip(fit["label_names"], fit["labels"], fit["label_errors"], fit["label_units"], strict=True)
    said = [f"{symbol(str(name))} = {value_and_error(value, error, str(unit))}" for name, value, error, unit in labels]
    if "RV" in fit:
        said.append(f"RV = {value_and_error(float(fit['RV']), float(fit['RV_error']), 'km/s')}")
    return [*(f"{text}," for text in said[:-1]), said[-1]]


def quality_words(fit: dict[str, np.ndarray]) -> list[str]:
    """Parts of the headline: chi2/dof, S/N, how many pixels there are, and which kind of errors."""
    chi2, dof, snr, used = float(fit["chi2"]), int(fit["dof"]), float(fit["SNR"]), fit["used"]
    n_unused = int(np.sum(~used))
    return [
        rf"$\chi^2$/dof = {chi2 / dof:.3g}," if dof > 0 and np.isfinite(chi2) else r"$\chi^2$ unknown,",
        f"S/N = {snr:.3g};" if np.isfinite(snr) else "S/N unknown;",
        count(len(used), "pixel") + (f", {n_unused} of them not used;" if n_unused else ", all used;"),
        f"errors {fit['errors']};",
    ]


def _flag_text(flags: Sequence[str]) -> list[str]:
    if not flags:
        return ["no flags"]
    return [f"flagged: {flags[0]}" + "," * (len(flags) > 1), *(f"{flag}," for flag in flags[1:-1]), *flags[1:][-1:]]


def _draw_headline(figure: InchFigure, title: str, lines: Sequence[str], joined: bool) -> None:
    """The title and the lines on the left, and on the right what is what in the panels."""
    if len(title) > _TITLE_WIDTH:
        title = title[: _TITLE_WIDTH // 2] + "…" + title[-_TITLE_WIDTH // 2 + 1 :]
    texts = [title.replace("$", r"\$"), *lines]
    for number, text in enumerate(texts):
        look = {"weight": "bold", "size": 9.5} if not number else {}
        y = 1 - (0.18 + LINE * number + (0.03 if number else 0)) / figure.height
        figure.text(MARGIN / PAGE, y, text, ha="left", va="baseline", **look)
    line = {"lw": 1.0} if joined else {"lw": 0, "marker": "o", "mew": 0}
    handles = [
        Line2D([], [], color=INK, ms=3, label="data", **line),
        Line2D([], [], color=VERMILION, ms=1.8, label="model", **line),
        Patch(fc=_SHADE, ec=FAINT, lw=0.5, label="not used"),
    ]
    draw_legend(figure, handles, handlelength=1.4)
