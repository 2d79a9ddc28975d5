"""Timing on the CPU and on a GPU: two clocks with one face.

A call that computes on a GPU returns before the GPU has computed; a host's clock would measure how
quickly Python fills the queue. So a GPU's clock puts events into the queue itself, and reads, when all
is done, when the GPU passed them. CuPy and PyTorch compute on the same default stream, and one clock
serves both. If Python is slower than the GPU, the GPU waits between two events, and that counts: it is
what a training step takes.

Everything is called a few times before it is timed, so that compiling, loading and the first grab
for memory stay out; `first_call` times just these.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from timing import Pace

from minicnn import cuda

WARM_UP = 3
"""Runs that are not timed: the first compiles, the second may record, the third is like all others."""

BURST = 16
"""Runs that are queued before the host waits for them: more of them would only fill the queue."""

WHOLE = "whole"
"""The name of the time from the first mark to the last."""

Phases = Sequence[tuple[str, Callable[[], object]]]


class HostClock:
    """The clock of the CPU, where a call returns when it is done."""

    def mark(self) -> float:
        """Note the moment."""
        return time.perf_counter()

    def wait(self) -> None:
        """Wait until all that was called is done."""

    def seconds(self, first: float, second: float) -> float:
        """Return the seconds between two marks."""
        return second - first


class DeviceClock:
    """The clock of the GPU in use: marks are events in its queue; see `HostClock`."""

    def __init__(self) -> None:
        import cupy

        self._cuda = cupy.cuda

    def mark(self) -> Any:
        event = self._cuda.Event()
        event.record()
        return event

    def wait(self) -> None:
        cuda.synchronize()

    def seconds(self, first: Any, second: Any) -> float:
        return self._cuda.get_elapsed_time(first, second) / 1e3


Clock = HostClock | DeviceClock


def clock_of(device: str) -> Clock:
    """Return the clock of "cpu" or "cuda"."""
    return HostClock() if device == "cpu" else DeviceClock()


def first_call(clock: Clock, call: Callable[[], object]) -> float:
    """Return the seconds that a host sees from calling to done, for instance of a call that compiles."""
    clock.wait()
    start = time.perf_counter()
    call()
    clock.wait()
    return time.perf_counter() - start


def time_phases(clock: Clock, phases: Phases, pace: Pace) -> dict[str, float]:
    """Time calls that follow each other, again and again.

    Args:
        clock: of the device that they compute on.
        phases: names and calls, such as forward, backward, update.
        pace: at least `least_calls` runs, and for `block_seconds`; rounds are not heeded.

    Returns:
        median milliseconds by name, and those of all together as "whole"
    """
    for _ in range(WARM_UP):
        marks_of(clock, phases)
    clock.wait()
    runs: list[list] = []
    start = time.perf_counter()
    while len(runs) < pace.least_calls or time.perf_counter() - start < pace.block_seconds:
        runs.append(marks_of(clock, phases))
        if len(runs) % BURST == 0:
            clock.wait()
    clock.wait()
    samples = {
        name: [clock.seconds(run[i], run[i + 1]) for run in runs]
        for i, (name, _) in enumerate(phases)
    }
    samples[WHOLE] = [clock.seconds(run[0], run[-1]) for run in runs]
    return {name: 1e3 * float(np.median(seconds)) for name, seconds in samples.items()}


def marks_of(clock: Clock, phases: Phases) -> list:
    """Carry out all phases once; return the marks before, between and after them."""
    marks = [clock.mark()]
    for _, call in phases:
        call()
        marks.append(clock.mark())
    return marks


def milliseconds(clock: Clock, call: Callable[[], object], pace: Pace) -> float:
    """Return the median milliseconds of one call."""
    return time_phases(clock, [("call", call)], pace)["call"]


def host_milliseconds(clock: Clock, call: Callable[[], object]) -> float:
    """Return the median milliseconds after which a call returns, whether or not the device is done by then.

    So few calls fit into the queue of a GPU that none has to wait for room in it.
    """
    clock.wait()
    seconds = []
    for _ in range(BURST):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    clock.wait()
    return 1e3 * float(np.median(seconds))
