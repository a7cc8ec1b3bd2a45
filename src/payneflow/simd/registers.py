"""Registers: eight or sixteen numbers that are loaded, added, multiplied and stored as one.

Numba has no SIMD type, so this file adds three. A local variable of type `double8` is one register holding the same
quantity of eight pixels; `+ - * /` act lane by lane. All state of eight pixels lives in flat float64 arrays whose
row r is `array[8*r : 8*r + 8]`; `load` and `store` move a row between such an array and a register, `fill` copies one
number into all eight lanes. `float8` is the same for float32 arrays (half the cost, a quarter of the digits), with
`narrow` and `widen` in between. On a CPU without AVX-512 LLVM splits each register into smaller ones: the same code,
slower. Arrays come from `aligned`: a register that straddles two cache lines costs a third more.

`float16` is a register of sixteen float32 numbers. Code that is to run in either precision takes whole cache lines
with `load_line` (a `double8` from a float64 array, a `float16` from a float32 one) and makes constants with `like`.

Only `contract` (a*b + c in one rounding) is allowed of LLVM's relaxed arithmetic. It never reorders a sum, so a lane
gets the same bits whatever the other lanes hold.
"""

import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
CACHE_LINE = 64  # bytes; also the width of an AVX-512 register


class Lanes(types.Type):
    """Numba's type of one register: `lanes` numbers of one precision."""

    def __init__(self, name, scalar, llvm_scalar, lanes=LANES):
        super().__init__(name=name)
        self.scalar = scalar
        self.lanes = lanes
        self.llvm = ir.VectorType(llvm_scalar, lanes)
        self.integers = ir.VectorType(ir.IntType(scalar.bitwidth), lanes)

    def zero(self):
        return ir.Constant(self.llvm, [0.0] * self.lanes)


double8 = Lanes("double8", types.float64, ir.DoubleType())
float8 = Lanes("float8", types.float32, ir.FloatType())
float16 = Lanes("float16", types.float32, ir.FloatType(), 16)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, numba_type.llvm)


def _of(scalar):
    """The register type of eight numbers of this precision."""
    return float8 if scalar == types.float32 else double8


def _line_of(scalar):
    """The register type of a cache line of numbers of this precision."""
    return float16 if scalar == types.float32 else double8


# ---------------------------------------------------------------------------------------------- memory and registers


def aligned(n_row, dtype=np.float64):
    """A flat array of `n_row` rows of eight zeros that starts at a cache line."""
    n_byte = n_row * LANES * np.dtype(dtype).itemsize
    memory = np.zeros(n_byte + CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first : first + n_byte].view(dtype)


def _row(context, builder, array_type, array, index_type, index, register_type):
    """Pointer to the numbers of one register starting at element `index` of `array`."""
    data = context.make_array(array_type)(context, builder, array).data
    element = builder.gep(data, [context.cast(builder, index, index_type, types.intp)])
    return builder.bitcast(element, register_type.llvm.as_pointer())


def _alignment(array_type):
    return array_type.dtype.bitwidth // 8  # numpy promises no more


def _loaded(register_type, array, index):
    def generate(context, builder, signature, arguments):
        array_type, index_type = signature.args
        row = _row(context, builder, array_type, arguments[0], index_type, arguments[1], register_type)
        register = builder.load(row)
        register.align = _alignment(array_type)
        return register

    return register_type(array, index), generate


@intrinsic
def load(typing_context, array, index):
    """The eight numbers `array[index : index + 8]` as a register."""
    return _loaded(_of(array.dtype), array, index)


@intrinsic
def load_line(typing_context, array, index):
    """A cache line of numbers from `array[index]` on as a register: eight of float64, sixteen of float32."""
    return _loaded(_line_of(array.dtype), array, index)


@intrinsic
def store(typing_context, array, index, register):
    """Write a register to the array from element `index` on."""
    if not isinstance(register, Lanes) or register.scalar != array.dtype:
        return None

    def generate(context, builder, signature, arguments):
        array_type, index_type, register_type = signature.args
        row = _row(context, builder, array_type, arguments[0], index_type, arguments[1], register_type)
        builder.store(arguments[2], row).align = _alignment(array_type)
        return context.get_dummy_value()

    return types.void(array, index, register), generate


def _filled(context, builder, register_type, number_type, number):
    number = context.cast(builder, number, number_type, register_type.scalar)
    undefined = ir.Constant(register_type.llvm, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), register_type.lanes), [0] * register_type.lanes)
    return builder.shuffle_vector(first, first, everywhere)


@intrinsic
def fill(typing_context, number):
    """A register with `number` in every lane: `float8` for a float32 number, else `double8`."""
    register_type = _of(number)

    def generate(context, builder, signature, arguments):
        return _filled(context, builder, register_type, signature.args[0], arguments[0])

    return register_type(number), generate


def for_lanes(array, row):
    """Number `row` of a flat array in every lane; of an array (n, 8) its row, a number for each lane."""
    raise NotImplementedError("a part of kernels, which compile it")


@overload(for_lanes, jit_options={"error_model": "numpy", "nogil": True, "forceinline": True})
def _for_lanes(array, row):
    if array.ndim == 2:
        return lambda array, row: load(array, LANES * row)
    return lambda array, row: fill(array[row])


@intrinsic
def like(typing_context, register, number):
    """A register of the same type as `register` with `number`, rounded to its precision, in every lane."""

    def generate(context, builder, signature, arguments):
        return _filled(context, builder, signature.args[0], signature.args[1], arguments[1])

    return register(register, number), generate


class _Registers(types.Type):
    """A few registers addressed by number; LLVM keeps them out of memory where unrolling makes the numbers known."""

    def __init__(self, lanes):
        super().__init__(name=f"Registers({lanes.name})")
        self.lanes = lanes


@register_model(_Registers)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, numba_type.lanes.llvm.as_pointer())


def _define_registers(lanes):
    @intrinsic(prefer_literal=True)
    def registers(typing_context, count):
        if not isinstance(count, types.IntegerLiteral):
            return None
        size = count.literal_value

        def generate(context, builder, signature, arguments):
            return cgutils.alloca_once(builder, lanes.llvm, size=size)

        return _Registers(lanes)(count), generate

    registers.__doc__ = (
        f"`count` registers of type {lanes.name}, a number known when compiling; `put(these, i, x)` and "
        "`get(these, i)` write and read them."
    )
    return registers


registers, float_registers = _define_registers(double8), _define_registers(float8)


@intrinsic(prefer_literal=True)
def registers_like(typing_context, register, count):
    """`count` registers of the type of `register`, a number known when compiling."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def generate(context, builder, signature, arguments):
        return cgutils.alloca_once(builder, signature.args[0].llvm, size=size)

    return _Registers(register)(register, count), generate


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

    return these.lanes(these, number), generate


@intrinsic
def narrow(typing_context, a):
    """The `float8` nearest to a `double8`."""
    return float8(double8), lambda context, builder, signature, arguments: builder.fptrunc(arguments[0], float8.llvm)


@intrinsic
def widen(typing_context, a):
    """A `float8` as a `double8`."""
    return double8(float8), lambda context, builder, signature, arguments: builder.fpext(arguments[0], double8.llvm)


# ------------------------------------------------------------------------------------------------------- arithmetic


def _define_operator(instruction, python_operator):
    @intrinsic
    def lane_by_lane(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return a(a, b), generate

    @overload(python_operator)
    def operate(a, b):
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: lane_by_lane(a, b)
        return None


for _instruction, _python_operator in (
    ("fadd", operator.add),
    ("fsub", operator.sub),
    ("fmul", operator.mul),
    ("fdiv", operator.truediv),
):
    _define_operator(_instruction, _python_operator)


def _call(builder, name, register_type, arguments):
    function_type = ir.FunctionType(register_type.llvm, [register_type.llvm] * len(arguments))
    kind = f"v{register_type.lanes}f{register_type.scalar.bitwidth}"
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{kind}")
    return builder.call(function, arguments)


@intrinsic
def maximum(typing_context, a, b):
    """The larger of two registers, lane by lane."""
    return a(a, b), lambda context, builder, signature, arguments: _call(builder, "maxnum", a, arguments)


@intrinsic
def minimum(typing_context, a, b):
    """The smaller of two registers, lane by lane."""
    return a(a, b), lambda context, builder, signature, arguments: _call(builder, "minnum", a, arguments)


@intrinsic
def absolute(typing_context, a):
    """The magnitude of a register, lane by lane."""
    return a(a), lambda context, builder, signature, arguments: _call(builder, "fabs", a, arguments)


@intrinsic
def square_root(typing_context, a):
    """The square root of a register, lane by lane."""
    return a(a), lambda context, builder, signature, arguments: _call(builder, "sqrt", a, arguments)


@intrinsic
def total(typing_context, a):
    """The sum of all lanes as a float64 number, added in the order of the lanes."""

    def generate(context, builder, signature, arguments):
        result = None
        for lane in range(a.lanes):
            number = builder.extract_element(arguments[0], ir.Constant(ir.IntType(32), lane))
            number = context.cast(builder, number, a.scalar, types.float64)
            result = number if result is None else builder.fadd(result, number)
        return result

    return types.float64(a), generate


@intrinsic
def where_less(typing_context, a, b, x, y):
    """`x` where `a < b`, else `y` (also where one of them is not a number), lane by lane."""

    def generate(context, builder, signature, arguments):
        a, b, x, y = arguments
        return builder.select(builder.fcmp_ordered("<", a, b), x, y)

    return x(a, b, x, y), generate


@intrinsic
def with_sign_of(typing_context, magnitude, a):
    """`magnitude` with the sign of `a`, and 0 where `a` is 0, lane by lane: `magnitude` times d|a|/da."""

    def generate(context, builder, signature, arguments):
        magnitude, a = arguments
        register_type = signature.args[1]
        signed = _call(builder, "copysign", register_type, [magnitude, a])
        return builder.select(builder.fcmp_unordered("!=", a, register_type.zero()), signed, register_type.zero())

    return a(magnitude, a), generate


@intrinsic
def times_power_of_two(typing_context, a, shifted):
    """`a * 2**k`, lane by lane, where `shifted = k + ROUNDING` and neither `a` nor the result is 0 or subnormal.

    The low bits of `shifted` are the whole number k; moved to the place of the exponent they can be added to it.
    In single precision it is `k + SINGLE_ROUNDING`.
    """

    def generate(context, builder, signature, arguments):
        exponent_place = ir.Constant(a.integers, [23 if a.scalar == types.float32 else 52] * a.lanes)
        power = builder.shl(builder.bitcast(arguments[1], a.integers), exponent_place)
        return builder.bitcast(builder.add(builder.bitcast(arguments[0], a.integers), power), a.llvm)

    return a(a, shifted), generate
