"""Eight pixels side by side: the 8-wide register type that the training kernels are written in.

Numba has no SIMD type, so this file adds one. A local variable of type `Double8` is one register holding the same
quantity of eight pixels; `+ - * /` act lane by lane. All state of eight pixels lives in one flat float64 array whose
row r is `array[8*r : 8*r + 8]`; `load` and `store` move a row between that array and a register, `fill` copies one
number into all eight lanes. On a CPU without AVX-512 LLVM splits each register in two: the same code, slower.

Only `contract` (a*b + c in one rounding) is allowed of LLVM's relaxed arithmetic. It never reorders a sum, so a lane
gets the same bits whatever the other lanes hold.
"""

import hashlib
import operator
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.extending import intrinsic, models, overload, register_model

LANES = 8

_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(64), LANES)


class _Double8(types.Type):
    def __init__(self):
        super().__init__(name="Double8")


double8 = _Double8()


@register_model(_Double8)
class _Double8Model(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _DOUBLES)


# ---------------------------------------------------------------------------------------------- memory and registers


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float64, that start at a cache line: a row that straddles two lines costs twice (30 % of the whole)."""
    n_byte = 8 * int(np.prod(shape))
    buffer = np.zeros(n_byte + 64, dtype=np.uint8)
    first = -buffer.ctypes.data % 64
    return buffer[first : first + n_byte].view(np.float64).reshape(shape)


def _row(context, builder, array_type, array, index_type, index):
    """Pointer to eight doubles starting at element `index` of `array`."""
    data = context.make_array(array_type)(context, builder, array).data
    element = builder.gep(data, [context.cast(builder, index, index_type, types.intp)])
    return builder.bitcast(element, _DOUBLES.as_pointer())


@intrinsic
def load(typing_context, array, index):
    """The eight doubles `array[index : index + 8]` as a register."""

    def generate(context, builder, signature, arguments):
        row = _row(context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1])
        register = builder.load(row)
        register.align = 8  # numpy promises no more for float64
        return register

    return double8(array, index), generate


@intrinsic
def store(typing_context, array, index, register):
    """Write a register to `array[index : index + 8]`."""

    def generate(context, builder, signature, arguments):
        row = _row(context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1])
        builder.store(arguments[2], row).align = 8
        return context.get_dummy_value()

    return types.void(array, index, register), generate


@intrinsic
def fill(typing_context, number):
    """A register with `number` in every lane."""

    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[0], signature.args[0], types.float64)
        first = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, first, everywhere)

    return double8(number), generate


class _Registers(types.Type):
    """A few registers addressed by number; LLVM keeps them out of memory where unrolling makes the numbers known."""

    def __init__(self):
        super().__init__(name="Registers")


_registers = _Registers()


@register_model(_Registers)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _DOUBLES.as_pointer())


@intrinsic(prefer_literal=True)
def registers(typing_context, count):
    """`count` registers, a number known when compiling; `put(these, i, x)` and `get(these, i)` write and read them."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def generate(context, builder, signature, arguments):
        return cgutils.alloca_once(builder, _DOUBLES, size=size)

    return _registers(count), generate


@intrinsic
def put(typing_context, these, number, register):
    """Set register `number` of `these`."""

    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], builder.gep(arguments[0], [number]))
        return context.get_dummy_value()

    return types.void(these, number, register), generate


@intrinsic
def get(typing_context, these, number):
    """Register `number` of `these`."""

    def generate(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(builder.gep(arguments[0], [number]))

    return double8(these, number), generate


# ------------------------------------------------------------------------------------------------------- arithmetic


def _define_operator(instruction, python_operator):
    @intrinsic
    def lane_by_lane(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return double8(a, b), generate

    @overload(python_operator)
    def operate(a, b):
        if a == double8 and b == double8:
            return lambda a, b: lane_by_lane(a, b)
        return None


for _instruction, _python_operator in (
    ("fadd", operator.add),
    ("fsub", operator.sub),
    ("fmul", operator.mul),
    ("fdiv", operator.truediv),
):
    _define_operator(_instruction, _python_operator)


def _call(builder, name, arguments):
    function_type = ir.FunctionType(_DOUBLES, [_DOUBLES] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v8f64")
    return builder.call(function, arguments)


@intrinsic
def maximum(typing_context, a, b):
    """The larger of two registers, lane by lane."""
    return double8(a, b), lambda context, builder, signature, arguments: _call(builder, "maxnum", arguments)


@intrinsic
def minimum(typing_context, a, b):
    """The smaller of two registers, lane by lane."""
    return double8(a, b), lambda context, builder, signature, arguments: _call(builder, "minnum", arguments)


@intrinsic
def absolute(typing_context, a):
    """The magnitude of a register, lane by lane."""
    return double8(a), lambda context, builder, signature, arguments: _call(builder, "fabs", arguments)


@intrinsic
def with_sign_of(typing_context, magnitude, a):
    """`magnitude` with the sign of `a`, and 0 where `a` is 0, lane by lane: `magnitude` times d|a|/da."""

    def generate(context, builder, signature, arguments):
        magnitude, a = arguments
        zero = ir.Constant(_DOUBLES, [0.0] * LANES)
        signed = _call(builder, "copysign", [magnitude, a])
        return builder.select(builder.fcmp_unordered("!=", a, zero), signed, zero)

    return double8(magnitude, a), generate


@intrinsic
def times_power_of_two(typing_context, a, shifted):
    """`a * 2**k`, lane by lane, where `shifted = k + ROUNDING` and neither `a` nor the result is 0 or subnormal.

    The low bits of `shifted` are the whole number k; moved to the place of the exponent they can be added to it.
    """

    def generate(context, builder, signature, arguments):
        exponent_place = ir.Constant(_INTEGERS, [52] * LANES)
        power = builder.shl(builder.bitcast(arguments[1], _INTEGERS), exponent_place)
        return builder.bitcast(builder.add(builder.bitcast(arguments[0], _INTEGERS), power), _DOUBLES)

    return double8(a, shifted), generate


# ------------------------------------------------------------------------------------------------------- compilation


class _SourceAwareCache(FunctionCache):
    """Numba's cache on disk, whose key knows every source file of this folder and not only the function's own."""

    _sources = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()

    def _index_key(self, signature, codegen):
        return (*super()._index_key(signature, codegen), self._sources)


def kernel(function):
    """Compile `function`, once per machine and kind of CPU; later processes read the machine code from disk."""
    dispatcher = njit(error_model="numpy", nogil=True)(function)
    dispatcher._cache = _SourceAwareCache(function)
    return dispatcher


inlined = njit(error_model="numpy", nogil=True)

# --------------------------------------------------------------------------------------------------- logistic function

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
