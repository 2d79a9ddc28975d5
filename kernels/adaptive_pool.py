"""Adaptive pooling: the size of the output is given, and the windows follow from it. For NumPy and CuPy.

Output row i covers the input rows from floor(i * H / OH) to ceil((i + 1) * H / OH), columns
likewise, so that the cells cover the whole image, overlapping by a row or a column where the sizes
do not divide. Where they do divide, the cells are the windows of an ordinary pooling; otherwise the
loops below go over the output cells.
"""

from collections.abc import Iterator

import numpy as np

from . import pooling
from .arrays import (
    Array,
    channels_first,
    channels_last,
    check_float_array,
    check_shape,
    index_dtype,
    sum_dtype,
    xp_of,
)
from .shapes import Pair, Shape, adaptive_pool2d_shape

OutputSize = int | tuple[int | None, int | None]


def adaptive_avg_pool2d(x: Array, output_size: OutputSize) -> Array:
    """The mean of each cell.

    Args:
        x: images (N, C, H, W).
        output_size: OH and OW; None keeps the size of that axis.

    Returns:
        (N, C, OH, OW)

    Raises:
        TypeError, ValueError: see `shapes.adaptive_pool2d_shape`.
    """
    check_float_array(x, "adaptive_avg_pool2d: x")
    N, C, OH, OW = adaptive_pool2d_shape(x.shape, output_size)
    kernel = _ordinary_kernel(x.shape, (OH, OW))
    if kernel is not None:
        return pooling.avg_pool2d(x, kernel)
    images = channels_last(x)  # (N, H, W, C)
    y = xp_of(x).empty((N, OH, OW, C), dtype=x.dtype)
    for i, j, rows, columns in _cells(x.shape, (OH, OW)):
        y[:, i, j] = images[:, rows, columns].mean(axis=(1, 2), dtype=sum_dtype(x.dtype))
    return channels_first(y)


def adaptive_avg_pool2d_grad(grad: Array, x_shape: Shape) -> Array:
    """Gradient with respect to x (N, C, H, W), given that with respect to the means (N, C, OH, OW)."""
    _check_grad(grad, x_shape, "adaptive_avg_pool2d_grad: grad")
    kernel = _ordinary_kernel(x_shape, grad.shape[2:])
    if kernel is not None:
        return pooling.avg_pool2d_grad(grad, x_shape, kernel)
    grad_y = channels_last(grad).astype(sum_dtype(grad.dtype), copy=False)  # (N, OH, OW, C)
    grad_x = _zero_images(grad_y, x_shape)
    for i, j, rows, columns in _cells(x_shape, grad.shape[2:]):
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        grad_x[:, rows, columns] += grad_y[:, i : i + 1, j : j + 1] / area
    return channels_first(grad_x.astype(grad.dtype, copy=False))


def adaptive_max_pool2d(x: Array, output_size: OutputSize) -> tuple[Array, Array]:
    """The largest element of each cell (the first of equals; NaN is larger than every number).

    Args:
        x: images (N, C, H, W).
        output_size: OH and OW; None keeps the size of that axis.

    Returns:
        the maxima (N, C, OH, OW), and the winners (N, C, OH, OW): the row-major position inside the
        cell.

    Raises:
        TypeError, ValueError: see `shapes.adaptive_pool2d_shape`.
    """
    check_float_array(x, "adaptive_max_pool2d: x")
    N, C, OH, OW = adaptive_pool2d_shape(x.shape, output_size)
    kernel = _ordinary_kernel(x.shape, (OH, OW))
    if kernel is not None:
        return pooling.max_pool2d(x, kernel)
    xp, images = xp_of(x), channels_last(x)  # (N, H, W, C)
    H, W = x.shape[2:]
    y = xp.empty((N, OH, OW, C), dtype=x.dtype)
    winner = xp.empty((N, OH, OW, C), dtype=index_dtype(H * W - 1))
    for i, j, rows, columns in _cells(x.shape, (OH, OW)):
        cell = images[:, rows, columns]  # (N, height, width, C)
        cell = cell.reshape(N, cell.shape[1] * cell.shape[2], C)
        y[:, i, j] = cell.max(axis=1)
        winner[:, i, j] = cell.argmax(axis=1)
    return channels_first(y), channels_first(winner)


def adaptive_max_pool2d_grad(grad: Array, winner: Array, x_shape: Shape) -> Array:
    """Gradient with respect to x (N, C, H, W), given that of the maxima and their winners (N, C, OH, OW)."""
    _check_grad(grad, x_shape, "adaptive_max_pool2d_grad: grad")
    check_shape(winner, grad.shape, "adaptive_max_pool2d_grad: winner")
    kernel = _ordinary_kernel(x_shape, grad.shape[2:])
    if kernel is not None:
        return pooling.max_pool2d_grad(grad, winner, x_shape, kernel)
    xp, grad_y, winner = xp_of(grad), channels_last(grad), channels_last(winner)
    grad_x = _zero_images(grad, x_shape)
    for i, j, rows, columns in _cells(x_shape, grad.shape[2:]):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        positions = xp.arange(height * width).reshape(height, width, 1)
        won = winner[:, i : i + 1, j : j + 1] == positions  # (N, height, width, C)
        grad_x[:, rows, columns] += xp.where(won, grad_y[:, i : i + 1, j : j + 1], 0)
    return channels_first(grad_x)


def _ordinary_kernel(x_shape: Shape, output_size: Pair) -> Pair | None:
    """The window of the ordinary pooling that does the same, or None where the sizes do not divide."""
    (H, W), (OH, OW) = x_shape[2:], output_size
    return (H // OH, W // OW) if H % OH == 0 and W % OW == 0 else None


def _cells(x_shape: Shape, output_size: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """For each output pixel (i, j): the rows and the columns of its cell."""
    (H, W), (OH, OW) = x_shape[2:], output_size
    for i, j in np.ndindex(OH, OW):
        rows = slice(i * H // OH, -(-(i + 1) * H // OH))
        columns = slice(j * W // OW, -(-(j + 1) * W // OW))
        yield i, j, rows, columns


def _check_grad(grad: Array, x_shape: Shape, name: str) -> None:
    if grad.ndim != 4 or grad.shape[:2] != x_shape[:2]:
        raise ValueError(f"{name}: expected shape {(*x_shape[:2], 'OH', 'OW')}, got {grad.shape}")


def _zero_images(like: Array, x_shape: Shape) -> Array:
    N, C, H, W = x_shape
    return xp_of(like).zeros((N, H, W, C), dtype=like.dtype)
