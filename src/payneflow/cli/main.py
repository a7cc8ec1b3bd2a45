"""The parser of the whole command line, and how a command ends: status 0, 2 or 130 and never a traceback."""

import argparse
import sys
import warnings

from payneflow import __version__
from payneflow.cli import fitting, running, training
from payneflow.errors import PayneflowError


def main(arguments: list[str] | None = None) -> int:
    """Run `payneflow ARGUMENTS`; returns the exit status: 0, or 2 after an error the user can act on."""
    options = make_parser().parse_args(arguments)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        options.run(options)
    except PayneflowError as error:
        print(f"payneflow {options.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"payneflow {options.command}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of `payneflow`; each subcommand sets `run`, the function of the parsed options that it is."""
    parser = argparse.ArgumentParser(
        prog="payneflow",
        description="Train and use The Payne: a grid of synthetic spectra goes in, one small neural network per "
        "wavelength pixel comes out, and with it labels for observed spectra.",
        epilog="The order of a whole run: check, split, train (each chunk), gather, evaluate, calibrate, "
        "fit (each shard), gather_fits, plot. "
        "`snakemake` in the checkout runs them all. Each subcommand has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"payneflow {__version__}")
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")

    def add(function, example: str) -> argparse.ArgumentParser:
        """A subcommand that has the name of its function, and its docstring for help."""
        name, help_text = function.__name__, function.__doc__
        subcommand = subcommands.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"example:\n  payneflow {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subcommand.set_defaults(run=function)
        return subcommand

    for group in (training, fitting, running):
        group.add_subcommands(add)
    return parser
