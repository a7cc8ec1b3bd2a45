"""The subcommand that makes the page to play with: explore."""

import argparse
from pathlib import Path

from payneflow.cli import options
from payneflow.errors import SettingsError


def explore(given: argparse.Namespace) -> None:
    """Write a page to play with: one HTML file with sliders, in which the networks are evaluated, without a server."""
    from payneflow.explore.write import write_page
    from payneflow.files import check_outputs
    from payneflow.network import read_networks

    inputs = [given.network, *(given.grid or ()), given.record, given.best_fits, given.label_errors]
    check_outputs([given.output], inputs)
    networks = read_networks(given.network)
    grid = networks.read_grid(given.grid, options.grid_keys_of(given)) if given.grid else None
    page = write_page(
        networks,
        given.output,
        name=Path(given.network).name,
        grid=grid,
        training=_training_labels(given, networks),
        record=given.record,
        best_fits=given.best_fits,
    )
    print(
        f"{given.output}: {page.size / 1e6:.1f} MB, weights in {page.bits} bits, flux off by {page.error:.1e} at most"
    )
    for note in page.notes:
        print(note)


def _training_labels(given: argparse.Namespace, networks):
    """Scaled labels (n, n_label) of the training spectra that label errors hold; None where none are given."""
    from payneflow.fitting.calibration import read_label_errors

    if given.label_errors is None:
        return None
    errors = read_label_errors(given.label_errors)
    if errors.networks != networks.digest:
        raise SettingsError(
            f"--label-errors {given.label_errors}: those of other networks than {given.network}. Give the label errors "
            "that payneflow calibrate measured with these."
        )
    return errors.training


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add it with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    one = add(
        explore,
        "neural_network.npz --grid resources/hband_grid.npz --record training_record.ecsv --output explore.html",
    )
    options.add_network(one)
    options.add_grid(one, "--grid")
    one.add_argument("--record", metavar="FILE", help="training record, which the page shows pixel by pixel")
    one.add_argument("--best-fits", metavar="FILE", help="observed spectra and their fits: payneflow fit --best-fits")
    one.add_argument(
        "--label-errors", metavar="FILE", help="where the training spectra lie, if there is no --grid to tell it"
    )
    one.add_argument("--output", required=True, metavar="FILE", help="page to write (html)")
