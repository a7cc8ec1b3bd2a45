"""The subcommand that says which spectra to compute: design first, next, report."""

import argparse
import shlex
from collections.abc import Callable

from payneflow.cli import options
from payneflow.errors import SettingsError


def design(given: argparse.Namespace) -> None:
    """Say which spectra to compute: the first of a new grid, the next of one that has networks, and when to stop."""
    given.design(given)


def first(given: argparse.Namespace) -> None:
    """Spectra of a new grid that fill ranges, polygons or the surroundings of stars evenly."""
    from payneflow.design.first import design_text, first_spectra
    from payneflow.design.region import make_region
    from payneflow.design.table import check_free, check_label_names, write_design

    check_free(given.output, given.overwrite, [given.like])
    limits = _limits_of(given)
    names = _names_of(given, limits)
    catalogue = _stars_of(given, names, needed=not limits)
    units = _units_of(given, names, catalogue)
    check_label_names(names, units)
    region = make_region(names, limits, _relations_of(given, names), catalogue and catalogue.stars)
    found = first_spectra(region, units, given.n, given.seed)
    write_design(given.output, found.labels, found.names, found.units, _provenance(given, "first"))
    print(design_text(found))
    print(f"{given.output}: any first rows of it fill the region, too; even rows match odd rows")
    without = [name for name, unit in zip(names, units, strict=True) if not unit]
    if without:
        print(f"note: no unit is known of {', '.join(without)}: give --unit {without[0]}=UNIT, or leave it so")


def next_(given: argparse.Namespace) -> None:
    """The further spectra that lower the error of networks most, edges and thin corners included."""
    from payneflow.design.first import design_text
    from payneflow.design.next import next_spectra, next_text, stars_of_grid
    from payneflow.design.region import make_region
    from payneflow.design.table import check_free, write_design
    from payneflow.network import read_networks

    check_free(given.output, given.overwrite, [given.network, *given.grid, given.like])
    limits = _limits_of(given)
    networks = read_networks(given.network)
    names = networks.label_names
    relations = _relations_of(given, names)
    catalogue = _stars_of(given, names, needed=not limits)
    _check_units(given, networks, catalogue)
    grid = networks.read_grid(given.grid, options.grid_keys_of(given))
    networks.split_of(grid)
    stars = catalogue.stars if catalogue else None if limits else stars_of_grid(grid)
    region = make_region(names, limits, relations, stars)
    found = next_spectra(networks, grid, region, given.n, given.seed, given.candidates, show=True)
    write_design(given.output, found.labels, found.names, found.units, _provenance(given, "next"))
    print(design_text(found))
    print(next_text(found))
    print(f"{given.output}: the most useful first; what is appended to the grid is divided as the grid is")


def report(given: argparse.Namespace) -> None:
    """How well a grid covers its labels, what they do to the flux, and what twice as many spectra would be worth."""
    from payneflow.design.report import design_report, report_text
    from payneflow.files import check_outputs
    from payneflow.network import read_networks

    check_outputs([given.figure], [given.network, *given.grid])
    networks = read_networks(given.network)
    found = design_report(networks, networks.read_grid(given.grid, options.grid_keys_of(given)), given.seed)
    print(report_text(found))
    if given.figure:
        from payneflow.design.figure import plot_report

        plot_report(found, given.figure)


def _check_units(given: argparse.Namespace, networks, catalogue) -> None:
    """Raise SettingsError where stars have labels in other units than the networks."""
    of_networks = dict(zip(networks.label_names, networks.label_units, strict=True))
    for name, unit in (catalogue.units if catalogue else {}).items():
        if unit and of_networks[name] and unit != of_networks[name]:
            raise SettingsError(
                f"{given.like}: {name} is in {unit}, that of the networks in {of_networks[name]}. Convert it."
            )


def _limits_of(given: argparse.Namespace) -> list:
    """Ranges and polygons, read."""
    from payneflow.design.region import parse_polygon, parse_range

    return [parse_range(text) if option == "--range" else parse_polygon(text) for option, text in given.limits]


def _names_of(given: argparse.Namespace, limits: list) -> tuple[str, ...]:
    """The labels in order: those of --labels, or as ranges and polygons name them."""
    if given.labels:
        twice = [name for name in given.labels if given.labels.count(name) > 1]
        if twice:
            raise SettingsError(f"--labels names {twice[0]} twice.")
        return tuple(given.labels)
    if given.like:
        raise SettingsError("--like needs --labels NAME ...: which columns are labels, in the order of the grid's.")
    if not limits:
        raise SettingsError("no labels: give --range NAME=LOWEST:HIGHEST for each, or --labels and --like STARS.")
    return tuple(dict.fromkeys(name for limit in limits for name in limit.labels))


def _stars_of(given: argparse.Namespace, names: tuple[str, ...], needed: bool):
    """The catalogue of --like, or None. `needed`: it must have all labels; else those that it has not have a range."""
    from payneflow.design.stars import read_stars

    if not given.like:
        return None
    catalogue = read_stars(given.like, names, given.margin, needed)
    if catalogue.n_left_out:
        print(f"note: {catalogue.n_left_out} rows of {given.like} have no value for some label and are left out")
    return catalogue


def _relations_of(given: argparse.Namespace, names: tuple[str, ...]) -> list:
    from payneflow.design.relations import parse_relation

    return [parse_relation(text, names) for text in given.where]


def _units_of(given: argparse.Namespace, names: tuple[str, ...], catalogue) -> list[str]:
    """The unit of each label, "" where none is said. Raises SettingsError where two are."""
    from payneflow.design.region import check_name

    said = options.pairs("--unit", given.unit, of_numbers=True)
    of_stars = catalogue.units if catalogue else {}
    for name, unit in said.items():
        check_name(f"--unit {name}={unit}", name, names)
        if of_stars.get(name) and of_stars[name] != unit:
            raise SettingsError(f"{given.like}: {name} is in {of_stars[name]}, but --unit says {unit}. Convert it.")
    return [said.get(name, of_stars.get(name, "")) for name in names]


def _provenance(given: argparse.Namespace, which: str) -> dict[str, object]:
    """What was asked for, as a command and by itself; files by their SHA-256, too."""
    from payneflow.files import sha256_of

    words = ["payneflow", "design", which]
    words += [given.network, *given.grid] if which == "next" else []
    words += ["-n", str(given.n), "--seed", str(given.seed)]
    words += ["--labels", *given.labels] if getattr(given, "labels", None) else []
    words += [word for limit in given.limits for word in limit]
    words += [word for text in given.where for word in ("--where", text)]
    words += [word for text in getattr(given, "unit", []) for word in ("--unit", text)]
    words += ["--like", given.like, "--margin", f"{given.margin:g}"] if given.like else []
    words += ["--output", given.output]
    files = [given.like] if given.like else []
    files += [given.network, *given.grid] if which == "next" else []
    return {"command": shlex.join(words), "seed": given.seed, "sha256": {file: sha256_of(file) for file in files}}


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add it with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    one = add(design, "first -n 300 --range Teff=4000:6500 --range logg=0.5:5 --unit Teff=K --output first.ecsv")
    parts = one.add_subparsers(dest="which", required=True, metavar="WHICH")
    _add_first(_part(parts, first, EXAMPLE_OF_FIRST))
    _add_next(_part(parts, next_, EXAMPLE_OF_NEXT))
    _add_report(_part(parts, report, "results/neural_network.npz resources/hband_grid.npz --figure design.png"))


def _part(parts, function: Callable, example: str) -> argparse.ArgumentParser:
    name, said = function.__name__.rstrip("_"), function.__doc__
    one = parts.add_parser(
        name,
        help=said,
        description=said,
        epilog=f"example:\n  payneflow design {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.set_defaults(design=function)
    return one


EXAMPLE_OF_FIRST = """-n 600 --range Teff=4000:6500 --range logg=0.5:5 --range "[Fe/H]=-2:0.5" \\
    --range "[N/Fe]=-0.3:0.8" --where "[N/Fe] < 0.4 or logg < 3.6" --unit Teff=K --output first.ecsv

Half of these train networks and half test them: even rows and odd rows. Compute them in their order: where computing
ends early, the rows that are done fill the region all the same. Relations (--where) know + - * / **, abs, sqrt, exp,
log10, min, max, < <= > >=, and, or, not; a label's name stands as it is (Teff, [Fe/H]), one with other signs in double
quotes ("C-N")."""


EXAMPLE_OF_NEXT = """results/neural_network.npz resources/hband_grid.npz -n 50 --output next.ecsv

Candidates are drawn where the grid has spectra and a little around, within the range of each label; or, where they are
given, in ranges of all labels, or where stars are. Compute the spectra, append them to the grid, and train again."""


def _add_first(one: argparse.ArgumentParser) -> None:
    one.add_argument("-n", type=int, required=True, metavar="N", help="spectra to compute")
    one.add_argument(
        "--labels", nargs="+", metavar="NAME", help="labels in the grid's order (default: as the ranges name them)"
    )
    one.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="NAME=UNIT",
        help="of a label, such as Teff=K",
    )
    _add_region(one)
    _add_output(one)


def _add_next(one: argparse.ArgumentParser) -> None:
    options.add_network(one)
    options.add_grid(one)
    one.add_argument("-n", type=int, required=True, metavar="N", help="spectra to compute")
    _add_region(one)
    one.add_argument(
        "--candidates", type=int, default=20_000, metavar="N", help="points to choose from (default: %(default)s)"
    )
    _add_output(one)


def _add_report(one: argparse.ArgumentParser) -> None:
    options.add_network(one)
    options.add_grid(one)
    options.add_seed(one, "draws the parts of the training set that the learning curve is made of")
    one.add_argument(
        "--figure", metavar="FILE", help="also draw it: projections, distances, learning curve (png, pdf, svg)"
    )


class _Limit(argparse.Action):
    """Ranges and polygons in the order in which they are given."""

    def __call__(self, parser, namespace, values, option_string=None):
        namespace.limits = [*namespace.limits, (option_string, values)]


def _add_region(one: argparse.ArgumentParser) -> None:
    one.set_defaults(limits=[])
    one.add_argument("--range", action=_Limit, metavar="NAME=LOWEST:HIGHEST", help="of a label; for each")
    one.add_argument(
        "--polygon",
        action=_Limit,
        metavar="NAME,NAME=X,Y ...",
        help='where two labels may be: the corners, walking round, as "Teff,logg=4000,0.5 5000,3.5 6500,4.5"',
    )
    one.add_argument(
        "--where", action="append", default=[], metavar="RELATION", help='between labels, as "[N/Fe] < 0.6 - 0.2*logg"'
    )
    one.add_argument(
        "--like",
        metavar="STARS",
        help="table of stars (ecsv, columns named as labels): spectra where these are, as dense as they are",
    )
    one.add_argument(
        "--margin",
        type=float,
        default=0.05,
        metavar="X",
        help="how far outside the stars' hull, as a share of each label's range (default: %(default)s)",
    )


def _add_output(one: argparse.ArgumentParser) -> None:
    options.add_seed(one, "decides all random numbers")
    one.add_argument("--output", required=True, metavar="FILE", help="table of the labels to write (ecsv)")
    one.add_argument("--overwrite", action="store_true", help="also where the table is there already")
