"""The part of the stand-in for CuPy that says when something happens: streams, events and graphs.

- A copy that is queued on a stream of its own has not happened yet. It happens when the host waits
  for that stream, or when the main stream waits for an event that was recorded after it. Until then
  the array holds NaN or the largest integers, and the copy will read what the host memory holds *then*.
- While a stream captures, nothing happens: what would be computed is written down, and arrays hold NaN or
  the largest integers. `Graph.launch` does all of it, as often as it is called. What CuPy 14 refuses
  meanwhile is refused: waiting for the device, copies from the host, matrix products of cuBLAS; and so is
  memory from the pool that everybody uses. A graph that uses an array that is gone by then does
  not launch; a card would not notice, and compute with whatever lies there.
"""

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where the driver refuses something."""

    def __init__(self, text: str = "cudaErrorInsufficientDriver: CUDA driver version is too old"):
        super().__init__(text)


class Traffic:
    """What passed between host and device: who waited for the device, and what was uploaded.

    Attributes:
        syncs: a word for each time the host waited for the device.
        uploads: a word for each copy from host memory to the device.
    """

    def __init__(self) -> None:
        self.syncs: list[str] = []
        self.uploads: list[str] = []

    def wait(self, word: str) -> None:
        """Count that the host waits for the device, which it cannot while it only writes down what is to be done."""
        Stream.current().refuse(word)
        self.syncs.append(word)

    def upload(self, word: str) -> None:
        """Count a copy to the device, which no graph can do again."""
        Stream.current().refuse(word)
        self.uploads.append(word)

    def clear(self) -> None:
        """Start counting again."""
        self.syncs.clear()
        self.uploads.clear()


class Event:
    """A mark in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess=False):
        self._stream: Stream | None = None
        self._position = 0
        self.seconds = math.nan

    def record(self, stream: "Stream | None" = None) -> None:
        self._stream = Stream.current() if stream is None else stream
        self._position = self._stream.queued
        self.seconds = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether everything before the mark has happened."""
        return self._stream is None or self._stream.finished >= self._position

    def synchronize(self) -> None:
        Stream.traffic.wait("Event.synchronize")
        self.happen()

    def happen(self) -> None:
        """Let everything before the mark happen."""
        if self._stream is not None:
            self._stream.run_until(self._position)


def get_elapsed_time(start: Event, end: Event) -> float:
    """Return the milliseconds between two events that have happened."""
    if not (start.done and end.done):
        raise CUDARuntimeError("cudaErrorNotReady: device not ready")
    return 1e3 * (end.seconds - start.seconds)


class Stream:
    """A queue of copies. The main stream's happen at once, another stream's when somebody waits for it."""

    traffic: Traffic
    null: "Stream"
    _local = threading.local()

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False):
        self.is_main = null
        self.queued = self.finished = 0
        self._waiting: list[Callable[[], None]] = []
        self._outer: list[Stream] = []
        self._captured: list[Callable[[], None]] | None = None

    @property
    def ptr(self) -> int:
        """What other libraries know the stream by; 0 for the main one."""
        return 0 if self.is_main else id(self)

    @staticmethod
    def current() -> "Stream":
        return getattr(Stream._local, "stream", Stream.null)

    def __enter__(self) -> "Stream":
        self._outer.append(Stream.current())
        Stream._local.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        Stream._local.stream = self._outer.pop()

    def use(self) -> "Stream":
        Stream._local.stream = self
        return self

    def begin_capture(self, mode: int | None = None) -> None:
        """From now on, write down what is to be done, and do nothing."""
        if self.is_main:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the default stream")
        self._captured = []

    def end_capture(self) -> "Graph":
        """Return what was written down."""
        if self._captured is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        captured, self._captured = self._captured, None
        return Graph(captured)

    def is_capturing(self) -> bool:
        return self._captured is not None

    def refuse(self, what: str, error: type[Exception] = CUDARuntimeError) -> None:
        """Raise if the stream is capturing: what cannot be a part of a graph."""
        if self._captured is not None:
            raise error(
                f"cudaErrorStreamCaptureUnsupported: {what} is not permitted when stream is capturing"
            )

    def do(self, compute: Callable[[], Any], *owners: Any) -> None:
        """Call `compute`, or write it down.

        Args:
            compute: changes memory on the device.
            owners: arrays whose memory it uses, and that nobody keeps for the graph.
        """
        if self._captured is None:
            compute()
            return
        living = [weakref.ref(owner) for owner in owners]

        def launch() -> None:
            if any(reference() is None for reference in living):
                raise CUDARuntimeError("cudaErrorIllegalAddress: a graph uses memory that is gone")
            compute()

        self._captured.append(launch)

    def queue(self, copy: Callable[[], None]) -> None:
        """Do `copy` when the stream gets to it."""
        self.queued += 1
        self._waiting.append(copy)
        if self.is_main:
            self.run_until(self.queued)

    def run_until(self, position: int) -> None:
        """Do what was queued up to `position`."""
        while self.finished < position:
            self._waiting.pop(0)()
            self.finished += 1

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let this stream go on only after the event; for the main stream, which never waits, now."""
        self.queue(event.happen)

    def synchronize(self) -> None:
        Stream.traffic.wait("Stream.synchronize")
        self.run_until(self.queued)

    @property
    def done(self) -> bool:
        return self.finished == self.queued


class Graph:
    """What a stream has captured."""

    def __init__(self, captured: list[Callable[[], None]]):
        self._captured = captured

    def launch(self, stream: Stream | None = None) -> None:
        """Do it, in the order in which it was written down."""
        stream = Stream.current() if stream is None else stream
        for launch in self._captured:
            stream.queue(launch)
