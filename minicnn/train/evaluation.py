"""The network in use: measuring it, and asking it.

Both functions switch the model to inference mode, record no gradients, and leave every part of it
in the mode in which they found it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

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
    Number,
    are_class_labels,
    as_number,
    measure,
    named_metrics,
    top_k_accuracies,
)
from minicnn.train.recording import Inference, inference_of, length_of

Loss = Callable[[Tensor, Tensor], Tensor]


def evaluate(
    model: Module,
    data: Data,
    *,
    batch_size: int = 256,
    loss: Loss | None = None,
    metrics: Metrics = (),
    top_k: Sequence[int] = (1, 5),
    capture: bool | None = None,
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
        capture: whether to record what a copy of the model does and to replay it, which is quicker and gives
            the same bits, see `minicnn.capture`; None does so for 100 batches and more, on the CPU, if all
            parts of the model are minicnn's own.

    Returns:
        "loss", "accuracy" (k = 1), "top_5_accuracy" and the other metrics, averaged over all
        examples.

    Raises:
        ValueError: no data, or shapes that do not fit.
        TypeError: data or batches of another kind.
    """
    loader = as_loader("evaluate: data", data, batch_size)
    named, device = named_metrics("evaluate", metrics), device_of_model(model)
    with inference_mode(model), inference_of(model, length_of(loader), capture) as infer:
        return measure_batches(infer, loader, device, loss or F.cross_entropy, named, top_k)


def measure_batches(
    infer: Inference,
    loader: Iterable,
    device: str,
    loss: Loss,
    metrics: dict[str, Metric],
    top_k: Sequence[int],
) -> dict[str, float]:
    """Return the averages of the loss and the metrics over all batches."""
    averages = Averages()
    for batch in sent_ahead(loader, device):
        inputs, targets = inputs_and_targets("evaluate", batch, device)
        outputs = infer(inputs)
        values = {"loss": as_number(loss(outputs, targets))}
        if are_class_labels(outputs, targets):
            values |= _accuracies(outputs, targets, top_k)
        averages.add(values | measure(metrics, outputs, targets), len(targets))
    return averages.means()


def _accuracies(outputs: Tensor, targets: Tensor, top_k: Sequence[int]) -> dict[str, Number]:
    """Return the accuracies for those k that do not exceed the number of classes."""
    known = [k for k in top_k if k <= outputs.shape[1]]
    names = ["accuracy" if k == 1 else f"top_{k}_accuracy" for k in known]
    found = top_k_accuracies(outputs, targets, known) if known else []
    return {name: as_number(value) for name, value in zip(names, found, strict=True)}


def predict(
    model: Module,
    images: Tensor | Array,
    batch_size: int = 256,
    *,
    capture: bool | None = None,
) -> np.ndarray:
    """Return what `model` computes for `images`.

    Args:
        model: the network.
        images: its inputs, (N, ...); they are moved to the model's device.
        batch_size: how many are computed at a time.
        capture: see `evaluate`.

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
    starts = range(0, max(len(images), 1), batch_size)  # no image is one empty batch
    with inference_mode(model), inference_of(model, len(starts), capture) as infer:
        for start in starts:
            batch = Tensor(images.array[start : start + batch_size]).to(device)
            parts.append(to_device(infer(batch).array, "cpu"))
    return np.concatenate(parts)


@contextmanager
def inference_mode(model: Module) -> Iterator[None]:
    """Evaluate without gradients inside the block."""
    with mode(model, training=False), no_grad():
        yield


@contextmanager
def mode(model: Module, training: bool) -> Iterator[None]:
    """Switch all modules to one mode inside the block; afterwards each has its own again."""
    before = [(module, module.training) for module in model.modules()]
    if any(was_training is not training for _, was_training in before):
        model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            if module.training is not was_training:
                module.training = was_training
