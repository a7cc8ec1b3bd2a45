"""Is the posterior what it says, and what does it cost? Ranks of the true labels of test spectra at S/N 10 in it.

    python benchmarks/posterior.py NETWORK_FILE [GRID] [--signal-to-noise 10] [--label-errors] [--stars N] [--broadened]

first table    pulls of the test spectra, robust width / standard deviation: the normal quantile of the share of the
               posterior below the true label, and beside it (fitted - true) / error of the same fits; then milliseconds
               a spectrum of a fit and of a posterior, effective draws (1st percentile, median), and how many the
               sampler (emcee) made
second table   milliseconds of one core: the likelihood at one of 1000 points, and called with one point; `predict` of
               one spectrum, a fit of labels, and the first over that; of labels, and with rotation of 12 km/s; best of
               ROUNDS, in turn

`--label-errors` calibrates first, and leaves each spectrum out of its own label errors. `--broadened` fits vsini, too;
its true value is 0. Half a minute on one core, and minutes of compilation once.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from payneflow import PixelNetworks, fit_spectra, read_networks
from payneflow.fitting import FitSettings, LogLikelihood
from payneflow.fitting.calibration import measure_label_errors
from payneflow.fitting.fit import search_spectra
from payneflow.fitting.posterior import draws_of
from payneflow.fitting.quality import quality_of
from payneflow.grid import SpectralGrid, read_grid
from payneflow.statistics import bias_and_width

ROUNDS, POINTS, CALLS, SEED = 5, 1000, 200, 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz")
    parser.add_argument("--signal-to-noise", type=float, default=10.0)
    parser.add_argument("--label-errors", action="store_true")
    parser.add_argument("--broadened", action="store_true")
    parser.add_argument("--stars", type=int, help="the first so many test spectra (default: all)")
    parser.add_argument("--repeat", type=int, default=1, help="noises of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the noise (default: %(default)s)")
    given = parser.parse_args()
    networks = read_networks(given.network)
    grid = networks.read_grid(given.grid) if given.label_errors else read_grid(given.grid)
    settings = FitSettings(vsini=given.broadened)
    pulls(networks, grid, settings, given)
    speed(networks, grid)


def pulls(networks: PixelNetworks, grid: SpectralGrid, settings: FitSettings, given: argparse.Namespace) -> None:
    rows = np.tile(networks.split_of(grid).test_rows[: given.stars], given.repeat)
    labels = grid.labels[rows]
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    rng, error = np.random.default_rng(given.seed), 1.0 / given.signal_to_noise
    flux = grid.flux[rows][:, columns].astype(float)
    flux += error * rng.normal(size=flux.shape)
    label_errors = measure_label_errors(networks, grid, settings) if given.label_errors else None
    exclude = rows if given.label_errors else np.full(len(rows), -1)
    fit_spectra(networks, flux[:1], error, settings=settings, label_errors=label_errors, exclude=rows[:1])
    begin = time.process_time()
    table = fit_spectra(networks, flux, error, settings=settings, label_errors=label_errors, exclude=exclude)
    middle = time.process_time()
    if label_errors is not None:
        settings = replace(settings, n_starts=max(settings.n_starts, label_errors.n_starts))
    fits = search_spectra(networks, flux, error, settings=settings)
    quality = quality_of(networks, settings, fits, label_errors, exclude)
    errors = np.full(flux.shape, error)
    whole = time.process_time()
    draws = [one for _, one in draws_of(networks, settings, fits, quality, flux, errors, None, [(None, None)])]
    end = time.process_time()
    print(f"{len(rows)} test spectra, S/N {given.signal_to_noise:g}, {settings.mode(networks.label_names)}")
    print(f"{'pulls: width / deviation':26}{'of the posterior':>20}{'of errors':>20}")
    for j, name in enumerate(networks.label_names):
        shares = np.array([one.weight[one.values[:, j] < labels[i, j]].sum() for i, one in enumerate(draws)])
        least = np.array([0.5 / one.ess for one in draws])
        own = -ndtri(np.clip(shares, least, 1.0 - least))
        other = (np.asarray(table[name]) - labels[:, j]) / np.asarray(table[f"{name}_error"])
        cells = (f"{bias_and_width(one)[1]:.2f} / {one.std():.2f}" for one in (own, other))
        print(f"{name:26}{''.join(f'{cell:>20}' for cell in cells)}")
    ess = np.array([one.ess for one in draws])
    print(
        f"ms a spectrum: fit and table {1e3 * (middle - begin) / len(rows):.2f}, posterior "
        f"{1e3 * (end - whole) / len(rows):.0f}; effective draws {np.percentile(ess, 1):.0f}, {np.median(ess):.0f}; "
        f"by the sampler {sum(one.sampled for one in draws)}"
    )


def speed(networks: PixelNetworks, grid: SpectralGrid) -> None:
    rows = networks.split_of(grid).test_rows
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    flux = grid.flux[rows][:, columns].astype(float)
    flux += 0.01 * np.random.default_rng(1).normal(size=flux.shape)
    print(f"\n{'ms, one core':26}{'likelihood':>12}{'of one call':>12}{'predict':>12}{'fit':>12}{'share of a fit':>16}")
    for name, settings in (("labels", FitSettings()), ("labels and vsini", FitSettings(vsini=True))):
        best = times(networks, settings, flux)
        share = best["likelihood"] / best["fit"]
        print(f"{name:26}{''.join(f'{seen:12.3f}' for seen in best.values())}{share:16.2f}")


def times(networks: PixelNetworks, settings: FitSettings, flux: np.ndarray) -> dict[str, float]:
    """Milliseconds of each, `fit` being that of labels alone."""
    likelihood, n_label = LogLikelihood(networks, flux[0], 0.01, settings=settings), len(networks.x_min)
    points = np.tile(likelihood.best, (POINTS, 1))
    points[:, n_label:] = 12.0  # km/s
    ways = {
        "likelihood": (lambda: likelihood(points), POINTS),
        "one": (lambda: [likelihood(points[0]) for _ in range(CALLS)], CALLS),
        "predict": (lambda: [networks.predict(points[0, :n_label]) for _ in range(CALLS // 10)], CALLS // 10),
        "fit": (lambda: search_spectra(networks, flux, 0.01), len(flux)),
    }
    best = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for way, (run, n) in ways.items():
            begin = time.process_time()
            run()
            best[way] = min(best[way], 1e3 * (time.process_time() - begin) / n)
    return best


if __name__ == "__main__":
    main()
