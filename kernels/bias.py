"""Biases and their gradients, for arrays of either library; the sibling for the CPU is cpu/bias.py.

A bias is added to each of many rows: the examples of a batch in a linear layer, the pixels of all
images in a convolution. Its gradient is therefore the sum of the rows of the output's gradient.
"""

from .activation import relu_grad
from .arrays import Array, sum_dtype, xp_of


def add_bias(rows: Array, bias: Array | None, relu: bool = False) -> None:
    """Write relu(rows + bias) to `rows`, for products that were computed without a bias.

    Args:
        rows: (rows, K), float, contiguous; they are changed.
        bias: (K,), of the same dtype; None adds nothing.
        relu: whether negative results become 0 (and NaN stays).
    """
    if bias is not None:
        rows += bias
    if relu:
        xp_of(rows).maximum(rows, 0, out=rows)


def bias_grad(grad: Array) -> Array:
    """The sum of the rows.

    Args:
        grad: dL/dy (rows, K), float.

    Returns:
        (K,), of the same dtype.
    """
    return grad.sum(axis=0, dtype=sum_dtype(grad.dtype)).astype(grad.dtype, copy=False)


def bias_relu_grad(grad: Array, y: Array) -> tuple[Array, Array]:
    """The gradients of y = relu(z + bias).

    Args:
        grad: dL/dy (rows, K), float.
        y: the result (rows, K), of the same dtype.

    Returns:
        dL/dz (rows, K), which is dL/dy, but 0 where y <= 0; and dL/dbias (K,), the sum of its rows.
    """
    grad_z = relu_grad(grad, y)
    return grad_z, bias_grad(grad_z)
