"""Speed and accuracy of the fits, with the published `curve_fit` beside them.

    python benchmarks/fitting.py NETWORK_FILE [GRID]

Spectra are the test set of the grid (default: resources/hband_grid.npz), which the networks never saw, with noise,
velocities and continua from fixed seeds. Times are processor time of one core, the best of ROUNDS, in turn, through
`payneflow.fit_spectra` on a batch; those of two threads are wall time and need two free cores. Errors are the formal
ones, which know nothing of how the emulator's errors hang together: what calibration makes of the pulls is measured
by the benchmark of the label errors.
"""

import sys
import time

import numpy as np
from scipy.optimize import curve_fit

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings
from payneflow.fitting.engine.emulator import Emulator
from payneflow.fitting.engine.engines import estimate_of
from payneflow.fitting.engine.shift import to_places
from payneflow.grid import TEST, read_grid
from payneflow.statistics import bias_and_width
from payneflow.wavelength import after_gaps

ROUNDS, COPIES = 5, 4
FASTEST, TERMS = 500.0, 4
EVERYTHING = FitSettings(velocity=True, continuum=TERMS, max_velocity=FASTEST)


class Sky:
    """Observations of the test set: labels (n, n_label), velocities (n,) in km/s, flux and errors (n, n_pixel)."""

    def __init__(self, networks, grid, signal_to_noise, seed, everything=False):
        rng = np.random.default_rng(seed)
        self.labels = np.tile(grid.labels[TEST], (COPIES, 1))
        columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
        flux = np.tile(grid.flux[TEST][:, columns].astype(float), (COPIES, 1))
        level, self.velocity = np.ones_like(flux), rng.uniform(-FASTEST, FASTEST, len(flux))
        if everything:
            flux = moved(networks.wavelength, flux, self.velocity)
            for part in segments(networks.wavelength):
                unit = (
                    2 * (networks.wavelength[part] - networks.wavelength[part][0]) / np.ptp(networks.wavelength[part])
                )
                size = np.exp(rng.normal(0, 0.3, (len(flux), 1)))
                shape = np.column_stack([np.ones(len(flux)), rng.normal(0, [0.12, 0.06, 0.03], (len(flux), 3))])
                level[:, part] = size * (shape @ np.polynomial.chebyshev.chebvander(unit - 1, 3).T)
        self.error = level / (300.0 if np.isinf(signal_to_noise) else signal_to_noise)
        noise = 0.0 if np.isinf(signal_to_noise) else rng.standard_normal(flux.shape) / signal_to_noise
        self.flux = level * (flux + noise)


def segments(wavelength):
    return np.split(np.arange(len(wavelength)), after_gaps(wavelength))


def moved(wavelength, flux, velocity, half=24):
    """Flux at radial velocities, interpolated with 48 taps: six times as many as the fits have."""
    result = np.empty_like(flux)
    for i, shift in enumerate(to_places(velocity, np.median(np.diff(np.log(wavelength))))):
        whole = int(np.floor(-shift))
        away = -shift - whole - np.arange(1 - half, half + 1)
        taps = np.sinc(away) * np.i0(7 * np.sqrt(np.maximum(1 - (away / half) ** 2, 0)))
        for part in segments(wavelength):
            wide = np.pad(flux[i, part], 400, mode="edge")
            places = 400 + whole + 1 - half + np.arange(len(part))
            result[i, part] = sum(tap * wide[places + k] for k, tap in enumerate(taps / taps.sum()))
    return result


def published(networks, sky, rows):
    """`curve_fit` as the published listing calls it, started at the truth: milliseconds a fit."""
    labels = networks.scaler.scale(sky.labels)
    begin = time.process_time()
    for i in range(rows):
        curve_fit(
            lambda _, *x: networks.predict_scaled(np.array(x)),
            [], sky.flux[i], labels[i], sky.error[i], absolute_sigma=True, bounds=(0, 1),
        )  # fmt: skip
    return (time.process_time() - begin) / rows * 1e3


def speed(networks, grid):
    plain, everything = Sky(networks, grid, 100, 1), Sky(networks, grid, 100, 2, everything=True)
    other = networks.wavelength * (1 + 3e-6)  # between the networks' pixels
    ways = {
        "labels, from the middle": lambda: fit_spectra(networks, plain.flux, plain.error, start="middle"),
        "labels, own start": lambda: fit_spectra(networks, plain.flux, plain.error),
        "labels, velocity, continuum": lambda: run(everything),
        "labels, other wavelengths": lambda: fit_spectra(networks, plain.flux, plain.error, other),
        "everything, other wavelengths": lambda: run(everything, wavelength=other),
    }

    def run(sky, **more):
        return fit_spectra(networks, sky.flux, sky.error, settings=EVERYTHING, **more)

    for way in ways.values():
        way()  # compile, or read the compiled code from disk
    times = {name: [] for name in [*ways, "curve_fit as published, from the truth"]}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            times[name].append((time.process_time() - begin) / len(plain.flux) * 1e3)
        times["curve_fit as published, from the truth"].append(published(networks, plain, 10))
    slowest = min(times["curve_fit as published, from the truth"])
    print(f"\n{'S/N 100, one core':44}{'ms a fit':>10}{'times curve_fit':>18}")
    for name, seen in times.items():
        print(f"{name:44}{min(seen):10.3f}{slowest / min(seen):17.1f}x")
    wall = {n: [] for n in (1, 2)}
    for _ in range(ROUNDS):
        for n, seen in wall.items():
            begin = time.perf_counter()
            fit_spectra(networks, plain.flux, plain.error, processes=n)
            seen.append(time.perf_counter() - begin)
    print(f"two threads against one (wall time): {min(wall[1]) / min(wall[2]):.2f} x")


def setting_up(networks):
    begin = time.process_time()
    emulator = Emulator(networks)
    middle = time.process_time()
    for n_flat in (0, TERMS):
        estimate_of(emulator, networks.wavelength, n_flat)
    print(f"set-up of an emulator {middle - begin:.2f} s, of its start tables {time.process_time() - middle:.2f} s")


def accuracy(networks, grid, everything):
    mode = (EVERYTHING if everything else FitSettings()).mode(networks.label_names)
    print(f"\n{mode}: robust width of the errors, formal pulls; chi2/dof at 1, 50, 99 %")
    for signal_to_noise in (np.inf, 300, 100, 30, 10):
        sky = Sky(networks, grid, signal_to_noise, 7, everything)
        settings = EVERYTHING if everything else FitSettings()
        table = fit_spectra(networks, sky.flux, sky.error, settings=settings)
        cells = []
        for j, name in enumerate(networks.label_names):
            error = np.asarray(table[name]) - sky.labels[:, j]
            pull = bias_and_width(error / np.asarray(table[f"{name}_error"]))[1]
            cells.append(f"{name} {bias_and_width(error)[1]:.4g} (largest {np.abs(error).max():.3g}, pull {pull:.2f})")
        if everything:
            error = np.asarray(table["RV"]) - sky.velocity
            pull = bias_and_width(error / np.asarray(table["RV_error"]))[1]
            lost = np.abs(error) > 20
            unsure = (np.asarray(table["flags"])[lost] & (FitFlag.RV_UNSURE | FitFlag.RV_EDGE)) > 0
            width = 1e3 * bias_and_width(error)[1]
            cells.append(f"RV {width:.1f} m/s, pull {pull:.2f}, lost {lost.sum()} (flagged {unsure.sum()})")
        failed = (np.asarray(table["flags"]) & (FitFlag.NOT_CONVERGED | FitFlag.FAILED)) > 0
        reduced = np.percentile(table["chi2"] / table["dof"], [1, 50, 99]).round(3).tolist()
        passes = np.mean(table["iterations"])
        cells += [f"chi2/dof {reduced}", f"passes {passes:.1f}", f"not converged {failed.sum()} of {len(table)}"]
        print(f"S/N {signal_to_noise:g}: {'; '.join(cells)}")


def main(network: str, grid: str = "resources/hband_grid.npz") -> None:
    networks, grid = read_networks(network), read_grid(grid)
    n_pixel, n_neurons, n_label = networks.w_array_0.shape
    print(f"{n_pixel} pixels, {n_neurons} neurons, {n_label} labels; {COPIES} times {len(grid.flux[TEST])} spectra")
    setting_up(networks)
    speed(networks, grid)
    accuracy(networks, grid, False)
    accuracy(networks, grid, True)


if __name__ == "__main__":
    main(*sys.argv[1:])
