"""Spectra that the page shows beside the networks': observed ones with their fits, and test spectra of the grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError
from payneflow.explore.packed import packed, single
from payneflow.fitting.best_fit_file import BEST_FITS
from payneflow.grid import SpectralGrid
from payneflow.network import Networks
from payneflow.statistics import evenly

MOST_BYTES = 3_000_000  # of the spectra of one kind, before base64
MOST_TESTS = 8
ARRAYS = ("flux", "model", "sigma")
VELOCITY = "RV"


@dataclass(frozen=True, eq=False)
class Stars:
    """Spectra on one wavelength axis: `kind`, what they are; `entries`, one for each; `notes`, what is left out.

    An entry has `name`, `labels` (n_label,) in their units, which the sliders go to, `said`, lines about its fit, and
    (n_pixel,) arrays: `flux` and `model`, both over the continuum, `sigma` of their difference, and `used`.
    """

    kind: str
    wavelength: np.ndarray
    entries: list[dict]
    notes: tuple[str, ...] = ()

    def facts(self) -> dict:
        """As JSON holds it; a number that is not finite is None."""
        return {
            "kind": self.kind,
            "wavelength": packed(self.wavelength.astype(float)),
            "entries": [_packed_entry(entry) for entry in self.entries],
        }


def observed_stars(networks: Networks, path: str | Path) -> Stars:
    """The first stars of a file of best-fit spectra, as many as the page has room for.

    Raises PayneflowError where the file is none, or its labels are not those of the networks.
    """
    with BEST_FITS.opened(path) as archive:
        names = tuple(str(name) for name in BEST_FITS.whole(archive, "label_names"))
        if names != networks.label_names:
            raise PayneflowError(
                f"{path}: its fits are of the labels {', '.join(names)}, the networks have "
                f"{', '.join(networks.label_names)}. Give the networks that fitted these spectra."
            )
        whole = {key: BEST_FITS.whole(archive, key) for key in ("wavelength", "identifier", "flag_names", "flag_bits")}
        n, most = len(whole["identifier"]), max(MOST_BYTES // (13 * len(whole["wavelength"])), 1)
        keys = ("identifier", "flux", "model", "continuum", "sigma", "used", "labels", "label_errors")
        keys += ("SNR", "chi2", "dof", "flags", *(key for key in (VELOCITY, f"{VELOCITY}_error") if key in archive))
        rows = [{key: archive.row(key, row) for key in keys} for row in range(min(n, most))]
    bits = list(zip(whole["flag_names"].tolist(), whole["flag_bits"].tolist(), strict=True))
    notes = (f"Of {n} observed spectra the first {most} are in this page.",) if n > most else ()
    return Stars("Observed spectra", whole["wavelength"], [_observed(row, bits) for row in rows], notes)


def _observed(row: dict, bits: list[tuple[str, int]]) -> dict:
    continuum = np.where(row["used"], row["continuum"], np.nan)
    level = np.nanmedian(continuum) if np.isfinite(continuum).any() else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        flux, model, sigma = (np.asarray(row[key]) / np.where(row["used"], continuum, level) for key in ARRAYS)
    flags = [name for name, bit in bits if int(row["flags"]) & bit]
    dof = int(row["dof"])
    said = [f"S/N {float(row['SNR']):.0f}", f"χ² {float(row['chi2']):.4g} of {dof} degrees of freedom"]
    return {
        "name": str(row["identifier"]),
        "labels": np.asarray(row["labels"], dtype=float),
        "label_errors": np.asarray(row["label_errors"], dtype=float),
        "velocity": float(row.get(VELOCITY, 0.0)),
        "said": [*said, f"flags: {', '.join(flags) or 'none'}"],
        "flux": flux,
        "model": model,
        "sigma": sigma,
        "used": np.asarray(row["used"]),
    }


def test_stars(networks: Networks, grid: SpectralGrid) -> Stars:
    """Some test spectra of the grid, which training never saw, with their true labels."""
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    rows = networks.split_of(grid).test_rows
    most = max(min(MOST_TESTS, MOST_BYTES // (13 * len(columns))), 1)
    entries = []
    for row in rows[evenly(len(rows), most)].tolist():
        flux = np.asarray(grid.flux[row], dtype=float)[columns]
        nothing = np.full(len(flux), np.nan)
        said = ["synthetic, not seen in training; the sliders are at its true labels"]
        entry = {"name": f"spectrum {row}", "labels": grid.labels[row], "label_errors": None, "velocity": 0.0}
        entries.append({**entry, "said": said, "flux": flux, "model": nothing, "sigma": nothing, "used": flux == flux})
    return Stars("Test spectra of the grid", networks.wavelength, entries)


def _packed_entry(entry: dict) -> dict:
    arrays = {key: single(entry[key]) for key in ARRAYS if np.isfinite(entry[key]).any()}
    errors = entry["label_errors"]
    return {
        "name": entry["name"],
        "said": entry["said"],
        "labels": [_finite(value) for value in entry["labels"]],
        "label_errors": None if errors is None else [_finite(value) for value in errors],
        "velocity": _finite(entry["velocity"]),
        "used": packed(entry["used"].astype(np.uint8)),
        **arrays,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
