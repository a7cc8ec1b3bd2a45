"""A kernel of as many sizes as one likes, with a part too long to be inlined. Run with sizes: prints results."""

import sys
from functools import cache

import numpy as np

from payneflow.simd import kernel, part

VALUES = np.arange(5.0)


def scrambled(n):
    """The part of size `n` in plain Python."""

    def scramble(values, first):
        total = 0.0
        for i in range(n):
            for j in range(i, n):
                for k in range(len(values)):
                    total += values[k] * (first + i) / (1.0 + j + k)
                    if total > 1e6:
                        total = np.sqrt(total)
        return total

    return scramble


@cache
def build(n):
    """The kernel of size `n`."""
    scramble = part(scrambled(n))

    @kernel
    def compute(values):
        return scramble(values, 1.0) + scramble(values[1:], 2.0) * scramble(values[2:], n)

    return compute


if __name__ == "__main__":
    for size in map(int, sys.argv[1:]):
        print(size, build(size)(VALUES).hex())
