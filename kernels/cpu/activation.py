"""Activations in one pass over memory; the contracts are in the sibling ../activation.py.

NumPy computes sigmoid(x) in four passes, each of which reads and writes the whole array. Here every
number is read once and written once, by loops over flat memory (see flat.py).
"""

from collections.abc import Callable

import numpy as np

from ..memory import empty_like
from .compiled import on_threads
from .flat import flat, share, threads_for
from .special import sigmoid as sigmoid_of_number
from .special import tanh as tanh_of_number


def _map(loop: Callable, *inputs: np.ndarray, settings: tuple[float, ...] = ()) -> np.ndarray:
    """Run a loop over arrays of one shape; return a new array in the memory order of the last."""
    y = empty_like(inputs[-1])
    loop(threads_for(y.size), *[flat(x, y) for x in inputs], *settings, y.ravel("K"))
    return y


# --- ReLU -----------------------------------------------------------------------------------------


@on_threads
def _relu(part, parts, x, y):
    zero = x.dtype.type(0)
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        y[i] = zero if x[i] < zero else x[i]


def relu(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_relu, x)


@on_threads
def _relu_grad(part, parts, grad, y, grad_x):
    zero = y.dtype.type(0)
    mine = share(y.size, part, parts)
    for i in range(mine.start, mine.stop):
        g = grad[i]  # read in any case: only a loop without branches becomes vector instructions
        grad_x[i] = zero if y[i] <= zero else g


def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_relu_grad, grad, y)


# --- ReLU with a ceiling --------------------------------------------------------------------------


@on_threads
def _hardtanh(part, parts, x, low, high, y):
    lowest, highest = x.dtype.type(low), x.dtype.type(high)
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        above = lowest if x[i] < lowest else x[i]
        y[i] = highest if above > highest else above


def hardtanh(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """See ../activation.py."""
    return _map(_hardtanh, x, settings=(float(low), float(high)))


@on_threads
def _hardtanh_grad(part, parts, grad, y, low, high, grad_x):
    zero, lowest, highest = y.dtype.type(0), y.dtype.type(low), y.dtype.type(high)
    mine = share(y.size, part, parts)
    for i in range(mine.start, mine.stop):
        g = grad[i]
        g = zero if y[i] <= lowest else g
        grad_x[i] = zero if y[i] >= highest else g


def hardtanh_grad(grad: np.ndarray, y: np.ndarray, low: float, high: float) -> np.ndarray:
    """See ../activation.py."""
    return _map(_hardtanh_grad, grad, y, settings=(float(low), float(high)))


# --- sigmoid --------------------------------------------------------------------------------------


@on_threads
def _sigmoid(part, parts, x, y):
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        y[i] = sigmoid_of_number(x[i])


def sigmoid(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_sigmoid, x)


@on_threads
def _sigmoid_grad(part, parts, grad, y, grad_x):
    one = y.dtype.type(1)
    mine = share(y.size, part, parts)
    for i in range(mine.start, mine.stop):
        grad_x[i] = grad[i] * y[i] * (one - y[i])


def sigmoid_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_sigmoid_grad, grad, y)


# --- tanh -----------------------------------------------------------------------------------------


@on_threads
def _tanh(part, parts, x, y):
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        y[i] = tanh_of_number(x[i])


def tanh(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_tanh, x)


@on_threads
def _tanh_grad(part, parts, grad, y, grad_x):
    one = y.dtype.type(1)
    mine = share(y.size, part, parts)
    for i in range(mine.start, mine.stop):
        grad_x[i] = grad[i] * (one - y[i] * y[i])


def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_tanh_grad, grad, y)


# --- SiLU -----------------------------------------------------------------------------------------


@on_threads
def _silu(part, parts, x, y):
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        y[i] = x[i] * sigmoid_of_number(x[i])


def silu(x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_silu, x)


@on_threads
def _silu_grad(part, parts, grad, x, grad_x):
    one = x.dtype.type(1)
    mine = share(x.size, part, parts)
    for i in range(mine.start, mine.stop):
        s = sigmoid_of_number(x[i])
        grad_x[i] = grad[i] * s * (one + x[i] * (one - s))


def silu_grad(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """See ../activation.py."""
    return _map(_silu_grad, grad, x)
