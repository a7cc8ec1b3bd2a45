"""The progress line, with a clock in the test's hand."""

import subprocess
import sys

import pytest

from payneflow import progress


@pytest.fixture
def clock(monkeypatch):
    """now[0] is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_count_only_what_was_done_in_this_run(clock):
    counter = progress.Counter(1000, "pixels done", done=400)
    assert counter.line() == "400 of 1000 pixels done", "nothing is known of the rate yet"
    clock[0] += 50.0
    counter.done = 500
    counter.detail = ", 321 converged"
    assert counter.line() == "500 of 1000 pixels done, 321 converged, 2 a second, 4:10 left"
    clock[0] += 4000.0
    counter.done = 1000
    assert counter.line() == "1000 of 1000 pixels done, 321 converged, 0.148 a second in 1:07:30"


def test_a_log_gets_a_line_only_now_and_then(clock, capsys):
    counter = progress.Counter(100, "spectra fitted")
    for done in range(1, 101):
        clock[0] += 1.0
        counter.show_done(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("30 of 100 spectra fitted, 1 a second, 1:10 left")
    counter.close()
    assert capsys.readouterr().err.endswith("100 of 100 spectra fitted, 1 a second in 1:40\n")


def test_work_goes_on_where_nobody_reads_its_progress_any_more():
    talk = "[say('x') or time.sleep(0.01) for _ in range(50)]"
    script = f"import time; from payneflow.progress import say; {talk}; print('done')"
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    job.stderr.readline()
    job.stderr.close()
    said, _ = job.stdout.read(), job.wait()
    job.stdout.close()
    assert said == "done\n"
