"""The scatter of the flux, beyond its errors, that a model is wrong by: what would make chi2/dof 1."""

from payneflow.simd import LANES, fill, load, part, total

NEEDED = 3.0  # standard deviations of chi2/dof by noise alone: below, no scatter is needed
MOST_STEPS, CLOSE = 60, 1e-7  # Newton steps; of the squared scatter, relative


@part
def is_needed(chi2, dof):
    """Whether chi2 is larger than noise makes it; chi2/dof has the variance 2/dof."""
    return dof > 0 and chi2 > dof + NEEDED * (2.0 * dof) ** 0.5


@part
def extra_scatter(residual, inverse_variance, continuum, dof):
    """The s for which the sum of residual^2 / (1/inverse_variance + s^2 continuum^2) is dof; 0 where it is less anyway.

    Newton's method in s^2 from 0: the sum is convex and falls, so every step stays below the solution.
    """
    square, zero, one = 0.0, fill(0.0), fill(1.0)
    for _ in range(MOST_STEPS):
        value, slope = zero, zero
        for i in range(0, len(residual), LANES):
            w, r, c = load(inverse_variance, i), load(residual, i), load(continuum, i)
            share = w * c * c
            down = one / (one + fill(square) * share)
            term = w * r * r * down
            value = value + term
            slope = slope + term * down * share
        excess, slope_sum = total(value) - dof, total(slope)
        if not (excess > 0.0 and slope_sum > 0.0):
            break
        square += excess / slope_sum
        if excess / slope_sum < CLOSE * square:
            break
    return square**0.5
