"""How far it is: one line that renews itself on a terminal, timestamped lines now and then in a log."""

import sys
import time
from contextlib import suppress

LINE_EVERY = 0.3  # seconds between renewals of the line on a terminal
LOG_EVERY = 30.0  # seconds between lines in a log


def say(message: str) -> None:
    """Write a timestamped line to standard error."""
    _show(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")


def _show(text: str) -> None:
    """Work goes on where nobody reads any more (Slurm's slurmstepd was killed) or the log's disk is full."""
    with suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


class Counter:
    """Counts things as they are done and shows how many, at what rate, and how long the rest will take.

    `total` things (`what` says which) are to be done, of which `done` were done before, in an earlier run.
    `detail` is text shown after the count.
    """

    def __init__(self, total: int, what: str, done: int = 0):
        self.total, self.what, self.done, self.detail = total, what, done, ""
        self._done_before = done
        self._begin = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show_done(self, done: int) -> None:
        """Now `done` are done; show it, unless the state was shown a moment ago."""
        self.done = done
        now = time.monotonic()
        if now - self._shown < (LINE_EVERY if self._terminal else LOG_EVERY):
            return
        self._shown = now
        if self._terminal:
            _show(f"\r\x1b[K{self.line()}")
        else:
            say(self.line())

    def close(self) -> None:
        """Show the last state; on a terminal it takes the place of the line."""
        if self._terminal:
            _show("\r\x1b[K")
        say(self.line())

    @property
    def rate(self) -> float:
        """Things done a second in this run; 0 where none is done yet."""
        seconds = time.monotonic() - self._begin
        return (self.done - self._done_before) / seconds if seconds else 0.0

    def line(self) -> str:
        """How many of how many, detail, rate and time left, as one line of text."""
        text = f"{self.done} of {self.total} {self.what}{self.detail}"
        rate, seconds = self.rate, time.monotonic() - self._begin
        if not rate:
            return text
        left = f", {clock((self.total - self.done) / rate)} left" if self.done < self.total else f" in {clock(seconds)}"
        return f"{text}, {rate:.3g} a second{left}"


def clock(seconds: float) -> str:
    """A duration as h:mm:ss, or m:ss below an hour."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
