"""The dense layer as a function."""

import math

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array
from minicnn.kernels.capture import reshaped
from minicnn.kernels.dispatch import sibling
from minicnn.kernels.shapes import Shape
from minicnn.nn.functional.checks import check_activation, check_bias, check_dtypes
from minicnn.ops.function import Function


class Linear(Function):
    """Y = X W^T + b for every row of X; dL/dX = dL/dY W, dL/dW = dL/dY^T X, dL/db = sum of the rows of dL/dY.

    With `relu`, negative results are replaced by 0, and gradients pass where the result is positive.
    """

    def __init__(self, relu=False):
        self.relu = relu

    def forward(self, x, weight, bias):
        rows = _as_matrix(x)
        y = sibling("linear", x).linear(rows, weight, bias, self.relu)  # (rows, in) -> (rows, out)
        if self.relu:
            self.save(x, weight, y)
        else:
            self.save(x, weight)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[0])

    def backward(self, grad):
        x, weight, *output = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        linear, bias = sibling("linear", x), sibling("bias", x)
        grad, grad_bias = _as_matrix(grad), None  # (rows, out)
        if output:
            grad, grad_bias = bias.bias_relu_grad(grad, output[0])
        elif need_bias:
            grad_bias = bias.bias_grad(grad)
        return (
            linear.linear_grad_input(grad, weight).reshape(x.shape) if need_x else None,
            linear.linear_grad_weight(grad, _as_matrix(x)) if need_weight else None,  # (out, in)
            grad_bias if need_bias else None,
        )


def _as_matrix(x: Array) -> Array:
    """Return (..., n) as (rows, n), a view where that is possible."""
    return x if x.ndim == 2 else reshaped(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """Return x W^T + b.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,) or None.
        activation: "relu", to replace negative results by 0 in the same pass; or None.

    Returns:
        (..., out), in the dtype of the arguments, which must agree.

    Raises:
        ValueError: where the shapes do not fit.
        TypeError: for mixed dtypes.
    """
    check_dtypes("linear", x, weight=weight, bias=bias)
    x_shape, weight_shape = x.array.shape, weight.array.shape
    if len(weight_shape) != 2 or not x_shape or x_shape[-1] != weight_shape[1]:
        raise _misfit(x_shape, weight_shape)
    check_bias("linear", bias, weight_shape[0])
    return apply(Linear(check_activation("linear", activation)), x, weight, bias)


def _misfit(x_shape: Shape, weight_shape: Shape) -> ValueError:
    """The error for an input whose last axis is not the one that the weight expects."""
    hint = ""
    if len(x_shape) > 2:
        hint = f"; nn.Flatten() before it would make x of shape (N, {math.prod(x_shape[1:])})"
    elif len(x_shape) == 2:
        hint = f"; in_features should be {x_shape[1]}"
    return ValueError(
        f"linear: expected x of shape (..., in) for a weight of shape (out, in) = {weight_shape}, got x of "
        f"shape {x_shape}{hint}"
    )
