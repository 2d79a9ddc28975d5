"""Free functions on tensors, for those who write `minicnn.exp(x)` rather than `x.exp()`, and for joining several."""

from collections.abc import Sequence
from typing import Any

from minicnn.autograd.arithmetic import tensor_like
from minicnn.autograd.axes import axis_of
from minicnn.autograd.core import Tensor, apply
from minicnn.ops.shape import Concatenate


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing axis; their other axes must agree.

    Raises:
        ValueError: for an empty list, or shapes that differ off `dim`.
        TypeError: for mixed dtypes.
    """
    tensors = _checked("cat", tensors)
    shapes = [tensor.shape for tensor in tensors]
    axis = axis_of("cat", dim, tensors[0].ndim)
    if tensors[0].ndim == 0 or len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"cat: off axis {dim} the shapes must agree and have axes, got {shapes}")
    return apply(Concatenate(axis), *tensors)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new axis.

    Raises:
        ValueError: for an empty list, or shapes that differ.
        TypeError: for mixed dtypes.
    """
    tensors = _checked("stack", tensors)
    shapes = [tensor.shape for tensor in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"stack: the shapes must agree, got {shapes}; cat joins along an old axis")
    return cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def _checked(where: str, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the tensors to join; there must be some, of one dtype."""
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError(f"{where}: expected at least one tensor, got none")
    dtypes = {tensor.dtype.name for tensor in tensors}
    if len(dtypes) > 1:
        raise TypeError(f"{where}: mixed dtypes {sorted(dtypes)}; convert with .to(dtype)")
    return tensors


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """`a` where `condition` holds, else `b`."""
    like = next((x for x in (a, b) if isinstance(x, Tensor)), Tensor(a))
    return tensor_like(a, like).where(condition, b)


def maximum(a: Tensor, b: Any) -> Tensor:
    """The larger of two values, element by element."""
    return a.maximum(b)


def minimum(a: Tensor, b: Any) -> Tensor:
    """The smaller of two values, element by element."""
    return a.minimum(b)


def matmul(a: Tensor, b: Any) -> Tensor:
    """The matrix product; see `Tensor.matmul`."""
    return a @ b


mm = bmm = mv = dot = matmul


def exp(x: Tensor) -> Tensor:
    """e^x."""
    return x.exp()


def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return x.log()


def sqrt(x: Tensor) -> Tensor:
    """The square root."""
    return x.sqrt()


def abs(x: Tensor) -> Tensor:
    """|x|."""
    return x.abs()


def sin(x: Tensor) -> Tensor:
    """The sine of an angle in radians."""
    return x.sin()


def cos(x: Tensor) -> Tensor:
    """The cosine of an angle in radians."""
    return x.cos()


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return x.tanh()


def sigmoid(x: Tensor) -> Tensor:
    """The logistic sigmoid."""
    return x.sigmoid()


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return x.relu()


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x / sum e^x along `dim`."""
    return x.softmax(dim)


def sum(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim`."""
    return x.sum(dim, keepdim)


def mean(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim`."""
    return x.mean(dim, keepdim)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim` into one."""
    return x.flatten(start_dim, end_dim)


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the largest element."""
    return x.argmax(dim, keepdim)
