"""config.yaml and its JSON schema, both written from the declared settings: their order, defaults, bounds and help.

    python -m payneflow.run.config_files      in the checkout: writes both anew, config.yaml with the default values

tests/run/test_config_files.py says where one of them is not what the declarations say.
"""

import json
import re
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter

from payneflow.declaration import Setting, sections_of, settings_of
from payneflow.files import whole_file
from payneflow.run.config import Config, values_of

CONFIG, SCHEMA = Path("config.yaml"), Path("workflow/schemas/config.schema.yaml")
COLUMN, WIDTH = 32, 120  # where the comments of config.yaml begin, and where its lines end at the latest
PLAIN = re.compile(
    r"[A-Za-z][\w./-]*"
)  # text that needs no quotes in YAML, unless YAML has a meaning of its own for it

_CONFIG_HEADER = """\
# Every setting of payneflow. Edit here, then `make run` or snakemake: what depends on the change runs again, only that.
# "published" is the value of The Payne's listing (Ting et al. 2019, ApJ 879, 69).
# One run with another value: snakemake --config chunk_size=64. All settings are checked before anything runs.
# Written from the declarations in src/payneflow by `python -m payneflow.run.config_files`: add a setting there.
"""
_SCHEMA_HEADER = """\
# For editors: what config.yaml may hold. payneflow itself checks more than that (src/payneflow/run/config.py).
# Written from the declarations in src/payneflow by `python -m payneflow.run.config_files`: add a setting there.
"""


def config_text() -> str:
    """config.yaml with the default of every setting, each explained."""
    return _CONFIG_HEADER + "\n".join(_lines_of_section(Config())) + "\n"


def schema_text() -> str:
    """The JSON schema of config.yaml, as YAML."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of payneflow",
        **_schema_of_section(Config(), "Everything a user can turn."),
    }
    return _SCHEMA_HEADER + yaml.safe_dump(schema, sort_keys=False, width=WIDTH - 2, allow_unicode=True)


# -------------------------------------------------------------------------------------------------------- config.yaml


def _lines_of_section(settings, indent: str = "") -> list[str]:
    """The lines of a section, those of the sections in it included."""
    declared = {one.name: one for one in settings_of(settings) if one.in_config}
    nested = sections_of(type(settings))
    lines = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in nested and nested[field.name].metadata["inline"]:
            lines += _lines_of_section(value, indent)
        elif field.name in nested:
            lines += _entry(f"{indent}{field.name}:", field.metadata["help"], field.metadata["heading"], indent)
            lines += _lines_of_section(value, indent + "  ")
        elif field.name in declared:
            one, value = declared[field.name], values_of(settings)[field.name]
            lines += _entry(f"{indent}{one.name}: {_yaml(value)}", _explanation(one), one.heading, indent)
    return lines


def _entry(assignment: str, comment: str, heading: str, indent: str) -> list[str]:
    """A setting with its comment: beside it where that fits, else above it; an empty line divides those of the top."""
    lines = [] if indent else [""]
    if heading:
        lines += [f"# --- {heading} ".ljust(WIDTH, "-"), ""]
    beside = f"{assignment.ljust(COLUMN - 1)} # {comment}"
    if len(beside) <= WIDTH:
        return [*lines, beside]
    above = textwrap.wrap(f"{comment}.", WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    return [*lines, *above, assignment]


def _explanation(one: Setting) -> str:
    """The comment of a setting: its published value, its meaning, its unit."""
    published = "" if one.published is None else f"published {_yaml(one.published)}; "
    return published + ", ".join(filter(None, (one.help, one.unit)))


def _yaml(value: Any) -> str:
    """A value on one line as a person writes it: 500 for 500.0, double quotes, and only where YAML needs them."""
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and yaml.safe_load(value) == value else json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


# --------------------------------------------------------------------------------------------------------- the schema


def _schema_of_section(settings, description: str) -> dict:
    """The schema of a section: every name that it has, and no other."""
    properties = _properties(settings)
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _properties(settings) -> dict:
    declared = {one.name: one for one in settings_of(settings) if one.in_config}
    nested, properties = sections_of(type(settings)), {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in nested and nested[field.name].metadata["inline"]:
            properties |= _properties(value)
        elif field.name in nested:
            properties[field.name] = _schema_of_section(value, f"{field.metadata['help']}.")
        elif field.name in declared:
            one = declared[field.name]
            kind = TypeAdapter(Annotated[one.kind, Field(**one.bounds)]).json_schema()
            about = {"description": f"{_explanation(one)}.", "default": values_of(settings)[one.name]}
            properties[one.name] = about | _without_null(kind)
    return properties


def _without_null(schema: dict) -> dict:
    """The schema without null, which some settings may be in Python, but none in config.yaml."""
    found = {name: _without_null(part) if isinstance(part, dict) else part for name, part in schema.items()}
    kinds = [part for part in found.pop("anyOf", ()) if part != {"type": "null"}]
    return found | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def main() -> int:
    """Write both files in the current directory, which must be a checkout."""
    if not SCHEMA.parent.is_dir():
        print(f"{SCHEMA.parent}: no such directory; run this in a checkout of payneflow.", file=sys.stderr)
        return 2
    for path, text in ((CONFIG, config_text()), (SCHEMA, schema_text())):
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
