"""Learning curves, drawn from the table that benchmarks/accuracy.py printed.

    python benchmarks/accuracy_figure.py docs/accuracy.md docs/accuracy.png

A panel for each number of known labels and each lot of the others: rms flux error on the test set against the number of
training spectra.. The line across is what many a user wants, 1e-3.
"""

import argparse
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from payneflow.figures.style import BLUE, GREEN, INK, ORANGE, PAGE, PURPLE, STYLE, VERMILION

LOOKS = {  # name of an emulator in the table: colour, marker, line, name in the legend
    "lm": (BLUE, "o", "-", "payneflow, lm"),
    "sgd": (VERMILION, "x", "none", "published trainer, sgd (8 pixels)"),
    "kriging": (GREEN, "s", "--", "kriging"),
    "whole": (PURPLE, "^", "-.", "one network for the whole spectrum"),
    "quadratic": (ORANGE, "D", ":", "quadratic polynomial"),
}
PANELS = {  # labels and others, as the table has them: title
    ("3", "held"): "3 labels, others held",
    ("8", "held"): "8 labels, others held",
    ("22", "-"): "22 labels",
    ("8", "unknown"): "8 labels, others unknown",
    ("3", "unknown"): "3 labels, others unknown",
}
WANTED = 1e-3
LOWEST, HIGHEST = 1e-4, 0.2  # rms
DPI = 150


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of the tables of a page that have emulators, by the names of their columns."""
    rows, names = [], []
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| "):
            names = []
        elif not names:
            names = cells
        elif {"emulator", "rms"} <= set(names) and not cells[0].startswith("-"):
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def draw(rows: list[dict[str, str]]) -> Figure:
    panels = [panel for panel in PANELS if any((row["labels"], row["others"]) == panel for row in rows)]
    figure = Figure(figsize=(PAGE, 2.6))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for name, (colour, marker, line, said) in LOOKS.items():
            curve = [row for row in rows if (row["labels"], row["others"]) == panel and row["emulator"] == name]
            spectra, rms = ([float(row[key]) for row in curve] for key in ("spectra", "rms"))
            axis.loglog(spectra, rms, ls=line, marker=marker, color=colour, ms=3.5, lw=1.2, label=said)
        axis.axhline(WANTED, color=INK, lw=0.5, ls=(0, (1, 2)))
        axis.set(title=PANELS[panel], ylim=(LOWEST, HIGHEST))
        axis.title.set_fontsize(8)
    show_spectra(axes, sorted({int(row["spectra"]) for row in rows if (row["labels"], row["others"]) in panels}))
    axes[0].set_ylabel("rms flux error, test set")
    figure.supxlabel("training spectra", fontsize=9, y=0.11)
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=len(LOOKS), loc="lower center", fontsize=7.5)
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.27, wspace=0.08)
    return figure


def show_spectra(axes, spectra: list[int]) -> None:
    """Ticks at a few of the numbers there are: others would crowd a narrow panel."""
    shown = spectra[::2]
    for axis in axes:
        axis.set_xticks(shown, [str(one) for one in shown])
        axis.set_xticks([], minor=True)
        axis.set_xlim(spectra[0] / 1.25, spectra[-1] * 1.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("figure", type=Path)
    given = parser.parse_args()
    with rc_context(STYLE):
        draw(read_rows(given.page)).savefig(given.figure, dpi=DPI)


if __name__ == "__main__":
    main()
