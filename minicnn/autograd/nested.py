"""Tensors in nested tuples, lists and dicts, as functions return them."""

from collections.abc import Callable
from typing import Any

from minicnn.autograd.core import Tensor


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to everything in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        return {key: map_leaves(function, member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        members = [map_leaves(function, member) for member in value]
        return type(value)(*members) if hasattr(value, "_fields") else type(value)(members)
    return function(value)


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to all tensors in nested tuples, lists and dicts."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, value)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(note, value)
    return found


def holds_tensors_only(value: Any) -> bool:
    """Whether there is nothing in nested tuples, lists and dicts but tensors and None."""
    if isinstance(value, dict):
        return all(map(holds_tensors_only, value.values()))
    if isinstance(value, tuple | list):
        return all(map(holds_tensors_only, value))
    return value is None or isinstance(value, Tensor)
