"""Errors that a GPU finds, and nobody waits for.

Whether all labels are classes is quickly asked on the CPU. On a GPU the answer is a number in device
memory, and to read it the host has to wait until everything before it has been computed: it could not
prepare the next step meanwhile, which for a small network takes as long as computing it. The answer
therefore stays on the device, where `raise_later` notes it. When the host reads something anyway, such
as the loss, it waits anyway, and `raise_found` looks at all notes, before a wrong number is returned.

What is found is kept in the same device memory for all calls alike: a step that was recorded once, and is
replayed without Python, still writes where `raise_found` looks.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

from minicnn.kernels.arrays import Array, xp_of


class _Note(NamedTuple):
    """What was found, and what it means."""

    found: Array
    error: Callable[..., Exception]


_notes: dict[Hashable, _Note] = {}


def raise_later(key: Hashable, found: Array, error: Callable[..., Exception]) -> None:
    """Note that `error(*found)` is to be raised if found[0] is not negative; the first find stays.

    Args:
        key: what says the same for calls alike, whose finds mean the same.
        found: integers on a device (n,), of the same number n in all calls alike; has not been read.
        error: makes the exception from these numbers.
    """
    note = _notes.get(key)
    if note is None:
        _notes[key] = _Note(found.copy(), error)
        return
    kept = note.found
    kept[...] = xp_of(kept).where(kept[0] >= 0, kept, found)


def raise_found() -> None:
    """Raise what was noted, if there is something; the host waits for the device."""
    for note in _notes.values():
        numbers = note.found.tolist()
        if numbers[0] >= 0:
            note.found[...] = -1
            raise note.error(*numbers)


def forget() -> None:
    """Drop all notes, as when the devices are gone on which they are."""
    _notes.clear()
