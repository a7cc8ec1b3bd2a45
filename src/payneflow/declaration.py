"""A setting is declared once: its default, unit, published value, bounds and one line of help.

    @declare
    class SgdSettings:
        eta: float = setting(0.1, "first step size", published=0.1, gt=0)

The check in Python follows from it (pydantic does it), the option on the command line (cli/), the line of
config.yaml and its schema (run/config_files.py), and the reader of config.yaml (run/config.py). Why pydantic: it checks
strictly (no text for numbers, no truth value for 1), says all that is wrong at once, and writes JSON schemas.
"""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic_core import ArgsKwargs

from payneflow.errors import SettingsError

MOST_WHOLE = 2**128  # a seed may have 128 bits
MOST_SHOWN = 200  # letters of a value in a message
_BOUNDS = ("gt", "ge", "le", "min_length")
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    published: Any = None,
    expected: str = "",
    advice: str = "",
    heading: str = "",
    option: str = "",
    metavar: str = "",
    in_config: bool = True,
    **bounds: float,
):
    """The declaration of a setting, to be assigned to a field of a class that `declare` decorates.

    `help`: one line, the meaning, for config.yaml, its schema and the command line. `unit`, `published` (the value of
    The Payne's listing) stand beside it. `bounds`: gt, ge, le for a number, min_length for text. `expected`: what a
    refusal expects, where type and bounds do not say it. `advice`: what to do about a refused value. `heading` of the
    part of config.yaml that begins here. `option`, `metavar`: on the command line, where they are not made of name and
    type. `in_config`: has config.yaml this setting?
    """
    unknown = set(bounds) - set(_BOUNDS)
    if unknown:
        raise TypeError(f"setting() knows the bounds {', '.join(_BOUNDS)}, not {', '.join(sorted(unknown))}")
    own = {"help": help, "unit": unit, "published": published, "expected": expected, "advice": advice}
    own |= {"heading": heading, "option": option, "metavar": metavar, "in_config": in_config}
    made = {"default_factory": default} if callable(default) else {"default": default}
    return dataclasses.field(**made, metadata={**own, **bounds})


def section(default, help: str, *, heading: str = "", inline: bool = False):
    """A field that holds settings of a class of their own; `default` makes them.

    `inline`: in config.yaml they stand among those of the class that has this field, not in a section of their own.
    """
    return dataclasses.field(default_factory=default, metadata={"help": help, "heading": heading, "inline": inline})


def declare(cls: type) -> type:
    """Make a frozen dataclass of the settings in `cls`, which raises SettingsError where a value cannot work.

    A method `check` may look at several settings together: it raises ValueError.
    """
    checked = checked_dataclass(frozen=True, config=_STRICT)(cls)
    make = checked.__init__

    @functools.wraps(make)
    def init(self, *args, **values):
        try:
            make(self, *args, **values)
        except ValidationError as error:
            given = {**dict(zip((field.name for field in dataclasses.fields(checked)), args, strict=False)), **values}
            raise SettingsError(" ".join(_problems(checked, given, error).values())) from None
        try:
            self.check()
        except ValueError as error:
            raise SettingsError(str(error)) from None

    checked.__init__ = init
    if not hasattr(checked, "check"):
        checked.check = lambda self: None
    return checked


# ----------------------------------------------------------------------------------------------------- what is declared


@dataclasses.dataclass(frozen=True)
class Setting:
    """A declared setting as its readers want it. `kind`: its type; `default`: its own, or the instance's."""

    name: str
    kind: Any
    default: Any
    help: str
    unit: str
    published: Any
    expected: str
    advice: str
    heading: str
    option: str
    metavar: str
    in_config: bool
    bounds: dict[str, float]

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that it may be, where it is one of some."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is typing.Literal else ()


def settings_of(declared) -> Iterator[Setting]:
    """The settings of a declared class or instance in their order, sections left out."""
    for field in dataclasses.fields(declared):
        if "in_config" in field.metadata:
            yield _setting(declared, field)


def sections_of(cls: type) -> dict[str, dataclasses.Field]:
    """The fields of a declared class that hold settings of a class of their own."""
    return {field.name: field for field in dataclasses.fields(cls) if "inline" in field.metadata}


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _setting(declared, field: dataclasses.Field) -> Setting:
    cls = declared if isinstance(declared, type) else type(declared)
    own = {name: value for name, value in field.metadata.items() if name not in _BOUNDS}
    bounds = {name: field.metadata[name] for name in _BOUNDS if name in field.metadata}
    default = getattr(declared, field.name) if declared is not cls else default_of(field)
    kind = _kinds(cls)[field.name]
    own["expected"] = own["expected"] or _expected(kind, bounds)
    return Setting(name=field.name, kind=kind, default=default, bounds=bounds, **own)


def default_of(field: dataclasses.Field) -> Any:
    """The default of a field, made where it has a factory."""
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _expected(kind, bounds: dict[str, float]) -> str:
    """What a value of this type within these bounds is, in words."""
    if typing.get_origin(kind) is typing.Literal:
        return f"one of: {', '.join(filter(None, typing.get_args(kind)))}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    whole, least, above, most = kind is int, bounds.get("ge"), bounds.get("gt"), bounds.get("le")
    noun = "a whole number" if whole else "a number"
    if most is None:
        if above == 0 and not whole:
            return "a positive number"
        return noun if least is None else f"{noun} of at least {least:g}"
    if above is not None:
        return f"{noun} above {above:g} and at most {most:g}"
    return f"{noun} from {least:g} to {most:g}"


# -------------------------------------------------------------------------------------------------------- what is wrong


def problems_of(cls: type, values: dict) -> dict[str, str]:
    """What is wrong with each of `values` for the declared class alone, by the name of the setting or of its entry."""
    try:
        cls.__pydantic_validator__.validate_python(ArgsKwargs((), values), self_instance=object.__new__(cls))
    except ValidationError as error:
        return _problems(cls, values, error)
    return _beyond_use(cls, values)


def _beyond_use(cls: type, given: dict) -> dict[str, str]:
    """Of values of the right types those that no file and no arithmetic can take."""
    found = {}
    for one in settings_of(cls):
        value = given.get(one.name)
        said = ""
        if isinstance(value, int) and abs(value) >= MOST_WHOLE:
            said = f"expected at most {float(MOST_WHOLE):.1g}"
        elif any("\0" in text for text in (value if isinstance(value, list | tuple) else [value]) if type(text) is str):
            said = "which holds a zero byte, expected text without"
        if said:
            found[one.name] = f"{one.name} is {shown(value)}, {said}."
    return found


def _problems(cls: type, given: dict, error: ValidationError) -> dict[str, str]:
    """One text for each setting that pydantic refuses, of a mapping for each of its entries; by their names."""
    declared = {one.name: one for one in settings_of(cls)}
    found: dict[str, str] = {}
    for problem in error.errors():
        name, *inside = problem["loc"]
        if name not in declared:
            found[name] = no_such(name, list(declared))
            continue
        one, entry, value = declared[name], name, given.get(name)
        if inside and isinstance(value, dict) and inside[0] in value:
            entry, value = f"{name} {inside[0]}", value[inside[0]]
        found[entry] = f"{entry} is {shown(value)}, expected {one.expected}. {one.advice}".strip()
    return found


def shown(value: Any) -> str:
    """A value as a message can hold it."""
    said = repr(value)
    return said if len(said) <= MOST_SHOWN else f"{said[:MOST_SHOWN]} ..."


def no_such(name: str, known: list[str]) -> str:
    """That there is no setting of this name, and which was probably meant."""
    name = str(name)
    close = difflib.get_close_matches(name[:MOST_SHOWN], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(known)}."
    return f"{name if len(name) <= MOST_SHOWN else shown(name)}: no such setting; {hint}"


# -------------------------------------------------------------------------------------------------------- text as meant


def as_meant(value: Any, kind: Any) -> Any:
    """Numbers and truth values for text where `kind` has them: YAML takes 1e-3, --config any nested value, for text."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return as_meant(value, inner[0])
    if origin is dict and isinstance(value, dict):
        return {name: as_meant(one, inner[1]) for name, one in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        of_each = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        return tuple(map(as_meant, value, of_each)) if len(of_each) == len(value) else tuple(value)
    if origin in (types.UnionType, typing.Union):
        meant = (as_meant(value, one) for one in inner)
        return next((one for one in meant if one is not value), value)
    if kind in _MEANINGS and isinstance(value, str):
        try:
            return _MEANINGS[kind](value)
        except (KeyError, ValueError):
            return value  # the check will refuse it
    return value


_MEANINGS = {int: int, float: float, bool: {"true": True, "false": False}.__getitem__}
