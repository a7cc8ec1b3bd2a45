"""The subcommands that make networks of a grid, or of those of another program: check, split, ..., evaluate, adopt."""

import argparse
import json

from payneflow.cli import options
from payneflow.declaration import Setting, settings_of
from payneflow.errors import SettingsError
from payneflow.settings import settings_record
from payneflow.training.trainers import DEFAULT, TRAINERS, make_settings


def check(given: argparse.Namespace) -> None:
    """Say what a grid holds, or what is wrong with it."""
    from payneflow.files import check_outputs, whole_file
    from payneflow.fitting.sampling import notes_of_grid
    from payneflow.grid import read_grid
    from payneflow.grid.summary import summarise, summary_text

    check_outputs([given.summary], given.grid)
    grid = read_grid(given.grid, options.grid_keys_of(given), options.grid_reading_of(given), seed=given.seed)
    summary = summarise(grid)
    summary["notes"] += notes_of_grid(grid, range(len(grid.wavelength)))
    print(summary_text(summary))
    if given.summary:
        with whole_file(given.summary) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")


def split(given: argparse.Namespace) -> None:
    """Cut the selected pixels of a grid into chunk files that are trained independently."""
    from payneflow.chunks.chunk import read_preparation_note
    from payneflow.chunks.selection import parse_pixels
    from payneflow.chunks.split import split_grid
    from payneflow.fitting.sampling import notes_of_grid
    from payneflow.grid import read_grid

    grid = read_grid(given.grid, options.grid_keys_of(given), options.grid_reading_of(given), seed=given.seed)
    settings = _settings_of(given)
    paths = split_grid(grid, given.pixels, given.chunk_size, given.output, given.trainer, settings, given.seed)
    print(f"{len(paths)} chunk files in {given.output}, {paths[0].stem} to {paths[-1].stem}")
    print(f"trainer {given.trainer}: {read_preparation_note(paths[0])}")
    for note in [*grid.notes, *notes_of_grid(grid, parse_pixels(given.pixels, len(grid.wavelength)))]:
        print(f"note: {note}")


def train(given: argparse.Namespace) -> None:
    """Train the pixels of one chunk file. After a kill the same command goes on where it was."""
    from payneflow.chunks.checkpoint import checkpoint_path
    from payneflow.chunks.train import train_chunk
    from payneflow.files import check_outputs
    from payneflow.training.ranks import run_on_ranks

    def lead(ranks) -> None:
        _refuse_settings(given)
        check_outputs([given.output], [given.chunk, checkpoint_path(given.output)])
        train_chunk(given.chunk, given.output, given.checkpoint_seconds, ranks, given.keep_checkpoint)

    run_on_ranks(given.ranks, lead)


def gather(given: argparse.Namespace) -> None:
    """Prove that trained chunks belong together; join them to a network file and a training record."""
    from payneflow.chunks.checkpoint import remove_checkpoints
    from payneflow.chunks.gather import gather_chunks
    from payneflow.chunks.record import summary_text, write_record
    from payneflow.files import check_outputs

    trained = options.listed(given, given.trained)
    check_outputs([given.network, given.record], [*trained, given.list])
    networks, record = gather_chunks(trained, given.single, given.grid_resolution)
    networks.provenance.update(options.about_of(given))
    networks.write(given.network)
    write_record(record, given.record)
    remove_checkpoints(trained)
    print(summary_text(record))


def evaluate(given: argparse.Namespace) -> None:
    """Measure how well networks reproduce the spectra of their grid, those of the training set and of the test set."""
    from payneflow.evaluation import evaluate_networks, evaluation_text, write_evaluation
    from payneflow.files import check_outputs
    from payneflow.network import read_networks

    check_outputs([given.output], [given.network, *given.grid])
    networks = read_networks(given.network)
    results = evaluate_networks(networks, networks.read_grid(given.grid, options.grid_keys_of(given)))
    write_evaluation(results, given.output)
    print(evaluation_text(results))


def adopt(given: argparse.Namespace) -> None:
    """Make a network file of networks of another program; what their file does not say is asked for."""
    from payneflow.adopt import adopt_networks, read_wavelength, summary_text
    from payneflow.files import check_outputs

    check_outputs([given.output], [given.file, given.wavelength])
    adopted = adopt_networks(
        given.file,
        wavelength=None if given.wavelength is None else read_wavelength(given.wavelength),
        label_names=given.label_names,
        label_units=given.label_units,
        medium=given.medium,
        scale=given.scale,
        resolution=given.resolution,
        emulator_rms=given.emulator_rms,
        about=options.about_of(given),
    )
    adopted.networks.write(given.output)
    print(summary_text(adopted))


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add them with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    one = add(check, "resources/hband_grid.npz")
    options.add_grid(one)
    options.add_grid_reading(one)
    options.add_seed(one, "draws a random split")
    one.add_argument("--summary", metavar="FILE", help="also write what the grid holds to this JSON file")

    one = add(split, 'resources/hband_grid.npz --pixels "::64" --chunk-size 60 --output chunks')
    options.add_grid(one)
    options.add_grid_reading(one)
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
    _add_refused(one)

    one = add(gather, "trained/*.npz --network neural_network.npz --record training_record.ecsv")
    one.add_argument("trained", nargs="*", metavar="TRAINED", help="all trained chunks of one split")
    options.add_list(one)
    one.add_argument("--network", required=True, metavar="FILE", help="network file to write (npz)")
    one.add_argument("--record", required=True, metavar="FILE", help="training record to write (ecsv)")
    options.add_about(one)
    rounded = "round the weights to single precision: half the file, to hand on; flux changes by some 1e-7"
    one.add_argument("--single", action="store_true", help=rounded)
    told = "R of the grid's spectra, where the grid did not say it: fits with broadening ask for it"
    one.add_argument("--grid-resolution", type=float, default=0.0, metavar="R", help=told)

    one = add(evaluate, "neural_network.npz resources/hband_grid.npz --output evaluation.npz")
    options.add_network(one)
    options.add_grid(one)
    one.add_argument("--output", required=True, metavar="FILE", help="errors of the networks to write (npz)")

    one = add(
        adopt,
        "foreign.npz --scale centred --wavelength axis.txt --medium vacuum --label-names Teff logg [Fe/H] "
        "--label-units K dex dex --output networks.npz",
    )
    _add_facts(one)


def _add_facts(subcommand: argparse.ArgumentParser) -> None:
    """What a file of another program does not say. Nothing has a default but what may stay unknown."""
    subcommand.add_argument("file", metavar="FILE", help="networks of another program (npz)")
    subcommand.add_argument(
        "--wavelength", metavar="FILE", help="wavelengths, Angstrom: npz, text with one a line, or START:STEP:N"
    )
    subcommand.add_argument("--medium", metavar="MEDIUM", help="vacuum or air, what the wavelengths are measured in")
    subcommand.add_argument("--label-names", nargs="+", metavar="NAME", help="of the labels, in the order of x_min")
    subcommand.add_argument("--label-units", nargs="+", metavar="UNIT", help='of the labels; "" for none')
    subcommand.add_argument(
        "--scale",
        metavar="SCALE",
        help="of networks of one hidden layer for each pixel: published (labels and flux in 0.1 ... 0.9, logistic "
        "output) or centred (labels in -0.5 ... 0.5, linear output)",
    )
    subcommand.add_argument(
        "--resolution", type=float, default=0.0, metavar="R", help="of the spectra they were trained on, if known"
    )
    subcommand.add_argument(
        "--emulator-rms", type=float, metavar="X", help="rms error of the flux they predict, if known"
    )
    options.add_about(subcommand)
    subcommand.add_argument("--output", required=True, metavar="FILE", help="network file to write (npz)")


def _settings_of_all() -> dict[str, dict[str, Setting]]:
    """Each setting of each trainer, by its name and then by the trainers that have it."""
    found: dict[str, dict[str, Setting]] = {}
    for trainer, entry in TRAINERS.items():
        for one in settings_of(entry.settings):
            found.setdefault(one.name, {})[trainer] = one
    return found


def _add_training(subcommand: argparse.ArgumentParser) -> None:
    """The trainer, its seed and every setting of every trainer; one that several trainers have is one option."""
    subcommand.add_argument(
        "--trainer", choices=list(TRAINERS), default=DEFAULT, help="what adjusts the weights (default: %(default)s)"
    )
    options.add_seed(subcommand, "decides all random numbers")
    group = subcommand.add_argument_group("settings of the trainer", "with the default for each trainer that has them")
    for name, by_trainer in _settings_of_all().items():
        meanings: dict[str, list[str]] = {}
        for trainer, one in by_trainer.items():
            meanings.setdefault(options.meaning(one), []).append(f"{trainer}: {one.default}")
        said = "; ".join(f"{meaning} ({', '.join(defaults)})" for meaning, defaults in meanings.items())
        options.add_number(group, next(iter(by_trainer.values())), said, dest=f"setting_{name}", default=None)


def _settings_of(given: argparse.Namespace):
    """The settings given on the command line, for the trainer given there."""
    values = {name: getattr(given, f"setting_{name}") for name in _settings_of_all()}
    return make_settings(given.trainer, {name: value for name, value in values.items() if value is not None})


def _add_refused(subcommand: argparse.ArgumentParser) -> None:
    """What a chunk carries is no option of `train`; it is taken all the same, unseen, for an answer that helps."""
    for name in ("trainer", "seed", *_settings_of_all()):
        subcommand.add_argument(options.option_of(name), dest=f"refused_{name}", help=argparse.SUPPRESS)


def _refuse_settings(given: argparse.Namespace) -> None:
    """Raise SettingsError where `train` was given what only the chunk says, with what that is."""
    from payneflow.chunks.chunk import read_training

    names = [name for name in ("trainer", "seed", *_settings_of_all()) if getattr(given, f"refused_{name}") is not None]
    if not names:
        return
    carried = settings_record(*read_training(given.chunk))
    asked = " ".join(f"{options.option_of(name)} {getattr(given, f'refused_{name}')}" for name in names)
    said = [
        f"{name} {carried[name]}" if name in carried else f"no {name}" for name in dict.fromkeys(["trainer", *names])
    ]
    raise SettingsError(
        f"{asked}: no option of train, which takes trainer, settings and seed from the chunk. {given.chunk} carries "
        f"{', '.join(said)}. Run payneflow split again with {asked}."
    )
