"""The command line: one subcommand for each rule of the workflow, each of which also works by hand."""

import argparse
import dataclasses
import json
import sys
import warnings

from payneflow import __version__
from payneflow.errors import PayneflowError
from payneflow.training.settings import SETTINGS, make_settings

SETTING_HELP = {
    "n_neurons": "hidden neurons of each pixel's network",
    "n_starts": "trials, of which the best goes on",
    "max_iterations": "most iterations of a loop, the run that follows the trials",
    "mini_batch_size": "spectra in a mini-batch",
    "eta": "first step size",
    "min_eta": "step size at which training ends",
    "num_epochs": "epochs of a loop",
    "trial_epochs": "epochs of a trial",
    "trunc_diff": "deviation, in normalised flux, at which a pixel has converged",
    "virtual_weight": "weight of a virtual spectrum, a training spectrum's being 1; 0: none",
    "max_rounds": "times that trials and loop are run for a pixel at most",
    "start_iterations": "most iterations of a trial that starts from a template",
    "start_damping": "damping that such a trial starts with",
    "random_iterations": "most iterations of a trial that starts from a random network",
    "random_damping": "damping that such a trial starts with",
    "damping": "damping that a loop starts with",
    "penalty": "of a weight squared, in the cost",
    "max_iter": "most loops of a pixel, restarts included",
}


def main(arguments: list[str] | None = None) -> int:
    """Run `payneflow ARGUMENTS`; returns the exit status: 0, or 2 after an error the user can act on."""
    options = _parser().parse_args(arguments)
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


# ------------------------------------------------------------------------------------------------- the subcommands


def check(options: argparse.Namespace) -> None:
    """Say what a grid holds, or what is wrong with it."""
    from payneflow.files import whole_file
    from payneflow.grid import read_grid
    from payneflow.grid_summary import summarise, summary_text

    summary = summarise(read_grid(options.grid, _grid_keys(options)))
    print(summary_text(summary))
    if options.summary:
        with whole_file(options.summary) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")


def split(options: argparse.Namespace) -> None:
    """Cut the selected pixels of a grid into chunk files that are trained independently."""
    from payneflow.chunks import read_chunk, split_grid
    from payneflow.grid import read_grid

    grid = read_grid(options.grid, _grid_keys(options))
    training = options.trainer, _settings(options), options.seed
    paths = split_grid(grid, options.pixels, options.chunk_size, options.output, *training)
    print(f"{len(paths)} chunk files in {options.output}, {paths[0].stem} to {paths[-1].stem}")
    print(f"trainer {options.trainer}: {read_chunk(paths[0]).preparation_note}")


def train(options: argparse.Namespace) -> None:
    """Train the pixels of one chunk file. After a kill the same command goes on where it was."""
    from payneflow.chunk_training import train_chunk
    from payneflow.parallel import run_on_ranks

    def lead(ranks) -> None:
        training = options.trainer, _settings(options), options.seed
        train_chunk(options.chunk, options.output, *training, options.checkpoint_seconds, ranks)

    run_on_ranks(options.ranks, lead)


def gather(options: argparse.Namespace) -> None:
    """Prove that trained chunks belong together; join them to a network file and a training record."""
    from payneflow.gather import gather_chunks
    from payneflow.training.record import summary_text, write_record

    networks, record = gather_chunks(options.trained)
    networks.write(options.network)
    write_record(record, options.record)
    print(summary_text(record))


def evaluate(options: argparse.Namespace) -> None:
    """Measure how well networks reproduce the spectra of their grid, training half and test half."""
    from payneflow.evaluation import evaluate_networks, evaluation_text, write_evaluation
    from payneflow.grid import read_grid
    from payneflow.network import read_networks

    results = evaluate_networks(read_networks(options.network), read_grid(options.grid, _grid_keys(options)))
    write_evaluation(results, options.output)
    print(evaluation_text(results))


def fit(options: argparse.Namespace) -> None:
    """Fit the labels of the grid's test spectra, which the networks never saw."""
    import numpy as np

    from payneflow.fitting import add_true_labels, fit_spectra, fits_text, write_fits
    from payneflow.grid import TEST, read_grid
    from payneflow.network import read_networks
    from payneflow.progress import Counter

    networks, grid = read_networks(options.network), read_grid(options.grid, _grid_keys(options))
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    labels, flux = grid.labels[TEST], grid.flux[TEST][:, columns]
    counter = Counter(len(flux), "spectra fitted")
    start = labels if options.start == "truth" else "middle"
    table = fit_spectra(networks, flux, options.flux_error, start=start, progress=counter.show_done)
    counter.close()
    add_true_labels(table, networks, labels, np.arange(len(grid.labels))[TEST])
    write_fits(table, options.output)
    print(fits_text(table))


def plot(options: argparse.Namespace) -> None:
    """Draw a figure from a result file; the ending of the output (.png, .pdf, .svg) is the format."""
    from payneflow import figures

    figures.plot(options.figure, options.input, options.output)


# ----------------------------------------------------------------------------------------------------- the options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="payneflow",
        description="Train and use The Payne: a grid of synthetic spectra goes in, one small neural network per "
        "wavelength pixel comes out, and with it labels for observed spectra.",
        epilog="The order of a whole run: check, split, train (each chunk), gather, evaluate, fit, plot. "
        "`snakemake` in the checkout runs them all. Each subcommand has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"payneflow {__version__}")
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")

    def add(function, example: str) -> argparse.ArgumentParser:
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

    one = add(check, "resources/hband_grid.npz")
    _add_grid(one)
    one.add_argument("--summary", metavar="FILE", help="also write what the grid holds to this JSON file")

    one = add(split, 'resources/hband_grid.npz --pixels "::64" --chunk-size 60 --output chunks')
    _add_grid(one)
    one.add_argument(
        "--pixels", default="::", metavar="START:STOP:STEP", help="pixels to train, as a Python slice (default: all)"
    )
    one.add_argument(
        "--chunk-size", type=int, default=1000, metavar="N", help="pixels in a chunk (default: %(default)s)"
    )
    one.add_argument("--output", required=True, metavar="DIRECTORY", help="where the chunk files go")
    _add_training(one)

    one = add(train, "chunks/pixel0000-3776-step64.npz --output trained/pixel0000-3776-step64.npz")
    one.add_argument("chunk", metavar="CHUNK", help="chunk file made by payneflow split")
    one.add_argument("--output", required=True, metavar="FILE", help="trained chunk to write (npz)")
    one.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="time between two checkpoints (default: %(default)s)",
    )
    one.add_argument(
        "--ranks",
        type=int,
        default=1,
        metavar="N",
        help="MPI ranks that share the pixels, as many as the launcher starts: mpiexec -n N payneflow train ... "
        "--ranks N (default: %(default)s, without MPI)",
    )
    _add_training(one)

    one = add(gather, "trained/*.npz --network neural_network.npz --record training_record.ecsv")
    one.add_argument("trained", nargs="+", metavar="TRAINED", help="all trained chunks of one split")
    one.add_argument("--network", required=True, metavar="FILE", help="network file to write (npz)")
    one.add_argument("--record", required=True, metavar="FILE", help="training record to write (ecsv)")

    one = add(evaluate, "neural_network.npz resources/hband_grid.npz --output evaluation.npz")
    _add_network(one)
    _add_grid(one)
    one.add_argument("--output", required=True, metavar="FILE", help="errors of the networks to write (npz)")

    one = add(fit, "neural_network.npz resources/hband_grid.npz --output fits")
    _add_network(one)
    _add_grid(one)
    one.add_argument("--output", required=True, metavar="STEM", help="writes STEM.ecsv and STEM.fits")
    one.add_argument(
        "--flux-error",
        type=float,
        default=0.01,
        metavar="X",
        help="1 sigma error of every pixel (default: %(default)s)",
    )
    one.add_argument(
        "--start",
        choices=("middle", "truth"),
        default="middle",
        help="labels each fit starts from (default: %(default)s)",
    )

    from payneflow.figures import FIGURES

    one = add(plot, "training_summary training_record.ecsv --output training_summary.png")
    one.add_argument("figure", choices=list(FIGURES), metavar="FIGURE", help=f"one of: {', '.join(FIGURES)}")
    one.add_argument("input", metavar="INPUT", help="evaluation.npz, fits.ecsv or training_record.ecsv")
    one.add_argument("--output", required=True, metavar="FILE", help="figure to write")
    return parser


def _add_network(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument("network", metavar="NETWORK", help="network file made by payneflow gather")


def _add_grid(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument("grid", metavar="GRID", help="grid of synthetic spectra (npz)")
    subcommand.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help="the grid calls this array NAME; WHAT is wavelength, flux, labels, label_names or label_units",
    )


def _add_training(subcommand: argparse.ArgumentParser) -> None:
    """The trainer, its seed and every setting of every trainer; one that several trainers have is one option."""
    subcommand.add_argument(
        "--trainer", choices=list(SETTINGS), default="lm", help="what adjusts the weights (default: %(default)s)"
    )
    subcommand.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides all random numbers (default: %(default)s)"
    )
    defaults: dict[str, dict[str, int | float]] = {}
    for trainer, settings in SETTINGS.items():
        for field in dataclasses.fields(settings):
            defaults.setdefault(field.name, {})[trainer] = field.default
    group = subcommand.add_argument_group("settings of the trainer", "with the default for each trainer that has them")
    for name, by_trainer in defaults.items():
        said = ", ".join(f"{trainer}: {value}" for trainer, value in by_trainer.items())
        kind = type(next(iter(by_trainer.values())))
        option = f"--{name.replace('_', '-')}"
        group.add_argument(
            option, dest=f"setting_{name}", type=kind, metavar="X", help=f"{SETTING_HELP[name]} ({said})"
        )


def _settings(options: argparse.Namespace):
    """The settings given on the command line, for the trainer given there."""
    given = {name: getattr(options, f"setting_{name}") for name in SETTING_HELP}
    return make_settings(options.trainer, {name: value for name, value in given.items() if value is not None})


def _grid_keys(options: argparse.Namespace):
    from payneflow.errors import SettingsError
    from payneflow.grid import GridKeys

    names = [field.name for field in dataclasses.fields(GridKeys)]
    given = dict(pair.partition("=")[::2] for pair in options.key)
    for what, name in given.items():
        if what not in names or not name:
            raise SettingsError(f"--key {what}={name}: expected WHAT=NAME, WHAT one of {', '.join(names)}.")
    return GridKeys(**given)


if __name__ == "__main__":
    sys.exit(main())
