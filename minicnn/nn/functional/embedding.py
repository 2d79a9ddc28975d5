"""Rows of a table, looked up by number: word vectors and class codes."""

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.kernels.capture import do
from minicnn.nn.functional.checks import check_tensor, refuse_where
from minicnn.ops.function import Function


class Embedding(Function):
    """y[...] = w[index[...]]; dL/dw[i] = the sum of dL/dy over the places where index is i."""

    def __init__(self, padding_idx: int | None):
        self.padding_idx = padding_idx

    def forward(self, index, weight):
        self.save(index)
        self.weight_shape = weight.shape
        return weight[index]

    def backward(self, grad):
        (index,) = self.saved
        xp = xp_of(grad)
        grad_weight = xp.zeros(self.weight_shape, grad.dtype)
        xp.add.at(grad_weight, index, grad)
        if self.padding_idx is not None:
            grad_weight[self.padding_idx] = 0
        return None, grad_weight


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Look up rows of `weight`.

    Args:
        index: integers in [0, rows), any shape.
        weight: (rows, features).
        padding_idx: a row that learns nothing; a negative number counts from the end.

    Returns:
        (*index.shape, features).

    Raises:
        TypeError: for an index that is not of integers.
        ValueError: for an index outside the table (on a GPU when next something is read), or a weight that
            is no table.
    """
    if weight.ndim != 2:
        raise ValueError(
            f"embedding: expected a weight of shape (rows, features), got {weight.shape}"
        )
    check_padding_idx(padding_idx, weight.shape[0])
    _check_index("embedding", index, weight.shape[0])
    return apply(Embedding(padding_idx), index, weight)


def one_hot(index: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of the identity matrix: (*index.shape, num_classes), int64; -1 counts the classes from the largest index.

    Raises:
        TypeError: for an index that is not of integers.
        ValueError: for an index outside [0, num_classes), and for -1 where there is no index.
    """
    if num_classes == -1 and isinstance(index, Tensor):
        if index.numel() == 0:
            raise ValueError(
                f"one_hot: num_classes cannot be found from no index, got shape {index.shape}; give it as a number"
            )
        num_classes = int(index.array.max()) + 1
    _check_index("one_hot", index, num_classes)
    return Tensor(xp_of(index.array).eye(num_classes, dtype="int64")[index.array])


def check_padding_idx(padding_idx: int | None, rows: int) -> None:
    """Refuse a row that the table has not.

    Raises:
        ValueError: with the number of rows.
    """
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(
            f"embedding: padding_idx must be a row of the table, in [{-rows}, {rows}), got {padding_idx}"
        )


def _check_index(where: str, index: Tensor, rows: int) -> None:
    check_tensor(where, "index", index)
    if index.dtype.kind not in "iu":
        raise TypeError(
            f"{where}: expected integers as index, got {index.dtype} of shape {index.shape}; use .long()"
        )
    do(_refuse_outside, where, index.array, rows)


def _refuse_outside(where: str, numbers: Array, rows: int) -> None:
    """Refuse an index outside [0, rows)."""
    shape = numbers.shape

    def error(place: int, number: int) -> ValueError:
        position = [int(i) for i in np.unravel_index(place, shape)]
        return ValueError(
            f"{where}: index must lie in [0, {rows}), got {number} at index{position} of shape {shape}"
        )

    refuse_where((numbers < 0) | (numbers >= rows), where, numbers, error, rows)
