"""Biases on a GPU, their gradients in one pass over memory, see bias.cu; the contracts are in ../bias.py."""

from typing import Any

import numpy as np

from .. import bias as sibling
from ..arrays import Array, xp_of
from .columns import FINISH_BLOCK, MOST_PARTS, divide, finish_grid
from .launch import NO_ARRAY, contiguous, function


def add_bias(rows: Array, bias: Array | None, relu: bool = False) -> None:
    """See ../bias.py: CuPy's functions, each of which is one kernel."""
    sibling.add_bias(rows, bias, relu)


def bias_grad(grad: Array) -> Array:
    """See ../bias.py; summed in float64."""
    return _sum_rows(contiguous(grad), NO_ARRAY, NO_ARRAY)


def bias_relu_grad(grad: Array, y: Array) -> tuple[Array, Array]:
    """See ../bias.py; summed in float64."""
    grad_z = xp_of(y).empty(y.shape, y.dtype)
    given = grad.astype(y.dtype, copy=False)
    return grad_z, _sum_rows(contiguous(given), contiguous(y), grad_z)


def _sum_rows(grad: Array, y: Any, grad_z: Any) -> Array:
    (rows, K), xp = grad.shape, xp_of(grad)
    sums = xp.zeros(K, grad.dtype)
    if grad.size:
        grid, block, rows_per_block = divide(rows, K, 16 // grad.dtype.itemsize, MOST_PARTS)
        partial = xp.empty((grid[0], K))
        sizes = np.int64(rows), np.int32(K), rows_per_block
        function("bias", "sum_rows", grad)(grid, block, (grad, y, *sizes, grad_z, partial))
        finish = function("bias", "finish_sums", grad)
        finish(finish_grid(K), FINISH_BLOCK, (partial, np.int32(grid[0]), np.int64(K), sums))
    return sums
