"""From what a user hands in as data to batches of (inputs, targets) on the model's device."""

from collections.abc import Iterable, Iterator
from typing import Any

from minicnn.autograd import Tensor
from minicnn.backend import is_array
from minicnn.data import DataLoader, ImageData, Prepared, TensorDataset
from minicnn.nn import Module

Data = Any
"""A pair (inputs, targets) of tensors or arrays, a Dataset, or a DataLoader."""


def as_loader(where: str, data: Data, batch_size: int, training: bool = False) -> Iterable:
    """Return something that gives the batches of an epoch each time it is walked through.

    Args:
        where: the function and its argument, for messages.
        data: a pair of tensors or arrays (N, ...), or a dataset, such as a list of examples: these
            are cut into batches. A DataLoader, or anything else to iterate over, is used as it is.
        batch_size: examples a batch.
        training: whether to draw a new order every epoch, and to leave out a last batch of one
            example, which BatchNorm could not normalise; it is another example every epoch.

    Raises:
        TypeError: for anything else, and for an iterator, which only serves once.
        ValueError: for data without examples.
    """
    if isinstance(data, tuple | list) and len(data) == 2 and _is_tensor(data[0]):
        data = TensorDataset(*data)
    if _is_tensor(data):
        raise TypeError(
            f"{where}: expected a pair (inputs, targets), a Dataset or a DataLoader, got one array "
            f"of shape {data.shape}; put the two into one pair of brackets: (inputs, targets)"
        )
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        loader = DataLoader(data, batch_size, shuffle=training)
        loader.drop_last = training and len(data) > 1 and len(data) % loader.batch_size == 1
    elif isinstance(data, Iterable) and not isinstance(data, Iterator):
        loader = data
    else:
        images = isinstance(data, ImageData | Prepared)
        hint = "; use the parts of prepare(data): .train, .validation, .test" if images else ""
        raise TypeError(
            f"{where}: expected a pair (inputs, targets), a Dataset or a DataLoader, got "
            f"{type(data).__name__}{hint}"
        )
    if hasattr(loader, "__len__") and len(loader) == 0:
        raise ValueError(
            f"{where}: there is no batch: the dataset is empty, or smaller than one batch of a "
            "DataLoader with drop_last=True"
        )
    return loader


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or is_array(value)


def inputs_and_targets(where: str, batch: Any, device: str) -> tuple[Tensor, Tensor]:
    """Return the two halves of a batch as tensors on `device`.

    Raises:
        TypeError: for a batch that is no pair.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        found = f"{len(batch)} values" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"{where}: expected batches of (inputs, targets), got {found}")
    inputs, targets = (Tensor(half).to(device) for half in batch)
    return inputs, targets


def device_of_model(model: Module) -> str:
    """Return where the model's parameters are; "cpu" for a model without any."""
    return next((parameter.device for parameter in model.parameters()), "cpu")
