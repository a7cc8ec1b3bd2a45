"""What the kernel of the Levenberg-Marquardt trainer is given, in groups, and the names of what stands at fixed places.

All arrays are flat. A row is LANES numbers, one for each network under way: row r is `array[LANES * r:][:LANES]`.
Shapes in rows say so; those in numbers are of what is the same for all lanes. Sizes are those of `Layout` (layout.py),
and n_spectrum is filled up to whole blocks. Labels are in the coordinates u (layout.py), flux is the networks' y'
(scaling.py), weights belong to both: none has a unit. float64 where no type is given. A kernel takes a group as one
argument: an argument in the wrong place is then another type, and does not compile.
"""

from typing import NamedTuple

import numpy as np

# Numbers of a spectrum in Spectra.table: its n_column inputs, then these.
ROOT_WEIGHT, COUNTED = range(2)
N_BEHIND_INPUTS = 2

# Rows of Networks.scalars: of the weights, of the trial weights, and what became of the last trial (`accept`).
COST, TRIAL_COST, DEVIATION, TRIAL_DEVIATION, DAMPING, GAIN = range(6)
N_SCALAR = 6


class Sizes(NamedTuple):
    """Sizes of the networks: the properties of `Layout` of the same names."""

    n_label: int
    n_neurons: int
    n_hidden: int
    n_weight: int
    n_row: int
    n_column: int
    n_table: int
    n_product: int
    n_pair: int
    n_output: int
    cross: int
    square: int
    n_sum: int


class Spectra(NamedTuple):
    """What the networks learn. Lanes with labels of their own: rows of an array (n, 8) for `table` and `inputs`."""

    table: np.ndarray  # (n_spectrum * n_table,) numbers: inputs u, 1, 0 to fill up; square root of the weight; 1 if the
    # spectrum counts for the deviation, else 0
    inputs: np.ndarray  # (n_spectrum * n_column,) numbers, float32: the inputs alone
    products: np.ndarray  # (n_spectrum * n_product,) numbers, float32: products of two inputs, in the order of Layout;
    # (1, 8) where they are made as they are needed
    targets: np.ndarray  # (n_spectrum) rows: flux y' of each lane's pixel


class Places(NamedTuple):
    """Where things are in the sums of J'J, from `Layout`."""

    first_of_pair: np.ndarray  # (n_pair,) int64: the hidden neurons of a pair
    second_of_pair: np.ndarray  # (n_pair,) int64
    first_of_product: np.ndarray  # (n_product,) int64: the inputs of a product
    second_of_product: np.ndarray  # (n_product,) int64
    sum_of_element: np.ndarray  # (elements of the lower triangle of tiles,) int32: row of Memory.sums


class Networks(NamedTuple):
    """The state of the lanes, which outlasts a call; weights in the layout and coordinates of `to_rows`."""

    weights: np.ndarray  # (n_row) rows; those after n_weight stay 0
    trial: np.ndarray  # (n_row) rows: the weights after the step that is tried
    penalties: np.ndarray  # (n_row) rows: of the square of each weight; any positive number after n_weight
    scalars: np.ndarray  # (N_SCALAR) rows: COST, TRIAL_COST; DEVIATION, TRIAL_DEVIATION in y'; DAMPING; GAIN
    activations: np.ndarray  # (2 * n_spectrum * (n_neurons + 1)) rows: hidden outputs, then the output; two halves, of
    # the weights and of the trial, which change places after each iteration


class Runs(NamedTuple):
    """How far each lane's run is, (LANES,) int64."""

    limit: np.ndarray  # iterations at most; 0: the lane is free
    count: np.ndarray  # iterations done
    small: np.ndarray  # accepted steps running whose gain was small
    done: np.ndarray  # 1 when the run has ended, written by the kernel


class Factor(NamedTuple):
    """The Cholesky factor L of J'J + penalties + damping (cholesky.py)."""

    tiles: np.ndarray  # (elements of the lower triangle of tiles) rows, tile row by tile row, each column by column; on
    # the diagonal the squares of L's elements
    inverse: np.ndarray  # (n_row) rows: 1 / diagonal of L


class Memory(NamedTuple):
    """Working memory of one iteration, of no use after it."""

    gradient: np.ndarray  # (n_row) rows: J'r + penalties * weights
    step: np.ndarray  # (n_row) rows: v
    bend: np.ndarray  # (n_row) rows: a
    pull: np.ndarray  # (BLOCK) rows: what `project` multiplies the derivatives of the output neuron's input by
    scratch: np.ndarray  # (BLOCK) rows
    by_output: np.ndarray  # (n_output * BLOCK) rows, float32: derivatives of a block's residuals by w1 and b1
    by_hidden: np.ndarray  # (n_neurons * BLOCK) rows, float32: those by b0; times an input those by w0
    products: np.ndarray  # (BLOCK * PRODUCTS) rows as (n, 8) where they are made as they are needed, float32
    sums: np.ndarray  # (n_sum) rows, float32: J'J
    factor: Factor
