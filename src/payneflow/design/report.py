"""How well the spectra of a grid cover its labels, what labels do to the flux, and what more spectra would be worth."""

from dataclasses import dataclass

import numpy as np

from payneflow.design.learning import LearningCurve, learning_curve
from payneflow.errors import SettingsError
from payneflow.grid import SpectralGrid
from payneflow.hull import distances, spanning
from payneflow.network import Networks
from payneflow.statistics import evenly

STEPS = {"K": 100.0, "dex": 0.1}  # of a label's unit, that its signal is said of
SHARE = 0.1  # of the range of any other label
STARS = 100  # spectra whose derivatives are looked at, and test spectra that the hull is asked about


@dataclass(frozen=True, eq=False)
class DesignReport:
    """What is said of a grid and its networks; distances in scaled labels, in which each label's range is 0.8 wide.

    `labels` (n_spectrum, n_label) in their units, `trains` (n_spectrum,) bool; `nearest` (n_spectrum,): to the nearest
    other training spectrum. `outside` (n_asked,): of test spectra, from the training spectra's hull. `steps` (n_label,)
    in the labels' units; `signals` (n_label,): rms over pixels of what such a step does to the flux, median over stars;
    `strongest` (n_label,): wavelength where it does most. `error` (n_test,): rms error of the networks, a share of the
    flux scale like `signals`. `curve`, or why there is none: `no_curve`.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: np.ndarray
    trains: np.ndarray
    nearest: np.ndarray
    outside: np.ndarray
    steps: np.ndarray
    signals: np.ndarray
    strongest: np.ndarray
    error: np.ndarray
    curve: LearningCurve | None
    no_curve: str = ""


def design_report(networks: Networks, grid: SpectralGrid, seed: int = 0) -> DesignReport:
    """The report on `networks` and the `grid` that they were trained on. Raises NetworkFileError for another grid."""
    split = networks.split_of(grid)
    scaled = networks.scaler.scale(grid.labels)
    training, test = split.training_rows, split.test_rows
    corners = scaled[training][spanning(grid.labels[training])]
    steps, signals, strongest = signals_of_labels(networks, scaled[evenly(len(scaled), STARS)])
    curve, no_curve = None, ""
    try:
        curve = learning_curve(networks, grid, seed)
    except SettingsError as error:
        no_curve = str(error)
    return DesignReport(
        names=networks.label_names,
        units=networks.label_units,
        labels=grid.labels,
        trains=split.trains,
        nearest=_nearest(scaled, scaled[training]),
        outside=distances(scaled[test[evenly(len(test), STARS)]], corners),
        steps=steps,
        signals=signals,
        strongest=strongest,
        error=_test_errors(networks, grid, scaled, test),
        curve=curve,
        no_curve=no_curve,
    )


def signals_of_labels(networks: Networks, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, signals and wavelengths of the strongest answer, (n_label,) each; of stars at scaled labels (n, n_label).

    Signals are shares of the flux scale.
    """
    width, good = networks.scaler.width, networks.has_network
    ranges = networks.x_max - networks.x_min
    steps = np.array([STEPS.get(unit, SHARE * span) for unit, span in zip(networks.label_units, ranges, strict=True)])
    slopes = np.array([networks.jacobian_scaled(one)[1][good] for one in scaled])  # (n, n_pixel, n_label)
    answers = np.abs(slopes) * (steps / width / networks.flux_scale.width)
    strongest = networks.wavelength[good][np.median(answers, axis=0).argmax(axis=0)]
    return steps, np.median(np.sqrt((answers**2).mean(axis=1)), axis=0), strongest


def _nearest(scaled: np.ndarray, training: np.ndarray) -> np.ndarray:
    """(n,): distance to the nearest training spectrum that is another one."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(training).query(scaled, k=2)
    return np.where(distance[:, 0] > 0, distance[:, 0], distance[:, 1])


def _test_errors(networks: Networks, grid: SpectralGrid, scaled: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(n_test,): rms over the pixels that have a network, block by block of spectra."""
    columns, good = networks.columns_in(grid.wavelength, grid.label_names, grid.path), networks.has_network
    found = []
    for row in test:  # a row at a time: the flux may lie in a file
        difference = networks.predict_scaled(scaled[row]) - np.asarray(grid.flux[int(row), columns], dtype=float)
        found.append(np.sqrt((difference[good] ** 2).mean()))
    return np.array(found) / networks.flux_scale.width


def report_text(report: DesignReport) -> str:
    """The report in words."""
    n_training = int(report.trains.sum())
    lines = [
        f"{n_training} training spectra, {len(report.error)} test spectra, {len(report.names)} labels",
        f"nearest other training spectrum, where a label's range is 0.8: {_spread(report.nearest[report.trains])} of "
        f"training spectra, {_spread(report.nearest[~report.trains])} of test spectra",
        f"of {len(report.outside)} test spectra {int((report.outside > 0).sum())} are outside the hull of the training "
        f"spectra, the farthest by {report.outside.max():.2f}",
        f"rms error of a test spectrum: median {np.median(report.error):.1e}, largest {report.error.max():.1e}, "
        f"of all {np.sqrt((report.error**2).mean()):.1e}",
        f"{'label':<12}{'range':>22}  {'step':>12}{'flux it moves':>15}  most at",
    ]
    for i, (name, unit) in enumerate(zip(report.names, report.units, strict=True)):
        values = report.labels[:, i]
        span, step = f"{values.min():.5g} ... {values.max():.5g}", f"{report.steps[i]:.3g} {unit}".strip()
        lines.append(f"{name:<12}{span:>22}  {step:>12}{report.signals[i]:15.1e}  {report.strongest[i]:.1f} A")
    return "\n".join([*lines, *_curve_text(report, n_training)])


def _spread(distance: np.ndarray) -> str:
    return f"median {np.median(distance):.2f}, largest {distance.max():.2f}"


def _curve_text(report: DesignReport, n_training: int) -> list[str]:
    curve = report.curve
    if curve is None:
        return [f"note: {report.no_curve}"]
    measured = ", ".join(f"{error:.1e} of {size:.0f}" for size, error in zip(curve.sizes, curve.errors, strict=True))
    half, twice = curve.at(n_training / 2), curve.at(2 * n_training)
    return [
        f"rms error by training spectra, networks of a few pixels: {measured}",
        f"predicted: {half:.1e} with half as many, {twice:.1e} with twice as many "
        f"({100 * (1 - twice / curve.errors[-1]):.0f} % less); falls as n^-{curve.b:.2f}, floor {curve.floor:.1e}",
    ]
