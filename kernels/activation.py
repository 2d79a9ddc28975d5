"""Activations and their gradients, for arrays of either library; the sibling for the CPU is cpu/activation.py.

The functions of each element take an array of any shape and memory order, and return a new array of
the same shape, dtype and memory order. A gradient `f_grad(grad, y)` is dL/dx, computed from grad =
dL/dy and the saved result y = f(x), or from the saved x where that says more.
"""

from .arrays import Array, keep_where, keeping_order, xp_of


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    return keeping_order(lambda x: xp_of(x).maximum(x, 0), x)


def relu_grad(grad: Array, y: Array) -> Array:
    """dL/dy, but 0 where y <= 0."""
    return keep_where(keeping_order(lambda y: ~(y <= 0), y), grad)


def hardtanh(x: Array, low: float, high: float) -> Array:
    """min(max(x, low), high); NaN stays NaN."""
    return keeping_order(lambda x: xp_of(x).minimum(xp_of(x).maximum(x, low), high), x)


def hardtanh_grad(grad: Array, y: Array, low: float, high: float) -> Array:
    """dL/dy strictly between the limits, and where y is NaN; else 0."""
    return keep_where(keeping_order(lambda y: ~((y <= low) | (y >= high)), y), grad)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x); its limits 0 and 1 are reached without an overflow that matters."""
    return 1 / (1 + xp_of(x).exp(-x))


def sigmoid_grad(grad: Array, y: Array) -> Array:
    """dL/dy y (1 - y)."""
    return grad * y * (1 - y)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return xp_of(x).tanh(x)


def tanh_grad(grad: Array, y: Array) -> Array:
    """dL/dy (1 - y^2)."""
    return grad * (1 - y * y)


def silu(x: Array) -> Array:
    """The product of x and sigmoid(x)."""
    return x * sigmoid(x)


def silu_grad(grad: Array, x: Array) -> Array:
    """dL/dy s (1 + x (1 - s)) with s = sigmoid(x)."""
    s = sigmoid(x)
    return grad * s * (1 + x * (1 - s))
