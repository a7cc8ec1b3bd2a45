"""The settings of a run: what config.yaml holds is declared here, checked here, and typed here.

`check_config` is the one reader: of Snakemake, which has read the file itself, and, by `read_config`, of `payneflow
plan` and `payneflow status`. config.yaml and its schema are written from the same declarations (config_files.py).
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, Strict

from payneflow.chunks.selection import parse_pixels
from payneflow.declaration import (
    as_meant,
    declare,
    no_such,
    problems_of,
    section,
    sections_of,
    setting,
    settings_of,
    shown,
)
from payneflow.errors import SettingsError
from payneflow.files import read_small
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.windows import read_windows
from payneflow.grid import (
    GridKeys,
    GridPath,
    GridReading,
    name_of,
    paths_of,
    read_labels,
    read_resolution,
    read_wavelength,
)
from payneflow.grid.checks import in_vacuum
from payneflow.label_names import NO_NOISE
from payneflow.scaling import LabelScaler
from payneflow.spectra.layout import SpectraLayout
from payneflow.training.trainers import DEFAULT, TRAINERS, Settings, TrainerEntry, entry_named
from payneflow.wavelength import even_step

MOST_ENTRIES = 10_000  # of a file of settings; config.yaml has a hundred
MOST_PROBLEMS = 20  # that one message lists
MOST_NESTED = 50  # lists and sections inside each other; config.yaml has three
MOST_SAID = 300  # letters of what a parser says
NO_PIECES = "none"  # what fit.pieces is where each spectrum is a star of its own
AUTO = "auto"  # the chunk_size that is found from the cost of a pixel
QUOTE_PIXELS = """YAML reads an unquoted 1:50:2 as a number in base 60 and 100: as a mapping. Use quotes:
  in config.yaml           pixels: "1:50:2"
  on the command line      --config 'pixels="1:50:2"'"""
_Path = Annotated[str, Field(min_length=1)]
_Paths = Annotated[tuple[_Path, ...], Strict(False)]  # not strict: a list will do
_Files = Annotated[tuple[_Path, ...], Strict(False), Field(min_length=1)]


def _usual_layout() -> SpectraLayout:
    return SpectraLayout(uncertainty="flux_error")


@declare
class FitConfig:
    """The section `fit` of config.yaml: which spectra are fitted, what is fitted to them, and how."""

    spectra: _Paths | _Path = setting(
        (),
        'files and patterns, ["spectra/*.fits"], or "@list.txt"; []: test set of the grid',
        expected="a list of files and patterns, or @ and a file with one a line",
    )
    layout: SpectraLayout = section(_usual_layout, "how they are stored; nothing of it is guessed, see docs/spectra.md")
    pieces: Literal["none", "common", "each"] = setting(
        NO_PIECES,
        "spectra of one identifier are one star, with a common velocity or each its own",
    )
    flux_error: float = setting(
        0.01, "1 sigma of noiseless test spectra, and of spectra without errors", published=0.01, gt=0
    )
    test_snr: Annotated[float, Field(gt=0)] | Literal["none"] = setting(
        100.0,
        "S/N of the noise, and error, that test spectra get; none: as they are",
        published=NO_NOISE,
        expected="a positive number, or none",
    )
    start: Literal["estimate", "middle", "truth"] = setting(
        "estimate",
        "where a fit starts: an estimate from the spectrum, middle or truth",
        published="truth",
    )
    settings: FitSettings = section(FitSettings, "what is fitted", inline=True)
    windows: str = setting("", 'a table (ECSV) of wavelengths that may inform a label, or may not; "": none')
    calibrate: bool = setting(True, "add label errors measured on held-back spectra; false: formal errors only")
    parquet: bool = setting(False, "also write fits.parquet, for large tables; needs pip install 'payneflow[parquet]'")
    shard_size: int = setting(10_000, "observed spectra that one job fits; changes no bit of any fit", ge=1)
    processes: int = setting(1, "that share the spectra of a job; changes no bit either", ge=1)

    def check(self) -> None:
        for name, value in self.settings.fixed.items():
            if value is None:  # which stands for the truth of a test spectrum, in Python only
                raise ValueError(f"fixed {name} is None, expected a number in the label's unit.")
        if self.spectra and self.start == "truth":
            raise ValueError("start is truth, but the true labels of observed spectra are unknown: use estimate.")
        if self.settings.posterior and self.windows:
            raise ValueError("posterior is true, but windows inform labels by some pixels only: leave one of them out.")
        if self.pieces == NO_PIECES and self.layout.barycentric:
            raise ValueError("layout.barycentric is set, but pieces is none, which has no use for it: leave it empty.")
        if problem := "" if self.pieces == NO_PIECES else self._problem_of_pieces():
            raise ValueError(f"pieces is {self.pieces}, but {problem}")

    def _problem_of_pieces(self) -> str:
        """Why stars in pieces cannot be fitted so; "" where they can."""
        if not self.spectra:
            return "spectra is []: the test spectra of a grid are one of each star. Set pieces: none, or name spectra."
        if self.start != "estimate":
            return f"start is {self.start}: pieces start from fits of each. Use estimate."
        if self.windows:
            return "windows are set, which are for spectra one by one. Mask pixels instead, or set pieces: none."
        if self.settings.posterior:
            return "posterior is true, which is for spectra one by one. Set one of both to its default."
        if not self.settings.velocity and (self.pieces == "each" or self.layout.barycentric):
            return "velocity is false: nothing is fitted that pieces could have their own of. Set velocity: true."
        return ""

    def with_windows(self, directory: Path = Path()) -> FitSettings:
        """What is fitted, with the windows of their file, whose relative path starts at `directory`."""
        return replace(self.settings, windows=read_windows(directory / self.windows)) if self.windows else self.settings


def has_pieces(fit: Mapping) -> bool:
    """Are spectra with the same identifier pieces of one star?"""
    return fit["pieces"] != NO_PIECES


def sections_of_trainers(entries: Iterable[TrainerEntry]) -> type:
    """The declared class that has a section of config.yaml for each trainer with a section of its own."""
    own = {entry.name: entry for entry in entries if entry.section == entry.name}
    sections = {name: section(entry.settings, entry.section_help) for name, entry in own.items()}
    kinds = {name: entry.settings for name, entry in own.items()}
    return declare(type("TrainerSections", (), {"__module__": __name__, "__annotations__": kinds, **sections}))


def _choices(entries: Iterable[TrainerEntry]) -> str:
    """What config.yaml says of the trainers that it may name."""
    said = [f"{entry.name} ({entry.choice})" if entry.choice else entry.name for entry in entries]
    shared = [f"{entry.name} is set by the section {entry.set_by}, being the same" for entry in entries if entry.set_by]
    return "; ".join([f"{', '.join(said[:-1])} or {said[-1]}. Settings are in the section of that name", *shared])


TrainerSections = sections_of_trainers(TRAINERS.values())


@declare
class Config:
    """Everything that config.yaml holds, checked and typed; paths are as they stand there, but for ~."""

    grid: _Path | _Files = setting(
        "resources/hband_grid.npz",
        "the grid of synthetic spectra (npz or HDF5); or its files in a list, [first.npz, more.npz], joined in that "
        "order: append a new one, and no spectrum goes from the test set to the training set",
        expected="a file, or a list of files",
        heading="Input and output",
    )
    grid_keys: GridKeys = section(
        GridKeys, "names of the grid's arrays; change them where your grid calls them otherwise"
    )
    reading: GridReading = section(GridReading, "how the grid is taken", inline=True)
    results: str = setting("results", "directory of everything that is written", min_length=1)
    pixels: str = setting(
        "::",
        '"start:stop:step", counted from 0, stop not included, as in Python; "::" is every pixel (published). Keep the '
        "quotes",
        min_length=1,
        heading="Which pixels, and how they are divided",
        advice=QUOTE_PIXELS,
    )
    chunk_size: Annotated[int, Field(ge=1)] | Literal["auto"] = setting(
        AUTO,
        "Pixels that one job trains; changes no bit of a network. auto: on one machine 1000, or as many as take 45 s, "
        "so that progress is seen; on a cluster as many as take twenty minutes. `payneflow plan` says what that is",
        expected="a whole number of at least 1, or auto",
    )
    ranks: int = setting(1, "MPI processes that share the pixels of a chunk; 1: no MPI; changes no bit either", ge=1)
    launcher: str = setting(
        "mpiexec",
        "What starts the ranks, with its own options but for their number, of the same MPI as mpi4py: mpiexec; where "
        "that is Open MPI's, as root: mpiexec --allow-run-as-root (with --profile slurm the profile says both)",
        min_length=1,
    )
    checkpoint_seconds: float = setting(
        30.0, "Seconds between two checkpoints of a training job: what a killed one has to do again at most", gt=0
    )
    seed: int = setting(
        0, "whole number from 0; the same seed gives the same networks, to the bit", ge=0, heading="Training"
    )
    trainer: Literal[tuple(TRAINERS)] = setting(DEFAULT, _choices(TRAINERS.values()))
    trainers: TrainerSections = section(TrainerSections, "the settings of each trainer", inline=True)
    fit: FitConfig = section(FitConfig, "which spectra are fitted, what is fitted to them, and how", heading="Fitting")

    @property
    def settings(self) -> Settings:
        """The settings of the trainer that is chosen, from the section that it is set by."""
        entry = entry_named(self.trainer)
        return entry.settings(**asdict(getattr(self.trainers, entry.section)))


def check_config(config: Mapping, source: str = "config.yaml, --configfile or --config") -> Config:
    """The typed settings of what config.yaml holds, with numbers for text that means one.

    Raises SettingsError with all that is wrong in one message: unknown and missing names, and values that cannot work.
    `source`: where that message says the settings come from.
    """
    problems: list[str] = []
    checked = _read_section(Config, config, "", problems)
    if problems:
        heading = f"These settings (from {source}) cannot be used:"
        more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise SettingsError("\n  ".join([heading, *problems[:MOST_PROBLEMS], *more]))
    fit = replace(checked.fit, windows=_at_home(checked.fit.windows)) if checked.fit.windows else checked.fit
    grid = each_file(checked.grid, _at_home)
    return replace(checked, grid=grid, results=_at_home(checked.results), fit=fit)


def each_file(grid, change: Callable[[str], Any]):
    """A grid of other files: what `change` makes of its file, or of each in its tuple or list."""
    return change(grid) if isinstance(grid, str) else tuple(map(change, grid))


def _at_home(path: str) -> str:
    """The path, with ~ for the home directory as a shell has it; as it stands where there is none."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path would change what else stands there


def _read_section(cls: type, values: Any, place: str, problems: list[str], inline: bool = False):
    """An instance of a declared class from a section of config.yaml; what is wrong goes to `problems`.

    `place`: the names above, such as "fit."; `inline`: the section holds others beside those of the class.
    """
    if not isinstance(values, Mapping):
        problems.append(
            f"{place.rstrip('.') or 'config.yaml'} is {shown(values)}, expected a section with its settings."
        )
        return None
    if not inline:
        known = _names(cls)
        problems += [place + no_such(name, known) for name in values if name not in known]
        missing = [name for name in known if name not in values]
        problems += [f"{place}{name}: missing. config.yaml of the repository has all settings." for name in missing]
    n_before, made = len(problems), {}
    for name, field in sections_of(cls).items():
        if field.metadata["inline"]:
            made[name] = _read_section(field.type, values, place, problems, inline=True)
        elif name in values:
            made[name] = _read_section(field.type, values[name], f"{place}{name}.", problems)
    declared = {one.name: one for one in settings_of(cls) if one.in_config and one.name in values}
    given = {name: as_meant(values[name], one.kind) for name, one in declared.items()}
    for entry, problem in problems_of(cls, given).items():
        one = declared[entry if entry in declared else entry.partition(" ")[0]]
        problems.append(f"{place}{problem}" if one.advice else f"{place}{problem} Meant is: {one.help}.")
    made |= given
    if len(problems) > n_before:
        return None
    try:
        return cls(**{name: value for name, value in made.items() if value is not None})
    except SettingsError as error:  # of several settings together
        problems.append(f"{place}{error}")
        return None


def _names(cls: type) -> list[str]:
    """The names that a section of config.yaml has, in their order."""
    names: list[str] = []
    own = {one.name for one in settings_of(cls) if one.in_config}
    nested = sections_of(cls)
    for field in fields(cls):
        if field.name in nested and nested[field.name].metadata["inline"]:
            names += _names(field.type)
        elif field.name in nested or field.name in own:
            names.append(field.name)
    return names


def values_of(settings) -> dict:
    """What config.yaml holds for these settings, an instance of a declared class: names with plain values."""
    nested, values = sections_of(type(settings)), {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in nested:
            values |= values_of(value) if nested[field.name].metadata["inline"] else {field.name: values_of(value)}
        elif field.metadata["in_config"]:
            values[field.name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    """Lists in place of tuples, as YAML has them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def check_labels(
    fit: FitSettings, grid: GridPath, keys: GridKeys, reading: GridReading, seed: int, pixels: str = "::"
) -> None:
    """Raise SettingsError where the section `fit` asks for what networks of this grid could not be fitted with.

    That is, names no label of the grid, holds one beyond the bounds of a fit, fits as broadening what the grid has as
    a label, fits a velocity or broadened lines where the steps of the wavelength axis differ too much, or where the
    selected `pixels` are too far apart for the lines, or says a resolution of the spectra where that of the grid is not
    known, or not as high, or has windows that hold no pixel. Of the grid's flux some spectra are read, for a velocity
    alone; its labels and wavelengths only where it matters.
    """
    moved = ("velocity", "vsini", "vmac", "resolution")  # what takes the networks between their pixels
    asked = [name for name in moved if getattr(fit, name)]
    if asked:
        _check_moves(asked[0], grid, keys, reading, pixels)
    if fit.resolution:
        _check_resolution(fit, grid, keys, pixels)
    if not (fit.fixed or fit.priors or fit.vsini or fit.vmac or fit.windows):
        return
    labels, names, units, split = read_labels(grid, keys, reading, seed=seed)
    scaler = LabelScaler.of_training_labels(labels[split.training])
    problems = fit.problems_of_labels(f"the spectra of {name_of(grid)}", names, units, scaler.x_min, scaler.x_max)
    if fit.windows:
        wavelength = in_vacuum(paths_of(grid)[0], keys.wavelength, read_wavelength(grid, keys), reading.grid_medium)
        selected = wavelength[np.asarray(parse_pixels(pixels, len(wavelength)))]
        problems += fit.problems_of_windows(f"the spectra of {name_of(grid)}", names, selected)
    if problems:
        raise SettingsError("\n".join(f"fit.{problem}" for problem in problems))


def _check_moves(name: str, grid: GridPath, keys: GridKeys, reading: GridReading, selection: str) -> None:
    asked, not_asked = ("set", "0") if name == "resolution" else ("true", "false")
    wavelength = read_wavelength(grid, keys)
    pixels = parse_pixels(selection, len(wavelength))
    if not even_step(wavelength[np.asarray(pixels)])[1]:
        raise SettingsError(
            f"fit.{name} is {asked}, but the steps of {keys.wavelength} in {name_of(grid)} differ too much to be "
            f"shifted. Resample the grid to a more even axis, or set {name}: {not_asked}."
        )
    from payneflow.fitting.sampling import problem_of_grid_file

    problem = problem_of_grid_file(grid, keys, reading, pixels)
    if problem:
        some = len(pixels) < len(wavelength)
        which, remedy = (
            (f"pixels {selection!r}", 'Train all pixels, pixels: "::"') if some else ("pixels", "Use a finer grid")
        )
        raise SettingsError(
            f"fit.{name} is {asked}, but the {which} of {name_of(grid)} are {problem}. {remedy}, or "
            f"set {name}: {not_asked}."
        )


def _check_resolution(fit: FitSettings, grid: GridPath, keys: GridKeys, selection: str) -> None:
    """Refuse before training what fits would refuse after it (fitting/broadening.py)."""
    known = read_resolution(grid, keys)
    if np.ndim(known):
        known = known[np.asarray(parse_pixels(selection, len(known)))]
    lowest, highest = float(np.min(known)), float(np.max(known))
    if lowest and fit.grid_resolution and (lowest, highest) != (fit.grid_resolution,) * 2:
        raise SettingsError(
            f"fit.grid_resolution is {fit.grid_resolution:g}, but {keys.resolution} of {name_of(grid)} says {lowest:g}"
            f"{'' if lowest == highest else f' to {highest:g}'}: leave it out."
        )
    if not lowest and not fit.grid_resolution:
        raise SettingsError(
            f"fit.resolution is {fit.resolution:g}, but at which one the spectra of {name_of(grid)} were made is not "
            f"known: it has no array '{keys.resolution}'. Store it there (R = wavelength / FWHM), or give it: "
            "grid_resolution."
        )
    if lowest and fit.resolution > lowest:
        raise SettingsError(
            f"fit.resolution is {fit.resolution:g}, that of {name_of(grid)} {lowest:g}: sharper data than the grid "
            "cannot be fitted with it. Broaden the data, or use a sharper grid."
        )


# ---------------------------------------------------------------------------------------------- without Snakemake


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run. `grid` and `results` are as seen from the current directory; `chunk_size` None: auto."""

    path: Path
    grid: Path | tuple[Path, ...]
    keys: GridKeys
    reading: GridReading
    results: Path
    pixels: str
    chunk_size: int | None
    ranks: int
    seed: int
    trainer: str
    settings: Settings
    fit: FitSettings


def read_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a config.yaml, with `NAME=VALUE` as Snakemake's --config takes it in place of what the file says.

    Relative paths in it start at its own directory, where Snakemake runs. Raises SettingsError naming file and setting.
    """
    path = Path(path)
    config = read_settings(path, overrides)
    return RunConfig(
        path=path,
        grid=each_file(config.grid, path.parent.joinpath),
        keys=config.grid_keys,
        reading=config.reading,
        results=path.parent / config.results,
        pixels=config.pixels,
        chunk_size=None if config.chunk_size == AUTO else config.chunk_size,
        ranks=config.ranks,
        seed=config.seed,
        trainer=config.trainer,
        settings=config.settings,
        fit=config.fit.with_windows(path.parent),
    )


def read_settings(path: Path, overrides: list[str] | None = None) -> Config:
    """The settings of a config.yaml, but for `NAME=VALUE`; paths as they stand. Raises as `read_config` does."""
    values = read_yaml(path, "the settings of a run (config.yaml of the repository has all of them)")
    for override in overrides or []:
        values = _together(values, _parsed(override))
    return check_config(values, source=f"{path} or NAME=VALUE")


def read_yaml(path: Path, what: str) -> dict:
    """The mapping that a YAML file holds; `what` names such a file in the SettingsError that anything else raises.

    Refused are also names that stand there twice, of which YAML would take the last, and more entries than settings
    have: an alias in an alias in an alias stands for billions, or for itself.
    """
    content = read_small(path, SettingsError, what)
    try:
        values = yaml.load(content.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: no UTF-8 ({error.reason} at byte {error.start}); expected {what}.") from None
    except (yaml.YAMLError, ValueError) as error:  # of dates and numbers that are none
        said = " ".join(str(error).split())[:MOST_SAID]
        raise SettingsError(f"{path}: not YAML ({said}); expected {what}.") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: holds {type(values).__name__}, expected names and values: {what}.")
    if _n_entry(values) > MOST_ENTRIES:
        raise SettingsError(f"{path}: holds more than {MOST_ENTRIES} entries, aliases counted; expected {what}.")
    return values


def refuse_names_given_twice(paths: Iterable[str | Path]) -> None:
    """Raise SettingsError where a file of settings that Snakemake has read, JSON or YAML, gives a name twice.

    Snakemake takes the last of them, and says nothing.
    """
    what = "the settings of a run (config.yaml of the repository has all of them)"
    for path in map(Path, paths):
        content = read_small(path, SettingsError, what)
        try:
            json.loads(content, object_pairs_hook=partial(_each_once, path))
        except (ValueError, RecursionError):
            read_yaml(path, what)


def _each_once(path: Path, entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """The mapping of a JSON file that has these entries."""
    twice = [name for name, n in Counter(name for name, _ in entries).items() if n > 1]
    if twice:
        raise SettingsError(f"{path}: gives {twice[0]!r} a second time; expected each name once.")
    return dict(entries)


class _Loader(yaml.SafeLoader):
    """As yaml.safe_load, but that no name may be given twice, and that nesting ends before Python's does."""

    depth = 0

    def compose_node(self, parent, index):
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise yaml.YAMLError(f"more than {MOST_NESTED} lists and sections inside each other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1} gives {key.value!r} a second time")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _n_entry(values: Any) -> int:
    """Entries of nested lists and mappings, each as often as aliases repeat it; at most one above MOST_ENTRIES."""
    waiting, n = [values], 0
    while waiting and n <= MOST_ENTRIES:
        one = waiting.pop()
        inside = [*one.keys(), *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []
        n += len(inside)
        waiting += inside
    return n


def _parsed(override: str) -> dict:
    """`NAME=VALUE` as a mapping; all values are text, as Snakemake reads them: 1:50:2 is no number."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise SettingsError(f"{override}: expected NAME=VALUE, such as chunk_size=500 or 'lm={{n_neurons: 20}}'.")
    try:
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return {name: text}
    if _n_entry(value) > MOST_ENTRIES:
        raise SettingsError(f"{name}: more than {MOST_ENTRIES} entries, aliases counted; expected a setting.")
    return {name: value}


def _together(values: dict, others: dict) -> dict:
    """`others` in place of `values`; those of a section, {a: b}, change a and leave what else stands in it."""
    both = dict(values)
    for name, value in others.items():
        sections = isinstance(value, dict) and isinstance(values.get(name), dict)
        both[name] = _together(values[name], value) if sections else value
    return both
