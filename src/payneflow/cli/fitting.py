"""The subcommands from networks to labels of spectra and to figures: calibrate, fit, mismatch, gather_fits, plot."""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from payneflow.cli import options
from payneflow.declaration import settings_of
from payneflow.errors import CalibrationError, SettingsError, SpectraError
from payneflow.shipped import NAMES, shipped
from payneflow.spectra import SpectraLayout, make_layout
from payneflow.spectra.formats import FORMATS
from payneflow.spectra.layout import MEDIA, ROLES, ROWS, UNCERTAINTIES, WAVELENGTH_UNITS

_DEFAULT = SpectraLayout()


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
    errors = measure_label_errors(networks, grid, _fit_settings_of(given), progress=counter.show_done)
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
    inputs = [given.network, *(given.grid or ()), given.label_errors, given.mismatch, given.windows]
    check_outputs(_outputs_of_fit(given), inputs)
    if bool(given.grid) == bool(given.files):
        raise SettingsError("expected files of observed spectra, or --grid for the test spectra of a grid.")
    settings = _fit_settings_of(given)
    networks = read_networks(given.network)
    label_errors, faults = _label_errors(given, networks, settings), _faults(given, networks)
    if given.pieces:
        _fit_stars(given, networks, settings, label_errors)
        return
    common = {"label_errors": label_errors, "processes": given.processes}
    with StoredRows(Path(given.output).parent) as rows:
        if given.grid:
            _fit_test_set(given, networks, settings, common, rows)
        else:
            _fit_observed(given, networks, settings, {**common, "faults": faults}, rows)
        write_results(rows, given.output, given.parquet)
        print(results_text(rows))


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
    return [*_tables_of(given), *(_tables_of(given, _PIECES) if given.pieces else []), given.best_fits]


def _tables_of(given: argparse.Namespace, of: str = "") -> list[str]:
    return [f"{given.output}{of}.{ending}" for ending in ("ecsv", "fits", "parquet")[: 2 + given.parquet]]


def _check_parquet(given: argparse.Namespace) -> None:
    """Refuse --parquet, before any work, where there is nothing to write such files with."""
    from payneflow.fitting.parquet_file import check_pyarrow

    if given.parquet:
        check_pyarrow()


def _label_errors(given: argparse.Namespace, networks, settings):
    """What a calibration measured, refused where it was of other networks or another mode; None where none is given."""
    from payneflow.fitting.calibration import read_label_errors

    if given.networks and given.label_errors is None:
        return _shipped_errors(given.networks, networks, settings)
    if given.label_errors is None:
        print(
            "warning: without --label-errors the errors are formal ones, photon noise alone: too small at high S/N. "
            "Measure the networks' own part with payneflow calibrate.",
            file=sys.stderr,
        )
        return None
    errors = read_label_errors(given.label_errors)
    try:
        errors.check(networks, settings.mode(networks.label_names))
    except CalibrationError as error:
        raise CalibrationError(f"{given.label_errors}: {error}") from error
    return errors


def _shipped_errors(name: str, networks, settings):
    """Label errors that come with networks; None, with a warning, where they are of another mode."""
    from payneflow.fitting.calibration import read_label_errors

    errors = read_label_errors(shipped(name).label_errors)
    asked = settings.mode(networks.label_names)
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
    counter = Counter(networks.split_of(grid).n_test, "spectra fitted")
    start = None if given.start == "estimate" else given.start
    common = {**common, "start": start, "progress": counter.show_done}
    fits = fit_test_set(networks, grid, settings, given.flux_error, **common)
    counter.close()
    rows.append(fits)
    rows.meta = fits.meta


def _fit_observed(given: argparse.Namespace, networks, settings, common: dict, rows) -> None:
    from payneflow.files import check_outputs
    from payneflow.fitting.many import fit_into, write_best_fits
    from payneflow.fitting.run_meta import refuse_if_unreadable
    from payneflow.progress import Counter
    from payneflow.spectra import find_files, find_shard, read_spectra
    from payneflow.spectra.shards import parse_selection

    if given.start == "truth":
        raise SettingsError("--start truth: the true labels of observed spectra are unknown; use estimate or middle.")
    layout = _layout_of(given)
    selection = None if given.spectra is None else parse_selection(given.spectra)
    files = find_files(given.files)
    check_outputs(_outputs_of_fit(given), files)
    shard = find_shard(files, layout, selection)
    if given.plan not in (None, shard.digest):
        raise SpectraError(
            f"{' '.join(given.files)}: the files have come or gone since this job was planned, so that spectra "
            f"{given.spectra} are others. Start the workflow again: it will plan anew."
        )
    counter = Counter(len(shard.spectra), "spectra fitted")
    # Of one file alone what is wrong is an error; a shard may hold one file of many.
    flag_bad_files = len(shard.paths) > 1 or selection is not None
    reading = {"selection": shard.spectra, "flag_bad_files": flag_bad_files, "names": shard.names}
    batches = read_spectra(shard.paths, layout, networks.wavelength, **reading)
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


_PIECES = "_pieces"  # ends the name of the second table of stars in pieces


def _fit_stars(given: argparse.Namespace, networks, settings, label_errors) -> None:
    """All spectra with one identifier are pieces of one star."""
    from payneflow.files import check_outputs
    from payneflow.fitting.many_stars import fit_stars_of_batches
    from payneflow.fitting.results import results_text, write_results
    from payneflow.fitting.run_meta import refuse_if_unreadable
    from payneflow.progress import Counter
    from payneflow.spectra import find_files, find_shard, read_spectra

    for option, value in (("--grid", given.grid), ("--spectra", given.spectra), ("--best-fits", given.best_fits)):
        if value:
            raise SettingsError(
                f"{option} {value}: not with --pieces, whose stars are fitted from all of their spectra. Leave it out."
            )
    if given.start != "estimate":
        raise SettingsError(f"--start {given.start}: not with --pieces, which start from fits of each. Leave it out.")
    layout, files = _layout_of(given), find_files(given.files)
    check_outputs(_outputs_of_fit(given), files)
    shard = find_shard(files, layout, None)
    counter = Counter(len(shard.spectra), "spectra fitted")
    batches = read_spectra(shard.paths, layout, networks.wavelength, names=shard.names)
    common = {"label_errors": label_errors, "processes": given.processes, "progress": counter.show_done}
    stars, pieces = fit_stars_of_batches(
        networks, batches, settings, velocity=given.pieces, n_all=shard.n_all, **common
    )
    counter.close()
    refuse_if_unreadable(stars)
    write_results(pieces, f"{given.output}{_PIECES}", given.parquet)
    write_results(stars, given.output, given.parquet)
    print(results_text(stars))


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
    from payneflow.fitting.results import results_text, write_results
    from payneflow.fitting.rows import StoredRows
    from payneflow.fitting.run_meta import refuse_if_unreadable

    shards = options.listed(given, given.fits)
    _check_parquet(given)
    check_outputs(_tables_of(given), [*shards, given.list])
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
    _add_fit_settings(one)

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
    _add_layout(one)
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
    one.add_argument("--plan", metavar="DIGEST", help="refuse if --spectra are others than the workflow planned")
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
        help="1 sigma error of every pixel of --grid, as a share of the flux scale, and where --uncertainty is mask or "
        "none, in the unit of the flux (default: %(default)s)",
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
    _add_fit_settings(one)

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


def _add_layout(subcommand: argparse.ArgumentParser) -> None:
    """How observed spectra are stored."""
    group = subcommand.add_argument_group("layout of observed spectra", "nothing of it is guessed")
    group.add_argument("--format", choices=list(FORMATS), default=_DEFAULT.format, help="default: %(default)s")
    group.add_argument(
        "--uncertainty",
        choices=UNCERTAINTIES,
        default="",
        help="what comes with the flux: 1 sigma errors, their inverse variance, neither but a mask, or none of them",
    )
    group.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="WHAT=NAME",
        help=f"the file calls this array NAME (FITS: HDU or HDU:COLUMN; a row: NAME[0]); WHAT is {', '.join(ROLES)}",
    )
    group.add_argument(
        "--mask-bits", default="", metavar="N,N,...", help="bits of the mask that make a pixel bad (default: any)"
    )
    group.add_argument(
        "--wavelength-unit", choices=WAVELENGTH_UNITS, default=_DEFAULT.wavelength_unit, help="default: %(default)s"
    )
    group.add_argument("--medium", choices=MEDIA, default=_DEFAULT.medium, help="default: %(default)s")
    group.add_argument(
        "--rows",
        choices=ROWS,
        default=_DEFAULT.rows,
        help="one_star: the rows of a file are chips or orders of one spectrum (default: %(default)s)",
    )
    group.add_argument(
        "--hdu", default="", metavar="HDU", help="of mwmStar, mwmVisit and specutils: which HDU, by number or name"
    )
    group.add_argument("--loader", default="", metavar="NAME", help="specutils' name of a format it cannot recognise")


def _layout_of(given: argparse.Namespace) -> SpectraLayout:
    """The layout that the options declare. Raises SettingsError naming the option that cannot be meant."""
    names = options.pairs("--array", given.array)
    for role, name in names.items():
        if role not in ROLES:
            raise SettingsError(f"--array {role}={name}: expected WHAT=NAME, WHAT one of {', '.join(ROLES)}.")
    bits = [bit for bit in given.mask_bits.split(",") if bit.strip()]
    if not all(bit.strip().isdigit() for bit in bits):
        raise SettingsError(f"--mask-bits {given.mask_bits}: expected whole numbers with commas between them.")
    return make_layout(
        format=given.format,
        uncertainty=given.uncertainty,
        mask_bits=tuple(map(int, bits)),
        wavelength_unit=given.wavelength_unit,
        medium=given.medium,
        rows=given.rows,
        hdu=given.hdu,
        loader=given.loader,
        **({"constant_error": given.flux_error} if "flux_error" in given else {}),
        **names,
    )


_PLAIN = (int, float)


def _add_fit_settings(subcommand: argparse.ArgumentParser) -> None:
    """What is fitted, and how: every setting of FitSettings."""
    from payneflow.fitting import FitSettings

    group = subcommand.add_argument_group("what is fitted")
    for one in settings_of(FitSettings):
        option, meaning = one.option or options.option_of(one.name), options.meaning(one)
        if one.kind in _PLAIN:
            options.add_number(group, one, f"{meaning} (default: {one.default})", default=one.default)
        elif one.kind is bool and one.default:
            option = options.option_of(f"no_{one.name}")
            group.add_argument(option, dest=one.name, action="store_false", help=f"do not {meaning}")
        elif one.kind is bool:
            group.add_argument(option, dest=one.name, action="store_true", help=meaning)
        elif one.choices:
            said = f"{meaning} (default: {one.default})"
            group.add_argument(option, dest=one.name, choices=one.choices, default=one.default, help=said)
        elif one.name == "windows":
            group.add_argument(option, dest=one.name, metavar=one.metavar, help=meaning)
        else:
            group.add_argument(
                option, dest=one.name, action="append", default=[], metavar=one.metavar, help=_ENTRIES[one.name]
            )


# of settings that hold an entry a label: the option that is given once for each, and how many numbers an entry has
_ENTRIES = {
    "fixed": "hold a label, in its unit, or vsini or vmac, in km/s",
    "priors": "Gaussian prior of a label, in its unit, or of vsini or vmac, in km/s",
}
_LENGTH = {"fixed": 1, "priors": 2}


def _fit_settings_of(given: argparse.Namespace):
    """FitSettings of the options. Raises SettingsError naming what cannot be meant."""
    from payneflow.fitting import FitSettings, read_windows

    values = {}
    for one in settings_of(FitSettings):
        value = getattr(given, one.name)
        if one.name in _LENGTH:
            entries = options.pairs(one.option, value, of_numbers=True).items()
            value = {label: _numbers(one.option, label, text, _LENGTH[one.name]) for label, text in entries}
        elif one.name == "windows":
            value = () if value is None else read_windows(value)
        values[one.name] = value
    values["fixed"] = {label: value for label, (value,) in values["fixed"].items()}
    return FitSettings(**values)


def _numbers(option: str, name: str, text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        expected = "a number" if count == 1 else "two numbers, MEAN,SIGMA"
        raise SettingsError(f"{option} {name}={text}: expected {expected} in the unit of the label.")
    return values
