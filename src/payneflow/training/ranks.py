"""The pixels of a chunk over MPI ranks, and the same in one process without MPI. Nothing else here knows MPI.

Rank 0 leads: it alone reads the chunk and writes files, deals out the pixels and collects their progress. It trains,
too, and looks after the other ranks between two runs of its own. The others help: all they need comes to them in
messages, first how to make the trainer, then pixels, a few at a time and anew whenever they report some as ended,
because pixels differ in cost. No rank holds more than its share of what is left, so that all end together.

No bit of a network depends on which rank trained it, for a trainer makes none depend on the pixels beside it.

An exception on any rank ends all of them (MPI_Abort) with a message that names rank, pixels and reason. Left alone it
would be a silent wait without end: the other ranks would wait for that one in MPI_Finalize, and it for them.

Ranks that wait sleep in between, so that more ranks than cores do no harm. Training uses one thread per rank.
"""

import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from payneflow.errors import PayneflowError, RanksError
from payneflow.progress import say
from payneflow.training.lanes import PixelTask, Trainer, train_pixels
from payneflow.training.policy import PixelProgress, Policy

NAP = 0.001  # seconds between two looks for a message, of a rank that has nothing else to do
LINGER = 1.0  # seconds from the last words of a rank to the end of all: the launcher drops what it has not passed on
REPORT_EVERY = 0.5  # seconds after which a helper reports all progress, for the next checkpoint
BATCHES = 8  # as soon as 1/BATCHES of its lanes have ended it reports those; the answer is as many new pixels
OTHER_ERROR, USER_ERROR, INTERRUPTED = 1, 2, 130  # exit status, as on the command line
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # set by mpich, openmpi, srun: how many ranks

Recipe = Callable[[], tuple[Trainer, Policy]]


def run_on_ranks(expected: int, lead: Callable[["Alone | Leader"], None]) -> None:
    """Call `lead(ranks)` on rank 0 of `expected` ranks; the others help it until it returns.

    1 is this process alone: MPI is not even loaded. Raises RanksError where there is no MPI, or where this process was
    started as one of several but expects to be alone. With MPI, errors do not come back: they end all ranks.
    """
    if expected < 1:
        raise RanksError(f"--ranks {expected}: expected a number of processes, 1 or more.")
    if expected == 1:
        _refuse_to_be_one_of_many()
        lead(Alone())
    else:
        run_with_mpi(expected, lead)


def run_with_mpi(expected: int, lead: Callable[["Leader"], None]) -> None:
    """What `run_on_ranks` does for more than one rank; it works for one, too."""
    comm = _world(expected)
    rank = Leader(comm) if comm.rank == 0 else Helper(comm)
    try:
        if comm.rank:
            rank.help()
            return
        if comm.size != expected:
            raise RanksError(_wrong_number(expected, comm.size))
        lead(rank)
        rank.dismiss()
    except BaseException as error:  # SystemExit as well: whatever ends one rank must end all
        _end_all(comm, error, rank.pixels)


class Alone:
    """One process without MPI, in the words of a `Leader`."""

    size = 1

    def make(self, recipe: Recipe) -> tuple[Trainer, Policy]:
        return recipe()

    def train(self, trainer: Trainer, policy: Policy, tasks: Iterable[PixelTask]) -> Iterator[PixelTask]:
        return train_pixels(trainer, policy, tasks)


class _Messages:
    """Messages to other ranks that never wait for their receiver, and those that have come in."""

    def __init__(self, comm):
        self._comm, self._under_way = comm, []

    def send(self, rank: int, message) -> None:
        self._under_way = [request for request in self._under_way if not request.Test()]
        self._under_way.append(self._comm.isend(message, dest=rank))

    def received(self) -> Iterator[tuple[int, object]]:
        """(sender, message) of all that is there now."""
        from mpi4py import MPI

        status = MPI.Status()
        while self._comm.iprobe(source=MPI.ANY_SOURCE, status=status):
            sender = status.Get_source()
            yield sender, self._comm.recv(source=sender)

    def finish(self) -> None:
        """Wait until all that was sent has been received."""
        while not all(request.Test() for request in self._under_way):
            time.sleep(NAP)


class Leader:
    """Rank 0: deals out pixels, collects their progress, and trains its own share in between.

    `ended`: of each rank, how many pixels it has trained to their end.
    """

    def __init__(self, comm):
        self.size = comm.size
        self._messages = _Messages(comm)
        self._left: deque[PixelTask] = deque()  # not dealt out yet
        self._held: list[dict[int, PixelTask]] = [{} for _ in range(comm.size)]  # of each rank, by pixel, not ended
        self.ended = [0] * comm.size
        self._most = 0

    @property
    def pixels(self) -> list[int]:
        """The pixels that this rank itself has under way."""
        return list(self._held[0])

    def make(self, recipe: Recipe) -> tuple[Trainer, Policy]:
        """Trainer and policy as `recipe` makes them; every rank makes its own."""
        self._tell_all(recipe)
        return recipe()

    def train(self, trainer: Trainer, policy: Policy, tasks: Iterable[PixelTask]) -> Iterator[PixelTask]:
        """Train every task to its end, here or elsewhere; give back a task each time its progress changed."""
        self._left.extend(task for task in tasks if not task.progress.ended)
        self._most = trainer.n_lane + 2 * _batch(trainer)  # a few wait for a lane, so that no lane waits for a message
        for rank in range(1, self.size):
            self._deal_to(rank)
        for task in train_pixels(trainer, policy, self._own_tasks()):
            self._note(0, task)
            yield task
            yield from self._collected()
        while any(self._held):
            time.sleep(NAP)
            yield from self._collected()
        say(f"pixels that each rank trained: {', '.join(map(str, self.ended))}")

    def dismiss(self) -> None:
        """Tell the others that there is nothing more to do."""
        self._tell_all(None)
        self._messages.finish()

    def _tell_all(self, message) -> None:
        for rank in range(1, self.size):
            self._messages.send(rank, message)

    def _own_tasks(self) -> Iterator[PixelTask | None]:
        while self._left:
            yield self._take(0) if self._share(0) > 0 else None

    def _share(self, rank: int) -> int:
        """How many more pixels a rank may have: never more under way than an equal share of all that are not ended."""
        not_ended = len(self._left) + sum(map(len, self._held))
        equal = -(-not_ended // self.size)
        return min(equal - len(self._held[rank]), len(self._left))

    def _take(self, rank: int) -> PixelTask:
        task = self._left.popleft()
        self._held[rank][task.pixel] = task
        return task

    def _deal_to(self, rank: int) -> None:
        n = min(self._share(rank), self._most - len(self._held[rank]))
        if n > 0:
            self._messages.send(rank, [self._take(rank) for _ in range(n)])

    def _collected(self) -> Iterator[PixelTask]:
        """The tasks whose progress other ranks report; a rank that reports gets new ones."""
        for rank, report in self._messages.received():
            for pixel, progress in report.items():
                task = self._held[rank][pixel]
                task.progress = progress
                self._note(rank, task)
                yield task
            self._deal_to(rank)

    def _note(self, rank: int, task: PixelTask) -> None:
        if task.progress.ended:
            del self._held[rank][task.pixel]
            self.ended[rank] += 1


class Helper:
    """A rank other than 0: trains what it is sent and reports, until it is dismissed."""

    def __init__(self, comm):
        self._messages = _Messages(comm)
        self._waiting: deque[PixelTask] = deque()  # for a free lane
        self._held: set[int] = set()  # pixels, waiting or in a lane
        self._report: dict[int, PixelProgress] = {}
        self._reported = time.monotonic()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every rank; rank 0 saves, then ends all

    @property
    def pixels(self) -> list[int]:
        """The pixels that this rank has under way."""
        return sorted(self._held)

    def help(self) -> None:
        """Do what rank 0 asks for until it asks for no more."""
        recipe = self._first_message()
        if recipe is None:
            return
        trainer, policy = recipe()
        n_batch, n_ended = _batch(trainer), 0
        for task in train_pixels(trainer, policy, self._tasks()):
            self._report[task.pixel] = task.progress
            if task.progress.ended:
                self._held.remove(task.pixel)
                n_ended += 1
            if time.monotonic() - self._reported >= REPORT_EVERY:
                self._send_report(list(self._report))
                self._reported = time.monotonic()
            elif n_ended >= n_batch:
                self._send_report([pixel for pixel, progress in self._report.items() if progress.ended])
            else:
                continue
            n_ended = 0

    def _first_message(self) -> Recipe | None:
        """What rank 0 sends first, waited for; None: dismissed already."""
        while True:
            for _, message in self._messages.received():
                return message
            time.sleep(NAP)

    def _tasks(self) -> Iterator[PixelTask | None]:
        """Tasks as rank 0 sends them; None as long as there is none but some are under way. Ends when dismissed."""
        while True:
            for _, message in self._messages.received():
                if message is None:
                    return
                self._waiting.extend(message)
                self._held.update(task.pixel for task in message)
            if self._waiting:
                yield self._waiting.popleft()
            elif self._held:
                yield None
            else:
                self._send_report(list(self._report))
                time.sleep(NAP)

    def _send_report(self, pixels: list[int]) -> None:
        if pixels:
            self._messages.send(0, {pixel: self._report.pop(pixel) for pixel in pixels})


def _batch(trainer: Trainer) -> int:
    return max(1, trainer.n_lane // BATCHES)


# ----------------------------------------------------------------------------------------------- how it begins and ends


def _world(expected: int):
    """All the ranks that were started together. Raises RanksError where MPI is absent, in either way."""
    try:
        import mpi4py

        mpi4py.rc.threads = False  # messages cost less where MPI need not care for threads
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: "cannot load MPI library"
        reason = str(error).partition("\n")[0]
        raise RanksError(
            f"--ranks {expected} needs MPI, which cannot be loaded ({reason}). "
            "Install it with: pip install 'payneflow[mpi]'. Or train in one process, without MPI: --ranks 1 "
            "(in config.yaml: ranks: 1)."
        ) from error
    return MPI.COMM_WORLD


def _wrong_number(expected: int, size: int) -> str:
    if size > 1:
        return (
            f"--ranks {expected} expects {expected} MPI ranks, but {size} were started. Give the launcher and --ranks "
            f"the same number: mpiexec -n {expected} payneflow train ... --ranks {expected}."
        )
    return (
        f"--ranks {expected} expects {expected} MPI ranks, but this process is rank 0 of 1. If no launcher started it: "
        f"mpiexec -n {expected} payneflow train ... --ranks {expected}. If one did, it does not belong to this MPI "
        f"library: {expected} times rank 0 of 1, each of which would have trained every pixel. Use the mpiexec "
        "installed beside the library, or with Slurm the flavour that it understands (mpich: srun --mpi=pmi2)."
    )


def _refuse_to_be_one_of_many() -> None:
    for name in LAUNCHED:
        number = os.environ.get(name, "1")
        if number.isdecimal() and int(number) > 1:
            raise RanksError(
                f"a launcher started {number} of these processes ({name}={number}), but each expects to be alone and "
                f"would train every pixel. Say how many there are: --ranks {number}."
            )


def _end_all(comm, error: BaseException, pixels: list[int]) -> None:
    """Say what happened on this rank, then end every rank; does not return."""
    place = f"payneflow train: error on rank {comm.rank} of {comm.size}"
    if pixels:
        place += f", where pixels {', '.join(map(str, pixels))} were under way"
    if isinstance(error, KeyboardInterrupt):
        status, said = INTERRUPTED, "payneflow train: interrupted; the same command goes on from here"
    elif isinstance(error, PayneflowError):
        status, said = USER_ERROR, f"{place}: {error}"
    else:
        reason = "".join(traceback.format_exception_only(error)).strip()
        status, said = OTHER_ERROR, f"{''.join(traceback.format_exception(error))}{place}: {reason}"
    try:
        print(said, file=sys.stderr, flush=True)
        time.sleep(LINGER)
    finally:  # also where nobody reads any more
        comm.Abort(status)
