"""Which inputs a captured step is recorded for: those of a shape that comes again.

A recording serves inputs of one shape. Which shape most inputs will have, nobody knows beforehand: the second batch
may be the last one of a tiny epoch. Two rules find out:

- A shape is recorded when it comes again, after as many usual calls as the step needs to warm up. A batch that is
  the only one of its shape is thus never recorded.
- A recorded shape gives way to another one that has come `PATIENCE` times in a row. To record takes about as long as
  ten usual calls, so the calls that the old recording did not serve have cost more by then. A step whose
  inputs go on changing would record for ever: each change asks for twice the patience of the one before, so that all
  recordings together take no longer than the calls do.
"""

from collections import Counter
from collections.abc import Sequence

from minicnn.backend import Array
from minicnn.replay import axes_in_memory

PATIENCE = 16
"""After how many calls in a row another shape is recorded, for the first time."""

MOST_SHAPES = 256
"""How many shapes are remembered: inputs of more of them hardly come again."""

Layout = tuple
"""Shapes, dtypes and orders in memory of all inputs."""


class Recurrence:
    """The shapes that a step has got, and which of them is recorded."""

    def __init__(self) -> None:
        self._calls: Counter[Layout] = Counter()
        self._recorded: Layout | None = None
        self._other: Layout | None = None
        self._in_a_row = 0
        self._patience = PATIENCE

    def is_due(self, inputs: Sequence[Array], usual_calls: int) -> bool:
        """Note a call without a recording; return whether it is to be recorded.

        Args:
            inputs: its arrays.
            usual_calls: how many calls with such inputs have to come before.
        """
        layout = _layout_of(inputs)
        if self._calls[layout] >= usual_calls:
            self._recorded = layout
            return True
        if len(self._calls) > MOST_SHAPES:
            self._calls.clear()
        self._calls[layout] += 1
        return False

    def note_replay(self) -> None:
        """Note a call that the recording has served."""
        self._in_a_row = 0

    def gives_way(self, inputs: Sequence[Array]) -> bool:
        """Note a call that the recording is not for; return whether it is to give way to inputs like these."""
        layout = _layout_of(inputs)
        if layout == self._recorded:  # which does not serve for other reasons, such as gradients
            return False
        self._in_a_row = self._in_a_row + 1 if layout == self._other else 1
        self._other = layout
        if self._in_a_row < self._patience:
            return False
        self._patience *= 2
        return True

    def forget(self) -> None:
        """Begin anew, with the patience that has been learned."""
        self._calls.clear()
        self._recorded = self._other = None
        self._in_a_row = 0


def _layout_of(inputs: Sequence[Array]) -> Layout:
    return tuple((a.shape, a.dtype, tuple(axes_in_memory(a))) for a in inputs)
