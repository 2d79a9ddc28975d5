"""Reductions: many elements in, one out, along one axis, several, or all.

`axis` is None (all axes), an integer, or a tuple of integers, as in NumPy. The reduced axes stay
with size 1 where `keepdims` is set; backward puts them back to spread the gradient over what was
reduced.
"""

import math

from minicnn.backend import Array, xp_of
from minicnn.kernels.arrays import sum_dtype
from minicnn.ops.function import Function

Axis = int | tuple[int, ...] | None


class Reduction(Function):
    """What reductions share: the axes, and how the gradient finds its way back over them."""

    def __init__(self, axis: Axis = None, keepdims: bool = False):
        self.axis = axis
        self.keepdims = keepdims

    def spread(self, reduced: Array, shape: tuple[int, ...]) -> Array:
        """Give a reduced array (a result, or its gradient) the shape of the input again, as a read-only view."""
        if not self.keepdims:
            axes = self.reduced_axes(len(shape))
            reduced = reduced.reshape([1 if i in axes else n for i, n in enumerate(shape)])
        return xp_of(reduced).broadcast_to(reduced, shape)

    def reduced_axes(self, ndim: int) -> tuple[int, ...]:
        """The reduced axes as non-negative integers."""
        if self.axis is None or ndim == 0:
            return tuple(range(ndim))
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return tuple(axis % ndim for axis in axes)


class Sum(Reduction):
    """y = sum of x; every summand gets the gradient of the sum."""

    def forward(self, x):
        self.input_shape = x.shape
        return x.sum(axis=self.axis, keepdims=self.keepdims)

    def backward(self, grad):
        return (self.spread(grad, self.input_shape),)


class Mean(Reduction):
    """y = sum of x / n; each of the n elements gets a share of dL/dy / n. The mean of nothing is NaN.

    Sum and quotient are taken in float32 at least: in float16 the sum, and n, may be infinite where
    the mean is not.
    """

    def forward(self, x):
        self.input_shape = x.shape
        self.count = math.prod(x.shape[axis] for axis in self.reduced_axes(x.ndim))
        total = x.sum(axis=self.axis, keepdims=self.keepdims, dtype=sum_dtype(x.dtype))
        mean = total / self.count if self.count else total * math.nan
        return mean.astype(x.dtype, copy=False)

    def backward(self, grad):
        share = grad.astype(sum_dtype(grad.dtype), copy=False) / max(self.count, 1)
        return (self.spread(share.astype(grad.dtype, copy=False), self.input_shape),)


class Extreme(Reduction):
    """y = max or min of x, NaN if there is one; the elements that equal it share its gradient evenly."""

    def backward(self, grad):
        x, y = self.saved
        winners = (x == self.spread(y, x.shape)) | (x != x)
        count = winners.sum(axis=self.axis, keepdims=True).astype(grad.dtype)
        return (xp_of(x).where(winners, self.spread(grad, x.shape) / count, 0),)


class Max(Extreme):
    """y = max of x; the elements that equal it share its gradient evenly."""

    def forward(self, x):
        y = xp_of(x).asarray(x.max(axis=self.axis, keepdims=self.keepdims))
        self.save(x, y)
        return y


class Min(Extreme):
    """y = min of x; the elements that equal it share its gradient evenly."""

    def forward(self, x):
        y = xp_of(x).asarray(x.min(axis=self.axis, keepdims=self.keepdims))
        self.save(x, y)
        return y


class Softmax(Function):
    """y_i = e^x_i / sum_j e^x_j along `axis`; dL/dx = y (dL/dy - sum_j y_j dL/dy_j).

    The largest x is subtracted first: that changes no result and keeps every power at most 1.
    """

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x):
        y = xp_of(x).exp(x - x.max(axis=self.axis, keepdims=True))
        y /= y.sum(axis=self.axis, keepdims=True)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        dot = (grad * y).sum(axis=self.axis, keepdims=True)
        return (y * (grad - dot),)


class LogSoftmax(Function):
    """y_i = x_i - ln sum_j e^x_j along `axis`; dL/dx = dL/dy - softmax(x) sum_j dL/dy_j."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x):
        xp = xp_of(x)
        shifted = x - x.max(axis=self.axis, keepdims=True)
        y = shifted - xp.log(xp.exp(shifted).sum(axis=self.axis, keepdims=True))
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (grad - xp_of(y).exp(y) * grad.sum(axis=self.axis, keepdims=True),)
