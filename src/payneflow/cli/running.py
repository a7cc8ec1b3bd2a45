"""The subcommands about a run of the workflow: init and plan before it, status while it runs, verify after it."""

import argparse
import functools
import os
import sys

from payneflow.cli import options


def init(given: argparse.Namespace) -> None:
    """Write the workflow (Snakefile, config.yaml, rules, profiles) into a directory, ready for snakemake there."""
    import shlex
    from importlib.util import find_spec

    from payneflow.run.new_run import write_run

    written = write_run(given.directory, given.demo)
    print(f"{given.directory}: {len(written)} files written" if written else f"{given.directory}: all is there already")
    if find_spec("snakemake") is None:
        print("Snakemake is not installed here: pip install 'payneflow[workflow]'")
    print(f"Next:\n  cd {shlex.quote(given.directory)}")
    if not given.demo:
        print("  payneflow check GRID      # then put the path of your grid into config.yaml, as `grid`")
    print("  snakemake --workflow-profile workflow/profiles/default      # with -n it only says what it would do")


def plan(given: argparse.Namespace) -> None:
    """Say what the training of a run will take, before anything is submitted, and what Slurm would never start."""
    from payneflow.run.config import read_config
    from payneflow.run.cost import cost_measured, cost_recorded
    from payneflow.run.plan import make_plan, plan_text, plan_warnings
    from payneflow.run.profile import read_profile

    find_cost = None
    if given.measure is not None:
        find_cost = functools.partial(cost_measured, n_measured=given.measure)
    elif given.record:
        find_cost = functools.partial(cost_recorded, record=given.record)
    profile = read_profile(given.profile) if given.profile else None
    planned = make_plan(read_config(given.config, given.settings), profile, find_cost)
    print(plan_text(planned))
    for warning in plan_warnings(planned):
        print(f"warning: {warning}")


def status(given: argparse.Namespace) -> None:
    """Say how far the training of a run is: chunks waiting, running, done and failed, and why they failed."""
    from payneflow.run.config import read_config
    from payneflow.run.status import read_status, status_text

    config = read_config(given.config, given.settings)
    print(status_text(read_status(config, given.results)))


def verify(given: argparse.Namespace) -> None:
    """Say which results of a run are whole, damaged, stale, missing, or do not belong; status 2 if any must be made."""
    from pathlib import Path

    from payneflow.run import verify as results
    from payneflow.run.known import KNOWN, Known

    place = Path(given.results)
    known = Known(place / KNOWN / "files.json")
    findings = results.verify(place, results.plan_of_results(place, given.grid, known), known, thorough=True)
    known.save()
    print(results.verify_text(findings))
    results.check_whole(place, findings)


def digest(given: argparse.Namespace) -> None:
    """Say the SHA-256 of a file, or that of the digests of several files, by which the workflow knows its inputs."""
    from payneflow.files import check_outputs
    from payneflow.run.known import Known, digest_of, write_digest

    files = options.listed(given, given.files)
    check_outputs([given.output, given.known], [*files, given.list])
    known = Known(given.known)
    found = digest_of(files, known)
    if given.output:
        write_digest(given.output, found)
    known.save()
    for path in (one for one in files if not os.access(one, os.R_OK)):
        print(f"warning: {path}: cannot be read; its digest says that alone", file=sys.stderr)
    print(found)


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add them with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    one = add(init, "my_stars --demo")
    one.description += (
        "\n\nThe files are those of the checkout that this payneflow was made from; in the conda environments it is"
        "\nnamed with its version. None is overwritten: files of the same content stay, others are named and end it."
    )
    one.add_argument("directory", metavar="DIRECTORY", help="where to; made where it is missing")
    one.add_argument(
        "--demo",
        action="store_true",
        help="also resources/: the demonstration grid of config.yaml, two APOGEE stars, and networks to fit them with",
    )

    one = add(plan, "--profile slurm")
    _add_config(one)
    one.add_argument("--profile", metavar="DIRECTORY", help="as for snakemake; default: jobs on this machine")
    cost = one.add_mutually_exclusive_group()
    cost.add_argument(
        "--measure",
        type=int,
        metavar="N",
        help="train N pixels of the grid now to find what one costs (64 or more: fewer leave SIMD lanes idle)",
    )
    cost.add_argument("--record", metavar="FILE", help="take the cost from an earlier run's training_record.ecsv")

    one = add(status, "--config config.yaml")
    _add_config(one)
    one.add_argument("--results", metavar="DIRECTORY", help="where the run writes (default: what config.yaml says)")

    one = add(verify, "results")
    one.description += (
        "\n\nwhole: read to the end, its checksum is right, and it was made from the grid, with the settings, networks"
        "\nand label errors of the run; damaged: it cannot be read, or was cut or changed; stale: made from or with"
        "\nothers; does not belong: no chunk or shard of the run is called so. `make run`, or snakemake, makes again"
        "\nwhat is damaged or stale. Of figures only the image is proved, not what it shows; logs are not looked at."
    )
    one.add_argument("results", metavar="DIRECTORY", help="where the run wrote its results")
    said = "the grid (default: the one of the run, as it is now); once for each of its files"
    one.add_argument("--grid", action="append", metavar="GRID", help=said)

    one = add(digest, "resources/hband_grid.npz")
    one.add_argument("files", nargs="*", metavar="FILE", help="files whose content is asked for, in this order")
    options.add_list(one)
    one.add_argument("--output", metavar="FILE", help="also write it to this JSON file")
    one.add_argument(
        "--known", metavar="FILE", help="what was found before: files that have not changed since are not read again"
    )


def _add_config(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "settings", nargs="*", metavar="NAME=VALUE", help="in place of what the file says, as --config of snakemake"
    )
    subcommand.add_argument(
        "--config", default="config.yaml", metavar="FILE", help="settings of the run (default: %(default)s)"
    )
