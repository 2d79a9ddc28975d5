"""Processes that are stopped, and that end by themselves."""

import os
import sys
import time
from pathlib import Path

import pytest
import watched
from watched import run_watched


@pytest.fixture
def watch(tmp_path):
    """Run a program of Python's; it finds its file of life in sys.argv."""

    def run(program, seconds=30.0, patience=30.0, **options):
        life = tmp_path / "life"
        command = [sys.executable, "-c", program, str(life)]
        deadline = time.perf_counter() + seconds
        return run_watched(command, tmp_path / "log", life, deadline, patience, **options)

    return run


def test_the_status_and_the_output_of_a_process(watch, tmp_path):
    ending = watch("print('hello'); raise SystemExit(3)")
    assert (ending.status, ending.words) == (3, "ended with status 3")
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_process_that_dies(watch):
    ending = watch("import os; os.abort()")
    assert (ending.status < 0, ending.words) == (True, "ended by SIGABRT")


ONE_SIGN = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def test_a_process_without_a_sign_of_life_is_stopped(watch):
    ending = watch(ONE_SIGN, patience=0.3)
    assert ending.status is None
    assert "without a sign of life" in ending.words


def test_a_process_that_never_shows_one_is_stopped(watch, monkeypatch):
    monkeypatch.setattr(watched, "START_SECONDS", 1)
    ending = watch("import time; time.sleep(60)", patience=0.3)
    assert "without a sign of life" in ending.words


def test_a_process_that_lives_may_take_longer_than_the_patience(watch):
    seen = []
    program = """
import pathlib, sys, time
for i in range(8):
    pathlib.Path(sys.argv[1]).write_text("x" * i)
    time.sleep(0.25)
"""
    ending = watch(program, patience=1.5, on_life=lambda: seen.append(1))
    assert ending.status == 0
    assert len(seen) > 1


def test_at_the_deadline_a_process_is_stopped_with_its_children(watch, tmp_path):
    program = """
import pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""
    ending = watch(program, seconds=1.5)
    assert "when its time was over" in ending.words
    child = int((tmp_path / "life").read_text())
    end = time.perf_counter() + 10
    while is_running(child) and time.perf_counter() < end:
        time.sleep(0.1)
    assert not is_running(child)


def is_running(process):
    """Whether a process is there, and no zombie, which some other process has to take note of."""
    try:
        os.kill(process, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
