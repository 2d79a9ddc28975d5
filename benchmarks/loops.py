"""What the compiled loops of a computation take, without the Python around them.

The calls that a computation makes are noted, as for a captured step, and made again in two ways: as they are, and
with loops that do nothing in place of the compiled ones. The difference is what the loops compute.
"""

import inspect
from collections.abc import Callable

import numba

from minicnn.autograd.capturing import StepCapture
from minicnn.kernels.capture import Capture, Note
from minicnn.kernels.cpu.compiled import on_threads


class Calls:
    """Calls that were made in a computation.

    Args:
        notes: of these calls, in order.
        captures: what has noted them; the arrays lie in their memory, so that they are kept.
    """

    def __init__(self, notes: list[Note], captures: list[Capture]):
        self.notes = notes
        self.captures = captures
        self._all = Capture()
        self._all.notes = notes

    def replay(self) -> None:
        """Make the calls, as a replayed step makes them."""
        self._all.replay()

    def emptied(self) -> "Calls":
        """Return the calls with loops that do nothing with the same arguments in place of the compiled ones."""
        workers = {}
        capture = Capture()
        with capture.in_force():
            for function, args in self.notes:
                if is_loop(function):
                    parts, *arguments = args
                    kinds = numba.typeof(tuple(arguments))
                    if kinds not in workers:
                        workers[kinds] = empty_worker()
                    workers[kinds](parts, tuple(arguments))
                else:
                    capture.note(function, *args)
        return Calls(capture.notes, [*self.captures, capture])


def calls_of(computation: Callable[[], object]) -> Calls:
    """Return the calls that change memory in a computation on tensors, those of compiled loops among them.

    What a capture notes as a whole, such as the step of an optimizer, is looked into.
    """
    computation()  # once as usual: layers and optimizers get their memory in their first call
    step = StepCapture()
    with step.in_force():
        computation()
    notes, captures = [], [step]
    for function, args in step.notes:
        inside = StepCapture()
        if not is_loop(function):
            with inside.in_force():
                function(*args)
        captures.append(inside)
        notes += inside.notes or [(function, args)]
    return Calls(notes, captures)


def is_loop(function: Callable) -> bool:
    """Whether a function that a capture has noted starts a compiled loop."""
    return hasattr(inspect.unwrap(function, stop=lambda inner: hasattr(inner, "loop")), "loop")


def empty_worker() -> Callable:
    """Return a loop of its own, which is compiled for one kind of arguments only: no other has to be tried first."""

    @on_threads
    def nothing(part, parts, arguments):
        pass

    return nothing
