"""The Cholesky factor of eight matrices side by side, tile by tile, and the systems that it solves."""

from payneflow.simd import LANES, fill, get, inlined, load, maximum, put, registers, square_root, store, widen
from payneflow.training.lm.layout import TILE

HELD_TILE = TILE * TILE  # registers held at a time: element (m, n) of a tile is number TILE * m + n
DIAGONAL = TILE + 1  # from one element of a tile's diagonal to the next
LAST_ROW = TILE * (TILE - 1)  # the first element of a tile's last row


@inlined
def triangle_row(i):
    """First row of tile row i in Factor.tiles: L's element (TILE * i + a, k) is `triangle_row(i) + TILE * k + a`."""
    return TILE * TILE * (i * (i + 1) // 2)


@inlined
def factorize(factor, sums, sum_of_element, gradient, penalties, damping, n_row):
    """Write to `factor` (Factor) the Cholesky factor L of J'J + penalties + damping, n_row rows and columns.

    `sums` holds J'J, its elements where `sum_of_element` says (Memory, Places); `damping` is a register, `penalties`
    and `gradient` are n_row rows. The gradient takes the place of the matrix's last row, so the last row of L is the
    solution of the lower triangular system, L^-1 gradient. A pivot below penalty + damping, which only rounding can
    make, is raised to that.
    """
    tiles, inverse = factor.tiles, factor.inverse
    n_tile = n_row // TILE
    for j in range(n_tile):
        for i in range(j, n_tile):
            held = registers(HELD_TILE)
            across = registers(TILE)
            at = (i * (i + 1) // 2 + j) * TILE * TILE
            for m in range(TILE * TILE):
                put(held, m, widen(load(sums, LANES * sum_of_element[at + m])))
            if i == j:
                for m in range(TILE):
                    penalty = load(penalties, LANES * (TILE * j + m))
                    put(held, DIAGONAL * m, get(held, DIAGONAL * m) + damping + penalty)
            if i == n_tile - 1:
                for n in range(TILE):
                    put(held, LAST_ROW + n, load(gradient, LANES * (TILE * j + n)))
            left, right = triangle_row(i), triangle_row(j)
            for k in range(TILE * j):
                for n in range(TILE):
                    put(across, n, load(tiles, LANES * (right + TILE * k + n)))
                for m in range(TILE):
                    down = load(tiles, LANES * (left + TILE * k + m))
                    for n in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) - down * get(across, n))
            if i == j:
                for n in range(TILE):
                    least = damping + load(penalties, LANES * (TILE * j + n))  # of a pivot, were it not for rounding
                    d = fill(1.0) / square_root(maximum(get(held, DIAGONAL * n), least))
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
                            d = load(tiles, LANES * (right + TILE * (TILE * j + o) + n))
                            for m in range(TILE):
                                put(held, TILE * m + n, get(held, TILE * m + n) - get(held, TILE * m + o) * d)
                    d = load(inverse, LANES * (TILE * j + n))
                    for m in range(TILE):
                        put(held, TILE * m + n, get(held, TILE * m + n) * d)
            for n in range(TILE):
                for m in range(TILE):
                    store(tiles, LANES * (left + TILE * (TILE * j + n) + m), get(held, TILE * m + n))


@inlined
def solve_lower(factor, x, n_row):
    """x <- L^-1 x, x (n_row) rows, L the `factor` (Factor)."""
    tiles, inverse = factor.tiles, factor.inverse
    for i in range(n_row // TILE):
        held = registers(TILE)
        row = triangle_row(i)
        for m in range(TILE):
            put(held, m, load(x, LANES * (TILE * i + m)))
        for k in range(TILE * i):
            solved = load(x, LANES * k)
            for m in range(TILE):
                put(held, m, get(held, m) - load(tiles, LANES * (row + TILE * k + m)) * solved)
        for n in range(TILE):
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m > n:
                    below = load(tiles, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, m, get(held, m) - below * solved)


@inlined
def solve_upper(factor, x, n_row):
    """x <- L'^-1 x, x (n_row) rows, L the `factor` (Factor)."""
    tiles, inverse = factor.tiles, factor.inverse
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
                    below = load(tiles, LANES * (row + TILE * (TILE * i + n) + m))
                    put(held, n, get(held, n) - below * solved)
        row = triangle_row(i)
        for back_n in range(TILE):
            n = TILE - 1 - back_n
            solved = get(held, n) * load(inverse, LANES * (TILE * i + n))
            store(x, LANES * (TILE * i + n), solved)
            for m in range(TILE):
                if m < n:
                    below = load(tiles, LANES * (row + TILE * (TILE * i + m) + n))
                    put(held, m, get(held, m) - below * solved)
