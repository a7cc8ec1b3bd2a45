"""Where the weights of a network and the sums of J'J are in the arrays of the kernel.

Inside the kernel the weights of eight pixels are the rows of an array (see `simd`), hidden neuron by hidden neuron (its
n_label w0, then its b0), then w1, then b1, in the coordinates `u = (x' - 0.5)/0.2` of the scaled labels x', in which
hidden weights and biases are of like size. Outside, weights are in the published layout and coordinates (weights.py).
"""

from dataclasses import dataclass

import numpy as np

from payneflow.training.lm.arguments import N_BEHIND_INPUTS, Sizes
from payneflow.weights import join, n_weight, split

LABEL_CENTRE, LABEL_SCALE = 0.5, 0.2  # u = (x' - centre)/scale has mean 0 and variance about 1 on labels in 0.1 .. 0.9

# Sizes of what is held in registers at a time (32 of them on AVX-512), and spectra to a block.
TILE = 4  # rows and columns of a tile of the matrix
PAIRS, PRODUCTS = 2, 10  # hidden neurons x hidden neurons: this many pairs times this many products of labels
OUTPUTS = 6  # output weights x hidden neuron: this many rows of TILE columns
BLOCK = 16  # spectra


def whole(n, size):
    """n rounded up to a multiple of size."""
    return -(-n // size) * size


@dataclass(frozen=True)
class Layout:
    """Where the weights and the sums of J'J of a network with `n_label` labels and `n_neurons` hidden neurons are."""

    n_label: int
    n_neurons: int

    @property
    def n_input(self):
        """Inputs of a hidden neuron: the labels and 1."""
        return self.n_label + 1

    @property
    def n_weight(self):
        return n_weight(self.n_neurons, self.n_label)

    @property
    def n_hidden(self):
        """Rows of hidden weights and biases; the output weights follow, then the output bias."""
        return self.n_neurons * self.n_input

    @property
    def n_row(self):
        """Rows of the matrix: the weights, filling, and the gradient in the last one."""
        return whole(self.n_weight + 1, TILE)

    @property
    def n_column(self):
        """Columns of the label table: inputs filled up with 0 to whole tiles."""
        return whole(self.n_input, TILE)

    @property
    def n_table(self):
        """Numbers of a spectrum in the label table: its columns, then ROOT_WEIGHT and COUNTED."""
        return self.n_column + N_BEHIND_INPUTS

    @property
    def n_product(self):
        """Products of two inputs, filled up."""
        return whole(self.n_input * (self.n_input + 1) // 2, PRODUCTS)

    @property
    def n_pair(self):
        """Pairs of hidden neurons, filled up."""
        return whole(self.n_neurons * (self.n_neurons + 1) // 2, PAIRS)

    @property
    def n_output(self):
        """Rows of derivatives by w1 and b1, filled up for tiles of either height."""
        return max(whole(self.n_neurons + 1, OUTPUTS), whole(self.n_neurons + 1, TILE))

    @property
    def cross(self):
        """First row of the sums output weights x hidden weights."""
        return self.n_pair * self.n_product

    @property
    def square(self):
        """First row of the sums output weights x output weights."""
        return self.cross + self.n_output * self.n_neurons * self.n_column

    @property
    def n_sum(self):
        return self.square + self.n_output**2 + 1  # the last row stays 0

    @property
    def sizes(self):
        """The sizes that the kernel is compiled with."""
        return Sizes(*(getattr(self, name) for name in Sizes._fields))

    def products(self):
        """The pairs of inputs whose products are needed, (n, 2)."""
        return np.array([(a, b) for a in range(self.n_input) for b in range(a + 1)])

    def filled_products(self):
        """`products`, filled up to (n_product, 2) with the first of them."""
        pairs = self.products()
        return np.concatenate([pairs, np.repeat(pairs[:1], self.n_product - len(pairs), axis=0)])

    def pairs(self):
        """The pairs of hidden neurons, (n_pair, 2), first one the larger."""
        pairs = [(j, k) for j in range(self.n_neurons) for k in range(j + 1)]
        return np.array(pairs + [(0, 0)] * (self.n_pair - len(pairs)))

    def row_of_sum(self):
        """(n_row, n_row): the row of the sums that is this element of J'J; the last row, 0, where there is none."""
        i = np.arange(self.n_row)
        high, low = np.maximum(i[:, None], i), np.minimum(i[:, None], i)
        n_hidden = self.n_hidden

        def triangle(a, b):
            a, b = np.maximum(a, b), np.minimum(a, b)
            return a * (a + 1) // 2 + b

        pair = triangle(high // self.n_input, low // self.n_input)
        product = triangle(high % self.n_input, low % self.n_input)
        column = low // self.n_input * self.n_column + low % self.n_input
        hidden = pair * self.n_product + product
        cross = self.cross + (high - n_hidden) * self.n_neurons * self.n_column + column
        square = self.square + (high - n_hidden) * self.n_output + low - n_hidden
        where = np.where(high < n_hidden, hidden, np.where(low < n_hidden, cross, square))
        return np.where(high < self.n_weight, where, self.n_sum - 1)

    def tiles_of_sums(self):
        """`row_of_sum` of the lower triangle, tile by tile, flat."""
        where = self.row_of_sum()
        tiles = [
            where[TILE * i : TILE * (i + 1), TILE * j : TILE * (j + 1)].ravel()
            for i in range(self.n_row // TILE)
            for j in range(i + 1)
        ]
        return np.concatenate(tiles).astype(np.int32)


def to_rows(weights, n_label):
    """Published layout in x' coordinates -> layout and u coordinates of this file."""
    w0, b0, w1, b1 = split(weights, n_label)
    hidden = np.column_stack([w0 * LABEL_SCALE, b0 + LABEL_CENTRE * w0.sum(1)])
    return np.concatenate([hidden.ravel(), w1, [b1]])


def from_rows(rows, n_label, n_neurons):
    """The inverse of `to_rows`."""
    layout = Layout(n_label, n_neurons)
    hidden = rows[: layout.n_hidden].reshape(n_neurons, layout.n_input)
    w1, b1 = rows[layout.n_hidden : -1], rows[-1]
    w0 = hidden[:, :n_label] / LABEL_SCALE
    return join(w0, hidden[:, n_label] - LABEL_CENTRE * w0.sum(1), w1, b1)
