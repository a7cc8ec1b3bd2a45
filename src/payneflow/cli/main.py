"""The command line: one subcommand for each rule of the workflow, each of which also works by hand."""

import argparse
import dataclasses
import functools
import json
import sys
import warnings

from payneflow import __version__
from payneflow.errors import PayneflowError, SettingsError, SpectraError
from payneflow.settings import SETTINGS, make_settings

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
    from payneflow.grid.summary import summarise, summary_text

    summary = summarise(read_grid(options.grid, _grid_keys(options)))
    print(summary_text(summary))
    if options.summary:
        with whole_file(options.summary) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")


def split(options: argparse.Namespace) -> None:
    """Cut the selected pixels of a grid into chunk files that are trained independently."""
    from payneflow.chunks.chunk import read_preparation_note, split_grid
    from payneflow.grid import read_grid

    grid = read_grid(options.grid, _grid_keys(options))
    training = options.trainer, _settings(options), options.seed
    paths = split_grid(grid, options.pixels, options.chunk_size, options.output, *training)
    print(f"{len(paths)} chunk files in {options.output}, {paths[0].stem} to {paths[-1].stem}")
    print(f"trainer {options.trainer}: {read_preparation_note(paths[0])}")


def train(options: argparse.Namespace) -> None:
    """Train the pixels of one chunk file. After a kill the same command goes on where it was."""
    from payneflow.chunks.train import train_chunk
    from payneflow.training.ranks import run_on_ranks

    def lead(ranks) -> None:
        training = options.trainer, _settings(options), options.seed
        train_chunk(
            options.chunk, options.output, *training, options.checkpoint_seconds, ranks, options.keep_checkpoint
        )

    run_on_ranks(options.ranks, lead)


def gather(options: argparse.Namespace) -> None:
    """Prove that trained chunks belong together; join them to a network file and a training record."""
    from payneflow.chunks.checkpoint import remove_checkpoints
    from payneflow.chunks.gather import gather_chunks
    from payneflow.chunks.record import summary_text, write_record

    trained = _listed(options, options.trained)
    networks, record = gather_chunks(trained)
    networks.write(options.network)
    write_record(record, options.record)
    remove_checkpoints(trained)
    print(summary_text(record))


def evaluate(options: argparse.Namespace) -> None:
    """Measure how well networks reproduce the spectra of their grid, training set and test set."""
    from payneflow.evaluation import evaluate_networks, evaluation_text, write_evaluation
    from payneflow.grid import read_grid
    from payneflow.network import read_networks

    results = evaluate_networks(read_networks(options.network), read_grid(options.grid, _grid_keys(options)))
    write_evaluation(results, options.output)
    print(evaluation_text(results))


def calibrate(options: argparse.Namespace) -> None:
    """Measure the networks' own label errors, by fitting spectra that their training never saw."""
    from payneflow.cli.options import fit_settings_of
    from payneflow.fitting.calibration import measure_label_errors, write_label_errors
    from payneflow.grid import read_grid
    from payneflow.network import read_networks
    from payneflow.progress import Counter

    networks, grid = read_networks(options.network), read_grid(options.grid, _grid_keys(options))
    counter = Counter(len(grid.labels), "spectra fitted")
    errors = measure_label_errors(networks, grid, fit_settings_of(options), progress=counter.show_done)
    write_label_errors(errors, options.output)
    print(f"label errors of {int(errors.held_back.sum())} held-back spectra, fitted in the mode: {errors.mode}")


def fit(options: argparse.Namespace) -> None:
    """Fit the labels of observed spectra, or of the test spectra of a grid, which the networks never saw."""
    from payneflow.cli.options import fit_settings_of
    from payneflow.fitting.results import results_text, write_results
    from payneflow.network import read_networks

    if bool(options.grid) == bool(options.files):
        raise SettingsError("expected files of observed spectra, or --grid for the test spectra of a grid.")
    settings = fit_settings_of(options)
    networks = read_networks(options.network)
    label_errors = _label_errors(options, networks, settings)
    common = {"label_errors": label_errors, "processes": options.processes}
    fits = (_fit_test_set if options.grid else _fit_observed)(options, networks, settings, common)
    write_results(fits, options.output)
    print(results_text(fits))


def _label_errors(options: argparse.Namespace, networks, settings):
    """What a calibration measured, refused where it was of other networks or another mode; None where none is given."""
    from payneflow.fitting.calibration import read_label_errors

    if options.label_errors is None:
        print(
            "warning: without --label-errors the errors are formal ones, photon noise alone: too small at high S/N. "
            "Measure the networks' own part with payneflow calibrate.",
            file=sys.stderr,
        )
        return None
    errors = read_label_errors(options.label_errors)
    errors.check(networks, settings.mode(networks.label_names))
    return errors


def _fit_test_set(options: argparse.Namespace, networks, settings, common: dict):
    from payneflow.fitting.many import fit_test_set
    from payneflow.grid import TEST, read_grid
    from payneflow.progress import Counter

    grid = read_grid(options.grid, _grid_keys(options))
    counter = Counter(len(grid.labels[TEST]), "spectra fitted")
    start = None if options.start == "estimate" else options.start
    common = {**common, "start": start, "progress": counter.show_done}
    fits = fit_test_set(networks, grid, settings, options.flux_error, **common)
    counter.close()
    return fits


def _fit_observed(options: argparse.Namespace, networks, settings, common: dict):
    from payneflow.cli.options import layout_of
    from payneflow.fitting.many import fit_batches, refuse_if_unreadable, write_best_fits
    from payneflow.progress import Counter
    from payneflow.spectra import find_files, find_shard, read_spectra
    from payneflow.spectra.shards import parse_selection

    if options.start == "truth":
        raise SettingsError("--start truth: the true labels of observed spectra are unknown; use estimate or middle.")
    layout = layout_of(options)
    selection = None if options.spectra is None else parse_selection(options.spectra)
    shard = find_shard(find_files(options.files), layout, selection)
    if options.plan not in (None, shard.digest):
        raise SpectraError(
            f"{' '.join(options.files)}: the files have come or gone since this job was planned, so that spectra "
            f"{options.spectra} are others. Start the workflow again: it will plan anew."
        )
    counter = Counter(len(shard.spectra), "spectra fitted")
    # Of one file alone what is wrong is an error; a shard may hold one file of many.
    flag_bad_files = len(shard.paths) > 1 or selection is not None
    reading = {"selection": shard.spectra, "flag_bad_files": flag_bad_files}
    batches = read_spectra(shard.paths, layout, networks.wavelength, **reading)
    start = None if options.start == "estimate" else options.start
    fits = fit_batches(networks, batches, settings, start=start, progress=counter.show_done, **common)
    counter.close()
    if selection is None:
        refuse_if_unreadable(fits)
    if options.best_fits:
        again = read_spectra(shard.paths, layout, networks.wavelength, **reading)
        n = write_best_fits(networks, again, settings, options.best_fits, start, fits)
        print(f"{n} best-fit spectra in {options.best_fits}")
    return fits


def gather_fits(options: argparse.Namespace) -> None:
    """Join the fits of all shards to one table."""
    from payneflow.fitting import many as many_fits
    from payneflow.fitting.results import results_text, write_results

    fits = many_fits.gather_fits(_listed(options, options.fits))
    many_fits.refuse_if_unreadable(fits)
    write_results(fits, options.output)
    print(results_text(fits))


def plot(options: argparse.Namespace) -> None:
    """Draw a figure from a result file; the ending of the output (.png, .pdf, .svg) is the format."""
    from payneflow import figures

    figures.plot(options.figure, options.input, options.output, options.spectrum)


def plan(options: argparse.Namespace) -> None:
    """Say what the training of a run will take, before anything is submitted, and what Slurm would never start."""
    from payneflow.run.config import read_config
    from payneflow.run.cost import cost_measured, cost_recorded
    from payneflow.run.plan import make_plan, plan_text, plan_warnings
    from payneflow.run.profile import read_profile

    find_cost = None
    if options.measure is not None:
        find_cost = functools.partial(cost_measured, n_measured=options.measure)
    elif options.record:
        find_cost = functools.partial(cost_recorded, record=options.record)
    profile = read_profile(options.profile) if options.profile else None
    planned = make_plan(read_config(options.config, options.settings), profile, find_cost)
    print(plan_text(planned))
    for warning in plan_warnings(planned):
        print(f"warning: {warning}")


def status(options: argparse.Namespace) -> None:
    """Say how far the training of a run is: chunks waiting, running, done and failed, and why they failed."""
    from payneflow.run.config import read_config
    from payneflow.run.status import read_status, status_text

    config = read_config(options.config, options.settings)
    print(status_text(read_status(config, options.results)))


# ----------------------------------------------------------------------------------------------------- the options


def _parser() -> argparse.ArgumentParser:
    from payneflow.cli import options as fit_options

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
    one.add_argument(
        "--keep-checkpoint",
        action="store_true",
        help="leave the last checkpoint beside the output for payneflow gather to remove: should the output be deleted "
        "after all, as Snakemake does for a job Slurm lost sight of, the same command makes it again in a second",
    )
    _add_training(one)

    one = add(gather, "trained/*.npz --network neural_network.npz --record training_record.ecsv")
    one.add_argument("trained", nargs="*", metavar="TRAINED", help="all trained chunks of one split")
    _add_list(one)
    one.add_argument("--network", required=True, metavar="FILE", help="network file to write (npz)")
    one.add_argument("--record", required=True, metavar="FILE", help="training record to write (ecsv)")

    one = add(evaluate, "neural_network.npz resources/hband_grid.npz --output evaluation.npz")
    _add_network(one)
    _add_grid(one)
    one.add_argument("--output", required=True, metavar="FILE", help="errors of the networks to write (npz)")

    one = add(calibrate, "neural_network.npz resources/hband_grid.npz --output label_errors.npz")
    _add_network(one)
    _add_grid(one)
    one.add_argument("--output", required=True, metavar="FILE", help="label errors to write (npz)")
    fit_options.add_fit_settings(one)

    one = add(
        fit,
        "neural_network.npz spectra.npz --uncertainty flux_error --label-errors label_errors.npz --output fits\n"
        "  payneflow fit neural_network.npz --grid resources/hband_grid.npz --output fits",
    )
    _add_network(one)
    fit_options.add_layout(one)
    _add_grid(one, "--grid")
    one.add_argument("--output", required=True, metavar="STEM", help="writes STEM.ecsv and STEM.fits")
    one.add_argument(
        "--spectra", metavar="START:STOP", help="of all spectra in the files, counted from 0 (default: all)"
    )
    one.add_argument("--plan", metavar="DIGEST", help="refuse if --spectra are others than the workflow planned")
    one.add_argument("--best-fits", metavar="FILE", help="also write the best-fit spectra of observed ones (npz)")
    one.add_argument("--label-errors", metavar="FILE", help="label errors made by payneflow calibrate")
    one.add_argument(
        "--flux-error",
        type=float,
        default=0.01,
        metavar="X",
        help="1 sigma error of every pixel of --grid, and where --uncertainty is mask (default: %(default)s)",
    )
    one.add_argument(
        "--start",
        choices=("estimate", "middle", "truth"),
        default="estimate",
        help="labels each fit starts from (default: %(default)s)",
    )
    one.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processor cores that share it (default: %(default)s)"
    )
    fit_options.add_fit_settings(one)

    one = add(gather_fits, "fits/*.ecsv --output fits")
    one.add_argument("fits", nargs="*", metavar="FITS", help="fits of all shards (ecsv)")
    _add_list(one)
    one.add_argument("--output", required=True, metavar="STEM", help="writes STEM.ecsv and STEM.fits")

    from payneflow.figures import FIGURES

    one = add(plot, "training_summary training_record.ecsv --output training_summary.png")
    one.add_argument("figure", choices=list(FIGURES), metavar="FIGURE", help=f"one of: {', '.join(FIGURES)}")
    one.add_argument(
        "input", metavar="INPUT", help="evaluation.npz, training_record.ecsv, fits.ecsv or best-fit spectra"
    )
    one.add_argument(
        "--spectrum",
        metavar="NAME",
        help="of best_fit: which spectrum, by identifier, or row from 0 (default: the first)",
    )
    one.add_argument("--output", required=True, metavar="FILE", help="figure to write")

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
    return parser


def _add_config(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "settings", nargs="*", metavar="NAME=VALUE", help="in place of what the file says, as --config of snakemake"
    )
    subcommand.add_argument(
        "--config", default="config.yaml", metavar="FILE", help="settings of the run (default: %(default)s)"
    )


def _add_list(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "--list", metavar="FILE", help="take the paths from this file, one a line: more than a command line can hold"
    )


def _listed(options: argparse.Namespace, given: list[str]) -> list[str]:
    """The paths on the command line, or those of --list."""
    from payneflow.files import read_list

    if bool(given) == bool(options.list):
        raise SettingsError("expected files, or --list FILE with one path a line, and not both.")
    return given or read_list(options.list)


def _add_network(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument("network", metavar="NETWORK", help="network file made by payneflow gather")


def _add_grid(subcommand: argparse.ArgumentParser, name: str = "grid") -> None:
    subcommand.add_argument(name, metavar="GRID", help="grid of synthetic spectra (npz)")
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
    from payneflow.grid import GridKeys

    names = [field.name for field in dataclasses.fields(GridKeys)]
    given = dict(pair.partition("=")[::2] for pair in options.key)
    for what, name in given.items():
        if what not in names or not name:
            raise SettingsError(f"--key {what}={name}: expected WHAT=NAME, WHAT one of {', '.join(names)}.")
    return GridKeys(**given)
