"""Tensors from nothing: constants, ranges, random numbers. PyTorch's names; float32 unless told otherwise.

`device` says where; None stands for the default device (see `minicnn.set_default_device`). Constants are
filled in where they will live; random numbers are drawn on the host, so that a seed means the same on
every device, and moved.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import random
from minicnn.autograd.axes import sizes_of
from minicnn.autograd.convert import default_dtype
from minicnn.autograd.core import Tensor
from minicnn.backend import Array, library_of, new_device, to_device, xp_of


def tensor(
    data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: Python floats become float32, integers int64; arrays keep their dtype.

    A copy of a tensor, or of a GPU's array, stays on its device where none is named.
    """
    array = Tensor(data.array if isinstance(data, Tensor) else data, dtype=dtype).array.copy()
    if device is None and (isinstance(data, Tensor) or xp_of(array) is not np):
        return Tensor(array, requires_grad)
    return _placed(array, device, requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the memory of `array`."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}")
    return Tensor(array)


def full(
    size: Any,
    fill_value: float,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape `size` filled with one value."""
    if dtype is None:
        dtype = default_dtype if isinstance(fill_value, float) else np.asarray(fill_value).dtype
    place = new_device(device)
    if library_of(place) is np:
        return Tensor(np.full(size, fill_value, dtype), requires_grad)
    one = to_device(np.full((), fill_value, dtype), place)  # full_like makes more where it lies
    return Tensor(xp_of(one).full_like(one, fill_value, shape=size), requires_grad)


def zeros(
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros. The shape is one number or several, a tuple, or `size=` a tuple."""
    return full(_size(shape, size), 0, dtype or default_dtype, device, requires_grad)


def ones(
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones; for the ways to give its shape see `zeros`."""
    return full(_size(shape, size), 1, dtype or default_dtype, device, requires_grad)


def zeros_like(other: Tensor, dtype: Any = None) -> Tensor:
    """Zeros in the shape, dtype and device of `other`."""
    return Tensor(xp_of(other.array).zeros_like(other.array, dtype=dtype))


def ones_like(other: Tensor, dtype: Any = None) -> Tensor:
    """Ones in the shape, dtype and device of `other`."""
    return Tensor(xp_of(other.array).ones_like(other.array, dtype=dtype))


def full_like(other: Tensor, fill_value: float, dtype: Any = None) -> Tensor:
    """One value in the shape, dtype and device of `other`."""
    return Tensor(xp_of(other.array).full_like(other.array, fill_value, dtype=dtype))


def eye(n: int, dtype: Any = None, device: str | None = None) -> Tensor:
    """The identity matrix of size (n, n)."""
    return _placed(np.eye(n, dtype=dtype or default_dtype), device)


def arange(
    *start_end_step: float,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced values in [start, end): int64 if all arguments are integers, else float32."""
    values = _default_float(np.arange(*start_end_step, dtype=dtype), dtype)
    return _placed(values, device, requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, device: str | None = None
) -> Tensor:
    """`steps` evenly spaced values from `start` to `end`, both included."""
    return _placed(np.linspace(start, end, steps, dtype=dtype or default_dtype), device)


def rand(
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1); for the ways to give the shape see `zeros`."""
    drawn = _draw(random.generator().random, _size(shape, size), dtype)
    return _placed(drawn, device, requires_grad)


def randn(
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal random numbers; for the ways to give the shape see `zeros`."""
    drawn = _draw(random.generator().standard_normal, _size(shape, size), dtype)
    return _placed(drawn, device, requires_grad)


def rand_like(other: Tensor) -> Tensor:
    """Uniform random numbers in [0, 1), in the shape, dtype and device of `other`."""
    return zeros_like(other).uniform_()


def randn_like(other: Tensor) -> Tensor:
    """Standard normal random numbers in the shape, dtype and device of `other`."""
    return zeros_like(other).normal_()


def normal(
    mean: float,
    std: float,
    size: Any,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal random numbers with the given mean and standard deviation."""
    drawn = random.generator().normal(mean, std, size)
    return _placed(drawn.astype(dtype or default_dtype), device, requires_grad)


def randint(low: int, high: int, size: Any, device: str | None = None) -> Tensor:
    """Random integers in [low, high), int64."""
    return _placed(random.generator().integers(low, high, size), device)


def randperm(n: int, device: str | None = None) -> Tensor:
    """The integers 0 to n - 1 in random order, int64."""
    return _placed(random.generator().permutation(n), device)


def _placed(array: Array, device: str | None, requires_grad: bool = False) -> Tensor:
    """A tensor of an array that is nobody else's, on a device."""
    return Tensor(to_device(array, new_device(device)), requires_grad)


def _draw(distribution: Callable, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Draw in float32 or float64 directly: a float64 just below 1, rounded to float32, would be 1."""
    dtype = np.dtype(dtype or default_dtype)
    drawn = distribution(shape, dtype=np.float64 if dtype == np.float64 else np.float32)
    return np.asarray(drawn).astype(dtype, copy=False)


def _size(shape: tuple, size: Any) -> tuple[int, ...]:
    """Return sizes given one by one, or as one tuple or list, or by name, as a tuple."""
    return sizes_of(shape if size is None else (*shape, size))


def _default_float(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Turn the float64 that NumPy makes on its own account into the default dtype."""
    return array.astype(default_dtype) if dtype is None and array.dtype.kind == "f" else array
