"""Spectra in any format that specutils reads; its objects say themselves what their errors, mask and units are."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units

from payneflow.errors import SpectraError
from payneflow.spectra.header_axis import doubt_of_header
from payneflow.spectra.header_says import check_said, said_of_medium
from payneflow.spectra.layout import SpectraLayout
from payneflow.spectra.masked import parted

_KINDS = {"std": "flux_error", "ivar": "ivar", "var": "variance"}  # astropy.nddata's names of kinds of error


class SpecutilsStore:
    """The arrays of the one `specutils` object of a file, under the names of their roles."""

    def __init__(self, path: Path, layout: SpectraLayout):
        try:
            import specutils
        except ModuleNotFoundError:
            raise SpectraError(
                f"{path}: the format specutils needs that package: pip install 'payneflow[specutils]'."
            ) from None
        reader = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D  # its name up to specutils 1
        if not path.is_file():
            raise SpectraError(f"{path}: no such file.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                spectrum = reader.read(str(path), **_options(layout))
        except Exception as error:  # each of its loaders raises what it likes
            hint = "" if layout.loader else " Name its format for specutils as loader."
            raise SpectraError(f"{path}: specutils cannot read it ({error}).{hint}") from error
        self._path, self._header = path, spectrum.meta.get("header") or {}
        self._arrays = _arrays(path, spectrum, layout)
        self.layout = _completed(layout, self._arrays)

    def close(self) -> None:
        pass

    def check(self) -> None:
        """Raise SpectraError where the header says another medium than the layout; objects of specutils say none."""
        check_said(f"{self._path}: its header", said_of_medium(self._header), self.layout)

    def doubt(self) -> str:
        return doubt_of_header(self._header)

    def names(self) -> list[str]:
        return list(self._arrays)

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        return (self._arrays[key].shape, self._arrays[key].dtype) if key in self._arrays else None

    def whole(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def rows(self, key: str, first: int, last: int) -> np.ndarray:
        return self._arrays[key][first:last]


def _options(layout: SpectraLayout) -> dict[str, str | int]:
    options: dict[str, str | int] = {"format": layout.loader} if layout.loader else {}
    if layout.hdu:
        options["hdu"] = int(layout.hdu) if layout.hdu.isdigit() else layout.hdu
    return options


def _arrays(path: Path, spectrum, layout: SpectraLayout) -> dict[str, np.ndarray]:
    """Role -> array of a specutils object; wavelengths in Angstrom, and of its errors only what the layout asks for."""
    axis = spectrum.spectral_axis
    if axis.unit.physical_type not in ("length", "frequency", "energy", "wavenumber"):
        raise SpectraError(
            f"{path}: its spectral axis is in {axis.unit or 'pixels'}; expected a unit of wavelength, frequency or "
            "energy. Write the file with one, or read it with another loader."
        )
    if spectrum.flux.ndim > 1 and spectrum.flux.shape[:-1] != (1,):
        raise SpectraError(
            f"{path}: specutils gives flux of shape {spectrum.flux.shape}; expected one spectrum a file. Name its "
            "format (mwmVisit) or, with format fits, its arrays."
        )
    flux, masked = parted(spectrum.flux)
    arrays = {
        "wavelength": axis.to_value(units.AA, units.spectral()),
        "flux": np.asarray(flux if masked is None else np.where(masked, np.nan, flux), dtype=float),
    }
    if spectrum.mask is not None:
        arrays["mask"] = np.asarray(spectrum.mask, dtype=bool)
    if layout.uncertainty == "none":
        return arrays
    if spectrum.uncertainty is not None:
        kind = _KINDS.get(spectrum.uncertainty.uncertainty_type, spectrum.uncertainty.uncertainty_type)
        values, masked = parted(spectrum.uncertainty.array)
        values = np.asarray(values if masked is None else np.where(masked, np.nan, values), dtype=float)
        if kind == "variance":
            with np.errstate(invalid="ignore"):
                kind, values = "flux_error", np.sqrt(values)
        if layout.uncertainty not in ("mask", "", kind):
            raise SpectraError(
                f"{path}: specutils says that its errors are {kind}; expected {layout.uncertainty}, as the setting "
                f"uncertainty says. Set it to {kind}."
            )
        arrays[kind] = values
    return arrays


def _completed(layout: SpectraLayout, arrays: dict[str, np.ndarray]) -> SpectraLayout:
    """The layout with what the object has said: its arrays go by the names of their roles, in Angstrom."""
    usual = SpectraLayout()
    names = {role: usual.key(role) for role in ("wavelength", "flux", "flux_error", "ivar", "mask", "identifier")}
    kind = layout.uncertainty or ("ivar" if "ivar" in arrays else "flux_error")
    return replace(layout, **names, uncertainty=kind, mask_bits=(), wavelength_unit="Angstrom")
