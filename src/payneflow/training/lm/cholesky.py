"""The Cholesky factor of eight matrices side by side, tile by tile, and the systems that it solves."""

from payneflow.simd import LANES, fill, get, inlined, load, maximum, put, registers, square_root, store, widen
from payneflow.training.lm.layout import TILE

HELD_TILE = TILE * TILE  # registers held at a time


@inlined
def triangle_row(i):
    """First row of the factor's tiles in tile row i: element (4i + a, k) is row `triangle_row(i) + 4k + a`."""
    return TILE * TILE * (i * (i + 1) // 2)


@inlined
def factorize(factor, inverse, sums, where, gradient, penalties, damping, n_row):
    """Cholesky factor of J'J + penalties + damping, tile by tile; `inverse` of its diagonal.

    The gradient is the last row of the matrix, so that of the factor is the solution of the lower triangular system.
    """
    n_tile = n_row // TILE
    for j in range(n_tile):
        for i in range(j, n_tile):
            held = registers(HELD_TILE)
            across = registers(TILE)
            at = (i * (i + 1) // 2 + j) * TILE * TILE
            for m in range(TILE * TILE):
                put(held, m, widen(load(sums, LANES * where[at + m])))
            if i == j:
                for m in range(TILE):
                    put(held, 5 * m, get(held, 5 * m) + damping + load(penalties, LANES * (TILE * j + m)))
            if i == n_tile - 1:
                for n in range(TILE):
                    put(held, 12 + n, load(gradient, LANES * (TILE * j + n)))
            left, right = triangle_row(i), triangle_row(j)
            for k in range(TILE * j):
                for n in range(TILE):
                    put(across, n, load(factor, LANES * (right + TILE * k + n)))
                for m in range(TILE):
                    down = load(factor, LANES * (left + TILE * k + m))
                    for n in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) - down * get(across, n))
            if i == j:
                for n in range(TILE):
                    least = damping + load(penalties, LANES * (TILE * j + n))  # of a pivot, were it not for rounding
                    d = fill(1.0) / square_root(maximum(get(held, 5 * n), least))
                    store(inverse, LANES * (TILE * j + n), d)
                    for m in range(TILE):
                        if m > n:
                            put(held, TILE * m + n, get(held, TILE * m + n) * d)
                    for m in range(TILE):
                        for o in range(TILE):
                            if n < o <= m:
                                product = get(held, TILE * m + n) * get(held, TILE * o + n)
                                put(held, TILE * m + o, get(held, TILE * m + o) - product)
            else:
                for n in range(TILE):
                    for o in range(TILE):
                        if o < n:
                            d = load(factor, LANES * (right + TILE * (TILE * j + o) + n))
                            for m in range(TILE):
                                put(held, TILE * m + n, get(held, TILE * m + n) - get(held, TILE * m + o) * d)
                    d = load(inverse, LANES * (TILE * j + n))
                    for m in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) * d)
            for n in range(TILE):
                for m in range(TILE):
                    store(factor, LANES * (left + TILE * (TILE * j + n) + m), get(held, TILE * m + n))


@inlined
def solve_lower(factor, inverse, x, n_row):
    """x <- L^-1 x"""
    for i in range(n_row // TILE):
        held = registers(TILE)
        row = triangle_row(i)
        for m in range(TILE):
            put(held, m, load(x, LANES * (TILE * i + m)))
        for k in range(TILE * i):
            solved = load(x, LANES * k)
            for m in range(TILE):
                put(held, m, get(held, m) - load(factor, LANES * (row + TILE * k + m)) * solved)
        for n in range(TILE):
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m > n:
                    below = load(factor, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, m, get(held, m) - below * solved)


@inlined
def solve_upper(factor, inverse, x, n_row):
    """x <- L'^-1 x"""
    n_tile = n_row // TILE
    for back in range(n_tile):
        i = n_tile - 1 - back
        held = registers(TILE)
        for n in range(TILE):
            put(held, n, load(x, LANES * (TILE * i + n)))
        for k in range(i + 1, n_tile):
            row = triangle_row(k)
            for m in range(TILE):
                solved = load(x, LANES * (TILE * k + m))
                for n in range(TILE):
                    below = load(factor, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, n, get(held, n) - below * solved)
        row = triangle_row(i)
        for back_n in range(TILE):
            n = TILE - 1 - back_n
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m < n:
                    below = load(factor, LANES * (row + TILE * (TILE * i + m) + n))
                    put(held, m, get(held, m) - below * solved)
