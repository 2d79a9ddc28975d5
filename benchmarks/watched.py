"""A process that is stopped when its time is over, or when it shows no sign of life: a kernel may never end."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.1
START_SECONDS = 90
"""A process may take so long to its first sign of life: it loads libraries."""

SECONDS_TO_DIE = 10
"""A process that waits for a driver may not even end when it is killed; it is left behind then."""


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        status: its exit status, negative for a signal; None where it was stopped.
        words: the same, to be read.
        still: seconds since its last sign of life.
    """

    status: int | None
    words: str
    still: float


def run_watched(
    command: Sequence[str],
    log: Path,
    life: Path,
    deadline: float,
    patience: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_life: Callable[[], None] = lambda: None,
) -> Ending:
    """Run a command, and stop it with all that it started.

    Args:
        command: program and arguments.
        log: what its output is added to.
        life: a file that it writes to as it gets on.
        deadline: the moment of `time.perf_counter` when it is stopped.
        patience: the seconds without a change of `life` after which it is stopped, from the first one on.
        environment: its environment variables.
        folder: where it runs.
        on_life: called after each change of `life`.
    """
    start = latest = time.perf_counter()
    first = seen = _state_of(life)
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            now, state = time.perf_counter(), _state_of(life)
            if state != seen:
                seen, latest = state, now
                on_life()
            still = now - latest
            if process.returncode is not None:
                return Ending(process.returncode, _words(process.returncode), still)
            if still > (patience if seen != first else max(patience, START_SECONDS)):
                words = f"was stopped after {still:.0f} s without a sign of life"
                return Ending(None, words, still)
            if now > deadline:
                words = f"was stopped after {now - start:.0f} s, when its time was over"
                return Ending(None, words, still)
    finally:
        _stop(process)


def _state_of(life: Path) -> tuple[int, int]:
    """Return what changes when a file is written."""
    try:
        status = life.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _words(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"ended by {signal.Signals(-status).name}"
    return f"ended by signal {-status}"


def _stop(process: subprocess.Popen) -> None:
    """Kill a process and all that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_DIE)
