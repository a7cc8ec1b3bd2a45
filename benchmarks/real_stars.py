"""Real stars fitted with and without the faults of the model that the other stars show.

    python benchmarks/real_stars.py NETWORK_FILE SPECTRA.npz … [--label-errors FILE] [--published NAME LABEL=VALUE …]

Spectra are npz files with `wavelength`, `flux`, `flux_error` and `identifier`; of an identifier NAME_WHAT, NAME is the
star, whose spectra are never learned from for each other. Velocity, continuum and rotation are fitted. A line for each
spectrum: chi2/dof, sigma of the mismatch, flags, labels with errors, without and with the faults of the model, learned
from one spectrum (that of the highest S/N) of each of the other stars; then how many quoted errors labels are off the
published ones, and how many of theirs each spectrum's labels are off the mean of its star's others.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from payneflow import fit_spectra, read_networks
from payneflow.fitting import FitFlag, FitSettings, read_label_errors
from payneflow.fitting.fault_learning import learn_faults
from payneflow.fitting.fault_residuals import residuals_of
from payneflow.fitting.many import write_best_fits
from payneflow.spectra import make_layout, read_spectra

SETTINGS = FitSettings(velocity=True, continuum=4, vsini=True, max_vsini=40.0)
LAYOUT = make_layout(uncertainty="flux_error")


def star_of(identifier: str) -> str:
    return identifier.partition("_")[0]


def spectra_of(networks, paths):
    """[(identifier, flux, flux_error, wavelength or None)] of all files."""
    found = []
    for batch in read_spectra(paths, LAYOUT, networks.wavelength):
        for i, name in enumerate(batch.identifier):
            axis = None if batch.on_networks_axis else batch.wavelength
            found.append((str(name), batch.flux[i : i + 1], batch.flux_error[i : i + 1], axis))
    return found


def faults_without(star: str, networks, spectra, folder: Path):
    """Faults learned from one spectrum of each star but this."""
    best: dict[str, tuple[float, int]] = {}
    for k, (name, flux, error, _) in enumerate(spectra):
        snr = float(np.median((flux / error)[np.isfinite(error)]))
        if star_of(name) != star and snr > best.get(star_of(name), (0.0, 0))[0]:
            best[star_of(name)] = snr, k
    residuals, _ = residuals_of(networks, [folder / f"{k}.npz" for _, k in best.values()])
    return learn_faults(residuals, networks.digest)


def write_residuals(networks, spectra, folder: Path) -> None:
    """Best fits of each spectrum in a file of its own."""
    for k, (name, flux, error, axis) in enumerate(spectra):
        own = networks.wavelength if axis is None else axis
        path = folder / f"spectrum{k}.npz"
        np.savez(path, wavelength=own, flux=flux, flux_error=error, identifier=np.array([name]))
        write_best_fits(networks, read_spectra([path], LAYOUT, networks.wavelength), SETTINGS, folder / f"{k}.npz")


def said(row, names) -> str:
    flags = "|".join(flag.name for flag in FitFlag if row["flags"] & flag) or "-"
    labels = ", ".join(f"{name} {row[name]:.4g} ± {row[f'{name}_error']:.2g}" for name in (*names, "RV", "vsini"))
    return f"chi2/dof {row['chi2'] / row['dof']:6.2f}  mismatch {row['mismatch']:6.1f}  {flags}\n      {labels}"


def off(rows, names, others) -> str:
    """Sigma that a row's labels are off (value, error) of others, by name."""
    parts = []
    for name in names:
        if name in others:
            value, error = others[name]
            parts.append(f"{name} {(rows[name] - value) / np.hypot(rows[f'{name}_error'], error):+.1f}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("spectra", type=Path, nargs="+")
    parser.add_argument("--label-errors", type=Path)
    parser.add_argument("--published", nargs="+", action="append", default=[], metavar="NAME LABEL=VALUE")
    given = parser.parse_args()
    networks = read_networks(given.network)
    label_errors = read_label_errors(given.label_errors) if given.label_errors else None
    spectra, names = spectra_of(networks, given.spectra), networks.label_names
    published = {
        star: {p.partition("=")[0]: (float(p.partition("=")[2]), 0.0) for p in own} for star, *own in given.published
    }
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        write_residuals(networks, spectra, Path(folder))
        known = {
            star: faults_without(star, networks, spectra, Path(folder)) for star in {star_of(s[0]) for s in spectra}
        }
    for name, flux, error, axis in spectra:
        print(f"{name}: learned from others: {known[star_of(name)].provenance}", flush=True)
        for kind, faults in (("without", None), ("with", known[star_of(name)])):
            own = fit_spectra(networks, flux, error, axis, settings=SETTINGS, label_errors=label_errors, faults=faults)[
                0
            ]
            rows[kind, name] = own
            print(f"  {kind:8}{said(own, names)}")
            if star_of(name) in published:
                print(
                    f"      off the published, in quoted errors: {off(own, names, published[star_of(name)])}",
                    flush=True,
                )
    for kind in ("without", "with"):
        for name, *_ in spectra:
            same = [
                rows[kind, other[0]] for other in spectra if star_of(other[0]) == star_of(name) and other[0] != name
            ]
            if same:
                mean = {label: (np.mean([row[label] for row in same]), 0.0) for label in names}
                print(f"{kind:8}{name} off the star's other spectra: {off(rows[kind, name], names, mean)}", flush=True)


if __name__ == "__main__":
    main()
