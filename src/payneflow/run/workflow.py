"""The Python of the workflow's rules: settings -> chunks, shards, resources, options as quoted text, figures, files.

Nothing here knows an object of Snakemake; workflow/rules/settings.smk hands over plain values and asks.
"""

import hashlib
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from payneflow.chunks.selection import parse_pixels, plan_chunks
from payneflow.errors import SettingsError, SpectraError
from payneflow.figures import REPORT_FIGURES
from payneflow.files import read_small, whole_file, write_list
from payneflow.fitting.settings import FitSettings
from payneflow.grid import (
    GridKeys,
    GridReading,
    grid_shape,
    grid_split,
    name_of,
    paths_of,
    read_resolution,
    read_wavelength,
)
from payneflow.grid.checks import in_vacuum
from payneflow.grid.sets import RANDOM
from payneflow.label_names import NO_NOISE
from payneflow.run import sizing
from payneflow.run.config import AUTO, NO_PIECES, check_labels, each_file
from payneflow.run.contents import PIECES
from payneflow.run.known import KNOWN, Known, digest_of, outdated
from payneflow.run.verify import Finding, Plan, mend, verify
from payneflow.settings import settings_record
from payneflow.spectra.layout import ROLES, SpectraLayout
from payneflow.training.trainers import (
    Settings,
    check_size,
    entry_named,
    entry_of,
    make_settings,
    seconds_of_preparation,
)

SCRATCH = Path(".snakemake/payneflow")  # in the directory that Snakemake runs in, beside what it notes itself
MOST_SAID = 5  # files that are named of those to be made again
PLAIN = re.compile(r"[\w./@+-]+", re.ASCII)  # a path that no program takes for anything else


# --- Paths ------------------------------------------------------------------------------------------------------------


def alias_of(path: str | Path) -> Path:
    """The path as Snakemake can take it: itself, or a link to it where it holds a brace or an angle bracket.

    Snakemake reads {name} in every path of a rule as a wildcard, <name> as a path variable, and knows no escape.
    """
    return link_to(path) if re.search(r"[{}<>]", str(path)) else Path(path)


def alias_of_directory(path: str | Path) -> Path:
    """As `alias_of`, for a directory to write to: it is made where it needs a link, which must lead somewhere."""
    alias = alias_of(path)
    if alias != Path(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return alias


def plain_path(path: str | Path) -> Path:
    """The path, or a link to it where it holds a sign that THEANO_FLAGS or a compiler may misread."""
    return Path(path) if PLAIN.fullmatch(str(path)) else link_to(path)


def link_to(path: str | Path) -> Path:
    """A link to `path`, which need not exist yet, with a name of plain letters and the same ending, below SCRATCH.

    It carries the date 1970, so that making it anew repeats no job.
    """
    path = Path(path)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
    name = re.sub(r"[^\w.-]", "_", path.stem, flags=re.ASCII)
    suffix = path.suffix if PLAIN.fullmatch(path.suffix) else ""
    link = SCRATCH / f"{name}-{digest}{suffix}"
    target = path if path.is_absolute() else Path(os.path.relpath(path, SCRATCH))
    if link.is_symlink() and link.readlink() == target:
        return link
    SCRATCH.mkdir(parents=True, exist_ok=True)
    temporary = SCRATCH / f".{link.name}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.utime(temporary, (0, 0), follow_symlinks=False)
    temporary.replace(link)
    return link


def list_file(paths: Iterable[str | Path]) -> Path:
    """A list file of these paths, below SCRATCH; named by its content, so that two runs never clash."""
    lines = [str(path) for path in paths]
    digest = hashlib.sha256(b"\n".join(map(os.fsencode, lines))).hexdigest()[:16]
    path = SCRATCH / f"list-{digest}.txt"
    if not path.exists():
        write_list(path, lines)
    return path


# --- Where training runs, and what it needs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where training jobs run: on a cluster or here, with how many MPI ranks, and what starts these."""

    on_cluster: bool
    ranks: int
    launcher: str

    @classmethod
    def of(cls, config: Mapping, resources: Mapping[str, str | int]) -> "Site":
        """The site of a run: `resources` are the profile's default-resources, of which a cluster's have `ranks`."""
        if "ranks" not in resources:
            return cls(False, config["ranks"], config["launcher"])
        return cls(True, int(resources["ranks"]), str(resources["launcher"]))

    def ranks_of_job(self, threads: int) -> int:
        """Ranks of a training job; on one machine fewer where Snakemake has fewer cores."""
        return self.ranks if self.on_cluster else threads


@dataclass(frozen=True)
class Training:
    """The training of a run in numbers: the grid's shape, settings, the cost of a pixel, the names of its chunks."""

    trainer: str
    settings: Settings
    shape: tuple[int, int, int]  # n_spectrum, n_pixel, n_label
    n_training: int
    ranks: int
    seconds_a_pixel: float
    chunk_size: int
    chunks: tuple[str, ...]

    def runtime(self, attempt: int) -> int:
        """Minutes that a training job may take, as `payneflow plan` says; one that ran out of them gets more."""
        return sizing.runtime_minutes(self.chunk_size, self.seconds_a_pixel, self.ranks, attempt)

    def memory(self, attempt: int) -> int:
        """MB for each rank of a training job, as `payneflow plan` says; more for one that failed."""
        n_spectrum, _, n_label = self.shape
        return sizing.memory_mb_per_rank(self.chunk_size, n_spectrum, n_label, self.settings, attempt)

    def runtime_of_split(self, attempt: int) -> int:
        """Minutes for the split of the grid, with what its trainer prepares once for all pixels."""
        _, n_pixel, n_label = self.shape
        seconds = seconds_of_preparation(self.settings, self.n_training, n_label, n_pixel)
        return attempt * (10 + round(sizing.TIME_SAFETY * seconds / 60))


def plan_training(config: Mapping, site: Site) -> Training:
    """Cut the pixels of the grid into chunks. Raises GridError or SettingsError as grid and settings deserve."""
    keys = GridKeys(**config["grid_keys"])
    shape = _, n_pixel, n_label = grid_shape(config["grid"], keys)
    n_training = grid_split(config["grid"], keys, reading_of(config), config["seed"]).n_training
    settings = make_settings(config["trainer"], settings_of_trainer(config))
    check_size(settings, n_training)
    cost = entry_of(settings).seconds_a_pixel(settings, n_training, n_label)
    n_wanted = len(parse_pixels(config["pixels"], n_pixel))
    size = config["chunk_size"]
    if size == AUTO:
        size = sizing.chunk_size(n_wanted, cost, site.ranks, site.on_cluster)
    chunks = tuple(chunk.name for chunk in plan_chunks(n_pixel, config["pixels"], size))
    return Training(config["trainer"], settings, shape, n_training, site.ranks, cost, size, chunks)


# --- Inputs and results known by their content ------------------------------------------------------------------------


def digest_file(results: Path, shard: str | None = None) -> Path:
    """Where the digest of a shard's spectra is kept, or, in what its check says of it, that of the grid."""
    return results / KNOWN / ("grid.json" if shard is None else f"spectra/{shard}.json")


def look_at_content(results: Path, config: Mapping, training: Training, shards: Mapping, runs: bool) -> list[Path]:
    """What is there, and must be made again though no date says so, with a line of each on standard error.

    These are digests of inputs that hold something else now, and results that are damaged or do not belong together
    (verify.py); only what has changed since it was last looked at is read. `runs`: this is no dry run, so that the plan
    is kept with the results, and what is worth nothing and makes nothing is removed; neither while another run goes on.
    Raises PayneflowError where the plan cannot be written.
    """
    known = Known(results / KNOWN / "files.json")
    inputs = [(digest_file(results), paths_of(config["grid"]))]
    inputs += [(digest_file(results, name), shard.paths) for name, shard in shards.items() if shard is not None]
    again = outdated(inputs, known)
    plan = plan_of_run(config, training, shards)
    if digest_file(results).exists():
        plan = replace(plan, grid=digest_of(paths_of(config["grid"]), known))
    findings = verify(results, plan, known, thorough=False)
    known.save()
    bad, needless = mend(findings)
    _say(findings, bad, needless, results)
    if runs and not any(Path(".snakemake/locks").glob("*")):
        plan.write(results)
        for name in needless:
            (results / name).unlink(missing_ok=True)
    return again + [results / name for name in bad]


def plan_of_run(config: Mapping, training: Training, shards: Mapping) -> Plan:
    """What a run makes, as `payneflow verify` needs to know it."""
    drawn = [path.stem for path in figure_files(Path(), config["fit"])]
    return Plan(
        grid_path=each_file(config["grid"], os.path.abspath),  # a link stays one
        settings=settings_record(training.trainer, training.settings, config["seed"]),
        chunks=training.chunks,
        shards=tuple(shards),
        figures=tuple(drawn),
        calibrated=config["fit"]["calibrate"],
        parquet=config["fit"]["parquet"],
        pieces=has_pieces(config["fit"]),
    )


def _say(findings: list[Finding], bad: list[str], needless: list[str], results: Path) -> None:
    """Say of the first of these files what is wrong, and what becomes of them."""
    to_be = dict.fromkeys(bad, "to be made again") | dict.fromkeys(needless, "needed no more, to be removed")
    said = [
        f"{results / one.name}: {one.state}, {to_be[one.name]}: {one.said}" for one in findings if one.name in to_be
    ]
    rest = [f"and {len(said) - MOST_SAID} more: `payneflow verify` lists them"] if len(said) > MOST_SAID else []
    for line in said[:MOST_SAID] + rest:
        print(line, file=sys.stderr)


# --- Options of the training subcommands ------------------------------------------------------------------------------


def key_options(config: Mapping) -> str:
    """`--key NAME=ARRAY` for each array that the grid does not call by its published name."""
    published = asdict(GridKeys())
    renamed = [f"{name}={key}" for name, key in config["grid_keys"].items() if key != published[name]]
    return " ".join(f"--key {shlex.quote(option)}" for option in renamed)


def reading_of(config: Mapping) -> GridReading:
    """How the grid is taken: the settings of `payneflow check` and `payneflow split` beside its keys."""
    return GridReading(**{field.name: config[field.name] for field in fields(GridReading)})


def grid_options(config: Mapping) -> str:
    """What `payneflow check` and `payneflow split` need to know of the grid, as far as it is not as published.

    The seed is not among them: `split` gets it with the trainer, see `check_options`.
    """
    published = GridReading()
    said = {name: value for name, value in asdict(reading_of(config)).items() if value != getattr(published, name)}
    options = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in said.items()]
    return " ".join(filter(None, [key_options(config), *options]))


def check_options(config: Mapping) -> str:
    """Those of `payneflow check`: with the seed where it divides the spectra, lest a new one check the grid again."""
    seed = [f"--seed {config['seed']}"] if config["split"] == RANDOM else []
    return " ".join(filter(None, [grid_options(config), *seed]))


def settings_of_trainer(config: Mapping) -> dict:
    """The section that the chosen trainer is set by."""
    return config[entry_named(config["trainer"]).section]


def training_options(config: Mapping) -> str:
    """The chosen trainer's settings as options."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings_of_trainer(config).items())


def preparation_options(config: Mapping) -> str:
    """How the chunks are to be trained: trainer, seed and settings, which `payneflow split` writes into them."""
    return f"--trainer {config['trainer']} --seed {config['seed']} {training_options(config)}"


def launch_of_ranks(launcher: str, tasks: int) -> str:
    """What starts the ranks of a training job, one thread each; the launcher comes with options of its own."""
    return f"OMP_NUM_THREADS=1 {launcher} -n {tasks}" if tasks > 1 else ""


def conda_of(trainer: str) -> str:
    """The name of the conda environment, a file in envs/, that a trainer trains in."""
    environment = entry_named(trainer).environment
    return "payneflow" if environment is None else environment.name


def environment_of(trainer: str, results: Path, checkout: Path | None) -> str:
    """What comes before `payneflow train` for a trainer with an environment of its own; for others nothing.

    That program is then the one of .venv-NAME in `checkout`, if given. What the trainer writes while it trains goes
    beside the trained chunks. Raises SettingsError where that environment is missing or half built.
    """
    environment = entry_named(trainer).environment
    if environment is None:
        return ""
    variable, _, value = environment.scratch.format(plain_path(results / "trained")).partition("=")
    scratch = f"{variable}={shlex.quote(value)}"
    if checkout is None:
        return f"env {scratch} "
    place = checkout / f".venv-{environment.name}"
    stamp = place / "installed"  # written at the end of `make NAME`, with the directory it was made for
    if not (place / "bin/payneflow").exists() or not stamp.exists() or stamp.read_text() != str(checkout):
        raise SettingsError(
            f"trainer is {trainer}, but {place}, the environment that it needs, is missing, half built or made for "
            f"another directory. Type `make {environment.name}` in {checkout}: a minute (there is no Makefile where "
            "`payneflow init` wrote the workflow: snakemake --software-deployment-method conda). Or choose "
            f"{environment.instead}."
        )
    return f'env {scratch} PATH={shlex.quote(str(place / "bin"))}:"$PATH" '


# --- Fits: shards and options -----------------------------------------------------------------------------------------


def plan_fits(fit: Mapping) -> dict:
    """The shards of the observed spectra, or stars, by name; the test set of the grid is one, of no observed file.

    Raises SpectraError or SettingsError where files or settings cannot be used.
    """
    from payneflow.spectra import find_files, plan_shards, plan_star_shards

    if not fit["spectra"]:
        return {"test_set": None}
    if fit["start"] == "truth":
        raise SettingsError("fit.start is truth, but the true labels of observed spectra are unknown: use estimate.")
    cut = plan_star_shards if has_pieces(fit) else plan_shards
    shards = cut(find_files(fit["spectra"]), _layout_of(fit), fit["shard_size"])
    return {shard.name: shard for shard in shards}


def has_pieces(fit: Mapping) -> bool:
    """Are spectra with the same identifier pieces of one star?"""
    return fit["pieces"] != NO_PIECES


def memory_of_fit(fit: Mapping) -> int:
    """MB of a job that fits a shard: spectra are read batch by batch, but the pieces of stars are held together."""
    return 6000 if has_pieces(fit) else 2000


def _layout_of(fit: Mapping):
    from payneflow.spectra import make_layout

    said = {name: value for name, value in fit["layout"].items() if name != "mask_bits"}
    return make_layout(**said, mask_bits=tuple(fit["layout"]["mask_bits"]), constant_error=fit["flux_error"])


# settings of fits that need a package of an extra of the same name, and what it is for
_EXTRAS = {"parquet": ("pyarrow", "writes such files"), "posterior": ("emcee", "samples it where draws are too few")}


def check_extras(fit: Mapping, with_conda: bool) -> None:
    """Raise SettingsError where fits are asked for what is not installed; with conda the rules bring their own."""
    for name, (package, what) in _EXTRAS.items():
        if fit[name] and not with_conda and find_spec(package) is None:
            raise SettingsError(
                f"fit.{name} is true, but {package}, which {what}, is not installed for {sys.executable}: "
                f"pip install 'payneflow[{name}]' there, or set {name}: false."
            )


def resolution_of_spectra(config: Mapping, shards: Mapping) -> float:
    """R of the spectra at which label errors are measured, where their files say it: the median of the first spectrum.

    To three digits, so that a change that means nothing repeats nothing; 0 where no file says one, or not one that can
    be read, of which the job that fits it complains.
    """
    first = next((shard.paths[0] for shard in shards.values() if shard is not None), None)
    layout = None if first is None else _layout_of(config["fit"])
    if layout is None or not layout.instrument:
        return 0.0
    from payneflow.spectra import read_spectra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spectra = next(read_spectra([first], layout, _wavelength_of_networks(config), selection=range(1)), None)
        except SpectraError:
            return 0.0
    known = np.zeros(0) if spectra is None or spectra.resolution is None else spectra.resolution
    known = known[np.isfinite(known)]
    return float(f"{np.median(known):.3g}") if len(known) else 0.0


def check_resolution(config: Mapping, fit: FitSettings, shards: Mapping) -> None:
    """Raise SettingsError where the first spectrum cannot be fitted with networks of the grid for its resolution.

    `fit`: the settings that `check_labels` takes. Files of which only some are sharper than the grid are for the jobs.
    """
    if all(shard is None for shard in shards.values()):
        return
    layout, first = _layout_of(config["fit"]), resolution_of_spectra(config, shards)
    if layout.instrument and fit.resolution:
        raise SettingsError(
            f"fit.resolution is {fit.resolution:g}, but fit.layout names {layout.instrument}: "
            f"{layout.instrument_said}. Leave one of both out."
        )
    if not first or first == _resolution_of_grid(config):
        return
    keys, reading = GridKeys(**config["grid_keys"]), reading_of(config)
    try:
        at_first = replace(fit, resolution=first)
    except SettingsError as error:
        raise SettingsError(f"{first:g} is R of the first spectrum: {error}") from None
    try:
        check_labels(at_first, config["grid"], keys, reading, config["seed"], config["pixels"])
    except SettingsError as error:
        said = str(error).replace("fit.resolution is", "the resolution of the first spectrum is")
        raise SettingsError(said) from None


def _resolution_of_grid(config: Mapping) -> float:
    """The lowest R of the grid; 0 where nobody says one."""
    known = float(np.min(read_resolution(config["grid"], GridKeys(**config["grid_keys"]))))
    return known or config["fit"]["grid_resolution"]


def _wavelength_of_networks(config: Mapping) -> np.ndarray:
    """The wavelengths that the networks will have, Angstrom in vacuum."""
    keys = GridKeys(**config["grid_keys"])
    stored = read_wavelength(config["grid"], keys)
    wavelength = in_vacuum(paths_of(config["grid"])[0], keys.wavelength, stored, reading_of(config).grid_medium)
    return wavelength[np.asarray(parse_pixels(config["pixels"], len(wavelength)))]


def check_other_wavelengths(config: Mapping, shards: Mapping) -> None:
    """Raise SettingsError where spectra on other wavelengths than the networks' meet pixels too far apart for that.

    Of the spectra the first is looked at; one that cannot be read is for the job that fits it to complain of.
    """
    first = next((shard.paths[0] for shard in shards.values() if shard is not None), None)
    if first is None:
        return
    from payneflow.fitting.sampling import problem_of_grid_file
    from payneflow.spectra import read_spectra

    keys, own = GridKeys(**config["grid_keys"]), _wavelength_of_networks(config)
    pixels = parse_pixels(config["pixels"], len(read_wavelength(config["grid"], keys)))
    problem = problem_of_grid_file(config["grid"], keys, reading_of(config), pixels)
    if not problem:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spectra = next(read_spectra([first], _layout_of(config["fit"]), own, selection=range(1)), None)
        except SpectraError:
            return
    if spectra is not None and not spectra.on_networks_axis:
        raise SettingsError(
            f"{first} has other wavelengths than the networks will have, and pixels {config['pixels']!r} of "
            f'{name_of(config["grid"])} are {problem}. Train all pixels, pixels: "::", or use a finer grid.'
        )


def grid_of_fit(config: Mapping, shard) -> str:
    """The grid as options of `payneflow fit`, where its test set is fitted."""
    return grid_as_options(config) if shard is None else ""


def grid_as_options(config: Mapping) -> str:
    """The grid as options: --grid, once for each of its files."""
    return " ".join(f"--grid {shlex.quote(str(path))}" for path in paths_of(config["grid"]))


def layout_options(layout: Mapping) -> str:
    """How observed spectra are stored, as options; the arrays' names as far as they are not the usual ones."""
    usual = SpectraLayout()
    arrays = {role: layout[role] for role in ROLES if role in layout}
    renamed = [shlex.quote(f"{role}={name}") for role, name in arrays.items() if name != usual.key(role)]
    options = [f"--format {layout['format']}"]
    options += [f"--uncertainty {layout['uncertainty']}"] if layout["uncertainty"] else []
    options += [f"--array {pair}" for pair in renamed]
    if layout["mask_bits"]:
        options.append(f"--mask-bits {','.join(map(str, layout['mask_bits']))}")
    for name in ("hdu", "loader", "lsf_unit"):
        if layout[name]:
            options.append(f"--{name.replace('_', '-')} {shlex.quote(layout[name])}")
    if layout["rows"] != "spectra":
        options.append(f"--rows {layout['rows']}")
    return " ".join([*options, f"--wavelength-unit {layout['wavelength_unit']} --medium {layout['medium']}"])


def spectra_options(fit: Mapping) -> str:
    """What is fitted, as options of `payneflow fit`."""
    return " ".join(filter(None, [fit_options(fit), "--posterior" if fit["posterior"] else ""]))


def fit_options(fit: Mapping) -> str:
    """What is fitted, as options of `payneflow calibrate`, and of `payneflow fit` but for what it alone has."""
    usual = FitSettings()
    options = [_pair("--fix", name, f"{value}") for name, value in fit["fixed"].items()]
    options += [_pair("--prior", name, f"{mean},{sigma}") for name, (mean, sigma) in fit["priors"].items()]
    options += [f"--{name}" for name in ("velocity", "vsini", "vmac") if fit[name]]
    options += [f"--no-{name.replace('_', '-')}" for name in ("emulator_error", "pairs") if not fit[name]]
    for name in ("max_velocity", "continuum", "n_starts", "tolerance"):
        options.append(f"--{name.replace('_', '-')} {fit[name]}")
    for name in ("max_vsini", "max_vmac", "epsilon", "vmac_kind", "resolution", "grid_resolution"):
        if fit[name] != getattr(usual, name):  # so that runs without broadening keep the params they had
            options.append(f"--{name.replace('_', '-')} {fit[name]}")
    if fit["windows"]:
        options.append(f"--windows {shlex.quote(str(windows_file(fit['windows'])))}")
    return " ".join(options)


def calibration_options(config: Mapping, shards: Mapping) -> str:
    """The same, as options of `payneflow calibrate`: at the resolution of the spectra, where their files say it."""
    first = resolution_of_spectra(config, shards)
    lower = first and first < (_resolution_of_grid(config) or np.inf)
    return " ".join([fit_options(config["fit"]), *([f"--resolution {first:g}"] if lower else [])])


def windows_file(path: str | Path) -> Path:
    """A copy of a table of windows, below SCRATCH, named by its content: another content repeats the fits, no date.

    Raises SettingsError where there is no such file.
    """
    content = read_small(Path(path), SettingsError, "a table of windows (ECSV)")
    copy = SCRATCH / f"windows-{hashlib.sha256(content).hexdigest()[:16]}.ecsv"
    if not copy.exists():
        with whole_file(copy) as temporary:
            temporary.write_bytes(content)
    return copy


def settings_file(config: Mapping) -> Path:
    """All settings in a file below SCRATCH, named by its content, for `payneflow report`."""
    content = json.dumps(config, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
    path = SCRATCH / f"settings-{hashlib.sha256(content).hexdigest()[:16]}.yaml"
    if not path.exists():
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return path


def _pair(option: str, name: str, text: str) -> str:
    """NAME=TEXT as an option; a name that begins with a hyphen would be taken for one itself."""
    return f"{option}{'=' if name.startswith('-') else ' '}{shlex.quote(f'{name}={text}')}"


def source_options(config: Mapping, shard) -> str:
    """Which spectra `payneflow fit` fits, and how they are stored; `shard` None: the test set of the grid.

    Where the grid is belongs to `grid_of_fit`: the same grid elsewhere is no reason to fit again. The patterns and a
    range instead of the files, whose names may be more than a command line can hold.
    """
    fit = config["fit"]
    common = f"--flux-error {fit['flux_error']} --start {fit['start']}"
    if shard is None:
        noise = "" if fit["test_snr"] == NO_NOISE else f" --seed {config['seed']}"
        return f"{key_options(config)} {common} --test-snr {fit['test_snr']}{noise}"
    given = fit["spectra"]
    patterns = " ".join(map(shlex.quote, [given] if isinstance(given, str) else given))
    which = f"--pieces {fit['pieces']} --stars" if has_pieces(fit) else "--spectra"
    selection = f"{which} {shard.selection.start}:{shard.selection.stop} --plan {shard.digest}"
    return f"{patterns} {selection} {layout_options(fit['layout'])} {common}"


# --- Figures, and the end of a run ------------------------------------------------------------------------------------


def final_output(results: Path, fit: Mapping) -> list[Path]:
    """The files that a whole run ends with."""
    files = [
        "grid_summary.json",
        "neural_network.npz",
        "training_record.ecsv",
        "explore.html",
        "fits.ecsv",
        "fits.fits",
        "report.html",
    ]
    files += ["fits.parquet"] if fit["parquet"] else []
    files += [table.name for table in tables_of_pieces(results, fit)]
    return [results / name for name in files] + figure_files(results, fit)


def figure_files(results: Path, fit: Mapping) -> list[Path]:
    """The figures of a run; of observed spectra those that need no true labels."""
    figures = [name for name, figure in REPORT_FIGURES.items() if not (fit["spectra"] and figure.needs_truth)]
    return [results / "figures" / f"{name}.png" for name in figures]


def tables_of_pieces(results: Path, fit: Mapping) -> list[Path]:
    """The tables of the pieces of all stars; none where each spectrum is a star of its own."""
    endings = ("ecsv", "fits", *(["parquet"] if fit["parquet"] else []))
    return [results / f"fits{PIECES}.{ending}" for ending in endings] if has_pieces(fit) else []


def summary_of_run(results: Path) -> str:
    """What training, evaluation, fitting and the report said at their ends, and where everything is.

    Where one of them said FAILED, so do the last words, with the cause.
    """
    logs = [results / f"logs/{stage}.log" for stage in ("gather_networks", "evaluate_networks", "gather_fits")]
    said = [log.read_text(encoding="utf-8", errors="replace").strip() for log in logs if log.exists()]
    failed = dict.fromkeys(line for text in said for line in text.splitlines() if line.startswith("FAILED: "))
    where = f"Everything is in {results}/, the figures in {results}/figures/."
    return "\n\n".join(["", *said, *_last_words(results), where, *failed])


def _last_words(results: Path) -> list[str]:
    """The report's place, and its verdict on the whole; none where it was not written."""
    log = results / "logs/write_report.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return [f"{results}/report.html: {lines[-2]}"] if len(lines) > 1 else []
