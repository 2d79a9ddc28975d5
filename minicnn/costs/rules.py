"""What one call of a function costs: multiply-adds, and the patches that im2col would write.

A multiply-add, one multiplication whose product is added to a sum, counts once: it is one
instruction of the processor, and what papers count (some say "FLOPs", and some of those count two). Only
functions that consist of them are counted: convolutions, dense layers and matrix products. What
costs an operation or two for each number, such as a bias, BatchNorm, ReLU or pooling, is not: its
time is that of reading and writing memory.
"""

import math
from collections.abc import Callable

from minicnn.kernels.shapes import Shape, conv2d_shape, window_of
from minicnn.nn.functional.conv import Conv2d, ConvTranspose2d
from minicnn.nn.functional.conv_pool import Conv2dMaxPool2d
from minicnn.nn.functional.linear import Linear
from minicnn.ops.function import Function
from minicnn.ops.matmul import MatMul


def multiply_adds(function: Function, output_shape: Shape) -> int:
    """Return the multiply-adds of a call, from the shapes of what it saved; 0 for functions of other kinds."""
    rule = rule_for(function, PRODUCTS)
    return rule(function, output_shape) if rule else 0


def im2col_bytes(function: Function, output_shape: Shape) -> int:
    """Return the size of the matrix that im2col writes for this convolution, see `kernels.im2col`.

    Each output position has a row, of the C R S numbers that its window covers. A 1x1 convolution of
    stride 1 multiplies the image as it is. minicnn's compiled convolutions read the image through
    a table of addresses, and write no patches: this is what they save.
    """
    rule = rule_for(function, PATCHES)
    return rule(function, output_shape) * function.saved[0].itemsize if rule else 0


def rule_for(function: Function, rules: dict[type[Function], Callable]) -> Callable | None:
    """The rule for the function's class, or the nearest of its bases."""
    return next((rules[kind] for kind in type(function).__mro__ if kind in rules), None)


def _per_output(function: Conv2d | Linear, output_shape: Shape) -> int:
    """Each output element meets one filter, of C / groups R S weights, or one row of a matrix."""
    return math.prod(output_shape) * math.prod(function.saved[1].shape[1:])


def _per_input(function: ConvTranspose2d, _: Shape) -> int:
    """Each input element meets K / groups R S weights."""
    x, weight = function.saved
    return x.size * math.prod(weight.shape[1:])


def _before_pooling(function: Conv2dMaxPool2d, _: Shape) -> int:
    """As a convolution, of which only the largest results are kept."""
    weight = function.saved[1]
    shape = conv2d_shape(function.input_shape, weight.shape, *function.settings[:3])
    return math.prod(shape) * math.prod(weight.shape[1:])


def _matrix_product(function: MatMul, output_shape: Shape) -> int:
    """Each output element is a sum over the last axis of A."""
    return math.prod(output_shape) * function.saved[0].shape[-1]


def _patches(function: Conv2d, output_shape: Shape) -> int:
    x, weight = function.saved[:2]
    stride, padding, dilation = function.settings[:3]
    window = window_of(weight.shape[2:], stride, padding, dilation)
    if window == window_of((1, 1), dilation=dilation):
        return 0
    N, C = x.shape[:2]
    return N * math.prod(output_shape[2:]) * C * math.prod(window.kernel)


def _patches_before_pooling(function: Conv2dMaxPool2d, _: Shape) -> int:
    weight, shape = function.saved[1], function.input_shape
    N, _, OH, OW = conv2d_shape(shape, weight.shape, *function.settings[:3])
    return N * OH * OW * math.prod(weight.shape[1:])


def _patches_of_output(function: ConvTranspose2d, output_shape: Shape) -> int:
    """Each input position has a row, of the K R S numbers that it adds to the output."""
    x, weight = function.saved
    return x.size // x.shape[1] * output_shape[1] * math.prod(weight.shape[2:])


PRODUCTS: dict[type[Function], Callable[..., int]] = {
    Conv2d: _per_output,
    Conv2dMaxPool2d: _before_pooling,
    ConvTranspose2d: _per_input,
    Linear: _per_output,
    MatMul: _matrix_product,
}
"""How many multiply-adds a call takes."""

PATCHES: dict[type[Function], Callable[..., int]] = {
    Conv2d: _patches,
    Conv2dMaxPool2d: _patches_before_pooling,
    ConvTranspose2d: _patches_of_output,
}
"""How many numbers the patches of a call are."""
