"""Rows of a table, looked up by number: word vectors and class codes."""

from minicnn.backend import Array, xp_of
from minicnn.ops.function import Function
from minicnn.tensor import Tensor, apply


class Embedding(Function):
    """y[...] = w[index[...]]; dL/dw[i] = the sum of dL/dy over the places where index is i."""

    def __init__(self, index: Array, padding_idx: int | None):
        self.index = index
        self.padding_idx = padding_idx

    def forward(self, weight):
        self.weight_shape = weight.shape
        return weight[self.index]

    def backward(self, grad):
        xp = xp_of(grad)
        grad_weight = xp.zeros(self.weight_shape, grad.dtype)
        xp.add.at(grad_weight, self.index, grad)
        if self.padding_idx is not None:
            grad_weight[self.padding_idx] = 0
        return (grad_weight,)


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Look up rows of `weight`.

    Args:
        index: integers in [0, rows), any shape.
        weight: (rows, features).
        padding_idx: a row that learns nothing.

    Returns:
        (*index.shape, features).

    Raises:
        TypeError: for an index that is not of integers.
        ValueError: for an index outside the table.
    """
    numbers = index.array
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"embedding: expected integers as index, got {numbers.dtype} of shape {numbers.shape}; use .long()")
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < weight.shape[0]:
        raise ValueError(
            f"embedding: index must lie in [0, {weight.shape[0]}) for a weight of shape {weight.shape}, got values from "
            f"{int(numbers.min())} to {int(numbers.max())}"
        )
    return apply(Embedding(numbers, padding_idx), weight)


def one_hot(index: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of the identity matrix: (*index.shape, num_classes), int64; -1 counts the classes from the largest index."""
    numbers = index.array
    classes = int(numbers.max()) + 1 if num_classes == -1 else num_classes
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < classes:
        raise ValueError(f"one_hot: index must lie in [0, {classes}), got {int(numbers.min())} to {int(numbers.max())}")
    return Tensor(xp_of(numbers).eye(classes, dtype="int64")[numbers])
