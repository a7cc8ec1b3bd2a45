"""Windows: what they cost in errors and time, pulls, and what pixels do that a label's windows close.

    python benchmarks/windows.py NETWORK_FILE [GRID] [--label NAME] [--stars N]

The label (default: the last) is informed by the BEST windows of WIDTH that tell most of it in the middle of the
training labels, all else by all pixels; velocity and a continuum are fitted. Stars are spectra of the networks at S/N
100. In the `altered` ones the closed pixels have another value of that label, by ALTERED of its training range: lines
that the model has wrong. With GRID, which the networks were trained on, pulls of its test spectra follow, with label
errors that are measured with these windows and in which no star takes part itself.
"""

import argparse
import time

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitSettings, Window, measure_label_errors
from payneflow.fitting.windows import may_inform
from payneflow.statistics import bias_and_width

WIDTH, BEST, ALTERED, NOISE = 20.0, 8, 0.1, 0.01  # Angstrom; windows; of the training range; S/N 100
PLAIN = FitSettings(velocity=True, continuum=4)


def best_windows(networks, label):
    """The windows of WIDTH that hold most of what the spectrum tells of a label."""
    _, slopes = networks.jacobian_scaled(np.full(len(networks.x_min), 0.5))
    square = np.nan_to_num(slopes[:, networks.label_names.index(label)]) ** 2
    bins = np.floor(networks.wavelength / WIDTH).astype(int)
    sums = np.bincount(bins - bins.min(), square)
    starts = (np.argsort(sums)[::-1][:BEST] + bins.min()) * WIDTH
    return [Window(label, start, start + WIDTH) for start in sorted(starts.tolist())]


def stars(networks, label, windows, n, altered, seed=3):
    """True labels (n, n_label), flux (n, n_pixel)."""
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(0.25, 0.75, (n, len(networks.x_min)))
    flux = networks.predict_scaled(scaled)
    if altered:
        other = scaled.copy()
        other[:, networks.label_names.index(label)] += 0.8 * ALTERED
        closed = ~may_inform(windows, label, networks.wavelength, networks.wavelength)
        flux[:, closed] = networks.predict_scaled(other)[:, closed]
    return networks.scaler.unscale(scaled), flux + NOISE * rng.standard_normal(flux.shape)


def print_fits(networks, said, settings, truth, flux, **given):
    begin = time.process_time()
    table = fit_spectra(networks, flux, NOISE, settings=settings, **given)
    seconds = (time.process_time() - begin) / len(flux)
    print(f"{said}: {1e3 * seconds:.0f} ms a fit")
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        error = np.asarray(table[f"{name}_error"])
        pull = (np.asarray(table[name]) - truth[:, j]) / error
        bias, width = bias_and_width(pull)
        told = f", information {np.median(table[f'{name}_information']):.3f}" if settings.windows else ""
        print(
            f"  {name:>8} error {np.median(error):8.4g} {unit:<4} pulls: bias {bias:5.2f}, width {width:.2f}, "
            f"standard deviation {pull.std():.2f}{told}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("grid", nargs="?")
    parser.add_argument("--label")
    parser.add_argument("--stars", type=int, default=200)
    given = parser.parse_args()
    networks = read_networks(given.network)
    label = given.label or networks.label_names[-1]
    windows = best_windows(networks, label)
    through = FitSettings(velocity=True, continuum=4, windows=windows)
    print(f"{label} in", ", ".join(f"{one.start:g}-{one.end:g}" for one in windows), "A")
    for altered in (False, True):
        truth, flux = stars(networks, label, windows, given.stars, altered)
        for said, settings in (("all pixels", PLAIN), ("windows", through)):
            print_fits(networks, f"{said}{', altered' * altered}", settings, truth, flux)
    if given.grid:
        grid = networks.read_grid(given.grid)
        split = networks.split_of(grid)
        columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
        flux = np.asarray(grid.flux[split.test][:, columns], dtype=float)
        flux += NOISE * np.random.default_rng(4).standard_normal(flux.shape)
        for said, settings in (("all pixels", PLAIN), ("windows", through)):
            errors = measure_label_errors(networks, grid, settings)
            more = {"label_errors": errors, "exclude": split.test_rows}
            print_fits(networks, f"test spectra, {said}, calibrated", settings, grid.labels[split.test], flux, **more)


if __name__ == "__main__":
    main()
