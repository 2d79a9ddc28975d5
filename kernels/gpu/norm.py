"""Batch normalisation on a GPU: two passes over memory each way, see norm.cu; contracts in ../norm.py."""

import numpy as np

from ..arrays import Array, xp_of
from ..norm import move_statistic as move_statistic  # there is nothing to gain by a kernel
from .columns import FINISH_BLOCK, MOST_PARTS, divide, finish_grid
from .launch import NO_ARRAY, contiguous, function, parameter


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    residual: Array | None = None,
    relu: bool = False,
) -> tuple[Array, Array, Array, Array]:
    """See ../norm.py."""
    xp, rows = xp_of(x), _rows(x)
    count, C = rows.shape
    statistics = xp.empty((3, C))
    if rows.size:
        division = divide(count, C, _lanes(x), MOST_PARTS)
        parts = division.grid[0]
        partial = xp.empty((parts, 2, C))
        arguments = rows, np.int64(count), np.int32(C), division.rows_per_block, partial
        function("norm", "sum_rows", x)(division.grid, division.block, arguments)
        arguments = partial, np.int32(parts), rows, np.int64(count), np.int32(C), np.float64(eps)
        finish = function("norm", "finish_statistics", x)
        finish(finish_grid(C), FINISH_BLOCK, (*arguments, statistics))
    mean, inverse_std, variance = (statistics[i] for i in range(3))
    y = _normalize(x, rows, mean, inverse_std, weight, bias, residual, relu)
    return y, mean, inverse_std, variance


def apply_statistics(
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None = None,
    relu: bool = False,
) -> Array:
    """See ../norm.py."""
    return _normalize(x, _rows(x), _exact(mean), _exact(inverse_std), weight, bias, residual, relu)


def _normalize(x, rows, mean, inverse_std, weight, bias, residual, relu) -> Array:
    """The second pass."""
    y = xp_of(x).empty(rows.shape, x.dtype)
    if rows.size:
        count, C = rows.shape
        grid, block, rows_per_block = divide(count, C, _lanes(x))
        added = NO_ARRAY if residual is None else _rows(residual)
        channels = mean, inverse_std, parameter(weight), parameter(bias)
        sizes = np.int64(count), np.int32(C), rows_per_block
        arguments = rows, added, *channels, *sizes, np.int32(relu), y
        function("norm", "normalize", x)(grid, block, arguments)
    return _images(y, x)


def batch_norm_grad(
    grad: Array,
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array | None,
    bias: Array | None,
    relu: bool = False,
    y: Array | None = None,
    of_batch: bool = True,
) -> tuple[Array, Array, Array, Array | None]:
    """See ../norm.py."""
    xp, rows, is_kept = xp_of(x), _rows(x), y is not None and relu
    count, C = rows.shape
    grad_x, grad_parameters = xp.empty(rows.shape, x.dtype), xp.zeros((2, C), x.dtype)
    grad_z = xp.empty(rows.shape, x.dtype) if is_kept else NO_ARRAY
    if rows.size:
        images = _rows(grad), rows, _rows(y) if is_kept else NO_ARRAY
        inverse_std = _exact(inverse_std)
        channels = _exact(mean), inverse_std, parameter(weight), parameter(bias)
        sizes, relu_flag = (np.int64(count), np.int32(C)), np.int32(relu)

        grid, block, rows_per_block = divide(count, C, _lanes(x), MOST_PARTS)
        partial, sums = xp.empty((grid[0], 2, C)), xp.empty((2, C))
        arguments = *images, *channels, *sizes, rows_per_block, relu_flag, grad_z, partial
        function("norm", "sum_gradients", x)(grid, block, arguments)
        arguments = partial, np.int32(grid[0]), inverse_std, np.int32(C), sums
        finish = function("norm", "finish_gradients", x)
        finish(finish_grid(C), FINISH_BLOCK, (*arguments, grad_parameters[0], grad_parameters[1]))

        grid, block, rows_per_block = divide(count, C, _lanes(x))
        totals = sums if of_batch else NO_ARRAY
        arguments = *images, *channels, totals, *sizes, rows_per_block, relu_flag, grad_x
        function("norm", "gradient_of_x", x)(grid, block, arguments)
    grad_residual = _images(grad_z, x) if is_kept else (None if relu else grad)
    return _images(grad_x, x), grad_parameters[0], grad_parameters[1], grad_residual


# --- arrays as the kernels take them --------------------------------------------------------------


def _rows(x: Array) -> Array:
    """View (N, C, ...) as contiguous rows (N * ..., C); a copy where that is not its order in memory."""
    C = x.shape[1]
    inside = contiguous(xp_of(x).moveaxis(x, 1, -1))
    return inside.reshape(x.size // C if C else 0, C)


def _images(rows: Array, like: Array) -> Array:
    """View rows as an array of the shape (N, C, ...) of `like`."""
    N, C, *size = like.shape
    return xp_of(rows).moveaxis(rows.reshape(N, *size, C), -1, 1)


def _exact(values: Array) -> Array:
    """Statistics (C,) in float64, as they usually are."""
    return contiguous(values.astype(np.float64, copy=False))


def _lanes(x: Array) -> int:
    return 16 // x.dtype.itemsize
