"""What a captured step is on a GPU: CUDA graphs, and between them the calls that are made anew in each step.

While a stream captures, the kernels that are launched in it are written down and not run. The graph that
results is launched as a whole: the host sends one command where it would have sent a hundred. So nothing
here notes what functions do; the driver does, and what is noted is a list of graphs, numbers and calls:

    numbers.write(); graph.launch()     forward, loss, backward and update
    schedule.step()                     whatever `as_a_whole` marks: it ends a graph, runs, and begins the next one

A graph remembers addresses. Its memory therefore comes from a pool of its own, which lives as long as the graph, and
arrays that were there before are kept. While it is captured, the host cannot read numbers, since there are none yet:
where the step reads one, capturing ends, what was captured is launched, and the step goes on as usual.
NVIDIA's matrix products cannot be captured through CuPy 14, so dense layers are computed by
kernels.gpu.linear, in the steps before and after the capture too, and the bits are the same.

The facts about CUDA are those of the CUDA C++ Programming Guide, "CUDA Graphs", and of CuPy's `Stream.begin_capture`.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from itertools import zip_longest
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from minicnn import deferred, random
from minicnn.autograd import Tensor
from minicnn.autograd.capturing import StepCapture, on_tensors
from minicnn.backend import Array, xp_of
from minicnn.kernels.capture import here
from minicnn.kernels.dispatch import own_products
from minicnn.kernels.memory import owner_of
from minicnn.optim.in_graphs import StepInGraph, is_capturable
from minicnn.optim.optimizer import Optimizer

WARM_UP = 2
"""Calls that run as usual first, at least: kernels are compiled and loaded, tables and flags get their memory."""

MOST_NUMBERS = 256
"""Numbers of the host that one graph may need: one for each layer that drops, and each rate of an optimizer."""


class CaptureFailedError(Exception):
    """A step that could not be captured; nothing of it has been computed."""


def suit(inputs: tuple[Tensor, ...]) -> bool:
    """Whether a step on these tensors can be captured in graphs: all are on the GPU in use."""
    arrays = [tensor.array for tensor in inputs]
    xp = xp_of(arrays[0]) if arrays else np
    return xp is not np and all(
        xp_of(array) is xp and array.device == xp.cuda.Device() for array in arrays
    )


@contextmanager
def kernels_for(inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """Compute inside the block, on inputs that `suit`, with the kernels that a capture uses."""
    with own_products() if here.active is None and suit(inputs) else nullcontext():
        yield


@contextmanager
def warming_up() -> Iterator[None]:
    """Run a step inside the block as it will be captured later: with the same kernels and lasting flags."""
    with own_products(), deferred.lasting():
        yield


class GraphCapture(StepCapture):
    """A step as CUDA graphs, and calls between them.

    Args:
        like: an array on the GPU.
    """

    needs_rehearsal = False  # the driver notes all that is computed

    def __init__(self, like: Array):
        super().__init__()
        self._cupy = xp_of(like)
        self._memory = self._cupy.cuda.MemoryPool()
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._parts: list[Callable[[], None]] = []  # what a replay calls
        self._made: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._kept: dict[int, Array] = {}  # from elsewhere; their addresses are in the graphs
        self._is_launched = False
        self._open: ExitStack | None = None
        self._numbers: _Numbers | None = None
        self._updates: list[StepInGraph] = []

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Capture what this thread computes on the GPU.

        Raises:
            CaptureFailedError: where CuPy or the step raises before anything has been computed; the gradients and
                the random numbers are as they were. Later, such an error is passed on, and `problem` tells it.
        """
        chance = random.generator()
        before = chance.bit_generator.state
        flags = deferred.keys()
        try:
            with deferred.lasting():
                self._begin()
                yield
                self._end()
        except BaseException as error:  # Ctrl-C too: no stream must go on capturing
            self._abandon()
            self.problem = f"{type(error).__name__}: {error}"
            if self._is_launched:
                raise
            chance.bit_generator.state = before
            for update in reversed(self._updates):
                update.undo()
            deferred.forget_all_but(flags)
            for leaf, gradient in self.gradients.values():
                if not gradient.is_sum:
                    leaf.grad = None
            if not isinstance(error, Exception):
                raise
            raise CaptureFailedError(self.problem) from error
        if deferred.keys() != flags:
            self.problem = (
                self.problem or "it checks something that it did not check in its first calls"
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Compute as usual inside the block, after all that was captured."""
        self._end()
        yield
        self._begin()

    def note(self, function: Callable, *args: Any) -> None:
        """Note what only the host can do; the driver has noted all else."""
        if on_tensors(function):
            self._parts.append(partial(function, *args))

    def note_whole(self, function: Callable, *args: Any) -> None:
        """Note a call that is made anew in each step."""
        self._parts.append(partial(function, *args))

    def refuse(self, reason: str) -> None:
        """End capturing, since the host wants to know something: let what was captured be computed."""
        self.problem = self.problem or reason
        self._end()

    def number(self, draw: Callable[[], float], dtype: type) -> Array:
        """Return memory on the GPU that holds what `draw` returns, drawn anew before each launch."""
        here.active = None  # the draw is no secret: it is repeated
        try:
            return self._numbers.add(draw, dtype)
        finally:
            here.active = self

    def includes(self, optimizer: Optimizer) -> bool:
        """Capture a step of an optimizer whose rule consists of kernels; the host only counts it in replays."""
        if any(update.optimizer is optimizer for update in self._updates):
            return False  # in a replay, both steps would be counted before the launch
        if not is_capturable(optimizer, self.gradients):
            return False
        update = StepInGraph(optimizer)
        self._updates.append(update)
        for array in update.arrays:
            self._keep(array)
        optimizer.carry_out_step()
        self._parts.append(update.count)
        return True

    def holds(self) -> bool:
        """Whether the options of optimizers, and what they work on, are those that were captured."""
        return all(update.holds() for update in self._updates)

    def step(
        self,
        compute: Callable[[], Any],
        held: list[Array],
        results: Callable[[Any], list[Array | None]],
        is_pure: bool = True,
        kind: Hashable = None,
    ) -> tuple[Any, list[Array | None]]:
        """Carry out one function of the tape, and keep the arrays that it uses and no graph has made."""
        for array in held:
            self._keep(array)
        returned = compute()
        for array in results(returned):
            owner = owner_of(array)
            if owner is not None and id(owner) not in self._kept:
                self._made[id(owner)] = owner
        return returned, []

    def _keep(self, array: Array) -> None:
        """Keep an array that comes from elsewhere: its address is in the graph."""
        owner = owner_of(array)
        if id(owner) not in self._made:
            self._kept[id(owner)] = owner

    def replay(self) -> None:
        """Launch the graphs, and make the calls between them."""
        for part in self._parts:
            part()

    def _begin(self) -> None:
        self._numbers = _Numbers(self._cupy)
        with ExitStack() as opened:
            opened.enter_context(self._cupy.cuda.using_allocator(self._memory.malloc))
            opened.enter_context(own_products())
            opened.enter_context(self._stream)
            self._stream.begin_capture()
            self._open = opened.pop_all()
        here.active = self

    def _end(self) -> None:
        """Make a graph of what was captured, and launch it; nothing if capturing has ended."""
        if self._open is None:
            return
        here.active = None
        with self._close():
            graph = self._stream.end_capture()
        numbers = self._numbers

        def launch() -> None:
            numbers.draw()
            numbers.write()
            graph.launch()

        self._is_launched = True
        numbers.write()
        graph.launch()
        self._parts.append(launch)

    def _abandon(self) -> None:
        """Leave the capture, if there is one; what CuPy says of it is known already."""
        here.active = None
        if self._open is not None:
            with self._close(), suppress(Exception):  # a broken capture has no graph
                self._stream.end_capture()

    def _close(self) -> ExitStack:
        opened, self._open = self._open, None
        return opened


class _Numbers:
    """What the host tells one graph before each launch: numbers in device memory, where kernels look for them."""

    def __init__(self, cupy: Any):
        self._array = cupy.zeros(MOST_NUMBERS, np.uint64)
        self._draws: list[tuple[Callable[[], float], type]] = []
        self._drawn: list[np.uint64] = []
        self._written: list[np.uint64] = []

    def add(self, draw: Callable[[], float], dtype: type) -> Array:
        """Draw one; return where it will be."""
        if len(self._draws) == MOST_NUMBERS:
            raise CaptureFailedError(
                f"it needs more than {MOST_NUMBERS} random numbers and options of optimizers"
            )
        place = len(self._draws)
        self._draws.append((draw, dtype))
        self._drawn.append(_bits(draw(), dtype))
        return self._array[place : place + 1].view(dtype).reshape(())

    def draw(self) -> None:
        """Draw all of them anew."""
        self._drawn = [_bits(draw(), dtype) for draw, dtype in self._draws]

    def write(self) -> None:
        """Write to the device what is new. Each is the argument of a kernel, so the host does not wait."""
        for place, (bits, old) in enumerate(zip_longest(self._drawn, self._written)):
            if bits != old:
                self._array[place : place + 1].fill(bits)
        self._written = self._drawn


def _bits(number: float, dtype: type) -> np.uint64:
    """The bits of a number of 8 bytes, as an integer."""
    return np.array([number], dtype).view(np.uint64)[0]
