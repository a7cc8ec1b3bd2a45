"""The logistic function and powers of two of whole registers, by polynomials and quotients."""

from numba.extending import overload

from payneflow.simd.compile import inlined
from payneflow.simd.registers import fill, float16, like, maximum, minimum, times_power_of_two

# --- Logistic function ------------------------------------------------------------------------------------------------

ROUNDING = 6755399441055744.0  # 1.5 * 2**52: adding it rounds a double to a whole number, kept in the low bits
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
LARGEST_ARGUMENT = 300.0  # sigmoid(-300) = 5e-131: far beyond what a weight can feel, and no overflow below

# Pade approximant [5/5] of exp(r): (even(r^2) + r odd(r^2)) / (even(r^2) - r odd(r^2)), relative error 9e-16 for
# |r| <= ln(2)/2; coefficients (10-j)! 5! / (10! j! (5-j)!), see Baker & Graves-Morris 1996, Pade Approximants, 1.2.
EVEN_2, EVEN_4 = 1.0 / 9.0, 1.0 / 1008.0
ODD_1, ODD_3, ODD_5 = 1.0 / 2.0, 1.0 / 72.0, 1.0 / 30240.0


@inlined
def sigmoid(z):
    """Logistic function exp(z) / (1 + exp(z)) of a register, within 3e-16.

    exp(z) = 2**k exp(r) with whole k and |r| <= ln(2)/2, and exp(r) a quotient, so that one division does both.
    """
    z = minimum(maximum(z, fill(-LARGEST_ARGUMENT)), fill(LARGEST_ARGUMENT))
    shifted = z * fill(LOG2_E) + fill(ROUNDING)
    r = z - (shifted - fill(ROUNDING)) * fill(LN_2)
    square = r * r
    even = (fill(EVEN_4) * square + fill(EVEN_2)) * square + fill(1.0)
    odd = ((fill(ODD_5) * square + fill(ODD_3)) * square + fill(ODD_1)) * r
    numerator = times_power_of_two(even + odd, shifted)
    return numerator / (numerator + (even - odd))


# --- Powers of two ----------------------------------------------------------------------------------------------------

SINGLE_ROUNDING = 12582912.0  # 1.5 * 2**23: what ROUNDING is to float32

# 2**r = c0 + c1 r + c2 r^2 + ... for |r| <= 1/2, fitted for the least largest relative error: 7.8e-13 in double
# precision (degree 8), 7.5e-8 in single (degree 5).
DOUBLE_POWERS = (
    0.9999999999997629,
    0.6931471805465103,
    0.2402265069888151,
    0.055504109393561055,
    0.009618128542694077,
    0.0013333452050760383,
    0.00015403851789036628,
    1.530974004944045e-05,
    1.3175865199764086e-06,
)
SINGLE_POWERS = (
    1.0000000716546562,
    0.6931469670638682,
    0.24022119723935248,
    0.05550713274956459,
    0.009675541330637931,
    0.001327647152090811,
)
DOUBLE_LIMIT, SINGLE_LIMIT = 400.0, 60.0  # of the exponent: the product of two powers is still a number


def power_of_two(x):
    """2**x of a `double8` or `float16`, lane by lane, x taken as within +-400 or +-60; for use in kernels."""
    raise NotImplementedError("a part of kernels, which compile it")


@overload(power_of_two, jit_options={"error_model": "numpy", "nogil": True, "forceinline": True})
def _power_of_two(x):
    single = x == float16
    limit, rounding = (SINGLE_LIMIT, SINGLE_ROUNDING) if single else (DOUBLE_LIMIT, ROUNDING)
    powers = SINGLE_POWERS if single else DOUBLE_POWERS
    degree = len(powers) - 1

    def compute(x):
        x = minimum(maximum(x, like(x, -limit)), like(x, limit))
        shifted = x + like(x, rounding)
        r = x - (shifted - like(x, rounding))
        value = like(x, powers[degree])
        for k in range(1, degree + 1):
            value = value * r + like(x, powers[degree - k])
        return times_power_of_two(value, shifted)

    return compute
