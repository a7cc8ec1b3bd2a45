"""`payneflow init`: a directory with the files of the workflow, the very ones that a checkout has at its top.

A wheel has them in the package (pyproject.toml, `force-include`); in a checkout they are where they are.
"""

import filecmp
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from payneflow import __version__
from payneflow.errors import PayneflowError
from payneflow.files import whole_file
from payneflow.shipped import top_of_checkout

# The Snakefile last: a directory that has it has all the others.
WORKFLOW = ("config.yaml", "workflow", "envs/payneflow.yaml", "envs/theano.yaml", "Snakefile")
DEMO = (
    "resources/README.md",
    "resources/hband_grid.npz",
    "resources/apogee_stars.npz",
    "resources/hband_networks.npz",
    "resources/hband_label_errors.npz",
)
LINKS = {"slurm": "workflow/profiles/slurm"}  # for `snakemake --profile slurm`

ITSELF = re.compile(rb"\.\./\.\.(\[[\w,]+\])")  # how the conda environments of a checkout name the payneflow in it
MOST_NAMED = 5  # files that a message names


def write_run(directory: str | Path, demo: bool = False) -> list[Path]:
    """Write the files of the workflow into `directory`, with `demo` also the demonstration grid, networks and spectra.

    Returns the paths written, links last; files that are there already with the same content are left as they are.
    The conda environments alone differ from a checkout's: they install payneflow of this version by its name.
    Raises PayneflowError, with nothing written, where another file is in the way, or one cannot be written.
    """
    directory = Path(directory)
    sources = {directory / name: source for name, source in _sources(demo).items()}
    links = {directory / name: Path(target) for name, target in LINKS.items()}
    in_the_way = [path for path, source in sources.items() if _is_there(path) and not _same(path, source)]
    in_the_way += [path for path, target in links.items() if _is_there(path) and not _links_to(path, target)]
    in_the_way += _files_where_directories_go([*sources, *links])
    _refuse(directory, in_the_way)
    written: list[Path] = []
    with _all_or_nothing(written, [*sources, *links]):
        for path, source in sources.items():
            if not _is_there(path):
                written.append(path)
                _write(path, source)
        for path, target in links.items():
            if not _is_there(path):
                written.append(path)
                _link(path, target)
    return written


def _sources(demo: bool) -> dict[str, Path]:
    """The files to be written, by their names in the directory.

    Raises PayneflowError where the installation lacks some.
    """
    top = top_of_checkout()
    found = {}
    for name in (*DEMO, *WORKFLOW) if demo else WORKFLOW:
        place = top / name
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        if not place.exists():
            raise PayneflowError(f"{place}: missing from this installation. Install payneflow again, from a wheel.")
        found |= {str(one.relative_to(top)): one for one in files if one.is_file() and "__pycache__" not in one.parts}
    return found


def _content(source: Path) -> bytes | None:
    """What is written in place of a file's own content; None: that very content."""
    if source.parent.name != "envs":
        return None
    return ITSELF.sub(rb"payneflow\1==" + __version__.encode(), source.read_bytes())


# ------------------------------------------------------------------------------------------------ what is in the way


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _same(path: Path, source: Path) -> bool:
    content = _content(source)
    try:
        return path.read_bytes() == content if content else filecmp.cmp(path, source, shallow=False)
    except OSError:  # a directory, or not readable
        return False


def _links_to(path: Path, target: Path) -> bool:
    return path.is_symlink() and path.readlink() == target


def _files_where_directories_go(paths: list[Path]) -> list[Path]:
    parents = {parent for path in paths for parent in path.parents}
    return sorted(parent for parent in parents if _is_there(parent) and not parent.is_dir())


def _refuse(directory: Path, in_the_way: list[Path]) -> None:
    if not in_the_way:
        return
    for path in (directory, *directory.parents):
        if path in in_the_way:
            raise PayneflowError(f"{path}: a file, not a directory. Name another directory; a new one is made.")
    named = ", ".join(str(path.relative_to(directory)) for path in in_the_way[:MOST_NAMED])
    more = f" and {len(in_the_way) - MOST_NAMED} more" if len(in_the_way) > MOST_NAMED else ""
    raise PayneflowError(
        f"{directory}: {named}{more}: there already, with other content than would be written. Nothing was written or "
        "overwritten. Name another directory, or move these files away."
    )


# ------------------------------------------------------------------------------------------------------------ writing


def _write(path: Path, source: Path) -> None:
    content = _content(source)
    with whole_file(path) as temporary:
        if content is None:
            shutil.copyfile(source, temporary)
        else:
            temporary.write_bytes(content)
    if source.stat().st_mode & stat.S_IXUSR:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target)
    except OSError as error:
        raise PayneflowError(
            f"{path}: no link can be made here: {error.strerror}. Name a directory of a file system that has links."
        ) from error


@contextmanager
def _all_or_nothing(written: list[Path], paths: list[Path]) -> Iterator[None]:
    """On any failure remove what was `written`, and the directories that were made for `paths`."""
    parents = {parent for path in paths for parent in path.parents if not _is_there(parent)}
    try:
        yield
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        for parent in sorted(parents, key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):
                parent.rmdir()
        raise
