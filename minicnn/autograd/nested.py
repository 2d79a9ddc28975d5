"""Tensors in nested tuples, lists and dicts, as functions return them."""

from collections.abc import Callable
from typing import Any

from minicnn.autograd.core import Tensor


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to all tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: mapped(function, member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        members = [mapped(function, member) for member in value]
        return type(value)(*members) if hasattr(value, "_fields") else type(value)(members)
    return value


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
