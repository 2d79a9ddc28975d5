"""The dense layer on a GPU by the kernels of conv.cu; the contracts are in the sibling ../linear.py.

A dense layer is a convolution of images that have one pixel. NVIDIA's matrix product, which the
sibling calls through CuPy, is quicker for large matrices, and the one in use; but CuPy 14 cannot
record it as a part of a graph. Inside `dispatch.own_products()`, these functions take its place. They
compute in the dtype of the arrays, as it does.
"""

from ..arrays import Array
from . import conv


def linear(x: Array, w: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """See ../linear.py."""
    return conv.conv2d(_pixels(x), _pixels(w), bias=bias, relu=relu)[:, :, 0, 0]


def linear_grad_input(grad: Array, w: Array) -> Array:
    """See ../linear.py."""
    x_shape = grad.shape[0], w.shape[1], 1, 1
    return conv.conv2d_grad_input(_pixels(grad), _pixels(w), x_shape)[:, :, 0, 0]


def linear_grad_weight(grad: Array, x: Array) -> Array:
    """See ../linear.py."""
    w_shape = grad.shape[1], x.shape[1], 1, 1
    return conv.conv2d_grad_weight(_pixels(grad), _pixels(x), w_shape)[:, :, 0, 0]


def _pixels(rows: Array) -> Array:
    """View (rows, C) as images of one pixel, (rows, C, 1, 1)."""
    return rows[:, :, None, None]
