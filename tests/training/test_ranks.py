"""One chunk over real MPI ranks: the same bits as in one process, whatever their number and whatever happens to them.

Where MPI is missing these tests fail: `make test` installs it. More ranks than cores are fine.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, SLOW, same_but_seconds, wait_for, write_small_grid

from payneflow import cli
from payneflow.chunks.checkpoint import checkpoint_path

MPIEXEC = Path(sys.executable).with_name("mpiexec")
COMMAND = [sys.executable, "-m", "payneflow.cli"]
LM = ["--trainer", "lm", "--n-neurons", "3", "--trunc-diff", "0.0003"]  # small enough that some pixels start anew
SGD = ["--trainer", "sgd", "--num-epochs", "200", "--trial-epochs", "200", "--max-iter", "3", "--trunc-diff", "0.01"]
# No pixel can reach this criterion, so that every one runs all its loops; those of `start_long` take a second each.
LONG = ["--trainer", "sgd", "--num-epochs", "2000", "--trunc-diff", "1e-9", "--max-iter", "25", "--min-eta", "1e-9"]
HOURS = "600"  # seconds a loop: a training that is over within PATIENCE was ended


def chunk_and_result(directory, options):
    """A chunk of 20 pixels, and what one process without MPI makes of it."""
    grid = write_small_grid(directory / "grid.npz")
    serial = directory / "serial.npz"
    assert cli.main(["split", str(grid), "--output", str(directory / "chunks"), *options]) == 0
    (chunk,) = (directory / "chunks").iterdir()
    assert cli.main(["train", str(chunk), "--output", str(serial)]) == 0
    return chunk, serial


@pytest.fixture(scope="module", params=[SGD, LM], ids=["sgd", "lm"])
def short(request, tmp_path_factory):
    """Chunk file and trained chunk of each trainer."""
    return chunk_and_result(tmp_path_factory.mktemp("short"), request.param)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Chunk file and trained chunk of a training of many loops."""
    return chunk_and_result(tmp_path_factory.mktemp("long"), LONG)


def start(ranks, *arguments, expected=None, program=COMMAND, cwd=ROOT, **environment):
    """Start `payneflow train` on that many ranks (0: without a launcher), which expect to be `expected`."""
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks else []
    command = [*launcher, *program, "train", *map(str, arguments), "--ranks", str(expected or ranks or 1)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def ended(job):
    """Exit status and all that was said by a job that must end."""
    try:
        said, _ = job.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        job.kill()
        pytest.fail(f"still there after {PATIENCE} s")
    return job.returncode, said


def start_long(ranks, long, output, seconds=1.0):
    """Start a training that sleeps so long before each loop: half a minute in all, which a test strikes."""
    program = [sys.executable, "-c", SLOW]
    options = ["--output", output, "--checkpoint-seconds", "0.05"]
    return start(ranks, long[0], *options, program=program, STEP_SECONDS=str(seconds))


def ranks_of(output):
    """The process of each rank, by rank, of the job that writes `output`."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            rank = re.search(rb"(?:^|\0)PMI_RANK=(\d+)", (process / "environ").read_bytes())
        except OSError:  # it has ended by now, or is another user's
            continue
        if rank and str(output).encode() in words:
            found[int(rank[1])] = int(process.name)
    return found


# ---------------------------------------------------------------------------------------------------- always the same


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_no_bit_depends_on_the_number_of_ranks(short, tmp_path, ranks):
    chunk, serial = short
    output = tmp_path / "trained.npz"
    status, said = ended(start(ranks, chunk, "--output", output))
    assert status == 0, said
    assert same_but_seconds(output, serial)
    shares = re.search(r"pixels that each rank trained: ([\d, ]+)", said)[1].split(", ")
    assert len(shares) == ranks and sum(map(int, shares)) == 20
    assert all(map(int, shares)), "every rank had something to do"
    assert [path.name for path in tmp_path.iterdir()] == ["trained.npz"]


# Rank 1 is as slow as can be: its first run ends when rank 0 has begun with 80 pixels of 100. Rank 0 does not begin
# before rank 1 has its first pixels.
ONE_SLOWER = """
import os, sys, time
from pathlib import Path
from payneflow import cli
from payneflow.training.sgd import SgdTrainer

advance, new_network = SgdTrainer.advance, SgdTrainer.new_network
first, begun, fast_enough, slow_has_begun = os.environ["PMI_RANK"] == "0", set(), Path("fast"), Path("slow")

def noted(self, pixel, restart, flux, relevance):
    begun.add(pixel)
    if first and len(begun) == 80:
        fast_enough.touch()
    return new_network(self, pixel, restart, flux, relevance)

def waited(self):
    if not first:
        slow_has_begun.touch()
    while not (slow_has_begun if first else fast_enough).exists():
        time.sleep(0.01)
    return advance(self)

SgdTrainer.advance, SgdTrainer.new_network = waited, noted
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_slower_rank_gets_fewer_pixels(tmp_path):
    grid, output = write_small_grid(tmp_path / "grid.npz", n_pixel=100), tmp_path / "trained.npz"
    assert cli.main(["split", str(grid), "--output", str(tmp_path / "chunks"), *SGD]) == 0
    (chunk,) = (tmp_path / "chunks").iterdir()
    status, said = ended(start(2, chunk, "--output", output, program=[sys.executable, "-c", ONE_SLOWER], cwd=tmp_path))
    assert status == 0, said
    shares = [int(share) for share in re.search(r"each rank trained: (\d+), (\d+)", said).groups()]
    assert sum(shares) == 100 and shares[0] > 2 * shares[1] > 0


def test_one_rank_with_mpi_gives_the_same_bits(short, tmp_path):
    """On the command line one rank means no MPI; the benchmark uses this to tell what MPI costs."""
    chunk, serial = short
    output = tmp_path / "trained.npz"
    script = (
        "from payneflow import cli; from payneflow.training import ranks; "
        "ranks.run_on_ranks = ranks.run_with_mpi; cli.main()"
    )
    status, said = ended(start(1, chunk, "--output", output, program=[sys.executable, "-c", script]))
    assert status == 0 and "pixels that each rank trained: 20\n" in said, said
    assert same_but_seconds(output, serial)


def test_two_jobs_on_one_chunk_are_harmless(long, tmp_path):
    output = tmp_path / "trained.npz"
    for job in [start_long(2, long, output, seconds=0.05) for _ in range(2)]:
        status, said = ended(job)
        assert status == 0, said
    assert same_but_seconds(output, long[1])
    assert [path.name for path in tmp_path.iterdir()] == ["trained.npz"]


def test_the_workflow_starts_the_ranks(tmp_path):
    """As many as config.yaml says; another number repeats nothing."""
    grid = f"grid={ROOT / 'resources/hband_grid.npz'}"
    snakemake = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile", "--cores", "2"]
    target = "results/trained/pixel0000-7000-step1000.npz"
    config = ["--configfile", ROOT / "config.yaml", "--config", grid, "pixels=::1000"]
    run = subprocess.run(
        [*snakemake, target, *config, "ranks=2"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    log = tmp_path / "results/logs/train_chunk/pixel0000-7000-step1000.log"
    assert run.returncode == 0, run.stderr
    assert "8 pixels, 320 spectra, trainer lm, 2 ranks" in log.read_text()
    again = subprocess.run(
        [*snakemake, target, *config], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "Nothing to be done" in again.stderr


# -------------------------------------------------------------------------------------------------------------- kills


def test_killed_ranks_end_the_job_and_any_other_number_goes_on(long, tmp_path):
    output = tmp_path / "trained.npz"
    checkpoint = checkpoint_path(output)
    for ranks, victims in ((3, [2]), (2, [0]), (4, range(4))):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        job = start_long(ranks, long, output)
        wait_for(lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns != before)
        processes = ranks_of(output)
        assert set(processes) == set(range(ranks))
        for victim in victims:
            os.kill(processes[victim], signal.SIGKILL)
        status, said = ended(job)
        assert status != 0 and not output.exists() and checkpoint.exists()
        assert ("resuming from" in said) == bool(before), said
        wait_for(lambda: not ranks_of(output))
    status, said = ended(start_long(0, long, output, seconds=0.0))
    assert status == 0 and "resuming from" in said, said
    assert same_but_seconds(output, long[1])
    assert not checkpoint.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_goes_on_from_its_checkpoint(long, tmp_path, how):
    output = tmp_path / "trained.npz"
    job = start_long(2, long, output)
    wait_for(checkpoint_path(output).exists)
    job.send_signal(how)
    status, said = ended(job)
    assert status != 0 and "Traceback" not in said
    assert ("interrupted; the same command goes on from here" in said) == (how is signal.SIGINT), said
    wait_for(lambda: not ranks_of(output))
    status, said = ended(start_long(3, long, output, seconds=0.0))
    assert status == 0 and "resuming from" in said, said
    assert same_but_seconds(output, long[1])


# ------------------------------------------------------------------------------------------------------- what is wrong

# Raises as soon as the rank that PLANTED names makes the first network of pixel 5 or later; the others train for hours.
PLANT = """
import os, sys, time
from payneflow import cli
from payneflow.training.sgd import SgdTrainer

advance, new_network = SgdTrainer.advance, SgdTrainer.new_network

def slow(self):
    time.sleep(float(os.environ["STEP_SECONDS"]))
    return advance(self)

def planted(self, pixel, restart, flux, relevance):
    if pixel >= 5 and os.environ["PMI_RANK"] == os.environ["PLANTED"]:
        {what}
    return new_network(self, pixel, restart, flux, relevance)

SgdTrainer.advance, SgdTrainer.new_network = slow, planted
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("rank", ["0", "2"])
@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("raise RuntimeError('planted')", 1, "RuntimeError: planted"),
        ("sys.exit(3)", 1, "SystemExit: 3"),
    ],
)
def test_an_error_on_one_rank_ends_all_and_is_told_with_rank_and_pixels(long, tmp_path, rank, what, status, says):
    """Left alone, mpi4py would wait in MPI_Finalize for the others, which train on and then wait, too."""
    program = [sys.executable, "-c", PLANT.format(what=what)]
    environment = {"PLANTED": rank, "STEP_SECONDS": HOURS}
    job = start(3, long[0], "--output", tmp_path / "trained.npz", program=program, **environment)
    returned, said = ended(job)
    assert returned == status, said
    told = re.search(rf"payneflow train: error on rank {rank} of 3, where pixels ([\d, ]+) were under way: (.*)", said)
    assert told and told[2] == says, said
    assert any(int(pixel) >= 5 for pixel in told[1].split(", "))
    assert not (tmp_path / "trained.npz").exists()


def test_what_a_user_can_act_on_is_told_once_and_without_traceback(long, tmp_path):
    status, said = ended(start(2, tmp_path / "none.npz", "--output", tmp_path / "trained.npz"))
    assert status == 2 and said.count("none.npz: no such file") == 1 and "Traceback" not in said
    status, said = ended(start(2, long[0], "--output", tmp_path / "trained.npz", "--eta", "0.2"))
    assert status == 2 and said.count("--eta 0.2: ") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    ("started", "expected", "says"),
    [
        (3, 2, "--ranks 2 expects 2 MPI ranks, but 3 were started"),
        (2, 3, "--ranks 3 expects 3 MPI ranks, but 2 were started"),
        (0, 2, "this process is rank 0 of 1"),
        (2, 1, "a launcher started 2 of these processes (PMI_SIZE=2), but each expects to be alone"),
        (0, -1, "--ranks -1: expected a number of processes, 1 or more"),
    ],
)
def test_another_number_of_ranks_than_expected_is_refused(long, tmp_path, started, expected, says):
    job = start(started, long[0], "--output", tmp_path / "trained.npz", expected=expected)
    status, said = ended(job)
    assert status == 2 and says in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_ranks_of_the_wrong_mpi_are_refused_by_each_of_them(long, tmp_path):
    """Without what the launcher tells its own kind of MPI, every process is rank 0 of 1."""
    foreign = ["env", "-u", "PMI_RANK", "-u", "PMI_SIZE", "-u", "PMI_FD", "-u", "PMI_PORT", *COMMAND]
    job = start(2, long[0], "--output", tmp_path / "trained.npz", program=foreign)
    status, said = ended(job)
    assert status == 2, said
    assert "this process is rank 0 of 1" in said and "does not belong to this MPI library: 2 times rank 0 of 1" in said
    assert list(tmp_path.iterdir()) == []


NO_MODULE = "raise ModuleNotFoundError(\"No module named 'mpi4py'\", name='mpi4py')\n"


@pytest.mark.parametrize("absent", ["module", "library"])
def test_without_mpi_one_process_works_and_several_are_refused(short, tmp_path, absent):
    chunk, serial = short
    environment = {"MPI4PY_LIBMPI": str(tmp_path / "none.so")}
    reason = "cannot load MPI library"
    if absent == "module":
        (tmp_path / "mpi4py").mkdir()
        (tmp_path / "mpi4py/__init__.py").write_text(NO_MODULE)
        first = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        environment, reason = {"PYTHONPATH": first}, "No module named 'mpi4py'"
    output = tmp_path / "trained.npz"
    status, said = ended(start(0, chunk, "--output", output, **environment))
    assert status == 0, said
    assert same_but_seconds(output, serial)
    status, said = ended(start(0, chunk, "--output", output, expected=2, **environment))
    assert status == 2 and "Traceback" not in said
    assert f"--ranks 2 needs MPI, which cannot be loaded ({reason})" in said
    assert "pip install 'payneflow[mpi]'" in said and "--ranks 1" in said


def test_one_process_does_not_load_mpi(short, tmp_path):
    chunk, _ = short
    script = "import sys; from payneflow import cli; cli.main(sys.argv[1:]); print('loaded', 'mpi4py' in sys.modules)"
    status, said = ended(start(0, chunk, "--output", tmp_path / "t.npz", program=[sys.executable, "-c", script]))
    assert status == 0 and "loaded False" in said
