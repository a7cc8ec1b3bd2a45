"""The Python of the workflow's rules: settings -> chunks, resources, options as quoted text, figures, files.

Neither this nor fits.py knows an object of Snakemake; workflow/rules/settings.smk hands over plain values and asks.
"""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from payneflow.chunks.selection import parse_pixels, plan_chunks
from payneflow.errors import SettingsError
from payneflow.figures import REPORT_FIGURES
from payneflow.files import whole_file, write_list
from payneflow.grid import (
    GridKeys,
    GridReading,
    grid_shape,
    grid_split,
    paths_of,
)
from payneflow.grid.sets import RANDOM
from payneflow.label_names import PIECES
from payneflow.run import sizing
from payneflow.run.config import AUTO, each_file, has_pieces
from payneflow.run.known import KNOWN, Known, digest_of, outdated
from payneflow.run.verify import Finding, Plan, mend, verify
from payneflow.settings import settings_record
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


def grid_as_options(config: Mapping) -> str:
    """The grid as options: --grid, once for each of its files."""
    return " ".join(f"--grid {shlex.quote(str(path))}" for path in paths_of(config["grid"]))


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


# --- Figures, and the end of a run ------------------------------------------------------------------------------------


def settings_file(config: Mapping) -> Path:
    """All settings in a file below SCRATCH, named by its content, for `payneflow report`."""
    content = json.dumps(config, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return named_by_content("settings", content, ".yaml")


def named_by_content(name: str, content: bytes, ending: str) -> Path:
    """A file below SCRATCH of this content, which its name tells: another content is another file, no date counts."""
    path = SCRATCH / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}{ending}"
    if not path.exists():
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return path


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
