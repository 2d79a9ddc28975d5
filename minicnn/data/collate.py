"""Collating: from a list of examples to one batch, with a new first axis."""

from numbers import Number
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backend import is_array, xp_of


def collate(examples: list[Any]) -> Any:
    """Join B examples of one kind into a batch.

    Args:
        examples: a non-empty list. Tensors and arrays of one shape are stacked, numbers become a
            flat tensor (Python floats float32, whole numbers int64); tuples, lists and dicts are
            joined entry by entry.

    Returns:
        A tensor (B, ...), or a tuple or dict of such.

    Raises:
        ValueError: no examples, or examples of different types, dtypes, shapes, lengths or keys.
        TypeError: examples that are none of these.
    """
    if not examples:
        raise ValueError("collate: expected at least one example, got none")
    first = examples[0]
    if isinstance(first, Number) and not isinstance(first, np.generic):
        return Tensor(examples)
    _check_alike("types", [type(example).__name__ for example in examples])
    if isinstance(first, tuple | list):
        _check_alike("lengths", [len(example) for example in examples])
        return tuple(collate(list(column)) for column in zip(*examples, strict=True))
    if isinstance(first, dict):
        _check_alike("keys", [sorted(example) for example in examples])
        return {key: collate([example[key] for example in examples]) for key in first}
    if isinstance(first, Tensor):
        return _stack([Tensor(example).array for example in examples])
    if is_array(first) or isinstance(first, np.generic):
        return _stack(examples)
    raise TypeError(
        f"collate: expected numbers, arrays, tensors, or tuples, lists and dicts of these, "
        f"got {type(first).__name__}; give the DataLoader a collate_fn that can join these"
    )


def _stack(arrays: list[Any]) -> Tensor:
    """Stack arrays of one shape and dtype along a new first axis."""
    _check_alike("shapes", [array.shape for array in arrays])
    _check_alike("dtypes", [str(array.dtype) for array in arrays])
    return Tensor(xp_of(arrays[0]).stack(arrays))  # (B, ...)


def _check_alike(what: str, found: list[Any]) -> None:
    """Refuse examples that differ in `what`, naming the first that does."""
    for index, value in enumerate(found):
        if value != found[0]:
            raise ValueError(
                f"collate: expected examples with equal {what}, got {found[0]} in example 0 "
                f"of the batch and {value} in example {index}"
            )
