"""The Tensor's methods that reduce axes: sums, means, extremes, norms, softmax.

Axes are PyTorch's `dim` and `keepdim`; NumPy's `axis` and `keepdims` are understood as well.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicnn.autograd import capturing
from minicnn.autograd.axes import axis_of
from minicnn.backend import xp_of
from minicnn.ops import reduction
from minicnn.ops.elementwise import RootOfSquares
from minicnn.ops.shape import Gather

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor

Dims = int | tuple[int, ...] | None


class ValuesAndIndices(NamedTuple):
    """What an extreme along one axis returns."""

    values: "Tensor"
    indices: "Tensor"


def numpy_names(method: Callable) -> Callable:
    """Let `method` take `axis` for `dim` and `keepdims` for `keepdim`.

    NumPy's function of the same name calls the method too, with `out`, which only NumPy has: `np.mean(tensor)`
    is NumPy's affair, as `np.exp(tensor)` is.
    """
    method.__qualname__ = f"Tensor.{method.__name__}"  # what Python calls it in messages

    @functools.wraps(method)
    def renamed(self: "Tensor", *args: Any, **options: Any) -> Any:
        if "out" in options and hasattr(np, method.__name__):
            return getattr(np, method.__name__)(np.asarray(self), *args, **options)
        if "axis" in options:
            options["dim"] = options.pop("axis")
        if "keepdims" in options:
            options["keepdim"] = options.pop("keepdims")
        return method(self, *args, **options)

    return renamed


class Reductions:
    """Reductions; `Tensor` supplies `apply`, `array` and the rest."""

    __slots__ = ()

    @numpy_names
    def sum(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """The sum over `dim` (one axis, several, or None or () for all)."""
        return self.apply(reduction.Sum(_axes(dim), keepdim))

    @numpy_names
    def mean(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """The mean over `dim`; NaN where there is nothing to average."""
        return self._floating(reduction.Mean(_axes(dim), keepdim))

    @numpy_names
    def var(self, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """The variance over `dim`: the squared distances from the mean, summed and divided by n - `correction`.

        That is infinity, or NaN where the distances are 0 too, for n <= `correction`.
        """
        distance = self - self.mean(dim, keepdim=True)
        total = (distance * distance).sum(dim, keepdim)
        count = self.numel() // max(total.numel(), 1)
        return total / max(count - correction, 0)

    @numpy_names
    def std(self, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """The standard deviation: the root of `var`; where it is 0, so is its gradient."""
        return self.var(dim, correction, keepdim).apply(RootOfSquares())

    @numpy_names
    def norm(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """The Euclidean norm over `dim`; where it is 0, so is its gradient."""
        return (self * self).sum(dim, keepdim)._floating(RootOfSquares())

    @numpy_names
    def amax(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """The largest element over `dim`; equals share its gradient."""
        return self.apply(reduction.Max(_axes(dim), keepdim))

    @numpy_names
    def amin(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """The smallest element over `dim`; equals share its gradient."""
        return self.apply(reduction.Min(_axes(dim), keepdim))

    @numpy_names
    def max(self, dim: Any = None, keepdim: bool = False) -> "Tensor | ValuesAndIndices":
        """The largest element; along one axis (values, indices), where the first of equals is taken.

        Given another tensor in place of `dim`: the larger of both, element by element.
        """
        if isinstance(dim, Reductions):
            return self.maximum(dim)
        if dim is None:
            return self.amax()
        return self._choose(self.argmax(dim, keepdim=True), dim, keepdim)

    @numpy_names
    def min(self, dim: Any = None, keepdim: bool = False) -> "Tensor | ValuesAndIndices":
        """The smallest element; along one axis (values, indices), where the first of equals is taken.

        Given another tensor in place of `dim`: the smaller of both, element by element.
        """
        if isinstance(dim, Reductions):
            return self.minimum(dim)
        if dim is None:
            return self.amin()
        return self._choose(self.argmin(dim, keepdim=True), dim, keepdim)

    def _choose(self, indices: "Tensor", dim: int, keepdim: bool) -> ValuesAndIndices:
        """The elements at `indices` along `dim`."""
        values = self.gather(dim, indices)
        return ValuesAndIndices(*((t if keepdim else t.squeeze(dim)) for t in (values, indices)))

    def gather(self, dim: int, index: "Tensor") -> "Tensor":
        """One element along `dim` for each entry of `index` (int64), which has as many axes as this tensor."""
        axis = axis_of("gather", dim, self.ndim)
        if index.ndim != self.ndim or index.dtype.kind not in "iu":
            raise ValueError(
                f"gather: expected integer indices with the {self.ndim} axes of {self.shape}, got "
                f"{index.dtype} of shape {index.shape}"
            )
        return self.apply(Gather(axis), index)

    @numpy_names
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        """The position of the largest element (the first of equals, the first NaN), as int64."""
        return type(self)._wrap(
            capturing.computed(lambda a: a.argmax(axis=dim, keepdims=keepdim), self.array)
        )

    @numpy_names
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        """The position of the smallest element (the first of equals, the first NaN), as int64."""
        return type(self)._wrap(
            capturing.computed(lambda a: a.argmin(axis=dim, keepdims=keepdim), self.array)
        )

    @numpy_names
    def any(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """Whether an element is non-zero."""
        return type(self)._wrap(
            capturing.computed(lambda a: a.any(axis=_axes(dim), keepdims=keepdim), self.array)
        )

    @numpy_names
    def all(self, dim: Dims = None, keepdim: bool = False) -> "Tensor":
        """Whether all elements are non-zero."""
        return type(self)._wrap(
            capturing.computed(lambda a: a.all(axis=_axes(dim), keepdims=keepdim), self.array)
        )

    def isnan(self) -> "Tensor":
        """Where the elements are NaN."""
        return type(self)._wrap(capturing.computed(xp_of(self.array).isnan, self.array))

    @numpy_names
    def softmax(self, dim: int) -> "Tensor":
        """e^x / sum e^x along `dim`."""
        return self._floating(reduction.Softmax(dim))

    @numpy_names
    def log_softmax(self, dim: int) -> "Tensor":
        """The logarithm of `softmax`, computed without its rounding."""
        return self._floating(reduction.LogSoftmax(dim))


def _axes(dim: Dims) -> int | tuple[int, ...] | None:
    """Return `dim` as NumPy wants it: a list becomes a tuple, and an empty one None, for all axes."""
    return tuple(dim) or None if isinstance(dim, (tuple, list)) else dim
