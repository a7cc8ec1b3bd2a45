"""The subcommands about a run of the workflow: plan before it, status while it runs."""

import argparse
import functools


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


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add them with `add`, which takes a function and an example, and returns the parser of the subcommand."""
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


def _add_config(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "settings", nargs="*", metavar="NAME=VALUE", help="in place of what the file says, as --config of snakemake"
    )
    subcommand.add_argument(
        "--config", default="config.yaml", metavar="FILE", help="settings of the run (default: %(default)s)"
    )
