"""One file of observed spectra, whatever its format: its arrays checked by their headers, then read by rows.

A store (one class a format: npz.py, hdf5.py, text.py, fits.py, mwm.py, with_specutils.py) answers by the file's own
names for arrays: `header(key)` gives (shape, dtype) or None where there is no such array, `rows(key, first, last)`
some rows of it, `whole(key)` all of it, `names()` what there is; `layout` is the layout completed by what the file
itself declares.
`check()` raises SpectraError where the file says another thing than the layout; `doubt()` says what a user should know
of the file, "" where there is nothing.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from payneflow.errors import SpectraError
from payneflow.spectra.formats import FORMATS
from payneflow.spectra.layout import INSTRUMENTS, ROLES, SpectraLayout
from payneflow.spectra.names import as_text, names_of_rows
from payneflow.spectra.rows import NamedRows, split
from payneflow.swelling import refuse_many_pixels, refuse_unstored

_OF_SPECTRA = ("identifier", "barycentric")  # of which there is one a spectrum, not one a pixel
_KEYWORDS = {"barycentric": "a velocity in km/s", "resolution": "R, a number", "lsf_sigma": "a number"}
_MEANING = {
    "wavelength": "the wavelengths",
    "flux": "the flux",
    "flux_error": "its 1 sigma errors, because uncertainty is flux_error",
    "ivar": "its inverse variance, because uncertainty is ivar",
    "mask": "the mask of bad pixels",
    "identifier": "the name of each spectrum",
    "barycentric": "the barycentric correction of each spectrum",
    "resolution": "R of each spectrum, or of each pixel",
    "lsf_sigma": "the sigma of the line-spread function",
}


class Store(Protocol):
    """What the assembly below needs of a format; every failure is a SpectraError that names file and key."""

    layout: SpectraLayout

    def names(self) -> list[str]: ...
    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None: ...
    def rows(self, key: str, first: int, last: int) -> np.ndarray: ...
    def whole(self, key: str) -> np.ndarray: ...
    def check(self) -> None: ...
    def doubt(self) -> str: ...
    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class StoredSpectra:
    """Some rows of a file as they are stored: `wavelength` (n_pixel,) or (n, n_pixel) in the unit of the layout,
    `flux` (n, n_pixel), `uncertainty` and `mask` (n, n_pixel) or None, `identifier` (n,), `barycentric` (n,) in km/s or
    None; `instrument` (n, 1) or (n, n_pixel), resolution or lsf_sigma as the layout names it, or None."""

    identifier: np.ndarray
    wavelength: np.ndarray
    flux: np.ndarray
    uncertainty: np.ndarray | None
    mask: np.ndarray | None
    barycentric: np.ndarray | None = None
    instrument: np.ndarray | None = None

    def some(self, rows: slice) -> "StoredSpectra":
        """Some of these rows; an axis that all share stays."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        own = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return StoredSpectra(**(own if self.wavelength.ndim > 1 else {**own, "wavelength": self.wavelength}))


class SpectraFile:
    """A file whose arrays fit together: `n_row` rows of `n_pixel` pixels, which are `n_spectrum` spectra.

    That is one where the layout says that its rows are pieces of one star's spectrum, else as many as rows. `name`:
    what spectra without an identifier are called; by default the file's own.
    Raises SpectraError naming the file, the key, the shape, and what was expected.
    """

    def __init__(self, path: Path, store: Store, name: str = ""):
        self.path, self.layout, self._store = path, store.layout, NamedRows(path, store)
        self.name = name or path.stem
        self._roles = self._present_roles()
        self._store.check()
        self._shapes = {role: self._checked_header(role) for role in self._roles}
        self.n_row, self.n_pixel = self._size()
        self.is_one_star = self.layout.rows == "one_star"
        refuse_many_pixels(self.place("flux"), self.n_pixel * (self.n_row if self.is_one_star else 1), SpectraError)
        self.n_spectrum = 1 if self.is_one_star else self.n_row
        self._check_shapes()

    def __enter__(self) -> "SpectraFile":
        return self

    def __exit__(self, *_) -> None:
        self._store.close()

    def place(self, role: str) -> str:
        """File and key, for messages."""
        return f"{self.path}: {self.layout.key(role)}"

    def doubt(self) -> str:
        """What a user should know of the file, "" where there is nothing."""
        return self._store.doubt()

    def read(self, first: int, last: int) -> StoredSpectra:
        """The rows `first` ... `last` - 1."""
        arrays = {role: self._read(role, first, last) for role in self._roles}
        uncertainty = arrays.get(self.layout.uncertainty) if self.layout.uncertainty in ("flux_error", "ivar") else None
        n = last - first
        shape = n, self.n_pixel
        return StoredSpectra(
            identifier=self._identifiers(arrays.get("identifier"), first, last),
            wavelength=arrays["wavelength"],
            flux=arrays["flux"].reshape(shape),
            uncertainty=None if uncertainty is None else np.broadcast_to(uncertainty, shape),
            mask=np.broadcast_to(arrays["mask"], shape) if "mask" in arrays else None,
            barycentric=self._numbers("barycentric", arrays.get("barycentric")),
            instrument=self._instrument(arrays.get(self.layout.instrument), n),
        )

    def identifiers(self) -> np.ndarray:
        """(n_spectrum,) what the spectra are called; nothing else is read."""
        stored = self._read("identifier", 0, self.n_row) if "identifier" in self._roles else None
        return self._identifiers(stored, 0, self.n_row)[: self.n_spectrum]

    def _read(self, role: str, first: int, last: int) -> np.ndarray:
        key = self.layout.key(role)
        shape = self._shapes[role]
        by_rows = len(shape) == (1 if role in _OF_SPECTRA else 2)
        if role in INSTRUMENTS:
            by_rows = shape != (self.n_pixel,) and shape[:1] == (self.n_row,)
        array = self._store.rows(key, first, last) if by_rows else self._store.whole(key)
        if role in _OF_SPECTRA or array.dtype.kind in "biuUS":
            return array
        return np.asarray(array, dtype=float)

    def _numbers(self, role: str, stored: np.ndarray | None) -> np.ndarray | None:
        """Numbers, one a spectrum; a keyword of a header is text."""
        if stored is None:
            return None
        values = np.atleast_1d(stored)
        try:
            return np.array([float(as_text(value)) for value in values])
        except ValueError:
            raise SpectraError(
                f"{self.place(role)} holds {as_text(values[0])[:60]!r}; expected {_KEYWORDS[role]}."
            ) from None

    def _instrument(self, stored: np.ndarray | None, n: int) -> np.ndarray | None:
        """What is said of the line-spread function of n rows: (n, 1), or (n, n_pixel) where pixels have their own."""
        if stored is None:
            return None
        values = self._numbers(self.layout.instrument, stored) if stored.dtype.kind in "US" else np.asarray(stored)
        shape = self._shapes[self.layout.instrument]
        if shape == (self.n_pixel,) or (len(shape) == 2 and shape[1] == self.n_pixel):
            return np.broadcast_to(values.astype(float), (n, self.n_pixel))
        return np.broadcast_to(values.astype(float).reshape(-1, 1), (n, 1))

    def _identifiers(self, stored: np.ndarray | None, first: int, last: int) -> np.ndarray:
        """Names as stored; without any the file's own, with the number of the spectrum where there are several."""
        if stored is not None:
            values = np.atleast_1d(stored)
            return np.array([as_text(value).strip() for value in values])
        return names_of_rows(self.name, range(first, last), self.n_spectrum)

    def _present_roles(self) -> list[str]:
        """The roles that are read; refuses keys that the file should hold and does not, all in one message."""
        other = {"flux_error", "ivar"} - {self.layout.uncertainty}
        wanted = [role for role in ROLES if role not in other and self.layout.key(role)]
        present = [role for role in wanted if self._store.header(self.layout.key(role)) is not None]
        missing = [role for role in wanted if role not in present and not self.layout.is_optional(role)]
        bits = self.layout.mask_bits
        if bits and "mask" not in present and "mask" not in missing and not FORMATS[self.layout.format].known:
            missing.append("mask")
        if missing:
            said = " ".join(self._missing(role) for role in missing)
            names = ", ".join(map(repr, self._store.names())) or "nothing"
            raise SpectraError(f"{self.path}: {said} The file holds {names}.")
        return present

    def _missing(self, role: str) -> str:
        said = f"no array '{self.layout.key(role)}' ({_MEANING[role]})."
        for other in {"flux_error", "ivar"} - {role} if role in ("flux_error", "ivar") else ():
            if self._store.header(self.layout.key(other)) is not None:
                return f"{said} It has '{self.layout.key(other)}': set uncertainty to {other}?"
        if role in ("flux_error", "ivar"):
            return f"{said} Name it as {role} of the layout, or set uncertainty to none: flux_error then is its error."
        if role == "mask" and self.layout.mask_bits:
            return f"{said} Name it as mask of the layout, or leave mask_bits {list(self.layout.mask_bits)} out."
        return f"{said} Name the array that holds this as {role} of the layout."

    def _checked_header(self, role: str) -> tuple[int, ...]:
        """The shape of an array that can be read and is of the right kind."""
        key = self.layout.key(role)
        shape, dtype = self._store.header(key)
        for name in dict.fromkeys((key, split(key)[0])):  # also what the row of an array is read from
            refuse_unstored(self.path, name, *(self._store.header(name) or (shape, dtype)), SpectraError)
        if dtype.hasobject:
            raise SpectraError(
                f"{self.place(role)} is a pickled array (dtype {dtype}), which is never loaded because it can run "
                "code. Store numbers as float or int, text as np.array(names, dtype=str)."
            )
        kinds, expected = ("fiub", "numbers") if role == "mask" else ("fiu", "real numbers")
        if role == "identifier":
            kinds, expected = "USiu", "text or whole numbers"
        if role in _KEYWORDS and not shape:
            kinds = "fiuUS"
        if dtype.kind not in kinds:
            raise SpectraError(f"{self.place(role)} has dtype {dtype}; expected {expected}.")
        if role == "mask":
            self._check_bits(dtype)
        return shape

    def _check_bits(self, dtype: np.dtype) -> None:
        """Refuse bits that a mask of this type cannot have."""
        bits = self.layout.mask_bits
        if not bits:
            return
        if dtype.kind not in "iu":
            raise SpectraError(
                f"{self.place('mask')} has dtype {dtype}; expected whole numbers, because of mask_bits {list(bits)}. "
                "Leave mask_bits out where what is not 0 is bad."
            )
        if max(bits) >= 8 * dtype.itemsize:
            raise SpectraError(
                f"{self.place('mask')} has dtype {dtype}, which has no bit {max(bits)}; expected mask_bits from 0 to "
                f"{8 * dtype.itemsize - 1}. Leave it out."
            )

    def _size(self) -> tuple[int, int]:
        shape, axis = self._shapes["flux"], self._shapes["wavelength"]
        if len(axis) not in (1, 2) or 0 in axis:
            raise SpectraError(
                f"{self.place('wavelength')} has shape {axis}; expected (n_pixel,), or (n_spectrum, n_pixel) where "
                "each spectrum has its own."
            )
        n_pixel = axis[-1]
        if shape == (n_pixel,):
            return 1, n_pixel
        if len(shape) == 2 and shape[0] == n_pixel != shape[1]:
            raise SpectraError(
                f"{self.place('flux')} is stored transposed: it has shape {shape}, but {self.layout.wavelength} has "
                f"{n_pixel} pixels; expected (n_spectrum, {n_pixel})."
            )
        if len(shape) == 3 and shape[2] == n_pixel:
            raise SpectraError(
                f"{self.place('flux')} has shape {shape}; expected (n_spectrum, {n_pixel}). Name one of its {shape[0]} "
                f"planes, the first as {self.layout.flux}[0], and likewise for its errors."
            )
        if len(shape) != 2 or shape[1] != n_pixel:
            raise SpectraError(
                f"{self.place('flux')} has shape {shape}; expected (n_spectrum, {n_pixel}), because "
                f"{self.layout.wavelength} has {n_pixel} pixels."
            )
        if shape[0] == 0:
            raise SpectraError(f"{self.place('flux')} holds no spectrum: it has shape {shape}.")
        return shape

    def _check_shapes(self) -> None:
        one, many = (self.n_pixel,), (self.n_row, self.n_pixel)
        allowed = dict.fromkeys(("wavelength", "flux", "flux_error", "ivar", "mask"), (one, many))
        for role in _OF_SPECTRA:
            allowed[role] = ((self.n_row,), *([(), (1,)] if self.n_spectrum == 1 else []))
        for role in INSTRUMENTS:
            allowed[role] = ((), (1,), (self.n_row,), (self.n_row, 1), one, many)
            if self._shapes.get(role) == (self.n_row,) == one and self.n_row > 1:
                raise SpectraError(
                    f"{self.place(role)} has shape {one}, and there are as many spectra as pixels: is it one number a "
                    f"spectrum, or one a pixel? Store it as {(self.n_row, 1)}, or as {many}."
                )
        if self.is_one_star and self.n_row > 1:
            allowed["wavelength"] = (many,)
        for role, shape in self._shapes.items():
            if shape not in allowed[role]:
                expected = " or ".join(map(str, dict.fromkeys(allowed[role])))
                raise SpectraError(
                    f"{self.place(role)} has shape {shape}; expected {expected}, because {self.layout.flux} holds "
                    f"{self.n_row} {'rows of one star' if self.is_one_star else 'spectra'} of {self.n_pixel} pixels."
                )
