"""Losses for one class out of C: cross-entropy, and its half after the logarithm.

Scores have the classes on axis 1: (N, C), or (N, C, d1, ...) with one decision for each position.
Targets are class numbers, (N,) or (N, d1, ...). The gradient of the cross-entropy with respect to
the scores is the reason why this loss goes with softmax: *probabilities minus truth*.

Class weights multiply the losses of their class, and the mean is then a weighted mean: it divides
by the sum of the weights. Positions whose label is `ignore_index` have weight 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.autograd.capturing import computed
from minicnn.backend import Array, check_one_device, xp_of
from minicnn.kernels import capture
from minicnn.kernels.arrays import first_true, sum_dtype
from minicnn.kernels.dispatch import sibling
from minicnn.kernels.shapes import Shape
from minicnn.nn.functional.checks import as_tensor, check_float, note_place, refuse_where
from minicnn.nn.functional.loss import check_pair, check_probabilities, check_reduction, reduce
from minicnn.ops.function import Function


class NegativeLogLikelihood(Function):
    """l_n = -w_n x[n, y_n] for log-probabilities x and labels y; dL/dx is -w_n dL/dl_n at y_n, and 0 elsewhere.

    w_n is the weight of the label's class, 1 where there are no weights, and 0 for `ignore_index`. "mean" divides
    the sum of the losses by that of all w_n.
    """

    def __init__(self, labels: Array, weights: Array | None, ignore_index: int, reduction: str):
        self.labels = labels
        self.settings = weights, ignore_index
        self.reduction = reduction

    def forward(self, x):  # (N, C, d1, ...) -> (), or (N, d1, ...) for "none"
        capture.refuse("the labels say what is computed")
        self.shape, xp = x.shape, xp_of(x)
        self.classes, self.factors = _classes_and_factors(self.labels, x, *self.settings)
        losses = times(-x[places(self.classes)], self.factors)
        if self.reduction == "none":
            return losses
        total = losses.sum(dtype=sum_dtype(x.dtype))
        if self.reduction == "mean":
            self.weight = xp.asarray(
                losses.size if self.factors is None else self.factors.sum(dtype=total.dtype)
            )
            total = total / self.weight
        return xp.asarray(total, x.dtype)

    def backward(self, grad):
        xp = xp_of(grad)
        if self.reduction == "mean":
            grad = (grad / self.weight).astype(grad.dtype, copy=False)
        grad_x = xp.zeros(self.shape, grad.dtype)
        share = xp.broadcast_to(grad, self.classes.shape)
        grad_x[places(self.classes)] = -times(share, self.factors)
        return (grad_x,)


class CrossEntropy(Function):
    """l_n = -sum_c t_nc ln softmax(x)_nc for the truth t that labels and settings stand for, reduced to one number.

    The equations are those of kernels/loss.py. "mean" divides the sum by that of the weights of the
    labels, so that dL/dl_n is dL/dmean over that sum, for all n; for "none", it comes from above.
    """

    def __init__(
        self, labels: Array, weights: Array, ignore_index: int, smoothing: float, reduction: str
    ):
        self.labels = labels
        self.settings = weights, ignore_index, smoothing
        self.reduction = reduction

    def forward(self, x):  # (N, C, d1, ...) -> (), or (N, d1, ...) for "none"
        scores = rows_of(x)
        self.by_row = capture.contiguous(self.labels).reshape(-1)  # (rows,)
        kernel = sibling("loss", x)
        losses, probabilities, self.weight, wrong = kernel.cross_entropy(
            scores, self.by_row, *self.settings
        )
        refuse_label("cross_entropy", self.labels, wrong, x.shape[1], self.settings[1])
        self.shape = x.shape
        self.save(probabilities)
        if self.reduction == "none":
            return losses.reshape(self.labels.shape)
        return kernel.total(losses, self.weight if self.reduction == "mean" else None)

    def backward(self, grad):
        (probabilities,) = self.saved
        kernel = sibling("loss", probabilities)
        share = capture.reshaped(grad, (-1,))  # (rows,), or (1,) for all rows
        if self.reduction == "mean":
            share = kernel.divided(share, self.weight)
        grad_rows = kernel.cross_entropy_grad(share, probabilities, self.by_row, *self.settings)
        return (images_of(grad_rows, self.shape),)


def rows_of(x: Array) -> Array:
    """Return scores (N, C, d1, ...) as (N * d1 * ..., C), a view where channels are innermost in memory."""
    if x.ndim == 2:
        return x
    return capture.reshaped(xp_of(x).moveaxis(x, 1, -1), (-1, x.shape[1]))


def images_of(rows: Array, shape: tuple[int, ...]) -> Array:
    """View rows as scores of `shape` again; the inverse of `rows_of`."""
    if len(shape) == 2:
        return rows
    N, C, *rest = shape
    return xp_of(rows).moveaxis(rows.reshape(N, *rest, C), -1, 1)


def places(labels: Array) -> tuple[Array, ...]:
    """The index [n, labels[n, d1, ...], d1, ...] of each label's score in an array (N, C, d1, ...)."""
    n, *rest = xp_of(labels).ogrid[tuple(slice(size) for size in labels.shape)]
    return n, labels, *rest


def times(values: Array, factors: Array | None) -> Array:
    """`values` times `factors`, where 0 times anything, NaN and infinity included, is 0."""
    if factors is None:
        return values
    return xp_of(values).where(factors == 0, 0, values * factors)


def nll_loss(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of the labels: minus the log-probability that the input gives to each.

    Args:
        input: log-probabilities (N, C), (N, C, d1, ...) or (C,), as `log_softmax(scores, 1)` makes
            them.
        target: class numbers; see `cross_entropy`, also for the result and the errors.
        weight: a factor for each class, (C,), or None.
        ignore_index: positions with this label count neither in the loss nor in the mean.
        reduction: "mean" (weighted by `weight`), "sum" or "none".
    """
    where = "nll_loss"
    labels = _checked_labels(where, input, target, reduction)
    x = input
    if input.ndim == 1:  # one example: a batch of one
        x, labels = input.unsqueeze(0), labels[None]
    weights = None if weight is None else _checked_weights(where, weight, x)
    loss = apply(NegativeLogLikelihood(labels, weights, ignore_index, reduction), x)
    return loss.squeeze(0) if input.ndim == 1 and reduction == "none" else loss


def _classes_and_factors(
    labels: Array, x: Array, weights: Array | None, ignore_index: int
) -> tuple[Array, Array | None]:
    """Return the class of each label, 0 for those that are ignored, and w_n, or None for 1 everywhere."""
    xp = xp_of(labels)
    ignored = _ignored_labels("nll_loss", labels, x.shape[1], ignore_index)
    if ignored is None:
        return labels, None if weights is None else weights[labels]
    classes = xp.where(ignored, 0, labels)
    of_class = xp.ones(x.shape[1], x.dtype) if weights is None else weights
    return classes, xp.where(ignored, 0, of_class[classes])


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy between softmax(input) and the target, from scores (logits): no softmax comes before it.

    Args:
        input: scores (N, C), (N, C, d1, ...), or (C,) for a single example.
        target: class numbers in [0, C), of any integer dtype and of the input's shape without the
            class axis; or probabilities, of the input's shape and dtype.
        weight: a factor for each class, (C,), or None.
        ignore_index: positions with this label count neither in the loss nor in the mean; for class
            numbers only.
        reduction: "mean" (weighted by `weight` for class numbers, over the positions for
            probabilities), "sum", "none".
        label_smoothing: in [0, 1]: this part of the truth is spread evenly over the classes
            (Szegedy et al., arXiv 1512.00567, section 7).

    Returns:
        One number, or with "none" a tensor of the input's shape without the class axis. The mean
        over no position at all is NaN.

    Raises:
        ValueError: for labels outside [0, C) (on a GPU when next something is read, such as the loss), and
            for shapes and settings that do not fit.
        TypeError: for labels that are not integers, and for mixed dtypes.
    """
    where = "cross_entropy"
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{where}: expected label_smoothing in [0, 1], got {label_smoothing}")
    smoothing = float(label_smoothing)
    target = as_tensor(target, like=input)
    if isinstance(input, Tensor) and target.shape == input.shape and target.dtype.kind == "f":
        return _soft_cross_entropy(where, input, target, weight, reduction, smoothing)
    labels = _checked_labels(where, input, target, reduction)
    if weight is None:
        weights = xp_of(labels).ones(input.shape[_class_axis(where, input)], input.dtype)
    else:
        weights = _checked_weights(where, weight, input)
    if input.ndim > 1:
        return apply(CrossEntropy(labels, weights, ignore_index, smoothing, reduction), input)
    batch = input.unsqueeze(0), labels[None]  # one example: a batch of one
    loss = apply(CrossEntropy(batch[1], weights, ignore_index, smoothing, reduction), batch[0])
    return loss.squeeze(0) if reduction == "none" else loss


def _soft_cross_entropy(
    where: str, input: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float
) -> Tensor:
    """Cross-entropy with probabilities t as the target, -sum_c w_c t_c ln softmax(x)_c."""
    check_pair(where, input, target, reduction)
    axis = _class_axis(where, input)
    hint = "a float target holds class probabilities"
    check_probabilities(where, "target", target, hint, rounding=1e-5)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / input.shape[axis]
    if weight is not None:
        target = target * _along_classes(_checked_weights(where, weight, input), input)
    losses = -(target * input.log_softmax(axis)).sum(axis)  # (N, d1, ...)
    return reduce(losses, reduction)


def _along_classes(weights: Array, x: Tensor) -> Tensor:
    """Class weights (C,) in a shape that multiplies the class axis of `x`."""
    return Tensor(weights.reshape(-1, *[1] * (x.ndim - 2)))  # (C, 1, ...)


# --- checks ---------------------------------------------------------------------------------------


def _checked_labels(where: str, input: Tensor, target: Any, reduction: str) -> Array:
    """Check shapes and types of a loss with class numbers; return those as an array of int64."""
    check_reduction(where, reduction)
    check_float(where, "input", input)
    target = as_tensor(target, like=input)
    axis = _class_axis(where, input)
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != expected:
        raise ValueError(
            f"{where}: expected class numbers of shape {expected} for input of shape {input.shape} (classes on "
            f"axis {axis}), got target {target.dtype} of shape {target.shape}"
            f"{_shape_hint(input.shape, target.shape, expected)}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"{where}: class numbers must be integers, got {target.dtype} of shape {target.shape}; "
            "convert with target.long()"
        )
    check_one_device(where, input=input.array, target=target.array)
    # A copy: the caller may reuse the target's memory.
    labels = computed(lambda array: array.astype(np.int64), target.array)
    if target.dtype == np.uint64:
        capture.do(_refuse_wrapped, where, labels)
    return labels


def _wrapped_label(where: str, _: int, label: int) -> ValueError:
    """The error for a negative label that was written down as a uint64."""
    return ValueError(
        f"{where}: label {label % 2**64} is not a class; unsigned numbers as large come from negative "
        "ones, so keep labels such as ignore_index in a signed dtype (int64)"
    )


def _refuse_wrapped(where: str, labels: Array) -> None:
    """Refuse what was too large for int64, and so became negative."""
    refuse_where(labels < 0, where, labels, partial(_wrapped_label, where), "uint64")


def _class_axis(where: str, input: Tensor) -> int:
    """The axis of the classes: 1, or 0 for a single example."""
    axis = min(input.ndim - 1, 1)
    if axis < 0 or input.shape[axis] == 0:
        raise ValueError(
            f"{where}: expected input of shape (N, C), (N, C, d1, ...) or (C,) with at least one class, got "
            f"{input.shape}"
        )
    return axis


def _shape_hint(shape: tuple[int, ...], got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Say what may have been meant by a target of shape `got`."""
    if got == shape:
        return (
            f"; the input's shape is that of one-hot rows: use target.argmax({min(len(shape) - 1, 1)}) for class "
            "numbers, or target.float() to have it taken as probabilities"
        )
    if got == (*expected[:1], 1, *expected[1:]):
        return "; use target.squeeze(1)"
    if got == (*expected, 1):
        return "; use target.squeeze(-1)"
    if len(shape) > 2 and got == shape[:-1]:
        return "; classes on the last axis must move to axis 1: input.transpose(1, -1)"
    return ""


def _ignored_labels(where: str, labels: Array, classes: int, ignore_index: int) -> Array | None:
    """Refuse labels outside [0, classes) that are not `ignore_index`.

    Returns where those are that are; None for nowhere, where that is known without waiting for a GPU.
    """
    outside = (labels < 0) | (labels >= classes)
    if xp_of(labels) is np and not (0 <= ignore_index < classes or outside.any()):
        return None
    ignored = labels == ignore_index
    refuse_label(where, labels, first_true(outside & ~ignored), classes, ignore_index)
    return ignored


def refuse_label(
    where: str, labels: Array, index: Array | int, classes: int, ignore_index: int
) -> None:
    """Raise where the label at `index`, counted in row-major order, is no class; -1 is none. On a GPU, later."""
    error = partial(_label_error, where, labels.shape, classes, ignore_index)
    if xp_of(labels) is not np:
        note_place(index, where, labels, error, classes, ignore_index)
    else:
        capture.do(_raise_at, index, labels, error)


def _raise_at(index: Array, labels: Array, error: Callable[[int, int], ValueError]) -> None:
    """Raise the error for the label at `index` (0-d), if that is a place."""
    if index >= 0:
        raise error(int(index), int(labels.reshape(-1)[index]))


def _label_error(
    where: str, shape: Shape, classes: int, ignore_index: int, index: int, label: int
) -> ValueError:
    """The error for a label that is no class."""
    position = [int(i) for i in np.unravel_index(index, shape)]
    hint = "; classes count from 0: use target - 1" if label == classes else ""
    return ValueError(
        f"{where}: label {label} at target{position} is not a class; expected 0 to {classes - 1}, as the "
        f"input has {classes} classes, or ignore_index={ignore_index}{hint}"
    )


def _checked_weights(where: str, weight: Any, input: Tensor) -> Array:
    """Return class weights as an array, or refuse them."""
    weights = Tensor(weight).array
    classes = input.shape[min(input.ndim - 1, 1)]
    if weights.shape != (classes,):
        raise ValueError(
            f"{where}: expected a weight of shape ({classes},), one number for each class, got {weights.shape}"
        )
    if weights.dtype != input.dtype:
        raise TypeError(
            f"{where}: weight and input must have the same dtype, got weight {weights.dtype} and input "
            f"{input.dtype}; convert with weight.to(input.dtype)"
        )
    check_one_device(where, input=input.array, weight=weights)
    return weights
