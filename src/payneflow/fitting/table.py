"""Fits as an astropy table in the labels' own units; results.py writes it."""

from dataclasses import astuple

import numpy as np
from astropy.table import Table

from payneflow.fitting.engine.arguments import OUTLIERS, PASSES, USED
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag, LabelFlag
from payneflow.fitting.mismatch import KINDS, SCATTER
from payneflow.fitting.pairs import Pairs
from payneflow.fitting.parameters import VELOCITY, VELOCITY_UNIT, Parameters
from payneflow.fitting.posterior import Posteriors
from payneflow.fitting.quality import Fits, Quality
from payneflow.fitting.settings import FitSettings
from payneflow.label_names import FLAGS, INFORMATION, NOISELESS, PERCENTILES
from payneflow.network import PixelNetworks

BROADENING_MEANINGS = {"vsini": "projected velocity of rotation", "vmac": "velocity of macroturbulence"}
OF_WIDTHS = LabelFlag.AT_BOUND, LabelFlag.UPPER_LIMIT


def results_table(
    networks: PixelNetworks,
    settings: FitSettings,
    fits: Fits,
    quality: Quality,
    n_data: int | np.ndarray,
    pairs: Pairs | None = None,
    posteriors: Posteriors | None = None,
) -> Table:
    """The fits, one row a spectrum of `n_data` pixels, in the labels' own units.

    Columns: `spectrum` (its row in the flux); each label and its 1 sigma error (`Teff`, `Teff_error`, ...) in its unit,
    0 the error of a label that is held, and its flags (`Teff_flags`, sum of LabelFlag); of a broadening that is fitted
    or held `vsini`, `vsini_error` and `vsini_limit` in km/s, the last NaN unless `vsini_flags` has UPPER_LIMIT, and
    `vmac` alike; with a velocity `RV`,
    `RV_error` in km/s, and of two stars (`pairs`) `RV1`, `RV2`, their errors, `light_ratio` and its error, else NaN;
    of fits with windows the part of the information that these leave (`Teff_information`, ...);
    `covariance` (n_label, n_label) of the labels in those units; `SNR`, `chi2`, `dof`,
    `iterations`, `n_pixel`, `n_masked`, `n_outlier`, `extra_scatter`, `mismatch` and `mismatch_kind` (mismatch.py),
    `flags` (sum of FitFlag). A failed fit is NaN. With `posteriors` its percentiles, such as `Teff_p16`,
    `posterior_ess` and `posterior_sampled`.
    Meta: `label_names`, `flags` and `label_flags` (name: bit), `mode` (FitSettings.mode), `windows`, where there are.
    """
    width = networks.scaler.width
    labels = networks.scaler.unscale(quality.scaled)
    covariance = quality.covariance * width[:, None] * width
    failed = (quality.flags & FitFlag.FAILED) > 0
    used, passes = fits.counts[:, USED], fits.counts[:, PASSES]
    table = Table({"spectrum": np.arange(len(labels))})
    table["spectrum"].description = "row of the spectrum in the flux"
    of_labels = ", ".join(f"{int(flag)} {flag.name}" for flag in LabelFlag if flag != LabelFlag.UPPER_LIMIT)
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        add_column(table, name, labels[:, j], f"fitted {name}", unit)
        add_column(table, f"{name}_error", np.sqrt(covariance[:, j, j]), f"1 sigma error of {name}", unit)
        add_column(table, f"{name}{FLAGS}", quality.label_flags[:, j], f"sum of the flags of {name}: {of_labels}")
    widths, of_widths = quality.widths, ", ".join(f"{int(flag)} {flag.name}" for flag in OF_WIDTHS)
    for b, name in enumerate(settings.broadenings(networks.label_names)):
        add_column(table, name, widths.value[:, b], BROADENING_MEANINGS[name], VELOCITY_UNIT)
        add_column(table, f"{name}_error", widths.error[:, b], f"1 sigma error of {name}", VELOCITY_UNIT)
        add_column(
            table, f"{name}_limit", widths.limit[:, b], f"95 % upper limit of {name}, where it is one", VELOCITY_UNIT
        )
        add_column(table, f"{name}{FLAGS}", widths.flags[:, b], f"sum of the flags of {name}: {of_widths}")
    if settings.velocity:
        add_column(table, VELOCITY, quality.velocity, "radial velocity, positive away from the observer", VELOCITY_UNIT)
        add_column(table, f"{VELOCITY}_error", quality.velocity_error, f"1 sigma error of {VELOCITY}", VELOCITY_UNIT)
    if fits.windowed is not None:
        _add_information(table, networks, settings, fits)
    if pairs is not None:
        _add_pairs(table, pairs)
    add_column(table, "covariance", covariance, "covariance of the labels, in the order and units of the label columns")
    add_column(table, "SNR", fits.snr, "median of flux / flux_error over the used pixels")
    add_column(
        table, "chi2", np.where(failed, np.nan, fits.chi2), "sum of (flux - model)^2 / variance over the used pixels"
    )
    add_column(table, "dof", quality.dof, "degrees of freedom: used pixels less fitted parameters")
    add_column(table, "iterations", passes, "passes over the spectrum, in single and double precision")
    add_column(table, "n_pixel", used, "pixels used")
    add_column(table, "n_masked", n_data - used, "pixels not used: masked, bad, outliers, or without a network")
    described = "outliers left out, such as cosmic rays: beyond 5 sigma of the model; their neighbours not counted"
    add_column(table, "n_outlier", fits.counts[:, OUTLIERS], described)
    scatter = np.where(failed, np.nan, fits.extra_scatter)
    described = "scatter of the flux, beyond its errors, that makes chi2 / dof 1; 0 where none is needed"
    add_column(table, "extra_scatter", scatter, described)
    described = "sigma by which the spectrum differs from every model, beyond noise and the networks' own errors"
    add_column(table, "mismatch", quality.mismatch_sigma, described)
    described = f"what the difference looks like where MODEL_MISMATCH is set: {', '.join([*KINDS, SCATTER])}; else none"
    kind = np.array(quality.mismatch_kind.tolist(), dtype=str)  # as wide as its longest text, as it is read back
    add_column(table, "mismatch_kind", kind, described)
    meanings = "; ".join(f"{int(flag)} {flag.name}: {meaning}" for flag, meaning in FLAG_MEANINGS.items())
    add_column(table, "flags", quality.flags, f"sum of {meanings}")
    if posteriors is not None:
        _add_posteriors(table, posteriors)
    table.meta["label_names"] = list(networks.label_names)
    table.meta["flags"] = {flag.name: int(flag) for flag in FitFlag}
    table.meta["label_flags"] = {flag.name: int(flag) for flag in LabelFlag}
    table.meta["mode"] = settings.mode(networks.label_names)
    if settings.windows:
        table.meta["windows"] = [list(astuple(window)) for window in settings.windows]
    return table


def _add_information(table: Table, networks: PixelNetworks, settings: FitSettings, fits: Fits) -> None:
    parameters = Parameters.of(networks, settings)
    for j in np.flatnonzero(parameters.free):
        name, part = parameters.names[j], np.where(np.isfinite(fits.x[:, j]), fits.windowed.information[:, j], np.nan)
        described = f"part of the information on {name} that windows leave: (error of all pixels / error)^2, of noise"
        add_column(table, f"{name}{INFORMATION}", part, described)


def _add_pairs(table: Table, pairs: Pairs) -> None:
    for k, (name, which) in enumerate((("RV1", "brighter"), ("RV2", "fainter"))):
        described = f"radial velocity of the {which} of two stars, where DOUBLE_LINED is set"
        add_column(table, name, pairs.velocity[:, k], described, VELOCITY_UNIT)
        add_column(table, f"{name}_error", pairs.velocity_error[:, k], f"1 sigma error of {name}", VELOCITY_UNIT)
    add_column(table, "light_ratio", pairs.ratio, "light of the fainter of two stars over that of the brighter one")
    add_column(table, "light_ratio_error", pairs.ratio_error, "1 sigma error of light_ratio")


def _add_posteriors(table: Table, posteriors: Posteriors) -> None:
    for j, (name, unit) in enumerate(zip(posteriors.names, posteriors.units, strict=True)):
        for k, (ending, percent) in enumerate(PERCENTILES.items()):
            described = f"{name} below which {percent:g} % of the posterior lie"
            add_column(table, f"{name}{ending}", posteriors.percentiles[:, k, j], described, unit)
    add_column(table, "posterior_ess", posteriors.ess, "effective draws from the posterior; 0 where the fit failed")
    described = "whether too few draws counted, so that a sampler (emcee) went on from them"
    add_column(table, "posterior_sampled", posteriors.sampled, described)


def add_column(table: Table, name: str, values: np.ndarray, description: str, unit: str = "") -> None:
    """Put values (n_row, ...) into a table, with their meaning."""
    table[name] = values
    table[name].description = description
    table[name].unit = unit or None


def add_true_labels(table: Table, networks: PixelNetworks, labels: np.ndarray, spectrum: np.ndarray) -> None:
    """Put the known labels (n, n_label) of synthetic spectra beside their fits, and their indices in the grid."""
    table["spectrum"] = spectrum
    table["spectrum"].description = "index of the spectrum in the grid"
    for j, (name, unit) in enumerate(zip(networks.label_names, networks.label_units, strict=True)):
        add_column(table, f"{name}_true", labels[:, j], f"{name} the spectrum was computed with", unit)


def add_noiseless_fits(table: Table, noiseless: Table) -> None:
    """Put what was fitted to the same spectra without noise beside their fits: labels, chi2 and flags."""
    for name in table.meta["label_names"]:
        described = f"{name} fitted to the spectrum without noise"
        add_column(table, name + NOISELESS, noiseless[name], described, str(noiseless[name].unit or ""))
    add_column(table, f"chi2{NOISELESS}", noiseless["chi2"], "chi2 of the fit without noise")
    add_column(table, f"flags{NOISELESS}", noiseless["flags"], "flags of the fit without noise")
