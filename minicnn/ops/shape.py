"""Functions that move elements without computing: reshape, permute, expand, join, pad, and indexing.

Each is linear, and its backward sends every element home again. Where one element was used several
times (an expanded axis, an index that occurs twice) the gradients of its uses add up.
"""

from typing import Any

from minicnn.backend import Array, xp_of
from minicnn.kernels.arrays import in_memory_order, inverse_order
from minicnn.kernels.capture import reshaped
from minicnn.ops.arithmetic import unbroadcast
from minicnn.ops.function import Function


class Reshape(Function):
    """The same elements in another shape, in row-major order."""

    returns_view = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x):
        self.input_shape = x.shape
        return reshaped(x, self.shape)

    def backward(self, grad):
        return (reshaped(grad, self.input_shape),)


class Permute(Function):
    """The axes in another order: axis i of the output is axis `order[i]` of the input."""

    returns_view = True

    def __init__(self, order: tuple[int, ...]):
        self.order = order

    def forward(self, x):
        return x.transpose(self.order)

    def backward(self, grad):
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return (grad.transpose(inverse),)


class Expand(Function):
    """Repeat along new axes and axes of size 1, without copying."""

    returns_view = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x):
        self.input_shape = x.shape
        return xp_of(x).broadcast_to(x, self.shape)

    def backward(self, grad):
        return (unbroadcast(grad, self.input_shape),)


class Flip(Function):
    """Reverse the order along `axes`."""

    returns_view = True

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def forward(self, x):
        return xp_of(x).flip(x, self.axes)

    def backward(self, grad):
        return (xp_of(grad).flip(grad, self.axes),)


class Concatenate(Function):
    """Join arrays along `axis`; each gets the slice of the gradient that it filled."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, *arrays):
        self.sizes = [array.shape[self.axis] for array in arrays]
        first, order = in_memory_order(arrays[0])  # CuPy would join into row-major memory
        parts = [first, *(array.transpose(order) for array in arrays[1:])]
        joined = xp_of(first).concatenate(parts, axis=order.index(self.axis % first.ndim))
        return joined.transpose(inverse_order(order))

    def backward(self, grad):
        before = (slice(None),) * (self.axis % grad.ndim)
        grads, start = [], 0
        for size in self.sizes:
            grads.append(grad[(*before, slice(start, start + size))])
            start += size
        return tuple(grads)


class Pad(Function):
    """Surround with a constant; `widths` holds (before, after) for each axis. A negative width cuts."""

    def __init__(self, widths: tuple[tuple[int, int], ...], value: float):
        self.widths = widths
        self.value = value

    def forward(self, x):
        shape = tuple(
            n + before + after for n, (before, after) in zip(x.shape, self.widths, strict=True)
        )
        y = xp_of(x).full_like(x, self.value, shape=shape)  # in the memory order of x
        y[self._inside(shape)] = x[self._kept(x.shape)]
        self.input_shape = x.shape
        return y

    def backward(self, grad):
        grad_x = xp_of(grad).zeros_like(grad, shape=self.input_shape)
        grad_x[self._kept(self.input_shape)] = grad[self._inside(grad.shape)]
        return (grad_x,)

    def _inside(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Where the input stands in the padded array."""
        return tuple(
            slice(max(before, 0), n - max(after, 0))
            for n, (before, after) in zip(shape, self.widths, strict=True)
        )

    def _kept(self, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """What negative widths leave of the input."""
        return tuple(
            slice(max(-before, 0), n - max(-after, 0))
            for n, (before, after) in zip(shape, self.widths, strict=True)
        )


def is_basic(index: Any) -> bool:
    """Whether `index` holds only slices, integers, None and `...`: then no element is taken twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, slice) or _is_integer(part)
        for part in parts
    )


def _is_integer(part: Any) -> bool:
    return (
        not isinstance(part, bool) and hasattr(part, "__index__") and getattr(part, "ndim", 0) == 0
    )


class GetItem(Function):
    """y = x[index], with all of NumPy's indexing; the gradients of an element taken several times add up."""

    def __init__(self, index: Any):
        self.returns_view = is_basic(index)
        parts = index if isinstance(index, tuple) else (index,)
        if self.returns_view and not any(part is Ellipsis for part in parts):
            index = (*parts, ...)  # makes x[0] of a vector a view as well, and no scalar
        self.index = index

    def forward(self, x):
        self.input_shape = x.shape
        return x[self.index]

    def backward(self, grad):
        xp = xp_of(grad)
        grad_x = xp.zeros(self.input_shape, grad.dtype)
        if self.returns_view:
            grad_x[self.index] = grad
        else:
            xp.add.at(grad_x, self.index, grad)
        return (grad_x,)


class Gather(Function):
    """y[i, j, k] = x[i, index[i, j, k], k] (for axis 1): along `axis`, the elements that `index` names.

    The result has the shape of `index`, which may be smaller than x along the other axes.
    """

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x, index):
        self.input_shape = x.shape
        self.save(index)
        return x[self._places(index)]

    def backward(self, grad):
        (index,) = self.saved
        xp = xp_of(grad)
        grad_x = xp.zeros(self.input_shape, grad.dtype)
        xp.add.at(grad_x, self._places(index), grad)
        return grad_x, None

    def _places(self, index: Array) -> tuple[Array, ...]:
        """The full index: `index` along the axis, and every position's own number along the others."""
        places = list(xp_of(index).ogrid[tuple(slice(n) for n in index.shape)])
        if places:  # a number has one element, and no axis to choose along
            places[self.axis] = index
        return tuple(places)
