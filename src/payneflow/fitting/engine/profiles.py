"""Shapes of line broadening, in units of their width, and the kernel that one of them is on pixels.

A shape is symmetric and of area 1: `nodes` (n,) between 0 and its end, and `weights` (n,), whose sum is 1, integrate a
function over it. A broadened flux is the integral of the flux between the pixels, which taps interpolate (taps.py):
so the kernel at pixel m is sum_k w_k (T(m - s z_k) + T(m + s z_k)) / 2 for the width s in pixels. Whatever s is, it is
smooth in s, sums to 1, and is nothing but the pixel itself at s = 0. Twelve taps, because the eight that move a
spectrum would be off by 2e-4 of the flux at 5 km/s on the shipped grid; twelve are by 3e-5, at any width.
"""

from typing import NamedTuple

import numpy as np

from payneflow.fitting.engine.taps import tap_weights

HALF, KAISER_BETA = 6, 9.0  # of the taps between pixels here: twelve
GAUSSIAN_END = 4.5  # sigma: 7e-6 of the area is beyond
RADIAL_TANGENTIAL_END = 3.4  # zeta: 1e-7 of the area is beyond
FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a Gaussian, in sigma


class Shape(NamedTuple):
    """One shape of broadening, see above."""

    nodes: np.ndarray
    weights: np.ndarray

    def reach(self, width: float) -> int:
        """Pixels from the middle of the kernel to its last one, for a width in pixels."""
        return int(width * self.nodes.max(initial=0.0)) + HALF


def rotation(most: float, epsilon: float) -> Shape:
    """Rotation of a sphere with linear limb darkening `epsilon`, in units of v sin i, for widths up to `most` pixels.

    (2 (1 - e) (1 - x^2)^(1/2) + pi e (1 - x^2) / 2) / (pi (1 - e / 3)), Gray 2005, The Observation and Analysis of
    Stellar Photospheres, equation 18.14, with x = cos(t), by the midpoint rule in t.
    """
    n = 24 + int(np.ceil(0.9 * most))
    t = (np.arange(n) + 0.5) * 0.5 * np.pi / n
    sine = np.sin(t)
    return Shape(np.cos(t), _shares(sine * (2.0 * (1.0 - epsilon) * sine + 0.5 * np.pi * epsilon * sine**2)))


def radial_tangential(most: float) -> Shape:
    """Radial-tangential macroturbulence, both alike, in units of zeta, for widths up to `most` pixels.

    2 pi^(-1/2) (exp(-y^2) - pi^(1/2) y erfc(y)) for y > 0, Gray 2005, equation 17.15 over the disk, by Gauss' rule.
    """
    from scipy.special import erfc

    x, w = np.polynomial.legendre.leggauss(24 + int(np.ceil(6.0 * most)))
    y = 0.5 * RADIAL_TANGENTIAL_END * (x + 1.0)
    return Shape(y, _shares(w * (np.exp(-(y**2)) - np.sqrt(np.pi) * y * erfc(y))))


def gaussian(most: float) -> Shape:
    """A Gaussian in units of its sigma, for widths up to `most` pixels, by the midpoint rule."""
    n = 8 + int(np.ceil(3.0 * most))
    z = (np.arange(n) + 0.5) * GAUSSIAN_END / n
    return Shape(z, _shares(np.exp(-0.5 * z**2)))


def gaussian_velocity(most: float) -> Shape:
    """exp(-(v / vmac)^2) in units of vmac, as the radial-tangential zeta is one: 2^(1/2) sigma."""
    shape = gaussian(most / np.sqrt(2.0))
    return Shape(shape.nodes / np.sqrt(2.0), shape.weights)


def half_kernel(shape: Shape, width: float) -> np.ndarray:
    """(n,) the kernel at 0, 1, 2, ... pixels, for a width in pixels."""
    place = width * shape.nodes
    whole = place.astype(int)
    at = np.abs(whole[:, None] + np.arange(1 - HALF, HALF + 1))
    shares = shape.weights[:, None] * tap_weights(place - whole, HALF, KAISER_BETA) * np.where(at == 0, 1.0, 0.5)
    return np.bincount(at.ravel(), shares.ravel(), shape.reach(width) + 1)


def whole_kernel(half: np.ndarray) -> np.ndarray:
    """(2 n - 1,) of a half kernel (n,)."""
    return np.concatenate([half[:0:-1], half])


def whole_kernels(halves: np.ndarray) -> np.ndarray:
    """(n_kernel, 2 n - 1) of half kernels (n_kernel, n)."""
    return np.concatenate([halves[:, :0:-1], halves], axis=1)


def after(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The half kernel of one half kernel after the other."""
    return np.convolve(whole_kernel(one), whole_kernel(other))[len(one) + len(other) - 2 :]


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()
