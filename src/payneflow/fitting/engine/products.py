"""Sums over pixels of products of many rows with each other: of more labels than registers can hold the sums of.

Rows of a few groups of pixels are collected; then tile by tile of the matrix of sums, whose numbers stay in registers
meanwhile, the groups are added one after the other. Each sum has the same terms in the same order as in a loop over
groups that adds to all of them, and so the same bits. That loop would store every sum for every group.
"""

from functools import cache

from payneflow.simd import get, part, put, registers_like

TILE = 2  # rows and columns of a tile: its sums stay in registers, also where one of ours is two of the CPU's
GROUPS = 8  # of pixels that are collected: with 24 rows 12 kB, which stay near


@part
def place_of(row, column):
    """Where the sum of the products of `row` and `column` <= `row` is."""
    a, b = row // TILE, column // TILE
    return ((a * (a + 1) // 2 + b) * TILE + row % TILE) * TILE + column % TILE


@cache
def build_products(n_row):
    """For `n_row` rows: how many a group of pixels has with padding, how many sums there are, and the part `add`."""
    n_tile = -(-n_row // TILE)
    n_padded, n_sum = n_tile * TILE, n_tile * (n_tile + 1) // 2 * TILE * TILE
    tile, square, groups = TILE, TILE * TILE, GROUPS

    @part
    def add(rows, weights, sums):
        """Add to `sums`, n_sum registers (place_of), the weighted products of the rows of GROUPS groups.

        Row r of group g is register `g * n_padded + r` of `rows`; `weights` has one register a group.
        """
        tile_sums = registers_like(get(weights, 0), square)
        for a in range(n_tile):
            for b in range(a + 1):
                first = (a * (a + 1) // 2 + b) * square
                for m in range(square):
                    put(tile_sums, m, get(sums, first + m))
                for group in range(groups):
                    at = group * n_padded
                    for i in range(tile):
                        weighted = get(weights, group) * get(rows, at + a * tile + i)
                        for j in range(tile):
                            m = i * tile + j
                            put(tile_sums, m, get(tile_sums, m) + weighted * get(rows, at + b * tile + j))
                for m in range(square):
                    put(sums, first + m, get(tile_sums, m))

    return n_padded, n_sum, add
