"""The DataLoader: goes through a dataset in batches, once an epoch, in a repeatable order."""

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from minicnn.backend import device as Device
from minicnn.data.dataset import fetch_batch
from minicnn.data.prefetch import sent_ahead
from minicnn.random import resolve


class DataLoader:
    """Batches of a dataset; `for x, y in loader:` is one epoch.

    The names, order and defaults of the arguments are those of `torch.utils.data.DataLoader`; its
    other arguments do not exist here. A shuffling loader draws another order every epoch; built
    with a given seed, it draws the same sequence of orders each time the program runs.

    Args:
        dataset: anything with a length and indexing. One with `fetch(indices)`, such as
            `TensorDataset`, is asked for whole batches; of others the examples are fetched singly
            and joined by `collate`.
        batch_size: examples a batch, >= 1.
        shuffle: whether to draw a new order every epoch.
        num_workers: accepted so that programs written for PyTorch run. Batches are made in the main
            thread, whatever its value: indexing arrays in memory takes less time than handing
            batches between processes.
        collate_fn: makes a batch from a list of examples, instead of `collate` or `fetch`.
        drop_last: leave out the last batch where it is smaller than the others.
        generator: a seed, a generator, or None for the global generator
            (`minicnn.random.manual_seed`).
        pin_memory: accepted so that programs written for PyTorch run: copies to a GPU pass through pinned
            memory, whatever its value.
        device: where the batches shall be; None leaves them where the dataset makes them. To a GPU, each
            batch is copied while the one before is in use, see `minicnn/data/prefetch.py`.

    Yields:
        What the dataset makes of a batch: for a TensorDataset a tuple of tensors, (B, ...) each.

    Raises:
        ValueError, TypeError: batch_size or num_workers is not a whole number in range, or `device` no
            device.
    """

    def __init__(
        self,
        dataset: Sequence,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: int | np.random.Generator | None = None,
        pin_memory: bool = False,
        device: str | None = None,
    ) -> None:
        if isinstance(dataset, tuple):
            raise TypeError(
                "DataLoader: dataset: expected a dataset, got a tuple; for arrays of equal length use "
                "TensorDataset(images, labels)"
            )
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise TypeError(f"DataLoader: {name}: expected a whole number, got {value!r}")
            if value < least:
                raise ValueError(f"DataLoader: {name}: expected a number >= {least}, got {value}")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.num_workers = int(num_workers)
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = None if generator is None else resolve(generator)
        self.pin_memory = pin_memory
        self.device = None if device is None else Device(device)

    def __repr__(self) -> str:
        """Name the kind of dataset, and the settings that decide the batches."""
        return (
            f"DataLoader({type(self.dataset).__name__}, batch_size={self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if rest == 0 or self.drop_last else full + 1

    def __iter__(self) -> Iterator[Any]:
        """Start an epoch."""
        n = len(self.dataset)
        order = resolve(self.generator).permutation(n) if self.shuffle else np.arange(n)  # (N,)
        batches = (self._batch(order, number) for number in range(len(self)))
        return batches if self.device is None else sent_ahead(batches, self.device)

    def _batch(self, order: np.ndarray, number: int) -> Any:
        """Return batch `number` of the epoch."""
        indices = order[number * self.batch_size : (number + 1) * self.batch_size]  # (B,)
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[int(index)] for index in indices])
        return fetch_batch(self.dataset, indices)
