"""Convolution, bias, ReLU and max pooling as one kernel, where that is possible and quicker than one after another.

It exists in compiled loops only (cpu/conv_pool.py, which tells how); `suits` says when to call it.
"""

from functools import lru_cache

import numpy as np

from .arrays import check_shape
from .convolution import PRECISIONS, check_bias, quickest
from .dispatch import compiled_module, suits_compiled
from .shapes import IntOrPair, Padding, Shape, conv2d_shape, hashable


def suits(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
    algorithm: str,
    precision: str,
    pool: IntOrPair,
) -> bool:
    """Whether one pass is possible, and quicker.

    It is not quicker where the convolution is large enough for Winograd's algorithm, nor where it has
    many weights (see `MOST_WEIGHTS` of cpu/conv_pool.py).

    Args:
        x: images (N, C, H, W).
        w: weights (K, C / groups, R, S).
        stride: see `convolution.conv2d`, as for the arguments that follow.
        padding: see stride.
        dilation: see stride.
        groups: see stride.
        algorithm: see stride.
        precision: see stride.
        pool: size of the pooling windows, which lie side by side.
    """
    if algorithm not in ("auto", "direct") or precision not in PRECISIONS:
        return False
    if w.dtype != x.dtype or not suits_compiled(x):
        return False
    settings = hashable(stride, padding, dilation, groups, algorithm, precision, pool)
    return _suits(x.shape, w.shape, *settings)


@lru_cache(maxsize=4096, typed=True)
def _suits(x_shape, w_shape, stride, padding, dilation, groups, algorithm, precision, pool):
    settings = stride, padding, dilation, groups
    conv2d_shape(x_shape, w_shape, *settings)  # refuses what does not fit, in its own words
    if algorithm == "auto":
        algorithm = quickest("conv2d", "cpu", precision, x_shape, w_shape, settings)
    return algorithm == "direct" and compiled_module("conv_pool").suits(
        x_shape, w_shape, *settings, pool
    )


def conv2d_max_pool2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    pool: IntOrPair,
    relu: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest numbers in windows of a convolution of x with w, after ReLU if `relu`.

    Args:
        x: images (N, C, H, W), float32 or float64.
        w: weights (K, C, R, S), of the same dtype.
        bias: (K,) likewise, or None.
        stride: see `convolution.conv2d`.
        padding: see `convolution.conv2d`.
        dilation: see `convolution.conv2d`; the taps of a row must be neighbours.
        pool: size of the windows, which lie side by side.
        relu: whether negative results become 0.

    Returns:
        the results (N, K, PH, PW); which tap of its window won each of them, as from `pool.max_pool2d`;
        and x in a frame of zeros, its padding, or as it is without padding
    """
    if bias is not None:
        check_bias(bias, w)
    settings = hashable(stride, padding, dilation, pool)
    return compiled_module("conv_pool").conv2d_max_pool2d(x, w, bias, *settings, relu)


def conv2d_max_pool2d_grad(
    grad: np.ndarray,
    winner: np.ndarray,
    framed: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    pool: IntOrPair,
    need_x: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of `conv2d_max_pool2d` with respect to x (None unless `need_x`), w and the bias.

    `grad` (N, K, PH, PW) is the gradient with respect to the results, with which `winner` and `framed` came.

    Raises:
        ValueError: where `winner` has another shape than `grad`.
    """
    check_shape(winner, grad.shape, "conv2d_max_pool2d_grad: winner")
    settings = hashable(stride, padding, dilation, pool)
    return compiled_module("conv_pool").conv2d_max_pool2d_grad(
        grad, winner, framed, w, x_shape, *settings, need_x
    )
