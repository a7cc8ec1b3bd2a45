"""config.yaml as `payneflow plan` and `payneflow status` need it: the settings of a run, checked, with their types.

Snakemake checks the whole file against its schema; here only what is used is looked at, so that both commands also work
on a configuration that the workflow would refuse for another reason.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, Strict

from payneflow.declaration import as_meant, declare, no_such, problems_of, section, sections_of, setting, settings_of
from payneflow.errors import SettingsError
from payneflow.fitting.settings import FitSettings
from payneflow.grid.layout import GridKeys
from payneflow.settings import SETTINGS, LmSettings, SgdSettings, make_settings
from payneflow.spectra.layout import SpectraLayout

AUTO = "auto"  # the chunk_size that is found from the cost of a pixel
QUOTE_PIXELS = """YAML reads an unquoted 1:50:2 as a number in base 60 and 100: as a mapping. Use quotes:
  in config.yaml           pixels: "1:50:2"
  on the command line      --config 'pixels="1:50:2"'"""
_Paths = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]  # not strict: a list will do


def _usual_layout() -> SpectraLayout:
    return SpectraLayout(uncertainty="flux_error")


@declare
class FitConfig:
    """The section `fit` of config.yaml: which spectra are fitted, what is fitted to them, and how."""

    spectra: _Paths = setting(
        (),
        'observed spectra, files and patterns: ["spectra/*.fits"]; []: test set of the grid',
        expected="a list of files and patterns",
    )
    layout: SpectraLayout = section(_usual_layout, "how they are stored; nothing of it is guessed, see docs/spectra.md")
    flux_error: float = setting(
        0.01, "1 sigma of every pixel of test spectra, and where uncertainty is mask", published=0.01, gt=0
    )
    start: Literal["estimate", "middle", "truth"] = setting(
        "estimate",
        "where a fit starts: an estimate from the spectrum, middle or truth",
        published="truth",
    )
    settings: FitSettings = section(FitSettings, "what is fitted", inline=True)
    calibrate: bool = setting(True, "add label errors measured on held-back spectra; false: formal errors only")
    shard_size: int = setting(10_000, "observed spectra that one job fits; changes no bit of any fit", ge=1)
    processes: int = setting(1, "that share the spectra of a job; changes no bit either", ge=1)

    def check(self) -> None:
        if self.spectra and self.start == "truth":
            raise ValueError("start is truth, but the true labels of observed spectra are unknown: use estimate.")


@declare
class Config:
    """Everything that config.yaml holds, checked and typed; relative paths are as they stand there."""

    grid: str = setting("resources/hband_grid.npz", "the grid of synthetic spectra", min_length=1)
    grid_keys: GridKeys = section(GridKeys, "names of its arrays; change them where your grid calls them otherwise")
    results: str = setting("results", "directory of everything that is written", min_length=1)
    pixels: str = setting(
        "::",
        '"start:stop:step", counted from 0, stop not included, as in Python; "::" is every pixel (published)',
        min_length=1,
        advice=QUOTE_PIXELS,
    )
    chunk_size: Annotated[int, Field(ge=1)] | Literal["auto"] = setting(
        AUTO,
        "Pixels that one job trains; changes no bit of any network. auto: as `payneflow plan` says",
        expected="a whole number of at least 1, or auto",
    )
    ranks: int = setting(1, "MPI processes that share the pixels of a chunk; 1: no MPI; changes no bit either", ge=1)
    launcher: str = setting("mpiexec", "what starts them, with its own options", min_length=1)
    checkpoint_seconds: float = setting(
        30.0, "between two checkpoints of a training job: what a killed one has to do again at most", gt=0
    )
    seed: int = setting(0, "whole number from 0; the same seed gives the same networks, to the bit", ge=0)
    trainer: Literal[tuple(SETTINGS)] = setting("lm", "what trains the networks; its settings are in its section")
    lm: LmSettings = section(LmSettings, "Levenberg-Marquardt, see docs/lm.md")
    sgd: SgdSettings = section(SgdSettings, "stochastic gradient descent, as published; also of trainer: theano")
    fit: FitConfig = section(FitConfig, "which spectra are fitted, what is fitted to them, and how")

    @property
    def settings(self) -> LmSettings | SgdSettings:
        """The settings of the trainer that is chosen; theano has those of sgd."""
        if self.trainer == "theano":
            return SETTINGS["theano"](**asdict(self.sgd))
        return getattr(self, self.trainer)


def check_config(config: Mapping) -> Config:
    """The typed settings of what config.yaml holds, with numbers for text that means one.

    Raises SettingsError with all that is wrong in one message: unknown and missing names, and values that cannot work.
    """
    problems: list[str] = []
    checked = _read_section(Config, config, "", problems)
    if problems:
        heading = "These settings (from config.yaml, --configfile or --config) cannot be used:"
        raise SettingsError("\n".join([heading, *(f"  {problem}" for problem in problems)]))
    return checked


def _read_section(cls: type, values: Any, place: str, problems: list[str], inline: bool = False):
    """An instance of a declared class from a section of config.yaml; what is wrong goes to `problems`.

    `place`: the names above, such as "fit."; `inline`: the section holds others beside those of the class.
    """
    if not isinstance(values, Mapping):
        problems.append(f"{place.rstrip('.') or 'config.yaml'} is {values!r}, expected a section with its settings.")
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


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run. `grid` and `results` are as seen from the current directory; `chunk_size` None: auto."""

    path: Path
    grid: Path
    keys: GridKeys
    results: Path
    pixels: str
    chunk_size: int | None
    ranks: int
    seed: int
    trainer: str
    settings: LmSettings | SgdSettings


def read_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a config.yaml, with `NAME=VALUE` as Snakemake's --config takes it in place of what the file says.

    Relative paths in it start at its own directory, where Snakemake runs. Raises SettingsError naming file and setting.
    """
    path = Path(path)
    values = read_yaml(path, "the settings of a run (config.yaml of the repository has all of them)")
    for override in overrides or []:
        _override(values, override)
    one = _Values(path, values)
    trainer = one.text("trainer")
    if trainer not in SETTINGS:
        raise SettingsError(f"{path}: trainer is {trainer!r}, expected one of: {', '.join(SETTINGS)}.")
    section = "sgd" if trainer == "theano" else trainer
    return RunConfig(
        path=path,
        grid=path.parent / one.text("grid"),
        keys=_grid_keys(path, one.mapping("grid_keys")),
        results=path.parent / one.text("results"),
        pixels=one.text("pixels"),
        chunk_size=None if values.get("chunk_size") == AUTO else one.whole("chunk_size", 1),
        ranks=one.whole("ranks", 1),
        seed=one.whole("seed", 0),
        trainer=trainer,
        settings=make_settings(trainer, _typed(trainer, one.mapping(section))),
    )


def read_yaml(path: Path, what: str) -> dict:
    """The mapping that a YAML file holds; `what` names such a file in the SettingsError that anything else raises."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; expected {what}. Go to its directory, or name it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); expected {what}.") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML ({' '.join(str(error).split())}); expected {what}.") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: holds {type(values).__name__}, expected names and values: {what}.")
    return values


@dataclass(frozen=True)
class _Values:
    """The top level of a config file; each setting is asked for by the kind that it must be."""

    path: Path
    values: dict

    def text(self, name: str) -> str:
        hint = ' Use quotes: pixels: "1:50:2".' if name == "pixels" else ""
        return self._of_kind(name, str, f"text.{hint}")

    def mapping(self, name: str) -> dict:
        return self._of_kind(name, dict, "a section with settings of its own.")

    def whole(self, name: str, least: int) -> int:
        value = _number(self._get(name))
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            other = f", or {AUTO}" if name == "chunk_size" else ""
            raise SettingsError(f"{self.path}: {name} is {value!r}, expected a whole number from {least}{other}.")
        return value

    def _of_kind(self, name: str, kind: type, expected: str):
        value = self._get(name)
        if not isinstance(value, kind):
            raise SettingsError(f"{self.path}: {name} is {value!r}, expected {expected}")
        return value

    def _get(self, name: str):
        if name not in self.values:
            raise SettingsError(f"{self.path}: no setting {name}. config.yaml of the repository has all of them.")
        return self.values[name]


def _override(values: dict, override: str) -> None:
    """Put `NAME=VALUE` into the settings; a VALUE {a: b} changes a of the section NAME and leaves the others."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise SettingsError(f"{override}: expected NAME=VALUE, such as chunk_size=500 or 'lm={{n_neurons: 20}}'.")
    if name not in values:
        close = difflib.get_close_matches(name, values, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(map(str, values))}."
        raise SettingsError(f"{override}: no such setting; {hint}")
    try:
        value = yaml.load(text, Loader=yaml.BaseLoader)  # all text, as Snakemake reads it: 1:50:2 is no number
    except yaml.YAMLError:
        value = text
    if isinstance(value, dict) and isinstance(values[name], dict):
        values[name] = {**values[name], **value}
    else:
        values[name] = value


def _grid_keys(path: Path, names: dict) -> GridKeys:
    roles = [field.name for field in fields(GridKeys)]
    wrong = [str(name) for name, key in names.items() if name not in roles or not isinstance(key, str)]
    if wrong:
        raise SettingsError(f"{path}: grid_keys: {', '.join(wrong)}: expected the name of an array for {roles}.")
    return GridKeys(**names)


def _typed(trainer: str, section: dict) -> dict:
    """Numbers in place of the text that YAML takes 1e-3 for, and --config everything."""
    decimal = {field.name for field in fields(SETTINGS[trainer]) if isinstance(field.default, float)}
    numbers = {name: _number(value) for name, value in section.items()}
    return {
        name: float(value) if name in decimal and isinstance(value, int) else value for name, value in numbers.items()
    }


def _number(value):
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value
