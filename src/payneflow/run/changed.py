"""Which settings of a run are not the default, for the report: one in a table each, with what it means."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from payneflow.declaration import sections_of, settings_of
from payneflow.run.config import Config, values_of


class Changed(NamedTuple):
    """A setting with its name as in config.yaml (`fit.velocity`), its value, its default, and its meaning."""

    name: str
    value: Any
    default: Any
    meaning: str


def changed_settings(config: Config) -> list[Changed]:
    """The settings that are not the default, in the order of config.yaml."""
    return list(_changed(config, type(config)(), ""))


def _changed(given, default, place: str) -> Iterator[Changed]:
    declared = {one.name: one for one in settings_of(given) if one.in_config}
    nested = sections_of(type(given))
    values, usual = values_of(given), values_of(default)
    for field in fields(given):
        name = field.name
        if name in nested:
            inside = place if nested[name].metadata["inline"] else f"{place}{name}."
            yield from _changed(getattr(given, name), getattr(default, name), inside)
        elif name in declared and values[name] != usual[name]:
            one = declared[name]
            meaning = ", ".join(filter(None, (one.help, one.unit)))
            yield Changed(f"{place}{name}", values[name], usual[name], meaning)
