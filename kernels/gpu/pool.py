"""Max and average pooling on a GPU: one kernel each way, see pool.cu.

Names, arguments and results are those of the sibling for NumPy and CuPy, `kernels/pool.py`.
"""

import numpy as np

from ..arrays import (
    Array,
    channels_first,
    channels_last,
    check_float_array,
    check_shape,
    index_dtype,
    xp_of,
)
from ..pool import PoolLayout, pool_layout
from ..shapes import IntOrPair, Shape, Sides
from .launch import THREADS, blocks_for, contiguous, function
from .windows import Pieces, pieces_of, windows_of

WINNERS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}
"""The types of winners, by their bytes."""


def max_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    relu: bool = False,
) -> tuple[Array, Array]:
    """The largest element of each window, see `pool.max_pool2d`.

    Returns:
        the maxima and the winners (N, C, OH, OW), views of memory in the order (N, OH, OW, C)
    """
    check_float_array(x, "max_pool2d: x")
    layout = pool_layout(x.shape, kernel, stride, padding, dilation, ceil_mode)
    xp, shape = xp_of(x), _shape_in_memory(x.shape, layout.output_size)
    y = xp.empty(shape, x.dtype)
    winner = xp.empty(shape, index_dtype(layout.number_of_taps - 1 + relu))
    if y.size:
        images, pieces = contiguous(channels_last(x)), pieces_of(y)
        compute = function("pool", "max_pool", x, WINNER=WINNERS[winner.dtype.itemsize])
        windows = _windows(x.shape, layout, pieces)
        arguments = images, windows, np.int32(relu), pieces.number, y, winner
        compute(blocks_for(pieces.number), (THREADS,), arguments)
    return channels_first(y), channels_first(winner)


def max_pool2d_grad(
    grad: Array,
    winner: Array,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient with respect to x, see `pool.max_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    layout = pool_layout(x_shape, kernel, stride, padding, dilation, ceil_mode)
    check_shape(grad, (*x_shape[:2], *layout.output_size), "max_pool2d_grad: grad")
    check_shape(winner, grad.shape, "max_pool2d_grad: winner")
    grad_x = xp_of(grad).empty(_shape_in_memory(x_shape, x_shape[2:]), grad.dtype)
    if grad_x.size:
        grad_y, winner = contiguous(channels_last(grad)), contiguous(channels_last(winner))
        pieces = pieces_of(grad_x)
        compute = function("pool", "max_pool_grad", grad, WINNER=WINNERS[winner.dtype.itemsize])
        windows = _windows(x_shape, layout, pieces)
        arguments = grad_y, winner, windows, pieces.number, grad_x
        compute(blocks_for(pieces.number), (THREADS,), arguments)
    return channels_first(grad_x)


def avg_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window, see `pool.avg_pool2d`.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)
    """
    check_float_array(x, "avg_pool2d: x")
    layout = pool_layout(x.shape, kernel, stride, padding, 1, ceil_mode)
    y = xp_of(x).empty(_shape_in_memory(x.shape, layout.output_size), x.dtype)
    _average("avg_pool", x, layout, x.shape, count_include_pad, y)
    return channels_first(y)


def avg_pool2d_grad(
    grad: Array,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient with respect to x, see `pool.avg_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    layout = pool_layout(x_shape, kernel, stride, padding, 1, ceil_mode)
    check_shape(grad, (*x_shape[:2], *layout.output_size), "avg_pool2d_grad: grad")
    grad_x = xp_of(grad).empty(_shape_in_memory(x_shape, x_shape[2:]), grad.dtype)
    _average("avg_pool_grad", grad, layout, x_shape, count_include_pad, grad_x)
    return channels_first(grad_x)


def _average(
    name: str, given: Array, layout: PoolLayout, x_shape: Shape, count_padding: bool, result: Array
) -> None:
    """Run a kernel of average pooling, which makes `result` (N, ., ., C)."""
    if not result.size:
        return
    compute = function("pool", name, given, WINNER=WINNERS[1])
    pieces, images = pieces_of(result), contiguous(channels_last(given))
    windows = _windows(x_shape, layout, pieces)
    arguments = images, windows, np.int32(count_padding), pieces.number, result
    compute(blocks_for(pieces.number), (THREADS,), arguments)


def _windows(x_shape: Shape, layout: PoolLayout, pieces: Pieces) -> np.ndarray:
    return windows_of(x_shape, layout.output_size, layout.window, pieces)


def _shape_in_memory(x_shape: Shape, size: tuple[int, int]) -> Shape:
    N, C = x_shape[:2]
    return N, *size, C
