"""Stars in pieces: time of three visits in one fit against three fits alone, pulls, and false alarms of RV_VARIABLE.

    python benchmarks/pieces.py NETWORK_FILE [GRID] [--calibrated] [--times]

Stars are the test set of the grid (default: resources/hband_grid.npz), each seen three times, with noise and continua
of its own in each visit, and with a velocity common to all visits, or one of its own. Times are processor time of one
core, the best of ROUNDS, in turn, and neither way looks for a second star; --times ends after them. Errors are the
formal ones, with --calibrated those of a calibration in this mode, in which no star takes part that is fitted with it:
the test set is divided in FOLDS.
"""

import sys
import time

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, Pieces, fit_stars, measure_label_errors
from payneflow.fitting.moved_stars import moved_stars
from payneflow.grid import TEST, read_grid
from payneflow.statistics import bias_and_width
from payneflow.wavelength import segments

ROUNDS, VISITS, FASTEST, TERMS, FOLDS = 5, 3, 60.0, 4, 4
BINARY = 2.0, 5.0, 20.0  # errors of a visit's velocity: scatter of stars that move
SETTINGS = FitSettings(velocity=True, continuum=TERMS, max_velocity=2 * FASTEST, pairs=False)


class Visits:
    """Visits of stars of the test set, star by star: flux, error (n, n_pixel) and velocities (n,) in km/s."""

    def __init__(self, networks, grid, signal_to_noise, seed, each):
        rng = np.random.default_rng(seed)
        self.labels = grid.labels[TEST]
        n_star, wavelength = len(self.labels), networks.wavelength
        self.star = np.repeat(np.arange(n_star), VISITS)
        own = rng.uniform(-FASTEST, FASTEST, n_star)[self.star]
        self.velocity = own + (rng.normal(0.0, 5.0, len(own)) if each else 0.0)
        columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
        flux = moved_stars(grid.flux[TEST][self.star].astype(float), grid.wavelength, self.velocity, columns)
        level = np.ones(flux.shape)
        for first, stop in segments(wavelength):
            own = wavelength[first:stop]
            unit = 2.0 * (own - own[0]) / (own[-1] - own[0]) - 1.0
            shape = np.column_stack([np.ones(len(flux)), rng.normal(0, [0.12, 0.06, 0.03], (len(flux), 3))])
            level[:, first:stop] = shape @ np.polynomial.chebyshev.chebvander(unit, 3).T
        self.error = np.where(np.isfinite(flux), level / signal_to_noise, np.inf)
        self.flux = level * (np.nan_to_num(flux) + rng.standard_normal(flux.shape) / signal_to_noise)


def seconds(fit):
    begin = time.process_time()
    fit()
    return time.process_time() - begin


def print_times(networks, visits):
    def alone():
        fit_spectra(networks, visits.flux, visits.error, settings=SETTINGS)

    def together(velocity):
        fit_stars([Pieces(networks, visits.flux, visits.error, visits.star)], settings=SETTINGS, velocity=velocity)

    ways = {"alone": alone, "common": lambda: together("common"), "each": lambda: together("each")}
    for way in ways.values():
        way()
    best = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            best[name] = min(best[name], seconds(way))
    n_star = len(visits.labels)
    print(f"three visits alone: {1e3 * best['alone'] / n_star:.2f} ms a star")
    for name in ("common", "each"):
        print(
            f"  in one fit, velocity {name}: {1e3 * best[name] / n_star:.2f} ms, {best[name] / best['alone']:.2f} times"
        )


def fitted(networks, grid, visits, velocity, label_errors):
    """Stars and pieces, fold by fold, with the numbers of both."""
    fold, rows = np.arange(len(visits.labels)) % FOLDS, networks.split_of(grid).test_rows
    found = []
    for k in range(FOLDS if label_errors is not None else 1):
        own = fold == k if label_errors is not None else np.ones(len(fold), bool)
        errors = None if label_errors is None else label_errors.without(rows[own])
        some = own[visits.star]
        part = Pieces(networks, visits.flux[some], visits.error[some], visits.star[some], label_errors=errors)
        found.append(
            (*fit_stars([part], settings=SETTINGS, velocity=velocity), np.flatnonzero(own), np.flatnonzero(some))
        )
    return found


def print_pulls(networks, grid, label_errors):
    labels = networks.label_names
    print("pulls: robust width / standard deviation, bias")
    print(f"{'velocity':<9}{'S/N':>5}" + "".join(f"{name:>22}" for name in (*labels, "RV of a visit")))
    for velocity in ("common", "each"):
        for signal_to_noise in (30.0, 100.0, 300.0):
            visits = Visits(networks, grid, signal_to_noise, 1, velocity == "each")
            pulls, flagged = [[] for _ in range(len(labels) + 1)], dict.fromkeys(FitFlag, 0)
            for stars, pieces, star, row in fitted(networks, grid, visits, velocity, label_errors):
                for j, name in enumerate(labels):
                    pulls[j] += list((stars[name] - visits.labels[star, j]) / stars[f"{name}_error"])
                pulls[-1] += list((pieces["RV"] - visits.velocity[row]) / pieces["RV_error"])
                for flag in FitFlag:
                    flagged[flag] += int(((stars["flags"] & flag) > 0).sum())
            good = [np.array(pull)[np.isfinite(pull)] for pull in pulls]
            said = "".join(f"{bias_and_width(one)[1]:8.2f} /{one.std():5.2f},{np.median(one):6.2f}" for one in good)
            said += "  " + ", ".join(f"{n} {flag.name}" for flag, n in flagged.items() if n)
            print(f"{velocity:<9}{signal_to_noise:5.0f}{said}", flush=True)


def print_alarms(networks, grid):
    """How often RV_VARIABLE is raised of stars that do not move, and of such that do."""
    print("RV_VARIABLE, of stars whose visits scatter by so many errors of a visit:")
    for velocity in ("common", "each"):
        found, n = {0.0: 0}, 0
        for seed in range(4):
            visits = Visits(networks, grid, 50.0, 10 + seed, False)
            stars, pieces = fit_stars(
                [Pieces(networks, visits.flux, visits.error, visits.star)], settings=SETTINGS, velocity=velocity
            )
            found[0.0] += int(((stars["flags"] & FitFlag.RV_VARIABLE) > 0).sum())
            n += len(stars)
        error = np.median(pieces["RV_error"])
        said = [f"0: {found[0.0]} of {n}"]
        for size in BINARY:
            visits = Visits(networks, grid, 50.0, 20, False)
            rng = np.random.default_rng(30)
            columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
            moved = visits.velocity + rng.normal(0.0, size * error, len(visits.velocity))
            flux = moved_stars(grid.flux[TEST][visits.star].astype(float), grid.wavelength, moved, columns)
            noise = rng.standard_normal(flux.shape) / 50.0
            stars, _ = fit_stars(
                [Pieces(networks, np.nan_to_num(flux) + noise, np.where(np.isfinite(flux), 0.02, np.inf), visits.star)],
                settings=SETTINGS,
                velocity=velocity,
            )
            said.append(f"{size:g}: {int(((stars['flags'] & FitFlag.RV_VARIABLE) > 0).sum())} of {len(stars)}")
        print(f"  velocity {velocity} (error of a visit {error:.3f} km/s)  {'; '.join(said)}")


def main():
    given = [name for name in sys.argv[1:] if not name.startswith("--")]
    networks, path = read_networks(given[0]), given[1] if len(given) > 1 else "resources/hband_grid.npz"
    grid = read_grid(path)
    print_times(networks, Visits(networks, grid, 100.0, 0, False))
    if "--times" in sys.argv:
        return
    label_errors = measure_label_errors(networks, grid, SETTINGS) if "--calibrated" in sys.argv else None
    print_pulls(networks, grid, label_errors)
    print_alarms(networks, grid)


if __name__ == "__main__":
    main()
