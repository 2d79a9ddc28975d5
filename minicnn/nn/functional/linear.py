"""The dense layer as a function."""

import math

from minicnn.autograd import Tensor, apply
from minicnn.nn.functional.checks import check_bias, check_dtypes
from minicnn.ops.function import Function


class Linear(Function):
    """Y = X W^T + b for every row of X; dL/dX = dL/dY W, dL/dW = dL/dY^T X, dL/db = sum of the rows of dL/dY."""

    def forward(self, x, weight, bias):
        self.save(x, weight)
        self.rows = math.prod(x.shape[:-1])
        y = x.reshape(self.rows, x.shape[-1]) @ weight.T  # (rows, in) @ (in, out) -> (rows, out)
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def backward(self, grad):
        x, weight = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        grad = grad.reshape(self.rows, weight.shape[0])  # (rows, out)
        return (
            (grad @ weight).reshape(x.shape) if need_x else None,
            grad.T @ x.reshape(self.rows, x.shape[-1]) if need_weight else None,  # (out, in)
            grad.sum(axis=0) if need_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out), in the dtype of the arguments, which must agree.

    Raises:
        ValueError: where the shapes do not fit.
        TypeError: for mixed dtypes.
    """
    check_dtypes("linear", x, weight=weight, bias=bias)
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        hint = ""
        if x.ndim > 2:
            features = math.prod(x.shape[1:])
            hint = f"; nn.Flatten() before it would make x of shape (N, {features})"
        elif x.ndim == 2:
            hint = f"; in_features should be {x.shape[1]}"
        raise ValueError(
            f"linear: expected x of shape (..., in) for a weight of shape (out, in) = {weight.shape}, got x of "
            f"shape {x.shape}{hint}"
        )
    check_bias("linear", bias, weight.shape[0])
    return apply(Linear(), x, weight, bias)
