"""Activations in one pass over memory; the contracts are in the sibling ../activation.py.

NumPy computes sigmoid(x) in four passes, each of which reads and writes the whole array. Here every
number is read once and written once, by loops over flat memory (see flat.py). Each loop exists
as a function of one share, which is also called alone for few numbers, and as one on all threads.
"""

from collections.abc import Callable

import numba
import numpy as np

from .compiled import compiled
from .flat import flat, run, share
from .special import sigmoid as sigmoid_of_number
from .special import tanh as tanh_of_number


def _map(serial: Callable, parallel: Callable, *inputs: np.ndarray) -> np.ndarray:
    """Run a loop over arrays of one shape; return a new array in the memory order of the last."""
    y = np.empty_like(inputs[-1])
    run(serial, parallel, y.size, *[flat(x, y) for x in inputs], y.ravel("K"))
    return y


# --- ReLU -----------------------------------------------------------------------------------------


@compiled
def _relu_of_share(x, y):
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@compiled(parallel=True)
def _relu(threads, x, y):
    for part in numba.prange(threads):
        mine = share(x.size, np.int64(part), threads)
        _relu_of_share(x[mine], y[mine])


def relu(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_relu_of_share, _relu, x)


@compiled
def _relu_grad_of_share(grad, y, grad_x):
    zero = y.dtype.type(0)
    for i in range(y.size):
        g = grad[i]  # read in any case: only a loop without branches becomes vector instructions
        grad_x[i] = zero if y[i] <= zero else g


@compiled(parallel=True)
def _relu_grad(threads, grad, y, grad_x):
    for part in numba.prange(threads):
        mine = share(y.size, np.int64(part), threads)
        _relu_grad_of_share(grad[mine], y[mine], grad_x[mine])


def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_relu_grad_of_share, _relu_grad, grad, y)


# --- sigmoid --------------------------------------------------------------------------------------


@compiled
def _sigmoid_of_share(x, y):
    for i in range(x.size):
        y[i] = sigmoid_of_number(x[i])


@compiled(parallel=True)
def _sigmoid(threads, x, y):
    for part in numba.prange(threads):
        mine = share(x.size, np.int64(part), threads)
        _sigmoid_of_share(x[mine], y[mine])


def sigmoid(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_sigmoid_of_share, _sigmoid, x)


@compiled
def _sigmoid_grad_of_share(grad, y, grad_x):
    one = y.dtype.type(1)
    for i in range(y.size):
        grad_x[i] = grad[i] * y[i] * (one - y[i])


@compiled(parallel=True)
def _sigmoid_grad(threads, grad, y, grad_x):
    for part in numba.prange(threads):
        mine = share(y.size, np.int64(part), threads)
        _sigmoid_grad_of_share(grad[mine], y[mine], grad_x[mine])


def sigmoid_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_sigmoid_grad_of_share, _sigmoid_grad, grad, y)


# --- tanh -----------------------------------------------------------------------------------------


@compiled
def _tanh_of_share(x, y):
    for i in range(x.size):
        y[i] = tanh_of_number(x[i])


@compiled(parallel=True)
def _tanh(threads, x, y):
    for part in numba.prange(threads):
        mine = share(x.size, np.int64(part), threads)
        _tanh_of_share(x[mine], y[mine])


def tanh(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_tanh_of_share, _tanh, x)


@compiled
def _tanh_grad_of_share(grad, y, grad_x):
    one = y.dtype.type(1)
    for i in range(y.size):
        grad_x[i] = grad[i] * (one - y[i] * y[i])


@compiled(parallel=True)
def _tanh_grad(threads, grad, y, grad_x):
    for part in numba.prange(threads):
        mine = share(y.size, np.int64(part), threads)
        _tanh_grad_of_share(grad[mine], y[mine], grad_x[mine])


def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_tanh_grad_of_share, _tanh_grad, grad, y)


# --- SiLU -----------------------------------------------------------------------------------------


@compiled
def _silu_of_share(x, y):
    for i in range(x.size):
        y[i] = x[i] * sigmoid_of_number(x[i])


@compiled(parallel=True)
def _silu(threads, x, y):
    for part in numba.prange(threads):
        mine = share(x.size, np.int64(part), threads)
        _silu_of_share(x[mine], y[mine])


def silu(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_silu_of_share, _silu, x)


@compiled
def _silu_grad_of_share(grad, x, grad_x):
    one = x.dtype.type(1)
    for i in range(x.size):
        s = sigmoid_of_number(x[i])
        grad_x[i] = grad[i] * s * (one + x[i] * (one - s))


@compiled(parallel=True)
def _silu_grad(threads, grad, x, grad_x):
    for part in numba.prange(threads):
        mine = share(x.size, np.int64(part), threads)
        _silu_grad_of_share(grad[mine], x[mine], grad_x[mine])


def silu_grad(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_silu_grad_of_share, _silu_grad, grad, x)
