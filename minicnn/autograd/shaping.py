"""The Tensor's methods that change its shape: reshape, permute, squeeze, expand, index, split.

Nothing is computed and, where NumPy can, nothing is copied.
"""

import math
from typing import TYPE_CHECKING, Any

from minicnn.autograd.arithmetic import unwrap_index
from minicnn.autograd.axes import axis_of, sizes_of
from minicnn.ops import shape as ops

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class Shaping:
    """Changes of shape; `Tensor` supplies `apply`, `array` and the rest."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> "Tensor":
        return self.apply(ops.GetItem(unwrap_index(index, self.array)))

    def reshape(self, *shape: Any) -> "Tensor":
        """The elements in row-major order in a new shape; one size may be -1 and is computed."""
        shape = sizes_of(shape)
        if min(shape, default=0) >= -1:
            try:
                return self.apply(ops.Reshape(shape))
            except ValueError:
                pass
        raise ValueError(
            f"reshape: the {self.numel()} elements of shape {self.shape} do not fit into {shape}"
        )

    def view(self, *shape: Any) -> "Tensor":
        """The same as `reshape`."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Tensor":
        """Join the axes from `start_dim` to `end_dim` (included) into one."""
        shape = self.array.shape
        start = axis_of("flatten", start_dim, len(shape))
        end = axis_of("flatten", end_dim, len(shape))
        if start > end:
            raise ValueError(
                f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}"
            )
        joined = math.prod(shape[start : end + 1])
        return self.apply(ops.Reshape((*shape[:start], joined, *shape[end + 1 :])))

    def permute(self, *dims: Any) -> "Tensor":
        """The axes in another order: axis i of the result is axis dims[i] of this tensor."""
        order = tuple(axis_of("permute", d, self.ndim) for d in sizes_of(dims))
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(
                f"permute: expected each of the {self.ndim} axes of {self.shape} once, "
                f"got {sizes_of(dims)}"
            )
        return self.apply(ops.Permute(order))

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Exchange two axes."""
        a, b = axis_of("transpose", dim0, self.ndim), axis_of("transpose", dim1, self.ndim)
        order = list(range(self.ndim))
        if order:
            order[a], order[b] = b, a
        return self.apply(ops.Permute(tuple(order)))

    def t(self) -> "Tensor":
        """The transpose of a matrix."""
        return self.T

    @property
    def T(self) -> "Tensor":  # noqa: N802 (NumPy's name)
        """All axes in reversed order."""
        return self.apply(ops.Permute(tuple(reversed(range(self.ndim)))))

    def squeeze(self, dim: int | None = None) -> "Tensor":
        """Drop axis `dim` if its size is 1, or all axes of size 1."""
        chosen = range(self.ndim) if dim is None else (axis_of("squeeze", dim, self.ndim),)
        return self.reshape(*(n for i, n in enumerate(self.shape) if n != 1 or i not in chosen))

    def unsqueeze(self, dim: int) -> "Tensor":
        """Add an axis of size 1 at position `dim`."""
        position = axis_of("unsqueeze", dim, self.ndim + 1)
        return self.reshape(*self.shape[:position], 1, *self.shape[position:])

    def expand(self, *shape: Any) -> "Tensor":
        """Repeat axes of size 1, and new axes in front, without copying; -1 keeps a size."""
        shape = sizes_of(shape)
        kept = (1,) * (len(shape) - self.ndim) + self.shape
        sizes = tuple(k if n == -1 else n for n, k in zip(shape, kept, strict=False))
        fits = len(shape) >= self.ndim and min(sizes, default=0) >= 0
        if not fits or any(k not in (1, n) for n, k in zip(sizes, kept, strict=True)):
            raise ValueError(
                f"expand: shape {self.shape} cannot be repeated to {shape}; only axes of size 1 grow"
            )
        return self.apply(ops.Expand(sizes))

    def expand_as(self, other: "Tensor") -> "Tensor":
        """Repeat to the shape of `other`."""
        return self.expand(*other.shape)

    def flip(self, *dims: Any) -> "Tensor":
        """Reverse the order along `dims`."""
        return self.apply(ops.Flip(sizes_of(dims)))

    def split(self, split_size: int, dim: int = 0) -> tuple["Tensor", ...]:
        """Slices of `split_size` along `dim`; the last may be shorter."""
        if split_size < 1:
            raise ValueError(f"split: expected slices of at least 1, got split_size {split_size}")
        axis = axis_of("split", dim, self.ndim)
        before = (slice(None),) * axis
        starts = range(0, self.shape[axis], split_size)
        return tuple(self[(*before, slice(start, start + split_size))] for start in starts)

    def chunk(self, chunks: int, dim: int = 0) -> tuple["Tensor", ...]:
        """At most `chunks` slices of equal size along `dim`; the last may be shorter."""
        if chunks < 1:
            raise ValueError(f"chunk: expected at least 1 chunk, got {chunks}")
        size = self.shape[axis_of("chunk", dim, self.ndim)]
        return self.split(max(-(-size // chunks), 1), dim)
