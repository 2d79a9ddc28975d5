"""What to do about weights that do not fit: the cases that nearly everybody meets."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any


def advice(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return a sentence of advice to end an error message with, or nothing.

    Args:
        own: the network's names and tensors.
        given: names and arrays of the file.
    """
    first = next(iter(given), "")
    for beginning in _beginnings(first):
        if all(name.startswith(beginning) for name in given) and all(
            name.removeprefix(beginning) in own for name in given
        ):
            return f"\nall names in the file begin with {beginning!r}: pass prefix={beginning!r}"
    differing = {
        name.rpartition(".")[0] + "."
        for name in given
        if name in own and tuple(given[name].shape) != tuple(own[name].shape)
    }
    first = next(iter(own), "")
    if first.rpartition(".")[0] + "." in differing and len(own[first].shape) == 4:  # a convolution
        return "\nis it trained for images with another number of channels? see in_channels= of the network"
    if 0 < len(differing) <= 2:  # the head, and the auxiliary head of some networks
        skip = ", ".join(map(repr, sorted(differing)))
        return (
            f"\nis it trained for another number of classes? skip=({skip},) keeps the network's own "
            "weights there"
        )
    return ""


def in_a_row(names: Iterable[str], most: int = 3) -> str:
    """Write the first few names with commas between them: 'a', 'b', 'c', ..."""
    first = [repr(name) for name in islice(names, most + 1)]
    return ", ".join([*first[:most], *["..."] * (len(first) > most)]) or "no names"


def _beginnings(name: str) -> list[str]:
    """The dotted beginnings of a name: a.b.weight has "a." and "a.b."."""
    parts = name.split(".")
    return [".".join(parts[:count]) + "." for count in range(1, len(parts))]
