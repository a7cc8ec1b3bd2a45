"""What the header of a stored array says of it, in the same words for every format of grid file."""

from dataclasses import dataclass

import numpy as np

WHAT = "a grid of spectra (npz or HDF5)"  # in messages on a file that is none


@dataclass(frozen=True)
class Header:
    """Shape and dtype of an array that is not read yet. `text`, `pickled`: whether it holds text, or Python objects."""

    shape: tuple[int, ...]
    dtype: np.dtype
    text: bool
    pickled: bool

    @property
    def trained_dtype(self) -> np.dtype:
        """What flux of this dtype is read and trained as: native float32 where the file has float32, else float64."""
        single = self.dtype.kind == "f" and self.dtype.itemsize == 4
        return np.dtype(np.float32 if single else np.float64)
