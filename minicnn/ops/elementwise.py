"""Functions of one array, element by element: y_i = f(x_i), so dL/dx_i = f'(x_i) dL/dy_i.

Where the derivative is simplest in terms of the result (exp, tanh, the logistic sigmoid), the
result is what is saved.
"""

from typing import Any

import numpy as np

from minicnn.backend import device_of, to_device, xp_of
from minicnn.kernels.capture import each
from minicnn.kernels.dispatch import sibling
from minicnn.ops.function import Function


class Neg(Function):
    """y = -x; dL/dx = -dL/dy."""

    def forward(self, x):
        return each(np.negative, x)

    def backward(self, grad):
        return (each(np.negative, grad),)


class Exp(Function):
    """y = e^x; dL/dx = y dL/dy."""

    def forward(self, x):
        y = xp_of(x).exp(x)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (grad * y,)


class Log(Function):
    """y = ln x; dL/dx = dL/dy / x."""

    def forward(self, x):
        self.save(x)
        return xp_of(x).log(x)

    def backward(self, grad):
        (x,) = self.saved
        return (grad / x,)


class Sqrt(Function):
    """y = sqrt(x); dL/dx = dL/dy / (2 y)."""

    def forward(self, x):
        y = xp_of(x).sqrt(x)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (grad / (2 * y),)


class RootOfSquares(Sqrt):
    """y = sqrt(x) for a sum x of squares; dL/dx = dL/dy / (2 y), and 0 where y = 0.

    There the root has no derivative, but x is at its least: 0 is the slope that lets it rest.
    """

    def backward(self, grad):
        (y,) = self.saved
        return (xp_of(y).where(y == 0, 0, grad / (2 * y)),)


class Abs(Function):
    """y = |x|; dL/dx = sign(x) dL/dy, with sign(0) = 0."""

    def forward(self, x):
        self.save(x)
        return abs(x)

    def backward(self, grad):
        (x,) = self.saved
        return (grad * xp_of(x).sign(x),)


class Sin(Function):
    """y = sin x; dL/dx = cos(x) dL/dy. Angles are in radians."""

    def forward(self, x):
        self.save(x)
        return xp_of(x).sin(x)

    def backward(self, grad):
        (x,) = self.saved
        return (grad * xp_of(x).cos(x),)


class Cos(Function):
    """y = cos x; dL/dx = -sin(x) dL/dy. Angles are in radians."""

    def forward(self, x):
        self.save(x)
        return xp_of(x).cos(x)

    def backward(self, grad):
        (x,) = self.saved
        return (-grad * xp_of(x).sin(x),)


class Tanh(Function):
    """y = tanh x; dL/dx = (1 - y^2) dL/dy."""

    def forward(self, x):
        y = sibling("activation", x).tanh(x)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (sibling("activation", y).tanh_grad(grad, y),)


class Sigmoid(Function):
    """y = 1 / (1 + e^-x); dL/dx = y (1 - y) dL/dy."""

    def forward(self, x):
        y = sibling("activation", x).sigmoid(x)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (sibling("activation", y).sigmoid_grad(grad, y),)


class ReLU(Function):
    """y = max(x, 0), NaN stays NaN; dL/dx = dL/dy where x > 0, else 0 (also at 0)."""

    def forward(self, x):
        y = sibling("activation", x).relu(x)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (sibling("activation", y).relu_grad(grad, y),)


class Clamp(Function):
    """y = min(max(x, low), high); dL/dx = dL/dy where low <= x <= high, else 0. None leaves an end open."""

    def __init__(self, low: float | None, high: float | None):
        self.low = low
        self.high = high

    def forward(self, x):
        self.save(x)
        xp = xp_of(x)
        y = x if self.low is None else xp.maximum(x, self.low)
        return xp.minimum(y, self.high) if self.high is not None else y

    def backward(self, grad):
        (x,) = self.saved
        outside = xp_of(x).zeros(x.shape, bool)
        if self.low is not None:
            outside |= x < self.low
        if self.high is not None:
            outside |= x > self.high
        return (xp_of(x).where(outside, 0, grad),)


class Copy(Function):
    """y = x in new memory, in another floating dtype or another memory order ("C": row-major, "K": as it is)."""

    def __init__(self, dtype: Any, order: str = "K"):
        self.dtype = dtype
        self.order = order

    def forward(self, x):
        self.input_dtype = x.dtype
        return x.astype(self.dtype, order=self.order, copy=True)

    def backward(self, grad):
        return (grad.astype(self.input_dtype),)


class ToDevice(Function):
    """y = x on another device; the gradient is moved back."""

    def __init__(self, device: str):
        self.device = device

    def forward(self, x):
        self.source = device_of(x)
        return to_device(x, self.device)

    def backward(self, grad):
        return (to_device(grad, self.source),)
