"""Errors that a GPU finds, and nobody waits for.

Whether all labels are classes is quickly asked on the CPU. On a GPU the answer is a number in device
memory, and to read it the host has to wait until everything before it has been computed: it could not
prepare the next step meanwhile, which for a small network takes as long as computing it. The answer
therefore stays on the device, where `raise_later` notes it. When the host reads something anyway, such
as the loss, it waits anyway, and `raise_found` looks at all notes, before a wrong number is returned.

A step that is recorded once, and replayed without Python, makes no notes; it goes on writing to the device
memory of those that it made when it was recorded. These are kept, see `lasting`; others are dropped once
they have been looked at.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minicnn.kernels.arrays import Array, xp_of


@dataclass
class _Note:
    """What was found, what it means, and whether it is kept when somebody has looked at it."""

    found: Array
    error: Callable[..., Exception]
    lasting: bool = False


_notes: dict[Hashable, _Note] = {}
_lasting = False
"""Whether notes that are made now are kept."""


@contextmanager
def lasting() -> Iterator[None]:
    """Keep the notes that are made inside the block, and look at their memory as long as the program runs."""
    global _lasting
    outer, _lasting = _lasting, True
    try:
        yield
    finally:
        _lasting = outer


def raise_later(key: Hashable, found: Array, error: Callable[..., Exception]) -> None:
    """Note that `error(*found)` is to be raised if found[0] is not negative; the first find stays.

    Args:
        key: what says the same for calls alike, whose finds mean the same.
        found: integers on a device (n,), of the same number n in all calls alike; has not been read.
        error: makes the exception from these numbers.
    """
    note = _notes.get(key)
    if note is None:
        note = _notes[key] = _Note(found.copy(), error)
    else:
        kept = note.found
        kept[...] = xp_of(kept).where(kept[0] >= 0, kept, found)
    note.lasting |= _lasting


def raise_found() -> None:
    """Raise what was noted, if there is something; the host waits for the device."""
    for key, note in [*_notes.items()]:
        numbers = note.found.tolist()
        if not note.lasting:
            _notes.pop(key, None)
        if numbers[0] >= 0:
            note.found[...] = -1
            raise note.error(*numbers)


def keys() -> frozenset:
    """What notes there are that are kept."""
    return frozenset(key for key, note in _notes.items() if note.lasting)


def forget_all_but(known: frozenset) -> None:
    """Drop the notes that are kept and not among `known`, such as those of a capture that failed."""
    for key in keys() - known:
        del _notes[key]


def forget() -> None:
    """Drop all notes, as when the devices are gone on which they are."""
    _notes.clear()
