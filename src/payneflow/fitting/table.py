"""Fits as an astropy table in the labels' own units, and its files."""

import re
from pathlib import Path

import numpy as np
from astropy.io.fits import BinTableHDU, table_to_hdu
from astropy.table import Table
from astropy.units import Unit

from payneflow.files import whole_file
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag
from payneflow.fitting.judgement import Fits, Verdict
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.robust import bias_and_width


def fits_table(networks: PixelNetworks, settings: FitSettings, fits: Fits, verdict: Verdict, n_data: int) -> Table:
    """The fits, one row a spectrum of `n_data` pixels, in the labels' own units.

    Columns: `spectrum` (its row in the flux); each label and its 1 sigma error (`Teff`, `Teff_error`, ...) in its unit,
    0 the error of a label that is held; with a velocity `RV`, `RV_error` in km/s; `covariance` (n_label, n_label) of
    the labels in those units; `SNR`, `chi2`, `dof`, `iterations`, `n_pixel`, `n_masked`, `extra_scatter`, `flags` (sum
    of FitFlag). A failed fit is NaN.
    Meta: `label_names`, `flags` (name: bit), `mode` (FitSettings.mode).
    """
    width = networks.scaler.width
    labels = networks.scaler.unscale(verdict.scaled)
    covariance = verdict.covariance * width[:, None] * width
    failed = (verdict.flags & FitFlag.FAILED) > 0
    used, passes = fits.counts[:, 0], fits.counts[:, 1]
    table = Table({"spectrum": np.arange(len(labels))})
    table["spectrum"].description = "row of the spectrum in the flux"
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        _add(table, name, labels[:, j], f"fitted {name}", unit)
        _add(table, f"{name}_error", np.sqrt(covariance[:, j, j]), f"1 sigma error of {name}", unit)
    if settings.velocity:
        _add(table, "RV", verdict.velocity, "radial velocity, positive away from the observer", "km/s")
        _add(table, "RV_error", verdict.velocity_error, "1 sigma error of RV", "km/s")
    _add(table, "covariance", covariance, "covariance of the labels, in the order and units of the label columns")
    _add(table, "SNR", fits.snr, "median of flux / flux_error over the used pixels")
    _add(table, "chi2", np.where(failed, np.nan, fits.chi2), "sum of (flux - model)^2 / variance over the used pixels")
    _add(table, "dof", verdict.dof, "degrees of freedom: used pixels less fitted parameters")
    _add(table, "iterations", passes, "passes over the spectrum, in single and double precision")
    _add(table, "n_pixel", used, "pixels used")
    _add(table, "n_masked", n_data - used, "pixels not used: masked, bad, or without a network")
    scatter = np.where(failed, np.nan, fits.extra_scatter)
    described = "scatter of the flux, beyond its errors, that makes chi2 / dof 1; 0 where none is needed"
    _add(table, "extra_scatter", scatter, described)
    meanings = "; ".join(f"{int(flag)} {flag.name}: {meaning}" for flag, meaning in FLAG_MEANINGS.items())
    _add(table, "flags", verdict.flags, f"sum of {meanings}")
    table.meta["label_names"] = list(networks.label_names)
    table.meta["flags"] = {flag.name: int(flag) for flag in FitFlag}
    table.meta["mode"] = settings.mode(networks.label_names)
    return table


def _add(table: Table, name: str, values: np.ndarray, description: str, unit: str = "") -> None:
    table[name] = values
    table[name].description = description
    table[name].unit = unit or None


def add_true_labels(table: Table, networks: PixelNetworks, labels: np.ndarray, spectrum: np.ndarray) -> None:
    """Put the known labels (n, n_label) of synthetic spectra beside their fits, and their indices in the grid."""
    table["spectrum"] = spectrum
    table["spectrum"].description = "index of the spectrum in the grid"
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        _add(table, f"{name}_true", labels[:, j], f"{name} the spectrum was computed with", unit)


def write_fits(table: Table, stem: str | Path) -> None:
    """Write the fits as STEM.ecsv and STEM.fits, both with units and descriptions."""
    with whole_file(f"{stem}.ecsv") as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    with whole_file(f"{stem}.fits") as temporary:
        _fits_table(table).writeto(temporary, overwrite=True)


def _fits_table(table: Table) -> BinTableHDU:
    """The table for a FITS file, whose headers hold no lists and whose standard knows neither [Fe/H] nor dex."""
    plain = table.copy()
    plain.meta = {f"FLAG{bit}": name for name, bit in table.meta["flags"].items()}
    for name in plain.colnames:
        plain[name].unit = plain[name].description = None
    plain.rename_columns(plain.colnames, fits_names(plain.colnames))
    hdu = table_to_hdu(plain)
    for number, name in enumerate(table.colnames, start=1):
        unit = table[name].unit
        if unit is not None and _is_fits_unit(unit):
            hdu.header[f"TUNIT{number}"] = str(unit)
        described = f"{table[name].description} [{unit}]" if unit is not None else table[name].description
        hdu.header.add_comment(f"{plain.colnames[number - 1]}: {described}")
    return hdu


def _is_fits_unit(unit: Unit) -> bool:
    try:
        return bool(unit.to_string(format="fits"))
    except ValueError:
        return False


def fits_names(names: list[str]) -> list[str]:
    """Column names as the FITS standard wants them: [Fe/H]_error becomes Fe_H_error; unchanged if two would be one."""
    plain = [re.sub(r"[\W_]+", "_", name).strip("_") for name in names]
    return plain if len(set(plain)) == len(names) and all(plain) else names


def fits_text(table: Table) -> str:
    """Bias and robust width of each label where the true labels are known, and how many fits carry which flag."""
    lines = [f"{len(table)} spectra fitted"]
    lines += [
        f"  {flag.name:<14}{count:6d}  {meaning}"
        for flag, meaning in FLAG_MEANINGS.items()
        if (count := int(np.sum((table["flags"] & flag) > 0)))
    ]
    for name in table.meta["label_names"]:
        if f"{name}_true" in table.colnames:
            error = np.asarray(table[name] - table[f"{name}_true"], dtype=float)
            error = error[np.isfinite(error)]
            if len(error):
                bias, width = bias_and_width(error)
                unit = table[name].unit or ""
                lines.append(
                    f"  {name}: bias {bias:.3g}, robust width {width:.3g}, "
                    f"largest error {np.abs(error).max():.3g} {unit}"
                )
    return "\n".join(lines)
