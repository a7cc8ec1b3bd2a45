"""Every plot, one file a figure: a result file goes in, an image file comes out.

In the file NAME.py, `plot_NAME(input_path, output_path)` reads, calls `draw_NAME`, which turns arrays into a matplotlib
Figure, and writes the image whole; the ending of the output path (.png, .pdf, .svg) chooses the format.
"""

from importlib import import_module
from pathlib import Path

FIGURES = ("flux_prediction", "flux_deviation", "fitting_results", "training_summary")


def plot(name: str, input_path: str | Path, output_path: str | Path) -> None:
    """Draw the figure `name`, one of FIGURES, from a result file to an image file."""
    # Imported only now: matplotlib and astropy take a second, and whoever asks for the names alone needs neither.
    figure = import_module(f"payneflow.figures.{name}")
    getattr(figure, f"plot_{name}")(input_path, output_path)
