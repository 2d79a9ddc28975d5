"""Kernels: the arithmetic of a convolutional network, on arrays. Imports nothing of the framework around it.

A convolution can be computed in several ways, which give the same numbers up to rounding:

    "naive"   the loops of the definition (reference.py): the specification, for tiny inputs
    "im2col"  patches and a matrix product (im2col.py): NumPy on the CPU, CuPy on a GPU
    "direct"  compiled loops (cpu/conv.py): Numba on the CPU
    "auto"    the quicker of the last two, see `choose_algorithm`

This file checks the arguments and hands them to the implementation that was asked for.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np

from .adaptive_pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad,
    adaptive_max_pool2d,
    adaptive_max_pool2d_grad,
)
from .arrays import Array, check_float_array, check_shape, xp_of
from .pool import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad
from .shapes import IntOrPair, Padding, Shape, conv2d_shape

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_grad",
    "avg_pool2d",
    "avg_pool2d_grad",
    "choose_algorithm",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "max_pool2d",
    "max_pool2d_grad",
]

ALGORITHMS = {"naive": ".reference", "im2col": ".im2col", "direct": ".cpu.conv"}
PATCHES_LIMIT = 256 * 2**20
"""Bytes of patches above which "auto" computes without them."""

DIRECT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Convolution (cross-correlation, as in all deep-learning libraries), see `reference.conv2d`.

    Args:
        x: images (N, C, H, W), float, in any memory order.
        w: weights (K, C / groups, R, S), of the same dtype.
        stride: steps of the window, an integer or (vertical, horizontal).
        padding: an integer, a pair, ((top, bottom), (left, right)), "same" or "valid".
        dilation: distance between the taps of the window.
        groups: number of parts that the channels are split into.
        algorithm: "auto", "im2col", "direct" or "naive".

    Returns:
        (N, K, OH, OW), of the same dtype, never sharing memory with the arguments

    Raises:
        TypeError: for arrays that are not of one float dtype.
        ValueError: for shapes, settings and algorithms that do not go together.
    """
    _check_arrays("conv2d", x=x, w=w)
    y_shape = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    compute = _implementation(algorithm, "conv2d", x, y_shape, w.shape, groups)
    return compute(x, w, stride, padding, dilation, groups)


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Gradient of `conv2d` with respect to x (N, C, H, W), see `reference.conv2d_grad_input`.

    `grad` (N, K, OH, OW) is the gradient with respect to the output. The other arguments and errors
    are those of `conv2d`.
    """
    _check_arrays("conv2d_grad_input", grad=grad, w=w)
    y_shape = conv2d_shape(x_shape, w.shape, stride, padding, dilation, groups)
    check_shape(grad, y_shape, "conv2d_grad_input: grad")
    compute = _implementation(algorithm, "conv2d_grad_input", grad, y_shape, w.shape, groups)
    return compute(grad, w, x_shape, stride, padding, dilation, groups)


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Gradient of `conv2d` with respect to w (K, C / groups, R, S), see `reference.conv2d_grad_weight`.

    `grad` (N, K, OH, OW) is the gradient with respect to the output. The other arguments and errors
    are those of `conv2d`.
    """
    _check_arrays("conv2d_grad_weight", grad=grad, x=x)
    y_shape = conv2d_shape(x.shape, w_shape, stride, padding, dilation, groups)
    check_shape(grad, y_shape, "conv2d_grad_weight: grad")
    compute = _implementation(algorithm, "conv2d_grad_weight", grad, y_shape, w_shape, groups)
    return compute(grad, x, w_shape, stride, padding, dilation, groups)


def choose_algorithm(array: Array, y_shape: Shape, w_shape: Shape, groups: int = 1) -> str:
    """Return "im2col" or "direct" for a convolution of `array`'s dtype and device.

    On a CPU the two take about the same time on the layers of small networks; im2col needs nothing
    compiled, but memory: each of the N*OH*OW output pixels has a patch of R*S*C numbers. Where that
    is more than `PATCHES_LIMIT`, "direct" is taken, which has no such matrix. On a GPU there is
    im2col only.
    """
    N, _, OH, OW = y_shape
    _, C_per_group, R, S = w_shape
    patches = N * OH * OW * R * S * C_per_group * groups * array.dtype.itemsize
    can_be_direct = xp_of(array) is np and array.dtype in DIRECT_DTYPES
    return "direct" if can_be_direct and patches > PATCHES_LIMIT else "im2col"


def _implementation(
    algorithm: str, function: str, array: Array, y_shape: Shape, w_shape: Shape, groups: int
) -> Callable[..., Array]:
    """Return `function` as computed by `algorithm`. Numba is imported here, when it is first needed."""
    if algorithm == "auto":
        algorithm = choose_algorithm(array, y_shape, w_shape, groups)
    if algorithm not in ALGORITHMS:
        raise ValueError(
            f'algorithm: expected "auto", "im2col", "direct" or "naive", got {algorithm!r}'
        )
    on_gpu = xp_of(array) is not np
    if on_gpu and algorithm != "im2col":
        raise ValueError(
            f'algorithm: "{algorithm}" computes on the CPU, but the arrays are on a GPU; '
            'use "auto" or "im2col", or move the arrays to the CPU'
        )
    if algorithm == "direct" and array.dtype not in DIRECT_DTYPES:
        raise TypeError(
            f'algorithm: "direct" computes in float32 or float64, got {array.dtype}; '
            'convert the arrays or use "im2col"'
        )
    return getattr(import_module(ALGORITHMS[algorithm], __name__), function)


def _check_arrays(where: str, **arrays: Array) -> None:
    """Both arguments must be float arrays of one dtype, in one place."""
    for name, array in arrays.items():
        check_float_array(array, f"{where}: {name}")
    (a_name, a), (b_name, b) = arrays.items()
    if a.dtype != b.dtype:
        raise TypeError(
            f"{where}: expected {a_name} and {b_name} of the same dtype, got {a_name} {a.dtype} and {b_name} "
            f"{b.dtype}; convert one of them, e.g. {a_name}.astype({b_name}.dtype)"
        )
    if xp_of(a) is not xp_of(b):
        raise TypeError(
            f"{where}: expected {a_name} and {b_name} on the same device, got one on the CPU and one on a GPU"
        )
