"""The networks that come with payneflow, by name, and where their files are.

`resources/README.md` says what they are for.
"""

from pathlib import Path
from typing import NamedTuple

from payneflow.errors import NetworkFileError

PACKAGE = Path(__file__).parent
IN_A_WHEEL = PACKAGE / "checkout"  # what pyproject.toml takes into a wheel of a checkout's top (`force-include`)


class Shipped(NamedTuple):
    """Networks that come with payneflow: paths of their file and of their label errors."""

    networks: Path
    label_errors: Path


_FILES = {"hband": ("hband_networks.npz", "hband_label_errors.npz")}
NAMES = tuple(_FILES)


def shipped(name: str) -> Shipped:
    """The files of the networks called `name`, such as `read_networks(shipped("hband").networks)`.

    Raises NetworkFileError where there are none of this name, or their files are gone.
    """
    if name not in _FILES:
        raise NetworkFileError(
            f"{name!r}: no networks of this name come with payneflow, expected {', '.join(_FILES)}. Other networks are "
            "given by the path of their file."
        )
    place = top_of_checkout() / "resources"
    found = Shipped(*(place / file for file in _FILES[name]))
    if all(path.is_file() for path in found):
        return found
    raise NetworkFileError(
        f"the files of the networks {name} are not there: {' and '.join(_FILES[name])} were looked for in {place}. "
        "Install payneflow again."
    )


def top_of_checkout() -> Path:
    """Where the files lie that a checkout has at its top, or that a wheel has of it."""
    return IN_A_WHEEL if IN_A_WHEEL.is_dir() else PACKAGE.parents[1]
