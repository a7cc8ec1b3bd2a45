"""What the page needs to move and broaden spectra as fits do: an axis even in ln(wavelength), and shapes of kernels."""

import numpy as np

from payneflow.errors import SpectraError
from payneflow.explore.packed import packed, single
from payneflow.fitting.broadening import to_places_of_width
from payneflow.fitting.engine.profiles import FWHM, Shape, gaussian, radial_tangential, rotation
from payneflow.fitting.engine.shift import SAME_PLACE, UNEVEN
from payneflow.fitting.engine.taps import tap_weights_at
from payneflow.fitting.sampling import check_sampling
from payneflow.fitting.settings import FitSettings
from payneflow.network import Networks
from payneflow.wavelength import even_step, segments

WIDEST = 60.0  # km/s, FWHM of the Gaussian


def moves_of(networks: Networks) -> dict:
    """`segments` [first pixel, stop), and how spectra are moved: `problem`, why they cannot be, or "" and the rest.

    `step` in ln(wavelength) from place to place, and for each segment `counts` of places. `firsts` (n_place,) and
    `weights` (n_place, 8): pixels that make a place, where the pixels themselves are not even, else absent. `shapes` by
    name: nodes and weights (profiles.py), and `most`, the largest width in km/s.
    """
    axis = networks.wavelength
    parts = segments(axis)
    said = {"segments": [[int(first), int(stop)] for first, stop in parts], "problem": ""}
    log_wavelength, (step, can_be_even) = np.log(axis), even_step(axis)
    try:
        check_sampling(networks, velocity=True)
    except SpectraError:
        return {**said, "problem": "the pixels are too far apart for their lines"}
    if len(axis) == 1:
        return {**said, "problem": "there is one pixel"}
    if not can_be_even:
        return {**said, "problem": "the steps of the wavelengths differ too much"}
    usual = float(np.median(np.diff(log_wavelength)))
    even = all(_is_even(log_wavelength[first:stop], usual) for first, stop in parts)
    step = usual if even else step
    said |= {"step": step, "counts": [stop - first for first, stop in parts], "shapes": _shapes(step)}
    return said if even else {**said, **_places(log_wavelength, parts, step)}


def _is_even(log_wavelength: np.ndarray, step: float) -> bool:
    within = (log_wavelength - log_wavelength[0]) / step
    return bool(np.abs(within - np.arange(len(within))).max() <= UNEVEN)


def _places(log_wavelength: np.ndarray, parts: list[tuple[int, int]], step: float) -> dict:
    """The even places of each segment, made of its pixels."""
    counts, firsts, weights = [], [], []
    for first, stop in parts:
        own = log_wavelength[first:stop]
        count = int((own[-1] - own[0]) / step + SAME_PLACE) + 1
        of_pixels, shares = tap_weights_at(own, np.minimum(own[0] + step * np.arange(count), own[-1]))
        counts.append(count)
        firsts.append(first + of_pixels)
        weights.append(shares)
    return {
        "counts": counts,
        "firsts": packed(np.concatenate(firsts).astype(np.int32)),
        "weights": single(np.concatenate(weights)),
    }


def _shapes(step: float) -> dict[str, dict]:
    """The shapes of broadening by their names, in units of their widths in km/s."""
    usual = FitSettings()
    most = {"vsini": usual.max_vsini, "vmac": usual.max_vmac, "fwhm": WIDEST}
    places = {name: float(to_places_of_width(width, step)) for name, width in most.items()}
    blur = gaussian(places["fwhm"] / FWHM)
    shapes = {
        "vsini": rotation(places["vsini"], usual.epsilon),
        "vmac": radial_tangential(places["vmac"]),
        "fwhm": Shape(blur.nodes / FWHM, blur.weights),
    }
    return {
        name: {"nodes": shape.nodes.tolist(), "weights": shape.weights.tolist(), "most": most[name]}
        for name, shape in shapes.items()
    }
