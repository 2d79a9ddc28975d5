"""Depthwise convolution on a GPU, see depthwise.cu: one filter for each channel.

Names, arguments and results are those of the sibling in compiled loops, `cpu/depthwise.py`.
"""

from typing import Any

import numpy as np

from ..arrays import Array, channels_first, channels_last, xp_of
from ..shapes import IntOrPair, Padding, Shape, conv2d_shape, is_depthwise, window_of
from .columns import FINISH_BLOCK, MOST_PARTS, divide, finish_grid
from .launch import THREADS, blocks_for, contiguous, function, parameter
from .windows import pieces_of, windows_of

PIXELS, ROWS_AT_ONCE, TAPS_AT_ONCE = 4, 3, 3
"""As in depthwise.cu."""


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: Array | None = None,
    relu: bool = False,
    scale: Array | None = None,
) -> Array:
    """Depthwise convolution of float32 or float64 arrays, see `cpu.depthwise.conv2d`.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)

    Raises:
        ValueError: for a convolution that is not depthwise; otherwise as `reference.conv2d`.
    """
    N, C, OH, OW = _output_shape(x.shape, w.shape, stride, padding, dilation, groups)
    y = xp_of(x).empty((N, OH, OW, C), x.dtype)
    if y.size:
        window, pieces = window_of(w.shape[2:], stride, padding, dilation), pieces_of(y, PIXELS)
        windows = windows_of(x.shape, (OH, OW), window, pieces)
        factors = parameter(bias), parameter(scale)
        arguments = contiguous(channels_last(x)), _weight_rows(w), *factors, windows
        compute = function("depthwise", "depthwise", x)
        arguments = *arguments, np.int32(relu), pieces.number, y
        compute(blocks_for(pieces.number), (THREADS,), arguments)
    return channels_first(y)


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to x, see `reference.conv2d_grad_input`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    *_, OH, OW = _output_shape(x_shape, w.shape, stride, padding, dilation, groups)
    N, C, H, W = x_shape
    grad_x = xp_of(grad).empty((N, H, W, C), grad.dtype)
    if grad_x.size:
        window, pieces = window_of(w.shape[2:], stride, padding, dilation), pieces_of(grad_x)
        windows = windows_of(tuple(x_shape), (OH, OW), window, pieces)
        arguments = contiguous(channels_last(grad)), _weight_rows(w), windows, pieces.number, grad_x
        compute = function("depthwise", "depthwise_grad_input", grad)
        compute(blocks_for(pieces.number), (THREADS,), arguments)
    return channels_first(grad_x)


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (C, 1, R, S), a view of memory in the order (R, S, 1, C)
    """
    N, C, OH, OW = _output_shape(x.shape, w_shape, stride, padding, dilation, groups)
    R, S = w_shape[2:]
    xp, pixels = xp_of(x), N * OH * OW
    grad_w = xp.zeros((R, S, 1, C), x.dtype)
    if pixels and C:
        window, images = window_of((R, S), stride, padding, dilation), contiguous(channels_last(x))
        grads = contiguous(channels_last(grad))  # (N, OH, OW, C)
        windows = windows_of(x.shape, (OH, OW), window, pieces_of(grads))
        division = divide(pixels, C, 16 // x.dtype.itemsize, MOST_PARTS)
        parts, tiles = division.grid
        partial = xp.empty((parts, R * S, C))
        arguments = grads, images, windows, np.int64(pixels), division.rows_per_block, partial
        pieces = -(-R // ROWS_AT_ONCE) * -(-S // TAPS_AT_ONCE)
        compute = function("depthwise", "sum_products", x)
        compute((parts * pieces, tiles), division.block, arguments)
        finish = function("depthwise", "finish_sums", x)
        arguments = partial, np.int32(parts), np.int64(R * S * C), grad_w
        finish(finish_grid(R * S * C), FINISH_BLOCK, arguments)
    return grad_w.transpose(3, 2, 0, 1)


def _output_shape(x_shape: Shape, w_shape: Shape, *settings: Any) -> Shape:
    """The shape (N, C, OH, OW) of the result, after checks."""
    y_shape = conv2d_shape(x_shape, w_shape, *settings)
    if not is_depthwise(x_shape, w_shape, settings[-1]):
        raise ValueError(
            "depthwise: groups: expected as many groups as input and output channels, got groups="
            f"{settings[-1]}, x {tuple(x_shape)}, w {tuple(w_shape)}; use the convolution of `conv`"
        )
    return y_shape


def _weight_rows(w: Array) -> Array:
    """Weights (C, 1, R, S) as rows of channels (R, S, 1, C), one for each tap: their order in memory, usually."""
    return contiguous(w.transpose(2, 3, 1, 0))
