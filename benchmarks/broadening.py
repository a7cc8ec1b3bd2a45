"""Broadened lines: error of the flux, time of a fit, and how well v sin i is found, from 0 to 100 km/s.

    python benchmarks/broadening.py NETWORK_FILE [GRID] [--stars N]

The flux of the grid (default: resources/hband_grid.npz) is broadened in its own pixels, as the fits do it, and on an
axis FINE times finer: a spline of degree 13 through the pixels, and the profile's share between the edges of each fine
pixel, by its integral. Stars are spectra of the networks, so that nothing but noise makes errors: S/N 100, velocity,
continuum of four terms. The bound of Cramer and Rao is the formal error. Times are processor time of one core, the best
of ROUNDS, in turn with fits without v sin i of stars that do not rotate, in the same pixels.
"""

import argparse
import time

import numpy as np
from scipy.interpolate import make_interp_spline

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, LabelFlag, SpectralModel
from payneflow.fitting.engine.profiles import half_kernel, rotation, whole_kernel
from payneflow.fitting.engine.shift import C_KM_S
from payneflow.grid import read_grid
from payneflow.wavelength import segments

ROUNDS, FINE, NOISE = 5, 20, 0.01
PLAIN = FitSettings(velocity=True, continuum=4, emulator_error=False)
ROTATION = FitSettings(velocity=True, continuum=4, emulator_error=False, vsini=True)
EPSILON = ROTATION.epsilon
FLUX_WIDTHS, WIDTHS = (0.5, 1, 2, 5, 10, 20, 50, 100, 150), (0, 1, 2, 5, 10, 20, 40, 60, 80)


def shares(places):
    """Integral of Gray's rotation profile from its middle to places in units of v sin i."""
    x = np.clip(places, -1.0, 1.0)
    root = np.sqrt(1.0 - x**2)
    integral = (1.0 - EPSILON) * (x * root + np.arcsin(x)) + 0.5 * np.pi * EPSILON * (x - x**3 / 3.0)
    return integral / (np.pi * (1.0 - EPSILON / 3.0))


def flux_errors(grid):
    first, stop = segments(grid.wavelength)[0]
    step = np.median(np.diff(np.log(grid.wavelength))) * C_KM_S
    flux = np.asarray(grid.flux[::8, first:stop], dtype=float)
    pixels = np.arange(stop - first)
    fine = make_interp_spline(pixels, flux.T, k=13)(np.arange((stop - first - 1) * FINE + 1) / FINE).T
    print("\nv sin i   largest error   rms       what rotation does (largest)")
    for vsini in FLUX_WIDTHS:
        width = vsini / step
        m = int(np.ceil(width * FINE)) + 1
        profile = np.diff(shares((np.arange(-m, m + 2) - 0.5) / FINE / width))
        kernel = whole_kernel(half_kernel(rotation(width, EPSILON), width))
        inner = slice(m // FINE + 20, -m // FINE - 20)
        true = np.array([np.convolve(row, profile, mode="same")[::FINE] for row in fine])[:, inner]
        off = np.array([np.convolve(row, kernel, mode="same") for row in flux])[:, inner] - true
        effect = np.abs(true - flux[:, inner]).max()
        print(f"{vsini:7g}   {np.abs(off).max():.1e}         {off.std():.1e}   {effect:.3f}")


class Stars:
    """n stars of the networks with this v sin i: labels, velocities, flux with noise."""

    def __init__(self, networks, vsini, n, seed=1):
        rng = np.random.default_rng(seed)
        self.labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (n, len(networks.x_min))))
        self.velocity = rng.uniform(-100, 100, n)
        model = SpectralModel(networks, ROTATION)
        flux = model.predict(self.labels, self.velocity, broadening={"vsini": float(vsini)})
        self.flux = flux + rng.normal(0, NOISE, flux.shape)  # NaN, a bad pixel, where kernels would leave the segment


def milliseconds(networks, flux, settings):
    begin = time.process_time()
    fits = fit_spectra(networks, flux, NOISE, settings=settings)
    return 1e3 * (time.process_time() - begin) / len(flux), fits


def fitted(networks, n):
    print(
        "\nv sin i   ms      without   passes  error    scatter/bound  bias/bound  pull width/std  limits  hold   flags"
    )
    for vsini in WIDTHS:
        stars, still = Stars(networks, vsini, n), Stars(networks, 0.0, n)
        times = []
        for _ in range(ROUNDS):
            own, fits = milliseconds(networks, stars.flux, ROTATION)
            times.append((own, milliseconds(networks, still.flux, PLAIN)[0]))
        with_width, without = np.min(times, axis=0)
        off, error = np.asarray(fits["vsini"]) - vsini, np.asarray(fits["vsini_error"])
        limited = (np.asarray(fits["vsini_flags"]) & LabelFlag.UPPER_LIMIT) > 0
        holds = np.asarray(fits["vsini_limit"])[limited] >= vsini
        bad = FitFlag.NOT_CONVERGED | FitFlag.AT_BOUND | FitFlag.FAILED | FitFlag.RV_UNSURE
        pull, bound = off / error, np.median(error)
        print(
            f"{vsini:7g}   {with_width:.2f}    {without:.2f}      {fits['iterations'].mean():4.1f}    {bound:.3f}    "
            f"{1.4826 * np.median(np.abs(off)) / bound:.2f}           {np.median(off) / bound:+.2f}       "
            f"{1.4826 * np.median(np.abs(pull - np.median(pull))):.2f} / {pull.std():.2f}     {limited.mean():4.0%}    "
            f"{holds.mean() if len(holds) else 1.0:4.0%}   {np.mean((np.asarray(fits['flags']) & bad) > 0):.0%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks")
    parser.add_argument("grid", nargs="?", default="resources/hband_grid.npz")
    parser.add_argument("--stars", type=int, default=256)
    given = parser.parse_args()
    flux_errors(read_grid(given.grid))
    fitted(read_networks(given.networks), given.stars)
