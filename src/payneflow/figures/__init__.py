"""Every plot, one file a figure: a result file goes in, an image file comes out.

In the file NAME.py, `plot_NAME(input_path, output_path)` reads, calls `draw_NAME`, which turns arrays into a matplotlib
Figure, and writes the image whole; the ending of the output path (.png, .pdf, .svg) chooses the format.
"""

from importlib import import_module
from pathlib import Path

from payneflow.errors import SettingsError

FIGURES = ("flux_prediction", "flux_deviation", "fitting_results", "training_summary", "fit_overview", "best_fit")


def plot(name: str, input_path: str | Path, output_path: str | Path, spectrum: str | None = None) -> None:
    """Draw the figure `name`, one of FIGURES, from a result file to an image file.

    `spectrum`: of best_fit alone, which one of the file, by identifier or row; SettingsError for any other figure.
    """
    if spectrum is not None and name != "best_fit":
        raise SettingsError(f"--spectrum {spectrum}: {name} shows all spectra; only best_fit shows one.")
    # Imported only now: matplotlib and astropy take a second, and whoever asks for the names alone needs neither.
    figure = import_module(f"payneflow.figures.{name}")
    one = {} if spectrum is None else {"spectrum": spectrum}
    getattr(figure, f"plot_{name}")(input_path, output_path, **one)
