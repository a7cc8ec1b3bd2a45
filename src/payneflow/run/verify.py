"""Are the results of a run whole, of one origin, and those that were asked for? And which must be made again?

Every file is compared with what the run was planned to make (`Plan`), and with the files that it says it was made from.
No result is written or removed here: `mend` says what Snakemake is to make again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from payneflow.errors import PayneflowError
from payneflow.figures import REPORT_FIGURES
from payneflow.files import whole_file
from payneflow.grid import GridPath, paths_of
from payneflow.label_names import PIECES
from payneflow.run.contents import Facts, facts_of
from payneflow.run.known import KNOWN, Known, digest_of, read_digest

PLAN = f"{KNOWN}/run.json"
REPORT = "report.html"
FOLDERS = {"chunks": (".npz",), "trained": (".npz",), "fits": (".ecsv", ".fits")}
BESIDE = ".checkpoint"  # what lies beside a chunk while it is trained, NAME.checkpoint.npz, is no result


class State(StrEnum):
    """What a file among the results is."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    STALE = "stale"
    MISSING = "missing"
    FOREIGN = "does not belong"


@dataclass(frozen=True)
class Plan:
    """What a run was to make: from which grid, how trained, in which chunks and shards.

    `settings`: trainer, settings and seed. `figures` by name; `calibrated`: whether fits take label errors. `grid`: the
    digest of the grid as it is now, "" where it is not known; `parquet`: whether fits are also written in that format;
    `pieces`: whether they are of stars in pieces, which have tables of their own.
    """

    grid_path: str | tuple[str, ...]
    settings: dict
    chunks: tuple[str, ...]
    shards: tuple[str, ...]
    figures: tuple[str, ...]
    calibrated: bool
    grid: str = ""
    parquet: bool = False
    pieces: bool = False

    def names(self) -> list[str]:
        """The files that this makes, in the order in which they are made."""
        chunks = [f"{folder}/{chunk}.npz" for folder in ("chunks", "trained") for chunk in self.chunks]
        tables = ["", PIECES] if self.pieces else [""]
        shards = [f"fits/{shard}{of}.{end}" for of in tables for end in ("ecsv", "fits") for shard in self.shards]
        errors = ["label_errors.npz"] if self.calibrated else []
        networks = ["neural_network.npz", "training_record.ecsv", "evaluation.npz", "explore.html"]
        figures = [f"figures/{name}.png" for name in self.figures]
        fits = [f"fits{of}.{end}" for of in tables for end in ("ecsv", "fits", *(["parquet"] if self.parquet else []))]
        return ["grid_summary.json", *chunks, *networks, *errors, *shards, *fits, *figures, REPORT]

    def made_from(self, name: str) -> list[str] | None:
        """What is made from a file, and whole without it from then on; None for a file that a run ends with."""
        folder, _, file = name.rpartition("/")
        if folder == "chunks":
            return [f"trained/{file}"]
        if folder == "trained":
            return ["neural_network.npz", "training_record.ecsv"]
        if folder == "fits":
            of = PIECES if self.pieces and name.endswith(f"{PIECES}.ecsv") else ""
            return [f"fits{of}.ecsv"] if name.endswith(".ecsv") else []
        if name == "label_errors.npz":
            return [*(one for one in self.names() if one.startswith("fits/") and one.endswith(".ecsv")), REPORT]
        if name == "evaluation.npz":
            return [*(f"figures/{one}.png" for one in self.figures if REPORT_FIGURES[one].source == name), REPORT]
        return None

    def write(self, results: Path) -> None:
        """Keep the plan among the results, for `payneflow verify`; the digest of the grid is in a file of its own.

        Raises PayneflowError where it cannot be written; where it is there already, nothing is.
        """
        text = json.dumps({**asdict(self), "grid": ""}, indent=1) + "\n"
        try:
            there = (results / PLAN).read_text(encoding="utf-8")
        except (OSError, ValueError):
            there = ""
        if text != there:
            with whole_file(results / PLAN) as temporary:
                temporary.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, results: Path) -> "Plan":
        """The plan of the last run. Raises PayneflowError where there is none among the results."""
        path = results / PLAN
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            plan = cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in said.items()})
            plan.names()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            raise PayneflowError(
                f"{results}: no {PLAN} that can be read, in which a run of the workflow says what it makes; expected "
                "the results of a run. `make run`, or snakemake, writes it as soon as there is something to do."
            ) from None
        return plan


@dataclass(frozen=True)
class Finding:
    """What became of a file, by its name among the results, and why it is judged so."""

    name: str
    state: State
    said: str = ""


# ------------------------------------------------------------------------------------------------------ the judgement


def verify(results: Path, plan: Plan, known: Known, thorough: bool) -> list[Finding]:
    """A finding for each file of the plan, in the order of their making, and for each that does not belong.

    A file that is not there counts for nothing where all that is made from it is whole. `thorough`: every file is read
    anew (contents.py); without, only those that have changed since they were last looked at.
    """
    names = plan.names()
    facts = {name: _facts(results, name, known, thorough) for name in names}
    found = {name: _judge(name, facts, plan) for name in names}
    for name in names:  # sources come before what is made of them
        source = _source(name)
        if found[name].state is State.WHOLE and source in found and found[source].state is State.STALE:
            found[name] = Finding(name, State.STALE, f"made from {source}, which is stale")
    for name in reversed(names):
        products = plan.made_from(name)
        missed = products is None or any(one in found and found[one].state is not State.WHOLE for one in products)
        if found[name].state is State.MISSING and not missed:
            del found[name]
    return [found[name] for name in names if name in found] + _foreign(results, set(names))


def _facts(results: Path, name: str, known: Known, thorough: bool) -> Facts | None:
    path = results / name
    try:
        return known.of(path, lambda path: facts_of(path, name, thorough), again=thorough, name=name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror or error}"}


def _judge(name: str, facts: Mapping[str, Facts | None], plan: Plan) -> Finding:
    own = facts[name]
    if own is None:
        return Finding(name, State.MISSING)
    if own["problem"]:
        return Finding(name, State.DAMAGED, own["problem"])
    said = _other_origin(own, plan) or _other_neighbour(name, own, facts, plan)
    return Finding(name, State.STALE if said else State.WHOLE, said)


def _other_origin(own: Facts, plan: Plan) -> str:
    """How a file's grid or settings differ from the run's, as far as it says them; "" where they do not."""
    grid, settings = own.get("grid"), own.get("settings")
    if grid and plan.grid and grid != plan.grid:
        return f"made from another grid: SHA-256 {grid[:12]}..., that of the run's is {plan.grid[:12]}..."
    if isinstance(settings, dict):
        # a setting that came with a later version is not held against a file from before
        other = [key for key, value in plan.settings.items() if key in settings and settings[key] != value]
        if other:
            return f"trained with {other[0]} {settings[other[0]]}, the run's is {plan.settings[other[0]]}"
    return ""


def _other_neighbour(name: str, own: Facts, facts: Mapping[str, Facts | None], plan: Plan) -> str:
    """Which of the files beside it is not the one that this was made with; "" where all are."""
    networks, errors = _digest("neural_network.npz", facts), _digest("label_errors.npz", facts)
    if own.get("networks") and networks and own["networks"] != networks:
        return "made with other networks than those of neural_network.npz"
    used = own.get("label_errors")
    if used and not plan.calibrated and used != "none":
        return "made with label errors, which the run was to do without"
    if used and plan.calibrated and errors and used != errors:
        return "made with other label errors than those of label_errors.npz"
    if own.get("fits") and own["fits"] != (_digest("fits.ecsv", facts) or own["fits"]):
        return "made of other fits than those of fits.ecsv"
    source = _source(name)
    text = facts.get(source) or {}
    if any(text[key] != own[key] for key in ("rows", "digest") if key in text and key in own):
        return f"holds other fits than {source}"
    return ""


def _source(name: str) -> str:
    """What a file is made from that does not say so itself: a figure, or fits that are no text; "" for others."""
    stem, _, ending = name.rpartition(".")
    if ending in ("fits", "parquet"):
        return f"{stem}.ecsv"
    return REPORT_FIGURES[stem.removeprefix("figures/")].source if ending == "png" else ""


def _digest(name: str, facts: Mapping[str, Facts | None]) -> str:
    """The digest of a file beside, "" where it is not there or not whole."""
    return (facts.get(name) or {}).get("digest", "")


def _foreign(results: Path, expected: set[str]) -> list[Finding]:
    """The files in the folders of chunks and shards that are none of this run's; nothing is done about them."""
    found = []
    for folder, endings in FOLDERS.items():
        for path in sorted((results / folder).glob("[!.]*")):
            name = f"{folder}/{path.name}"
            if path.suffix in endings and name not in expected and not path.stem.endswith(BESIDE):
                said = f"no {'shard' if folder == 'fits' else 'chunk'} of this run; remove it if you do not need it"
                found.append(Finding(name, State.FOREIGN, said))
    return found


# ------------------------------------------------------------------------------------------------- what follows of it


def mend(findings: list[Finding]) -> tuple[list[str], list[str]]:
    """What is to be made again, and what is only to be removed, of the files that are damaged or stale.

    Chunk files are made all at once, after which all chunks are trained: one that is trained already is not worth that,
    and neither is a trained chunk whose chunk file is gone, once its networks are gathered.
    """
    good = {one.name for one in findings if one.state is State.WHOLE}
    again: list[str] = []
    remove: list[str] = []
    for name in (one.name for one in findings if one.state in (State.DAMAGED, State.STALE)):
        folder, _, file = name.rpartition("/")
        needless = folder == "chunks" and f"trained/{file}" in good
        needless |= folder == "trained" and f"chunks/{file}" not in good and "neural_network.npz" in good
        (remove if needless else again).append(name)
    return again, remove


def verify_text(findings: list[Finding]) -> str:
    """A line for each file: what it is, its name, and why it is judged so."""
    return "\n".join(f"{one.state:<15}  {one.name}{': ' if one.said else ''}{one.said}" for one in findings)


def check_whole(results: Path, findings: list[Finding]) -> None:
    """Raise PayneflowError, with how many there are, where a file is damaged, stale or missing."""
    counts = {state: sum(one.state is state for one in findings) for state in State}
    bad = [f"{counts[state]} {state}" for state in (State.DAMAGED, State.STALE, State.MISSING) if counts[state]]
    if bad:
        raise PayneflowError(
            f"{results}: {', '.join(bad)} of {len(findings)} files. `make run`, or snakemake, makes them again; "
            "with -n it says which, and what depends on them."
        )


def plan_of_results(results: Path, grid: GridPath | None, known: Known) -> Plan:
    """The plan of the last run in `results`, with the grid as it is now: `grid`, or that of the run if it is there.

    Raises PayneflowError where there is no plan, or `grid` cannot be read.
    """
    plan = Plan.read(results)
    absent = [path for path in paths_of(grid or ()) if not path.is_file()]
    if absent:
        raise PayneflowError(f"{absent[0]}: no such file; expected the grid that the results were made from.")
    paths = paths_of(grid or plan.grid_path)
    there = all(path.is_file() for path in paths)
    digest = digest_of(paths, known) if there else read_digest(results / KNOWN / "grid.json")
    return replace(plan, grid=digest or "")
