"""Batches on their way to a GPU while it still computes with the one before.

A copy from host memory that the operating system may move is made twice: into memory that stays where
it is (*pinned*, or page-locked, memory), which the GPU reads by itself, and from there. And what is
queued on one stream happens in order: a copy in the stream of the computation waits for all of it.
So a batch is written to pinned memory, and copied on a stream of its own, one batch ahead.

Three things have to wait for others, and none of them is the host:

- The copy waits for what was computed until now: the array it fills may lie where another one lay
  that is still being read.
- The computation waits for the copy, when the batch is handed out.
- The pinned memory is used again when the copy has been made: until then it is kept.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.nested import map_leaves
from minicnn.backend import (
    Array,
    in_memory_order,
    inverse_order,
    library_of,
    out_of_memory,
    parse_device,
    to_device,
    xp_of,
)


def sent_ahead(batches: Iterable[Any], device: str) -> Iterator[Any]:
    """Yield batches with their tensors on `device`; to a GPU, each is sent while the one before is in use.

    Args:
        batches: tensors and arrays, or tuples, lists and dicts of them; anything else stays as it is.
        device: "cpu", "cuda" or "cuda:<index>".

    Raises:
        ValueError, RuntimeError: see `minicnn.backend.to_device`.
        MemoryError: where the device has no room for a batch.
    """
    if parse_device(device)[0] == "cpu":
        for batch in batches:
            yield _mapped(batch, lambda array: to_device(array, "cpu"))
        return
    road, before = _Road(device), None
    for batch in batches:
        sent = road.send(batch)
        if before is not None:
            yield road.arrived(before)
        before = sent
    if before is not None:
        yield road.arrived(before)


class _Road:
    """A stream of copies to one GPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.cupy = library_of(device)
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.pinned: list[np.ndarray] = []  # of the batch that is being sent
        self.in_use: deque[tuple[Any, list[np.ndarray]]] = deque()  # until the event has happened

    def send(self, batch: Any) -> tuple[Any, Any]:
        """Start to copy a batch; return it, on the GPU, and the event after which it is there."""
        while self.in_use and self.in_use[0][0].done:
            self.in_use.popleft()
        self.pinned = []
        on_gpu = _mapped(batch, self._start)
        event = self.stream.record()
        self.in_use.append((event, self.pinned))
        return on_gpu, event

    def arrived(self, sent: tuple[Any, Any]) -> Any:
        """Return a batch; what is computed from now on waits for it."""
        batch, event = sent
        self.cupy.cuda.get_current_stream().wait_event(event)
        return batch

    def _start(self, array: Array) -> Array:
        """Start to copy an array, with its axes in the same order in memory."""
        if xp_of(array) is not np or array.size == 0:
            return to_device(array, self.device)
        source, order = in_memory_order(array)
        memory = self.cupy.cuda.alloc_pinned_memory(array.nbytes)
        pinned = np.frombuffer(memory, array.dtype, array.size).reshape(source.shape)
        pinned[...] = source
        try:
            target = self.cupy.empty(source.shape, array.dtype)
        except MemoryError as error:
            out_of_memory("a batch", [array], error)
        self.stream.wait_event(self.cupy.cuda.get_current_stream().record())
        target.set(pinned, stream=self.stream)
        self.pinned.append(pinned)
        return target.transpose(inverse_order(order))


def _mapped(batch: Any, function: Callable[[Array], Array]) -> Any:
    """Return a batch with `function` applied to the arrays of its tensors."""

    def on_arrays(part: Any) -> Any:
        if isinstance(part, Tensor):
            moved = function(part.array)
            return part if moved is part.array else Tensor(moved)
        is_array = isinstance(part, np.ndarray) or xp_of(part) is not np
        return function(part) if is_array else part

    return map_leaves(on_arrays, batch)
