"""config.yaml as `payneflow plan` and `payneflow status` need it: the settings of a run, checked, with their types.

Snakemake checks the whole file against its schema; here only what is used is looked at, so that both commands also work
on a configuration that the workflow would refuse for another reason.
"""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from payneflow.errors import SettingsError
from payneflow.grid.layout import GridKeys
from payneflow.settings import SETTINGS, LmSettings, SgdSettings, make_settings

AUTO = "auto"  # the chunk_size that is found from the cost of a pixel


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
