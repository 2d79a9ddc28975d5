"""Arithmetic between two arrays, with NumPy's broadcasting.

Broadcasting repeats an operand, and the gradient of a repeated value is the sum over its
repetitions: that sum is `unbroadcast`, and every function here ends its backward with it.
"""

import numpy as np

from minicnn.backend import Array, xp_of
from minicnn.kernels.capture import each
from minicnn.ops.function import Function


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes along which an operand of shape `shape` was repeated."""
    if grad.shape == shape:
        return grad
    added = grad.ndim - len(shape)
    repeated = [added + i for i, n in enumerate(shape) if n == 1 and grad.shape[added + i] != 1]
    return grad.sum(axis=(*range(added), *repeated), keepdims=True).reshape(shape)


class Add(Function):
    """y = a + b; dL/da = dL/db = dL/dy."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return each(np.add, a, b)

    def backward(self, grad):
        need_a, need_b = self.needs_grad
        return (
            unbroadcast(grad, self.shapes[0]) if need_a else None,
            unbroadcast(grad, self.shapes[1]) if need_b else None,
        )


class Sub(Function):
    """y = a - b; dL/da = dL/dy, dL/db = -dL/dy."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return each(np.subtract, a, b)

    def backward(self, grad):
        need_a, need_b = self.needs_grad
        return (
            unbroadcast(grad, self.shapes[0]) if need_a else None,
            unbroadcast(each(np.negative, grad), self.shapes[1]) if need_b else None,
        )


class Mul(Function):
    """y = a b; dL/da = b dL/dy, dL/db = a dL/dy."""

    def forward(self, a, b):
        need_a, need_b = self.needs_grad
        self.shapes = a.shape, b.shape
        self.save(a if need_b else None, b if need_a else None)
        return each(np.multiply, a, b)

    def backward(self, grad):
        a, b = self.saved
        need_a, need_b = self.needs_grad
        return (
            unbroadcast(each(np.multiply, grad, b), self.shapes[0]) if need_a else None,
            unbroadcast(each(np.multiply, grad, a), self.shapes[1]) if need_b else None,
        )


class Div(Function):
    """y = a / b; dL/da = dL/dy / b, dL/db = -dL/dy a / b^2."""

    def forward(self, a, b):
        self.save(a, b)
        return a / b

    def backward(self, grad):
        a, b = self.saved
        need_a, need_b = self.needs_grad
        grad_a = grad / b
        return (
            unbroadcast(grad_a, a.shape) if need_a else None,
            unbroadcast(-grad_a * a / b, b.shape) if need_b else None,
        )


class Pow(Function):
    """y = a^b; dL/da = b a^(b-1) dL/dy, dL/db = a^b ln(a) dL/dy.

    Where b = 0 the first is 0, and where a = 0 and b >= 0 the second is 0: the limits that keep
    sums of powers finite.
    """

    def forward(self, a, b):
        y = a**b
        self.save(a, b, y)
        return y

    def backward(self, grad):
        a, b, y = self.saved
        xp = xp_of(grad)
        need_a, need_b = self.needs_grad
        grad_a = grad_b = None
        if need_a:
            grad_a = unbroadcast(grad * xp.where(b == 0, 0, b * a ** (b - 1)), a.shape)
        if need_b:
            log_a = xp.log(xp.where((a == 0) & (b >= 0), 1, a))
            grad_b = unbroadcast(grad * y * log_a, b.shape)
        return grad_a, grad_b


class Maximum(Function):
    """y = max(a, b), elementwise; NaN wins. The gradient goes to the larger operand, and to each half in a tie."""

    def forward(self, a, b):
        self.save(a, b)
        return xp_of(a).maximum(a, b)

    def backward(self, grad):
        a, b = self.saved
        return _to_the_winner(grad, a, b, a > b, a < b)


class Minimum(Function):
    """y = min(a, b), elementwise; NaN wins. The gradient goes to the smaller operand, and to each half in a tie."""

    def forward(self, a, b):
        self.save(a, b)
        return xp_of(a).minimum(a, b)

    def backward(self, grad):
        a, b = self.saved
        return _to_the_winner(grad, a, b, a < b, a > b)


def _to_the_winner(
    grad: Array, a: Array, b: Array, a_wins: Array, b_wins: Array
) -> tuple[Array, Array]:
    """Split `grad` between `a` and `b`: all of it to the winner, halves where there is none."""
    xp = xp_of(grad)
    half = grad / 2  # to equals, and to both where one is NaN
    grad_a = xp.where(a_wins, grad, xp.where(b_wins, 0, half))
    grad_b = xp.where(b_wins, grad, xp.where(a_wins, 0, half))
    return unbroadcast(grad_a, a.shape), unbroadcast(grad_b, b.shape)


class Where(Function):
    """y = a where `condition` holds, else b; each gets the gradient of the places that it filled."""

    def forward(self, condition, a, b):
        self.shapes = a.shape, b.shape
        self.save(condition)
        return xp_of(a).where(condition, a, b)

    def backward(self, grad):
        (condition,) = self.saved
        xp = xp_of(grad)
        return (
            None,
            unbroadcast(xp.where(condition, grad, 0), self.shapes[0]),
            unbroadcast(xp.where(condition, 0, grad), self.shapes[1]),
        )
