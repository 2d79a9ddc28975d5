"""Array libraries and memory order: what every kernel needs to know about the arrays it is given.

An image batch has the logical order (N, C, H, W). In memory the kernels keep channels innermost,
(N, H, W, C): the numbers that are used together then lie together, whatever the size of the window.
`channels_last` and `channels_first` change the point of view, and copy nothing.
"""

import functools
import operator
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""


def xp_of(array: Array) -> ModuleType:
    """Return the library of `array`: `cupy` for a GPU array, `numpy` for everything else."""
    if isinstance(array, np.ndarray):
        return np
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def channels_last(x: Array) -> Array:
    """View images (N, C, H, W) as (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1)


def channels_first(x: Array) -> Array:
    """View images (N, H, W, C) as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def in_memory_order(array: Array) -> tuple[Array, list[int]]:
    """View `array` with its axes as they lie in memory, the outermost first; return that order too."""
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    return array.transpose(order), order


def inverse_order(order: list[int]) -> list[int]:
    """Return the order of axes that undoes `order`."""
    return sorted(range(len(order)), key=order.__getitem__)


def keeping_order(function: Callable[..., Array], *arrays: Array) -> Array:
    """Return function(*arrays), computed element by element, in the memory order of the first array.

    Arrays may broadcast, if they have the same number of axes.

    NumPy keeps it by itself. CuPy's results are in row-major order, whatever that of the operands is: an
    image with channels innermost would come out with its columns innermost, and the next kernel would
    have to copy it. So CuPy gets to see the axes as they lie in memory.
    """
    first = arrays[0]
    if xp_of(first) is np or first.flags.c_contiguous or len({a.ndim for a in arrays}) > 1:
        return function(*arrays)
    seen, order = in_memory_order(first)
    result = function(seen, *(array.transpose(order) for array in arrays[1:]))
    return result.transpose(inverse_order(order))


@functools.cache
def index_dtype(highest: int) -> np.dtype:
    """The smallest unsigned integers that hold all numbers from 0 to `highest`."""
    return np.min_scalar_type(highest)


def keep_where(mask: Array, values: Array) -> Array:
    """Return float `values` where `mask` is true, and 0 elsewhere.

    The bits are multiplied, as integers: a product of floats would make NaN of infinity times 0, and
    NumPy's `where` takes several times as long, because the processor cannot foresee which way each
    element goes.
    """
    bits = f"i{values.dtype.itemsize}"
    return keeping_order(operator.mul, values.view(bits), mask).view(values.dtype)


def first_true(mask: Array) -> Array:
    """The place of the first True, counted in row-major order, or -1: a 0-d int64 array on the mask's device."""
    xp = xp_of(mask)
    if mask.size == 0:
        return xp.full((), -1, np.int64)
    return xp.asarray(xp.where(mask.any(), mask.argmax(), -1))


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype to add up numbers of `dtype` in: its own, but float32 for float16, which ends at 65,504."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def check_float_array(array: Array, name: str) -> None:
    """Refuse what is no array of floating-point numbers.

    Raises:
        TypeError: with the name of the argument and what it is.
    """
    if not isinstance(array, np.ndarray) and xp_of(array) is np:
        raise TypeError(f"{name}: expected a NumPy or CuPy array, got {type(array).__name__}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name}: expected float16, float32 or float64, got {array.dtype}; "
            f"convert with {name.split(': ')[-1]}.astype(np.float32)"
        )


def check_shape(array: Array, shape: tuple[int, ...], name: str) -> None:
    """Refuse an array of another shape.

    Raises:
        ValueError: with both shapes.
    """
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
