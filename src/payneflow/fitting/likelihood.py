"""The likelihood of a spectrum for samplers, such as emcee and dynesty: what a fit minimises, in compiled code."""

import numpy as np

from payneflow.errors import SpectraError
from payneflow.fitting.engine.arguments import FOUND
from payneflow.fitting.engine.likelihood_engine import LikelihoodEngine
from payneflow.fitting.fit import checked_axis, checked_flux, search_spectra
from payneflow.fitting.flux_units import in_shares, networks_of_shares
from payneflow.fitting.quality import quality_of
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.star_likelihood import StarLikelihood
from payneflow.network import PixelNetworks

DEFAULT = FitSettings()


class LogLikelihood(StarLikelihood):
    """ln of the likelihood of one spectrum: called with its n free parameters, (n,) or many (m, n).

    `flux`, `flux_error` (n_data,), `wavelength`, `settings`, `resolution`, `start` (n_label,): as those of
    `fit_spectra`, of one spectrum. It is fitted first: that tells which pixels are outliers and do not count, what the
    networks' own error adds to the variance of each pixel, and around which velocity to look; all stays as it is then.

    `names`, `units` (n,): the parameters, in the order of the fit: labels, vsini, vmac, RV; what `settings.fixed`
    holds is none. `bounds` (n, 2): labels as in fits, RV within 30 km/s of the one that correlation finds. `best` (n,)
    and `errors` (n,): where the fit ended, and its formal 1 sigma errors. `log_probability` adds the priors,
    `prior_transform` is for nested sampling. One object is for one thread; it can be pickled.

    Raises SpectraError where the spectrum cannot be fitted, and what `fit_spectra` raises.
    """

    def __init__(
        self,
        networks: PixelNetworks,
        flux: np.ndarray,
        flux_error: np.ndarray | float,
        *,
        settings: FitSettings = DEFAULT,
        wavelength: np.ndarray | None = None,
        resolution: np.ndarray | float | None = None,
        start: np.ndarray | None = None,
    ):
        axis = checked_axis(wavelength)
        flux, flux_error = checked_flux(networks, flux, flux_error, axis)
        if len(flux) != 1:
            raise SpectraError(f"flux has shape {flux.shape}, expected (n_data,): a likelihood is of one spectrum.")
        if resolution is not None and np.ndim(resolution) > 1:
            raise SpectraError(f"resolution has shape {np.shape(resolution)}, expected one number or (n_data,).")
        begin = None if start is None else np.atleast_2d(np.asarray(start, dtype=float))
        fits = search_spectra(networks, flux, flux_error, axis, settings=settings, resolution=resolution, start=begin)
        quality = quality_of(networks, settings, fits)
        if not np.isfinite(quality.scaled).all():
            raise SpectraError("the spectrum cannot be fitted: too few usable pixels in the networks' range.")
        engine = LikelihoodEngine(networks_of_shares(networks), settings, axis, resolution)
        found = float(fits.shifts[0, FOUND]) if settings.velocity else 0.0
        shares = [share[0] for share in in_shares(networks, flux, flux_error)]
        star = engine.star(*shares, fits.x[0], found, engine.working(), engine.judging())
        super().__init__(networks, settings, engine, *star, fits.x[0], found)
        of_labels = np.sqrt(np.diag(quality.covariance[0])) * networks.scaler.width
        of_velocity = [quality.velocity_error[0]] if settings.velocity else []
        self.errors = np.array([*of_labels, *quality.widths.error[0], *of_velocity])[self.free]
