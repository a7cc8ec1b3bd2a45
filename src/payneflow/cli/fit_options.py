"""Options of what is fitted and of how spectra are stored, and what they mean."""

import argparse

from payneflow.cli import options
from payneflow.declaration import settings_of
from payneflow.errors import SettingsError
from payneflow.spectra import SpectraLayout, make_layout
from payneflow.spectra.formats import FORMATS
from payneflow.spectra.layout import LSF_UNITS, MEDIA, ROLES, ROWS, UNCERTAINTIES, WAVELENGTH_UNITS

_DEFAULT = SpectraLayout()


def add_layout(subcommand: argparse.ArgumentParser) -> None:
    """How observed spectra are stored."""
    group = subcommand.add_argument_group("layout of observed spectra", "nothing of it is guessed")
    group.add_argument("--format", choices=list(FORMATS), default=_DEFAULT.format, help="default: %(default)s")
    group.add_argument(
        "--uncertainty",
        choices=UNCERTAINTIES,
        default="",
        help="what comes with the flux: 1 sigma errors, their inverse variance, neither but a mask, or none of them",
    )
    group.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help=f"the file calls this array NAME (FITS: HDU or HDU:COLUMN; a row: NAME[0]); WHAT is {', '.join(ROLES)}",
    )
    group.add_argument(
        "--mask-bits", default="", metavar="N,N,...", help="bits of the mask that make a pixel bad (default: any)"
    )
    group.add_argument(
        "--wavelength-unit", choices=WAVELENGTH_UNITS, default=_DEFAULT.wavelength_unit, help="default: %(default)s"
    )
    group.add_argument(
        "--lsf-unit", choices=LSF_UNITS, default="", help="of lsf_sigma, the sigma of the line-spread function"
    )
    group.add_argument("--medium", choices=MEDIA, default=_DEFAULT.medium, help="default: %(default)s")
    group.add_argument(
        "--rows",
        choices=ROWS,
        default=_DEFAULT.rows,
        help="one_star: the rows of a file are chips or orders of one spectrum (default: %(default)s)",
    )
    group.add_argument(
        "--hdu", default="", metavar="HDU", help="of mwmStar, mwmVisit and specutils: which HDU, by number or name"
    )
    group.add_argument("--loader", default="", metavar="NAME", help="specutils' name of a format it cannot recognise")


def layout_of(given: argparse.Namespace) -> SpectraLayout:
    """The layout that the options declare. Raises SettingsError naming the option that cannot be meant."""
    names = options.pairs("--array", given.array)
    for role, name in names.items():
        if role not in ROLES:
            raise SettingsError(f"--array {role}={name}: expected WHAT=NAME, WHAT one of {', '.join(ROLES)}.")
    bits = [bit for bit in given.mask_bits.split(",") if bit.strip()]
    if not all(bit.strip().isdigit() for bit in bits):
        raise SettingsError(f"--mask-bits {given.mask_bits}: expected whole numbers with commas between them.")
    return make_layout(
        format=given.format,
        uncertainty=given.uncertainty,
        mask_bits=tuple(map(int, bits)),
        wavelength_unit=given.wavelength_unit,
        medium=given.medium,
        lsf_unit=given.lsf_unit,
        rows=given.rows,
        hdu=given.hdu,
        loader=given.loader,
        **({"constant_error": given.flux_error} if "flux_error" in given else {}),
        **names,
    )


_PLAIN = (int, float)


def add_fit_settings(subcommand: argparse.ArgumentParser) -> None:
    """What is fitted, and how: every setting of FitSettings."""
    from payneflow.fitting import FitSettings

    group = subcommand.add_argument_group("what is fitted")
    for one in settings_of(FitSettings):
        option, meaning = one.option or options.option_of(one.name), options.meaning(one)
        if one.kind in _PLAIN:
            options.add_number(group, one, f"{meaning} (default: {one.default})", default=one.default)
        elif one.kind is bool and one.default:
            option = options.option_of(f"no_{one.name}")
            group.add_argument(option, dest=one.name, action="store_false", help=f"do not {meaning}")
        elif one.kind is bool:
            group.add_argument(option, dest=one.name, action="store_true", help=meaning)
        elif one.choices:
            said = f"{meaning} (default: {one.default})"
            group.add_argument(option, dest=one.name, choices=one.choices, default=one.default, help=said)
        elif one.name == "windows":
            group.add_argument(option, dest=one.name, metavar=one.metavar, help=meaning)
        else:
            group.add_argument(
                option, dest=one.name, action="append", default=[], metavar=one.metavar, help=_ENTRIES[one.name]
            )


# of settings that hold an entry a label: the option that is given once for each, and how many numbers an entry has
_ENTRIES = {
    "fixed": "hold a label, in its unit, or vsini or vmac, in km/s",
    "priors": "Gaussian prior of a label, in its unit, or of vsini or vmac, in km/s",
}
_LENGTH = {"fixed": 1, "priors": 2}


def fit_settings_of(given: argparse.Namespace):
    """FitSettings of the options. Raises SettingsError naming what cannot be meant."""
    from payneflow.fitting import FitSettings, read_windows

    values = {}
    for one in settings_of(FitSettings):
        value = getattr(given, one.name)
        if one.name in _LENGTH:
            entries = options.pairs(one.option, value, of_numbers=True).items()
            value = {label: _numbers(one.option, label, text, _LENGTH[one.name]) for label, text in entries}
        elif one.name == "windows":
            value = () if value is None else read_windows(value)
        values[one.name] = value
    values["fixed"] = {label: value for label, (value,) in values["fixed"].items()}
    return FitSettings(**values)


def _numbers(option: str, name: str, text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        expected = "a number" if count == 1 else "two numbers, MEAN,SIGMA"
        raise SettingsError(f"{option} {name}={text}: expected {expected} in the unit of the label.")
    return values
