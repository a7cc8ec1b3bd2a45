"""The subcommands from networks to labels of spectra and to figures: calibrate, fit, mismatch, gather_fits, plot."""

import argparse
import math
import statistics
import sys
from collections import Counter as Counts
from dataclasses import replace
from pathlib import Path

from payneflow.cli import fit_options, options
from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.label_names import NO_NOISE, PIECES
from payneflow.shipped import NAMES, shipped
from payneflow.spectra import SpectraLayout

_DEFAULT = SpectraLayout()
TEST_SNR = "100"  # as in config.yaml


def calibrate(given: argparse.Namespace) -> None:
    """Measure the networks' own label errors, by fitting spectra that their training never saw."""
    from payneflow.files import check_outputs
    from payneflow.fitting.calibration import measure_label_errors, write_label_errors
    from payneflow.network import read_networks
    from payneflow.progress import Counter

    check_outputs([given.output], [given.network, *given.grid, given.windows])
    networks = read_networks(given.network)
    grid = networks.read_grid(given.grid, options.grid_keys_of(given))
    counter = Counter(len(grid.labels), "spectra fitted")
    errors = measure_label_errors(networks, grid, fit_options.fit_settings_of(given), progress=counter.show_done)
    write_label_errors(errors, given.output)
    wrong = errors.provenance["wrong_labels"]
    if wrong:
        print(
            f"warning: {grid.path}: the labels of {'spectrum' if len(wrong) == 1 else 'spectra'} "
            f"{', '.join(map(grid.origins.said_of, wrong))} cannot be those of the spectrum, and take no part. "
            "Correct or remove them.",
            file=sys.stderr,
        )
    if errors.provenance["astray"]:
        print(
            f"warning: {errors.provenance['astray']} of {errors.provenance['fitted']} fits end in another minimum than "
            f"that of the true labels, from {errors.n_starts} starts. Such fits of stars are flagged at best: "
            "more pixels, or priors, tell the minima apart.",
            file=sys.stderr,
        )
    if errors.n_starts > 1:
        print(f"fits with these label errors begin at {errors.n_starts} starts: chi2 has several minima")
    print(f"label errors of {int(errors.held_back.sum())} held-back spectra, fitted in the mode: {errors.mode}")


def fit(given: argparse.Namespace) -> None:
    """Fit the labels of observed spectra, or of the test spectra of a grid, which the networks never saw."""
    from payneflow.files import check_outputs
    from payneflow.fitting.results import results_text, write_results
    from payneflow.fitting.rows import StoredRows
    from payneflow.network import read_networks

    _check_parquet(given)
    given.network, *given.files = _inputs_of_fit(given)
    _refuse_arms(given)
    arms = [network for network, *_ in given.arm]
    inputs = [given.network, *arms, *(given.grid or ()), given.label_errors, given.mismatch, given.windows]
    check_outputs(_outputs_of_fit(given), inputs)
    if bool(given.grid) == bool(given.files):
        raise SettingsError("expected files of observed spectra, or --grid for the test spectra of a grid.")
    settings, layout = fit_options.fit_settings_of(given), None if given.grid else fit_options.layout_of(given)
    _check_resolution(given, settings, layout)
    networks = read_networks(given.network)
    label_errors, faults = _label_errors(given, networks, settings, layout), _faults(given, networks)
    if given.stars and not given.pieces:
        raise SettingsError(f"--stars {given.stars}: only with --pieces; of spectra one by one give --spectra.")
    if given.pieces:
        _fit_stars(given, networks, settings, label_errors, layout)
        return
    common = {"label_errors": label_errors, "processes": given.processes}
    with StoredRows(Path(given.output).parent) as rows:
        if given.grid:
            _fit_test_set(given, networks, settings, common, rows)
        else:
            _fit_observed(given, networks, settings, {**common, "faults": faults}, rows, layout)
        write_results(rows, given.output, given.parquet)
        print(results_text(rows))


def _check_resolution(given: argparse.Namespace, settings, layout: SpectraLayout | None) -> None:
    """Refuse two resolutions of the spectra, before any work."""
    if layout is not None and layout.instrument and settings.resolution:
        role = layout.instrument
        raise SettingsError(
            f"--resolution {settings.resolution:g} --array {role}={layout.key(role)}: two resolutions of the spectra; "
            "expected one. Leave one of both out."
        )


def _refuse_arms(given: argparse.Namespace) -> None:
    """Raise SettingsError for arms that cannot be meant."""
    for network, *files in given.arm:
        said = f"--arm {network}"
        if not files:
            raise SettingsError(f"{said}: expected the network file of an arm, and after it files of its spectra.")
        if not given.pieces:
            raise SettingsError(f"{said}: arms are pieces of stars. Give --pieces common, or each, with it.")
        for option, value in (("--label-errors", given.label_errors), ("--networks", given.networks)):
            if value:
                raise SettingsError(
                    f"{said}: not with {option} {value}. What calibrations of several network files say of one star "
                    "together is not known: fit with formal errors, or with one network file for all arms."
                )
        if given.stars:
            raise SettingsError(f"{said}: not with --stars {given.stars}, which is for one network file. Leave it out.")


def _inputs_of_fit(given: argparse.Namespace) -> list[str]:
    """The network file, and files of spectra."""
    if not given.networks:
        return given.inputs
    if given.grid:
        raise SettingsError(
            f"--networks {given.networks} --grid {given.grid[0]}: the grid of these networks does not come with "
            "payneflow. Give files of observed spectra, or the network file in place of --networks."
        )
    return [str(shipped(given.networks).networks), *given.inputs]


def _outputs_of_fit(given: argparse.Namespace) -> list[str | None]:
    return [*_tables_of(given), *(_tables_of(given, PIECES) if given.pieces else []), given.best_fits]


def _tables_of(given: argparse.Namespace, of: str = "") -> list[str]:
    return [f"{given.output}{of}.{ending}" for ending in ("ecsv", "fits", "parquet")[: 2 + given.parquet]]


def _check_parquet(given: argparse.Namespace) -> None:
    """Refuse --parquet, before any work, where there is nothing to write such files with."""
    from payneflow.fitting.parquet_file import check_pyarrow

    if given.parquet:
        check_pyarrow()


def _label_errors(given: argparse.Namespace, networks, settings, layout: SpectraLayout | None):
    """What a calibration measured, refused where it was of other networks or another mode; None where none is given."""
    from payneflow.fitting.calibration import read_label_errors

    if given.networks and given.label_errors is None:
        return _shipped_errors(given.networks, networks, settings, layout)
    if given.label_errors is None:
        print(
            "warning: without --label-errors the errors are formal ones, photon noise alone: too small at high S/N. "
            "Measure the networks' own part with payneflow calibrate.",
            file=sys.stderr,
        )
        return None
    errors = read_label_errors(given.label_errors)
    try:
        own = layout is not None and layout.instrument  # held against that of the label errors, spectrum by spectrum
        (errors.of_own_resolutions if own else errors).check(networks, settings.mode(networks.label_names))
    except CalibrationError as error:
        raise CalibrationError(f"{given.label_errors}: {error}") from error
    return errors


def _shipped_errors(name: str, networks, settings, layout: SpectraLayout | None):
    """Label errors that come with networks; None, with a warning, where they are of another mode."""
    from payneflow.fitting.calibration import read_label_errors

    errors = read_label_errors(shipped(name).label_errors)
    asked = settings.mode(networks.label_names)
    if layout is not None and layout.instrument:
        asked = f"{asked}; {layout.instrument} of each spectrum"
    if errors.mode == asked:
        return errors
    print(
        f"warning: the label errors that come with {name} are of the mode: {errors.mode}. This one is: {asked}. So the "
        "errors are formal ones, photon noise alone: too small at high S/N.",
        file=sys.stderr,
    )
    return None


def _faults(given: argparse.Namespace, networks):
    """What is known of the model's faults, and how it is used; None where nothing is given."""
    from payneflow.fitting.faults import read_faults

    if given.mismatch is None:
        for option, value in (("--mismatch-mask", given.mismatch_mask), ("--mismatch-correct", given.mismatch_correct)):
            if value:
                raise SettingsError(f"{option}: there is no mismatch to use. Give --mismatch FILE, or leave it out.")
        return None
    for option, value in (("--grid", given.grid), ("--pieces", given.pieces)):
        if value:
            raise SettingsError(f"--mismatch {given.mismatch}: not with {option}. Fit observed spectra one by one.")
    if given.mismatch_mask is not None and not given.mismatch_mask > 0:
        raise SettingsError(f"--mismatch-mask {given.mismatch_mask}: expected a number above 0, in units of the flux.")
    faults = read_faults(given.mismatch)
    try:
        faults.check(networks)
    except CalibrationError as error:
        raise CalibrationError(f"{given.mismatch}: {error}") from error
    mask = float("inf") if given.mismatch_mask is None else given.mismatch_mask
    return replace(faults, mask=mask, correct=given.mismatch_correct)


def _fit_test_set(given: argparse.Namespace, networks, settings, common: dict, rows) -> None:
    from payneflow.fitting.many import fit_test_set
    from payneflow.progress import Counter

    grid = networks.read_grid(given.grid, options.grid_keys_of(given))
    n_test, snr = networks.split_of(grid).n_test, _snr_of(given)
    counter = Counter(n_test if snr is None else 2 * n_test, "fits")
    start = None if given.start == "estimate" else given.start
    common = {**common, "start": start, "progress": counter.show_done}
    fits = fit_test_set(networks, grid, settings, given.flux_error, snr=snr, seed=given.seed, **common)
    counter.close()
    rows.append(fits)
    rows.meta = fits.meta


def _fit_observed(given: argparse.Namespace, networks, settings, common: dict, rows, layout: SpectraLayout) -> None:
    from payneflow.files import check_outputs
    from payneflow.fitting.many import fit_into, write_best_fits
    from payneflow.fitting.run_meta import refuse_if_unreadable
    from payneflow.progress import Counter
    from payneflow.spectra import find_files, find_shard, read_spectra
    from payneflow.spectra.shards import parse_selection

    if given.start == "truth":
        raise SettingsError("--start truth: the true labels of observed spectra are unknown; use estimate or middle.")
    selection = None if given.spectra is None else parse_selection(given.spectra)
    files = find_files(given.files)
    check_outputs(_outputs_of_fit(given), files)
    shard = find_shard(files, layout, selection)
    _check_planned(given, f"spectra {given.spectra}", shard)
    counter = Counter(len(shard.spectra), "spectra fitted")
    # Of one file alone what is wrong is an error; a shard may hold one file of many.
    flag_bad_files = len(shard.paths) > 1 or selection is not None
    reading = {"selection": shard.spectra, "flag_bad_files": flag_bad_files, "names": shard.names}
    own_axes = common["faults"] is None  # whose fits hold a model of each axis in memory
    batches = read_spectra(shard.paths, layout, networks.wavelength, own_axes=own_axes, **reading)
    start = None if given.start == "estimate" else given.start
    common = {**common, "spectra": shard.selection, "n_all": shard.n_all}
    fit_into(rows, networks, batches, settings, start=start, progress=counter.show_done, **common)
    counter.close()
    if selection is None:
        refuse_if_unreadable(rows)
    if given.best_fits:
        again = read_spectra(shard.paths, layout, networks.wavelength, **reading)
        n = write_best_fits(networks, again, settings, given.best_fits, start, rows, common["faults"])
        print(f"{n} best-fit spectra in {given.best_fits}")


def _snr_of(given: argparse.Namespace) -> float | None:
    """The S/N of --test-snr, None for no noise. Raises SettingsError where that or --seed cannot be meant."""
    if given.seed < 0:
        raise SettingsError(f"--seed {given.seed}: expected a whole number from 0.")
    if given.test_snr == NO_NOISE:
        return None
    try:
        snr = float(given.test_snr)
    except ValueError:
        snr = math.nan
    if not 0 < snr < math.inf:
        raise SettingsError(f"--test-snr {given.test_snr}: expected a positive number, or {NO_NOISE}.")
    return snr


def _fit_stars(given: argparse.Namespace, networks, settings, label_errors, layout: SpectraLayout) -> None:
    """All spectra with one identifier are pieces of one star."""
    from payneflow.files import check_outputs
    from payneflow.fitting.many_stars import fit_stars_of_batches
    from payneflow.fitting.results import results_text, write_results
    from payneflow.fitting.run_meta import refuse_if_unreadable
    from payneflow.network import read_networks
    from payneflow.progress import Counter
    from payneflow.spectra import find_files, find_star_shard, read_spectra
    from payneflow.spectra.shards import parse_selection

    _refuse_of_stars(given)
    files = [find_files(own) for own in (given.files, *(own for _, *own in given.arm))]
    every = [path for own in files for path in own]
    check_outputs(_outputs_of_fit(given), every)
    if len(set(every)) < len(every):
        twice = Counts(every).most_common(1)[0][0]
        raise SpectraError(f"{twice}: given for two arms; each file holds the spectra of one. Name it once.")
    selection = None if given.stars is None else parse_selection(given.stars, "stars")
    shard = find_star_shard(every, layout, selection)
    _check_planned(given, f"stars {given.stars}", shard)
    counter = Counter(len(shard.numbers), "spectra fitted")

    def read(networks, paths):
        """The spectra of this shard in some of its files."""
        wanted = set(paths)
        own = [k for k, path in enumerate(shard.paths) if path in wanted]
        return read_spectra(
            [shard.paths[k] for k in own],
            layout,
            networks.wavelength,
            selection=None if given.arm else shard.runs,
            flag_bad_files=len(every) > 1,
            names=[shard.names[k] for k in own],
        )

    arms = [
        (own, read(own, paths))
        for own, paths in zip([read_networks(path) for path, *_ in given.arm], files[1:], strict=True)
    ]
    common = {"label_errors": label_errors, "processes": given.processes, "progress": counter.show_done}
    common |= {"velocity": given.pieces, "shard": shard, "arms": arms}
    stars, pieces = fit_stars_of_batches(networks, read(networks, files[0]), settings, **common)
    counter.close()
    if selection is None:
        refuse_if_unreadable(stars)
    write_results(pieces, f"{given.output}{PIECES}", given.parquet)
    write_results(stars, given.output, given.parquet)
    print(results_text(stars))


def _refuse_of_stars(given: argparse.Namespace) -> None:
    """Raise SettingsError for options that stars in pieces have no use for."""
    for option, value, instead in (
        ("--grid", given.grid and given.grid[0], "whose spectra are one of each star"),
        ("--spectra", given.spectra, "whose stars are fitted from all of their spectra: --stars START:STOP"),
        ("--best-fits", given.best_fits, "where one best fit belongs to several spectra: fit these one by one for it"),
    ):
        if value:
            raise SettingsError(f"{option} {value}: not with --pieces, {instead}. Leave it out.")
    if given.start != "estimate":
        raise SettingsError(f"--start {given.start}: not with --pieces, which start from fits of each. Leave it out.")


def _check_planned(given: argparse.Namespace, which: str, shard) -> None:
    """Raise SpectraError where a shard is another than the workflow planned."""
    if given.plan not in (None, shard.digest):
        raise SpectraError(
            f"{' '.join(given.files)}: the files have come or gone since this job was planned, so that {which} "
            "are others. Start the workflow again: it will plan anew."
        )


def mismatch(given: argparse.Namespace) -> None:
    """Learn the model's own faults from the residuals of many fitted stars."""
    from payneflow.files import check_outputs
    from payneflow.fitting.fault_learning import learn_faults
    from payneflow.fitting.fault_residuals import residuals_of
    from payneflow.fitting.faults import write_faults
    from payneflow.network import read_networks

    check_outputs([given.output], [given.network, *given.best_fits])
    networks = read_networks(given.network)
    stars, left_out = residuals_of(networks, given.best_fits)
    faults = learn_faults(stars, networks.digest, lambda said: print(said, flush=True))
    faults = replace(faults, provenance={**faults.provenance, "left_out": left_out})
    write_faults(faults, given.output)
    others = ", ".join(f"{n} {why}" for why, n in left_out.items() if n and why != "fits")
    print(f"{len(stars)} stars" + (f" ({others})" if others else "") + f"; kept: {faults.provenance['kept']}")
    size = faults.size[networks.has_network]
    if not faults.none:
        print(
            f"faults of the flux: median {statistics.median(size):.2g}, largest {size.max():.2g}; beyond 0.01 in "
            f"{(size > 0.01).mean():.1%} of the pixels; chi2/dof of ordinary stars up to {faults.usual_chi2:.2f}"
        )


def gather_fits(given: argparse.Namespace) -> None:
    """Join the fits of all shards to one table."""
    from payneflow.files import check_outputs
    from payneflow.fitting.gather import gather_into
    from payneflow.fitting.results import read_piece_blocks, results_text, write_results
    from payneflow.fitting.rows import StoredRows
    from payneflow.fitting.run_meta import refuse_if_unreadable

    shards = options.listed(given, given.fits)
    _check_parquet(given)
    of_pieces = [f"{str(path).removesuffix('.ecsv')}{PIECES}.ecsv" for path in shards] if given.pieces else []
    outputs = [*_tables_of(given), *(_tables_of(given, PIECES) if given.pieces else [])]
    check_outputs(outputs, [*shards, *of_pieces, given.list])
    if given.pieces:
        with StoredRows(Path(given.output).parent) as rows:
            gather_into(rows, of_pieces, read_piece_blocks)
            write_results(rows, f"{given.output}{PIECES}", given.parquet)
    with StoredRows(Path(given.output).parent) as rows:
        gather_into(rows, shards)
        refuse_if_unreadable(rows)
        write_results(rows, given.output, given.parquet)
        print(results_text(rows))


def plot(given: argparse.Namespace) -> None:
    """Draw a figure from a result file; the ending of the output (.png, .pdf, .svg) is the format."""
    from payneflow import figures
    from payneflow.files import check_outputs

    check_outputs([given.output], [given.input])
    figures.plot(given.figure, given.input, given.output, given.spectrum)


# ----------------------------------------------------------------------------------------------------- the options


def add_subcommands(add) -> None:
    """Add them with `add`, which takes a function and an example, and returns the parser of the subcommand."""
    from payneflow.figures import FIGURES

    one = add(calibrate, "neural_network.npz resources/hband_grid.npz --output label_errors.npz")
    options.add_network(one)
    options.add_grid(one)
    one.add_argument("--output", required=True, metavar="FILE", help="label errors to write (npz)")
    fit_options.add_fit_settings(one)

    one = add(
        fit,
        "neural_network.npz spectra.npz --uncertainty flux_error --label-errors label_errors.npz --output fits\n"
        "  payneflow fit neural_network.npz --grid resources/hband_grid.npz --output fits\n"
        "  payneflow fit --networks hband spectra.npz --uncertainty flux_error --velocity --continuum 4 --output fits",
    )
    one.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE",
        help="NETWORK, the network file made by payneflow gather, and right after it files of observed spectra: paths, "
        'quoted patterns ("spectra/*.fits") or @LIST, one a line',
    )
    one.add_argument(
        "--networks",
        choices=NAMES,
        help="networks that come with payneflow, and their label errors, in place of NETWORK",
    )
    fit_options.add_layout(one)
    options.add_grid(one, "--grid")
    _add_tables(one)
    one.add_argument(
        "--spectra", metavar="START:STOP", help="of all spectra in the files, counted from 0 (default: all)"
    )
    one.add_argument(
        "--pieces",
        choices=("common", "each"),
        help="spectra with the same identifier are pieces of one star, whose velocity is common, or each has its own; "
        "also writes STEM_pieces",
    )
    one.add_argument(
        "--arm",
        nargs="+",
        action="append",
        default=[],
        metavar=("NETWORK", "FILE"),
        help="with --pieces: another network file, and right after it files of spectra that it describes, such as "
        "those of the red arm; may be given again",
    )
    one.add_argument(
        "--stars",
        metavar="START:STOP",
        help="with --pieces: of all stars in the files, counted from 0 as they come first (default: all)",
    )
    one.add_argument(
        "--plan", metavar="DIGEST", help="refuse if --spectra or --stars are others than the workflow planned"
    )
    one.add_argument("--best-fits", metavar="FILE", help="also write the best-fit spectra of observed ones (npz)")
    one.add_argument("--label-errors", metavar="FILE", help="label errors made by payneflow calibrate")
    one.add_argument("--mismatch", metavar="FILE", help="faults of the model, made by payneflow mismatch")
    one.add_argument(
        "--mismatch-mask", type=float, metavar="X", help="leave out pixels whose faults are larger than X of the flux"
    )
    one.add_argument(
        "--mismatch-correct", action="store_true", help="subtract the faults that all stars share, as they were learned"
    )
    one.add_argument(
        "--flux-error",
        type=float,
        default=0.01,
        metavar="X",
        help="1 sigma error of every pixel of --grid without noise, as a share of the flux scale, and where "
        "--uncertainty is mask or none, in the unit of the flux (default: %(default)s)",
    )
    one.add_argument(
        "--test-snr",
        default=TEST_SNR,
        metavar="X",
        help="S/N of the noise that spectra of --grid get, and of their error; what is fitted without noise stands "
        "beside it; none: no noise (default: %(default)s)",
    )
    one.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws that noise, whole number from 0 (default: %(default)s)"
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

    one = add(mismatch, "neural_network.npz best_fits/*.npz --output mismatch.npz")
    options.add_network(one)
    one.add_argument(
        "best_fits", nargs="+", metavar="BEST_FITS", help="best-fit spectra (fit --best-fits) of many stars"
    )
    one.add_argument("--output", required=True, metavar="FILE", help="faults of the model to write (npz)")

    one = add(gather_fits, "fits/*.ecsv --output fits")
    one.add_argument("fits", nargs="*", metavar="FITS", help="fits of all shards (ecsv)")
    options.add_list(one)
    _add_tables(one)
    one.add_argument(
        "--pieces",
        action="store_true",
        help="of stars in pieces: also join the tables FITS_pieces.ecsv beside them, to STEM_pieces",
    )

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


def _add_tables(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument("--output", required=True, metavar="STEM", help="writes STEM.ecsv and STEM.fits")
    subcommand.add_argument("--parquet", action="store_true", help="also write STEM.parquet, for large tables")
