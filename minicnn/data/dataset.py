"""Datasets: examples that can be counted and fetched by number.

Any object with `__len__` and `__getitem__` is a dataset. One that also has `fetch(indices)`, which
returns a whole batch at once, spares the loader the way through single examples.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backend import Array, device_of, to_device
from minicnn.data.collate import collate


class Dataset:
    """A base for one's own datasets: write `__len__` and `__getitem__`.

    `__getitem__(index)` returns one example, usually a tuple such as (image, label).
    """

    def __len__(self) -> int:
        """Return the number of examples."""
        raise NotImplementedError(f"{type(self).__name__}: a dataset must define __len__")

    def __getitem__(self, index: int) -> Any:
        """Return one example."""
        raise NotImplementedError(f"{type(self).__name__}: a dataset must define __getitem__")


class TensorDataset(Dataset):
    """Arrays of equal length side by side; example i is (a[i], b[i], ...).

    Args:
        tensors: tensors or arrays, (N, ...) each, with the same N; they are not copied.

    Attributes:
        tensors: the same as a tuple of tensors.

    Raises:
        ValueError: no tensors, one without axes, or different lengths.
    """

    def __init__(self, *tensors: Tensor | Array) -> None:
        self.tensors = tuple(Tensor(tensor) for tensor in tensors)
        shapes = [tensor.shape for tensor in self.tensors]
        if not shapes:
            raise ValueError("TensorDataset: expected at least one tensor, got none")
        if any(shape == () for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            listed = ", ".join(str(shape) for shape in shapes)
            raise ValueError(
                f"TensorDataset: expected shapes (N, ...) with the same N, got {listed}"
            )

    def __repr__(self) -> str:
        """Show dtypes and shapes instead of numbers."""
        listed = ", ".join(f"{tensor.dtype} {tensor.shape}" for tensor in self.tensors)
        return f"TensorDataset({listed})"

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.tensors[0].shape[0]

    def __getitem__(self, index: int | slice) -> tuple[Tensor, ...]:
        """Return example `index`, or the examples of a slice."""
        return tuple(Tensor(tensor.array[index]) for tensor in self.tensors)

    def fetch(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        """Return the examples at `indices` (B,) as tensors (B, ...), copied."""
        return tuple(
            Tensor(tensor.array[to_device(indices, device_of(tensor.array))])
            for tensor in self.tensors
        )


class Subset(Dataset):
    """Some examples of another dataset, in a given order.

    Args:
        dataset: anything with a length and indexing.
        indices: which of its examples; example i of the subset is `dataset[indices[i]]`.

    Raises:
        IndexError: an index outside the dataset.
        TypeError: indices that are not whole numbers.
    """

    def __init__(self, dataset: Sequence, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=None if len(indices) else np.intp)  # (M,)
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu":
            raise TypeError(
                f"Subset: indices: expected a flat list of whole numbers, "
                f"got {self.indices.dtype} of shape {self.indices.shape}"
            )
        n = len(dataset)
        wrong = self.indices[(self.indices < -n) | (self.indices >= n)]
        if wrong.size:
            raise IndexError(f"Subset: indices: the dataset has {n} examples, got index {wrong[0]}")

    def __repr__(self) -> str:
        """Show numbers of examples instead of the examples."""
        kind = type(self.dataset).__name__
        return f"Subset({len(self)} of the {len(self.dataset)} examples of a {kind})"

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return example `index` of the subset."""
        return self.dataset[int(self.indices[operator.index(index)])]

    def fetch(self, indices: np.ndarray) -> Any:
        """Return the batch at `indices` (B,) of the subset."""
        return fetch_batch(self.dataset, self.indices[indices])


def fetch_batch(dataset: Sequence, indices: np.ndarray) -> Any:
    """Return the examples of `dataset` at `indices` (B,) as one batch."""
    if hasattr(dataset, "fetch"):
        return dataset.fetch(indices)
    return collate([dataset[int(index)] for index in indices])
