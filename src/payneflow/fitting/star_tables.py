"""Fits of whole stars as two astropy tables: of stars, and of their pieces."""

import numpy as np
from astropy.table import Column, Table

from payneflow.fitting.engine.arguments import OUTLIERS, PASSES, USED
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag
from payneflow.fitting.parameters import VELOCITY, VELOCITY_UNIT
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.star_fits import EACH, StarFits
from payneflow.fitting.star_quality import StarQuality
from payneflow.fitting.table import add_column, results_table
from payneflow.network import PixelNetworks


def stars_table(
    networks: PixelNetworks,
    settings: FitSettings,
    velocity: str,
    ended: StarFits,
    quality: StarQuality,
    names: np.ndarray,
    n_data: np.ndarray,
) -> Table:
    """One row a star: `identifier`, the columns of `results_table`, summed over its pieces, and what follows.

    `RV` is the velocity common to all pieces, or the best mean of their own. `n_piece`, of which `n_fitted` could be
    fitted; with a velocity `RV_scatter`, the weighted standard deviation of the velocities of the pieces, and
    `RV_chance`, the chance that noise alone scatters them as much, NaN where fewer than two tell. `SNR` is that of
    pieces of the same pixels together, of others their root mean square, and so is `extra_scatter`.
    """
    star = ended.star
    pixels = np.bincount(star, n_data, len(names)).astype(int)
    table = results_table(networks, settings, quality.fits, quality.quality, pixels)
    table.replace_column("spectrum", Column(names, "identifier", description="identifier of the star"))
    table.rename_column("spectrum", "identifier")
    add_column(table, "n_piece", np.diff(ended.first), "pieces of the star: visits, arms, orders")
    taking = np.bincount(star, ended.takes_part, len(names)).astype(int)
    add_column(table, "n_fitted", taking, "pieces that could be fitted")
    if settings.velocity:
        said = "standard deviation of the pieces' velocities, each weighted by its information"
        add_column(table, f"{VELOCITY}_scatter", quality.scatter, said, VELOCITY_UNIT)
        said = "chance that velocities of pieces scatter as much by their errors alone"
        add_column(table, f"{VELOCITY}_chance", quality.chance, said)
        table.meta["velocity_of_pieces"] = velocity
    return table


def pieces_table(
    settings: FitSettings,
    velocity: str,
    ended: StarFits,
    quality: StarQuality,
    names: np.ndarray,
    which: tuple[np.ndarray, np.ndarray],
    n_data: np.ndarray,
) -> Table:
    """One row a piece, star by star: `identifier` of its star, `part` and `row`, which of the `Pieces` and of its rows.

    `RV`, `RV_error`: the velocity of the star that the piece says, barycentric corrections added: of the fit of the
    star where each piece has its own, else of the fit of the piece alone, for comparison. `SNR`, `chi2` at the
    parameters of its star, `chi2_alone` of its own first fit, `dof` (pixels less terms of the continuum), `n_pixel`,
    `n_masked`, `n_outlier`, `extra_scatter`, `disagreement`: by how many sigma its own labels are off its star's, root
    mean square over the parameters, 1 by noise; `flags` (sum of FitFlag).
    """
    pieces, fits = quality.pieces, ended.fits
    part = ended.takes_part
    table = Table({"identifier": names[ended.star]})
    table["identifier"].description = "identifier of the star"
    add_column(table, "part", which[0], "number of its Pieces, from 0")
    add_column(table, "row", which[1], "its row there, from 0")
    if settings.velocity:
        said = "velocity of the star in this piece" if velocity == EACH else "velocity of the star by this piece alone"
        add_column(table, VELOCITY, pieces.velocity, said, VELOCITY_UNIT)
        add_column(table, f"{VELOCITY}_error", pieces.velocity_error, f"1 sigma error of {VELOCITY}", VELOCITY_UNIT)
    add_column(table, "SNR", fits.snr, "median of flux / flux_error over the used pixels")
    add_column(table, "chi2", np.where(part, fits.chi2, np.nan), "sum of (flux - model of the star)^2 / variance")
    add_column(table, "chi2_alone", pieces.chi2_alone, "the same of the fit of this piece alone")
    add_column(table, "dof", pieces.dof, "used pixels less terms of the continuum")
    used = fits.counts[:, USED]
    add_column(table, "iterations", fits.counts[:, PASSES], "passes over the piece, in single and double precision")
    add_column(table, "n_pixel", used, "pixels used")
    add_column(table, "n_masked", n_data - used, "pixels not used: masked, bad, outliers, or without a network")
    add_column(table, "n_outlier", fits.counts[:, OUTLIERS], "outliers left out, such as cosmic rays")
    scatter = np.where(part, fits.extra_scatter, np.nan)
    add_column(table, "extra_scatter", scatter, "scatter of the flux, beyond its errors, that makes chi2 / dof 1")
    said = "sigma by which its own labels differ from those of its star, root mean square; 1 by noise"
    add_column(table, "disagreement", pieces.disagreement, said)
    meanings = "; ".join(f"{int(flag)} {flag.name}: {meaning}" for flag, meaning in FLAG_MEANINGS.items())
    add_column(table, "flags", pieces.flags, f"sum of {meanings}")
    table.meta["flags"] = {flag.name: int(flag) for flag in FitFlag}
    return table
