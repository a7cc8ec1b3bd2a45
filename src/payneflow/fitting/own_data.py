"""Which engine fits which spectra: one for all that share axis and instrument, one for all that have their own.

Instruments of their own are fitted together where their kernels reach as many lines of the rest axis: then the engine
is the same, to the last bit, whichever they are.
"""

from typing import NamedTuple

import numpy as np

from payneflow.fitting.broadening import LineBroadening, own_instruments, to_places_of_width
from payneflow.fitting.data_groups import checked_resolution
from payneflow.fitting.engine.contract import FitEngine
from payneflow.fitting.engine.data_axis import number_of_pixels
from payneflow.fitting.engine.emulator import emulator_of
from payneflow.fitting.engine.engines import engine_for, nothing_in_common
from payneflow.fitting.engine.instrument import reach_of
from payneflow.fitting.engine.own_engine import OwnEngine
from payneflow.fitting.engine.shift import RestAxis, whole_lines
from payneflow.fitting.settings import FitSettings
from payneflow.network import PixelNetworks
from payneflow.wavelength import BEYOND


class Share(NamedTuple):
    """Spectra that one engine fits: their rows, None for all, and what each of them has of its own, row by row."""

    engine: FitEngine
    rows: np.ndarray | None
    own: dict[str, np.ndarray]


def shares_of(
    networks: PixelNetworks,
    settings: FitSettings,
    wavelength: np.ndarray | None,
    resolution: np.ndarray | float | None,
    n: int,
    own_start: bool,
) -> list[Share]:
    """The engines of n spectra. `wavelength`: None, (n_data,), or (n, n_data) with NaN after a spectrum's last pixel.

    `resolution`: as in `fit_spectra`. Raises SpectraError where no spectrum has a pixel in common with the networks,
    and SettingsError as `LineBroadening.of` does.
    """
    n_data = len(networks.wavelength) if wavelength is None else wavelength.shape[-1]
    own_axes = wavelength is not None and wavelength.ndim == 2
    given = checked_resolution(resolution, n, n_data)
    if np.ndim(given) == 1 and own_axes:
        given = np.broadcast_to(given, (n, n_data))
    if not own_axes and np.ndim(given) < 2:
        return [Share(engine_for(networks, settings, wavelength, own_start, resolution), None, {})]
    if own_axes:
        _check_in_common(wavelength, networks.wavelength)
    axis, own = (n_data, {"wavelength": wavelength}) if own_axes else (wavelength, {})
    if np.ndim(given) == 0:
        broadening = LineBroadening.of(networks, settings, None, None if given is None else float(given))
        return [Share(OwnEngine(networks, settings, axis, own_start, broadening), None, own)]
    star = LineBroadening.of_star(networks, settings)
    widths, of_instrument = own_instruments(networks, settings, wavelength, given)
    log_step = RestAxis(emulator_of(networks), networks.wavelength, 0.0, 0.0, True).log_step
    of_star = star.reach(log_step)
    most = to_places_of_width(widths.max(axis=1), log_step)
    reach = np.array([whole_lines(of_star + reach_of(one)) for one in most.tolist()])
    shares = []
    for longest in np.unique(reach):
        rows = np.flatnonzero(reach == longest)
        engine = OwnEngine(networks, settings, axis, own_start, star, of_instrument, int(longest) - of_star)
        all_own = {**own, "widths": widths}
        shares.append(Share(engine, rows, {name: values[rows] for name, values in all_own.items()}))
    return shares


def _check_in_common(wavelength: np.ndarray, networks: np.ndarray) -> None:
    """Raise SpectraError where no axis (n, n_data) comes near that of the networks."""
    if not len(wavelength):
        return
    first, last = wavelength[:, 0], np.array([own[number_of_pixels(own) - 1] for own in wavelength])
    if not ((last > networks[0] * (1.0 - BEYOND)) & (first < networks[-1] * (1.0 + BEYOND))).any():
        raise nothing_in_common(wavelength[0, : number_of_pixels(wavelength[0])], networks)
