"""Every plot, one file a figure: a result file goes in, an image file comes out.

In the file NAME.py, `plot_NAME(input_path, output_path)` reads, calls `draw_NAME`, which turns arrays into a matplotlib
Figure, and writes the image whole; the ending of the output path (.png, .pdf, .svg) chooses the format.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from payneflow.errors import SettingsError


@dataclass(frozen=True)
class Figure:
    """A figure: `source`, the file among a run's results that the report draws it from, its `category` and title there.

    Its caption is workflow/report/NAME.rst. Without a source it is drawn by hand only. `needs_truth`: it can be drawn
    only where the true labels are known.
    """

    source: str = ""
    category: str = ""
    title: str = ""
    needs_truth: bool = False


FIGURES = {
    "flux_prediction": Figure("evaluation.npz", "Evaluation", "A test spectrum of typical error, and its prediction"),
    "flux_deviation": Figure("evaluation.npz", "Evaluation", "Error of the pixels, training set and test set"),
    "training_summary": Figure("training_record.ecsv", "Training", "How training went, pixel by pixel"),
    "fit_overview": Figure("fits.ecsv", "Fits", "All fits at a glance"),
    "fitting_results": Figure("fits.ecsv", "Fits", "Fitted labels against the true ones", needs_truth=True),
    "best_fit": Figure(),  # from best-fit spectra, which a run does not write
}
REPORT_FIGURES = {name: figure for name, figure in FIGURES.items() if figure.source}


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
