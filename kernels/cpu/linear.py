"""The dense layer: a 1x1 convolution of one image, a row of N pixels. The contracts are in the sibling ../linear.py.

BLAS would do as well, but its threads and Numba's would take the processor from each other: waiting
ones keep spinning for a while, which costs a small network more than the products do. Small products
are left to it all the same; OpenBLAS works them out in the thread that asks.

Weights (out, in) lie in memory as (in, out), as dense layers hold them; the other order is copied first.
"""

import numpy as np

from ..capture import do, here
from ..memory import empty
from . import conv
from .bias import add_bias
from .compiled import plain

SMALL = 2**18
"""Multiply-adds up to which OpenBLAS uses one thread (65,536 * GEMM_MULTITHREAD_THRESHOLD, interface/gemm.c)."""

SETTINGS = 1, 0, 1, 1
"""Stride, padding, dilation and groups of that convolution."""


def linear(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, relu: bool = False
) -> np.ndarray:
    """See ../linear.py."""
    if len(x) * w.size <= SMALL:
        y = _product(x, w.T)
        if relu or bias is not None:
            add_bias(y, bias, relu)
        return y
    plan = conv.forward_plan((1, x.shape[1], 1, len(x)), (*w.shape, 1, 1), *SETTINGS)
    return conv.carry_out(plan, _image(x), plain(w.T), bias, relu)[0, 0]


def linear_grad_input(grad: np.ndarray, w: np.ndarray) -> np.ndarray:
    """See ../linear.py."""
    if len(grad) * w.size <= SMALL:
        return _product(grad, w)
    x_shape = 1, w.shape[1], 1, len(grad)
    plan = conv.grad_input_plan(x_shape, (*w.shape, 1, 1), *SETTINGS)
    return conv.carry_out(plan, _image(grad), plain(w.T), None, False)[0, 0]


def linear_grad_weight(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """See ../linear.py. The result lies in memory as (in, out)."""
    if grad.size * x.shape[1] <= SMALL:
        return _product(x.T, grad).T
    K, C = grad.shape[1], x.shape[1]
    plan = conv.forward_plan((1, C, 1, len(x)), (K, C, 1, 1), *SETTINGS)
    return conv.sum_of_products(plan, _image(x), _image(grad), (1, 1, C, K))[0, 0].T


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product, by BLAS."""
    if here.active is None:
        return a.dot(b)
    y = empty((len(a), b.shape[1]), a.dtype)
    do(np.dot, a, b, y)
    return y


def _image(rows: np.ndarray) -> np.ndarray:
    """Return (N, C) as an image of one row in its order in memory, (1, 1, N, C)."""
    return plain(rows)[None, None]
