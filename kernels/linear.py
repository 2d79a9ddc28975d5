"""The dense layer as matrix products, for arrays of either library; the sibling for the CPU is cpu/linear.py."""

from . import activation
from .arrays import Array


def linear(x: Array, w: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """Y = x w^T + bias for every row of x, and ReLU where that is asked for.

    Args:
        x: (rows, in), float.
        w: (out, in), of the same dtype.
        bias: (out,), or None.
        relu: whether negative results become 0.

    Returns:
        (rows, out)
    """
    y = x.dot(w.T)
    if bias is not None:
        y += bias
    return activation.relu(y) if relu else y


def linear_grad_input(grad: Array, w: Array) -> Array:
    """The gradient with respect to x (rows, in), from that with respect to y (rows, out)."""
    return grad.dot(w)


def linear_grad_weight(grad: Array, x: Array) -> Array:
    """The gradient with respect to w (out, in), from that with respect to y (rows, out)."""
    return grad.T.dot(x)
