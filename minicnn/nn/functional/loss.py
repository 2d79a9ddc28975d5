"""Losses that compare two tensors of equal shape, element by element, and penalties on weights.

Each loss is a tensor of the input's shape, which `reduction` then turns into one number: "mean"
divides the sum by the number of elements, "sum" adds, "none" leaves the tensor as it is. Input and
target never broadcast: the mean over all pairs of (4, 1) with (4,) would be a plausible number, and
a wrong one.

All but one are compositions of tensor operations, so gradients flow to the target as well.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.kernels import capture
from minicnn.nn.functional.activation import softplus
from minicnn.nn.functional.checks import as_tensor, check_float, refuse_where
from minicnn.ops.function import Function

REDUCTIONS = ("mean", "sum", "none")

# --- distances between numbers --------------------------------------------------------------------


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The squared error (input - target)^2.

    Args:
        input: predictions, any shape.
        target: what they should be, of the same shape and dtype (integers are converted).
        reduction: "mean", "sum" or "none".

    Returns:
        One number, or a tensor of the input's shape with "none".

    Raises:
        ValueError: where the shapes differ, or for another reduction.
        TypeError: for an input that is not of floating-point numbers, and for mixed dtypes.
    """
    difference = input - check_pair("mse_loss", input, target, reduction)
    return reduce(difference * difference, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The absolute error |input - target|, with derivative 0 at 0; arguments and errors as in `mse_loss`."""
    difference = input - check_pair("l1_loss", input, target, reduction)
    return reduce(difference.abs(), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Squared for small errors d = input - target, absolute for large ones, so that outliers pull less.

    d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2). Both are c (d - c / 2) with c = d
    limited to [-delta, delta]. (Huber, Annals of Mathematical Statistics 35, 1964.)

    Args:
        input: see `mse_loss`, also for the errors.
        target: see `mse_loss`.
        reduction: see `mse_loss`.
        delta: the error from which on the loss grows linearly; positive.

    Raises:
        ValueError: for a delta that is not positive.
    """
    target = check_pair("huber_loss", input, target, reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: expected delta > 0, got {delta}")
    difference = input - target
    limited = difference.clamp(-float(delta), float(delta))
    return reduce(limited * (difference - limited * 0.5), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """The Huber loss divided by its delta, here beta (Girshick, Fast R-CNN, arXiv 1504.08083); `l1_loss` for beta = 0.

    Args:
        input: see `mse_loss`, also for the errors.
        target: see `mse_loss`.
        reduction: see `mse_loss`.
        beta: the error from which on the loss grows linearly, with slope 1.

    Raises:
        ValueError: for a negative beta.
    """
    target = check_pair("smooth_l1_loss", input, target, reduction)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: expected beta >= 0, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) / beta


# --- yes or no ------------------------------------------------------------------------------------


class BinaryCrossEntropy(Function):
    """l = -t ln p - (1 - t) ln(1 - p), where no logarithm is taken below -100.

    dL/dp = (p - t) / (p (1 - p)) dL/dl, with the denominator at least 1e-12; dL/dt = (ln(1 - p) -
    ln p) dL/dl.
    """

    def forward(self, p, t):
        self.save(p, t)
        log_yes, log_no = self.logarithms(p)
        return -(t * log_yes + (1 - t) * log_no)

    def backward(self, grad):
        p, t = self.saved
        log_yes, log_no = self.logarithms(p)
        return (
            grad * (p - t) / xp_of(p).maximum(p * (1 - p), 1e-12),
            grad * (log_no - log_yes) if self.needs_grad[1] else None,
        )

    @staticmethod
    def logarithms(p: Array) -> tuple[Array, Array]:
        """Return ln p and ln(1 - p), at least -100."""
        xp = xp_of(p)
        return xp.maximum(xp.log(p), -100), xp.maximum(xp.log1p(-p), -100)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(target ln input + (1 - target) ln(1 - input)), the logarithms cut off at -100.

    A network that ends in a sigmoid loses digits here; give its scores to
    `binary_cross_entropy_with_logits` instead.

    Args:
        input: probabilities in [0, 1], any shape.
        target: probabilities in [0, 1], mostly 0 or 1, of the same shape.
        weight: factors for the losses; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".

    Returns:
        One number, or a tensor of the input's shape with "none".

    Raises:
        ValueError: where the shapes differ, for probabilities outside [0, 1], or for another
            reduction.
        TypeError: for an input that is not of floating-point numbers, and for mixed dtypes.
    """
    where = "binary_cross_entropy"
    target = check_pair(where, input, target, reduction)
    check_probabilities(
        where, "input", input, "use binary_cross_entropy_with_logits for scores (logits)"
    )
    check_probabilities(where, "target", target, "class 0 is 0.0, class 1 is 1.0", rounding=1e-5)
    losses = apply(BinaryCrossEntropy(), input, target)
    if weight is not None:
        losses = losses * _factor(where, "weight", weight, input)
    return reduce(losses, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """The binary cross-entropy of sigmoid(input), computed without the sigmoid: no score is too large.

    With x = input, t = target and ln(1 + e^-x) = softplus(-x):
    -(pos_weight t ln sigmoid(x) + (1 - t) ln(1 - sigmoid(x))) = (1 - t) x + (1 + (pos_weight - 1)
    t) softplus(-x).

    Args:
        input: scores (logits), any shape.
        target: probabilities in [0, 1], mostly 0 or 1, of the same shape.
        weight: factors for the losses; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".
        pos_weight: factors for the part of class 1; above 1 they trade precision for recall.
            Broadcasts likewise.

    Returns:
        One number, or a tensor of the input's shape with "none".

    Raises:
        ValueError: where the shapes differ, for a target outside [0, 1], or for another reduction.
        TypeError: for an input that is not of floating-point numbers, and for mixed dtypes.
    """
    where = "binary_cross_entropy_with_logits"
    target = check_pair(where, input, target, reduction)
    check_probabilities(where, "target", target, "class 0 is 0.0, class 1 is 1.0", rounding=1e-5)
    log_term = softplus(-input, threshold=math.inf)
    if pos_weight is not None:
        log_term = log_term * (1 + (_factor(where, "pos_weight", pos_weight, input) - 1) * target)
    losses = (1 - target) * input + log_term
    if weight is not None:
        losses = losses * _factor(where, "weight", weight, input)
    return reduce(losses, reduction)


# --- penalties ------------------------------------------------------------------------------------


def l1_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of |w| over all elements of all parameters, to be added to a loss with a factor: favours zeros.

    Raises:
        ValueError: where there are no parameters.
    """
    return _total("l1_penalty", [w.abs().sum() for w in parameters])


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of w^2 over all elements of all parameters, to be added to a loss with a factor: favours small weights.

    `weight_decay=a` of plain SGD has the effect of adding a / 2 times this.

    Raises:
        ValueError: where there are no parameters.
    """
    return _total("l2_penalty", [(w * w).sum() for w in parameters])


def _total(where: str, terms: list[Tensor]) -> Tensor:
    if not terms:
        raise ValueError(
            f"{where}: got no parameters; model.parameters() can be walked once only, call it again"
        )
    return sum(terms[1:], start=terms[0])


# --- what losses share ----------------------------------------------------------------------------


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of `losses`, or `losses` for "none"."""
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


def check_reduction(where: str, reduction: str) -> None:
    """Refuse anything but "mean", "sum" and "none"."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'{where}: expected reduction "mean", "sum" or "none", got {reduction!r}')


def check_pair(where: str, input: Tensor, target: Any, reduction: str) -> Tensor:
    """Check the arguments of a loss between equal shapes; return the target as a tensor of the input's dtype."""
    check_reduction(where, reduction)
    check_float(where, "input", input)
    target = as_tensor(target, like=input)
    if target.shape != input.shape:
        raise ValueError(
            f"{where}: input and target must have the same shape, got input {input.shape} and target "
            f"{target.shape}{_shape_hint(input.shape, target.shape)}"
        )
    if target.dtype.kind == "f" and target.dtype != input.dtype:
        raise TypeError(
            f"{where}: input and target must have the same dtype, got input {input.dtype} and target "
            f"{target.dtype}; convert with target.to(input.dtype)"
        )
    return target.to(input.dtype)


def _shape_hint(input_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> str:
    """Say which call would make the shapes equal, where one would."""
    if (*input_shape, 1) == target_shape:
        return "; use target.squeeze(-1)"
    if (*target_shape, 1) == input_shape:
        return "; use input.squeeze(-1) or target.unsqueeze(-1)"
    if math.prod(input_shape) == math.prod(target_shape):
        return "; if they hold the same elements in the same order, use target.reshape(input.shape)"
    return "; they are never broadcast"


def check_probabilities(
    where: str, name: str, value: Tensor, hint: str, rounding: float = 0.0
) -> None:
    """Refuse numbers outside [0, 1], give or take `rounding`; NaN passes, and will be seen in the loss."""
    capture.do(_refuse_no_probabilities, where, name, value.array, hint, rounding)


def _refuse_no_probabilities(
    where: str, name: str, array: Array, hint: str, rounding: float
) -> None:
    shape = array.shape
    outside = (array < -rounding) | (array > 1 + rounding)
    seen = array if xp_of(array) is np else None  # a note must not hold what is on a GPU

    def error(place: int, _: int) -> ValueError:
        position = [int(i) for i in np.unravel_index(place, shape)]
        got = "another number" if seen is None else f"{float(seen[tuple(position)]):g}"
        return ValueError(
            f"{where}: {name} must hold probabilities in [0, 1], got {got} at {name}{position}, "
            f"shape {shape}; {hint}"
        )

    refuse_where(outside, where, outside, error, name, hint)


def _factor(where: str, name: str, factor: Any, input: Tensor) -> Tensor:
    """Return the weights of losses as a tensor that broadcasts to the input, and not the other way round."""
    factor = as_tensor(factor, like=input)
    aligned = zip(reversed(factor.shape), reversed(input.shape), strict=False)
    if factor.ndim > input.ndim or any(n not in (1, size) for n, size in aligned):
        raise ValueError(
            f"{where}: {name} must broadcast to the input's shape {input.shape}, got {factor.shape}"
        )
    return factor
