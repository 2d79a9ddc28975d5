"""Pooling: hands the arrays to the compiled loops (cpu/pool.py) or to the functions of NumPy and CuPy (pool.py)."""

from .arrays import Array
from .dispatch import sibling
from .shapes import IntOrPair, Shape, Sides


def max_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    relu: bool = False,
) -> tuple[Array, Array]:
    """The largest element of each window and its tap, see `pool.max_pool2d`."""
    pool = sibling("pool", x)
    return pool.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode, relu)


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
    """Gradient of `max_pool2d` with respect to x, see `pool.max_pool2d_grad`."""
    pool = sibling("pool", grad)
    return pool.max_pool2d_grad(grad, winner, x_shape, kernel, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window, see `pool.avg_pool2d`."""
    pool = sibling("pool", x)
    return pool.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d_grad(
    grad: Array,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool2d` with respect to x, see `pool.avg_pool2d_grad`."""
    pool = sibling("pool", grad)
    return pool.avg_pool2d_grad(
        grad, x_shape, kernel, stride, padding, ceil_mode, count_include_pad
    )
