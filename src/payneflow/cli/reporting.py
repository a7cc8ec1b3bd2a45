"""The subcommand that says whether a run is good: report."""

import argparse
from pathlib import Path


def report(given: argparse.Namespace) -> None:
    """Write one page (HTML) that says what went into a run and whether it is good, with its figures."""
    from payneflow.files import check_outputs
    from payneflow.report.facts import EVALUATION, FITS, LABEL_ERRORS, NETWORKS, RECORD, SUMMARY, read_facts
    from payneflow.report.write import report_text, write_report
    from payneflow.run.changed import changed_settings
    from payneflow.run.config import read_settings

    place = Path(given.results)
    output = given.output or str(place / "report.html")
    inputs = [str(place / name) for name in (SUMMARY, NETWORKS, RECORD, EVALUATION, LABEL_ERRORS, FITS)]
    check_outputs([output], [*inputs, given.config])
    settings = changed_settings(read_settings(Path(given.config), given.settings)) if given.config else None
    print(report_text(write_report(read_facts(place), output, settings)))


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add it with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    one = add(report, "results --config config.yaml")
    one.description += (
        "\n\nEach check is good, to look at, bad, or not known, and says why: docs/report.md has the rules. The page is"
        "\none file without a server, to be printed or sent; explore.html is linked beside it."
    )
    one.add_argument("results", metavar="DIRECTORY", help="where the run wrote its results")
    one.add_argument(
        "settings", nargs="*", metavar="NAME=VALUE", help="in place of what --config says, as --config of snakemake"
    )
    one.add_argument("--config", metavar="FILE", help="settings of the run, of which those not the default are listed")
    one.add_argument("--output", metavar="FILE", help="page to write (default: report.html among the results)")
