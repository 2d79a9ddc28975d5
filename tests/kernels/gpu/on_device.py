"""Calls kernels of a GPU with NumPy arrays, so that tests written for the siblings on the CPU serve them too."""

from types import ModuleType
from typing import Any

import numpy as np


class OnDevice:
    """A module whose functions take arrays of the device, as one whose functions take NumPy's.

    Arrays are brought to the device in their order in memory, and results back in theirs; it is
    asserted that a function leaves its arguments as they were.
    """

    def __init__(self, module: ModuleType, cupy: ModuleType):
        self._module, self._cupy = module, cupy

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            given = [up(self._cupy, argument) for argument in arguments]
            named = {name: up(self._cupy, argument) for name, argument in options.items()}
            arrays = [a for a in (*given, *named.values()) if isinstance(a, self._cupy.ndarray)]
            before = [array.get().tobytes() for array in arrays]
            result = getattr(self._module, name)(*given, **named)
            assert [array.get().tobytes() for array in arrays] == before
            return down(self._cupy, result)

        return call


def up(cupy: ModuleType, value: Any) -> Any:
    """Bring an array to the device; anything else stays what it is."""
    if not isinstance(value, np.ndarray):
        return value
    if value.ndim == 0 or 0 in value.strides:
        return cupy.asarray(np.ascontiguousarray(value).reshape(value.shape))
    order = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
    in_memory = np.ascontiguousarray(value.transpose(order))
    return cupy.asarray(in_memory).transpose(*np.argsort(order))


def down(cupy: ModuleType, value: Any) -> Any:
    """Bring arrays back to the host, in their order in memory, in tuples too."""
    if isinstance(value, tuple):
        return tuple(down(cupy, part) for part in value)
    if not isinstance(value, cupy.ndarray):
        return value
    if value.ndim == 0:
        return value.get()
    order = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
    return value.transpose(*order).get().transpose(np.argsort(order))
