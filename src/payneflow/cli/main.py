"""The parser of the whole command line, and how a command ends: status 0, 2 or 130 and never a traceback."""

import argparse
import os
import sys
import warnings
from contextlib import suppress

from payneflow import __version__
from payneflow.cli import fitting, running, training
from payneflow.errors import PayneflowError

BROKEN_PIPE = 141  # what shells say of a command that SIGPIPE has ended


def main(arguments: list[str] | None = None) -> int:
    """Run `payneflow ARGUMENTS`; returns the exit status: 0, or 2 after an error the user can act on.

    Where nobody reads what it prints, as with `| head`, it ends quietly; with 141 where it could not end its work.
    """
    try:
        status = _run(arguments)
    except BrokenPipeError:
        status = BROKEN_PIPE
    except SystemExit:  # --help and --version, and what is no command
        _flush()
        raise
    return max(status, _flush())


def _run(arguments: list[str] | None) -> int:
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


def _flush() -> int:
    """Bring out what is left to be printed; 2 where that cannot be written, 0 also where nobody reads it."""
    try:
        sys.stdout.flush()
        return 0
    except OSError as error:
        with suppress(OSError, ValueError):  # or Python would say so once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"payneflow: error: standard output cannot be written: {error.strerror}.", file=sys.stderr)
        return 2


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
