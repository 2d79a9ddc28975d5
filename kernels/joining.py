"""Notes that are carried out together: what several calls would do each, and once is enough for, is done once.

A noted function may have an attribute `together`. It makes one note of several, in their order. Between notes with the
same `together`, the others that have one may be left out of account: loops compute with arrays and know nothing of
tensors, and who hands a gradient to a tensor looks at no number. So a replay can hand over a few gradients at a time,
after the loops that it found between them. A function without the attribute, such as one of NumPy's or of the user's,
is called where it was: after all that was noted before.
"""

from collections.abc import Callable

Note = tuple[Callable, tuple]
"""A function and its arguments."""

MOST_TOGETHER = 16
"""Notes that are made one, at most: another thread of Python does not have to wait for longer than these take."""


def joined(notes: list[Note]) -> list[Note]:
    """Return notes that do the same as these, and are fewer."""
    result: list[Note] = []
    waiting: dict[Callable, list[Note]] = {}  # by what joins them
    for note in notes:
        together = getattr(note[0], "together", None)
        if together is None:
            _join(waiting, result)
            result.append(note)
        else:
            waiting.setdefault(together, []).append(note)
    _join(waiting, result)
    return result


def _join(waiting: dict[Callable, list[Note]], result: list[Note]) -> None:
    """Move the notes that wait to the result."""
    for together, notes in waiting.items():
        for first in range(0, len(notes), MOST_TOGETHER):
            result.append(together(notes[first : first + MOST_TOGETHER]))
    waiting.clear()
