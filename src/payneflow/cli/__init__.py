"""The command line: one subcommand for each rule of the workflow, each of which also works by hand."""

from payneflow.cli.main import main

__all__ = ["main"]
