"""The dense layer: a 1x1 convolution of images of one pixel. The contracts are in the sibling ../linear.py.

BLAS would do as well, but its threads and Numba's would take the processor from each other: waiting
ones keep spinning for a while, which costs a small network more than the products do. Small products
are left to it all the same; OpenBLAS works them out in the thread that asks.

Weights (out, in) lie in memory as (in, out), as dense layers hold them; the other order is copied first.
"""

import numpy as np

from .. import linear as with_blas
from . import conv

SMALL = 2**18
"""Multiply-adds up to which OpenBLAS uses one thread (65,536 * GEMM_MULTITHREAD_THRESHOLD, interface/gemm.c)."""


def linear(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, relu: bool = False
) -> np.ndarray:
    """See ../linear.py."""
    if len(x) * w.size <= SMALL:
        return with_blas.linear(x, w, bias, relu)
    return conv.conv2d(_pixels(x), _pixels(w), bias=bias, relu=relu)[:, :, 0, 0]


def linear_grad_input(grad: np.ndarray, w: np.ndarray) -> np.ndarray:
    """See ../linear.py."""
    if len(grad) * w.size <= SMALL:
        return with_blas.linear_grad_input(grad, w)
    x_shape = len(grad), w.shape[1], 1, 1
    return conv.conv2d_grad_input(_pixels(grad), _pixels(w), x_shape)[:, :, 0, 0]


def linear_grad_weight(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """See ../linear.py. The result lies in memory as (in, out)."""
    if grad.size * x.shape[1] <= SMALL:
        return x.T.dot(grad).T
    w_shape = grad.shape[1], x.shape[1], 1, 1
    return conv.conv2d_grad_weight(_pixels(grad), _pixels(x), w_shape)[:, :, 0, 0]


def _pixels(rows: np.ndarray) -> np.ndarray:
    """View (N, C) as images (N, C, 1, 1)."""
    return rows[:, :, None, None]
