"""Eight registers of eight numbers turned: what were rows become columns."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from payneflow.simd import LANES

# of two registers, side by side: which numbers go into the first of the new two, and which into the second
PAIRS = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
FOURS = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
HALVES = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]


@intrinsic
def transpose(typing_context, these):
    """Turn the eight registers `these` (registers_like), of eight numbers each, in place."""

    def generate(context, builder, signature, arguments):
        def place(k):
            return builder.gep(arguments[0], [ir.Constant(ir.IntType(64), k)])

        def merged(a, b, both):
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), mask) for mask in both]
            return [builder.shuffle_vector(a, b, mask) for mask in masks]

        rows = [builder.load(place(k)) for k in range(LANES)]
        pairs = [merged(rows[k], rows[k + 1], PAIRS) for k in range(0, LANES, 2)]
        fours = []
        for first, second in ((0, 1), (2, 3)):
            for half in range(2):
                fours.append(merged(pairs[first][half], pairs[second][half], FOURS))
        for half in range(2):
            for k in range(2):
                low, high = merged(fours[half][k], fours[2 + half][k], HALVES)
                builder.store(low, place(2 * half + k))
                builder.store(high, place(4 + 2 * half + k))
        return context.get_dummy_value()

    return types.void(these), generate
