"""Batch normalisation, for NumPy and CuPy: with the statistics of the batch, or with given ones.

    y = act((x - mean) * inverse_std * weight + bias + residual)

per channel, the second axis of x; act is ReLU or nothing, and `residual` an image that is added
where a block of a residual network ends. What is summed over a batch is summed in float64, and the
statistics stay in float64: they are few, and what they leave behind after a subtraction is small.

Results keep channels innermost in memory.
"""

import numpy as np

from .activation import relu_grad
from .arrays import Array, xp_of
from .capture import do

Statistics = tuple[Array, Array]
"""Mean and inverse standard deviation of each channel, float64 (C,) both."""


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    residual: Array | None = None,
    relu: bool = False,
) -> tuple[Array, Array, Array, Array]:
    """Normalise with the batch's own statistics (Ioffe & Szegedy, arXiv 1502.03167, algorithm 1).

    Args:
        x: (N, C, ...), float, in any memory order, with one element a channel at least.
        weight: scale (C,), or None for 1; of x's dtype, as all other arrays.
        bias: shift (C,), or None for 0.
        eps: added to the variance.
        residual: (N, C, ...), added before the activation.
        relu: whether y is max(0, ...); NaN stays NaN.

    Returns:
        y, of the shape and dtype of x; mean, inverse standard deviation and (biased) variance of
        each channel, float64 (C,)
    """
    axes = _all_but_channels(x)
    mean = _mean(x, axes)
    centered = x - _per_channel(mean, x)
    variance = _mean(centered * centered, axes) - _mean(centered, axes) ** 2
    inverse_std = 1 / xp_of(x).sqrt(variance + eps)
    y = apply_statistics(x, mean, inverse_std, weight, bias, residual, relu)
    return y, mean, inverse_std, variance


def apply_statistics(
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None = None,
    relu: bool = False,
) -> Array:
    """Normalise with given statistics, (C,) both; the other arguments and y are those of `batch_norm`."""
    rounded = _per_channel(mean, x)
    scale = inverse_std if weight is None else inverse_std * weight  # (C,)
    rest = (rounded.reshape(-1) - mean) * scale  # what rounding the mean to x's dtype left out
    shift = rest if bias is None else rest + bias
    y = _channels_inside(x - rounded)
    y *= _per_channel(scale, x)
    y += _per_channel(shift, x)
    if residual is not None:
        y += residual
    return xp_of(y).maximum(y, 0) if relu else y


def batch_norm_grad(
    grad: Array,
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array | None,
    bias: Array | None,
    relu: bool = False,
    y: Array | None = None,
    of_batch: bool = True,
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of `batch_norm`, or of `apply_statistics`.

    With g = dL/dz, z before the activation, x_hat = (x - mean) inverse_std, and <.> the mean over a
    channel: dL/dx = weight inverse_std (g - <g> - x_hat <g x_hat>), where the last two summands are
    there only if x had a part in the statistics.

    Args:
        grad: dL/dy (N, C, ...).
        x: as in forward, and so weight, bias and relu.
        mean: as forward returned or received it.
        inverse_std: likewise.
        weight: see x.
        bias: see x.
        relu: see x.
        y: the result of a forward with ReLU and a residual, else None: without a residual, where y is
            0 is computed again from x, which takes less time than reading y.
        of_batch: whether mean and inverse_std were computed from x.

    Returns:
        the gradients of x, weight, bias, and of the residual: None if there can have been none
        (with ReLU, but without y), and `grad` itself without ReLU
    """
    axes = _all_but_channels(x)
    count = max(x.size // max(x.shape[1], 1), 1)
    if relu:
        masked_by = apply_statistics(x, mean, inverse_std, weight, bias) if y is None else y
        g = relu_grad(grad, masked_by)
    else:
        g = grad
    x_hat = (x - _per_channel(mean, x)) * _per_channel(inverse_std, x)
    grad_bias = g.sum(axis=axes, dtype=np.float64)
    grad_weight = (g * x_hat).sum(axis=axes, dtype=np.float64)
    grad_x = g
    if of_batch:
        along = x_hat * _per_channel(grad_weight / count, x)
        grad_x = g - _per_channel(grad_bias / count, x) - along
    scale = inverse_std if weight is None else inverse_std * weight
    grad_x = _channels_inside(grad_x * _per_channel(scale, x))
    grad_residual = None if relu and y is None else g
    return grad_x, grad_weight.astype(x.dtype), grad_bias.astype(x.dtype), grad_residual


def move_statistic(running: Array, batch: Array, factor: float, momentum: float | Array) -> None:
    """Move a running statistic (C,) towards `factor` times that of the batch, float64 (C,), by the part `momentum`."""
    do(_move, running, batch, factor, momentum)


def _move(running: Array, batch: Array, factor: float, momentum: float | Array) -> None:
    running += momentum * ((batch * factor).astype(running.dtype) - running)


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return 0, *range(2, x.ndim)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    return x.mean(axis=axes, dtype=np.float64)  # (C,)


def _per_channel(numbers: Array, x: Array) -> Array:
    """Numbers (C,) in the dtype of x, in a shape that broadcasts to x."""
    return numbers.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


def _channels_inside(x: Array) -> Array:
    """Copy x, if need be, into memory in the order (N, ..., C)."""
    xp = xp_of(x)
    return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 1, -1)), -1, 1)
