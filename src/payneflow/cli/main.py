"""The parser of the whole command line, and how a command ends: status 0, 2 or 130 and never a traceback."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from payneflow import __version__
from payneflow.cli import designing, exploring, fitting, reporting, running, training
from payneflow.errors import PayneflowError

MOST_SAID = 4000  # letters of a message: a screen


def main(arguments: list[str] | None = None) -> int:
    """Run `payneflow ARGUMENTS`; returns the exit status: 0, or 2 after an error the user can act on.

    Where nobody reads on what it prints, as with `| head`, it does its work to the end, quietly.
    """
    printed = _Printed(sys.stdout)
    with redirect_stdout(printed):
        try:
            status = _run(arguments)
        finally:  # also after --help, which ends by SystemExit
            printed.flush()
    if printed.problem:
        print(f"payneflow: error: standard output cannot be written: {printed.problem}.", file=sys.stderr)
        return status or 2
    return status


class _Printed(io.TextIOBase):
    """Standard output, into which one may print when nobody reads on; `problem`: what else went wrong with it."""

    def __init__(self, stream: TextIO):
        self._stream, self.problem = stream, ""

    def write(self, text: str) -> int:
        with self._undisturbed():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._undisturbed():
            self._stream.flush()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.problem = self.problem or error.strerror or str(error)
            with suppress(OSError, ValueError):  # what is left in the buffer goes nowhere, also at the end of Python
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _run(arguments: list[str] | None) -> int:
    options = make_parser().parse_args(arguments)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        options.run(options)
    except PayneflowError as error:
        print(f"payneflow {options.command}: error: {_in_a_screen(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"payneflow {options.command}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _in_a_screen(said: str) -> str:
    """A message, without its middle where a damaged file has names of thousands of letters."""
    return said if len(said) <= MOST_SAID else f"{said[: MOST_SAID // 2]} ... {said[-MOST_SAID // 2 :]}"


def make_parser() -> argparse.ArgumentParser:
    """The parser of `payneflow`; each subcommand sets `run`, the function of the parsed options that it is."""
    parser = argparse.ArgumentParser(
        prog="payneflow",
        description="Train and use The Payne: a grid of synthetic spectra goes in, one small neural network per "
        "wavelength pixel comes out, and with it labels for observed spectra.",
        epilog="The order of a whole run: check, split, train (each chunk), gather, evaluate, calibrate, "
        "fit (each shard), gather_fits, plot, explore, report. "
        "`snakemake`, where `payneflow init` wrote the workflow or in a checkout, runs them all. "
        "Each subcommand has its own --help.",
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

    for group in (training, fitting, exploring, reporting, designing, running):
        group.add_subcommands(add)
    return parser
