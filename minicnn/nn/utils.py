"""Helpers for gradients and parameters of a whole network: clipping, and one flat vector.

Functions take what `model.parameters()` or `model.named_parameters()` returns; with the latter,
errors name the parameter.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.backend import Array, xp_of
from minicnn.kernels import capture
from minicnn.kernels.capture import as_a_whole
from minicnn.kernels.dispatch import sibling

Parameters = Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]]


@as_a_whole
def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by one factor, so that together they are no longer than `max_norm`.

        g <- g min(1, max_norm / (norm + 1e-6)),    norm = (sum of |g_i|^p)^(1/p) over all elements

    The direction is kept. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent
    neural networks" (2013), algorithm 1.

    Args:
        parameters: tensors, or pairs of a name and a tensor; those without gradient, or without
            elements, are left out.
        max_norm: the largest norm allowed, >= 0.
        norm_type: p; `math.inf` for the largest absolute value.
        error_if_nonfinite: raise instead of scaling by a norm that is NaN or infinite.

    Returns:
        The norm before scaling, a tensor with one element.

    Raises:
        ValueError: if `max_norm` is negative or NaN, or `norm_type` is not positive.
        RuntimeError: on request, if the norm is not finite; names the parameters whose gradients
            are to blame. Gradients are then unchanged.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm >= 0, got {max_norm}")
    order = float(norm_type)
    if not order > 0:
        raise ValueError(f"clip_grad_norm_: expected norm_type > 0, got {norm_type}")
    named = [
        (name, p)
        for name, p in _named("clip_grad_norm_", parameters)
        if p.grad is not None and p.numel() > 0
    ]
    if not named:
        return Tensor(0.0)
    batches = _by_kind([p.grad.array for _, p in named])
    xp = xp_of(batches[0][0])
    with np.errstate(all="ignore"):  # inf and NaN are looked for below
        if order == 2:
            norms = [sibling("clip", grads[0]).norm(grads) for grads in batches]
        else:
            norms = [_norm(grad, order) for grads in batches for grad in grads]
        norm = norms[0] if len(norms) == 1 else _norm(xp.stack(norms), order)
        if error_if_nonfinite and not xp.isfinite(norm):
            raise RuntimeError(_blame(named, order))
        factor = xp.minimum(max_norm / (norm + 1e-6), 1)
        for grads in batches:
            sibling("clip", grads[0]).scale(grads, factor)
    for _, p in named:
        p.grad.bump_version()
    return Tensor(xp.asarray(norm))


@as_a_whole
def clip_grad_value_(parameters: Parameters, clip_value: float) -> None:
    """Cut every element of every gradient to [-clip_value, clip_value].

    Raises:
        ValueError: if `clip_value` is negative or NaN.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value >= 0, got {clip_value}")
    with_grad = [p for _, p in _named("clip_grad_value_", parameters) if p.grad is not None]
    for grads in _by_kind([p.grad.array for p in with_grad]):
        sibling("clip", grads[0]).clip(grads, float(clip_value))
    for p in with_grad:
        p.grad.bump_version()


def parameters_to_vector(parameters: Parameters) -> Tensor:
    """Join all parameters, at least one, into one vector; gradients flow through it."""
    return cat([p.reshape(-1) for _, p in _named("parameters_to_vector", parameters)])


def vector_to_parameters(vec: Tensor, parameters: Parameters) -> None:
    """Copy the elements of a vector into the parameters, in order; the inverse of the above.

    Args:
        vec: a vector with as many elements as all parameters together.
        parameters: tensors, or pairs of a name and a tensor; written in place.

    Raises:
        TypeError: if `vec` is no tensor.
        ValueError: if its shape is another; the parameters are then unchanged.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, got a {type(vec).__name__}")
    named = _named("vector_to_parameters", parameters)
    total = sum(p.numel() for _, p in named)
    if vec.shape != (total,):
        raise ValueError(
            f"vector_to_parameters: the parameters have {total} elements, so vec must have shape "
            f"({total},), got {vec.shape}"
        )
    start = 0
    for _, p in named:
        values = vec.array[start : start + p.numel()].reshape(p.shape)
        capture.do(operator.setitem, p.array, ..., values)
        p.bump_version()
        start += p.numel()


def _named(where: str, parameters: Any) -> list[tuple[str, Tensor]]:
    """Return pairs of a name and a tensor; tensors that came without a name get their number."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    if hasattr(parameters, "parameters") or not isinstance(parameters, Iterable):
        raise TypeError(
            f"{where}: parameters: expected an iterable of tensors, got a "
            f"{type(parameters).__name__}; write model.parameters()"
        )
    named = [
        member if isinstance(member, tuple) else (f"parameter {index}", member)
        for index, member in enumerate(parameters)
    ]
    for name, p in named:
        if not isinstance(p, Tensor):
            raise TypeError(f"{where}: {name}: expected a Tensor, got a {type(p).__name__}")
    return named


def _by_kind(arrays: list[Array]) -> list[list[Array]]:
    """Sort arrays into lists of one dtype and one kind of device, for kernels that take many at once."""
    kinds: dict[Any, list[Array]] = {}
    for array in arrays:
        kinds.setdefault((type(array), array.dtype), []).append(array)
    return list(kinds.values())


def _norm(array: Array, order: float) -> Array:
    """Return (sum of |x|^order)^(1/order), for infinity max |x|, without leaving the device."""
    sizes = xp_of(array).abs(array)
    return sizes.max() if order == math.inf else (sizes**order).sum() ** (1 / order)


def _blame(named: list[tuple[str, Tensor]], order: float) -> str:
    """Say which gradients make the norm of all of them NaN or infinite."""
    guilty = [
        f"{name} (shape {p.shape})"
        for name, p in named
        if not bool(xp_of(p.array).isfinite(p.grad.array).all())
    ]
    if not guilty:
        return (
            f"clip_grad_norm_: all gradients are finite, but their norm of order {order} is too "
            "large for its dtype; lower the learning rate or scale the loss down"
        )
    return (
        f"clip_grad_norm_: NaN or infinity in the gradient of {', '.join(guilty)}; lower the "
        "learning rate, or find the first operation that goes wrong with detect_anomaly()"
    )
