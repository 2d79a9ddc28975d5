"""Measures of quality: how often, or by how much, a network is wrong.

A metric takes what the network returned for a batch and what it should have returned, as tensors or
arrays, and gives one number, the mean over the batch. Any function of that form can be used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.convert import array_of
from minicnn.backend import Array, check_one_device, to_device, xp_of
from minicnn.nn.functional.checks import refuse_where

Metric = Callable[[Tensor, Tensor], Any]
Metrics = Mapping[str, Metric] | Iterable[Metric]
Number = float | Tensor
"""A number, or a tensor with one element on a GPU, for which nobody has waited."""

IGNORED = -100
"""The label of positions that do not count, as in `cross_entropy` where nothing else is said."""


def accuracy(outputs: Tensor | Array, targets: Tensor | Array) -> Number:
    """The share of examples whose label has the highest score.

    Args:
        outputs: scores or probabilities, (N, K), or (N, K, ...) with a decision for each position.
        targets: labels 0 to K - 1, (N,) or (N, ...), whole numbers. Positions with the label -100,
            which `cross_entropy` leaves out of the loss, are left out here too.

    Returns:
        A number from 0 to 1, or NaN where every position is left out. Of equal scores the first
        counts as the highest; where a score is NaN, the network has not decided, and is wrong. On a GPU
        it is a tensor with that number, for which nobody has waited yet.

    Raises:
        ValueError: no examples, shapes that do not belong together, labels that are no classes.
        TypeError: labels that are not whole numbers.
    """
    return top_k_accuracy(outputs, targets, k=1)


def top_k_accuracy(outputs: Tensor | Array, targets: Tensor | Array, k: int = 5) -> Number:
    """The share of examples whose label is among the `k` highest scores.

    Args:
        outputs: see `accuracy`, also for the result and the errors.
        targets: see `accuracy`.
        k: how many guesses the network has, 1 to K.
    """
    return top_k_accuracies(outputs, targets, [k])[0]


def top_k_accuracies(
    outputs: Tensor | Array, targets: Tensor | Array, top_k: Sequence[int]
) -> list[Number]:
    """`top_k_accuracy` for several k, which share most of the work."""
    scores, labels = _scores_and_labels("top_k_accuracy", outputs, targets)
    xp, classes = xp_of(scores), scores.shape[1]
    for k in top_k:
        if not 1 <= k <= classes:
            raise ValueError(f"top_k_accuracy: k: expected 1 to {classes}, the classes, got {k}")
    counted = labels != IGNORED  # (N, ...)
    labels = xp.where(counted, labels, 0)[:, None]  # (N, 1, ...)
    own = xp.take_along_axis(scores, labels, axis=1)  # (N, 1, ...)
    order = xp.arange(classes).reshape(classes, *[1] * (scores.ndim - 2))  # (K, ...)
    earlier = (scores == own) & (order < labels)  # (N, K, ...)
    beaten_by = ~(scores <= own) | earlier  # (N, K, ...); NaN beats all
    ranks, total = beaten_by.sum(axis=1), counted.sum()  # (N, ...) from 0, ()
    with np.errstate(invalid="ignore"):  # of nothing, the share is NaN
        return [_number(((ranks < k) & counted).sum() / total) for k in top_k]


def mean_absolute_error(outputs: Tensor | Array, targets: Tensor | Array) -> Number:
    """The mean of |output - target| over all elements; on a GPU, see `accuracy`.

    Args:
        outputs: predictions, any shape.
        targets: what they should be, of the same shape.

    Raises:
        ValueError: no elements, or different shapes.
    """
    predicted, expected = array_of(outputs), array_of(targets)
    if predicted.shape != expected.shape or predicted.size == 0:
        raise ValueError(
            f"mean_absolute_error: expected outputs and targets of the same shape with at least "
            f"one element, got {predicted.shape} and {expected.shape}"
        )
    return _number(abs(predicted - expected).mean())


def _number(value: Array) -> Number:
    """Return a single number: a float, or a tensor where reading it would be a wait for a GPU."""
    return float(value) if xp_of(value) is np else Tensor(value)


def confusion_matrix(
    predicted: Tensor | Array, targets: Tensor | Array, num_classes: int
) -> np.ndarray:
    """Count how often examples of one class were taken for another.

    Args:
        predicted: labels that the network chose, such as `predict(model, x).argmax(1)`, (N,).
        targets: the true labels, (N,).
        num_classes: K.

    Returns:
        (K, K) int64: row i, column j counts the examples of class i that were taken for class j, so
        the diagonal holds the right answers.

    Raises:
        ValueError: different shapes, or labels outside 0 to K - 1.
        TypeError: labels that are not whole numbers.
    """
    where = "confusion_matrix"
    chosen, true = (to_device(array_of(labels), "cpu") for labels in (predicted, targets))
    if chosen.shape != true.shape or chosen.ndim != 1:
        raise ValueError(
            f"{where}: expected predicted and target labels of one shape (N,), got {chosen.shape} "
            f"and {true.shape}; scores become labels with .argmax(1)"
        )
    _check_labels(where, "predicted", chosen, num_classes)
    _check_labels(where, "targets", true, num_classes)
    pairs = true.astype(np.int64) * num_classes + chosen.astype(np.int64)  # (N,)
    counts = np.bincount(pairs, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def are_class_labels(outputs: Tensor, targets: Tensor) -> bool:
    """Whether `targets` are labels, (N, ...) whole numbers, for scores (N, K, ...)."""
    return targets.dtype.kind in "iu" and outputs.ndim == targets.ndim + 1


def named_metrics(where: str, metrics: Metrics) -> dict[str, Metric]:
    """Return metrics by name: those of a mapping, or the functions' own.

    Raises:
        TypeError: for a metric that cannot be called.
        ValueError: for a name that the history needs for something else.
    """
    if not isinstance(metrics, Mapping):
        metrics = {getattr(metric, "__name__", str(metric)): metric for metric in metrics}
    for name, metric in metrics.items():
        if not callable(metric):
            raise TypeError(
                f"{where}: metrics: expected functions of (outputs, targets), got {metric!r}"
            )
        if name in ("loss", "lr", "seconds") or name.startswith("val_"):
            raise ValueError(f"{where}: metrics: the name {name!r} is taken; use another")
    return dict(metrics)


class Averages:
    """Means over the examples of several batches, from the means over each batch.

    Numbers on a GPU are added up there, and read when somebody asks for the means.
    """

    def __init__(self) -> None:
        self._totals: dict[str, Number] = {}
        self._count = 0

    def add(self, values: Mapping[str, Number], count: int) -> None:
        """Take note of the means over a batch of `count` examples."""
        self._count += count
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0.0) + value * count

    def means(self) -> dict[str, float]:
        """Return the means over all examples so far."""
        return {name: float(total) / self._count for name, total in self._totals.items()}


def measure(metrics: Mapping[str, Metric], outputs: Tensor, targets: Tensor) -> dict[str, Number]:
    """Return the value of each metric for a batch."""
    return {name: as_number(metric(outputs, targets)) for name, metric in metrics.items()}


def as_number(value: Any) -> Number:
    """Return a value with one element as a float, or as a float64 tensor that stays on its GPU."""
    on_gpu = isinstance(value, Tensor) and value.device != "cpu"
    return value.detach().double().reshape(()) if on_gpu else float(value)


def _scores_and_labels(where: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Check that the two belong together, and return them as arrays."""
    scores, labels = array_of(outputs), array_of(targets)
    if scores.ndim < 2 or labels.shape != (scores.shape[0], *scores.shape[2:]) or labels.size == 0:
        raise ValueError(
            f"{where}: expected scores (N, K) and labels (N,) with N > 0, got outputs "
            f"{scores.shape} and targets {labels.shape}"
        )
    check_one_device(where, outputs=scores, targets=labels)
    if xp_of(labels) is np:
        _check_labels(where, "targets", labels[labels != IGNORED], scores.shape[1])
    else:
        _check_labels_later(where, labels, scores.shape[1])
    return scores, labels


def _check_labels_later(where: str, labels: Array, classes: int) -> None:
    """Refuse labels on a GPU that are no classes, when next the host reads something."""
    _check_integers(where, "targets", labels)
    outside = ((labels < 0) | (labels >= classes)) & (labels != IGNORED)

    def error(place: int, label: int) -> ValueError:
        return ValueError(
            f"{where}: targets: expected labels 0 to {classes - 1}, got {label}, which is number {place} "
            "in row-major order"
        )

    refuse_where(outside, where, labels, error, classes)


def _check_labels(where: str, name: str, labels: Array, classes: int) -> None:
    _check_integers(where, name, labels)
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"{where}: {name}: expected labels 0 to {classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )


def _check_integers(where: str, name: str, labels: Array) -> None:
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{where}: {name}: expected whole numbers as labels, got {labels.dtype}")
