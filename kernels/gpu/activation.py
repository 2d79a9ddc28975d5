"""Activations on a GPU in one pass over memory, see activation.cu; the contracts are in ../activation.py."""

import numpy as np

from ..arrays import Array, xp_of
from .launch import NO_ARRAY, THREADS, blocks_for, function
from .table import fitting


def _map(kernel: str, *inputs: Array, settings: tuple[float, ...] = ()) -> Array:
    """Launch a kernel for arrays of one shape; return a new array in the memory order of the last."""
    y = xp_of(inputs[-1]).empty_like(inputs[-1])
    if y.size:
        first, second = (*(fitting(x, y) for x in inputs), NO_ARRAY)[:2]
        blocks = blocks_for(-(-y.size * y.dtype.itemsize // 16))
        numbers = map(y.dtype.type, settings)
        arguments = first, second, np.int64(y.size), y, *numbers
        function("activation", kernel, y)(blocks, (THREADS,), arguments)
    return y


def relu(x: Array) -> Array:
    """See ../activation.py."""
    return _map("relu_forward", x)


def relu_grad(grad: Array, y: Array) -> Array:
    """See ../activation.py."""
    return _map("relu_backward", grad, y)


def hardtanh(x: Array, low: float, high: float) -> Array:
    """See ../activation.py."""
    return _map("hardtanh_forward", x, settings=(low, high))


def hardtanh_grad(grad: Array, y: Array, low: float, high: float) -> Array:
    """See ../activation.py."""
    return _map("hardtanh_backward", grad, y, settings=(low, high))


def sigmoid(x: Array) -> Array:
    """See ../activation.py."""
    return _map("sigmoid_forward", x)


def sigmoid_grad(grad: Array, y: Array) -> Array:
    """See ../activation.py."""
    return _map("sigmoid_backward", grad, y)


def tanh(x: Array) -> Array:
    """See ../activation.py."""
    return _map("tanh_forward", x)


def tanh_grad(grad: Array, y: Array) -> Array:
    """See ../activation.py."""
    return _map("tanh_backward", grad, y)


def silu(x: Array) -> Array:
    """See ../activation.py."""
    return _map("silu_forward", x)


def silu_grad(grad: Array, x: Array) -> Array:
    """See ../activation.py."""
    return _map("silu_backward", grad, x)
