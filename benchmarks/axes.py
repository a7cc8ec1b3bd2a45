"""What a fit costs whose wavelengths, rotation and instrument are its own, against one on the networks' pixels.

    python benchmarks/axes.py NETWORK_FILE [STARS]

Stars (default: 128) are spectra of the networks at S/N 100, with velocity and a continuum of four terms. An axis of its
own lies a part of a pixel beside that of the networks, R(lambda) of its own is 20 000 and some, a little different for
each star, that of the networks' grid is taken to be 22 500, and stars with it are as broad. Times are processor time of
one core, the best of ROUNDS, in turn: only their ratios are the same on a busy machine. At the end the same stars from
files, one each, as `payneflow fit` reads them: batches of one axis, and batches in which each has its own.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitSettings, SpectralModel
from payneflow.fitting.many import fit_batches
from payneflow.spectra import make_layout, read_spectra

ROUNDS, NOISE, MOST_FILES = 7, 0.01, 32
PLAIN = FitSettings(velocity=True, continuum=4, grid_resolution=22500.0)
ROTATION = replace(PLAIN, vsini=True)


def stars(networks, settings, n, axes=None, resolution=None):
    """Flux (n, n_pixel) of stars that rotate by 5 to 15 km/s where these settings say so."""
    rng = np.random.default_rng(4)
    labels = networks.scaler.unscale(rng.uniform(0.2, 0.8, (n, len(networks.x_min))))
    velocity, broad = rng.uniform(-80, 80, n), rng.uniform(5, 15, n)
    flux = np.empty((n, len(networks.wavelength)))
    for i in range(n):
        own = [None if given is None else given[i] for given in (axes, resolution)]
        if i == 0 or any(given is not None for given in own):
            model = SpectralModel(networks, settings, *own)
        flux[i] = model.predict(labels[i], velocity[i], broadening={"vsini": broad[i]} if settings.vsini else None)
    return np.nan_to_num(flux, nan=1.0) + NOISE * rng.standard_normal(flux.shape)


def from_files(networks, name, settings, axes, flux, resolution=None) -> None:
    """Print what fits cost of which each star is a file, reading included."""
    best = {False: [], True: []}
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{i:05d}.npz" for i in range(len(flux))]
        for i, path in enumerate(paths):
            own = {} if resolution is None else {"R": resolution[i]}
            np.savez(path, wavelength=axes[i], flux=flux[i], flux_error=np.full(len(axes[i]), NOISE), **own)
        layout = make_layout(uncertainty="flux_error", resolution="" if resolution is None else "R")
        for _ in range(ROUNDS + 1):
            for own_axes, seen in best.items():
                begin = time.process_time()
                fit_batches(networks, read_spectra(paths, layout, networks.wavelength, own_axes=own_axes), settings)
                seen.append((time.process_time() - begin) / len(flux) * 1e3)
    alone, together = (min(seen[1:]) for seen in best.values())
    print(f"{name:30}{alone:10.3f} ms from files one by one, {together:.3f} in batches of them")


def main(network: str, n: str = "128") -> None:
    networks, n = read_networks(network), int(n)
    own, part = networks.wavelength, np.arange(n) % 16 / 16
    step = np.median(np.diff(np.log(own)))
    axes = own * np.exp(step * part[:, None])
    resolution = 20000.0 + np.linspace(-500.0, 500.0, len(own)) + np.arange(n)[:, None]
    ways = {
        "velocity, continuum": (PLAIN, None, None),
        "the same, one other axis": (PLAIN, axes[5], None),
        "the same, an axis each": (PLAIN, axes, None),
        "vsini, velocity, continuum": (ROTATION, None, None),
        "vsini, one other axis": (ROTATION, axes[5], None),
        "vsini, an axis each": (ROTATION, axes, None),
        "vsini, an axis and R each": (ROTATION, axes, resolution),
    }
    data, times, passes = {}, {name: [] for name in ways}, {}
    for name, (settings, axis, given) in ways.items():
        each = None if axis is None else np.broadcast_to(axis, (n, len(own)))
        data[name] = stars(networks, settings, n, each, given)
    for _ in range(ROUNDS + 1):
        for name, (settings, axis, given) in ways.items():
            begin = time.process_time()
            table = fit_spectra(networks, data[name], NOISE, axis, settings=settings, resolution=given)
            times[name].append((time.process_time() - begin) / n * 1e3)
            passes[name] = np.mean(table["iterations"])
    best = {name: min(seen[1:]) for name, seen in times.items()}  # the first compiles, or reads what was compiled
    plain, rotating = best["velocity, continuum"], best["vsini, velocity, continuum"]
    print(f"{'S/N 100, one core':30}{'ms a fit':>10}{'passes':>8}{'times plain':>13}{'times vsini':>13}")
    for name, took in best.items():
        print(f"{name:30}{took:10.3f}{passes[name]:8.1f}{took / plain:13.2f}{took / rotating:13.2f}")
    some = slice(0, MOST_FILES)
    for name, given in (("files, an axis each", None), ("files, an axis and R each", resolution[some, 0])):
        from_files(networks, name, PLAIN, axes[some], stars(networks, PLAIN, len(axes[some]), axes[some], given), given)


if __name__ == "__main__":
    main(*sys.argv[1:])
