"""Spectra in, labels out: the labels whose predicted spectrum is nearest to the observed one, with their errors."""

import re
from collections.abc import Callable
from enum import IntFlag
from pathlib import Path

import numpy as np
from astropy.io.fits import BinTableHDU, table_to_hdu
from astropy.table import Table
from astropy.units import Unit
from scipy.optimize import least_squares

from payneflow.errors import SpectraError
from payneflow.files import whole_file
from payneflow.network import PixelNetworks
from payneflow.robust import bias_and_width

LOWEST, HIGHEST = 0.0, 1.0  # bounds of the scaled labels (published listing); training labels fill 0.1 ... 0.9
MIDDLE = 0.5
AT_BOUND_WITHIN = 1e-6  # of a bound, in scaled labels
MOST_EVALUATIONS = 200  # a fit that needs more has lost its way; most need 5 to 15


class FitFlag(IntFlag):
    """What a user must know before using the labels of a fit; the column `flags` holds their sum."""

    NOT_CONVERGED = 1
    AT_BOUND = 2
    FAILED = 4


FLAG_MEANINGS = {
    FitFlag.NOT_CONVERGED: "the least-squares search stopped before it converged",
    FitFlag.AT_BOUND: "a label lies at the bound of the fit, outside the training labels",
    FitFlag.FAILED: "no labels: too few usable pixels, or the search broke down; all results are NaN",
}


def fit_spectra(
    networks: PixelNetworks,
    flux: np.ndarray,
    flux_error: np.ndarray | float,
    start: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Least-squares labels of spectra.

    `flux`: (n_spectrum, n_pixel) normalised, on the networks' wavelengths. `flux_error`: its 1 sigma errors, the same
    shape, (n_pixel,), or one number. Pixels whose flux is not finite, whose error is not finite and positive, or that
    have no network take no part. `start`: labels (n_spectrum, n_label) in their units to start from; without it each
    fit starts from the middle of the training range. `progress` is called with the number of fits done.

    Returns one row a spectrum: `spectrum` (row in `flux`), a column for each label and its 1 sigma error
    (`Teff`, `Teff_error`, ...) in the label's unit, `covariance` (n_label, n_label) in those units, `chi2`, `dof`,
    `flags` (FitFlag). A fit that fails is NaN and flagged; it never stops the others.
    Raises SpectraError where the shapes do not fit.
    """
    flux = np.atleast_2d(np.asarray(flux, dtype=float))
    n_pixel, n_label = len(networks.wavelength), len(networks.x_min)
    if flux.ndim != 2 or flux.shape[1] != n_pixel:
        raise SpectraError(
            f"flux has shape {flux.shape}, expected (n_spectrum, {n_pixel}), one value for each network."
        )
    try:
        flux_error = np.broadcast_to(np.asarray(flux_error, dtype=float), flux.shape)
    except ValueError:
        raise SpectraError(f"flux_error has shape {np.shape(flux_error)}, expected {flux.shape}.") from None
    starts = np.full((len(flux), n_label), MIDDLE)
    if start is not None:
        if np.shape(start) != starts.shape:
            raise SpectraError(f"start has shape {np.shape(start)}, expected {starts.shape}, the labels to start from.")
        starts = np.clip(networks.scaler.scale(start), LOWEST, HIGHEST)
    has_network = np.isfinite(networks.predict_scaled(np.full(n_label, MIDDLE)))
    rows = []
    for i in range(len(flux)):
        usable = has_network & np.isfinite(flux[i]) & np.isfinite(flux_error[i]) & (flux_error[i] > 0)
        rows.append(_fit_one(networks, flux[i], flux_error[i], usable, starts[i]))
        if progress:
            progress(i + 1)
    return _table(networks, rows)


def _fit_one(
    networks: PixelNetworks, flux: np.ndarray, flux_error: np.ndarray, usable: np.ndarray, start: np.ndarray
) -> dict:
    """Scaled labels, their covariance, chi2, degrees of freedom and flags of one spectrum."""
    n_label, dof = len(start), int(usable.sum()) - len(start)
    failed = {
        "labels": np.full(n_label, np.nan),
        "covariance": np.full((n_label, n_label), np.nan),
        "chi2": np.nan,
        "dof": dof,
        "flags": FitFlag.FAILED,
    }
    if dof < 1 or not np.isfinite(start).all():
        return failed
    observed, error = flux[usable], flux_error[usable]

    def residuals(scaled: np.ndarray) -> np.ndarray:
        return (networks.predict_scaled(scaled)[usable] - observed) / error

    def jacobian(scaled: np.ndarray) -> np.ndarray:
        return networks.jacobian_scaled(scaled)[1][usable] / error[:, None]

    try:
        fit = least_squares(residuals, start, jacobian, (LOWEST, HIGHEST), max_nfev=MOST_EVALUATIONS)
        covariance = np.linalg.inv(fit.jac.T @ fit.jac)
    except (ValueError, np.linalg.LinAlgError):
        return failed
    if not (np.isfinite(fit.x).all() and np.isfinite(covariance).all() and (np.diag(covariance) > 0).all()):
        return failed
    flags = FitFlag(0) if fit.success else FitFlag.NOT_CONVERGED
    if (np.minimum(fit.x - LOWEST, HIGHEST - fit.x) < AT_BOUND_WITHIN).any():
        flags |= FitFlag.AT_BOUND
    return {"labels": fit.x, "covariance": covariance, "chi2": 2.0 * fit.cost, "dof": dof, "flags": flags}


def _table(networks: PixelNetworks, rows: list[dict]) -> Table:
    """The fits in the labels' own units."""
    width = networks.scaler.width
    labels = networks.scaler.unscale(np.array([row["labels"] for row in rows]).reshape(-1, len(width)))
    covariance = np.array([row["covariance"] for row in rows]).reshape(-1, len(width), len(width))
    covariance = covariance * width[:, None] * width
    table = Table({"spectrum": np.arange(len(rows))})
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        _add(table, name, labels[:, j], f"fitted {name}", unit)
        _add(table, f"{name}_error", np.sqrt(covariance[:, j, j]), f"1 sigma error of {name}", unit)
    _add(table, "covariance", covariance, "covariance of the labels, in the order and units of the label columns")
    _add(table, "chi2", np.array([row["chi2"] for row in rows]), "sum of ((flux - model) / flux_error)^2")
    _add(table, "dof", np.array([row["dof"] for row in rows]), "degrees of freedom: usable pixels less labels")
    meanings = "; ".join(f"{int(flag)} {flag.name}: {meaning}" for flag, meaning in FLAG_MEANINGS.items())
    _add(table, "flags", np.array([int(row["flags"]) for row in rows]), f"sum of {meanings}")
    table.meta["label_names"] = list(networks.label_names)
    table.meta["flags"] = {flag.name: int(flag) for flag in FitFlag}
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
