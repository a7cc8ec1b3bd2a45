"""How every figure looks: sizes, colours, axes placed in inches, the axis of residuals; and the image written whole.

Matplotlib's object API only: no window, no global figure, no dependence on the user's matplotlibrc where it matters.
"""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from payneflow.errors import PayneflowError
from payneflow.figures.numbers import MINUS
from payneflow.files import whole_file

COLUMN = 3.5  # inches: width of one column of a journal
PAGE = 7.1  # inches: width of both columns
DPI = 200

# Okabe & Ito (2008): told apart by colour-blind readers
BLUE, VERMILION, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
INK = "0.1"
FAINT = "0.6"

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
    "figure.facecolor": "white",
}


class InchFigure(Figure):
    """A Figure whose axes are placed in inches, from its lower left corner."""

    @property
    def height(self) -> float:
        return self.get_figheight()

    def axes_at(self, left: float, bottom: float, width: float, height: float) -> Axes:
        w, h = self.get_size_inches()
        return self.add_axes((left / w, bottom / h, width / w, height / h))

    def pair_at(self, left: float, top: float, width: float, height: float, below: float) -> tuple[Axes, Axes]:
        """Axes of values, `height` high, and under them those of the residuals, `below` high, which have the labels."""
        upper = self.axes_at(left, top - height, width, height)
        upper.tick_params(labelbottom=False)
        return upper, self.axes_at(left, top - height - below, width, below)


def limit_residuals(axes: Axes, x: np.ndarray, residual: np.ndarray, limit: float) -> float:
    """Set the y axis to +-limit, with triangles at the edge for the residuals (n_point,) beyond it.

    Returns a round number well inside the limit; the ticks are at 0 and +- it.
    """
    for marker, beyond, edge in (("^", residual > limit, 0.92), ("v", residual < -limit, 0.08)):
        if beyond.any():
            at_edge = np.full(int(beyond.sum()), edge)
            axes.plot(x[beyond], at_edge, marker, transform=axes.get_xaxis_transform(), color=BLUE, ms=2.5, mew=0)
    tick = _round_below(0.75 * limit)
    axes.set_ylim(-limit, limit)
    axes.set_yticks([-tick, 0.0, tick], labels=[f"{MINUS}{tick:g}", "0", f"{tick:g}"])
    axes.yaxis.set_minor_locator(MultipleLocator(tick / 2))
    return tick


def _round_below(value: float) -> float:
    """The largest of a few one-digit numbers times a power of ten that is not above `value` (> 0)."""
    power = 10.0 ** np.floor(np.log10(value))
    return max(r * power for r in (1, 2, 3, 4, 5, 6, 8) if r == 1 or r * power <= value)


@rc_context(STYLE)  # tick labels are made while drawing
def write_image(figure: Figure, path: str | Path) -> None:
    """Write a figure to `path`, whole or not at all; its ending is the format."""
    known = figure.canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise PayneflowError(f"{path}: no such image format; endings that work: .{', .'.join(sorted(known))}.")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
