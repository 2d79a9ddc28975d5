"""The network in use: measuring it, and asking it.

Both functions switch the model to inference mode, record no gradients, and leave every part of it
in the mode in which they found it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.backend import Array, to_device
from minicnn.data.prefetch import sent_ahead
from minicnn.nn import Module
from minicnn.nn import functional as F
from minicnn.train.batches import Data, as_loader, device_of_model, inputs_and_targets
from minicnn.train.metrics import (
    Averages,
    Metric,
    Metrics,
    are_class_labels,
    as_number,
    measure,
    named_metrics,
    top_k_accuracy,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def evaluate(
    model: Module,
    data: Data,
    *,
    batch_size: int = 256,
    loss: Loss | None = None,
    metrics: Metrics = (),
    top_k: Sequence[int] = (1, 5),
) -> dict[str, float]:
    """Measure how well `model` does on `data`.

    Args:
        model: the network.
        data: a pair (inputs, targets) of tensors or arrays, a Dataset or a DataLoader.
        batch_size: examples computed at a time; for a DataLoader, its own counts.
        loss: a function of (outputs, targets) that returns the mean over a batch; cross-entropy
            where left out.
        metrics: further measures of that form, a list of functions or a dict with names.
        top_k: where the targets are class labels, measure how often the label is among the k
            highest scores, for each of these k that is no larger than the number of classes.

    Returns:
        "loss", "accuracy" (k = 1), "top_5_accuracy" and the other metrics, averaged over all
        examples.

    Raises:
        ValueError: no data, or shapes that do not fit.
        TypeError: data or batches of another kind.
    """
    loader = as_loader("evaluate: data", data, batch_size)
    with inference_mode(model):
        return measure_batches(
            model, loader, loss or F.cross_entropy, named_metrics("evaluate", metrics), top_k
        )


def measure_batches(
    model: Module, loader: Iterable, loss: Loss, metrics: dict[str, Metric], top_k: Sequence[int]
) -> dict[str, float]:
    """Return the averages of the loss and the metrics over all batches."""
    averages, device = Averages(), device_of_model(model)
    for batch in sent_ahead(loader, device):
        inputs, targets = inputs_and_targets("evaluate", batch, device)
        outputs = model(inputs)
        values = {"loss": as_number(loss(outputs, targets))}
        ranks = _rank_metrics(top_k, outputs.shape[1]) if are_class_labels(outputs, targets) else {}
        averages.add(values | measure(ranks | metrics, outputs, targets), len(targets))
    return averages.means()


def _rank_metrics(top_k: Sequence[int], classes: int) -> dict[str, Metric]:
    """Return the accuracies for those k that do not exceed the number of classes."""
    return {
        "accuracy" if k == 1 else f"top_{k}_accuracy": partial(top_k_accuracy, k=k)
        for k in top_k
        if k <= classes
    }


def predict(model: Module, images: Tensor | Array, batch_size: int = 256) -> np.ndarray:
    """Return what `model` computes for `images`.

    Args:
        model: the network.
        images: its inputs, (N, ...); they are moved to the model's device.
        batch_size: how many are computed at a time.

    Returns:
        The outputs in main memory, (N, ...); for a classifier scores, of which `.argmax(1)` is the
        predicted class.

    Raises:
        TypeError: a dataset instead of its images.
        ValueError: inputs without axes, or a batch size below 1.
    """
    if not isinstance(images, Tensor) and not hasattr(images, "shape"):
        raise TypeError(
            "predict: images: expected a tensor or an array (N, ...), got "
            f"{type(images).__name__}; of a TensorDataset the images are dataset.tensors[0]"
        )
    images = Tensor(images)
    if images.ndim == 0 or batch_size < 1:
        raise ValueError(
            f"predict: expected images (N, ...) and batch_size >= 1, got {images.shape} and "
            f"{batch_size}"
        )
    device, parts = device_of_model(model), []
    with inference_mode(model):
        for start in range(0, max(len(images), 1), batch_size):  # no image is one empty batch
            batch = Tensor(images.array[start : start + batch_size]).to(device)
            parts.append(to_device(model(batch).array, "cpu"))
    return np.concatenate(parts)


@contextmanager
def inference_mode(model: Module) -> Iterator[None]:
    """Evaluate without gradients inside the block."""
    with mode(model, training=False), no_grad():
        yield


@contextmanager
def mode(model: Module, training: bool) -> Iterator[None]:
    """Switch all modules to one mode inside the block; afterwards each has its own again."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
