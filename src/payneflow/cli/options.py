"""The options of `payneflow fit` and of its kin: which spectra, how they are stored, what is fitted to them."""

import argparse
from dataclasses import fields

from payneflow.errors import SettingsError
from payneflow.spectra import SpectraLayout, make_layout
from payneflow.spectra.layout import FORMATS, MEDIA, ROLES, UNCERTAINTIES, WAVELENGTH_UNITS

_DEFAULT = SpectraLayout()


def add_layout(subcommand: argparse.ArgumentParser) -> None:
    """Files of observed spectra and how they are stored."""
    subcommand.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help='observed spectra, files or quoted patterns ("spectra/*.fits"); right behind NETWORK',
    )
    group = subcommand.add_argument_group("layout of observed spectra", "nothing of it is guessed")
    group.add_argument("--format", choices=FORMATS, default=_DEFAULT.format, help="default: %(default)s")
    group.add_argument(
        "--uncertainty",
        choices=UNCERTAINTIES,
        default="",
        help="what comes with the flux: 1 sigma errors, their inverse variance, or neither and a mask",
    )
    group.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help=f"the file calls this array NAME (in FITS: HDU, or HDU:COLUMN); WHAT is {', '.join(ROLES)}",
    )
    group.add_argument(
        "--mask-bits", default="", metavar="N,N,...", help="bits of the mask that make a pixel bad (default: any)"
    )
    group.add_argument(
        "--wavelength-unit", choices=WAVELENGTH_UNITS, default=_DEFAULT.wavelength_unit, help="default: %(default)s"
    )
    group.add_argument("--medium", choices=MEDIA, default=_DEFAULT.medium, help="default: %(default)s")
    group.add_argument("--loader", default="", metavar="NAME", help="specutils' name of a format it cannot recognise")


def layout_of(options: argparse.Namespace) -> SpectraLayout:
    """The layout that the options declare. Raises SettingsError naming the option that cannot be meant."""
    names = _pairs("--array", options.array)
    for role, name in names.items():
        if role not in ROLES:
            raise SettingsError(f"--array {role}={name}: expected WHAT=NAME, WHAT one of {', '.join(ROLES)}.")
    bits = [bit for bit in options.mask_bits.split(",") if bit.strip()]
    if not all(bit.strip().isdigit() for bit in bits):
        raise SettingsError(f"--mask-bits {options.mask_bits}: expected whole numbers with commas between them.")
    return make_layout(
        format=options.format,
        uncertainty=options.uncertainty,
        mask_bits=tuple(map(int, bits)),
        wavelength_unit=options.wavelength_unit,
        medium=options.medium,
        loader=options.loader,
        **({"constant_error": options.flux_error} if "flux_error" in options else {}),
        **names,
    )


def add_fit_settings(subcommand: argparse.ArgumentParser) -> None:
    """What is fitted, and how: every field of FitSettings."""
    from payneflow.fitting import FitSettings

    default = FitSettings()
    group = subcommand.add_argument_group("what is fitted")
    group.add_argument("--fix", action="append", default=[], metavar="LABEL=VALUE", help="hold a label, in its unit")
    group.add_argument(
        "--prior",
        action="append",
        default=[],
        metavar="LABEL=MEAN,SIGMA",
        help="Gaussian prior of a label, in its unit",
    )
    group.add_argument("--velocity", action="store_true", help="fit the radial velocity with the labels")
    group.add_argument(
        "--max-velocity", type=float, default=default.max_velocity, metavar="V", help="km/s (default: %(default)s)"
    )
    group.add_argument(
        "--continuum",
        type=int,
        default=default.continuum,
        metavar="N",
        help="Chebyshev terms of the continuum of each detector segment; 0: the spectra are normalised",
    )
    group.add_argument(
        "--n-starts", type=int, default=default.n_starts, metavar="N", help="starts of a fit (default: %(default)s)"
    )
    group.add_argument(
        "--tolerance",
        type=float,
        default=default.tolerance,
        metavar="X",
        help="distance from the true minimum at which a fit ends, in sigma of the labels (default: %(default)s)",
    )
    group.add_argument(
        "--no-emulator-error",
        action="store_true",
        help="do not add the networks' own error to the errors of the pixels",
    )


def fit_settings_of(options: argparse.Namespace):
    """FitSettings of the options. Raises SettingsError naming what cannot be meant."""
    from payneflow.fitting import FitSettings

    plain = ("velocity", "max_velocity", "continuum", "n_starts", "tolerance")
    known = {field.name for field in fields(FitSettings)}
    return FitSettings(
        fixed={name: _numbers("--fix", name, text, 1)[0] for name, text in _pairs("--fix", options.fix).items()},
        priors={name: _numbers("--prior", name, text, 2) for name, text in _pairs("--prior", options.prior).items()},
        emulator_error=not options.no_emulator_error,
        **{name: getattr(options, name) for name in plain if name in known},
    )


def _pairs(option: str, given: list[str]) -> dict[str, str]:
    """NAME=TEXT options as a dictionary; the name may hold no "="."""
    for one in given:
        if not all(one.partition("=")):
            raise SettingsError(f"{option} {one}: expected NAME=VALUE.")
    return dict(one.partition("=")[::2] for one in given)


def _numbers(option: str, name: str, text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        expected = "a number" if count == 1 else "two numbers, MEAN,SIGMA"
        raise SettingsError(f"{option} {name}={text}: expected {expected} in the unit of the label.")
    return values
