"""What the options of several subcommands share: a grid, a network file, lists of files, declared settings."""

import argparse
from dataclasses import fields
from functools import partial
from typing import Any

from payneflow.declaration import Setting, as_meant, settings_of
from payneflow.errors import SettingsError


def add_network(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument("network", metavar="NETWORK", help="network file made by payneflow gather")


def add_grid(subcommand: argparse.ArgumentParser, name: str = "grid") -> None:
    said, several = "grid of synthetic spectra (npz or HDF5)", "files of one grid are joined in the order given"
    if name.startswith("-"):
        subcommand.add_argument(name, action="append", metavar="GRID", help=f"{said}; given again: {several}")
    else:
        subcommand.add_argument(name, nargs="+", metavar="GRID", help=f"{said}; {several}")
    subcommand.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help="the grid calls this array NAME; WHAT is wavelength, flux, labels, label_names, label_units or resolution",
    )


def grid_keys_of(given: argparse.Namespace):
    """GridKeys of the options. Raises SettingsError naming the one that cannot be meant."""
    from payneflow.grid import GridKeys

    known = [field.name for field in fields(GridKeys)]
    names = dict(pair.partition("=")[::2] for pair in given.key)
    for what, name in names.items():
        if what not in known or not name:
            raise SettingsError(f"--key {what}={name}: expected WHAT=NAME, WHAT one of {', '.join(known)}.")
    return GridKeys(**names)


def add_grid_reading(subcommand: argparse.ArgumentParser) -> None:
    """How the grid is taken: the settings of GridReading."""
    from payneflow.grid import GridReading

    for one in settings_of(GridReading):
        said = f"{meaning(one)} (default: {one.default})".replace("%", "%%")
        choices = {"choices": one.choices} if one.choices else {"metavar": one.metavar or "NAME"}
        subcommand.add_argument(option_of(one.name), default=one.default, help=said, **choices)


def grid_reading_of(given: argparse.Namespace):
    """GridReading of the options. Raises SettingsError naming what cannot be meant."""
    from payneflow.grid import GridReading

    return GridReading(**{one.name: getattr(given, one.name) for one in settings_of(GridReading)})


def add_seed(subcommand: argparse.ArgumentParser, said: str) -> None:
    subcommand.add_argument("--seed", type=int, default=0, metavar="N", help=f"{said} (default: %(default)s)")


_ABOUT = {
    "abundances": "convention of the abundances, such as '[X/H], Asplund et al. 2009'",
    "licence": "under which the networks may be used",
    "citation": "of the work to be cited",
}


def add_about(subcommand: argparse.ArgumentParser) -> None:
    """Texts that a network file keeps."""
    for name, said in _ABOUT.items():
        subcommand.add_argument(option_of(name), metavar="TEXT", help=f"{said}; kept in the network file")


def about_of(given: argparse.Namespace) -> dict[str, str]:
    """Those texts that are given."""
    return {name: getattr(given, name) for name in _ABOUT if getattr(given, name) is not None}


def add_list(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "--list", metavar="FILE", help="take the paths from this file, one a line: more than a command line can hold"
    )


def listed(given: argparse.Namespace, paths: list[str]) -> list[str]:
    """The paths on the command line, or those of --list. Raises SettingsError where there are none or both."""
    from payneflow.files import read_list

    if bool(paths) == bool(given.list):
        raise SettingsError("expected files, or --list FILE with one path a line, and not both.")
    return paths or read_list(given.list)


def pairs(option: str, given: list[str], of_numbers: bool = False) -> dict[str, str]:
    """NAME=TEXT options as a dictionary; a name may hold a "=" where the text is `of_numbers`, which hold none."""
    parts = [one.rpartition("=") if of_numbers else one.partition("=") for one in given]
    for one, part in zip(given, parts, strict=True):
        if not all(part):
            raise SettingsError(f"{option} {one}: expected NAME=VALUE.")
    return dict(part[::2] for part in parts)


# ------------------------------------------------------------------------------------------------- declared settings


def option_of(name: str) -> str:
    """The option for a setting of this name."""
    return f"--{name.replace('_', '-')}"


def meaning(one: Setting) -> str:
    """What a setting means, with its unit."""
    return f"{one.help}, in {one.unit}" if one.unit else one.help


def add_number(group, one: Setting, said: str, default: Any, dest: str | None = None) -> None:
    """Add the option of a setting that is a number, or auto; `said`: its help."""
    kind = one.kind if isinstance(one.kind, type) else partial(as_meant, kind=one.kind)
    metavar = one.metavar or ("N" if one.kind is int or "whole" in one.expected else "X")
    option, text = one.option or option_of(one.name), said.replace("%", "%%")
    group.add_argument(option, dest=dest or one.name, type=kind, default=default, metavar=metavar, help=text)
